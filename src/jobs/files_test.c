/* Files over a real store and a real directory of blobs. */
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
#include "base/clock.h"
#include "base/json.h"
#include "jobs/files.h"
#include "jobs/installation.h"

#define PROJECT "proj_a"

static char dir[64], err[256];
static struct store *store;
static struct blobs *blobs;

static int setup(void **state)
{
        struct store_options options = { .exclusive = true };
        struct store_fault fault;
        struct blobs_options o = { .data_dir = dir, .exclusive = true };
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/cairn-files-XXXXXX");
        if (!mkdtemp(dir) || store_open(dir, &options, &store, &fault))
                return -1;
        int rc = blobs_open(&o, &blobs, err, sizeof(err));
        return rc ? rc : installation_check(store, blobs, true, err, sizeof(err));
}

static int teardown(void **state)
{
        char command[128];
        (void)state;
        blobs_close(blobs);
        store_close(store);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        return system(command);
}

static struct blob_info put(const char *text)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(blobs, 1000, &w), 0);
        assert_int_equal(blob_append(w, text, strlen(text)), 0);
        assert_int_equal(blob_commit(w, &info), 0);
        return info;
}

/* A file of these blobs; its id. */
static const char *make(const struct blob_info *parts, size_t n, int64_t expires)
{
        static char id[ID_MAX];
        struct file_new what = { .project = PROJECT,
                                 .filename = "a.txt",
                                 .purpose = "user_data",
                                 .type = "text/plain",
                                 .expires = expires };
        struct file_made made;
        assert_int_equal(file_make(&what, parts, n, &made), 0);
        assert_int_equal(store_write(store, &made.op, 1, NULL), 0);
        snprintf(id, sizeof(id), "%s", made.id);
        file_made_release(&made);
        return id;
}

static bool there(const char *id)
{
        struct blob_reader *r;
        int rc = blob_open(blobs, id, &r);
        blob_reader_free(r);
        return rc == 0;
}

static void a_file_is_its_blobs_in_order(void **state)
{
        struct blob_info parts[3] = { put("abc"), put("defgh"), put("i") };
        struct file *f;
        char got[16];
        size_t n;
        (void)state;
        assert_int_equal(file_open(store, blobs, PROJECT, make(parts, 3, 0), &f, err, sizeof(err)), 0);
        assert_int_equal(file_size(f), 9);
        assert_string_equal(file_type(f), "text/plain");
        assert_string_equal(json_cstr(file_object(f), "filename", ""), "a.txt");
        assert_int_equal(json_int(file_object(f), "bytes", 0), 9);
        for (uint64_t from = 0; from <= 10; from++)
                for (size_t want = 0; want <= 10; want++) {
                        size_t expected = from >= 9 ? 0 : 9 - from < want ? (size_t)(9 - from) : want;
                        assert_int_equal(file_read(f, from, got, want, &n, err, sizeof(err)), 0);
                        assert_int_equal(n, expected);
                        assert_memory_equal(got, "abcdefghi" + (from < 9 ? from : 9), n);
                }
        file_close(f);
}

static void files_of_others_are_absent(void **state)
{
        struct blob_info part = put("abc");
        struct file *f;
        const char *id = make(&part, 1, 0);
        (void)state;
        assert_int_equal(file_open(store, blobs, "proj_b", id, &f, err, sizeof(err)), -ENOENT);
        assert_null(f);
        assert_int_equal(file_open(store, blobs, PROJECT, "file-unknown", &f, err, sizeof(err)), -ENOENT);
        assert_int_equal(file_open(store, blobs, PROJECT, "", &f, err, sizeof(err)), -ENOENT);
        file_close(NULL);
}

static void a_lost_blob_is_an_error(void **state)
{
        struct blob_info parts[2] = { put("abc"), put("def") };
        struct file *f;
        char got[8];
        size_t n;
        (void)state;
        const char *id = make(parts, 2, 0);
        assert_int_equal(blob_delete(blobs, parts[1].id), 0);
        assert_int_equal(file_open(store, blobs, PROJECT, id, &f, err, sizeof(err)), 0);
        assert_int_equal(file_read(f, 0, got, 3, &n, err, sizeof(err)), 0);
        assert_int_equal(file_read(f, 0, got, 4, &n, err, sizeof(err)), -ENOENT);
        assert_non_null(strstr(err, "part 2 of 2 is missing"));
        file_close(f);
}

