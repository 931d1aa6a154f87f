/* The PostgreSQL backend: the suite of all backends, then what only it promises: several processes, broken
 * connections, the order of what they insert.
 *
 * CAIRN_TEST_POSTGRES names the server, as "postgres://user@host:port/database"; each test has a schema of
 * its own there. Without it tests/lib/postgres.py makes one; it ends with 77 where the packages are missing.
 * Runs from the root of the source tree. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "store/conformance.h"
#include "store/postgres_internal.h"
#include "store/store.h"

static const char *server;
static char schema[40], uri[1024];

static PGconn *admin(void)
{
        PGconn *pg = PQconnectdb(server);
        if (PQstatus(pg) != CONNECTION_OK)
                fail_msg("%s", PQerrorMessage(pg));
        return pg;
}

/* Runs a command as the administrator; the first column of the first row as a number, or 0. */
static long command(const char *fmt, ...)
{
        char sql[512];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(sql, sizeof(sql), fmt, ap);
        va_end(ap);
        PGconn *pg = admin();
        PGresult *res = PQexec(pg, sql);
        ExecStatusType status = PQresultStatus(res);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
                fail_msg("%s: %s", sql, PQerrorMessage(pg));
        long value =
                status == PGRES_TUPLES_OK && PQntuples(res) ? strtol(PQgetvalue(res, 0, 0), NULL, 10) : 0;
        PQclear(res);
        PQfinish(pg);
        return value;
}

static void schema_drop(void)
{
        if (*schema)
                command("SET client_min_messages = warning; DROP SCHEMA %s CASCADE", schema);
        *schema = '\0';
}

static void schema_fresh(void)
{
        static int number;
        schema_drop();
        snprintf(schema, sizeof(schema), "test_%d_%d", (int)getpid(), ++number);
        command("CREATE SCHEMA %s", schema);
        snprintf(uri, sizeof(uri), "%s%soptions=-csearch_path%%3D%s", server, strchr(server, '?') ? "&" : "?",
                 schema);
}

static struct store *open_or_die(void)
{
        struct store_fault fault = { 0 };
        struct store *s;
        if (store_open(uri, NULL, &s, &fault))
                fail_msg("%s", fault.msg);
        return s;
}

static struct store *open_postgres(int fresh)
{
        if (fresh)
                schema_fresh();
        return open_or_die();
}

static int setup(void **state)
{
        *state = open_postgres(1);
        return 0;
}

static int teardown(void **state)
{
        store_close(*state);
        return 0;
}

static struct store_op thing(const char *id)
{
        return (struct store_op){ .verb = STORE_PUT,
                                  .kind = "thing",
                                  .id = id,
                                  .project = "proj_a",
                                  .created = 7,
                                  .doc = { id, strlen(id) } };
}

/* ---- several processes ---- */

static void *open_thread(void *arg)
{
        *(struct store **)arg = open_or_die();
        return NULL;
}

static void first_openings_at_once_make_one_schema(void **state)
{
        struct store *stores[6];
        pthread_t threads[6];
        (void)state;
        schema_fresh();
        for (int i = 0; i < 6; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, open_thread, &stores[i]), 0);
        for (int i = 0; i < 6; i++)
                pthread_join(threads[i], NULL);
        struct store_op op = thing("t");
        for (int i = 0; i < 6; i++)
                assert_int_equal(store_put(stores[i], &op, NULL), i ? -EEXIST : 0);
        for (int i = 0; i < 6; i++)
                store_close(stores[i]);
}

#define INSERTS 400

struct inserter {
        struct store *s;
        char letter;
        _Atomic int *failures, *running;
};

static void *insert(void *arg)
{
        struct inserter *me = arg;
        char id[16];
        for (int i = 0; i < INSERTS; i++) {
                snprintf(id, sizeof(id), "%c%04d", me->letter, i);
                struct store_op op = thing(id);
                if (store_put(me->s, &op, NULL))
                        ++*me->failures;
        }
        --*me->running;
        return NULL;
}

/* All rows are of one second, so that seq alone orders them. Somebody who follows the list's end while four
 * writers of two processes insert must meet every row, once: none may appear behind his back. */
