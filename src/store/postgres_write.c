/* Writing: one thread takes the writes that wait, does them in one transaction and answers each after the
 * commit. While it waits for the database the next group gathers, so that groups grow with the load.
 *
 * A group is two round trips: all of its writes, each a call of store_write() in the database that gives its
 * own outcome; then the commit. So when the connection breaks before the commit was sent, nothing was done,
 * and the group is done again on a new connection. When it breaks afterwards, all outcomes are known, and
 * whether the transaction was committed is asked of the database: each writes down its number, of those of
 * this process, in a row (migrations/postgres/002_turn.sql). Only when that cannot be found out within
 * RESOLVE_MS is a write answered with -EIO although it may have been done, and the message says so. */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"
#include "store/postgres_internal.h"

#define GROUP_MAX 256           /* writes of one transaction */
#define GROUP_BYTES (32u << 20) /* documents of one transaction; a larger one goes alone */
#define OPS_MAX (256u << 20)    /* operations of one write as text, without documents */
#define DOCS_MAX (1020u << 20)  /* the documents of one write: PostgreSQL's longest value */
#define RECONNECT_MS 3000       /* for a new connection, before the writes fail */
#define RESOLVE_MS 20000        /* for finding out whether a transaction was committed */
#define FOLD_BATCH 1000
#define FLUSH_BYTES 65536 /* a write with such documents is on its way before the next is made */
#define TRIES 3

static const char begin_sql[] = "SELECT store_begin($1, $2)";
static const char write_sql[] = "SELECT problem, failed, version FROM store_write($1::json, $2::text[], $3)";
static const char sweep_sql[] = "SELECT NULL, 0, store_sweep($1)";
static const char fold_sql[] = "SELECT NULL, 0, store_fold($1)";
static const char committed_sql[] = "SELECT store_committed($1, $2)";
enum { R_PROBLEM, R_FAILED, R_NUMBER };

/* ---- operations as the database takes them ---- */

static const char *const verbs[] = {
        [STORE_PUT] = "put",
        [STORE_UPDATE] = "update",
        [STORE_DELETE] = "delete",
        [STORE_CHECK] = "check",
        [STORE_JOB_PUT] = "job_put",
        [STORE_JOB_SAVE] = "job_save",
        [STORE_JOB_RETRY] = "job_retry",
        [STORE_JOB_FINISH] = "job_finish",
        [STORE_JOB_DROP] = "job_drop",
        [STORE_JOB_WAKE] = "job_wake",
        [STORE_USAGE] = "usage",
        [STORE_NOTIFY] = "notify",
};

