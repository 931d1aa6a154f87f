/* The registry of architectures and what they share when a file is read. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "engine/arch.h"
#include "engine/gguf.h"
#include "kernels/kernels.h"

static const struct arch *const archs[] = { &arch_llama };

const struct arch *arch_find(const char *name, size_t n)
{
        for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++)
                if (strlen(archs[i]->name) == n && !memcmp(archs[i]->name, name, n))
                        return archs[i];
        return NULL;
}

size_t arch_dim(const struct hparams *hp, enum dim d)
{
        switch (d) {
        case DIM_EMBD:
                return (size_t)hp->n_embd;
        case DIM_VOCAB:
                return (size_t)hp->n_vocab;
        case DIM_Q:
                return (size_t)hp->n_head * (size_t)hp->head_dim;
        case DIM_KV:
                return (size_t)hp->n_head_kv * (size_t)hp->head_dim;
        case DIM_FF:
                return (size_t)hp->n_ff;
        case DIM_ONE:
                break;
        }
        return 1;
}

int arch_int(const struct gguf *g, const char *arch, const char *suffix, int64_t dflt, int64_t max, int *ret,
             char *err, size_t errn)
{
        char key[128];
        uint64_t v = (uint64_t)dflt;
        snprintf(key, sizeof(key), "%s.%s", arch, suffix);
        int rc = gguf_get_u64(g, key, &v);
        if (rc == -ENOENT && dflt < 0) {
                snprintf(err, errn, "the key %s is missing", key);
                return -EINVAL;
        }
        if ((rc && rc != -ENOENT) || v > (uint64_t)max) {
                snprintf(err, errn, "the key %s is not an integer up to %lld", key, (long long)max);
                return -EINVAL;
        }
        *ret = (int)v;
        return 0;
}

int arch_float(const struct gguf *g, const char *arch, const char *suffix, double dflt, double *ret,
               char *err, size_t errn)
{
        char key[128];
        double v = dflt;
        snprintf(key, sizeof(key), "%s.%s", arch, suffix);
        int rc = gguf_get_f64(g, key, &v);
        if (rc == -ENOENT && dflt < 0) {
                snprintf(err, errn, "the key %s is missing", key);
                return -EINVAL;
        }
        if ((rc && rc != -ENOENT) || !isfinite(v) || v <= 0) {
                snprintf(err, errn, "the key %s is not a positive number", key);
                return -EINVAL;
        }
        *ret = v;
        return 0;
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
        size_t n = arch_dim(hp, at->n), rows = arch_dim(hp, at->rows);
        if (t->ne[0] != n || t->ne[1] != rows || t->ne[2] != 1 || t->ne[3] != 1) {
                snprintf(err, errn, "the tensor %s is %llu x %llu, not %zu x %zu", name,
                         (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], n, rows);
                return -EINVAL;
        }
        if (at->rows == DIM_ONE && t->type->id != 0) {
                snprintf(err, errn, "the tensor %s is %s, not F32", name, t->type->name);
                return -EINVAL;
        }
        if ((uintptr_t)t->data % t->type->align) {
                snprintf(err, errn, "the tensor %s is not aligned for %s", name, t->type->name);
                return -EINVAL;
        }
        *ret = (struct weight){ .type = t->type,
                                .data = t->data,
                                .n = n,
                                .rows = rows,
                                .row_bytes = kern_type_size(t->type, n) };
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
                        known = a->tensors[j].flags & AT_LAYER ? in_layer && !strcmp(a->tensors[j].name, tail)
                                                               : !strcmp(a->tensors[j].name, name);
                if (!known) {
                        snprintf(err, errn, "the tensor %s is not one of a %d-layer %s model", name,
                                 hp->n_layer, a->name);
                        return -EINVAL;
                }
        }
        snprintf(err, errn, "the file has tensors with misspelt layer numbers");
        return -EINVAL;
}

int arch_bind(const struct arch *a, const struct gguf *g, const struct hparams *hp, struct layer *global,
              struct layer *layers, char *err, size_t errn)
{
        size_t found = 0;
        for (size_t i = 0; i < a->n_tensors; i++) {
                const struct arch_tensor *at = &a->tensors[i];
                int n = at->flags & AT_LAYER ? hp->n_layer : 1;
                for (int l = 0; l < n; l++) {
                        struct layer *to = at->flags & AT_LAYER ? &layers[l] : global;
                        int rc = bind_one(g, hp, at, l, &to->w[at->role], &found, err, errn);
                        if (rc)
                                return rc;
                }
        }
        return found == gguf_tensor_count(g) ? 0 : refuse_unknown(a, g, hp, err, errn);
}
