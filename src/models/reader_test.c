/* The reader: outputs in every format become the same events, however the pieces come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "models/reader.h"

#define C(spelling) "\377" spelling "\376" /* a control token */

/* ---- running a reader ---- */

static int32_t all_are_controls(void *ctx, struct str spelling)
{
        (void)ctx;
        (void)spelling;
        return 1;
}

static int32_t none_is(void *ctx, struct str spelling)
{
        (void)ctx;
        (void)spelling;
        return -1;
}

static const struct turn_tool tools[] = {
        { .name = STR_INIT("get_weather") },
        { .name = STR_INIT("add") },
        { .custom = true, .name = STR_INIT("run") },
};

/* What was heard, as text: T(...) R(...) B0:name I(...) E0, neighbours joined. */
struct heard {
        struct buf text;
        enum turn_kind last;
        int reasoning;
        struct buf token_text; /* of the tokens of TEXT events */
};

static void hear(struct heard *h, struct reader *r)
{
        struct turn_event ev;
        while (reader_next(r, &ev)) {
                static const char letters[] = {
                        [TURN_TEXT] = 'T', [TURN_REASONING] = 'R', [TURN_CALL_INPUT] = 'I'
                };
                assert_true(str_is_utf8(ev.text));
                if (ev.kind == TURN_CALL_BEGIN)
                        buf_addf(&h->text, "B%d:%.*s%s", ev.call, STR_ARG(ev.name), ev.custom ? "*" : "");
                else if (ev.kind == TURN_CALL_END)
                        buf_addf(&h->text, "E%d", ev.call);
                else if (ev.text.n && h->last == ev.kind)
                        buf_cut(&h->text, h->text.n - 1);
                else if (ev.text.n)
                        buf_addf(&h->text, "%c(", letters[ev.kind]);
                if (ev.text.n && ev.kind != TURN_CALL_BEGIN && ev.kind != TURN_CALL_END) {
                        buf_add(&h->text, ev.text.p, ev.text.n);
                        buf_addc(&h->text, ')');
                        h->last = ev.kind;
                } else if (ev.kind == TURN_CALL_BEGIN || ev.kind == TURN_CALL_END) {
                        h->last = ev.kind;
                }
                for (size_t i = 0; i < ev.n_tokens; i++)
                        buf_add(&h->token_text, ev.tokens[i].piece.p, ev.tokens[i].piece.n);
                reader_taken(r);
        }
}

/* Feeds a piece of a stream, with one token for each byte of it when `tokens`. */
static void feed(struct reader *r, struct heard *h, struct str piece, bool tokens)
{
        struct engine_token *list = mem_calloc(piece.n, sizeof(*list));
        for (size_t i = 0; i < piece.n; i++)
                list[i] = (struct engine_token){ .id = (int32_t)i, .piece = { piece.p + i, 1 } };
        assert_int_equal(reader_text(r, piece, list, tokens ? piece.n : 0), 0);
        mem_free(list);
        hear(h, r);
}

/* Feeds the stream in pieces: `next` gives the length of each. */
static void feed_all(struct reader *r, struct heard *h, struct str stream,
                     size_t (*next)(void *ctx, size_t at), void *ctx, bool tokens)
{
        for (size_t at = 0; at < stream.n;) {
                const char *p = stream.p + at, *control = memchr(p, FORMAT_CONTROL, stream.n - at);
                if (control == p) {
                        const char *end = memchr(p, FORMAT_CONTROL_END, stream.n - at);
                        assert_int_equal(reader_control(r, (struct str){ p + 1, (size_t)(end - p) - 1 }), 0);
                        at += (size_t)(end - p) + 1;
                        continue;
                }
                size_t n = control ? (size_t)(control - p) : stream.n - at, want = next(ctx, at);
                n = want < n ? want : n;
                feed(r, h, (struct str){ p, n }, tokens);
                at += n;
        }
}

struct split {
        size_t at;
        struct rng *rng;
};

static size_t two_pieces(void *ctx, size_t at)
{
        const struct split *s = ctx;
        return at < s->at ? s->at - at : SIZE_MAX;
}

static size_t single_bytes(void *ctx, size_t at)
{
        (void)ctx;
        (void)at;
        return 1;
}

static size_t random_pieces(void *ctx, size_t at)
{
        (void)at;
        return 1 + rng_below(((struct split *)ctx)->rng, 9);
}

