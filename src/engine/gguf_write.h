/* Writes GGUF version 3 files, little endian, one pass: metadata, then the list of tensors, then their
 * data in the same order. Nothing but the current block is held in memory.
 *
 *     gguf_writer_open(path, &w, err, sizeof(err));
 *     gguf_put_str(w, "general.architecture", STR("llama")); ...      all metadata
 *     gguf_add_tensor(w, "token_embd.weight", GGUF_WQ8_0, 2, dims); ... all tensors
 *     gguf_write_floats(w, p, n); ...                                  data, tensor after tensor
 *     gguf_writer_close(w, err, sizeof(err));
 *
 * Errors are sticky: each call after the first failure does nothing and gives the same code, so a caller
 * may check gguf_writer_close() alone. One owner at a time. */
#ifndef CAIRN_ENGINE_GGUF_WRITE_H
#define CAIRN_ENGINE_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

/* Tensor types by ggml's numbers. Any of the table of weight types will do; these are named for training. */
#define GGUF_WF32 0u
#define GGUF_WF16 1u
#define GGUF_WQ8_0 8u /* blocks of 32: an f16 scale and 32 int8 */
#define GGUF_WBF16 30u

#define GGUF_WRITE_ALIGN 32

struct gguf_entry;

struct gguf_writer;

/* Opens PATH.tmp beside path; the file appears under its name only when close succeeds. 0 or negative
 * errno with a message. */
int gguf_writer_open(const char *path, struct gguf_writer **ret, char *err, size_t errn);

/* Metadata. Keys must be unique (-EEXIST); all come before the first tensor (-EINVAL). */
int gguf_put_str(struct gguf_writer *w, const char *key, struct str value);
int gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value);
int gguf_put_u64(struct gguf_writer *w, const char *key, uint64_t value);
int gguf_put_f32(struct gguf_writer *w, const char *key, float value);
int gguf_put_bool(struct gguf_writer *w, const char *key, bool value);
int gguf_put_strs(struct gguf_writer *w, const char *key, const struct str *v, size_t n);
int gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n);
int gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n);

/* An entry of another file, unchanged. */
int gguf_put_entry(struct gguf_writer *w, const struct gguf_entry *e);

/* Declares the next tensor; dims[0] is the row length (fastest), a multiple of the type's block. */
int gguf_add_tensor(struct gguf_writer *w, const char *name, uint32_t type, int n_dims, const uint64_t *dims);
/* Appends n values, whole blocks, to the current tensor, converted to its type (kernels/quantize.h). Padding
 * and the step to the next tensor happen by themselves. */
int gguf_write_floats(struct gguf_writer *w, const float *v, size_t n);
/* Appends bytes already in the tensor's type. */
int gguf_write_raw(struct gguf_writer *w, const void *p, size_t n);
/* Checks that every tensor is complete, syncs, renames into place, frees w. Accepts NULL (-EINVAL). */
int gguf_writer_close(struct gguf_writer *w, char *err, size_t errn);
/* Gives up: removes the temporary file and frees w. Accepts NULL. */
void gguf_writer_abort(struct gguf_writer *w);
#endif
