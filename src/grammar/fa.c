#include "grammar/fa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* ---- building ----------------------------------------------------------------------------------- */

void nfa_init(struct nfa *n, struct gr_work *work)
{
        *n = (struct nfa){ .work = work };
}

void nfa_release(struct nfa *n)
{
        if (n->work)
                n->work->bytes += (int64_t)(n->edges.n * sizeof(struct nfa_edge) +
                                            n->moves.n * sizeof(struct nfa_move));
        vec_release(&n->edges);
        vec_release(&n->moves);
}

static bool nfa_take(struct nfa *n, size_t bytes)
{
        if (!n->err)
                n->err = gr_step(n->work, 1);
        if (!n->err)
                n->err = gr_memory(n->work, (int64_t)bytes);
        return !n->err;
}

uint32_t nfa_state(struct nfa *n)
{
        return n->n_states++;
}

void nfa_edge(struct nfa *n, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
        if (!nfa_take(n, sizeof(struct nfa_edge)))
                return;
        if (vec_push(&n->edges, ((struct nfa_edge){ from, lo, hi, to })))
                n->err = -ENOMEM;
}

void nfa_move(struct nfa *n, uint32_t from, uint32_t to)
{
        if (from == to || !nfa_take(n, sizeof(struct nfa_move)))
                return;
        if (vec_push(&n->moves, ((struct nfa_move){ from, to })))
                n->err = -ENOMEM;
}

void nfa_add_fa(struct nfa *n, const struct fa *a, uint32_t from, uint32_t to)
{
        uint32_t base = n->n_states;
        n->n_states += a->n_states;
        if (a->n_states)
                nfa_move(n, from, base);
        for (uint32_t s = 0; s < a->n_states && !n->err; s++) {
                for (uint32_t e = a->first[s]; e < a->first[s + 1]; e++)
                        nfa_edge(n, base + s, a->edges[e].lo, a->edges[e].hi, base + a->edges[e].to);
                if (a->accept[s])
                        nfa_move(n, base + s, to);
        }
}

/* An nfa with its edges and moves sorted by state, for reading. */
struct index {
        struct nfa_edge *edges;
        uint32_t *edge_first, *moves, *move_first;
};

static void index_release(struct index *x)
{
        mem_free(x->edges);
        mem_free(x->edge_first);
        mem_free(x->moves);
        mem_free(x->move_first);
        *x = (struct index){ 0 };
}

static int index_init(struct index *x, const struct nfa *n)
{
        *x = (struct index){
                .edges = mem_calloc(n->edges.n + 1, sizeof(*x->edges)),
                .edge_first = mem_calloc((size_t)n->n_states + 2, sizeof(uint32_t)),
                .moves = mem_calloc(n->moves.n + 1, sizeof(uint32_t)),
                .move_first = mem_calloc((size_t)n->n_states + 2, sizeof(uint32_t)),
        };
        if (!x->edges || !x->edge_first || !x->moves || !x->move_first) {
                index_release(x);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n->edges.n; i++)
                x->edge_first[n->edges.p[i].from + 2]++;
        for (size_t i = 0; i < n->moves.n; i++)
                x->move_first[n->moves.p[i].from + 2]++;
        for (uint32_t s = 0; s < n->n_states; s++) {
                x->edge_first[s + 2] += x->edge_first[s + 1];
                x->move_first[s + 2] += x->move_first[s + 1];
        }
        for (size_t i = 0; i < n->edges.n; i++)
                x->edges[x->edge_first[n->edges.p[i].from + 1]++] = n->edges.p[i];
        for (size_t i = 0; i < n->moves.n; i++)
                x->moves[x->move_first[n->moves.p[i].from + 1]++] = n->moves.p[i].to;
        return 0;
}

/* ---- an automaton under construction -------------------------------------------------------------- */

/* States are finished in order; edges of the state in work are at the end. */
struct made {
        struct VEC(struct fa_edge) edges;
        struct VEC(uint32_t) first;
        struct VEC(uint8_t) accept;
};

