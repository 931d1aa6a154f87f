#include "store/conformance_blob.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "base/fault.h"
#include "base/mem.h"

#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-2, B.1 */
#define BLOCK 65536
#define CHUNK (256 << 10)

static struct blob_fixture *fixture;

static int setup(void **state)
{
        int rc = fixture->open(fixture);
        *state = fixture->blobs;
        return rc;
}

static int teardown(void **state)
{
        (void)state;
        fixture->close(fixture);
        return 0;
}

/* ---- helpers ---- */

struct blob_info blob_put_text(struct blobs *b, const char *text)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(b, 1000, &w), 0);
        assert_int_equal(blob_append(w, text, strlen(text)), 0);
        assert_int_equal(blob_commit(w, &info), 0);
        return info;
}

/* Byte `at` of a pattern: no period that a chunk or a part could hide. */
static unsigned char pattern(uint64_t at, unsigned seed)
{
        uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15ull + seed * 0xbf58476d1ce4e5b9ull;
        x ^= x >> 29;
        return (unsigned char)(x >> 8 * (at & 7));
}

static void pattern_fill(unsigned char *p, size_t n, uint64_t at, unsigned seed)
{
        for (size_t i = 0; i < n; i++)
                p[i] = pattern(at + i, seed);
}

struct blob_info blob_put_pattern(struct blobs *b, uint64_t size, unsigned seed)
{
        static _Thread_local unsigned char block[BLOCK];
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(b, size, &w), 0);
        for (uint64_t at = 0; at < size;) {
                size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
                pattern_fill(block, n, at, seed);
                assert_int_equal(blob_append(w, block, n), 0);
                at += n;
        }
        assert_int_equal(blob_commit(w, &info), 0);
        assert_int_equal(info.size, size);
        return info;
}

static void expect_range(struct blob_reader *r, uint64_t from, size_t n, uint64_t size, unsigned seed)
{
        unsigned char *got = mem_alloc(n), *want = mem_alloc(n);
        size_t expected = from >= size ? 0 : size - from < n ? (size_t)(size - from) : n, read;
        assert_int_equal(blob_read(r, from, got, n, &read), 0);
        assert_int_equal(read, expected);
        pattern_fill(want, expected, from, seed);
        assert_memory_equal(got, want, expected);
        mem_free(got);
        mem_free(want);
}

void blob_expect_pattern(struct blobs *b, const char *id, uint64_t size, unsigned seed)
{
        struct blob_reader *r;
        assert_int_equal(blob_open(b, id, &r), 0);
        assert_int_equal(blob_size(r), size);
        for (uint64_t at = 0; at <= size; at += BLOCK)
                expect_range(r, at, BLOCK, size, seed);
        blob_reader_free(r);
}

/* ---- the suite ---- */

