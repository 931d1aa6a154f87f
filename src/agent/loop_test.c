/* The turn loop over a small random-weight model of tests/vectors: order of events, pauses, truncation. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "agent/loop.h"
#include "base/mem.h"
#include "models/testing.h"

struct heard {
        char order[64]; /* one letter an event, repeated deltas once */
        struct buf text;
        atomic_int hold, held, done;
};

static bool listen(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct heard *h = ctx;
        static const char letters[] = "bted";
        size_t n = strlen(h->order);
        (void)run;
        if (ev->kind != AGENT_DELTA || !n || h->order[n - 1] != 't')
                h->order[n] = letters[ev->kind];
        buf_add(&h->text, ev->text.p, ev->text.n);
        if (ev->kind == AGENT_DONE)
                atomic_store(&h->done, 1);
        if (ev->kind == AGENT_DELTA && atomic_exchange(&h->hold, 0)) {
                atomic_store(&h->held, 1);
                return false;
        }
        return true;
}

static struct agent_req request(const json_t *messages, int max_tokens)
{
        struct agent_req req = { .turn = { .model = testing.model,
                                           .messages = messages,
                                           .sampling = ENGINE_SAMPLING_DEFAULT,
                                           .max_tokens = max_tokens,
                                           .logprobs = 1 } };
        req.turn.sampling.temperature = 0; /* the same in every run */
        req.turn.sampling.bias = testing.no_end;
        req.turn.sampling.n_bias = testing.n_no_end;
        return req;
}

static json_t *message(const char *role, struct str content)
{
        return json_pack("{s:s, s:o}", "role", role, "content", json_strn(content));
}

static json_t *hello;

static void test_events_and_result_agree(void **state)
{
        (void)state;
        struct heard h = { .text = { ._max = 1 << 20 } };
        struct agent_sink sink = { listen, &h };
        struct agent_req req = request(hello, 12);
        struct agent_run *run;
        struct turn_err err;
        atomic_store(&h.hold, 1);
        assert_int_equal(agent_start(&req, &sink, &run, &err), 0);
        testing_wait(&h.held);
        usleep(20000);
        assert_int_equal(atomic_load(&h.done), 0);
        agent_resume(run);
        testing_wait(&h.done);
        assert_string_equal(h.order, "bted");
        assert_int_equal(agent_items(run), 1);
        const struct agent_item *item = agent_item(run, 0);
        assert_int_equal(item->kind, AGENT_MESSAGE);
        assert_false(item->whole);
        assert_true(str_starts(str_c(item->id), "msg_"));
        assert_true(str_eq(buf_str(&h.text), buf_str(&item->text)));
        json_t *said = agent_said(run, AGENT_MESSAGE);
        assert_true(str_eq(buf_str(&h.text), json_as_str(said)));
        json_decref(said);
        assert_null(agent_said(run, AGENT_REASONING));
        assert_int_equal(agent_outcome(run)->finish, ENGINE_LENGTH);
        assert_int_equal(agent_outcome(run)->usage.completion_tokens, 12);
        assert_int_equal(json_array_size(item->logprobs), 12);
        const json_t *first = json_array_get(item->logprobs, 0);
        assert_true(json_num(first, "logprob", 1) <= 0);
        assert_int_equal(json_array_size(json_object_get(first, "top_logprobs")), 1);
        agent_unref(run);
        buf_release(&h.text);
}

struct eager {
        atomic_int started, done;
};

/* Room comes back before the sink has said that there was none, as it does when a client reads just then. */
static bool resume_then_refuse(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct eager *e = ctx;
        testing_wait(&e->started);
        agent_resume(run);
        if (ev->kind == AGENT_DONE)
                atomic_store(&e->done, 1);
        return false;
}

static void test_early_resume_is_not_lost(void **state)
{
        (void)state;
        struct eager e = { 0 };
        struct agent_sink sink = { resume_then_refuse, &e };
        struct agent_req req = request(hello, 12);
        struct agent_run *run;
        struct turn_err err;
        assert_int_equal(agent_start(&req, &sink, &run, &err), 0);
        atomic_store(&e.started, 1);
        testing_wait(&e.done);
        assert_int_equal(agent_outcome(run)->usage.completion_tokens, 12);
        agent_unref(run);
}

static void test_truncation_drops_the_oldest(void **state)
{
        (void)state;
        enum { N = 60 };
        json_t *many = json_pack("[o]", message("system", STR("be brief")));
        for (int i = 1; i <= N; i++)
                json_array_append_new(many, message("user", STR("qqqqqqqqqqqqqqqqqqq")));
        struct heard h = { .text = { ._max = 1 << 20 } };
        struct agent_sink sink = { listen, &h };
        struct agent_req req = request(many, 1);
        struct agent_run *run;
        struct turn_err err;
        assert_int_equal(agent_start(&req, &sink, &run, &err), -E2BIG);
        assert_null(run);
        assert_true(err.prompt_tokens >= (size_t)testing.model->n_ctx);
        req.truncate = true;
        assert_int_equal(agent_start(&req, &sink, &run, &err), 0);
        testing_wait(&h.done);
        assert_true(err.prompt_tokens < (size_t)testing.model->n_ctx &&
                    err.prompt_tokens > (size_t)testing.model->n_ctx / 4);
        agent_unref(run);
        json_decref(many);
        struct str big = { mem_calloc(1, 400000), 399999 };
        memset((char *)big.p, 'w', big.n);
        many = json_pack("[o]",
                         message("user", big)); /* a single message that is too long cannot be dropped */
        req.turn.messages = many;
        assert_int_equal(agent_start(&req, &sink, &run, &err), -E2BIG);
        json_decref(many); /* nor can a system message, whatever else could */
        many = json_pack("[o, o, o]", message("system", big), message("user", STR("www")),
                         message("user", STR("www")));
        req.turn.messages = many;
        assert_int_equal(agent_start(&req, &sink, &run, &err), -E2BIG);
        assert_true(err.prompt_tokens > 399999 / 8);
        json_decref(many);
        mem_free((char *)big.p);
        buf_release(&h.text);
}

static void test_token_text(void **state)
{
        (void)state;
        json_t *whole = agent_token_text(STR("\xe2\x82\xac")), *part = agent_token_text(STR("\xe2\x82"));
        assert_string_equal(json_string_value(whole), "\xe2\x82\xac");
        assert_string_equal(json_string_value(part), "\\xe2\\x82");
        json_decref(whole);
        json_decref(part);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_events_and_result_agree),
                cmocka_unit_test(test_early_resume_is_not_lost),
                cmocka_unit_test(test_truncation_drops_the_oldest),
                cmocka_unit_test(test_token_text),
        };
        hello = json_pack("[o]", message("user", STR("hello there")));
        int failed = cmocka_run_group_tests(tests, testing_open, testing_close);
        json_decref(hello);
        return failed;
}
