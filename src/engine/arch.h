/* Model architectures: which metadata and tensors a family has, and how a batch flows through them. Another
 * architecture is one file with a struct arch and a row in arch.c. */
#ifndef CAIRN_ENGINE_ARCH_H
#define CAIRN_ENGINE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct eval;
struct gguf;
struct kern_type;

/* Shape of a model, read from the file. */
struct hparams {
        int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx_train;
        int n_rot; /* values of a head that are rotated */
        float norm_eps;
        double rope_base;
};

enum weight_role {
        W_TOKEN_EMBD,
        W_OUTPUT_NORM,
        W_OUTPUT,
        W_ATTN_NORM,
        W_Q,
        W_K,
        W_V,
        W_ATTN_OUT,
        W_FFN_NORM,
        W_GATE,
        W_UP,
        W_DOWN,
        W_ROLES
};

/* A matrix of `rows` rows of n values, or a vector of n (rows 1). type is NULL when the file has none. */
struct weight {
        const struct kern_type *type;
        const void *data;
        size_t n, rows, row_bytes;
        const void *packed;  /* what products read instead of data (pack.h), or NULL */
        size_t packed_bytes; /* of each matrix in it */
};

struct layer {
        struct weight w[W_ROLES];
};

enum dim { DIM_ONE, DIM_EMBD, DIM_VOCAB, DIM_Q, DIM_KV, DIM_FF };

#define AT_LAYER 1u    /* one per layer; the name has a %d */
#define AT_OPTIONAL 2u /* may be absent */

struct arch_tensor {
        enum weight_role role;
        const char *name;
        enum dim n, rows;
        unsigned flags;
};

struct arch {
        const char *name; /* general.architecture, and the prefix of its metadata keys */
        const struct arch_tensor *tensors;
        size_t n_tensors;
        /* Reads and checks the shape. 0 or -EINVAL with a message. */
        int (*read_hparams)(const struct gguf *g, struct hparams *ret, char *err, size_t errn);
        /* Evaluates e->batch; runs on every thread of the team. */
        void (*eval)(struct eval *e, int tid);
};

extern const struct arch arch_llama;

const struct arch *arch_find(const char *name, size_t n); /* NULL when unknown */
size_t arch_dim(const struct hparams *hp, enum dim d);
/* Finds every tensor of the architecture in the file, checks its shape and type, and refuses tensors that the
 * architecture does not know. global and layers[n_layer] are filled. */
int arch_bind(const struct arch *a, const struct gguf *g, const struct hparams *hp, struct layer *global,
              struct layer *layers, char *err, size_t errn);

/* Metadata helpers for read_hparams: the key is "<arch>.<suffix>". `dflt` < 0 makes it required. */
int arch_int(const struct gguf *g, const char *arch, const char *suffix, int64_t dflt, int64_t max, int *ret,
             char *err, size_t errn);
int arch_float(const struct gguf *g, const char *arch, const char *suffix, double dflt, double *ret,
               char *err, size_t errn);
#endif