/* A JSON string (RFC 8259); bytes beyond ASCII as they are. */
static void add_quoted(struct buf *out, const char *s)
{
        buf_addc(out, '"');
        for (; *s; s++) {
                size_t plain = 0;
                while ((unsigned char)s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\')
                        plain++;
                buf_add(out, s, plain);
                s += plain;
                if (!*s)
                        break;
                buf_addf(out, "\\u%04x", (unsigned char)*s);
        }
        buf_addc(out, '"');
}

/* ,"key":"value" unless there is none */
static void add_word(struct buf *out, const char *key, const char *value)
{
        if (!value)
                return;
        buf_addf(out, ",\"%s\":", key);
        add_quoted(out, value);
}

/* ,"key":value unless it is 0, which the database takes for absent alike */
static void add_number(struct buf *out, const char *key, int64_t value)
{
        if (value)
                buf_addf(out, ",\"%s\":%" PRId64, key, value);
}

static void add_flag(struct buf *out, const char *key, bool value)
{
        if (value)
                buf_addf(out, ",\"%s\":true", key);
}

static void add_metadata(struct buf *out, const struct store_op *op)
{
        if (!op->nmetadata)
                return;
        buf_adds(out, ",\"metadata\":{");
        for (size_t i = 0; i < op->nmetadata; i++) {
                if (i)
                        buf_addc(out, ',');
                add_quoted(out, op->metadata[i].key);
                buf_addc(out, ':');
                add_quoted(out, op->metadata[i].value);
        }
        buf_addc(out, '}');
}

static void add_usage(struct buf *out, const struct store_usage *u)
{
        const char *const words[][2] = {
                { "what", u->what }, { "project", u->project }, { "user", u->user },
                { "key", u->key },   { "model", u->model },     { "tier", u->tier }
        };
        buf_addf(out, ",\"usage\":{\"at\":%" PRId64 ",\"batch\":%s", u->at, u->batch ? "true" : "false");
        add_word(out, "id", u->id);
        for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
                add_word(out, words[i][0], words[i][1] ? words[i][1] : "");
        for (int i = 0; i < USAGE_COUNTS; i++)
                buf_addf(out, "%s%" PRId64, i ? "," : ",\"n\":[", u->n[i]);
        buf_adds(out, "]}");
}

static void add_op(struct buf *out, const struct store_op *op)
{
        static const char *const filters[STORE_FILTERS] = { "f1", "f2", "f3", "f4" };
        buf_addf(out, "{\"verb\":\"%s\"", verbs[op->verb]);
        if (op->verb == STORE_USAGE) {
                add_usage(out, op->usage);
                buf_addc(out, '}');
                return;
        }
        add_word(out, "kind", op->kind);
        add_word(out, "id", op->id);
        add_word(out, "project", op->project);
        add_word(out, "parent", op->parent);
        for (int i = 0; i < STORE_FILTERS; i++)
                add_word(out, filters[i], op->f[i]);
        add_metadata(out, op);
        add_number(out, "created", op->created);
        add_number(out, "expires", op->expires);
        add_number(out, "if_version", op->if_version);
        add_number(out, "due", op->due);
        add_number(out, "priority", op->priority);
        if (op->verb == STORE_JOB_FINISH)
                buf_addf(out, ",\"lease\":%" PRId64, op->lease); /* 0 too: while nobody holds the job */
        else
                add_number(out, "lease", op->lease);
        add_flag(out, "set_doc", op->set & STORE_SET_DOC);
        add_flag(out, "set_filters", op->set & STORE_SET_FILTERS);
        add_flag(out, "set_metadata", op->set & STORE_SET_METADATA);
        add_flag(out, "set_expires", op->set & STORE_SET_EXPIRES);
        buf_addc(out, '}');
}

/* The holder of a lease that gives no payload keeps the old one; elsewhere no document is an empty one. */
static struct str op_doc(const struct store_op *op)
{
        bool keeps = op->verb == STORE_JOB_SAVE || op->verb == STORE_JOB_RETRY;
        return op->doc.p || keeps ? op->doc : STR("");
}

/* ---- the pipeline ----
 *
 * The writer's connection is in pipeline mode for all its life: what is sent waits in libpq until the next
 * synchronisation, and answers come in order. */

static int send_statement(struct postgres_conn *c, const char *sql, const struct params *p,
                          struct store_fault *fault)
{
        const char *name = map_get(&c->statements, str_c(sql));
        if (PQsendQueryPrepared(c->pg, name, p->n, p->values, p->lengths, p->formats, 0))
                return 0;
        return postgres_fault(c, NULL, fault, "writing");
}

static int send_command(struct postgres_conn *c, const char *sql, struct store_fault *fault)
{
        if (PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0))
                return 0;
        return postgres_fault(c, NULL, fault, sql);
}

static int send_write(struct postgres_store *s, struct store_write *w)
{
        struct params p = { 0 };
        struct buf ops, docs;
        buf_init(&ops, OPS_MAX);
        buf_init(&docs, DOCS_MAX);
        text_array_begin(&docs, w->n);
        for (size_t i = 0; i < w->n; i++) {
                buf_addc(&ops, i ? ',' : '[');
                add_op(&ops, &w->ops[i]);
                text_array_add(&docs, op_doc(&w->ops[i]));
        }
        buf_addc(&ops, ']');
        int rc = buf_error(&ops) ? buf_error(&ops) : buf_error(&docs);
        if (rc) {
                store_fail(&w->fault, rc, "the write is too large for the database");
        } else {
                params_text(&p, ops.p);
                params_binary(&p, buf_str(&docs));
                params_text(&p, s->origin);
                rc = send_statement(s->wconn, write_sql, &p, &w->fault);
        }
        if (!rc && docs.n > FLUSH_BYTES && !postgres_flush(s->wconn))
                rc = postgres_fault(s->wconn, NULL, &w->fault, "writing");
        buf_release(&ops);
        buf_release(&docs);
        return rc;
}

