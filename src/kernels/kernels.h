/* Numeric kernels: one table of functions per instruction set, chosen once at start.
 *
 * Every result is a function of its own row and token only: how many rows, tokens or threads a call covers
 * never changes a bit of it, because each output is accumulated in one fixed order. The engine's promise that
 * a sequence does not depend on its neighbours in the batch rests on this.
 *
 * All functions are pure: any thread, no allocation, no failure. Buffers need no alignment and are never
 * read or written beyond the sizes given. */
#ifndef CAIRN_KERNELS_KERNELS_H
#define CAIRN_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kern_isa { KERN_REF, KERN_AVX2, KERN_AVX512, KERN_ISAS };

/* Tokens per KV block: keys of a block lie transposed so that one vector holds the same coordinate of all. */
#define KERN_KV_BLOCK 16

/* Activations of several tokens, n values each. `f` always; `q` and `d` only for weight types with act_q8,
 * made by kern.quant_q8. */
struct kern_act {
        const float *f;
        size_t ldf; /* values from one token to the next */
        const uint8_t *q;
        size_t ldq; /* bytes; kern_q8_bytes(n) */
        const float *d;
        size_t ldd; /* values; kern_q8_scales(n) */
        size_t n;
};

/* y[t * ldy + r] = sum over k of w[r][k] * x[t][k] for r < rows, t < nt. Rows of w are row_bytes apart, or
 * panels of them `panel` times that: see kern_pack. */
typedef void kern_gemm_fn(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                          size_t rows, size_t nt);

struct kern_block;

/* A weight type: one row of the table in types.c. */
struct kern_type {
        uint32_t id;                     /* ggml's number in GGUF files */
        const char *name;                /* "Q8_0" */
        uint32_t block;                  /* values per block; row lengths are multiples of it */
        uint32_t bytes;                  /* bytes per block */
        uint32_t align;                  /* alignment of the data that dequant and gemm need */
        bool act_q8;                     /* gemm wants 8-bit activations */
        const struct kern_block *format; /* of quantised types: private to this folder */
        void (*dequant)(const void *src, float *dst, size_t n); /* a row as it lies in the file */
        kern_gemm_fn *gemm[KERN_ISAS];
        uint8_t panel[KERN_ISAS]; /* rows that gemm takes together, packed by kern_pack; 1: rows of the file
                                   */
};

struct kern {
        const char *name;
        enum kern_isa isa;
        /* y[i] = x[i] * w[i] / sqrt(mean(x^2) + eps), n values (Zhang and Sennrich 2019). y may be x. */
        void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);
        /* y[i] = (x[i] - mean) / sqrt(variance + eps) * w[i] + b[i]; b may be NULL (Ba et al. 2016). y may be
         * x. */
        void (*layernorm)(float *y, const float *x, const float *w, const float *b, size_t n, float eps);
        /* y[i] += x[i] */
        void (*add)(float *y, const float *x, size_t n);
        /* g[i] = silu(g[i]) * u[i] (Shazeer 2020) */
        void (*silu_mul)(float *g, const float *u, size_t n);
        /* g[i] = gelu(g[i]) * u[i], gelu by its tanh approximation (Hendrycks and Gimpel 2016) */
        void (*gelu_mul)(float *g, const float *u, size_t n);
        /* With a = min(g[i], limit) and b = u[i] within +-limit: g[i] = a * sigmoid(1.702 a) * (b + 1), the
         * gate of gpt-oss */
        void (*swiglu_clamped)(float *g, const float *u, size_t n, float limit);
        /* x[i] = gelu(x[i]) with the error function, to 2e-7 of x */
        void (*gelu)(float *x, size_t n);
        /* x[i] = cap * tanh(x[i] / cap) */
        void (*softcap)(float *x, size_t n, float cap);
        /* Rotates pairs (x[2i], x[2i+1]) of `heads` vectors of hd values by the angles whose cosines and
         * sines are given, n_rot / 2 of each; what follows n_rot stays (Su et al. 2021). */
        void (*rope)(float *x, size_t heads, size_t hd, const float *cos, const float *sin, size_t n_rot);
        /* The same for pairs (x[i], x[i + n_rot / 2]), the order of GPT-NeoX. */
        void (*rope_neox)(float *x, size_t heads, size_t hd, const float *cos, const float *sin,
                          size_t n_rot);
        /* In place; n > 0. Entries of -inf become 0. */
        void (*softmax)(float *x, size_t n);
        /* Blocks of 32 values to int8 with a scale, in a layout of the variant's own; n a multiple of 32. */
        void (*quant_q8)(const float *x, size_t n, uint8_t *q, float *d);
        /* IEEE half precision, round to nearest even. */
        void (*to_f16)(uint16_t *dst, const float *src, size_t n);
        /* Scores of nq queries against one KV block: s[i * lds + j] = scale * q_i . k_j for all
         * j < KERN_KV_BLOCK. q_i = q + i * ldq; k is [hd][KERN_KV_BLOCK] in f16. */
        void (*attn_qk)(const float *q, size_t ldq, size_t nq, const uint16_t *k, size_t hd, float scale,
                        float *s, size_t lds);
        /* o_i[c] += sum over j < nk of p[i * ldp + j] * v[j * hd + c]; v in f16, o_i = o + i * ldo. */
        void (*attn_pv)(const float *p, size_t ldp, size_t nq, const uint16_t *v, size_t nk, size_t hd,
                        float *o, size_t ldo);
};

