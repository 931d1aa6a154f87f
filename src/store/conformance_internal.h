/* What the parts of the conformance suite share. */
#ifndef CAIRN_STORE_CONFORMANCE_INTERNAL_H
#define CAIRN_STORE_CONFORMANCE_INTERNAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "store/store.h"

/* A case gets a fresh, empty store in *state; it may close it and put another there. */
int conformance_setup(void **state);
int conformance_teardown(void **state);
struct store *conformance_reopen(struct store *s); /* closes, opens again with what is there */

#define CASE(test) cmocka_unit_test_setup_teardown(test, conformance_setup, conformance_teardown)

/* Each returns how many of its cases failed. */
int conformance_threads(void);
int conformance_jobs(void);
int conformance_usage(void);
int conformance_upkeep(void);

/* A row of kind "thing" of project "proj_a"; the doc says its id. */
struct store_op conformance_thing(const char *id, int64_t created);
/* Puts n of them, "t000" and so on, three of each second. */
void conformance_put_things(struct store *s, int n);
/* Pages through the list that q asks for, which must be exactly the first `total` of them in q's order. */
void conformance_walk(struct store *s, struct store_query q, int total);
/* The version of that thing, or a negative errno. */
int64_t conformance_version(struct store *s, const char *id);
#endif
