/* The parts of the limits: limits.c (rules, a request), limits_memory.c and limits_redis.c (where buckets
 * are), limits_settle.c (corrections that would have to wait). */
#ifndef CAIRN_ACCOUNT_LIMITS_INTERNAL_H
#define CAIRN_ACCOUNT_LIMITS_INTERNAL_H

#include "account/limits.h"
#include "store/store.h"

/* Where buckets are kept. take() is store_buckets_take(): all or none, -EAGAIN with *ret_short; other errors
 * say why in err. Any thread. */
struct backend {
        int (*take)(struct backend *b, struct store_bucket *list, size_t n, int64_t now_ms, size_t *ret_short,
                    char *err, size_t errn);
        void (*free)(struct backend *b);
        bool waits; /* take may wait for a network */
};

/* Each NULL when memory is out. */
struct backend *backend_memory(void);
struct backend *backend_store(struct store *store);
/* *ret and 0; -EINVAL with a sentence for a URL that is none. Connects with the first take. */
int backend_redis(const char *url, struct backend **ret, char *err, size_t errn);

/* Milliseconds until a bucket of this level holds `amount`. */
int64_t bucket_wait(const struct store_bucket *b, double level, double amount);

/* ---- settling ---- */

struct settler;

/* Takes what is given to it from the backend, by force, on a thread of its own; what the backend refuses to
 * take, because it is out of reach, from `local`. */
struct settler *settler_start(struct backend *backend,
                              struct backend *local); /* NULL: no memory, no thread */
/* Adds to what waits: amounts of one key are added up, so that what waits is bounded by the buckets there
 * are. */
void settler_add(struct settler *s, const struct store_bucket *list, size_t n);
/* Waits until what was added before is taken, for 2 s at most. True when it has waited for that: a bucket
 * that held too little may hold enough now. */
bool settler_catch_up(struct settler *s);
void settler_stop(struct settler *s); /* settles what waits, then frees; accepts NULL */
#endif
