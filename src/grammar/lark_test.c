#include "grammar/testing.h"

static struct grammar_vocab *vocab;

static int setup(void **state)
{
        (void)state;
        vocab = test_vocab(NULL, 0);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        grammar_vocab_free(vocab);
        return 0;
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void check(const char *lark, const char *const *good, const char *const *bad)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar_err err = { 0 };
        struct grammar *g;
        int r = grammar_finish(b, grammar_lark(b, str_c(lark), &err), &g, &err);
        if (r)
                fail_msg("%s: %d %s", lark, r, err.msg);
        for (; *good; good++)
                if (!accepts(g, vocab, str_c(*good)))
                        fail_msg("%s refuses %s", lark, *good);
        for (; *bad; bad++)
                if (accepts(g, vocab, str_c(*bad)))
                        fail_msg("%s allows %s", lark, *bad);
        grammar_unref(g);
}

static void refuse(const char *lark, const char *message, const char *path)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar_err err = { 0 };
        gnode part = grammar_lark(b, str_c(lark), &err);
        assert_int_equal(part, -EINVAL);
        if (!strstr(err.msg, message) || strcmp(err.path, path) != 0)
                fail_msg("%s: \"%s\" at \"%s\"", lark, err.msg, err.path);
        /* What is wrong with the grammar does not spoil the builder. */
        assert_true(grammar_literal(b, STR("x")) >= 0);
        grammar_builder_free(b);
}

static void test_expressions(void **state)
{
        (void)state;
        check("start: expr\n"
              "expr: expr \"+\" term | expr \"-\" term | term   // left recursion\n"
              "term: term \"*\" factor\n"
              "    | factor\n"
              "?factor: INT -> number\n"
              "       | \"(\" expr \")\"\n"
              "%import common.INT\n"
              "%import common.WS\n"
              "%ignore WS\n",
              LIST("1", "1+2*3", " ( 1 + 22 ) * 3 - 4\n", "((((1))))"),
              LIST("", "1+", "1 2", "()", "1+2)", "a"));
}

static void test_terminals(void **state)
{
        (void)state;
        check("start: \"Hello\"i NAME~1..2 [\"!\"] (\"a\"..\"c\")*\n"
              "NAME.2: /[A-Z][a-z]*/\n",
              LIST("helloBob", "HELLOBobAl!", "HellOXabcabc"),
              LIST("hello", "helloBob Al", "helloABC", "helloX1"));
        check("start: A B? C*\nA: \"a\"+\nB: A \"b\"\nC: /c{2,3}/i\n", LIST("a", "aab", "aCC", "aabcccCC"),
              LIST("b", "ac", "aabc"));
        check("start: \"\\\"\\u00e9\\n\\\\\" | \"a\" // comment\n  | \"b\"\n\n# more\n",
              LIST("\"\xc3\xa9\n\\", "a", "b"), LIST("c", "\"e\n\\"));
}

static void test_sql(void **state)
{
        (void)state;
        check("start: select SP table SP \"LIMIT\" SP NUMBER \";\"\n"
              "select: \"SELECT\" SP column (COMMA column)*\n"
              "column: IDENTIFIER\n"
              "table: \"FROM\" SP IDENTIFIER\n"
              "SP: \" \"\nCOMMA: \", \"\n"
              "IDENTIFIER: /[A-Za-z_][A-Za-z0-9_]*/\n"
              "NUMBER: /[0-9]+/\n",
              LIST("SELECT a, b_c FROM t LIMIT 10;"),
              LIST("SELECT FROM t LIMIT 10;", "SELECT a FROM t LIMIT x;"));
}

static void test_templates(void **state)
{
        (void)state;
        check("start: list{item, \";\"}\n"
              "list{x, sep}: x (sep x)*\n"
              "item: \"a\" | \"(\" list{item, \",\"} \")\"\n",
              LIST("a", "a;a", "(a,a);(a,(a))"), LIST("", "a,a", "(a;a)", ";"));
}

static void test_right_recursion_and_empty(void **state)
{
        (void)state;
        check("start: list\nlist: \"a\" list |\n", LIST("", "a", "aaaaaaaaaaaaaaaaaaaa"), LIST("b"));
        check("start: a b\na: | \"x\" a \"y\"\nb: a |\n", LIST("", "xy", "xxyyxy"), LIST("xyy", "yx", "xxy"));
}

static void test_errors(void **state)
{
        (void)state;
        refuse("start: foo\n", "'foo' is used but not defined", "line 1, column 11");
        refuse("foo: \"a\"\n", "no rule 'start'", "line 2, column 1");
        refuse("start: \"a\n", "a string without end", "line 1, column 10");
        refuse("start: A\nA: b\nb: \"x\"\n", "used in a terminal", "line 2, column 5");
        refuse("start: \"a\"\nstart: \"b\"\n", "defined twice", "line 2, column 6");
        refuse("start: /(?=a)b/\n", "look-around", "line 1, column 16");
        refuse("start: \"a\"~3..2\n", "out of order", "line 1, column 16");
        refuse("%import python.X\nstart: X\n", "only 'common'", "line 1, column 15");
        refuse("%declare X\nstart: X\n", "directive", "line 1, column 1");
        refuse("start: (\"a\"\n", "a group without end", "line 2, column 1");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_expressions),
                cmocka_unit_test(test_terminals),
                cmocka_unit_test(test_sql),
                cmocka_unit_test(test_templates),
                cmocka_unit_test(test_right_recursion_and_empty),
                cmocka_unit_test(test_errors),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
