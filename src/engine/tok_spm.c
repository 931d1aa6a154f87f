/* SentencePiece BPE (Kudo and Richardson 2018), as the "llama" vocabularies have it: characters are joined,
 * the token of the best score first; what no token covers becomes byte tokens. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "engine/tok_internal.h"

/* A score and the token that has it. */
struct scored {
        float score;
        int32_t id;
};

static int by_score(const void *a, const void *b)
{
        const struct scored *x = a, *y = b;
        return x->score < y->score ? 1 : x->score > y->score ? -1 : 0;
}

/* Ranks instead of scores, so that both kinds of BPE merge alike; equal scores have equal ranks. */
int tok_spm_load(struct tokenizer *t, const struct tok_spec *spec)
{
        struct scored *order = mem_calloc(t->n_vocab, sizeof(*order));
        t->ranks = mem_calloc(t->n_vocab, sizeof(*t->ranks));
        if (!order || !t->ranks) {
                mem_free(order);
                return -ENOMEM;
        }
        for (size_t i = 0; i < t->n_vocab; i++)
                order[i] = (struct scored){ spec->scores ? spec->scores[i] : 0.0f, (int32_t)i };
        qsort(order, t->n_vocab, sizeof(*order), by_score);
        for (size_t i = 0; i < t->n_vocab; i++) {
                bool same = i && order[i].score == order[i - 1].score;
                t->ranks[order[i].id] = same ? t->ranks[order[i - 1].id] : (int32_t)i;
        }
        mem_free(order);
        return 0;
}

static bool pair(const struct tok_work *w, struct str text, const struct symbol *left,
                 const struct symbol *right, struct candidate *ret)
{
        size_t n = (size_t)left->n + right->n;
        if (n > w->t->longest)
                return false;
        ret->id = tok_text_get(w->t, (struct str){ text.p + left->start, n });
        if (ret->id < 0)
                return false;
        ret->rank = w->t->ranks[ret->id];
        return true;
}

/* One symbol a character; its own token is looked up at the end, when it is still alone. */
static int load_symbols(struct tok_work *w, struct str text, int32_t *ret_n)
{
        int32_t n = 0;
        int rc = text.n > UINT32_MAX ? -EINVAL : tok_symbols_reserve(w, text.n);
        for (size_t at = 0; at < text.n && !rc; n++) {
                size_t len = tok_char_length((struct str){ text.p + at, text.n - at });
                w->symbols[n] = (struct symbol){ NO_ID, (uint32_t)at, (uint32_t)len, n - 1, n + 1 };
                at += len;
        }
        if (!rc && n)
                w->symbols[n - 1].next = -1;
        *ret_n = n;
        return rc;
}

int tok_spm_encode(struct tok_work *w, struct str raw)
{
        int32_t n;
        int rc = tok_norm_text(w, raw);
        struct str text = buf_str(&w->normal);
        if (rc || !text.n)
                return rc;
        rc = load_symbols(w, text, &n);
        if (!rc)
                rc = tok_merge(w, text, n, pair);
        for (int32_t i = 0; i >= 0 && !rc; i = w->symbols[i].next) {
                struct str s = { text.p + w->symbols[i].start, w->symbols[i].n };
                int32_t id = w->symbols[i].id >= 0 ? w->symbols[i].id : tok_text_get(w->t, s);
                rc = id >= 0 ? tok_ids_push(w->out, id) : tok_push_unknown(w, s);
        }
        return rc;
}
