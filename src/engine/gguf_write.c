#include "engine/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "engine/gguf.h"
#include "kernels/kernels.h"
#include "kernels/quantize.h"

#define GGUF_VERSION 3
#define HEADER_MAX (1u << 30)
#define CHUNK_FLOATS 4096 /* converted and written at a time; a multiple of every block */

/* Value types of metadata, with GGUF's numbers. */
enum { KV_U32 = 4, KV_I32 = 5, KV_F32 = 6, KV_BOOL = 7, KV_STRING = 8, KV_ARRAY = 9, KV_U64 = 10 };

struct tensor {
        uint32_t type;
        uint64_t n_values, bytes;
};

struct gguf_writer {
        FILE *file;
        char *path, *tmp;
        struct buf kv, infos;
        uint64_t n_kv, n_tensors;
        struct map names; /* keys and tensor names, to refuse duplicates */
        struct tensor *tensors;
        size_t cap;
        uint64_t data_end; /* where the next tensor would start, from the start of the data */
        uint64_t current;  /* tensor being written */
        uint64_t written;  /* bytes of it */
        bool header_done;
        int error; /* the first one */
        char what[128];
};

/* --- types ------------------------------------------------------------------------------------------ */

static uint32_t bits_of(float v)
{
        uint32_t u;
        memcpy(&u, &v, sizeof(u));
        return u;
}

/* Bytes of n values; 0 when n is not whole blocks or the type is not known. */
static uint64_t type_bytes(uint32_t type, uint64_t n)
{
        const struct kern_type *t = kern_type_by_id(type);
        return t && n % t->block == 0 ? kern_type_size(t, n) : 0;
}

/* --- opening ---------------------------------------------------------------------------------------- */

static int fail(struct gguf_writer *w, int code, const char *what)
{
        if (!w->error) {
                w->error = code;
                snprintf(w->what, sizeof(w->what), "%s", what);
        }
        return w->error;
}

static void writer_free(struct gguf_writer *w)
{
        if (w->file)
                fclose(w->file);
        buf_release(&w->kv);
        buf_release(&w->infos);
        map_release(&w->names, NULL);
        mem_free(w->tensors);
        mem_free(w->path);
        mem_free(w->tmp);
        mem_free(w);
}

int gguf_writer_open(const char *path, struct gguf_writer **ret, char *err, size_t errn)
{
        struct gguf_writer *w = mem_calloc(1, sizeof(*w));
        size_t n = strlen(path) + 5;
        int rc = -ENOMEM;

        if (!w)
                goto out;
        buf_init(&w->kv, HEADER_MAX);
        buf_init(&w->infos, HEADER_MAX);
        map_init(&w->names);
        w->path = mem_strdup(path);
        w->tmp = mem_alloc(n);
        if (!w->path || !w->tmp)
                goto out;
        snprintf(w->tmp, n, "%s.tmp", path);
        w->file = fopen(w->tmp, "wbe");
        rc = w->file ? 0 : -errno;
out:
        if (rc) {
                snprintf(err, errn, "%s: %s", path, strerror(-rc));
                if (w)
                        writer_free(w);
                return rc;
        }
        *ret = w;
        return 0;
}

/* --- metadata --------------------------------------------------------------------------------------- */

static void put_u32(struct buf *b, uint32_t v)
{
        buf_add(b, &v, sizeof(v));
}

static void put_u64(struct buf *b, uint64_t v)
{
        buf_add(b, &v, sizeof(v));
}

static void put_string(struct buf *b, struct str s)
{
        put_u64(b, s.n);
        buf_add(b, s.p, s.n);
}

static int claim_name(struct gguf_writer *w, const char *name)
{
        if (map_get(&w->names, str_c(name)))
                return fail(w, -EEXIST, name);
        return map_put(&w->names, str_c(name), w, NULL) ? fail(w, -ENOMEM, name) : 0;
}

/* Starts a metadata entry; false when the writer is in error. */
static bool begin_kv(struct gguf_writer *w, const char *key, uint32_t type)
{
        if (!w->error && (w->n_tensors || w->header_done))
                fail(w, -EINVAL, "metadata after the first tensor");
        if (w->error || claim_name(w, key))
                return false;
        w->n_kv++;
        put_string(&w->kv, str_c(key));
        put_u32(&w->kv, type);
        return true;
}

