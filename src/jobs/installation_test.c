/* Databases and blobs that do and do not belong together. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#include <cmocka.h>
#include "base/json.h"
#include "jobs/files.h"
#include "jobs/installation.h"

#define PROJECT "proj_a"
#define N 2 /* data directories */

static char root[64], dir[N][80], err[512];
static struct store *store[N];
static struct blobs *blobs[N];

static int setup(void **state)
{
        (void)state;
        snprintf(root, sizeof(root), "/tmp/cairn-installation-XXXXXX");
        if (!mkdtemp(root))
                return -1;
        for (int i = 0; i < N; i++) {
                snprintf(dir[i], sizeof(dir[i]), "%s/%d", root, i);
                struct blobs_options o = { .data_dir = dir[i], .exclusive = true };
                if (store_open(dir[i], NULL, &store[i], NULL) || blobs_open(&o, &blobs[i], err, sizeof(err)))
                        return -1;
        }
        return 0;
}

static int teardown(void **state)
{
        char command[128];
        (void)state;
        for (int i = 0; i < N; i++) {
                blobs_close(blobs[i]);
                store_close(store[i]);
        }
        snprintf(command, sizeof(command), "rm -rf '%s'", root);
        return system(command);
}

static int check(int database, int place, bool adopt)
{
        *err = '\0';
        return installation_check(store[database], blobs[place], adopt, err, sizeof(err));
}

/* A blob that is older than orphans are left alone. */
static struct blob_info put(int place)
{
        struct utimbuf t = { .actime = 1, .modtime = time(NULL) - 2 * FILES_ORPHAN_AGE_S };
        struct blob_writer *w;
        struct blob_info info;
        char path[200];
        assert_int_equal(blob_create(blobs[place], 1000, &w), 0);
        assert_int_equal(blob_append(w, "abc", 3), 0);
        assert_int_equal(blob_commit(w, &info), 0);
        snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", dir[place], info.id, info.id + 2);
        assert_int_equal(utime(path, &t), 0);
        return info;
}

static void name(int database, const struct blob_info *blob)
{
        struct file_new what = { .project = PROJECT, .filename = "a.txt", .purpose = "user_data" };
        struct file_made made;
        assert_int_equal(file_make(&what, blob, 1, &made), 0);
        assert_int_equal(store_write(store[database], &made.op, 1, NULL), 0);
        file_made_release(&made);
}

static bool there(int place, const char *id)
{
        struct blob_reader *r;
        int rc = blob_open(blobs[place], id, &r);
        blob_reader_free(r);
        return rc == 0;
}

static int collect(int database, int place)
{
        size_t n;
        return files_collect(store[database], blobs[place], true, NULL, NULL, &n, err, sizeof(err));
}

static void an_empty_place_is_taken_once(void **state)
{
        char mark[BLOBS_MARK_MAX];
        bool known;
        (void)state;
        assert_int_equal(check(0, 0, false), 0); /* a look changes nothing */
        assert_int_equal(blobs_mark(blobs[0], mark), -ENOENT);
        assert_int_equal(installation_known(store[0], &known, err, sizeof(err)), 0);
        assert_false(known);
        assert_int_equal(check(0, 0, true), 0);
        assert_int_equal(blobs_mark(blobs[0], mark), 0);
        assert_int_equal(check(0, 0, true), 0);
        assert_int_equal(check(1, 0, true), -EPERM);
        assert_non_null(strstr(err, mark));
        assert_non_null(strstr(err, dir[0]));
        assert_non_null(strstr(err, "--adopt"));
        assert_int_equal(installation_known(store[1], &known, err, sizeof(err)), 0);
        assert_false(known);                    /* a database that is refused is left as it was */
        assert_int_equal(check(0, 1, true), 0); /* another server's own folder */
        assert_int_equal(check(1, 1, true), -EPERM);
}

static void another_database_collects_nothing(void **state)
{
        struct blob_info kept = put(0);
        (void)state;
        name(0, &kept);
        assert_int_equal(check(0, 0, true), 0);
        assert_int_equal(collect(1, 0), -EPERM);
        assert_int_equal(check(1, 1, true), 0);
        assert_int_equal(collect(1, 0), -EPERM);
        assert_true(there(0, kept.id));
        assert_int_equal(collect(0, 0), 0);
        assert_true(there(0, kept.id));
}

/* What an older version has left has no mark. */
static void blobs_without_a_mark_belong_to_who_names_one(void **state)
{
        struct blob_info named = put(0), orphan = put(0);
        (void)state;
        assert_int_equal(collect(1, 0), -EPERM);
        assert_non_null(strstr(err, "names none of them"));
        assert_true(there(0, named.id) && there(0, orphan.id));
        name(0, &named);
        assert_int_equal(collect(0, 0), 0);
        assert_true(there(0, named.id));
        assert_false(there(0, orphan.id));
        assert_int_equal(check(1, 0, true), -EPERM);
}

static void a_copy_is_another_installation_until_it_claims(void **state)
{
        struct blob_info first = put(0), second = put(0);
        (void)state;
        name(0, &first);
        name(0, &second);
        name(1, &first); /* as a copy of the database does that is older than the second */
        assert_int_equal(check(0, 0, true), 0);
        assert_int_equal(installation_renew(store[1], NULL, err, sizeof(err)), 0);
        assert_int_equal(check(1, 0, true), -EPERM);
        assert_int_equal(collect(1, 0), -EPERM);
        assert_int_equal(installation_claim(store[1], blobs[0], err, sizeof(err)), 0);
        assert_int_equal(check(1, 0, true), 0);
        assert_int_equal(check(0, 0, true), -EPERM); /* the original is told */
        assert_int_equal(collect(0, 0), -EPERM);
        assert_int_equal(collect(1, 0), 0);
        assert_true(there(0, first.id));
        assert_false(there(0, second.id));
}

static void blobs_of_nobody_are_not_claimed(void **state)
{
        struct blob_info blob = put(0);
        (void)state;
        assert_int_equal(installation_claim(store[1], blobs[0], err, sizeof(err)), -EPERM);
        assert_int_equal(installation_claim(store[1], blobs[1], err, sizeof(err)), 0);
        assert_int_equal(check(1, 1, false), 0);
        assert_true(there(0, blob.id));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(an_empty_place_is_taken_once),
                CASE(another_database_collects_nothing),
                CASE(blobs_without_a_mark_belong_to_who_names_one),
                CASE(a_copy_is_another_installation_until_it_claims),
                CASE(blobs_of_nobody_are_not_claimed),
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
