/* Reads GGUF model files (versions 2 and 3, little endian). The file is mapped and never copied.
 *
 * Everything is checked before anything is believed: counts against the bytes that are there, lengths, types,
 * duplicate names, shapes, overflow, alignment and the place of each tensor's data. What a struct gguf hands
 * out is inside the file. Constant after opening: any thread. */
#ifndef CAIRN_ENGINE_GGUF_H
#define CAIRN_ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct kern_type;
struct gguf;

struct gguf_tensor {
        struct str name;
        const struct kern_type *type;
        int n_dims;
        uint64_t ne[4]; /* ne[0] is the length of a row; unused ones are 1 */
        const void *data;
        uint64_t bytes;
};

/* Opens a file, or all parts of a split one by the first (NAME-00001-of-00003.gguf, as llama.cpp names them).
 * 0; -errno of the system; -EINVAL with a message that says what is wrong with the file; -ENOMEM. */
int gguf_open(const char *path, struct gguf **ret, char *err, size_t errn);
/* The same for n bytes at p, which the caller keeps until gguf_close. p is aligned to 64. */
int gguf_parse(const void *p, size_t n, struct gguf **ret, char *err, size_t errn);
void gguf_close(struct gguf *g); /* accepts NULL */

uint64_t gguf_file_bytes(const struct gguf *g); /* of all parts */
size_t gguf_part_count(const struct gguf *g);

/* A metadata entry as it lies in the (first) file, for tools that show or copy all of them. */
struct gguf_entry {
        struct str key;
        uint32_t type; /* GGUF's number; of an array: of its items */
        bool is_array;
        uint64_t n;       /* items */
        const void *data; /* what follows the type, or the length of an array */
        size_t bytes;
};
bool gguf_entry_at(const struct gguf *g, size_t i, struct gguf_entry *ret); /* false at the end */
/* An item of one of the integer types; false for other types and beyond INT64_MAX. */
bool gguf_integer(uint32_t type, const void *p, int64_t *ret);

/* Metadata: 0, -ENOENT when the key is absent, -EINVAL when its value has another type or range. */
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret); /* any integer type, not negative */
int gguf_get_f64(const struct gguf *g, const char *key, double *ret);   /* either float type */
int gguf_get_bool(const struct gguf *g, const char *key, bool *ret);
int gguf_get_str(const struct gguf *g, const char *key, struct str *ret); /* points into the file */
/* Arrays: *ret is freed by the caller with mem_free(); the strings point into the file. -ENOMEM. */
int gguf_get_strs(const struct gguf *g, const char *key, struct str **ret, size_t *ret_n);
int gguf_get_i32s(const struct gguf *g, const char *key, int32_t **ret, size_t *ret_n);
int gguf_get_f32s(const struct gguf *g, const char *key, float **ret, size_t *ret_n);
/* An array of 8-bit integers, as it lies in the file. */
int gguf_get_bytes(const struct gguf *g, const char *key, struct str *ret);

size_t gguf_tensor_count(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name); /* NULL when absent */
#endif
