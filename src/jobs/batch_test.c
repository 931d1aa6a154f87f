/* The worker of batches, from their creation to each of their ends. */
#include "jobs/batch_testing.h"

/* ---- running ---- */

static void test_completes(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        w->delay_ms = 1; /* so that they overlap */
        put_lines(w, 1200, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 16);
        assert_complete(w, id, 1200);
        assert_int_equal(atomic_load(&w->started), 1200);
        assert_in_range(atomic_load(&w->most), 2, THREADS);
}

static void test_retries_what_is_refused_for_now(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        w->busy = 2;
        put_lines(w, 8, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 16);
        assert_complete(w, id, 8);
        assert_int_equal(atomic_load(&w->started), 24);
}

/* A spent budget is an answer: it does not come back by waiting. */
static void test_spent_budget(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_file(w,
                 STR("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT
                     "\",\"body\":{\"model\":\"m1\",\"status\":429,\"code\":\"insufficient_quota\"}}"),
                 file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "completed");
        assert_int_equal(count_of(object, "failed"), 1);
        assert_int_equal(atomic_load(&w->started), 1);
        json_decref(object);
}

static void test_share(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[2][ID_MAX];
        atomic_store(&w->hold, true);
        put_lines(w, 40, file);
        for (int i = 0; i < 2; i++)
                put_batch(w, file, BATCH_WINDOW_S, id[i]);
        world_start(w, 2);
        for (int i = 0; i < 2; i++)
                json_decref(await_status(w, id[i], "in_progress"));
        pause_ms(300);
        assert_in_range(atomic_load(&w->started), 2, 3); /* the first may have begun two alone */
        atomic_store(&w->hold, false);
        for (int i = 0; i < 2; i++)
                json_decref(await_status(w, id[i], "completed"));
}

/* The queue is stopped and started again and again; nothing is run twice that has an answer. */
static void test_goes_on(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        bool over = false;
        w->delay_ms = 1;
        put_lines(w, 600, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        for (int i = 0; i < 100 && !over; i++) {
                world_start(w, 8);
                pause_ms(20 + i % 7 * 10);
                world_stop(w);
                json_t *object = get_batch(w, id);
                over = !strcmp(json_cstr(object, "status", ""), "completed");
                json_decref(object);
        }
        world_start(w, 8);
        assert_complete(w, id, 600);
}

/* ---- other ends ---- */

static void test_cancel(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        json_t *object, *again;
        map_init(&seen);
        put_lines(w, 400, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        w->delay_ms = 2;
        world_start(w, 4);
        do {
                object = get_batch(w, id);
                int64_t n = count_of(object, "completed");
                json_decref(object);
                if (n >= 20)
                        break;
                pause_ms(2);
        } while (true);
        atomic_store(&w->hold, true); /* what runs now must be cancelled to end */
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        assert_string_equal(json_cstr(object, "status", ""), "cancelling");
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &again, NULL), 0);
        assert_int_equal(json_int(object, "cancelling_at", 0), json_int(again, "cancelling_at", 1));
        json_decref(object);
        json_decref(again);
        assert_int_equal(batch_cancel(w->store, "proj_b", id, &object, NULL), -ENOENT);
        object = await_status(w, id, "cancelled");
        int64_t done = count_of(object, "completed"), failed = count_of(object, "failed");
        assert_in_range(done, 20, 300);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), done);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, "batch_cancelled"),
                         400 - done - failed);
        assert_each_once(&seen, 400);
        assert_true(atomic_load(&w->cut) > 0);
        assert_int_equal(used_requests(w), done + atomic_load(&w->cut)); /* what was computed counts */
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &again, NULL), 0);
        assert_true(json_equal(object, again));
        json_decref(again);
        json_decref(object);
        map_release(&seen, NULL);
}

static void test_cancel_before_start(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        json_t *object;
        put_lines(w, 4, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        world_start(w, 4);
        object = await_status(w, id, "cancelled");
        assert_null(json_get(object, "output_file_id"));
        assert_null(json_get(object, "error_file_id"));
        json_decref(object);
        assert_int_equal(atomic_load(&w->started), 0);
}

static size_t jobs_of(struct world *w, const char *kind)
{
        size_t n;
        assert_int_equal(store_job_count(w->store, kind, NULL, &n, NULL), 0);
        return n;
}

/* Nobody has begun with them and nobody will for long: there are as many at work as there may be. */
static void test_waiting_ones_end(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], busy[64][ID_MAX], cancelled[ID_MAX], expired[ID_MAX];
        json_t *object;
        atomic_store(&w->hold, true);
        put_lines(w, 2, file);
        for (int i = 0; i < 64; i++)
                put_batch(w, file, BATCH_WINDOW_S, busy[i]);
        world_start(w, 64);
        for (int i = 0; i < 64; i++)
                json_decref(await_status(w, busy[i], "in_progress"));
        put_batch(w, file, BATCH_WINDOW_S, cancelled);
        put_batch(w, file, 1, expired);
        assert_int_equal(batch_cancel(w->store, PROJECT, cancelled, &object, NULL), 0);
        assert_string_equal(json_cstr(object, "status", ""), "cancelled");
        assert_true(json_int(object, "cancelled_at", 0) && json_int(object, "cancelling_at", 0));
        json_decref(object);
        object = await_status(w, expired, "expired");
        assert_true(json_int(object, "expired_at", 0) >= json_int(object, "expires_at", 0));
        json_decref(object);
        assert_int_equal(jobs_of(w, BATCH_KIND), 64);
        assert_int_equal(jobs_of(w, "webhook.event"), 2);
        atomic_store(&w->hold, false);
        await_jobs(w);
        for (int i = 0; i < 64; i++)
                json_decref(await_status(w, busy[i], "completed"));
        for (int64_t until = clock_mono_ms() + WAIT_MS;
             clock_mono_ms() < until && jobs_of(w, BATCH_EXPIRY_KIND);)
                pause_ms(5);
        assert_int_equal(jobs_of(w, BATCH_EXPIRY_KIND), 0);
}

