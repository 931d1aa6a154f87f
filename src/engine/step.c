#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "engine/admit.h"
#include "engine/embed.h"
#include "engine/model.h"
#include "engine/step.h"

/* ---- the end of a sequence ---------------------------------------------------------------------- */

/* Remembers how often places become free while others wait. */
static void note_turnover(struct sched *s)
{
        int64_t now = clock_mono_us();
        double interval = (double)(now - s->turnover.last_us);
        if (s->waiting.n && s->turnover.last_us)
                s->turnover.interval_us = s->turnover.interval_us > 0
                                                  ? 0.8 * s->turnover.interval_us + 0.2 * interval
                                                  : interval;
        s->turnover.last_us = now;
}

void step_finish(struct sched *s, struct engine_seq *seq, enum engine_finish finish)
{
        struct engine_event ev = {
                .kind = ENGINE_EV_DONE,
                .finish = finish,
                .stop = finish == ENGINE_STOP ? output_stop(&seq->out) : STR(""),
                .usage = { .prompt_tokens = seq->n_prompt,
                           .cached_tokens = seq->n_cached,
                           .completion_tokens = seq->n_tokens - seq->n_prompt,
                           .accepted_prediction = seq->draft.accepted,
                           .rejected_prediction = seq->draft.rejected },
                .error = finish == ENGINE_ERROR ? seq->error : 0,
                .error_msg = finish == ENGINE_ERROR ? strerror(-seq->error) : NULL,
        };
        admit_release(s, seq);
        admit_leave(s, seq);
        if (seq->started)
                note_turnover(s);
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
        if (seq->paused && atomic_exchange(&seq->resumed, false)) {
                seq->paused = false;
                seq->since_us = clock_mono_us();
        }
        deliver(seq);
        if (seq->state == SEQ_ENDING)
                admit_release(s, seq); /* its reader may be slow */
        if (seq->state != SEQ_ENDING || seq->paused)
                return false;
        if (output_pending(&seq->out) && seq->finish != ENGINE_ERROR) {
                seq->finish = ENGINE_ERROR;
                seq->error = -ENOMEM;
        }
        step_finish(s, seq, seq->finish);
        return true;
}

/* ---- results ------------------------------------------------------------------------------------ */

/* Sets the token of a record, with its logprob when its logit is known. */
static void name_token(const struct engine_model *m, struct engine_token *tok, int32_t id, float logit,
                       float logsum)
{
        tok->id = id;
        tok->piece = model_piece(m, id);
        tok->logprob = fmaxf(logit - logsum, ENGINE_LOGPROB_MIN);
        if (isnan(logsum))
                tok->logprob = NAN;
}

/* The alternatives that a request wants to see with a token, and the logarithm of their distribution's sum;
 * NAN when it wants none. */
static struct engine_token alternatives(const struct engine_model *m, const struct engine_seq *seq,
                                        const float *logits, struct engine_top *room, float *ret_logsum)
{
        struct engine_token tok = { .top = room };
        *ret_logsum = NAN;
        if (seq->n_logprobs < 0)
                return tok;
        *ret_logsum = sampler_logsum(logits, m->hp.n_vocab);
        tok.n_top = seq->n_logprobs;
        sampler_top(logits, m->hp.n_vocab, *ret_logsum, room, tok.n_top);
        return tok;
}

/* The record of a prompt token; no logits for the first. */
static struct engine_token prompt_record(const struct engine_model *m, const struct engine_seq *seq, int at,
                                         const float *logits, struct engine_top *room)
{
        struct engine_token tok = { .top = room };
        float logsum = NAN;
        if (logits)
                tok = alternatives(m, seq, logits, room, &logsum);
        name_token(m, &tok, seq->tokens[at], logits ? logits[seq->tokens[at]] : NAN, logsum);
        return tok;
}

/* Records of the prompt tokens after the rows of this step; the very first token has no logprob. */
static int prompt_records(struct sched *s, struct engine_seq *seq, const struct job *j)
{
        struct engine_top room[ENGINE_TOP_MAX];
        int rc = 0;
        if (!seq->n_scored) {
                rc = output_push_prompt(&seq->out, prompt_record(s->m, seq, 0, NULL, room));
                seq->n_scored = 1;
        }
        for (int i = 0; !rc && i < j->n; i++) {
                int at = seq->n_done + i + 1;
                if (at != seq->n_scored || at >= seq->n_prompt) /* made before the sequence lost its place */
                        continue;
                const float *logits = s->eval.logits + (size_t)(j->out + i) * (size_t)s->m->hp.n_vocab;
                rc = output_push_prompt(&seq->out, prompt_record(s->m, seq, at, logits, room));
                seq->n_scored++;
        }
        return rc;
}

/* Chooses the next token; *ret gets its record. The distribution that is reported is the one before the
 * grammar. */
