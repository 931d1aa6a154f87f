/* The grammars of turns: what they allow, what they forbid, and that the reader makes of anything they allow
 * what was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "grammar/cache.h"
#include "grammar/grammar.h"
#include "models/guide.h"

#define C(spelling) "\377" spelling "\376" /* a control token */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- a vocabulary: an end, control tokens, bytes, and some longer pieces ---- */

static const char *const controls[] = {
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[THINK]",
        "[/THINK]",
        "<|start|>",
        "<|end|>",
        "<|channel|>",
        "<|message|>",
        "<|constrain|>",
        "<|call|>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<|tool_call|>",
        "<|/tool_call|>",
};

static const char *const pieces[] = { "{\"",  "\": ", "\"}",        "name", "arguments",
                                      "\"}}", "</",   "tool_call>", "\n",   "get_weather" };

enum {
        END,
        CONTROLS,
        BYTES = CONTROLS + COUNT(controls),
        PIECES = BYTES + 256,
        N_VOCAB = PIECES + COUNT(pieces)
};

static struct str piece(void *ctx, int32_t id)
{
        static char bytes[256];
        (void)ctx;
        if (id < BYTES)
                return STR("");
        if (id >= PIECES)
                return str_c(pieces[id - PIECES]);
        bytes[id - BYTES] = (char)(id - BYTES);
        return (struct str){ &bytes[id - BYTES], 1 };
}

static int32_t control(void *ctx, struct str spelling)
{
        (void)ctx;
        for (size_t i = 0; i < COUNT(controls); i++)
                if (str_eqc(spelling, controls[i]))
                        return (int32_t)(CONTROLS + i);
        return -1;
}

static int32_t none(void *ctx, struct str spelling)
{
        (void)ctx;
        (void)spelling;
        return -1;
}

static const struct format_vocab with_controls = { control, NULL }, spelled = { none, NULL };
static struct grammar_vocab *vocab;

static int set_up(void **state)
{
        uint8_t is_end[N_VOCAB] = { [END] = 1 };
        (void)state;
        return grammar_vocab_new(N_VOCAB, piece, NULL, is_end, &vocab);
}

static int tear_down(void **state)
{
        (void)state;
        grammar_vocab_free(vocab);
        grammar_cache_clear();
        return 0;
}

/* ---- requests ---- */

static json_t *weather_schema, *odd_schema, *answer_schema;

static json_t *parse(const char *text)
{
        struct json_fault fault;
        json_t *v = json_parse(str_c(text), 32, &fault);
        assert_non_null(v);
        return v;
}

static void make_schemas(void)
{
        weather_schema =
                parse("{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}, \"days\": "
                      "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 14}}, \"required\": [\"city\", "
                      "\"days\"], \"additionalProperties\": false}");
        odd_schema = parse("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\", \"not\": "
                           "{\"minLength\": 3}}}}");
        answer_schema = parse(
                "{\"type\": \"object\", \"properties\": {\"ok\": {\"type\": \"boolean\"}}, \"required\": "
                "[\"ok\"], \"additionalProperties\": false}");
}

static struct turn_tool tools[] = {
        { .name = STR_INIT("get_weather"), .strict = true },
        { .name = STR_INIT("now") },
        { .custom = true, .name = STR_INIT("note") },
        { .custom = true,
          .name = STR_INIT("code"),
          .syntax = STR_INIT("regex"),
          .definition = STR_INIT("[a-c\"\n]{3}") },
        { .custom = true,
          .name = STR_INIT("sum"),
          .syntax = STR_INIT("lark"),
          .definition = STR_INIT("start: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]+/\n") },
};

static struct turn_req request(void)
{
        tools[0].parameters = weather_schema;
        return (struct turn_req){ .tools = tools, .n_tools = COUNT(tools), .parallel = true };
}

static struct grammar *guide(const struct turn_req *req, const struct idiom *d, const struct format_vocab *v,
                             enum reader_think think)
{
        struct grammar *g;
        struct turn_err err = { 0 };
        int rc = guide_make(req, d, v, think, &g, &err);
        if (rc)
                fail_msg("%s: %d %s (%s)", d->format->name, rc, err.msg, err.path);
        assert_non_null(g);
        return g;
}

/* ---- what is allowed ---- */