static void a_blob_is_written_and_read(void **state)
{
        struct blob_writer *w;
        struct blob_reader *r;
        struct blob_info info;
        char got[10];
        size_t n;
        assert_int_equal(blob_create(*state, 3, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        assert_int_equal(blob_append(w, "bc", 2), 0);
        assert_int_equal(blob_append(w, "", 0), 0);
        assert_int_equal(blob_written(w), 3);
        assert_int_equal(blob_commit(w, &info), 0);
        assert_string_equal(info.sha256, ABC_SHA256);
        assert_int_equal(info.size, 3);
        assert_int_equal(strlen(info.id), BLOB_ID_LEN);
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(blob_size(r), 3);
        assert_string_equal(blob_sha256(r), ABC_SHA256);
        assert_int_equal(blob_read(r, 0, got, sizeof(got), &n), 0);
        assert_int_equal(n, 3);
        assert_memory_equal(got, "abc", 3);
        assert_int_equal(blob_read(r, 1, got, 1, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(got[0], 'b');
        assert_int_equal(blob_read(r, 3, got, 1, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(blob_read(r, UINT64_MAX, got, 1, &n), 0);
        assert_int_equal(n, 0);
        blob_reader_free(r);
        assert_int_equal(blob_verify(*state, info.id), 0);
}

static void sizes_around_chunks_and_parts(void **state)
{
        static const uint64_t sizes[] = { 0,         1,       CHUNK - 1,     CHUNK,          CHUNK + 1,
                                          5 * CHUNK, 8 << 20, (8 << 20) + 1, (17 << 20) + 13 };
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
                struct blob_info info = blob_put_pattern(*state, sizes[i], i);
                blob_expect_pattern(*state, info.id, sizes[i], i);
        }
}

static void ranges_are_what_was_written(void **state)
{
        uint64_t size = 3 * CHUNK + 777;
        struct blob_info info = blob_put_pattern(*state, size, 5);
        struct blob_reader *r;
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        expect_range(r, 0, 1, size, 5);
        expect_range(r, CHUNK - 1, 2, size, 5);
        expect_range(r, size - 1, 10, size, 5);
        expect_range(r, 5, 2 * CHUNK, size, 5);
        expect_range(r, 0, 4 * CHUNK, size, 5);
        expect_range(r, size, 1, size, 5);
        blob_reader_free(r);
}

static void blobs_are_seen_by_other_processes(void **state)
{
        struct blob_info info = blob_put_text(*state, "kept");
        struct blobs *other = fixture->again(fixture);
        struct blob_reader *r;
        assert_int_equal(blob_open(other, info.id, &r), 0);
        assert_int_equal(blob_size(r), 4);
        blob_reader_free(r);
        blobs_close(other);
}

static void limits_are_kept(void **state)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(*state, 4, &w), 0);
        assert_int_equal(blob_append(w, "1234", 4), 0);
        assert_int_equal(blob_append(w, "5", 1), -EFBIG);
        assert_int_equal(blob_append(w, "", 0), -EFBIG); /* the failure stays */
        assert_int_equal(blob_commit(w, &info), -EFBIG);
        assert_string_equal(info.id, "");
}

static void what_is_no_id_is_no_path(void **state)
{
        static const char *const ids[] = { "",
                                           "..",
                                           "../../../../etc/passwd",
                                           "0123456789abcdef0123456789abcde",
                                           "0123456789abcdef0123456789abcdef0",
                                           "0123456789ABCDEF0123456789ABCDEF",
                                           "../3456789abcdef0123456789abcdef",
                                           "0123456789abcdef0123456789abcdef" };
        struct blob_reader *r;
        for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
                assert_int_equal(blob_open(*state, ids[i], &r), -ENOENT);
                assert_int_equal(blob_delete(*state, ids[i]), -ENOENT);
        }
        assert_int_equal(blob_open(*state, NULL, &r), -ENOENT);
}

static void deleted_blobs_are_gone(void **state)
{
        struct blob_info info = blob_put_text(*state, "abc"), big = blob_put_pattern(*state, 9 << 20, 1);
        struct blob_reader *r;
        assert_int_equal(blob_delete(*state, info.id), 0);
        assert_int_equal(blob_delete(*state, info.id), -ENOENT);
        assert_int_equal(blob_delete(*state, big.id), 0);
        assert_int_equal(blob_open(*state, info.id, &r), -ENOENT);
        assert_int_equal(blob_open(*state, big.id, &r), -ENOENT);
        assert_null(r);
}

static int stop_at_once(void *ctx, const char *id, int64_t modified)
{
        (void)id;
        (void)modified;
        ++*(int *)ctx;
        return 7;
}

static void a_held_blob_outlives_its_deletion(void **state)
{
        struct blob_info info = blob_put_text(*state, "abc"), free = blob_put_text(*state, "def");
        struct blob_reader *r;
        assert_int_equal(blob_hold(*state, info.id), 0);
        assert_int_equal(blob_hold(*state, info.id), 0);
        assert_int_equal(blob_hold(*state, free.id), 0);
        assert_int_equal(blob_delete(*state, info.id), 0);
        blob_unhold(*state, free.id);
        blob_unhold(*state, info.id);
        blobs_sweep(*state);
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        blob_reader_free(r);
        blob_unhold(*state, info.id);
        blobs_sweep(*state);
        assert_int_equal(blob_open(*state, info.id, &r), -ENOENT);
        assert_int_equal(blob_verify(*state, free.id), 0);
        assert_int_equal(blob_delete(*state, free.id), 0);
        assert_int_equal(blob_open(*state, free.id, &r), -ENOENT);
}

static void a_mark_is_kept_beside_the_blobs(void **state)
{
        struct blobs *other = fixture->again(fixture);
        char mark[BLOBS_MARK_MAX];
        int calls = 0;
        assert_int_equal(blobs_mark(*state, mark), -ENOENT);
        assert_int_equal(blobs_set_mark(*state, "inst_1"), 0);
        assert_int_equal(blobs_mark(other, mark), 0);
        assert_string_equal(mark, "inst_1");
        assert_int_equal(blobs_set_mark(other, "inst_22"), 0);
        assert_int_equal(blobs_mark(*state, mark), 0);
        assert_string_equal(mark, "inst_22");
        assert_int_equal(blobs_list(*state, stop_at_once, &calls), 0); /* it is no blob */
        assert_non_null(blobs_where(*state));
        blobs_close(other);
}

struct seen {
        char ids[8][BLOB_ID_LEN + 1];
        size_t n;
};

static int see(void *ctx, const char *id, int64_t modified)
{
        struct seen *s = ctx;
        int64_t now = (int64_t)time(NULL);
        assert_true(modified > now - 600 && modified < now + 600);
        assert_true(s->n < 8);
        snprintf(s->ids[s->n++], BLOB_ID_LEN + 1, "%s", id);
        return 0;
}

static void all_blobs_are_listed(void **state)
{
        struct seen s = { .n = 0 };
        int calls = 0;
        assert_int_equal(blobs_list(*state, see, &s), 0);
        assert_int_equal(s.n, 0);
        struct blob_info a = blob_put_text(*state, "a"), b = blob_put_text(*state, "b");
        assert_int_equal(blobs_list(*state, see, &s), 0);
        assert_int_equal(s.n, 2);
        bool straight = !strcmp(s.ids[0], a.id);
        assert_string_equal(s.ids[!straight], a.id);
        assert_string_equal(s.ids[straight], b.id);
        assert_int_equal(blobs_list(*state, stop_at_once, &calls), 7);
        assert_int_equal(calls, 1);
}

static void copies_keep_their_ids(void **state)
{
        struct blob_info info = blob_put_pattern(*state, CHUNK + 5, 3);
        char dir[] = "/tmp/cairn-blob-copy-XXXXXX", err[256];
        struct blobs *to;
        assert_non_null(mkdtemp(dir));
        struct blobs_options o = { .data_dir = dir, .exclusive = true };
        assert_int_equal(blobs_open(&o, &to, err, sizeof(err)), 0);
        assert_int_equal(blob_copy(*state, info.id, to), 0);
        assert_int_equal(blob_copy(*state, info.id, to), 0);
        blob_expect_pattern(to, info.id, CHUNK + 5, 3);
        assert_int_equal(blob_delete(*state, info.id), 0);
        assert_int_equal(blob_copy(to, info.id, *state), 0); /* and back */
        blob_expect_pattern(*state, info.id, CHUNK + 5, 3);
        assert_int_equal(blob_copy(*state, "0123456789abcdef0123456789abcdef", to), -ENOENT);
        blobs_close(to);
        char command[96];
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0); /* allowed: a test removes its own directory */
}

static void *put_many(void *arg)
{
        char text[32];
        for (int i = 0; i < 10; i++) {
                snprintf(text, sizeof(text), "%d %p", i, (void *)&text);
                struct blob_info info = blob_put_text(arg, text);
                struct blob_reader *r;
                assert_int_equal(blob_open(arg, info.id, &r), 0);
                assert_int_equal(blob_size(r), strlen(text));
                blob_reader_free(r);
        }
        return NULL;
}

static void threads_share_the_blobs(void **state)
{
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, put_many, *state), 0);
        for (int i = 0; i < 8; i++)
                pthread_join(threads[i], NULL);
}

