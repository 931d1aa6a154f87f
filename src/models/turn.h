/* A turn is one sampling of one model: a conversation or tokens in, typed events out. Everything that asks a
 * model for text goes through here, whatever runs the model.
 *
 * How a model family writes reasoning and tool calls is known below this header only (format.h): the
 * rendering of a request, the grammar that holds the model to it, and the reading of what comes out. */
#ifndef CAIRN_MODELS_TURN_H
#define CAIRN_MODELS_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/json.h"
#include "base/str.h"
#include "engine/engine.h"

struct model;
struct turn;

/* A tool that the model may call. Function tools take JSON, custom tools text. */
struct turn_tool {
        bool custom;
        struct str name;
        struct str description;   /* may be empty */
        const json_t *parameters; /* function: JSON Schema of the arguments; NULL: there are none */
        bool strict;           /* function: the schema keeps to the strict subset and holds exactly; else it
                                  holds as far as it can be enforced */
        struct str syntax;     /* custom: "" (any text), "lark" or "regex" */
        struct str definition; /* custom: the grammar of the input */
};

enum turn_choice { TURN_AUTO, TURN_NONE, TURN_REQUIRED };

enum turn_format { TURN_FORMAT_TEXT, TURN_FORMAT_OBJECT, TURN_FORMAT_SCHEMA };

enum turn_effort {
        TURN_EFFORT_DEFAULT,
        TURN_EFFORT_NONE,
        TURN_EFFORT_MINIMAL,
        TURN_EFFORT_LOW,
        TURN_EFFORT_MEDIUM,
        TURN_EFFORT_HIGH,
        TURN_EFFORT_XHIGH,
        TURN_EFFORT_MAX,
};

/* Used during turn_start and turn_count only. Exactly one of messages and tokens is given; tools, format and
 * effort are for messages. */
struct turn_req {
        const struct model *model;
        const json_t *messages; /* array of {role, content: string or null, tool_calls: [{id, type:
                                   "function", function: {name, arguments: JSON text or object}} or {id, type:
                                   "custom", custom: {name, input}}], tool_call_id, reasoning_content},
                                   whatever of these applies; the result of a call has role "tool" */
        const int32_t *tokens;
        size_t n_tokens;
        const struct turn_tool *tools; /* all that the model is told of */
        size_t n_tools;
        enum turn_choice choice;
        const struct str *allowed; /* names that may be called; NULL: all tools. A named choice is
                                      TURN_REQUIRED and one name */
        size_t n_allowed;
        bool parallel; /* more than one call in a turn */
        enum turn_format format;
        const json_t *schema; /* TURN_FORMAT_SCHEMA */
        bool strict;          /* the schema keeps to OpenAI's strict subset */
        enum turn_effort effort;
        struct engine_sampling sampling;
        int max_tokens;         /* < 0: until the context is full */
        const struct str *stop; /* matched in the answer, not in reasoning and arguments */
        size_t n_stop;
        int logprobs;              /* -1: none, else alternatives per token, 0..20 */
        bool prompt_logprobs;      /* also TURN_PROMPT events */
        int priority;              /* higher is admitted first */
        uint64_t owner;            /* whose request it is (a project): owners of equal priority take turns */
        struct str prediction;     /* text that the answer probably is; empty: none */
        bool keep;                 /* KV may be kept on disk for the conversation to go on */
        int fail_after;            /* CAIRN_FAULTS builds: fails after this many text events; 0: never */
        bool (*cancel)(void *ctx); /* polled while a grammar is compiled; true: -ECANCELED. May be NULL */
        void *cancel_ctx;
};

enum turn_kind {
        TURN_PROMPT,     /* tokens: the next records of the prompt */
        TURN_TEXT,       /* text: the next piece of the answer, valid UTF-8; tokens: what it completes */
        TURN_REASONING,  /* text: the next piece of reasoning, valid UTF-8 */
        TURN_CALL_BEGIN, /* call, name, custom: the model starts to call a tool */
        TURN_CALL_INPUT, /* call, text: the next piece of its arguments (JSON text) or of a custom tool's
                          * input
                          */
        TURN_CALL_END,   /* call: the call is whole. One that max_tokens cut has no such event */
        TURN_DONE,
};

/* Valid during the callback only. */
struct turn_event {
        enum turn_kind kind;
        struct str text;
        const struct engine_token *tokens; /* TEXT and PROMPT, when logprobs were asked for */
        size_t n_tokens;
        int call;        /* 0, 1, ... in order of appearance; a call ends before anything else begins */
        struct str name; /* CALL_BEGIN: always one of the tools */
        bool custom;     /* CALL_BEGIN */
        bool last;       /* generation is over: what was held back until now; like DONE, not refused */
        /* DONE only */
        enum engine_finish finish; /* ENGINE_STOP also after calls */
        struct engine_usage usage;
        int reasoning_tokens; /* of usage.completion_tokens */
        const char *error;    /* ENGINE_ERROR: a sentence */
};

/* on_event runs on the model's thread and must not block. false means "full": the same event comes again
 * after turn_resume, unless it is `last`. TURN_DONE comes exactly once, last, and is not refused. */
struct turn_sink {
        bool (*on_event)(void *ctx, const struct turn_event *ev);
        void *ctx;
};

/* What is wrong with a request that could not be started. */
struct turn_err {
        enum turn_err_field {
                TURN_ERR_OTHER,
                TURN_ERR_MESSAGES, /* msg: the template's words */
                TURN_ERR_TOOL,     /* the schema of tools[tool], or its grammar */
                TURN_ERR_SCHEMA,   /* of the answer */
        } field;
        size_t tool;
        size_t prompt_tokens; /* of the rendered prompt, as far as it came to that; else 0 */
        char msg[512];        /* a sentence, empty when the error number says it all */
        char path[256];       /* within the schema or grammar, may be empty */
};

/* 0 and a handle in *ret, to be released with turn_unref; events may come before the return. Without an
 * event: -E2BIG (the prompt does not fit, err->prompt_tokens says its length, 0 when it is too long even for
 * the template; or with a field, what it names is too large), -EAGAIN (too many wait), -EBUSY (the model is
 * still being loaded), -ENOTSUP (messages for a model that has no chat template), -EINVAL (a schema or
 * grammar that is not supported, or messages that the template refuses: err says which), -ECANCELED, -ENOMEM.
 * Rendering and compiling schemas take time: call it from a worker thread. err may be NULL. */
int turn_start(const struct turn_req *req, const struct turn_sink *sink, struct turn **ret,
               struct turn_err *err);
/* Any thread. TURN_DONE(cancelled) follows soon unless the turn was over. */
void turn_cancel(struct turn *t);
void turn_resume(struct turn *t);
void turn_unref(struct turn *t); /* accepts NULL */

/* Tokens that the request takes as a prompt, or a negative error as above. Compiles no grammar. */
long turn_count(const struct turn_req *req, struct turn_err *err);
#endif
