/* The interpreter against Python's jinja2: every case of tests/vectors/jinja.json renders to what jinja2 (in
 * the settings of the Transformers library) rendered, or fails where it failed. Given a file, the program
 * replays that one instead. Then what jinja2 does not have: origins of bytes, limits, cancelling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "jinja/jinja.h"

static const char *vectors = "tests/vectors/jinja.json";

static int run(const char *source, const json_t *data, const json_t *trusted,
               const struct jinja_limits *limits, struct jinja_output *out, struct jinja_err *err)
{
        struct jinja *t;
        int rc = jinja_compile(str_c(source), &t, err);
        if (!rc)
                rc = jinja_render(t, data, trusted, limits, NULL, NULL, out, err);
        jinja_free(t);
        return rc;
}

/* ---- jinja2 ------------------------------------------------------------------------------------------- */

/* Whether an error is as expected: for those that a template or Jinja itself words, the words count. */
static bool same_error(const json_t *want, const struct jinja_err *err)
{
        const char *msg = json_cstr(want, "message", NULL);
        if (json_flag(want, "raised", false) != err->raised)
                return false;
        return !msg || !strncmp(msg, err->msg, sizeof(err->msg) - 1);
}

/* The text of a file of ours, mem_free() it. */
static char *read_file(const char *path)
{
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        struct buf text;
        buf_init(&text, 1 << 20);
        for (int c; (c = fgetc(f)) != EOF;)
                buf_addc(&text, (char)c);
        fclose(f);
        return buf_take(&text, NULL);
}

/* A template stands in the case, or in a file of tests/vectors/templates. */
static char *template_of(const json_t *c)
{
        const char *file = json_cstr(json_object_get(c, "template"), "file", NULL);
        char path[256];
        if (!file)
                return mem_strdup(json_cstr(c, "template", ""));
        snprintf(path, sizeof(path), "tests/vectors/templates/%s", file);
        return read_file(path);
}

static bool replay(const json_t *all, const json_t *c)
{
        struct jinja_output out = { 0 };
        struct jinja_err err;
        const json_t *want = json_object_get(c, "output"), *fault = json_object_get(c, "error");
        const json_t *data = json_object_get(c, "data"), *trusted = NULL;
        const char *conversation = json_cstr(data, "conversation", NULL);
        char *source = template_of(c);
        if (conversation) {
                data = json_object_get(json_object_get(all, "conversations"), conversation);
                trusted = json_object_get(all, "trusted");
        }
        int rc = run(source, data, trusted, NULL, &out, &err);
        bool ok =
                rc ? fault && same_error(fault, &err) : want && str_eq(json_as_str(want), buf_str(&out.text));
        if (!ok)
                printf("---- %s\n%s\nexpected: %s%s\n     got: %s%s (line %d)\n", json_cstr(c, "name", "?"),
                       source, want ? "" : "error: ",
                       want ? json_string_value(want) : json_cstr(fault, "message", "any"),
                       rc ? "error: " : "",
                       rc           ? err.msg
                       : out.text.n ? out.text.p
                                    : "",
                       rc ? err.line : 0);
        jinja_output_release(&out);
        mem_free(source);
        return ok;
}

static void equals_python(void **state)
{
        json_error_t error;
        (void)state;
        json_t *all = json_load_file(vectors, JSON_ALLOW_NUL, &error);
        const json_t *cases = json_object_get(all, "cases");
        size_t failed = 0, n = json_array_size(cases);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++)
                failed += !replay(all, json_array_get(cases, i));
        printf("%zu cases, %zu differ\n", n, failed);
        json_decref(all);
        assert_int_equal(failed, 0);
}

/* ---- where bytes come from ----------------------------------------------------------------------------- */

/* Renders with data {d: ...} and trusted {bos: "<s>"}; '#' for each byte that is data, '.' for the others. */
static void origins(const char *source, const char *data, const char *text, const char *marks)
{
        struct jinja_output out = { 0 };
        struct jinja_err err;
        char got[256] = "";
        json_t *d = json_loads(data, 0, NULL), *trusted = json_pack("{s:s}", "bos", "<s>");
        int rc = run(source, d, trusted, NULL, &out, &err);
        if (rc)
                fail_msg("%s: %s", source, err.msg);
        assert_string_equal(out.text.p, text);
        size_t at = 0;
        for (size_t i = 0; i < out.spans.n; i++) {
                const struct jinja_span *s = &out.spans.p[i];
                assert_int_equal(s->start, at);
                assert_true(s->n > 0 && (!i || s->data != s[-1].data));
                memset(got + at, s->data ? '#' : '.', s->n);
                at += s->n;
        }
        assert_int_equal(at, out.text.n);
        assert_string_equal(got, marks);
        jinja_output_release(&out);
        json_decref(d);
        json_decref(trusted);
}

