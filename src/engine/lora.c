#include "engine/lora.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "engine/gguf.h"
#include "engine/graph.h"
#include "engine/model.h"

#define TOKENS 8 /* computed together */
#define ROWS 256

void lora_free(struct lora *l)
{
        while (l) {
                struct lora *next = l->next;
                mem_free(l->a);
                mem_free(l->b);
                mem_free(l);
                l = next;
        }
}

/* ---- reading ------------------------------------------------------------------------------------ */

struct reader {
        struct engine_model *m;
        const struct gguf *g;
        const char *path;
        double factor; /* of the request; times alpha / rank when the file has an alpha */
        double alpha;
        char *err;
        size_t errn;
};

static int __attribute__((format(printf, 3, 4))) fail(struct reader *r, int rc, const char *fmt, ...)
{
        int n = snprintf(r->err, r->errn, "the adapter %s: ", r->path);
        va_list ap;
        va_start(ap, fmt);
        if (n > 0 && (size_t)n < r->errn)
                vsnprintf(r->err + n, r->errn - (size_t)n, fmt, ap);
        va_end(ap);
        return rc;
}

static int check_kind(struct reader *r)
{
        struct str s;
        if (gguf_get_str(r->g, "general.type", &s) || !str_eqc(s, "adapter") ||
            gguf_get_str(r->g, "adapter.type", &s) || !str_eqc(s, "lora"))
                return fail(r, -EINVAL, "not a LoRA adapter (general.type and adapter.type say otherwise)");
        if (gguf_get_str(r->g, "general.architecture", &s) || !str_eqc(s, r->m->arch->name))
                return fail(r, -EINVAL, "made for another architecture than %s", r->m->arch->name);
        if (gguf_get_f64(r->g, "adapter.lora.alpha", &r->alpha) == -EINVAL)
                return fail(r, -EINVAL, "adapter.lora.alpha is not a number");
        return 0;
}

/* The matrix that the model has under a name, or NULL. */
static struct weight *weight_named(struct engine_model *m, const char *name)
{
        for (size_t i = 0; i < m->arch->n_tensors; i++) {
                const struct arch_tensor *at = &m->arch->tensors[i];
                bool layered = at->flags & AT_LAYER;
                for (int l = 0; !(at->flags & AT_BIAS) && l < (layered ? m->hp.n_layer : 1); l++) {
                        char full[128];
                        if (layered)
                                snprintf(full, sizeof(full), "blk.%d.%s", l, at->name);
                        else
                                snprintf(full, sizeof(full), "%s", at->name);
                        struct weight *w = &(layered ? &m->layers[l] : &m->global)->w[at->role];
                        if (w->type && w->rows > 1 && !strcmp(full, name))
                                return w;
                }
        }
        return NULL;
}

static float *floats_of(const struct gguf_tensor *t, double factor)
{
        size_t n = t->ne[0] * t->ne[1] * t->ne[2];
        float *v = mem_alloc(n * sizeof(*v));
        if (v)
                t->type->dequant(t->data, v, n);
        for (size_t i = 0; v && i < n; i++)
                v[i] = (float)((double)v[i] * factor);
        return v;
}

static bool fits(const struct weight *w, const struct gguf_tensor *a, const struct gguf_tensor *b)
{
        return a->ne[0] == w->n && b->ne[1] == w->rows && a->ne[1] == b->ne[0] && a->ne[1] <= LORA_MAX_RANK &&
               a->ne[2] == w->mats && b->ne[2] == w->mats && a->ne[3] == 1 && b->ne[3] == 1;
}