static void followers_miss_nothing(void **state)
{
        struct store *other = open_or_die();
        struct inserter writers[4];
        pthread_t threads[4];
        _Atomic int failures = 0, running = 4;
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 50 };
        char after[16] = "";
        int seen = 0;
        for (int i = 0; i < 4; i++) {
                writers[i] =
                        (struct inserter){ i % 2 ? other : *state, (char)('a' + i), &failures, &running };
                assert_int_equal(pthread_create(&threads[i], NULL, insert, &writers[i]), 0);
        }
        for (bool last = false; !last;) {
                struct store_page page;
                last = running == 0;
                q.after = *after ? after : NULL;
                assert_int_equal(store_list(*state, &q, &page, NULL), 0);
                if (page.n)
                        snprintf(after, sizeof(after), "%s", page.items[page.n - 1].id);
                seen += (int)page.n;
                last = last && !page.has_more;
                store_page_release(&page);
        }
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(failures, 0);
        assert_int_equal(seen, 4 * INSERTS);
        store_close(other);
}

struct news {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        char text[4096];
};

static void hear(void *ctx, const char *topic, const char *id)
{
        struct news *n = ctx;
        pthread_mutex_lock(&n->lock);
        size_t length = strlen(n->text);
        snprintf(n->text + length, sizeof(n->text) - length, "%s/%s ", topic, id);
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
}

/* Waits up to 20 s until the text is among the news. */
static bool heard(struct news *n, const char *text)
{
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 20;
        pthread_mutex_lock(&n->lock);
        int rc = 0;
        while (!strstr(n->text, text) && !rc)
                rc = pthread_cond_timedwait(&n->changed, &n->lock, &until);
        bool found = strstr(n->text, text) != NULL;
        pthread_mutex_unlock(&n->lock);
        return found;
}

static void news_of_other_processes_are_heard(void **state)
{
        struct news mine = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "" };
        struct news theirs = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "" };
        struct store *other = open_or_die();
        struct store_op ops[] = {
                { .verb = STORE_NOTIFY, .kind = "topic", .id = "one" },
                { .verb = STORE_JOB_PUT, .kind = "batch", .id = "b1", .project = "p", .doc = STR("{}") },
        };
        struct store_op refused[] = { { .verb = STORE_NOTIFY, .kind = "topic", .id = "never" },
                                      { .verb = STORE_CHECK, .kind = "thing", .id = "missing" } };
        struct store_op last = { .verb = STORE_NOTIFY, .kind = "topic", .id = "last" };
        assert_int_equal(store_watch(*state, hear, &mine), 0);
        assert_int_equal(store_watch(other, hear, &theirs), 0);
        assert_int_equal(store_write(other, ops, 2, NULL), 0);
        assert_int_equal(store_write(other, refused, 2, NULL), -ENOENT);
        assert_int_equal(store_write(other, &last, 1, NULL), 0);
        assert_true(heard(&mine, "topic/last "));
        assert_string_equal(mine.text, "topic/one job/batch topic/last ");
        /* One's own news are told once, before the write returns, and do not come back. */
        assert_string_equal(theirs.text, "topic/one job/batch topic/last ");
        store_close(other);
}

static void jobs_pass_between_processes(void **state)
{
        static const char *const kinds[] = { "batch" };
        struct store *other = open_or_die();
        struct store_op put = { .verb = STORE_JOB_PUT, .kind = "batch", .id = "b1", .doc = STR("x") };
        struct job job, again;
        int64_t due = 0, began = clock_mono_ms();
        assert_int_equal(store_write(*state, &put, 1, NULL), 0);
        assert_int_equal(store_job_claim(other, kinds, 1, 300, &job, NULL, NULL), 0);
        store_close(other); /* dies with its claim */
        assert_int_equal(store_job_claim(*state, kinds, 1, 1000, &again, &due, NULL), -ENOENT);
        assert_true(due > 0);
        while (store_job_claim(*state, kinds, 1, 1000, &again, NULL, NULL) == -ENOENT)
                usleep(10000);
        assert_true(clock_mono_ms() - began >= 300);
        assert_int_equal(again.attempt, 2);
        struct store_op late = { .verb = STORE_JOB_FINISH, .kind = "batch", .id = "b1", .lease = job.lease };
        assert_int_equal(store_write(*state, &late, 1, NULL), -ESTALE);
        late.lease = again.lease;
        assert_int_equal(store_write(*state, &late, 1, NULL), 0);
        job_release(&job);
        job_release(&again);
}