/* Sizes of the output of quant_q8 for n values (a multiple of 32). The bytes of neighbouring tokens are not a
 * power of two apart, which would put them all in the same few lines of the cache. */
static inline size_t kern_q8_bytes(size_t n)
{
        return (n + 63) / 64 * 64 + 64;
}
static inline size_t kern_q8_scales(size_t n)
{
        return n / 32 * 4;
}

/* The best variant of this CPU, or the one that the environment's CAIRN_KERN names. NULL, with a message,
 * when that is unknown or not supported here. */
const struct kern *kern_select(char *err, size_t errn);
/* A variant by number, NULL when this CPU cannot run it. KERN_REF always works. */
const struct kern *kern_variant(enum kern_isa isa);

/* Weight types: by ggml's number (NULL when unknown), and all of them in order until NULL. */
const struct kern_type *kern_type_by_id(uint32_t id);
const struct kern_type *kern_type_at(size_t i);
/* Bytes of n values; n is a multiple of the block. */
static inline size_t kern_type_size(const struct kern_type *t, size_t n)
{
        return n / t->block * t->bytes;
}

/* ---- packed matrices ----
 *
 * Where t->panel[isa] is more than 1, that variant's gemm reads matrices whose rows were interleaved in
 * panels of so many, once, at load. A panel has exactly the bytes of its rows, so panel i begins at i * panel
 * * row_bytes, and a part of a matrix that begins at a multiple of `panel` rows is a matrix of its own. The
 * last panel is filled up with zeros. */

/* Bytes of a packed matrix of `rows` rows of n values; the same as in the file when nothing is packed. */
static inline size_t kern_packed_bytes(const struct kern_type *t, enum kern_isa isa, size_t n, size_t rows)
{
        size_t p = t->panel[isa];
        return (rows + p - 1) / p * p * kern_type_size(t, n);
}
/* Packs rows [from, to) of src, which lie kern_type_size(t, n) apart, into their places of dst; from is a
 * multiple of the panel, and so is to unless it is the number of rows. Different ranges may be packed by
 * different threads. dst is aligned to 64 bytes. */
void kern_pack(const struct kern_type *t, enum kern_isa isa, const void *src, size_t n, size_t from,
               size_t to, void *dst);

/* Scalar conversions. */
float kern_f16_to_f32(uint16_t h);
uint16_t kern_f32_to_f16(float f);
#endif