static void made_release(struct made *m)
{
        vec_release(&m->edges);
        vec_release(&m->first);
        vec_release(&m->accept);
}

/* Edges come in order of symbols; one that continues the last is joined to it. */
static int made_edge(struct made *m, uint32_t lo, uint32_t hi, uint32_t to)
{
        size_t begin = m->first.p[m->first.n - 1];
        if (m->edges.n > begin) {
                struct fa_edge *last = &m->edges.p[m->edges.n - 1];
                if (last->to == to && last->hi + 1 == lo) {
                        last->hi = hi;
                        return 0;
                }
        }
        return vec_push(&m->edges, ((struct fa_edge){ lo, hi, to })) ? -ENOMEM : 0;
}

static int made_begin(struct made *m, bool accept)
{
        return vec_push(&m->first, (uint32_t)m->edges.n) || vec_push(&m->accept, accept) ? -ENOMEM : 0;
}

void fa_release(struct fa *a)
{
        mem_free(a->edges);
        mem_free(a->first);
        mem_free(a->accept);
        *a = (struct fa){ 0 };
}

/* Which states lead to acceptance: a search from the accepting ones over reversed edges. */
static int mark_live(const struct made *m, uint8_t *live)
{
        uint32_t n = (uint32_t)m->accept.n, top = 0;
        uint32_t *first = mem_calloc((size_t)n + 2, sizeof(*first));
        uint32_t *from = mem_calloc(m->edges.n + 1, sizeof(*from));
        uint32_t *stack = mem_calloc((size_t)n + 1, sizeof(*stack));
        int r = first && from && stack ? 0 : -ENOMEM;
        for (size_t e = 0; !r && e < m->edges.n; e++)
                first[m->edges.p[e].to + 2]++;
        for (uint32_t s = 0; !r && s < n; s++)
                first[s + 2] += first[s + 1];
        for (uint32_t s = 0; !r && s < n; s++) {
                uint32_t end = s + 1 < n ? m->first.p[s + 1] : (uint32_t)m->edges.n;
                for (uint32_t e = m->first.p[s]; e < end; e++)
                        from[first[m->edges.p[e].to + 1]++] = s;
                if (m->accept.p[s]) {
                        live[s] = 1;
                        stack[top++] = s;
                }
        }
        while (!r && top) {
                uint32_t s = stack[--top];
                for (uint32_t e = first[s]; e < first[s + 1]; e++)
                        if (!live[from[e]]) {
                                live[from[e]] = 1;
                                stack[top++] = from[e];
                        }
        }
        mem_free(first);
        mem_free(from);
        mem_free(stack);
        return r;
}

/* Freezes m with its states renumbered by `number` (NONE: left out), n of them. */
static int freeze(const struct made *m, const uint32_t *number, uint32_t n, struct fa *ret)
{
        struct fa a = {
                .edges = mem_calloc(m->edges.n + 1, sizeof(*a.edges)),
                .first = mem_calloc((size_t)n + 1, sizeof(*a.first)),
                .accept = mem_calloc((size_t)n + 1, 1),
                .n_states = n,
        };
        if (!a.edges || !a.first || !a.accept) {
                fa_release(&a);
                return -ENOMEM;
        }
        uint32_t next = 0, out = 0;
        for (uint32_t s = 0; s < m->accept.n; s++) {
                if (number[s] != next)
                        continue; /* left out, or an equal of an earlier one */
                uint32_t end = s + 1 < m->accept.n ? m->first.p[s + 1] : (uint32_t)m->edges.n;
                a.first[next] = out;
                a.accept[next++] = m->accept.p[s];
                for (uint32_t e = m->first.p[s]; e < end; e++) {
                        struct fa_edge edge = m->edges.p[e];
                        if (number[edge.to] == NONE)
                                continue;
                        edge.to = number[edge.to];
                        struct fa_edge *last = out > a.first[next - 1] ? &a.edges[out - 1] : NULL;
                        if (last && last->to == edge.to && last->hi + 1 == edge.lo)
                                last->hi = edge.hi;
                        else
                                a.edges[out++] = edge;
                }
        }
        a.first[n] = out;
        *ret = a;
        return 0;
}

