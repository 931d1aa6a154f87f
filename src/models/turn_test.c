/* Turns with tools, schemas and reasoning, over random-weight models of every format: only the grammar makes
 * sense of what they say. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "models/format.h"
#include "models/testing.h"
#include "models/turn.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CALLS_MAX 16

static const char *const families[] = { "hermes",       "thinks",  "reasons",  "llama3", "mistral",
                                        "mistral-args", "harmony", "deepseek", "phi4",   "plain" };

static struct {
        struct registry *registry;
        const struct model *models[COUNT(families)];
        json_t *hello, *weather, *answer;
} test;

/* ---- listening ---- */

struct call {
        char name[64];
        bool custom, ended;
        struct buf input;
};

struct heard {
        struct call calls[CALLS_MAX];
        int n_calls;
        struct buf text, reasoning, token_text;
        enum engine_finish finish;
        struct engine_usage usage;
        int reasoning_tokens;
        char error[128];
        bool orderly; /* calls are numbered as they come */
        bool refuses; /* every other event */
        int refused, events;
        atomic_int full, done;
};

static void keep(struct heard *h, const struct turn_event *ev)
{
        struct call *c = &h->calls[ev->call];
        switch (ev->kind) {
        case TURN_TEXT:
                buf_add(&h->text, ev->text.p, ev->text.n);
                for (size_t i = 0; i < ev->n_tokens; i++)
                        buf_add(&h->token_text, ev->tokens[i].piece.p, ev->tokens[i].piece.n);
                break;
        case TURN_REASONING:
                buf_add(&h->reasoning, ev->text.p, ev->text.n);
                break;
        case TURN_CALL_BEGIN:
                h->orderly &= ev->call == h->n_calls++;
                snprintf(c->name, sizeof(c->name), "%.*s", STR_ARG(ev->name));
                c->custom = ev->custom;
                break;
        case TURN_CALL_INPUT:
                h->orderly &= ev->call == h->n_calls - 1;
                buf_add(&c->input, ev->text.p, ev->text.n);
                break;
        case TURN_CALL_END:
                c->ended = true;
                break;
        default:
                h->finish = ev->finish;
                h->usage = ev->usage;
                h->reasoning_tokens = ev->reasoning_tokens;
                snprintf(h->error, sizeof(h->error), "%s", ev->error ? ev->error : "");
        }
}

static bool listen(void *ctx, const struct turn_event *ev)
{
        struct heard *h = ctx;
        if (h->refuses && !ev->last && h->events++ % 2 == 0) {
                h->refused++;
                atomic_store(&h->full, 1);
                return false;
        }
        if (ev->call < CALLS_MAX)
                keep(h, ev);
        if (ev->kind == TURN_DONE)
                atomic_store(&h->done, 1);
        return true;
}

static struct heard *heard_new(void)
{
        struct heard *h = mem_calloc(1, sizeof(*h));
        struct buf *bufs[] = { &h->text, &h->reasoning, &h->token_text };
        for (size_t i = 0; i < COUNT(bufs); i++)
                buf_init(bufs[i], 1 << 20);
        for (size_t i = 0; i < CALLS_MAX; i++)
                buf_init(&h->calls[i].input, 1 << 20);
        return h;
}

static void heard_free(struct heard *h)
{
        buf_release(&h->text);
        buf_release(&h->reasoning);
        buf_release(&h->token_text);
        for (size_t i = 0; i < CALLS_MAX; i++)
                buf_release(&h->calls[i].input);
        mem_free(h);
}

/* Runs a turn to its end. */
static struct heard *run(const struct turn_req *req, bool refuses)
{
        struct heard *h = heard_new();
        struct turn_sink sink = { listen, h };
        struct turn_err err;
        struct turn *t;
        h->orderly = true;
        h->refuses = refuses;
        int rc = turn_start(req, &sink, &t, &err);
        if (rc)
                fail_msg("%s: %d %s", req->model->id, rc, err.msg);
        while (refuses && !atomic_load(&h->done)) {
                usleep(100);
                if (atomic_exchange(&h->full, 0))
                        turn_resume(t);
        }
        testing_wait(&h->done);
        assert_true(h->orderly);
        turn_unref(t);
        return h;
}

