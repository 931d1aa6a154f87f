/* What only the SQLite backend promises of jobs, backups and checks, and of disks that fail under it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sqlite3.h>
#include "base/fault.h"
#include "base/mem.h"
#include "store/store.h"

static char root[64], dir[80], copy[80];

static int setup(void **state)
{
        (void)state;
        snprintf(root, sizeof(root), "/tmp/cairn-upkeep-XXXXXX");
        if (!mkdtemp(root))
                return -1;
        snprintf(dir, sizeof(dir), "%s/data", root);
        snprintf(copy, sizeof(copy), "%s/copy", root);
        return 0;
}

static int teardown(void **state)
{
        char command[128];
        (void)state;
#ifdef CAIRN_FAULTS
        fault_clear();
#endif
        snprintf(command, sizeof(command), "rm -rf '%s'", root);
        return system(command);
}

static struct store *open_or_die(const char *where, bool exclusive)
{
        struct store_options options = { .exclusive = exclusive };
        struct store_fault fault = { 0 };
        struct store *s;
        if (store_open(where, &options, &s, &fault))
                fail_msg("%s", fault.msg);
        return s;
}

static int put(struct store *s, const char *id)
{
        struct store_op op = { .kind = "thing", .id = id, .project = "p", .f = { "x" }, .doc = str_c(id) };
        return store_put(s, &op, NULL);
}

static bool has(struct store *s, const char *id)
{
        struct object o;
        int rc = store_get(s, "thing", id, "p", &o, NULL);
        object_release(&o);
        assert_true(rc == 0 || rc == -ENOENT);
        return rc == 0;
}

static void count_finding(void *ctx, const char *finding)
{
        (void)finding;
        ++*(int *)ctx;
}

static int findings_of(struct store *s)
{
        struct store_fault fault = { 0 };
        int n = 0;
        if (store_check(s, count_finding, &n, &fault))
                fail_msg("%s", fault.msg);
        return n;
}

/* ---- jobs of a dead server ---- */

static void a_new_server_takes_the_jobs_of_the_dead(void **state)
{
        const char *kind = "work";
        struct store_op op = { .verb = STORE_JOB_PUT, .kind = kind, .id = "j1" };
        struct job j;
        (void)state;
        struct store *s = open_or_die(dir, true);
        assert_int_equal(store_write(s, &op, 1, NULL), 0);
        assert_int_equal(store_job_claim(s, &kind, 1, 3600000, &j, NULL, NULL), 0);
        /* A tool that comes beside is no new server. */
        struct store *tool = open_or_die(dir, false);
        struct job none;
        assert_int_equal(store_job_claim(tool, &kind, 1, 1000, &none, NULL, NULL), -ENOENT);
        store_close(tool);
        assert_int_equal(store_job_renew(s, kind, "j1", j.lease, 3600000, NULL), 0);
        store_close(s);
        s = open_or_die(dir, true);
        struct job again;
        assert_int_equal(store_job_claim(s, &kind, 1, 1000, &again, NULL, NULL), 0);
        assert_int_equal(again.attempt, 2);
        assert_int_equal(store_job_renew(s, kind, "j1", j.lease, 1000, NULL), -ESTALE);
        job_release(&j);
        job_release(&again);
        store_close(s);
}

/* ---- backup ---- */

#define LOADERS 4

struct load {
        struct store *s;
        int number;
        _Atomic bool *stop;
        _Atomic int acknowledged; /* pairs 0..n) of this thread are in the store */
};

static void pair_ids(int thread, int i, char one[32], char two[32])
{
        snprintf(one, 32, "a%d-%d", thread, i);
        snprintf(two, 32, "b%d-%d", thread, i);
}

static void *load_run(void *arg)
{
        struct load *l = arg;
        while (!*l->stop) {
                char one[32], two[32];
                pair_ids(l->number, l->acknowledged, one, two);
                struct store_op ops[2] = {
                        { .verb = STORE_PUT, .kind = "thing", .id = one, .project = "p" },
                        { .verb = STORE_PUT, .kind = "thing", .id = two, .project = "p" }
                };
                if (store_write(l->s, ops, 2, NULL))
                        break;
                l->acknowledged++;
        }
        return NULL;
}

