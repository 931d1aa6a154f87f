/* Connections, prepared statements, errors and migrations. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/mem.h"
#include "store/postgres_internal.h"

static const struct {
        int number;
        const char *name, *sql;
} migrations[] = {
#include "store/postgres_migrations.inc"
};

#define N_MIGRATIONS (int)(sizeof(migrations) / sizeof(*migrations))
#define STATEMENTS_MAX 64 /* shapes of statements that a connection remembers */
#define TEXT_OID 25

/* Every statement of the store is a seek: what the tables' statistics say while they are young shall not talk
 * the planner out of it. A statement, the wait for the turn of writing included, ends after half a minute; a
 * transaction whose process hangs loses its turn after ten seconds. */
static const char connection_settings[] = "SET client_encoding = 'UTF8';"
                                          "SET standard_conforming_strings = on;"
                                          "SET datestyle = 'ISO';"
                                          "SET default_transaction_isolation = 'read committed';"
                                          "SET statement_timeout = '30s';"
                                          "SET lock_timeout = '20s';"
                                          "SET idle_in_transaction_session_timeout = '10s';"
                                          "SET enable_seqscan = off; SET enable_sort = off;"
                                          "SET enable_hashjoin = off; SET enable_mergejoin = off;"
                                          "SET jit = off; SET client_min_messages = warning";

/* What libpq needs beside the address: the operator's own settings in it take precedence. A peer that is gone
 * without a word is noticed by the probes. */
static const struct {
        const char *key, *value;
} connection_defaults[] = {
        { "connect_timeout", "5" },      { "keepalives_idle", "10" },
        { "keepalives_interval", "5" },  { "keepalives_count", "3" },
        { "tcp_user_timeout", "15000" }, { "fallback_application_name", "cairn" },
};
#define N_DEFAULTS (sizeof(connection_defaults) / sizeof(*connection_defaults))

/* ---- errors ---- */

static const struct {
        const char *state; /* SQLSTATE, or its class of two characters */
        int rc;
} states[] = {
        { "08", -ECONNRESET },    { "57P01", -ECONNRESET }, { "57P02", -ECONNRESET },
        { "57P03", -ECONNRESET }, { "25P03", -ECONNRESET }, { "53100", -ENOSPC },
        { "53200", -ENOMEM },     { "53300", -EBUSY },      { "53400", -EFBIG },
        { "54", -EFBIG },         { "55P03", -EBUSY },      { "57014", -EBUSY },
        { "40", -EBUSY },         { "25006", -EROFS },      { "22021", -EINVAL },
        { "22P05", -EINVAL },     { "42501", -EACCES },     { "28", -EACCES },
        { "3D000", -ENOENT },     { "3F000", -ENOENT },
};

static int state_errno(const char *state)
{
        for (size_t i = 0; state && i < sizeof(states) / sizeof(*states); i++) {
                if (!strncmp(state, states[i].state, strlen(states[i].state)))
                        return states[i].rc;
        }
        return -EIO;
}

/* Without the newline, and the detail in further lines, of libpq's messages. */
static int message_fail(struct store_fault *fault, int rc, const char *what, const char *message)
{
        size_t n = strcspn(message, "\n");
        return store_fail(fault, rc, "%s: %.*s", what, (int)n, n ? message : "unknown failure");
}

int postgres_fault(struct postgres_conn *c, const PGresult *res, struct store_fault *fault, const char *what)
{
        const char *message = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
        int rc = message ? state_errno(PQresultErrorField(res, PG_DIAG_SQLSTATE)) : -EIO;
        if (c->silent)
                return message_fail(fault, -ECONNRESET, what, "the database does not answer");
        if (PQstatus(c->pg) == CONNECTION_BAD)
                rc = -ECONNRESET;
        return message_fail(fault, rc, what, message ? message : PQerrorMessage(c->pg));
}

void postgres_cut(struct postgres_conn *c, const char *place)
{
        if (fault_at(place))
                shutdown(PQsocket(c->pg), SHUT_RDWR);
}

