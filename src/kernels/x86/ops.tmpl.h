/* Element-wise kernels and attention in terms of vec_*.h. Included once per instruction set. */
#include "kernels/variants.h"

#include <math.h>

/* e^x to about 2 units in the last place (range reduction and polynomial of Cephes' expf). */
static inline vf vexp(vf x)
{
        x = vmax(x, vset1(-120.0f));
        x = vfnma(vset1(1.0f), vmax(vadd(x, vset1(-88.0f)), vset1(0.0f)), x); /* min(x, 88) */
        vf n = vround(vmul(x, vset1(1.44269504f)));
        vf r = vfnma(n, vset1(0.693359375f), x);
        r = vfnma(n, vset1(-2.12194440e-4f), r);
        vf p = vset1(1.9875691500e-4f);
        p = vfma(p, r, vset1(1.3981999507e-3f));
        p = vfma(p, r, vset1(8.3334519073e-3f));
        p = vfma(p, r, vset1(4.1665795894e-2f));
        p = vfma(p, r, vset1(1.6666665459e-1f));
        p = vfma(p, r, vset1(5.0000001201e-1f));
        p = vadd(vfma(p, vmul(r, r), r), vset1(1.0f));
        return vscale2(p, n);
}

static void VSUF(rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps)
{
        vf acc = vset1(0);
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                acc = vfma(vload(x + i), vload(x + i), acc);
        if (tail)
                acc = vfma(vloadn(x + i, tail), vloadn(x + i, tail), acc);
        vf scale = vset1(1.0f / sqrtf(vsum(acc) / (float)n + eps));
        for (i = 0; i + VL <= n; i += VL)
                vstore(y + i, vmul(vmul(vload(x + i), scale), vload(w + i)));
        if (tail)
                vstoren(y + i, vmul(vmul(vloadn(x + i, tail), scale), vloadn(w + i, tail)), tail);
}

static void VSUF(add)(float *y, const float *x, size_t n)
{
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                vstore(y + i, vadd(vload(y + i), vload(x + i)));
        if (tail)
                vstoren(y + i, vadd(vloadn(y + i, tail), vloadn(x + i, tail)), tail);
}

static inline vf vsilu_mul(vf g, vf u)
{
        vf e = vexp(vmul(g, vset1(-1.0f)));
        return vmul(vdiv(g, vadd(e, vset1(1.0f))), u);
}

static void VSUF(silu_mul)(float *g, const float *u, size_t n)
{
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                vstore(g + i, vsilu_mul(vload(g + i), vload(u + i)));
        if (tail)
                vstoren(g + i, vsilu_mul(vloadn(g + i, tail), vloadn(u + i, tail)), tail);
}

static void VSUF(rope)(float *x, size_t heads, size_t hd, const float *cos, const float *sin, size_t n_rot)
{
        for (size_t h = 0; h < heads; h++, x += hd) {
                size_t i = 0;
                for (; i + VL <= n_rot; i += VL) {
                        vf v = vload(x + i), c = vdup_pairs(cos + i / 2), s = vdup_pairs(sin + i / 2);
                        vstore(x + i, vaddsub(vmul(v, c), vmul(vswap_pairs(v), s)));
                }
                for (; i + 2 <= n_rot; i += 2) {
                        float a = x[i], b = x[i + 1], c = cos[i / 2], s = sin[i / 2];
                        x[i] = a * c - b * s;
                        x[i + 1] = b * c + a * s;
                }
        }
}

