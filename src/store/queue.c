#include "store/queue.h"

#include <errno.h>
#include <stdint.h>

void write_queue_init(struct write_queue *q, size_t max)
{
        *q = (struct write_queue){ .max = max ? max : 65536 };
        q->tail = &q->head;
        pthread_mutex_init(&q->lock, NULL);
        pthread_cond_init(&q->filled, NULL);
}

void write_queue_release(struct write_queue *q)
{
        pthread_mutex_destroy(&q->lock);
        pthread_cond_destroy(&q->filled);
}

int write_queue_add(struct write_queue *q, struct store_write *w)
{
        int rc = 0;
        w->next = NULL;
        pthread_mutex_lock(&q->lock);
        bool full = q->n >= q->max || (q->head && q->bytes + w->bytes > QUEUE_BYTES_MAX);
        if (q->stopping || full) {
                rc = -EAGAIN;
        } else {
                bool was_empty = !q->head;
                *q->tail = w;
                q->tail = &w->next;
                q->n++;
                q->bytes += w->bytes;
                if (was_empty)
                        pthread_cond_signal(&q->filled);
        }
        pthread_mutex_unlock(&q->lock);
        return rc;
}

/* The first writes, with the lock held. */
static struct store_write *cut(struct write_queue *q, size_t max_n, size_t max_bytes)
{
        struct store_write *list = q->head, **end = &q->head;
        size_t bytes = 0;
        for (size_t n = 0; n < max_n && *end && (!n || bytes + (*end)->bytes <= max_bytes); n++) {
                bytes += (*end)->bytes;
                q->n--;
                end = &(*end)->next;
        }
        q->bytes -= bytes;
        q->head = *end;
        if (!q->head)
                q->tail = &q->head;
        if (list)
                *end = NULL;
        return list;
}

struct store_write *write_queue_take(struct write_queue *q, size_t max_n, size_t max_bytes)
{
        pthread_mutex_lock(&q->lock);
        while (!q->head && !q->stopping)
                pthread_cond_wait(&q->filled, &q->lock);
        struct store_write *list = cut(q, max_n, max_bytes);
        pthread_mutex_unlock(&q->lock);
        return list;
}

struct store_write *write_queue_more(struct write_queue *q, size_t max_n)
{
        pthread_mutex_lock(&q->lock);
        struct store_write *list = max_n ? cut(q, max_n, SIZE_MAX) : NULL;
        pthread_mutex_unlock(&q->lock);
        return list;
}

void write_queue_stop(struct write_queue *q)
{
        pthread_mutex_lock(&q->lock);
        q->stopping = true;
        pthread_cond_signal(&q->filled);
        pthread_mutex_unlock(&q->lock);
}

size_t write_queue_length(struct write_queue *q)
{
        pthread_mutex_lock(&q->lock);
        size_t n = q->n;
        pthread_mutex_unlock(&q->lock);
        return n;
}
