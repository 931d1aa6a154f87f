#include <errno.h>
#include <math.h>
#include <string.h>
#include "engine/model.h"
#include "engine/step.h"

/* ---- the end of a sequence ---------------------------------------------------------------------- */

static void release_blocks(struct sched *s, struct engine_seq *seq)
{
        /* The end of a sequence is the first to be forgotten: its beginning is what others may share. */
        while (seq->n_blocks > 0)
                kv_unref(&s->kv, seq->blocks[--seq->n_blocks]);
        if (seq->state != SEQ_WAITING)
                s->reserved -= seq->n_reserved;
}

void step_finish(struct sched *s, struct engine_seq *seq, enum engine_finish finish)
{
        struct engine_event ev = {
                .kind = ENGINE_EV_DONE,
                .finish = finish,
                .stop = finish == ENGINE_STOP ? output_stop(&seq->out) : STR(""),
                .usage = { seq->n_prompt, seq->n_cached, seq->n_tokens - seq->n_prompt },
                .error = finish == ENGINE_ERROR ? seq->error : 0,
                .error_msg = finish == ENGINE_ERROR ? strerror(-seq->error) : NULL,
        };
        release_blocks(s, seq);
        atomic_fetch_sub(&s->count.live, 1);
        seq->sink.on_event(seq->sink.ctx, &ev);
        engine_seq_unref(seq);
}

void step_fail(struct sched *s, struct engine_seq *seq, int error)
{
        seq->error = error;
        step_finish(s, seq, ENGINE_ERROR);
}

void step_end(struct engine_seq *seq, enum engine_finish finish, int error)
{
        seq->finish = finish;
        seq->error = error;
        seq->state = SEQ_ENDING;
        if (output_end(&seq->out) && finish != ENGINE_ERROR) {
                seq->finish = ENGINE_ERROR;
                seq->error = -ENOMEM;
        }
}

/* ---- delivery ----------------------------------------------------------------------------------- */

/* Hands out events until there are none or the sink is full. */
static void deliver(struct engine_seq *seq)
{
        struct engine_event ev;
        while (!seq->paused && output_next(&seq->out, &ev)) {
                atomic_store(&seq->resumed, false); /* a resume from here on concerns this very event */
                if (seq->sink.on_event(seq->sink.ctx, &ev))
                        output_taken(&seq->out, &ev);
                else
                        seq->paused = true;
        }
}

bool step_tend(struct sched *s, struct engine_seq *seq)
{
        if (atomic_load(&seq->cancelled)) {
                step_finish(s, seq, ENGINE_CANCELLED);
                return true;
        }
        if (seq->paused && atomic_exchange(&seq->resumed, false))
                seq->paused = false;
        deliver(seq);
        if (seq->state != SEQ_ENDING || seq->paused)
                return false;
        step_finish(s, seq, seq->finish);
        return true;
}

/* ---- results ------------------------------------------------------------------------------------ */

static struct engine_token record(const struct engine_model *m, const struct engine_seq *seq, int32_t id,
                                  const float *logits, struct engine_top *room)
{
        struct engine_token tok = { .id = id, .piece = model_piece(m, id), .logprob = NAN, .top = room };
        if (!logits || seq->n_logprobs < 0)
                return tok;
        float logsum = sampler_logsum(logits, m->hp.n_vocab);
        tok.logprob = fmaxf(logits[id] - logsum, ENGINE_LOGPROB_MIN);
        tok.n_top = seq->n_logprobs;
        sampler_top(logits, m->hp.n_vocab, logsum, room, tok.n_top);
        return tok;
}

