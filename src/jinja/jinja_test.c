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

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equals_python),
        };
        if (argc > 1)
                vectors = argv[1];
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
