/* Models in memory: loaded behind, held while used, dropped for one another within a budget. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "engine/engine.h"
#include "models/registry.h"

#define A "tests/vectors/q8-mha.gguf"
#define B "tests/vectors/q8-gqa-tied.gguf"
#define KV ((size_t)64 << 10)
#define LONG_MS 20000

static atomic_int loads, drops, failures;

static void on_state(void *ctx, const struct model *m, enum model_state state, int percent, const char *error)
{
        (void)ctx;
        (void)percent;
        assert_non_null(m->id);
        atomic_fetch_add(&loads, state == MODEL_READY);
        atomic_fetch_add(&drops, state == MODEL_UNLOADED);
        atomic_fetch_add(&failures, state == MODEL_FAILED && error && *error);
}

static struct registry *open_registry(uint64_t memory)
{
        struct registry_opts opts = {
                .memory = memory, .background = true, .at_once = 1, .on_state = on_state
        };
        struct registry *r = registry_new();
        assert_non_null(r);
        registry_configure(r, &opts);
        atomic_store(&loads, 0);
        atomic_store(&drops, 0);
        atomic_store(&failures, 0);
        return r;
}

static const struct model *add(struct registry *r, const char *id, const char *path)
{
        struct engine_opts opts = { .threads = 1, .kv_bytes = KV };
        char err[300];
        if (registry_add_file(r, id, path, &opts, err, sizeof(err)))
                fail_msg("%s", err);
        return registry_find(r, str_c(id));
}

static uint64_t size_of(const char *path)
{
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        return (uint64_t)st.st_size;
}

static void test_background(void **state)
{
        (void)state;
        struct registry *r = open_registry(0);
        const struct model *a = add(r, "a", A), *b = add(r, "b", B);
        assert_int_equal(model_hold(a, LONG_MS), 0);
        assert_int_equal(model_hold(b, LONG_MS), 0);
        assert_true(a->n_ctx > 0 && b->n_ctx > 0 && engine_model_info(a->engine)->n_vocab > 0);
        assert_true(registry_all_ready(r));
        assert_int_equal(model_state(a), MODEL_READY);
        model_release(a);
        model_release(b);
        registry_free(r);
        assert_int_equal(atomic_load(&loads), 2); /* all has been told by now */
}

/* What cannot be loaded is told apart from what is not there yet, and the rest is served. */
static void test_failed(void **state)
{
        (void)state;
        struct registry *r = open_registry(0);
        const struct model *bad = add(r, "bad", "tests/vectors/engine.json"), *a = add(r, "a", A);
        char err[300];
        assert_int_equal(model_hold(bad, LONG_MS), -EIO);
        model_error(bad, err, sizeof(err));
        assert_non_null(strstr(err, "GGUF"));
        assert_false(model_hold_ready(bad));
        assert_int_equal(model_hold(a, LONG_MS), 0);
        model_release(a);
        assert_false(registry_all_ready(r));
        registry_free(r);
        assert_int_equal(atomic_load(&failures), 1); /* all has been told by now */
}

/* Memory for one of two: each is loaded when it is asked for, and none is dropped that is held. */
static void test_budget(void **state)
{
        (void)state;
        uint64_t larger = size_of(A) > size_of(B) ? size_of(A) : size_of(B);
        struct registry *r = open_registry(larger + KV);
        const struct model *a = add(r, "a", A), *b = add(r, "b", B);
        assert_int_equal(model_hold(a, LONG_MS), 0);
        assert_int_equal(model_hold(b, 50), -EBUSY); /* a is in use */
        assert_int_equal(model_state(a), MODEL_READY);
        model_release(a);
        assert_int_equal(model_hold(b, LONG_MS), 0);
        assert_int_equal(model_state(a), MODEL_UNLOADED);
        assert_false(model_hold_ready(a));
        model_release(b);
        assert_int_equal(model_hold(a, LONG_MS), 0);
        model_release(a);
        registry_free(r);
        assert_true(atomic_load(&drops) >= 2); /* all has been told by now */
        char err[300];
        struct registry *small = open_registry(1000);
        assert_int_equal(registry_add_file(small, "a", A, NULL, err, sizeof(err)), -E2BIG);
        registry_free(small);
}

