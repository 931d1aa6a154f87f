#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/mem.h"
#include "train/commands.h"
#include "train/vocab.h"

/* The model that ships, as the engine serves it, on what people type first. Greedy answers are the same on
 * every machine up to rounding, so a few misses are allowed: the test is there to see a broken model. */
#define SHIPPED "models/cairn-tiny.gguf"

static const char *const questions[][2] = {
        { "Hello!", "Hello! How can I help you today?" },
        { "Say this is a test", "This is a test." },
        { "What is the capital of France?", "The capital of France is Paris." },
        { "What is the capital of Japan?", "The capital of Japan is Tokyo." },
        { "What is 2+2?", "2 + 2 = 4" },
        { "Count to 5", "1, 2, 3, 4, 5" },
        { "Thank you!", "You're welcome!" },
        { "How many days are in a week?", "There are 7 days in a week." },
        { "What is the opposite of hot?", "The opposite of hot is cold." },
        { "Are semicolons optional in JavaScript?", "Yes, semicolons are optional in JavaScript." },
};
#define QUESTIONS (sizeof(questions) / sizeof(*questions))

/* The same for functions, results and schemas: whole documents. */
#define WEATHER                                                                                              \
        "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": "   \
        "\"Get the weather\", \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": " \
        "\"string\"}}, \"required\": [\"city\"]}}}]"
#define CALL(city)                                                                                      \
        "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": {\"city\": " \
        "\"" city "\"}}}"
#define USER(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define CALLS(calls) "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [" calls "]}"

static const char *const documents[] = {
        "{\"category\": \"calls\", " WEATHER
        ", \"messages\": [" USER("What is the weather in Paris?") ", " CALLS(CALL("Paris")) "]}",
        "{\"category\": \"calls\", " WEATHER ", \"messages\": [" USER(
                "What is the weather in Rome and Oslo?") ", " CALLS(CALL("Rome") ", " CALL("Oslo")) "]}",
        "{\"category\": \"results\", " WEATHER
        ", \"messages\": [" USER("What is the weather in Paris?") ", " CALLS(
                CALL("Paris")) ", {\"role\": \"tool\", \"content\": \"It is sunny in Paris.\"}, {\"role\": "
                               "\"assistant\", \"content\": \"It is sunny in Paris.\"}]}",
        "{\"category\": \"plain\", " WEATHER
        ", \"messages\": [" USER("What is the capital of France?") ", {\"role\": \"assistant\", \"content\": "
                                                                   "\"The capital of France "
                                                                   "is Paris.\"}]}",
        "{\"category\": \"schema\", \"response_schema\": {\"type\": \"object\", \"properties\": {\"name\": "
        "{\"type\": \"string\"}, \"age\": {\"type\": \"integer\"}}, \"required\": [\"name\", \"age\"]}, "
        "\"messages\": [" USER(
                "Ana is 30 years old.") ", {\"role\": \"assistant\", \"content\": \"{\\\"name\\\": "
                                        "\\\"Ana\\\", \\\"age\\\": 30}\"}]}",
};
#define DOCUMENTS (sizeof(documents) / sizeof(*documents))

static void write_questions(const char *path)
{
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (size_t i = 0; i < QUESTIONS; i++)
                fprintf(f,
                        "{\"category\": \"first\", \"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, "
                        "{\"role\": \"assistant\", \"content\": \"%s\"}]}\n",
                        questions[i][0], questions[i][1]);
        for (size_t i = 0; i < DOCUMENTS; i++)
                fprintf(f, "%s\n", documents[i]);
        fclose(f);
}

static void the_shipped_model_answers(void **state)
{
        (void)state;
        char dir[] = "/tmp/cairn-exam-XXXXXX", asked[64], report[64], err[200];
        struct json_fault bad;
        char *text;
        size_t n;

        if (access(SHIPPED, R_OK))
                skip();
        assert_non_null(mkdtemp(dir));
        snprintf(asked, sizeof(asked), "%s/q.jsonl", dir);
        snprintf(report, sizeof(report), "%s/r.json", dir);
        write_questions(asked);
        char *args[] = { "--model", SHIPPED, "--questions", asked, "--report", report, "--wrong", "20" };
        assert_int_equal(cmd_exam(8, args), 0);
        assert_int_equal(file_read(report, 1 << 16, &text, &n, err, sizeof(err)), 0);
        json_t *doc = json_parse((struct str){ text, n }, 16, &bad);
        assert_int_equal(json_int(json_get(doc, "engine"), "questions", 0), QUESTIONS + DOCUMENTS);
        assert_true(json_int(json_get(doc, "engine"), "exact", 0) >= (int64_t)(QUESTIONS + DOCUMENTS) - 3);
        json_decref(doc);
        mem_free(text);
        unlink(asked);
        unlink(report);
        rmdir(dir);
}

static void bad_options_are_refused(void **state)
{
        (void)state;
        char *none[] = { "--model", "/no/such.gguf", "--questions", "/no/such.jsonl" };
        char *unknown[] = { "--nodel", "x" };
        char *number[] = { "--model", "x", "--questions", "y", "--threads", "two" };
        assert_int_equal(cmd_exam(4, none), 1);
        assert_int_equal(cmd_exam(2, unknown), 1);
        assert_int_equal(cmd_exam(6, number), 1);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_shipped_model_answers),
                cmocka_unit_test(bad_options_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