struct setting {
        const char *format;
        enum reader_think think;
        bool controls, cut, no_calls, guided; /* cut: max_tokens ended it */
        const char *stop;
};

static void read_stream(const struct setting *s, struct str stream, size_t (*next)(void *ctx, size_t at),
                        void *ctx, struct heard *h)
{
        struct format_vocab vocab = { s->controls ? all_are_controls : none_is, NULL };
        struct idiom *d = idiom_new(format_find(str_c(s->format)), &vocab);
        struct str stop = str_c(s->stop);
        struct reader_opts opts = { .idiom = d,
                                    .think = s->think,
                                    .calls = !s->no_calls,
                                    .guided = s->guided,
                                    .tools = tools,
                                    .n_tools = sizeof(tools) / sizeof(tools[0]),
                                    .stop = &stop,
                                    .n_stop = s->stop ? 1 : 0,
                                    .tokens = true };
        struct reader *r = reader_new(&opts);
        *h = (struct heard){ .text = { ._max = 1 << 24 },
                             .token_text = { ._max = 1 << 24 },
                             .last = TURN_DONE };
        feed_all(r, h, stream, next, ctx, true);
        assert_int_equal(reader_end(r, !s->cut), 0);
        hear(h, r);
        h->reasoning = reader_reasoning_tokens(r);
        buf_reserve(&h->text, 1);
        reader_free(r);
        idiom_free(d);
}

/* The stream with its control tokens spelled out. */
static struct str spelled_out(struct str stream, char *room)
{
        struct str s = { room, 0 };
        for (size_t i = 0; i < stream.n; i++)
                if (stream.p[i] != FORMAT_CONTROL && stream.p[i] != FORMAT_CONTROL_END)
                        room[s.n++] = stream.p[i];
        return s;
}

static void expect(const struct setting *s, struct str stream, size_t (*next)(void *ctx, size_t at),
                   void *ctx, const char *want, int reasoning)
{
        struct heard h;
        read_stream(s, stream, next, ctx, &h);
        assert_string_equal(h.text.n ? h.text.p : "", want);
        assert_int_equal(h.reasoning, reasoning);
        buf_release(&h.text);
        buf_release(&h.token_text);
}

static void check_splits(const struct setting *s, struct str stream, const char *want)
{
        struct heard h;
        struct rng rng;
        struct split split = { SIZE_MAX, &rng };
        read_stream(s, stream, two_pieces, &split, &h);
        assert_string_equal(h.text.n ? h.text.p : "", want);
        int reasoning = h.reasoning;
        buf_release(&h.text);
        buf_release(&h.token_text);
        expect(s, stream, single_bytes, NULL, want, reasoning);
        for (split.at = 1; split.at < stream.n; split.at++)
                expect(s, stream, two_pieces, &split, want, reasoning);
        rng_seed(&rng, 7);
        for (int i = 0; i < 200; i++)
                expect(s, stream, random_pieces, &split, want, reasoning);
}

/* ---- recorded outputs ---- */

struct sample {
        struct setting setting;
        const char *stream, *want;
        enum { BOTH, CONTROLS, SPELLED } vocab; /* which vocabularies it holds for */
};

#define ON(...) .setting = { .format = __VA_ARGS__ }

