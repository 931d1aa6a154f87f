/* JSON trees: the only user of jansson. Everybody includes this header, never <jansson.h>. */
#ifndef CAIRN_BASE_JSON_H
#define CAIRN_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/str.h"

struct arena;

struct json_fault {
        char msg[160]; /* what is wrong, with line and column */
        size_t offset;
        bool no_memory; /* not the text's fault */
};

/* Once, before threads: seeds the hash and routes jansson's memory through base/mem. */
void json_setup(void);
/* Parses one complete value. Rejects duplicate keys, invalid UTF-8, NaN, integers beyond int64, nesting
 * deeper than max_depth, trailing bytes. A NUL inside a string is kept. NULL on error, *reterr filled. */
json_t *json_parse(struct str text, int max_depth, struct json_fault *reterr);
/* How many values the text of a JSON value holds at most, without parsing it: what a tree of it costs. */
size_t json_values(struct str text);
/* Serialises compactly. Reals get 15 significant digits (17 when 15 would not round-trip is not needed
 * on the wire). 0 or buf_error(). */
int json_write(const json_t *v, struct buf *out);
/* Same into a new string of mem_alloc; NULL when memory is out. */
char *json_text(const json_t *v, size_t *ret_n);
/* Same as a string that ends with a NUL and is freed with the arena; {NULL, 0} when v is NULL or memory is
 * out. */
struct str json_arena_text(struct arena *a, const json_t *v);

/* Lookups that accept any type and NULL: absent, null and wrong type give the default. */
json_t *json_get(const json_t *obj, const char *key); /* NULL when absent or null */
struct str json_str(const json_t *obj, const char *key);
const char *json_cstr(const json_t *obj, const char *key, const char *dflt);
int64_t json_int(const json_t *obj, const char *key, int64_t dflt);
double json_num(const json_t *obj, const char *key, double dflt);
bool json_flag(const json_t *obj, const char *key, bool dflt);
struct str json_as_str(const json_t *v); /* {"",0} unless a string */
/* Sets key to v, consuming v even on failure; a NULL v is a failure (-ENOMEM). */
int json_put(json_t *obj, const char *key, json_t *v);
json_t *json_strn(struct str s); /* new string; NULL when s is not valid UTF-8 */
/* Frees v with the arena; returns v (NULL stays NULL). */
json_t *json_keep(struct arena *a, json_t *v);
#endif
