/* UTF-8 hold-back, stop strings across tokens, and which event carries which record. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "engine/output.h"

static char seen[256];      /* text of all events */
static size_t seen_records; /* their records */

/* Takes every event there is; text must be valid at each. */
static void take_all(struct output *o)
{
        struct engine_event ev;
        while (output_next(o, &ev)) {
                assert_true(str_is_utf8(ev.text));
                assert_true(strlen(seen) + ev.text.n < sizeof(seen));
                memcpy(seen + strlen(seen), ev.text.p, ev.text.n);
                seen_records += ev.n_tokens;
                output_taken(o, &ev);
        }
}

/* Pushes tokens one by one, taking events after each unless `lazy`. */
static void feed(struct output *o, const char *const *pieces, bool lazy)
{
        memset(seen, 0, sizeof(seen));
        seen_records = 0;
        for (int i = 0; pieces[i] && o->stopped < 0; i++) {
                struct engine_token tok = { .id = i, .piece = str_c(pieces[i]) };
                assert_int_equal(output_push(o, tok, true), 0);
                if (!lazy)
                        take_all(o);
        }
        assert_int_equal(output_end(o), 0);
        take_all(o);
}

static void expect(const char *const *pieces, const char *const *stops, const char *text, size_t records)
{
        for (int lazy = 0; lazy < 2; lazy++) {
                struct output o;
                struct str list[ENGINE_STOP_MAX];
                size_t n = 0;
                output_init(&o);
                for (; stops && stops[n]; n++)
                        list[n] = str_c(stops[n]);
                assert_int_equal(output_set_stops(&o, list, n), 0);
                feed(&o, pieces, lazy);
                assert_string_equal(seen, text);
                assert_int_equal(seen_records, records);
                output_release(&o);
        }
}
#define PIECES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_utf8(void **state)
{
        (void)state;
        expect(PIECES("a", "\xc3", "\xa9", "b"), NULL, "a\u00e9b", 4);
        expect(PIECES("\xf0\x9f", "\x98", "\x80!"), NULL, "\U0001F600!", 3);
        expect(PIECES("x\xe2\x82"), NULL, "x\ufffd", 1);               /* cut off at the end */
        expect(PIECES("\xe2\x82", "z"), NULL, "\ufffdz", 2);           /* broken by what follows */
        expect(PIECES("\xff\xfe"), NULL, "\ufffd\ufffd", 1);           /* never valid */
        expect(PIECES("\xc0\xaf"), NULL, "\ufffd\ufffd", 1);           /* overlong */
        expect(PIECES("\xed\xa0\x80"), NULL, "\ufffd\ufffd\ufffd", 1); /* surrogate */
        expect(PIECES("\xf4\x90", "\x80\x80"), NULL, "\ufffd\ufffd\ufffd\ufffd", 2);
        expect(PIECES("\x80", "\xf0\x9f\x98", "\xf0\x9f\x98\x80"), NULL, "\ufffd\ufffd\U0001F600", 3);
}

static void test_hold_back(void **state)
{
        (void)state;
        struct output o;
        struct engine_event ev;
        output_init(&o);
        struct engine_token tok = { .piece = STR("\xf0\x9f") };
        assert_int_equal(output_push(&o, tok, true), 0);
        assert_false(output_next(&o, &ev)); /* neither the half character nor its record */
        tok.piece = STR("\x98\x80");
        assert_int_equal(output_push(&o, tok, true), 0);
        assert_true(output_next(&o, &ev));
        assert_int_equal(ev.text.n, 4);
        assert_int_equal(ev.n_tokens, 2);
        assert_true(output_next(&o, &ev)); /* not taken: the same again */
        assert_int_equal(ev.text.n, 4);
        output_taken(&o, &ev);
        assert_false(output_next(&o, &ev));
        output_release(&o);
}

static void test_stops(void **state)
{
        (void)state;
        const char *const *stop = PIECES("END", "\n\n");
        expect(PIECES("one ", "E", "N", "D", "more"), stop, "one ", 1);
        expect(PIECES("one E", "ND"), stop, "one ", 1); /* the first token is partly text */
        expect(PIECES("E", "N", "E", "N", "X"), stop, "ENENX", 5);
        expect(PIECES("E", "EN", "D"), stop, "E", 1);
        expect(PIECES("a\n", "b\n", "\nc"), stop, "a\nb", 2);
        expect(PIECES("tail E"), stop, "tail E", 1); /* held back, released at the end */
        expect(PIECES("END"), stop, "", 0);
        expect(PIECES("xEND\n\n"), stop, "x", 1); /* the earliest wins */
        expect(PIECES("\xc3", "\xa9", "!"), PIECES("\u00e9"), "", 0);
        expect(PIECES("\xc3"), PIECES("\ufffd"), "", 0);
        expect(PIECES("aaab"), PIECES("aab"), "a", 1);
}

static void test_stop_found(void **state)
{
        (void)state;
        struct output o;
        output_init(&o);
        struct str stops[] = { STR("xx"), STR("yy") };
        assert_int_equal(output_set_stops(&o, stops, 2), 0);
        struct engine_token tok = { .piece = STR("ay") };
        assert_int_equal(output_push(&o, tok, false), 0);
        assert_int_equal(o.stopped, -1);
        assert_int_equal(output_push(&o, tok, false), 0);
        assert_int_equal(o.stopped, -1);
        tok.piece = STR("yy");
        assert_int_equal(output_push(&o, tok, false), 0);
        assert_true(str_eqc(output_stop(&o), "yy"));
        output_release(&o);
}

