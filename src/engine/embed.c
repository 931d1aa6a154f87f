/* Embeddings: every input is a sequence of its own, a window of them at a time. */
#include "engine/embed.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/model.h"
#include "engine/sched.h"

#define WINDOW 16  /* inputs under way at one time */
#define POLL_MS 50 /* how often cancel is asked */

/* ---- pooling ------------------------------------------------------------------------------------ */

int embed_size(const struct hparams *hp)
{
        return hp->pooling == POOL_RANK ? hp->n_labels : hp->n_embd;
}

bool embed_wants(const struct hparams *hp, int i, int n)
{
        return hp->pooling == POOL_MEAN || i == (hp->pooling == POOL_LAST ? n - 1 : 0);
}

void embed_take(const struct hparams *hp, const struct kern *k, float *v, const float *hidden, int rows)
{
        for (int i = 0; i < rows; i++)
                k->add(v, hidden + (size_t)i * (size_t)hp->n_embd, (size_t)embed_size(hp));
}

void embed_finish(const struct hparams *hp, float *v)
{
        double norm = 0; /* a mean differs from the sum in length only */
        if (hp->pooling == POOL_RANK)
                return;
        for (int i = 0; i < hp->n_embd; i++)
                norm += (double)v[i] * (double)v[i];
        float scale = norm > 0 ? (float)(1 / sqrt(norm)) : 0;
        for (int i = 0; i < hp->n_embd; i++)
                v[i] *= scale;
}

/* ---- inputs ------------------------------------------------------------------------------------- */

struct gather {
        pthread_mutex_t lock;
        pthread_cond_t done;
        int under_way;
        int error;
};

static bool on_event(void *ctx, const struct engine_event *ev)
{
        struct gather *g = ctx;
        pthread_mutex_lock(&g->lock);
        if (ev->kind == ENGINE_EV_DONE) {
                g->under_way--;
                if (ev->finish != ENGINE_STOP && !g->error)
                        g->error = ev->finish == ENGINE_ERROR ? ev->error : -ECANCELED;
                pthread_cond_signal(&g->done);
        }
        pthread_mutex_unlock(&g->lock);
        return true;
}

static int under_way(struct gather *g)
{
        pthread_mutex_lock(&g->lock);
        int n = g->under_way;
        pthread_mutex_unlock(&g->lock);
        return n;
}

/* Waits until at most `most` inputs are under way, one failed, or `cancel` (may be NULL) says so. */
static int wait_for(struct gather *g, int most, bool (*cancel)(void *ctx), void *ctx)
{
        int rc = 0;
        pthread_mutex_lock(&g->lock);
        while (!rc && !g->error && g->under_way > most) {
                thread_cond_wait_until(&g->done, &g->lock, clock_mono_ms() + POLL_MS);
                if (cancel && cancel(ctx))
                        rc = -ECANCELED;
        }
        rc = rc ? rc : g->error;
        pthread_mutex_unlock(&g->lock);
        return rc;
}

/* Waits for every input, however it ends: until then the engine writes to what the caller owns. */
static void drain(struct gather *g)
{
        pthread_mutex_lock(&g->lock);
        while (g->under_way)
                pthread_cond_wait(&g->done, &g->lock);
        pthread_mutex_unlock(&g->lock);
}

/* Starts one input; -EAGAIN when the engine's queue is full. */
static int start(struct engine_model *m, struct gather *g, const struct engine_input *in, float *ret,
                 struct engine_seq **ret_seq)
{
        struct engine_sink sink = { on_event, g };
        struct engine_seq *s;
        int rc = seq_new_embedding(m, in, ret, &sink, &s);
        if (rc)
                return rc;
        pthread_mutex_lock(&g->lock);
        g->under_way++;
        pthread_mutex_unlock(&g->lock);
        rc = sched_submit(m->sched, s);
        if (!rc) {
                *ret_seq = s;
                return 0;
        }
        pthread_mutex_lock(&g->lock);
        g->under_way--;
        pthread_mutex_unlock(&g->lock);
        engine_seq_unref(s);
        engine_seq_unref(s);
        return rc;
}

int engine_embed(struct engine_model *m, const struct engine_input *in, size_t n, float *ret,
                 bool (*cancel)(void *ctx), void *ctx)
{
        struct gather g = { .lock = PTHREAD_MUTEX_INITIALIZER };
        struct engine_seq **seqs = mem_calloc(n ? n : 1, sizeof(*seqs));
        size_t i = 0;
        int rc = seqs ? 0 : -ENOMEM, busy;
        thread_cond_init(&g.done);
        while (!rc && i < n) {
                rc = wait_for(&g, WINDOW - 1, cancel, ctx);
                if (rc)
                        break;
                rc = start(m, &g, &in[i], ret + i * (size_t)m->info.n_embd, &seqs[i]);
                if (!rc) {
                        i++;
                } else if (rc == -EAGAIN && (busy = under_way(&g)) > 0) { /* our own fill the queue */
                        rc = wait_for(&g, busy - 1, cancel, ctx);
                }
        }
        if (!rc)
                rc = wait_for(&g, 0, cancel, ctx);
        for (size_t k = 0; rc && k < i; k++)
                engine_seq_cancel(seqs[k]);
        drain(&g);
        for (size_t k = 0; k < i; k++)
                engine_seq_unref(seqs[k]);
        pthread_cond_destroy(&g.done);
        mem_free(seqs);
        return rc;
}
