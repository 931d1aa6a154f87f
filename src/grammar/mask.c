/* A mask is the union of the masks of a set's items. What an item allows by itself, as long as its rule goes
 * on, does not depend on where the rule was called: it is found once, by a walk over the trie, and kept as a
 * cell. Only tokens that go on beyond the rule's end are walked again in each place, from the nodes behind
 * those at which the rule may be over (its escapes). This is the split of Dong et al. 2024 (XGrammar), with
 * Earley sets in place of stacks. */
#include "grammar/mask.h"

#include <errno.h>
#include <string.h>
#include "base/mem.h"

/* Sets with more items are walked as a whole: their items would repeat each other's work. */
#define MAX_CELLS_OF_SET 24
/* The count of cells that hold for every count. */
#define ANY_COUNT UINT32_MAX

/* A way out of a rule: it may be over above this node of the trie, whose byte then belongs to what follows.
 */
struct escape {
        uint32_t node;
        uint32_t need; /* repetitions done since the state (plain rules) */
};

struct cell {
        struct cell *next;
        uint32_t state, count;
        struct mask *mask;
        struct VEC(struct escape) escapes; /* by their byte, once the cell is filled */
        uint32_t first[257];               /* of each byte */
        /* Plain counted rules: tokens by the number of repetitions that they need to begin. */
        uint32_t *ids;
        uint32_t *needs; /* needs[k]: how many of `ids` need at most k */
        uint32_t max_need;
};

struct cells {
        struct cell *buckets[256];
        uint32_t *scratch; /* bits */
};

static size_t words_of(const struct space *sp)
{
        return grammar_mask_words(sp->v->n);
}

static void set_bit(uint32_t *bits, uint32_t id)
{
        bits[id / 32] |= (uint32_t)1 << (id % 32);
}

/* ---- stored masks --------------------------------------------------------------------------------- */

size_t mask_bytes(const struct space *sp, const struct mask *m)
{
        return sizeof(*m) + (m->n == UINT32_MAX ? words_of(sp) : m->n) * sizeof(uint32_t);
}

static struct mask *mask_new(const struct space *sp, const uint32_t *bits)
{
        size_t words = words_of(sp), n = 0;
        for (size_t i = 0; i < words; i++)
                n += (size_t)__builtin_popcount(bits[i]);
        bool few = n < words;
        struct mask *m = mem_alloc(sizeof(*m) + (few ? n : words) * sizeof(uint32_t));
        if (!m)
                return NULL;
        m->n = few ? 0 : UINT32_MAX;
        if (!few) {
                memcpy(m->words, bits, words * sizeof(uint32_t));
                return m;
        }
        for (size_t i = 0; i < words; i++)
                for (uint32_t w = bits[i]; w; w &= w - 1)
                        m->words[m->n++] = (uint32_t)(i * 32) + (uint32_t)__builtin_ctz(w);
        return m;
}

static void mask_or(const struct space *sp, const struct mask *m, uint32_t *bits)
{
        size_t words = words_of(sp);
        if (m->n == UINT32_MAX) {
                for (size_t i = 0; i < words; i++)
                        bits[i] |= m->words[i];
                return;
        }
        for (uint32_t i = 0; i < m->n; i++)
                set_bit(bits, m->words[i]);
}

/* ---- walks ---------------------------------------------------------------------------------------- */

static void take_tokens(const struct grammar_vocab *v, uint32_t node, uint32_t *bits)
{
        for (uint32_t t = v->nodes[node].token; t < v->nodes[node + 1].token; t++)
                set_bit(bits, (uint32_t)v->ids[t]);
}

/* Notes the nodes below one at which the rule of a cell may be over. */
static int add_escapes(const struct space *sp, struct cell *c, uint32_t node, uint32_t need)
{
        const struct trie_node *nodes = sp->v->nodes;
        for (uint32_t i = node + 1; i < nodes[node].end; i = nodes[i].end)
                if (vec_push(&c->escapes, ((struct escape){ i, need })))
                        return -ENOMEM;
        return 0;
}

/* Sets the bits of the tokens that begin with the nodes `from` to before `end`, which are subtrees below one
 * node where the place `set` is reached. With a cell, notes its escapes. */
