/* The SQLite backend: the suite of all backends, then what only it promises: locks, migrations, crashes,
 * full and read-only disks. */
#include <errno.h>
#include <fcntl.h>
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
#include <sqlite3.h>
#include "base/fault.h"
#include "base/mem.h"
#include "store/conformance.h"
#include "store/datadir.h"
#include "store/sqlite_internal.h"
#include "store/store.h"

static char dir[64];

static void dir_remove(void)
{
        char command[128];
        if (!*dir)
                return;
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
        *dir = '\0';
}

static const char *dir_fresh(void)
{
        dir_remove();
        snprintf(dir, sizeof(dir), "/tmp/cairn-store-XXXXXX");
        assert_non_null(mkdtemp(dir));
        return dir;
}

static struct store *open_or_die(const struct store_options *options)
{
        struct store_fault fault = { 0 };
        struct store *s;
        if (store_open(dir, options, &s, &fault))
                fail_msg("%s", fault.msg);
        return s;
}

static struct store *open_sqlite(int fresh)
{
        if (fresh)
                dir_fresh();
        return open_or_die(NULL);
}

static int put_row(struct store *s, const char *id, struct str doc, struct store_fault *fault)
{
        struct store_op op = { .kind = "thing", .id = id, .project = "p", .doc = doc };
        return store_put(s, &op, fault);
}

/* ---- opening ---- */

static void a_second_server_is_refused(void **state)
{
        struct store_options server = { .exclusive = true };
        struct store_fault fault;
        struct store *second;
        char own[32];
        (void)state;
        dir_fresh();
        struct store *s = open_or_die(&server);
        assert_int_equal(store_open(dir, &server, &second, &fault), -EBUSY);
        assert_null(second);
        assert_non_null(strstr(fault.msg, dir));
        snprintf(own, sizeof(own), "process %d", (int)getpid());
        assert_non_null(strstr(fault.msg, own));
        /* Tools come in, write, and are seen. */
        assert_int_equal(store_open(dir, NULL, &second, &fault), 0);
        assert_int_equal(put_row(second, "from-tool", STR("x"), NULL), 0);
        store_close(second);
        struct object o;
        assert_int_equal(store_get(s, "thing", "from-tool", "p", &o, NULL), 0);
        object_release(&o);
        store_close(s);
        s = open_or_die(&server);
        store_close(s);
}