static int end_kv(struct gguf_writer *w)
{
        int rc = buf_error(&w->kv);
        return rc ? fail(w, rc, "metadata") : w->error;
}

int gguf_put_str(struct gguf_writer *w, const char *key, struct str value)
{
        if (begin_kv(w, key, KV_STRING))
                put_string(&w->kv, value);
        return end_kv(w);
}

int gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
        if (begin_kv(w, key, KV_U32))
                put_u32(&w->kv, value);
        return end_kv(w);
}

int gguf_put_u64(struct gguf_writer *w, const char *key, uint64_t value)
{
        if (begin_kv(w, key, KV_U64))
                put_u64(&w->kv, value);
        return end_kv(w);
}

int gguf_put_f32(struct gguf_writer *w, const char *key, float value)
{
        if (begin_kv(w, key, KV_F32))
                put_u32(&w->kv, bits_of(value));
        return end_kv(w);
}

int gguf_put_bool(struct gguf_writer *w, const char *key, bool value)
{
        if (begin_kv(w, key, KV_BOOL))
                buf_addc(&w->kv, value ? 1 : 0);
        return end_kv(w);
}

int gguf_put_entry(struct gguf_writer *w, const struct gguf_entry *e)
{
        char *key = mem_strndup(e->key.p, e->key.n);
        if (!key)
                return fail(w, -ENOMEM, "metadata");
        if (begin_kv(w, key, e->is_array ? KV_ARRAY : e->type)) {
                if (e->is_array) {
                        put_u32(&w->kv, e->type);
                        put_u64(&w->kv, e->n);
                }
                buf_add(&w->kv, e->data, e->bytes);
        }
        mem_free(key);
        return end_kv(w);
}

static bool begin_array(struct gguf_writer *w, const char *key, uint32_t type, size_t n)
{
        if (!begin_kv(w, key, KV_ARRAY))
                return false;
        put_u32(&w->kv, type);
        put_u64(&w->kv, n);
        return true;
}

int gguf_put_strs(struct gguf_writer *w, const char *key, const struct str *v, size_t n)
{
        if (begin_array(w, key, KV_STRING, n)) {
                for (size_t i = 0; i < n; i++)
                        put_string(&w->kv, v[i]);
        }
        return end_kv(w);
}

int gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
        if (begin_array(w, key, KV_I32, n))
                buf_add(&w->kv, v, n * sizeof(*v));
        return end_kv(w);
}

int gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n)
{
        if (begin_array(w, key, KV_F32, n))
                buf_add(&w->kv, v, n * sizeof(*v));
        return end_kv(w);
}