static void origin_of_each_byte(void **state)
{
        (void)state;
        origins("{{ bos }}[{{ d }}]", "{\"d\":\"abc\"}", "<s>[abc]", "....###.");
        origins("{{ '<' + d + '>' }}", "{\"d\":\"abc\"}", "<abc>", ".###.");
        origins("{{ '<' ~ d ~ bos }}", "{\"d\":\"abc\"}", "<abc<s>", ".###...");
        origins("{{ (bos ~ d)[1:5] }}", "{\"d\":\"abc\"}", "s>ab", "..##");
        origins("{{ (bos ~ d)[::-1] }}", "{\"d\":\"abc\"}", "cba>s<", "###...");
        origins("{{ (' ' ~ d ~ ' ')|trim }}", "{\"d\":\" ab \"}", "ab", "##");
        origins("{{ ('x' ~ d)|upper }}", "{\"d\":\"abc\"}", "XABC", ".###");
        origins("{{ ('x' ~ d)|replace('b', '--') }}", "{\"d\":\"abc\"}", "xa--c", ".#..#");
        origins("{{ 'x-y'|replace('-', d) }}", "{\"d\":\"abc\"}", "xabcy", ".###.");
        origins("{{ [bos, d]|join('-') }}", "{\"d\":\"ab\"}", "<s>-ab", "....##");
        origins("{{ d|join('-') }}", "{\"d\":[\"a\",\"b\"]}", "a-b", "#.#");
        origins("{{ d|tojson }}", "{\"d\":{\"k\":[1,\"v\",null]}}", "{\"k\": [1, \"v\", null]}",
                "#####################");
        origins("{{ {'k': d}|tojson }}", "{\"d\":\"v\"}", "{\"k\": \"v\"}", "......###.");
        origins("{{ d }}{{ [d] }}", "{\"d\":12}", "12[12]", "##.##.");
        origins("{{ d + 1 }}|{{ d|string }}|{{ '%d' % d }}|{{ '{}'.format(d) }}", "{\"d\":7}", "8|7|7|7",
                "#.#.#.#");
        origins("{{ d|int + 1 }}|{{ d|float }}", "{\"d\":\"7\"}", "8|7.0", "#.###");
        origins("{{ d.items()|list }}", "{\"d\":{\"a\":1}}", "[('a', 1)]", "..###..#..");
        origins("{% for k in d %}{{ k }}={{ d[k] }}{% endfor %}", "{\"d\":{\"a\":\"b\"}}", "a=b", "#.#");
        origins("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(d) }}{% set y %}({{ d }}){% endset %}{{ y }}",
                "{\"d\":\"q\"}", "<q>(q)", ".#..#.");
        origins("{{ '%s|%5s' % (d, d) }}", "{\"d\":\"a\"}", "a|    a", "#.....#");
        origins("{{ d.split(',')[1] }}{{ d|indent(2) }}", "{\"d\":\"a,b\"}", "ba,b", "####");
        origins("{{ d|escape }}", "{\"d\":\"<\"}", "&lt;", "####");
        origins("{% set ns = namespace(t='') %}{% for x in d %}{% set ns.t = ns.t + x + '-' %}{% endfor %}{{ "
                "ns.t }}",
                "{\"d\":[\"a\",\"b\"]}", "a-b-", "#.#.");
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static int limited(const char *source, size_t steps, size_t bytes, int depth, struct jinja_err *err)
{
        struct jinja_output out = { 0 };
        struct jinja_limits limits = { steps, bytes, depth };
        int rc = run(source, NULL, NULL, &limits, &out, err);
        assert_true(!rc || !out.text.p);
        jinja_output_release(&out);
        return rc;
}

static void limits_hold(void **state)
{
        struct jinja_err err;
        (void)state;
        assert_int_equal(
                limited("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", 0,
                        0, 0, &err),
                -E2BIG);
        assert_int_equal(limited("{{ 'abcdefgh' * 100000000 }}", 0, 0, 0, &err), -E2BIG);
        assert_int_equal(limited("{{ [0] * 100000000 }}", 0, 0, 0, &err), -E2BIG);
        assert_int_equal(limited("{{ '%999999d' % 1 }}", 1000, 0, 0, &err), -E2BIG);
        assert_int_equal(limited("{{ 'a' * 4000 }}", 0, 1000, 0, &err), -E2BIG);
        assert_int_equal(limited("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", 0, 0, 0, &err),
                         -E2BIG);
        assert_int_equal(limited("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", 0, 0, 0, &err),
                         -E2BIG);
        assert_int_equal(
                limited("{% set ns = namespace(x=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}"
                        "{% endfor %}{{ ns.x }}",
                        0, 0, 0, &err),
                -E2BIG);
        assert_int_equal(limited("{% set s = 'a' * 1000000 %}{% set d = dict(a=1, b=2, c=3, d=4, e=5, f=6, "
                                 "g=7, h=8, i=9) %}"
                                 "{% for i in range(100000) %}{{ s in d }}{% endfor %}",
                                 0, 0, 0, &err),
                         -E2BIG);
        /* Keys that are numbers are found at once. */
        assert_int_equal(limited("{{ range(50000) | unique | list | length }}", 3000000, 0, 0, &err), 0);
        assert_int_equal(limited("{{ 1 }}", 0, 0, 0, &err), 0);
        assert_int_equal(limited("{{ [[[1]]] }}", 0, 0, 2, &err), -E2BIG);
}

/* Deep templates are refused, or run: the stack holds either way. */
static void deep_templates(void **state)
{
        static const char *const shapes[][3] = { { "(", "1", ")" },      { "[", "1", "]" },
                                                 { "-", "1", "" },       { "not ", "1", "" },
                                                 { "1 + ", "1", "" },    { "", "x", ".a" },
                                                 { "", "1", "|string" }, { "{1:", "1", "}" },
                                                 { "", "'a'", "[0]" },   { "1 if 1 else ", "1", "" } };
        (void)state;
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
                for (size_t n = 50; n <= 100000; n *= 10) {
                        struct buf b;
                        struct jinja_err err;
                        buf_init(&b, 16 << 20);
                        buf_adds(&b, "{{ ");
                        for (size_t k = 0; k < n; k++)
                                buf_adds(&b, shapes[i][0]);
                        buf_adds(&b, shapes[i][1]);
                        for (size_t k = 0; k < n; k++)
                                buf_adds(&b, shapes[i][2]);
                        buf_adds(&b, " }}");
                        int rc = limited(b.p, 0, 0, 0, &err);
                        assert_true(!rc || rc == -EINVAL || rc == -E2BIG);
                        buf_release(&b);
                }
        }
        struct buf b;
        struct jinja_err err;
        buf_init(&b, 16 << 20);
        for (int k = 0; k < 100000; k++)
                buf_adds(&b, "{% if 1 %}");
        assert_int_equal(limited(b.p, 0, 0, 0, &err), -EINVAL);
        buf_release(&b);
}

