/* Free text, and the parts of JSON that do not depend on a schema. */
#include <errno.h>
#include "base/mem.h"
#include "grammar/json_parts.h"
#include "grammar/regex.h"

#define MAX_TEXT_STATES 20000

static void emit_text(struct nfa *n, struct str s, uint32_t from, uint32_t to)
{
        for (size_t at = 0; at < s.n && !n->err;) {
                uint32_t point = utf8_next(s.p, s.n, &at), next = at < s.n ? nfa_state(n) : to;
                if (point == UINT32_MAX) {
                        n->err = -EINVAL;
                        return;
                }
                nfa_edge(n, from, point, point, next);
                from = next;
        }
}

/* The complement of "one of them somewhere": deterministic, it is the automaton of Aho and Corasick (1975).
 */
gnode grammar_text_without(struct grammar_builder *b, const struct str *strings, size_t n)
{
        struct nfa nfa;
        struct fa within = { 0 }, without = { 0 };
        nfa_init(&nfa, &b->work);
        uint32_t start = nfa_state(&nfa), end = nfa_state(&nfa);
        for (int i = 0; i < 2; i++) {
                nfa_edge(&nfa, start, rx_any[i].lo, rx_any[i].hi, start);
                nfa_edge(&nfa, end, rx_any[i].lo, rx_any[i].hi, end);
        }
        for (size_t i = 0; i < n; i++) {
                if (!strings[i].n)
                        nfa.err = -EINVAL;
                emit_text(&nfa, strings[i], start, end);
        }
        int r = b->err ? b->err : nfa.err;
        if (!r)
                r = fa_determinise(&nfa, start, end, MAX_TEXT_STATES, &within);
        if (!r)
                r = fa_complement(&within, rx_any, 2, &b->work, &without);
        fa_release(&within);
        nfa_release(&nfa);
        return r ? gr_fail(b, r) : gr_fa(b, &without, GR_UTF8);
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

/* Deeper lines than this are not indented further: 16 levels of four spaces. */
#define MAX_INDENT 64

static gnode literal(struct grammar_builder *b, const char *s)
{
        return grammar_literal(b, str_c(s));
}

static gnode make_space(struct grammar_builder *b, bool compact)
{
        if (compact)
                return grammar_empty(b);
        gnode spaces = grammar_repeat(b, literal(b, " "), 0, MAX_INDENT);
        gnode tabs = grammar_repeat(b, literal(b, "\t"), 0, MAX_INDENT / 4);
        gnode line = GR_SEQ_OF(b, literal(b, "\n"), GR_ALT_OF(b, spaces, tabs));
        return gr_shared(b, gr_optional(b, GR_ALT_OF(b, literal(b, " "), line)));
}

static gnode make_char(struct grammar_builder *b)
{
        struct charset any = { .r = { (struct fa_range *)(uintptr_t)rx_any, 2, 2 } };
        return gr_chars(b, &any, GR_JSON);
}

static gnode make_string(struct grammar_builder *b)
{
        gnode quote = literal(b, "\"");
        return gr_shared(b, GR_SEQ_OF(b, quote, grammar_repeat(b, json_part(b, PART_CHAR, 0), 0, -1), quote));
}

static gnode regular(struct grammar_builder *b, const char *pattern)
{
        return gr_shared(b, grammar_regex(b, str_c(pattern), NULL));
}

static gnode make_value(struct grammar_builder *b, unsigned flags)
{
        gnode scalars[] = { json_part(b, PART_STRING, flags), json_part(b, PART_NUMBER, flags),
                            literal(b, "true"), literal(b, "false"), literal(b, "null") };
        gnode kinds[] = { grammar_alt(b, scalars, 5), json_part(b, PART_OBJECT, flags),
                          json_part(b, PART_ARRAY, flags) };
        return grammar_alt(b, kinds, 3);
}

gnode json_list(struct grammar_builder *b, const char *open, gnode first, gnode rest, const char *close,
                unsigned flags)
{
        gnode space = json_part(b, PART_SPACE, flags);
        gnode more = grammar_repeat(b, GR_SEQ_OF(b, literal(b, ","), space, rest), 0, -1);
        gnode some = GR_SEQ_OF(b, first, more, space);
        return GR_SEQ_OF(b, literal(b, open), space, gr_optional(b, some), literal(b, close));
}

static gnode make_part(struct grammar_builder *b, enum json_kind kind, unsigned flags)
{
        gnode value = kind == PART_ARRAY || kind == PART_OBJECT ? json_part(b, PART_VALUE, flags) : 0;
        switch (kind) {
        case PART_SPACE:
                return make_space(b, flags & GRAMMAR_COMPACT);
        case PART_CHAR:
                return make_char(b);
        case PART_STRING:
                return make_string(b);
        case PART_INTEGER:
                return regular(b, "-?[1-9][0-9]{0,17}|0");
        case PART_NUMBER:
                return regular(
                        b,
                        "-?(0|[1-9][0-9]{0,17})(\\.[0-9]+)?([eE][+-]?(0?[0-9]{1,2}|1[0-9]{2}|2[0-8][0-9]))?");
        case PART_VALUE:
                return make_value(b, flags);
        case PART_ARRAY:
                return json_list(b, "[", value, value, "]", flags);
        case PART_OBJECT:
                value = GR_SEQ_OF(b, json_part(b, PART_STRING, flags), literal(b, ":"),
                                  json_part(b, PART_SPACE, flags), value);
                return json_list(b, "{", value, value, "}", flags);
        }
        return gr_fail(b, -EINVAL);
}

gnode json_part(struct grammar_builder *b, enum json_kind kind, unsigned flags)
{
        gnode *part = &b->json_parts[flags & GRAMMAR_COMPACT ? 1 : 0][kind];
        if (b->err)
                return b->err;
        if (!*part && (kind == PART_VALUE || kind == PART_ARRAY || kind == PART_OBJECT)) {
                /* They contain each other: known before they are defined. */
                gnode rule = *part = grammar_forward(b);
                grammar_define(b, rule, make_part(b, kind, flags));
                return b->err ? b->err : rule;
        }
        if (!*part)
                *part = make_part(b, kind, flags);
        return *part;
}

gnode grammar_json_object(struct grammar_builder *b, unsigned flags)
{
        return json_part(b, PART_OBJECT, flags);
}
