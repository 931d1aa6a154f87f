/* Admission, batching and the engine thread. What becomes of a step's results is in step.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "engine/model.h"
#include "engine/sched.h"
#include "engine/step.h"
#include "kernels/team.h"

#define DEFAULT_BATCH 32
#define DEFAULT_QUEUE 256
#define DEFAULT_KV_MAX ((size_t)1 << 30)
#define BYTES_PER_THREAD (8u << 20)
#define ROWS_MAX 512         /* tokens evaluated in one step */
#define ROWS_MIN 32          /* of a prompt: fewer would read the weights too often */
#define STEP_US 250000       /* how long a step may take: cancellation waits for its end... */
#define STEP_BESIDE_US 80000 /* ...and so does the next token of those that decode */
#define LOGITS_MIN 64        /* rows of logits in one step, for logprobs of prompts */

/* ---- mailbox ------------------------------------------------------------------------------------ */

static struct mailbox *mailbox_new(void)
{
        struct mailbox *box = mem_calloc(1, sizeof(*box));
        if (!box)
                return NULL;
        atomic_init(&box->refs, 1);
        pthread_mutex_init(&box->lock, NULL);
        pthread_cond_init(&box->wake, NULL);
        box->last = &box->first;
        return box;
}

void mailbox_unref(struct mailbox *box)
{
        if (atomic_fetch_sub(&box->refs, 1) != 1)
                return;
        pthread_mutex_destroy(&box->lock);
        pthread_cond_destroy(&box->wake);
        mem_free(box);
}

static void poke_locked(struct mailbox *box)
{
        box->poked = true;
        pthread_cond_signal(&box->wake);
}

void mailbox_poke(struct mailbox *box)
{
        pthread_mutex_lock(&box->lock);
        poke_locked(box);
        pthread_mutex_unlock(&box->lock);
}

int sched_submit(struct sched *s, struct engine_seq *seq)
{
        int rc = 0;
        pthread_mutex_lock(&s->box->lock);
        if (atomic_load(&s->count.live) >= s->max_live) {
                rc = -EAGAIN;
        } else {
                atomic_fetch_add(&s->count.live, 1);
                *s->box->last = seq;
                s->box->last = &seq->next;
                poke_locked(s->box);
        }
        pthread_mutex_unlock(&s->box->lock);
        return rc;
}

/* Takes what was submitted. With `idle` waits until there is something to look at. False: time to stop. */
static bool take_mail(struct sched *s, bool idle, struct engine_seq **ret)
{
        struct mailbox *box = s->box;
        pthread_mutex_lock(&box->lock);
        while (idle && !box->poked)
                pthread_cond_wait(&box->wake, &box->lock);
        box->poked = false;
        *ret = box->first;
        box->first = NULL;
        box->last = &box->first;
        bool stop = box->stop;
        pthread_mutex_unlock(&box->lock);
        return !stop;
}

/* ---- admission ---------------------------------------------------------------------------------- */

static void enqueue(struct sched *s, struct engine_seq *seq)
{
        seq->order = s->arrivals++;
        if (vec_push(&s->waiting, seq)) {
                step_fail(s, seq, -ENOMEM);
                return;
        }
        size_t at = s->waiting.n - 1;
        for (; at > 0 && s->waiting.p[at - 1]->priority < seq->priority; at--)
                s->waiting.p[at] = s->waiting.p[at - 1];
        s->waiting.p[at] = seq;
}

/* Tokens of a prompt that may come from KV: all but the last, whose logits are needed; none when every token
 * must be seen. */
static size_t reusable(const struct engine_seq *seq)
{
        return seq->prompt_logprobs || seq->embedding ? 0 : (size_t)seq->n_prompt - 1;
}

/* Whether a running prefill is about to compute more of this prompt than the cache has: then waiting for it
 * is cheaper than computing it twice. */
static bool worth_waiting(struct sched *s, const struct engine_seq *seq)
{
        size_t n = reusable(seq);
        int cached = -1;
        for (size_t i = 0; i < s->active.n; i++) {
                const struct engine_seq *a = s->active.p[i];
                if (a->state != SEQ_PREFILL || a->paused)
                        continue;
                size_t most = n < (size_t)a->n_prompt ? n : (size_t)a->n_prompt, same = 0;
                while (same < most && a->tokens[same] == seq->tokens[same])
                        same++;
                if (cached < 0)
                        cached = kv_match(&s->kv, seq->tokens, n, NULL, seq->n_reserved);
                if ((int)(same / KERN_KV_BLOCK) > cached)
                        return true;
        }
        return false;
}

