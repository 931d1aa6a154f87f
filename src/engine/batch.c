#include "engine/batch.h"

#include <errno.h>
#include <string.h>
#include "engine/admit.h"
#include "engine/embed.h"
#include "engine/model.h"
#include "engine/step.h"

#define ROWS_MIN 32          /* of a prompt: fewer would read the weights too often */
#define STEP_US 250000       /* how long a step may take: cancellation waits for its end... */
#define STEP_BESIDE_US 80000 /* ...and so does the next token of those that decode */
#define SMALL_ROWS 16        /* a step of fewer tells what a step costs beside its rows */
#define SMOOTH 0.25          /* weight of the newest measurement */

/* ---- speed -------------------------------------------------------------------------------------- */

static void learn(double *mean, double now)
{
        *mean = *mean > 0 ? (1 - SMOOTH) * *mean + SMOOTH * now : now;
}

void batch_note_speed(struct sched *s, int64_t us)
{
        int rows = s->eval.batch.n;
        double beside = (double)us - rows * s->speed.row_us;
        if (rows >= SMALL_ROWS)
                learn(&s->speed.row_us, (double)us / rows);
        else if (s->speed.row_us > 0)
                learn(&s->speed.step_us, beside > 1 ? beside : 1);
}

/* How many prompt tokens the next step may take to end in time, by the speed of earlier ones. */
static int prefill_room(const struct sched *s, int decoding)
{
        double target = decoding ? STEP_BESIDE_US : STEP_US;
        double rows = s->speed.row_us > 0 ? target / s->speed.row_us : 2 * ROWS_MIN;
        int most = s->max_rows - decoding;
        rows = rows < ROWS_MIN ? ROWS_MIN : rows;
        return rows > most ? most : (int)rows;
}

/* ---- rows --------------------------------------------------------------------------------------- */

static void want_row(struct batch *b, struct job *j, int row)
{
        b->out[b->n_out++] = row;
        j->n_out++;
}

/* Adds the sequence's next n tokens to the batch, and its draft when those are its last. */
static void add_rows(struct sched *s, struct engine_seq *seq, int n)
{
        struct batch *b = &s->eval.batch;
        struct job j = { .seq = seq, .row = b->n, .n = n, .out = b->n_out };
        bool last = seq->n_done + n == seq->n_tokens;
        int guesses = last ? seq->draft.n : 0;
        b->spans[b->n_spans++] =
                (struct span){ .blocks = seq->blocks, .row = b->n, .n = n + guesses, .pos = seq->n_done };
        memcpy(b->tokens + b->n, seq->tokens + seq->n_done, (size_t)n * sizeof(*b->tokens));
        memcpy(b->tokens + b->n + n, seq->draft.tokens, (size_t)guesses * sizeof(*b->tokens));
        for (int i = 0; i < n + guesses; i++)
                if (seq->embedding
                            ? embed_wants(&s->m->hp, seq->n_done + i, seq->n_prompt)
                            : (seq->prompt_logprobs && seq->n_scored < seq->n_prompt) || (last && i >= n - 1))
                        want_row(b, &j, b->n + i);
        b->n += n + guesses;
        s->jobs.p[s->jobs.n++] = j;
}

/* Those of the active sequences that compute in this state, best-ranked first, in s->order. */
static void collect(struct sched *s, enum seq_state state)
{
        struct seq_list *list = &s->order;
        list->n = 0;
        for (size_t i = 0; i < s->active.n; i++) {
                struct engine_seq *seq = s->active.p[i];
                if (seq->state != state || seq->paused)
                        continue;
                size_t at = list->n++;
                for (; at > 0 && admit_before(seq, list->p[at - 1]); at--)
                        list->p[at] = list->p[at - 1];
                list->p[at] = seq;
        }
}

/* ---- decoding ----------------------------------------------------------------------------------- */

