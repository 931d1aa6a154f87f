#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/map.h"
#include "base/mem.h"
#include "engine/gguf.h"
#include "kernels/kernels.h"

#define MAX_KEYS 65536
#define MAX_TENSORS 65536
#define MAX_NAME 1024
#define MAX_DIMS 4
#define MAX_ALIGN (1u << 16)
#define DEFAULT_ALIGN 32

enum value_type {
        V_U8,
        V_I8,
        V_U16,
        V_I16,
        V_U32,
        V_I32,
        V_F32,
        V_BOOL,
        V_STR,
        V_ARRAY,
        V_U64,
        V_I64,
        V_F64,
        V_TYPES
};
static const uint8_t value_size[V_TYPES] = {
        [V_U8] = 1,  [V_I8] = 1,   [V_U16] = 2, [V_I16] = 2, [V_U32] = 4, [V_I32] = 4,
        [V_F32] = 4, [V_BOOL] = 1, [V_U64] = 8, [V_I64] = 8, [V_F64] = 8,
};

struct value {
        struct str key;
        size_t bytes;         /* of data */
        enum value_type type; /* of an array: of its items */
        bool is_array;
        uint64_t n;          /* items */
        const uint8_t *data; /* the scalar, the items, or for strings the first length */
};

struct gguf {
        const uint8_t *p;
        size_t n;
        bool mapped;
        struct value *values;
        struct gguf_tensor *tensors;
        size_t n_values, n_tensors;
        struct map keys, names; /* into the arrays above */
        struct gguf **parts;    /* of a split file: the second and later ones */
        size_t n_parts;
};

/* Where the parser stands. The first fault is kept and every later read gives zeros. */
struct cursor {
        const uint8_t *p, *start, *end;
        int rc;
        char *err;
        size_t errn;
};

static void __attribute__((format(printf, 3, 4))) fault(struct cursor *c, int rc, const char *fmt, ...)
{
        if (c->rc)
                return;
        c->rc = rc;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(c->err, c->errn, fmt, ap);
        va_end(ap);
}