static void admit_one(struct sched *s, struct engine_seq *seq)
{
        seq->n_blocks = kv_match(&s->kv, seq->tokens, reusable(seq), seq->blocks, seq->n_reserved);
        seq->n_published = seq->n_blocks;
        seq->n_cached = seq->n_done = seq->n_blocks * KERN_KV_BLOCK;
        seq->state = SEQ_PREFILL;
        s->reserved += seq->n_reserved;
        s->active.p[s->active.n++] = seq;
        atomic_fetch_add(&s->count.cached, (uint64_t)seq->n_cached);
        atomic_fetch_add(&s->count.sequences, 1);
}

/* Gives KV memory to waiting sequences. Each gets what it may ever need, so that none can get stuck halfway;
 * the order of the queue is kept except for those that wait for a shared prefix. */
static void admit(struct sched *s)
{
        size_t kept = 0;
        bool full = false;
        for (size_t i = 0; i < s->waiting.n; i++) {
                struct engine_seq *seq = s->waiting.p[i];
                full = full || s->active.n >= (size_t)s->max_batch ||
                       s->reserved + seq->n_reserved > s->kv.n_blocks;
                if (full || worth_waiting(s, seq))
                        s->waiting.p[kept++] = seq;
                else
                        admit_one(s, seq);
        }
        s->waiting.n = kept;
}

/* ---- batching ----------------------------------------------------------------------------------- */

/* Blocks for the sequence's first `n` tokens. They were promised at admission. */
static bool ensure_blocks(struct sched *s, struct engine_seq *seq, int n)
{
        while (seq->n_blocks * KERN_KV_BLOCK < n) {
                int32_t block = kv_alloc(&s->kv);
                if (block < 0)
                        return false;
                seq->blocks[seq->n_blocks++] = block;
        }
        return true;
}

static void want_row(struct batch *b, struct job *j, int row)
{
        b->out[b->n_out++] = row;
        j->n_out++;
}

/* Adds the sequence's next n tokens to the batch. */
static void add_rows(struct sched *s, struct engine_seq *seq, int n)
{
        struct batch *b = &s->eval.batch;
        if (!ensure_blocks(s, seq, seq->n_done + n)) {
                step_end(seq, ENGINE_ERROR, -ENOMEM);
                return;
        }
        struct job j = { .seq = seq, .row = b->n, .n = n, .out = b->n_out };
        b->spans[b->n_spans++] = (struct span){ seq->blocks, b->n, n, seq->n_done };
        memcpy(b->tokens + b->n, seq->tokens + seq->n_done, (size_t)n * sizeof(*b->tokens));
        bool last = seq->n_done + n == seq->n_tokens;
        for (int i = 0; i < n; i++)
                if (seq->embedding || seq->prompt_logprobs || (last && i == n - 1))
                        want_row(b, &j, b->n + i);
        b->n += n;
        s->jobs.p[s->jobs.n++] = j;
}

/* How many prompt tokens of the sequence fit into what is left of the step. */
static int prefill_share(const struct sched *s, const struct engine_seq *seq, int room)
{
        int n = seq->n_prompt - seq->n_done, logits = s->eval.max_logits - s->eval.batch.n_out;
        n = n < room ? n : room;
        if (seq->prompt_logprobs && n > logits)
                return logits;
        return n;
}

static bool runs(const struct engine_seq *seq, enum seq_state state)
{
        return seq->state == state && !seq->paused;
}

/* How many prompt tokens the next step may take to end in time, by the speed of earlier ones. */
static int prefill_room(const struct sched *s, int decoding)
{
        double target = decoding ? STEP_BESIDE_US : STEP_US;
        double rows = s->us_per_row > 0 ? target / s->us_per_row : 2 * ROWS_MIN;
        int most = s->max_rows - decoding;
        return rows > most ? most : rows < ROWS_MIN ? ROWS_MIN : (int)rows;
}

