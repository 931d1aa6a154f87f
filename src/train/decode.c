#include "train/decode.h"

#include <errno.h>
#include "base/mem.h"

static int32_t most_likely(const float *logits, int n)
{
        int best = 0;
        for (int i = 1; i < n; i++)
                best = logits[i] > logits[best] ? i : best;
        return best;
}

int decode_greedy(struct llama_work *w, const struct llama_params *p, struct tok_ids *ids, int max_new,
                  int32_t stop)
{
        int n_ctx = p->shape.n_ctx, rc = -ENOMEM;
        int32_t *pos = mem_calloc((size_t)n_ctx, sizeof(*pos)),
                *none = mem_calloc((size_t)n_ctx, sizeof(*none));
        float *logits = mem_calloc((size_t)p->shape.n_vocab, sizeof(*logits));

        if (!pos || !none || !logits)
                goto out;
        for (int i = 0; i < n_ctx; i++)
                pos[i] = i;
        rc = ids->n > (size_t)n_ctx || !ids->n ? -E2BIG : 0;
        for (int i = 0; i < max_new && !rc && ids->n <= (size_t)n_ctx; i++) {
                int32_t seg[2] = { 0, (int32_t)ids->n };
                struct llama_batch b = { .n_rows = (int)ids->n,
                                         .n_seg = 1,
                                         .tokens = ids->p,
                                         .pos = pos,
                                         .targets = none, /* nothing is scored, so there are no weights */
                                         .seg = seg };
                rc = llama_logits(w, p, &b, b.n_rows - 1, logits);
                int32_t next = most_likely(logits, p->shape.n_vocab);
                if (rc || next == stop)
                        break;
                rc = tok_ids_push(ids, next);
        }
out:
        mem_free(pos);
        mem_free(none);
        mem_free(logits);
        return rc;
}
