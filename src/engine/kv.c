#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "engine/kv.h"

size_t kv_block_bytes(int n_layer, int n_head_kv, int head_dim)
{
        return (size_t)n_layer * (size_t)n_head_kv * (size_t)head_dim * KERN_KV_BLOCK * 2 * sizeof(uint16_t);
}

/* ---- the list of unused blocks, oldest first ---------------------------------------------------- */

static void list_remove(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        *(b->older < 0 ? &kv->oldest : &kv->blocks[b->older].newer) = b->newer;
        *(b->newer < 0 ? &kv->newest : &kv->blocks[b->newer].older) = b->older;
        kv->n_unused--;
        kv->n_cached -= b->uid != 0;
}

static void list_add_newest(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        b->older = kv->newest;
        b->newer = -1;
        *(kv->newest < 0 ? &kv->oldest : &kv->blocks[kv->newest].newer) = i;
        kv->newest = i;
        kv->n_unused++;
        kv->n_cached += b->uid != 0;
}

static void list_add_oldest(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        b->newer = kv->oldest;
        b->older = -1;
        *(kv->oldest < 0 ? &kv->newest : &kv->blocks[kv->oldest].older) = i;
        kv->oldest = i;
        kv->n_unused++;
        kv->n_cached += b->uid != 0;
}

/* ---- the index of published content ------------------------------------------------------------- */

static int32_t *bucket(struct kv *kv, uint64_t parent, const int32_t *tokens)
{
        uint64_t h = str_hash((struct str){ (const char *)tokens, KERN_KV_BLOCK * sizeof(*tokens) });
        h = (h ^ parent * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
        return &kv->buckets[(h >> 32) & (kv->n_buckets - 1)];
}

/* Compares the content, not only its hash: a collision can never give a foreign prefix. */
static int32_t lookup(struct kv *kv, uint64_t parent, const int32_t *tokens)
{
        int32_t i = *bucket(kv, parent, tokens);
        while (i >= 0 && (kv->blocks[i].parent != parent ||
                          memcmp(kv->blocks[i].tokens, tokens, sizeof(kv->blocks[i].tokens))))
                i = kv->blocks[i].next_hash;
        return i;
}

static void forget(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        int32_t *at = bucket(kv, b->parent, b->tokens);
        while (*at != i)
                at = &kv->blocks[*at].next_hash;
        *at = b->next_hash;
        b->uid = 0;
}

/* ---- the interface ------------------------------------------------------------------------------ */

int kv_init(struct kv *kv, int n_blocks, int n_layer, int n_head_kv, int head_dim)
{
        *kv = (struct kv){
                .n_blocks = n_blocks, .head_dim = head_dim, .oldest = -1, .newest = -1, .next_uid = 1
        };
        kv->head_values = (size_t)head_dim * KERN_KV_BLOCK * 2;
        kv->block_values = kv->head_values * (size_t)n_head_kv;
        kv->layer_values = kv->block_values * (size_t)n_blocks;
        for (kv->n_buckets = 64; kv->n_buckets < (size_t)n_blocks * 2;)
                kv->n_buckets *= 2;
        /* Zeroed memory of this size comes from the system untouched: it costs nothing until used. */
        kv->mem = mem_calloc((size_t)n_layer * kv->layer_values, sizeof(*kv->mem));
        kv->blocks = mem_calloc((size_t)n_blocks, sizeof(*kv->blocks));
        kv->buckets = mem_alloc(kv->n_buckets * sizeof(*kv->buckets));
        if (!kv->mem || !kv->blocks || !kv->buckets) {
                kv_release(kv);
                return -ENOMEM;
        }
        memset(kv->buckets, 0xff, kv->n_buckets * sizeof(*kv->buckets));
        for (int32_t i = 0; i < n_blocks; i++)
                list_add_newest(kv, i);
        return 0;
}

void kv_release(struct kv *kv)
{
        mem_free(kv->mem);
        mem_free(kv->blocks);
        mem_free(kv->buckets);
        *kv = (struct kv){ 0 };
}

static void ref(struct kv *kv, int32_t i)
{
        if (!kv->blocks[i].refs++)
                list_remove(kv, i);
}

int kv_match(struct kv *kv, const int32_t *tokens, size_t n, int32_t *out, int max)
{
        int found = 0;
        uint64_t parent = 0;
        for (; found < max && n >= KERN_KV_BLOCK; n -= KERN_KV_BLOCK, tokens += KERN_KV_BLOCK, found++) {
                int32_t i = lookup(kv, parent, tokens);
                if (i < 0)
                        break;
                parent = kv->blocks[i].uid;
                if (out) {
                        ref(kv, i);
                        out[found] = i;
                }
        }
        return found;
}

int32_t kv_alloc(struct kv *kv)
{
        int32_t i = kv->oldest;
        if (i < 0)
                return -1;
        ref(kv, i);
        if (kv->blocks[i].uid)
                forget(kv, i);
        return i;
}

int32_t kv_publish(struct kv *kv, int32_t block, uint64_t parent, const int32_t *tokens)
{
        int32_t same = lookup(kv, parent, tokens);
        if (same >= 0) {
                ref(kv, same);
                kv_unref(kv, block);
                return same;
        }
        struct kv_block *b = &kv->blocks[block];
        memcpy(b->tokens, tokens, sizeof(b->tokens));
        b->parent = parent;
        b->uid = kv->next_uid++;
        int32_t *head = bucket(kv, parent, tokens);
        b->next_hash = *head;
        *head = block;
        return block;
}

void kv_unref(struct kv *kv, int32_t block)
{
        if (--kv->blocks[block].refs)
                return;
        if (kv->blocks[block].uid)
                list_add_newest(kv, block);
        else
                list_add_oldest(kv, block);
}