/* While one thread loads behind, the one that starts the server loads small files itself: no model is loaded
 * by both. */
static void test_two_loaders(void **state)
{
        (void)state;
        assert_true(size_of(B) < size_of(A));
        for (int round = 0; round < 10; round++) {
                struct registry *r = open_registry(0);
                struct registry_opts opts = { .background = true,
                                              .at_once = size_of(B),
                                              .on_state = on_state };
                registry_configure(r, &opts);
                add(r, "large", A);
                for (int i = 0; i < 8; i++) {
                        char id[16];
                        snprintf(id, sizeof(id), "small-%d", i);
                        assert_int_equal(model_state(add(r, id, B)), MODEL_READY);
                }
                assert_int_equal(model_hold(registry_find(r, str_c("large")), LONG_MS), 0);
                registry_free(r);
                assert_int_equal(atomic_load(&loads),
                                 1); /* by the thread behind: it took none of the others */
        }
}

/* What a model needs beyond its file is known only when it is there. */
static void test_true_size(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1 }; /* KV by default */
        struct engine_stats stats;
        char err[300];
        struct registry *r = open_registry(size_of(A) + KV);
        assert_int_equal(registry_add_file(r, "a", A, &opts, err, sizeof(err)), 0);
        const struct model *a = registry_find(r, str_c("a"));
        assert_int_equal(model_hold(a, LONG_MS), -EIO); /* it alone is over the limit */
        model_error(a, err, sizeof(err));
        assert_non_null(strstr(err, "MiB"));
        registry_free(r);

        r = open_registry(0);
        assert_int_equal(registry_add_file(r, "a", A, &opts, err, sizeof(err)), 0);
        a = registry_find(r, str_c("a"));
        assert_int_equal(model_hold(a, LONG_MS), 0);
        engine_model_stats(a->engine, &stats);
        registry_free(r);

        r = open_registry(size_of(A) + stats.kv_total + size_of(B)); /* the second's KV is too much */
        assert_int_equal(registry_add_file(r, "a", A, &opts, err, sizeof(err)), 0);
        a = registry_find(r, str_c("a"));
        assert_int_equal(model_hold(a, LONG_MS), 0);
        model_release(a);
        const struct model *b = add(r, "b", B);
        assert_int_equal(model_hold(b, LONG_MS), 0);
        for (int i = 0; i < 1000 && model_state(a) != MODEL_UNLOADED; i++)
                usleep(10000);
        assert_int_equal(model_state(a), MODEL_UNLOADED);
        assert_int_equal(model_state(b), MODEL_READY);
        registry_free(r);
}

static struct registry *shared;

static void *user(void *arg)
{
        const struct model *m = registry_find(shared, str_c(arg));
        for (int i = 0; i < 8; i++) {
                assert_int_equal(model_hold(m, LONG_MS), 0);
                struct engine_stats stats;
                engine_model_stats(m->engine, &stats);
                assert_true(stats.kv_total > 0);
                model_release(m);
        }
        return NULL;
}

static void test_many_users(void **state)
{
        (void)state;
        pthread_t threads[4];
        uint64_t larger = size_of(A) > size_of(B) ? size_of(A) : size_of(B);
        shared = open_registry(larger + KV);
        add(shared, "a", A);
        add(shared, "b", B);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, user, i % 2 ? "a" : "b"), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        registry_free(shared);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_background),  cmocka_unit_test(test_failed),
                cmocka_unit_test(test_budget),      cmocka_unit_test(test_many_users),
                cmocka_unit_test(test_two_loaders), cmocka_unit_test(test_true_size),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
