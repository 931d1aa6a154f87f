/* The metadata that most families share, read and checked. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include "base/mem.h"
#include "engine/arch.h"
#include "engine/gguf.h"

#define MAX_LAYERS 1024
#define MAX_HEADS 1024
#define MAX_HEAD_DIM 1024
#define MAX_WIDTH (1 << 20)
#define MAX_CONTEXT (1 << 24)
#define MAX_ROPE_FACTOR 1e6
#define YARN_BETA_FAST 32
#define YARN_BETA_SLOW 1

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

/* 0 when the key is absent or says zero: the feature is off. */
static int optional_float(const struct gguf *g, const char *arch, const char *suffix, float *ret, char *err,
                          size_t errn)
{
        char key[128];
        double v = 0;
        snprintf(key, sizeof(key), "%s.%s", arch, suffix);
        int rc = gguf_get_f64(g, key, &v);
        if ((rc && rc != -ENOENT) || !isfinite(v) || v < 0) {
                snprintf(err, errn, "the key %s is not a number of at least 0", key);
                return -EINVAL;
        }
        *ret = (float)v;
        return 0;
}

/* ---- rotation ----------------------------------------------------------------------------------- */

static int read_scaling_type(const struct gguf *g, const char *arch, struct rope *r, char *err, size_t errn)
{
        static const char *const names[] = { [ROPE_PLAIN] = "none",
                                             [ROPE_LINEAR] = "linear",
                                             [ROPE_YARN] = "yarn",
                                             [ROPE_LONG] = "longrope" };
        char key[128];
        struct str s;
        snprintf(key, sizeof(key), "%s.rope.scaling.type", arch);
        int rc = gguf_get_str(g, key, &s);
        if (rc == -ENOENT) { /* a factor alone means linear interpolation */
                r->scaling = ROPE_LINEAR;
                return 0;
        }
        for (int i = 0; !rc && i < (int)(sizeof(names) / sizeof(names[0])); i++) {
                if (str_eqc(s, names[i])) {
                        r->scaling = (enum rope_scaling)i;
                        return 0;
                }
        }
        snprintf(err, errn,
                 "rope scaling of this kind (%s) is not supported: none, linear, yarn and longrope are", key);
        return -EINVAL;
}

static int read_rope(const struct gguf *g, const char *a, const struct hparams *hp, struct rope *r, char *err,
                     size_t errn)
{
        double older = 1;
        int rc;
        if ((rc = read_scaling_type(g, a, r, err, errn)) ||
            (rc = arch_float(g, a, "rope.freq_base", 10000, &r->base, err, errn)) ||
            (rc = arch_float(g, a, "rope.scale_linear", 1, &older, err, errn)) ||
            (rc = arch_float(g, a, "rope.scaling.factor", older, &r->factor, err, errn)) ||
            (rc = arch_float(g, a, "rope.scaling.attn_factor", 1, &r->attn_factor, err, errn)) ||
            (rc = arch_float(g, a, "rope.scaling.yarn_beta_fast", YARN_BETA_FAST, &r->beta_fast, err,
                             errn)) ||
            (rc = arch_float(g, a, "rope.scaling.yarn_beta_slow", YARN_BETA_SLOW, &r->beta_slow, err,
                             errn)) ||
            (rc = arch_int(g, a, "rope.scaling.original_context_length", hp->n_ctx_train, MAX_CONTEXT,
                           &r->n_ctx_orig, err, errn)))
                return rc;
        if (r->base <= 1 || r->factor > MAX_ROPE_FACTOR || 1 / r->factor > MAX_ROPE_FACTOR ||
            r->attn_factor > MAX_ROPE_FACTOR || !r->n_ctx_orig) {
                snprintf(err, errn, "the keys %s.rope.* describe no rotation: base %g, factor %g", a, r->base,
                         r->factor);
                return -EINVAL;
        }
        return 0;
}

