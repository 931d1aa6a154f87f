/* Scalar matrix products and the conversion of weight rows to float. */
#include <string.h>
#include "kernels/variants.h"

#define Q8_BLOCK 32
#define Q8_BYTES 34

static float load_f32(const void *p, size_t i)
{
        float f;
        memcpy(&f, (const char *)p + 4 * i, sizeof(f));
        return f;
}

static uint16_t load_u16(const void *p, size_t i)
{
        uint16_t h;
        memcpy(&h, (const char *)p + 2 * i, sizeof(h));
        return h;
}

static float load_f16(const void *p, size_t i)
{
        return kern_f16_to_f32(load_u16(p, i));
}

static float load_bf16(const void *p, size_t i)
{
        uint32_t bits = (uint32_t)load_u16(p, i) << 16;
        float f;
        memcpy(&f, &bits, sizeof(f));
        return f;
}

void kern_dequant_f32(const void *src, float *dst, size_t n)
{
        memcpy(dst, src, n * sizeof(*dst));
}

void kern_dequant_f16(const void *src, float *dst, size_t n)
{
        for (size_t i = 0; i < n; i++)
                dst[i] = load_f16(src, i);
}

void kern_dequant_bf16(const void *src, float *dst, size_t n)
{
        for (size_t i = 0; i < n; i++)
                dst[i] = load_bf16(src, i);
}

void kern_dequant_q8_0(const void *src, float *dst, size_t n)
{
        const uint8_t *block = src;
        for (; n >= Q8_BLOCK; n -= Q8_BLOCK, block += Q8_BYTES, dst += Q8_BLOCK) {
                float scale = load_f16(block, 0);
                for (int i = 0; i < Q8_BLOCK; i++)
                        dst[i] = scale * (float)(int8_t)block[2 + i];
        }
}

static void gemm_float(float (*load)(const void *, size_t), const void *w, size_t row_bytes,
                       const struct kern_act *x, float *y, size_t ldy, size_t rows, size_t nt)
{
        for (size_t r = 0; r < rows; r++) {
                const char *row = (const char *)w + r * row_bytes;
                for (size_t t = 0; t < nt; t++) {
                        float sum = 0;
                        for (size_t k = 0; k < x->n; k++)
                                sum += load(row, k) * x->f[t * x->ldf + k];
                        y[t * ldy + r] = sum;
                }
        }
}

void kern_gemm_f32_ref(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                       size_t rows, size_t nt)
{
        gemm_float(load_f32, w, row_bytes, x, y, ldy, rows, nt);
}

void kern_gemm_f16_ref(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                       size_t rows, size_t nt)
{
        gemm_float(load_f16, w, row_bytes, x, y, ldy, rows, nt);
}

void kern_gemm_bf16_ref(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                        size_t rows, size_t nt)
{
        gemm_float(load_bf16, w, row_bytes, x, y, ldy, rows, nt);
}

static float dot_q8(const uint8_t *w, const uint8_t *q, const float *d, size_t n)
{
        float sum = 0;
        for (size_t b = 0; b < n / Q8_BLOCK; b++, w += Q8_BYTES, q += Q8_BLOCK) {
                int32_t isum = 0;
                for (int i = 0; i < Q8_BLOCK; i++)
                        isum += (int8_t)w[2 + i] * (int8_t)q[i];
                sum += load_f16(w, 0) * d[b] * (float)isum;
        }
        return sum;
}

void kern_gemm_q8_0_ref(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                        size_t rows, size_t nt)
{
        for (size_t r = 0; r < rows; r++)
                for (size_t t = 0; t < nt; t++)
                        y[t * ldy + r] = dot_q8((const uint8_t *)w + r * row_bytes, x->q + t * x->ldq,
                                                x->d + t * x->ldd, x->n);
}
