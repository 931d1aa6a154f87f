#include "engine/mask.h"

#include <errno.h>
#include <math.h>
#include "base/mem.h"

int mask_init(struct mask *m, struct grammar *g, const struct grammar_vocab *vocab, int n_vocab)
{
        *m = (struct mask){ .words = grammar_mask_words(n_vocab), .n_vocab = n_vocab };
        m->bits = mem_alloc(m->words * sizeof(*m->bits));
        if (!m->bits)
                return -ENOMEM;
        return grammar_match_new(g, vocab, &m->match);
}

void mask_release(struct mask *m)
{
        grammar_match_free(m->match);
        mem_free(m->bits);
        *m = (struct mask){ 0 };
}

int mask_prepare(struct mask *m)
{
        if (m->ready)
                return 0;
        int rc = grammar_match_mask(m->match, m->bits);
        m->ready = !rc;
        return rc;
}

static bool allowed(const struct mask *m, int32_t id)
{
        return m->bits[id / 32] >> (id % 32) & 1;
}

bool mask_apply(const struct mask *m, float *logits)
{
        bool any = false;
        for (size_t w = 0; w < m->words; w++) {
                uint32_t bits = m->bits[w];
                int32_t first = (int32_t)w * 32, n = m->n_vocab - first < 32 ? m->n_vocab - first : 32;
                for (int32_t i = 0; i < n; i++) {
                        float *l = &logits[first + i];
                        *l = bits >> i & 1 ? *l : -INFINITY;
                        any |= isfinite(*l);
                }
        }
        for (int32_t i = 0; !any && i < m->n_vocab; i++)
                logits[i] = allowed(m, i) ? 0 : -INFINITY;
        return !any;
}

int mask_accept(struct mask *m, int32_t id)
{
        m->ready = false;
        return grammar_match_token(m->match, id);
}

bool mask_ends(const struct mask *m)
{
        return grammar_match_must_end(m->match);
}

/* The only token that is set, or -1. */
static int32_t only(const uint32_t *bits, size_t words)
{
        int32_t found = -1;
        for (size_t w = 0; w < words; w++) {
                if (!bits[w])
                        continue;
                if (found >= 0 || (bits[w] & (bits[w] - 1)))
                        return -1;
                found = (int32_t)w * 32 + __builtin_ctz(bits[w]);
        }
        return found;
}

int mask_forced(const struct mask *m, const uint8_t *is_end, int32_t *out, int most)
{
        struct grammar_match *ahead = NULL;
        int32_t id = only(m->bits, m->words);
        uint32_t *bits = NULL;
        int n = 0;
        if (id < 0 || is_end[id] || most <= 0)
                return 0;
        out[n++] = id;
        bits = mem_alloc(m->words * sizeof(*bits));
        if (!bits || grammar_match_clone(m->match, &ahead))
                goto out; /* one guess is as good as none: nothing depends on it */
        while (n < most && !grammar_match_token(ahead, id) && !grammar_match_must_end(ahead) &&
               !grammar_match_mask(ahead, bits)) {
                id = only(bits, m->words);
                if (id < 0 || is_end[id])
                        break;
                out[n++] = id;
        }
out:
        grammar_match_free(ahead);
        mem_free(bits);
        return n;
}
