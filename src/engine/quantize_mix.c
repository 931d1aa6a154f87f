#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/quantize_mix.h"
#include "kernels/kernels.h"

/* ggml's numbers. */
enum {
        F32 = 0,
        F16 = 1,
        Q4_0 = 2,
        Q4_1 = 3,
        Q5_0 = 6,
        Q5_1 = 7,
        Q8_0 = 8,
        Q2_K = 10,
        Q3_K = 11,
        Q4_K = 12,
        Q5_K = 13,
        Q6_K = 14,
        IQ4_NL = 20,
        IQ4_XS = 23,
        BF16 = 30,
        MXFP4 = 39,
};

/* Layers that get the higher of two types. */
enum where { NOWHERE, EVERYWHERE, FIRST_EIGHTH, FIRST_SIXTEENTH, FIRST_TWO, FIRST_FOUR, MORE_BITS };

struct lift {
        enum where where;
        uint8_t type;
        uint8_t other; /* of the remaining layers; 0: the base type */
};

struct mix_rule {
        const char *name;
        uint32_t file_type;
        uint8_t base;
        uint8_t output; /* of the output matrix; 0: the base type */
        struct lift value, down, attn_out;
};

static const struct mix_rule rules[] = {
        { "Q2_K", 10, Q2_K, Q6_K, { EVERYWHERE, Q3_K, 0 }, { EVERYWHERE, Q3_K, 0 }, { EVERYWHERE, Q3_K, 0 } },
        { "Q3_K_S", 11, Q3_K, Q6_K, { 0 }, { 0 }, { 0 } },
        { "Q3_K_M",
          12,
          Q3_K,
          Q6_K,
          { FIRST_TWO, Q5_K, Q4_K },
          { FIRST_SIXTEENTH, Q5_K, Q4_K },
          { EVERYWHERE, Q4_K, 0 } },
        { "Q3_K_L",
          13,
          Q3_K,
          Q6_K,
          { EVERYWHERE, Q5_K, 0 },
          { EVERYWHERE, Q5_K, 0 },
          { EVERYWHERE, Q5_K, 0 } },
        { "MXFP4", 38, MXFP4, Q8_0, { 0 }, { 0 }, { 0 } },
        { "IQ4_XS", 30, IQ4_XS, Q6_K, { EVERYWHERE, Q5_K, 0 }, { FIRST_EIGHTH, Q5_K, 0 }, { 0 } },
        { "IQ4_NL", 25, IQ4_NL, Q6_K, { EVERYWHERE, Q5_K, 0 }, { FIRST_EIGHTH, Q5_K, 0 }, { 0 } },
        { "Q4_0", 2, Q4_0, Q6_K, { 0 }, { 0 }, { 0 } },
        { "Q4_K_S", 14, Q4_K, Q6_K, { FIRST_FOUR, Q5_K, 0 }, { FIRST_EIGHTH, Q5_K, 0 }, { 0 } },
        { "Q4_K_M", 15, Q4_K, Q6_K, { MORE_BITS, Q6_K, 0 }, { MORE_BITS, Q6_K, 0 }, { 0 } },
        { "Q4_1", 3, Q4_1, Q6_K, { 0 }, { 0 }, { 0 } },
        { "Q5_0", 8, Q5_0, Q6_K, { 0 }, { 0 }, { 0 } },
        { "Q5_K_S", 16, Q5_K, Q6_K, { 0 }, { 0 }, { 0 } },
        { "Q5_K_M", 17, Q5_K, Q6_K, { MORE_BITS, Q6_K, 0 }, { MORE_BITS, Q6_K, 0 }, { 0 } },
        { "Q5_1", 9, Q5_1, Q6_K, { 0 }, { 0 }, { 0 } },
        { "Q6_K", 18, Q6_K, 0, { 0 }, { 0 }, { 0 } },
        { "Q8_0", 7, Q8_0, 0, { 0 }, { 0 }, { 0 } },
        { "BF16", 32, BF16, 0, { 0 }, { 0 }, { 0 } },
        { "F16", 1, F16, 0, { 0 }, { 0 }, { 0 } },
        { "F32", 0, F32, 0, { 0 }, { 0 }, { 0 } },
};
#define N_RULES (sizeof(rules) / sizeof(*rules))

const char *mix_name_at(size_t i)
{
        return i < N_RULES ? rules[i].name : NULL;
}

const char *engine_quantize_type_at(size_t i)
{
        return mix_name_at(i);
}