static int walk(struct space *sp, uint32_t from, uint32_t end, uint32_t set, uint32_t *bits,
                struct cell *cell)
{
        const struct trie_node *nodes = sp->v->nodes;
        uint32_t i = from;
        if (i < end)
                sp->stack[nodes[i].depth - 1] = set;
        while (i < end) {
                const struct trie_node *node = &nodes[i];
                uint32_t above = sp->stack[node->depth - 1];
                const struct set *s = sp->sets.p[above];
                uint32_t to = s->next ? s->next[node->byte] : SET_NONE;
                if (to == SET_NONE) {
                        int r = space_step(sp, above, node->byte, &to);
                        if (r)
                                return r;
                }
                if (to == SET_DEAD) {
                        i = node->end;
                        continue;
                }
                take_tokens(sp->v, i, bits);
                s = sp->sets.p[to];
                if (cell && s->may_end && add_escapes(sp, cell, i, 0))
                        return -ENOMEM;
                sp->stack[node->depth] = to;
                i = s->n_core ? i + 1 : node->end;
        }
        return 0;
}

/* ---- cells ---------------------------------------------------------------------------------------- */

static void cell_free(struct cell *c)
{
        if (!c)
                return;
        mem_free(c->mask);
        vec_release(&c->escapes);
        mem_free(c->ids);
        mem_free(c->needs);
        mem_free(c);
}

void cells_free(struct space *sp)
{
        if (!sp->cells)
                return;
        for (size_t i = 0; i < 256; i++)
                while (sp->cells->buckets[i]) {
                        struct cell *c = sp->cells->buckets[i];
                        sp->cells->buckets[i] = c->next;
                        cell_free(c);
                }
        mem_free(sp->cells->scratch);
        mem_free(sp->cells);
        sp->cells = NULL;
}

static int make_cells(struct space *sp)
{
        struct cells *c = mem_calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->scratch = mem_calloc(words_of(sp) + 1, sizeof(uint32_t));
        if (!c->scratch) {
                mem_free(c);
                return -ENOMEM;
        }
        sp->cells = c;
        return 0;
}

/* Groups the escapes by byte: what follows a rule mostly begins with one of a few. */
static int sort_escapes(const struct space *sp, struct cell *c)
{
        const struct trie_node *nodes = sp->v->nodes;
        struct escape *sorted = mem_alloc((c->escapes.n + 1) * sizeof(*sorted));
        uint32_t at[257] = { 0 };
        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < c->escapes.n; i++)
                at[nodes[c->escapes.p[i].node].byte + 1]++;
        for (int b = 0; b < 256; b++)
                at[b + 1] += at[b];
        memcpy(c->first, at, sizeof(at));
        for (size_t i = 0; i < c->escapes.n; i++)
                sorted[at[nodes[c->escapes.p[i].node].byte]++] = c->escapes.p[i];
        mem_free(c->escapes.p);
        c->escapes.p = sorted;
        c->escapes.cap = c->escapes.n + 1;
        return 0;
}

static int fill_cell(struct space *sp, struct cell *c)
{
        uint32_t set, *bits = sp->cells->scratch;
        memset(bits, 0, words_of(sp) * sizeof(*bits));
        int r = space_alone(sp, c->state, c->count, &set);
        if (!r && set != SET_DEAD)
                r = walk(sp, 1, sp->v->n_nodes, set, bits, c);
        if (!r)
                r = sort_escapes(sp, c);
        if (!r) {
                c->mask = mask_new(sp, bits);
                r = c->mask ? 0 : -ENOMEM;
        }
        return r;
}

/* ---- plain counted rules ---------------------------------------------------------------------------- */

/* A walk of one state and its count relative to where it began. */
struct plain {
        struct space *sp;
        struct cell *cell;
        uint32_t first, boundary; /* states */
        uint32_t *rows;           /* [state - boundary][byte]: the next state + 1, or 0 */
        uint16_t *need;           /* of each token of the trie; UINT16_MAX: not allowed */
        struct {
                uint32_t state, done;
        } * stack;
};

static int plain_rows(struct plain *p)
{
        const struct grammar *g = p->sp->g;
        uint32_t n = 0;
        while (p->boundary + n < g->n_states &&
               g->states[p->boundary + n].rule == g->states[p->boundary].rule)
                n++;
        p->rows = mem_calloc((size_t)n * 256 + 1, sizeof(*p->rows));
        if (!p->rows)
                return -ENOMEM;
        for (uint32_t s = 0; s < n; s++) {
                const struct prog_state *st = &g->states[p->boundary + s];
                for (uint32_t e = st->edge; e < st[1].edge; e++) {
                        uint32_t to = g->edges[e].to;
                        if (g->states[to].flags & PROG_ITERATED)
                                to = p->boundary;
                        for (unsigned b = g->edges[e].lo; b <= g->edges[e].hi; b++)
                                p->rows[(size_t)s * 256 + b] = to + 1;
                }
        }
        return 0;
}