/* Records of the prompt tokens after the rows of this step; the very first token has no logprob. */
static int prompt_records(struct sched *s, struct engine_seq *seq, const struct job *j)
{
        struct engine_top room[ENGINE_TOP_MAX];
        int rc = 0;
        if (seq->n_done == 0)
                rc = output_push_prompt(&seq->out, record(s->m, seq, seq->tokens[0], NULL, room));
        for (int i = 0; !rc && i < j->n && seq->n_done + i + 1 < seq->n_prompt; i++) {
                const float *logits = s->eval.logits + (size_t)(j->out + i) * (size_t)s->m->hp.n_vocab;
                rc = output_push_prompt(&seq->out,
                                        record(s->m, seq, seq->tokens[seq->n_done + i + 1], logits, room));
        }
        return rc;
}

/* Full blocks become shareable. */
static void publish(struct sched *s, struct engine_seq *seq)
{
        while ((seq->n_published + 1) * KERN_KV_BLOCK <= seq->n_done) {
                int i = seq->n_published++;
                uint64_t parent = i ? s->kv.blocks[seq->blocks[i - 1]].uid : 0;
                seq->blocks[i] = kv_publish(&s->kv, seq->blocks[i], parent, seq->tokens + i * KERN_KV_BLOCK);
        }
}

/* Samples the next token and decides whether it is the last. */
static void generate(struct sched *s, struct engine_seq *seq, float *logits)
{
        const struct engine_model *m = s->m;
        struct engine_top room[ENGINE_TOP_MAX];
        if (seq->n_tokens >= seq->max_tokens_total) { /* nothing was to be generated */
                step_end(seq, ENGINE_LENGTH, 0);
                return;
        }
        sampler_adjust(&seq->sampler, logits);
        int32_t id = sampler_pick(&seq->sampler, m->k, logits, s->probs, s->cands);
        if (m->is_end[id]) {
                step_end(seq, ENGINE_STOP, 0);
                return;
        }
        seq->tokens[seq->n_tokens++] = id;
        sampler_accept(&seq->sampler, id);
        if (output_push(&seq->out, record(m, seq, id, logits, room), seq->records))
                step_end(seq, ENGINE_ERROR, -ENOMEM);
        else if (seq->out.stopped >= 0)
                step_end(seq, ENGINE_STOP, 0);
        else if (seq->n_tokens >= seq->max_tokens_total)
                step_end(seq, ENGINE_LENGTH, 0);
        else
                seq->state = SEQ_DECODE;
}

/* Adds hidden states in the order of tokens, so that the sum does not depend on how the input was cut up. */
static void embed(struct sched *s, struct engine_seq *seq, const struct job *j)
{
        size_t n = (size_t)s->m->hp.n_embd;
        for (int i = 0; i < j->n; i++)
                s->m->k->add(seq->embedding, s->eval.hidden + (size_t)(j->out + i) * n, n);
        if (seq->n_done + j->n < seq->n_prompt)
                return;
        double norm = 0; /* the mean differs from the sum in length only */
        for (size_t i = 0; i < n; i++)
                norm += (double)seq->embedding[i] * (double)seq->embedding[i];
        float scale = norm > 0 ? (float)(1 / sqrt(norm)) : 0;
        for (size_t i = 0; i < n; i++)
                seq->embedding[i] *= scale;
        step_end(seq, ENGINE_STOP, 0);
}

static void job_results(struct sched *s, const struct job *j)
{
        struct engine_seq *seq = j->seq;
        bool prefill = seq->state == SEQ_PREFILL, last = seq->n_done + j->n == seq->n_tokens;
        atomic_fetch_add(prefill ? &s->count.prefill : &s->count.decoded, (uint64_t)j->n);
        if (seq->embedding)
                embed(s, seq, j);
        else if (prefill && seq->prompt_logprobs && prompt_records(s, seq, j))
                step_end(seq, ENGINE_ERROR, -ENOMEM);
        seq->n_done += j->n;
        publish(s, seq);
        if (last && seq->state != SEQ_ENDING)
                generate(s, seq, s->eval.logits + (size_t)(j->out + j->n_out - 1) * (size_t)s->m->hp.n_vocab);
}

void step_results(struct sched *s)
{
        for (size_t i = 0; i < s->jobs.n; i++)
                job_results(s, &s->jobs.p[i]);
}
