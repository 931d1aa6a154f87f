#include "grammar/match.h"

#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/mask.h"
#include "grammar/space.h"

struct grammar *grammar_ref(struct grammar *g)
{
        atomic_fetch_add(&g->refs, 1);
        return g;
}

void grammar_unref(struct grammar *g)
{
        if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
                return;
        space_free_all(g);
        pthread_mutex_destroy(&g->lock);
        mem_free(g->edges);
        mem_free(g->calls);
        mem_free(g->tokens);
        mem_free(g->states);
        mem_free(g->rules);
        mem_free(g);
}

/* Enters a matcher whose place is known into its space's list. The space is locked. */
static void link_match(struct grammar_match *m)
{
        m->prev = NULL;
        m->next = m->sp->matches;
        if (m->next)
                m->next->prev = m;
        m->sp->matches = m;
}

int grammar_match_new(struct grammar *g, const struct grammar_vocab *v, struct grammar_match **ret)
{
        struct space *sp;
        struct grammar_match *m = mem_calloc(1, sizeof(*m));
        int r = m ? space_get(g, v, &sp) : -ENOMEM;
        if (r) {
                mem_free(m);
                return r;
        }
        m->sp = sp;
        pthread_mutex_lock(&sp->lock);
        r = space_start(sp, &m->set);
        if (!r)
                link_match(m);
        pthread_mutex_unlock(&sp->lock);
        if (r) {
                mem_free(m);
                return r;
        }
        m->g = grammar_ref(g);
        *ret = m;
        return 0;
}

int grammar_match_clone(const struct grammar_match *m, struct grammar_match **ret)
{
        struct grammar_match *copy = mem_alloc(sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        *copy = *m;
        grammar_ref(m->g);
        pthread_mutex_lock(&m->sp->lock);
        link_match(copy);
        pthread_mutex_unlock(&m->sp->lock);
        *ret = copy;
        return 0;
}

void grammar_match_free(struct grammar_match *m)
{
        if (!m)
                return;
        pthread_mutex_lock(&m->sp->lock);
        if (m->prev)
                m->prev->next = m->next;
        else
                m->sp->matches = m->next;
        if (m->next)
                m->next->prev = m->prev;
        pthread_mutex_unlock(&m->sp->lock);
        grammar_unref(m->g);
        mem_free(m);
}

static bool any_bit(const uint32_t *bits, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (bits[i])
                        return true;
        return false;
}

int grammar_match_mask(struct grammar_match *m, uint32_t *bits)
{
        const struct grammar_vocab *v = m->sp->v;
        size_t words = grammar_mask_words(v->n);
        int r = 0;
        if (m->ended) {
                memset(bits, 0, words * sizeof(*bits));
                for (int32_t i = 0; i < v->n_ends; i++)
                        bits[v->ends[i] / 32] |= (uint32_t)1 << (v->ends[i] % 32);
        } else {
                pthread_mutex_lock(&m->sp->lock);
                space_tidy(m->sp);
                r = mask_of_set(m->sp, m->set, bits);
                pthread_mutex_unlock(&m->sp->lock);
        }
        return r ? r : any_bit(bits, words) ? 0 : -ENOTSUP;
}

/* Where the bytes of a token lead; SET_DEAD for a control token. */
static int step_text(struct space *sp, uint32_t set, struct str piece, uint32_t *ret)
{
        int r = 0;
        *ret = piece.n ? set : SET_DEAD;
        for (size_t i = 0; !r && i < piece.n && *ret != SET_DEAD; i++)
                r = space_step(sp, *ret, (uint8_t)piece.p[i], ret);
        return r;
}

int grammar_match_token(struct grammar_match *m, int32_t id)
{
        struct space *sp = m->sp;
        uint32_t text, control, to = SET_DEAD;
        if (id < 0 || id >= sp->v->n)
                return -EINVAL;
        if (m->ended)
                return sp->v->is_end[id] ? 0 : -EINVAL;
        pthread_mutex_lock(&sp->lock);
        space_tidy(sp);
        int r = step_text(sp, m->set, vocab_piece(sp->v, id), &text);
        if (!r)
                r = space_token(sp, m->set, id, &control);
        if (!r && text != SET_DEAD && control != SET_DEAD)
                r = space_union(sp, text, control, &to);
        else if (!r)
                to = text != SET_DEAD ? text : control;
        if (!r && to != SET_DEAD)
                m->set = to;
        else if (!r && sp->v->is_end[id] && sp->sets.p[m->set]->may_end)
                m->ended = true;
        else if (!r)
                r = -EINVAL;
        pthread_mutex_unlock(&sp->lock);
        return r;
}

bool grammar_match_may_end(const struct grammar_match *m)
{
        pthread_mutex_lock(&m->sp->lock);
        bool may = m->ended || m->sp->sets.p[m->set]->may_end;
        pthread_mutex_unlock(&m->sp->lock);
        return may;
}

bool grammar_match_must_end(const struct grammar_match *m)
{
        pthread_mutex_lock(&m->sp->lock);
        bool must = m->ended || !m->sp->sets.p[m->set]->n_core;
        pthread_mutex_unlock(&m->sp->lock);
        return must;
}
