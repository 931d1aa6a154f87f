/* Element-wise kernels and attention in terms of vec_*.h. Included once per instruction set. */
#include "kernels/variants.h"

#include <math.h>

static inline vf vmin(vf a, vf b)
{
        return vmul(vset1(-1.0f), vmax(vmul(a, vset1(-1.0f)), vmul(b, vset1(-1.0f))));
}

/* e^x to about 2 units in the last place (range reduction and polynomial of Cephes' expf). */
static inline vf vexp(vf x)
{
        x = vmax(x, vset1(-120.0f));
        x = vmin(x, vset1(88.0f));
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

static inline vf vsquare_add(vf x, vf mean, vf acc)
{
        vf off = vfnma(mean, vset1(1.0f), x);
        return vfma(off, off, acc);
}

static void VSUF(layernorm)(float *y, const float *x, const float *w, const float *b, size_t n, float eps)
{
        vf acc = vset1(0);
        size_t i = 0, tail = n % VL, full = n - tail;
        for (; i < full; i += VL)
                acc = vadd(acc, vload(x + i));
        if (tail)
                acc = vadd(acc, vloadn(x + i, tail));
        float mean = vsum(acc) / (float)n;
        acc = vset1(0);
        for (i = 0; i < full; i += VL)
                acc = vsquare_add(vload(x + i), vset1(mean), acc);
        float squares = vsum(acc);
        for (i = full; i < n; i++)
                squares += (x[i] - mean) * (x[i] - mean);
        float scale = 1.0f / sqrtf(squares / (float)n + eps);
        for (i = 0; i < n; i++)
                y[i] = (x[i] - mean) * scale * w[i] + (b ? b[i] : 0);
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

/* x / (1 + e^(-a)) */
static inline vf vgate(vf x, vf a)
{
        return vdiv(x, vadd(vexp(vmul(a, vset1(-1.0f))), vset1(1.0f)));
}

static inline vf vgelu_mul(vf x, vf u)
{
        vf cube = vmul(vmul(x, x), vmul(x, vset1(0.044715f)));
        return vmul(vgate(x, vmul(vadd(x, cube), vset1(2 * 0.79788456f))), u);
}

static void VSUF(gelu_mul)(float *g, const float *u, size_t n)
{
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                vstore(g + i, vgelu_mul(vload(g + i), vload(u + i)));
        if (tail)
                vstoren(g + i, vgelu_mul(vloadn(g + i, tail), vloadn(u + i, tail)), tail);
}

static inline vf vswiglu_clamped(vf g, vf u, vf limit)
{
        vf a = vmin(g, limit), b = vmax(vmul(limit, vset1(-1.0f)), vmin(u, limit));
        return vmul(vgate(a, vmul(a, vset1(1.702f))), vadd(b, vset1(1.0f)));
}

static void VSUF(swiglu_clamped)(float *g, const float *u, size_t n, float limit)
{
        size_t i = 0, tail = n % VL;
        vf lim = vset1(limit);
        for (; i + VL <= n; i += VL)
                vstore(g + i, vswiglu_clamped(vload(g + i), vload(u + i), lim));
        if (tail)
                vstoren(g + i, vswiglu_clamped(vloadn(g + i, tail), vloadn(u + i, tail), lim), tail);
}

/* x times the normal distribution function, whose upper tail is the polynomial 26.2.17 of Abramowitz and
 * Stegun (error below 7.5e-8). */
static inline vf vgelu(vf x)
{
        vf a = vabs(x), t = vdiv(vset1(1.0f), vfma(a, vset1(0.2316419f), vset1(1.0f)));
        vf p = vset1(1.330274429f);
        p = vfma(p, t, vset1(-1.821255978f));
        p = vfma(p, t, vset1(1.781477937f));
        p = vfma(p, t, vset1(-0.356563782f));
        p = vfma(p, t, vset1(0.319381530f));
        vf density = vmul(vexp(vmul(vmul(a, a), vset1(-0.5f))), vset1(0.39894228f));
        vf tail = vmul(vmul(p, t), density);
        return vfnma(a, tail, vmax(x, vset1(0))); /* x - x tail, or x tail below 0 */
}

static void VSUF(gelu)(float *x, size_t n)
{
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                vstore(x + i, vgelu(vload(x + i)));
        if (tail)
                vstoren(x + i, vgelu(vloadn(x + i, tail)), tail);
}

/* cap * tanh(x / cap), as cap - 2 cap / (e^(2x / cap) + 1) */
static inline vf vsoftcap(vf x, float cap)
{
        vf e = vexp(vmul(x, vset1(2.0f / cap)));
        return vadd(vdiv(vset1(-2.0f * cap), vadd(e, vset1(1.0f))), vset1(cap));
}

static void VSUF(softcap)(float *x, size_t n, float cap)
{
        size_t i = 0, tail = n % VL;
        for (; i + VL <= n; i += VL)
                vstore(x + i, vsoftcap(vload(x + i), cap));
        if (tail)
                vstoren(x + i, vsoftcap(vloadn(x + i, tail), cap), tail);
}

static void VSUF(rope_neox)(float *x, size_t heads, size_t hd, const float *cos, const float *sin,
                            size_t n_rot)
{
        size_t half = n_rot / 2;
        for (size_t h = 0; h < heads; h++, x += hd) {
                size_t i = 0;
                for (; i + VL <= half; i += VL) {
                        vf a = vload(x + i), b = vload(x + half + i), c = vload(cos + i), s = vload(sin + i);
                        vstore(x + i, vfnma(b, s, vmul(a, c)));
                        vstore(x + half + i, vfma(b, c, vmul(a, s)));
                }
                for (; i < half; i++) {
                        float a = x[i], b = x[i + half];
                        x[i] = a * cos[i] - b * sin[i];
                        x[i + half] = b * cos[i] + a * sin[i];
                }
        }
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

#define PARTS (KERN_KV_BLOCK / VL) /* vectors of scores of a query */
#define QK_QUERIES (8 / PARTS)
#define PV_QUERIES 4
#define PV_VECTORS (VL / 4) /* a tile of sums as large as the register file allows */

/* NQ queries at a time: each key vector is loaded and converted once for all of them, and there are sums
 * enough to keep the multipliers busy. */
static inline __attribute__((always_inline)) void qk_tile(const float *q, size_t ldq, const uint16_t *k,
                                                          size_t hd, float scale, float *s, size_t lds,
                                                          const int NQ)
{
        vf acc[QK_QUERIES][PARTS];
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
        for (; i + QK_QUERIES <= nq; i += QK_QUERIES)
                qk_tile(q + i * ldq, ldq, k, hd, scale, s + i * lds, lds, QK_QUERIES);
        for (; i < nq; i++)
                qk_tile(q + i * ldq, ldq, k, hd, scale, s + i * lds, lds, 1);
}

/* NV vectors of value coordinates (of the last, the first `len`) for NQ queries. */
static inline __attribute__((always_inline)) void pv_tile(const float *p, size_t ldp, const uint16_t *v,
                                                          size_t nk, size_t hd, float *o, size_t ldo,
                                                          size_t len, const int NV, const int NQ)
{
        vf acc[PV_QUERIES][PV_VECTORS];
        for (int i = 0; i < NQ; i++)
                for (int c = 0; c < NV; c++) {
                        const float *from = o + (size_t)i * ldo + c * VL;
                        acc[i][c] = len == VL ? vload(from) : vloadn(from, len);
                }
        for (size_t j = 0; j < nk; j++, v += hd) {
                vf val[PV_VECTORS];
                for (int c = 0; c < NV; c++)
                        val[c] = vfrom_f16(len == VL ? vload16(v + c * VL) : vload16n(v, len));
                for (int i = 0; i < NQ; i++)
                        for (int c = 0; c < NV; c++)
                                acc[i][c] = vfma(vset1(p[(size_t)i * ldp + j]), val[c], acc[i][c]);
        }
        for (int i = 0; i < NQ; i++)
                for (int c = 0; c < NV; c++) {
                        float *to = o + (size_t)i * ldo + c * VL;
                        if (len == VL)
                                vstore(to, acc[i][c]);
                        else
                                vstoren(to, acc[i][c], len);
                }
}

static void VSUF(attn_pv)(const float *p, size_t ldp, size_t nq, const uint16_t *v, size_t nk, size_t hd,
                          float *o, size_t ldo)
{
        for (size_t c = 0, step; c < hd; c += step) {
                bool wide = hd - c >= PV_VECTORS * VL;
                size_t len = hd - c < VL ? hd - c : VL, i = 0;
                step = wide ? PV_VECTORS * VL : VL;
                for (; wide && i + PV_QUERIES <= nq; i += PV_QUERIES)
                        pv_tile(p + i * ldp, ldp, v + c, nk, hd, o + i * ldo + c, ldo, VL, PV_VECTORS,
                                PV_QUERIES);
                for (; wide && i < nq; i++)
                        pv_tile(p + i * ldp, ldp, v + c, nk, hd, o + i * ldo + c, ldo, VL, PV_VECTORS, 1);
                for (; i < nq; i++)
                        pv_tile(p + i * ldp, ldp, v + c, nk, hd, o + i * ldo + c, ldo, len, 1, 1);
        }
}
