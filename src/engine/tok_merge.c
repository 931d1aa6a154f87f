/* Joining neighbours in order of rank, for both kinds of BPE (Sennrich et al. 2016). A heap of possible joins
 * makes it O(n log n) where looking for the best pair again and again would be quadratic. */
#include <errno.h>
#include "engine/tok_internal.h"

static bool sooner(const struct candidate *a, const struct candidate *b)
{
        return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static int heap_push(struct tok_work *w, struct candidate c)
{
        if (w->heap_n == w->heap_cap) {
                size_t cap = w->heap_cap ? w->heap_cap * 2 : 64;
                struct candidate *p = mem_realloc(w->heap, cap, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                w->heap = p;
                w->heap_cap = cap;
        }
        size_t i = w->heap_n++;
        for (; i > 0 && sooner(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
                w->heap[i] = w->heap[(i - 1) / 2];
        w->heap[i] = c;
        return 0;
}

static struct candidate heap_pop(struct tok_work *w)
{
        struct candidate top = w->heap[0], last = w->heap[--w->heap_n];
        size_t i = 0;
        for (;;) {
                size_t child = 2 * i + 1;
                if (child >= w->heap_n)
                        break;
                if (child + 1 < w->heap_n && sooner(&w->heap[child + 1], &w->heap[child]))
                        child++;
                if (!sooner(&w->heap[child], &last))
                        break;
                w->heap[i] = w->heap[child];
                i = child;
        }
        if (w->heap_n)
                w->heap[i] = last;
        return top;
}

/* Queues the join of the symbol at `left` with its right neighbour, if there is one. */
static int consider(struct tok_work *w, struct str text, int32_t left, tok_pair_fn *pair)
{
        if (left < 0 || w->symbols[left].next < 0)
                return 0;
        const struct symbol *a = &w->symbols[left], *b = &w->symbols[a->next];
        struct candidate c;
        if (!pair(w, text, a, b, &c))
                return 0;
        c.left = left;
        c.n = a->n + b->n;
        return heap_push(w, c);
}

int tok_symbols_reserve(struct tok_work *w, size_t n)
{
        if (n > INT32_MAX)
                return -EINVAL;
        if (n > w->symbol_cap) {
                size_t cap = n < 64 ? 64 : n;
                struct symbol *p = mem_realloc(w->symbols, cap, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                w->symbols = p;
                w->symbol_cap = cap;
        }
        return 0;
}

int tok_merge(struct tok_work *w, struct str text, int32_t n, tok_pair_fn *pair)
{
        int rc = 0;
        w->heap_n = 0;
        for (int32_t i = 0; i + 1 < n && !rc; i++)
                rc = consider(w, text, i, pair);
        while (w->heap_n && !rc) {
                struct candidate c = heap_pop(w);
                struct symbol *s = &w->symbols[c.left];
                if (!s->n || s->next < 0 || s->n + w->symbols[s->next].n != c.n)
                        continue; /* one of the two has been joined to something meanwhile */
                struct symbol *gone = &w->symbols[s->next];
                s->id = c.id;
                s->n = c.n;
                s->next = gone->next;
                gone->n = 0;
                if (s->next >= 0)
                        w->symbols[s->next].prev = c.left;
                rc = consider(w, text, c.left, pair);
                if (!rc)
                        rc = consider(w, text, s->prev, pair);
        }
        return rc;
}
