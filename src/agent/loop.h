/* The turn loop: runs a model until its answer is whole, and tells what happens as typed events. Chat
 * Completions and Responses are two renderings of the same events. */
#ifndef CAIRN_AGENT_LOOP_H
#define CAIRN_AGENT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include "base/json.h"
#include "models/turn.h"

struct agent_run;

/* Copied by agent_start, except what `turn` says. */
struct agent_req {
        struct turn_req turn; /* messages, sampling, bounds */
        bool truncate; /* drop the oldest messages (never system ones) instead of refusing with -E2BIG */
};

enum agent_kind {
        AGENT_MESSAGE_BEGIN, /* the assistant starts a message */
        AGENT_TEXT,          /* text: its next piece; logprobs: of that piece, or NULL */
        AGENT_MESSAGE_END,   /* the message is whole; agent_text() has it */
        AGENT_DONE,          /* the last event; agent_outcome() is valid */
};

struct agent_event {
        enum agent_kind kind;
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
        const char *error; /* ENGINE_ERROR: a sentence */
};

/* 0 and a handle in *ret (released by agent_unref), set before the first event: events may begin before the
 * return. On failure *ret is NULL. Errors are
 * those of turn_start. */
int agent_start(const struct agent_req *req, const struct agent_sink *sink, struct agent_run **ret,
                struct turn_err *err);
void agent_cancel(struct agent_run *run); /* any thread; AGENT_DONE follows soon */
void agent_resume(struct agent_run *run); /* any thread */
void agent_unref(struct agent_run *run);  /* accepts NULL */

/* The text so far, and its logprobs (NULL unless asked for): on the model's thread, or after AGENT_DONE. */
struct str agent_text(const struct agent_run *run);
const json_t *agent_logprobs(const struct agent_run *run);
const struct agent_outcome *agent_outcome(const struct agent_run *run);

/* The text of a token for people: bytes that are no whole UTF-8 character are written as \xe2. */
json_t *agent_token_text(struct str piece);
#endif
