/* From parts to a program: each rule becomes a nondeterministic automaton, is made deterministic where that
 * stays small, and what can never be completed is taken out. */
#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/build.h"
#include "grammar/program.h"

/* Symbols above the bytes. */
#define SYM_CALL 0x40000000u
#define SYM_TOKEN 0x80000000u
/* A part used in several places is a rule of its own from this cost on. */
#define SHARED_COST 48
/* A rule used once is written out where it is used up to this cost, unless it contains itself. */
#define SINGLE_COST 2000
/* Rules within rules that are followed to find that out. */
#define MAX_WRITTEN 100
/* Repetitions are written out while they cost at most so many states. */
#define UNROLLED_COST 512

struct source {
        gnode part;
        bool counted;
        uint32_t min, max;
};

struct compiler {
        struct grammar_builder *b;
        struct VEC(struct source) sources; /* of rule 0, 1, ... */
        uint32_t *rule_of; /* rule + 1 of a node that is one, else 0; twice: as a whole, and of
                              the repetitions of a counted one */
        uint32_t *flat;    /* of each node: its cost with all rules in it written out, or FLAT_* */
        struct nfa nfa;    /* of the rule in work */
        struct VEC(struct prog_edge) edges;
        struct VEC(struct prog_call) calls;
        struct VEC(struct prog_token) tokens;
        struct VEC(struct prog_state) states;
        struct VEC(struct prog_rule) rules;
};

enum { FLAT_UNKNOWN = 0, FLAT_IN_WORK = UINT32_MAX - 1, FLAT_RECURSIVE = UINT32_MAX };

static struct gr_node *node_of(const struct compiler *c, gnode n)
{
        return &c->b->nodes.p[n];
}

/* The rule of a node, made on first use. */
static uint32_t rule_of(struct compiler *c, gnode key, struct source s)
{
        uint32_t *rule = &c->rule_of[2 * (size_t)key + s.counted];
        if (!*rule) {
                if (vec_push(&c->sources, s)) {
                        c->nfa.err = -ENOMEM;
                        return 0;
                }
                *rule = (uint32_t)c->sources.n;
        }
        return *rule - 1;
}

static void emit_call(struct compiler *c, uint32_t rule, uint32_t from, uint32_t to)
{
        nfa_edge(&c->nfa, from, SYM_CALL | rule, SYM_CALL | rule, to);
}

static uint32_t flat_cost(struct compiler *c, gnode n, int depth);

static uint64_t flat_kids(struct compiler *c, const struct gr_node *node, int depth)
{
        uint64_t sum = 1;
        for (size_t i = 0; i < node->u.kids.n && sum < SINGLE_COST; i++)
                sum += flat_cost(c, node->u.kids.p[i], depth);
        return sum;
}

/* What a node costs with the rules in it written out. Large costs and deep nesting count as recursion:
 * nothing of that size is written out. */
static uint32_t flat_cost(struct compiler *c, gnode n, int depth)
{
        const struct gr_node node = *node_of(c, n);
        uint64_t cost = node.cost;
        if (c->flat[n] == FLAT_IN_WORK || depth > MAX_WRITTEN)
                return FLAT_RECURSIVE;
        if (c->flat[n] != FLAT_UNKNOWN)
                return c->flat[n];
        c->flat[n] = FLAT_IN_WORK;
        if (node.kind == GR_RULE)
                cost = node.u.defined < 0 ? FLAT_RECURSIVE : flat_cost(c, node.u.defined, depth + 1);
        else if (node.kind == GR_SEQ || node.kind == GR_ALT)
                cost = flat_kids(c, &node, depth + 1);
        else if (node.kind == GR_REPEAT)
                cost = (uint64_t)flat_cost(c, node.u.repeat.part, depth + 1) *
                       (uint64_t)(node.u.repeat.max > 1   ? node.u.repeat.max
                                  : node.u.repeat.min > 1 ? node.u.repeat.min
                                                          : 1);
        c->flat[n] = cost > SINGLE_COST ? FLAT_RECURSIVE : cost ? (uint32_t)cost : 1;
        return c->flat[n];
}

/* Emission adds no edge into `from` and none out of `to`, so that alternatives can share both. */
static void emit(struct compiler *c, gnode n, uint32_t from, uint32_t to);

static void emit_bytes(struct nfa *n, struct str s, uint32_t from, uint32_t to)
{
        for (size_t i = 0; i < s.n; i++) {
                uint32_t next = i + 1 < s.n ? nfa_state(n) : to;
                nfa_edge(n, from, (unsigned char)s.p[i], (unsigned char)s.p[i], next);
                from = next;
        }
}

