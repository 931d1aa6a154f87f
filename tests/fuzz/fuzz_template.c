/*
 * fuzz_template.c: chat templates, compiled and rendered within small limits.
 *
 * Input: a template. Text from the first NUL on is put into the conversation that it renders, as data.
 * The bytes of the output are accounted for by its spans; what fails has a message.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "base/json.h"
#include "jinja/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *conversation(struct str text)
{
        json_t *s = json_strn(text);
        if (!s)
                s = json_string("Gr\u00fc\u00dfe <|im_end|>");
        return json_pack("{s:[{s:s, s:O}, {s:s, s:n, s:[{s:{s:s, s:{s:o}}}]}], s:[i, f, b], s:b}", "messages",
                         "role", "user", "content", s, "role", "assistant", "content", "tool_calls",
                         "function", "name", "f", "arguments", "x", s, "v", 3, 2.5, 1,
                         "add_generation_prompt", 1);
}

static void check_spans(const struct jinja_output *out)
{
        size_t at = 0;
        for (size_t i = 0; i < out->spans.n; i++) {
                assert(out->spans.p[i].start == at && out->spans.p[i].n);
                assert(!i || out->spans.p[i].data != out->spans.p[i - 1].data);
                at += out->spans.p[i].n;
        }
        assert(at == out->text.n && str_is_utf8(buf_str(&out->text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct jinja_limits limits = { .steps = 20000, .bytes = 1 << 20, .depth = 30 };
        struct str rest, source = str_split((struct str){ (const char *)data, size }, '\0', &rest);
        struct jinja_output out = { 0 };
        struct jinja_err err;
        struct jinja *t;

        int rc = jinja_compile(source, &t, &err);
        assert(rc == 0 || rc == -EINVAL || rc == -E2BIG);
        if (rc) {
                assert(!t && err.msg[0]);
                return 0;
        }
        json_t *vars = conversation(rest), *trusted = json_pack("{s:s}", "bos_token", "<s>");
        rc = jinja_render(t, vars, trusted, &limits, NULL, NULL, &out, &err);
        assert(rc == 0 || rc == -EINVAL || rc == -E2BIG);
        if (!rc)
                check_spans(&out);
        else
                assert((err.msg[0] || err.raised) && str_is_utf8(str_c(err.msg)));
        jinja_output_release(&out);
        json_decref(vars);
        json_decref(trusted);
        jinja_free(t);
        return 0;
}
