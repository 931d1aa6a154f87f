#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/gguf_write.h"
#include "engine/quantize_mix.h"
#include "kernels/kernels.h"

#define MODEL "models/cairn-tiny.gguf"

static char dir[64], out[128], err[512];

static int setup(void **state)
{
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/cairn-quantize-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        snprintf(out, sizeof(out), "%s/out.gguf", dir);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        unlink(out);
        return rmdir(dir);
}

static int quantize(const char *in, const char *type)
{
        struct engine_quantize_opts o = { .type = type, .threads = 2 };
        err[0] = 0;
        return engine_quantize(in, out, &o, err, sizeof(err));
}

static struct gguf *opened(const char *path)
{
        struct gguf *g = NULL;
        if (gguf_open(path, &g, err, sizeof(err)))
                fail_msg("%s: %s", path, err);
        return g;
}

static float *floats_of(const struct gguf_tensor *t, size_t *ret_n)
{
        *ret_n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        float *v = mem_alloc(*ret_n * sizeof(float));
        assert_non_null(v);
        t->type->dequant(t->data, v, *ret_n);
        return v;
}

/* Squared error of a tensor against the same of another file, as a share of its squares. */
static double loss(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
        size_t n, m;
        double error = 0, sum = 0;
        float *x = floats_of(a, &n), *y = floats_of(b, &m);
        assert_int_equal(n, m);
        for (size_t i = 0; i < n; i++) {
                error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
                sum += (double)x[i] * (double)x[i];
        }
        mem_free(x);
        mem_free(y);
        return sum > 0 ? error / sum : error;
}

static void same_metadata(const struct gguf *a, const struct gguf *b)
{
        struct gguf_entry x, y;
        size_t found = 0, n = 0;
        for (size_t i = 0; gguf_entry_at(a, i, &x); i++) {
                if (str_eqc(x.key, "general.file_type") || str_eqc(x.key, "general.quantization_version") ||
                    str_starts(x.key, "split."))
                        continue;
                n++;
                for (size_t j = 0; gguf_entry_at(b, j, &y); j++)
                        found += str_eq(x.key, y.key) && x.type == y.type && x.n == y.n &&
                                 x.bytes == y.bytes && !memcmp(x.data, y.data, x.bytes);
        }
        assert_true(n > 10);
        assert_int_equal(found, n);
}

static void test_every_type(void **state)
{
        (void)state;
        struct gguf *in = opened(MODEL);
        const char *name;
        for (size_t i = 0; (name = engine_quantize_type_at(i)); i++) {
                assert_int_equal(quantize(MODEL, name), 0);
                struct gguf *g = opened(out);
                same_metadata(in, g);
                assert_int_equal(gguf_tensor_count(g), gguf_tensor_count(in));
                for (size_t j = 0; j < gguf_tensor_count(g); j++) {
                        const struct gguf_tensor *a = gguf_tensor_at(in, j), *b = gguf_tensor_at(g, j);
                        assert_true(str_eq(a->name, b->name));
                        assert_true(loss(a, b) < (b->type->bytes * 8 < b->type->block * 4 ? 0.12 : 0.02));
                        if (b->n_dims < 2)
                                assert_ptr_equal(a->type, b->type);
                }
                gguf_close(g);
                json_t *doc;
                assert_int_equal(engine_inspect(out, &doc, err, sizeof(err)), 0);
                if (!json_flag(doc, "runnable", false))
                        fail_msg("%s: %s", name, json_cstr(doc, "reason", ""));
                json_decref(doc);
        }
        gguf_close(in);
}

static const char *type_in(const struct gguf *g, const char *tensor)
{
        const struct gguf_tensor *t = gguf_tensor_find(g, tensor);
        assert_non_null(t);
        return t->type->name;
}

/* Seven layers: of the first and the last eighth none and one, and every third between, get more bits. */
static void test_mixture(void **state)
{
        (void)state;
        static const char *const down[] = { "Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K" };
        assert_int_equal(quantize(MODEL, "q4_k_m"), 0);
        struct gguf *g = opened(out);
        for (int i = 0; i < 7; i++) {
                char name[64];
                snprintf(name, sizeof(name), "blk.%d.ffn_down.weight", i);
                assert_string_equal(type_in(g, name), down[i]);
        }
        /* rows of 192 are no whole blocks of 256 */
        assert_string_equal(type_in(g, "blk.0.attn_q.weight"), "Q5_0");
        assert_string_equal(type_in(g, "token_embd.weight"), "Q8_0");
        assert_string_equal(type_in(g, "blk.0.attn_norm.weight"), "F32");
        uint64_t file_type;
        assert_int_equal(gguf_get_u64(g, "general.file_type", &file_type), 0);
        assert_int_equal(file_type, 15);
        gguf_close(g);
}

static bool stop_half_way(void *ctx, const struct engine_quantize_state *st)
{
        (void)ctx;
        return st->done < st->total / 2;
}