/* ---- requests ---- */

static struct turn_tool tools[] = {
        { .name = STR_INIT("get_weather"), .description = STR_INIT("Says the weather."), .strict = true },
        { .name = STR_INIT("now") },
        { .custom = true,
          .name = STR_INIT("code"),
          .syntax = STR_INIT("regex"),
          .definition = STR_INIT("[a-c\"]{3}") },
};

static struct turn_req request(const struct model *m, uint64_t seed)
{
        struct turn_req req = { .model = m,
                                .messages = test.hello,
                                .tools = tools,
                                .n_tools = COUNT(tools),
                                .sampling = ENGINE_SAMPLING_DEFAULT,
                                .max_tokens = 600,
                                .logprobs = -1,
                                .parallel = true };
        req.sampling.has_seed = true;
        req.sampling.seed = seed;
        return req;
}

static json_t *parse(struct str text)
{
        struct json_fault fault;
        return json_parse(text, 32, &fault);
}

static void check_call(const struct call *c)
{
        json_t *v = c->custom ? NULL : parse(buf_str(&c->input));
        if (c->custom) {
                assert_string_equal(c->name, "code");
                assert_int_equal(c->input.n, 3);
        } else if (!strcmp(c->name, "get_weather")) {
                int64_t days = json_int(v, "days", 0);
                assert_true(days >= 1 && days <= 14 && json_is_string(json_object_get(v, "city")));
        } else {
                assert_string_equal(c->name, "now");
                assert_true(json_is_object(v) && !json_object_size(v));
        }
        json_decref(v);
}

/* All calls are good; only one that the limit cut may be open. */
static int check_calls(const struct heard *h)
{
        int ended = 0;
        for (int i = 0; i < h->n_calls && i < CALLS_MAX; i++) {
                if (!h->calls[i].ended) {
                        assert_int_equal(h->finish, ENGINE_LENGTH);
                        continue;
                }
                check_call(&h->calls[i]);
                ended++;
        }
        return ended;
}

/* ---- tests ---- */

static int open_models(void **state)
{
        struct engine_opts opts = { .threads = 1, .max_batch = 4, .ctx_max = 4096 };
        char err[256] = "", path[4200];
        (void)state;
        test.registry = registry_new();
        for (size_t i = 0; i < COUNT(families); i++) {
                testing_chat_model(families[i], path, sizeof(path));
                if (registry_add_file(test.registry, families[i], path, &opts, err, sizeof(err))) {
                        print_error("%s\n", err);
                        return -1;
                }
                test.models[i] = registry_find(test.registry, str_c(families[i]));
        }
        test.hello = parse(STR("[{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", "
                               "\"content\": \"Hello\"}]"));
        test.weather = parse(
                STR("{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}, \"days\": "
                    "{\"type\": "
                    "\"integer\", \"minimum\": 1, \"maximum\": 14}}, \"required\": [\"city\", \"days\"], "
                    "\"additionalProperties\": false}"));
        test.answer = parse(STR("{\"type\": \"object\", \"properties\": {\"ok\": {\"type\": \"boolean\"}}, "
                                "\"required\": [\"ok\"], "
                                "\"additionalProperties\": false}"));
        tools[0].parameters = test.weather;
        return 0;
}

static int close_models(void **state)
{
        (void)state;
        registry_free(test.registry);
        json_decref(test.hello);
        json_decref(test.weather);
        json_decref(test.answer);
        return 0;
}

