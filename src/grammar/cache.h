/* Compiled grammars by what they were made from, for the whole process. */
#ifndef CAIRN_GRAMMAR_CACHE_H
#define CAIRN_GRAMMAR_CACHE_H

#include "base/str.h"
#include "grammar/grammar.h"

/* A grammar made from exactly these bytes before, or else by make(ctx, &g), which returns 0 or an error that
 * is passed on and not remembered. *ret gets a reference. The least recently used ones go when their number
 * or memory reaches the bound. Any thread; make runs without a lock, so that two threads may make the same.
 */
int grammar_cached(struct str key, int (*make)(void *ctx, struct grammar **ret), void *ctx,
                   struct grammar **ret);
/* Drops what the grammars know of a vocabulary that is about to go: models come and go, grammars stay. */
void grammar_cache_forget(const struct grammar_vocab *v);
/* Drops all of it. */
void grammar_cache_clear(void);
#endif
