/* Regular expressions: syntax to parts of a grammar, or to an automaton over characters. Internal to this
 * folder.
 *
 * What cannot be a regular language is refused: look-around, back-references, atomic groups. Lazy repetition
 * is repetition: which match is found first does not change which texts match. */
#ifndef CAIRN_GRAMMAR_REGEX_H
#define CAIRN_GRAMMAR_REGEX_H

#include <stdbool.h>
#include "grammar/build.h"

enum rx_dialect {
        RX_RUST,   /* docs.rs/regex, Unicode classes; also Python's spellings, for Lark */
        RX_SCHEMA, /* ECMA-262 with the u flag, as JSON Schema's "pattern" */
};

enum rx_kind { RX_EMPTY, RX_SET, RX_SEQ, RX_ALT, RX_REPEAT, RX_ASSERT };

enum rx_assert { RX_START, RX_END, RX_LINE_START, RX_LINE_END, RX_WORD_EDGE, RX_NO_WORD_EDGE };

struct rx {
        enum rx_kind kind;
        enum rx_assert assertion;
        int min, max;          /* REPEAT; max -1: no limit */
        const struct rx *part; /* REPEAT */
        const struct rx **kids;
        size_t n_kids;
        const struct fa_range *set; /* SET */
        size_t n_set;
        bool asserts; /* there is an assertion somewhere in it */
        bool ascii;   /* ASSERT: words are of ASCII */
};

/* Initial flags, as in (?is). */
struct rx_flags {
        bool ignore_case, dot_all, multi_line, spaced;
};

/* The tree lives in the builder's memory. NULL: *err says why, and the builder has failed with -EINVAL or
 * what befell it. */
const struct rx *rx_parse(struct grammar_builder *b, struct str pattern, enum rx_dialect dialect,
                          struct rx_flags flags, struct grammar_err *err);
/* Texts that match as a whole, or, with `search`, texts within which there is a match. */
gnode rx_part(struct grammar_builder *b, const struct rx *rx, bool search, enum gr_coding coding);
/* The same as an automaton over characters. 0, -E2BIG, -ECANCELED, -ENOMEM. */
int rx_fa(struct grammar_builder *b, const struct rx *rx, bool search, struct fa *ret);

/* Any scalar value. */
extern const struct fa_range rx_any[2];
#endif