/* Of each thread's pairs the first `told` are there, and no half of any. */
static void assert_copied(struct store *s, int thread, int told)
{
        char one[32], two[32];
        for (int i = 0; i < told; i++) {
                pair_ids(thread, i, one, two);
                assert_true(has(s, one) && has(s, two));
        }
        for (int i = told;; i++) {
                pair_ids(thread, i, one, two);
                assert_int_equal(has(s, one), has(s, two));
                if (!has(s, one))
                        break;
        }
}

static void a_backup_is_of_one_moment_under_load(void **state)
{
        _Atomic bool stop = false;
        struct load loads[LOADERS];
        pthread_t threads[LOADERS];
        int told[LOADERS];
        struct stat st;
        char path[128];
        (void)state;
        struct store *s = open_or_die(dir, true);
        for (int i = 0; i < LOADERS; i++) {
                loads[i] = (struct load){ .s = s, .number = i, .stop = &stop };
                assert_int_equal(pthread_create(&threads[i], NULL, load_run, &loads[i]), 0);
        }
        for (int i = 0; i < LOADERS; i++) {
                while (loads[i].acknowledged < 50)
                        usleep(1000);
        }
        for (int round = 0; round < 3; round++) {
                struct store_fault fault = { 0 };
                snprintf(path, sizeof(path), "%s/%d", copy, round);
                for (int i = 0; i < LOADERS; i++)
                        told[i] = loads[i].acknowledged;
                if (store_backup(s, path, &fault))
                        fail_msg("%s", fault.msg);
                struct store *c = open_or_die(path, true);
                assert_int_equal(findings_of(c), 0);
                for (int i = 0; i < LOADERS; i++)
                        assert_copied(c, i, told[i]);
                assert_int_equal(put(c, "more"), 0); /* it is a store like any other */
                store_close(c);
        }
        stop = true;
        for (int i = 0; i < LOADERS; i++)
                pthread_join(threads[i], NULL);
        assert_false(has(s, "more"));
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        snprintf(path, sizeof(path), "%s/2/cairn.db", copy);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        store_close(s);
}

static void a_backup_spares_what_is_there(void **state)
{
        struct store_fault fault;
        (void)state;
        struct store *s = open_or_die(dir, true);
        assert_int_equal(store_backup(s, copy, &fault), 0);
        assert_int_equal(store_backup(s, copy, &fault), -EEXIST);
        assert_non_null(strstr(fault.msg, copy));
        assert_int_equal(store_backup(s, dir, &fault), -EEXIST);
        assert_int_equal(put(s, "t1"), 0);
        store_close(s);
        s = open_or_die(copy, true);
        assert_false(has(s, "t1"));
        store_close(s);
}

/* ---- check ---- */

static void a_check_finds_damage(void **state)
{
        char path[128], id[16];
        (void)state;
        struct store *s = open_or_die(dir, false);
        for (int i = 0; i < 500; i++) {
                snprintf(id, sizeof(id), "t%d", i);
                assert_int_equal(put(s, id), 0);
        }
        assert_int_equal(findings_of(s), 0);
        store_close(s);
        /* An index that says it holds every row, and holds none: only the database's own check sees that. */
        sqlite3 *db;
        snprintf(path, sizeof(path), "%s/cairn.db", dir);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db,
                                      "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql ="
                                      " 'CREATE INDEX object_parent ON object (parent)'"
                                      " WHERE name = 'object_parent'",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        sqlite3_close(db);
        s = open_or_die(dir, false);
        assert_true(findings_of(s) > 0);
        store_close(s);
}

#ifdef CAIRN_FAULTS
/* ---- disks that fail ---- */

/* Fails each writing (or sync, or commit) of the disk in turn, by each error: what was acknowledged is there,
 * what was refused is not, and the store goes on; also after a restart. */
