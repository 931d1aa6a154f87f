/* What regular expressions mean: parts of a grammar where they have no assertions but anchors at their ends,
 * else automata in which the assertions have been resolved. */
#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/regex.h"
#include "grammar/regex_class.h"

/* Bounds of an automaton over characters. */
#define MAX_STATES 60000

const struct fa_range rx_any[2] = { { 0, 0xd7ff }, { 0xe000, CHAR_MAX_POINT } };

/* ---- parts ---------------------------------------------------------------------------------------- */

static gnode plain_part(struct grammar_builder *b, const struct rx *rx, enum gr_coding coding);

static gnode kids_part(struct grammar_builder *b, const struct rx *rx, size_t from, size_t to,
                       enum gr_coding coding)
{
        gnode *parts = mem_calloc(to - from + 1, sizeof(*parts)), out;
        if (!parts)
                return gr_fail(b, -ENOMEM);
        for (size_t i = from; i < to; i++)
                parts[i - from] = plain_part(b, rx->kids[i], coding);
        out = rx->kind == RX_ALT ? grammar_alt(b, parts, to - from) : grammar_seq(b, parts, to - from);
        mem_free(parts);
        return out;
}

/* A tree without assertions. */
static gnode plain_part(struct grammar_builder *b, const struct rx *rx, enum gr_coding coding)
{
        if (b->err)
                return b->err;
        switch (rx->kind) {
        case RX_EMPTY:
        case RX_ASSERT:
                return grammar_empty(b);
        case RX_SET: {
                struct charset set = { .r = { (struct fa_range *)(uintptr_t)rx->set, rx->n_set, rx->n_set } };
                return gr_chars(b, &set, coding);
        }
        case RX_REPEAT:
                return grammar_repeat(b, plain_part(b, rx->part, coding), rx->min, rx->max);
        case RX_SEQ:
        case RX_ALT:
                return kids_part(b, rx, 0, rx->n_kids, coding);
        }
        return gr_fail(b, -EINVAL);
}

static gnode any_text(struct grammar_builder *b, enum gr_coding coding)
{
        struct charset set = { .r = { (struct fa_range *)(uintptr_t)rx_any, 2, 2 } };
        return grammar_repeat(b, gr_chars(b, &set, coding), 0, -1);
}

/* Whether a sequence's assertions are only anchors at its ends; the range of the rest. */
static bool only_anchors(const struct rx *rx, size_t *from, size_t *to, bool *start, bool *end)
{
        *from = 0;
        *to = rx->n_kids;
        *start = *end = false;
        for (; *from < *to && rx->kids[*from]->kind == RX_ASSERT && rx->kids[*from]->assertion == RX_START;
             ++*from)
                *start = true;
        for (; *to > *from && rx->kids[*to - 1]->kind == RX_ASSERT && rx->kids[*to - 1]->assertion == RX_END;
             --*to)
                *end = true;
        for (size_t i = *from; i < *to; i++)
                if (rx->kids[i]->asserts)
                        return false;
        return true;
}

/* *ret_fits: the tree has no assertions but anchors at its ends, which parts can express. */
static gnode anchored_part(struct grammar_builder *b, const struct rx *rx, bool search, enum gr_coding coding,
                           bool *ret_fits)
{
        const struct rx *one[1] = { rx };
        struct rx seq = { .kind = RX_SEQ, .kids = one, .n_kids = 1 };
        const struct rx *s = rx->kind == RX_SEQ ? rx : &seq;
        size_t from, to;
        bool start, end;
        *ret_fits = only_anchors(s, &from, &to, &start, &end);
        if (!*ret_fits)
                return 0;
        gnode body = kids_part(b, s, from, to, coding);
        if (!search)
                return body;
        return GR_SEQ_OF(b, start ? grammar_empty(b) : any_text(b, coding), body,
                         end ? grammar_empty(b) : any_text(b, coding));
}

