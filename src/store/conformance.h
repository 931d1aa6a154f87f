/* What every backend of the store must do, as one suite that each backend's test runs. */
#ifndef CAIRN_STORE_CONFORMANCE_H
#define CAIRN_STORE_CONFORMANCE_H

struct store;

/* Opens the backend's store for one test: a fresh one when `fresh`, else the one of the call before, as
 * after a restart. The suite closes it with store_close(). */
typedef struct store *store_opener(int fresh);

/* Runs the suite through cmocka; returns the number of failed tests. */
int store_conformance(const char *backend, store_opener *open);
#endif