static bool take(struct grammar_match *m, struct str stream)
{
        while (stream.n) {
                const char *end =
                        stream.p[0] == FORMAT_CONTROL ? memchr(stream.p, FORMAT_CONTROL_END, stream.n) : NULL;
                size_t n = end ? (size_t)(end - stream.p) + 1 : 1;
                int32_t id = end ? control(NULL, (struct str){ stream.p + 1, n - 2 })
                                 : BYTES + (unsigned char)stream.p[0];
                if (grammar_match_token(m, id))
                        return false;
                stream = (struct str){ stream.p + n, stream.n - n };
        }
        return grammar_match_may_end(m);
}

static bool allows(const struct turn_req *req, const char *format, enum reader_think think,
                   const char *stream)
{
        struct idiom *d = idiom_new(format_find(str_c(format)), &with_controls);
        struct grammar *g = guide(req, d, &with_controls, think);
        struct grammar_match *m;
        assert_int_equal(grammar_match_new(g, vocab, &m), 0);
        bool ok = take(m, str_c(stream));
        grammar_match_free(m);
        grammar_unref(g);
        idiom_free(d);
        return ok;
}

#define WEATHER "\"city\": \"Rome\", \"days\": 3}"
#define HERMES_CALL \
        C("<tool_call>") "\n{\"name\": \"get_weather\", \"arguments\": {" WEATHER "}\n" C("</tool_call>")
#define HERMES_NOW C("<tool_call>") "\n{\"name\": \"now\", \"arguments\": {}}\n" C("</tool_call>")

static void test_choices(void **state)
{
        (void)state;
        struct turn_req req = request();
        assert_true(allows(&req, "hermes", READER_ANSWERS, "Hello."));
        assert_true(allows(&req, "hermes", READER_ANSWERS, "Let me see.\n" HERMES_CALL));
        assert_true(allows(&req, "hermes", READER_ANSWERS, HERMES_CALL "\n" HERMES_NOW));
        assert_false(allows(&req, "hermes", READER_ANSWERS, HERMES_CALL "done"));
        req.parallel = false;
        assert_false(allows(&req, "hermes", READER_ANSWERS, HERMES_CALL "\n" HERMES_NOW));
        assert_true(allows(&req, "hermes", READER_ANSWERS, HERMES_NOW));
        req.choice = TURN_NONE;
        assert_true(allows(&req, "hermes", READER_ANSWERS, "Hello."));
        assert_false(allows(&req, "hermes", READER_ANSWERS, HERMES_NOW));
        req.choice = TURN_REQUIRED;
        assert_false(allows(&req, "hermes", READER_ANSWERS, "Hello."));
        assert_false(allows(&req, "hermes", READER_ANSWERS, ""));
        assert_true(allows(&req, "hermes", READER_ANSWERS, HERMES_NOW));
        req.allowed = &tools[0].name;
        req.n_allowed = 1;
        assert_false(allows(&req, "hermes", READER_ANSWERS, HERMES_NOW));
        assert_true(allows(&req, "hermes", READER_ANSWERS, HERMES_CALL));
        req.choice = TURN_AUTO;
        assert_false(allows(&req, "hermes", READER_ANSWERS, HERMES_NOW));
        assert_true(allows(&req, "hermes", READER_ANSWERS, "Hello."));
}

static void test_arguments_follow_the_schema(void **state)
{
        (void)state;
        struct turn_req req = request();
        assert_false(
                allows(&req, "hermes", READER_ANSWERS,
                       C("<tool_call>") "\n{\"name\": \"get_weather\", \"arguments\": {\"city\": 1}}\n" C(
                               "</tool_call>")));
        assert_false(allows(
                &req, "hermes", READER_ANSWERS,
                C("<tool_call>") "\n{\"name\": \"now\", \"arguments\": {\"a\": 1}}\n" C("</tool_call>")));
        assert_false(
                allows(&req, "hermes", READER_ANSWERS,
                       C("<tool_call>") "\n{\"name\": \"never\", \"arguments\": {}}\n" C("</tool_call>")));
        assert_true(allows(
                &req, "hermes", READER_ANSWERS,
                C("<tool_call>") "\n{\"name\": \"code\", \"arguments\": {\"input\": \"a\\\"\\n\"}}\n" C(
                        "</tool_call>")));
        assert_false(
                allows(&req, "hermes", READER_ANSWERS,
                       C("<tool_call>") "\n{\"name\": \"code\", \"arguments\": {\"input\": \"abcd\"}}\n" C(
                               "</tool_call>")));
        assert_true(allows(&req, "hermes", READER_ANSWERS,
                           C("<tool_call>") "\n{\"name\": \"sum\", \"arguments\": {\"input\": \"1+23\"}}\n" C(
                                   "</tool_call>")));
        assert_false(allows(&req, "hermes", READER_ANSWERS,
                            C("<tool_call>") "\n{\"name\": \"sum\", \"arguments\": {\"input\": \"1+\"}}\n" C(
                                    "</tool_call>")));
}

