/* Optimisers and the learning-rate schedule. State is as large as the parameters: two moments each. */
#ifndef CAIRN_TRAIN_OPTIM_H
#define CAIRN_TRAIN_OPTIM_H

#include <stdbool.h>
#include "train/llama.h"

struct optim_config {
        float beta1, beta2, eps; /* Adam */
        float weight_decay;      /* decoupled: p -= lr * decay * p; not on norms */
        float clip;              /* largest L2 norm of the whole gradient; 0: no limit */
        bool muon;               /* matrices inside layers by Muon, the rest by AdamW */
        float momentum;          /* Muon */
};
struct optim_config optim_defaults(void);

struct optim {
        struct optim_config cfg;
        float *m, *v;    /* owned; Muon uses m alone */
        float **scratch; /* one a worker, for Muon */
        int n_workers;
};

/* State for p, all zero. 0 or -ENOMEM. */
int optim_init(struct optim *o, const struct optim_config *cfg, const struct llama_params *p, int n_workers);
void optim_release(struct optim *o);

/* Updates this worker's share of the tensors: AdamW (Loshchilov and Hutter, 2019), or Muon (Jordan, 2024)
 * with the update scaled to AdamW's size (Liu et al., 2025). `step` counts from 1; `norm` is the gradient's
 * L2 norm before clipping. Workers 0 .. n_workers - 1 together update everything once. */
void optim_step(struct optim *o, struct llama_params *p, const struct llama_params *grad, float lr, long step,
                double norm, int worker);

/* Warm-up, a constant part, then a fall to zero (Hu et al., 2024). `progress` goes from 0 to 1 over the run;
 * the fall takes its last `decay` part and follows 1 - sqrt. Gives the factor of the peak rate. */
float lr_factor(double progress, long step, long warmup, double decay);
#endif
