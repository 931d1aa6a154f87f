/* Blobs as files of a directory: DATA/blobs/ab/cdef... */
#include "store/blob_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/ids.h"
#include "base/mem.h"
#include "store/datadir.h"

struct dir_place {
        char *root; /* DATA/blobs */
};

struct dir_object {
        int fd;
};

static int failed(const char *what)
{
        int rc = errno == EDQUOT ? -ENOSPC : -errno;
        return blob_fail(rc, "%s: %s", what, strerror(-rc));
}

/* ROOT/ab/cdef..., and with `dir_only` ROOT/ab. */
static char *path_of(const struct dir_place *d, const char *id, bool dir_only)
{
        char name[BLOB_ID_LEN + 2];
        blob_name(name, id);
        if (dir_only)
                name[2] = '\0';
        return blob_path_join(d->root, name);
}

/* ---- opening ---- */

static void dir_free(void *place)
{
        struct dir_place *d = place;
        mem_free(d->root);
        mem_free(d);
}

int blob_dir_open(const struct blobs_options *o, void **ret_place, char *err, size_t errn)
{
        struct dir_place *d = mem_calloc(1, sizeof(*d));
        if (d)
                d->root = blob_path_join(o->data_dir, "blobs");
        if (!d || !d->root) {
                dir_free(d);
                snprintf(err, errn, "memory is out");
                return -ENOMEM;
        }
        int rc = datadir_make(d->root, err, errn);
        if (rc) {
                dir_free(d);
                return rc;
        }
        *ret_place = d;
        return 0;
}

/* Whether the file system takes writes is asked of it, not tried: a probe is made every few seconds. */
static int dir_ping(void *place)
{
        const struct dir_place *d = place;
        return access(d->root, R_OK | W_OK | X_OK) ? failed(d->root) : 0;
}

/* ---- writing ---- */

/* Moves the file to its place, and makes its name and that of its directory durable. The latter may be new,
 * made by us or just now by another writer that has not synced it yet. */
static int move_into(const struct dir_place *d, const char *from, const char *dir, const char *to)
{
        if (mkdir(dir, 0700) && errno != EEXIST)
                return failed(dir);
        if (rename(from, to))
                return failed(to);
        int rc = datadir_sync(dir);
        if (!rc)
                rc = datadir_sync(d->root);
        if (rc) {
                unlink(to);
                return blob_fail(rc, "%s: %s", dir, strerror(-rc));
        }
        return 0;
}

static int dir_publish(void *place, const char *id, int fd, const char *path, uint64_t size)
{
        const struct dir_place *d = place;
        (void)size;
        int rc = fault_at("blob.sync");
        if (rc)
                return blob_fail(rc, "%s: %s", path, strerror(-rc));
        if (fsync(fd))
                return failed(path);
        char *dir = path_of(d, id, true), *to = path_of(d, id, false);
        rc = dir && to ? move_into(d, path, dir, to) : -ENOMEM;
        mem_free(dir);
        mem_free(to);
        return rc;
}

static int dir_remove(void *place, const char *id)
{
        const struct dir_place *d = place;
        char *path = path_of(d, id, false), *dir = path_of(d, id, true);
        int rc = path && dir ? 0 : -ENOMEM;
        if (!rc && unlink(path))
                rc = failed(path);
        if (!rc)
                rc = datadir_sync(dir);
        mem_free(path);
        mem_free(dir);
        return rc;
}

/* ---- reading ---- */

static int dir_read(void *object, uint64_t offset, void *p, size_t n)
{
        const struct dir_object *o = object;
        for (size_t done = 0; done < n;) {
                ssize_t got = pread(o->fd, (char *)p + done, n - done, (off_t)(offset + done));
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return failed("reading a blob");
                if (got == 0)
                        return blob_fail(-EBADMSG, "a blob's file is shorter than it was");
                done += (size_t)got;
        }
        return 0;
}

static void dir_close(void *object)
{
        struct dir_object *o = object;
        close(o->fd);
        mem_free(o);
}

