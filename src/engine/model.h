/* Inside of a model: what is read from the file, and the engine thread's scheduler. */
#ifndef CAIRN_ENGINE_MODEL_H
#define CAIRN_ENGINE_MODEL_H

#include <pthread.h>
#include "engine/arch.h"
#include "engine/chat.h"
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/tokenizer.h"
#include "kernels/kernels.h"

struct sched;
struct kern_team;

struct engine_model {
        struct gguf *file;
        const struct arch *arch;
        struct hparams hp;
        struct layer global, *layers;
        void *packed; /* memory of packed weights */
        struct tokenizer *tok;
        struct chat *chat; /* NULL: conversations cannot be rendered */
        uint8_t *is_end;   /* per token: ends a turn */
        const struct kern *k;
        struct sched *sched;
        struct engine_info info;
        char *name, *template;
        pthread_mutex_t vocab_lock;  /* of the next */
        struct grammar_vocab *vocab; /* made on first use, then constant */
};

/* Fills everything but the scheduler. 0 or negative errno with a message; the caller releases in any case. */
int model_load(struct engine_model *m, const char *path, const struct kern *k, char *err, size_t errn);
void model_unload(struct engine_model *m);
/* Bytes that a token stands for in text: nothing for control tokens and ids out of range. */
struct str model_piece(const struct engine_model *m, int32_t id);
/* The same behind the token `before` (-1: none): where a text begins, without the space that some tokenizers
 * put before it. */
struct str model_piece_after(const struct engine_model *m, int32_t before, int32_t id);
#endif
