#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/regex.h"
#include "grammar/schema.h"

/* Members that may be left out are grouped, so that skipping many costs little. */
#define GROUP 32
/* Different patterns of names in one object: every subset of them is a kind of name. */
#define MAX_PATTERNS 4
/* Places of the sequence of members when their number is bounded. */
#define MAX_PLACES 20000
#define MAX_STATES 60000

struct member {
        const char *name;
        bool required;
        gnode part; /* "name": value */
};

struct object {
        struct sc *c;
        const struct sc_list *l;
        struct VEC(struct member) members;
        gnode space, comma;
        gnode other; /* a member with another name; 0: there is none */
        int64_t min, max;
        gnode *places; /* when the number is bounded: [index][count], 0: not made */
        size_t n_counts;
};

/* ---- names ---------------------------------------------------------------------------------------- */

static bool name_matches(struct sc *c, const char *pattern, struct str name)
{
        struct fa a = { 0 };
        const struct rx *rx = rx_parse(c->b, str_c(pattern), RX_SCHEMA, (struct rx_flags){ 0 }, NULL);
        int r = rx ? rx_fa(c->b, rx, true, &a) : c->b->err;
        uint32_t state = !r && a.n_states ? 0 : UINT32_MAX;
        if (r)
                gr_fail(c->b, r);
        for (size_t at = 0; at < name.n && state != UINT32_MAX;) {
                uint32_t point = utf8_next(name.p, name.n, &at);
                state = point == UINT32_MAX ? UINT32_MAX : fa_next(&a, state, point);
        }
        bool found = state != UINT32_MAX && a.accept[state];
        fa_release(&a);
        return found;
}

int sc_property(struct sc *c, const struct sc_list *l, const char *name, struct sc_list *ret)
{
        int r = 0;
        for (size_t i = 0; !r && i < l->n; i++) {
                const struct sc_entry *e = &l->p[i];
                const json_t *listed = json_object_get(sc_key(e, "properties"), name);
                const json_t *rest = sc_key(e, "additionalProperties");
                json_t *patterns = (json_t *)(uintptr_t)sc_key(e, "patternProperties"), *schema;
                const char *pattern;
                bool known = listed != NULL;
                if (listed)
                        r = sc_add(c, ret, listed);
                json_object_foreach(patterns, pattern, schema)
                {
                        if (r || !name_matches(c, pattern, str_c(name)))
                                continue;
                        known = true;
                        r = sc_add(c, ret, schema);
                }
                if (!r && !known && rest)
                        r = sc_add(c, ret, rest);
        }
        return r ? r : c->b->err;
}

/* The names of all entries in order of appearance, required ones without a schema last. */
static int collect_names(struct object *o)
{
        struct map seen;
        int r = 0;
        map_init(&seen);
        for (int pass = 0; pass < 2; pass++) {
                for (size_t i = 0; !r && i < o->l->n; i++) {
                        json_t *properties = (json_t *)(uintptr_t)sc_key(&o->l->p[i], "properties"), *v;
                        const json_t *required = sc_key(&o->l->p[i], "required"), *one;
                        const char *name;
                        size_t k;
                        json_object_foreach(properties, name, v)
                        {
                                if (pass || map_get(&seen, str_c(name)))
                                        continue;
                                if (vec_push(&o->members, ((struct member){ .name = name })) ||
                                    map_put(&seen, str_c(name), o, NULL))
                                        r = -ENOMEM;
                        }
                        json_array_foreach(required, k, one)
                        {
                                name = json_string_value(one);
                                if (!pass || map_get(&seen, str_c(name)))
                                        continue;
                                if (vec_push(&o->members, ((struct member){ .name = name })) ||
                                    map_put(&seen, str_c(name), o, NULL))
                                        r = -ENOMEM;
                        }
                }
        }
        map_release(&seen, NULL);
        return r ? gr_fail(o->c->b, r) : 0;
}

static void mark_required(struct object *o)
{
        struct map index;
        map_init(&index);
        for (size_t i = 0; i < o->members.n; i++)
                if (map_put(&index, str_c(o->members.p[i].name), &o->members.p[i], NULL))
                        gr_fail(o->c->b, -ENOMEM);
        for (size_t i = 0; i < o->l->n; i++) {
                const json_t *one;
                size_t k;
                json_array_foreach(sc_key(&o->l->p[i], "required"), k, one)
                {
                        struct member *m = map_get(&index, str_c(json_string_value(one)));
                        if (m)
                                m->required = true;
                }
        }
        map_release(&index, NULL);
}

/* ---- members -------------------------------------------------------------------------------------- */