static int dir_open(void *place, const char *id, void *tail, size_t *tail_n, void **ret_object,
                    uint64_t *ret_size)
{
        struct dir_object *o = mem_alloc(sizeof(*o));
        char *path = path_of(place, id, false);
        struct stat st;
        int rc = o && path ? 0 : -ENOMEM;
        if (rc)
                goto out;
        o->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (o->fd < 0) {
                rc = failed(path);
                goto out;
        }
        rc = fstat(o->fd, &st) ? failed(path) : 0;
        if (!rc) {
                *ret_size = (uint64_t)st.st_size;
                if (*ret_size < *tail_n)
                        *tail_n = (size_t)*ret_size;
                rc = dir_read(o, *ret_size - *tail_n, tail, *tail_n);
        }
        if (rc)
                close(o->fd);
out:
        mem_free(path);
        if (rc)
                mem_free(o);
        else
                *ret_object = o;
        return rc;
}

/* ---- the whole set ---- */

/* The blobs of ROOT/ab. */
static int list_one(const struct dir_place *d, const char *sub,
                    int (*fn)(void *ctx, const char *id, int64_t modified), void *ctx)
{
        char *path = blob_path_join(d->root, sub);
        DIR *dir = path ? opendir(path) : NULL;
        const struct dirent *entry;
        int rc = dir ? 0 : path ? failed(path) : -ENOMEM;
        while (!rc && (entry = readdir(dir))) {
                char name[NAME_MAX + 4], id[BLOB_ID_LEN + 1];
                struct stat st;
                snprintf(name, sizeof(name), "%s/%s", sub, entry->d_name);
                if (blob_name_id(name, id) && !fstatat(dirfd(dir), entry->d_name, &st, 0))
                        rc = fn(ctx, id, st.st_mtime);
        }
        if (dir)
                closedir(dir);
        mem_free(path);
        return rc;
}

static int dir_list(void *place, int (*fn)(void *ctx, const char *id, int64_t modified), void *ctx)
{
        const struct dir_place *d = place;
        DIR *root = opendir(d->root);
        const struct dirent *entry;
        int rc = root ? 0 : failed(d->root);
        while (!rc && (entry = readdir(root)))
                if (strlen(entry->d_name) == 2 && entry->d_name[0] != '.')
                        rc = list_one(d, entry->d_name, fn, ctx);
        if (root)
                closedir(root);
        return rc;
}

/* ---- whose they are ---- */

static int mark_get(void *place, char *ret, size_t n)
{
        const struct dir_place *d = place;
        char *path = blob_path_join(d->root, BLOBS_MARK_NAME);
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        int rc = fd >= 0 ? 0 : path ? failed(path) : -ENOMEM;
        ssize_t got = rc ? 0 : read(fd, ret, n - 1);
        if (!rc && got < 0)
                rc = failed(path);
        ret[got > 0 ? got : 0] = '\0';
        if (fd >= 0)
                close(fd);
        mem_free(path);
        return rc;
}

static int mark_write(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;
        if (fd < 0)
                return failed(path);
        errno = EIO;
        if (write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd))
                rc = failed(path);
        close(fd);
        return rc;
}

/* Written as what is staged is, so that nobody sees half of it, nor two the draft of the other. */
static int mark_put(void *place, const char *text)
{
        const struct dir_place *d = place;
        char name[ID_MAX];
        char *path = blob_path_join(d->root, BLOBS_MARK_NAME),
             *draft = blob_path_join(d->root, id_hex(name, "tmp/", BLOB_ID_LEN));
        int rc = path && draft ? mark_write(draft, text) : -ENOMEM;
        if (!rc && rename(draft, path))
                rc = failed(path);
        if (rc && draft)
                unlink(draft);
        if (!rc)
                rc = datadir_sync(d->root);
        mem_free(path);
        mem_free(draft);
        return rc;
}

const struct blob_place_ops blob_dir_ops = { .publish = dir_publish,
                                             .open = dir_open,
                                             .read = dir_read,
                                             .close = dir_close,
                                             .remove = dir_remove,
                                             .list = dir_list,
                                             .mark_get = mark_get,
                                             .mark_put = mark_put,
                                             .ping = dir_ping,
                                             .free = dir_free,
                                             .window = 1 };
