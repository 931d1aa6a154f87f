/* The engine thread, its mailbox, and its start and stop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/admit.h"
#include "engine/batch.h"
#include "engine/kv_disk.h"
#include "engine/model.h"
#include "engine/sched.h"
#include "engine/step.h"
#include "kernels/team.h"

#define DEFAULT_BATCH 32
#define DEFAULT_QUEUE 256
#define DEFAULT_KV_MAX ((size_t)1 << 30)
#define BYTES_PER_THREAD (8u << 20)

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

/* ---- the thread --------------------------------------------------------------------------------- */

/* Looks at every sequence's flags, delivers what is due, and drops those that are done. */
static bool tend_list(struct sched *s, struct seq_list *list)
{
        size_t kept = 0, before = list->n;
        for (size_t i = 0; i < before; i++)
                if (!step_tend(s, list->p[i]))
                        list->p[kept++] = list->p[i];
        list->n = kept;
        return kept < before;
}

/* True when a sequence was done: then there is room for others. */
static bool tend(struct sched *s)
{
        bool waiting = tend_list(s, &s->waiting), active = tend_list(s, &s->active);
        admit_limit(s);
        return waiting || active;
}

static void update_counters(struct sched *s)
{
        uint64_t bytes = (uint64_t)s->kv.n_layer * s->kv.at.block;
        atomic_store(&s->count.active, s->active.n);
        atomic_store(&s->count.queued, s->waiting.n);
        atomic_store(&s->count.kv_used, (uint64_t)(s->kv.n_blocks - s->kv.n_unused) * bytes);
        atomic_store(&s->count.kv_cached, (uint64_t)s->kv.n_cached * bytes);
        atomic_store(&s->count.wait_ms, (uint64_t)((double)s->waiting.n * s->turnover.interval_us / 1000));
        if (s->disk)
                atomic_store(&s->count.disk_bytes, kv_disk_bytes(s->disk));
}

/* Evaluates a step, if there is anything to evaluate. False: there is nothing to do until somebody pokes. */
static bool run_step(struct sched *s)
{
        uint64_t preempted = atomic_load(&s->count.preempted);
        admit_all(s);
        batch_build(s);
        if (s->jobs.n) {
                int64_t start = clock_mono_us();
                eval_run(&s->eval);
                batch_note_speed(s, clock_mono_us() - start);
                step_results(s);
                atomic_fetch_add(&s->count.steps, 1);
        }
        return s->jobs.n || atomic_load(&s->count.preempted) != preempted;
}

static void cancel_list(struct sched *s, struct seq_list *list)
{
        for (size_t i = 0; i < list->n; i++)
                step_finish(s, list->p[i], ENGINE_CANCELLED);
        list->n = 0;
}

static void *sched_main(void *arg)
{
        struct sched *s = arg;
        struct engine_seq *mail;
        bool idle = true;
        while (take_mail(s, idle, &mail)) {
                for (struct engine_seq *next; mail; mail = next) {
                        next = mail->next;
                        admit_enqueue(s, mail);
                }
                if (s->disk)
                        kv_disk_poll(s->disk);
                tend(s);
                idle = !run_step(s);
                if (tend(s))
                        idle = false;
                update_counters(s);
        }
        for (struct engine_seq *next; mail; mail = next) {
                next = mail->next;
                step_finish(s, mail, ENGINE_CANCELLED);
        }
        cancel_list(s, &s->waiting);
        cancel_list(s, &s->active);
        return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------------- */

/* Context and KV blocks from the options: a sequence never may have more tokens than there are blocks. */
static int plan_memory(struct sched *s, const struct engine_opts *o)
{
        const struct hparams *hp = &s->m->hp;
        size_t block = kv_block_bytes(hp->n_layer, hp->n_head_kv, hp->head_dim, o->kv_type);
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

/* Lists of sequences never grow while the engine runs: whoever was let in finds room in each. */
static int reserve_lists(struct sched *s)
{
        size_t n = (size_t)s->max_live;
        return vec_reserve(&s->waiting, n) || vec_reserve(&s->active, n) || vec_reserve(&s->order, n) ||
               vec_reserve(&s->jobs, n);
}

static int sched_init(struct sched *s, const struct engine_opts *o, char *err, size_t errn)
{
        const struct engine_model *m = s->m;
        s->max_batch = o->max_batch > 0 ? o->max_batch : DEFAULT_BATCH;
        s->max_live = s->max_batch + (o->max_queue > 0 ? o->max_queue : DEFAULT_QUEUE);
        s->max_rows = BATCH_ROWS_MAX;
        s->lookup = !o->no_lookup;
        if (s->max_batch > BATCH_ROWS_MAX / 2) {
                snprintf(err, errn, "max_batch is %d, over the limit of %d", s->max_batch,
                         BATCH_ROWS_MAX / 2);
                return -EINVAL;
        }
        int blocks = plan_memory(s, o);
        if (s->n_ctx < 2) {
                snprintf(err, errn, "the memory for keys and values is too small for this model");
                return -EINVAL;
        }
        if (!m->hp.causal && s->n_ctx > s->max_rows) /* inputs are evaluated as a whole */
                s->max_rows = s->n_ctx;
        s->team = kern_team_new(o->threads > 0 ? o->threads : default_threads(m));
        s->cands = mem_alloc((size_t)m->hp.n_vocab * sizeof(*s->cands));
        s->probs = mem_alloc((size_t)m->hp.n_vocab * sizeof(*s->probs));
        if (!s->team || !s->cands || !s->probs || reserve_lists(s) ||
            kv_init(&s->kv, blocks, m->hp.n_layer, m->hp.n_head_kv, m->hp.head_dim, o->kv_type))
                return -ENOMEM;
        s->eval = (struct eval){ .k = m->k,
                                 .team = s->team,
                                 .hp = &m->hp,
                                 .arch = m->arch,
                                 .global = &m->global,
                                 .layers = m->layers,
                                 .kv = &s->kv };
        int rc = eval_init(&s->eval, s->max_rows,
                           s->max_batch > BATCH_LOGITS_MIN / 2 ? 2 * s->max_batch : BATCH_LOGITS_MIN,
                           s->n_ctx);
        if (rc || !o->kv_dir)
                return rc;
        return kv_disk_open(o, m, &s->kv, s->n_ctx, s->box, &s->count.restored, &s->disk, err, errn);
}

static void sched_free(struct sched *s)
{
        kv_disk_close(s->disk);
        eval_release(&s->eval);
        kv_release(&s->kv);
        kern_team_free(s->team);
        vec_release(&s->waiting);
        vec_release(&s->active);
        vec_release(&s->order);
        fair_release(&s->fair);
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
                rc = thread_start(&s->thread, "sched", sched_main, s);
        if (rc) {
                if (rc == -ENOMEM || rc == -EAGAIN)
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
