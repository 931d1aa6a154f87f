/* Blobs as files of a directory. */
#include "store/blob.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/ids.h"
#include "base/mem.h"
#include "store/datadir.h"

struct blobs {
        char *root; /* DATA/blobs */
        char *tmp;  /* DATA/tmp */
};

struct blob_writer {
        struct blobs *blobs;
        char id[ID_MAX];
        char *path; /* DATA/tmp/ID */
        int fd;
        int failed; /* the first error; nothing more is done after it */
        uint64_t size, max;
        EVP_MD_CTX *sha256;
};

struct blob_reader {
        int fd;
        uint64_t size;
};

static char *path_join(const char *a, const char *b)
{
        size_t size = strlen(a) + strlen(b) + 2;
        char *path = mem_alloc(size);
        if (path)
                snprintf(path, size, "%s/%s", a, b);
        return path;
}

/* Ids come from requests: what is no id must not become a path. */
static bool id_ok(const char *id)
{
        return id && strlen(id) == BLOB_ID_LEN && strspn(id, "0123456789abcdef") == BLOB_ID_LEN;
}

/* ROOT/ab or, with `file`, ROOT/ab/cdef... */
static char *blob_path(const struct blobs *b, const char *id, bool file)
{
        char name[BLOB_ID_LEN + 2];
        if (file)
                snprintf(name, sizeof(name), "%.2s/%s", id, id + 2);
        else
                snprintf(name, sizeof(name), "%.2s", id);
        return path_join(b->root, name);
}

/* ---- opening ---- */

static int leftovers_remove(const char *tmp)
{
        DIR *dir = opendir(tmp);
        if (!dir)
                return -errno;
        const struct dirent *entry;
        while ((entry = readdir(dir))) {
                if (id_ok(entry->d_name))
                        unlinkat(dirfd(dir), entry->d_name, 0);
        }
        closedir(dir);
        return 0;
}

int blobs_open(const char *data_dir, int exclusive, struct blobs **ret, char *err, size_t errn)
{
        struct blobs *b = mem_calloc(1, sizeof(*b));
        int rc = -ENOMEM;
        *ret = NULL;
        if (!b)
                goto out;
        b->root = path_join(data_dir, "blobs");
        b->tmp = path_join(data_dir, "tmp");
        if (!b->root || !b->tmp)
                goto out;
        rc = datadir_make(b->root, err, errn);
        if (!rc)
                rc = datadir_make(b->tmp, err, errn);
        if (!rc && exclusive) {
                rc = leftovers_remove(b->tmp);
                if (rc)
                        snprintf(err, errn, "%s: %s", b->tmp, strerror(-rc));
        }
out:
        if (rc == -ENOMEM)
                snprintf(err, errn, "memory is out");
        if (rc) {
                blobs_close(b);
                return rc;
        }
        *ret = b;
        return 0;
}

void blobs_close(struct blobs *b)
{
        if (!b)
                return;
        mem_free(b->root);
        mem_free(b->tmp);
        mem_free(b);
}

/* ---- writing ---- */

static void writer_free(struct blob_writer *w)
{
        if (w->fd >= 0)
                close(w->fd);
        EVP_MD_CTX_free(w->sha256);
        mem_free(w->path);
        mem_free(w);
}

int blob_create(struct blobs *b, uint64_t max_bytes, struct blob_writer **ret)
{
        struct blob_writer *w = mem_calloc(1, sizeof(*w));
        int rc = -ENOMEM;
        *ret = NULL;
        if (!w)
                return rc;
        w->blobs = b;
        w->fd = -1;
        w->max = max_bytes;
        id_hex(w->id, "", BLOB_ID_LEN);
        w->path = path_join(b->tmp, w->id);
        w->sha256 = EVP_MD_CTX_new();
        if (!w->path || !w->sha256 || !EVP_DigestInit_ex(w->sha256, EVP_sha256(), NULL))
                goto fail;
        w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (w->fd < 0) {
                rc = -errno;
                goto fail;
        }
        *ret = w;
        return 0;
fail:
        writer_free(w);
        return rc;
}

static int write_all(int fd, const char *p, size_t n)
{
        while (n) {
                ssize_t done = write(fd, p, n);
                if (done < 0 && errno == EINTR)
                        continue;
                if (done < 0) /* a limit on the file's size and a quota are full disks to the caller */
                        return errno == EFBIG || errno == EDQUOT ? -ENOSPC : -errno;
                p += done;
                n -= (size_t)done;
        }
        return 0;
}