/* Remembers the speed of steps that are large enough to tell. */
static void note_speed(struct sched *s, int64_t us)
{
        int rows = s->eval.batch.n;
        if (rows < ROWS_MIN / 2)
                return;
        double now = (double)us / rows;
        s->us_per_row = s->us_per_row > 0 ? 0.75 * s->us_per_row + 0.25 * now : now;
}

/* Logits first, then rows of which only the hidden state is wanted: embeddings go last. */
static void build_batch(struct sched *s)
{
        struct batch *b = &s->eval.batch;
        b->n = b->n_spans = b->n_out = b->n_logits = 0;
        s->jobs.n = 0;
        for (size_t i = 0; i < s->active.n; i++)
                if (runs(s->active.p[i], SEQ_DECODE))
                        add_rows(s, s->active.p[i], 1);
        int room = prefill_room(s, b->n);
        for (int embeddings = 0; embeddings < 2; embeddings++) {
                for (size_t i = 0; i < s->active.n; i++) {
                        struct engine_seq *seq = s->active.p[i];
                        if (!runs(seq, SEQ_PREFILL) || (seq->embedding != NULL) != embeddings)
                                continue;
                        if (!embeddings && b->n_out >= s->eval.max_logits)
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

/* ---- the thread --------------------------------------------------------------------------------- */

/* Looks at every sequence's flags, delivers what is due, and drops those that are done. True when one was:
 * then memory is free for others. */
static bool tend(struct sched *s)
{
        size_t kept = 0, before = s->waiting.n + s->active.n;
        for (size_t i = 0; i < s->waiting.n; i++) {
                struct engine_seq *seq = s->waiting.p[i];
                if (atomic_load(&seq->cancelled))
                        step_finish(s, seq, ENGINE_CANCELLED);
                else
                        s->waiting.p[kept++] = seq;
        }
        s->waiting.n = kept;
        kept = 0;
        for (size_t i = 0; i < s->active.n; i++)
                if (!step_tend(s, s->active.p[i]))
                        s->active.p[kept++] = s->active.p[i];
        s->active.n = kept;
        return s->waiting.n + s->active.n < before;
}

static void update_counters(struct sched *s)
{
        uint64_t bytes = kv_block_bytes(s->m->hp.n_layer, s->m->hp.n_head_kv, s->m->hp.head_dim);
        atomic_store(&s->count.active, s->active.n);
        atomic_store(&s->count.queued, s->waiting.n);
        atomic_store(&s->count.kv_used, (uint64_t)(s->kv.n_blocks - s->kv.n_unused) * bytes);
        atomic_store(&s->count.kv_cached, (uint64_t)s->kv.n_cached * bytes);
}

static void *sched_main(void *arg)
{
        struct sched *s = arg;
        struct engine_seq *mail;
        bool idle = true;
        while (take_mail(s, idle, &mail)) {
                for (struct engine_seq *next; mail; mail = next) {
                        next = mail->next;
                        enqueue(s, mail);
                }
                tend(s);
                admit(s);
                build_batch(s);
                idle = !s->jobs.n;
                if (!idle) {
                        int64_t start = clock_mono_us();
                        eval_run(&s->eval);
                        note_speed(s, clock_mono_us() - start);
                        step_results(s);
                        atomic_fetch_add(&s->count.steps, 1);
                }
                if (tend(s))
                        idle = false;
                update_counters(s);
        }
        for (struct engine_seq *next; mail; mail = next) {
                next = mail->next;
                step_finish(s, mail, ENGINE_CANCELLED);
        }
        for (size_t i = 0; i < s->waiting.n; i++)
                step_finish(s, s->waiting.p[i], ENGINE_CANCELLED);
        for (size_t i = 0; i < s->active.n; i++)
                step_finish(s, s->active.p[i], ENGINE_CANCELLED);
        return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------------- */

/* Context and KV blocks from the options: a sequence never may have more tokens than there are blocks. */
static int plan_memory(struct sched *s, const struct engine_opts *o)
{
        const struct hparams *hp = &s->m->hp;
        size_t block = kv_block_bytes(hp->n_layer, hp->n_head_kv, hp->head_dim);
        int ctx = o->ctx_max > 0 && o->ctx_max < hp->n_ctx_train ? o->ctx_max : hp->n_ctx_train;
        size_t per_ctx = ((size_t)ctx + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK,
               n = per_ctx * (size_t)s->max_batch;
        size_t limit = o->kv_bytes ? o->kv_bytes / block : DEFAULT_KV_MAX / block;
        if (o->kv_bytes || limit < n)
                n = limit;
        if (n > INT32_MAX / 2)
                n = INT32_MAX / 2;
        if (n < per_ctx)
                ctx = (int)n * KERN_KV_BLOCK;
        s->n_ctx = ctx;
        return (int)n;
}

/* A small model gains less from another thread than the barriers and the rest of the process lose by it. */
static int default_threads(const struct engine_model *m)
{
        int cores = kern_team_default_threads();
        uint64_t worth = m->info.file_bytes / BYTES_PER_THREAD + 1;
        return worth < (uint64_t)cores ? (int)worth : cores;
}

static int sched_init(struct sched *s, const struct engine_opts *o, char *err, size_t errn)
{
        const struct engine_model *m = s->m;
        s->max_batch = o->max_batch > 0 ? o->max_batch : DEFAULT_BATCH;
        s->max_live = s->max_batch + (o->max_queue > 0 ? o->max_queue : DEFAULT_QUEUE);
        s->max_rows = ROWS_MAX;
        if (s->max_batch > ROWS_MAX - ROWS_MIN) {
                snprintf(err, errn, "max_batch is %d, over the limit of %d", s->max_batch,
                         ROWS_MAX - ROWS_MIN);
                return -EINVAL;
        }
        int blocks = plan_memory(s, o);
        if (s->n_ctx < 2) {
                snprintf(err, errn, "the memory for keys and values is too small for this model");
                return -EINVAL;
        }
        s->team = kern_team_new(o->threads > 0 ? o->threads : default_threads(m));
        s->cands = mem_alloc((size_t)m->hp.n_vocab * sizeof(*s->cands));
        s->probs = mem_alloc((size_t)m->hp.n_vocab * sizeof(*s->probs));
        if (!s->team || !s->cands || !s->probs || vec_reserve(&s->active, (size_t)s->max_batch) ||
            vec_reserve(&s->jobs, (size_t)s->max_batch) || vec_reserve(&s->waiting, (size_t)s->max_live) ||
            kv_init(&s->kv, blocks, m->hp.n_layer, m->hp.n_head_kv, m->hp.head_dim))
                return -ENOMEM;
        s->eval = (struct eval){ .k = m->k,
                                 .team = s->team,
                                 .hp = &m->hp,
                                 .arch = m->arch,
                                 .global = &m->global,
                                 .layers = m->layers,
                                 .kv = &s->kv };
        return eval_init(&s->eval, s->max_rows, s->max_batch > LOGITS_MIN ? s->max_batch : LOGITS_MIN,
                         s->n_ctx);
}

static void sched_free(struct sched *s)
{
        eval_release(&s->eval);
        kv_release(&s->kv);
        kern_team_free(s->team);
        vec_release(&s->waiting);
        vec_release(&s->active);
        vec_release(&s->jobs);
        mem_free(s->cands);
        mem_free(s->probs);
        if (s->box)
                mailbox_unref(s->box);
        mem_free(s);
}

int sched_start(const struct engine_model *m, const struct engine_opts *opts, struct sched **ret, char *err,
                size_t errn)
{
        struct sched *s = mem_calloc(1, sizeof(*s));
        int rc = -ENOMEM;
        if (!s)
                return rc;
        s->m = m;
        s->box = mailbox_new();
        if (s->box)
                rc = sched_init(s, opts, err, errn);
        if (!rc)
                rc = -pthread_create(&s->thread, NULL, sched_main, s);
        if (rc) {
                if (rc != -EINVAL)
                        snprintf(err, errn, "out of memory or threads");
                sched_free(s);
                return rc;
        }
        *ret = s;
        return 0;
}

void sched_stop(struct sched *s)
{
        if (!s)
                return;
        pthread_mutex_lock(&s->box->lock);
        s->box->stop = true;
        poke_locked(s->box);
        pthread_mutex_unlock(&s->box->lock);
        pthread_join(s->thread, NULL);
        sched_free(s);
}
