#include <errno.h>
#include <string.h>
#include "grammar/regex.h"
#include "grammar/schema.h"

/* States of the automaton of a string: its patterns together with its length. */
#define MAX_STATES 60000
#define MAX_LENGTH 10000000

/* Days by month; the 29th of February in leap years only. */
#define YEAR_4 "(?:[02468][48]|[13579][26]|[2468]0)"
#define LEAP_YEAR "(?:[0-9]{2}" YEAR_4 "|" YEAR_4 "00)"
#define DATE                                                                                                \
        "(?:(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-"                                        \
        "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-" \
        "9]|1[0-9]|2[0-8]))"                                                                                \
        "|" LEAP_YEAR "-02-29)"
#define CLOCK "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?"
#define ZONE "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define DUR_SECOND "[0-9]+S"
#define DUR_MINUTE "[0-9]+M(?:" DUR_SECOND ")?"
#define DUR_HOUR "[0-9]+H(?:" DUR_MINUTE ")?"
#define DUR_TIME "T(?:" DUR_HOUR "|" DUR_MINUTE "|" DUR_SECOND ")"
#define DUR_DAY "[0-9]+D"
#define DUR_MONTH "[0-9]+M(?:" DUR_DAY ")?"
#define DUR_YEAR "[0-9]+Y(?:" DUR_MONTH ")?"
#define DURATION "P(?:(?:" DUR_DAY "|" DUR_MONTH "|" DUR_YEAR ")(?:" DUR_TIME ")?|" DUR_TIME "|[0-9]+W)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define SHORT_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,12}[A-Za-z0-9])?"
#define HOST "(?:" LABEL "(?:\\." LABEL "){0,2}|" SHORT_LABEL "(?:\\." SHORT_LABEL "){0,15})"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 BYTE "(?:\\." BYTE "){3}"
#define H16 "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                               \
        "(?:" H16 ":){7}" H16 "|(?:" H16 ":){1,7}:|(?:" H16 ":){1,6}:" H16 "|(?:" H16 ":){1,5}(?::" H16    \
        "){1,2}"                                                                                           \
        "|(?:" H16 ":){1,4}(?::" H16 "){1,3}|(?:" H16 ":){1,3}(?::" H16 "){1,4}|(?:" H16 ":){1,2}(?::" H16 \
        "){1,5}"                                                                                           \
        "|" H16 ":(?::" H16 "){1,6}|:(?:(?::" H16 "){1,7}|:)"                                              \
        "|(?:" H16 ":){6}" IPV4 "|::(?:" H16 ":){0,5}" IPV4 "|" H16 "::(?:" H16 ":){0,4}" IPV4 "|(?:" H16  \
        ":)" H16 "::(?:" H16 ":){0,3}" IPV4 "|(?:" H16 ":){2}" H16 "::(?:" H16 ":){0,2}" IPV4 "|(?:" H16   \
        ":){3}" H16 "::(?:" H16 ":)?" IPV4 "|(?:" H16 ":){4}" H16 "::" IPV4
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define USERINFO "(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@"
#define URI_HOST "(?:\\[(?:" IPV6 ")\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
#define URI                                                                                      \
        "[A-Za-z][A-Za-z0-9+.-]*:(?://(?:" USERINFO ")?" URI_HOST "(?::[0-9]*)?(?:/" PCHAR "*)*" \
        "|/(?:" PCHAR "+(?:/" PCHAR "*)*)?|" PCHAR "+(?:/" PCHAR "*)*|)(?:\\?(?:" PCHAR          \
        "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"

/* RFC 3339, 5321, 1123, 4291, 9562 and 3986 by regular expressions. A host name has 253 characters at most:
 * here it has up to three labels of any length, or up to 16 of at most 14 characters. */
static const struct format {
        const char *name, *regex;
} formats[] = {
        { "date-time", DATE "T" CLOCK ZONE },
        { "date", DATE },
        { "time", CLOCK ZONE },
        { "duration", DURATION },
        { "email", ATOM "(?:\\." ATOM ")*@" HOST },
        { "hostname", HOST },
        { "ipv4", IPV4 },
        { "ipv6", IPV6 },
        { "uuid", "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}" },
        { "uri", URI },
};

static const struct format *format_of(const char *name)
{
        for (size_t i = 0; name && i < sizeof(formats) / sizeof(*formats); i++)
                if (!strcmp(formats[i].name, name))
                        return &formats[i];
        return NULL;
}

bool sc_format_known(const char *name)
{
        return format_of(name) != NULL;
}

/* What a list says about strings. */
struct facts {
        struct VEC(const char *) patterns; /* searched for */
        struct VEC(const struct format *) formats;
        int64_t min, max;
};

static void facts_release(struct facts *f)
{
        vec_release(&f->patterns);
        vec_release(&f->formats);
}

static int facts_of(struct sc *c, const struct sc_list *l, struct facts *ret)
{
        *ret = (struct facts){ 0 };
        ret->min = sc_most(l, "minLength", 0);
        ret->max = sc_least(l, "maxLength", -1);
        for (size_t i = 0; i < l->n; i++) {
                const char *pattern = json_string_value(sc_key(&l->p[i], "pattern"));
                const struct format *format = format_of(json_string_value(sc_key(&l->p[i], "format")));
                if ((pattern && vec_push(&ret->patterns, pattern)) ||
                    (format && vec_push(&ret->formats, format)))
                        return gr_fail(c->b, -ENOMEM);
        }
        return 0;
}

