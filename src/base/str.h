/* A borrowed run of bytes with its length. It is not NUL-terminated and owns nothing. */
#ifndef CAIRN_BASE_STR_H
#define CAIRN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
        const char *p;
        size_t n;
};

#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })
/* The same as a static initialiser. */
#define STR_INIT(literal)                      \
        {                                      \
                (literal), sizeof(literal) - 1 \
        }
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p

struct str str_c(const char *s); /* NULL gives the empty string */
bool str_eq(struct str a, struct str b);
bool str_eqc(struct str a, const char *b);
bool str_ieqc(struct str a, const char *b); /* ASCII case ignored */
bool str_starts(struct str s, const char *prefix);
struct str str_trim(struct str s); /* without leading and trailing spaces and tabs */
/* The part before the first `sep`; *rest gets what follows it, or {NULL, 0} when there is none. */
struct str str_split(struct str s, char sep, struct str *rest);
/* Whole-string decimal; false on anything else or on overflow. */
bool str_to_i64(struct str s, int64_t *ret);
bool str_to_f64(struct str s, double *ret); /* finite decimals only */
/* Valid UTF-8 by RFC 3629 (no surrogates, no overlong forms). */
bool str_is_utf8(struct str s);
/* Length of the longest prefix of s that does not end inside a UTF-8 sequence. */
size_t str_utf8_complete(struct str s);
/* Writes 2 * n lower-case hexadecimal digits and a NUL; returns ret. */
char *str_hex(const void *bytes, size_t n, char *ret);
/* FNV-1a. */
uint64_t str_hash(struct str s);
/* The hash of what gave `hash` followed by s. */
uint64_t str_hash_more(uint64_t hash, struct str s);
#endif
