/* A few threads that do the same job together and wait for each other. The caller is worker 0. */
#ifndef CAIRN_TRAIN_TEAM_H
#define CAIRN_TRAIN_TEAM_H

struct team;

struct team *team_new(int workers); /* NULL when threads or memory are out */
void team_free(struct team *t);     /* accepts NULL */
int team_size(const struct team *t);
/* Runs fn(arg, worker) once on each worker and returns when all are done. One caller at a time. */
void team_run(struct team *t, void (*fn)(void *arg, int worker), void *arg);
#endif
