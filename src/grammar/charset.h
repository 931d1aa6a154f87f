/* Sets of Unicode scalar values, and how they are written in bytes. */
#ifndef CAIRN_GRAMMAR_CHARSET_H
#define CAIRN_GRAMMAR_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/vec.h"
#include "grammar/fa.h"

#define CHAR_MAX_POINT 0x10ffffu

/* Sorted, disjoint, without surrogates, once charset_settle has run; every function but charset_add takes and
 * leaves settled sets. */
struct charset {
        struct VEC(struct fa_range) r;
        bool failed; /* sticky: memory was out */
};

void charset_release(struct charset *c);
void charset_add(struct charset *c, uint32_t lo, uint32_t hi);
void charset_add_all(struct charset *c, const struct charset *more);
void charset_settle(struct charset *c);
void charset_negate(struct charset *c); /* all scalar values that are not in it */
void charset_intersect(struct charset *c, const struct charset *with);
bool charset_has(const struct charset *c, uint32_t point);
/* Adds what differs from a member by simple case folding only. */
void charset_fold(struct charset *c);

/* How characters stand in the text that the grammar is about. */
enum gr_coding {
        GR_UTF8, /* as themselves */
        GR_JSON, /* within a JSON string (RFC 8259): escaped where they must be; beyond ASCII also as \uXXXX,
                    so that what JSON writers commonly produce is all reachable */
};

/* Edges that read one character of the ranges (sorted, disjoint), from `from` to `to`. */
void charset_emit(struct nfa *n, const struct fa_range *r, size_t count, enum gr_coding coding, uint32_t from,
                  uint32_t to);

/* The next character of UTF-8 text at *at, which moves on; UINT32_MAX when it is malformed. */
uint32_t utf8_next(const char *p, size_t n, size_t *at);
#endif