static int send_one(struct postgres_store *s, struct store_write *w)
{
        struct params p = { 0 };
        w->rc = 0;
        w->affected = 0;
        memset(&w->fault, 0, sizeof(w->fault));
        switch (w->kind) {
        case WRITE_OPS:
                return send_write(s, w);
        case WRITE_SWEEP:
                params_int(&p, SWEEP_BATCH);
                return send_statement(s->wconn, sweep_sql, &p, &w->fault);
        case WRITE_OWN: /* folding is all that this backend submits itself */
                params_int(&p, FOLD_BATCH);
                return send_statement(s->wconn, fold_sql, &p, &w->fault);
        default:
                return 0;
        }
}

/* The next answer, of one row or none; the caller clears *ret. */
static int receive(struct postgres_conn *c, PGresult **ret, struct store_fault *fault, const char *what)
{
        PGresult *res = postgres_result(c);
        ExecStatusType status = PQresultStatus(res);
        *ret = res;
        if (res) /* what follows the answer is a NULL */
                PQclear(postgres_result(c));
        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
                return 0;
        if (status == PGRES_PIPELINE_ABORTED)
                return store_fail(fault, -EIO, "%s: an earlier statement failed", what);
        return postgres_fault(c, res, fault, what);
}

static int receive_nothing(struct postgres_conn *c, struct store_fault *fault, const char *what)
{
        PGresult *res;
        int rc = receive(c, &res, fault, what);
        PQclear(res);
        return rc;
}

/* Reads on to the synchronisation; answers on the way are of no more interest. -ECONNRESET when none will
 * come: the connection is of no more use. */
static int receive_sync(struct postgres_conn *c, struct store_fault *fault)
{
        int silent = 0; /* one NULL follows each answer; more mean that nothing is awaited */
        while (silent < 3 && PQstatus(c->pg) == CONNECTION_OK) {
                PGresult *res = postgres_result(c);
                ExecStatusType status = PQresultStatus(res);
                silent = res ? 0 : silent + 1;
                PQclear(res);
                if (status == PGRES_PIPELINE_SYNC)
                        return 0;
        }
        postgres_fault(c, NULL, fault, "writing");
        return -ECONNRESET;
}

/* ---- outcomes ---- */

/* What the database said of a write that did nothing. */
static int problem_fail(struct store_write *w, const char *problem, size_t failed, int64_t version)
{
        const struct store_op *op = &w->ops[failed < w->n ? failed : 0];
        w->fault.op = failed;
        if (!strcmp(problem, "absent"))
                return store_fail(&w->fault, -ENOENT, "no such %s: %s", op->kind, op->id);
        if (!strcmp(problem, "taken"))
                return store_fail(&w->fault, -EEXIST, "%s exists already", op->id);
        if (!strcmp(problem, "lost"))
                return store_fail(&w->fault, -ESTALE, "the lease of %s is over", op->id);
        return store_fail(&w->fault, -ESTALE, "%s has version %" PRId64 ", not %" PRId64, op->id, version,
                          op->if_version);
}

static int receive_one(struct postgres_conn *c, struct store_write *w)
{
        PGresult *res;
        if (w->kind == WRITE_NOTHING)
                return 0;
        int rc = receive(c, &res, &w->fault, "writing");
        if (!rc && w->kind != WRITE_OPS)
                w->affected = (size_t)column_int(res, 0, R_NUMBER);
        const char *problem = rc ? NULL : column_text(res, 0, R_PROBLEM);
        if (problem)
                w->rc = problem_fail(w, problem, (size_t)column_int(res, 0, R_FAILED),
                                     column_int(res, 0, R_NUMBER));
        PQclear(res);
        return rc;
}

/* ---- the writer's connection ---- */

static void writer_disconnect(struct postgres_store *s)
{
        postgres_conn_free(s->wconn);
        s->wconn = NULL;
}

