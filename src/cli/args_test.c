#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cli/args.h"

static struct {
        bool flag;
        const char *text;
        int64_t whole;
        double number;
} given;

static const struct arg table[] = {
        { "admin", ARG_FLAG, NULL, "a flag", .target = &given.flag },
        { "name", ARG_TEXT, "NAME", "a text", .target = &given.text },
        { "days", ARG_INT, "N", "a whole number", .target = &given.whole, .min = 1, .max = 10 },
        { "ratio", ARG_NUMBER, "X", "a number", .target = &given.number, .min = 0, .max = 2 },
        { "config", ARG_CONFIG, "FILE", "for the configuration", .target = NULL },
};
#define N (sizeof(table) / sizeof(*table))

static char err[256];
static struct args args;

/* Parses a NULL-terminated list. */
static int parse(char **argv)
{
        int argc = 0;
        while (argv[argc])
                argc++;
        memset(&given, 0, sizeof(given));
        *err = '\0';
        return args_parse(table, N, argc, argv, &args, err, sizeof(err));
}
#define PARSE(...) parse((char *[]){ __VA_ARGS__, NULL })

static void values_in_both_forms(void **state)
{
        (void)state;
        assert_int_equal(PARSE("--admin", "--name", "a b", "--days=3", "--ratio", "1.5", "word"), 0);
        assert_true(given.flag);
        assert_string_equal(given.text, "a b");
        assert_int_equal(given.whole, 3);
        assert_true(given.number == 1.5);
        assert_int_equal(args.n_words, 1);
        assert_string_equal(args.words[0], "word");
        assert_int_equal(PARSE("--name="), 0);
        assert_string_equal(given.text, "");
}

static void two_dashes_end_the_options(void **state)
{
        (void)state;
        assert_int_equal(PARSE("a", "--", "--admin", "--", "-x"), 0);
        assert_false(given.flag);
        assert_int_equal(args.n_words, 4);
        assert_string_equal(args.words[1], "--admin");
        assert_string_equal(args.words[2], "--");
}

static void config_options_are_handed_on(void **state)
{
        (void)state;
        assert_int_equal(PARSE("--config", "x.yaml", "create", "--config=y.yaml"), 0);
        assert_int_equal(args.n_config, 3);
        assert_string_equal(args.config[0], "--config");
        assert_string_equal(args.config[1], "x.yaml");
        assert_string_equal(args.config[2], "--config=y.yaml");
        assert_int_equal(args.n_words, 1);
}

static void mistakes_are_named(void **state)
{
        static const struct {
                const char *argv[3], *message;
        } cases[] = {
                { { "--nmae", "x" }, "unknown option '--nmae' (did you mean '--name'?)" },
                { { "--zzzzzz" }, "unknown option '--zzzzzz'" },
                { { "--name" }, "--name needs a value: NAME" },
                { { "--admin=1" }, "--admin takes no value" },
                { { "--days", "0" }, "--days takes a whole number from 1 to 10" },
                { { "--days", "11" }, "--days takes a whole number from 1 to 10" },
                { { "--days", "3x" }, "--days takes a whole number from 1 to 10" },
                { { "--days", "99999999999999999999" }, "--days takes a whole number from 1 to 10" },
                { { "--ratio", "nan" }, "--ratio takes a number from 0 to 2" },
                { { "--ratio", "-1" }, "--ratio takes a number from 0 to 2" },
        };
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                assert_true(parse((char **)cases[i].argv) < 0);
                assert_string_equal(err, cases[i].message);
        }
}

static void too_many_arguments(void **state)
{
        static char *many[ARGS_MAX + 2];
        (void)state;
        for (int i = 0; i <= ARGS_MAX; i++)
                many[i] = "x";
        assert_true(parse(many) < 0);
        many[ARGS_MAX] = NULL;
        assert_int_equal(parse(many), 0);
        assert_int_equal(args.n_words, ARGS_MAX);
}

static void help_lists_every_option(void **state)
{
        char *text = NULL;
        size_t n;
        FILE *out = open_memstream(&text, &n);
        (void)state;
        args_help(table, N, out);
        fclose(out);
        for (size_t i = 0; i < N; i++)
                assert_non_null(strstr(text, table[i].name));
        assert_non_null(strstr(text, "--days N"));
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_in_both_forms),         cmocka_unit_test(two_dashes_end_the_options),
                cmocka_unit_test(config_options_are_handed_on), cmocka_unit_test(mistakes_are_named),
                cmocka_unit_test(too_many_arguments),           cmocka_unit_test(help_lists_every_option),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