/* ---- waiting ----
 *
 * libpq's own waiting has no end. So it never waits: it is asked for an answer when it has one, and for room
 * when there is some. */

/* TLS may have taken more from the socket than libpq took from it. */
static bool input_held(const struct postgres_conn *c)
{
        SSL *tls = PQsslStruct(c->pg, "OpenSSL");
        return tls && SSL_pending(tls) > 0;
}

/* Until the socket is ready for one of `events`; each time anew, for it is silence that is not borne, not
 * length. Once the socket is shut down libpq finds its end, and neither waits for it nor for PQfinish(). */
static void conn_wait(struct postgres_conn *c, short events)
{
        struct pollfd socket = { .fd = PQsocket(c->pg), .events = events };
        if (input_held(c))
                return;
        int n = fault_at("pg.silence") ? 0 : poll(&socket, 1, c->patience_ms);
        while (n < 0 && errno == EINTR)
                n = poll(&socket, 1, c->patience_ms);
        if (n)
                return;
        c->silent = true;
        shutdown(socket.fd, SHUT_RDWR);
}

bool postgres_flush(struct postgres_conn *c)
{
        int left;
        while ((left = PQflush(c->pg)) > 0) {
                conn_wait(c, POLLIN | POLLOUT);
                if (!PQconsumeInput(c->pg))
                        return false;
        }
        return !left;
}

PGresult *postgres_result(struct postgres_conn *c)
{
        bool good = postgres_flush(c);
        while (good && PQisBusy(c->pg)) {
                conn_wait(c, POLLIN);
                good = PQconsumeInput(c->pg);
        }
        return PQgetResult(c->pg);
}

/* What comes before the answer that counts is dropped. */
static PGresult *last_result(struct postgres_conn *c)
{
        PGresult *last = NULL, *next;
        while ((next = postgres_result(c))) {
                PQclear(last);
                last = next;
        }
        return last;
}

PGresult *postgres_query(struct postgres_conn *c, const char *sql)
{
        return PQsendQuery(c->pg, sql) ? last_result(c) : NULL;
}

/* ---- connecting ---- */

/* The keywords and values of the address, completed. Borrowed from `parsed`. */
static void connection_words(PQconninfoOption *parsed, const char **keys, const char **values, size_t max)
{
        size_t n = 0;
        for (PQconninfoOption *o = parsed; o->keyword && n < max; o++) {
                if (!o->val)
                        continue;
                keys[n] = o->keyword;
                values[n++] = o->val;
        }
        for (size_t i = 0; i < N_DEFAULTS && n < max; i++) {
                bool given = false;
                for (size_t k = 0; k < n; k++)
                        given |= !strcmp(keys[k], connection_defaults[i].key);
                if (given)
                        continue;
                keys[n] = connection_defaults[i].key;
                values[n++] = connection_defaults[i].value;
        }
        keys[n] = values[n] = NULL;
}

/* What the server remarks beside its answers is for its own log. */
static void remark_drop(void *arg, const PGresult *res)
{
        (void)arg;
        (void)res;
}

/* libpq's messages name the server but never the password. */
static int connection_open(const char *uri, struct postgres_conn *c, struct store_fault *fault)
{
        enum { MAX_WORDS = 64 };
        const char *keys[MAX_WORDS + 1], *values[MAX_WORDS + 1];
        char *complaint = NULL;
        PQconninfoOption *parsed = PQconninfoParse(uri, &complaint);
        if (!parsed) {
                int rc = complaint ? -EINVAL : -ENOMEM;
                message_fail(fault, rc, "the database's address", complaint ? complaint : "memory is out");
                PQfreemem(complaint);
                return rc;
        }
        connection_words(parsed, keys, values, MAX_WORDS);
        c->pg = PQconnectdbParams(keys, values, 0);
        PQconninfoFree(parsed);
        if (!c->pg)
                return store_fail(fault, -ENOMEM, "memory is out");
        PQsetNoticeReceiver(c->pg, remark_drop, NULL);
        if (PQstatus(c->pg) != CONNECTION_OK || PQsetnonblocking(c->pg, 1))
                return message_fail(fault, -ECONNRESET, "the database", PQerrorMessage(c->pg));
        return 0;
}

