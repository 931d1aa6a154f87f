/* The registry and the turn, over a small random-weight model of tests/vectors. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "models/testing.h"
#include "models/turn.h"

static void test_names(void **state)
{
        char err[256];
        (void)state;
        assert_int_equal(registry_alias(testing.registry, "gpt-x", "tiny", err, sizeof(err)), 0);
        assert_ptr_equal(registry_find(testing.registry, STR("gpt-x")), testing.model);
        assert_null(registry_find(testing.registry, STR("gpt-")));
        assert_int_equal(registry_alias(testing.registry, "tiny", "gpt-x", err, sizeof(err)), -EEXIST);
        assert_int_equal(registry_alias(testing.registry, "other", "nobody", err, sizeof(err)), -ENOENT);
        assert_int_equal(registry_add_file(testing.registry, "tiny", TESTING_MODEL, NULL, err, sizeof(err)),
                         -EEXIST);
        assert_int_equal(registry_add_file(testing.registry, "x", "no/such.gguf", NULL, err, sizeof(err)),
                         -ENOENT);
        assert_non_null(strstr(err, "no/such.gguf"));
        const struct model *m;
        const char *name;
        size_t it = 0, n = 0;
        while (registry_next(testing.registry, &it, &name, &m))
                assert_string_equal(name, n++ ? "gpt-x" : "tiny");
        assert_int_equal(n, 2);
}

struct heard {
        atomic_int texts, refused, done;
        atomic_bool refuse; /* the next text, once */
        enum engine_finish finish;
        struct engine_usage usage;
        const char *error;
};

static bool listen(void *ctx, const struct turn_event *ev)
{
        struct heard *h = ctx;
        if (ev->kind == TURN_TEXT && atomic_exchange(&h->refuse, false)) {
                atomic_fetch_add(&h->refused, 1);
                return false;
        }
        if (ev->kind == TURN_TEXT)
                atomic_fetch_add(&h->texts, 1);
        if (ev->kind == TURN_DONE) {
                h->finish = ev->finish;
                h->usage = ev->usage;
                h->error = ev->error;
                atomic_store(&h->done, 1);
        }
        return true;
}

static json_t *hello;

static json_t *message(const char *role, struct str content)
{
        return json_pack("[{s:s, s:o}]", "role", role, "content", json_strn(content));
}

static struct turn_req request(int max_tokens)
{
        struct turn_req t = { .model = testing.model,
                              .messages = hello,
                              .sampling = ENGINE_SAMPLING_DEFAULT,
                              .max_tokens = max_tokens,
                              .logprobs = -1 };
        t.sampling.bias = testing.no_end;
        t.sampling.n_bias = testing.n_no_end;
        return t;
}

static struct turn *start(const struct turn_req *req, struct heard *h)
{
        struct turn *t;
        struct turn_sink sink = { listen, h };
        assert_int_equal(turn_start(req, &sink, &t, NULL), 0);
        return t;
}

static void test_turn_ends_at_its_limit(void **state)
{
        (void)state;
        struct heard h = { 0 };
        struct turn_req req = request(5);
        struct turn *t = start(&req, &h);
        testing_wait(&h.done);
        assert_int_equal(h.finish, ENGINE_LENGTH);
        assert_int_equal(h.usage.completion_tokens, 5);
        assert_int_equal(h.usage.prompt_tokens, turn_count(&req, NULL));
        turn_unref(t);
}

static void test_turn_pauses_while_its_sink_is_full(void **state)
{
        (void)state;
        struct heard h = { 0 };
        struct turn_req req = request(5);
        atomic_store(&h.refuse, true);
        struct turn *t = start(&req, &h);
        testing_wait(&h.refused);
        usleep(20000);
        assert_int_equal(atomic_load(&h.texts), 0);
        assert_int_equal(atomic_load(&h.done), 0);
        turn_resume(t);
        testing_wait(&h.done);
        assert_int_equal(h.usage.completion_tokens, 5);
        turn_unref(t);
}

static void test_turn_is_cancelled(void **state)
{
        (void)state;
        struct heard h = { 0 };
        struct turn_req req = request(-1);
        atomic_store(&h.refuse, true);
        struct turn *t = start(&req, &h);
        testing_wait(&h.refused);
        turn_cancel(t);
        testing_wait(&h.done);
        assert_int_equal(h.finish, ENGINE_CANCELLED);
        turn_unref(t);
}

/* So much that the template does not get through with it: nobody counts the tokens, but they are too many. */
static void test_prompt_that_no_template_takes(void **state)
{
        (void)state;
        enum { BYTES = 24 << 20 };
        char *text = mem_alloc(BYTES);
        memset(text, 'z', BYTES);
        struct turn_req req = request(1);
        struct turn_err err;
        json_t *endless = message("user", (struct str){ text, BYTES });
        req.messages = endless;
        assert_int_equal(turn_count(&req, &err), -E2BIG);
        assert_int_equal(err.field, TURN_ERR_OTHER);
        assert_int_equal(err.prompt_tokens, 0);
        assert_string_equal(err.msg, "");
        json_decref(endless);
        mem_free(text);
}

static void test_prompt_that_does_not_fit(void **state)
{
        (void)state;
        static char text[200000];
        memset(text, 'z', sizeof(text) - 1);
        struct turn_req req = request(1);
        struct heard h = { 0 };
        struct turn_sink sink = { listen, &h };
        struct turn *t;
        struct turn_err err;
        json_t *long_one = message("user", (struct str){ text, sizeof(text) - 1 });
        req.messages = long_one;
        assert_int_equal(turn_start(&req, &sink, &t, &err), -E2BIG);
        assert_true(err.prompt_tokens >= (size_t)testing.model->n_ctx);
        json_t *odd = message("wizard", STR("x"));
        req.messages = odd;
        assert_int_equal(turn_start(&req, &sink, &t, &err), -EINVAL);
        assert_int_equal(err.field, TURN_ERR_MESSAGES);
        assert_int_equal(atomic_load(&h.done), 0);
        json_decref(long_one);
        json_decref(odd);
}

#ifdef CAIRN_FAULTS
static void test_injected_failure(void **state)
{
        (void)state;
        struct heard h = { 0 };
        struct turn_req req = request(50);
        req.fail_after = 2;
        struct turn *t = start(&req, &h);
        testing_wait(&h.done);
        assert_int_equal(h.finish, ENGINE_ERROR);
        assert_non_null(h.error);
        assert_int_equal(atomic_load(&h.texts), 2);
        turn_unref(t);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_turn_ends_at_its_limit),
                cmocka_unit_test(test_turn_pauses_while_its_sink_is_full),
                cmocka_unit_test(test_turn_is_cancelled),
                cmocka_unit_test(test_prompt_that_does_not_fit),
                cmocka_unit_test(test_prompt_that_no_template_takes),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_injected_failure),
#endif
        };
        json_setup();
        hello = message("user", STR("hello there"));
        int failed = cmocka_run_group_tests(tests, testing_open, testing_close);
        json_decref(hello);
        return failed;
}
