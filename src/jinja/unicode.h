/* Characters as Python sees them: UTF-8, classes and case. The tables (unicode.inc) are made by
 * tools/gen_unicode.py from the Unicode Character Database. */
#ifndef CAIRN_JINJA_UNICODE_H
#define CAIRN_JINJA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

/* The character at p, and its length in bytes. The text is valid UTF-8 and not empty. */
size_t uni_next(const char *p, uint32_t *ret);
/* Bytes of the character that ends before p + at; at > 0. */
size_t uni_back(const char *p, size_t at);
size_t uni_put(uint32_t c, char out[4]); /* bytes written */
size_t uni_count(struct str s);          /* characters */
/* The byte where character i starts; s.n when there are not that many. */
size_t uni_offset(struct str s, size_t i);

enum uni_class {
        UNI_ALPHA,
        UNI_LOWER,
        UNI_UPPER,
        UNI_TITLE,
        UNI_DECIMAL,
        UNI_DIGIT,   /* decimal digits, superscripts and the like */
        UNI_NUMERIC, /* those and fractions, Roman numerals, ... */
        UNI_SPACE,
        UNI_UNPRINTABLE, /* repr escapes it */
        UNI_CLASSES,
};
bool uni_is(uint32_t c, enum uni_class k);
bool uni_alnum(uint32_t c);

#define UNI_CASE_MAX 3 /* characters that one becomes at most */
/* The case mappings of one character (full, without context); returns how many it becomes. */
size_t uni_upper(uint32_t c, uint32_t out[UNI_CASE_MAX]);
size_t uni_lower(uint32_t c, uint32_t out[UNI_CASE_MAX]);
size_t uni_title(uint32_t c, uint32_t out[UNI_CASE_MAX]);
#endif
