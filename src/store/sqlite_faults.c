/* In builds with CAIRN_FAULTS the files of SQLite lie behind a layer that asks the places "store.write" and
 * "store.sync" before each writing and each fsync: so tests see what SQLite and the store make of a disk that
 * fails under them. All else goes through. */
#include "store/sqlite_internal.h"

#ifdef CAIRN_FAULTS
#include <errno.h>
#include <string.h>
#include "base/fault.h"

struct layer_file {
        sqlite3_file base;
        int last_errno; /* of a failure that was made; 0: ask the real file */
        sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs layer_vfs;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *vfs_name; /* NULL: SQLite's own */

static struct layer_file *layer(sqlite3_file *f)
{
        return (struct layer_file *)f;
}

static sqlite3_file *real(sqlite3_file *f)
{
        return layer(f)->real;
}

/* ---- what may fail ---- */

static int layer_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
        int rc = fault_at("store.write");
        layer(f)->last_errno = -rc;
        if (rc)
                return rc == -ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        return real(f)->pMethods->xWrite(real(f), p, n, at);
}

static int layer_sync(sqlite3_file *f, int flags)
{
        int rc = fault_at("store.sync");
        layer(f)->last_errno = -rc;
        return rc ? SQLITE_IOERR_FSYNC : real(f)->pMethods->xSync(real(f), flags);
}

static int layer_control(sqlite3_file *f, int op, void *arg)
{
        if (op == SQLITE_FCNTL_LAST_ERRNO && layer(f)->last_errno) {
                *(int *)arg = layer(f)->last_errno;
                return SQLITE_OK;
        }
        return real(f)->pMethods->xFileControl(real(f), op, arg);
}

/* ---- what goes through ---- */

static int layer_close(sqlite3_file *f)
{
        int code = real(f)->pMethods->xClose(real(f));
        f->pMethods = NULL;
        return code;
}

static int layer_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
        return real(f)->pMethods->xRead(real(f), p, n, at);
}

static int layer_truncate(sqlite3_file *f, sqlite3_int64 size)
{
        return real(f)->pMethods->xTruncate(real(f), size);
}

static int layer_size(sqlite3_file *f, sqlite3_int64 *ret)
{
        return real(f)->pMethods->xFileSize(real(f), ret);
}

static int layer_lock(sqlite3_file *f, int level)
{
        return real(f)->pMethods->xLock(real(f), level);
}

static int layer_unlock(sqlite3_file *f, int level)
{
        return real(f)->pMethods->xUnlock(real(f), level);
}

static int layer_check_lock(sqlite3_file *f, int *ret)
{
        return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int layer_sector(sqlite3_file *f)
{
        return real(f)->pMethods->xSectorSize(real(f));
}

static int layer_traits(sqlite3_file *f)
{
        return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int layer_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
        return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int layer_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
        return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void layer_shm_barrier(sqlite3_file *f)
{
        real(f)->pMethods->xShmBarrier(real(f));
}

static int layer_shm_unmap(sqlite3_file *f, int remove)
{
        return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static const sqlite3_io_methods layer_methods = {
        .iVersion = 2, /* without memory mapping: every writing comes by */
        .xClose = layer_close,
        .xRead = layer_read,
        .xWrite = layer_write,
        .xTruncate = layer_truncate,
        .xSync = layer_sync,
        .xFileSize = layer_size,
        .xLock = layer_lock,
        .xUnlock = layer_unlock,
        .xCheckReservedLock = layer_check_lock,
        .xFileControl = layer_control,
        .xSectorSize = layer_sector,
        .xDeviceCharacteristics = layer_traits,
        .xShmMap = layer_shm_map,
        .xShmLock = layer_shm_lock,
        .xShmBarrier = layer_shm_barrier,
        .xShmUnmap = layer_shm_unmap,
};

static int layer_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
        struct layer_file *file = layer(f);
        (void)vfs;
        memset(file, 0, sizeof(*file));
        file->real = (sqlite3_file *)(file + 1);
        int code = real_vfs->xOpen(real_vfs, name, file->real, flags, ret_flags);
        if (file->real->pMethods)
                file->base.pMethods = &layer_methods;
        return code;
}

/* The real file system with another way to open: its other functions look at no file of ours. */
static void layer_register(void)
{
        real_vfs = sqlite3_vfs_find(NULL);
        if (!real_vfs)
                return;
        layer_vfs = *real_vfs;
        layer_vfs.zName = "cairn-faults";
        layer_vfs.pNext = NULL;
        layer_vfs.szOsFile = (int)sizeof(struct layer_file) + real_vfs->szOsFile;
        layer_vfs.xOpen = layer_open;
        if (sqlite3_vfs_register(&layer_vfs, 0) == SQLITE_OK)
                vfs_name = layer_vfs.zName;
}

const char *sqlite_vfs_name(void)
{
        pthread_once(&once, layer_register);
        return vfs_name;
}
#else
const char *sqlite_vfs_name(void)
{
        return NULL;
}
#endif