static void emit_seq(struct compiler *c, const struct gr_node *node, uint32_t from, uint32_t to)
{
        for (size_t i = 0; i < node->u.kids.n && !c->nfa.err; i++) {
                uint32_t next = i + 1 < node->u.kids.n ? nfa_state(&c->nfa) : to;
                emit(c, node->u.kids.p[i], from, next);
                from = next;
        }
}

static void emit_fa(struct compiler *c, const struct gr_node *node, uint32_t from, uint32_t to)
{
        const struct fa *a = node->u.fa;
        struct nfa *n = &c->nfa;
        struct VEC(struct fa_range) ranges = { 0 };
        uint32_t base = n->n_states;
        n->n_states += a->n_states;
        if (a->n_states)
                nfa_move(n, from, base);
        for (uint32_t s = 0; s < a->n_states && !n->err; s++) {
                if (a->accept[s])
                        nfa_move(n, base + s, to);
                /* Neighbouring edges to the same state are written together: their escapes share states. */
                for (uint32_t e = a->first[s]; e < a->first[s + 1] && !n->err; e++) {
                        uint32_t target = a->edges[e].to;
                        if (vec_push(&ranges, ((struct fa_range){ a->edges[e].lo, a->edges[e].hi })))
                                n->err = -ENOMEM;
                        if (e + 1 < a->first[s + 1] && a->edges[e + 1].to == target)
                                continue;
                        charset_emit(n, ranges.p, ranges.n, node->coding, base + s, base + target);
                        ranges.n = 0;
                }
        }
        vec_release(&ranges);
}

/* Zero or more, from a state of its own: the way back must not lead into `from`. */
static void emit_star(struct compiler *c, gnode part, uint32_t from, uint32_t to)
{
        uint32_t head = nfa_state(&c->nfa), tail = nfa_state(&c->nfa);
        nfa_move(&c->nfa, from, head);
        emit(c, part, head, tail);
        nfa_move(&c->nfa, tail, head);
        nfa_move(&c->nfa, head, to);
}

static void emit_plus(struct compiler *c, gnode part, uint32_t from, uint32_t to)
{
        uint32_t head = nfa_state(&c->nfa), tail = nfa_state(&c->nfa);
        nfa_move(&c->nfa, from, head);
        emit(c, part, head, tail);
        nfa_move(&c->nfa, tail, head);
        nfa_move(&c->nfa, tail, to);
}

static void emit_repeat(struct compiler *c, gnode n, uint32_t from, uint32_t to)
{
        const struct gr_node node = *node_of(c, n);
        gnode part = node.u.repeat.part;
        int min = node.u.repeat.min, max = node.u.repeat.max;
        uint64_t cost = (uint64_t)node_of(c, part)->cost + 1;
        if (max < 0 && min <= 1) {
                (min ? emit_plus : emit_star)(c, part, from, to);
                return;
        }
        if ((min || max != 1) && cost * (uint64_t)(max < 0 ? min : max) > UNROLLED_COST) {
                struct source s = { part, true, (uint32_t)min, max < 0 ? UINT32_MAX : (uint32_t)max };
                emit_call(c, rule_of(c, n, s), from, to);
                return;
        }
        for (int i = 1; i < min || (max >= 0 && i < max); i++) {
                uint32_t next = nfa_state(&c->nfa);
                emit(c, part, from, next);
                if (i > min || min == 0)
                        nfa_move(&c->nfa, from, to);
                from = next;
        }
        if (max < 0) {
                emit_plus(c, part, from, to);
                return;
        }
        emit(c, part, from, to);
        if (max > min)
                nfa_move(&c->nfa, from, to);
}

static void emit_own(struct compiler *c, gnode n, uint32_t from, uint32_t to)
{
        const struct gr_node node = *node_of(c, n);
        struct nfa *a = &c->nfa;
        switch (node.kind) {
        case GR_EMPTY:
                nfa_move(a, from, to);
                break;
        case GR_BYTES:
                emit_bytes(a, node.u.bytes, from, to);
                break;
        case GR_CHARS:
                charset_emit(a, node.u.chars.r, node.u.chars.n, node.coding, from, to);
                break;
        case GR_TOKEN:
                nfa_edge(a, from, SYM_TOKEN | (uint32_t)node.u.token, SYM_TOKEN | (uint32_t)node.u.token, to);
                break;
        case GR_SEQ:
                emit_seq(c, &node, from, to);
                break;
        case GR_ALT:
                for (size_t i = 0; i < node.u.kids.n && !a->err; i++)
                        emit(c, node.u.kids.p[i], from, to);
                break;
        case GR_REPEAT:
                emit_repeat(c, n, from, to);
                break;
        case GR_FA:
                emit_fa(c, &node, from, to);
                break;
        case GR_RULE:
                if (node.u.defined < 0)
                        a->err = -EINVAL;
                else if (flat_cost(c, n, 0) <= (node.uses > 1 ? SHARED_COST : SINGLE_COST))
                        emit(c, node.u.defined, from, to);
                else
                        emit_call(c, rule_of(c, n, (struct source){ .part = node.u.defined }), from, to);
                break;
        }
}

