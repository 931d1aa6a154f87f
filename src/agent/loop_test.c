/* The turn loop over a small random-weight model of tests/vectors: order of events, pauses, truncation. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "agent/loop.c"
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

static json_t *roles(const char *letters)
{
        json_t *list = json_array();
        for (const char *p = letters; *p; p++) {
                const char *role = *p == 's'   ? "system"
                                   : *p == 'u' ? "user"
                                   : *p == 't' ? "tool"
                                               : "assistant";
                json_array_append_new(list, message(role, (struct str){ p, 1 }));
        }
        return list;
}

static void check_dropped(const char *before, size_t drop, const char *after)
{
        json_t *messages = roles(before), *left = without_oldest(messages, drop), *wanted = roles(after);
        assert_true(json_equal(left, wanted));
        json_decref(messages);
        json_decref(left);
        json_decref(wanted);
}

static void test_truncation_keeps_calls_with_results(void **state)
{
        (void)state;
        check_dropped("suauau", 1, "sauau");
        check_dropped("suauau", 99, "su");
        check_dropped("uattau", 2, "au"); /* the results go with their calls */
        check_dropped("uattau", 1, "attau");
        check_dropped("suatt", 99, "satt"); /* the last exchange stays */
        check_dropped("uatat", 2, "at");
        check_dropped("tt", 99, "tt");
}

/* ---- items, from the events of a made-up turn ---- */

/* What a sink hears: "+m" begins a message (r: reasoning, c: a call), then its pieces, "-" ends the item, or
 * "~" when it is not whole; "." is the end. */
static bool note(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        static const char kinds[] = { [AGENT_REASONING] = 'r', [AGENT_MESSAGE] = 'm', [AGENT_CALL] = 'c' };
        struct buf *log = ctx;
        (void)run;
        switch (ev->kind) {
        case AGENT_ITEM_BEGIN:
                buf_addf(log, "+%c%s%s(", kinds[ev->item->kind], ev->item->name ? ev->item->name : "",
                         ev->item->custom ? "!" : "");
                break;
        case AGENT_DELTA:
                buf_addf(log, "%.*s|", STR_ARG(ev->text));
                break;
        case AGENT_ITEM_END:
                buf_addf(log, ")%s", ev->item->whole ? "" : "~");
                break;
        case AGENT_DONE:
                buf_addc(log, '.');
        }
        return true;
}

#define SAID(t)                                        \
        {                                              \
                .kind = TURN_TEXT, .text = STR_INIT(t) \
        }
#define THOUGHT(t)                                          \
        {                                                   \
                .kind = TURN_REASONING, .text = STR_INIT(t) \
        }
#define CALLED(n)                                            \
        {                                                    \
                .kind = TURN_CALL_BEGIN, .name = STR_INIT(n) \
        }
#define GIVEN(t)                                             \
        {                                                    \
                .kind = TURN_CALL_INPUT, .text = STR_INIT(t) \
        }
#define RETURNED                      \
        {                             \
                .kind = TURN_CALL_END \
        }
#define ENDED(how)                               \
        {                                        \
                .kind = TURN_DONE, .finish = how \
        }

static void check_items(const struct turn_event *events, size_t n, const char *want, int calls)
{
        struct buf log;
        buf_init(&log, 4096);
        struct agent_run *run = mem_calloc(1, sizeof(*run));
        run->sink = (struct agent_sink){ note, &log };
        atomic_init(&run->refs, 2);
        for (size_t i = 0; i < n; i++)
                assert_true(on_turn_event(run, &events[i]));
        assert_string_equal(log.p, want);
        assert_int_equal(agent_outcome(run)->calls, calls);
        for (size_t i = 0; i < agent_items(run); i++)
                assert_int_equal(agent_item(run, i)->index, i);
        buf_release(&log);
        agent_unref(run);
}

#define CHECK_ITEMS(want, calls, ...)                                               \
        do {                                                                        \
                static const struct turn_event events[] = { __VA_ARGS__ };          \
                check_items(events, sizeof(events) / sizeof(*events), want, calls); \
        } while (0)

