/* A training run as one file: the shape, the parameters, the optimiser's moments and where the run stands.
 * A run continued from it makes the same steps as one that was never stopped. */
#ifndef CAIRN_TRAIN_CHECKPOINT_H
#define CAIRN_TRAIN_CHECKPOINT_H

#include <stdint.h>
#include "train/llama.h"

/* Where a run stands. */
struct run_state {
        int64_t step;         /* steps made */
        uint64_t epoch, next; /* the dealer's position */
        uint64_t tokens;      /* rows trained on */
        double seconds;       /* time spent */
};

/* Writes the file whole or not at all (temporary name, sync, rename). m and v have p->n floats.
 * 0 or a negative errno with a message. */
int checkpoint_save(const char *path, const struct llama_params *p, const float *m, const float *v,
                    const struct run_state *state, char *err, size_t errn);
/* Reads the parameters into *ret (the caller releases them) and the rest. m and v may be NULL, else they get
 * newly allocated moments (mem_free). 0 or a negative errno with a message. */
int checkpoint_load(const char *path, struct llama_params *ret, float **ret_m, float **ret_v,
                    struct run_state *ret_state, char *err, size_t errn);
#endif
