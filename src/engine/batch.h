/* What a step evaluates, and what steps cost. Engine thread only. */
#ifndef CAIRN_ENGINE_BATCH_H
#define CAIRN_ENGINE_BATCH_H

#include "engine/sched.h"

#define BATCH_ROWS_MAX 512  /* tokens evaluated in one step */
#define BATCH_LOGITS_MIN 64 /* rows of logits in one step, for logprobs of prompts and for guesses */

/* Fills the evaluation's batch and s->jobs from the active sequences. */
void batch_build(struct sched *s);
/* Learns from the step that has just been evaluated. */
void batch_note_speed(struct sched *s, int64_t us);
#endif