static void test_bad_stops(void **state)
{
        (void)state;
        struct output o;
        char longest[ENGINE_STOP_BYTES + 1];
        memset(longest, 'a', sizeof(longest));
        struct str bad[] = { STR(""), STR("\xff"), { longest, sizeof(longest) } }, many[ENGINE_STOP_MAX + 1];
        for (int i = 0; i < 3; i++) {
                output_init(&o);
                assert_int_equal(output_set_stops(&o, &bad[i], 1), -EINVAL);
                output_release(&o);
        }
        for (int i = 0; i <= ENGINE_STOP_MAX; i++)
                many[i] = (struct str){ longest, ENGINE_STOP_BYTES };
        output_init(&o);
        assert_int_equal(output_set_stops(&o, many, ENGINE_STOP_MAX + 1), -EINVAL);
        assert_int_equal(output_set_stops(&o, many, ENGINE_STOP_MAX), 0);
        output_release(&o);
}

static void test_records(void **state)
{
        (void)state;
        struct output o;
        struct engine_event ev;
        struct engine_top tops[] = { { 1, -0.5f }, { 2, -1.5f } };
        output_init(&o);
        struct engine_token tok = { .id = 7, .logprob = -3, .top = tops, .n_top = 2 };
        assert_int_equal(output_push_prompt(&o, tok), 0);
        tok.piece = STR("hi");
        tok.id = 8;
        assert_int_equal(output_push(&o, tok, true), 0);
        assert_true(output_next(&o, &ev)); /* the prompt's come first and alone */
        assert_int_equal(ev.kind, ENGINE_EV_PROMPT);
        assert_int_equal(ev.n_tokens, 1);
        assert_int_equal(ev.tokens[0].id, 7);
        output_taken(&o, &ev);
        assert_true(output_next(&o, &ev));
        assert_int_equal(ev.kind, ENGINE_EV_TEXT);
        assert_int_equal(ev.tokens[0].id, 8);
        assert_int_equal(ev.tokens[0].n_top, 2);
        assert_int_equal(ev.tokens[0].top[1].id, 2);
        output_taken(&o, &ev);
        assert_int_equal(o.tops.n, 0);
        output_release(&o);
}

/* Text, control tokens and records come in the order in which they were generated, and no stop string spans a
 * control token. */
static void test_controls(void **state)
{
        (void)state;
        struct output o;
        struct engine_event ev;
        struct str stops[] = { STR("ab"), STR("zz") };
        output_init(&o);
        assert_int_equal(output_set_stops(&o, stops, 2), 0);
        assert_int_equal(output_push(&o, (struct engine_token){ .id = 1, .piece = STR("xa") }, true), 0);
        assert_true(output_next(&o, &ev)); /* the "a" may be the beginning of a stop string */
        assert_int_equal(ev.text.n, 1);
        output_taken(&o, &ev);
        assert_int_equal(output_push_control(&o, (struct engine_token){ .id = 7 }, true), 0);
        assert_int_equal(output_push_control(&o, (struct engine_token){ .id = 8 }, true), 0);
        assert_int_equal(output_push(&o, (struct engine_token){ .id = 2, .piece = STR("b!") }, true), 0);
        assert_true(o.stopped < 0);
        assert_true(output_next(&o, &ev));
        assert_int_equal(ev.kind, ENGINE_EV_TEXT);
        assert_memory_equal(ev.text.p, "a", 1);
        assert_int_equal(ev.n_tokens, 1);
        output_taken(&o, &ev);
        assert_true(output_next(&o, &ev));
        assert_true(output_next(&o, &ev)); /* until it is taken */
        assert_int_equal(ev.kind, ENGINE_EV_CONTROL);
        assert_int_equal(ev.control, 7);
        assert_int_equal(ev.n_tokens, 1);
        assert_int_equal(ev.tokens[0].id, 7);
        output_taken(&o, &ev);
        assert_true(output_next(&o, &ev));
        assert_int_equal(ev.kind, ENGINE_EV_CONTROL);
        assert_int_equal(ev.control, 8);
        assert_int_equal(ev.n_tokens, 1);
        output_taken(&o, &ev);
        assert_true(output_next(&o, &ev));
        assert_int_equal(ev.kind, ENGINE_EV_TEXT);
        assert_int_equal(ev.text.n, 2);
        output_taken(&o, &ev);
        assert_false(output_next(&o, &ev));
        assert_int_equal(output_push(&o, (struct engine_token){ .id = 3, .piece = STR("\xc3") }, false), 0);
        assert_int_equal(output_push_control(&o, (struct engine_token){ .id = 9 }, false), 0);
        assert_true(output_next(&o, &ev)); /* the control token ends the character */
        assert_int_equal(ev.text.n, 3);
        output_taken(&o, &ev);
        assert_true(output_pending(&o));
        assert_true(output_next(&o, &ev));
        output_taken(&o, &ev);
        assert_false(output_pending(&o));
        output_release(&o);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_utf8),      cmocka_unit_test(test_hold_back),
                cmocka_unit_test(test_stops),     cmocka_unit_test(test_stop_found),
                cmocka_unit_test(test_bad_stops), cmocka_unit_test(test_records),
                cmocka_unit_test(test_controls),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
