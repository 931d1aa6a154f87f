/* What all generating operations share: a request that starts one or more runs of a model, whose ends arrive
 * on the model's thread, and that is then finished once, as one reply or as the end of a stream.
 *
 * References: the starter's (the handler, until gen_started), the end's (until finish has run) and the
 * stream's. `left` counts the parts that have not ended, and the starter: so finish never runs before the
 * handler is through with the start. */
#ifndef CAIRN_API_GEN_H
#define CAIRN_API_GEN_H

#include "account/usage.h"
#include "api/req.h"
#include "api/stream.h"
#include "base/pool.h"

struct gen;

struct gen_ops {
        void (*cancel)(struct gen *g); /* asks the runs that were started to stop; any thread */
        void (*resume)(struct gen *g); /* there is room in the stream again; any thread */
        /* All parts ended, well or not: what they took; *ret is zeroed. */
        void (*usage)(const struct gen *g, struct usage *ret);
        void (*finish)(struct gen *g); /* then: replies, or ends the stream; on a worker's thread */
        void (*free)(struct gen *g);   /* releases the runs and the memory */
};

struct gen {
        const struct gen_ops *ops;
        struct req *r;         /* referenced */
        struct stream *stream; /* NULL: one reply */
        bool commits;          /* finish stores the reply, and the record of usage with it (req_commit) */
        int unrecorded;        /* why else the record could not be committed, for gen_failure() */
        struct pool_task _end;
        atomic_int _refs, _left;
        atomic_bool _rejected;
};

/* `parts` ends will be told by gen_done(). */
void gen_init(struct gen *g, const struct gen_ops *ops, struct req *r, int parts);
/* Makes the reply a stream. 0 or -ENOMEM. */
int gen_open_stream(struct gen *g, struct reply *ret);
/* `parts` more ends will be told, before which finish does not run. */
void gen_add(struct gen *g, int parts);
/* `parts` more have ended; the last end leads to finish, once the usage is on the disk, or it goes there with
 * what finish stores (`commits`) or with the reply that is kept under the request's Idempotency-Key. */
void gen_done(struct gen *g, int parts);
/* 0, or -1 with *reterr when the usage could not be recorded: the reply must not be given. */
int gen_failure(const struct gen *g, struct api_err *reterr);
/* The start failed: cancels what runs; `unstarted` parts will not come. finish will not be called. */
void gen_reject(struct gen *g, struct reply *ret, int unstarted);
/* The handler is through: rc 0 when the start succeeded, else -1 after gen_reject. Drops the starter's
 * reference and gives what the handler returns. */
int gen_started(struct gen *g, int rc);
#endif
