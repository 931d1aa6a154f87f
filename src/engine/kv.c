#include "engine/kv.h"

#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "kernels/kv_q8.h"

static struct kv_layout layout(int n_head_kv, int head_dim, enum engine_kv_type type)
{
        struct kv_layout at = { 0 };
        size_t values = (size_t)head_dim * KERN_KV_BLOCK, scales = 0, size = sizeof(uint16_t);
        if (type == ENGINE_KV_Q8_0) {
                scales = kern_kv_groups((size_t)head_dim) * KERN_KV_BLOCK * sizeof(uint16_t);
                size = sizeof(int8_t);
        }
        at.key_scales = values * size;
        at.values = at.key_scales + scales;
        at.value_scales = at.values + values * size;
        at.head = at.value_scales + scales;
        at.block = at.head * (size_t)n_head_kv;
        return at;
}

size_t kv_block_bytes(int n_layer, int n_head_kv, int head_dim, enum engine_kv_type type)
{
        return (size_t)n_layer * layout(n_head_kv, head_dim, type).block;
}

/* ---- the list of unused blocks, oldest first ----------------------------------------------------
 *
 * Whoever references a block references all those before it, and gives them up from the last to the first. So
 * a block always stands before its parent in this list, and the oldest is always a leaf of the tree. */

static void list_remove(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        *(b->older < 0 ? &kv->oldest : &kv->blocks[b->older].newer) = b->newer;
        *(b->newer < 0 ? &kv->newest : &kv->blocks[b->newer].older) = b->older;
        kv->n_unused--;
        kv->n_cached -= b->n != 0;
}

static void list_add_newest(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        b->older = kv->newest;
        b->newer = -1;
        *(kv->newest < 0 ? &kv->oldest : &kv->blocks[kv->newest].newer) = i;
        kv->newest = i;
        kv->n_unused++;
        kv->n_cached += b->n != 0;
}

static void list_add_oldest(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        b->newer = kv->oldest;
        b->older = -1;
        *(kv->oldest < 0 ? &kv->newest : &kv->blocks[kv->oldest].older) = i;
        kv->oldest = i;
        kv->n_unused++;
        kv->n_cached += b->n != 0;
}

/* ---- the tree ----------------------------------------------------------------------------------- */

static const struct kv_children *children_of(const struct kv *kv, int32_t parent)
{
        return parent < 0 ? &kv->roots : &kv->blocks[parent].children;
}

static size_t common(const int32_t *a, size_t na, const int32_t *b, size_t nb)
{
        size_t n = na < nb ? na : nb, i = 0;
        while (i < n && a[i] == b[i])
                i++;
        return i;
}