static bool after_some(void *ctx)
{
        return ++*(int *)ctx > 3;
}

static void cancelling(void **state)
{
        struct jinja *t;
        struct jinja_err err;
        struct jinja_output out = { 0 };
        int asked = 0;
        (void)state;
        assert_int_equal(
                jinja_compile(
                        STR("{% for i in range(99999) %}{% for j in range(999) %}{% endfor %}{% endfor %}"),
                        &t, &err),
                0);
        assert_int_equal(jinja_render(t, NULL, NULL, NULL, after_some, &asked, &out, &err), -ECANCELED);
        jinja_free(t);
}

/* Each construct that is not supported is named with its line; so are faults while rendering. */
static void errors_say_where(void **state)
{
        static const struct {
                const char *source, *msg;
                int line;
        } rows[] = {
                { "a\n{% include 'x' %}", "{% include %} is not supported", 2 },
                { "{% import 'x' as y %}", "{% import %} is not supported", 1 },
                { "\n\n{% extends 'x' %}", "{% extends %} is not supported", 3 },
                { "{% block x %}{% endblock %}", "{% block %} is not supported", 1 },
                { "a\nb\n{{ x.y }}", "'x' is undefined", 3 },
                { "{% if x %}\n", "unexpected end of template, expected elif", 1 },
                { "a\n{{ 1 + }}", "an expression is expected", 2 },
                { "\xff", "the template is not UTF-8", 1 },
        };
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct jinja_err err;
                assert_int_equal(limited(rows[i].source, 0, 0, 0, &err), -EINVAL);
                assert_string_equal(err.msg, rows[i].msg);
                assert_int_equal(err.line, rows[i].line);
                assert_false(err.raised);
        }
        struct jinja_err err;
        char source[700] = "{{ raise_exception('";
        for (int i = 0; i < 200; i++)
                snprintf(source + strlen(source), 4, "\u00e9");
        snprintf(source + strlen(source), 8, "') }}");
        assert_int_equal(limited(source, 0, 0, 0, &err), -EINVAL);
        assert_true(err.raised && str_is_utf8(str_c(err.msg)) && strlen(err.msg) == 254);
}