static int number_of(const struct gguf *g, struct str arch, const char *suffix)
{
        char key[128];
        uint64_t v = 0;
        snprintf(key, sizeof(key), "%.*s.%s", (int)arch.n, arch.p, suffix);
        return gguf_get_u64(g, key, &v) || v > 1 << 20 ? 0 : (int)v;
}

int mix_init(struct mix *m, const char *name, const struct gguf *g, char *err, size_t errn)
{
        struct str arch = STR("");
        *m = (struct mix){ 0 };
        for (size_t i = 0; i < N_RULES; i++)
                if (strcasecmp(name, rules[i].name) == 0)
                        m->rule = &rules[i];
        if (!m->rule) {
                size_t at = (size_t)snprintf(err, errn, "unknown type %.40s; there are", name);
                for (size_t i = 0; i < N_RULES && at < errn; i++)
                        at += (size_t)snprintf(err + at, errn - at, " %s", rules[i].name);
                return -EINVAL;
        }
        gguf_get_str(g, "general.architecture", &arch);
        m->file_type = m->rule->file_type;
        m->n_layer = number_of(g, arch, "block_count");
        int heads = number_of(g, arch, "attention.head_count"),
            kv = number_of(g, arch, "attention.head_count_kv");
        m->heads_per_kv = kv ? heads / kv : 1;
        m->tied = !gguf_tensor_find(g, "output.weight");
        return 0;
}

static bool lifted(enum where where, int layer, int n)
{
        switch (where) {
        case NOWHERE:
                return false;
        case EVERYWHERE:
                return true;
        case FIRST_EIGHTH:
                return layer < n / 8;
        case FIRST_SIXTEENTH:
                return layer < n / 16;
        case FIRST_TWO:
                return layer < 2;
        case FIRST_FOUR:
                return layer < 4;
        case MORE_BITS: /* both ends, and every third between */
                return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
        }
        return false;
}

static uint8_t apply(const struct lift *l, int layer, int n, uint8_t base)
{
        if (l->where != NOWHERE && lifted(l->where, layer, n))
                return l->type;
        return l->other ? l->other : base;
}

static bool is_weight(struct str name)
{
        return name.n >= 7 && memcmp(name.p + name.n - 7, ".weight", 7) == 0;
}

static bool named(struct str name, const char *part)
{
        return memmem(name.p, name.n, part, strlen(part)) != NULL;
}

/* What stays as it is: vectors, and small matrices on which much depends. */
static bool keeps_type(const struct gguf_tensor *t)
{
        return t->n_dims < 2 || !is_weight(t->name) || named(t->name, "norm") ||
               named(t->name, "ffn_gate_inp") || named(t->name, "position_embd") ||
               named(t->name, "token_types") || named(t->name, "rope_freqs");
}

static int layer_of(struct str name)
{
        int layer = 0;
        char text[64];
        snprintf(text, sizeof(text), "%.*s", (int)(name.n < 60 ? name.n : 60), name.p);
        return sscanf(text, "blk.%d.", &layer) == 1 ? layer : 0;
}

static uint8_t wanted(const struct mix *m, const struct gguf_tensor *t)
{
        const struct mix_rule *r = m->rule;
        int layer = layer_of(t->name);
        bool output = str_eqc(t->name, "output.weight") || (m->tied && str_eqc(t->name, "token_embd.weight"));
        if (output && r->output)
                return r->output;
        if (named(t->name, "attn_v.") || named(t->name, "attn_qkv."))
                return r->base == Q2_K && m->heads_per_kv >= 4 ? Q4_K
                                                               : apply(&r->value, layer, m->n_layer, r->base);
        if (named(t->name, "ffn_down"))
                return apply(&r->down, layer, m->n_layer, r->base);
        if (named(t->name, "attn_output."))
                return apply(&r->attn_out, layer, m->n_layer, r->base);
        return r->base;
}

/* The nearest type with blocks of 32 for rows that are no multiple of 256, and F16 where even that fails. */
static uint8_t fallback(uint8_t type, uint64_t n)
{
        static const uint8_t pairs[][2] = { { Q2_K, IQ4_NL }, { Q3_K, IQ4_NL },   { Q4_K, Q5_0 },
                                            { Q5_K, Q5_1 },   { IQ4_XS, IQ4_NL }, { Q6_K, Q8_0 } };
        if (n % kern_type_by_id(type)->block)
                for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
                        if (pairs[i][0] == type) {
                                type = pairs[i][1];
                                break;
                        }
        return n % kern_type_by_id(type)->block ? F16 : type;
}

const struct kern_type *mix_type(const struct mix *m, const struct gguf_tensor *t)
{
        return keeps_type(t) ? t->type : kern_type_by_id(fallback(wanted(m, t), t->ne[0]));
}