/* The first child that does not come before tokens[0 .. n); a beginning comes before what it begins. */
static size_t lower_bound(const struct kv *kv, const struct kv_children *c, const int32_t *tokens, size_t n)
{
        size_t low = 0, high = c->n;
        while (low < high) {
                size_t mid = low + (high - low) / 2;
                const struct kv_block *b = &kv->blocks[c->p[mid]];
                size_t same = common(b->tokens, (size_t)b->n, tokens, n);
                bool less = same < (size_t)b->n ? same < n && b->tokens[same] < tokens[same] : same < n;
                if (less)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

/* Takes a block, which has no children, out of the tree. */
static void forget(struct kv *kv, int32_t i)
{
        struct kv_block *b = &kv->blocks[i];
        struct kv_children *c = b->parent < 0 ? &kv->roots : &kv->blocks[b->parent].children;
        size_t at = lower_bound(kv, c, b->tokens, (size_t)b->n);
        memmove(c->p + at, c->p + at + 1, (c->n - at - 1) * sizeof(*c->p));
        c->n--;
        b->n = 0;
}

int kv_match_part(const struct kv *kv, int32_t parent, const int32_t *tokens, size_t n, int32_t *ret)
{
        const struct kv_children *c = children_of(kv, parent);
        size_t at, best = 0;
        n = n < KERN_KV_BLOCK ? n : KERN_KV_BLOCK;
        at = lower_bound(kv, c, tokens, n);
        /* In an ordered list the longest common beginning is with a neighbour. */
        for (size_t i = at ? at - 1 : 0; i <= at && i < c->n; i++) {
                const struct kv_block *b = &kv->blocks[c->p[i]];
                size_t same = common(b->tokens, (size_t)b->n, tokens, n);
                if (same > best) {
                        best = same;
                        *ret = c->p[i];
                }
        }
        return (int)best;
}

int kv_match(struct kv *kv, const int32_t *tokens, size_t n, int32_t *out, int max)
{
        int found = 0;
        int32_t parent = -1, block = -1;
        for (; found < max && n >= KERN_KV_BLOCK; n -= KERN_KV_BLOCK, tokens += KERN_KV_BLOCK) {
                if (kv_match_part(kv, parent, tokens, n, &block) < KERN_KV_BLOCK)
                        break;
                kv_ref(kv, block);
                out[found++] = parent = block;
        }
        return found;
}

size_t kv_probe(const struct kv *kv, const int32_t *tokens, size_t n)
{
        size_t found = 0, same = KERN_KV_BLOCK;
        int32_t block = -1;
        for (; found < n && same == KERN_KV_BLOCK; found += same)
                same = (size_t)kv_match_part(kv, block, tokens + found, n - found, &block);
        return found;
}

/* Makes the memory of an unused leaf the first to be taken. */
static void drop(struct kv *kv, int32_t i)
{
        list_remove(kv, i);
        forget(kv, i);
        list_add_oldest(kv, i);
}

int32_t kv_publish(struct kv *kv, int32_t block, int32_t parent, const int32_t *tokens, int n)
{
        struct kv_block *b = &kv->blocks[block];
        struct kv_children *c = parent < 0 ? &kv->roots : &kv->blocks[parent].children;
        if (b->n == n)
                return block;
        if (b->n)
                forget(kv, block);
        size_t at = lower_bound(kv, c, tokens, (size_t)n);
        if (at < c->n) {
                const struct kv_block *next = &kv->blocks[c->p[at]];
                if (common(next->tokens, (size_t)next->n, tokens, (size_t)n) == (size_t)n) {
                        int32_t same = c->p[at];
                        if (n < KERN_KV_BLOCK)
                                return block;
                        kv_ref(kv, same);
                        kv_unref(kv, block);
                        return same;
                }
        }
        if (at > 0) { /* a shorter part that this one goes on from is of no more use */
                const struct kv_block *last = &kv->blocks[c->p[at - 1]];
                if (!last->refs &&
                    common(last->tokens, (size_t)last->n, tokens, (size_t)n) == (size_t)last->n)
                        drop(kv, c->p[--at]);
        }
        if (vec_reserve(c, c->n + 1))
                return block; /* not shared, but good for its sequence */
        memmove(c->p + at + 1, c->p + at, (c->n - at) * sizeof(*c->p));
        c->p[at] = block;
        c->n++;
        memcpy(b->tokens, tokens, (size_t)n * sizeof(*tokens));
        b->parent = parent;
        b->n = n;
        return block;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

int kv_init(struct kv *kv, int n_blocks, int n_layer, int n_head_kv, int head_dim, enum engine_kv_type type)
{
        *kv = (struct kv){ .at = layout(n_head_kv, head_dim, type),
                           .type = type,
                           .n_layer = n_layer,
                           .n_head_kv = n_head_kv,
                           .head_dim = head_dim,
                           .n_blocks = n_blocks,
                           .oldest = -1,
                           .newest = -1 };
        kv->at.layer = kv->at.block * (size_t)n_blocks;
        /* Zeroed memory of this size comes from the system untouched: it costs nothing until used. */
        kv->mem = mem_calloc((size_t)n_layer, kv->at.layer);
        kv->blocks = mem_calloc((size_t)n_blocks, sizeof(*kv->blocks));
        if (!kv->mem || !kv->blocks) {
                kv->n_blocks = 0;
                kv_release(kv);
                return -ENOMEM;
        }
        for (int32_t i = 0; i < n_blocks; i++)
                list_add_newest(kv, i);
        return 0;
}

void kv_release(struct kv *kv)
{
        for (int i = 0; i < kv->n_blocks; i++)
                vec_release(&kv->blocks[i].children);
        vec_release(&kv->roots);
        mem_free(kv->mem);
        mem_free(kv->blocks);
        *kv = (struct kv){ 0 };
}

void kv_ref(struct kv *kv, int32_t i)
{
        if (!kv->blocks[i].refs++)
                list_remove(kv, i);
}

int32_t kv_alloc(struct kv *kv)
{
        int32_t i = kv->oldest;
        if (i < 0)
                return -1;
        kv_ref(kv, i);
        if (kv->blocks[i].n)
                forget(kv, i);
        return i;
}

void kv_unref(struct kv *kv, int32_t block)
{
        if (--kv->blocks[block].refs)
                return;
        if (kv->blocks[block].n)
                list_add_newest(kv, block);
        else
                list_add_oldest(kv, block);
}

static uint8_t *at_layer(const struct kv *kv, int layer, int32_t block)
{
        return kv->mem + (size_t)layer * kv->at.layer + (size_t)block * kv->at.block;
}

void kv_copy(struct kv *kv, int32_t to, int32_t from)
{
        for (int l = 0; l < kv->n_layer; l++)
                memcpy(at_layer(kv, l, to), at_layer(kv, l, from), kv->at.block);
}

void kv_export(const struct kv *kv, int32_t block, uint8_t *out)
{
        for (int l = 0; l < kv->n_layer; l++, out += kv->at.block)
                memcpy(out, at_layer(kv, l, block), kv->at.block);
}

void kv_import(struct kv *kv, int32_t block, const uint8_t *in)
{
        for (int l = 0; l < kv->n_layer; l++, in += kv->at.block)
                memcpy(at_layer(kv, l, block), in, kv->at.block);
}