static void test_expires(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        map_init(&seen);
        put_lines(w, 50, file);
        put_batch(w, file, 2, id);
        w->delay_ms = 300;
        world_start(w, 2);
        json_t *object = await_status(w, id, "expired");
        int64_t done = count_of(object, "completed"), failed = count_of(object, "failed");
        assert_in_range(done, 1, 40);
        assert_true(json_int(object, "expired_at", 0) >= json_int(object, "expires_at", 0));
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), done);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, "batch_expired"),
                         50 - done - failed);
        assert_each_once(&seen, 50);
        assert_int_equal(used_requests(w), done + atomic_load(&w->cut));
        json_decref(object);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), -EALREADY);
        json_decref(object);
        map_release(&seen, NULL);
}

/* ---- validation ---- */

#define LINE(id, more)                                                      \
        "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" ENDPOINT \
        "\",\"body\":{\"model\":\"m1\"" more "}}\n"

static const struct bad {
        const char *text, *code, *param;
        int line; /* 0: none */
} bad_inputs[] = {
        { "\n \r\n", "empty_file", NULL, 0 },
        { LINE("a", "") "{nonsense\n", "invalid_json_line", NULL, 2 },
        { LINE("a", "") "\n\n[1]\n", "invalid_json_line", NULL, 4 },
        { LINE("a", "") LINE("b", "") LINE("a", ""), "duplicate_custom_id", "custom_id", 3 },
        { LINE("", ""), "invalid_value", "custom_id", 1 },
        { "{\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "missing_required_parameter", "custom_id", 1 },
        { "{\"custom_id\":7,\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "invalid_type", "custom_id", 1 },
        { "{\"custom_id\":\"a\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "missing_required_parameter", "method", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"GET\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "invalid_method", "method", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"body\":{\"model\":\"m1\"}}",
          "missing_required_parameter", "url", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{\"model\":\"m1\"}}",
          "url_mismatch", "url", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT "\"}", "missing_required_parameter",
          "body", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":[]}", "invalid_type",
          "body", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT
          "\",\"body\":{\"model\":\"m1\"},\"x\":1}",
          "unknown_parameter", "x", 1 },
        { LINE("a", ",\"stream\":true"), "invalid_value", "body.stream", 1 },
        { LINE("a", ",\"background\":true"), "invalid_value", "body.background", 1 },
        { LINE("a", ",\"bad\":1"), "invalid_value", "body.bad", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m3\"}}",
          "model_not_found", "body", 1 },
        { LINE("a", "") "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"" ENDPOINT
                        "\",\"body\":{\"model\":\"m2\"}}",
          "mismatched_model", "body.model", 2 },
        { LINE("a\xff", ""), "invalid_json_line", NULL, 1 },
        { LINE("a", "") "{\"custom_id\":\"b\"", "invalid_json_line", NULL, 2 },
};

static void test_bad_inputs(void **state)
{
        struct world *w = *state;
        world_start(w, 4);
        for (size_t i = 0; i < sizeof(bad_inputs) / sizeof(*bad_inputs); i++) {
                const struct bad *bad = &bad_inputs[i];
                char file[ID_MAX], id[ID_MAX];
                put_file(w, str_c(bad->text), file);
                put_batch(w, file, BATCH_WINDOW_S, id);
                json_t *object = await_status(w, id, "failed"), *errors = json_get(object, "errors");
                json_t *e = json_array_get(json_get(errors, "data"), 0);
                assert_string_equal(json_cstr(errors, "object", ""), "list");
                assert_int_equal(json_array_size(json_get(errors, "data")), 1);
                assert_string_equal(json_cstr(e, "code", ""), bad->code);
                assert_int_equal(json_int(e, "line", 0), bad->line);
                if (bad->param)
                        assert_string_equal(json_cstr(e, "param", ""), bad->param);
                else
                        assert_null(json_get(e, "param"));
                assert_true(json_str(e, "message").n > 10);
                assert_null(json_get(object, "output_file_id"));
                assert_true(json_int(object, "failed_at", 0) > 0);
                json_decref(object);
        }
        assert_int_equal(atomic_load(&w->started), 0);
}

/* Every bad line is reported, a line that is too long too, and those behind it. */
static void test_all_errors(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct buf b;
        buf_init(&b, 8 << 20);
        buf_adds(&b, "\xef\xbb\xbf"); /* a byte order mark is none of the errors */
        add_line(&b, 1, "");
        for (int i = 0; i < 700000; i++)
                buf_addc(&b, 'x');
        buf_adds(&b, "\n");
        add_line(&b, 1, "");
        add_line(&b, 2, ",\"bad\":1");
        put_file(w, buf_str(&b), file);
        buf_release(&b);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed"), *data = json_get(json_get(object, "errors"), "data");
        static const char *const codes[] = { "invalid_json_line", "duplicate_custom_id", "invalid_value" };
        assert_int_equal(json_array_size(data), 3);
        for (int i = 0; i < 3; i++) {
                assert_string_equal(json_cstr(json_array_get(data, (size_t)i), "code", ""), codes[i]);
                assert_int_equal(json_int(json_array_get(data, (size_t)i), "line", 0), i + 2);
        }
        json_decref(object);
}

static void test_too_many_lines(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct buf b;
        buf_init(&b, 64 << 20);
        for (int i = 0; i <= BATCH_MAX_LINES; i++)
                add_line(&b, i, "");
        put_file(w, buf_str(&b), file);
        buf_release(&b);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "too_many_tasks");
        json_decref(object);
}

/* ---- the limit of tokens in the queue ---- */

static void test_token_limit(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[3][ID_MAX], err[256];
        struct limit_rule rule;
        limit_rule_init(&rule);
        rule.max[LIMIT_BATCH_TOKENS] = 400; /* some 30 tokens a line */
        struct limits_options o = { .rules = &rule, .n_rules = 1 };
        struct limits *limits;
        assert_int_equal(limits_open(&o, w->store, &limits, err, sizeof(err)), 0);
        w->limits = limits;
        atomic_store(&w->hold, true);
        put_lines(w, 10, file);
        world_start(w, 4);
        put_batch(w, file, BATCH_WINDOW_S, id[0]);
        json_decref(await_status(w, id[0], "in_progress"));
        put_batch(w, file, BATCH_WINDOW_S, id[1]); /* beside the first: too many */
        json_t *object = await_status(w, id[1], "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "token_limit_exceeded");
        json_decref(object);
        atomic_store(&w->hold, false);
        json_decref(await_status(w, id[0], "completed"));
        put_batch(w, file, BATCH_WINDOW_S, id[2]); /* behind it: fine */
        json_decref(await_status(w, id[2], "completed"));
        world_stop(w);
        limits_close(limits);
}

/* Batches that begin at once and of which one has room: what they hold together is what the one does. */
static void test_token_limit_is_raced_for(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[8][ID_MAX], err[256];
        struct limit_rule rule;
        limit_rule_init(&rule);
        rule.max[LIMIT_BATCH_TOKENS] = 400;
        struct limits_options o = { .rules = &rule, .n_rules = 1 };
        struct limits *limits;
        struct object row;
        int running = 0;
        assert_int_equal(limits_open(&o, w->store, &limits, err, sizeof(err)), 0);
        w->limits = limits;
        atomic_store(&w->hold, true);
        put_lines(w, 10, file);
        for (int i = 0; i < 8; i++)
                put_batch(w, file, BATCH_WINDOW_S, id[i]);
        world_start(w, 8);
        for (int i = 0; i < 8; i++) {
                json_t *object = get_batch(w, id[i]);
                for (; !strcmp(json_cstr(object, "status", ""), "validating"); object = get_batch(w, id[i])) {
                        json_decref(object);
                        pause_ms(5);
                }
                running += !strcmp(json_cstr(object, "status", ""), "in_progress");
                json_decref(object);
        }
        assert_int_equal(running, 1);
        assert_int_equal(store_get(w->store, BATCH_QUEUE_KIND, PROJECT "/m1", PROJECT, &row, NULL), 0);
        assert_false(str_eqc(row.doc, "{\"tokens\":0}"));
        object_release(&row);
        atomic_store(&w->hold, false);
        await_jobs(w);
        assert_int_equal(store_get(w->store, BATCH_QUEUE_KIND, PROJECT "/m1", PROJECT, &row, NULL), 0);
        assert_true(str_eqc(row.doc, "{\"tokens\":0}"));
        object_release(&row);
        world_stop(w);
        limits_close(limits);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_completes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries_what_is_refused_for_now, setup, teardown),
                cmocka_unit_test_setup_teardown(test_spent_budget, setup, teardown),
                cmocka_unit_test_setup_teardown(test_share, setup, teardown),
                cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel_before_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_waiting_ones_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_expires, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_inputs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_all_errors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_too_many_lines, setup, teardown),
                cmocka_unit_test_setup_teardown(test_token_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_token_limit_is_raced_for, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
