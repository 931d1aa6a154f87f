/* Counters for GET /metrics. Writers add from any thread without a lock. */
#ifndef CAIRN_API_METRICS_H
#define CAIRN_API_METRICS_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/buf.h"

struct api;
struct operation;

#define METRICS_STATUS_CLASSES 6 /* by the first digit of the status; 0: no reply was sent */

struct metrics_op {
        atomic_uint_fast64_t count[METRICS_STATUS_CLASSES];
        atomic_uint_fast64_t duration_us;
};

struct metrics {
        struct metrics_op *ops; /* by index of the operation, the last for requests without one */
        atomic_uint_fast64_t violations;
        _Atomic int64_t limits_complained_ms; /* monotonic: when the log last told of unreachable limits */
};

int metrics_init(struct metrics *m); /* 0 or -ENOMEM */
void metrics_release(struct metrics *m);
/* op may be NULL. */
void metrics_count(struct metrics *m, const struct operation *op, int status, int64_t duration_us);
/* The whole exposition in Prometheus' text format, version 0.0.4. */
void metrics_write(struct api *api, struct buf *out);
#endif