static void directories_are_made_private(void **state)
{
        char deep[128], path[256];
        struct store_fault fault = { 0 };
        struct store *s;
        struct stat st;
        (void)state;
        snprintf(deep, sizeof(deep), "%s/a//b/", dir_fresh());
        assert_int_equal(store_open(deep, NULL, &s, &fault), 0);
        assert_int_equal(stat(deep, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_int_equal(put_row(s, "t", STR("x"), NULL), 0);
        static const char *const files[] = { "cairn.db", "cairn.db-wal", "cairn.db-shm" };
        for (size_t i = 0; i < 3; i++) {
                snprintf(path, sizeof(path), "%s/%s", deep, files[i]);
                assert_int_equal(stat(path, &st), 0);
                assert_int_equal(st.st_mode & 0777, 0600);
        }
        store_close(s);
}

static void bad_places_are_refused(void **state)
{
        struct store_fault fault;
        struct store *s;
        char path[128];
        (void)state;
        snprintf(path, sizeof(path), "%s/file", dir_fresh());
        close(open(path, O_CREAT | O_WRONLY, 0600));
        assert_int_equal(store_open(path, NULL, &s, &fault), -ENOTDIR);
        assert_non_null(strstr(fault.msg, path));
        assert_int_equal(store_open("/proc/nothing/here", NULL, &s, &fault), -ENOENT);
        assert_int_equal(store_open("", NULL, &s, &fault), -EINVAL);
        assert_int_equal(store_open("mysql://x", NULL, &s, &fault), -ENOTSUP);
        /* A directory stands where the database should. */
        snprintf(path, sizeof(path), "%s/cairn.db", dir);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_true(store_open(dir, NULL, &s, &fault) < 0);
        assert_non_null(strstr(fault.msg, "cairn.db"));
}

static void foreign_files_are_refused(void **state)
{
        struct store_fault fault;
        struct store *s;
        char path[128];
        (void)state;
        snprintf(path, sizeof(path), "%s/cairn.db", dir_fresh());
        FILE *f = fopen(path, "w");
        for (int i = 0; i < 1000; i++)
                fprintf(f, "this is no database at all %d\n", i);
        fclose(f);
        assert_int_equal(store_open(dir, NULL, &s, &fault), -EIO);
        assert_non_null(strstr(fault.msg, "not a database"));
}

static void newer_schemas_are_refused(void **state)
{
        struct store_fault fault;
        struct store *s;
        sqlite3 *db;
        char path[128];
        (void)state;
        snprintf(path, sizeof(path), "%s/cairn.db", dir_fresh());
        store_close(open_or_die(NULL));
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=999", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        assert_int_equal(store_open(dir, NULL, &s, &fault), -EPROTO);
        assert_non_null(strstr(fault.msg, "999"));
        assert_non_null(strstr(fault.msg, "newer"));
}

static int number_of(sqlite3 *db, const char *sql)
{
        sqlite3_stmt *stmt;
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        int n = sqlite3_column_int(stmt, 0);
        sqlite3_finalize(stmt);
        return n;
}

/* What a crash of the machine would show, and no test of ours can: each commit is synced. */
static void connections_sync_and_cascade(void **state)
{
        struct store_pair pair = { "k", "v" };
        struct store_op op = { .kind = "thing", .id = "t", .metadata = &pair, .nmetadata = 1 };
        char path[128];
        sqlite3 *db;
        (void)state;
        snprintf(path, sizeof(path), "%s/cairn.db", dir_fresh());
        struct store *s = open_or_die(NULL);
        assert_int_equal(sqlite_connect(path, &db, NULL), 0);
        assert_int_equal(number_of(db, "PRAGMA synchronous"), 2);
        assert_int_equal(store_put(s, &op, NULL), 0);
        assert_int_equal(number_of(db, "SELECT count(*) FROM metadata"), 1);
        assert_int_equal(store_delete(s, "thing", "t", NULL, NULL), 0);
        assert_int_equal(number_of(db, "SELECT count(*) FROM metadata"), 0);
        assert_int_equal(number_of(db, "SELECT count(*) FROM object"), 0);
        sqlite3_close(db);
        store_close(s);
}

static void local_disks_are_accepted(void **state)
{
        char err[256] = "";
        (void)state;
        assert_int_equal(datadir_check_local("/tmp", err, sizeof(err)), 0);
        assert_int_equal(datadir_check_local("/nowhere", err, sizeof(err)), -ENOENT);
}

static void eight_openers_share_one_start(void **state)
{
        (void)state;
        dir_fresh();
        for (int i = 0; i < 8; i++) {
                if (fork())
                        continue;
                char id[16];
                struct store *s = NULL;
                snprintf(id, sizeof(id), "t%d", i);
                int rc = store_open(dir, NULL, &s, NULL);
                if (!rc)
                        rc = put_row(s, id, STR("x"), NULL);
                store_close(s);
                _exit(rc ? 1 : 0);
        }
        for (int i = 0; i < 8; i++) {
                int status;
                wait(&status);
                assert_int_equal(status, 0);
        }
        struct store_query q = { .kind = "thing", .project = "p", .limit = 10 };
        struct store_page page;
        struct store *s = open_or_die(NULL);
        assert_int_equal(store_list(s, &q, &page, NULL), 0);
        assert_int_equal(page.n, 8);
        store_page_release(&page);
        store_close(s);
}

/* ---- death ---- */

#define CRASH_THREADS 8

struct acknowledged {
        int thread, number;
};

struct crasher {
        struct store *s;
        int thread, out;
};

/* A row and its child in one write; told through the pipe only when the store said yes. */
static void *crash_write(void *arg)
{
        struct crasher *me = arg;
        static char padding[3000];
        memset(padding, 'x', sizeof(padding));
        for (int i = 0;; i++) {
                char id[32], child[32];
                snprintf(id, sizeof(id), "r%d-%d", me->thread, i);
                snprintf(child, sizeof(child), "c%d-%d", me->thread, i);
                struct store_op ops[2] = {
                        { .verb = STORE_PUT, .kind = "thing", .id = id, .project = "p", .doc = str_c(id) },
                        { .verb = STORE_PUT,
                          .kind = "child",
                          .id = child,
                          .project = "p",
                          .parent = id,
                          .doc = { padding, sizeof(padding) } },
                };
                if (store_write(me->s, ops, 2, NULL))
                        _exit(2);
                struct acknowledged a = { me->thread, i };
                if (write(me->out, &a, sizeof(a)) != sizeof(a))
                        _exit(3);
        }
        return NULL;
}

static void crash_child(int out)
{
        struct crasher crashers[CRASH_THREADS];
        pthread_t thread;
        struct store *s = NULL;
        if (store_open(dir, NULL, &s, NULL))
                _exit(4);
        for (int i = 0; i < CRASH_THREADS; i++) {
                crashers[i] = (struct crasher){ s, i, out };
                pthread_create(&thread, NULL, crash_write, &crashers[i]);
        }
        for (;;)
                pause();
}

static void assert_whole(struct store *s, struct acknowledged a)
{
        char id[32];
        struct object o;
        snprintf(id, sizeof(id), "r%d-%d", a.thread, a.number);
        assert_int_equal(store_get(s, "thing", id, "p", &o, NULL), 0);
        assert_true(str_eqc(o.doc, id));
        object_release(&o);
        snprintf(id, sizeof(id), "c%d-%d", a.thread, a.number);
        assert_int_equal(store_get(s, "child", id, "p", &o, NULL), 0);
        assert_int_equal(o.doc.n, 3000);
        object_release(&o);
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
        (void)state;
        dir_fresh();
        for (int round = 0; round < 5; round++) {
                int fds[2], total = 0;
                struct acknowledged *all = mem_calloc(100000, sizeof(*all));
                assert_int_equal(pipe(fds), 0);
                dir_fresh();
                pid_t pid = fork();
                if (!pid) {
                        close(fds[0]);
                        crash_child(fds[1]);
                }
                close(fds[1]);
                while (total < 100000 && read(fds[0], &all[total], sizeof(*all)) == sizeof(*all)) {
                        if (++total == 150 + 211 * round)
                                kill(pid, SIGKILL);
                }
                close(fds[0]);
                int status;
                waitpid(pid, &status, 0);
                assert_true(WIFSIGNALED(status));
                assert_true(total >= 150);
                struct store *s = open_or_die(NULL);
                for (int i = 0; i < total; i++)
                        assert_whole(s, all[i]);
                /* No half of a write either: every row has its child. */
                struct store_query q = { .kind = "thing", .project = "p", .limit = STORE_PAGE_MAX };
                struct store_page page;
                assert_int_equal(store_list(s, &q, &page, NULL), 0);
                assert_true(page.n >= (size_t)total);
                for (size_t i = 0; i < page.n; i++) {
                        struct acknowledged a;
                        assert_int_equal(sscanf(page.items[i].id, "r%d-%d", &a.thread, &a.number), 2);
                        assert_whole(s, a);
                }
                store_page_release(&page);
                store_close(s);
                mem_free(all);
        }
}

/* ---- disks that refuse ---- */

static int run_in_child(int (*body)(void))
{
        int status;
        fflush(NULL);
        pid_t pid = fork();
        if (!pid)
                _exit(body());
        waitpid(pid, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

#define EXPECT(condition)                                                       \
        do {                                                                    \
                if (!(condition)) {                                             \
                        fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
                        return 1;                                               \
                }                                                               \
        } while (0)

/* Files may not grow beyond 2 MiB: writes fail with -ENOSPC, reads and small writes after a deletion go on.
 */
static int full_disk_body(void)
{
        static char doc[64 << 10];
        struct store_fault fault = { 0 };
        struct rlimit limit = { 2 << 20, 2 << 20 };
        struct store *s;
        struct object o;
        char id[16];
        int rc = 0, n = 0;
        memset(doc, 'x', sizeof(doc));
        signal(SIGXFSZ, SIG_IGN);
        EXPECT(!setrlimit(RLIMIT_FSIZE, &limit));
        EXPECT(!store_open(dir, NULL, &s, &fault));
        while (!rc && n < 1000) {
                snprintf(id, sizeof(id), "t%d", n);
                rc = put_row(s, id, (struct str){ doc, sizeof(doc) }, &fault);
                n += !rc;
        }
        EXPECT(rc == -ENOSPC);
        EXPECT(strstr(fault.msg, "full"));
        EXPECT(n > 5);
        for (int i = 0; i < n; i++) {
                snprintf(id, sizeof(id), "t%d", i);
                EXPECT(!store_get(s, "thing", id, "p", &o, NULL));
                EXPECT(o.doc.n == sizeof(doc));
                object_release(&o);
        }
        EXPECT(store_get(s, "thing", "t999", "p", &o, NULL) == -ENOENT);
        store_close(s);
        return 0;
}

static void a_full_disk_is_an_error(void **state)
{
        (void)state;
        dir_fresh();
        assert_int_equal(run_in_child(full_disk_body), 0);
        struct store *s = open_or_die(NULL); /* and with room again, all goes on */
        assert_int_equal(put_row(s, "after", STR("x"), NULL), 0);
        store_close(s);
}

static int read_only_body(void)
{
        struct store_fault fault = { 0 };
        struct store *s = NULL;
        if (!getuid() && (setgid(65534) || setuid(65534)))
                return 1;
        int rc = store_open(dir, NULL, &s, &fault);
        EXPECT(rc == -EACCES || rc == -EROFS);
        EXPECT(*fault.msg);
        EXPECT(!s);
        return 0;
}

static void a_read_only_directory_is_an_error(void **state)
{
        char path[128];
        (void)state;
        dir_fresh();
        store_close(open_or_die(NULL));
        assert_int_equal(chmod(dir, 0555), 0);
        assert_int_equal(run_in_child(read_only_body), 0);
        /* The directory can be written but the database cannot. */
        assert_int_equal(chmod(dir, 0777), 0);
        snprintf(path, sizeof(path), "%s/cairn.db", dir);
        assert_int_equal(chmod(path, 0444), 0);
        assert_int_equal(run_in_child(read_only_body), 0);
}

/* Another process holds the write lock for longer than we wait: an error, then normal service. */
static void a_held_write_lock_is_waited_for(void **state)
{
        struct store_fault fault;
        char path[128];
        sqlite3 *db;
        (void)state;
        snprintf(path, sizeof(path), "%s/cairn.db", dir_fresh());
        struct store *s = open_or_die(NULL);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(put_row(s, "t1", STR("x"), &fault), -EBUSY);
        assert_non_null(strstr(fault.msg, "another process"));
        assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        assert_int_equal(put_row(s, "t1", STR("x"), &fault), 0);
        store_close(s);
}

static void gate_done(void *ctx, int rc, const struct store_fault *fault)
{
        (void)fault;
        pthread_mutex_lock(ctx); /* held by the test: the writer stands here */
        pthread_mutex_unlock(ctx);
        assert_int_equal(rc, 0);
}

static void count_done(void *ctx, int rc, const struct store_fault *fault)
{
        int *counts = ctx;
        (void)fault;
        counts[rc == 0 ? 0 : 1]++;
}

/* While the writer is held, writes gather; they become one transaction, in which failures stay alone; and
 * beyond the bound of the queue they are refused. */
static void waiting_writes_share_a_commit(void **state)
{
        struct store_options options = { .max_queued = 100 };
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        struct store_op op = { .verb = STORE_PUT, .kind = "thing", .id = "gate", .project = "p" };
        struct store_stats before, after;
        int counts[2] = { 0, 0 };
        (void)state;
        dir_fresh();
        struct store *s = open_or_die(&options);
        pthread_mutex_lock(&gate);
        assert_int_equal(store_write_async(s, &op, 1, gate_done, &gate), 0);
        do
                store_get_stats(s, &before);
        while (!before.writes);
        for (int i = 0; i < 100; i++) {
                char id[16];
                snprintf(id, sizeof(id), "t%d", i % 80);
                op.id = id;
                assert_int_equal(store_write_async(s, &op, 1, count_done, counts), 0);
        }
        op.id = "one-too-many";
        assert_int_equal(store_write_async(s, &op, 1, count_done, counts), -EAGAIN);
        assert_int_equal(put_row(s, "late", STR("x"), NULL), -EAGAIN);
        pthread_mutex_unlock(&gate);
        do
                store_get_stats(s, &after);
        while (after.writes + after.failed < 101);
        assert_int_equal(after.commits - before.commits, 1);
        store_close(s);
        assert_int_equal(counts[0], 80);
        assert_int_equal(counts[1], 20);
}

struct invitation {
        bool sent;
        int counts[2]; /* of the guest: see count_done */
};

/* On the writer thread, inside the transaction: another write comes. */
static int invite(struct store *s, struct store_write *w)
{
        struct invitation *i = w->arg;
        struct store_op op = { .verb = STORE_PUT, .kind = "thing", .id = "guest", .project = "p" };
        if (i->sent)
                return 0;
        i->sent = true;
        return store_write_async(s, &op, 1, count_done, i->counts);
}

/* Writes once, and tells how many commits that and the guest took. */
static uint64_t commits_with_guest(struct store *s)
{
        struct invitation i = { 0 };
        struct store_write w = { .kind = WRITE_OWN, .own = invite, .arg = &i };
        struct store_stats before, after;
        store_get_stats(s, &before);
        assert_int_equal(store_write_wait(s, &w, NULL), 0);
        assert_int_equal(store_delete(s, "thing", "guest", "p", NULL), 0); /* behind the guest in the queue */
        store_get_stats(s, &after);
        assert_int_equal(i.counts[0], 1);
        return after.commits - before.commits - 1;
}

static void who_comes_during_a_group_joins_it(void **state)
{
        (void)state;
        dir_fresh();
        struct store *s = open_or_die(NULL);
        assert_int_equal(commits_with_guest(s), 1);
#ifdef CAIRN_FAULTS
        assert_int_equal(fault_arm(STR("store.commit")), 0);
        assert_int_equal(commits_with_guest(s), 2); /* each alone, since the group failed */
#endif
        store_close(s);
}

/* One write of a group is longer than the disk: its neighbours succeed all the same. */
static int full_group_body(void)
{
        struct rlimit limit = { 2 << 20, 2 << 20 };
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        struct store_op op = { .verb = STORE_PUT, .kind = "thing", .id = "gate", .project = "p" };
        size_t huge = 3 << 20;
        char *doc = mem_calloc(1, huge), id[16];
        int counts[2] = { 0, 0 };
        struct store_stats stats;
        struct store *s;
        memset(doc, 'x', huge);
        signal(SIGXFSZ, SIG_IGN);
        EXPECT(!setrlimit(RLIMIT_FSIZE, &limit));
        EXPECT(!store_open(dir, NULL, &s, NULL));
        pthread_mutex_lock(&gate);
        EXPECT(!store_write_async(s, &op, 1, gate_done, &gate));
        do
                store_get_stats(s, &stats);
        while (!stats.writes);
        for (int i = 0; i < 9; i++) {
                snprintf(id, sizeof(id), "t%d", i);
                op.id = id;
                op.doc = (struct str){ doc, i == 4 ? huge : 10 };
                EXPECT(!store_write_async(s, &op, 1, count_done, counts));
        }
        pthread_mutex_unlock(&gate);
        store_close(s);
        mem_free(doc);
        EXPECT(counts[0] == 8);
        EXPECT(counts[1] == 1);
        return 0;
}

static void a_write_too_long_for_the_disk_fails_alone(void **state)
{
        struct object o;
        (void)state;
        dir_fresh();
        assert_int_equal(run_in_child(full_group_body), 0);
        struct store *s = open_or_die(NULL);
        for (int i = 0; i < 9; i++) {
                char id[16];
                snprintf(id, sizeof(id), "t%d", i);
                assert_int_equal(store_get(s, "thing", id, "p", &o, NULL), i == 4 ? -ENOENT : 0);
                object_release(&o);
        }
        store_close(s);
}

#ifdef CAIRN_FAULTS
/* Fails each allocation in turn: every call says -ENOMEM or succeeds, and a failed write changes nothing. */
static void memory_may_run_out(void **state)
{
        struct store_query q = { .kind = "thing", .project = "p", .limit = 5, .f = { "x" } };
        struct store_page page;
        struct object o;
        int got = -ENOMEM, listed = -ENOMEM, sent = -ENOMEM, counts[2] = { 0, 0 };
        (void)state;
        dir_fresh();
        for (long n = 1; got || listed || sent; n++) {
                assert_true(n < 200);
                struct store *s = open_or_die(NULL);
                struct store_op op = { .verb = STORE_PUT,
                                       .kind = "thing",
                                       .id = "one",
                                       .project = "p",
                                       .f = { "x" },
                                       .doc = STR("doc") };
                store_delete(s, "thing", "one", "p", NULL);
                assert_int_equal(store_put(s, &op, NULL), 0);
                mem_fail_nth(n);
                got = store_get(s, "thing", "one", "p", &o, NULL);
                mem_fail_nth(n);
                listed = store_list(s, &q, &page, NULL);
                op.verb = STORE_CHECK;
                mem_fail_nth(n);
                sent = store_write_async(s, &op, 1, count_done, counts);
                mem_fail_nth(0);
                assert_true((got == 0) == (o.id != NULL) && (listed == 0) == (page.n == 1));
                assert_true((!got || got == -ENOMEM) && (!listed || listed == -ENOMEM));
                assert_true(!sent || sent == -ENOMEM);
                object_release(&o);
                store_page_release(&page);
                store_close(s);
        }
        assert_true(counts[0] > 0);
}

static void opening_survives_lack_of_memory(void **state)
{
        struct store *s = NULL;
        int rc = -ENOMEM;
        (void)state;
        dir_fresh();
        for (long n = 1; rc; n++) {
                assert_true(n < 200);
                mem_fail_nth(n);
                rc = store_open(dir, NULL, &s, NULL);
                mem_fail_nth(0);
                assert_true(rc == 0 || (rc == -ENOMEM && !s));
        }
        store_close(s);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_second_server_is_refused),
                cmocka_unit_test(directories_are_made_private),
                cmocka_unit_test(bad_places_are_refused),
                cmocka_unit_test(foreign_files_are_refused),
                cmocka_unit_test(newer_schemas_are_refused),
                cmocka_unit_test(connections_sync_and_cascade),
                cmocka_unit_test(local_disks_are_accepted),
                cmocka_unit_test(eight_openers_share_one_start),
                cmocka_unit_test(what_was_acknowledged_survives_a_kill),
                cmocka_unit_test(a_full_disk_is_an_error),
                cmocka_unit_test(a_read_only_directory_is_an_error),
                cmocka_unit_test(a_held_write_lock_is_waited_for),
                cmocka_unit_test(waiting_writes_share_a_commit),
                cmocka_unit_test(who_comes_during_a_group_joins_it),
                cmocka_unit_test(a_write_too_long_for_the_disk_fails_alone),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(memory_may_run_out),
                cmocka_unit_test(opening_survives_lack_of_memory),
#endif
        };
        int failed = store_conformance("sqlite conformance", open_sqlite);
        failed += cmocka_run_group_tests(tests, NULL, NULL);
        dir_remove();
        return failed;
}