static gnode anchored_alternatives(struct grammar_builder *b, const struct rx *rx, bool search,
                                   enum gr_coding coding, bool *ret_fits)
{
        gnode *parts = mem_calloc(rx->n_kids, sizeof(*parts)), out = 0;
        if (!parts)
                return gr_fail(b, -ENOMEM);
        *ret_fits = true;
        for (size_t i = 0; i < rx->n_kids && *ret_fits; i++)
                parts[i] = anchored_part(b, rx->kids[i], search, coding, ret_fits);
        if (*ret_fits)
                out = grammar_alt(b, parts, rx->n_kids);
        mem_free(parts);
        return out;
}

gnode rx_part(struct grammar_builder *b, const struct rx *rx, bool search, enum gr_coding coding)
{
        struct fa a;
        bool fits = true;
        if (!rx || b->err)
                return b->err ? b->err : gr_fail(b, -EINVAL);
        gnode out = rx->kind == RX_ALT ? anchored_alternatives(b, rx, search, coding, &fits)
                                       : anchored_part(b, rx, search, coding, &fits);
        if (fits)
                return out;
        int r = rx_fa(b, rx, search, &a);
        return r ? gr_fail(b, r) : gr_fa(b, &a, coding);
}

/* ---- automata ------------------------------------------------------------------------------------- */

struct check {
        uint32_t from, to;
        enum rx_assert what;
};

struct raw {
        struct nfa nfa;
        struct VEC(struct check) checks;
        bool ascii; /* what is a word for them */
};

static void emit(struct raw *w, const struct rx *rx, uint32_t from, uint32_t to);

static void emit_loop(struct raw *w, const struct rx *part, uint32_t from, uint32_t to)
{
        uint32_t head = nfa_state(&w->nfa), tail = nfa_state(&w->nfa);
        nfa_move(&w->nfa, from, head);
        emit(w, part, head, tail);
        nfa_move(&w->nfa, tail, head);
        nfa_move(&w->nfa, tail, to);
}

static void emit_repeat(struct raw *w, const struct rx *rx, uint32_t from, uint32_t to)
{
        int copies = rx->max < 0 ? rx->min - 1 : rx->max;
        for (int i = 0; i < copies && !w->nfa.err; i++) {
                uint32_t next = nfa_state(&w->nfa);
                if (i >= rx->min)
                        nfa_move(&w->nfa, from, to);
                emit(w, rx->part, from, next);
                from = next;
        }
        if (rx->max < 0)
                emit_loop(w, rx->part, from, to);
        if (rx->max >= 0 || rx->min == 0)
                nfa_move(&w->nfa, from, to);
}

static void emit(struct raw *w, const struct rx *rx, uint32_t from, uint32_t to)
{
        struct nfa *n = &w->nfa;
        if (n->err)
                return;
        switch (rx->kind) {
        case RX_EMPTY:
                nfa_move(n, from, to);
                break;
        case RX_SET:
                for (size_t i = 0; i < rx->n_set; i++)
                        nfa_edge(n, from, rx->set[i].lo, rx->set[i].hi, to);
                break;
        case RX_SEQ:
                for (size_t i = 0; i < rx->n_kids; i++) {
                        uint32_t next = i + 1 < rx->n_kids ? nfa_state(n) : to;
                        emit(w, rx->kids[i], from, next);
                        from = next;
                }
                break;
        case RX_ALT:
                for (size_t i = 0; i < rx->n_kids; i++)
                        emit(w, rx->kids[i], from, to);
                break;
        case RX_REPEAT: {
                /* States of its own: loops must not touch what other branches share. */
                uint32_t head = nfa_state(n), tail = nfa_state(n);
                nfa_move(n, from, head);
                emit_repeat(w, rx, head, tail);
                nfa_move(n, tail, to);
                break;
        }
        case RX_ASSERT:
                w->ascii |= rx->ascii;
                if (vec_push(&w->checks, ((struct check){ from, to, rx->assertion })))
                        n->err = -ENOMEM;
                break;
        }
}

