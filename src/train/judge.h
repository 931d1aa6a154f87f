/* Whether a model's answer is the right one.
 *
 * A question's last message is its right answer. Text is right byte for byte; calls and JSON are compared as
 * values, since the order of keys and white space say nothing. */
#ifndef CAIRN_TRAIN_JUDGE_H
#define CAIRN_TRAIN_JUDGE_H

#include "base/json.h"
#include "base/str.h"

struct verdict {
        bool calls; /* the right answer is calls of functions */
        bool named; /* and the answer names the same functions in the same order */
        bool right;
};

/* `question` is an object with messages and perhaps response_schema; `answer` is all that the model wrote,
 * control tokens by their spelling, without the end of its turn. */
struct verdict judge_answer(const json_t *question, struct str answer);
/* The right answer. */
const json_t *judge_expected(const json_t *question);
#endif
