/* What compilation may spend: steps, memory, and the caller's patience. Passed down to everything that loops
 * over input from outside. */
#ifndef CAIRN_GRAMMAR_WORK_H
#define CAIRN_GRAMMAR_WORK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gr_work {
        int64_t steps; /* left */
        int64_t bytes; /* left: memory of automata under construction */
        bool (*cancel)(void *ctx);
        void *ctx;
        int64_t until_poll;
};

/* Takes n steps. 0, -E2BIG when none are left, -ECANCELED. */
int gr_step(struct gr_work *w, int64_t n);
/* Takes n bytes; they are given back with a negative n. 0 or -E2BIG. */
static inline int gr_memory(struct gr_work *w, int64_t n)
{
        w->bytes -= n;
        return w->bytes < 0 ? -E2BIG : 0;
}
#endif
