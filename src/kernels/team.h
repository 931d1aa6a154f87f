/* A team of threads that runs one function together, with barriers cheap enough for a few microseconds of
 * work between them: waiting threads spin briefly, then sleep in the kernel. */
#ifndef CAIRN_KERNELS_TEAM_H
#define CAIRN_KERNELS_TEAM_H

#include <stddef.h>

struct kern_team;

/* Cores that this process may use: its affinity mask, and no more than its control group's quota. */
int kern_team_default_threads(void);
/* n >= 1 threads, of which the caller of kern_team_run is one. NULL when threads or memory are out. */
struct kern_team *kern_team_new(int n);
void kern_team_free(struct kern_team *t); /* accepts NULL; not while kern_team_run is under way */
int kern_team_size(const struct kern_team *t);
/* Runs fn(arg, 0 .. n - 1) on all threads and returns when every one has returned. One caller at a time. */
void kern_team_run(struct kern_team *t, void (*fn)(void *arg, int tid), void *arg);
/* Inside fn: waits until all threads of the team have come here. What they wrote before is visible after. */
void kern_team_barrier(struct kern_team *t);

/* This thread's share [*ret_from, *ret_to) of n items, in multiples of `unit` (except for the end). */
void kern_team_share(int tid, int threads, size_t n, size_t unit, size_t *ret_from, size_t *ret_to);
#endif