static int add_pair(struct reader *r, const char *name, const struct gguf_tensor *a,
                    const struct gguf_tensor *b)
{
        struct weight *w = weight_named(r->m, name);
        if (!w)
                return fail(r, -EINVAL, "%s is no matrix of the model", name);
        if (w == &r->m->global.w[W_TOKEN_EMBD])
                return fail(r, -EINVAL, "it changes %s, which is looked up and not multiplied: not supported",
                            name);
        if (!fits(w, a, b))
                return fail(r, -EINVAL,
                            "the shapes for %s (%llu x %llu and %llu x %llu) do not fit its %zu x %zu", name,
                            (unsigned long long)a->ne[0], (unsigned long long)a->ne[1],
                            (unsigned long long)b->ne[0], (unsigned long long)b->ne[1], w->n, w->rows);
        struct lora *l = mem_calloc(1, sizeof(*l));
        if (!l)
                return fail(r, -ENOMEM, "out of memory");
        l->rank = a->ne[1];
        l->a = floats_of(a, 1);
        l->b = floats_of(b, r->alpha > 0 ? r->factor * r->alpha / (double)l->rank : r->factor);
        if (!l->a || !l->b) {
                lora_free(l);
                return fail(r, -ENOMEM, "out of memory");
        }
        /* in the order of the options */
        struct lora **at = &w->lora;
        while (*at)
                at = &(*at)->next;
        *at = l;
        return 0;
}

static int read_pairs(struct reader *r)
{
        size_t pairs = 0;
        int rc = 0;
        for (size_t i = 0; !rc && i < gguf_tensor_count(r->g); i++) {
                const struct gguf_tensor *a = gguf_tensor_at(r->g, i), *b;
                char name[128];
                snprintf(name, sizeof(name), "%.*s", a->name.n < 120 ? (int)a->name.n : 120, a->name.p);
                size_t n = strlen(name);
                if (n < 8 || (strcmp(name + n - 7, ".lora_a") && strcmp(name + n - 7, ".lora_b")))
                        return fail(r, -EINVAL, "the tensor %s is neither lora_a nor lora_b", name);
                bool first = name[n - 1] == 'a';
                name[n - 1] = first ? 'b' : 'a';
                b = gguf_tensor_find(r->g, name);
                if (!b)
                        return fail(r, -EINVAL, "the tensor %s is missing", name);
                name[n - 7] = 0;
                pairs += first;
                rc = first ? add_pair(r, name, a, b) : 0;
        }
        return !rc && !pairs ? fail(r, -EINVAL, "it holds no tensors") : rc;
}

int lora_load(struct engine_model *m, const struct engine_adapter *adapter, char *err, size_t errn)
{
        char why[256];
        struct gguf *g;
        int rc = gguf_open(adapter->path, &g, why, sizeof(why));
        struct reader r = { m, g, adapter->path, (double)adapter->scale, 0, err, errn };
        if (rc)
                return fail(&r, rc, "%s", why);
        rc = check_kind(&r);
        if (!rc)
                rc = read_pairs(&r);
        gguf_close(g);
        return rc;
}

/* ---- running ------------------------------------------------------------------------------------ */

static void add_one(const struct eval *e, const struct weight *w, const struct lora *l, size_t mat,
                    const struct kern_act *act, float *y, size_t ld, size_t from, size_t to, size_t nt)
{
        kern_gemm_fn *gemm = kern_type_by_id(0)->gemm[e->k->isa]; /* F32 */
        float down[TOKENS * LORA_MAX_RANK], up[TOKENS * ROWS];
        const float *a = l->a + mat * l->rank * w->n, *b = l->b + mat * w->rows * l->rank;
        for (size_t t = 0; t < nt; t += TOKENS) {
                size_t count = nt - t < TOKENS ? nt - t : TOKENS;
                struct kern_act in = { .f = act->f + t * act->ldf, .ldf = act->ldf, .n = w->n };
                gemm(a, w->n * sizeof(*a), &in, down, l->rank, l->rank, count);
                in = (struct kern_act){ .f = down, .ldf = l->rank, .n = l->rank };
                for (size_t r = from; r < to; r += ROWS) {
                        size_t rows = to - r < ROWS ? to - r : ROWS;
                        gemm(b + r * l->rank, l->rank * sizeof(*b), &in, up, rows, rows, count);
                        for (size_t i = 0; i < count; i++)
                                e->k->add(y + (t + i) * ld + r, up + i * rows, rows);
                }
        }
}

void lora_add(const struct eval *e, const struct weight *w, size_t mat, const struct kern_act *act, float *y,
              size_t ld, size_t from, size_t to, size_t nt)
{
        for (const struct lora *l = w->lora; l; l = l->next)
                add_one(e, w, l, mat, act, y, ld, from, to, nt);
}
