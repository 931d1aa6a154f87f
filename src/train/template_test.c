/* The built-in model's chat template against the rendering that its training data was made with: the same
 * text to the byte, or the model would be asked in words that it has not learnt. The file holds documents of
 * `models/generate.py --documents 1 --questions 280 --seed 11`, those that have segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/mem.h"
#include "jinja/jinja.h"
#include "train/vocab.h"

#define TEMPLATE "models/chat_template.jinja"
#define DOCUMENTS "tests/vectors/chat_template.jsonl"

static struct jinja *template;
static size_t checked;

static void add_segments(struct buf *out, const json_t *segments)
{
        for (size_t i = 0; i < json_array_size(segments); i++) {
                struct str s = json_str(json_array_get(segments, i), "text");
                buf_add(out, s.p, s.n);
        }
        buf_addc(out, '\n'); /* behind the last turn, where no segment begins any more */
}

static int check_document(void *ctx, json_t *doc)
{
        (void)ctx;
        struct jinja_output out = { 0 };
        struct jinja_err err = { 0 };
        struct buf want;
        buf_init(&want, 1 << 16);
        add_segments(&want, json_get(doc, "segments"));
        json_put(doc, "add_generation_prompt", json_false());
        if (jinja_render(template, doc, NULL, NULL, NULL, NULL, &out, &err))
                fail_msg("line %d: %s", err.line, err.msg);
        if (!str_eq(buf_str(&out.text), buf_str(&want)))
                fail_msg("expected:\n%.*s\nrendered:\n%.*s", STR_ARG(buf_str(&want)),
                         STR_ARG(buf_str(&out.text)));
        checked++;
        jinja_output_release(&out);
        buf_release(&want);
        json_decref(doc);
        return 0;
}

static void the_template_renders_what_was_learnt(void **state)
{
        (void)state;
        struct jinja_err bad;
        char *text, err[200] = "";
        size_t n;
        assert_int_equal(file_read(TEMPLATE, 1 << 16, &text, &n, err, sizeof(err)), 0);
        if (jinja_compile((struct str){ text, n }, &template, &bad))
                fail_msg("line %d: %s", bad.line, bad.msg);
        if (jsonl_each(DOCUMENTS, 1 << 20, check_document, NULL, err, sizeof(err)))
                fail_msg("%s", err);
        assert_true(checked > 50);
        jinja_free(template);
        mem_free(text);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_template_renders_what_was_learnt),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