static void test_events_become_items(void **state)
{
        (void)state;
        CHECK_ITEMS("+m(a|b|).", 0, SAID("a"), SAID("b"), ENDED(ENGINE_STOP));
        CHECK_ITEMS("+m(a|)~.", 0, SAID("a"), ENDED(ENGINE_LENGTH));
        CHECK_ITEMS("+r(hm|)+m(a|).", 0, THOUGHT("hm"), SAID("a"), ENDED(ENGINE_STOP));
        CHECK_ITEMS("+m(I look.|)+cf({|}|)+cg({}|)+m(so|).", 2, SAID("I look."), CALLED("f"), GIVEN("{"),
                    GIVEN("}"), RETURNED, CALLED("g"), RETURNED, SAID("so"), ENDED(ENGINE_STOP));
        CHECK_ITEMS("+cf({|)~.", 1, CALLED("f"), GIVEN("{"), ENDED(ENGINE_LENGTH));
        CHECK_ITEMS("+cf({}|).", 1, CALLED("f"), GIVEN("{}"), RETURNED, ENDED(ENGINE_LENGTH));
        CHECK_ITEMS("+cf!(x|).", 1, { .kind = TURN_CALL_BEGIN, .name = STR_INIT("f"), .custom = true },
                    GIVEN("x"), RETURNED, ENDED(ENGINE_STOP));
}

/* There is an answer in any case, but a thought that was cut off is no beginning of one. */
static void test_an_empty_answer_is_a_message(void **state)
{
        (void)state;
        CHECK_ITEMS("+m().", 0, ENDED(ENGINE_STOP));
        CHECK_ITEMS("+m()~.", 0, ENDED(ENGINE_LENGTH));
        CHECK_ITEMS("+r(hm|)+m().", 0, THOUGHT("hm"), ENDED(ENGINE_STOP));
        CHECK_ITEMS("+r(hm|)~.", 0, THOUGHT("hm"), ENDED(ENGINE_LENGTH));
        CHECK_ITEMS(".", 0, ENDED(ENGINE_ERROR));
}

/* A token may come before the text that it is a part of, and before it is known that there is any. */
static void test_tokens_before_their_text(void **state)
{
        (void)state;
        static const struct engine_token token = { .id = 1, .piece = STR_INIT("\xe2"), .logprob = -1 };
        static const struct engine_token last = { .id = 2, .piece = STR_INIT("\x82\xac"), .logprob = -2 };
        static const struct turn_event events[] = {
                { .kind = TURN_TEXT, .text = STR_INIT(""), .tokens = &token, .n_tokens = 1 },
                { .kind = TURN_TEXT, .text = STR_INIT("\xe2\x82\xac"), .tokens = &last, .n_tokens = 1 },
                { .kind = TURN_TEXT, .text = STR_INIT("."), .tokens = &token, .n_tokens = 1 },
                ENDED(ENGINE_STOP),
        };
        struct buf log;
        buf_init(&log, 4096);
        struct agent_run *run = mem_calloc(1, sizeof(*run));
        run->sink = (struct agent_sink){ note, &log };
        run->model = testing.model;
        run->logprobs = true;
        atomic_init(&run->refs, 2);
        for (size_t i = 0; i < 4; i++)
                assert_true(on_turn_event(run, &events[i]));
        assert_string_equal(log.p, "+m(\xe2\x82\xac|.|).");
        assert_int_equal(json_array_size(agent_item(run, 0)->logprobs), 3);
        buf_release(&log);
        agent_unref(run);
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
                cmocka_unit_test(test_truncation_keeps_calls_with_results),
                cmocka_unit_test(test_events_become_items),
                cmocka_unit_test(test_an_empty_answer_is_a_message),
                cmocka_unit_test(test_tokens_before_their_text),
                cmocka_unit_test(test_token_text),
        };
        hello = json_pack("[o]", message("user", STR("hello there")));
        int failed = cmocka_run_group_tests(tests, testing_open, testing_close);
        json_decref(hello);
        return failed;
}