static void test_reasoning_comes_first(void **state)
{
        (void)state;
        struct turn_req req = { .format = TURN_FORMAT_SCHEMA, .schema = answer_schema, .strict = true };
        assert_true(allows(&req, "hermes", READER_ANSWERS, "{\"ok\": true}"));
        assert_false(allows(&req, "hermes", READER_ANSWERS, "{\"ok\": 1}"));
        assert_false(
                allows(&req, "hermes", READER_ANSWERS, C("<think>") "Hm" C("</think>") "{\"ok\": true}"));
        assert_true(allows(&req, "hermes", READER_MAY_THINK,
                           C("<think>") "Hm" C("</think>") "\n\n{\"ok\": true}"));
        assert_true(allows(&req, "hermes", READER_MAY_THINK, "{\"ok\":false}"));
        assert_true(allows(&req, "hermes", READER_THINKS, "So {\n" C("</think>") "\n\n{\"ok\": false}"));
        assert_false(allows(&req, "hermes", READER_THINKS, "{\"ok\": false}"));
        req.effort = TURN_EFFORT_NONE;
        assert_false(
                allows(&req, "hermes", READER_MAY_THINK, C("<think>") "Hm" C("</think>") "{\"ok\": true}"));
        assert_true(allows(&req, "harmony", READER_ANSWERS,
                           C("<|channel|>") "final" C("<|message|>") "{\"ok\": true}"));
        req.effort = TURN_EFFORT_HIGH;
        assert_true(allows(&req, "harmony", READER_ANSWERS,
                           C("<|channel|>") "analysis" C("<|message|>") "Hm" C("<|end|>")
                                   C("<|start|>") "assistant" C("<|channel|>") "final" C(
                                           "<|message|>") "{\"ok\": true}"));
        req.format = TURN_FORMAT_OBJECT;
        assert_true(allows(&req, "hermes", READER_ANSWERS, "{\"any\": [1, {}]}"));
        assert_false(allows(&req, "hermes", READER_ANSWERS, "[1]"));
}

