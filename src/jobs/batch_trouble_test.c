/* Batches in trouble: processes that died, commits that fail, files and folders that go away. */
#include "jobs/batch_testing.h"

/* ---- what lines store ---- */

/* One line with these members of its body is run so often, and in the end completed and paid for once. */
static void one_line(void **state, const char *more, int runs)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct buf b;
        buf_init(&b, 4096);
        add_line(&b, 0, more);
        put_file(w, buf_str(&b), file);
        buf_release(&b);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "completed");
        await_jobs(w);
        assert_int_equal(rows_left(w, id), 0);
        assert_int_equal(atomic_load(&w->started), runs);
        assert_int_equal(count_of(object, "completed"), 1);
        assert_int_equal(used_requests(w), 1);
        json_decref(object);
}

/* Another line is at work on the same conversation: that is no answer. */
static void test_locked_conversation(void **state)
{
        one_line(state, ",\"status\":400,\"code\":\"conversation_locked\",\"times\":2", 3);
}

/* What a line stores was committed, but the store told an error. */
static void test_unknown_outcome(void **state)
{
        one_line(state, ",\"store\":\"lost\"", 1);
}

static void test_failed_to_store(void **state)
{
        one_line(state, ",\"store\":\"not\"", 2);
}

/* Its kept reply is not there any more when its answer is committed. */
static void test_kept_reply_is_gone(void **state)
{
        one_line(state, ",\"store\":\"told\",\"drop\":true", 1);
}

/* Puts what a process has left that died between storing what line `n` stores and its answer; `doc` NULL: as
 * batch_keep() makes it. */
static void put_kept(struct world *w, const char *id, int n, const char *doc)
{
        char line[BATCH_LINE_ID_MAX], whole[256];
        struct store_usage usage = { .id = line,
                                     .what = USAGE_COMPLETIONS,
                                     .project = PROJECT,
                                     .batch = true,
                                     .n = { [USAGE_REQUESTS] = 1, [USAGE_INPUT] = 5 } };
        struct store_op ops[] = {
                { .verb = STORE_PUT, .kind = BATCH_REPLY_KIND, .id = line, .project = PROJECT, .parent = id },
                { .verb = STORE_USAGE, .usage = &usage }
        };
        snprintf(line, sizeof(line), "%s-%05d", id, n);
        snprintf(
                whole, sizeof(whole),
                "{\"custom_id\":\"c%d\",\"status\":200,\"request_id\":\"req_of_before\",\"body\":{\"usage\":{"
                "\"prompt_tokens\":5,\"completion_tokens\":2}}}",
                n);
        ops[0].doc = str_c(doc ? doc : whole);
        assert_int_equal(store_write(w->store, ops, 2, NULL), 0);
}

static void test_what_was_stored_is_not_run_again(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 40, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        for (int n = 0; n < 40; n += 4)
                put_kept(w, id, n, NULL);
        world_start(w, 8);
        assert_complete(w, id, 40);
        assert_int_equal(atomic_load(&w->started), 30);
        json_t *object = get_batch(w, id);
        char *text = read_file(w, json_cstr(object, "output_file_id", ""));
        assert_non_null(strstr(text, "\"custom_id\":\"c36\",\"response\":{\"status_code\":200,"
                                     "\"request_id\":\"req_of_before\""));
        mem_free(text);
        json_decref(object);
}

static void test_damaged_reply(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 3, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        put_kept(w, id, 1, "{\"status\":2");
        world_start(w, 8);
        json_t *object = await_status(w, id, "completed");
        assert_int_equal(count_of(object, "completed"), 2);
        assert_int_equal(count_of(object, "failed"), 1);
        await_jobs(w);
        assert_int_equal(rows_left(w, id), 0);
        char *text = read_file(w, json_cstr(object, "error_file_id", ""));
        assert_non_null(strstr(text, "\"custom_id\":\"c1\",\"response\":{\"status_code\":500,"));
        mem_free(text);
        json_decref(object);
}

/* What a process that died had stored is in the output, though nothing else is run any more. */
static void test_cancel_keeps_what_was_stored(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        json_t *object;
        map_init(&seen);
        atomic_store(&w->hold, true);
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_decref(await_status(w, id, "in_progress"));
        world_stop(w);
        for (int n = 0; n < 20; n += 8)
                put_kept(w, id, n, NULL);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        int before = atomic_load(&w->started);
        world_start(w, 4);
        object = await_status(w, id, "cancelled");
        await_jobs(w);
        assert_int_equal(atomic_load(&w->started), before);
        assert_int_equal(count_of(object, "completed"), 3);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), 3);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, "batch_cancelled"),
                         17);
        assert_each_once(&seen, 20);
        assert_int_equal(used_requests(w), 3);
        assert_int_equal(rows_left(w, id), 0);
        json_decref(object);
        map_release(&seen, NULL);
}

/* ---- an input that goes away ---- */

static void test_lost_input(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 4, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        assert_int_equal(store_delete(w->store, FILE_KIND, file, PROJECT, NULL), 0);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "input_file_not_found");
        json_decref(object);
}

/* It is deleted while lines run, and the server starts again: what was answered is not lost. */
static void test_lost_input_on_the_way(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        json_t *object;
        int64_t done;
        map_init(&seen);
        w->delay_ms = 2;
        put_lines(w, 4000, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        do {
                object = get_batch(w, id);
                done = count_of(object, "completed");
                json_decref(object);
        } while (done < 20);
        world_stop(w);
        assert_int_equal(store_delete(w->store, FILE_KIND, file, PROJECT, NULL), 0);
        world_start(w, 4);
        object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "input_file_not_found");
        done = count_of(object, "completed");
        assert_true(done >= 20);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), done);
        json_decref(object);
        map_release(&seen, NULL);
}

