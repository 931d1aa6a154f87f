#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "store/blob.h"

#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-2, B.1 */

static char dir[64], err[256];

static void dir_remove(void)
{
        char command[128];
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        if (*dir)
                assert_int_equal(system(command), 0);
        *dir = '\0';
}

static int setup(void **state)
{
        dir_remove();
        snprintf(dir, sizeof(dir), "/tmp/cairn-blob-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        return blobs_open(dir, 1, (struct blobs **)state, err, sizeof(err));
}

static int teardown(void **state)
{
        blobs_close(*state);
        dir_remove();
        return 0;
}

static int entries(const char *sub)
{
        char path[128];
        int n = 0;
        snprintf(path, sizeof(path), "%s/%s", dir, sub);
        DIR *d = opendir(path);
        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n - 2; /* . and .. */
}

static struct blob_info put(struct blobs *b, const char *text)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(b, 1000, &w), 0);
        assert_int_equal(blob_append(w, text, strlen(text)), 0);
        assert_int_equal(blob_commit(w, &info), 0);
        return info;
}

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
        assert_int_equal(entries("blobs"), 0); /* not visible yet */
        assert_int_equal(blob_commit(w, &info), 0);
        assert_string_equal(info.sha256, ABC_SHA256);
        assert_int_equal(info.size, 3);
        assert_int_equal(strlen(info.id), BLOB_ID_LEN);
        assert_int_equal(entries("tmp"), 0);
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(blob_size(r), 3);
        assert_true(blob_fd(r) >= 0);
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
}

static void blobs_outlive_the_store(void **state)
{
        struct blob_info info = put(*state, "kept");
        struct blob_reader *r;
        blobs_close(*state);
        assert_int_equal(blobs_open(dir, 1, (struct blobs **)state, err, sizeof(err)), 0);
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(blob_size(r), 4);
        blob_reader_free(r);
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
        assert_int_equal(entries("tmp"), 0);
        assert_int_equal(entries("blobs"), 0);
}

static void aborted_blobs_leave_nothing(void **state)
{
        struct blob_writer *w;
        assert_int_equal(blob_create(*state, 100, &w), 0);
        assert_int_equal(blob_append(w, "x", 1), 0);
        assert_int_equal(entries("tmp"), 1);
        blob_abort(w);
        blob_abort(NULL);
        assert_int_equal(entries("tmp"), 0);
}

static void leftovers_go_at_the_servers_start(void **state)
{
        struct blob_writer *w;
        struct blobs *other;
        assert_int_equal(blob_create(*state, 100, &w), 0);
        assert_int_equal(blobs_open(dir, 0, &other, err, sizeof(err)), 0); /* a tool takes nothing away */
        assert_int_equal(entries("tmp"), 1);
        blobs_close(other);
        assert_int_equal(blobs_open(dir, 1, &other, err, sizeof(err)), 0);
        assert_int_equal(entries("tmp"), 0);
        blobs_close(other);
        blob_abort(w);
}

static void deletion_spares_open_readers(void **state)
{
        struct blob_info info = put(*state, "abc");
        struct blob_reader *r;
        char got[3];
        size_t n;
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(blob_delete(*state, info.id), 0);
        assert_int_equal(blob_delete(*state, info.id), -ENOENT);
        assert_int_equal(blob_read(r, 0, got, 3, &n), 0);
        assert_memory_equal(got, "abc", 3);
        blob_reader_free(r);
        assert_int_equal(blob_open(*state, info.id, &r), -ENOENT);
        assert_null(r);
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

static void a_bad_place_is_named(void **state)
{
        struct blobs *b;
        (void)state;
        assert_true(blobs_open("/proc/nothing", 1, &b, err, sizeof(err)) < 0);
        assert_null(b);
        assert_non_null(strstr(err, "/proc/nothing"));
}

static void a_full_disk_is_an_error(void **state)
{
        int status;
        fflush(NULL);
        if (!fork()) {
                struct rlimit limit = { 1 << 20, 1 << 20 };
                struct blob_writer *w;
                static char block[65536];
                int rc = 0;
                signal(SIGXFSZ, SIG_IGN);
                setrlimit(RLIMIT_FSIZE, &limit);
                if (blob_create(*state, UINT64_MAX, &w))
                        _exit(1);
                for (int i = 0; i < 100 && !rc; i++)
                        rc = blob_append(w, block, sizeof(block));
                struct blob_info info;
                _exit(rc == -ENOSPC && blob_commit(w, &info) == -ENOSPC ? 0 : 2);
        }
        wait(&status);
        assert_int_equal(status, 0);
        assert_int_equal(entries("tmp"), 0);
        assert_int_equal(entries("blobs"), 0);
}

static void *put_many(void *arg)
{
        char text[32];
        for (int i = 0; i < 20; i++) {
                snprintf(text, sizeof(text), "%d %p", i, (void *)&text);
                struct blob_info info = put(arg, text);
                struct blob_reader *r;
                assert_int_equal(blob_open(arg, info.id, &r), 0);
                assert_int_equal(blob_size(r), strlen(text));
                blob_reader_free(r);
        }
        return NULL;
}

static void threads_share_the_store(void **state)
{
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, put_many, *state), 0);
        for (int i = 0; i < 8; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(entries("tmp"), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(a_blob_is_written_and_read),
                CASE(blobs_outlive_the_store),
                CASE(limits_are_kept),
                CASE(aborted_blobs_leave_nothing),
                CASE(deletion_spares_open_readers),
                CASE(leftovers_go_at_the_servers_start),
                CASE(what_is_no_id_is_no_path),
                CASE(a_bad_place_is_named),
                CASE(a_full_disk_is_an_error),
                CASE(threads_share_the_store),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