static gnode named(struct object *o, gnode name, gnode value)
{
        struct grammar_builder *b = o->c->b;
        gnode quote = grammar_literal(b, STR("\""));
        return GR_SEQ_OF(b, quote, name, quote, grammar_literal(b, STR(":")), o->space, value);
}

/* Whether the list allows no value at all, as far as that is plain. */
static bool is_nothing(struct sc *c, const struct sc_list *l)
{
        struct sc_list copy = { 0 };
        for (size_t i = 0; i < l->n; i++)
                sc_add(c, &copy, l->p[i].s);
        bool nothing = !sc_open(c, &copy) || !sc_types(&copy);
        vec_release(&copy);
        return nothing;
}

/* Makes the parts of the listed members; those that no value fits are left out, or make the object impossible
 * when they are required. */
static int make_members(struct object *o, bool *ret_possible)
{
        struct sc *c = o->c;
        size_t kept = 0;
        *ret_possible = true;
        for (size_t i = 0; i < o->members.n && !c->b->err; i++) {
                struct member m = o->members.p[i];
                struct sc_list value = { 0 };
                sc_push(c, "properties");
                sc_push(c, m.name);
                int r = sc_property(c, o->l, m.name, &value);
                if (!r && is_nothing(c, &value)) {
                        *ret_possible &= !m.required;
                } else if (!r) {
                        m.part = named(o, gr_text(c->b, str_c(m.name), GR_JSON), sc_value(c, &value));
                        o->members.p[kept++] = m;
                }
                vec_release(&value);
                sc_pop(c);
                sc_pop(c);
        }
        o->members.n = kept;
        return c->b->err;
}

/* ---- other names ------------------------------------------------------------------------------------ */

struct names {
        const char *patterns[MAX_PATTERNS];
        struct fa matching[MAX_PATTERNS];
        size_t n;
};

static int collect_patterns(struct object *o, struct names *ret)
{
        struct sc *c = o->c;
        for (size_t i = 0; i < o->l->n; i++) {
                json_t *patterns = (json_t *)(uintptr_t)sc_key(&o->l->p[i], "patternProperties"), *schema;
                const char *pattern;
                json_object_foreach(patterns, pattern, schema)
                {
                        bool known = false;
                        for (size_t k = 0; k < ret->n; k++)
                                known |= !strcmp(ret->patterns[k], pattern);
                        if (known)
                                continue;
                        if (ret->n == MAX_PATTERNS)
                                return sc_fail(c, "at most %d patterns in 'patternProperties' are supported.",
                                               MAX_PATTERNS);
                        const struct rx *rx =
                                rx_parse(c->b, str_c(pattern), RX_SCHEMA, (struct rx_flags){ 0 }, NULL);
                        int r = rx ? rx_fa(c->b, rx, true, &ret->matching[ret->n]) : c->b->err;
                        if (r)
                                return gr_fail(c->b, r);
                        ret->patterns[ret->n++] = pattern;
                }
        }
        return 0;
}

/* All names but the listed ones. */
static int unlisted(struct object *o, struct fa *ret)
{
        struct nfa n;
        struct fa listed = { 0 };
        nfa_init(&n, &o->c->b->work);
        uint32_t start = nfa_state(&n), end = nfa_state(&n);
        for (size_t i = 0; i < o->members.n; i++) {
                struct str name = str_c(o->members.p[i].name);
                uint32_t from = start;
                for (size_t at = 0; at < name.n && !n.err;) {
                        uint32_t point = utf8_next(name.p, name.n, &at), to = nfa_state(&n);
                        nfa_edge(&n, from, point, point, to);
                        from = to;
                }
                nfa_move(&n, from, end);
        }
        int r = n.err ? n.err : fa_determinise(&n, start, end, UINT32_MAX, &listed);
        if (!r)
                r = fa_complement(&listed, rx_any, 2, &o->c->b->work, ret);
        fa_release(&listed);
        nfa_release(&n);
        return r;
}

/* Intersects `names` with those that a pattern matches, or does not match. */
static int restrict_names(struct object *o, struct fa *names, const struct fa *matching, bool match)
{
        struct gr_work *w = &o->c->b->work;
        struct fa not_matching = { 0 }, out = { 0 };
        int r = match ? 0 : fa_complement(matching, rx_any, 2, w, &not_matching);
        if (!r)
                r = fa_intersect(names, match ? matching : &not_matching, MAX_STATES, w, &out);
        fa_release(&not_matching);
        fa_release(names);
        *names = out;
        return r;
}