static void test_other_formats(void **state)
{
        (void)state;
        struct turn_req req = request();
        assert_true(allows(&req, "llama3", READER_ANSWERS,
                           "{\"name\": \"get_weather\", \"parameters\": {" WEATHER "}"));
        assert_true(allows(&req, "llama3", READER_ANSWERS,
                           "Hm. " C("<|python_tag|>") "{\"name\": \"now\", \"parameters\": {}}"));
        assert_true(allows(&req, "llama3", READER_ANSWERS, "{\"city\": \"Rome\"}"));
        assert_true(allows(&req, "llama3", READER_ANSWERS, " {\"nam\": 1}"));
        assert_true(allows(&req, "llama3", READER_ANSWERS, "{\n"));
        assert_false(allows(&req, "llama3", READER_ANSWERS, "{\"name\": \"Bob\"}"));
        assert_true(allows(&req, "mistral", READER_ANSWERS,
                           "So" C("[TOOL_CALLS]") " [{\"name\": \"get_weather\", \"arguments\": {" WEATHER
                                                  "}, {\"name\": "
                                                  "\"now\", \"arguments\": {}}]"));
        assert_true(allows(&req, "mistral-args", READER_ANSWERS,
                           C("[TOOL_CALLS]") "now" C("[ARGS]") "{}" C("[TOOL_CALLS]") "note" C(
                                   "[ARGS]") "{\"input\": \"[x] {\\n\"}"));
        assert_false(
                allows(&req, "mistral-args", READER_ANSWERS, C("[TOOL_CALLS]") "note" C("[ARGS]") "[x] {\n"));
        assert_true(allows(&req, "mistral-args", READER_ANSWERS,
                           C("[TOOL_CALLS]") "code" C("[ARGS]") "{\"input\":\"a\\\"\\n\"}"));
        assert_true(allows(&req, "deepseek", READER_ANSWERS,
                           C("<｜tool▁calls▁begin｜>") C("<｜tool▁call▁begin｜>") "function" C(
                                   "<｜tool▁sep｜>") "now\n```json\n{}\n```" C("<｜tool▁call▁end｜>")
                                   C("<｜tool▁calls▁end｜>")));
        assert_true(
                allows(&req, "phi4", READER_ANSWERS,
                       C("<|tool_call|>") "[{\"name\": \"now\", \"arguments\": {}}]" C("<|/tool_call|>")));
        assert_true(allows(&req, "harmony", READER_ANSWERS,
                           C("<|channel|>") "commentary to=functions.now " C("<|constrain|>") "json" C(
                                   "<|message|>") "{}"));
        assert_true(
                allows(&req, "harmony", READER_ANSWERS, C("<|channel|>") "final" C("<|message|>") "Hello"));
        req.choice = TURN_REQUIRED;
        assert_false(
                allows(&req, "harmony", READER_ANSWERS, C("<|channel|>") "final" C("<|message|>") "Hello"));
        assert_true(allows(&req, "harmony", READER_ANSWERS,
                           C("<|channel|>") "commentary to=functions.note " C("<|constrain|>") "json" C(
                                   "<|message|>") "{\"input\": \"Buy milk\"}"));
}

static void test_what_cannot_be_enforced(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("hermes")), &spelled);
        struct turn_tool two[2] = { tools[0],
                                    { .name = STR_INIT("odd"), .parameters = odd_schema, .strict = true } };
        struct turn_req req = { .tools = two, .n_tools = 2 };
        struct turn_err err = { 0 };
        struct grammar *g;
        two[0].parameters = weather_schema;
        assert_int_equal(guide_make(&req, d, &spelled, READER_ANSWERS, &g, &err), -EINVAL);
        assert_int_equal(err.field, TURN_ERR_TOOL);
        assert_int_equal(err.tool, 1);
        assert_true(err.msg[0]);
        err = (struct turn_err){ 0 };
        two[1].strict = false; /* need not hold: any object will do */
        assert_int_equal(guide_make(&req, d, &spelled, READER_ANSWERS, &g, &err), 0);
        assert_int_equal(err.field, TURN_ERR_OTHER);
        grammar_unref(g);
        assert_true(allows(
                &req, "hermes", READER_ANSWERS,
                C("<tool_call>") "\n{\"name\": \"odd\", \"arguments\": {\"x\": 1}}\n" C("</tool_call>")));
        two[1] = (struct turn_tool){
                .custom = true, .name = STR("re"), .syntax = STR("regex"), .definition = STR("(a")
        };
        assert_int_equal(guide_make(&req, d, &spelled, READER_ANSWERS, &g, &err), -EINVAL);
        assert_int_equal(err.field, TURN_ERR_TOOL);
        assert_int_equal(err.tool, 1);
        err = (struct turn_err){ 0 };
        req = (struct turn_req){ .format = TURN_FORMAT_SCHEMA, .schema = odd_schema };
        assert_int_equal(guide_make(&req, d, &spelled, READER_ANSWERS, &g, &err), -EINVAL);
        assert_int_equal(err.field, TURN_ERR_SCHEMA);
        req = (struct turn_req){ 0 };
        assert_int_equal(guide_make(&req, d, &spelled, READER_ANSWERS, &g, &err), 0);
        assert_null(g);
        idiom_free(d);
}

/* ---- whatever is allowed is read as what was asked for ---- */

struct sampled {
        struct str text;
        int n_calls, n_ended;
        bool custom;
        struct str name;
        struct buf answer, input;
        const struct turn_req *req;
        bool reasoned;
};

static bool callable(const struct turn_req *req, struct str name)
{
        bool known = false, allowed = !req->allowed;
        for (size_t i = 0; i < req->n_tools; i++)
                known |= str_eq(name, req->tools[i].name);
        for (size_t i = 0; i < req->n_allowed; i++)
                allowed |= str_eq(name, req->allowed[i]);
        return known && allowed;
}

