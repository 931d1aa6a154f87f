/* Tables of the Unicode Character Database that regular expressions need. unicode_tables.inc is made at build
 * time by tools/gen_grammar_unicode.py. */
#ifndef CAIRN_GRAMMAR_UNICODE_H
#define CAIRN_GRAMMAR_UNICODE_H

#include <stddef.h>
#include <stdint.h>
#include "grammar/fa.h"

/* General categories: "Lu", "Nd", ... */
struct unicode_class {
        char name[3];
        uint16_t n;
        const struct fa_range *ranges; /* sorted, disjoint */
};
extern const struct unicode_class unicode_classes[];
extern const size_t unicode_n_classes;

/* Pairs that simple case folding makes equal, both ways, sorted by `from`. */
struct unicode_fold {
        uint32_t from, to;
};
extern const struct unicode_fold unicode_folds[];
extern const size_t unicode_n_folds;
/* The first pair whose `from` is at least `point`. */
size_t unicode_fold_from(uint32_t point);
#endif
