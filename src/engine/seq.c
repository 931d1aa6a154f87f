#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "engine/model.h"
#include "engine/sched.h"

static void seq_free(struct engine_seq *s)
{
        mem_free(s->tokens);
        mem_free(s->blocks);
        sampler_release(&s->sampler);
        mask_release(&s->mask);
        draft_release(&s->draft);
        output_release(&s->out);
        if (s->mailbox)
                mailbox_unref(s->mailbox);
        mem_free(s);
}

void engine_seq_unref(struct engine_seq *s)
{
        if (s && atomic_fetch_sub(&s->refs, 1) == 1)
                seq_free(s);
}

void engine_seq_cancel(struct engine_seq *s)
{
        atomic_store(&s->cancelled, true);
        mailbox_poke(s->mailbox);
}

void engine_seq_resume(struct engine_seq *s)
{
        atomic_store(&s->resumed, true);
        mailbox_poke(s->mailbox);
}

static bool tokens_valid(const int32_t *p, size_t n, int n_vocab)
{
        for (size_t i = 0; i < n; i++)
                if (p[i] < 0 || p[i] >= n_vocab)
                        return false;
        return n > 0;
}

/* A sequence with the prompt copied and room for `total` tokens and their KV blocks. Guesses are evaluated
 * with the tokens, but never beyond `total`. */
static struct engine_seq *seq_alloc(const struct engine_model *m, const int32_t *prompt, size_t n,
                                    size_t total, const struct engine_sink *sink)
{
        struct engine_seq *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        atomic_init(&s->refs, 2); /* the handle's and the engine's */
        output_init(&s->out);
        s->sink = *sink;
        s->n_prompt = s->n_tokens = (int)n;
        s->max_tokens_total = (int)total;
        s->tokens = mem_alloc(total * sizeof(*s->tokens));
        s->blocks = mem_alloc((total + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK * sizeof(*s->blocks));
        if (!s->tokens || !s->blocks) {
                seq_free(s);
                return NULL;
        }
        memcpy(s->tokens, prompt, n * sizeof(*prompt));
        s->mailbox = m->sched->box;
        atomic_fetch_add(&s->mailbox->refs, 1);
        return s;
}

static int check_request(const struct engine_model *m, const struct engine_req *req)
{
        const struct engine_info *info = &m->info;
        if (!req->prompt || !req->n_prompt)
                return -EINVAL;
        if (req->n_prompt >= (size_t)info->n_ctx)
                return -E2BIG;
        if (!tokens_valid(req->prompt, req->n_prompt, info->n_vocab) || req->logprobs < -1 ||
            req->logprobs > ENGINE_TOP_MAX || (req->prompt_logprobs && req->logprobs < 0) ||
            (req->n_prediction && !tokens_valid(req->prediction, req->n_prediction, info->n_vocab)))
                return -EINVAL;
        return sampler_check(&req->sampling, info->n_vocab);
}

/* What the sequence samples by: parameters, stop strings, grammar, guesses. */
static int init_sampling(struct engine_seq *s, struct engine_model *m, const struct engine_req *req)
{
        size_t n_guess = (size_t)m->info.n_ctx; /* more could never come out */
        int rc = output_set_stops(&s->out, req->stop, req->n_stop);
        if (!rc)
                rc = sampler_init(&s->sampler, &req->sampling, req->prompt, req->n_prompt, m->info.n_vocab);
        if (!rc)
                rc = draft_init(&s->draft, req->prediction,
                                req->n_prediction < n_guess ? req->n_prediction : n_guess);
        if (!rc && req->grammar) {
                const struct grammar_vocab *vocab = engine_vocab(m);
                rc = vocab ? mask_init(&s->mask, req->grammar, vocab, m->info.n_vocab) : -ENOMEM;
        }
        return rc;
}

int seq_new(struct engine_model *m, const struct engine_req *req, const struct engine_sink *sink,
            struct engine_seq **ret)
{
        int rc = check_request(m, req);
        if (rc)
                return rc;
        size_t room = (size_t)m->info.n_ctx - req->n_prompt;
        size_t more = req->max_tokens < 0 || (size_t)req->max_tokens > room ? room : (size_t)req->max_tokens;
        struct engine_seq *s = seq_alloc(m, req->prompt, req->n_prompt, req->n_prompt + more, sink);
        if (!s)
                return -ENOMEM;
        s->n_logprobs = req->logprobs > m->info.n_vocab ? m->info.n_vocab : req->logprobs;
        s->prompt_logprobs = req->prompt_logprobs;
        s->records = req->records || req->logprobs >= 0;
        s->controls = req->controls;
        s->keep = req->keep;
        s->priority = req->priority;
        s->owner = req->owner;
        rc = init_sampling(s, m, req);
        if (rc)
                seq_free(s);
        else
                *ret = s;
        return rc;
}

int seq_new_embedding(const struct engine_model *m, const struct engine_input *in, float *embedding,
                      const struct engine_sink *sink, struct engine_seq **ret)
{
        if (!in->tokens || !tokens_valid(in->tokens, in->n, m->info.n_vocab))
                return -EINVAL;
        if (in->n > (size_t)m->info.n_ctx)
                return -E2BIG;
        struct engine_seq *s = seq_alloc(m, in->tokens, in->n, in->n, sink);
        if (!s)
                return -ENOMEM;
        s->n_logprobs = -1;
        s->embedding = embedding;
        memset(embedding, 0, (size_t)m->info.n_embd * sizeof(*embedding));
        *ret = s;
        return 0;
}
