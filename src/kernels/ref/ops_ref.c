/* The scalar oracle: what every variant is compared with, and the fallback on unknown machines. */
#include <math.h>
#include <string.h>
#include "kernels/variants.h"

float kern_f16_to_f32(uint16_t h)
{
        uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 1023, bits;
        if (exp == 31) {
                bits = sign | 0x7f800000 | man << 13;
        } else if (exp) {
                bits = sign | (exp + 112) << 23 | man << 13;
        } else { /* zero or subnormal: man * 2^-24 is exact */
                float f = (float)man * 0x1p-24f;
                memcpy(&bits, &f, sizeof(bits));
                bits |= sign;
        }
        float out;
        memcpy(&out, &bits, sizeof(out));
        return out;
}

uint16_t kern_f32_to_f16(float f)
{
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
        uint32_t mag = bits & 0x7fffffff;
        if (mag > 0x7f800000) /* NaN: quiet, as the hardware does */
                return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
        if (mag >= 0x477ff000) /* rounds to at least 65520: infinity */
                return sign | 0x7c00;
        if (mag < 0x38800000) { /* below 2^-14: a multiple of 2^-24, rounded by the addition */
                float a;
                memcpy(&a, &mag, sizeof(a));
                a += 0.5f; /* the last place of 0.5 is 2^-24 */
                memcpy(&mag, &a, sizeof(mag));
                return (uint16_t)(sign | (mag - 0x3f000000));
        }
        mag += 0xfff + (mag >> 13 & 1); /* to nearest, ties to even */
        return (uint16_t)(sign | (mag - 0x38000000) >> 13);
}

static void rmsnorm_ref(float *y, const float *x, const float *w, size_t n, float eps)
{
        float sum = 0;
        for (size_t i = 0; i < n; i++)
                sum += x[i] * x[i];
        float scale = 1.0f / sqrtf(sum / (float)n + eps);
        for (size_t i = 0; i < n; i++)
                y[i] = x[i] * scale * w[i];
}

static void layernorm_ref(float *y, const float *x, const float *w, const float *b, size_t n, float eps)
{
        float sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++)
                sum += x[i];
        float mean = sum / (float)n;
        for (size_t i = 0; i < n; i++)
                squares += (x[i] - mean) * (x[i] - mean);
        float scale = 1.0f / sqrtf(squares / (float)n + eps);
        for (size_t i = 0; i < n; i++)
                y[i] = (x[i] - mean) * scale * w[i] + (b ? b[i] : 0);
}

static void add_ref(float *y, const float *x, size_t n)
{
        for (size_t i = 0; i < n; i++)
                y[i] += x[i];
}

static void silu_mul_ref(float *g, const float *u, size_t n)
{
        for (size_t i = 0; i < n; i++)
                g[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
}

static void gelu_mul_ref(float *g, const float *u, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                float x = g[i], inner = 0.79788456f * (x + 0.044715f * x * x * x);
                g[i] = x / (1.0f + expf(-2.0f * inner)) * u[i]; /* (1 + tanh a) / 2 = sigmoid 2a */
        }
}

static void swiglu_clamped_ref(float *g, const float *u, size_t n, float limit)
{
        for (size_t i = 0; i < n; i++) {
                float a = fminf(g[i], limit), b = fmaxf(-limit, fminf(u[i], limit));
                g[i] = a / (1.0f + expf(-1.702f * a)) * (b + 1.0f);
        }
}

static void gelu_ref(float *x, size_t n)
{
        for (size_t i = 0; i < n; i++)
                x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
}

static void softcap_ref(float *x, size_t n, float cap)
{
        for (size_t i = 0; i < n; i++)
                x[i] = cap * tanhf(x[i] / cap);
}

static void rope_neox_ref(float *x, size_t heads, size_t hd, const float *cos, const float *sin, size_t n_rot)
{
        size_t half = n_rot / 2;
        for (size_t h = 0; h < heads; h++, x += hd) {
                for (size_t i = 0; i < half; i++) {
                        float a = x[i], b = x[i + half];
                        x[i] = a * cos[i] - b * sin[i];
                        x[i + half] = a * sin[i] + b * cos[i];
                }
        }
}

static void rope_ref(float *x, size_t heads, size_t hd, const float *cos, const float *sin, size_t n_rot)
{
        for (size_t h = 0; h < heads; h++, x += hd) {
                for (size_t i = 0; i < n_rot / 2; i++) {
                        float a = x[2 * i], b = x[2 * i + 1];
                        x[2 * i] = a * cos[i] - b * sin[i];
                        x[2 * i + 1] = a * sin[i] + b * cos[i];
                }
        }
}

static void softmax_ref(float *x, size_t n)
{
        float max = x[0], sum = 0;
        for (size_t i = 1; i < n; i++)
                max = x[i] > max ? x[i] : max;
        for (size_t i = 0; i < n; i++)
                sum += x[i] = expf(x[i] - max);
        for (size_t i = 0; i < n; i++)
                x[i] /= sum;
}

static void quant_q8_ref(const float *x, size_t n, uint8_t *q, float *d)
{
        for (size_t b = 0; b < n / 32; b++, x += 32, q += 32) {
                float max = 0;
                for (int i = 0; i < 32; i++)
                        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
                d[b] = max / 127.0f;
                float inv = max > 1e-35f ? 127.0f / max : 0;
                for (int i = 0; i < 32; i++)
                        q[i] = (uint8_t)(int8_t)lrintf(x[i] * inv);
        }
}

static void to_f16_ref(uint16_t *dst, const float *src, size_t n)
{
        for (size_t i = 0; i < n; i++)
                dst[i] = kern_f32_to_f16(src[i]);
}

static void attn_qk_ref(const float *q, size_t ldq, size_t nq, const uint16_t *k, size_t hd, float scale,
                        float *s, size_t lds)
{
        for (size_t i = 0; i < nq; i++) {
                for (size_t j = 0; j < KERN_KV_BLOCK; j++) {
                        float sum = 0;
                        for (size_t c = 0; c < hd; c++)
                                sum += q[i * ldq + c] * kern_f16_to_f32(k[c * KERN_KV_BLOCK + j]);
                        s[i * lds + j] = sum * scale;
                }
        }
}

static void attn_pv_ref(const float *p, size_t ldp, size_t nq, const uint16_t *v, size_t nk, size_t hd,
                        float *o, size_t ldo)
{
        for (size_t i = 0; i < nq; i++)
                for (size_t j = 0; j < nk; j++)
                        for (size_t c = 0; c < hd; c++)
                                o[i * ldo + c] += p[i * ldp + j] * kern_f16_to_f32(v[j * hd + c]);
}

const struct kern kern_ref = {
        .name = "ref",
        .isa = KERN_REF,
        .rmsnorm = rmsnorm_ref,
        .layernorm = layernorm_ref,
        .add = add_ref,
        .silu_mul = silu_mul_ref,
        .gelu_mul = gelu_mul_ref,
        .swiglu_clamped = swiglu_clamped_ref,
        .gelu = gelu_ref,
        .softcap = softcap_ref,
        .rope = rope_ref,
        .rope_neox = rope_neox_ref,
        .softmax = softmax_ref,
        .quant_q8 = quant_q8_ref,
        .to_f16 = to_f16_ref,
        .attn_qk = attn_qk_ref,
        .attn_pv = attn_pv_ref,
};
