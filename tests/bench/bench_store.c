/* Durable writes per second through the store, against what SQLite itself does on the same disk.
 *
 *   bench_store [seconds a run] [directory]
 *   python3 tests/lib/postgres.py bench_store          on PostgreSQL as well
 *
 * The rival is a plain loop in one thread: the same rows into a database of the same tables, indexes and
 * settings, in transactions of 1 and of 64 rows. It needs no queue, no threads and no answers, so it is the
 * bound of what group commit alone can reach. Short runs of both alternate, so that what else the machine
 * does meets both alike; a figure is the median of its rounds. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "store/store.h"

#define DOC_BYTES 500
#define ROUNDS 9
#define THREADS_MAX 64

static char doc[DOC_BYTES];
static double seconds = 0.4;
static _Atomic uint64_t next_id;

static void die(const char *what, const char *why)
{
        fprintf(stderr, "bench_store: %s: %s\n", what, why);
        exit(1);
}

/* ---- the store ---- */

struct writer {
        struct store *store;
        int64_t until;
        uint64_t done;
};

static void *writer_run(void *arg)
{
        struct writer *w = arg;
        while (clock_mono_us() < w->until) {
                char id[32];
                struct store_fault fault;
                snprintf(id, sizeof(id), "resp_%020llu", (unsigned long long)next_id++);
                struct store_op op = { .kind = "response",
                                       .id = id,
                                       .project = "proj_bench",
                                       .f = { "cairn-tiny", "completed" },
                                       .doc = { doc, sizeof(doc) } };
                if (store_put(w->store, &op, &fault))
                        die("store_put", fault.msg);
                w->done++;
        }
        return NULL;
}

static double store_rate(struct store *s, int threads, double *ret_group)
{
        struct writer writers[THREADS_MAX];
        pthread_t ids[THREADS_MAX];
        struct store_stats before, after;
        uint64_t done = 0;
        store_get_stats(s, &before);
        int64_t began = clock_mono_us(), until = began + (int64_t)(seconds * 1e6);
        for (int i = 0; i < threads; i++) {
                writers[i] = (struct writer){ s, until, 0 };
                if (pthread_create(&ids[i], NULL, writer_run, &writers[i]))
                        die("pthread_create", "no thread");
        }
        for (int i = 0; i < threads; i++) {
                pthread_join(ids[i], NULL);
                done += writers[i].done;
        }
        double took = (double)(clock_mono_us() - began) / 1e6;
        store_get_stats(s, &after);
        *ret_group = (double)(after.writes - before.writes) / (double)(after.commits - before.commits);
        return (double)done / took;
}

/* ---- the plain loop ---- */

struct loop {
        sqlite3 *db;
        sqlite3_stmt *begin, *insert, *commit;
};

static void step(struct loop *l, sqlite3_stmt *stmt)
{
        if (sqlite3_step(stmt) != SQLITE_DONE)
                die("sqlite", sqlite3_errmsg(l->db));
        sqlite3_reset(stmt);
}

static sqlite3_stmt *prepare(struct loop *l, const char *sql)
{
        sqlite3_stmt *stmt = NULL;
        if (sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL))
                die(sql, sqlite3_errmsg(l->db));
        return stmt;
}