/* What lies on either side of a place in the text. */
enum { IS_END = 1, IS_NEWLINE = 2, IS_WORD = 4, IS_OTHER = 8, IS_ANY = 15 };

/* A state of the resolved automaton: a state of the raw one, what was read last (IS_END: nothing yet), and
 * what may come next. */
struct known {
        uint32_t raw;
        uint8_t last, next;
};

struct resolver {
        const struct raw *raw;
        struct nfa *out;
        struct VEC(struct known) known;
        uint32_t *number; /* of (raw, last, next), + 1 */
        struct charset word, other;
        uint32_t end;
};

static int bit_index(uint8_t bit)
{
        return __builtin_ctz(bit);
}

static uint32_t number_of(struct resolver *v, uint32_t raw, uint8_t last, uint8_t next)
{
        uint32_t *slot = &v->number[((size_t)raw * 4 + (size_t)bit_index(last)) * 16 + next];
        if (!*slot) {
                if (vec_push(&v->known, ((struct known){ raw, last, next })))
                        v->out->err = -ENOMEM;
                uint32_t state = nfa_state(v->out);
                *slot = state + 1;
        }
        return *slot - 1;
}

/* What may come next once an assertion has been passed; 0: it does not hold. */
static uint8_t passed(enum rx_assert what, uint8_t last, uint8_t next)
{
        switch (what) {
        case RX_START:
                return last == IS_END ? next : 0;
        case RX_END:
                return next & IS_END;
        case RX_LINE_START:
                return last & (IS_END | IS_NEWLINE) ? next : 0;
        case RX_LINE_END:
                return next & (IS_END | IS_NEWLINE);
        case RX_WORD_EDGE:
                return last == IS_WORD ? next & ~IS_WORD : next & IS_WORD;
        case RX_NO_WORD_EDGE:
                return last == IS_WORD ? next & IS_WORD : next & ~IS_WORD;
        }
        return 0;
}

