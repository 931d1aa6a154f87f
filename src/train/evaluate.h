/* Held-out loss and the share of answers that greedy decoding would give exactly. */
#ifndef CAIRN_TRAIN_EVALUATE_H
#define CAIRN_TRAIN_EVALUATE_H

#include "train/dataset.h"
#include "train/team.h"

struct eval_score {
        long n, exact;       /* documents; those whose every counted token was the most likely one */
        double loss, weight; /* sums over counted tokens */
};

struct eval_result {
        struct eval_score total;
        struct eval_score by_category[DATASET_CATEGORIES]; /* as in dataset.categories */
        uint8_t *exact;                                    /* one a document, when asked for (mem_free) */
};

/* Scores the documents by one forward pass each with the reference answer as input: each counted token was
 * the most likely one exactly when greedy decoding writes the answer. work[i] belongs to worker i of the team
 * and takes max_rows rows. 0 or -ENOMEM. */
int evaluate(struct team *team, struct llama_work *const *work, const struct llama_params *p,
             const struct dataset *d, int max_rows, bool keep_each, struct eval_result *ret);
#endif