static void emit(struct compiler *c, gnode n, uint32_t from, uint32_t to)
{
        const struct gr_node *node = node_of(c, n);
        if (c->nfa.err)
                return;
        if (node->uses > 1 && node->cost > SHARED_COST && node->kind != GR_RULE)
                emit_call(c, rule_of(c, n, (struct source){ .part = n }), from, to);
        else
                emit_own(c, n, from, to);
}

/* ---- one rule ------------------------------------------------------------------------------------- */

/* Deterministic if that does not cost much more than the parts themselves; *ret_det says. */
static int reduce(struct compiler *c, uint32_t from, uint32_t to, struct fa *ret, bool *ret_det)
{
        struct gr_work *w = c->nfa.work;
        int64_t edges = (int64_t)(c->nfa.edges.n + c->nfa.moves.n + c->nfa.n_states);
        int64_t all = w->steps, share = 40 * edges + 20000;
        w->steps = all < share ? all : share;
        int64_t given = w->steps;
        int r = fa_determinise(&c->nfa, from, to, (uint32_t)(c->nfa.n_states * 2 + 1000), ret);
        w->steps = all - (given - w->steps);
        *ret_det = r == 0;
        if (r != -E2BIG || w->steps <= 0 || w->bytes < 0)
                return r;
        return fa_flatten(&c->nfa, from, to, ret);
}

static int add_state(struct compiler *c, const struct fa *a, uint32_t s, uint32_t base, uint32_t rule,
                     uint32_t flags)
{
        struct prog_state st = { (uint32_t)c->edges.n, (uint32_t)c->calls.n, (uint32_t)c->tokens.n, rule,
                                 flags };
        for (uint32_t e = a->first[s]; e < a->first[s + 1]; e++) {
                struct fa_edge x = a->edges[e];
                uint32_t to = base + x.to;
                if (x.lo & SYM_TOKEN) {
                        for (uint32_t sym = x.lo; sym <= x.hi; sym++)
                                if (vec_push(&c->tokens,
                                             ((struct prog_token){ (int32_t)(sym & ~SYM_TOKEN), to })))
                                        return -ENOMEM;
                } else if (x.lo & SYM_CALL) {
                        for (uint32_t sym = x.lo; sym <= x.hi; sym++)
                                if (vec_push(&c->calls, ((struct prog_call){ sym & ~SYM_CALL, to })))
                                        return -ENOMEM;
                } else if (vec_push(&c->edges, ((struct prog_edge){ to, (uint8_t)x.lo, (uint8_t)x.hi }))) {
                        return -ENOMEM;
                }
        }
        return vec_push(&c->states, st) ? -ENOMEM : 0;
}

/* Every repetition ends where nothing else follows. */
static bool is_prefix_free(const struct fa *a)
{
        for (uint32_t s = 0; s < a->n_states; s++) {
                if (a->accept[s] && a->first[s] != a->first[s + 1] && s)
                        return false;
                for (uint32_t e = a->first[s]; e < a->first[s + 1]; e++)
                        if (a->edges[e].to == 0 || a->edges[e].lo >= SYM_CALL)
                                return false;
        }
        return true;
}

/* Appends the states of a rule. A counted one gets a boundary state of its own in front: its start may lie on
 * a loop within one repetition. */