static const struct sample samples[] = {
        /* text alone */
        { ON("hermes"), "Hello, w\xc3\xb6rld.\n", "T(Hello, w\xc3\xb6rld.\n)" },
        { ON("hermes"), " \n ", "T( \n )" },
        { ON("hermes"), "", "" },
        { ON("hermes"), "a < b, <tool, <tool_cal and <tool_calm",
          "T(a < b, <tool, <tool_cal and <tool_calm)" },
        { ON("hermes"), "\xe2\x82\xac <", "T(\xe2\x82\xac <)" },
        /* Hermes */
        { ON("hermes"),
          C("<tool_call>") "\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"K\xc3\xb6ln\"}}\n" C(
                  "</tool_call>"),
          "B0:get_weatherI({\"city\": \"K\xc3\xb6ln\"})E0" },
        { ON("hermes"),
          "Let me see.\n\n" C("<tool_call>") "\n{\"name\": \"add\", \"arguments\": {\"a\": [1, {\"b\": "
                                             "\"}]\\\"\"}]}}\n" C("</tool_call>") "\n" C(
                                                     "<tool_call>") "{\"name\":\"get_weather\",\"arguments\":"
                                                                    "{}}" C("</tool_call>") "\n",
          "T(Let me see.)B0:addI({\"a\": [1, {\"b\": \"}]\\\"\"}]})E0B1:get_weatherI({})E1" },
        { ON("hermes"), /* arguments first; members that are not ours; a string of JSON text */
          C("<tool_call>") "{\"arguments\": \"{\\\"a\\\": \\\"\\u00e9\\\"}\", \"id\": [1, \"]\"], \"name\": "
                           "\"add\"}" C("</tool_call>"),
          "B0:addI({\"a\": \"\xc3\xa9\"})E0" },
        { ON("hermes"), C("<tool_call>") "{\"name\": \"add\"}" C("</tool_call>") "done",
          "B0:addI({})E0T(done)" },
        { ON("hermes"), /* a custom tool: its input, unescaped */
          C("<tool_call>") "\n{\"name\": \"run\", \"arguments\": {\"input\": \"print(\\\"\\ud83d\\ude00 "
                           "\\u20ac\\\")\\n\"}}\n" C("</tool_call>"),
          "B0:run*I(print(\"\xf0\x9f\x98\x80 \xe2\x82\xac\")\n)E0" },
        { ON("hermes"), /* half a surrogate pair */
          C("<tool_call>") "{\"name\": \"run\", \"arguments\": {\"input\": \"\\ud83dx\\ude00\\ud83d\"}}" C(
                  "</tool_call>"),
          "B0:run*I(\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd)E0" },
        { ON("hermes"), /* an escape that breaks off, within a character's reach */
          C("<tool_call>") "{\"name\": \"run\", \"arguments\": {\"input\": \"\\u00e\u20ac!\\u0\"}}" C(
                  "</tool_call>"),
          "B0:run*I(\xef\xbf\xbd\u20ac!)E0" },
        { ON("hermes"), /* no such tool, no name, not JSON, a call within: text */
          "x <tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>",
          "T(x <tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>)", SPELLED },
        { ON("hermes"), "<tool_call>{}</tool_call>", "T(<tool_call>{}</tool_call>)", SPELLED },
        { ON("hermes"), "<tool_call>nothing", "T(<tool_call>nothing)", SPELLED },
        { ON("hermes"), C("<tool_call>") "nothing", "T(nothing)", CONTROLS },
        { ON("hermes"), "<tool_call>", "T(<tool_call>)", CONTROLS },
        { ON("hermes"), "<tool_call><tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>",
          "T(<tool_call>)B0:addI({})E0", SPELLED },
        { ON("hermes", .cut = true), /* ended by the limit */
          C("<tool_call>") "\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b", "B0:addI({\"a\": 1, \"b)" },
        { ON("hermes", .cut = true), "Hm <tool_call>\n{\"na", "T(Hm <tool_call>\n{\"na)", SPELLED },
        { ON("hermes", .cut = true, .guided = true), "Hm " C("<tool_call>") "\n{\"na", "T(Hm)" },
        { ON("llama3", .cut = true, .guided = true), "{\"name\": \"ad", "" },
        { ON("hermes", .no_calls = true), "a <tool_call> b", "T(a <tool_call> b)" },
        /* reasoning */
        { ON("hermes", READER_MAY_THINK), "<think>\nSo.\n\n</think>\n\nYes.", "R(So.)T(Yes.)", SPELLED },
        { ON("hermes", READER_MAY_THINK), C("<think>") "So < that" C("</think>") "Yes.",
          "R(So < that)T(Yes.)" },
        { ON("hermes", READER_MAY_THINK), "\n<think", "T(\n<think)" },
        { ON("hermes", READER_MAY_THINK), " Yes. <think>", "T( Yes. <think>)", SPELLED },
        { ON("hermes", READER_THINKS), "\nSo.\n</think>\n\n", "R(So.)", SPELLED },
        { ON("hermes", READER_THINKS, .cut = true), "So </thin", "R(So </thin)" },
        { ON("hermes", READER_THINKS),
          "One.\n" C("</think>") "\n\nTwo.\n" C("<tool_call>") "{\"name\": \"add\", \"arguments\": {}}" C(
                  "</tool_call>"),
          "R(One.)T(Two.)B0:addI({})E0" },
        /* stop strings: of the answer only */
        { ON("hermes", READER_THINKS, .stop = "END"), "the END\n</think>is nigh. ENDless",
          "R(the END)T(is nigh. )", SPELLED },
        { ON("hermes", .stop = "1"),
          C("<tool_call>") "{\"name\": \"add\", \"arguments\": {\"a\": 1}}" C("</tool_call>") "2 1 0",
          "B0:addI({\"a\": 1})E0T(2 )" },
        { ON("hermes", .stop = "<tool_ca"), "x <tool_call>{}", "T(x )", SPELLED },
        { ON("hermes", .stop = "STOP"), "no STO, no STOP here", "T(no STO, no )" },
        /* Llama 3 */
        { ON("llama3"), "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
          "B0:get_weatherI({\"city\": \"Paris\"})E0" },
        { ON("llama3"),
          "\n{\"type\": \"function\", \"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"add\", "
          "\"parameters\": {\"a\": 2}}",
          "B0:addI({\"a\": 1})E0B1:addI({\"a\": 2})E1" },
        { ON("llama3"), "Sure. " C("<|python_tag|>") "{\"name\": \"add\", \"parameters\": {}}",
          "T(Sure.)B0:addI({})E0" },
        { ON("llama3"), "{\"city\": \"Paris\"}", "T({\"city\": \"Paris\"})" },
        { ON("llama3"), "{\"name\": \"Bob\", \"age\": 3}", "T({\"name\": \"Bob\", \"age\": 3})" },
        { ON("llama3"), "{", "T({)" },
        { ON("llama3", .cut = true), "{\"name\": \"ad", "T({\"name\": \"ad)" },
        { ON("llama3", .stop = "age"), "{\"name\": \"Bob\", \"age\": 3}", "T({\"name\": \"Bob\", \")" },
        { ON("llama3"), "{\"name\": \"add\", \"parameters\": {}} and more", "B0:addI({})E0T(and more)" },
        /* Mistral */
        { ON("mistral"),
          C("[TOOL_CALLS]") " [{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"abcDEF123\"}, "
                            "{\"name\": \"run\", "
                            "\"arguments\": {\"input\": \"ls\"}}]",
          "B0:addI({\"a\": 1})E0B1:run*I(ls)E1" },
        { ON("mistral"), "Now " C("[TOOL_CALLS]") "[{\"name\":\"add\",\"arguments\":{}}]",
          "T(Now)B0:addI({})E0" },
        { ON("mistral"), "see [1] and [TOOL", "T(see [1] and [TOOL)" },
        { ON("mistral"), "[TOOL_CALLS] none", "T([TOOL_CALLS] none)", SPELLED },
        { ON("mistral", READER_MAY_THINK), C("[THINK]") "Hm" C("[/THINK]") "Yes", "R(Hm)T(Yes)" },
        { ON("mistral-args"),
          C("[TOOL_CALLS]") "add" C("[ARGS]") "{\"a\": 1}" C("[TOOL_CALLS]") "run" C("[ARGS]") "ls\n",
          "B0:addI({\"a\": 1})E0B1:run*I(ls\n)E1" },
        { ON("mistral-args"), /* a custom tool's input is in an object, as the model is told */
          C("[TOOL_CALLS]") "run" C("[ARGS]") "{\"input\": \"l\\ns\"}" C("[TOOL_CALLS]") "add" C(
                  "[ARGS]") "{}",
          "B0:run*I(l\ns)E0B1:addI({})E1" },
        { ON("mistral-args"), "Hm." C("[TOOL_CALLS]") "add" C("[CALL_ID]") "abc123DEF" C("[ARGS]") "{}",
          "T(Hm.)B0:addI({})E0", CONTROLS },
        { ON("mistral-args"), "[TOOL_CALLS]rm[ARGS]{}", "T([TOOL_CALLS]rm[ARGS]{})", SPELLED },
        { ON("mistral-args", .cut = true), C("[TOOL_CALLS]") "add" C("[ARGS]") "{\"a\"", "B0:addI({\"a\")" },
        /* DeepSeek */
        { ON("deepseek"),
          "Hm." C("<｜tool▁calls▁begin｜>")
                  C("<｜tool▁call▁begin｜>") "function" C("<｜tool▁sep｜>") "add\n```json\n{\"a\": 1}\n```" C(
                          "<｜tool▁call▁end｜>") "\n" C("<｜tool▁call▁begin｜>") "function" C("<｜tool▁sep｜"
                                                                                              ">") "get_"
                                                                                                   "weather\n"
                                                                                                   "```"
                                                                                                   "json\n{}"
                                                                                                   "\n```" C(
                                                                                                           "<"
                                                                                                           "｜tool▁call▁end｜>")
                                                                                                           C("<｜tool▁calls▁end｜>"),
          "T(Hm.)B0:addI({\"a\": 1})E0B1:get_weatherI({})E1" },
        { ON("deepseek-v3.1", READER_THINKS),
          "So.</think>" C("<｜tool▁calls▁begin｜>") C("<｜tool▁call▁begin｜>") "add" C(
                  "<｜tool▁sep｜>") "{\"a\": 1}" C("<｜tool▁call▁end｜>") C("<｜tool▁calls▁end｜>"),
          "R(So.)B0:addI({\"a\": 1})E0", SPELLED },
        /* Phi */
        { ON("phi4"),
          C("<|tool_call|>") "[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]" C("<|/tool_call|>"),
          "B0:addI({\"a\": 1})E0" },
        /* harmony */
        { ON("harmony"),
          C("<|channel|>") "analysis" C("<|message|>") "Think < well" C("<|end|>")
                  C("<|start|>") "assistant" C("<|channel|>") "final" C("<|message|>") "Hello",
          "R(Think < well)T(Hello)" },
        { ON("harmony"),
          C("<|channel|>") "commentary to=functions.get_weather " C("<|constrain|>") "json" C(
                  "<|message|>") "{\"city\": \"Oslo\"}",
          "B0:get_weatherI({\"city\": \"Oslo\"})E0" },
        { ON("harmony"),
          C("<|channel|>") "commentary" C("<|message|>") "Looking." C("<|end|>")
                  C("<|start|>") "assistant to=functions.run" C("<|channel|>") "commentary" C(
                          "<|message|>") "ls -l\n" C("<|call|>"),
          "T(Looking.)B0:run*I(ls -l\n)E0" },
        { ON("harmony"),
          C("<|channel|>") "commentary to=functions.run " C("<|constrain|>") "json" C(
                  "<|message|>") "{\"input\":\"ls \\\"-l\\\"\"}" C("<|call|>"),
          "B0:run*I(ls \"-l\")E0" },
        { ON("harmony", .cut = true), C("<|channel|>") "analysis" C("<|message|>") "Thi", "R(Thi)" },
        { ON("harmony", .cut = true), C("<|channel|>") "ana", "" },
        { ON("harmony"), "Just talk", "T(Just talk)" },
        { ON("harmony", .stop = "lo"),
          C("<|channel|>") "analysis" C("<|message|>") "hello" C("<|end|>")
                  C("<|start|>") "assistant" C("<|channel|>") "final" C("<|message|>") "hello",
          "R(hello)T(hel)" },
};

