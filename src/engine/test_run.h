/* For this folder's tests: runs a sequence and gathers what it delivers. Included by one file a program. */
#ifndef CAIRN_ENGINE_TEST_RUN_H
#define CAIRN_ENGINE_TEST_RUN_H

#include <pthread.h>
#include <string.h>
#include "base/buf.h"
#include "base/vec.h"
#include "engine/engine.h"

struct run {
        pthread_mutex_t lock;
        pthread_cond_t moved;
        struct engine_seq *seq;
        struct buf text;
        struct VEC(struct engine_token) tokens; /* .top points into tops only while delivered: cleared here */
        struct VEC(struct engine_top) tops;     /* of all tokens, in order */
        struct VEC(struct engine_token) prompt;
        int events, refused, done;
        int refuse_next;         /* events still to be refused */
        struct engine_event end; /* DONE */
        char stop[64];
};

static inline bool run_event(void *ctx, const struct engine_event *ev)
{
        struct run *r = ctx;
        pthread_mutex_lock(&r->lock);
        bool take = ev->kind == ENGINE_EV_DONE || !r->refuse_next;
        if (!take) {
                r->refuse_next--;
                r->refused++;
        } else if (ev->kind == ENGINE_EV_DONE) {
                r->done++;
                r->end = *ev;
                memcpy(r->stop, ev->stop.p, ev->stop.n < 63 ? ev->stop.n : 63);
        } else {
                r->events++;
                buf_add(&r->text, ev->text.p, ev->text.n);
                for (size_t i = 0; i < ev->n_tokens; i++) {
                        for (int k = 0; k < ev->tokens[i].n_top; k++)
                                (void)vec_push(&r->tops, ev->tokens[i].top[k]);
                        if (ev->kind == ENGINE_EV_PROMPT)
                                (void)vec_push(&r->prompt, ev->tokens[i]);
                        else
                                (void)vec_push(&r->tokens, ev->tokens[i]);
                }
        }
        pthread_cond_broadcast(&r->moved);
        pthread_mutex_unlock(&r->lock);
        return take;
}

static inline void run_init(struct run *r)
{
        *r = (struct run){ .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
        buf_init(&r->text, 1 << 20);
}

/* Submits; the result of engine_submit. */
static inline int run_start(struct run *r, struct engine_model *m, const struct engine_req *req)
{
        struct engine_sink sink = { run_event, r };
        return engine_submit(m, req, &sink, &r->seq);
}

/* Waits until what() holds, with the lock. */
#define RUN_WAIT(r, condition)                                      \
        do {                                                        \
                pthread_mutex_lock(&(r)->lock);                     \
                while (!(condition))                                \
                        pthread_cond_wait(&(r)->moved, &(r)->lock); \
                pthread_mutex_unlock(&(r)->lock);                   \
        } while (0)

static inline void run_finish(struct run *r)
{
        RUN_WAIT(r, (r)->done);
        engine_seq_unref(r->seq);
        r->seq = NULL;
}

static inline void run_release(struct run *r)
{
        buf_release(&r->text);
        vec_release(&r->tokens);
        vec_release(&r->tops);
        vec_release(&r->prompt);
}

/* Start to end. */
static inline int run_all(struct run *r, struct engine_model *m, const struct engine_req *req)
{
        run_init(r);
        int rc = run_start(r, m, req);
        if (!rc)
                run_finish(r);
        return rc;
}
#endif
