/* Blobs in the data directory: the common suite, and what only a directory can show. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fault.h"
#include "store/blob.h"
#include "store/conformance_blob.h"

#define CHUNK (256 << 10)

static char dir[64], err[256];

static int open_blobs(bool exclusive, struct blobs **ret)
{
        struct blobs_options o = { .data_dir = dir, .exclusive = exclusive };
        return blobs_open(&o, ret, err, sizeof(err));
}

static int dir_open(struct blob_fixture *f)
{
        snprintf(dir, sizeof(dir), "/tmp/cairn-blob-XXXXXX");
        return mkdtemp(dir) ? open_blobs(true, &f->blobs) : -errno;
}

static void dir_close(struct blob_fixture *f)
{
        char command[128];
        blobs_close(f->blobs);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
}

static struct blobs *dir_again(struct blob_fixture *f)
{
        struct blobs *b = NULL;
        (void)f;
        assert_int_equal(open_blobs(false, &b), 0);
        return b;
}

static struct blob_fixture directory = { .open = dir_open, .close = dir_close, .again = dir_again };

static int setup(void **state)
{
        int rc = dir_open(&directory);
        *state = directory.blobs;
        return rc;
}

static int teardown(void **state)
{
        (void)state;
        dir_close(&directory);
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

static void nothing_shows_before_the_commit(void **state)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(*state, 100, &w), 0);
        assert_int_equal(blob_append(w, "x", 1), 0);
        assert_int_equal(entries("blobs/tmp"), 1);
        assert_int_equal(entries("blobs"), 1); /* tmp */
        blob_abort(w);
        blob_abort(NULL);
        assert_int_equal(entries("blobs/tmp"), 0);
        assert_int_equal(blob_create(*state, 1, &w), 0);
        assert_int_equal(blob_append(w, "xy", 2), -EFBIG);
        assert_int_equal(blob_commit(w, &info), -EFBIG);
        assert_int_equal(entries("blobs/tmp"), 0);
        assert_int_equal(entries("blobs"), 1); /* tmp */
}

static void leftovers_go_at_the_servers_start(void **state)
{
        struct blob_writer *w;
        struct blobs *other;
        assert_int_equal(blob_create(*state, 100, &w), 0);
        assert_int_equal(open_blobs(false, &other), 0); /* a tool takes nothing away */
        assert_int_equal(entries("blobs/tmp"), 1);
        blobs_close(other);
        assert_int_equal(open_blobs(true, &other), 0);
        assert_int_equal(entries("blobs/tmp"), 0);
        blobs_close(other);
        blob_abort(w);
}

/* Where other servers write too, nobody knows whose is dead: what is not written to any more goes by its age.
 */
static void leftovers_of_a_shared_folder_go_by_age(void **state)
{
        struct blobs_options o = { .data_dir = dir, .exclusive = true, .shared = true };
        struct blob_writer *mine, *dead;
        struct blobs *other;
        struct blob_info info;
        char path[160];
        struct timespec old[2] = { { .tv_sec = time(NULL) - 100 }, { .tv_sec = time(NULL) - 100 } };
        assert_int_equal(blob_create(*state, 100, &dead), 0);
        struct dirent *entry;
        snprintf(path, sizeof(path), "%s/blobs/tmp", dir);
        DIR *d = opendir(path);
        while ((entry = readdir(d)))
                if (entry->d_name[0] != '.')
                        assert_int_equal(utimensat(dirfd(d), entry->d_name, old, 0), 0);
        closedir(d);
        assert_int_equal(blob_create(*state, 100, &mine), 0);
        assert_int_equal(blobs_open(&o, &other, err, sizeof(err)), 0);
        assert_int_equal(entries("blobs/tmp"), 2);
        assert_int_equal(blobs_abandon(other, 50), 0);
        assert_int_equal(entries("blobs/tmp"), 1);
        blobs_close(other);
        blob_abort(dead);
        assert_int_equal(blob_append(mine, "x", 1), 0);
        assert_int_equal(blob_commit(mine, &info), 0);
}

static void deletion_spares_open_readers(void **state)
{
        struct blob_info info = blob_put_pattern(*state, 2 * CHUNK, 1);
        struct blob_reader *r;
        char got[3];
        size_t n;
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(blob_delete(*state, info.id), 0);
        assert_int_equal(blob_read(r, CHUNK + 1, got, 3, &n), 0);
        assert_int_equal(n, 3);
        blob_reader_free(r);
        assert_int_equal(blob_open(*state, info.id, &r), -ENOENT);
}