static void test_recorded_outputs(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
                const struct sample *s = &samples[i];
                struct setting setting = s->setting;
                char room[1024];
                struct str stream = str_c(s->stream);
                if (s->vocab != SPELLED) {
                        setting.controls = true;
                        check_splits(&setting, stream, s->want);
                }
                if (s->vocab != CONTROLS) {
                        setting.controls = false;
                        check_splits(&setting, spelled_out(stream, room), s->want);
                }
        }
}

/* ---- tokens ---- */

static void test_tokens_go_with_their_text(void **state)
{
        (void)state;
        struct setting s = { .format = "hermes", .think = READER_THINKS };
        struct str stream = STR(
                "ab\n</think>\n\nWell, no.\n<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>");
        struct heard h;
        read_stream(&s, stream, single_bytes, NULL, &h);
        assert_string_equal(h.text.p, "R(ab)T(Well, no.)B0:addI({})E0");
        assert_int_equal(h.reasoning, 2);
        buf_addc(&h.token_text, '\0');
        assert_string_equal(h.token_text.p, "Well, no.");
        buf_release(&h.text);
        buf_release(&h.token_text);
}

static void test_alternatives_are_kept(void **state)
{
        (void)state;
        struct format_vocab vocab = { none_is, NULL };
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct reader_opts opts = { .idiom = d, .calls = true, .tools = tools, .n_tools = 1, .tokens = true };
        struct reader *r = reader_new(&opts);
        struct turn_event ev;
        for (int i = 0; i < 20; i++) { /* held back: it may open a call */
                struct engine_top top[] = { { i, -0.5f }, { i + 100, -1.5f } };
                struct engine_token token = { i, STR("\n"), -0.5f, top, 2 };
                assert_int_equal(reader_text(r, STR("\n"), &token, 1), 0);
                assert_false(reader_next(r, &ev));
        }
        assert_int_equal(reader_text(r, STR("x"), NULL, 0), 0);
        assert_true(reader_next(r, &ev));
        assert_int_equal(ev.n_tokens, 20);
        for (int i = 0; i < 20; i++) {
                assert_int_equal(ev.tokens[i].top[0].id, i);
                assert_int_equal(ev.tokens[i].top[1].id, i + 100);
        }
        reader_free(r);
        idiom_free(d);
}

