/* Blobs above their backends: staging, sealing, verified reading.
 *
 * A finished blob is its content followed by a trailer, all integers little-endian:
 *
 *     content            `size` bytes
 *     digests            SHA-256 of every BLOB_CHUNK bytes of the content, the last of what is left
 *     "CAIRNBL1"         8 bytes
 *     size               8 bytes
 *     digest             SHA-256 of the content
 *     seal               SHA-256 of the blob's id, the digests and the 48 bytes before the seal
 *
 * A reader checks the seal once and then each chunk that it gives a byte of: so a flipped bit, a lost end and
 * another blob's file under this name are all found, and a range costs no more than its chunks. */
#include "store/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/ids.h"
#include "base/mem.h"
#include "store/blob_internal.h"
#include "store/datadir.h"

#define BLOB_CHUNK ((size_t)256 << 10)
#define DIGEST 32
#define HEAD 48                     /* magic, size, digest */
#define FOOTER (HEAD + DIGEST)      /* and the seal */
#define TAIL ((size_t)16 << 10)     /* read when a blob is opened: most trailers, and small blobs whole */
#define TABLE_MAX ((size_t)8 << 20) /* digests of a 64 GiB blob */
#define COPY_BLOCK BLOB_CHUNK

static const unsigned char magic[8] = { 'C', 'A', 'I', 'R', 'N', 'B', 'L', '1' };

struct blobs {
        char *tmp;   /* where is staged: on the file system of the directory's blobs, else DATA/tmp */
        char *where; /* for messages */
        const struct blob_place_ops *ops;
        void *place;
        struct blob_holds *holds;
        atomic_ullong written, read, damaged, retries;
};

struct blob_writer {
        struct blobs *blobs;
        char id[ID_MAX];
        char *path; /* TMP/ID */
        int fd;
        int failed; /* the first error; nothing more is done after it */
        uint64_t size, max;
        EVP_MD_CTX *whole, *chunk;
        size_t in_chunk;    /* bytes of the chunk that is not full */
        struct buf digests; /* of the full ones */
};

struct blob_reader {
        struct blobs *blobs;
        char id[BLOB_ID_LEN + 1];
        void *object;
        uint64_t size;
        char sha256[2 * DIGEST + 1];
        unsigned char *digests;
        unsigned char *chunks; /* verified content from chunk `first` on, `loaded` chunks */
        uint64_t first, loaded;
};

/* ---- common ---- */

static _Thread_local char fault_text[256];

int blob_fail(int rc, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(fault_text, sizeof(fault_text), fmt, ap);
        va_end(ap);
        return rc;
}

const char *blob_fault(void)
{
        return fault_text;
}

static int no_memory(void)
{
        return blob_fail(-ENOMEM, "memory is out");
}

char *blob_path_join(const char *a, const char *b)
{
        size_t size = strlen(a) + strlen(b) + 2;
        char *path = mem_alloc(size);
        if (path)
                snprintf(path, size, "%s/%s", a, b);
        return path;
}

bool blob_id_ok(const char *id)
{
        return id && strlen(id) == BLOB_ID_LEN && strspn(id, "0123456789abcdef") == BLOB_ID_LEN;
}

char *blob_name(char *out, const char *id)
{
        snprintf(out, BLOB_ID_LEN + 2, "%.2s/%.30s", id, id + 2);
        return out;
}

bool blob_name_id(const char *name, char *out)
{
        if (strlen(name) != BLOB_ID_LEN + 1 || name[2] != '/')
                return false;
        snprintf(out, BLOB_ID_LEN + 1, "%.2s%s", name, name + 3);
        return blob_id_ok(out);
}

