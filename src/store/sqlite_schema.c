/* Connections and migrations. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "store/sqlite_internal.h"

static const struct {
        int number;
        const char *name, *sql;
} migrations[] = {
#include "store/migrations.inc"
};

#define N_MIGRATIONS (int)(sizeof(migrations) / sizeof(*migrations))
#define BUSY_TIMEOUT_MS 5000

/* A commit is answered when it is in the log on the disk (FULL). The log is copied into the database every
 * 4,000 pages (16 MiB) and cut back when a burst made it longer. */
static const char connection_settings[] = "PRAGMA synchronous=FULL;"
                                          "PRAGMA foreign_keys=ON;"
                                          "PRAGMA wal_autocheckpoint=4000;"
                                          "PRAGMA journal_size_limit=67108864;"
                                          "PRAGMA trusted_schema=OFF;"
                                          "PRAGMA temp_store=MEMORY;";

int sqlite_connect(const char *path, sqlite3 **ret, struct store_fault *fault)
{
        int flags =
                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
        int code = sqlite3_open_v2(path, ret, flags, sqlite_vfs_name());
        if (code == SQLITE_OK) {
                sqlite3_busy_timeout(*ret, BUSY_TIMEOUT_MS);
                sqlite3_extended_result_codes(*ret, 1);
                code = sqlite3_exec(*ret, connection_settings, NULL, NULL, NULL);
        }
        int rc = sqlite_fault(*ret, code, fault, path);
        if (rc) {
                sqlite3_close(*ret);
                *ret = NULL;
        }
        return rc;
}

static int schema_version(sqlite3 *db, int *ret)
{
        sqlite3_stmt *stmt = NULL;
        int code = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL);
        if (code == SQLITE_OK && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
                *ret = sqlite3_column_int(stmt, 0);
                code = SQLITE_OK;
        }
        sqlite3_finalize(stmt);
        return code;
}

/* Two processes that start together both want to switch; SQLite answers the loser at once, without the
 * busy timeout, so it asks again. */
static int use_wal(sqlite3 *db)
{
        int code = SQLITE_BUSY;
        for (int attempt = 0; attempt < 100 && code == SQLITE_BUSY; attempt++) {
                if (attempt)
                        usleep(20000);
                code = sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
        }
        return code;
}

/* One migration with its number, or nothing. Another process may have done it since we looked. */
static int migrate_one(sqlite3 *db, int i)
{
        char number[64];
        int version = 0;
        int code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (code != SQLITE_OK)
                return code;
        code = schema_version(db, &version);
        if (code == SQLITE_OK && version < migrations[i].number) {
                code = sqlite3_exec(db, migrations[i].sql, NULL, NULL, NULL);
                sqlite3_snprintf(sizeof(number), number, "PRAGMA user_version=%d", migrations[i].number);
                if (code == SQLITE_OK)
                        code = sqlite3_exec(db, number, NULL, NULL, NULL);
        }
        if (code == SQLITE_OK)
                code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
        if (code != SQLITE_OK && !sqlite3_get_autocommit(db)) {
                /* The caller reports the first error, not that of the way back. */
                sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        }
        return code;
}

int sqlite_migrate(sqlite3 *db, struct store_fault *fault)
{
        int version = 0;
        if (sqlite3_db_readonly(db, "main") == 1)
                return store_fail(fault, -EROFS, "%s cannot be written", sqlite3_db_filename(db, "main"));
        int code = schema_version(db, &version);
        if (code != SQLITE_OK)
                return sqlite_fault(db, code, fault, "reading the database");
        if (version > N_MIGRATIONS)
                return store_fail(fault, -EPROTO,
                                  "the database has schema %d, written by a newer program; this one knows %d",
                                  version, N_MIGRATIONS);
        code = use_wal(db);
        if (code != SQLITE_OK)
                return sqlite_fault(db, code, fault, "switching the database to its write-ahead log");
        for (int i = version; i < N_MIGRATIONS; i++) {
                code = migrate_one(db, i);
                if (code != SQLITE_OK)
                        return sqlite_fault(db, code, fault, migrations[i].name);
        }
        return 0;
}