bool sc_string_bounded(const struct sc_list *l)
{
        for (size_t i = 0; i < l->n; i++) {
                const struct sc_entry *e = &l->p[i];
                if (sc_key(e, "minLength") || sc_key(e, "maxLength") || sc_key(e, "pattern") ||
                    format_of(json_string_value(sc_key(e, "format"))))
                        return true;
        }
        return false;
}

static int length_fa(struct sc *c, int64_t min, int64_t max, struct fa *ret)
{
        struct nfa n;
        nfa_init(&n, &c->b->work);
        uint32_t start = nfa_state(&n), end = nfa_state(&n), at = start;
        int64_t top = max < 0 ? min : max;
        for (int64_t i = 0; i <= top && !n.err; i++) {
                uint32_t next = i < top ? nfa_state(&n) : at;
                if (i >= min)
                        nfa_move(&n, at, end);
                for (int k = 0; k < 2 && (i < top || max < 0); k++)
                        nfa_edge(&n, at, rx_any[k].lo, rx_any[k].hi, next);
                at = next;
        }
        int r = n.err ? n.err : fa_determinise(&n, start, end, MAX_STATES, ret);
        nfa_release(&n);
        return r;
}

/* *to, or nothing yet, becomes the intersection with one more, which is released. */
static int intersect_with(struct sc *c, struct fa *to, bool *any, struct fa *more)
{
        struct fa both;
        int r = 0;
        if (*any) {
                r = fa_intersect(to, more, MAX_STATES, &c->b->work, &both);
                fa_release(to);
                fa_release(more);
                if (!r)
                        *to = both;
        } else {
                *to = *more;
                *more = (struct fa){ 0 };
        }
        *any = true;
        return r;
}

static int regex_fa(struct sc *c, const char *pattern, bool search, struct fa *ret)
{
        const struct rx *rx = rx_parse(c->b, str_c(pattern), RX_SCHEMA, (struct rx_flags){ 0 }, NULL);
        return rx ? rx_fa(c->b, rx, search, ret) : c->b->err;
}

int sc_string_fa(struct sc *c, const struct sc_list *l, struct fa *ret)
{
        struct facts f;
        struct fa out = { 0 }, one = { 0 };
        bool any = false;
        int r = facts_of(c, l, &f);
        for (size_t i = 0; !r && i < f.patterns.n; i++) {
                r = regex_fa(c, f.patterns.p[i], true, &one);
                if (!r)
                        r = intersect_with(c, &out, &any, &one);
        }
        for (size_t i = 0; !r && i < f.formats.n; i++) {
                r = regex_fa(c, f.formats.p[i]->regex, false, &one);
                if (!r)
                        r = intersect_with(c, &out, &any, &one);
        }
        if (!r && (!any || f.min > 0 || f.max >= 0)) {
                r = f.min > MAX_STATES || f.max > MAX_STATES ? -E2BIG : length_fa(c, f.min, f.max, &one);
                if (!r)
                        r = intersect_with(c, &out, &any, &one);
        }
        if (r)
                fa_release(&out);
        else
                *ret = out;
        facts_release(&f);
        return r;
}

static gnode in_quotes(struct grammar_builder *b, gnode content)
{
        gnode quote = grammar_literal(b, STR("\""));
        return GR_SEQ_OF(b, quote, content, quote);
}

/* One regular expression and nothing else: without an automaton its counts may be large. */
static gnode only_regex(struct sc *c, const char *pattern, bool search)
{
        const struct rx *rx = rx_parse(c->b, str_c(pattern), RX_SCHEMA, (struct rx_flags){ 0 }, NULL);
        return rx ? in_quotes(c->b, rx_part(c->b, rx, search, GR_JSON)) : c->b->err;
}

gnode sc_string(struct sc *c, const struct sc_list *l)
{
        struct grammar_builder *b = c->b;
        struct facts f;
        gnode out = facts_of(c, l, &f);
        size_t n = f.patterns.n + f.formats.n;
        bool sized = f.min > 0 || f.max >= 0;
        if (out) {
                /* failed */
        } else if (f.max >= 0 && f.max < f.min) {
                out = gr_nothing(b);
        } else if (f.min > MAX_LENGTH || f.max > MAX_LENGTH) {
                out = sc_too_large(c, "The length of the string");
        } else if (!n && !sized) {
                out = json_part(b, PART_STRING, c->flags);
        } else if (!n) {
                out = in_quotes(b, grammar_repeat(b, json_part(b, PART_CHAR, 0), (int)f.min, (int)f.max));
        } else if (n == 1 && !sized) {
                out = f.patterns.n ? only_regex(c, f.patterns.p[0], true)
                                   : only_regex(c, f.formats.p[0]->regex, false);
        } else {
                struct fa a;
                int r = sc_string_fa(c, l, &a);
                out = r == -E2BIG ? sc_too_large(c, "The pattern together with the length")
                      : r         ? gr_fail(b, r)
                                  : in_quotes(b, gr_fa(b, &a, GR_JSON));
        }
        facts_release(&f);
        return out;
}
