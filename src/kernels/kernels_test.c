/* Every op of every variant this CPU has, against the scalar reference, on ragged sizes and with an
 * unreadable page right behind each buffer. And that results do not depend on the size of the call. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/rand.h"
#include "kernels/block.h"
#include "kernels/kernels.h"

#define MAX_BUFS 64

static struct {
        void *map;
        size_t size;
} bufs[MAX_BUFS];
static int n_bufs;
static struct rng rng;

/* n bytes that end where a page without access begins. */
static void *guarded(size_t n)
{
        size_t body = (n + 4095) / 4096 * 4096;
        char *p = mmap(NULL, body + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(p != MAP_FAILED && n_bufs < MAX_BUFS);
        assert_int_equal(mprotect(p + body, 4096, PROT_NONE), 0);
        bufs[n_bufs].map = p;
        bufs[n_bufs++].size = body + 4096;
        return p + body - n;
}

static void drop_bufs(void)
{
        while (n_bufs)
                n_bufs--, munmap(bufs[n_bufs].map, bufs[n_bufs].size);
}

static float *floats(size_t n, float scale)
{
        float *p = guarded(n * sizeof(*p));
        for (size_t i = 0; i < n; i++)
                p[i] = (float)rng_normal(&rng) * scale;
        return p;
}

static float *copy_of(const float *src, size_t n)
{
        float *p = guarded(n * sizeof(*p));
        memcpy(p, src, n * sizeof(*p));
        return p;
}

static uint16_t *halves(size_t n)
{
        uint16_t *p = guarded(n * sizeof(*p));
        for (size_t i = 0; i < n; i++)
                p[i] = kern_f32_to_f16((float)rng_normal(&rng));
        return p;
}

/* |a - b| within rel of the larger magnitude in the whole vector (sums cancel). */
static void assert_near(const float *a, const float *b, size_t n, float rel)
{
        float top = 1e-20f;
        for (size_t i = 0; i < n; i++)
                top = fmaxf(top, fabsf(b[i]));
        for (size_t i = 0; i < n; i++)
                if (!(fabsf(a[i] - b[i]) <= rel * top))
                        fail_msg("at %zu of %zu: %g, expected %g", i, n, (double)a[i], (double)b[i]);
}

static void each_variant(void (*check)(const struct kern *k, size_t n))
{
        for (int isa = 0; isa < KERN_ISAS; isa++) {
                const struct kern *k = kern_variant((enum kern_isa)isa);
                for (size_t n = 1; k && n <= 67; n++) {
                        check(k, n);
                        drop_bufs();
                }
        }
}

static void check_rmsnorm(const struct kern *k, size_t n)
{
        float *x = floats(n, 3), *w = floats(n, 1), *a = floats(n, 1), *b = floats(n, 1);
        k->rmsnorm(a, x, w, n, 1e-5f);
        kern_variant(KERN_REF)->rmsnorm(b, x, w, n, 1e-5f);
        assert_near(a, b, n, 1e-6f);
}

static void check_layernorm(const struct kern *k, size_t n)
{
        float *x = floats(n, 3), *w = floats(n, 1), *c = floats(n, 1), *a = floats(n, 1), *b = floats(n, 1);
        for (int bias = 0; bias < 2; bias++) {
                for (size_t i = 0; i < n; i++)
                        x[i] += 5;
                k->layernorm(a, x, w, bias ? c : NULL, n, 1e-5f);
                kern_variant(KERN_REF)->layernorm(b, x, w, bias ? c : NULL, n, 1e-5f);
                assert_near(a, b, n, 1e-5f);
        }
}

/* Moderate values, then some for which the exponential overflows or vanishes. */
static void check_activations(const struct kern *k, size_t n)
{
        const struct kern *ref = kern_variant(KERN_REF);
        for (int extreme = 0; extreme < 2; extreme++) {
                float *x = floats(n, 4), *u = floats(n, 3);
                for (size_t i = 0; extreme && i < n; i++)
                        x[i] = (i % 2 ? -1.0f : 1.0f) * (float)(i * i * i);
                float *a = copy_of(x, n), *b = copy_of(x, n);
                k->gelu_mul(a, u, n);
                ref->gelu_mul(b, u, n);
                assert_near(a, b, n, 1e-6f);
                a = copy_of(x, n), b = copy_of(x, n);
                k->swiglu_clamped(a, u, n, 2.5f);
                ref->swiglu_clamped(b, u, n, 2.5f);
                assert_near(a, b, n, 1e-6f);
                a = copy_of(x, n), b = copy_of(x, n);
                k->gelu(a, n);
                ref->gelu(b, n);
                for (size_t i = 0; i < n; i++)
                        assert_true(fabsf(a[i] - b[i]) <= 4e-7f * fmaxf(1, fabsf(x[i])));
                a = copy_of(x, n), b = copy_of(x, n);
                k->softcap(a, n, 15.0f);
                ref->softcap(b, n, 15.0f);
                for (size_t i = 0; i < n; i++)
                        assert_true(fabsf(a[i] - b[i]) <= 5e-6f && fabsf(a[i]) <= 15);
                drop_bufs();
        }
}

static void check_elementwise(const struct kern *k, size_t n)
{
        const struct kern *ref = kern_variant(KERN_REF);
        float *x = floats(n, 5), *a = floats(n, 5), *b = copy_of(a, n);
        k->add(a, x, n);
        ref->add(b, x, n);
        assert_memory_equal(a, b, n * sizeof(*a));
        k->silu_mul(a, x, n);
        ref->silu_mul(b, x, n);
        assert_near(a, b, n, 1e-6f);
        float *g = floats(n, 1), *h = floats(n, 1);
        for (size_t i = 0; i < n; i++)
                g[i] = h[i] = (i % 2 ? -1.0f : 1.0f) * (float)(i * i * i);
        k->silu_mul(g, x, n);
        ref->silu_mul(h, x, n);
        assert_near(g, h, n, 1e-6f);
}

static void check_softmax(const struct kern *k, size_t n)
{
        float *a = floats(n, 10), *b;
        for (size_t i = 1; i < n; i += 5)
                a[i] = -INFINITY;
        b = copy_of(a, n);
        k->softmax(a, n);
        kern_variant(KERN_REF)->softmax(b, n);
        assert_near(a, b, n, 2e-6f);
        for (size_t i = 1; i < n; i += 5)
                assert_true(a[i] == 0);
}

static void check_rope(const struct kern *k, size_t n)
{
        size_t hd = n + n % 2, rot = n % 3 ? hd : hd / 4 * 2;
        float *a = floats(3 * hd, 1), *b = copy_of(a, 3 * hd), *c = floats(hd / 2, 1), *s = floats(hd / 2, 1);
        k->rope(a, 3, hd, c, s, rot);
        kern_variant(KERN_REF)->rope(b, 3, hd, c, s, rot);
        assert_near(a, b, 3 * hd, 1e-6f);
        k->rope_neox(a, 3, hd, c, s, rot);
        kern_variant(KERN_REF)->rope_neox(b, 3, hd, c, s, rot);
        assert_near(a, b, 3 * hd, 2e-6f);
}

static void check_to_f16(const struct kern *k, size_t n)
{
        static const float odd[] = {
                0,     -0.0f, 65504,    65519.9f, 65520,   1e9f,           -1e9f,
                1e-8f, 3e-8f, 5.96e-8f, 6.1e-5f,  6.0e-5f, 1.00048828125f, 1.00146484375f
        };
        float *x = floats(n, 100);
        for (size_t i = 0; i < n && n % 2; i++)
                x[i] = odd[i % (sizeof(odd) / sizeof(odd[0]))];
        uint16_t *a = guarded(n * 2), *b = guarded(n * 2);
        k->to_f16(a, x, n);
        kern_variant(KERN_REF)->to_f16(b, x, n);
        assert_memory_equal(a, b, n * 2);
}

static void check_attention(const struct kern *k, size_t hd)
{
        const struct kern *ref = kern_variant(KERN_REF);
        size_t nq = hd % 9 + 1, nk = hd % KERN_KV_BLOCK + 1, B = KERN_KV_BLOCK;
        float *q = floats(nq * hd, 1), *sa = floats(nq * B, 1), *sb = floats(nq * B, 1);
        uint16_t *key = halves(hd * B), *val = halves(nk * hd);
        k->attn_qk(q, hd, nq, key, hd, 0.3f, sa, B);
        ref->attn_qk(q, hd, nq, key, hd, 0.3f, sb, B);
        assert_near(sa, sb, nq * B, 1e-5f);
        float *oa = floats(nq * hd, 1), *ob = copy_of(oa, nq * hd), *oc = copy_of(oa, nq * hd);
        k->attn_pv(sb, B, nq, val, nk, hd, oa, hd);
        ref->attn_pv(sb, B, nq, val, nk, hd, ob, hd);
        assert_near(oa, ob, nq * hd, 1e-5f);
        for (size_t i = 0; i < nq; i++) { /* one query alone: the very same bits */
                float *one = floats(B, 1);
                k->attn_qk(q + i * hd, hd, 1, key, hd, 0.3f, one, B);
                assert_memory_equal(one, sa + i * B, B * sizeof(*one));
                k->attn_pv(sb + i * B, B, 1, val, nk, hd, oc + i * hd, hd);
        }
        assert_memory_equal(oa, oc, nq * hd * sizeof(*oa));
}

/* A number of the size of weights, as the side numbers of a block are written. */
static void put_side(uint8_t *at, const struct kern_type *type, int bytes)
{
        uint16_t h = kern_f32_to_f16((float)rng_normal(&rng));
        if (bytes == 2)
                memcpy(at, &h, 2);
        else if (type->id == 39) /* an exponent */
                *at = (uint8_t)(120 + rng_below(&rng, 12));
}

/* Random weights of a type: any bits that are ordinary numbers. */
static void *weights(const struct kern_type *type, size_t rows, size_t n)
{
        size_t bytes = kern_type_size(type, n) * rows;
        uint8_t *w = guarded(bytes);
        for (size_t i = 0; i < bytes; i++)
                w[i] = (uint8_t)rng_next(&rng);
        for (size_t b = 0; b < bytes / type->bytes; b++) {
                uint8_t *block = w + b * type->bytes;
                float v = (float)rng_normal(&rng);
                uint32_t bits;
                memcpy(&bits, &v, 4);
                uint16_t h = type->id == 30 ? (uint16_t)(bits >> 16) : kern_f32_to_f16(v);
                for (int s = 0; type->format && s < 2; s++)
                        for (int i = 0; i < type->format->side[s].count; i++)
                                put_side(block + type->format->side[s].at + i * type->format->side[s].bytes,
                                         type, type->format->side[s].bytes);
                if (!type->format)
                        memcpy(block, type->id ? (void *)&h : (void *)&v, type->bytes);
        }
        return w;
}

static struct kern_act activations(const struct kern *k, const float *x, size_t n, size_t nt)
{
        struct kern_act act = { .f = x, .ldf = n, .n = n };
        if (n % 32)
                return act;
        uint8_t *q = guarded(kern_q8_bytes(n) * nt);
        float *d = guarded(kern_q8_scales(n) * nt * sizeof(*d));
        act.ldq = kern_q8_bytes(n), act.ldd = kern_q8_scales(n);
        for (size_t t = 0; t < nt; t++)
                k->quant_q8(x + t * n, n, q + t * act.ldq, d + t * act.ldd);
        act.q = q, act.d = d;
        return act;
}

/* The matrix as the variant reads it; packed in two parts. */
static void *packed(const struct kern *k, const struct kern_type *type, void *w, size_t rows, size_t n)
{
        size_t panel = type->panel[k->isa], cut = rows / panel / 2 * panel;
        if (panel == 1)
                return w;
        void *p = guarded(kern_packed_bytes(type, k->isa, n, rows));
        kern_pack(type, k->isa, w, n, cut, rows, p);
        kern_pack(type, k->isa, w, n, 0, cut, p);
        return p;
}

static void check_gemm_type(const struct kern *k, const struct kern_type *type, size_t size)
{
        size_t blocks = type->block == 256 ? size % 9 + 1 : size;
        size_t n = blocks * type->block, rows = size % 43 + 1, nt = size % 21 + 1,
               rb = kern_type_size(type, n);
        size_t panel = type->panel[k->isa];
        float *x = floats(n * nt, 2), *a = floats(rows * nt, 1), *b = floats(rows * nt, 1);
        void *w = weights(type, rows, n), *p = packed(k, type, w, rows, n);
        struct kern_act act = activations(k, x, n, nt);
        struct kern_act ract = activations(kern_variant(KERN_REF), x, n, nt);
        type->gemm[k->isa](p, rb, &act, a, rows, rows, nt);
        type->gemm[KERN_REF](w, rb, &ract, b, rows, rows, nt);
        assert_near(a, b, rows * nt, 1e-5f);
        for (size_t t = 0; t < nt; t++) { /* one token and one panel at a time: the very same bits */
                struct kern_act one = act;
                one.f += t * act.ldf;
                if (act.q)
                        one.q += t * act.ldq, one.d += t * act.ldd;
                for (size_t r = 0; r < rows; r += panel)
                        type->gemm[k->isa]((char *)p + r * rb, rb, &one, b + t * rows + r, rows,
                                           rows - r < panel ? rows - r : panel, 1);
        }
        assert_memory_equal(a, b, rows * nt * sizeof(*a));
        drop_bufs();
}

static void check_gemm(const struct kern *k, size_t size)
{
        const struct kern_type *type;
        for (size_t i = 0; (type = kern_type_at(i)); i++)
                check_gemm_type(k, type, size);
}

/* The product with 8-bit activations stays close to the exact one of the dequantised weights. */
static void check_accuracy(const struct kern *k, size_t size)
{
        const struct kern_type *f32 = kern_type_by_id(0), *type;
        for (size_t i = 0; (type = kern_type_at(i)); i++) {
                if (!type->act_q8 || (type->block == 256 && size > 9))
                        continue;
                size_t n = size * type->block;
                float *x = floats(n, 1), *deq = floats(n, 1), a, b;
                void *w = weights(type, 1, n), *p = packed(k, type, w, 1, n);
                struct kern_act act = activations(k, x, n, 1);
                type->dequant(w, deq, n);
                type->gemm[k->isa](p, kern_type_size(type, n), &act, &a, 1, 1, 1);
                f32->gemm[KERN_REF](deq, n * 4, &act, &b, 1, 1, 1);
                double norm = 0;
                for (size_t j = 0; j < n; j++)
                        norm += (double)deq[j] * deq[j];
                assert_true(fabs(a - b) < 0.05 * sqrt(norm));
                drop_bufs();
        }
}

/* Prefill over rows longer than a chunk and more tokens than a block of them, against single tokens. */
static void test_long_rows(void **state)
{
        (void)state;
        static const uint32_t ids[] = { 2, 8, 12, 14 };
        const size_t n = 1024 + 768, rows = 21, nt = 400;
        for (int isa = 1; isa < KERN_ISAS; isa++) {
                const struct kern *k = kern_variant((enum kern_isa)isa);
                for (size_t i = 0; k && i < sizeof(ids) / sizeof(ids[0]); i++) {
                        const struct kern_type *type = kern_type_by_id(ids[i]);
                        size_t rb = kern_type_size(type, n);
                        float *x = floats(n * nt, 2), *a = floats(rows * nt, 1), *b = floats(rows, 1);
                        void *p = packed(k, type, weights(type, rows, n), rows, n);
                        struct kern_act act = activations(k, x, n, nt);
                        type->gemm[isa](p, rb, &act, a, rows, rows, nt);
                        for (size_t t = 0; t < nt; t++) {
                                struct kern_act one = {
                                        NULL, 0, act.q + t * act.ldq, act.ldq, act.d + t * act.ldd, act.ldd, n
                                };
                                type->gemm[isa](p, rb, &one, b, rows, rows, 1);
                                assert_memory_equal(a + t * rows, b, rows * sizeof(*b));
                        }
                        drop_bufs();
                }
        }
}

#define EACH(name)                            \
        static void test_##name(void **state) \
        {                                     \
                (void)state;                  \
                each_variant(check_##name);   \
        }
EACH(rmsnorm)
EACH(layernorm)
EACH(activations)
EACH(elementwise)
EACH(softmax)
EACH(rope)
EACH(to_f16)
EACH(attention)
EACH(gemm)
EACH(accuracy)

/* Reads hex digits up to a blank or the end of the line into out; returns how many bytes. */
static size_t read_hex(FILE *f, uint8_t *out, size_t max)
{
        unsigned byte;
        size_t n = 0;
        for (; n < max && fscanf(f, "%2x", &byte) == 1; n++) {
                out[n] = (uint8_t)byte;
                int c = fgetc(f);
                if (c == ' ' || c == '\n' || c == EOF)
                        return n + 1;
                ungetc(c, f);
        }
        return n;
}

/* Single rows of every format, as the reference implementation of the file format reads them. */
static void test_dequant_vectors(void **state)
{
        (void)state;
        static uint8_t raw[1024];
        static float want[1024], got[1024];
        char name[16];
        int types = 0;
        FILE *f = fopen("tests/vectors/blocks.txt", "re");
        assert_non_null(f);
        for (; fscanf(f, "%15s ", name) == 1; types++) {
                const struct kern_type *type = NULL;
                for (size_t i = 0; (type = kern_type_at(i)) && strcmp(type->name, name); i++)
                        ;
                assert_non_null(type);
                size_t bytes = read_hex(f, raw, sizeof(raw)), n = bytes / type->bytes * type->block;
                assert_int_equal(bytes % type->bytes, 0);
                assert_int_equal(read_hex(f, (uint8_t *)want, sizeof(want)), n * sizeof(float));
                type->dequant(raw, got, n);
                for (size_t i = 0; i < n; i++)
                        if (!(fabsf(got[i] - want[i]) <= 1e-6f * fabsf(want[i])))
                                fail_msg("%s: value %zu is %g, expected %g", name, i, (double)got[i],
                                         (double)want[i]);
        }
        fclose(f);
        assert_int_equal(types, 13);
}

static void test_f16_round_trip(void **state)
{
        (void)state;
        for (uint32_t h = 0; h < 65536; h++) {
                float f = kern_f16_to_f32((uint16_t)h);
                if (f == f)
                        assert_int_equal(kern_f32_to_f16(f), h);
                else
                        assert_true((h & 0x7c00) == 0x7c00 && h & 0x3ff);
        }
}

static void test_select(void **state)
{
        (void)state;
        char err[100] = "";
        setenv("CAIRN_KERN", "ref", 1);
        assert_ptr_equal(kern_select(err, sizeof(err)), kern_variant(KERN_REF));
        setenv("CAIRN_KERN", "sse9", 1);
        assert_null(kern_select(err, sizeof(err)));
        assert_non_null(strstr(err, "sse9"));
        unsetenv("CAIRN_KERN");
        assert_non_null(kern_select(err, sizeof(err)));
        assert_null(kern_variant(KERN_ISAS));
        assert_null(kern_type_by_id(77));
}

int main(void)
{
        rng_seed(&rng, 1);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rmsnorm),        cmocka_unit_test(test_elementwise),
                cmocka_unit_test(test_layernorm),      cmocka_unit_test(test_activations),
                cmocka_unit_test(test_softmax),        cmocka_unit_test(test_rope),
                cmocka_unit_test(test_to_f16),         cmocka_unit_test(test_attention),
                cmocka_unit_test(test_gemm),           cmocka_unit_test(test_accuracy),
                cmocka_unit_test(test_long_rows),      cmocka_unit_test(test_dequant_vectors),
                cmocka_unit_test(test_f16_round_trip), cmocka_unit_test(test_select),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