static int add_rule(struct compiler *c, const struct fa *a, bool det, struct source s)
{
        uint32_t rule = (uint32_t)c->rules.n, start = (uint32_t)c->states.n,
                 base = start + (s.counted ? 1 : 0);
        struct prog_rule r = { .start = start, .counted = s.counted, .min = s.min, .max = s.max };
        if (s.counted && a->n_states && a->accept[0])
                r.min = 0; /* empty repetitions make up for those that lack */
        r.plain = s.counted && det && is_prefix_free(a);
        int err = vec_push(&c->rules, r) ? -ENOMEM : 0;
        if (!err && !a->n_states) {
                /* Matches nothing: a state that leads nowhere. */
                static uint32_t none[2];
                const struct fa empty = { .first = none, .n_states = 1 };
                return add_state(c, &empty, 0, base, rule, s.counted ? PROG_BOUNDARY : 0);
        }
        if (!err && s.counted)
                err = add_state(c, a, 0, base, rule, PROG_BOUNDARY);
        for (uint32_t i = 0; !err && i < a->n_states; i++)
                err = add_state(c, a, i, base, rule,
                                !a->accept[i] ? 0
                                : s.counted   ? PROG_ITERATED
                                              : PROG_ACCEPT);
        return err;
}

static int compile_rule(struct compiler *c, uint32_t rule)
{
        struct source s = c->sources.p[rule];
        struct fa a = { 0 };
        bool det;
        nfa_init(&c->nfa, &c->b->work);
        uint32_t from = nfa_state(&c->nfa), to = nfa_state(&c->nfa);
        /* The part itself, not a call of its own rule. */
        emit_own(c, s.part, from, to);
        int r = c->nfa.err ? c->nfa.err : reduce(c, from, to, &a, &det);
        if (!r)
                r = gr_memory(&c->b->work,
                              (int64_t)(a.n_states ? a.first[a.n_states] : 0) * 8 + a.n_states * 20);
        if (!r)
                r = add_rule(c, &a, det, s);
        fa_release(&a);
        nfa_release(&c->nfa);
        return r;
}

/* ---- what holds of the whole ------------------------------------------------------------------------ */

/* A boundary with repetitions still to come leads on only by its edges. */
static bool ends(const struct compiler *c, const struct prog_state *s)
{
        return s->flags & PROG_BOUNDARY ? c->rules.p[s->rule].min == 0
                                        : (s->flags & (PROG_ACCEPT | PROG_ITERATED)) != 0;
}

/* Marks the states from which their rule can be completed, until nothing is added. */
static int find_live(struct compiler *c, uint8_t *live)
{
        bool changed = true;
        int r = 0;
        while (changed && !r) {
                changed = false;
                for (size_t i = c->states.n - 1; i-- > 0;) {
                        const struct prog_state *s = &c->states.p[i];
                        if (live[i])
                                continue;
                        bool now = ends(c, s);
                        for (uint32_t e = s->edge; !now && e < s[1].edge; e++)
                                now = live[c->edges.p[e].to];
                        for (uint32_t e = s->token; !now && e < s[1].token; e++)
                                now = live[c->tokens.p[e].to];
                        for (uint32_t e = s->call; !now && e < s[1].call; e++)
                                now = live[c->calls.p[e].to] && live[c->rules.p[c->calls.p[e].rule].start];
                        live[i] = now;
                        changed |= now;
                }
                r = gr_step(&c->b->work, (int64_t)(c->states.n + c->edges.n + c->calls.n) / 8);
        }
        return r;
}

/* Drops what leads to states that are not live. */
static void prune(struct compiler *c, const uint8_t *live)
{
        uint32_t edge = 0, call = 0, token = 0;
        for (size_t i = 0; i + 1 < c->states.n; i++) {
                struct prog_state *s = &c->states.p[i], old = *s;
                s->edge = edge;
                s->call = call;
                s->token = token;
                for (uint32_t e = old.edge; e < s[1].edge; e++)
                        if (live[c->edges.p[e].to])
                                c->edges.p[edge++] = c->edges.p[e];
                for (uint32_t e = old.token; e < s[1].token; e++)
                        if (live[c->tokens.p[e].to])
                                c->tokens.p[token++] = c->tokens.p[e];
                for (uint32_t e = old.call; e < s[1].call; e++)
                        if (live[c->calls.p[e].to] && live[c->rules.p[c->calls.p[e].rule].start])
                                c->calls.p[call++] = c->calls.p[e];
                if (edge == s->edge && call == s->call && token == s->token)
                        s->flags |= PROG_INERT;
        }
        struct prog_state *last = &c->states.p[c->states.n - 1];
        last->edge = edge;
        last->call = call;
        last->token = token;
}

/* Whether a rule can be completed with nothing read, by calls of rules that can. The inner fixed point runs
 * over the states, which the rules' answers only ever add to. */
