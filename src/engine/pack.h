/* Weights in the form that the kernels multiply: quantised matrices are interleaved once, when a model is
 * loaded. */
#ifndef CAIRN_ENGINE_PACK_H
#define CAIRN_ENGINE_PACK_H

#include <stddef.h>

struct hparams;
struct kern;
struct layer;

/* Packs every matrix that products need and sets its `packed`; the file's pages of it are given back to the
 * system. `threads` compute threads share the work (0: as many as there are cores). *ret is the memory, to be
 * freed with mem_free after the last use; NULL when nothing had to be packed. -ENOMEM. */
int pack_weights(const struct kern *k, const struct hparams *hp, struct layer *global, struct layer *layers,
                 int threads, void **ret);
#endif