static void a_file_that_is_read_outlives_its_deletion(void **state)
{
        struct blob_info parts[2] = { put("abc"), put("def") };
        struct json_fault why;
        struct object row;
        struct file *f, *g;
        char got[8];
        size_t n;
        const char *id = make(parts, 2, 0);
        (void)state;
        assert_int_equal(file_open(store, blobs, PROJECT, id, &f, err, sizeof(err)), 0);
        assert_int_equal(file_open(store, blobs, PROJECT, id, &g, err, sizeof(err)), 0);
        assert_int_equal(file_read(f, 0, got, 3, &n, err, sizeof(err)), 0);
        assert_int_equal(store_get(store, FILE_KIND, id, PROJECT, &row, NULL), 0);
        json_t *doc = json_parse(row.doc, 32, &why);
        assert_int_equal(store_delete(store, FILE_KIND, id, PROJECT, NULL), 0);
        file_drop_blobs(blobs, doc);
        file_close(g);
        file_drop_blobs(blobs, doc);
        assert_int_equal(file_read(f, 0, got, 6, &n, err, sizeof(err)), 0);
        assert_memory_equal(got, "abcdef", 6);
        blobs_sweep(blobs);
        assert_true(there(parts[0].id) && there(parts[1].id));
        file_close(f);
        blobs_sweep(blobs);
        assert_false(there(parts[0].id) || there(parts[1].id));
        json_decref(doc);
        object_release(&row);
}

static void a_job_may_choose_the_id(void **state)
{
        struct blob_info part = put("abc");
        struct file_new what = {
                .id = "file-chosen", .project = PROJECT, .filename = "o", .purpose = "batch_output"
        };
        struct file_made made;
        (void)state;
        assert_int_equal(file_make(&what, &part, 1, &made), 0);
        assert_string_equal(made.op.id, "file-chosen");
        assert_string_equal(made.op.f[0], "batch_output");
        assert_int_equal(store_write(store, &made.op, 1, NULL), 0);
        assert_int_equal(store_write(store, &made.op, 1, NULL), -EEXIST);
        file_made_release(&made);
}

/* ---- upkeep ---- */

static void age(const char *id, int64_t by)
{
        char path[160];
        struct utimbuf t = { .actime = time(NULL) - by, .modtime = time(NULL) - by };
        snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", dir, id, id + 2);
        assert_int_equal(utime(path, &t), 0);
}

static size_t collect(bool remove)
{
        size_t n;
        assert_int_equal(files_collect(store, blobs, remove, NULL, NULL, &n, err, sizeof(err)), 0);
        return n;
}

static void only_old_orphans_go(void **state)
{
        struct blob_info kept = put("kept"), young = put("young"), old = put("old"), part = put("part");
        struct store_op row = {
                .verb = STORE_PUT, .kind = UPLOAD_PART_KIND, .id = "part_1", .project = PROJECT
        };
        char doc[256];
        (void)state;
        make(&kept, 1, 0);
        snprintf(doc, sizeof(doc), "{\"object\":{},\"blobs\":[{\"id\":\"%s\",\"size\":4}]}", part.id);
        row.doc = str_c(doc);
        assert_int_equal(store_put(store, &row, NULL), 0);
        age(kept.id, 2 * FILES_ORPHAN_AGE_S);
        age(part.id, 2 * FILES_ORPHAN_AGE_S);
        age(old.id, FILES_ORPHAN_AGE_S + 60);
        age(young.id, FILES_ORPHAN_AGE_S - 60);
        assert_int_equal(collect(false), 1);
        assert_true(there(old.id));
        assert_int_equal(collect(true), 1);
        assert_false(there(old.id));
        assert_true(there(kept.id) && there(young.id) && there(part.id));
        assert_int_equal(collect(true), 0);
}