static int find_nullable(struct compiler *c)
{
        uint8_t *empty = mem_calloc(c->states.n, 1); /* reaches the end of its rule on nothing */
        bool changed = true;
        int r = empty ? 0 : -ENOMEM;
        while (!r && changed) {
                changed = false;
                for (size_t i = c->states.n - 1; i-- > 0;) {
                        const struct prog_state *s = &c->states.p[i];
                        if (empty[i])
                                continue;
                        bool now = ends(c, s);
                        for (uint32_t e = s->call; !now && e < s[1].call; e++)
                                now = empty[c->calls.p[e].to] && c->rules.p[c->calls.p[e].rule].nullable;
                        if (!now)
                                continue;
                        empty[i] = 1;
                        changed = true;
                        struct prog_rule *rule = &c->rules.p[s->rule];
                        if (rule->start == i)
                                rule->nullable = true;
                }
                r = gr_step(&c->b->work, (int64_t)(c->states.n + c->calls.n) / 8);
        }
        /* A repetition that may be empty makes up for those that lack. */
        for (size_t i = 0; !r && i < c->rules.n; i++)
                if (c->rules.p[i].counted && c->rules.p[i].nullable)
                        c->rules.p[i].min = 0;
        mem_free(empty);
        return r;
}

static int check_whole(struct compiler *c, struct grammar_err *err)
{
        struct prog_state end = { (uint32_t)c->edges.n, (uint32_t)c->calls.n, (uint32_t)c->tokens.n, 0, 0 };
        if (vec_push(&c->states, end))
                return -ENOMEM;
        uint8_t *live = mem_calloc(c->states.n, 1);
        int r = live ? find_live(c, live) : -ENOMEM;
        if (!r && !live[c->rules.p[0].start]) {
                gr_error(err, "", "The grammar does not match any text.");
                r = -EINVAL;
        }
        if (!r) {
                prune(c, live);
                r = find_nullable(c);
        }
        mem_free(live);
        return r;
}

static int make(struct compiler *c, struct grammar **ret)
{
        struct grammar *g = mem_calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        if (pthread_mutex_init(&g->lock, NULL)) {
                mem_free(g);
                return -ENOMEM;
        }
        g->n_states = (uint32_t)c->states.n - 1;
        g->n_rules = (uint32_t)c->rules.n;
        g->bytes = sizeof(*g) + c->edges.cap * sizeof(*c->edges.p) + c->calls.cap * sizeof(*c->calls.p) +
                   c->tokens.cap * sizeof(*c->tokens.p) + c->states.cap * sizeof(*c->states.p) +
                   c->rules.cap * sizeof(*c->rules.p);
        atomic_init(&g->refs, 1);
        g->edges = c->edges.p;
        g->calls = c->calls.p;
        g->tokens = c->tokens.p;
        g->states = c->states.p;
        g->rules = c->rules.p;
        c->edges.p = NULL;
        c->calls.p = NULL;
        c->tokens.p = NULL;
        c->states.p = NULL;
        c->rules.p = NULL;
        *ret = g;
        return 0;
}

static void say(struct grammar_err *err, int r)
{
        if (r == -E2BIG)
                gr_error(err, "", "The grammar is too large or too complex to compile.");
        else if (r == -EINVAL && err && !err->msg[0])
                gr_error(err, "", "The grammar is not complete: a part is used but not defined.");
}

int grammar_finish(struct grammar_builder *b, gnode root, struct grammar **ret, struct grammar_err *err)
{
        struct compiler c = { .b = b };
        int r = root < 0 ? root : b->err;
        if (err && !r)
                *err = (struct grammar_err){ 0 };
        if (!r && (size_t)root >= b->nodes.n)
                r = -EINVAL;
        if (!r) {
                c.rule_of = mem_calloc(b->nodes.n, 2 * sizeof(*c.rule_of));
                c.flat = mem_calloc(b->nodes.n, sizeof(*c.flat));
                r = c.rule_of && c.flat && !vec_push(&c.sources, ((struct source){ .part = root })) ? 0
                                                                                                    : -ENOMEM;
        }
        for (uint32_t rule = 0; !r && rule < c.sources.n; rule++)
                r = compile_rule(&c, rule);
        if (!r)
                r = check_whole(&c, err);
        if (!r)
                r = make(&c, ret);
        if (r)
                say(err, r);
        mem_free(c.rule_of);
        mem_free(c.flat);
        vec_release(&c.sources);
        vec_release(&c.edges);
        vec_release(&c.calls);
        vec_release(&c.tokens);
        vec_release(&c.states);
        vec_release(&c.rules);
        grammar_builder_free(b);
        return r;
}