static void test_formats_are_found_out(void **state)
{
        static const struct {
                const char *family, *format;
                bool tells, remembers, system, reasons, text_args, one_call, text_apart, late;
        } want[] = {
                { "hermes", "hermes", true, true, true, false, false, false, false, true },
                { "thinks", "hermes", true, true, true, true, false, false, false, true },
                { "reasons", "hermes", true, true, true, true, false, false, false, true },
                { "llama3", "llama3", true, true, true, false, false, true, true, true },
                { "mistral", "mistral", true, true, true, false, false, false, false, false },
                { "mistral-args", "mistral-args", true, true, true, false, false, false, false, true },
                { "harmony", "harmony", true, true, true, true, false, true, false, false },
                { "deepseek", "deepseek", true, true, true, false, true, false, false, true },
                { "phi4", "phi4", true, true, true, false, false, false, true, true },
                { "plain", "hermes", false, false, false, false, false, false, false, false },
        };
        (void)state;
        for (size_t i = 0; i < COUNT(want); i++) {
                const struct idiom *d = test.models[i]->idiom;
                assert_string_equal(families[i], want[i].family);
                if (strcmp(d->format->name, want[i].format) || d->tells != want[i].tells ||
                    d->remembers != want[i].remembers || d->system != want[i].system ||
                    d->reasons != want[i].reasons || d->text_args != want[i].text_args ||
                    d->one_call != want[i].one_call || d->text_apart != want[i].text_apart ||
                    d->late != want[i].late)
                        fail_msg("%s: %s tells %d remembers %d system %d reasons %d text_args %d "
                                 "one_call %d text_apart %d late %d",
                                 want[i].family, d->format->name, d->tells, d->remembers, d->system,
                                 d->reasons, d->text_args, d->one_call, d->text_apart, d->late);
        }
}

static void test_required_calls(void **state)
{
        (void)state;
        for (size_t i = 0; i < COUNT(families); i++) {
                int ended = 0;
                for (uint64_t seed = 0; seed < 6; seed++) {
                        struct turn_req req = request(test.models[i], seed);
                        req.choice = TURN_REQUIRED;
                        req.parallel = seed % 2;
                        struct heard *h = run(&req, seed == 3);
                        ended += check_calls(h);
                        assert_int_equal(h->text.n, 0);
                        assert_true(req.parallel || h->n_calls <= 1);
                        assert_true(h->n_calls >= 1 || h->finish == ENGINE_LENGTH);
                        heard_free(h);
                }
                if (ended < 4)
                        fail_msg("%s: %d calls", families[i], ended);
        }
}

static void test_named_and_none(void **state)
{
        (void)state;
        for (size_t i = 0; i < COUNT(families); i++) {
                struct turn_req req = request(test.models[i], i);
                req.choice = TURN_REQUIRED;
                req.allowed = &tools[1].name;
                req.n_allowed = 1;
                req.parallel = false;
                struct heard *h = run(&req, false);
                assert_int_equal(h->finish == ENGINE_STOP, h->n_calls == 1 && h->calls[0].ended);
                for (int k = 0; k < h->n_calls; k++)
                        assert_string_equal(h->calls[k].name, "now");
                heard_free(h);
                req.choice = TURN_NONE;
                req.allowed = NULL;
                h = run(&req, false);
                assert_int_equal(h->n_calls, 0);
                heard_free(h);
                req.choice = TURN_AUTO;
                h = run(&req, true);
                check_calls(h);
                heard_free(h);
        }
}

static void test_answers_follow_their_schema(void **state)
{
        (void)state;
        for (size_t i = 0; i < COUNT(families); i++) {
                struct turn_req req = request(test.models[i], i);
                req.n_tools = 0;
                req.format = TURN_FORMAT_SCHEMA;
                req.schema = test.answer;
                req.strict = true;
                struct heard *h = run(&req, i % 2);
                json_t *v = parse(buf_str(&h->text));
                assert_int_equal(h->finish, ENGINE_STOP);
                assert_true(json_is_boolean(json_object_get(v, "ok")));
                assert_int_equal(h->reasoning.n > 0, h->reasoning_tokens > 0);
                json_decref(v);
                heard_free(h);
        }
}

