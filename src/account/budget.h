/* What the projects have spent this month: read from the usage log now and then, counted on in between. */
#ifndef CAIRN_ACCOUNT_BUDGET_H
#define CAIRN_ACCOUNT_BUDGET_H

#include <stdint.h>

struct budget;
struct store;

struct budget *budget_new(struct store *store); /* NULL when memory is out */
void budget_free(struct budget *b);             /* accepts NULL */

/* -EDQUOT when the project has spent `dollars` or more in the calendar month (UTC) of now_ms; else 0. Reads
 * the log when what is known is old: may wait for the store, or, at the first look of a month, for the thread
 * that does. A log that cannot be read leaves what is known in force. Any thread. */
int budget_check(struct budget *b, const char *project, double dollars, int64_t now_ms);
/* Counts a cost, in billionths of a dollar, before the log tells of it. Any thread, never waits. */
void budget_spend(struct budget *b, const char *project, int64_t cost);
#endif