/* ---- minimisation ------------------------------------------------------------------------------- */

struct partition {
        uint32_t *class, *next; /* of each state; NONE: dead */
        uint32_t *table;        /* hash table of class representatives */
        size_t mask;
};

static uint64_t mix(uint64_t h, uint64_t v)
{
        h = (h ^ v) * 0x9e3779b97f4a7c15u;
        return h ^ (h >> 29);
}

static uint32_t made_end(const struct made *m, uint32_t s)
{
        return s + 1 < m->accept.n ? m->first.p[s + 1] : (uint32_t)m->edges.n;
}

static uint64_t signature(const struct made *m, const uint32_t *class, uint32_t s)
{
        uint64_t h = mix(class[s], m -> accept.p[s]);
        for (uint32_t e = m->first.p[s]; e < made_end(m, s); e++) {
                uint32_t c = class[m->edges.p[e].to];
                if (c != NONE)
                        h = mix(mix(mix(h, m->edges.p[e].lo), m->edges.p[e].hi), c);
        }
        return h;
}

static uint32_t skip_dead(const struct made *m, const uint32_t *class, uint32_t e, uint32_t end)
{
        while (e < end && class[m->edges.p[e].to] == NONE)
                e++;
        return e;
}

static bool same_signature(const struct made *m, const uint32_t *class, uint32_t a, uint32_t b)
{
        if (class[a] != class[b] || m->accept.p[a] != m->accept.p[b])
                return false;
        uint32_t x = m->first.p[a], xe = made_end(m, a), y = m->first.p[b], ye = made_end(m, b);
        for (;;) {
                x = skip_dead(m, class, x, xe);
                y = skip_dead(m, class, y, ye);
                if (x == xe || y == ye)
                        return x == xe && y == ye;
                const struct fa_edge *p = &m->edges.p[x++], *q = &m->edges.p[y++];
                if (p->lo != q->lo || p->hi != q->hi || class[p->to] != class[q->to])
                        return false;
        }
}

/* One round of refinement: states stay together when their edges lead to the same classes. The number of
 * classes after it. */
static uint32_t refine(const struct made *m, struct partition *p)
{
        uint32_t classes = 0, n = (uint32_t)m->accept.n;
        memset(p->table, 0xff, (p->mask + 1) * sizeof(*p->table));
        for (uint32_t s = 0; s < n; s++) {
                p->next[s] = NONE;
                if (p->class[s] == NONE)
                        continue;
                size_t at = signature(m, p->class, s) & p->mask;
                while (p->table[at] != NONE && !same_signature(m, p->class, p->table[at], s))
                        at = (at + 1) & p->mask;
                if (p->table[at] == NONE) {
                        p->table[at] = s;
                        p->next[s] = classes++;
                } else {
                        p->next[s] = p->next[p->table[at]];
                }
        }
        uint32_t *old = p->class;
        p->class = p->next;
        p->next = old;
        return classes;
}

/* Moore's algorithm (1956). Long chains take as many rounds as they have states, so the rounds are limited:
 * what is left undone costs states, never exactness. */
static int minimise(const struct made *m, uint8_t *live, struct gr_work *work, struct fa *ret)
{
        uint32_t n = (uint32_t)m->accept.n, classes = 0;
        struct partition p = { .mask = 15 };
        while (p.mask < 2u * (size_t)n)
                p.mask = p.mask * 2 + 1;
        p.class = mem_calloc((size_t)n + 1, sizeof(uint32_t));
        p.next = mem_calloc((size_t)n + 1, sizeof(uint32_t));
        p.table = mem_calloc(p.mask + 1, sizeof(uint32_t));
        uint32_t *alone = mem_calloc((size_t)n + 1, sizeof(uint32_t));
        int r = p.class && p.next && p.table && alone ? 0 : -ENOMEM;
        for (uint32_t s = 0; !r && s < n; s++) {
                p.class[s] = live[s] ? 0 : NONE;
                alone[s] = live[s] ? classes++ : NONE;
        }
        uint32_t before = 0, now = 1, states = classes;
        int64_t budget = 40000000;
        while (!r && now != before && budget > 0) {
                budget -= (int64_t)(m->edges.n + n);
                before = now;
                now = refine(m, &p);
                r = gr_step(work, (int64_t)(m->edges.n + n) / 16);
        }
        /* The start comes first in its class, hence classes are numbered in order of appearance. */
        if (!r)
                r = now == before ? freeze(m, p.class, now, ret) : freeze(m, alone, states, ret);
        mem_free(p.class);
        mem_free(p.next);
        mem_free(p.table);
        mem_free(alone);
        return r;
}