static void walk_failures(const char *place, const char *error, int expected)
{
        struct store *s = open_or_die(dir, false);
        char spec[64], id[32];
        bool acknowledged[24];
        int failed = 0, n = (int)(sizeof(acknowledged) / sizeof(*acknowledged));
        for (int i = 0; i < n; i++) {
                snprintf(spec, sizeof(spec), "%s:%d:%s", place, 1 + i % 6, error);
                snprintf(id, sizeof(id), "%s-%s-%d", place, error, i);
                assert_int_equal(fault_arm(str_c(spec)), 0);
                int rc = put(s, id);
                fault_clear();
                assert_true(rc == 0 || rc == expected);
                acknowledged[i] = rc == 0;
                failed += rc != 0;
                assert_int_equal(has(s, id), acknowledged[i]);
        }
        assert_true(failed >= n / 6);
        assert_int_equal(findings_of(s), 0);
        store_close(s);
        s = open_or_die(dir, false);
        for (int i = 0; i < n; i++) {
                snprintf(id, sizeof(id), "%s-%s-%d", place, error, i);
                assert_int_equal(has(s, id), acknowledged[i]);
                if (!acknowledged[i])
                        assert_int_equal(put(s, id), 0);
        }
        store_close(s);
}

static void a_disk_may_fail_at_any_writing(void **state)
{
        (void)state;
        walk_failures("store.write", "ENOSPC", -ENOSPC);
        walk_failures("store.write", "EROFS", -EROFS);
        walk_failures("store.write", "EIO", -EIO);
        walk_failures("store.sync", "EIO", -EIO);
        walk_failures("store.sync", "ENOSPC", -ENOSPC);
        walk_failures("store.commit", "EIO", -EIO);
        walk_failures("store.commit", "EBUSY", -EBUSY);
}

/* A full disk for a while: everything is refused, and then nothing is. */
static void a_disk_may_be_full_for_a_while(void **state)
{
        struct store_fault fault;
        char id[16];
        (void)state;
        struct store *s = open_or_die(dir, false);
        assert_int_equal(put(s, "before"), 0);
        assert_int_equal(fault_arm(STR("store.write:1:ENOSPC:0")), 0);
        for (int i = 0; i < 5; i++) {
                snprintf(id, sizeof(id), "t%d", i);
                assert_int_equal(put(s, id), -ENOSPC);
                assert_true(has(s, "before"));
        }
        fault_clear();
        for (int i = 0; i < 5; i++) {
                snprintf(id, sizeof(id), "t%d", i);
                assert_false(has(s, id));
                assert_int_equal(put(s, id), 0);
        }
        assert_int_equal(fault_arm(STR("store.disk:1:ENOSPC,store.disk:2:EROFS")), 0);
        assert_int_equal(store_ping(s, &fault), -ENOSPC);
        assert_int_equal(store_ping(s, &fault), -EROFS);
        assert_int_equal(store_ping(s, &fault), 0);
        store_close(s);
}

static void a_backup_that_fails_leaves_nothing(void **state)
{
        struct store_fault fault;
        struct stat st;
        char path[128];
        (void)state;
        struct store *s = open_or_die(dir, true);
        for (int i = 0; i < 20; i++) {
                char id[16];
                snprintf(id, sizeof(id), "t%d", i);
                assert_int_equal(put(s, id), 0);
        }
        snprintf(path, sizeof(path), "%s/cairn.db", copy);
        for (int nth = 1; nth < 20; nth += 6) {
                char spec[64];
                snprintf(spec, sizeof(spec), "store.write:%d:ENOSPC", nth);
                assert_int_equal(fault_arm(str_c(spec)), 0);
                assert_int_equal(store_backup(s, copy, &fault), -ENOSPC);
                fault_clear();
                assert_int_equal(stat(path, &st), -1);
        }
        assert_int_equal(store_backup(s, copy, &fault), 0);
        store_close(s);
}

static int pass_row(void *ctx, const struct object *o)
{
        (void)o;
        ++*(int *)ctx;
        return 0;
}