static void a_bad_place_is_named(void **state)
{
        struct blobs *b;
        (void)state;
        struct blobs_options nowhere = { .data_dir = "/proc/nothing", .exclusive = true },
                             strange = { .data_dir = dir, .url = "ftp://bucket" };
        assert_true(blobs_open(&nowhere, &b, err, sizeof(err)) < 0);
        assert_null(b);
        assert_non_null(strstr(err, "/proc/nothing"));
        assert_int_equal(blobs_open(&strange, &b, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "ftp://bucket"));
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
        assert_int_equal(entries("blobs/tmp"), 0);
        assert_int_equal(entries("blobs"), 1); /* tmp */
}

/* ---- damage ---- */

static int open_file(const char *id)
{
        char path[160];
        snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", dir, id, id + 2);
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        return fd;
}

static void flip(const char *id, off_t at)
{
        char c;
        int fd = open_file(id);
        if (at < 0)
                at += lseek(fd, 0, SEEK_END);
        assert_int_equal(pread(fd, &c, 1, at), 1);
        c ^= 4;
        assert_int_equal(pwrite(fd, &c, 1, at), 1);
        close(fd);
}

static uint64_t damage_seen(struct blobs *b)
{
        struct blobs_stats stats;
        blobs_get_stats(b, &stats);
        return stats.damaged;
}

static void a_flipped_bit_is_found_where_it_is(void **state)
{
        struct blob_info info = blob_put_pattern(*state, 3 * CHUNK, 9);
        struct blob_reader *r;
        char c;
        size_t n;
        flip(info.id, CHUNK + 100);
        assert_int_equal(blob_open(*state, info.id, &r), 0);
        assert_int_equal(blob_read(r, CHUNK - 1, &c, 1, &n), 0); /* its neighbours are fine */
        assert_int_equal(blob_read(r, 2 * CHUNK, &c, 1, &n), 0);
        assert_int_equal(blob_read(r, CHUNK, &c, 1, &n), -EBADMSG); /* but not its chunk */
        assert_non_null(strstr(blob_fault(), info.id));
        blob_reader_free(r);
        assert_int_equal(damage_seen(*state), 1);
        assert_int_equal(blob_verify(*state, info.id), -EBADMSG);
        assert_int_equal(damage_seen(*state), 2);
}

static void every_bit_of_a_small_blob_counts(void **state)
{
        struct blob_info info = blob_put_text(*state, "abc");
        struct stat st;
        int fd = open_file(info.id);
        assert_int_equal(fstat(fd, &st), 0);
        close(fd);
        for (off_t at = 0; at < st.st_size; at++) {
                flip(info.id, at);
                assert_int_equal(blob_verify(*state, info.id), -EBADMSG);
                flip(info.id, at);
        }
        assert_int_equal(blob_verify(*state, info.id), 0);
}

static void every_lost_end_is_found(void **state)
{
        struct blob_info info = blob_put_text(*state, "abcdef");
        struct stat st;
        int fd = open_file(info.id);
        assert_int_equal(fstat(fd, &st), 0);
        for (off_t size = st.st_size - 1; size >= 0; size--) {
                assert_int_equal(ftruncate(fd, size), 0);
                assert_int_equal(blob_verify(*state, info.id), -EBADMSG);
        }
        close(fd);
}

static void another_blob_under_the_name_is_found(void **state)
{
        struct blob_info a = blob_put_text(*state, "aaa"), b = blob_put_text(*state, "bbb");
        char from[160], to[160];
        snprintf(from, sizeof(from), "%s/blobs/%.2s/%s", dir, a.id, a.id + 2);
        snprintf(to, sizeof(to), "%s/blobs/%.2s/%s", dir, b.id, b.id + 2);
        assert_int_equal(rename(from, to), 0);
        assert_int_equal(blob_verify(*state, b.id), -EBADMSG);
}

#ifdef CAIRN_FAULTS
static void a_failed_sync_is_no_commit(void **state)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(*state, 10, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        assert_int_equal(fault_arm(STR("blob.sync:1:EIO")), 0);
        assert_int_equal(blob_commit(w, &info), -EIO);
        fault_clear();
        assert_int_equal(entries("blobs/tmp"), 0);
        assert_int_equal(entries("blobs"), 1); /* tmp */
}
#endif

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(nothing_shows_before_the_commit),
                CASE(leftovers_go_at_the_servers_start),
                CASE(leftovers_of_a_shared_folder_go_by_age),
                CASE(deletion_spares_open_readers),
                CASE(a_bad_place_is_named),
                CASE(a_full_disk_is_an_error),
                CASE(a_flipped_bit_is_found_where_it_is),
                CASE(every_bit_of_a_small_blob_counts),
                CASE(every_lost_end_is_found),
                CASE(another_blob_under_the_name_is_found),
#ifdef CAIRN_FAULTS
                CASE(a_failed_sync_is_no_commit),
#endif
        };
        int failed = blob_conformance("directory", &directory);
        return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