/* m as an automaton without dead states, minimised if `small`. */
static int finish(const struct made *m, bool small, struct gr_work *work, struct fa *ret)
{
        uint32_t n = (uint32_t)m->accept.n;
        uint8_t *live = mem_calloc((size_t)n + 1, 1);
        uint32_t *number = mem_calloc((size_t)n + 1, sizeof(*number));
        int r = live && number ? mark_live(m, live) : -ENOMEM;
        if (r)
                goto out;
        if (!n || !live[0]) {
                *ret = (struct fa){ 0 };
        } else if (small) {
                r = minimise(m, live, work, ret);
        } else {
                uint32_t next = 0;
                for (uint32_t s = 0; s < n; s++)
                        number[s] = live[s] ? next++ : NONE;
                r = freeze(m, number, next, ret);
        }
out:
        mem_free(live);
        mem_free(number);
        return r;
}

/* ---- sets of states ------------------------------------------------------------------------------- */

/* Interned sorted sets of nfa states: a set is a state of the deterministic automaton. */
struct sets {
        struct VEC(uint32_t) pool;  /* members of all sets, one after the other */
        struct VEC(uint32_t) first; /* of each set, and the end */
        uint32_t *table;
        size_t mask;
};

static void sets_release(struct sets *s)
{
        vec_release(&s->pool);
        vec_release(&s->first);
        mem_free(s->table);
}

static uint64_t members_hash(const uint32_t *p, size_t n)
{
        uint64_t h = n;
        for (size_t i = 0; i < n; i++)
                h = mix(h, p[i]);
        return h;
}

static int sets_grow(struct sets *s)
{
        size_t mask = s->mask ? s->mask * 2 + 1 : 255;
        uint32_t *table = mem_calloc(mask + 1, sizeof(*table));
        if (!table)
                return -ENOMEM;
        memset(table, 0xff, (mask + 1) * sizeof(*table));
        for (uint32_t i = 0; i + 1 < s->first.n; i++) {
                const uint32_t *p = s->pool.p + s->first.p[i];
                size_t at = members_hash(p, s->first.p[i + 1] - s->first.p[i]) & mask;
                while (table[at] != NONE)
                        at = (at + 1) & mask;
                table[at] = i;
        }
        mem_free(s->table);
        s->table = table;
        s->mask = mask;
        return 0;
}

/* The number of the set with these members, new or old; NONE when memory is out. */
static uint32_t sets_intern(struct sets *s, const uint32_t *members, size_t n)
{
        if ((s->first.n == 0 && vec_push(&s->first, 0u)) ||
            ((!s->table || s->first.n * 2 > s->mask) && sets_grow(s)))
                return NONE;
        size_t at = members_hash(members, n) & s->mask;
        for (; s->table[at] != NONE; at = (at + 1) & s->mask) {
                uint32_t i = s->table[at], len = s->first.p[i + 1] - s->first.p[i];
                if (len == n && (!n || !memcmp(s->pool.p + s->first.p[i], members, n * sizeof(*members))))
                        return i;
        }
        if (vec_reserve(&s->pool, s->pool.n + n) || vec_reserve(&s->first, s->first.n + 1))
                return NONE;
        if (n)
                memcpy(s->pool.p + s->pool.n, members, n * sizeof(*members));
        s->pool.n += n;
        uint32_t number = (uint32_t)(s->first.n - 1);
        s->first.p[s->first.n++] = (uint32_t)s->pool.n;
        s->table[at] = number;
        return number;
}

