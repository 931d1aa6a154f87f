/* A sequence: one prompt on its way through the scheduler. After submission the engine thread owns all of it
 * except the atomic members. */
#ifndef CAIRN_ENGINE_SEQ_H
#define CAIRN_ENGINE_SEQ_H

#include <stdatomic.h>
#include "engine/engine.h"
#include "engine/output.h"
#include "engine/sampler.h"

struct engine_model;
struct mailbox;

enum seq_state {
        SEQ_WAITING, /* no KV memory yet */
        SEQ_PREFILL, /* prompt not yet evaluated to its end */
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
        bool paused; /* the sink was full */
        int32_t *tokens;
        int n_prompt, n_tokens, max_tokens_total; /* the last: where generation ends */
        int n_done;                               /* tokens whose keys and values are in KV */
        int n_cached;
        int32_t *blocks; /* KV blocks of tokens[0 .. n_done), and room for all */
        int n_blocks, n_published, n_reserved;
        int n_logprobs; /* -1: none */
        bool prompt_logprobs, records;
        int priority;
        uint64_t order; /* of arrival */
        struct sampler sampler;
        struct output out;
        enum engine_finish finish;
        int error;

        float *embedding; /* not NULL: mean of hidden states instead of generation; n_embd values */
};

/* Copies the request. 0 or -EINVAL, -E2BIG, -ENOMEM. */
int seq_new(const struct engine_model *m, const struct engine_req *req, const struct engine_sink *sink,
            struct engine_seq **ret);
/* A sequence that fills `embedding` (kept by the caller until DONE). */
int seq_new_embedding(const struct engine_model *m, const struct engine_input *in, float *embedding,
                      const struct engine_sink *sink, struct engine_seq **ret);
#endif