static void test_refusals(void **state)
{
        (void)state;
        assert_int_equal(quantize(MODEL, "Q9_9"), -EINVAL);
        assert_non_null(strstr(err, "Q4_K_M"));
        assert_int_equal(quantize("README.md", "Q8_0"), -EINVAL);
        assert_int_equal(quantize("/nowhere.gguf", "Q8_0"), -ENOENT);
        struct engine_quantize_opts o = { .type = "F16", .progress = stop_half_way };
        unlink(out);
        assert_int_equal(engine_quantize(MODEL, out, &o, err, sizeof(err)), -ECANCELED);
        assert_int_not_equal(access(out, F_OK), 0);
        assert_int_equal(engine_quantize(MODEL, "/nowhere/out.gguf", &o, err, sizeof(err)), -ENOENT);
}

/* A value that no type holds is named, and nothing is left behind. */
static void test_not_finite(void **state)
{
        (void)state;
        char in[128];
        float row[32] = { [9] = NAN };
        uint64_t dims[] = { 32, 1 };
        struct gguf_writer *w;
        snprintf(in, sizeof(in), "%s/in.gguf", dir);
        assert_int_equal(gguf_writer_open(in, &w, err, sizeof(err)), 0);
        gguf_add_tensor(w, "a.weight", GGUF_WF32, 2, dims);
        gguf_write_raw(w, row, sizeof(row));
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), 0);
        unlink(out);
        assert_int_equal(quantize(in, "Q8_0"), -EINVAL);
        assert_non_null(strstr(err, "a.weight"));
        assert_int_not_equal(access(out, F_OK), 0);
        unlink(in);
}

/* ---- split files -------------------------------------------------------------------------------- */

#define PARTS 3

static void part_name(char *ret, size_t n, int no, int count)
{
        snprintf(ret, n, "%s/m-%05d-of-%05d.gguf", dir, no + 1, count);
}

static void write_part(const struct gguf *g, int no, int claimed_no, int count)
{
        char path[128];
        struct gguf_writer *w;
        struct gguf_entry e;
        size_t n = gguf_tensor_count(g), from = n * (size_t)no / PARTS, to = n * (size_t)(no + 1) / PARTS;
        part_name(path, sizeof(path), no, PARTS);
        assert_int_equal(gguf_writer_open(path, &w, err, sizeof(err)), 0);
        for (size_t i = 0; no == 0 && gguf_entry_at(g, i, &e); i++)
                gguf_put_entry(w, &e);
        gguf_put_u32(w, "split.no", (uint32_t)claimed_no);
        gguf_put_u32(w, "split.count", (uint32_t)count);
        gguf_put_u32(w, "split.tensors.count", (uint32_t)n);
        for (size_t i = from; i < to; i++) {
                const struct gguf_tensor *t = gguf_tensor_at(g, i);
                char name[128];
                snprintf(name, sizeof(name), "%.*s", (int)t->name.n, t->name.p);
                gguf_add_tensor(w, name, t->type->id, t->n_dims, t->ne);
        }
        for (size_t i = from; i < to; i++)
                gguf_write_raw(w, gguf_tensor_at(g, i)->data, gguf_tensor_at(g, i)->bytes);
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), 0);
}

static void test_split(void **state)
{
        (void)state;
        char first[128], second[128];
        struct gguf *whole = opened(MODEL), *g = NULL;
        part_name(first, sizeof(first), 0, PARTS);
        part_name(second, sizeof(second), 1, PARTS);
        for (int i = 0; i < PARTS; i++)
                write_part(whole, i, i, PARTS);
        g = opened(first);
        assert_int_equal(gguf_part_count(g), PARTS);
        assert_int_equal(gguf_tensor_count(g), gguf_tensor_count(whole));
        for (size_t i = 0; i < gguf_tensor_count(whole); i++) {
                const struct gguf_tensor *a = gguf_tensor_at(whole, i);
                const struct gguf_tensor *b = gguf_tensor_at(g, i);
                char name[128];
                snprintf(name, sizeof(name), "%.*s", (int)a->name.n, a->name.p);
                assert_ptr_equal(gguf_tensor_find(g, name), b);
                assert_true(str_eq(a->name, b->name) && a->bytes == b->bytes);
                assert_memory_equal(a->data, b->data, a->bytes);
        }
        gguf_close(g);
        struct engine_model *m;
        assert_int_equal(engine_model_open(first, NULL, &m, err, sizeof(err)), 0);
        engine_model_close(m);
        assert_int_equal(quantize(first, "F16"), 0); /* one file again */
        g = opened(out);
        assert_int_equal(gguf_part_count(g), 1);
        same_metadata(whole, g);
        gguf_close(g);

        assert_int_equal(gguf_open(second, &g, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "part 2 of 3"));
        write_part(whole, 1, 2, PARTS); /* two third parts */
        assert_int_equal(gguf_open(first, &g, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "is not part 2 of 3"));
        write_part(whole, 1, 1, PARTS + 1);
        assert_int_equal(gguf_open(first, &g, err, sizeof(err)), -EINVAL);
        unlink(second);
        assert_int_equal(gguf_open(first, &g, err, sizeof(err)), -ENOENT);
        assert_non_null(strstr(err, "part 2 of 3"));
        for (int i = 0; i < PARTS; i++) {
                part_name(second, sizeof(second), i, PARTS);
                unlink(second);
        }
        gguf_close(whole);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_type), cmocka_unit_test(test_mixture),
                cmocka_unit_test(test_refusals),   cmocka_unit_test(test_not_finite),
                cmocka_unit_test(test_split),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
