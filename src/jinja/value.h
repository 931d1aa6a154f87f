/* Values of a running template: Python's types, as far as Jinja shows them, in a render's arena.
 *
 * Lists, tuples and dicts never change once they are made (the sandbox of Transformers refuses the methods
 * that would), so values are copied by handle. Strings are valid UTF-8; positions in them count characters,
 * as Python's do. Every byte of a string knows whether it came from data; so do numbers, which leave their
 * mark on what is printed of them.
 *
 * Functions that fail do not return: see run.h. */
#ifndef CAIRN_JINJA_VALUE_H
#define CAIRN_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct run;
struct node;

enum jv_kind {
        JV_MISSING, /* no value: an argument that was not given, a name that is not set */
        JV_UNDEF,   /* Jinja's Undefined */
        JV_NONE,
        JV_BOOL,
        JV_INT,
        JV_FLOAT,
        JV_STR,
        JV_LIST,
        JV_TUPLE,
        JV_GEN,  /* a generator: a list that is read once */
        JV_KEYS, /* the three views of a dict */
        JV_VALUES,
        JV_ITEMS,
        JV_DICT,
        JV_RANGE,
        JV_NAMESPACE,
        JV_MACRO,
        JV_METHOD, /* a builtin, bound to the value it was taken from or to nothing */
        JV_LOOP,
        JV_CYCLER,
        JV_JOINER,
};

struct jv {
        uint8_t kind;
        bool data; /* made from data; for a string with marks see jv_str */
        union {
                bool b;
                int64_t i;
                double f;
                const struct jv_str *s;
                struct jv_list *l;
                struct jv_dict *d; /* DICT, NAMESPACE */
                const struct jv_undef *u;
                const struct jv_range *r;
                const struct jv_macro *m;
                const struct jv_method *fn;
                struct jv_loop *loop;
                struct jv_turns *turns; /* CYCLER, JOINER */
        };
};

struct jv_str {
        const char *p;
        const uint8_t *mark; /* n flags "from data", or NULL: all as the value's `data` says */
        size_t n;
        bool markup; /* HTML-escaped text (Markup): what is added to it gets escaped */
};

struct jv_list {
        struct jv *v;
        size_t n, cap;
        size_t at;  /* GEN: how many have been taken */
        bool group; /* a (grouper, list) pair of groupby */
};

/* In order of insertion. */
struct jv_dict {
        struct jv *keys, *vals;
        uint32_t *index; /* positions + 1 by hash, once there are many */
        size_t n, cap, mask;
};

/* Why a value is undefined, told when it is used. */
struct jv_undef {
        const char *hint; /* the message, or NULL: made of the rest */
        struct jv name;   /* what was looked for */
        const char *of;   /* the type of the value that it was looked for in; NULL: a variable */
        bool unsafe;      /* the sandbox forbids the attribute */
};

struct jv_range {
        int64_t start, stop, step;
        size_t n;
};

struct jv_args {
        struct jv *v;
        size_t n;
        struct str *kw_name;
        struct jv *kw;
        size_t n_kw;
};

/* A filter, test, function or method. `params` names the parameters, so that they can be given by keyword
 * and the function sees each at its place, JV_MISSING when not given; NULL: it takes what comes. */
struct jv_builtin {
        const char *name;
        struct jv (*fn)(struct run *r, struct jv self, const struct jv_args *a);
        const char *params;
        uint8_t required;
};

struct jv_method {
        const struct jv_builtin *fn;
        struct jv self;
};

struct jv_macro {
        const struct node *def;
        struct scope *scope; /* where it was defined */
};

/* A cycler's items and position; a joiner's separator and whether it was used. */
struct jv_turns {
        struct jv items;
        size_t at;
};

/* ---- making --------------------------------------------------------------------------------------- */

#define JV_NONE_VALUE ((struct jv){ .kind = JV_NONE })