int postgres_connect(const char *uri, struct postgres_conn **ret, struct store_fault *fault)
{
        struct postgres_conn *c = mem_calloc(1, sizeof(*c));
        *ret = NULL;
        if (!c)
                return store_fail(fault, -ENOMEM, "memory is out");
        map_init(&c->statements);
        c->patience_ms = ANSWER_MS;
        int rc = connection_open(uri, c, fault);
        if (!rc)
                rc = postgres_exec(c, connection_settings, fault, "connecting to the database");
        if (rc)
                postgres_conn_free(c);
        else
                *ret = c;
        return rc;
}

void postgres_conn_free(struct postgres_conn *c)
{
        if (!c)
                return;
        map_release(&c->statements, mem_free);
        PQfinish(c->pg);
        mem_free(c);
}

/* ---- parameters and columns ---- */

int params_binary(struct params *p, struct str bytes)
{
        p->values[p->n] = bytes.p;
        p->lengths[p->n] = (int)bytes.n;
        p->formats[p->n] = 1;
        return ++p->n;
}

int params_text(struct params *p, const char *text)
{
        p->values[p->n] = text;
        p->lengths[p->n] = 0; /* of texts libpq looks for the NUL */
        p->formats[p->n] = 0;
        return ++p->n;
}

int params_int(struct params *p, int64_t value)
{
        char *text = p->numbers[p->n];
        snprintf(text, sizeof(p->numbers[0]), "%" PRId64, value);
        return params_text(p, text);
}

static void add_u32(struct buf *out, uint32_t value)
{
        value = htonl(value);
        buf_add(out, &value, sizeof(value));
}

/* One dimension, may hold NULL, of texts, n elements from 1. */
void text_array_begin(struct buf *out, size_t n)
{
        const uint32_t head[] = { n ? 1 : 0, 1, TEXT_OID, (uint32_t)n, 1 };
        for (size_t i = 0; i < (n ? 5 : 3); i++)
                add_u32(out, head[i]);
}

void text_array_add(struct buf *out, struct str element)
{
        add_u32(out, element.p ? (uint32_t)element.n : UINT32_MAX);
        if (element.p)
                buf_add(out, element.p, element.n);
}

int64_t column_int(const PGresult *res, int row, int column)
{
        return strtoll(PQgetvalue(res, row, column), NULL, 10);
}

const char *column_text(const PGresult *res, int row, int column)
{
        return PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
}

/* ---- statements ---- */

int postgres_exec(struct postgres_conn *c, const char *sql, struct store_fault *fault, const char *what)
{
        PGresult *res = postgres_query(c, sql);
        ExecStatusType status = PQresultStatus(res);
        int rc = 0;
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
                rc = postgres_fault(c, res, fault, what);
        PQclear(res);
        return rc;
}

static int statements_forget(struct postgres_conn *c, struct store_fault *fault)
{
        map_release(&c->statements, mem_free);
        map_init(&c->statements);
        return postgres_exec(c, "DEALLOCATE ALL", fault, "preparing");
}

int postgres_prepare(struct postgres_conn *c, struct str sql, const char **ret, struct store_fault *fault)
{
        char name[24];
        *ret = map_get(&c->statements, sql);
        if (*ret)
                return 0;
        int rc = c->statements.n >= STATEMENTS_MAX ? statements_forget(c, fault) : 0;
        if (rc)
                return rc;
        snprintf(name, sizeof(name), "s%u", ++c->n_named);
        PGresult *res = PQsendPrepare(c->pg, name, sql.p, 0, NULL) ? last_result(c) : NULL;
        if (PQresultStatus(res) != PGRES_COMMAND_OK)
                rc = postgres_fault(c, res, fault, "preparing a statement");
        PQclear(res);
        char *kept = rc ? NULL : mem_strdup(name);
        if (!rc && (!kept || map_put(&c->statements, sql, kept, NULL))) {
                mem_free(kept);
                return store_fail(fault, -ENOMEM, "memory is out");
        }
        *ret = kept;
        return rc;
}