/* The first range that does not end before a point. */
static size_t first_from(const struct charset *set, uint32_t point)
{
        size_t lo = 0, hi = set->r.n;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (set->r.p[mid].hi < point)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static void resolve_edge(struct resolver *v, struct known k, uint32_t from, const struct nfa_edge *e)
{
        struct fa_range newline_range = { '\n', '\n' };
        const struct charset newline = { .r = { &newline_range, 1, 1 } };
        const struct {
                uint8_t kind;
                const struct charset *set;
        } kinds[] = { { IS_NEWLINE, &newline }, { IS_WORD, &v->word }, { IS_OTHER, &v->other } };
        for (int i = 0; i < 3; i++) {
                const struct charset *set = kinds[i].set;
                if (!(k.next & kinds[i].kind))
                        continue;
                for (size_t r = first_from(set, e->lo); r < set->r.n && set->r.p[r].lo <= e->hi; r++) {
                        uint32_t lo = e->lo > set->r.p[r].lo ? e->lo : set->r.p[r].lo;
                        uint32_t hi = e->hi < set->r.p[r].hi ? e->hi : set->r.p[r].hi;
                        nfa_edge(v->out, from, lo, hi, number_of(v, e->to, kinds[i].kind, IS_ANY));
                }
        }
}

/* The raw automaton sorted by state would be faster, but patterns with such assertions are short. */
static void resolve_state(struct resolver *v, uint32_t from, uint32_t raw_end)
{
        struct known k = v->known.p[from];
        const struct nfa *n = &v->raw->nfa;
        uint32_t self = v->number[((size_t)k.raw * 4 + (size_t)bit_index(k.last)) * 16 + k.next] - 1;
        if (k.raw == raw_end && k.next & IS_END)
                nfa_move(v->out, self, v->end);
        for (size_t i = 0; i < n->moves.n; i++)
                if (n->moves.p[i].from == k.raw)
                        nfa_move(v->out, self, number_of(v, n->moves.p[i].to, k.last, k.next));
        for (size_t i = 0; i < v->raw->checks.n; i++) {
                const struct check *c = &v->raw->checks.p[i];
                uint8_t next = c->from == k.raw ? passed(c->what, k.last, k.next) : 0;
                if (next)
                        nfa_move(v->out, self, number_of(v, c->to, k.last, next));
        }
        for (size_t i = 0; i < n->edges.n; i++)
                if (n->edges.p[i].from == k.raw)
                        resolve_edge(v, k, self, &n->edges.p[i]);
        int r = gr_step(n->work, (int64_t)(n->moves.n + n->edges.n + v->raw->checks.n) / 4);
        if (r && !v->out->err)
                v->out->err = r;
}

/* Makes of assertions what they say about neighbouring characters. */
static int resolve(const struct raw *raw, uint32_t start, uint32_t end, struct fa *ret)
{
        struct nfa out;
        struct resolver v = { .raw = raw, .out = &out };
        nfa_init(&out, raw->nfa.work);
        v.end = nfa_state(&out);
        class_letter('w', !raw->ascii, &v.word);
        charset_add(&v.other, '\n', '\n');
        charset_add_all(&v.other, &v.word);
        charset_negate(&v.other);
        v.number = mem_calloc((size_t)raw->nfa.n_states, 64 * sizeof(*v.number));
        int r = v.number && !v.word.failed && !v.other.failed ? 0 : -ENOMEM;
        uint32_t first = r ? 0 : number_of(&v, start, IS_END, IS_ANY);
        for (uint32_t i = 0; !r && i < v.known.n && !out.err; i++)
                resolve_state(&v, i, end);
        if (!r)
                r = out.err ? out.err : fa_determinise(&out, first, v.end, MAX_STATES, ret);
        nfa_release(&out);
        charset_release(&v.word);
        charset_release(&v.other);
        vec_release(&v.known);
        mem_free(v.number);
        return r;
}

int rx_fa(struct grammar_builder *b, const struct rx *rx, bool search, struct fa *ret)
{
        struct raw w = { 0 };
        nfa_init(&w.nfa, &b->work);
        uint32_t start = nfa_state(&w.nfa), end = nfa_state(&w.nfa);
        if (search) {
                uint32_t before = nfa_state(&w.nfa), from = nfa_state(&w.nfa), after = nfa_state(&w.nfa);
                nfa_move(&w.nfa, start, before);
                nfa_move(&w.nfa, before, from);
                nfa_move(&w.nfa, after, end);
                for (int i = 0; i < 2; i++) {
                        nfa_edge(&w.nfa, before, rx_any[i].lo, rx_any[i].hi, before);
                        nfa_edge(&w.nfa, after, rx_any[i].lo, rx_any[i].hi, after);
                }
                emit(&w, rx, from, after);
        } else {
                emit(&w, rx, start, end);
        }
        int r = w.nfa.err;
        if (!r && w.nfa.n_states > MAX_STATES && w.checks.n)
                r = -E2BIG;
        if (!r)
                r = w.checks.n ? resolve(&w, start, end, ret)
                               : fa_determinise(&w.nfa, start, end, MAX_STATES, ret);
        nfa_release(&w.nfa);
        vec_release(&w.checks);
        return r;
}

gnode grammar_regex(struct grammar_builder *b, struct str pattern, struct grammar_err *err)
{
        if (b->err)
                return b->err;
        const struct rx *rx = rx_parse(b, pattern, RX_RUST, (struct rx_flags){ 0 }, err);
        gnode out = rx ? rx_part(b, rx, false, GR_UTF8) : b->err;
        if (out == -E2BIG)
                gr_error(err, "", "The regular expression is too large.");
        return gr_settle(b, out);
}
