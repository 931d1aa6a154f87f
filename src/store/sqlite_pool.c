/* The connections for reading: a pool of them, and each one's prepared statements, kept by their text. */
#include <errno.h>
#include "base/mem.h"
#include "store/sqlite_internal.h"

#define STATEMENTS_MAX 64 /* shapes of queries that a connection remembers */

static void statement_free(void *stmt)
{
        sqlite3_finalize(stmt);
}

static void reader_free(struct reader *r)
{
        if (!r)
                return;
        map_release(&r->statements, statement_free);
        sqlite3_close(r->db);
        mem_free(r);
}

static int reader_new(const char *path, struct reader **ret, struct store_fault *fault)
{
        struct reader *r = mem_calloc(1, sizeof(*r));
        *ret = NULL;
        if (!r)
                return store_fail(fault, -ENOMEM, "memory is out");
        map_init(&r->statements);
        int rc = sqlite_connect(path, &r->db, fault);
        if (!rc)
                rc = sqlite_fault(r->db, sqlite3_exec(r->db, "PRAGMA query_only=ON", NULL, NULL, NULL), fault,
                                  "opening a reader");
        if (rc) {
                reader_free(r);
                return rc;
        }
        *ret = r;
        return 0;
}

/* The connection used last is the one with the warmest cache, so the pool is a stack. */
int sqlite_reader_borrow(struct sqlite_store *s, struct reader **ret, struct store_fault *fault)
{
        *ret = NULL;
        bool open = false;
        pthread_mutex_lock(&s->readers_lock);
        while (!s->n_idle && s->n_readers == s->max_readers)
                pthread_cond_wait(&s->reader_back, &s->readers_lock);
        if (s->n_idle) {
                *ret = s->idle[--s->n_idle];
        } else {
                s->n_readers++;
                open = true;
        }
        pthread_mutex_unlock(&s->readers_lock);
        if (!open)
                return 0;
        int rc = reader_new(s->path, ret, fault);
        if (rc) {
                pthread_mutex_lock(&s->readers_lock);
                s->n_readers--;
                pthread_cond_signal(&s->reader_back);
                pthread_mutex_unlock(&s->readers_lock);
        }
        return rc;
}

void sqlite_reader_return(struct sqlite_store *s, struct reader *r)
{
        atomic_fetch_add_explicit(&s->n_reads, 1, memory_order_relaxed);
        pthread_mutex_lock(&s->readers_lock);
        s->idle[s->n_idle++] = r;
        pthread_cond_signal(&s->reader_back);
        pthread_mutex_unlock(&s->readers_lock);
}

void sqlite_readers_close(struct sqlite_store *s)
{
        while (s->n_idle)
                reader_free(s->idle[--s->n_idle]);
        s->n_readers = 0;
}

sqlite3_stmt *sqlite_statement(struct reader *r, struct str sql, int *code)
{
        sqlite3_stmt *stmt = map_get(&r->statements, sql);
        *code = SQLITE_OK;
        if (stmt)
                return stmt;
        if (r->statements.n >= STATEMENTS_MAX) {
                map_release(&r->statements, statement_free);
                map_init(&r->statements);
        }
        *code = sqlite3_prepare_v3(r->db, sql.p, (int)sql.n, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
        if (*code == SQLITE_OK && map_put(&r->statements, sql, stmt, NULL)) {
                sqlite3_finalize(stmt);
                stmt = NULL;
                *code = SQLITE_NOMEM;
        }
        return stmt;
}

void sqlite_statement_done(sqlite3_stmt *stmt)
{
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
}

void sqlite_word(sqlite3_stmt *stmt, int i, const char *word)
{
        sqlite3_bind_text(stmt, i, word, -1, SQLITE_STATIC);
}