int postgres_run(struct postgres_conn *c, struct str sql, const struct params *p, PGresult **ret,
                 struct store_fault *fault, const char *what)
{
        const char *name;
        *ret = NULL;
        postgres_cut(c, "pg.connection");
        int rc = postgres_prepare(c, sql, &name, fault);
        if (rc)
                return rc;
        PGresult *res = PQsendQueryPrepared(c->pg, name, p->n, p->values, p->lengths, p->formats, 0)
                                ? last_result(c)
                                : NULL;
        ExecStatusType status = PQresultStatus(res);
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
                rc = postgres_fault(c, res, fault, what);
                PQclear(res);
                return rc;
        }
        *ret = res;
        return 0;
}

/* ---- migrations ---- */

/* The version of the schema, 0 for an empty one, in the transaction that will change it. */
static int schema_version(struct postgres_conn *c, int *ret, struct store_fault *fault)
{
        static const char sql[] = "SELECT coalesce(max(version), 0) FROM store_schema";
        static const struct params none;
        PGresult *res;
        int rc = postgres_exec(c, "CREATE TABLE IF NOT EXISTS store_schema (version integer PRIMARY KEY)",
                               fault, "making the schema");
        if (!rc)
                rc = postgres_run(c, STR(sql), &none, &res, fault, "reading the schema's version");
        if (rc)
                return rc;
        *ret = (int)column_int(res, 0, 0);
        PQclear(res);
        return 0;
}

static int migrations_apply(struct postgres_conn *c, struct store_fault *fault)
{
        char number[80];
        int version = 0;
        int rc = postgres_exec(c,
                               "SELECT pg_advisory_xact_lock(hashtext('cairn'), hashtext(current_schema()))",
                               fault, "waiting for another process that opens the database");
        if (!rc)
                rc = schema_version(c, &version, fault);
        if (!rc && version > N_MIGRATIONS)
                return store_fail(fault, -EPROTO,
                                  "the database has schema %d, written by a newer program; this one knows %d",
                                  version, N_MIGRATIONS);
        for (int i = version; i < N_MIGRATIONS && !rc; i++) {
                rc = postgres_exec(c, migrations[i].sql, fault, migrations[i].name);
                snprintf(number, sizeof(number), "INSERT INTO store_schema VALUES (%d)",
                         migrations[i].number);
                if (!rc)
                        rc = postgres_exec(c, number, fault, migrations[i].name);
        }
        return rc;
}

/* The text of a row is UTF-8; a database of another encoding could not keep all of it. */
static int encoding_check(struct postgres_conn *c, struct store_fault *fault)
{
        const char *encoding = PQparameterStatus(c->pg, "server_encoding");
        if (encoding && !strcmp(encoding, "UTF8"))
                return 0;
        return store_fail(fault, -ENOTSUP, "the database %s has the encoding %s; UTF8 is needed", PQdb(c->pg),
                          encoding ? encoding : "unknown");
}

int postgres_migrate(struct postgres_conn *c, struct store_fault *fault)
{
        int rc = encoding_check(c, fault);
        if (!rc)
                rc = postgres_exec(c, "BEGIN", fault, "beginning a transaction");
        if (rc)
                return rc;
        rc = migrations_apply(c, fault);
        if (!rc)
                return postgres_exec(c, "COMMIT", fault, "making the schema");
        /* The caller reports the first error, not that of the way back. */
        postgres_exec(c, "ROLLBACK", NULL, "");
        return rc;
}