static void check_input(const struct sampled *s)
{
        struct str in = buf_str(&s->input);
        if (!s->custom) {
                struct json_fault fault;
                json_t *v = json_parse(in, 64, &fault);
                assert_true(json_is_object(v));
                if (str_eqc(s->name, "get_weather"))
                        assert_true(json_int(v, "days", 0) >= 1 && json_int(v, "days", 0) <= 14);
                json_decref(v);
        } else if (str_eqc(s->name, "code")) {
                assert_int_equal(in.n, 3);
        } else if (str_eqc(s->name, "sum")) {
                assert_true(in.n && in.p[0] >= '0' && in.p[0] <= '9' && in.p[in.n - 1] != '+');
        }
}

static void hear(struct reader *r, struct sampled *s)
{
        struct turn_event ev;
        while (reader_next(r, &ev)) {
                if (ev.kind == TURN_TEXT)
                        buf_add(&s->answer, ev.text.p, ev.text.n);
                s->reasoned |= ev.kind == TURN_REASONING;
                if (ev.kind == TURN_CALL_INPUT)
                        buf_add(&s->input, ev.text.p, ev.text.n);
                if (ev.kind == TURN_CALL_BEGIN) {
                        assert_true(callable(s->req, ev.name));
                        s->custom = ev.custom;
                        for (size_t i = 0; i < s->req->n_tools; i++)
                                if (str_eq(s->req->tools[i].name, ev.name))
                                        s->name = s->req->tools[i].name;
                        s->n_calls++;
                        buf_cut(&s->input, 0);
                }
                if (ev.kind == TURN_CALL_END) {
                        s->n_ended++;
                        check_input(s);
                }
                reader_taken(r);
        }
}

/* A random token of those allowed: ends and closing characters are more likely than others. */
static int32_t choose(const uint32_t *bits, struct rng *rng)
{
        int32_t best = -1;
        uint64_t most = 0;
        for (int32_t id = 0; id < N_VOCAB; id++) {
                if (!(bits[id / 32] >> (id % 32) & 1))
                        continue;
                bool closes = id == END || (id < BYTES && id != END) ||
                              (id >= BYTES && strchr("\"}]", id - BYTES) && id != BYTES);
                uint64_t draw = rng_below(rng, closes ? 1000000 : 1000);
                if (draw >= most) {
                        most = draw;
                        best = id;
                }
        }
        return best;
}

/* Writes at random what the grammar allows, and reads it. True when it came to an end. */
static bool sample(struct grammar *g, struct reader *r, struct rng *rng, struct sampled *s)
{
        uint32_t bits[(N_VOCAB + 31) / 32];
        struct grammar_match *m;
        bool ended = false;
        assert_int_equal(grammar_match_new(g, vocab, &m), 0);
        for (int i = 0; i < 1500 && !ended; i++) {
                assert_int_equal(grammar_match_mask(m, bits), 0);
                int32_t id = choose(bits, rng);
                assert_true(id >= 0);
                ended = id == END;
                if (ended)
                        break;
                assert_int_equal(grammar_match_token(m, id), 0);
                if (id < BYTES)
                        assert_int_equal(reader_control(r, str_c(controls[id - CONTROLS])), 0);
                else
                        assert_int_equal(reader_text(r, piece(NULL, id), NULL, 0), 0);
                hear(r, s);
        }
        assert_int_equal(reader_end(r, ended), 0);
        hear(r, s);
        grammar_match_free(m);
        return ended;
}

static void check_sampled(const struct turn_req *req, const struct sampled *s, enum reader_think think)
{
        struct str answer = buf_str(&s->answer);
        assert_int_equal(s->n_calls, s->n_ended);
        if (req->choice == TURN_NONE)
                assert_int_equal(s->n_calls, 0);
        if (req->choice == TURN_REQUIRED)
                assert_true(s->n_calls >= 1 && !answer.n);
        if (!req->parallel)
                assert_true(s->n_calls <= 1);
        if (think == READER_ANSWERS)
                assert_false(s->reasoned);
        if (req->format == TURN_FORMAT_SCHEMA && !s->n_calls) {
                struct json_fault fault;
                json_t *v = json_parse(answer, 8, &fault);
                assert_true(json_is_boolean(json_object_get(v, "ok")));
                json_decref(v);
        }
}

