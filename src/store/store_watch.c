/* Watching: who is told of what was committed. */
#include <errno.h>
#include <pthread.h>
#include "store/store_internal.h"

/* Of all stores' watchers: they come and go rarely, and are told in a moment. */
static pthread_rwlock_t watchers_lock = PTHREAD_RWLOCK_INITIALIZER;

int store_watch(struct store *s, store_watch_fn *fn, void *ctx)
{
        int rc = -ENOSPC;
        pthread_rwlock_wrlock(&watchers_lock);
        if (s->n_watchers < WATCHERS_MAX) {
                s->watchers[s->n_watchers].fn = fn;
                s->watchers[s->n_watchers++].ctx = ctx;
                rc = 0;
        }
        pthread_rwlock_unlock(&watchers_lock);
        if (!rc && s->backend->listen) {
                rc = s->backend->listen(s, NULL);
                if (rc)
                        store_unwatch(s, fn, ctx);
        }
        return rc;
}

void store_unwatch(struct store *s, store_watch_fn *fn, void *ctx)
{
        pthread_rwlock_wrlock(&watchers_lock);
        for (int i = 0; i < s->n_watchers; i++) {
                if (s->watchers[i].fn == fn && s->watchers[i].ctx == ctx)
                        s->watchers[i--] = s->watchers[--s->n_watchers];
        }
        pthread_rwlock_unlock(&watchers_lock);
}

bool store_op_tells(const struct store_op *op, const char **ret_topic, const char **ret_id)
{
        switch (op->verb) {
        case STORE_NOTIFY:
                *ret_topic = op->kind;
                *ret_id = op->id;
                return true;
        case STORE_JOB_PUT:
        case STORE_JOB_RETRY:
        case STORE_JOB_WAKE:
                *ret_topic = STORE_TOPIC_JOB;
                *ret_id = op->kind;
                return true;
        default:
                return false;
        }
}

void store_tell(struct store *s, const char *topic, const char *id)
{
        pthread_rwlock_rdlock(&watchers_lock);
        for (int i = 0; i < s->n_watchers; i++)
                s->watchers[i].fn(s->watchers[i].ctx, topic, id);
        pthread_rwlock_unlock(&watchers_lock);
}

void store_tell_ops(struct store *s, const struct store_op *ops, size_t n)
{
        const char *topic, *id;
        for (size_t i = 0; i < n; i++) {
                if (store_op_tells(&ops[i], &topic, &id))
                        store_tell(s, topic, id);
        }
}