/* Fails each allocation in turn: a claim that had no memory has claimed nothing. */
static void memory_may_run_out(void **state)
{
        const char *kind = "work";
        struct store_usage_query q = { .what = "completions", .to = 120, .by = USAGE_BY_MODEL };
        int claimed = -ENOMEM, summed = -ENOMEM, scanned = -ENOMEM;
        (void)state;
        struct store *s = open_or_die(dir, true);
        struct store_usage u = { .id = "u1", .at = 60, .what = "completions", .model = "tiny", .n = { 1 } };
        struct store_op op = { .verb = STORE_USAGE, .usage = &u };
        assert_int_equal(store_write(s, &op, 1, NULL), 0);
        assert_int_equal(put(s, "t1"), 0);
        store_close(s);
        for (long n = 1; claimed || summed || scanned; n++) {
                struct store_op job = { .verb = STORE_JOB_PUT, .kind = kind, .id = "j1" };
                struct store_usage *sums;
                struct job j;
                size_t n_sums;
                int rows = 0;
                assert_true(n < 200);
                s = open_or_die(dir, true); /* readers without statements */
                assert_int_equal(store_write(s, &job, 1, NULL), 0);
                mem_fail_nth(n);
                claimed = store_job_claim(s, &kind, 1, 1000, &j, NULL, NULL);
                mem_fail_nth(0);
                assert_true(claimed == 0 || (claimed == -ENOMEM && !j.id));
                if (claimed)
                        assert_int_equal(store_job_claim(s, &kind, 1, 1000, &j, NULL, NULL), 0);
                assert_int_equal(j.attempt, 1);
                job.verb = STORE_JOB_DROP;
                assert_int_equal(store_write(s, &job, 1, NULL), 0);
                job_release(&j);
                mem_fail_nth(n);
                summed = store_usage_sum(s, &q, &sums, &n_sums, NULL);
                mem_fail_nth(n);
                scanned = store_scan(s, "thing", pass_row, &rows, NULL);
                mem_fail_nth(0);
                assert_true(summed == 0 ? n_sums == 1 : summed == -ENOMEM && !sums);
                assert_true(scanned == 0 ? rows == 1 : scanned == -ENOMEM);
                mem_free(sums);
                store_close(s);
        }
}

/* ---- death ---- */

static int64_t requests(struct store *s)
{
        struct store_usage_query q = { .what = "completions", .to = (int64_t)1 << 40 };
        struct store_usage *sums;
        size_t n;
        assert_int_equal(store_usage_sum(s, &q, &sums, &n, NULL), 0);
        int64_t all = n ? sums[0].n[0] : 0;
        mem_free(sums);
        return all;
}

/* Appends five records and folds, to be killed at some writing or sync of it. */
static void fold_and_die(int round, const char *spec)
{
        struct store *s = NULL;
        if (store_open(dir, NULL, &s, NULL))
                _exit(1);
        for (int i = 0; i < 5; i++) {
                char id[32];
                snprintf(id, sizeof(id), "u%d-%d", round, i);
                struct store_usage u = { .id = id, .at = 60 * i, .what = "completions", .n = { 1 } };
                struct store_op op = { .verb = STORE_USAGE, .usage = &u };
                if (store_write(s, &op, 1, NULL))
                        _exit(2);
        }
        fault_arm(str_c(spec));
        store_usage_fold(s, NULL);
        _exit(0);
}

static void a_fold_may_be_killed_anywhere(void **state)
{
        static const char *const places[] = { "store.write", "store.sync", "store.commit" };
        int killed = 0;
        (void)state;
        store_close(open_or_die(dir, false));
        for (int round = 0; round < 15; round++) {
                char spec[64];
                int status;
                snprintf(spec, sizeof(spec), "%s:%d:kill", places[round % 3], 1 + round / 3);
                pid_t pid = fork();
                if (!pid)
                        fold_and_die(round, spec);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                killed += WIFSIGNALED(status);
                assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
                struct store *s = open_or_die(dir, false);
                assert_int_equal(requests(s), 5 * (round + 1));
                if (round % 2)
                        assert_int_equal(store_usage_fold(s, NULL), 0);
                assert_int_equal(requests(s), 5 * (round + 1));
                assert_int_equal(findings_of(s), 0);
                store_close(s);
        }
        assert_true(killed >= 6);
}
#endif

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(a_new_server_takes_the_jobs_of_the_dead), CASE(a_backup_is_of_one_moment_under_load),
                CASE(a_backup_spares_what_is_there),           CASE(a_check_finds_damage),
#ifdef CAIRN_FAULTS
                CASE(a_disk_may_fail_at_any_writing),          CASE(a_disk_may_be_full_for_a_while),
                CASE(a_backup_that_fails_leaves_nothing),      CASE(memory_may_run_out),
                CASE(a_fold_may_be_killed_anywhere),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
