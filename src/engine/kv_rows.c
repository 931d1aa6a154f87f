/* Keys and values as the graph writes and reads them: the only code that knows how a head lies in a block. */
#include "engine/kv.h"
#include "kernels/kv_q8.h"

static uint8_t *head_at(const struct kv *kv, int layer, int32_t block, int head)
{
        return kv->mem + (size_t)layer * kv->at.layer + (size_t)block * kv->at.block +
               (size_t)head * kv->at.head;
}

size_t kv_scratch_bytes(const struct kv *kv)
{
        return (size_t)kv->n_head_kv * (size_t)kv->head_dim * sizeof(uint16_t);
}

static void store_f16(const struct kv *kv, const struct kern *k, uint8_t *head, size_t at,
                      const uint16_t *keys, const float *values)
{
        size_t hd = (size_t)kv->head_dim;
        uint16_t *column = (uint16_t *)(head + kv->at.keys) + at;
        for (size_t c = 0; c < hd; c++)
                column[c * KERN_KV_BLOCK] = keys[c];
        k->to_f16((uint16_t *)(head + kv->at.values) + at * hd, values, hd);
}

static void store_q8(const struct kv *kv, uint8_t *head, size_t at, const float *keys, const float *values)
{
        size_t hd = (size_t)kv->head_dim, groups = kern_kv_groups(hd);
        kern_kv_quant(keys, hd, (int8_t *)(head + kv->at.keys) + at, KERN_KV_BLOCK,
                      (uint16_t *)(head + kv->at.key_scales) + at, KERN_KV_BLOCK);
        kern_kv_quant(values, hd, (int8_t *)(head + kv->at.values) + at * hd, 1,
                      (uint16_t *)(head + kv->at.value_scales) + at * groups, 1);
}

void kv_store(const struct kv *kv, const struct kern *k, int layer, int32_t block, size_t at,
              const float *keys, const float *values, void *scratch)
{
        size_t hd = (size_t)kv->head_dim;
        uint16_t *half = scratch;
        if (kv->type == ENGINE_KV_F16)
                k->to_f16(half, keys, (size_t)kv->n_head_kv * hd);
        for (int h = 0; h < kv->n_head_kv; h++) {
                uint8_t *head = head_at(kv, layer, block, h);
                size_t from = (size_t)h * hd;
                if (kv->type == ENGINE_KV_F16)
                        store_f16(kv, k, head, at, half + from, values + from);
                else
                        store_q8(kv, head, at, keys + from, values + from);
        }
}

void kv_scores(const struct kv *kv, const struct kern *k, int layer, int32_t block, int head, const float *q,
               size_t ldq, size_t nq, float scale, float *s, size_t lds)
{
        const uint8_t *p = head_at(kv, layer, block, head);
        size_t hd = (size_t)kv->head_dim;
        if (kv->type == ENGINE_KV_F16)
                k->attn_qk(q, ldq, nq, (const uint16_t *)(p + kv->at.keys), hd, scale, s, lds);
        else
                kern_kv_q8(k->isa)->qk(q, ldq, nq, (const int8_t *)(p + kv->at.keys),
                                       (const uint16_t *)(p + kv->at.key_scales), hd, scale, s, lds);
}

void kv_mix(const struct kv *kv, const struct kern *k, int layer, int32_t block, int head, const float *p,
            size_t ldp, size_t nq, size_t nk, float *o, size_t ldo)
{
        const uint8_t *from = head_at(kv, layer, block, head);
        size_t hd = (size_t)kv->head_dim;
        if (kv->type == ENGINE_KV_F16)
                k->attn_pv(p, ldp, nq, (const uint16_t *)(from + kv->at.values), nk, hd, o, ldo);
        else
                kern_kv_q8(k->isa)->pv(p, ldp, nq, (const int8_t *)(from + kv->at.values),
                                       (const uint16_t *)(from + kv->at.value_scales), nk, hd, o, ldo);
}