/* The same of what a process before had stored without answering it. */
static void test_lost_input_keeps_what_was_stored(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        map_init(&seen);
        atomic_store(&w->hold, true);
        put_lines(w, 40, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_decref(await_status(w, id, "in_progress"));
        world_stop(w);
        put_kept(w, id, 20, NULL);
        put_kept(w, id, 24, "{\"status\":2");
        put_kept(w, id, 28, NULL);
        assert_int_equal(store_delete(w->store, FILE_KIND, file, PROJECT, NULL), 0);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        await_jobs(w);
        assert_int_equal(count_of(object, "completed"), 2);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), 2);
        assert_non_null(map_get(&seen, STR("c20")));
        assert_non_null(map_get(&seen, STR("c28")));
        assert_int_equal(rows_left(w, id), 0);
        json_decref(object);
        map_release(&seen, NULL);
}

/* ---- trouble below ---- */

/* Changes a byte of every blob there is. */
static void damage_blobs(struct world *w)
{
        char command[256];
        snprintf(command, sizeof(command),
                 "find %s/blobs -type f | while read f; do chmod u+w $f; printf X | dd of=$f bs=1 seek=20 "
                 "conv=notrunc status=none; done",
                 w->dir);
        assert_int_equal(system(command), 0);
}

static void test_damaged_input(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 4, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        damage_blobs(w);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "input_file_damaged");
        json_decref(object);
        assert_int_equal(atomic_load(&w->started), 0);
}

static void test_damaged_row(void **state)
{
        struct world *w = *state;
        struct store_op ops[] = {
                { .verb = STORE_PUT, .kind = BATCH_KIND, .id = "b", .project = PROJECT, .doc = STR("{") },
                { .verb = STORE_JOB_PUT,
                  .kind = BATCH_KIND,
                  .id = "b",
                  .project = PROJECT,
                  .doc = STR("{}") },
        };
        assert_int_equal(store_write(w->store, ops, 2, NULL), 0);
        atomic_store(&reports, 0);
        world_start(w, 4);
        await_jobs(w); /* it is not tried for ever */
        assert_int_equal(atomic_load(&reports), 1);
}

/* A folder of the data directory that goes away and comes back. */
static void move_folder(struct world *w, const char *from, const char *to)
{
        char old[128], new[128];
        snprintf(old, sizeof(old), "%s/%s", w->dir, from);
        snprintf(new, sizeof(new), "%s/%s", w->dir, to);
        assert_int_equal(rename(old, new), 0);
}

static void await_report(void)
{
        for (int64_t until = clock_mono_ms() + WAIT_MS; !atomic_load(&reports) && clock_mono_ms() < until;)
                pause_ms(2);
        assert_true(atomic_load(&reports) > 0);
}

/* What is missing is not the batch: it waits for its output to be written, and says so. */
static void test_no_place_for_output(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        move_folder(w, "blobs/tmp", "away");
        atomic_store(&reports, 0);
        world_start(w, 4);
        json_decref(await_status(w, id, "finalizing"));
        await_report();
        move_folder(w, "away", "blobs/tmp");
        assert_complete(w, id, 20);
        assert_int_equal(atomic_load(&w->started), 20);
}

/* The same at a cancellation: what was cut off is recorded once. */
static void test_no_place_after_cancel(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        json_t *object;
        atomic_store(&w->hold, true);
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        move_folder(w, "blobs/tmp", "away");
        atomic_store(&reports, 0);
        world_start(w, 4);
        while (atomic_load(&w->started) < 4)
                pause_ms(2);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        await_report();
        move_folder(w, "away", "blobs/tmp");
        object = await_status(w, id, "cancelled");
        await_jobs(w);
        assert_int_equal(count_of(object, "completed") + count_of(object, "failed"), 0);
        assert_int_equal(atomic_load(&w->cut), 4);
        assert_int_equal(used_requests(w), 4);
        json_decref(object);
}

/* Nor is it the input, when the whole store of blobs is away. */
static void test_no_blobs(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        move_folder(w, "blobs", "away");
        atomic_store(&reports, 0);
        world_start(w, 4);
        await_report();
        move_folder(w, "away", "blobs");
        assert_complete(w, id, 20);
}

#ifdef CAIRN_FAULTS
/* Commits and writings of the output fail now and then: the batch is late, and exact. */
static void test_failing_disk(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 200, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        w->delay_ms = 1;
        assert_int_equal(fault_arm(STR("store.commit:4:ENOSPC:3,store.commit:9:EIO:2,blob.write:1:ENOSPC:1")),
                         0);
        world_start(w, 8);
        assert_complete(w, id, 200);
        fault_clear();
}

/* What was computed is recorded once, though the store fails when it is to be. */
static void test_failing_disk_at_cancel(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        json_t *object;
        atomic_store(&w->hold, true);
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        while (atomic_load(&w->started) < 4)
                pause_ms(2);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        assert_int_equal(fault_arm(STR("store.commit:1:ENOSPC:2,store.answer:4:EIO:1")), 0);
        json_decref(await_status(w, id, "cancelled"));
        await_jobs(w);
        fault_clear();
        assert_int_equal(used_requests(w), 4);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_locked_conversation, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unknown_outcome, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_to_store, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kept_reply_is_gone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_was_stored_is_not_run_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_reply, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel_keeps_what_was_stored, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_input, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_input_on_the_way, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_input_keeps_what_was_stored, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_input, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_row, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_place_for_output, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_place_after_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_blobs, setup, teardown),
#ifdef CAIRN_FAULTS
                cmocka_unit_test_setup_teardown(test_failing_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failing_disk_at_cancel, setup, teardown),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