static void run_samples(const struct format *f, const struct format_vocab *v, const struct turn_req *req,
                        enum reader_think think, int *ret_calls)
{
        struct rng rng;
        struct idiom *d = idiom_new(f, v);
        struct grammar *g = guide(req, d, v, think);
        rng_seed(&rng, 11);
        for (int i = 0; i < 6; i++) {
                struct reader_opts opts = { .idiom = d,
                                            .think = think,
                                            .calls = req->choice != TURN_NONE,
                                            .tools = req->tools,
                                            .n_tools = req->n_tools };
                struct reader *r = reader_new(&opts);
                struct sampled s = { .req = req,
                                     .answer = { ._max = 1 << 20 },
                                     .input = { ._max = 1 << 20 } };
                if (sample(g, r, &rng, &s))
                        check_sampled(req, &s, f->shape == FORMAT_CHANNELS ? READER_MAY_THINK : think);
                *ret_calls += s.n_ended;
                reader_free(r);
                buf_release(&s.answer);
                buf_release(&s.input);
        }
        grammar_unref(g);
        idiom_free(d);
}

static void test_samples_are_what_was_asked_for(void **state)
{
        static const enum reader_think thinks[] = { READER_ANSWERS, READER_MAY_THINK, READER_THINKS };
        (void)state;
        for (size_t k = 0; format_at(k); k++) {
                const struct format *f = format_at(k);
                int n_calls = 0;
                for (int bits = 0; bits < 36; bits++) {
                        struct turn_req req = request();
                        enum reader_think think = f->think ? thinks[bits % 3] : READER_ANSWERS;
                        req.choice = (enum turn_choice)(bits / 3 % 3);
                        req.parallel = bits / 9 % 2;
                        if (bits >= 18) {
                                req.format = TURN_FORMAT_SCHEMA;
                                req.schema = answer_schema;
                        }
                        run_samples(f, &with_controls, &req, think, &n_calls);
                        /* Spelled markers can stand in a string, where the reader of names and raw input
                         * ends. */
                        if (f->shape == FORMAT_JSON || f->shape == FORMAT_LIST)
                                run_samples(f, &spelled, &req, think, &n_calls);
                }
                assert_true(n_calls > 50);
        }
}

static void test_equal_requests_share_a_grammar(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("hermes")), &with_controls);
        struct turn_req req = request();
        struct grammar *a = guide(&req, d, &with_controls, READER_ANSWERS),
                       *b = guide(&req, d, &with_controls, READER_ANSWERS);
        assert_ptr_equal(a, b);
        req.parallel = false;
        struct grammar *c = guide(&req, d, &with_controls, READER_ANSWERS);
        assert_ptr_not_equal(a, c);
        grammar_unref(a);
        grammar_unref(b);
        grammar_unref(c);
        idiom_free(d);
}

static bool at_once(void *ctx)
{
        (void)ctx;
        return true;
}

static void test_compilation_is_cancelled(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("hermes")), &with_controls);
        struct turn_req req = request();
        struct turn_err err = { 0 };
        struct grammar *g;
        tools[3].definition = STR("([a-z]{1,200}[0-9]){1,200}");
        req.cancel = at_once;
        assert_int_equal(guide_make(&req, d, &with_controls, READER_ANSWERS, &g, &err), -ECANCELED);
        tools[3].definition = STR("[a-c\"\n]{3}");
        idiom_free(d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_choices),
                cmocka_unit_test(test_arguments_follow_the_schema),
                cmocka_unit_test(test_reasoning_comes_first),
                cmocka_unit_test(test_other_formats),
                cmocka_unit_test(test_what_cannot_be_enforced),
                cmocka_unit_test(test_samples_are_what_was_asked_for),
                cmocka_unit_test(test_equal_requests_share_a_grammar),
                cmocka_unit_test(test_compilation_is_cancelled),
        };
        json_setup();
        make_schemas();
        int failed = cmocka_run_group_tests(tests, set_up, tear_down);
        json_decref(weather_schema);
        json_decref(odd_schema);
        json_decref(answer_schema);
        return failed;
}