/* What applies to names that match the patterns of the subset and no others. */
static int values_of(struct object *o, const struct names *names, unsigned subset, struct sc_list *ret)
{
        int r = 0;
        for (size_t i = 0; !r && i < o->l->n; i++) {
                const struct sc_entry *e = &o->l->p[i];
                const json_t *patterns = sc_key(e, "patternProperties"),
                             *rest = sc_key(e, "additionalProperties");
                bool known = false;
                for (size_t k = 0; !r && k < names->n; k++) {
                        const json_t *schema =
                                subset >> k & 1 ? json_object_get(patterns, names->patterns[k]) : NULL;
                        if (!schema)
                                continue;
                        known = true;
                        r = sc_add(o->c, ret, schema);
                }
                if (!r && !known && rest)
                        r = sc_add(o->c, ret, rest);
        }
        return r;
}

static gnode other_member(struct object *o, const struct names *names, const struct fa *free_names,
                          unsigned subset)
{
        struct grammar_builder *b = o->c->b;
        struct sc_list values = { 0 };
        struct fa name = { 0 };
        gnode out = values_of(o, names, subset, &values);
        if (!out && is_nothing(o->c, &values)) {
                out = gr_nothing(b);
        } else if (!out && !names->n && !o->members.n) {
                out = GR_SEQ_OF(b, json_part(b, PART_STRING, o->c->flags), grammar_literal(b, STR(":")),
                                o->space, sc_value(o->c, &values));
        } else if (!out) {
                int r = fa_intersect(free_names, free_names, MAX_STATES * 4, &b->work, &name);
                for (size_t k = 0; !r && k < names->n; k++)
                        r = restrict_names(o, &name, &names->matching[k], subset >> k & 1);
                if (r)
                        out = gr_fail(b, r);
                else if (!name.n_states)
                        out = gr_nothing(b);
                else
                        out = named(o, gr_fa(b, &name, GR_JSON), sc_value(o->c, &values));
        }
        fa_release(&name);
        vec_release(&values);
        return out;
}

static bool may_have_others(const struct object *o)
{
        for (size_t i = 0; i < o->l->n; i++)
                if (json_is_false(sc_key(&o->l->p[i], "additionalProperties")) &&
                    !json_object_size(sc_key(&o->l->p[i], "patternProperties")))
                        return false;
        return true;
}

static gnode make_other(struct object *o)
{
        struct grammar_builder *b = o->c->b;
        struct names names = { 0 };
        struct fa free_names = { 0 };
        gnode parts[1 << MAX_PATTERNS];
        size_t n = 0;
        if (!may_have_others(o))
                return 0;
        sc_push(o->c, "additionalProperties");
        gnode out = collect_patterns(o, &names);
        if (!out)
                out = unlisted(o, &free_names);
        if (out)
                gr_fail(b, out);
        for (unsigned subset = 0; !out && subset < 1u << names.n; subset++)
                parts[n++] = other_member(o, &names, &free_names, subset);
        if (!out)
                out = gr_shared(b, grammar_alt(b, parts, n));
        for (size_t k = 0; k < names.n; k++)
                fa_release(&names.matching[k]);
        fa_release(&free_names);
        sc_pop(o->c);
        return out;
}

/* ---- sequences of members -------------------------------------------------------------------------- */

/* Further members with other names, after at least one member. */
static gnode others_after(struct object *o)
{
        struct grammar_builder *b = o->c->b;
        return o->other ? grammar_repeat(b, GR_SEQ_OF(b, o->comma, o->other), 0, -1) : grammar_empty(b);
}

/* What may follow member i when at least one stands before, for every i: a rule each, or the same rule for a
 * group of members that are required. */
static gnode members_after(struct object *o, size_t first)
{
        struct grammar_builder *b = o->c->b;
        gnode out = others_after(o);
        size_t end = o->members.n;
        while (end > first) {
                size_t begin = end - first > GROUP ? end - GROUP : first;
                gnode parts[GROUP + 1];
                size_t n = 0;
                for (size_t i = begin; i < end; i++) {
                        gnode one = GR_SEQ_OF(b, o->comma, o->members.p[i].part);
                        parts[n++] = o->members.p[i].required ? one : gr_optional(b, one);
                }
                parts[n++] = out;
                out = grammar_seq(b, parts, n);
                if (begin > first)
                        out = gr_shared(b, out);
                end = begin;
        }
        return out;
}

