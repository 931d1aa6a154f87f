/* One chat completion under way, shared by its two halves: chat.c runs it, chat_render.c writes its JSON. */
#ifndef CAIRN_API_CHAT_H
#define CAIRN_API_CHAT_H

#include "agent/loop.h"
#include "api/gen.h"

struct chat;

struct chat_choice {
        struct chat *chat;
        struct agent_run *run; /* NULL until started */
        int index;
};

struct chat {
        struct gen gen; /* first: a chat is a gen */
        const struct model *model;
        char id[ID_MAX];
        int64_t created;
        const char *fingerprint, *tier;
        bool logprobs, include_usage, obfuscate;
        bool may_call;    /* the answer may be calls of tools */
        bool legacy;      /* calls are shown as `function_call` */
        json_t *messages; /* of the request, borrowed from its body */
        int n;
        /* A choice that fails ends the others: once all runs are started, or else by who starts them. */
        atomic_bool started, failed;
        struct chat_choice choices[];
};

/* New objects, NULL when memory is out. */
json_t *chat_completion(const struct chat *c);
/* The first delta of every choice, which says whose message it is. */
json_t *chat_role_delta(const struct chat *c);
/* What an event of a run adds to its message; NULL when that is nothing. */
json_t *chat_delta(const struct chat *c, const struct agent_event *ev);
/* A chunk of one choice: delta is consumed; text is what it says, as far as it is to be hidden by padding;
 * logprobs borrowed or NULL; finish NULL before the end. */
json_t *chat_chunk(const struct chat *c, int index, json_t *delta, struct str text, const json_t *logprobs,
                   const char *finish);
json_t *chat_usage_chunk(const struct chat *c);
/* What the store keeps: {"object": the completion with the request's settings, "messages": [...]}. */
json_t *chat_document(const struct chat *c, json_t *completion);
const char *chat_finish_name(const struct chat *c, const struct agent_outcome *out);
/* What all choices took together: they share one prompt. Returns the tokens of reasoning among it. */
int chat_total(const struct chat *c, struct engine_usage *ret);
/* The same in the terms of the log of usage. */
void usage_count(struct usage *ret, const struct model *m, const char *tier, const struct engine_usage *u,
                 int reasoning_tokens);
/* The `usage` of Chat Completions and Completions. */
json_t *usage_json(const struct engine_usage *u, int reasoning_tokens);
/* A run of random letters that hides the length of a delta: pads it to a multiple of 16. */
json_t *obfuscation_json(size_t delta_bytes);
#endif