static int choose(struct sched *s, struct engine_seq *seq, float *logits, struct engine_top *room,
                  struct engine_token *ret)
{
        const struct engine_model *m = s->m;
        bool masked = seq->mask.match, equal = false;
        float logsum;
        int rc = masked ? mask_prepare(&seq->mask) : 0;
        if (rc)
                return rc;
        sampler_adjust(&seq->sampler, logits);
        *ret = alternatives(m, seq, logits, room, &logsum);
        if (masked)
                equal = mask_apply(&seq->mask, logits);
        int32_t id = sampler_pick(&seq->sampler, m->k, logits, s->probs, s->cands);
        name_token(m, ret, id, equal ? -INFINITY : logits[id], logsum);
        return masked && !m->is_end[id] ? mask_accept(&seq->mask, id) : 0;
}

/* Takes a chosen token into the sequence, and sees whether it is the last. */
static void take(const struct engine_model *m, struct engine_seq *seq, struct engine_token tok)
{
        tok.piece = model_piece_after(m, seq->tokens[seq->n_tokens - 1], tok.id);
        seq->tokens[seq->n_tokens++] = tok.id;
        sampler_accept(&seq->sampler, tok.id);
        if (seq->controls && tokenizer_is_control(m->tok, tok.id)
                    ? output_push_control(&seq->out, tok, seq->records)
                    : output_push(&seq->out, tok, seq->records))
                step_end(seq, ENGINE_ERROR, -ENOMEM);
        else if (seq->out.stopped >= 0 || (seq->mask.match && mask_ends(&seq->mask)))
                step_end(seq, ENGINE_STOP, 0);
        else if (seq->n_tokens >= seq->max_tokens_total)
                step_end(seq, ENGINE_LENGTH, 0);
        else
                seq->state = SEQ_DECODE;
}

static void generate(struct sched *s, struct engine_seq *seq, float *logits)
{
        struct engine_top room[ENGINE_TOP_MAX];
        struct engine_token tok;
        if (seq->n_tokens >= seq->max_tokens_total) { /* nothing was to be generated */
                step_end(seq, ENGINE_LENGTH, 0);
                return;
        }
        int rc = choose(s, seq, logits, room, &tok);
        if (rc)
                step_end(seq, ENGINE_ERROR, rc);
        else if (s->m->is_end[tok.id])
                step_end(seq, ENGINE_STOP, 0);
        else
                take(s->m, seq, tok);
}

/* Generates a token after the last one, and after each guess that came out as guessed: those rows were
 * evaluated with just the tokens that stand there now. */
static void generate_all(struct sched *s, struct engine_seq *seq, const struct job *j)
{
        int guesses = seq->draft.n, right = 0;
        float *logits = s->eval.logits + (size_t)(j->out + j->n_out - 1 - guesses) * (size_t)s->m->hp.n_vocab;
        for (bool more = true; more; logits += s->m->hp.n_vocab) {
                int at = seq->n_tokens;
                generate(s, seq, logits);
                more = right < guesses && seq->n_tokens > at && seq->tokens[at] == seq->draft.tokens[right];
                right += more;
                more = more && seq->state != SEQ_ENDING;
        }
        seq->n_done += right;
        atomic_fetch_add(&s->count.drafted, (uint64_t)guesses);
        atomic_fetch_add(&s->count.accepted, (uint64_t)right);
        atomic_fetch_add(&s->count.decoded, (uint64_t)right);
        seq->share->served += (uint64_t)guesses;
        draft_judge(&seq->draft, right);
}

static void embed(struct sched *s, struct engine_seq *seq, const struct job *j)
{
        const struct hparams *hp = &s->m->hp;
        embed_take(hp, s->m->k, seq->embedding, s->eval.hidden + (size_t)j->out * (size_t)hp->n_embd,
                   j->n_out);
        if (seq->n_done + j->n < seq->n_prompt)
                return;
        embed_finish(hp, seq->embedding);
        step_end(seq, ENGINE_STOP, 0);
}

static void job_results(struct sched *s, const struct job *j)
{
        struct engine_seq *seq = j->seq;
        bool prefill = seq->state == SEQ_PREFILL, last = seq->n_done + j->n == seq->n_tokens;
        atomic_fetch_add(prefill ? &s->count.prefill : &s->count.decoded, (uint64_t)j->n);
        seq->share->served += (uint64_t)j->n;
        if (seq->embedding)
                embed(s, seq, j);
        else if (seq->prompt_logprobs && seq->n_scored < seq->n_prompt && prompt_records(s, seq, j))
                step_end(seq, ENGINE_ERROR, -ENOMEM);
        seq->n_done += j->n;
        if (last && seq->state != SEQ_ENDING)
                generate_all(s, seq, j);
        admit_publish(s, seq, prefill && last);
}

void step_results(struct sched *s)
{
        for (size_t i = 0; i < s->jobs.n; i++)
                job_results(s, &s->jobs.p[i]);
}
