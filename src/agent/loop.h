/* The turn loop: runs a model until its answer is whole, and tells what happens as typed events. Chat
 * Completions and Responses are two renderings of the same events.
 *
 * An answer is a list of items in the order in which the model says them: reasoning, messages, calls of
 * tools. One item is open at a time. */
#ifndef CAIRN_AGENT_LOOP_H
#define CAIRN_AGENT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/ids.h"
#include "base/json.h"
#include "models/turn.h"

struct agent_run;

/* Copied by agent_start, except what `turn` says. */
struct agent_req {
        struct turn_req turn; /* messages, tools, sampling, bounds */
        bool truncate; /* drop the oldest messages (never system ones) instead of refusing with -E2BIG */
};

enum agent_item_kind { AGENT_REASONING, AGENT_MESSAGE, AGENT_CALL };

struct agent_item {
        enum agent_item_kind kind;
        bool custom;          /* AGENT_CALL: of a custom tool; `text` is its input */
        bool whole;           /* not cut off by a limit */
        int index;            /* its place in the answer */
        int call;             /* AGENT_CALL: its place among the calls */
        char id[ID_MAX];      /* "rs_", "msg_", "fc_" or "ctc_" and digits */
        char call_id[ID_MAX]; /* AGENT_CALL: "call_" and characters */
        char *name;           /* AGENT_CALL: of the tool */
        struct buf text;      /* what was said, thought, or the arguments as JSON text */
        json_t *logprobs;     /* AGENT_MESSAGE: array of token objects; NULL unless asked for */
};

enum agent_kind {
        AGENT_ITEM_BEGIN, /* item: has its ids and name */
        AGENT_DELTA,      /* item; text: its next piece; logprobs: of that piece, or NULL */
        AGENT_ITEM_END,   /* item: complete */
        AGENT_DONE,       /* the last event; agent_outcome() is valid */
};

struct agent_event {
        enum agent_kind kind;
        const struct agent_item *item; /* NULL with AGENT_DONE */
        struct str text;
        json_t *logprobs; /* borrowed array of token objects */
};

/* On the model's thread, must not block. The event is always taken; false asks for no further ones until
 * agent_resume. */
struct agent_sink {
        bool (*on_event)(void *ctx, struct agent_run *run, const struct agent_event *ev);
        void *ctx;
};

struct agent_outcome {
        enum engine_finish finish;
        struct engine_usage usage;
        int reasoning_tokens; /* of usage.completion_tokens */
        int calls;            /* items that are calls */
        const char *error;    /* ENGINE_ERROR: a sentence */
};

/* 0 and a handle in *ret (released by agent_unref), set before the first event: events may begin before the
 * return. On failure *ret is NULL. Errors are those of turn_start, as is how long it takes. */
int agent_start(const struct agent_req *req, const struct agent_sink *sink, struct agent_run **ret,
                struct turn_err *err);
void agent_cancel(struct agent_run *run); /* any thread; AGENT_DONE follows soon */
void agent_resume(struct agent_run *run); /* any thread */
void agent_unref(struct agent_run *run);  /* accepts NULL */

/* The items so far: on the model's thread, or after AGENT_DONE. An answer that ended well has at least one.
 */
size_t agent_items(const struct agent_run *run);
const struct agent_item *agent_item(const struct agent_run *run, size_t i);
const struct agent_outcome *agent_outcome(const struct agent_run *run);
/* The text of all items of one kind, joined: a new string; NULL when there is no such item, or no memory. */
json_t *agent_said(const struct agent_run *run, enum agent_item_kind kind);

/* The text of a token for people: bytes that are no whole UTF-8 character are written as \xe2. */
json_t *agent_token_text(struct str piece);
#endif