/* ---- subset construction -------------------------------------------------------------------------- */

struct subset {
        const struct nfa *nfa;
        struct index x;
        struct sets sets;
        struct made made;
        uint32_t end;
        uint32_t *stamp, now; /* states seen in this closure */
        struct VEC(uint32_t) members;
        struct VEC(struct nfa_edge) edges; /* of the set in work, by lowest symbol */
        struct VEC(uint32_t) points;
        struct VEC(uint32_t) active;
};

static int by_value(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
        return x < y ? -1 : x > y;
}

static int by_symbol(const void *a, const void *b)
{
        const struct nfa_edge *x = a, *y = b;
        if (x->lo != y->lo)
                return x->lo < y->lo ? -1 : 1;
        return x->hi < y->hi ? -1 : x->hi > y->hi;
}

/* Members of d->members and all that free moves reach, reduced to those that matter: with edges, or the end.
 */
static int subset_close(struct subset *d)
{
        size_t kept = 0;
        d->now++;
        for (size_t i = 0; i < d->members.n; i++)
                d->stamp[d->members.p[i]] = d->now;
        for (size_t i = 0; i < d->members.n; i++) {
                uint32_t s = d->members.p[i];
                for (uint32_t e = d->x.move_first[s]; e < d->x.move_first[s + 1]; e++) {
                        uint32_t to = d->x.moves[e];
                        if (d->stamp[to] == d->now)
                                continue;
                        d->stamp[to] = d->now;
                        if (vec_push(&d->members, to))
                                return -ENOMEM;
                }
        }
        for (size_t i = 0; i < d->members.n; i++) {
                uint32_t s = d->members.p[i];
                if (s == d->end || d->x.edge_first[s] != d->x.edge_first[s + 1])
                        d->members.p[kept++] = s;
        }
        int r = gr_step(d->nfa->work, 1 + (int64_t)d->members.n);
        d->members.n = kept;
        if (kept > 1)
                qsort(d->members.p, kept, sizeof(uint32_t), by_value);
        return r;
}

/* The closed set of d->members as a number in *ret. */
static int subset_number(struct subset *d, uint32_t *ret)
{
        size_t pool = d->sets.pool.n;
        int r = subset_close(d);
        if (r)
                return r;
        *ret = sets_intern(&d->sets, d->members.p, d->members.n);
        if (*ret == NONE)
                return -ENOMEM;
        return gr_memory(d->nfa->work, (int64_t)((d->sets.pool.n - pool) * sizeof(uint32_t)));
}

static int subset_gather(struct subset *d, uint32_t set)
{
        d->edges.n = d->points.n = d->active.n = 0;
        for (uint32_t i = d->sets.first.p[set]; i < d->sets.first.p[set + 1]; i++) {
                uint32_t s = d->sets.pool.p[i];
                for (uint32_t e = d->x.edge_first[s]; e < d->x.edge_first[s + 1]; e++) {
                        const struct nfa_edge *edge = &d->x.edges[e];
                        if (vec_push(&d->edges, *edge) || vec_push(&d->points, edge->lo) ||
                            vec_push(&d->points, edge->hi + 1))
                                return -ENOMEM;
                }
        }
        if (d->edges.n > 1) {
                qsort(d->edges.p, d->edges.n, sizeof(*d->edges.p), by_symbol);
                qsort(d->points.p, d->points.n, sizeof(*d->points.p), by_value);
        }
        return gr_step(d->nfa->work, (int64_t)d->edges.n);
}

