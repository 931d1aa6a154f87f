#include "grammar/vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/vec.h"
#include "grammar/cache.h"

/* Deeper tokens than this are left out of the trie: no model has them, and the walks keep a set a level. */
#define MAX_PIECE 4096

struct sorted {
        const char *p;
        uint32_t n;
        int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
        const struct sorted *x = a, *y = b;
        int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
        if (order)
                return order;
        if (x->n != y->n)
                return x->n < y->n ? -1 : 1;
        return x->id < y->id ? -1 : x->id > y->id;
}

static int copy_pieces(struct grammar_vocab *v, struct str (*piece)(void *ctx, int32_t id), void *ctx,
                       const uint8_t *is_end)
{
        size_t total = 0;
        v->first = mem_calloc((size_t)v->n + 1, sizeof(*v->first));
        v->is_end = mem_calloc((size_t)v->n + 1, 1);
        v->ends = mem_calloc((size_t)v->n + 1, sizeof(*v->ends));
        if (!v->first || !v->is_end || !v->ends)
                return -ENOMEM;
        for (int32_t id = 0; id < v->n; id++) {
                v->first[id] = (uint32_t)total;
                v->is_end[id] = is_end && is_end[id];
                if (v->is_end[id])
                        v->ends[v->n_ends++] = id;
                total += piece(ctx, id).n;
                if (total > UINT32_MAX)
                        return -ENOMEM;
        }
        v->first[v->n] = (uint32_t)total;
        v->bytes = mem_alloc(total);
        if (!v->bytes)
                return -ENOMEM;
        for (int32_t id = 0; id < v->n; id++) {
                struct str s = piece(ctx, id);
                if (s.n)
                        memcpy(v->bytes + v->first[id], s.p, s.n);
        }
        return 0;
}

static size_t common(const struct sorted *a, const struct sorted *b)
{
        size_t n = 0;
        while (n < a->n && n < b->n && a->p[n] == b->p[n])
                n++;
        return n;
}

/* One pass over the sorted tokens: what a token shares with the last is there already. */
static int make_trie(struct grammar_vocab *v, const struct sorted *s, uint32_t n)
{
        struct VEC(struct trie_node) nodes = { 0 };
        uint32_t *path = mem_calloc((size_t)v->max_len + 1, sizeof(*path)); /* the node at each depth */
        size_t depth = 0;
        int r = path && !vec_push(&nodes, ((struct trie_node){ 0 })) ? 0 : -ENOMEM;
        for (uint32_t i = 0; !r && i < n; i++) {
                size_t shared = i ? common(&s[i - 1], &s[i]) : 0;
                for (; depth > shared; depth--)
                        nodes.p[path[depth]].end = (uint32_t)nodes.n;
                for (; !r && depth < s[i].n; depth++) {
                        path[depth + 1] = (uint32_t)nodes.n;
                        struct trie_node node = { 0, i, (uint16_t)(depth + 1), (uint8_t)s[i].p[depth] };
                        if (vec_push(&nodes, node))
                                r = -ENOMEM;
                }
                v->ids[i] = s[i].id;
        }
        for (; !r && depth > 0; depth--)
                nodes.p[path[depth]].end = (uint32_t)nodes.n;
        v->n_nodes = (uint32_t)nodes.n;
        if (!r) {
                nodes.p[0].end = v->n_nodes;
                r = vec_push(&nodes, ((struct trie_node){ .token = n })) ? -ENOMEM : 0;
        }
        v->nodes = nodes.p;
        mem_free(path);
        return r;
}

int grammar_vocab_new(int32_t n_vocab, struct str (*piece)(void *ctx, int32_t id), void *ctx,
                      const uint8_t *is_end, struct grammar_vocab **ret)
{
        struct grammar_vocab *v = mem_calloc(1, sizeof(*v));
        struct sorted *sorted = mem_calloc((size_t)n_vocab + 1, sizeof(*sorted));
        uint32_t n = 0;
        int r = v && sorted ? 0 : -ENOMEM;
        if (!r) {
                v->n = n_vocab;
                atomic_init(&v->refs, 1);
                v->ids = mem_calloc((size_t)n_vocab + 1, sizeof(*v->ids));
                r = v->ids ? copy_pieces(v, piece, ctx, is_end) : -ENOMEM;
        }
        for (int32_t id = 0; !r && id < n_vocab; id++) {
                struct str s = vocab_piece(v, id);
                if (!s.n || s.n > MAX_PIECE)
                        continue;
                sorted[n++] = (struct sorted){ s.p, (uint32_t)s.n, id };
                v->max_len = s.n > v->max_len ? (uint32_t)s.n : v->max_len;
        }
        if (!r) {
                qsort(sorted, n, sizeof(*sorted), by_bytes);
                r = make_trie(v, sorted, n);
        }
        mem_free(sorted);
        if (r)
                vocab_unref(v);
        else
                *ret = v;
        return r;
}

/* The count is the only thing of a vocabulary that ever changes. */
struct grammar_vocab *vocab_ref(const struct grammar_vocab *v)
{
        struct grammar_vocab *mine = (struct grammar_vocab *)(uintptr_t)v;
        atomic_fetch_add(&mine->refs, 1);
        return mine;
}

void vocab_unref(struct grammar_vocab *v)
{
        if (!v || atomic_fetch_sub(&v->refs, 1) > 1)
                return;
        mem_free(v->bytes);
        mem_free(v->first);
        mem_free(v->is_end);
        mem_free(v->ends);
        mem_free(v->nodes);
        mem_free(v->ids);
        mem_free(v);
}

void grammar_vocab_free(struct grammar_vocab *v)
{
        if (v)
                grammar_cache_forget(v);
        vocab_unref(v);
}
