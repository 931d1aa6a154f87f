/* Chats as token sequences, and the packing of them into batches.
 *
 * A line of a data file is a JSON object: {"category": "...", "messages": [{"role", "content"}, ...]} for a
 * chat, {"category", "prompt", "completion"} for plain text, or {"category", "segments": [{"text", "learn"},
 * ...]} for a document that is rendered already, control tokens included. Chats are rendered as ChatML. What
 * the assistant says (and the end of its turn) and segments with `learn` count in the loss; everything else
 * is context. */
#ifndef CAIRN_TRAIN_DATASET_H
#define CAIRN_TRAIN_DATASET_H

#include <stdbool.h>
#include "base/json.h"
#include "engine/tokenizer.h"
#include "train/llama.h"

#define DATASET_CATEGORIES 256

struct document {
        size_t at; /* first token */
        int32_t n; /* tokens */
        int32_t category;
};

struct dataset {
        int32_t *tokens;
        uint8_t *counts; /* 1 where the token is to be predicted */
        size_t n_tokens, cap;
        struct document *docs;
        size_t n_docs, docs_cap, n_dropped; /* longer than the maximum */
        char *categories[DATASET_CATEGORIES];
        int n_categories;
};

enum dataset_flags {
        DATASET_LAST_TURN = 1, /* only the last message or segment counts: for questions */
};

/* Reads a file of lines. Documents of more than max_len tokens are left out. 0 or a negative errno with a
 * message that names the line. */
int dataset_load(struct dataset *d, const char *path, const struct tokenizer *t, int max_len, int flags,
                 char *err, size_t errn);
void dataset_release(struct dataset *d);

/* The prompt of a chat up to where the assistant's next message begins. `messages` is a JSON array; the
 * generation prompt is added. 0 or a negative errno. */
int chat_prompt(const json_t *messages, const struct tokenizer *t, struct tok_ids *out);

/* Buffers of one packed batch. */
struct packed {
        struct llama_batch batch; /* points into the rest */
        int32_t *tokens, *pos, *targets, *seg;
        float *weights;
        int32_t *doc; /* [n_seg] index of each document */
        int max_rows;
};
int packed_init(struct packed *p, int max_rows); /* 0 or -ENOMEM */
void packed_release(struct packed *p);
void packed_clear(struct packed *p);
/* Appends a document; false when it does not fit. */
bool packed_add(struct packed *p, const struct dataset *d, size_t doc);

/* Deals documents in a new random order each epoch, the same for the same seed. */
struct dealer {
        const struct dataset *data;
        uint64_t seed;
        uint64_t epoch, next; /* position; enough to resume */
        uint32_t *order;
};
/* Starts at a position, {0, 0} at first. 0 or -ENOMEM. */
int dealer_init(struct dealer *d, const struct dataset *data, uint64_t seed, uint64_t epoch, uint64_t next);
void dealer_release(struct dealer *d);
/* Clears p and fills it with the next documents, as many as fit. */
void dealer_fill(struct dealer *d, struct packed *p);
#endif