/* Sweeps over the symbols where edges of the set begin or end: between two such points the target is one. */
static int subset_edges(struct subset *d, uint32_t set)
{
        size_t next = 0;
        int r = subset_gather(d, set);
        for (size_t i = 0; !r && i + 1 < d->points.n; i++) {
                uint32_t lo = d->points.p[i], hi = d->points.p[i + 1] - 1;
                if (lo > hi)
                        continue;
                size_t kept = 0;
                for (size_t k = 0; k < d->active.n; k++)
                        if (d->edges.p[d->active.p[k]].hi >= lo)
                                d->active.p[kept++] = d->active.p[k];
                d->active.n = kept;
                for (; next < d->edges.n && d->edges.p[next].lo == lo; next++)
                        if (vec_push(&d->active, (uint32_t)next))
                                return -ENOMEM;
                if (!d->active.n)
                        continue;
                d->members.n = 0;
                d->now++;
                for (size_t k = 0; k < d->active.n; k++) {
                        uint32_t to = d->edges.p[d->active.p[k]].to;
                        if (d->stamp[to] == d->now)
                                continue;
                        d->stamp[to] = d->now;
                        if (vec_push(&d->members, to))
                                return -ENOMEM;
                }
                uint32_t target;
                r = subset_number(d, &target);
                if (!r)
                        r = made_edge(&d->made, lo, hi, target);
                if (!r)
                        r = gr_step(d->nfa->work, (int64_t)d->active.n);
        }
        return r;
}

static bool subset_accepts(const struct subset *d, uint32_t set)
{
        for (uint32_t i = d->sets.first.p[set]; i < d->sets.first.p[set + 1]; i++)
                if (d->sets.pool.p[i] == d->end)
                        return true;
        return false;
}

static int subset_init(struct subset *d, const struct nfa *n, uint32_t end)
{
        *d = (struct subset){ .nfa = n, .end = end };
        if (n->err)
                return n->err;
        d->stamp = mem_calloc((size_t)n->n_states + 1, sizeof(*d->stamp));
        return d->stamp ? index_init(&d->x, n) : -ENOMEM;
}

static void subset_release(struct subset *d)
{
        d->nfa->work->bytes += (int64_t)(d->sets.pool.n * sizeof(uint32_t));
        index_release(&d->x);
        sets_release(&d->sets);
        made_release(&d->made);
        mem_free(d->stamp);
        vec_release(&d->members);
        vec_release(&d->edges);
        vec_release(&d->points);
        vec_release(&d->active);
}

int fa_determinise(const struct nfa *n, uint32_t start, uint32_t end, uint32_t max_states, struct fa *ret)
{
        struct subset d;
        uint32_t first;
        int r = subset_init(&d, n, end);
        if (!r)
                r = vec_push(&d.members, start) ? -ENOMEM : subset_number(&d, &first);
        for (uint32_t set = 0; !r && set + 1 < d.sets.first.n; set++) {
                if (set >= max_states)
                        r = -E2BIG;
                if (!r)
                        r = made_begin(&d.made, subset_accepts(&d, set));
                if (!r)
                        r = subset_edges(&d, set);
        }
        if (!r)
                r = finish(&d.made, true, n->work, ret);
        subset_release(&d);
        return r;
}

/* ---- free moves taken out --------------------------------------------------------------------------- */

static int by_symbol_and_target(const void *a, const void *b)
{
        const struct nfa_edge *x = a, *y = b;
        int order = by_symbol(a, b);
        return order ? order : x->to < y->to ? -1 : x->to > y->to;
}

static uint32_t flat_number(struct subset *d, uint32_t *number, uint32_t state)
{
        if (number[state] == NONE) {
                number[state] = (uint32_t)d->points.n;
                if (vec_push(&d->points, state))
                        return NONE;
        }
        return number[state];
}