/* ---- the shape ---------------------------------------------------------------------------------- */

static int read_sizes(const struct gguf *g, const char *a, struct hparams *hp, char *err, size_t errn)
{
        const struct {
                const char *suffix;
                int64_t dflt, max;
                int *to;
        } keys[] = {
                { "block_count", -1, MAX_LAYERS, &hp->n_layer },
                { "embedding_length", -1, MAX_WIDTH, &hp->n_embd },
                { "context_length", -1, MAX_CONTEXT, &hp->n_ctx_train },
                { "attention.head_count", -1, MAX_HEADS, &hp->n_head },
                { "expert_count", 0, ARCH_MAX_EXPERTS, &hp->n_expert },
                { "expert_used_count", 0, ARCH_MAX_USED, &hp->n_expert_used },
                { "expert_feed_forward_length", 0, MAX_WIDTH, &hp->n_ff_expert },
        };
        int rc = 0;
        for (size_t i = 0; !rc && i < sizeof(keys) / sizeof(keys[0]); i++)
                rc = arch_int(g, a, keys[i].suffix, keys[i].dflt, keys[i].max, keys[i].to, err, errn);
        if (rc)
                return rc;
        int dim = hp->n_head ? hp->n_embd / hp->n_head : 0;
        if ((rc = arch_int(g, a, "feed_forward_length", hp->n_ff_expert ? hp->n_ff_expert : -1, MAX_WIDTH,
                           &hp->n_ff, err, errn)) ||
            (rc = arch_int(g, a, "attention.head_count_kv", hp->n_head, MAX_HEADS, &hp->n_head_kv, err,
                           errn)) ||
            (rc = arch_int(g, a, "attention.key_length", dim, MAX_HEAD_DIM, &hp->head_dim, err, errn)))
                return rc;
        if (hp->n_expert && !hp->n_ff_expert)
                hp->n_ff_expert = hp->n_ff;
        return arch_int(g, a, "rope.dimension_count", hp->head_dim, MAX_HEAD_DIM, &hp->n_rot, err, errn);
}

static int check_sizes(const struct gguf *g, const char *a, const struct hparams *hp, char *err, size_t errn)
{
        int value_dim;
        int rc = arch_int(g, a, "attention.value_length", hp->head_dim, MAX_HEAD_DIM, &value_dim, err, errn);
        if (rc)
                return rc;
        rc = -EINVAL;
        if (!hp->n_layer || !hp->n_embd || !hp->n_head || !hp->n_head_kv || !hp->head_dim || !hp->n_ff ||
            !hp->n_ctx_train)
                snprintf(err, errn, "the model's shape has a zero in it");
        else if (hp->n_head % hp->n_head_kv)
                snprintf(err, errn, "%d heads cannot share %d key-value heads", hp->n_head, hp->n_head_kv);
        else if (value_dim != hp->head_dim)
                snprintf(err, errn, "keys of %d and values of %d dimensions are not supported", hp->head_dim,
                         value_dim);
        else if (hp->n_rot % 2 || hp->n_rot > hp->head_dim)
                snprintf(err, errn, "%s.rope.dimension_count is %d of %d", a, hp->n_rot, hp->head_dim);
        else if (hp->n_expert ? !hp->n_expert_used || hp->n_expert_used > hp->n_expert : hp->n_expert_used)
                snprintf(err, errn, "%d of %d experts cannot be used", hp->n_expert_used, hp->n_expert);
        else
                rc = 0;
        return rc;
}