static void put_u64(unsigned char *p, uint64_t v)
{
        for (int i = 0; i < 8; i++)
                p[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get_u64(const unsigned char *p)
{
        uint64_t v = 0;
        for (int i = 0; i < 8; i++)
                v |= (uint64_t)p[i] << 8 * i;
        return v;
}

/* The seal of a trailer. 0 or -ENOMEM. */
static int seal(const char *id, const void *digests, size_t n, const unsigned char *head,
                unsigned char ret[DIGEST])
{
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, id, BLOB_ID_LEN) &&
                  EVP_DigestUpdate(md, digests, n) && EVP_DigestUpdate(md, head, HEAD) &&
                  EVP_DigestFinal_ex(md, ret, NULL);
        EVP_MD_CTX_free(md);
        return ok ? 0 : no_memory();
}

static uint64_t chunks_of(uint64_t size)
{
        return size / BLOB_CHUNK + (size % BLOB_CHUNK != 0);
}

/* ---- opening ---- */

/* Removes what was staged and not written to for age_s seconds. */
static int leftovers_remove(const char *tmp, int64_t age_s)
{
        DIR *dir = opendir(tmp);
        if (!dir)
                return blob_fail(-errno, "%s: %s", tmp, strerror(errno));
        const struct dirent *entry;
        int64_t until = clock_unix() - age_s;
        struct stat st;
        while ((entry = readdir(dir))) {
                if (blob_id_ok(entry->d_name) && !fstatat(dirfd(dir), entry->d_name, &st, 0) &&
                    st.st_mtime <= until)
                        unlinkat(dirfd(dir), entry->d_name, 0);
        }
        closedir(dir);
        return 0;
}

/* The directory's blobs are renamed into place, so they are staged on their own file system. */
static int open_tmp(struct blobs *b, const struct blobs_options *o, char *err, size_t errn)
{
        bool beside = b->ops == &blob_dir_ops;
        b->tmp = blob_path_join(o->data_dir, beside ? "blobs/tmp" : "tmp");
        if (!b->tmp) {
                snprintf(err, errn, "memory is out");
                return -ENOMEM;
        }
        int rc = datadir_make(b->tmp, err, errn);
        if (!rc && o->exclusive && !(beside && o->shared)) {
                rc = leftovers_remove(b->tmp, 0);
                if (rc)
                        snprintf(err, errn, "%s", fault_text);
        }
        return rc;
}

static int open_place(struct blobs *b, const struct blobs_options *o, char *err, size_t errn)
{
        bool local = !o->url || !*o->url;
        b->where = local ? blob_path_join(o->data_dir, "blobs") : mem_strdup(o->url);
        b->holds = blob_holds_new();
        if (!b->where || !b->holds) {
                snprintf(err, errn, "memory is out");
                return -ENOMEM;
        }
        if (local) {
                b->ops = &blob_dir_ops;
                return blob_dir_open(o, &b->place, err, errn);
        }
        if (!strncmp(o->url, "s3://", 5)) {
                b->ops = &blob_s3_ops;
                return blob_s3_open(o, &b->retries, &b->place, err, errn);
        }
        snprintf(err, errn,
                 "'%.100s' is no place for blobs: s3://BUCKET/PREFIX, or nothing for the data directory",
                 o->url);
        return -EINVAL;
}

int blobs_open(const struct blobs_options *o, struct blobs **ret, char *err, size_t errn)
{
        struct blobs *b = mem_calloc(1, sizeof(*b));
        *ret = NULL;
        if (!b) {
                snprintf(err, errn, "memory is out");
                return -ENOMEM;
        }
        int rc = open_place(b, o, err, errn);
        if (!rc)
                rc = open_tmp(b, o, err, errn);
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
        if (b->place)
                b->ops->free(b->place);
        blob_holds_free(b->holds);
        mem_free(b->where);
        mem_free(b->tmp);
        mem_free(b);
}

const char *blobs_where(const struct blobs *b)
{
        return b->where;
}

int blobs_ping(struct blobs *b, char *err, size_t errn)
{
        int rc = b->ops->ping(b->place);
        if (!rc && access(b->tmp, R_OK | W_OK | X_OK))
                rc = blob_fail(-errno, "%s: %s", b->tmp, strerror(errno));
        if (rc)
                snprintf(err, errn, "%s", fault_text);
        return rc;
}

void blobs_get_stats(const struct blobs *b, struct blobs_stats *ret)
{
        *ret = (struct blobs_stats){ .written = atomic_load(&b->written),
                                     .read = atomic_load(&b->read),
                                     .damaged = atomic_load(&b->damaged),
                                     .retries = atomic_load(&b->retries) };
}

/* ---- writing ---- */

static void writer_free(struct blob_writer *w)
{
        if (w->fd >= 0)
                close(w->fd);
        EVP_MD_CTX_free(w->whole);
        EVP_MD_CTX_free(w->chunk);
        buf_release(&w->digests);
        mem_free(w->path);
        mem_free(w);
}

/* A writer of a blob that will be `id`. */
static int create_as(struct blobs *b, const char *id, uint64_t max_bytes, struct blob_writer **ret)
{
        struct blob_writer *w = mem_calloc(1, sizeof(*w));
        int rc = -ENOMEM;
        *ret = NULL;
        if (!w)
                return no_memory();
        w->blobs = b;
        w->fd = -1;
        w->max = max_bytes;
        buf_init(&w->digests, TABLE_MAX);
        snprintf(w->id, sizeof(w->id), "%s", id);
        w->path = blob_path_join(b->tmp, id);
        w->whole = EVP_MD_CTX_new();
        w->chunk = EVP_MD_CTX_new();
        if (!w->path || !w->whole || !w->chunk || !EVP_DigestInit_ex(w->whole, EVP_sha256(), NULL) ||
            !EVP_DigestInit_ex(w->chunk, EVP_sha256(), NULL)) {
                rc = no_memory();
                goto fail;
        }
        w->fd = open(w->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (w->fd < 0) {
                rc = blob_fail(-errno, "%s: %s", w->path, strerror(errno));
                goto fail;
        }
        *ret = w;
        return 0;
fail:
        writer_free(w);
        return rc;
}

int blob_create(struct blobs *b, uint64_t max_bytes, struct blob_writer **ret)
{
        char id[ID_MAX];
        return create_as(b, id_hex(id, "", BLOB_ID_LEN), max_bytes, ret);
}

static int write_all(struct blob_writer *w, const char *p, size_t n)
{
        int rc = n ? fault_at("blob.write") : 0;
        while (n && !rc) {
                ssize_t done = write(w->fd, p, n);
                if (done < 0 && errno == EINTR)
                        continue;
                if (done < 0) { /* a limit on the file's size and a quota are full disks to the caller */
                        rc = errno == EFBIG || errno == EDQUOT ? -ENOSPC : -errno;
                        break;
                }
                p += done;
                n -= (size_t)done;
        }
        return rc ? blob_fail(rc, "%s: %s", w->path, strerror(-rc)) : 0;
}

/* Ends the chunk that is being digested. */
static int chunk_end(struct blob_writer *w)
{
        unsigned char digest[DIGEST];
        if (!EVP_DigestFinal_ex(w->chunk, digest, NULL) || !EVP_DigestInit_ex(w->chunk, EVP_sha256(), NULL))
                return no_memory();
        buf_add(&w->digests, digest, DIGEST);
        w->in_chunk = 0;
        return buf_error(&w->digests) ? no_memory() : 0;
}

static int digest_add(struct blob_writer *w, const char *p, size_t n)
{
        int rc = EVP_DigestUpdate(w->whole, p, n) ? 0 : no_memory();
        while (n && !rc) {
                size_t room = BLOB_CHUNK - w->in_chunk, part = n < room ? n : room;
                if (!EVP_DigestUpdate(w->chunk, p, part))
                        return no_memory();
                w->in_chunk += part;
                p += part;
                n -= part;
                if (w->in_chunk == BLOB_CHUNK)
                        rc = chunk_end(w);
        }
        return rc;
}

int blob_append(struct blob_writer *w, const void *p, size_t n)
{
        if (w->failed)
                return w->failed;
        if (n > w->max - w->size)
                w->failed = blob_fail(-EFBIG, "more than %llu bytes", (unsigned long long)w->max);
        if (!w->failed)
                w->failed = write_all(w, p, n);
        if (!w->failed)
                w->failed = digest_add(w, p, n);
        if (!w->failed)
                w->size += n;
        return w->failed;
}

uint64_t blob_written(const struct blob_writer *w)
{
        return w->size;
}

int blob_digest(const struct blob_writer *w, char *ret)
{
        unsigned char digest[DIGEST];
        EVP_MD_CTX *copy = EVP_MD_CTX_new();
        bool ok = copy && EVP_MD_CTX_copy_ex(copy, w->whole) && EVP_DigestFinal_ex(copy, digest, NULL);
        EVP_MD_CTX_free(copy);
        if (!ok)
                return no_memory();
        str_hex(digest, DIGEST, ret);
        return 0;
}

/* Writes the trailer; digest gets that of the content. */
static int write_trailer(struct blob_writer *w, unsigned char digest[DIGEST])
{
        unsigned char foot[FOOTER];
        int rc = w->in_chunk ? chunk_end(w) : 0;
        if (rc)
                return rc;
        if (!EVP_DigestFinal_ex(w->whole, digest, NULL))
                return no_memory();
        memcpy(foot, magic, sizeof(magic));
        put_u64(foot + 8, w->size);
        memcpy(foot + 16, digest, DIGEST);
        rc = seal(w->id, w->digests.p, w->digests.n, foot, foot + HEAD);
        if (!rc)
                rc = write_all(w, w->digests.p, w->digests.n);
        return rc ? rc : write_all(w, (const char *)foot, sizeof(foot));
}

int blob_commit(struct blob_writer *w, struct blob_info *ret)
{
        unsigned char digest[DIGEST];
        memset(ret, 0, sizeof(*ret));
        int rc = w->failed;
        if (!rc)
                rc = write_trailer(w, digest);
        if (!rc)
                rc = w->blobs->ops->publish(w->blobs->place, w->id, w->fd, w->path,
                                            w->size + w->digests.n + FOOTER);
        if (rc) {
                blob_abort(w);
                return rc;
        }
        snprintf(ret->id, sizeof(ret->id), "%.*s", BLOB_ID_LEN, w->id);
        str_hex(digest, DIGEST, ret->sha256);
        ret->size = w->size;
        atomic_fetch_add(&w->blobs->written, w->size);
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

/* Counts what turned out to be damage. */
static int judged(const struct blob_reader *r, int rc)
{
        char why[sizeof(fault_text)];
        if (rc != -EBADMSG)
                return rc;
        atomic_fetch_add(&r->blobs->damaged, 1);
        snprintf(why, sizeof(why), "%s", fault_text);
        return blob_fail(rc, "blob %s is damaged: %.180s", r->id, why);
}

/* Reads the trailer of `stored` bytes altogether, of which the last n are in tail. */
static int read_trailer(struct blob_reader *r, uint64_t stored, const unsigned char *tail, size_t n)
{
        const unsigned char *foot = tail + n - FOOTER;
        unsigned char expected[DIGEST];
        if (n < FOOTER || memcmp(foot, magic, sizeof(magic)) != 0)
                return blob_fail(-EBADMSG, "it has no end");
        r->size = get_u64(foot + 8);
        uint64_t table = chunks_of(r->size) * DIGEST;
        if (r->size > stored || table > TABLE_MAX || r->size + table + FOOTER != stored)
                return blob_fail(-EBADMSG, "it has another size than it had");
        r->digests = mem_alloc((size_t)table);
        if (!r->digests)
                return no_memory();
        int rc = 0;
        if (table <= n - FOOTER)
                memcpy(r->digests, foot - table, (size_t)table);
        else
                rc = r->blobs->ops->read(r->object, r->size, r->digests, (size_t)table);
        if (!rc)
                rc = seal(r->id, r->digests, (size_t)table, foot, expected);
        if (!rc && memcmp(expected, foot + HEAD, DIGEST) != 0)
                rc = blob_fail(-EBADMSG, "its seal is broken");
        str_hex(foot + 16, DIGEST, r->sha256);
        return rc;
}

/* The bytes of chunk i. */
static size_t chunk_size(const struct blob_reader *r, uint64_t i)
{
        uint64_t left = r->size - i * BLOB_CHUNK;
        return left < BLOB_CHUNK ? (size_t)left : BLOB_CHUNK;
}

static int chunk_verify(const struct blob_reader *r, uint64_t i, const unsigned char *p)
{
        unsigned char digest[DIGEST];
        if (!EVP_Digest(p, chunk_size(r, i), digest, NULL, EVP_sha256(), NULL))
                return no_memory();
        if (memcmp(digest, r->digests + i * DIGEST, DIGEST) != 0)
                return blob_fail(-EBADMSG, "bytes from %llu on have another digest",
                                 (unsigned long long)i * BLOB_CHUNK);
        return 0;
}

static int chunk_buffer(struct blob_reader *r)
{
        uint64_t total = chunks_of(r->size), want = (uint64_t)r->blobs->ops->window;
        if (!r->chunks)
                r->chunks = mem_alloc((size_t)(total < want ? total : want) * BLOB_CHUNK);
        return r->chunks ? 0 : no_memory();
}

/* Brings chunk i into r->chunks, and the next ones with it for who reads on. */
static int chunk_load(struct blob_reader *r, uint64_t i)
{
        if (i >= r->first && i < r->first + r->loaded)
                return 0;
        bool reads_on = r->loaded && i == r->first + r->loaded;
        uint64_t total = chunks_of(r->size), n = reads_on ? (uint64_t)r->blobs->ops->window : 1;
        if (n > total - i)
                n = total - i;
        int rc = fault_at("blob.read");
        r->loaded = 0;
        if (rc)
                return blob_fail(rc, "reading blob %s: %s", r->id, strerror(-rc));
        rc = chunk_buffer(r);
        uint64_t end = (i + n) * BLOB_CHUNK < r->size ? (i + n) * BLOB_CHUNK : r->size;
        if (!rc)
                rc = r->blobs->ops->read(r->object, i * BLOB_CHUNK, r->chunks,
                                         (size_t)(end - i * BLOB_CHUNK));
        for (uint64_t k = 0; k < n && !rc; k++)
                rc = chunk_verify(r, i + k, r->chunks + k * BLOB_CHUNK);
        if (rc)
                return rc;
        r->first = i;
        r->loaded = n;
        return 0;
}

/* A small blob came whole with its trailer. */
static int take_whole(struct blob_reader *r, uint64_t stored, const unsigned char *tail, size_t n)
{
        if (!r->size || stored != n)
                return 0;
        int rc = chunk_verify(r, 0, tail);
        if (!rc)
                rc = chunk_buffer(r);
        if (rc)
                return rc;
        memcpy(r->chunks, tail, (size_t)r->size);
        r->loaded = 1;
        return 0;
}

int blob_open(struct blobs *b, const char *id, struct blob_reader **ret)
{
        *ret = NULL;
        if (!blob_id_ok(id))
                return blob_fail(-ENOENT, "no blob has such an id");
        struct blob_reader *r = mem_calloc(1, sizeof(*r));
        unsigned char *tail = mem_alloc(TAIL);
        size_t n = TAIL;
        uint64_t stored = 0;
        int rc = r && tail ? fault_at("blob.read") : no_memory();
        if (!rc) {
                r->blobs = b;
                snprintf(r->id, sizeof(r->id), "%s", id);
                rc = b->ops->open(b->place, id, tail, &n, &r->object, &stored);
        }
        if (!rc)
                rc = read_trailer(r, stored, tail, n);
        if (!rc)
                rc = take_whole(r, stored, tail, n);
        mem_free(tail);
        if (rc) {
                rc = r ? judged(r, rc) : rc;
                blob_reader_free(r);
                return rc;
        }
        *ret = r;
        return 0;
}

uint64_t blob_size(const struct blob_reader *r)
{
        return r->size;
}

const char *blob_sha256(const struct blob_reader *r)
{
        return r->sha256;
}

int blob_read(struct blob_reader *r, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
        *ret_n = 0;
        while (*ret_n < n && offset < r->size) {
                int rc = chunk_load(r, offset / BLOB_CHUNK);
                if (rc)
                        return judged(r, rc);
                uint64_t at = offset - r->first * BLOB_CHUNK, end = (r->first + r->loaded) * BLOB_CHUNK;
                if (end > r->size)
                        end = r->size;
                size_t part = n - *ret_n;
                if (part > end - offset)
                        part = (size_t)(end - offset);
                memcpy((char *)p + *ret_n, r->chunks + at, part);
                *ret_n += part;
                offset += part;
        }
        atomic_fetch_add(&r->blobs->read, *ret_n);
        return 0;
}

void blob_reader_free(struct blob_reader *r)
{
        if (!r)
                return;
        if (r->object)
                r->blobs->ops->close(r->object);
        mem_free(r->digests);
        mem_free(r->chunks);
        mem_free(r);
}

int blob_verify(struct blobs *b, const char *id)
{
        struct blob_reader *r;
        int rc = blob_open(b, id, &r);
        for (uint64_t i = 0; !rc && i < chunks_of(r->size); i++)
                rc = judged(r, chunk_load(r, i));
        blob_reader_free(r);
        return rc;
}

int blob_hold(struct blobs *b, const char *id)
{
        return blob_holds_add(b->holds, id) ? no_memory() : 0;
}

void blob_unhold(struct blobs *b, const char *id)
{
        blob_holds_drop(b->holds, id);
}

/* ---- whose they are ---- */

int blobs_mark(struct blobs *b, char ret[BLOBS_MARK_MAX])
{
        int rc = b->ops->mark_get(b->place, ret, BLOBS_MARK_MAX);
        if (!rc)
                ret[strcspn(ret, "\r\n")] = '\0';
        return rc;
}

int blobs_set_mark(struct blobs *b, const char *mark)
{
        char line[BLOBS_MARK_MAX];
        snprintf(line, sizeof(line), "%s\n", mark);
        return b->ops->mark_put(b->place, line);
}

/* ---- the whole set ---- */

int blob_delete(struct blobs *b, const char *id)
{
        if (!blob_id_ok(id))
                return blob_fail(-ENOENT, "no blob has such an id");
        if (blob_holds_doom(b->holds, id))
                return 0;
        return b->ops->remove(b->place, id);
}

void blobs_sweep(struct blobs *b)
{
        char id[BLOB_ID_LEN + 1];
        while (blob_holds_due(b->holds, id))
                b->ops->remove(b->place, id);
}

int blob_copy(struct blobs *from, const char *id, struct blobs *to)
{
        struct blob_reader *r = NULL;
        struct blob_writer *w = NULL;
        struct blob_info info;
        size_t n = 1;
        if (!blob_verify(to, id))
                return 0;
        char *block = mem_alloc(COPY_BLOCK);
        int rc = block ? blob_open(from, id, &r) : no_memory();
        if (!rc)
                rc = create_as(to, id, r->size, &w);
        for (uint64_t at = 0; !rc && n; at += n) {
                rc = blob_read(r, at, block, COPY_BLOCK, &n);
                if (!rc)
                        rc = blob_append(w, block, n);
        }
        if (rc)
                blob_abort(w);
        else
                rc = blob_commit(w, &info);
        blob_reader_free(r);
        mem_free(block);
        return rc;
}

int blobs_list(struct blobs *b, int (*fn)(void *ctx, const char *id, int64_t modified), void *ctx)
{
        return b->ops->list(b->place, fn, ctx);
}

int blobs_abandon(struct blobs *b, int64_t age_s)
{
        int rc = leftovers_remove(b->tmp, age_s);
        return rc || !b->ops->abandon ? rc : b->ops->abandon(b->place, age_s);
}
