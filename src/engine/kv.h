/* Memory for keys and values: fixed blocks of KERN_KV_BLOCK tokens, shared by reference count.
 *
 * A full block whose content is known (all its tokens and those before it) can be published; a later sequence
 * with the same beginning takes it instead of computing it. Blocks that nobody uses keep their content until
 * the memory is wanted, least recently used first. The engine thread owns all of it. */
#ifndef CAIRN_ENGINE_KV_H
#define CAIRN_ENGINE_KV_H

#include <stddef.h>
#include <stdint.h>
#include "kernels/kernels.h"

struct kv_block {
        int32_t refs;
        int32_t next_hash;    /* chain of the bucket, -1 at the end */
        int32_t older, newer; /* list of unused blocks, -1 at the ends; only while refs is 0 */
        uint64_t uid;         /* names this content; 0: not published */
        uint64_t parent;      /* uid of the block before, 0 for the first of a prompt */
        int32_t tokens[KERN_KV_BLOCK];
};

struct kv {
        uint16_t *mem;
        size_t head_values;  /* f16 values of one head in one block: keys, then values */
        size_t block_values; /* of all heads of one layer */
        size_t layer_values; /* of all blocks */
        int head_dim;
        int n_blocks, n_unused, n_cached; /* n_cached: unused and published */
        struct kv_block *blocks;
        int32_t *buckets;
        size_t n_buckets; /* a power of two */
        int32_t oldest, newest;
        uint64_t next_uid;
};

/* Bytes of one block over all layers. */
size_t kv_block_bytes(int n_layer, int n_head_kv, int head_dim);
int kv_init(struct kv *kv, int n_blocks, int n_layer, int n_head_kv, int head_dim); /* 0 or -ENOMEM */
void kv_release(struct kv *kv);

/* Finds published blocks for the beginning of tokens[0 .. n), whole blocks only, and takes a reference on
 * each. Their number is returned; at most `max` go to out. With out NULL only counts. */
int kv_match(struct kv *kv, const int32_t *tokens, size_t n, int32_t *out, int max);
/* A block of its own, -1 when all are in use. May throw out the oldest unused content. */
int32_t kv_alloc(struct kv *kv);
/* The block now holds `tokens` after the content `parent` (uid of the block before; 0: none). When that
 * content is already published, the reference moves to that block and the given one is freed. Returns the
 * block to use from now on; its uid is kv->blocks[].uid. */
int32_t kv_publish(struct kv *kv, int32_t block, uint64_t parent, const int32_t *tokens);
void kv_unref(struct kv *kv, int32_t block);

/* Keys [head_dim][KERN_KV_BLOCK] and values [KERN_KV_BLOCK][head_dim] of one head. */
static inline uint16_t *kv_keys(const struct kv *kv, int layer, int32_t block, int head)
{
        return kv->mem + (size_t)layer * kv->layer_values + (size_t)block * kv->block_values +
               (size_t)head * kv->head_values;
}
static inline uint16_t *kv_values(const struct kv *kv, int layer, int32_t block, int head)
{
        return kv_keys(kv, layer, block, head) + (size_t)kv->head_dim * KERN_KV_BLOCK;
}
#endif
