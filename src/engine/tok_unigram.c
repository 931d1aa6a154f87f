/* SentencePiece unigram (Kudo 2018): of all ways to cut a text into tokens the most likely one, found by the
 * Viterbi algorithm over a trie of the tokens. */
#include <errno.h>
#include <float.h>
#include <string.h>
#include "engine/tok_internal.h"

#define UNKNOWN_PENALTY 10.0f /* an unknown character scores this much below the least likely token */

/* --- the trie --------------------------------------------------------------------------------------- */

static size_t edge_slot(const struct tok_trie *trie, uint32_t node, unsigned char byte)
{
        uint64_t key = ((uint64_t)node << 8 | byte) + 1;
        size_t i = tok_mix(key) & trie->mask;
        while (trie->edges[i] && trie->edges[i] != key)
                i = (i + 1) & trie->mask;
        return i;
}

/* Node 0 is the root, so 0 as a target says that there is no edge. */
static uint32_t step(const struct tok_trie *trie, uint32_t node, unsigned char byte)
{
        size_t i = edge_slot(trie, node, byte);
        return trie->edges[i] ? trie->targets[i] : 0;
}

static void trie_add(struct tok_trie *trie, struct str s, int32_t id)
{
        uint32_t node = 0;
        for (size_t k = 0; k < s.n; k++) {
                size_t i = edge_slot(trie, node, (unsigned char)s.p[k]);
                if (!trie->edges[i]) {
                        trie->edges[i] = ((uint64_t)node << 8 | (unsigned char)s.p[k]) + 1;
                        trie->targets[i] = trie->n_nodes++;
                }
                node = trie->targets[i];
        }
        if (trie->ids[node] < 0)
                trie->ids[node] = id;
}

void tok_trie_release(struct tok_trie *trie)
{
        mem_free(trie->edges);
        mem_free(trie->targets);
        mem_free(trie->ids);
}

static bool in_trie(const struct tokenizer *t, size_t i)
{
        return t->types[i] == TOK_NORMAL || t->types[i] == TOK_USER_DEFINED;
}

static int trie_build(struct tokenizer *t)
{
        struct tok_trie *trie = &t->trie;
        size_t bytes = 0;
        for (size_t i = 0; i < t->n_vocab; i++)
                bytes += in_trie(t, i) ? tok_piece_at(t, i).n : 0;
        size_t cap = tok_table_cap(bytes + 1);
        trie->mask = cap - 1;
        trie->edges = mem_calloc(cap, sizeof(*trie->edges));
        trie->targets = mem_calloc(cap, sizeof(*trie->targets));
        trie->ids = mem_alloc((bytes + 1) * sizeof(*trie->ids));
        if (!trie->edges || !trie->targets || !trie->ids)
                return -ENOMEM;
        memset(trie->ids, 0xff, (bytes + 1) * sizeof(*trie->ids)); /* NO_ID everywhere */
        trie->n_nodes = 1;
        for (size_t i = 0; i < t->n_vocab; i++)
                if (in_trie(t, i))
                        trie_add(trie, tok_piece_at(t, i), (int32_t)i);
        return 0;
}

int tok_unigram_load(struct tokenizer *t, const struct tok_spec *spec)
{
        float least = FLT_MAX;
        t->scores = mem_calloc(t->n_vocab, sizeof(*t->scores));
        if (!t->scores)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_vocab; i++) {
                t->scores[i] = spec->scores ? spec->scores[i] : 0.0f;
                if (t->types[i] == TOK_NORMAL && t->scores[i] < least)
                        least = t->scores[i];
        }
        t->unk_score = least - UNKNOWN_PENALTY;
        return trie_build(t);
}

/* --- the best path ---------------------------------------------------------------------------------- */

static void offer(struct best *b, float score, int32_t id, size_t start)
{
        if (b->start == UINT32_MAX || score > b->score)
                *b = (struct best){ score, id, (uint32_t)start };
}

/* Follows every token that begins at `at`, and the character there as an unknown one when it is no token. */
static void extend(struct tok_work *w, struct str text, size_t at)
{
        const struct tokenizer *t = w->t;
        size_t len = tok_char_length((struct str){ text.p + at, text.n - at });
        bool known = false;
        uint32_t node = 0;
        for (size_t end = at; end < text.n;) {
                node = step(&t->trie, node, (unsigned char)text.p[end++]);
                if (!node)
                        break;
                int32_t id = t->trie.ids[node];
                if (id < 0)
                        continue;
                known = known || end - at == len;
                offer(&w->best[end], w->best[at].score + t->scores[id], id, at);
        }
        if (!known)
                offer(&w->best[at + len], w->best[at].score + t->unk_score, NO_ID, at);
}

static int reserve(struct tok_work *w, size_t n)
{
        if (n > w->best_cap) {
                struct best *p = mem_realloc(w->best, n, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                w->best = p;
                w->best_cap = n;
        }
        return 0;
}

/* Turns the links, which lead from the end to the start, around: w->best[i].start becomes the end of the
 * token that begins at i, and its id comes along. */
static void turn_around(struct tok_work *w, size_t n)
{
        struct best here = w->best[n];
        for (size_t end = n; end > 0;) {
                size_t start = here.start;
                struct best before = w->best[start];
                w->best[start] = (struct best){ 0, here.id, (uint32_t)end };
                here = before;
                end = start;
        }
}

int tok_unigram_encode(struct tok_work *w, struct str raw)
{
        int rc = tok_norm_text(w, raw);
        struct str text = buf_str(&w->normal);
        if (rc || !text.n)
                return rc;
        rc = text.n >= UINT32_MAX ? -EINVAL : reserve(w, text.n + 1);
        if (rc)
                return rc;
        w->best[0] = (struct best){ 0, NO_ID, 0 };
        for (size_t i = 1; i <= text.n; i++)
                w->best[i].start = UINT32_MAX;
        for (size_t i = 0; i < text.n; i++)
                if (w->best[i].start != UINT32_MAX)
                        extend(w, text, i);
        turn_around(w, text.n);
        for (size_t at = 0; at < text.n && !rc;) {
                size_t end = w->best[at].start;
                int32_t id = w->best[at].id;
                struct str s = { text.p + at, end - at };
                while (id < 0 && end < text.n && w->best[end].id < 0) /* a run of unknown characters is one */
                        end = w->best[end].start;
                s.n = end - at;
                rc = id >= 0 ? tok_ids_push(w->out, id) : tok_push_unknown(w, s);
                at = end;
        }
        return rc;
}