static int writer_connect_once(struct postgres_store *s, struct store_fault *fault)
{
        static const char *const wanted[] = { begin_sql, write_sql, sweep_sql, fold_sql, committed_sql };
        const char *name;
        int rc = postgres_connect(s->uri, &s->wconn, fault);
        for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted) && !rc; i++)
                rc = postgres_prepare(s->wconn, str_c(wanted[i]), &name, fault);
        if (!rc && !PQenterPipelineMode(s->wconn->pg))
                rc = store_fail(fault, -EIO, "no pipeline mode");
        if (rc)
                writer_disconnect(s);
        return rc;
}

/* A connection that broke is sought for `patience_ms`: the database may be starting again. Once that was in
 * vain, the writes of the next moment fail at once, and later ones after one attempt. */
static int writer_connect(struct postgres_store *s, int64_t patience_ms, struct store_fault *fault)
{
        int64_t now = clock_mono_ms(), until = now + patience_ms;
        int rc = 0;
        if (s->wconn && PQstatus(s->wconn->pg) == CONNECTION_OK)
                return 0;
        writer_disconnect(s);
        if (s->unreachable_until)
                until = now;
        if (now < s->unreachable_until)
                return store_fail(fault, -ECONNRESET, "the database cannot be reached");
        do {
                if (rc)
                        usleep(100000);
                rc = writer_connect_once(s, fault);
        } while (rc == -ECONNRESET && clock_mono_ms() < until);
        s->unreachable_until = rc ? clock_mono_ms() + 500 : 0;
        return rc;
}

/* ---- one transaction ---- */

struct group {
        struct store_write *list;
        int64_t number; /* of the transaction */
        bool commit_sent;
        bool unknown; /* whether it was committed could not be found out */
};

static int group_send(struct postgres_store *s, struct group *g, struct store_fault *fault)
{
        struct postgres_conn *c = s->wconn;
        struct params turn = { 0 };
        params_text(&turn, s->origin);
        params_int(&turn, g->number);
        postgres_cut(c, "pg.connection");
        int rc = send_command(c, "BEGIN", fault);
        if (!rc)
                rc = send_statement(c, begin_sql, &turn, fault);
        for (struct store_write *w = g->list; w && !rc; w = w->next) {
                rc = send_one(s, w);
                if (rc && fault)
                        *fault = w->fault;
        }
        if (!PQpipelineSync(c->pg) && !rc)
                rc = postgres_fault(c, NULL, fault, "writing");
        return rc;
}

static int group_receive(struct postgres_store *s, struct group *g, struct store_fault *fault)
{
        struct postgres_conn *c = s->wconn;
        int rc = receive_nothing(c, fault, "beginning a transaction");
        if (!rc)
                rc = receive_nothing(c, fault, "waiting for the turn to write");
        for (struct store_write *w = g->list; w && !rc; w = w->next) {
                rc = receive_one(c, w);
                if (rc && fault)
                        *fault = w->fault;
        }
        int end = receive_sync(c, rc ? NULL : fault);
        return end ? end : rc;
}

static int group_end(struct postgres_store *s, struct group *g, const char *command,
                     struct store_fault *fault)
{
        struct postgres_conn *c = s->wconn;
        int rc = send_command(c, command, fault);
        if (!rc && !PQpipelineSync(c->pg))
                rc = postgres_fault(c, NULL, fault, command);
        g->commit_sent = !strcmp(command, "COMMIT");
        if (g->commit_sent)
                postgres_cut(c, "pg.commit");
        if (!rc)
                rc = receive_nothing(c, fault, command);
        int end = receive_sync(c, rc ? NULL : fault);
        return end ? end : rc;
}

/* Whether transaction `number` was committed, asked on a new connection. Waits until it is over: the server
 * may have yet to notice that we are gone, or to finish the commit. */
static int ask_committed(struct postgres_store *s, int64_t number, bool *ret, struct store_fault *fault)
{
        static const char what[] = "asking for a transaction";
        struct params p = { 0 };
        PGresult *res;
        params_text(&p, s->origin);
        params_int(&p, number);
        int rc = send_statement(s->wconn, committed_sql, &p, fault);
        if (!rc && !PQpipelineSync(s->wconn->pg))
                rc = postgres_fault(s->wconn, NULL, fault, what);
        if (rc)
                return rc;
        rc = receive(s->wconn, &res, fault, what);
        const char *answer = rc ? NULL : column_text(res, 0, 0);
        *ret = answer && *answer == 't';
        PQclear(res);
        int end = receive_sync(s->wconn, fault);
        return end ? end : rc;
}