/* ---- nothing late, nothing lost ---- */

static void test_text_is_not_late(void **state)
{
        (void)state;
        struct format_vocab vocab = { none_is, NULL };
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct reader_opts opts = { .idiom = d, .calls = true, .tools = tools, .n_tools = 1 };
        struct reader *r = reader_new(&opts);
        static const char text[] = "Some words <b>before</b> a call {\"name\": 1}.";
        struct turn_event ev;
        size_t said = 0;
        for (size_t i = 0; i + 1 < sizeof(text); i++) {
                assert_int_equal(reader_text(r, (struct str){ text + i, 1 }, NULL, 0), 0);
                while (reader_next(r, &ev)) {
                        said += ev.text.n;
                        reader_taken(r);
                }
                assert_true(said + 2 > i);
        }
        reader_free(r);
        idiom_free(d);
}

/* Arguments come as they are written, not when they are whole. */
static void test_arguments_stream(void **state)
{
        (void)state;
        struct format_vocab vocab = { none_is, NULL };
        for (size_t k = 0; format_at(k); k++) {
                static const char *const heads[] = {
                        [FORMAT_JSON] = "{\"name\": \"add\", \"arguments\": ",
                        [FORMAT_LIST] = "[{\"name\": \"add\", \"arguments\": ",
                        [FORMAT_NAMED] = "add",
                        [FORMAT_CHANNELS] = "commentary to=functions.add",
                };
                const struct format *f = format_at(k);
                struct idiom *d = idiom_new(f, &vocab);
                struct reader_opts opts = { .idiom = d, .calls = true, .tools = tools, .n_tools = 2 };
                struct reader *r = reader_new(&opts);
                struct turn_event ev;
                reader_text(r, d->section, NULL, 0);
                reader_text(r, d->open, NULL, 0);
                reader_text(r, str_c(heads[f->shape]), NULL, 0);
                reader_text(r, d->sep, NULL, 0);
                reader_text(r, STR("{"), NULL, 0);
                bool begun = false;
                while (reader_next(r, &ev)) {
                        begun |= ev.kind == TURN_CALL_BEGIN;
                        reader_taken(r);
                }
                assert_true(begun);
                for (int i = 0; i < 50; i++) {
                        reader_text(r, STR("\"a\": 1, "), NULL, 0);
                        assert_true(reader_next(r, &ev));
                        assert_int_equal(ev.kind, TURN_CALL_INPUT);
                        reader_taken(r);
                }
                reader_free(r);
                idiom_free(d);
        }
}