/* A server that starts again goes on with what it held when it died; another one waits for the lease. */
static void a_restart_frees_what_was_held(void **state)
{
        static const char *const kinds[] = { "batch" };
        struct store_options me = { .instance = "here" }, you = { .instance = "there" };
        struct store_op put = { .verb = STORE_JOB_PUT, .kind = "batch", .id = "b1", .doc = STR("x") };
        struct store *s;
        struct job job;
        assert_int_equal(store_write(*state, &put, 1, NULL), 0);
        assert_int_equal(store_open(uri, &me, &s, NULL), 0);
        assert_int_equal(store_job_claim(s, kinds, 1, 600000, &job, NULL, NULL), 0);
        job_release(&job);
        store_close(s);
        assert_int_equal(store_open(uri, &you, &s, NULL), 0);
        assert_int_equal(store_job_claim(s, kinds, 1, 600000, &job, NULL, NULL), -ENOENT);
        store_close(s);
        assert_int_equal(store_open(uri, &me, &s, NULL), 0);
        assert_int_equal(store_job_claim(s, kinds, 1, 600000, &job, NULL, NULL), 0);
        assert_int_equal(job.attempt, 2);
        job_release(&job);
        store_close(s);
}

/* ---- broken connections ---- */

static void sessions_kill(void)
{
        command("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'cairn' AND pid <> pg_backend_pid()");
}

static void broken_connections_are_made_anew(void **state)
{
        struct news news = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "" };
        struct store *other = open_or_die();
        struct store_op op = thing("before"), tell = { .verb = STORE_NOTIFY, .kind = "topic", .id = "after" };
        struct object o;
        assert_int_equal(store_watch(*state, hear, &news), 0);
        assert_int_equal(store_put(*state, &op, NULL), 0);
        for (int round = 0; round < 3; round++) {
                char id[16];
                sessions_kill();
                snprintf(id, sizeof(id), "t%d", round);
                op = thing(id);
                assert_int_equal(store_get(*state, "thing", "before", NULL, &o, NULL), 0);
                object_release(&o);
                assert_int_equal(store_put(*state, &op, NULL), 0);
                assert_int_equal(store_put(*state, &op, NULL), -EEXIST);
        }
        /* The listener says that it may have missed something, then hears again. */
        assert_true(heard(&news, "/ "));
        assert_int_equal(store_write(other, &tell, 1, NULL), 0);
        assert_true(heard(&news, "topic/after "));
        store_close(other);
}

#ifdef CAIRN_FAULTS
/* The connection breaks in front of a group and behind its COMMIT: either way the write is done exactly once,
 * and its answer is what happened. */
static void a_broken_commit_is_resolved(void **state)
{
        static const char *const places[] = { "pg.connection", "pg.commit" };
        struct store_op up = { .verb = STORE_UPDATE, .kind = "thing", .id = "t", .set = STORE_SET_DOC };
        struct store_op op = thing("t");
        struct object o;
        int64_t version = 1;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        for (int round = 0; round < 20; round++) {
                char spec[64];
                snprintf(spec, sizeof(spec), "%s:1", places[round % 2]);
                assert_int_equal(fault_arm(str_c(spec)), 0);
                up.if_version = version++;
                assert_int_equal(store_write(*state, &up, 1, NULL), 0);
                fault_clear();
                assert_int_equal(store_get(*state, "thing", "t", NULL, &o, NULL), 0);
                assert_int_equal(o.version, version);
                object_release(&o);
        }
}

/* A database that says nothing: whoever reads is told so once the patience is over, the next one gets a new
 * connection; a write is done exactly once wherever in it the silence begins. */
static void silence_ends_a_connection(void **state)
{
        struct store_fault fault;
        struct store_op op = thing("before");
        struct object o;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(fault_arm(STR("pg.silence")), 0);
        assert_int_equal(store_get(*state, "thing", "before", NULL, &o, &fault), -ENOTCONN);
        assert_non_null(strstr(fault.msg, "does not answer"));
        assert_int_equal(store_get(*state, "thing", "before", NULL, &o, NULL), 0);
        object_release(&o);
        for (int at = 1; at <= 8; at++) {
                char spec[64], id[16];
                snprintf(spec, sizeof(spec), "pg.silence:%d", at);
                snprintf(id, sizeof(id), "t%d", at);
                op = thing(id);
                assert_int_equal(fault_arm(str_c(spec)), 0);
                assert_int_equal(store_put(*state, &op, NULL), 0);
                fault_clear();
                assert_int_equal(store_put(*state, &op, NULL), -EEXIST);
        }
}

/* All connections are in use: who wants one waits for a while, then is refused. */
static int hold(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        return postgres_exec(c, arg, fault, "holding");
}

static void *hold_thread(void *arg)
{
        postgres_with(arg, hold, "SELECT pg_sleep(3)", false, NULL);
        return NULL;
}