struct jv jv_bool(bool b);
struct jv jv_int(int64_t i);
struct jv jv_float(double f);
struct jv jv_undef(struct run *r, const char *hint); /* hint: constant text */
struct jv jv_undef_name(struct run *r, struct str name);
struct jv jv_undef_item(struct run *r, struct jv of, struct jv name, bool unsafe);
/* A string of bytes that live as long as the render. */
struct jv jv_str(struct run *r, struct str s, bool data);
struct jv jv_cstr(struct run *r, const char *literal);
struct jv jv_list(struct run *r, enum jv_kind kind, size_t cap);
void jv_push(struct run *r, struct jv *list, struct jv v);
struct jv jv_pair(struct run *r, struct jv a, struct jv b); /* a tuple of two */
struct jv jv_dict(struct run *r, size_t cap);
void jv_put(struct run *r, struct jv *dict, struct jv key, struct jv v);

/* ---- asking --------------------------------------------------------------------------------------- */

struct str jv_text(struct jv s); /* the bytes of a string */
bool jv_is(struct jv v, const char *text);
bool jv_number(struct jv v);  /* bool, int, float */
bool jv_is_list(struct jv v); /* kept as a jv_list */
bool jv_truth(struct run *r, struct jv v);
bool jv_equal(struct run *r, struct jv a, struct jv b);
int jv_compare(struct run *r, struct jv a, struct jv b, const char *op); /* op for the message */
bool jv_contains(struct run *r, struct jv seq, struct jv v);
/* The value of a key, NULL when there is none. A key that cannot be one fails. */
const struct jv *jv_get(struct run *r, struct jv dict, struct jv key);
const struct jv *jv_get_str(const struct jv_dict *d, struct str key);
bool jv_hashable(struct jv v);
const char *jv_type(struct jv v);             /* Python's name: "str", "dict" */
size_t jv_length(struct run *r, struct jv v); /* len(); fails for what has none */
/* The elements as a list: the very list where there is one, so it must not be changed. Takes what a
 * generator still has. Fails for what cannot be iterated. */
const struct jv_list *jv_iterate(struct run *r, struct jv v);
bool jv_iterable(struct jv v);
double jv_as_float(struct jv number);
int64_t jv_as_int(struct run *r, struct jv v, const char *what); /* int or bool; fails otherwise */

/* ---- arithmetic (number.c) ------------------------------------------------------------------------ */

enum jv_op { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW };

struct jv jv_arith(struct run *r, enum jv_op op, struct jv a, struct jv b);
struct jv jv_negate(struct run *r, struct jv v, bool plus);
#define JV_FLOAT_TEXT 40
/* As Python's repr: the shortest that reads back. */
size_t jv_float_text(double f, char out[JV_FLOAT_TEXT]);

/* ---- building text -------------------------------------------------------------------------------- */

struct text {
        struct run *r;
        char *p;
        uint8_t *mark; /* NULL while all bytes are of one origin */
        size_t n, cap;
        bool data; /* the origin of all, while there is no mark */
};

struct text text_new(struct run *r);
void text_add(struct text *t, const char *p, size_t n, bool data);
void text_adds(struct text *t, const char *s, bool data);
void text_addv(struct text *t, struct jv s);                         /* a string */
void text_part(struct text *t, struct jv s, size_t from, size_t to); /* some of its bytes */
void text_fill(struct text *t, struct jv ch, size_t n);              /* n times */
void text_str(struct text *t, struct jv v);                          /* str(v) */
void text_repr(struct text *t, struct jv v);                         /* repr(v) */
void text_char(struct text *t, uint32_t c, bool data);
struct jv text_value(struct text *t, bool markup);

struct jv jv_to_str(struct run *r, struct jv v); /* str(v), v itself when it is a string */
struct jv jv_part(struct run *r, struct jv s, size_t from, size_t to); /* bytes [from, to) */
struct jv jv_concat(struct run *r, struct jv a, struct jv b);
struct jv jv_escape(struct run *r, struct jv v); /* HTML; a Markup string */
bool jv_data_at(struct jv s, size_t i);          /* where byte i of a string came from */

/* ---- JSON (tojson.c) ------------------------------------------------------------------------------ */

extern const struct jv_builtin jv_tojson;
#endif
