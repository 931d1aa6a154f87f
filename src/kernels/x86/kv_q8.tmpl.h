/* Attention over 8-bit keys and values, in terms of the vector vocabulary and of two loads that the including
 * file defines: vload8(p), VL int8 values as floats, and vload8n(p, k), the first k < VL of them. */

/* One vector of keys against NQ queries: the sum of each group is scaled by the keys' own scales. */
static inline __attribute__((always_inline)) void qk8_tile(const float *q, size_t ldq, const int8_t *k,
                                                           const uint16_t *scales, size_t hd, float scale,
                                                           float *s, size_t lds, const int NQ)
{
        vf total[4], sum[4];
        for (int i = 0; i < NQ; i++)
                total[i] = vset1(0);
        for (size_t from = 0; from < hd; from += KERN_KV_GROUP, scales += KERN_KV_BLOCK) {
                size_t to = hd - from < KERN_KV_GROUP ? hd : from + KERN_KV_GROUP;
                for (int i = 0; i < NQ; i++)
                        sum[i] = vset1(0);
                for (size_t c = from; c < to; c++) {
                        vf key = vload8(k + c * KERN_KV_BLOCK);
                        for (int i = 0; i < NQ; i++)
                                sum[i] = vfma(vset1(q[(size_t)i * ldq + c]), key, sum[i]);
                }
                vf d = vfrom_f16(vload16(scales));
                for (int i = 0; i < NQ; i++)
                        total[i] = vfma(sum[i], d, total[i]);
        }
        for (int i = 0; i < NQ; i++)
                vstore(s + (size_t)i * lds, vmul(total[i], vset1(scale)));
}

static void VSUF(qk8)(const float *q, size_t ldq, size_t nq, const int8_t *k, const uint16_t *scales,
                      size_t hd, float scale, float *s, size_t lds)
{
        for (size_t j = 0; j < KERN_KV_BLOCK; j += VL) {
                size_t i = 0;
                for (; i + 4 <= nq; i += 4)
                        qk8_tile(q + i * ldq, ldq, k + j, scales + j, hd, scale, s + i * lds + j, lds, 4);
                for (; i < nq; i++)
                        qk8_tile(q + i * ldq, ldq, k + j, scales + j, hd, scale, s + i * lds + j, lds, 1);
        }
}

/* One vector of value coordinates (the first `len` of them, all of one group) for NQ queries. */
static inline __attribute__((always_inline)) void pv8_tile(const float *p, size_t ldp, const int8_t *v,
                                                           const float *d, size_t nk, size_t hd, float *o,
                                                           size_t ldo, size_t len, const int NQ)
{
        vf acc[4];
        for (int i = 0; i < NQ; i++)
                acc[i] = len == VL ? vload(o + (size_t)i * ldo) : vloadn(o + (size_t)i * ldo, len);
        for (size_t j = 0; j < nk; j++, v += hd) {
                vf val = vmul(len == VL ? vload8(v) : vload8n(v, len), vset1(d[j]));
                for (int i = 0; i < NQ; i++)
                        acc[i] = vfma(vset1(p[(size_t)i * ldp + j]), val, acc[i]);
        }
        for (int i = 0; i < NQ; i++) {
                if (len == VL)
                        vstore(o + (size_t)i * ldo, acc[i]);
                else
                        vstoren(o + (size_t)i * ldo, acc[i], len);
        }
}

static void VSUF(pv8)(const float *p, size_t ldp, size_t nq, const int8_t *v, const uint16_t *scales,
                      size_t nk, size_t hd, float *o, size_t ldo)
{
        size_t groups = kern_kv_groups(hd);
        float d[KERN_KV_BLOCK];
        for (size_t c = 0; c < hd; c += VL) {
                size_t len = hd - c < VL ? hd - c : VL, i = 0;
                if (c % KERN_KV_GROUP == 0)
                        for (size_t j = 0; j < nk; j++)
                                d[j] = kern_f16_to_f32(scales[j * groups + c / KERN_KV_GROUP]);
                for (; i + 4 <= nq; i += 4)
                        pv8_tile(p + i * ldp, ldp, v + c, d, nk, hd, o + i * ldo + c, ldo, len, 4);
                for (; i < nq; i++)
                        pv8_tile(p + i * ldp, ldp, v + c, d, nk, hd, o + i * ldo + c, ldo, len, 1);
        }
}

const struct kern_kv_q8 VSUF(kern_kv_q8) = { VSUF(qk8), VSUF(pv8) };