/* Guesses at most `most` tokens that the sequence says next. 0 or -ENOMEM. */
static int guess(struct sched *s, struct engine_seq *seq, int most, const struct draft_cost *cost)
{
        int left = seq->max_tokens_total - seq->n_tokens - 1, n = 0;
        int32_t forced[DRAFT_MAX];
        most = most < left ? most : left;
        seq->draft.n = 0;
        if (seq->mask.match) {
                int rc = mask_prepare(&seq->mask);
                if (rc)
                        return rc;
                n = mask_forced(&seq->mask, s->m->is_end, forced, most < DRAFT_MAX ? most : DRAFT_MAX);
        }
        if (n)
                draft_force(&seq->draft, forced, n);
        else
                draft_make(&seq->draft, seq->tokens, seq->n_prompt, seq->n_tokens, most, s->lookup, cost);
        return 0;
}

/* Blocks for the sequence's last token, and for its guesses as far as nobody has to give one up for them. */
static bool grow(struct sched *s, struct engine_seq *seq)
{
        if (!admit_grow(s, seq, seq->n_tokens))
                return false;
        int room = seq->n_blocks * KERN_KV_BLOCK - seq->n_tokens;
        if (seq->draft.n > room && s->kv.n_unused <= (int)s->active.n)
                seq->draft.n = room;
        return admit_grow(s, seq, seq->n_tokens + seq->draft.n);
}

/* One token of each decoding sequence, with guesses while there are rows left. Who is sent back for want of
 * memory is always one that comes later. */
static void add_decoding(struct sched *s)
{
        struct batch *b = &s->eval.batch;
        int rows = s->eval.max_logits < s->max_rows ? s->eval.max_logits : s->max_rows;
        collect(s, SEQ_DECODE);
        int after = (int)s->order.n;
        struct draft_cost cost = { .step = s->speed.step_us + after * s->speed.row_us,
                                   .row = s->speed.row_us,
                                   .sequences = after };
        for (size_t i = 0; i < s->order.n; i++) {
                struct engine_seq *seq = s->order.p[i];
                after--;
                if (seq->state != SEQ_DECODE)
                        continue;
                int rc = guess(s, seq, rows - b->n - 1 - after, &cost);
                if (rc)
                        step_end(seq, ENGINE_ERROR, rc);
                else if (grow(s, seq))
                        add_rows(s, seq, 1);
        }
}

/* ---- prompts ------------------------------------------------------------------------------------ */

/* How many tokens of the sequence fit into what is left of the step. */
static int prefill_share(const struct sched *s, const struct engine_seq *seq, int room)
{
        int n = seq->n_tokens - seq->n_done, logits = s->eval.max_logits - s->eval.batch.n_out;
        if (!s->m->hp.causal) /* an encoder sees its input as a whole */
                return n <= room || !s->eval.batch.n ? n : 0;
        n = n < room ? n : room;
        if (seq->prompt_logprobs && n > logits)
                return logits;
        return n;
}

/* Slices of the prompts; first those that want logits, then the embeddings, of whose rows only the hidden
 * state is wanted. */
static void add_prompts(struct sched *s)
{
        struct batch *b = &s->eval.batch;
        int room = prefill_room(s, b->n);
        collect(s, SEQ_PREFILL);
        for (int embeddings = 0; embeddings < 2; embeddings++) {
                for (size_t i = 0; i < s->order.n; i++) {
                        struct engine_seq *seq = s->order.p[i];
                        if ((seq->embedding != NULL) != embeddings ||
                            (!embeddings && b->n_out >= s->eval.max_logits))
                                continue;
                        int n = prefill_share(s, seq, room);
                        if (n > 0) {
                                add_rows(s, seq, n);
                                room -= n;
                        }
                }
                if (!embeddings)
                        b->n_logits = b->n_out;
        }
}

void batch_build(struct sched *s)
{
        struct batch *b = &s->eval.batch;
        b->n = b->n_spans = b->n_out = b->n_logits = 0;
        s->jobs.n = 0;
        add_decoding(s);
        add_prompts(s);
}
