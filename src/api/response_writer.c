#include "api/response_writer.h"

#include <errno.h>
#include "base/mem.h"

static void flush(void *ctx);

void writer_init(struct writer *w, const struct writer_start *s)
{
        *w = (struct writer){ .store = s->store,
                              .feeds = s->feeds,
                              .owner = s->owner,
                              .job = s->job,
                              .kind = s->kind,
                              .ops = s->ops,
                              .version = s->version };
        log_batch_init(&w->group, s->next);
        log_batch_init(&w->waiting, s->next);
        log_batch_init(&w->flying, s->next);
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->still, NULL);
        feeds_timer_init(&w->timer, flush, w);
}

void writer_release(struct writer *w)
{
        log_batch_release(&w->group);
        log_batch_release(&w->waiting);
        log_batch_release(&w->flying);
        mem_free(w->doc);
        mem_free(w->flying_doc);
        pthread_cond_destroy(&w->still);
        pthread_mutex_destroy(&w->lock);
}

/* ---- commits ---- */

/* The row of the response: with its new document, or as it must still be. */
static struct store_op row_op(const struct writer *w)
{
        struct store_op op = { .verb = STORE_CHECK,
                               .kind = w->kind,
                               .id = w->owner.id,
                               .project = w->owner.project,
                               .if_version = w->version };
        if (w->flying_doc) {
                op.verb = STORE_UPDATE;
                op.set = STORE_SET_DOC;
                op.doc = (struct str){ w->flying_doc, w->flying_doc_n };
        }
        return op;
}

/* Whether the response is somebody else's now, or nobody's. */
static bool is_lost(int rc)
{
        return rc == -ESTALE || rc == -ENOENT || rc == -EEXIST;
}

static void committed(void *ctx, int rc, const struct store_fault *fault)
{
        struct writer *w = ctx;
        (void)fault;
        pthread_mutex_lock(&w->lock);
        if (rc == 0) {
                w->version += w->flying_doc != NULL;
                log_batch_clear(&w->flying, log_batch_next(&w->flying));
                mem_free(w->flying_doc);
                w->flying_doc = NULL;
        } else if (is_lost(rc)) {
                w->lost = rc;
        }
        bool room = rc == 0 && w->paused,
             again = !w->closed && !w->lost && (rc || w->waiting.ends.n || w->doc);
        w->paused &= !room;
        pthread_mutex_unlock(&w->lock);
        if (room)
                w->ops.on_room(w->ops.ctx);
        if (is_lost(rc))
                w->ops.on_lost(w->ops.ctx);
        if (again)
                feeds_after(w->feeds, &w->timer, rc ? WRITER_RETRY_MS : WRITER_DELAY_MS);
        pthread_mutex_lock(&w->lock);
        w->in_flight = false;
        pthread_cond_broadcast(&w->still);
        pthread_mutex_unlock(&w->lock);
}

/* Starts the commit of `flying`. The lease comes first: who has lost the job learns that, and nothing else.
 */
static int commit_flying(struct writer *w)
{
        struct log_rows rows;
        int rc = log_rows_make(&w->flying, &w->owner, &rows);
        struct store_op *ops = rc ? NULL : mem_calloc(rows.n + 3, sizeof(*ops));
        size_t n = 0;
        if (rc == 0 && !ops)
                rc = -ENOMEM;
        if (rc == 0) {
                ops[n++] = (struct store_op){
                        .verb = STORE_JOB_SAVE, .kind = w->job->kind, .id = w->job->id, .lease = w->job->lease
                };
                ops[n++] = row_op(w);
                for (size_t i = 0; i < rows.n; i++)
                        ops[n++] = rows.ops[i];
                ops[n++] =
                        (struct store_op){ .verb = STORE_NOTIFY, .kind = RESPONSE_TOPIC, .id = w->owner.id };
                rc = store_write_async(w->store, ops, n, committed, w);
        }
        mem_free(ops);
        log_rows_release(&rows);
        return rc;
}

/* The feeds' thread, when the delay is over. */
static void flush(void *ctx)
{
        struct writer *w = ctx;
        pthread_mutex_lock(&w->lock);
        if (w->in_flight || w->closed || w->lost) {
                pthread_mutex_unlock(&w->lock);
                return;
        }
        if (!w->flying.ends.n && !w->flying_doc) {
                struct log_batch empty = w->flying;
                w->flying = w->waiting;
                w->waiting = empty;
                log_batch_clear(&w->waiting, log_batch_next(&w->flying));
                w->flying_doc = w->doc;
                w->flying_doc_n = w->doc_n;
                w->doc = NULL;
        }
        w->in_flight = w->flying.ends.n || w->flying_doc;
        bool go = w->in_flight;
        pthread_mutex_unlock(&w->lock);
        int rc = go ? commit_flying(w) : 0; /* `flying` is not touched by others while in_flight */
        if (rc)
                committed(w, rc, NULL);
}

/* ---- the producer ---- */

int writer_add(struct writer *w, const json_t *event)
{
        return log_batch_add(&w->group, event);
}

bool writer_ready(struct writer *w, const json_t *doc)
{
        size_t n = 0;
        char *text = doc ? json_text(doc, &n) : NULL;
        pthread_mutex_lock(&w->lock);
        /* What does not fit stays in the group and comes with the next one. */
        int rc = w->group.ends.n ? log_batch_move(&w->waiting, &w->group) : 0;
        if (text) {
                mem_free(w->doc);
                w->doc = text;
                w->doc_n = n;
        }
        bool more = w->waiting.text.n < WRITER_MAX && rc == 0;
        w->paused = !more && !w->lost;
        bool arm = !w->in_flight && !w->closed && !w->lost;
        pthread_mutex_unlock(&w->lock);
        if (arm)
                feeds_after(w->feeds, &w->timer, WRITER_DELAY_MS);
        return more || w->lost;
}

int writer_close(struct writer *w, struct log_batch *ret_rest, int64_t *ret_version)
{
        feeds_cancel(w->feeds, &w->timer);
        pthread_mutex_lock(&w->lock);
        w->closed = true;
        while (w->in_flight)
                pthread_cond_wait(&w->still, &w->lock);
        pthread_mutex_unlock(&w->lock);
        feeds_cancel(w->feeds, &w->timer); /* a commit that ended meanwhile may have set it again */
        *ret_version = w->version;
        *ret_rest = w->flying;
        log_batch_init(&w->flying, 0);
        int rc = log_batch_move(ret_rest, &w->waiting);
        if (rc == 0)
                rc = log_batch_move(ret_rest, &w->group);
        return w->lost ? w->lost : rc;
}
