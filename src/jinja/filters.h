/* What the builtins share: sorting, and work on text as the methods of Python's str do it. */
#ifndef CAIRN_JINJA_FILTERS_H
#define CAIRN_JINJA_FILTERS_H

#include "jinja/run.h"

/* Sorts by key, stable: with `reverse` larger keys come first, and equal ones still keep their order. */
struct sorted {
        struct jv key, v;
};
void jv_sort(struct run *r, struct sorted *a, size_t n, bool reverse);
/* The filter pprint (pprint.c). */
struct jv jv_pprint(struct run *r, struct jv v, const struct jv_args *a);

struct str text_strip_space(struct str s); /* without space at both ends */
struct jv text_lower(struct run *r, struct jv s);
struct jv text_upper(struct run *r, struct jv s);
struct jv text_capitalize(struct run *r, struct jv s);
struct jv text_title(struct run *r, struct jv s); /* str.title(): a word starts after what has no case */
/* Without the characters of `chars` (MISSING or None: space) at the left and the right end. */
struct jv text_strip(struct run *r, struct jv s, struct jv chars, bool left, bool right);
struct jv text_replace(struct run *r, struct jv s, struct jv old, struct jv new, int64_t count);
/* Filled with `fill` to a width: left, right, or on both sides like str.center(). */
enum text_side { TEXT_LEFT, TEXT_RIGHT, TEXT_BOTH };
struct jv text_pad(struct run *r, struct jv s, struct jv width, struct jv fill, enum text_side side);
/* Lines as str.splitlines() finds them. The next one in s from *at: [*ret_start, *ret_end), and *at behind
 * its end; false when there is none. */
bool text_line(struct str s, size_t *at, size_t *ret_start, size_t *ret_end);
/* textwrap.wrap() of one line: appends lines to *list. */
struct wrap_opts {
        int64_t width;
        bool break_long, break_hyphens;
};
void text_wrap(struct run *r, struct jv line, const struct wrap_opts *o, struct jv *list);
#endif
