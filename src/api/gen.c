#include "api/gen.h"

#include <errno.h>
#include "api/api.h"
#include "api/idempotency.h"
#include "api/meter.h"
#include "base/mem.h"
#include "base/pool.h"

static void unref(void *ctx)
{
        struct gen *g = ctx;
        if (atomic_fetch_sub(&g->_refs, 1) != 1)
                return;
        struct req *r = g->r;
        g->ops->free(g);
        req_unref(r);
}

static void resume(void *ctx)
{
        struct gen *g = ctx;
        if (!atomic_load(&g->_rejected)) /* else some runs were never started */
                g->ops->resume(g);
}

static void cancel(void *ctx)
{
        struct gen *g = ctx;
        g->ops->cancel(g);
}

static void finish(void *ctx)
{
        struct gen *g = ctx;
        req_on_abort(g->r, NULL, NULL);
        mem_take_failure(); /* of this thread's earlier work */
        g->ops->finish(g);
        meter_write(g->r); /* of a run that failed, so that nothing else was stored */
        unref(g);
}

/* The usage is on the disk, or cannot be brought there. */
static void recorded(void *ctx, int rc)
{
        struct gen *g = ctx;
        g->unrecorded = rc;
        pool_push(g->r->api->workers, &g->_end);
}

int gen_failure(const struct gen *g, struct api_err *reterr)
{
        return g->unrecorded ? err_internal(reterr, g->unrecorded, "usage", "") : 0;
}

void gen_init(struct gen *g, const struct gen_ops *ops, struct req *r, int parts)
{
        g->ops = ops;
        g->r = r;
        req_ref(r);
        atomic_init(&g->_refs, 2);
        atomic_init(&g->_left, parts + 1);
        atomic_init(&g->_rejected, false);
}

int gen_open_stream(struct gen *g, struct reply *ret)
{
        struct stream_owner owner = { .resume = resume, .release = unref, .ctx = g };
        g->stream = stream_new(g->r, &owner);
        if (!g->stream)
                return -ENOMEM;
        atomic_fetch_add(&g->_refs, 1);
        ret->stream = stream_ring(g->stream);
        ret->sunk = !ret->stream;
        return 0;
}

void gen_add(struct gen *g, int parts)
{
        atomic_fetch_add(&g->_left, parts);
}

void gen_done(struct gen *g, int parts)
{
        if (!parts || atomic_fetch_sub(&g->_left, parts) != parts)
                return;
        if (atomic_load(&g->_rejected)) {
                if (g->stream)
                        stream_end(g->stream, false);
                unref(g);
                return;
        }
        struct usage used = { 0 };
        g->ops->usage(g, &used);
        meter_use(g->r, &used);
        g->_end = (struct pool_task){ .fn = finish, .arg = g };
        if (g->commits || (!g->stream && idempotency_keeps(g->r)))
                recorded(g, 0);
        else
                meter_write_async(g->r, recorded, g);
}

void gen_reject(struct gen *g, struct reply *ret, int unstarted)
{
        atomic_store(&g->_rejected, true);
        g->ops->cancel(g);
        if (g->stream) { /* never sent; the producer's end goes with the last part */
                stream_discard(g->stream);
                ret->stream = NULL;
                ret->sunk = false;
        }
        gen_done(g, unstarted);
}

int gen_started(struct gen *g, int rc)
{
        int result = rc ? -1 : g->stream ? 0 : REPLY_LATER;
        if (rc == 0)
                req_on_abort(g->r, cancel, g);
        gen_done(g, 1);
        unref(g);
        return result;
}