/* The prompt has opened the reasoning: what comes is that until the model closes it. */
static void test_reasoning_is_told_apart(void **state)
{
        (void)state;
        struct turn_req req = request(test.models[2], 5);
        req.n_tools = 0;
        req.logprobs = 0;
        int answered = 0, reasoned = 0, whole = 0;
        for (req.sampling.seed = 0; req.sampling.seed < 12; req.sampling.seed++) {
                struct heard *h = run(&req, false);
                answered += h->text.n > 0;
                reasoned += h->reasoning_tokens > 0;
                assert_true(h->reasoning_tokens <= h->usage.completion_tokens);
                if (h->text.n && !memmem(h->text.p, h->text.n, "\xef\xbf\xbd", 3)) {
                        assert_true(str_eq(buf_str(&h->text), buf_str(&h->token_text)));
                        whole++;
                }
                if (!h->text.n && h->finish == ENGINE_LENGTH)
                        assert_int_equal(h->reasoning_tokens, h->usage.completion_tokens);
                heard_free(h);
        }
        assert_true(answered > 0 && reasoned > 6 && whole > 0);
}

/* A stop string counts in the answer, not in the reasoning before it. */
static void test_stop_strings_of_reasoning_models(void **state)
{
        (void)state;
        static const struct str stop = STR_INIT("a");
        int stopped = 0;
        for (uint64_t seed = 0; seed < 12; seed++) {
                struct turn_req req = request(test.models[2], seed);
                req.n_tools = 0;
                req.stop = &stop;
                req.n_stop = 1;
                struct heard *h = run(&req, seed == 1);
                assert_true(!h->text.n || !memchr(h->text.p, 'a', h->text.n));
                stopped += h->finish == ENGINE_STOP && h->reasoning.n &&
                           memchr(h->reasoning.p, 'a', h->reasoning.n);
                heard_free(h);
        }
        assert_true(stopped > 0);
}

static void test_a_full_sink_loses_nothing(void **state)
{
        (void)state;
        for (size_t i = 0; i < COUNT(families); i++) {
                struct turn_req req = request(test.models[i], 77);
                req.choice = TURN_REQUIRED;
                req.max_tokens = 80;
                struct heard *a = run(&req, false), *b = run(&req, true);
                assert_int_equal(a->n_calls, b->n_calls);
                for (int k = 0; k < a->n_calls && k < CALLS_MAX; k++)
                        assert_true(str_eq(buf_str(&a->calls[k].input), buf_str(&b->calls[k].input)));
                assert_true(str_eq(buf_str(&a->reasoning), buf_str(&b->reasoning)));
                assert_true(b->refused > 0);
                heard_free(a);
                heard_free(b);
        }
}

static void test_turns_are_refused(void **state)
{
        (void)state;
        struct turn_req req = request(test.models[0], 0);
        struct turn_tool bad = {
                .custom = true, .name = STR("x"), .syntax = STR("regex"), .definition = STR("(")
        };
        struct heard *h = heard_new();
        struct turn_sink sink = { listen, h };
        struct turn_err err;
        struct turn *t;
        req.tools = &bad;
        req.n_tools = 1;
        assert_int_equal(turn_start(&req, &sink, &t, &err), -EINVAL);
        assert_int_equal(err.field, TURN_ERR_TOOL);
        assert_true(err.prompt_tokens > 0);
        assert_true(turn_count(&req, &err) > 0); /* which compiles no grammar */
        heard_free(h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_formats_are_found_out),
                cmocka_unit_test(test_required_calls),
                cmocka_unit_test(test_named_and_none),
                cmocka_unit_test(test_answers_follow_their_schema),
                cmocka_unit_test(test_reasoning_is_told_apart),
                cmocka_unit_test(test_stop_strings_of_reasoning_models),
                cmocka_unit_test(test_a_full_sink_loses_nothing),
                cmocka_unit_test(test_turns_are_refused),
        };
        json_setup();
        return cmocka_run_group_tests(tests, open_models, close_models);
}
