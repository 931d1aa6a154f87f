/* Who still needs a blob, and what goes when nobody does. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "store/blob_internal.h"

struct hold {
        char id[BLOB_ID_LEN + 1];
        size_t n;
        bool doomed;
};

struct blob_holds {
        pthread_mutex_t lock;
        struct map by_id;            /* to struct hold */
        struct VEC(struct hold) due; /* doomed, and held no more */
};

struct blob_holds *blob_holds_new(void)
{
        struct blob_holds *h = mem_calloc(1, sizeof(*h));
        if (!h)
                return NULL;
        pthread_mutex_init(&h->lock, NULL);
        map_init(&h->by_id);
        return h;
}

void blob_holds_free(struct blob_holds *h)
{
        if (!h)
                return;
        map_release(&h->by_id, mem_free);
        vec_release(&h->due);
        pthread_mutex_destroy(&h->lock);
        mem_free(h);
}

static int hold_new(struct blob_holds *h, const char *id)
{
        struct hold *hold = mem_calloc(1, sizeof(*hold));
        if (!hold)
                return -ENOMEM;
        hold->n = 1;
        snprintf(hold->id, sizeof(hold->id), "%s", id);
        int rc = map_put(&h->by_id, str_c(id), hold, NULL);
        if (rc)
                mem_free(hold);
        return rc;
}

int blob_holds_add(struct blob_holds *h, const char *id)
{
        int rc = 0;
        pthread_mutex_lock(&h->lock);
        struct hold *hold = map_get(&h->by_id, str_c(id));
        if (hold)
                hold->n++;
        else
                rc = hold_new(h, id);
        pthread_mutex_unlock(&h->lock);
        return rc;
}

/* Memory may be out: then it stays behind, as when the process ends. */
void blob_holds_drop(struct blob_holds *h, const char *id)
{
        pthread_mutex_lock(&h->lock);
        struct hold *hold = map_get(&h->by_id, str_c(id));
        if (hold && !--hold->n) {
                map_remove(&h->by_id, str_c(id));
                if (hold->doomed)
                        vec_push(&h->due, *hold);
                mem_free(hold);
        }
        pthread_mutex_unlock(&h->lock);
}

bool blob_holds_doom(struct blob_holds *h, const char *id)
{
        pthread_mutex_lock(&h->lock);
        struct hold *hold = map_get(&h->by_id, str_c(id));
        if (hold)
                hold->doomed = true;
        pthread_mutex_unlock(&h->lock);
        return hold != NULL;
}

bool blob_holds_due(struct blob_holds *h, char *ret)
{
        pthread_mutex_lock(&h->lock);
        bool any = h->due.n > 0;
        if (any)
                snprintf(ret, BLOB_ID_LEN + 1, "%s", h->due.p[--h->due.n].id);
        pthread_mutex_unlock(&h->lock);
        return any;
}