/* The edges of all that free moves reach from a state. */
static int flat_edges(struct subset *d, uint32_t *number, uint32_t state)
{
        d->members.n = d->edges.n = 0;
        if (vec_push(&d->members, state))
                return -ENOMEM;
        int r = subset_close(d);
        bool accept = false;
        for (size_t i = 0; !r && i < d->members.n; i++) {
                uint32_t s = d->members.p[i];
                accept |= s == d->end;
                for (uint32_t e = d->x.edge_first[s]; e < d->x.edge_first[s + 1]; e++)
                        if (vec_push(&d->edges, d->x.edges[e]))
                                return -ENOMEM;
        }
        if (!r && d->edges.n > 1)
                qsort(d->edges.p, d->edges.n, sizeof(*d->edges.p), by_symbol_and_target);
        if (!r)
                r = made_begin(&d->made, accept);
        if (!r)
                r = gr_step(d->nfa->work, (int64_t)d->edges.n);
        if (!r)
                r = gr_memory(d->nfa->work, (int64_t)(d->edges.n * sizeof(struct fa_edge)));
        for (size_t i = 0; !r && i < d->edges.n; i++) {
                const struct nfa_edge *e = &d->edges.p[i];
                if (i && !by_symbol_and_target(e, e - 1))
                        continue;
                uint32_t to = flat_number(d, number, e->to);
                r = to == NONE ? -ENOMEM : made_edge(&d->made, e->lo, e->hi, to);
        }
        return r;
}

int fa_flatten(const struct nfa *n, uint32_t start, uint32_t end, struct fa *ret)
{
        struct subset d;
        uint32_t *number = mem_alloc(((size_t)n->n_states + 1) * sizeof(*number));
        int r = subset_init(&d, n, end);
        if (!r)
                r = number ? 0 : -ENOMEM;
        if (!r) {
                memset(number, 0xff, ((size_t)n->n_states + 1) * sizeof(*number));
                r = flat_number(&d, number, start) == NONE ? -ENOMEM : 0;
        }
        for (size_t i = 0; !r && i < d.points.n; i++)
                r = flat_edges(&d, number, d.points.p[i]);
        if (!r)
                r = finish(&d.made, false, n->work, ret);
        n->work->bytes += (int64_t)(d.made.edges.n * sizeof(struct fa_edge));
        subset_release(&d);
        mem_free(number);
        return r;
}

/* ---- algebra -------------------------------------------------------------------------------------- */

/* The edges of a pair of states: where both have one. */
static int pair_edges(const struct fa *a, const struct fa *b, const uint32_t *pair, struct sets *pairs,
                      struct made *m)
{
        uint32_t x = a->first[pair[0]], y = b->first[pair[1]];
        uint32_t p = pair[0], q = pair[1];
        while (x < a->first[p + 1] && y < b->first[q + 1]) {
                const struct fa_edge *e = &a->edges[x], *f = &b->edges[y];
                uint32_t lo = e->lo > f->lo ? e->lo : f->lo, hi = e->hi < f->hi ? e->hi : f->hi;
                if (lo <= hi) {
                        uint32_t to = sets_intern(pairs, (uint32_t[]){ e->to, f->to }, 2);
                        if (to == NONE || made_edge(m, lo, hi, to))
                                return -ENOMEM;
                }
                if (e->hi < f->hi)
                        x++;
                else
                        y++;
        }
        return 0;
}

int fa_intersect(const struct fa *a, const struct fa *b, uint32_t max_states, struct gr_work *work,
                 struct fa *ret)
{
        struct sets pairs = { 0 };
        struct made made = { 0 };
        int r = 0;
        *ret = (struct fa){ 0 };
        if (!a->n_states || !b->n_states)
                return 0;
        if (sets_intern(&pairs, (uint32_t[]){ 0, 0 }, 2) == NONE)
                r = -ENOMEM;
        for (uint32_t i = 0; !r && i + 1 < pairs.first.n; i++) {
                uint32_t pair[2] = { pairs.pool.p[2 * i], pairs.pool.p[2 * i + 1] };
                r = i >= max_states ? -E2BIG : made_begin(&made, a->accept[pair[0]] && b->accept[pair[1]]);
                if (!r)
                        r = gr_step(work, 2 + a->first[pair[0] + 1] - a->first[pair[0]] +
                                                  b->first[pair[1] + 1] - b->first[pair[1]]);
                if (!r)
                        r = pair_edges(a, b, pair, &pairs, &made);
        }
        if (!r)
                r = finish(&made, true, work, ret);
        sets_release(&pairs);
        made_release(&made);
        return r;
}