static int plain_walk(struct plain *p)
{
        const struct grammar_vocab *v = p->sp->v;
        p->stack[0].state = p->first;
        p->stack[0].done = 0;
        for (uint32_t i = 1; i < v->n_nodes;) {
                const struct trie_node *node = &v->nodes[i];
                uint32_t from = p->stack[node->depth - 1].state, done = p->stack[node->depth - 1].done;
                uint32_t to = p->rows[(size_t)(from - p->boundary) * 256 + node->byte];
                if (!to) {
                        i = node->end;
                        continue;
                }
                to--;
                bool over = to == p->boundary;
                if (over)
                        done++;
                for (uint32_t t = node->token; t < node[1].token; t++)
                        p->need[t] = (uint16_t)(over ? done : done + 1);
                if (over && add_escapes(p->sp, p->cell, i, done))
                        return -ENOMEM;
                p->stack[node->depth].state = to;
                p->stack[node->depth].done = done;
                i++;
        }
        return 0;
}

/* Sorts the allowed tokens by need: needs[k] tokens need at most k. */
static int plain_sort(struct plain *p)
{
        const struct grammar_vocab *v = p->sp->v;
        uint32_t n = v->nodes[v->n_nodes].token;
        struct cell *c = p->cell;
        for (uint32_t t = 0; t < n; t++)
                if (p->need[t] != UINT16_MAX && p->need[t] > c->max_need)
                        c->max_need = p->need[t];
        c->needs = mem_calloc((size_t)c->max_need + 2, sizeof(*c->needs));
        c->ids = mem_calloc((size_t)n + 1, sizeof(*c->ids));
        if (!c->needs || !c->ids)
                return -ENOMEM;
        for (uint32_t t = 0; t < n; t++)
                if (p->need[t] != UINT16_MAX)
                        c->needs[p->need[t] + 1]++;
        for (uint32_t k = 0; k <= c->max_need; k++)
                c->needs[k + 1] += c->needs[k];
        /* needs[k] is now where those that need k begin, and moves on to where they end. */
        for (uint32_t t = 0; t < n; t++)
                if (p->need[t] != UINT16_MAX)
                        c->ids[c->needs[p->need[t]]++] = (uint32_t)v->ids[t];
        return 0;
}

static int fill_plain_cell(struct space *sp, struct cell *c)
{
        const struct grammar *g = sp->g;
        uint32_t n = sp->v->nodes[sp->v->n_nodes].token, *bits = sp->cells->scratch;
        struct plain p = { .sp = sp, .cell = c, .first = c->state };
        p.boundary = g->rules[g->states[c->state].rule].start;
        p.need = mem_alloc(((size_t)n + 1) * sizeof(*p.need));
        p.stack = mem_calloc((size_t)sp->v->max_len + 1, sizeof(*p.stack));
        int r = p.need && p.stack ? plain_rows(&p) : -ENOMEM;
        if (!r) {
                memset(p.need, 0xff, n * sizeof(*p.need));
                r = plain_walk(&p);
        }
        if (!r)
                r = plain_sort(&p);
        if (!r)
                r = sort_escapes(sp, c);
        if (!r) {
                memset(bits, 0, words_of(sp) * sizeof(*bits));
                for (uint32_t i = 0; i < c->needs[c->max_need]; i++)
                        set_bit(bits, c->ids[i]);
                c->mask = mask_new(sp, bits);
                r = c->mask ? 0 : -ENOMEM;
        }
        mem_free(p.need);
        mem_free(p.stack);
        mem_free(p.rows);
        return r;
}

static void plain_or(struct space *sp, const struct cell *c, uint32_t left, uint32_t *bits)
{
        uint32_t all = c->needs[c->max_need], fit = left >= c->max_need ? all : c->needs[left];
        if (fit == all) {
                mask_or(sp, c->mask, bits);
        } else if (fit < all / 2 || c->mask->n != UINT32_MAX) {
                for (uint32_t i = 0; i < fit; i++)
                        set_bit(bits, c->ids[i]);
        } else {
                uint32_t *some = sp->cells->scratch;
                memcpy(some, c->mask->words, words_of(sp) * sizeof(*some));
                for (uint32_t i = fit; i < all; i++)
                        some[c->ids[i] / 32] &= ~((uint32_t)1 << (c->ids[i] % 32));
                for (size_t i = 0; i < words_of(sp); i++)
                        bits[i] |= some[i];
        }
}

/* ---- from cells to masks -------------------------------------------------------------------------- */

/* Counts so far from the rule's bounds that no token can reach one are as good as each other. */
static uint32_t cell_count(const struct space *sp, const struct item *x)
{
        const struct prog_rule *rule = &sp->g->rules[sp->g->states[x->state].rule];
        uint64_t reach = (uint64_t)x->count + sp->v->max_len;
        if (!rule->counted)
                return 0;
        if (rule->plain)
                return ANY_COUNT;
        if (reach < rule->min)
                return 0;
        if (x->count >= rule->min && (rule->max == UINT32_MAX || reach < rule->max))
                return rule->min;
        return x->count;
}