static void VSUF(softmax)(float *x, size_t n)
{
        size_t i = 0, tail = n % VL, full = n - tail;
        float max = x[0];
        if (full) {
                vf m = vload(x);
                for (i = VL; i < full; i += VL)
                        m = vmax(m, vload(x + i));
                max = vmaxof(m);
        }
        for (size_t j = full; j < n; j++)
                max = x[j] > max ? x[j] : max;
        vf off = vset1(-max), acc = vset1(0);
        for (i = 0; i < full; i += VL) {
                vf e = vexp(vadd(vload(x + i), off));
                vstore(x + i, e);
                acc = vadd(acc, e);
        }
        if (tail) {
                vstoren(x + i, vexp(vadd(vloadn(x + i, tail), off)), tail);
                acc = vadd(acc, vloadn(x + i, tail));
        }
        vf inv = vset1(1.0f / vsum(acc));
        for (i = 0; i < full; i += VL)
                vstore(x + i, vmul(vload(x + i), inv));
        if (tail)
                vstoren(x + i, vmul(vloadn(x + i, tail), inv), tail);
}

static void VSUF(to_f16)(uint16_t *dst, const float *src, size_t n)
{
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                vstore16(dst + i, vto_f16(vload(src + i)));
        if (tail)
                vstore16n(dst + i, vto_f16(vloadn(src + i, tail)), tail);
}

/* NQ queries at a time, so that each key vector is loaded and converted once for all of them. */
static inline __attribute__((always_inline)) void qk_tile(const float *q, size_t ldq, const uint16_t *k,
                                                          size_t hd, float scale, float *s, size_t lds,
                                                          const int NQ)
{
        enum { PARTS = KERN_KV_BLOCK / VL };
        vf acc[4][PARTS];
        for (int i = 0; i < NQ; i++)
                for (int j = 0; j < PARTS; j++)
                        acc[i][j] = vset1(0);
        for (size_t c = 0; c < hd; c++, k += KERN_KV_BLOCK) {
                for (int j = 0; j < PARTS; j++) {
                        vf key = vfrom_f16(vload16(k + j * VL));
                        for (int i = 0; i < NQ; i++)
                                acc[i][j] = vfma(vset1(q[(size_t)i * ldq + c]), key, acc[i][j]);
                }
        }
        for (int i = 0; i < NQ; i++)
                for (int j = 0; j < PARTS; j++)
                        vstore(s + (size_t)i * lds + j * VL, vmul(acc[i][j], vset1(scale)));
}

static void VSUF(attn_qk)(const float *q, size_t ldq, size_t nq, const uint16_t *k, size_t hd, float scale,
                          float *s, size_t lds)
{
        size_t i = 0;
        for (; i + 4 <= nq; i += 4)
                qk_tile(q + i * ldq, ldq, k, hd, scale, s + i * lds, lds, 4);
        for (; i < nq; i++)
                qk_tile(q + i * ldq, ldq, k, hd, scale, s + i * lds, lds, 1);
}

/* One vector of value coordinates (the first `len` of them) for NQ queries. */
static inline __attribute__((always_inline)) void pv_tile(const float *p, size_t ldp, const uint16_t *v,
                                                          size_t nk, size_t hd, float *o, size_t ldo,
                                                          size_t len, const int NQ)
{
        vf acc[4];
        for (int i = 0; i < NQ; i++)
                acc[i] = len == VL ? vload(o + (size_t)i * ldo) : vloadn(o + (size_t)i * ldo, len);
        for (size_t j = 0; j < nk; j++, v += hd) {
                vf val = vfrom_f16(len == VL ? vload16(v) : vload16n(v, len));
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

static void VSUF(attn_pv)(const float *p, size_t ldp, size_t nq, const uint16_t *v, size_t nk, size_t hd,
                          float *o, size_t ldo)
{
        for (size_t c = 0; c < hd; c += VL) {
                size_t len = hd - c < VL ? hd - c : VL, i = 0;
                for (; i + 4 <= nq; i += 4)
                        pv_tile(p + i * ldp, ldp, v + c, nk, hd, o + i * ldo + c, ldo, len, 4);
                for (; i < nq; i++)
                        pv_tile(p + i * ldp, ldp, v + c, nk, hd, o + i * ldo + c, ldo, len, 1);
        }
}
