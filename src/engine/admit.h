/* Who gets memory and a place in the batch. Engine thread only. */
#ifndef CAIRN_ENGINE_ADMIT_H
#define CAIRN_ENGINE_ADMIT_H

#include "engine/sched.h"

/* A sequence that was submitted begins to wait. */
void admit_enqueue(struct sched *s, struct engine_seq *seq);
/* Gives memory and places to those that wait, best first, as far as there are any; takes them from sequences
 * of lower rank. */
void admit_all(struct sched *s);
/* Blocks for the first n tokens of an active sequence. When there are none left, lower-ranked sequences lose
 * theirs; false when this one has lost its own. */
bool admit_grow(struct sched *s, struct engine_seq *seq, int n);
/* Sequences that were resumed may be more than there are places for: the lowest-ranked go back to waiting. */
void admit_limit(struct sched *s);
/* What is in its KV becomes shareable: whole blocks, and with `part` the begun one too. */
void admit_publish(struct sched *s, struct engine_seq *seq, bool part);
/* Gives up its memory, and its place if it has one; what was published stays until it is thrown out. */
void admit_release(struct sched *s, struct engine_seq *seq);
/* Takes it out of its owner's account: it is over. */
void admit_leave(struct sched *s, struct engine_seq *seq);
/* Whether `a` is served before `b`, by level, the owners' accounts and the order of arrival. */
bool admit_before(const struct engine_seq *a, const struct engine_seq *b);
#endif
