/* LoRA adapters (Hu et al. 2021): y += scale * alpha / rank * B (A x), beside the weights of a model and
 * never mixed into them. */
#ifndef CAIRN_ENGINE_LORA_H
#define CAIRN_ENGINE_LORA_H

#include <stddef.h>
#include "engine/engine.h"

struct engine_model;
struct eval;
struct kern_act;

#define LORA_MAX_RANK 1024

/* The pair of matrices of one weight: a is [mats][rank][n], b is [mats][rows][rank] with the factor in it. */
struct lora {
        struct lora *next;
        size_t rank;
        float *a, *b;
};

/* Reads an adapter (GGUF, general.type "adapter", adapter.type "lora", tensors NAME.lora_a and NAME.lora_b)
 * and hangs its matrices on the model's weights. Before the model runs. 0; -ENOENT and the like; -EINVAL with
 * a message (not an adapter, of another architecture, or a shape that does not fit); -ENOMEM. */
int lora_load(struct engine_model *m, const struct engine_adapter *adapter, char *err, size_t errn);
void lora_free(struct lora *l); /* and what follows; accepts NULL */

/* Adds the part of all adapters of w to rows [from, to) of nt outputs that stand ld apart at y. act->f are
 * the inputs. The sums are made in an order that depends on nothing but the row and the token. */
struct weight;
void lora_add(const struct eval *e, const struct weight *w, size_t mat, const struct kern_act *act, float *y,
              size_t ld, size_t from, size_t to, size_t nt);
#endif
