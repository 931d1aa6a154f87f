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
        bool store, logprobs, include_usage, obfuscate;
        json_t *messages; /* of the request, borrowed from its body */
        int n;
        struct chat_choice choices[];
};

/* New objects, NULL when memory is out. */
json_t *chat_completion(const struct chat *c);
/* A chunk of one choice: delta is consumed; logprobs borrowed or NULL; finish NULL before the end. */
json_t *chat_chunk(const struct chat *c, int index, json_t *delta, const json_t *logprobs,
                   const char *finish);
json_t *chat_usage_chunk(const struct chat *c);
/* What the store keeps: {"object": the completion with the request's settings, "messages": [...]}. */
json_t *chat_document(const struct chat *c, json_t *completion);
const char *chat_finish_name(enum engine_finish f);
/* The `usage` of Chat Completions and Completions. */
json_t *usage_json(int prompt, int cached, int completion);
/* A run of random letters that hides the length of a delta: pads it to a multiple of 16. */
json_t *obfuscation_json(size_t delta_bytes);
#endif