/* Edges of a state of the complement: those of `a`, and all other symbols of the universe to the sink. */
static int complement_edges(const struct fa *a, uint32_t s, const struct fa_range *universe, size_t n,
                            struct made *m)
{
        uint32_t e = a->first[s], end = a->first[s + 1], sink = a->n_states;
        for (size_t i = 0; i < n; i++) {
                uint32_t at = universe[i].lo;
                bool done = false;
                while (!done) {
                        while (e < end && a->edges[e].hi < at)
                                e++;
                        bool here = e < end && a->edges[e].lo <= at;
                        uint32_t hi = here ? a->edges[e].hi : e < end ? a->edges[e].lo - 1 : universe[i].hi;
                        if (hi >= universe[i].hi) {
                                hi = universe[i].hi;
                                done = true;
                        }
                        if (made_edge(m, at, hi, here ? a->edges[e].to : sink))
                                return -ENOMEM;
                        at = hi + 1;
                }
        }
        return 0;
}

int fa_complement(const struct fa *a, const struct fa_range *universe, size_t n, struct gr_work *work,
                  struct fa *ret)
{
        struct made made = { 0 };
        int r = 0;
        for (uint32_t s = 0; !r && s < a->n_states; s++) {
                r = made_begin(&made, !a->accept[s]);
                if (!r)
                        r = complement_edges(a, s, universe, n, &made);
                if (!r)
                        r = gr_step(work, 1 + (int64_t)n + a->first[s + 1] - a->first[s]);
        }
        if (!r)
                r = made_begin(&made, true);
        for (size_t i = 0; !r && i < n; i++)
                r = made_edge(&made, universe[i].lo, universe[i].hi, a->n_states);
        if (!r)
                r = finish(&made, true, work, ret);
        made_release(&made);
        return r;
}

uint32_t fa_next(const struct fa *a, uint32_t state, uint32_t symbol)
{
        uint32_t lo = a->first[state], hi = a->first[state + 1];
        while (lo < hi) {
                uint32_t mid = lo + (hi - lo) / 2;
                if (symbol > a->edges[mid].hi)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo < a->first[state + 1] && a->edges[lo].lo <= symbol ? a->edges[lo].to : NONE;
}

bool fa_accepts(const struct fa *a, const uint32_t *symbols, size_t n)
{
        uint32_t s = 0;
        if (!a->n_states)
                return false;
        for (size_t i = 0; i < n && s != NONE; i++)
                s = fa_next(a, s, symbols[i]);
        return s != NONE && a->accept[s];
}

/* Counts by length of text: with n states, a text of n symbols or more means a loop. */
uint64_t fa_count(const struct fa *a, uint64_t max, struct gr_work *work)
{
        uint64_t *now = mem_calloc((size_t)a->n_states + 1, sizeof(*now));
        uint64_t *next = mem_calloc((size_t)a->n_states + 1, sizeof(*next));
        uint64_t total = now && next ? 0 : max + 1;
        bool any = a->n_states > 0;
        if (any && now)
                now[0] = 1;
        for (uint32_t len = 0; any && total <= max; len++) {
                any = false;
                for (uint32_t s = 0; s < a->n_states && total <= max; s++) {
                        if (now[s] && a->accept[s])
                                total += now[s];
                        for (uint32_t e = a->first[s]; now[s] && e < a->first[s + 1]; e++) {
                                uint64_t width = (uint64_t)a->edges[e].hi - a->edges[e].lo + 1;
                                uint64_t more = now[s] > max / width ? max + 1 : now[s] * width;
                                uint64_t *to = &next[a->edges[e].to];
                                *to = *to + more > max ? max + 1 : *to + more;
                                any = true;
                        }
                }
                if (len > a->n_states || gr_step(work, a->n_states))
                        total = max + 1;
                uint64_t *swap = now;
                now = next;
                next = swap;
                memset(next, 0, ((size_t)a->n_states + 1) * sizeof(*next));
        }
        mem_free(now);
        mem_free(next);
        return total > max ? max + 1 : total;
}
