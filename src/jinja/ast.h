/* A parsed template. Nodes live in the template's arena and never change. */
#ifndef CAIRN_JINJA_AST_H
#define CAIRN_JINJA_AST_H

#include "base/arena.h"
#include "base/vec.h"
#include "jinja/jinja.h"
#include "jinja/value.h"

enum node_kind {
        /* expressions */
        N_CONST,   /* value */
        N_NAME,    /* name, sym */
        N_LIST,    /* items */
        N_TUPLE,   /* items */
        N_DICT,    /* items: key, value, key, ... */
        N_UNARY,   /* op '+' or '-', a */
        N_BINARY,  /* op, a, b */
        N_NOT,     /* a */
        N_AND,     /* a, b */
        N_OR,      /* a, b */
        N_CONCAT,  /* items */
        N_COMPARE, /* a, items of N_OPERAND */
        N_OPERAND, /* op of enum cmp, a */
        N_COND,    /* a if b else c (NULL) */
        N_ATTR,    /* a, name */
        N_ITEM,    /* a, b */
        N_SLICE,   /* a, b, c, each may be NULL; only as b of N_ITEM */
        N_CALL,    /* a, call */
        N_FILTER,  /* a (NULL: what the block holds), name, fn, call */
        N_TEST,    /* a, name, fn, call */
        N_NSREF,   /* name, sym, attr: only as a target */
        /* statements */
        N_BODY,  /* items */
        N_TEXT,  /* name: the text */
        N_PRINT, /* items */
        N_IF,    /* items: condition, body, condition, body, ...; a: else */
        N_FOR,   /* a target, b iterated, c body, items: [filter or NULL, else or NULL]; flag: recursive */
        N_SET,   /* a target, b value */
        N_SET_BLOCK,    /* a target, b filter or NULL, c body */
        N_WITH,         /* items: target, value, ...; c body */
        N_MACRO,        /* macro; c body */
        N_CALL_BLOCK,   /* a call, macro, c body */
        N_FILTER_BLOCK, /* b filter, c body */
        N_SCOPE,        /* c body: what is set inside stays inside */
        N_BREAK,
        N_CONTINUE,
};

enum cmp { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

struct call {
        struct node **args;
        size_t n;
        struct str *kw_name;
        struct node **kw;
        size_t n_kw;
        struct node *star, *star2; /* *args, **kwargs */
};

struct macro_def {
        struct str name;
        struct str *params;
        int *syms;
        struct node **defaults; /* NULL: none */
        size_t n;
        bool uses_caller, uses_varargs, uses_kwargs;
        int caller, varargs, kwargs; /* symbols */
};

struct node {
        uint8_t kind, op;
        bool flag;
        int line;
        struct node *a, *b, *c;
        struct node **items;
        size_t n;
        struct str name, attr;
        int sym;
        const struct jv_builtin *fn; /* NULL: no such filter or test, an error when it is reached */
        union {
                struct call *call;
                struct macro_def *macro;
                struct jv value;
        };
};

struct jinja {
        struct arena *mem;
        struct node *body;
        struct VEC(struct str) symbols; /* names of variables */
        int loop_sym;                   /* -1: `loop` is not mentioned */
};

/* ---- lex.c ---- */

enum tok_kind {
        T_EOF,
        T_DATA,      /* text */
        T_BLOCK,     /* {% */
        T_BLOCK_END, /* %} */
        T_VAR,       /* {{ */
        T_VAR_END,   /* }} */
        T_NAME,
        T_STRING, /* text: unescaped */
        T_INT,
        T_FLOAT,
        T_OP, /* op: one of enum op_tok */
};

/* Single characters stand for themselves. */
enum op_tok { OPT_FLOORDIV = 256, OPT_POW, OPT_EQ, OPT_NE, OPT_LE, OPT_GE };

struct tok {
        uint8_t kind;
        int line, op;
        struct str text;
        int64_t i;
        double f;
};

struct tokens VEC(struct tok);

/* 0, -EINVAL, -ENOMEM, -E2BIG. Texts live in `mem`. */
int jinja_lex(struct arena *mem, struct str source, struct tokens *out, struct jinja_err *err);

/* ---- parse.c ---- */

int jinja_parse(struct jinja *t, const struct tokens *tokens, struct jinja_err *err);
#endif
