/* The PostgreSQL backend: the suite of all backends, then what only it promises: several processes, broken
 * connections, the order of what they insert.
 *
 * CAIRN_TEST_POSTGRES names the server, as "postgres://user@host:port/database"; each test has a schema of
 * its own there. tests/lib/postgres.py starts one. Without it the program is skipped (77), unless CI=true. */
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

int main(void)
{
        server = getenv("CAIRN_TEST_POSTGRES");
        if (!server || !*server) {
                const char *ci = getenv("CI");
                fputs("CAIRN_TEST_POSTGRES is not set: nothing was tested\n", stderr);
                return ci && !strcmp(ci, "true") ? 1 : 77;
        }
        int failed = store_conformance("postgres", open_postgres);
        schema_drop();
        return failed;
}