int blob_append(struct blob_writer *w, const void *p, size_t n)
{
        if (w->failed)
                return w->failed;
        if (n > w->max - w->size)
                w->failed = -EFBIG;
        if (!w->failed)
                w->failed = write_all(w->fd, p, n);
        if (!w->failed && !EVP_DigestUpdate(w->sha256, p, n))
                w->failed = -ENOMEM;
        if (!w->failed)
                w->size += n;
        return w->failed;
}

uint64_t blob_written(const struct blob_writer *w)
{
        return w->size;
}

static void digest_text(const unsigned char digest[32], char out[65])
{
        for (int i = 0; i < 32; i++)
                snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* Moves the written file to its place, and makes its name and that of its directory durable. The latter may
 * be new, made by us or just now by another writer that has not synced it yet. */
static int writer_publish(struct blob_writer *w)
{
        char *dir = blob_path(w->blobs, w->id, false), *path = blob_path(w->blobs, w->id, true);
        int rc = dir && path ? 0 : -ENOMEM;
        if (!rc && mkdir(dir, 0700) && errno != EEXIST)
                rc = -errno;
        if (!rc && rename(w->path, path))
                rc = -errno;
        if (!rc) {
                rc = datadir_sync(dir);
                if (!rc)
                        rc = datadir_sync(w->blobs->root);
                if (rc)
                        unlink(path);
        }
        mem_free(dir);
        mem_free(path);
        return rc;
}

int blob_commit(struct blob_writer *w, struct blob_info *ret)
{
        unsigned char digest[32];
        memset(ret, 0, sizeof(*ret));
        int rc = w->failed;
        if (!rc && !EVP_DigestFinal_ex(w->sha256, digest, NULL))
                rc = -ENOMEM;
        if (!rc && fsync(w->fd))
                rc = -errno;
        if (!rc)
                rc = writer_publish(w);
        if (rc) {
                blob_abort(w);
                return rc;
        }
        snprintf(ret->id, sizeof(ret->id), "%.*s", BLOB_ID_LEN, w->id);
        digest_text(digest, ret->sha256);
        ret->size = w->size;
        writer_free(w);
        return 0;
}

void blob_abort(struct blob_writer *w)
{
        if (!w)
                return;
        unlink(w->path);
        writer_free(w);
}

/* ---- reading ---- */

int blob_open(struct blobs *b, const char *id, struct blob_reader **ret)
{
        *ret = NULL;
        if (!id_ok(id))
                return -ENOENT;
        struct blob_reader *r = mem_alloc(sizeof(*r));
        char *path = blob_path(b, id, true);
        struct stat st;
        int rc = r && path ? 0 : -ENOMEM;
        if (!rc) {
                r->fd = open(path, O_RDONLY | O_CLOEXEC);
                rc = r->fd < 0 ? -errno : 0;
        }
        if (!rc && fstat(r->fd, &st)) {
                rc = -errno;
                close(r->fd);
        }
        mem_free(path);
        if (rc) {
                mem_free(r);
                return rc;
        }
        r->size = (uint64_t)st.st_size;
        *ret = r;
        return 0;
}

uint64_t blob_size(const struct blob_reader *r)
{
        return r->size;
}

int blob_read(struct blob_reader *r, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
        *ret_n = 0;
        if (offset > INT64_MAX)
                return 0;
        while (*ret_n < n) {
                ssize_t got = pread(r->fd, (char *)p + *ret_n, n - *ret_n, (off_t)(offset + *ret_n));
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                *ret_n += (size_t)got;
        }
        return 0;
}

int blob_fd(const struct blob_reader *r)
{
        return r->fd;
}

void blob_reader_free(struct blob_reader *r)
{
        if (!r)
                return;
        close(r->fd);
        mem_free(r);
}

int blob_delete(struct blobs *b, const char *id)
{
        if (!id_ok(id))
                return -ENOENT;
        char *path = blob_path(b, id, true), *dir = blob_path(b, id, false);
        int rc = path && dir ? 0 : -ENOMEM;
        if (!rc && unlink(path))
                rc = -errno;
        if (!rc)
                rc = datadir_sync(dir);
        mem_free(path);
        mem_free(dir);
        return rc;
}
