/* The registry of architectures and what they share when a file is read. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "engine/arch.h"
#include "engine/gguf.h"
#include "kernels/kernels.h"

static const struct arch *const archs[] = {
        &arch_llama, &arch_qwen2, &arch_qwen3,   &arch_qwen3moe, &arch_gemma2,     &arch_gemma3,
        &arch_phi3,  &arch_olmo2, &arch_gpt_oss, &arch_bert,     &arch_nomic_bert,
};

const struct arch *arch_find(const char *name, size_t n)
{
        for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++)
                if (strlen(archs[i]->name) == n && !memcmp(archs[i]->name, name, n))
                        return archs[i];
        return NULL;
}

size_t arch_dim(const struct hparams *hp, enum dim d)
{
        const int sizes[] = {
                [DIM_ONE] = 1,
                [DIM_EMBD] = hp->n_embd,
                [DIM_VOCAB] = hp->n_vocab,
                [DIM_CTX] = hp->n_ctx_train,
                [DIM_TYPES] = hp->n_token_types,
                [DIM_LABELS] = hp->n_labels,
                [DIM_Q] = hp->n_head * hp->head_dim,
                [DIM_KV] = hp->n_head_kv * hp->head_dim,
                [DIM_QKV] = (hp->n_head + 2 * hp->n_head_kv) * hp->head_dim,
                [DIM_HEAD] = hp->head_dim,
                [DIM_HEADS] = hp->n_head,
                [DIM_ROT_HALF] = hp->n_rot / 2,
                [DIM_FF] = hp->n_ff,
                [DIM_FF_TWICE] = 2 * hp->n_ff,
                [DIM_EXPERTS] = hp->n_expert,
                [DIM_FF_EXPERT] = hp->n_ff_expert,
        };
        return (size_t)sizes[d];
}

static int check_tensor(const struct gguf_tensor *t, const char *name, const size_t want[3], bool vector,
                        char *err, size_t errn)
{
        if (t->ne[0] != want[0] || t->ne[1] != want[1] || t->ne[2] != want[2] || t->ne[3] != 1) {
                snprintf(err, errn, "the tensor %s is %llu x %llu x %llu, not %zu x %zu x %zu", name,
                         (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                         (unsigned long long)t->ne[2], want[0], want[1], want[2]);
                return -EINVAL;
        }
        if (vector && t->type->id != 0) {
                snprintf(err, errn, "the tensor %s is %s, not F32", name, t->type->name);
                return -EINVAL;
        }
        if ((uintptr_t)t->data % t->type->align) {
                snprintf(err, errn, "the tensor %s is not aligned for %s", name, t->type->name);
                return -EINVAL;
        }
        return 0;
}

/* Whether a model of this shape may have the tensor. */
static bool applies(const struct hparams *hp, const struct arch_tensor *at)
{
        return !(at->flags & (hp->n_expert ? AT_DENSE : AT_MOE));
}

static int bind_one(const struct gguf *g, const struct hparams *hp, const struct arch_tensor *at, int layer,
                    struct weight *ret, size_t *found, char *err, size_t errn)
{
        char name[96];
        if (at->flags & AT_LAYER)
                snprintf(name, sizeof(name), "blk.%d.%s", layer, at->name);
        else
                snprintf(name, sizeof(name), "%s", at->name);
        const struct gguf_tensor *t = gguf_tensor_find(g, name);
        if (!t && at->flags & AT_OPTIONAL)
                return 0;
        if (!t) {
                snprintf(err, errn, "the tensor %s is missing", name);
                return -EINVAL;
        }
        const size_t want[3] = { arch_dim(hp, at->n), arch_dim(hp, at->rows), arch_dim(hp, at->mats) };
        bool vector = at->flags & AT_BIAS || at->rows == DIM_ONE;
        int rc = check_tensor(t, name, want, vector, err, errn);
        if (rc)
                return rc;
        if (at->flags & AT_BIAS) {
                ret->bias = t->data;
        } else {
                ret->type = t->type;
                ret->data = t->data;
                ret->n = want[0];
                ret->rows = want[1];
                ret->mats = want[2];
                ret->row_bytes = kern_type_size(t->type, want[0]);
        }
        ++*found;
        return 0;
}

/* Names the first tensor of the file that no row of the table explains. */
static int refuse_unknown(const struct arch *a, const struct gguf *g, const struct hparams *hp, char *err,
                          size_t errn)
{
        for (size_t i = 0; i < gguf_tensor_count(g); i++) {
                struct str s = gguf_tensor_at(g, i)->name;
                char name[96], tail[96];
                snprintf(name, sizeof(name), "%.*s", s.n < 80 ? (int)s.n : 80, s.p);
                int layer = -1, known = 0;
                bool in_layer =
                        sscanf(name, "blk.%d.%95s", &layer, tail) == 2 && layer >= 0 && layer < hp->n_layer;
                for (size_t j = 0; j < a->n_tensors && !known; j++)
                        known = applies(hp, &a->tensors[j]) &&
                                (a->tensors[j].flags & AT_LAYER
                                         ? in_layer && !strcmp(a->tensors[j].name, tail)
                                         : !strcmp(a->tensors[j].name, name));
                if (!known) {
                        snprintf(err, errn, "the tensor %s is not one of a %d-layer %s model", name,
                                 hp->n_layer, a->name);
                        return -EINVAL;
                }
        }
        snprintf(err, errn, "the file has tensors with misspelt layer numbers");
        return -EINVAL;
}

/* The factors divide frequencies. */
static int check_factors(const struct hparams *hp, const struct layer *global, char *err, size_t errn)
{
        static const enum weight_role roles[] = { W_ROPE_FREQS, W_ROPE_LONG, W_ROPE_SHORT };
        const struct weight *w = global->w;
        for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
                const float *f = w[roles[i]].data;
                for (size_t j = 0; f && j < w[roles[i]].n; j++) {
                        if (!isfinite(f[j]) || f[j] <= 0) {
                                snprintf(err, errn, "the rotation factors hold %g", (double)f[j]);
                                return -EINVAL;
                        }
                }
        }
        if (!w[W_ROPE_LONG].type != !w[W_ROPE_SHORT].type ||
            (hp->rope.scaling == ROPE_LONG && !w[W_ROPE_LONG].type)) {
                snprintf(err, errn,
                         "longrope needs both rope_factors_long.weight and rope_factors_short.weight");
                return -EINVAL;
        }
        return 0;
}

int arch_bind(const struct arch *a, const struct gguf *g, const struct hparams *hp, struct layer *global,
              struct layer *layers, char *err, size_t errn)
{
        size_t found = 0;
        for (size_t i = 0; i < a->n_tensors; i++) {
                const struct arch_tensor *at = &a->tensors[i];
                int n = at->flags & AT_LAYER ? hp->n_layer : 1;
                for (int l = 0; applies(hp, at) && l < n; l++) {
                        struct layer *to = at->flags & AT_LAYER ? &layers[l] : global;
                        int rc = bind_one(g, hp, at, l, &to->w[at->role], &found, err, errn);
                        if (rc)
                                return rc;
                }
        }
        if (found != gguf_tensor_count(g))
                return refuse_unknown(a, g, hp, err, errn);
        if (hp->pooling == POOL_RANK && !global->w[W_CLS_OUT].type) {
                snprintf(err, errn, "%s.pooling_type is rank, but there is no cls.output.weight", a->name);
                return -EINVAL;
        }
        return check_factors(hp, global, err, errn);
}
