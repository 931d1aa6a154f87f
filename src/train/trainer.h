/* The training loop: documents in, parameters out, on a team of threads.
 *
 * A step takes `micros` packed batches of `rows` rows. Each worker runs its share of them with its own
 * gradient, the gradients are added in a fixed order and the optimiser updates the parameters: with the same
 * number of workers, the same seed and the same data every run is the same, also when it was stopped and
 * continued from a checkpoint. */
#ifndef CAIRN_TRAIN_TRAINER_H
#define CAIRN_TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/optim.h"

struct trainer_config {
        long steps;       /* in the whole run, those before a resume included */
        double minutes;   /* when > 0: the run takes this long instead, whatever the steps; the result then
                             depends on the machine's speed */
        int rows, micros; /* rows of a batch, batches of a step */
        int workers;
        float lr;
        long warmup;  /* steps */
        double decay; /* last part of the run in which the rate falls to zero */
        uint64_t seed;
        struct optim_config optim;
};
struct trainer_config trainer_defaults(void);

struct trainer_report {
        long step, steps; /* steps: estimated when the run is limited by time */
        double loss;      /* mean over counted tokens of this step */
        double grad_norm, lr, tokens_per_s, eta_s;
};

struct trainer;

/* Takes over params' arrays (params is emptied) and borrows the data set. m, v: moments to continue with, or
 * NULL; copied. 0 or a negative errno with a message. */
int trainer_new(const struct trainer_config *cfg, struct llama_params *params, const float *m, const float *v,
                const struct run_state *state, const struct dataset *data, struct trainer **ret, char *err,
                size_t errn);
void trainer_free(struct trainer *t); /* accepts NULL */
/* One step. 0; -ERANGE when the loss is not finite (parameters are left as they were); -EINVAL. */
int trainer_step(struct trainer *t, struct trainer_report *ret);
bool trainer_done(const struct trainer *t);
const struct llama_params *trainer_params(const struct trainer *t);
struct run_state trainer_state(const struct trainer *t);
int trainer_evaluate(struct trainer *t, const struct dataset *d, bool keep_each, struct eval_result *ret);
int trainer_save(const struct trainer *t, const char *path, char *err, size_t errn);
#endif