/* After the connection broke behind a COMMIT: 0 when it was committed, -ECONNRESET when it was not and the
 * group may be done again, -EIO when that cannot be found out. */
static int group_resolve(struct postgres_store *s, struct group *g, struct store_fault *fault)
{
        int64_t until = clock_mono_ms() + RESOLVE_MS;
        bool committed;
        do {
                if (!writer_connect(s, RECONNECT_MS, fault) &&
                    !ask_committed(s, g->number, &committed, fault))
                        return committed ? 0 : -ECONNRESET;
                usleep(200000);
        } while (clock_mono_ms() < until);
        g->unknown = true;
        return store_fail(
                fault, -EIO,
                "the connection to the database broke at a commit, and whether that was done is unknown");
}

/* One transaction over the list. On failure nothing of it is in the database, unless *ret_unknown is set, and
 * the message says so; -ECONNRESET: it may be done again. */
static int group_commit(struct postgres_store *s, struct store_write *list, bool *ret_unknown,
                        struct store_fault *fault)
{
        struct group g = { .list = list, .number = ++s->n_groups };
        int rc = writer_connect(s, RECONNECT_MS, fault);
        if (rc)
                return rc;
        rc = group_send(s, &g, fault);
        if (rc)
                receive_sync(s->wconn, NULL);
        else
                rc = group_receive(s, &g, fault);
        if (!rc && (rc = fault_at("store.commit")))
                store_fail(fault, rc, "committing: %s", strerror(-rc));
        if (!rc)
                rc = group_end(s, &g, "COMMIT", fault);
        else if (rc != -ECONNRESET)
                group_end(s, &g, "ROLLBACK", NULL);
        if (rc == -ECONNRESET || PQstatus(s->wconn->pg) == CONNECTION_BAD) {
                writer_disconnect(s);
                if (rc)
                        rc = g.commit_sent ? group_resolve(s, &g, fault) : -ECONNRESET;
        }
        if (!rc)
                atomic_fetch_add_explicit(&s->n_commits, 1, memory_order_relaxed);
        *ret_unknown = g.unknown;
        return rc;
}

/* The same, on new connections while they break. */
static int group_try(struct postgres_store *s, struct store_write *list, bool *ret_unknown,
                     struct store_fault *fault)
{
        int rc = -ECONNRESET;
        *ret_unknown = false;
        for (int i = 0; i < TRIES && rc == -ECONNRESET; i++)
                rc = group_commit(s, list, ret_unknown, fault);
        return rc == -ECONNRESET ? -ENOTCONN : rc;
}

/* ---- answers ---- */

static void write_answer(struct postgres_store *s, struct store_write *w)
{
        if (!w->rc) {
                memset(&w->fault, 0, sizeof(w->fault));
                if (w->kind == WRITE_OPS)
                        store_tell_ops(&s->store, w->ops, w->n);
        }
        atomic_fetch_add_explicit(w->rc ? &s->n_failed : &s->n_writes, 1, memory_order_relaxed);
        w->complete(w);
}

static void write_refuse(struct store_write *w, int rc, const struct store_fault *fault)
{
        w->rc = rc;
        w->affected = 0;
        w->fault.op = 0;
        memcpy(w->fault.msg, fault->msg, sizeof(w->fault.msg));
}

/* Answers all of the list; `rc` is what became of its transaction. */
static void group_answer(struct postgres_store *s, struct store_write *list, int rc,
                         const struct store_fault *fault)
{
        while (list) {
                struct store_write *next = list->next; /* complete() frees it */
                if (rc)
                        write_refuse(list, rc, fault);
                write_answer(s, list);
                list = next;
        }
}

/* A group that fails as a whole, as when a document is too large or the disk is full, is done again one by
 * one, so that one which cannot succeed does not take the others with it. Not so when the database is away or
 * busy: the others would wait in vain once more. Nor when it may have been committed: what was done would be
 * done twice, or be answered as though another had done it. */