static void a_connection_is_not_waited_for_without_end(void **state)
{
        struct store_options one = { .readers = 1 };
        struct store_fault fault;
        struct store *s;
        pthread_t holder;
        (void)state;
        assert_int_equal(store_open(uri, &one, &s, NULL), 0);
        assert_int_equal(pthread_create(&holder, NULL, hold_thread, s), 0);
        usleep(500000);
        assert_int_equal(
                postgres_with_patience((struct postgres_store *)s, hold, "SELECT 1", 200, false, &fault),
                -EBUSY);
        assert_non_null(strstr(fault.msg, "in use"));
        pthread_join(holder, NULL);
        assert_int_equal(postgres_with((struct postgres_store *)s, hold, "SELECT 1", false, NULL), 0);
        store_close(s);
}

/* Under load, with connections that break every few commits: what was answered with 0 is there, once. */
static void nothing_is_lost_when_connections_break(void **state)
{
        struct inserter writers[4];
        pthread_t threads[4];
        _Atomic int failures = 0, running = 4;
        for (int i = 0; i < 4; i++) {
                writers[i] = (struct inserter){ *state, (char)('a' + i), &failures, &running };
                assert_int_equal(pthread_create(&threads[i], NULL, insert, &writers[i]), 0);
        }
        for (int round = 0; running; round++) {
                fault_clear(); /* never two at once: a write is tried three times */
                fault_arm(round % 2 ? STR("pg.commit:2") : STR("pg.connection:2"));
                usleep(50000);
        }
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        fault_clear();
        assert_int_equal(failures, 0);
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = STORE_PAGE_MAX };
        struct store_page page;
        assert_int_equal(store_list(*state, &q, &page, NULL), 0);
        assert_int_equal(page.n, 4 * INSERTS);
        store_page_release(&page);
}
#endif

static void refused_addresses_are_explained(void **state)
{
        static const struct {
                const char *address, *says;
                int rc;
        } cases[] = {
                { "postgres://nobody@127.0.0.1:1/none?connect_timeout=2", "127.0.0.1", -ENOTCONN },
                { "postgres://127.0.0.1:notaport/none", "port", -ENOTCONN },
                { "postgres://host/name?colour=red", "colour", -EINVAL },
        };
        struct store_fault fault;
        struct store *s;
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                assert_int_equal(store_open(cases[i].address, NULL, &s, &fault), cases[i].rc);
                assert_null(s);
                assert_non_null(strstr(fault.msg, cases[i].says));
        }
}

static void newer_schemas_are_refused(void **state)
{
        struct store_fault fault;
        struct store *s;
        (void)state;
        command("INSERT INTO %s.store_schema VALUES (999)", schema);
        assert_int_equal(store_open(uri, NULL, &s, &fault), -EPROTO);
        assert_non_null(strstr(fault.msg, "999"));
}

static void texts_that_are_no_utf8_are_refused(void **state)
{
        struct store_op bad = thing("bad\xff"), good = thing("good");
        struct object o;
        assert_int_equal(store_put(*state, &bad, NULL), -EINVAL);
        bad = thing("bad");
        bad.doc = STR("\xc3(");
        assert_int_equal(store_put(*state, &bad, NULL), -EINVAL);
        assert_int_equal(store_get(*state, "thing", "bad\xff", NULL, &o, NULL), -ENOENT);
        assert_int_equal(store_put(*state, &good, NULL), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static int own_suite(void)
{
        const struct CMUnitTest tests[] = {
                CASE(first_openings_at_once_make_one_schema),
                CASE(followers_miss_nothing),
                CASE(news_of_other_processes_are_heard),
                CASE(jobs_pass_between_processes),
                CASE(a_restart_frees_what_was_held),
                CASE(broken_connections_are_made_anew),
#ifdef CAIRN_FAULTS
                CASE(a_broken_commit_is_resolved),
                CASE(silence_ends_a_connection),
                CASE(a_connection_is_not_waited_for_without_end),
                CASE(nothing_is_lost_when_connections_break),
#endif
                CASE(refused_addresses_are_explained),
                CASE(newer_schemas_are_refused),
                CASE(texts_that_are_no_utf8_are_refused),
        };
        return cmocka_run_group_tests_name("postgres alone", tests, NULL, NULL);
}

/* Runs this program once more, with a server that was made for it. Gives what that ends with: 77 when
 * PostgreSQL is not installed. */
static int run_with_server(char *program)
{
        char *words[] = { "python3", "tests/lib/postgres.py", program, NULL };
        execvp(words[0], words);
        perror(words[0]);
        return 1;
}

int main(int argc, char **argv)
{
        (void)argc;
        server = getenv("CAIRN_TEST_POSTGRES");
        if (!server || !*server)
                return run_with_server(argv[0]);
        int failed = store_conformance("postgres", open_postgres);
        failed += own_suite();
        schema_drop();
        return failed;
}
