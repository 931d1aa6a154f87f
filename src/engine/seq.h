/* A sequence: one prompt on its way through the scheduler. After submission the engine thread owns all of it
 * except the atomic members. */
#ifndef CAIRN_ENGINE_SEQ_H
#define CAIRN_ENGINE_SEQ_H

#include <stdatomic.h>
#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/mask.h"
#include "engine/output.h"
#include "engine/sampler.h"

struct engine_model;
struct mailbox;
struct share;

enum seq_state {
        SEQ_WAITING, /* no KV memory: not yet, or no longer */
        SEQ_PREFILL, /* tokens that it has are not yet evaluated to their end */
        SEQ_DECODE,  /* its last token is to be evaluated next */
        SEQ_ENDING,  /* nothing more to compute; events are still to be delivered */
};

struct engine_seq {
        atomic_int refs;
        atomic_bool cancelled, resumed;
        struct mailbox *mailbox; /* shared with the model and outliving it */
        struct engine_seq *next; /* in the mailbox */

        struct engine_sink sink;
        enum seq_state state;
        bool paused;  /* the sink was full */
        bool loading; /* part of its prompt is being read from disk */
        bool started; /* has had KV memory before */
        bool looked;  /* the disk has been asked for its prompt */
        int32_t *tokens;
        int n_prompt, n_tokens, max_tokens_total; /* the last: where generation ends */
        int n_done;                               /* tokens whose keys and values are in KV */
        int n_cached;
        int n_scored;              /* prompt tokens whose records have been made */
        int32_t *blocks;           /* KV blocks of tokens[0 .. n_done), and room for all */
        int n_blocks, n_published; /* published: whole ones */
        int n_logprobs;            /* -1: none */
        bool prompt_logprobs, records, controls, keep;

        int priority, level; /* level: priority and what waiting has added, as of the last admission */
        uint64_t owner;
        struct share *share; /* the owner's account */
        uint64_t order;      /* of arrival */
        int64_t since_us;    /* when it began to wait */
        uint64_t passed;     /* the round of admission that has passed it over */

        struct sampler sampler;
        struct mask mask;
        struct draft draft;
        struct output out;
        enum engine_finish finish;
        int error;

        float *embedding; /* not NULL: mean of hidden states instead of generation; n_embd values */
};

/* Copies the request. 0 or -EINVAL, -E2BIG, -ENOMEM. */
int seq_new(struct engine_model *m, const struct engine_req *req, const struct engine_sink *sink,
            struct engine_seq **ret);
/* A sequence that fills `embedding` (kept by the caller until DONE). */
int seq_new_embedding(const struct engine_model *m, const struct engine_input *in, float *embedding,
                      const struct engine_sink *sink, struct engine_seq **ret);
#endif