static int read_pooling(const struct gguf *g, const char *a, struct hparams *hp, char *err, size_t errn)
{
        char key[128];
        struct str *labels = NULL;
        size_t n = 1;
        int kind;
        int rc = arch_int(g, a, "pooling_type", POOL_MEAN, POOL_RANK, &kind, err, errn);
        if (rc)
                return rc;
        hp->pooling = kind == POOL_NONE ? POOL_MEAN : (enum pooling)kind;
        snprintf(key, sizeof(key), "%s.classifier.output_labels", a);
        rc = gguf_get_strs(g, key, &labels, &n);
        mem_free(labels);
        if ((rc && rc != -ENOENT) || !n || n > (size_t)hp->n_embd) {
                snprintf(err, errn, "the key %s is not an array of 1 to %d strings", key, hp->n_embd);
                return -EINVAL;
        }
        hp->n_labels = (int)n;
        return 0;
}

static int read_eps(const struct gguf *g, const char *a, struct hparams *hp, char *err, size_t errn)
{
        double eps = 0;
        char key[128];
        snprintf(key, sizeof(key), "%s.attention.layer_norm_epsilon", a);
        bool layer_norm = gguf_get_f64(g, key, &eps) != -ENOENT;
        int rc = arch_float(g, a,
                            layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                            -1, &eps, err, errn);
        hp->norm_eps = (float)eps;
        return rc;
}

/* Left as it is when the key is absent. */
static int optional_bool(const struct gguf *g, const char *arch, const char *suffix, bool *ret, char *err,
                         size_t errn)
{
        char key[128];
        snprintf(key, sizeof(key), "%s.%s", arch, suffix);
        int rc = gguf_get_bool(g, key, ret);
        if (!rc || rc == -ENOENT)
                return 0;
        snprintf(err, errn, "the key %s is not a boolean", key);
        return -EINVAL;
}

int arch_read_shape(const struct gguf *g, const char *a, struct hparams *hp, char *err, size_t errn)
{
        int rc;
        *hp = (struct hparams){ .causal = true, .embd_scale = 1, .expert_norm = true, .act = ACT_SILU };
        if ((rc = read_sizes(g, a, hp, err, errn)) || (rc = check_sizes(g, a, hp, err, errn)) ||
            (rc = read_eps(g, a, hp, err, errn)) || (rc = read_rope(g, a, hp, &hp->rope, err, errn)) ||
            (rc = read_pooling(g, a, hp, err, errn)) ||
            (rc = optional_float(g, a, "attn_logit_softcapping", &hp->attn_softcap, err, errn)) ||
            (rc = optional_float(g, a, "final_logit_softcapping", &hp->final_softcap, err, errn)) ||
            (rc = optional_bool(g, a, "attention.causal", &hp->causal, err, errn)) ||
            (rc = optional_bool(g, a, "expert_weights_norm", &hp->expert_norm, err, errn)))
                return rc;
        hp->attn_scale = 1.0f / sqrtf((float)hp->head_dim);
        hp->rope_windowed = hp->rope;
        return 0;
}

int arch_read_window(const struct gguf *g, const char *a, int period, struct hparams *hp, char *err,
                     size_t errn)
{
        int rc = arch_int(g, a, "attention.sliding_window", 0, MAX_CONTEXT, &hp->window, err, errn);
        if (!rc)
                rc = arch_int(g, a, "attention.sliding_window_pattern", period, MAX_LAYERS,
                              &hp->window_period, err, errn);
        if (rc)
                return rc;
        rc = -EINVAL;
        if (!hp->window_period)
                snprintf(err, errn, "the key %s.attention.sliding_window_pattern is 0", a);
        else if (hp->window && !hp->causal)
                snprintf(err, errn, "a sliding window that looks ahead is not supported");
        else
                rc = 0;
        return rc;
}

int arch_refuse_experts(const struct hparams *hp, char *err, size_t errn)
{
        if (!hp->n_expert)
                return 0;
        snprintf(err, errn, "this architecture has no experts, the file has %d", hp->n_expert);
        return -EINVAL;
}

int arch_require_experts(const struct hparams *hp, char *err, size_t errn)
{
        if (hp->n_expert)
                return 0;
        snprintf(err, errn, "this architecture needs experts, the file has none");
        return -EINVAL;
}
