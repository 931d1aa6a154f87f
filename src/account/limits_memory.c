/* Buckets of one process, and those of the store. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include "account/limits_internal.h"
#include "base/map.h"
#include "base/mem.h"

#define TAKE_MAX 16 /* buckets of one call */

/* A project and model have at most LIMIT_RATES cells, and both are named by the operator: they are kept. */
struct cell {
        double level; /* exact for whole numbers up to 2^53; between two of them it is refilled */
        int64_t at_ms;
};

struct memory {
        struct backend base;
        pthread_mutex_t lock;
        struct map cells;
};

int64_t bucket_wait(const struct store_bucket *b, double level, double amount)
{
        if (level >= amount || b->capacity <= 0)
                return 0;
        return (int64_t)ceil((amount - level) * (double)b->refill_ms / (double)b->capacity);
}

static struct cell *find_cell(struct memory *m, const struct store_bucket *b, int64_t now_ms)
{
        struct cell *cell = map_get(&m->cells, str_c(b->key));
        if (cell)
                return cell;
        cell = mem_alloc(sizeof(*cell));
        if (!cell)
                return NULL;
        *cell = (struct cell){ (double)b->capacity, now_ms };
        if (map_put(&m->cells, str_c(b->key), cell, NULL)) {
                mem_free(cell);
                return NULL;
        }
        return cell;
}

/* The level now: never above the capacity, which the operator may have lowered. A clock that was set back
 * refills nothing. */
static void refill(struct cell *cell, const struct store_bucket *b, int64_t now_ms)
{
        if (now_ms > cell->at_ms) {
                cell->level += (double)(now_ms - cell->at_ms) * (double)b->capacity / (double)b->refill_ms;
                cell->at_ms = now_ms;
        }
        cell->level = fmin(cell->level, (double)b->capacity);
}

/* The buckets' cells, refilled. Lock held. */
static int read_cells(struct memory *m, struct store_bucket *list, size_t n, int64_t now_ms,
                      struct cell **ret_cells)
{
        for (size_t i = 0; i < n; i++) {
                ret_cells[i] = find_cell(m, &list[i], now_ms);
                if (!ret_cells[i])
                        return -ENOMEM;
                refill(ret_cells[i], &list[i], now_ms);
                list[i].ret_level = (int64_t)floor(ret_cells[i]->level);
        }
        return 0;
}

/* -EAGAIN when one has too little: the one that takes longest to have enough. */
static int find_short(const struct store_bucket *list, size_t n, struct cell *const *cells, size_t *ret_short)
{
        int64_t longest = -1;
        for (size_t i = 0; i < n; i++) {
                double amount = (double)list[i].amount;
                if (list[i].force || list[i].amount <= 0 || cells[i]->level >= amount)
                        continue;
                int64_t wait = bucket_wait(&list[i], cells[i]->level, amount);
                if (wait > longest) {
                        longest = wait;
                        *ret_short = i;
                }
        }
        return longest < 0 ? 0 : -EAGAIN;
}

static int memory_take(struct backend *base, struct store_bucket *list, size_t n, int64_t now_ms,
                       size_t *ret_short, char *err, size_t errn)
{
        struct memory *m = (struct memory *)base;
        struct cell *cells[TAKE_MAX];
        (void)err, (void)errn;
        if (n > TAKE_MAX)
                return -EINVAL;
        pthread_mutex_lock(&m->lock);
        int rc = read_cells(m, list, n, now_ms, cells);
        if (rc == 0)
                rc = find_short(list, n, cells, ret_short);
        for (size_t i = 0; i < n && rc == 0; i++) {
                cells[i]->level = fmin(cells[i]->level - (double)list[i].amount, (double)list[i].capacity);
                list[i].ret_level = (int64_t)floor(cells[i]->level);
        }
        pthread_mutex_unlock(&m->lock);
        return rc;
}

static void memory_free(struct backend *base)
{
        struct memory *m = (struct memory *)base;
        map_release(&m->cells, mem_free);
        pthread_mutex_destroy(&m->lock);
        mem_free(m);
}

struct backend *backend_memory(void)
{
        struct memory *m = mem_calloc(1, sizeof(*m));
        if (!m)
                return NULL;
        m->base = (struct backend){ memory_take, memory_free, false };
        pthread_mutex_init(&m->lock, NULL);
        map_init(&m->cells);
        return &m->base;
}

/* ---- the store's ---- */

struct shared {
        struct backend base;
        struct store *store;
};

static int shared_take(struct backend *base, struct store_bucket *list, size_t n, int64_t now_ms,
                       size_t *ret_short, char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        int rc = store_buckets_take(((struct shared *)base)->store, list, n, now_ms, ret_short, &fault);
        if (rc && rc != -EAGAIN)
                snprintf(err, errn, "%s", fault.msg);
        return rc;
}

static void shared_free(struct backend *base)
{
        mem_free(base);
}

struct backend *backend_store(struct store *store)
{
        struct shared *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->base = (struct backend){ shared_take, shared_free, true };
        s->store = store;
        return &s->base;
}