/* ---- time and memory ----------------------------------------------------------------------------------- */

static json_t *conversation(int turns)
{
        json_t *messages = json_array();
        for (int i = 0; i < turns; i++)
                json_array_append_new(messages,
                                      json_pack("{s:s, s:s}", "role", i % 2 ? "assistant" : "user", "content",
                                                "Some words that a message may have, and a few more."));
        return json_pack("{s:o, s:b}", "messages", messages, "add_generation_prompt", 1);
}

/* A conversation ten times as long takes about ten times as long. */
static void time_is_linear(void **state)
{
        static const char *const files[] = { "qwen.jinja", "llama3.jinja", "harmony.jinja", "mistral.jinja" };
        (void)state;
        for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++) {
                char path[128];
                struct jinja *t;
                int64_t best[2] = { INT64_MAX, INT64_MAX };
                snprintf(path, sizeof(path), "tests/vectors/templates/%s", files[f]);
                char *source = read_file(path);
                json_t *trusted = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>");
                assert_int_equal(jinja_compile(str_c(source), &t, NULL), 0);
                for (int round = 0; round < 6; round++) {
                        json_t *data = conversation(round % 2 ? 10000 : 1000);
                        struct jinja_output out = { 0 };
                        int64_t start = clock_mono_us();
                        assert_int_equal(jinja_render(t, data, trusted, NULL, NULL, NULL, &out, NULL), 0);
                        int64_t took = clock_mono_us() - start;
                        best[round % 2] = took < best[round % 2] ? took : best[round % 2];
                        jinja_output_release(&out);
                        json_decref(data);
                }
                printf("%s: 1,000 messages %.1f ms, 10,000 messages %.1f ms\n", files[f],
                       (double)best[0] / 1e3, (double)best[1] / 1e3);
                assert_true(best[1] < best[0] * 40 + 20000);
                jinja_free(t);
                json_decref(trusted);
                mem_free(source);
        }
}

#ifdef CAIRN_FAULTS
/* Every allocation may fail: the call says so, and nothing is lost. */
static void memory_runs_out(void **state)
{
        const char *source =
                "{% macro m(a) %}{{ a|upper }}{% endmacro %}{% for x in d %}{{ m(x) ~ x }}{% endfor %}";
        json_t *data = json_pack("{s:[s,s]}", "d", "a", "b");
        int rc = -ENOMEM;
        (void)state;
        for (long n = 1; rc; n++) {
                struct jinja_output out = { 0 };
                struct jinja_err err;
                mem_fail_nth(n);
                rc = run(source, data, NULL, NULL, &out, &err);
                mem_fail_nth(0);
                assert_true(rc == 0 || rc == -ENOMEM);
                jinja_output_release(&out);
                assert_true(n < 1000);
        }
        json_decref(data);
}
#endif

int main(int argc, char **argv)
{
        const struct CMUnitTest replay_only[] = { cmocka_unit_test(equals_python) };
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equals_python),   cmocka_unit_test(origin_of_each_byte),
                cmocka_unit_test(limits_hold),     cmocka_unit_test(deep_templates),
                cmocka_unit_test(cancelling),      cmocka_unit_test(errors_say_where),
                cmocka_unit_test(time_is_linear),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(memory_runs_out),
#endif
        };
        json_setup();
        if (argc > 1) {
                vectors = argv[1];
                return cmocka_run_group_tests(replay_only, NULL, NULL);
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
