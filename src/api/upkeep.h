/* What has to be done from time to time, and may come late: one thread, one table of tasks, of which one
 * waits for the other. */
#ifndef CAIRN_API_UPKEEP_H
#define CAIRN_API_UPKEEP_H

struct api;
struct upkeep;

/* Runs each task at its interval, the first time one interval after the start; the collection of blobs that
 * nothing names also a second after it. 0 or a negative errno. */
int upkeep_start(struct api *api, struct upkeep **ret);
void upkeep_stop(struct upkeep *u); /* waits for the task that runs; accepts NULL */
#endif
