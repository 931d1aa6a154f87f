/* The writes that wait for a backend's writer thread: a bounded queue that is taken in groups, so that one
 * commit serves all that gathered during the last one. */
#ifndef CAIRN_STORE_QUEUE_H
#define CAIRN_STORE_QUEUE_H

#include <pthread.h>
#include "store/store_internal.h"

#define QUEUE_BYTES_MAX (256u << 20) /* documents that wait; a longer one may wait alone */

struct write_queue {
        pthread_mutex_t lock;
        pthread_cond_t filled;
        struct store_write *head, **tail;
        size_t n, max, bytes;
        bool stopping;
};

void write_queue_init(struct write_queue *q, size_t max); /* 0: 65536 writes */
void write_queue_release(struct write_queue *q);
/* Appends; -EAGAIN when the queue is full or stops. Any thread. */
int write_queue_add(struct write_queue *q, struct store_write *w);
/* Waits for writes and takes them as a list: at most max_n, and no further one beyond max_bytes of documents.
 * NULL when the queue stops and is empty. */
struct store_write *write_queue_take(struct write_queue *q, size_t max_n, size_t max_bytes);
/* Takes at most max_n of those that wait now; NULL when none does. */
struct store_write *write_queue_more(struct write_queue *q, size_t max_n);
void write_queue_stop(struct write_queue *q);
size_t write_queue_length(struct write_queue *q);
#endif