/* The members when their number does not matter. The first that stands has no comma before it. */
static gnode members_any(struct object *o)
{
        struct grammar_builder *b = o->c->b;
        size_t n = o->members.n, first = 0;
        while (first < n && !o->members.p[first].required)
                first++;
        gnode out;
        if (first < n)
                out = GR_SEQ_OF(b, o->members.p[first].part, members_after(o, first + 1));
        else
                out = o->other ? gr_optional(b, GR_SEQ_OF(b, o->other, others_after(o))) : grammar_empty(b);
        if (!first)
                return out;
        /* Each optional member that may be the first, and what follows it: rest is built from the back. */
        gnode rest = members_after(o, first);
        for (size_t i = first; i-- > 0 && !b->err;) {
                gnode part = o->members.p[i].part;
                rest = gr_shared(b, rest);
                out = GR_ALT_OF(b, GR_SEQ_OF(b, part, rest), out);
                if (i % GROUP == 0)
                        out = gr_shared(b, out);
                rest = GR_SEQ_OF(b, gr_optional(b, GR_SEQ_OF(b, o->comma, part)), rest);
        }
        return out;
}

/* From member `index` on, with `count` members before it (or at least as many as matter). */
static gnode place(struct object *o, size_t index, size_t count)
{
        struct grammar_builder *b = o->c->b;
        gnode *made = &o->places[index * o->n_counts + count];
        if (*made || b->err)
                return b->err ? b->err : *made;
        bool full = o->max >= 0 && (int64_t)count >= o->max;
        size_t next = count + 1 < o->n_counts ? count + 1 : count;
        gnode out;
        if (index == o->members.n) {
                int64_t left = o->max < 0 ? -1 : o->max - (int64_t)count;
                gnode more = o->other && left ? GR_SEQ_OF(b, o->comma, o->other) : 0;
                out = (int64_t)count < o->min && !(o->other && o->min == 1) ? gr_nothing(b)
                                                                            : grammar_empty(b);
                if (o->other && left && count)
                        out = grammar_repeat(b, more, 0, (int)left);
                else if (o->other && left) {
                        out = GR_SEQ_OF(b, o->other,
                                        grammar_repeat(b, more, 0, left < 0 ? -1 : (int)left - 1));
                        out = o->min ? out : gr_optional(b, out);
                }
        } else {
                const struct member *m = &o->members.p[index];
                gnode skip = m->required ? gr_nothing(b) : place(o, index + 1, count);
                gnode take = full ? gr_nothing(b)
                                  : GR_SEQ_OF(b, count ? o->comma : grammar_empty(b), m->part,
                                              place(o, index + 1, next));
                out = GR_ALT_OF(b, take, skip);
        }
        *made = gr_shared(b, out);
        return b->err ? b->err : *made;
}

/* The members when there is a least or greatest number of them. */
static gnode members_counted(struct object *o)
{
        struct sc *c = o->c;
        size_t n = o->members.n, required = 0;
        for (size_t i = 0; i < n; i++)
                required += o->members.p[i].required;
        if (o->min <= (int64_t)required)
                o->min = 0;
        if (o->min > 1 && o->other)
                return sc_fail(
                        c, "'minProperties' is not supported together with properties that are not listed.");
        int64_t most = o->max > o->min ? o->max : o->min;
        o->n_counts = (size_t)(most > (int64_t)n ? (int64_t)n : most) + 2;
        if ((n + 1) * o->n_counts > MAX_PLACES || n > 200)
                return sc_too_large(c, "The number of properties together with its bounds");
        o->places = mem_calloc((n + 1) * o->n_counts, sizeof(*o->places));
        if (!o->places)
                return gr_fail(c->b, -ENOMEM);
        return place(o, 0, 0);
}

gnode sc_object(struct sc *c, const struct sc_list *l)
{
        struct grammar_builder *b = c->b;
        struct object o = { .c = c, .l = l };
        bool possible = true;
        gnode out = collect_names(&o);
        o.min = sc_most(l, "minProperties", 0);
        o.max = sc_least(l, "maxProperties", -1);
        o.space = json_part(b, PART_SPACE, c->flags);
        o.comma = GR_SEQ_OF(b, grammar_literal(b, STR(",")), o.space);
        if (!out) {
                mark_required(&o);
                o.other = make_other(&o);
                out = make_members(&o, &possible);
        }
        if (!out && (!possible || (o.max >= 0 && o.max < o.min)))
                out = gr_nothing(b);
        else if (!out && (o.min > 0 || o.max >= 0))
                out = members_counted(&o);
        else if (!out)
                out = members_any(&o);
        gnode space = o.members.n || o.other ? o.space : grammar_empty(b);
        out = GR_SEQ_OF(b, grammar_literal(b, STR("{")), space, out, space, grammar_literal(b, STR("}")));
        vec_release(&o.members);
        mem_free(o.places);
        return out;
}