#ifdef CAIRN_FAULTS
/* Every allocation may fail: an error, never a crash or a leak. */
static void test_memory_runs_out(void **state)
{
        (void)state;
        struct format_vocab vocab = { none_is, NULL };
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct reader_opts opts = { .idiom = d, .calls = true, .tools = tools, .n_tools = 3, .tokens = true };
        bool whole = false;
        for (long nth = 1; !whole; nth++) {
                struct engine_token token = { 1, STR("x"), 0, NULL, 0 };
                struct turn_event ev;
                mem_fail_nth(nth);
                struct reader *r = reader_new(&opts);
                int rc = r ? reader_text(r, STR("x<tool_call>{\"arguments\": {}, \"name\": \"add\"}"), &token,
                                         1)
                           : -1;
                if (!rc)
                        rc = reader_end(r, true);
                while (!rc && reader_next(r, &ev))
                        reader_taken(r);
                whole = !rc && mem_alloc_count() < nth;
                reader_free(r);
        }
        mem_fail_nth(0);
        idiom_free(d);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recorded_outputs),
                cmocka_unit_test(test_tokens_go_with_their_text),
                cmocka_unit_test(test_alternatives_are_kept),
                cmocka_unit_test(test_text_is_not_late),
                cmocka_unit_test(test_arguments_stream),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_memory_runs_out),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
