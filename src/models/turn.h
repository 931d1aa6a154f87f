/* A turn is one sampling of one model: messages or tokens in, typed events out. Everything that asks a model
 * for text goes through here, whatever runs the model. */
#ifndef CAIRN_MODELS_TURN_H
#define CAIRN_MODELS_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "engine/engine.h"

struct model;
struct turn;

struct turn_message {
        struct str role; /* system, developer, user or assistant */
        struct str content;
};

/* Copied by turn_start. Exactly one of messages and tokens is given. */
struct turn_req {
        const struct model *model;
        const struct turn_message *messages;
        size_t n_messages;
        const int32_t *tokens;
        size_t n_tokens;
        struct engine_sampling sampling;
        int max_tokens; /* < 0: until the context is full */
        const struct str *stop;
        size_t n_stop;
        int logprobs;         /* -1: none, else alternatives per token, 0..20 */
        bool prompt_logprobs; /* also TURN_PROMPT events */
        int priority;         /* higher is admitted first */
        int fail_after;       /* CAIRN_FAULTS builds: fails after this many text events; 0: never */
};

enum turn_kind { TURN_PROMPT, TURN_TEXT, TURN_DONE };

/* Valid during the callback only. */
struct turn_event {
        enum turn_kind kind;
        struct str text; /* TURN_TEXT: the next piece, valid UTF-8 */
        const struct engine_token *tokens;
        size_t n_tokens;
        /* TURN_DONE */
        enum engine_finish finish;
        struct engine_usage usage;
        const char *error; /* ENGINE_ERROR: a sentence */
};

/* on_event runs on the model's thread and must not block. false means "full": the same event comes again
 * after turn_resume. TURN_DONE comes exactly once, last, and is not refused. */
struct turn_sink {
        bool (*on_event)(void *ctx, const struct turn_event *ev);
        void *ctx;
};

/* 0 and a handle in *ret, to be released with turn_unref; events may come before the return. Without an
 * event: -E2BIG (the prompt does not fit; *ret_prompt_tokens says its length, if not NULL), -EAGAIN (too many
 * wait), -ENOTSUP (messages for a model that has no chat template), -EINVAL, -ENOMEM. */
int turn_start(const struct turn_req *req, const struct turn_sink *sink, struct turn **ret,
               size_t *ret_prompt_tokens);
/* Any thread. TURN_DONE(cancelled) follows soon unless the turn was over. */
void turn_cancel(struct turn *t);
void turn_resume(struct turn *t);
void turn_unref(struct turn *t); /* accepts NULL */

/* Tokens that messages take as a prompt, or a negative error as above. */
long turn_count(const struct model *m, const struct turn_message *messages, size_t n);
#endif