static void loop_open(struct loop *l, const char *path)
{
        if (sqlite3_open_v2(path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ||
            sqlite3_exec(l->db, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000", NULL, NULL, NULL))
                die(path, sqlite3_errmsg(l->db));
        l->begin = prepare(l, "BEGIN IMMEDIATE");
        l->commit = prepare(l, "COMMIT");
        l->insert = prepare(
                l, "INSERT INTO object (kind, id, project, parent, created, expires, doc, f1, f2)"
                   " VALUES ('response', ?1, 'proj_bench', '', ?2, 0, ?3, 'cairn-tiny', 'completed')");
}

static void loop_close(struct loop *l)
{
        sqlite3_finalize(l->begin);
        sqlite3_finalize(l->commit);
        sqlite3_finalize(l->insert);
        sqlite3_close(l->db);
}

static double loop_rate(struct loop *l, int group)
{
        int64_t began = clock_mono_us(), until = began + (int64_t)(seconds * 1e6);
        uint64_t done = 0;
        while (clock_mono_us() < until) {
                step(l, l->begin);
                for (int i = 0; i < group; i++, done++) {
                        char id[32];
                        snprintf(id, sizeof(id), "resp_%020llu", (unsigned long long)next_id++);
                        sqlite3_bind_text(l->insert, 1, id, -1, SQLITE_TRANSIENT);
                        sqlite3_bind_int64(l->insert, 2, clock_unix());
                        sqlite3_bind_text(l->insert, 3, doc, sizeof(doc), SQLITE_STATIC);
                        step(l, l->insert);
                }
                step(l, l->commit);
        }
        return (double)done / ((double)(clock_mono_us() - began) / 1e6);
}

/* ---- the comparison ---- */

static void open_in(const char *dir, const char *name, struct store **ret_store, struct loop *ret_loop)
{
        char path[600];
        struct store_fault fault;
        struct store *store;
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        if (store_open(path, NULL, &store, &fault))
                die("store_open", fault.msg);
        if (ret_store) {
                *ret_store = store;
                return;
        }
        store_close(store); /* it made the schema */
        snprintf(path, sizeof(path), "%s/%s/cairn.db", dir, name);
        loop_open(ret_loop, path);
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

/* Of one figure of each round; sorts them. */
static double median(double *rounds)
{
        qsort(rounds, ROUNDS, sizeof(*rounds), by_value);
        return rounds[ROUNDS / 2];
}

static const int widths[] = { 1, THREADS_MAX };

struct figures {
        double ours[ROUNDS], rival[ROUNDS], ratio[ROUNDS], group[ROUNDS];
        double far[ROUNDS], far_ratio[ROUNDS], far_group[ROUNDS];
};

static void round_run(struct figures *f, int round, int width, struct loop *loop, struct store *store,
                      struct store *postgres)
{
        f->rival[round] = loop_rate(loop, width);
        f->ours[round] = store_rate(store, width, &f->group[round]);
        f->ratio[round] = f->ours[round] / f->rival[round];
        if (!postgres)
                return;
        f->far[round] = store_rate(postgres, width, &f->far_group[round]);
        f->far_ratio[round] = f->far[round] / f->ours[round];
}

static void figures_print(struct figures f[2], bool postgres)
{
        for (int i = 0; i < 2; i++)
                printf("store: %2d writers %8.0f durable writes/s, plain SQLite in groups of %2d %8.0f/s,"
                       " ratio %.2f (mean group %.1f)\n",
                       widths[i], median(f[i].ours), widths[i], median(f[i].rival), median(f[i].ratio),
                       median(f[i].group));
        for (int i = 0; i < 2 && postgres; i++)
                printf("store: %2d writers %8.0f durable writes/s on PostgreSQL, ratio to SQLite %.2f (mean "
                       "group %.1f)\n",
                       widths[i], median(f[i].far), median(f[i].far_ratio), median(f[i].far_group));
}

int main(int argc, char **argv)
{
        static struct figures figures[2];
        char dir[512], command[600];
        struct store *store;
        struct loop loop;
        const char *address = getenv("CAIRN_TEST_POSTGRES");
        struct store *postgres = NULL;
        struct store_fault fault;
        if (argc > 1)
                seconds = strtod(argv[1], NULL);
        snprintf(dir, sizeof(dir), "%.400s/cairn-bench-XXXXXX", argc > 2 ? argv[2] : "/tmp");
        if (seconds <= 0 || !mkdtemp(dir))
                die(dir, "usage: bench_store [seconds] [directory]");
        memset(doc, 'x', sizeof(doc));
        open_in(dir, "ours", &store, NULL);
        open_in(dir, "rival", NULL, &loop);
        if (address && *address && store_open(address, NULL, &postgres, &fault))
                die(address, fault.msg);
        for (int round = 0; round < ROUNDS; round++) {
                for (int i = 0; i < 2; i++)
                        round_run(&figures[i], round, widths[i], &loop, store, postgres);
        }
        loop_close(&loop);
        store_close(store);
        store_close(postgres);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        if (system(command))
                fprintf(stderr, "bench_store: %s is left behind\n", dir);
        figures_print(figures, postgres);
        return 0;
}
