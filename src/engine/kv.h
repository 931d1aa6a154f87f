/* Memory for keys and values: fixed blocks of KERN_KV_BLOCK tokens, shared by reference count, and a radix
 * tree over the tokens that they hold.
 *
 * Each published block is a node of the tree, below the block of the tokens before it. A later sequence with
 * the same beginning takes whole blocks as they are, and copies the beginning of the one in which it departs:
 * what is shared is counted in tokens, not in blocks. Blocks that nobody uses stay until the memory is
 * wanted, least recently used leaves first. The engine thread owns all of it. */
#ifndef CAIRN_ENGINE_KV_H
#define CAIRN_ENGINE_KV_H

#include <stddef.h>
#include <stdint.h>
#include "base/vec.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

struct kv_children VEC(int32_t); /* blocks in the order of their tokens */

struct kv_block {
        int32_t refs;
        int32_t older, newer; /* list of unused blocks, -1 at the ends; only while refs is 0 */
        int32_t parent;       /* block of the tokens before, -1 for the first of a prompt */
        int32_t n;            /* published tokens; 0: the block is not in the tree */
        struct kv_children children;
        int32_t tokens[KERN_KV_BLOCK];
};

/* Where the parts of one head lie in its share of a block, in bytes. */
struct kv_layout {
        size_t keys, key_scales, values, value_scales;
        size_t head, block, layer; /* sizes: of a head, of all heads of a block, of all blocks of a layer */
};

struct kv {
        uint8_t *mem;
        struct kv_layout at;
        enum engine_kv_type type;
        int n_layer, n_head_kv, head_dim;
        int n_blocks, n_unused, n_cached; /* n_cached: unused and published */
        struct kv_block *blocks;
        struct kv_children roots;
        int32_t oldest, newest;
};

/* Bytes of one block over all layers. */
size_t kv_block_bytes(int n_layer, int n_head_kv, int head_dim, enum engine_kv_type type);
int kv_init(struct kv *kv, int n_blocks, int n_layer, int n_head_kv, int head_dim,
            enum engine_kv_type type); /* 0 or -ENOMEM */
void kv_release(struct kv *kv);

/* ---- the tree ----------------------------------------------------------------------------------- */

/* Takes a reference on each whole block that the beginning of tokens[0 .. n) is found in, and writes them to
 * out. Returns how many; at most `max`. */
int kv_match(struct kv *kv, const int32_t *tokens, size_t n, int32_t *out, int max);
/* The block below `parent` (-1: at the root) that shares the longest beginning with tokens[0 .. n): its
 * length, and the block in *ret when it is not 0. Takes no reference. */
int kv_match_part(const struct kv *kv, int32_t parent, const int32_t *tokens, size_t n, int32_t *ret);
/* How many of tokens[0 .. n) are in the tree. */
size_t kv_probe(const struct kv *kv, const int32_t *tokens, size_t n);
/* The block now holds tokens[0 .. n), n <= KERN_KV_BLOCK, after those of `parent`; it may have been published
 * with fewer of them before. When another block holds all KERN_KV_BLOCK of them already, the reference moves
 * to that one and the given block is freed; a part that another block begins with is not published again.
 * Returns the block to use from now on; its n is 0 when it is not published (then nothing can be below it).
 */
int32_t kv_publish(struct kv *kv, int32_t block, int32_t parent, const int32_t *tokens, int n);

/* ---- blocks ------------------------------------------------------------------------------------- */

/* A block of its own, -1 when all are in use. May throw out the oldest unused content. */
int32_t kv_alloc(struct kv *kv);
void kv_ref(struct kv *kv, int32_t block);
void kv_unref(struct kv *kv, int32_t block);
/* Copies what a block holds, in all layers. */
void kv_copy(struct kv *kv, int32_t to, int32_t from);
/* Writes a block of all layers to, or reads it from, kv_block_bytes() bytes. Any thread while the block is
 * referenced and, for reading, not published. */
void kv_export(const struct kv *kv, int32_t block, uint8_t *out);
void kv_import(struct kv *kv, int32_t block, const uint8_t *in);

/* ---- keys and values (threads of the team) ------------------------------------------------------ */

/* Bytes of scratch memory that kv_store needs. */
size_t kv_scratch_bytes(const struct kv *kv);
/* Stores the keys and values of one token, [n_head_kv][head_dim] each, as the block's token number `at`. */
void kv_store(const struct kv *kv, const struct kern *k, int layer, int32_t block, size_t at,
              const float *keys, const float *values, void *scratch);
/* s[i * lds + j] = scale * q_i . key j of the block's head, for nq queries q_i = q + i * ldq and all j. */
void kv_scores(const struct kv *kv, const struct kern *k, int layer, int32_t block, int head, const float *q,
               size_t ldq, size_t nq, float scale, float *s, size_t lds);
/* o_i += sum over the first nk tokens j of p[i * ldp + j] * value j. */
void kv_mix(const struct kv *kv, const struct kern *k, int layer, int32_t block, int head, const float *p,
            size_t ldp, size_t nq, size_t nk, float *o, size_t ldo);
#endif