/* A name from the file, made fit for a message: printable and short. */
struct label {
        char text[72];
};
static struct label label(struct str s)
{
        struct label l;
        size_t n = s.n < 60 ? s.n : 60;
        for (size_t i = 0; i < n; i++)
                l.text[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
        memcpy(l.text + n, s.n > n ? "..." : "", s.n > n ? 4 : 1);
        return l;
}

static size_t left(const struct cursor *c)
{
        return (size_t)(c->end - c->p);
}

static const uint8_t *take(struct cursor *c, uint64_t n, const char *what)
{
        if (!c->rc && n > left(c))
                fault(c, -EINVAL, "the file ends inside %s (at byte %zu)", what, (size_t)(c->p - c->start));
        if (c->rc)
                return NULL;
        const uint8_t *p = c->p;
        c->p += n;
        return p;
}

static uint32_t take_u32(struct cursor *c, const char *what)
{
        uint32_t v = 0;
        const uint8_t *p = take(c, sizeof(v), what);
        if (p)
                memcpy(&v, p, sizeof(v));
        return v;
}

static uint64_t take_u64(struct cursor *c, const char *what)
{
        uint64_t v = 0;
        const uint8_t *p = take(c, sizeof(v), what);
        if (p)
                memcpy(&v, p, sizeof(v));
        return v;
}

static struct str take_str(struct cursor *c, const char *what)
{
        uint64_t n = take_u64(c, what);
        const uint8_t *p = take(c, n, what);
        return p ? (struct str){ (const char *)p, (size_t)n } : (struct str){ "", 0 };
}

static struct str take_name(struct cursor *c, const char *what)
{
        struct str s = take_str(c, what);
        if (!c->rc && (!s.n || s.n > MAX_NAME || memchr(s.p, 0, s.n)))
                fault(c, -EINVAL, "%s of %zu bytes is not valid", what, s.n);
        return s;
}

/* ---- metadata ----------------------------------------------------------------------------------- */

static void skip_items(struct cursor *c, struct value *v, struct str key)
{
        if (v->type == V_STR) {
                if (v->n > left(c) / sizeof(uint64_t))
                        fault(c, -EINVAL, "key %s has %llu strings, more than the file can hold",
                              label(key).text, (unsigned long long)v->n);
                for (uint64_t i = 0; i < v->n && !c->rc; i++)
                        take_str(c, "a string of the metadata");
                return;
        }
        uint64_t size = value_size[v->type];
        if (!size || v->n > left(c) / size) /* an array has none: refused before */
                fault(c, -EINVAL, "key %s has %llu items, more than the file can hold", label(key).text,
                      (unsigned long long)v->n);
        take(c, v->n * size, "a value of the metadata");
}

static void read_value(struct cursor *c, struct str key, struct value *v)
{
        uint32_t type = take_u32(c, "the type of a value");
        v->n = 1;
        if (type == V_ARRAY) {
                v->is_array = true;
                type = take_u32(c, "the type of an array");
                v->n = take_u64(c, "the length of an array");
                if (type == V_ARRAY)
                        fault(c, -EINVAL, "key %s is an array of arrays", label(key).text);
        }
        if (type >= V_TYPES)
                fault(c, -EINVAL, "key %s has the unknown type %u", label(key).text, type);
        if (c->rc)
                return;
        v->type = (enum value_type)type;
        v->data = c->p;
        skip_items(c, v, key);
        v->key = key;
        v->bytes = (size_t)(c->p - v->data);
}

/* Remembers the item under its name; a second one of that name is a fault. */
static void index_name(struct cursor *c, struct map *map, struct str name, void *item, const char *what)
{
        if (c->rc)
                return;
        if (map_get(map, name))
                fault(c, -EINVAL, "%s %s appears twice", what, label(name).text);
        else if (map_put(map, name, item, NULL))
                fault(c, -ENOMEM, "out of memory");
}

static void read_metadata(struct cursor *c, struct gguf *g, uint64_t count)
{
        /* The smallest entry: an empty key's length, a type and one byte. */
        if (count > MAX_KEYS || count > left(c) / 13)
                fault(c, -EINVAL, "the header claims %llu metadata keys", (unsigned long long)count);
        if (c->rc)
                return;
        g->values = mem_calloc(count ? count : 1, sizeof(*g->values));
        if (!g->values)
                fault(c, -ENOMEM, "out of memory");
        for (uint64_t i = 0; i < count && !c->rc; i++) {
                struct str key = take_name(c, "a metadata key");
                read_value(c, key, &g->values[i]);
                index_name(c, &g->keys, key, &g->values[i], "key");
        }
        g->n_values = count;
}

/* ---- tensors ------------------------------------------------------------------------------------ */

static void read_shape(struct cursor *c, struct gguf_tensor *t)
{
        uint32_t dims = take_u32(c, "a tensor's dimensions");
        if (!c->rc && (dims < 1 || dims > MAX_DIMS))
                fault(c, -EINVAL, "tensor %s has %u dimensions, not 1 to 4", label(t->name).text, dims);
        t->n_dims = (int)dims;
        uint64_t total = 1;
        for (uint32_t i = 0; i < MAX_DIMS; i++) {
                t->ne[i] = !c->rc && i < dims ? take_u64(c, "a tensor's dimensions") : 1;
                if (c->rc)
                        return;
                if (!t->ne[i] || __builtin_mul_overflow(total, t->ne[i], &total) || total > INT64_MAX / 8)
                        fault(c, -EINVAL, "tensor %s has an impossible shape", label(t->name).text);
        }
}

/* Reads one tensor's entry; data is left holding the offset until the data section's place is known. */
static void read_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *ret_offset)
{
        t->name = take_name(c, "a tensor's name");
        read_shape(c, t);
        uint32_t type = take_u32(c, "a tensor's type");
        *ret_offset = take_u64(c, "a tensor's offset");
        if (c->rc)
                return;
        t->type = kern_type_by_id(type);
        if (!t->type) {
                fault(c, -EINVAL, "tensor %s has type %u, which is not supported", label(t->name).text, type);
                return;
        }
        if (t->ne[0] % t->type->block) {
                fault(c, -EINVAL, "tensor %s: rows of %llu values are no multiple of the %u of a %s block",
                      label(t->name).text, (unsigned long long)t->ne[0], t->type->block, t->type->name);
                return;
        }
        t->bytes = kern_type_size(t->type, t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
}

static uint64_t read_alignment(struct cursor *c, const struct gguf *g)
{
        uint64_t align = DEFAULT_ALIGN;
        int rc = gguf_get_u64(g, "general.alignment", &align);
        if (!c->rc &&
            ((rc && rc != -ENOENT) || !align || align & (align - 1) || align < 8 || align > MAX_ALIGN))
                fault(c, -EINVAL, "general.alignment is not a power of two from 8 to %u", MAX_ALIGN);
        return align;
}

static void place_tensors(struct cursor *c, struct gguf *g, const uint64_t *offsets)
{
        uint64_t align = read_alignment(c, g);
        if (c->rc || !align)
                return;
        uint64_t base = ((uint64_t)(c->p - c->start) + align - 1) / align * align;
        for (size_t i = 0; i < g->n_tensors && !c->rc; i++) {
                struct gguf_tensor *t = &g->tensors[i];
                if (offsets[i] % align)
                        fault(c, -EINVAL, "tensor %s is not aligned to %llu bytes", label(t->name).text,
                              (unsigned long long)align);
                else if (base > g->n || offsets[i] > g->n - base || t->bytes > g->n - base - offsets[i])
                        fault(c, -EINVAL, "tensor %s lies beyond the end of the file (is it cut off?)",
                              label(t->name).text);
                else
                        t->data = c->start + base + offsets[i];
        }
}

static void read_tensors(struct cursor *c, struct gguf *g, uint64_t count)
{
        uint64_t *offsets = mem_calloc(count ? count : 1, sizeof(*offsets));
        g->tensors = mem_calloc(count ? count : 1, sizeof(*g->tensors));
        if (!g->tensors || !offsets)
                fault(c, -ENOMEM, "out of memory");
        for (uint64_t i = 0; i < count && !c->rc; i++) {
                read_tensor(c, &g->tensors[i], &offsets[i]);
                index_name(c, &g->names, g->tensors[i].name, &g->tensors[i], "tensor");
        }
        if (!c->rc) {
                g->n_tensors = count;
                place_tensors(c, g, offsets);
        }
        mem_free(offsets);
}

/* ---- the file ----------------------------------------------------------------------------------- */

static void read_file(struct cursor *c, struct gguf *g)
{
        if (left(c) < 4 || memcmp(c->p, "GGUF", 4)) {
                fault(c, -EINVAL, "not a GGUF file");
                return;
        }
        c->p += 4;
        uint32_t version = take_u32(c, "the header");
        if (!c->rc && version && !(version & 0xffff))
                fault(c, -EINVAL, "the file is big endian");
        if (!c->rc && version != 2 && version != 3)
                fault(c, -EINVAL, "GGUF version %u is not supported (2 and 3 are)", version);
        uint64_t n_tensors = take_u64(c, "the header"), n_keys = take_u64(c, "the header");
        /* The smallest tensor entry: name length, dimension count, one dimension, type and offset. */
        if (!c->rc && (n_tensors > MAX_TENSORS || n_tensors > left(c) / 32))
                fault(c, -EINVAL, "the header claims %llu tensors", (unsigned long long)n_tensors);
        if (!c->rc)
                read_metadata(c, g, n_keys);
        if (!c->rc)
                read_tensors(c, g, n_tensors);
}

int gguf_parse(const void *p, size_t n, struct gguf **ret, char *err, size_t errn)
{
        struct cursor c = { .p = p, .start = p, .end = (const uint8_t *)p + n, .err = err, .errn = errn };
        struct gguf *g = mem_calloc(1, sizeof(*g));
        if (!g) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        g->p = p;
        g->n = n;
        map_init(&g->keys);
        map_init(&g->names);
        read_file(&c, g);
        if (c.rc)
                gguf_close(g);
        else
                *ret = g;
        return c.rc;
}

static int map_file(const char *path, void **ret, size_t *ret_n)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
        if (fd < 0)
                return -errno;
        struct stat st;
        void *p = MAP_FAILED;
        if (fstat(fd, &st))
                rc = -errno;
        else if (S_ISDIR(st.st_mode))
                rc = -EISDIR;
        else if (!S_ISREG(st.st_mode) || st.st_size <= 0)
                rc = -EINVAL;
        else if ((p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
                rc = -errno;
        close(fd);
        if (!rc) {
                madvise(p, (size_t)st.st_size, MADV_WILLNEED); /* reading may begin; nobody waits for it */
                *ret = p;
                *ret_n = (size_t)st.st_size;
        }
        return rc;
}

static int open_part(const char *path, struct gguf **ret, char *err, size_t errn)
{
        void *p = NULL;
        size_t n = 0;
        int rc = map_file(path, &p, &n);
        if (rc) {
                snprintf(err, errn, "%s", rc == -EINVAL ? "empty or not a regular file" : strerror(-rc));
                return rc;
        }
        rc = gguf_parse(p, n, ret, err, errn);
        if (rc)
                munmap(p, n);
        else
                (*ret)->mapped = true;
        return rc;
}

/* ---- split files -------------------------------------------------------------------------------- */

#define MAX_PARTS 999
#define PART_TAIL 20 /* "-00001-of-00005.gguf" */

static uint64_t number_or(const struct gguf *g, const char *key, uint64_t absent)
{
        uint64_t v = absent;
        return gguf_get_u64(g, key, &v) == -EINVAL ? UINT64_MAX : v;
}

/* The path of part `no` (from 0) of a file whose first part is at `first`. False when that has not the name
 * that split files have, by which alone the others can be found. */
static bool part_path(const char *first, uint64_t no, uint64_t count, char *ret, size_t n)
{
        char tail[64];
        size_t len = strlen(first);
        snprintf(tail, sizeof(tail), "-%05d-of-%05d.gguf", 1, (int)count);
        if (len < PART_TAIL || len >= n || strcmp(first + len - PART_TAIL, tail) != 0)
                return false;
        memcpy(ret, first, len - PART_TAIL);
        snprintf(ret + len - PART_TAIL, n - len + PART_TAIL, "-%05d-of-%05d.gguf", (int)no + 1, (int)count);
        return true;
}

static int add_part(struct gguf *g, const char *path, uint64_t no, uint64_t count, char *err, size_t errn)
{
        char why[256];
        struct gguf *part = NULL;
        int rc = open_part(path, &part, why, sizeof(why));
        if (rc) {
                snprintf(err, errn, "part %llu of %llu, %s: %s", (unsigned long long)no + 1,
                         (unsigned long long)count, path, why);
                return rc;
        }
        g->parts[g->n_parts++] = part;
        if (number_or(part, "split.no", 0) == no && number_or(part, "split.count", 1) == count)
                return 0;
        snprintf(err, errn, "%s is not part %llu of %llu, as its name says", path, (unsigned long long)no + 1,
                 (unsigned long long)count);
        return -EINVAL;
}

/* Makes one list of the tensors of all parts. */
static int join_tensors(struct gguf *g, char *err, size_t errn)
{
        struct cursor c = { .err = err, .errn = errn };
        size_t total = g->n_tensors;
        for (size_t i = 0; i < g->n_parts; i++)
                total += g->parts[i]->n_tensors;
        if (total > MAX_TENSORS || number_or(g, "split.tensors.count", total) != total) {
                snprintf(err, errn, "the parts have %zu tensors together, not the number they claim", total);
                return -EINVAL;
        }
        struct gguf_tensor *all = mem_calloc(total ? total : 1, sizeof(*all));
        if (!all)
                fault(&c, -ENOMEM, "out of memory");
        map_release(&g->names, NULL);
        map_init(&g->names);
        for (size_t i = 0, n = 0; i <= g->n_parts && !c.rc; i++) {
                const struct gguf *part = i ? g->parts[i - 1] : g;
                for (size_t j = 0; j < part->n_tensors; j++, n++) {
                        all[n] = part->tensors[j];
                        index_name(&c, &g->names, all[n].name, &all[n], "tensor");
                }
        }
        mem_free(g->tensors);
        g->tensors = all;
        g->n_tensors = all ? total : 0;
        return c.rc;
}

static int open_parts(struct gguf *g, const char *path, uint64_t count, char *err, size_t errn)
{
        char name[4096];
        uint64_t no = number_or(g, "split.no", 0);
        if (count > MAX_PARTS || no >= count) {
                snprintf(err, errn, "split.no and split.count make no sense");
                return -EINVAL;
        }
        if (no) {
                snprintf(err, errn, "this is part %llu of %llu: open the first part",
                         (unsigned long long)no + 1, (unsigned long long)count);
                return -EINVAL;
        }
        g->parts = mem_calloc(count, sizeof(struct gguf *));
        if (!g->parts) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        int rc = 0;
        for (no = 1; !rc && no < count; no++) {
                if (part_path(path, no, count, name, sizeof(name))) {
                        rc = add_part(g, name, no, count, err, errn);
                } else {
                        snprintf(err, errn, "the first of %llu parts must be named ...-%05d-of-%05d.gguf",
                                 (unsigned long long)count, 1, (int)count);
                        rc = -EINVAL;
                }
        }
        return rc ? rc : join_tensors(g, err, errn);
}

int gguf_open(const char *path, struct gguf **ret, char *err, size_t errn)
{
        struct gguf *g;
        int rc = open_part(path, &g, err, errn);
        if (rc)
                return rc;
        uint64_t count = number_or(g, "split.count", 1);
        if (count > 1)
                rc = open_parts(g, path, count, err, errn);
        if (rc)
                gguf_close(g);
        else
                *ret = g;
        return rc;
}

void gguf_close(struct gguf *g)
{
        if (!g)
                return;
        for (size_t i = 0; i < g->n_parts; i++)
                gguf_close(g->parts[i]);
        mem_free(g->parts);
        if (g->mapped)
                munmap((void *)(uintptr_t)g->p, g->n);
        map_release(&g->keys, NULL);
        map_release(&g->names, NULL);
        mem_free(g->values);
        mem_free(g->tensors);
        mem_free(g);
}

/* ---- what others ask ---------------------------------------------------------------------------- */

uint64_t gguf_file_bytes(const struct gguf *g)
{
        uint64_t n = g->n;
        for (size_t i = 0; i < g->n_parts; i++)
                n += g->parts[i]->n;
        return n;
}

size_t gguf_part_count(const struct gguf *g)
{
        return g->n_parts + 1;
}

bool gguf_entry_at(const struct gguf *g, size_t i, struct gguf_entry *ret)
{
        if (i >= g->n_values)
                return false;
        const struct value *v = &g->values[i];
        *ret = (struct gguf_entry){ .key = v->key,
                                    .type = v->type,
                                    .is_array = v->is_array,
                                    .n = v->n,
                                    .data = v->data,
                                    .bytes = v->bytes };
        return true;
}

static const struct value *find(const struct gguf *g, const char *key, bool array, int *ret_rc)
{
        const struct value *v = map_get(&g->keys, str_c(key));
        *ret_rc = !v ? -ENOENT : v->is_array != array ? -EINVAL : 0;
        return *ret_rc ? NULL : v;
}

bool gguf_integer(uint32_t type, const void *p, int64_t *ret)
{
        union {
                uint8_t u8;
                int8_t i8;
                uint16_t u16;
                int16_t i16;
                uint32_t u32;
                int32_t i32;
                uint64_t u64;
                int64_t i64;
        } u = { 0 };
        if (type >= V_TYPES)
                return false;
        memcpy(&u, p, value_size[type]);
        switch (type) {
        case V_U8:
                *ret = u.u8;
                return true;
        case V_I8:
                *ret = u.i8;
                return true;
        case V_U16:
                *ret = u.u16;
                return true;
        case V_I16:
                *ret = u.i16;
                return true;
        case V_U32:
                *ret = u.u32;
                return true;
        case V_I32:
                *ret = u.i32;
                return true;
        case V_U64:
        case V_I64:
                *ret = u.i64;
                return type == V_I64 || u.u64 <= INT64_MAX;
        default:
                return false;
        }
}

/* Item i of an integer value or array, as a signed number. */
static bool as_integer(const struct value *v, uint64_t i, int64_t *ret)
{
        return gguf_integer(v->type, v->data + i * value_size[v->type], ret);
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret)
{
        int rc;
        int64_t i;
        const struct value *v = find(g, key, false, &rc);
        if (!v)
                return rc;
        if (v->type == V_STR || !as_integer(v, 0, &i) || i < 0)
                return -EINVAL;
        *ret = (uint64_t)i;
        return 0;
}

int gguf_get_f64(const struct gguf *g, const char *key, double *ret)
{
        int rc;
        float f;
        const struct value *v = find(g, key, false, &rc);
        if (!v)
                return rc;
        if (v->type == V_F64) {
                memcpy(ret, v->data, sizeof(*ret));
                return 0;
        }
        if (v->type != V_F32)
                return -EINVAL;
        memcpy(&f, v->data, sizeof(f));
        *ret = (double)f;
        return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *ret)
{
        int rc;
        const struct value *v = find(g, key, false, &rc);
        if (!v)
                return rc;
        if (v->type != V_BOOL || *v->data > 1)
                return -EINVAL;
        *ret = *v->data;
        return 0;
}

/* The string whose length stands at *p; moves *p behind it. Lengths were checked when the file was read. */
static struct str next_str(const uint8_t **p)
{
        uint64_t n;
        memcpy(&n, *p, sizeof(n));
        struct str s = { (const char *)*p + sizeof(n), (size_t)n };
        *p += sizeof(n) + n;
        return s;
}

int gguf_get_str(const struct gguf *g, const char *key, struct str *ret)
{
        int rc;
        const struct value *v = find(g, key, false, &rc);
        if (!v)
                return rc;
        if (v->type != V_STR)
                return -EINVAL;
        const uint8_t *p = v->data;
        *ret = next_str(&p);
        return 0;
}

int gguf_get_strs(const struct gguf *g, const char *key, struct str **ret, size_t *ret_n)
{
        int rc;
        const struct value *v = find(g, key, true, &rc);
        if (!v)
                return rc;
        if (v->type != V_STR)
                return -EINVAL;
        struct str *out = mem_calloc(v->n ? v->n : 1, sizeof(*out));
        if (!out)
                return -ENOMEM;
        const uint8_t *p = v->data;
        for (uint64_t i = 0; i < v->n; i++)
                out[i] = next_str(&p);
        *ret = out;
        *ret_n = v->n;
        return 0;
}

int gguf_get_i32s(const struct gguf *g, const char *key, int32_t **ret, size_t *ret_n)
{
        int rc;
        const struct value *v = find(g, key, true, &rc);
        if (!v)
                return rc;
        if (v->type == V_STR)
                return -EINVAL;
        int32_t *out = mem_calloc(v->n ? v->n : 1, sizeof(*out));
        if (!out)
                return -ENOMEM;
        for (uint64_t i = 0; i < v->n; i++) {
                int64_t item;
                if (!as_integer(v, i, &item) || item < INT32_MIN || item > INT32_MAX) {
                        mem_free(out);
                        return -EINVAL;
                }
                out[i] = (int32_t)item;
        }
        *ret = out;
        *ret_n = v->n;
        return 0;
}

int gguf_get_f32s(const struct gguf *g, const char *key, float **ret, size_t *ret_n)
{
        int rc;
        const struct value *v = find(g, key, true, &rc);
        if (!v)
                return rc;
        if (v->type != V_F32)
                return -EINVAL;
        float *out = mem_calloc(v->n ? v->n : 1, sizeof(*out));
        if (!out)
                return -ENOMEM;
        memcpy(out, v->data, v->n * sizeof(*out));
        *ret = out;
        *ret_n = v->n;
        return 0;
}

int gguf_get_bytes(const struct gguf *g, const char *key, struct str *ret)
{
        int rc;
        const struct value *v = find(g, key, true, &rc);
        if (!v)
                return rc;
        if (v->type != V_U8 && v->type != V_I8)
                return -EINVAL;
        *ret = (struct str){ (const char *)v->data, v->n };
        return 0;
}

size_t gguf_tensor_count(const struct gguf *g)
{
        return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
        return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
        return map_get(&g->names, str_c(name));
}
