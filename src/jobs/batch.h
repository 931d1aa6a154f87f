/* Batches: the lines of a file, each a request of its own, worked off in the background and answered in two
 * files.
 *
 * A batch is a row of kind "batch", whose document is {"object": the Batch that clients see, "who": its
 * creator, "expires_after": seconds of its output files, "queued": tokens it holds of the limit}, and a job
 * of the same id. Its worker goes validating > in_progress > finalizing > completed, or to failed, cancelled
 * or expired. The answer of a line is a row of kind "batch.line" below the batch, committed in one
 * transaction with its usage and the counts of the batch: a batch whose process died goes on behind the lines
 * that have one, and none is answered twice. The rows go when they are in the output files. What lines have
 * used that a cancellation or the end of the window cuts off is committed too; what is run again is not.
 *
 * A line may store something itself (a chat completion, items of a conversation). Its reply is committed
 * together with that, as a row of kind "batch.reply": when the process dies before the answer is committed,
 * the line is not run again but answered with this reply. */
#ifndef CAIRN_JOBS_BATCH_H
#define CAIRN_JOBS_BATCH_H

#include <stddef.h>
#include <stdint.h>
#include "base/ids.h"
#include "base/json.h"
#include "jobs/jobs.h"
#include "store/store.h"

struct blobs;
struct limits;
struct principal;

#define BATCH_KIND "batch" /* of rows and of jobs */
#define BATCH_EXPIRY_KIND \
        "batch.expiry" /* of jobs: ends a batch that waits for its worker until its time is over */
#define BATCH_LINE_KIND "batch.line" /* the answer of one line */
#define BATCH_REPLY_KIND \
        "batch.reply" /* the reply to a line that stored something, until its answer is there */
#define BATCH_QUEUE_KIND "batch.queue" /* the tokens of a project's open batches for a model */

#define BATCH_MAX_LINES 50000
#define BATCH_MAX_BYTES ((uint64_t)200 << 20)
#define BATCH_MAX_INPUTS 50000 /* of embeddings, in all lines together */
#define BATCH_WINDOW_S 86400
#define BATCH_CUSTOM_ID_MAX 512 /* bytes */

/* ---- what runs a line ---- */

/* What is wrong with a line. */
struct batch_why {
        const char *code; /* static */
        char param[256];  /* below the body; "" for none */
        char msg[768];
};

struct batch_reply {
        int status; /* as over HTTP */
        const char *request_id;
        const json_t *body;
        const struct store_usage *usage; /* the batch's to commit; NULL: none. Until release() */
        bool kept;                       /* what batch_keep() made was committed, and the usage with it */
        bool unsure;                     /* or perhaps: this is the error of that commit */
};

/* One request. `done` is called once, on any thread, possibly before start() returns; what it gets is
 * borrowed. */
struct batch_call {
        const char *endpoint;
        const struct principal *who;
        const char *batch, *line; /* ids; `line` of its rows. They live until done(), */
        const char *custom_id;    /* and so does this: JSON */
        json_t *body;             /* a reference is taken, and the tree may be changed */
        void (*done)(void *ctx, const struct batch_reply *reply);
        void *ctx;
};

/* The operation that keeps a successful reply with what the line stores, for the same transaction. Its
 * strings are the call's and of `a`. 0 or -ENOMEM. */
int batch_keep(const struct batch_call *call, const struct batch_reply *reply, struct arena *a,
               struct store_op *ret);

/* The API, as the worker sees it. Any thread. */
struct batch_runner {
        /* Whether the endpoint takes this body: 0 with *ret_model (an id that lives as long as the runner),
         * or -EINVAL with *why. */
        int (*check)(void *ctx, const char *endpoint, json_t *body, const char **ret_model,
                     struct batch_why *why);
        /* 0 with a handle, or -ENOMEM, -EAGAIN (try later). */
        int (*start)(void *ctx, const struct batch_call *call, void **ret);
        void (*cancel)(void *handle);  /* done() still comes, soon */
        void (*release)(void *handle); /* after done(): the call is over */
        void *ctx;
};

/* ---- the worker ---- */

struct batches;

/* Is told, in a sentence, of what an operator has to know. Any thread. */
typedef void batch_report_fn(const char *finding);

struct batches_options {
        struct store *store;
        struct blobs *blobs;
        struct limits *limits; /* NULL: none */
        struct batch_runner runner;
        batch_report_fn *report;
        int lines;       /* requests in flight at most, of all batches together */
        size_t max_line; /* bytes */
        bool lenient;    /* unknown members of a line are ignored */
};

/* What the options name outlives it. 0 or -ENOMEM. */
int batches_new(const struct batches_options *options, struct batches **ret);
void batches_free(struct batches *all); /* after jobs_stop(); accepts NULL */
/* The workers to hand to jobs_start(). */
struct job_worker batches_worker(struct batches *all);
struct job_worker batches_expiry_worker(struct batches *all);

/* ---- for the operations ---- */

struct batch_new {
        const struct principal *who;
        const char *input_file, *endpoint;
        const json_t *metadata; /* NULL: none */
        int64_t expires_after;  /* seconds that its output files live */
        int64_t window;         /* seconds that it may take */
        /* Commits, in the place of store_write(), also what else is to be there with the batch; or NULL. */
        int (*commit)(void *ctx, const struct store_op *ops, size_t n, const json_t *object,
                      struct store_fault *fault);
        void *ctx;
};

/* Commits a batch that is to be validated, and its job: 0 with the object, a new reference; or what the store
 * says. */
int batch_create(struct store *s, const struct batch_new *what, json_t **ret, struct store_fault *fault);
/* Asks for its end, or commits it when no worker has begun with it: 0 with the object, a new reference, also
 * when that was asked before; -ENOENT; -EALREADY when it is over or about to be, *ret being as it is. */
int batch_cancel(struct store *s, const char *project, const char *id, json_t **ret,
                 struct store_fault *fault);
#endif