static void group_write(struct postgres_store *s, struct store_write *list)
{
        struct store_fault fault = { 0 };
        bool unknown;
        int rc = group_try(s, list, &unknown, &fault);
        if (!rc || !list->next || rc == -EBUSY || unknown || !s->wconn) {
                group_answer(s, list, rc, &fault);
                return;
        }
        while (list) {
                struct store_write *next = list->next;
                list->next = NULL;
                rc = group_try(s, list, &unknown, &fault);
                group_answer(s, list, rc, &fault);
                list = next;
        }
}

/* ---- the thread ---- */

int postgres_submit(struct store *store, struct store_write *w)
{
        return write_queue_add(&((struct postgres_store *)store)->queue, w);
}

static void *writer_main(void *arg)
{
        struct postgres_store *s = arg;
        struct store_write *list;
        while ((list = write_queue_take(&s->queue, GROUP_MAX, GROUP_BYTES)))
                group_write(s, list);
        return NULL;
}

/* A migration from a data directory marks how far it is in a table of this name. */
static int migration_check(struct postgres_conn *c, struct store_fault *fault)
{
        static const char sql[] = "SELECT to_regclass('store_migration') IS NULL";
        static const struct params none;
        PGresult *res;
        int rc = postgres_run(c, STR(sql), &none, &res, fault, "reading the schema");
        if (!rc && *PQgetvalue(res, 0, 0) != 't')
                rc = store_fail(fault, -EBUSY,
                                "a migration into the database is not complete: cairn migrate --resume");
        PQclear(res);
        return rc;
}

/* What this instance held before it was opened now, it holds no more. */
static int claims_void(struct postgres_store *s, struct postgres_conn *c, struct store_fault *fault)
{
        static const char sql[] = "UPDATE job SET lease = 0, due = least(due, store_now_ms())"
                                  " WHERE holder = $1 AND lease <> 0";
        struct params p = { 0 };
        PGresult *res;
        if (!*s->instance)
                return 0;
        params_text(&p, s->instance);
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "freeing the jobs of a former process");
        PQclear(res);
        return rc;
}

static int schema_must_exist(struct postgres_conn *c, struct store_fault *fault)
{
        static const char sql[] = "SELECT to_regclass('store_schema') IS NULL";
        static const struct params none;
        PGresult *res;
        int rc = postgres_run(c, STR(sql), &none, &res, fault, "reading the schema");
        if (!rc && *PQgetvalue(res, 0, 0) == 't')
                rc = store_fail(fault, -ENOENT, "the database %s: there is no store in it", PQdb(c->pg));
        PQclear(res);
        return rc;
}

/* The schema is made on a connection of its own: pipeline mode takes one statement at a time. */
static int schema_prepare(struct postgres_store *s, bool existing, struct store_fault *fault)
{
        struct postgres_conn *c;
        int rc = postgres_connect(s->uri, &c, fault);
        if (!rc && existing)
                rc = schema_must_exist(c, fault);
        if (!rc)
                rc = postgres_migrate(c, fault);
        if (!rc)
                rc = migration_check(c, fault);
        if (!rc)
                rc = claims_void(s, c, fault);
        postgres_conn_free(c);
        return rc;
}

int postgres_writer_start(struct postgres_store *s, bool existing, struct store_fault *fault)
{
        int rc = schema_prepare(s, existing, fault);
        if (!rc)
                rc = writer_connect_once(s, fault);
        if (rc)
                return rc;
        rc = thread_start(&s->writer, "store-writer", writer_main, s);
        if (rc) {
                writer_disconnect(s);
                return store_fail(fault, rc, "no thread for the writer: %s", strerror(-rc));
        }
        s->writer_runs = true;
        return 0;
}

void postgres_writer_stop(struct postgres_store *s)
{
        if (!s->writer_runs)
                return;
        write_queue_stop(&s->queue);
        pthread_join(s->writer, NULL);
        s->writer_runs = false;
        writer_disconnect(s);
}

int postgres_usage_fold(struct store *store, size_t *ret_folded, struct store_fault *fault)
{
        struct store_write w = { .kind = WRITE_OWN };
        int rc = store_write_wait(store, &w, fault);
        *ret_folded = rc ? 0 : w.affected;
        return rc;
}
