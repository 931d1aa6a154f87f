#include "store/sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "store/datadir.h"

/* What the system last said about the database's file (SQLITE_FCNTL_FILE_POINTER) or its log
 * (SQLITE_FCNTL_JOURNAL_POINTER). SQLite itself tells only a plainly full disk from other failures. */
static int file_errno(sqlite3 *db, int which)
{
        sqlite3_file *file = NULL;
        int last = 0;
        sqlite3_file_control(db, "main", which, &file);
        if (file && file->pMethods)
                file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &last);
        return last;
}

static int io_errno(sqlite3 *db)
{
        int last = db ? file_errno(db, SQLITE_FCNTL_JOURNAL_POINTER) : 0;
        if (db && !last)
                last = file_errno(db, SQLITE_FCNTL_FILE_POINTER);
        switch (last) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
                return -ENOSPC;
        case EROFS:
                return -EROFS;
        default:
                return -EIO;
        }
}

static int code_errno(sqlite3 *db, int code)
{
        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_ROW:
        case SQLITE_DONE:
                return 0;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
        case SQLITE_PERM:
                return -EROFS;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_TOOBIG:
                return -EFBIG;
        case SQLITE_CONSTRAINT:
                return -EEXIST;
        case SQLITE_AUTH:
                return -EACCES;
        default:
                return io_errno(db);
        }
}

int sqlite_fault(sqlite3 *db, int code, struct store_fault *fault, const char *what)
{
        int rc = code_errno(db, code);
        if (!rc)
                return 0;
        if (rc == -EBUSY)
                return store_fail(fault, rc, "%s: another process keeps the database locked", what);
        if (rc == -ENOSPC)
                return store_fail(fault, rc, "%s: the disk is full", what);
        return store_fail(fault, rc, "%s: %s", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
}

static void sqlite_stats(struct store *store, struct store_stats *ret)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        ret->writes = s->n_writes;
        ret->failed = s->n_failed;
        ret->commits = s->n_commits;
        ret->reads = s->n_reads;
        ret->queued = write_queue_length(&s->queue);
}

static void sqlite_close_store(struct store *store)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        sqlite_writer_stop(s);
        sqlite_readers_close(s);
        if (s->lock_fd >= 0)
                close(s->lock_fd);
        pthread_mutex_destroy(&s->readers_lock);
        pthread_cond_destroy(&s->reader_back);
        write_queue_release(&s->queue);
        mem_free(s->path);
        mem_free(s);
}

static const struct store_backend sqlite_backend = {
        .name = "sqlite",
        .get = sqlite_get,
        .list = sqlite_list,
        .submit = sqlite_submit,
        .job_claim = sqlite_job_claim,
        .job_renew = sqlite_job_renew,
        .job_count = sqlite_job_count,
        .job_tally = sqlite_job_tally,
        .job_scan = sqlite_job_scan,
        .usage_fold = sqlite_usage_fold,
        .usage_sum = sqlite_usage_sum,
        .scan = sqlite_scan,
        .backup = sqlite_backup,
        .check = sqlite_check,
        .stats = sqlite_stats,
        .close = sqlite_close_store,
};

static struct sqlite_store *sqlite_new(const char *dir, const struct store_options *options)
{
        struct sqlite_store *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->store.backend = &sqlite_backend;
        s->lock_fd = -1;
        write_queue_init(&s->queue, options->max_queued);
        s->max_readers = options->readers > 0 ? options->readers : 8;
        if (s->max_readers > READERS_MAX)
                s->max_readers = READERS_MAX;
        pthread_mutex_init(&s->readers_lock, NULL);
        pthread_cond_init(&s->reader_back, NULL);
        size_t size = strlen(dir) + sizeof("/" DATABASE_NAME);
        s->path = mem_alloc(size);
        if (!s->path) {
                sqlite_close_store(&s->store);
                return NULL;
        }
        snprintf(s->path, size, "%s/%s", dir, DATABASE_NAME);
        return s;
}

/* SQLite gives its log and index files the mode of the database file, which it would make world-readable.
 * An existing file is not touched: closing it would drop the locks that this process may hold on it. */
static int make_private(const char *path, struct store_fault *fault)
{
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
                close(fd);
                return 0;
        }
        if (errno == EEXIST && !access(path, R_OK | W_OK))
                return 0;
        return store_fail(fault, errno == EACCES ? -EROFS : -errno, "%s: %s", path, strerror(errno));
}

/* -ENOENT when there is no database in the directory. */
static int must_exist(const char *dir, char *err, size_t errn)
{
        char path[PATH_MAX];
        if ((size_t)snprintf(path, sizeof(path), "%s/" DATABASE_NAME, dir) >= sizeof(path))
                errno = ENAMETOOLONG;
        else if (!access(path, F_OK))
                return 0;
        int rc = -errno;
        bool empty = rc == -ENOENT && !access(dir, F_OK);
        snprintf(err, errn, "data directory %s: %s", dir, empty ? "there is no store in it" : strerror(-rc));
        return rc;
}

int sqlite_store_open(const char *dir, const struct store_options *options, struct store **ret,
                      struct store_fault *fault)
{
        char err[sizeof(fault->msg)] = "";
        struct sqlite_store *s = NULL;
        int rc = options->existing ? must_exist(dir, err, sizeof(err)) : datadir_make(dir, err, sizeof(err));
        if (!rc)
                rc = datadir_check_local(dir, err, sizeof(err));
        if (rc)
                return store_fail(fault, rc, "%s", err);
        s = sqlite_new(dir, options);
        if (!s)
                return store_fail(fault, -ENOMEM, "memory is out");
        if (options->exclusive)
                rc = datadir_lock(dir, &s->lock_fd, err, sizeof(err));
        if (rc)
                store_fail(fault, rc, "%s", err);
        if (!rc)
                rc = make_private(s->path, fault);
        if (!rc)
                rc = sqlite_writer_start(s, fault);
        if (rc) {
                sqlite_close_store(&s->store);
                return rc;
        }
        *ret = &s->store;
        return 0;
}
