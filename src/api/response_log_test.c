/* The log of a response in the store: rows, their places, reading from anywhere, padding, damage. */
#include "api/response_log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/rand.h"

static struct store *store;
static char dir[] = "/tmp/cairn-log-XXXXXX";
static const struct log_owner owner = { "resp_1", "proj_1", 1000, 0 };

static json_t *event(int64_t sequence)
{
        bool delta = sequence % 3 == 0;
        char text[80];
        snprintf(text, sizeof(text), "%.*s\n\"%lld", (int)(sequence % 20), "abcdefghijklmnopqrstuvwxyz",
                 (long long)sequence);
        return json_pack("{s:s, s:I, s:s}", "type",
                         delta ? "response.output_text.delta" : "response.output_text.done",
                         "sequence_number", (json_int_t)sequence, "text", text);
}

static void append(const struct log_batch *b, const struct log_owner *to, int want)
{
        struct log_rows rows;
        assert_int_equal(log_rows_make(b, to, &rows), 0);
        assert_int_equal(store_write(store, rows.ops, rows.n, NULL), want);
        log_rows_release(&rows);
}

/* Adds events up to `end` in batches of random sizes. */
static void write_log(const struct log_owner *to, struct rng *rng, int64_t from, int64_t end)
{
        struct log_batch b, group;
        log_batch_init(&b, from);
        log_batch_init(&group, from);
        while (log_batch_next(&b) < end) {
                int64_t n = 1 + (int64_t)rng_below(rng, 150);
                while (n-- && log_batch_next(&group) < end) {
                        json_t *e = event(log_batch_next(&group));
                        assert_int_equal(log_batch_add(&group, e), 0);
                        json_decref(e);
                }
                assert_int_equal(log_batch_move(&b, &group), 0);
                append(&b, to, 0);
                log_batch_clear(&b, log_batch_next(&b));
                log_batch_clear(&group, log_batch_next(&b));
        }
        log_batch_release(&b);
        log_batch_release(&group);
}

static int check_line(void *ctx, const struct log_line *line)
{
        int64_t *next = ctx;
        struct json_fault why;
        json_t *read = json_parse(line->json, 16, &why), *wanted = event(*next);
        assert_int_equal(line->sequence, *next);
        assert_true(json_equal(read, wanted));
        assert_true(str_eq(line->type, json_str(wanted, "type")));
        json_decref(read);
        json_decref(wanted);
        (*next)++;
        return 0;
}

static void test_written_and_read(void **state)
{
        struct rng rng;
        (void)state;
        rng_seed(&rng, 1);
        write_log(&owner, &rng, 0, 1000);
        int64_t next = 0;
        assert_int_equal(log_each(store, &owner, check_line, &next, NULL), 0);
        assert_int_equal(next, 1000);
        struct log_owner other = { "resp_1", "proj_2", 1000, 0 };
        next = 0;
        assert_int_equal(log_each(store, &other, check_line, &next, NULL), 0); /* another project's is none */
        assert_int_equal(next, 0);
}

/* From any number the row to begin with is there, and the rows from it on have what follows. */
static void test_read_from_anywhere(void **state)
{
        (void)state;
        for (int64_t from = 0; from < 1000; from += 7) {
                int64_t row = log_row_start(from), next = -1;
                struct object o;
                assert_true(row <= from);
                while (next < 1000 && log_row_read(store, &owner, row, &o, NULL) == 0) {
                        struct str rest = o.doc;
                        struct log_line line;
                        while (log_line_next(&rest, &line) == 1) {
                                assert_int_equal(line.sequence, row);
                                row++;
                                next = line.sequence;
                        }
                        object_release(&o);
                }
                assert_int_equal(next, 999);
        }
}

/* Nobody appends at a place that is taken. */
static void test_appended_once(void **state)
{
        struct log_batch b;
        (void)state;
        log_batch_init(&b, 1000);
        json_t *e = event(1000);
        assert_int_equal(log_batch_add(&b, e), 0);
        append(&b, &owner, 0);
        append(&b, &owner, -EEXIST);
        json_decref(e);
        log_batch_release(&b);
}

static void write_line(const struct log_line *line, const char *response, bool obfuscate, struct buf *out)
{
        buf_clear(out);
        log_line_write(line, response, obfuscate, out);
        assert_int_equal(buf_error(out), 0);
}

/* The padding hides the length, belongs to the event, and is no part of others. */
static void test_padding(void **state)
{
        struct buf a, b;
        (void)state;
        buf_init(&a, 4096);
        buf_init(&b, 4096);
        for (int64_t i = 0; i < 60; i++) {
                json_t *e = event(i);
                struct str json;
                json.p = json_text(e, &json.n);
                struct log_line line = { json, json_str(e, "type"), i };
                write_line(&line, "resp_1", true, &a);
                write_line(&line, "resp_1", true, &b);
                assert_true(str_eq(buf_str(&a), buf_str(&b)));
                write_line(&line, "resp_2", true, &b);
                assert_true(str_eq(buf_str(&a), buf_str(&b)) == (i % 3 != 0));
                if (i % 3 == 0)
                        assert_int_equal((a.n - strlen(",\"obfuscation\":\"\"")) % 16, 0);
                write_line(&line, "resp_1", false, &b);
                assert_true(str_eq(buf_str(&b), json));
                mem_free((char *)json.p);
                json_decref(e);
        }
        buf_release(&a);
        buf_release(&b);
}

static int count(void *ctx, const struct log_line *line)
{
        (void)line;
        ++*(int *)ctx;
        return 0;
}

/* Damaged rows are an error, not an endless or a shortened log. */
static void test_damage(void **state)
{
        static const char *const docs[] = {
                "[]",
                "[\n]",
                "{}",
                "[\n{\"type\":\"x\"}\n]",
                "[\n{\"type\":\"x\",\"sequence_number\":1}\n]",
                "[\n{\"type\":\"x\",\"sequence_number\":}\n]",
                "[\nnull\n]",
                "",
        };
        (void)state;
        for (size_t i = 0; i < sizeof(docs) / sizeof(*docs); i++) {
                char id[32], row[64];
                int n = 0;
                snprintf(id, sizeof(id), "resp_bad%zu", i);
                snprintf(row, sizeof(row), "%s_0", id);
                struct log_owner bad = { id, "proj_1", 1, 0 };
                struct store_op op = { .verb = STORE_PUT,
                                       .kind = KIND_RESPONSE_EVENTS,
                                       .id = row,
                                       .project = "proj_1",
                                       .doc = str_c(docs[i]) };
                assert_int_equal(store_write(store, &op, 1, NULL), 0);
                assert_int_equal(log_each(store, &bad, count, &n, NULL), -EBADMSG);
        }
}

static int open_store(void **state)
{
        (void)state;
        return mkdtemp(dir) ? store_open(dir, NULL, &store, NULL) : -1;
}

static int close_store(void **state)
{
        static const char *const files[] = { "cairn.db", "cairn.db-wal", "cairn.db-shm", "serve.lock" };
        (void)state;
        store_close(store);
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
                char path[64];
                snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
                unlink(path);
        }
        rmdir(dir);
        return 0;
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_written_and_read), cmocka_unit_test(test_read_from_anywhere),
                cmocka_unit_test(test_appended_once),    cmocka_unit_test(test_padding),
                cmocka_unit_test(test_damage),
        };
        return cmocka_run_group_tests(tests, open_store, close_store);
}