static int cell_get(struct space *sp, const struct item *x, struct cell **ret)
{
        uint32_t count = cell_count(sp, x);
        int r = sp->cells ? 0 : make_cells(sp);
        if (r)
                return r;
        struct cell **bucket = &sp->cells->buckets[(x->state * 31 + count) % 256];
        for (struct cell *c = *bucket; c; c = c->next)
                if (c->state == x->state && c->count == count) {
                        *ret = c;
                        return 0;
                }
        struct cell *c = mem_calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->state = x->state;
        c->count = count;
        r = count == ANY_COUNT ? fill_plain_cell(sp, c) : fill_cell(sp, c);
        if (r) {
                cell_free(c);
                return r;
        }
        sp->bytes += sizeof(*c) + mask_bytes(sp, c->mask) + c->escapes.cap * sizeof(*c->escapes.p);
        if (c->ids)
                sp->bytes += (size_t)sp->v->n * sizeof(*c->ids);
        c->next = *bucket;
        *bucket = c;
        *ret = c;
        return 0;
}

/* Tokens that leave the rule, with `done` repetitions in it from `least` to `most`. */
static int or_escapes(struct space *sp, const struct cell *c, uint32_t after, uint32_t least, uint32_t most,
                      uint32_t *bits)
{
        int r = space_expand(sp, after);
        for (unsigned b = 0; !r && b < 256; b++) {
                if (!set_leads(sp->sets.p[after], (uint8_t)b))
                        continue;
                for (uint32_t i = c->first[b]; !r && i < c->first[b + 1]; i++) {
                        struct escape e = c->escapes.p[i];
                        if (e.need >= least && e.need <= most)
                                r = walk(sp, e.node, sp->v->nodes[e.node].end, after, bits, NULL);
                }
        }
        return r;
}

static int or_item(struct space *sp, const struct item *x, uint32_t *bits)
{
        struct cell *c;
        uint32_t after, least = 0, most = UINT32_MAX;
        int r = cell_get(sp, x, &c);
        if (r)
                return r;
        if (c->ids) {
                const struct prog_rule *rule = &sp->g->rules[sp->g->states[x->state].rule];
                if (rule->max != UINT32_MAX)
                        most = rule->max - x->count;
                least = x->count < rule->min ? rule->min - x->count : 0;
                plain_or(sp, c, most, bits);
        } else {
                mask_or(sp, c->mask, bits);
        }
        if (!c->escapes.n)
                return 0;
        r = space_after(sp, x->origin, x->head, &after);
        if (r || !sp->sets.p[after]->n_core)
                return r;
        return or_escapes(sp, c, after, least, most, bits);
}

static void or_control(const struct space *sp, const struct set *s, uint32_t *bits)
{
        const struct grammar *g = sp->g;
        for (uint32_t i = 0; i < s->n_items; i++) {
                const struct prog_state *st = &g->states[s->items[i].state];
                if (st->flags & PROG_BOUNDARY && s->items[i].count >= g->rules[st->rule].max)
                        continue;
                for (uint32_t t = st->token; t < st[1].token; t++)
                        if (g->tokens[t].id < sp->v->n)
                                set_bit(bits, (uint32_t)g->tokens[t].id);
        }
        for (int32_t i = 0; s->may_end && i < sp->v->n_ends; i++)
                set_bit(bits, (uint32_t)sp->v->ends[i]);
}

int mask_of_set(struct space *sp, uint32_t set, uint32_t *bits)
{
        struct set *s = sp->sets.p[set];
        memset(bits, 0, words_of(sp) * sizeof(*bits));
        if (s->mask) {
                mask_or(sp, s->mask, bits);
                return 0;
        }
        int r = space_expand(sp, set);
        if (!r && s->n_core > MAX_CELLS_OF_SET)
                r = walk(sp, 1, sp->v->n_nodes, set, bits, NULL);
        for (uint32_t i = 0; !r && s->n_core <= MAX_CELLS_OF_SET && i < s->n_core; i++)
                r = or_item(sp, &s->items[i], bits);
        if (r)
                return r;
        or_control(sp, s, bits);
        /* Places that come again are worth their memory; those with a count mostly do not. */
        if (s->asked++ && (s->mask = mask_new(sp, bits)))
                sp->bytes += mask_bytes(sp, s->mask);
        else
                s->asked = 1;
        return 0;
}
