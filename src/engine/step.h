/* What becomes of a step: sampled tokens, logprobs, embeddings, events, and the end of sequences. Engine
 * thread only. */
#ifndef CAIRN_ENGINE_STEP_H
#define CAIRN_ENGINE_STEP_H

#include "engine/sched.h"

/* Uses the results of the batch just evaluated. */
void step_results(struct sched *s);
/* Looks at the sequence's flags and delivers what is due. True when it is done and has been released. */
bool step_tend(struct sched *s, struct engine_seq *seq);
/* No more tokens: what is left of the text can go out. `error` is for ENGINE_ERROR. */
void step_end(struct engine_seq *seq, enum engine_finish finish, int error);
/* Delivers DONE at once and releases the sequence, whatever is undelivered. */
void step_finish(struct sched *s, struct engine_seq *seq, enum engine_finish finish);
void step_fail(struct sched *s, struct engine_seq *seq, int error);
#endif