/* --- tensors ---------------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t n)
{
        return (n + GGUF_WRITE_ALIGN - 1) / GGUF_WRITE_ALIGN * GGUF_WRITE_ALIGN;
}

static int grow_tensors(struct gguf_writer *w)
{
        if (w->n_tensors < w->cap)
                return 0;
        size_t cap = w->cap ? w->cap * 2 : 64;
        struct tensor *p = mem_realloc(w->tensors, cap, sizeof(*p));
        if (!p)
                return fail(w, -ENOMEM, "tensors");
        w->tensors = p;
        w->cap = cap;
        return 0;
}

int gguf_add_tensor(struct gguf_writer *w, const char *name, uint32_t type, int n_dims, const uint64_t *dims)
{
        struct tensor t = { .type = type, .n_values = 1 };

        if (w->error)
                return w->error;
        if (w->header_done || n_dims < 1 || n_dims > 4 || !type_bytes(type, dims[0]))
                return fail(w, -EINVAL, name);
        for (int i = 0; i < n_dims; i++) {
                if (__builtin_mul_overflow(t.n_values, dims[i], &t.n_values) || t.n_values > UINT64_MAX / 8)
                        return fail(w, -EINVAL, name);
        }
        t.bytes = type_bytes(type, t.n_values);
        if (!t.bytes || claim_name(w, name) || grow_tensors(w))
                return fail(w, -EINVAL, name);
        put_string(&w->infos, str_c(name));
        put_u32(&w->infos, (uint32_t)n_dims);
        for (int i = 0; i < n_dims; i++)
                put_u64(&w->infos, dims[i]);
        put_u32(&w->infos, type);
        put_u64(&w->infos, w->data_end);
        w->data_end = aligned(w->data_end + t.bytes);
        w->tensors[w->n_tensors++] = t;
        int rc = buf_error(&w->infos);
        return rc ? fail(w, rc, name) : 0;
}

static int write_bytes(struct gguf_writer *w, const void *p, size_t n)
{
        if (n && fwrite(p, 1, n, w->file) != n)
                return fail(w, errno ? -errno : -EIO, "write");
        return 0;
}

static int write_padding(struct gguf_writer *w, uint64_t at)
{
        static const char zeros[GGUF_WRITE_ALIGN];
        return write_bytes(w, zeros, (size_t)(aligned(at) - at));
}

static int write_header(struct gguf_writer *w)
{
        struct buf head;
        if (w->header_done)
                return 0;
        w->header_done = true;
        buf_init(&head, 64);
        buf_adds(&head, "GGUF");
        put_u32(&head, GGUF_VERSION);
        put_u64(&head, w->n_tensors);
        put_u64(&head, w->n_kv);
        int rc = buf_error(&head);
        if (!rc)
                rc = write_bytes(w, head.p, head.n);
        if (!rc)
                rc = write_bytes(w, w->kv.p, w->kv.n);
        if (!rc)
                rc = write_bytes(w, w->infos.p, w->infos.n);
        if (!rc)
                rc = write_padding(w, head.n + w->kv.n + w->infos.n);
        buf_release(&head);
        return rc ? fail(w, rc, "header") : 0;
}

/* Takes note of n bytes of the current tensor, pads and steps on when it is complete. */
static int advance(struct gguf_writer *w, size_t n)
{
        w->written += n;
        if (w->written < w->tensors[w->current].bytes)
                return 0;
        int rc = write_padding(w, w->written);
        w->current++;
        w->written = 0;
        return rc;
}

int gguf_write_raw(struct gguf_writer *w, const void *p, size_t n)
{
        if (w->error || write_header(w))
                return w->error;
        if (w->current == w->n_tensors || n > w->tensors[w->current].bytes - w->written)
                return fail(w, -EINVAL, "more data than the tensors hold");
        if (write_bytes(w, p, n))
                return w->error;
        return advance(w, n);
}

int gguf_write_floats(struct gguf_writer *w, const float *v, size_t n)
{
        uint8_t chunk[CHUNK_FLOATS * sizeof(float)];

        while (n && !w->error) {
                if (w->current == w->n_tensors)
                        return fail(w, -EINVAL, "more data than the tensors hold");
                uint32_t type = w->tensors[w->current].type;
                size_t part = n < CHUNK_FLOATS ? n : CHUNK_FLOATS;
                uint64_t left = w->tensors[w->current].bytes - w->written, bytes = type_bytes(type, part);
                if (!bytes || bytes > left)
                        return fail(w, -EINVAL, "data does not fit the tensor");
                int rc = kern_quantize(type, v, part, chunk, NULL);
                if (rc)
                        return fail(w, rc, "a value that the type cannot hold");
                gguf_write_raw(w, chunk, (size_t)bytes);
                v += part;
                n -= part;
        }
        return w->error;
}

/* --- closing ---------------------------------------------------------------------------------------- */

int gguf_writer_close(struct gguf_writer *w, char *err, size_t errn)
{
        if (!w)
                return -EINVAL;
        if (!w->error)
                write_header(w);
        if (!w->error && w->current != w->n_tensors)
                fail(w, -EINVAL, "a tensor is incomplete");
        if (!w->error && (fflush(w->file) || fsync(fileno(w->file))))
                fail(w, -errno, "sync");
        if (fclose(w->file) && !w->error)
                fail(w, -errno, "close");
        w->file = NULL;
        if (!w->error && rename(w->tmp, w->path))
                fail(w, -errno, "rename");
        int rc = w->error;
        if (rc) {
                unlink(w->tmp);
                snprintf(err, errn, "%s: %s: %s", w->path, w->what, strerror(-rc));
        }
        writer_free(w);
        return rc;
}

void gguf_writer_abort(struct gguf_writer *w)
{
        if (!w)
                return;
        unlink(w->tmp);
        writer_free(w);
}
