/* Scalar matrix products and the conversion of weight rows to float. */
#include <string.h>
#include "kernels/variants.h"

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

static void dequant_block(const struct kern_block *f, const void *src, float *dst, size_t n)
{
        const uint8_t *block = src;
        for (size_t i = 0; i < n / f->values; i++, block += f->bytes) {
                for (int sub = 0; sub < f->values / SUB; sub++, dst += SUB) {
                        uint8_t codes[SUB];
                        float scale[2], min[2];
                        f->codes(block, sub, codes);
                        f->scales(block, sub, scale, min);
                        for (int k = 0; k < SUB; k++)
                                dst[k] = scale[k / 16] * (float)kern_code_value(f, codes[k]) - min[k / 16];
                }
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

/* A row by 8-bit activations: whole numbers within 16 values, floats from there on. */
static float dot_block(const struct kern_block *f, const uint8_t *block, const uint8_t *q, const float *d,
                       size_t n)
{
        float sum = 0;
        for (size_t k = 0; k < n; k += SUB, q += SUB, d++) {
                uint8_t codes[SUB];
                float scale[2], min[2];
                const uint8_t *b = block + k / f->values * f->bytes;
                int sub = (int)(k % f->values / SUB);
                f->codes(b, sub, codes);
                f->scales(b, sub, scale, min);
                for (int h = 0; h < 2; h++) {
                        int32_t dot = 0, plain = 0;
                        for (int i = 16 * h; i < 16 * h + 16; i++) {
                                dot += kern_code_value(f, codes[i]) * (int8_t)q[i];
                                plain += (int8_t)q[i];
                        }
                        sum += *d * (scale[h] * (float)dot - min[h] * (float)plain);
                }
        }
        return sum;
}

static void gemm_block(const struct kern_block *f, const void *w, size_t row_bytes, const struct kern_act *x,
                       float *y, size_t ldy, size_t rows, size_t nt)
{
        for (size_t r = 0; r < rows; r++)
                for (size_t t = 0; t < nt; t++)
                        y[t * ldy + r] = dot_block(f, (const uint8_t *)w + r * row_bytes, x->q + t * x->ldq,
                                                   x->d + t * x->ldd, x->n);
}

#define BLOCK_FUNCTIONS(name)                                                                            \
        void kern_dequant_##name(const void *src, float *dst, size_t n)                                  \
        {                                                                                                \
                dequant_block(&kern_block_##name, src, dst, n);                                          \
        }                                                                                                \
        void kern_gemm_##name##_ref(const void *w, size_t row_bytes, const struct kern_act *x, float *y, \
                                    size_t ldy, size_t rows, size_t nt)                                  \
        {                                                                                                \
                gemm_block(&kern_block_##name, w, row_bytes, x, y, ldy, rows, nt);                       \
        }
KERN_BLOCKS(BLOCK_FUNCTIONS)
