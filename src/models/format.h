/* How model families write reasoning and tool calls. A format is what a family has in common; an idiom is
 * what one model makes of it: which of the markers are control tokens of its vocabulary, and what its chat
 * template knows. Idioms are found out when a model is loaded and constant afterwards.
 *
 * Three users: prompt.h renders a request, guide.h makes the grammar that holds the model to the format, and
 * reader.h takes the output apart again. */
#ifndef CAIRN_MODELS_FORMAT_H
#define CAIRN_MODELS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct arena;
struct engine_model;

enum format_shape {
        FORMAT_JSON,     /* open {"name": "f", "arguments": {...}} close */
        FORMAT_LIST,     /* open [{"name": "f", "arguments": {...}}, ...] close */
        FORMAT_NAMED,    /* open f sep {...} close */
        FORMAT_CHANNELS, /* harmony: messages with headers that say to whom they go */
};

/* Markers as the family spells them; empty where it has none. */
struct format {
        const char *name;
        enum format_shape shape;
        const char *section, *section_end; /* around all calls */
        const char *open, *close;          /* around a call, or around the list of them */
        const char *before, *after;        /* white space between those and what they enclose */
        const char *between;               /* from one call to the next */
        const char *sep;                   /* FORMAT_NAMED: between name and arguments */
        const char *args;                  /* the member that holds the arguments */
        bool bare;                         /* a call may be all of an answer, without `open` */
        const char *think, *think_end;     /* around reasoning, unless the template says otherwise */
};

/* A control token within a text: its spelling between two bytes that no UTF-8 has. What a model writes is one
 * stream in this form, so that a marker is looked for in one way whether the vocabulary has it as a token or
 * the model spells it out, and text never passes for a control token. */
#define FORMAT_CONTROL '\xff'
#define FORMAT_CONTROL_END '\xfe'

/* Variables that a chat template asks for. */
enum {
        FORMAT_VAR_THINKING = 1, /* enable_thinking */
        FORMAT_VAR_THINK = 2,    /* thinking */
        FORMAT_VAR_EFFORT = 4,   /* reasoning_effort */
        FORMAT_VAR_SCHEMA = 8,   /* response_schema */
        FORMAT_VAR_CHOICE = 16,  /* tool_choice */
        FORMAT_VAR_PARALLEL = 32 /* parallel_tool_calls */
};

struct idiom {
        const struct format *format;
        struct str section, section_end, open, close, sep, think, think_end; /* in the form above */
        bool reasons;        /* the model may write reasoning, which the reader tells from the answer */
        bool tells;          /* the template tells the model of tools; else a system message of ours does */
        bool remembers;      /* the template renders calls and their results; else they are told as text */
        bool text_args;      /* ... and wants the arguments of calls as JSON text, not as objects */
        bool one_call;       /* ... one to a message: several are told as one message after another */
        bool text_apart;     /* ... and shows what was said before a call as a message of its own only */
        bool system;         /* the template takes a system message */
        bool late;           /* ... and shows those that come later; else they are the user's */
        bool short_ids;      /* ... and ids of calls of nine letters and digits */
        bool trained;        /* the model was made for calling tools: its template says so */
        unsigned vars;       /* FORMAT_VAR_... */
        struct arena *arena; /* of the markers */
};

/* The format of this name, NULL when there is none. */
const struct format *format_find(struct str name);
/* In order of the table; NULL at its end. */
const struct format *format_at(size_t i);

/* The ids of control tokens by their spelling, -1 for what is none. */
struct format_vocab {
        int32_t (*control)(void *ctx, struct str spelling);
        void *ctx;
};
/* That of a model, which must outlive it. */
struct format_vocab format_vocab_of(const struct engine_model *m);

/* The idiom of a format over a vocabulary, of a model whose template knows all that the format needs.
 * NULL when memory is out. */
struct idiom *idiom_new(const struct format *f, const struct format_vocab *vocab);
/* The idiom of a model with a chat template, found out by reading and trying the template. `name`: the
 * format that the operator says it is, NULL or empty: to be found out. 0; -EINVAL (no such format; -ENOTSUP:
 * no chat template); -ENOMEM. */
int idiom_detect(const struct engine_model *m, const char *name, struct idiom **ret);
void idiom_free(struct idiom *d); /* accepts NULL */
#endif