static void what_is_done_is_counted(void **state)
{
        struct blobs_stats stats;
        char err[256] = "";
        assert_int_equal(blobs_ping(*state, err, sizeof(err)), 0);
        struct blob_info info = blob_put_text(*state, "abc");
        assert_int_equal(blob_verify(*state, info.id), 0);
        blob_expect_pattern(*state, blob_put_pattern(*state, 100, 1).id, 100, 1);
        blobs_get_stats(*state, &stats);
        assert_int_equal(stats.written, 103);
        assert_int_equal(stats.read, 100);
        assert_int_equal(stats.damaged, 0);
}

#ifdef CAIRN_FAULTS
static int nothing(void *ctx, const char *id, int64_t modified)
{
        (void)ctx;
        (void)id;
        (void)modified;
        return -1;
}

static void a_failed_write_leaves_nothing(void **state)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(fault_arm(STR("blob.write:2:ENOSPC")), 0);
        assert_int_equal(blob_create(*state, 100, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        assert_int_equal(blob_append(w, "b", 1), -ENOSPC);
        assert_non_null(strstr(blob_fault(), strerror(ENOSPC)));
        assert_int_equal(blob_append(w, "c", 1), -ENOSPC);
        assert_int_equal(blob_commit(w, &info), -ENOSPC);
        assert_int_equal(fault_arm(STR("blob.write:2:EROFS")), 0); /* in the trailer */
        assert_int_equal(blob_create(*state, 100, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        assert_int_equal(blob_commit(w, &info), -EROFS);
        fault_clear();
        assert_int_equal(blobs_list(*state, nothing, NULL), 0);
}

static void a_failed_read_is_no_damage(void **state)
{
        struct blob_info info = blob_put_pattern(*state, 2 * CHUNK, 1);
        struct blobs_stats stats;
        struct blob_reader *r;
        char c;
        size_t n;
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(fault_arm(STR("blob.read:1:EIO")), 0);
        assert_int_equal(blob_read(r, 0, &c, 1, &n), -EIO);
        assert_int_equal(blob_read(r, 0, &c, 1, &n), 0);
        assert_int_equal(n, 1);
        fault_clear();
        blobs_get_stats(*state, &stats);
        assert_int_equal(stats.damaged, 0);
        blob_reader_free(r);
}
#endif

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int blob_conformance(const char *backend, struct blob_fixture *f)
{
        const struct CMUnitTest tests[] = {
                CASE(a_blob_is_written_and_read),
                CASE(sizes_around_chunks_and_parts),
                CASE(ranges_are_what_was_written),
                CASE(blobs_are_seen_by_other_processes),
                CASE(limits_are_kept),
                CASE(what_is_no_id_is_no_path),
                CASE(deleted_blobs_are_gone),
                CASE(a_held_blob_outlives_its_deletion),
                CASE(a_mark_is_kept_beside_the_blobs),
                CASE(all_blobs_are_listed),
                CASE(copies_keep_their_ids),
                CASE(threads_share_the_blobs),
                CASE(what_is_done_is_counted),
#ifdef CAIRN_FAULTS
                CASE(a_failed_write_leaves_nothing),
                CASE(a_failed_read_is_no_damage),
#endif
        };
        fixture = f;
        return cmocka_run_group_tests_name(backend, tests, NULL, NULL);
}