static void expired_files_lose_their_bytes(void **state)
{
        struct blob_info part = put("abc");
        const char *id = make(&part, 1, clock_unix() - 1);
        struct file *f;
        size_t removed;
        (void)state;
        age(part.id, 2 * FILES_ORPHAN_AGE_S);
        assert_int_equal(file_open(store, blobs, PROJECT, id, &f, err, sizeof(err)), -ENOENT);
        assert_int_equal(store_sweep(store, &removed, NULL), 0);
        assert_int_equal(removed, 1);
        assert_int_equal(collect(true), 1);
        assert_false(there(part.id));
}

static void a_row_that_cannot_be_read_saves_all(void **state)
{
        struct blob_info old = put("old");
        struct store_op row = {
                .verb = STORE_PUT, .kind = FILE_KIND, .id = "file-1", .project = PROJECT, .doc = STR("{")
        };
        size_t n;
        (void)state;
        assert_int_equal(store_put(store, &row, NULL), 0);
        age(old.id, 2 * FILES_ORPHAN_AGE_S);
        assert_int_equal(files_collect(store, blobs, true, NULL, NULL, &n, err, sizeof(err)), -EBADMSG);
        assert_non_null(strstr(err, "file-1"));
        assert_true(there(old.id));
        assert_int_equal(store_delete(store, FILE_KIND, "file-1", PROJECT, NULL), 0);
        row.doc = STR("{\"object\":{}}"); /* JSON, but no file either */
        assert_int_equal(store_put(store, &row, NULL), 0);
        assert_int_equal(files_collect(store, blobs, true, NULL, NULL, &n, err, sizeof(err)), -EBADMSG);
        assert_true(there(old.id));
}

static void gather(void *ctx, const char *finding)
{
        char *all = ctx;
        size_t n = strlen(all);
        snprintf(all + n, 1024 - n, "%s\n", finding);
}

static void findings_name_file_and_blob(void **state)
{
        struct blob_info whole = put("whole"), gone = put("gone"), bad = put("damaged");
        char found[1024] = "", path[160], name[ID_MAX];
        struct store_op torn = { .verb = STORE_PUT,
                                 .kind = FILE_KIND,
                                 .id = "file-torn",
                                 .project = PROJECT,
                                 .doc = STR("{\"o") };
        struct store_op part = torn;
        (void)state;
        part.kind = UPLOAD_PART_KIND;
        part.id = "part_odd";
        part.doc = STR("{\"object\":{},\"blobs\":[{\"id\":\"short\"}]}");
        make(&whole, 1, 0);
        assert_int_equal(files_check(store, blobs, true, gather, found, err, sizeof(err)), 0);
        assert_string_equal(found, "");
        assert_int_equal(store_put(store, &torn, NULL), 0); /* before the others: it does not end the walk */
        assert_int_equal(store_put(store, &part, NULL), 0);
        snprintf(name, sizeof(name), "%s", make(&gone, 1, 0));
        make(&bad, 1, 0);
        assert_int_equal(blob_delete(blobs, gone.id), 0);
        snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", dir, bad.id, bad.id + 2);
        FILE *file = fopen(path, "r+");
        assert_true(fputc('D', file) == 'D' && !fclose(file));
        assert_int_equal(files_check(store, blobs, true, gather, found, err, sizeof(err)), 0);
        assert_non_null(strstr(found, name));
        assert_non_null(strstr(found, gone.id));
        assert_non_null(strstr(found, bad.id));
        assert_non_null(strstr(found, "file file-torn: its document is damaged: "));
        assert_non_null(strstr(found, "upload.part part_odd: its document is damaged: "));
        assert_null(strstr(found, whole.id));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(a_file_is_its_blobs_in_order),   CASE(files_of_others_are_absent),
                CASE(a_lost_blob_is_an_error),        CASE(a_file_that_is_read_outlives_its_deletion),
                CASE(a_job_may_choose_the_id),        CASE(only_old_orphans_go),
                CASE(expired_files_lose_their_bytes), CASE(a_row_that_cannot_be_read_saves_all),
                CASE(findings_name_file_and_blob),
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
