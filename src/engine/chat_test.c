/* Chat templates of model files: which one renders, what it gets, that no message can forge a marker. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "engine/gguf_write.h"
#include "engine/model.h"

#define BYTES 256

static const char *const markers[] = { "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]" };
static const char *const merges[] = { "t h", "th e", "i n", "u s", "us e", "use r", "h e", "l l" };
#define MARKERS (sizeof(markers) / sizeof(markers[0]))
#define MERGES (sizeof(merges) / sizeof(merges[0]))
#define TOKENS (BYTES + MERGES + MARKERS)

/* A model as far as conversations need one: a file with a vocabulary, and its templates. */
struct fixture {
        struct engine_model m;
        char path[64];
};

/* What differs between files; NULL: the file does not have it. */
struct says {
        const char *template, *tool_use;
        bool add_bos, no_chatml;
};

static struct gguf_writer *vocabulary(const char *path, bool chatml)
{
        static char text[TOKENS][24];
        struct str tokens[TOKENS], merge_list[MERGES];
        int32_t types[TOKENS];
        struct gguf_writer *w;
        char err[200];
        for (size_t i = 0; i < TOKENS; i++) {
                int n = 0;
                types[i] = i < BYTES + MERGES ? TOK_NORMAL : TOK_CONTROL;
                if (i < BYTES)
                        n = tokenizer_byte_char((uint8_t)i, text[i]);
                else if (i < BYTES + MERGES)
                        for (const char *p = merges[i - BYTES]; *p; p++)
                                text[i][n] = *p, n += *p != ' ';
                else
                        n = snprintf(text[i], sizeof(text[i]), "%s%s", chatml ? "" : "~",
                                     markers[i - BYTES - MERGES]);
                tokens[i] = (struct str){ text[i], (size_t)n };
        }
        for (size_t i = 0; i < MERGES; i++)
                merge_list[i] = str_c(merges[i]);
        assert_int_equal(gguf_writer_open(path, &w, err, sizeof(err)), 0);
        gguf_put_str(w, "general.architecture", STR("llama"));
        gguf_put_str(w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_put_str(w, "tokenizer.ggml.pre", STR("gpt-2"));
        gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, TOKENS);
        gguf_put_i32s(w, "tokenizer.ggml.token_type", types, TOKENS);
        gguf_put_strs(w, "tokenizer.ggml.merges", merge_list, MERGES);
        gguf_put_u32(w, "tokenizer.ggml.bos_token_id", BYTES + MERGES);
        gguf_put_u32(w, "tokenizer.ggml.eos_token_id", BYTES + MERGES + 1);
        return w;
}

static void open_file(struct fixture *f, const struct says *says)
{
        const uint64_t dims[1] = { 4 };
        const float values[4] = { 0 };
        char err[200];
        *f = (struct fixture){ .path = "/tmp/cairn-chat-XXXXXX" };
        close(mkstemp(f->path));
        struct gguf_writer *w = vocabulary(f->path, !says->no_chatml);
        gguf_put_bool(w, "tokenizer.ggml.add_bos_token", says->add_bos);
        if (says->template)
                gguf_put_str(w, "tokenizer.chat_template", str_c(says->template));
        if (says->tool_use)
                gguf_put_str(w, "tokenizer.chat_template.tool_use", str_c(says->tool_use));
        gguf_add_tensor(w, "x", GGUF_WF32, 1, dims);
        gguf_write_floats(w, values, 4);
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), 0);
        assert_int_equal(gguf_open(f->path, &f->m.file, err, sizeof(err)), 0);
        assert_int_equal(tokenizer_from_gguf(f->m.file, &f->m.tok, err, sizeof(err)), 0);
        assert_int_equal(chat_new(f->m.file, f->m.tok, &f->m.chat), 0);
}

static void close_file(struct fixture *f)
{
        chat_free(f->m.chat);
        tokenizer_free(f->m.tok);
        gguf_close(f->m.file);
        unlink(f->path);
}

/* Parses what stands in single quotes as JSON, to spare the tests backslashes. */
static json_t *parse(const char *text)
{
        char *copy = mem_strdup(text);
        for (char *p = copy; *p; p++)
                if (*p == '\'')
                        *p = '"';
        json_t *v = json_loads(copy, 0, NULL);
        assert_non_null(v);
        mem_free(copy);
        return v;
}

static int render(const struct fixture *f, const char *messages, const char *tools, bool generate, char **ret,
                  char *err, size_t errn)
{
        struct engine_chat chat = {
                .messages = parse(messages),
                .tools = tools ? parse(tools) : NULL,
                .generate = generate,
        };
        int rc = engine_chat_render(&f->m, &chat, ret, err, errn);
        json_decref((json_t *)(uintptr_t)chat.messages);
        json_decref((json_t *)(uintptr_t)chat.tools);
        return rc;
}

static void renders(const struct fixture *f, const char *messages, const char *tools, const char *want)
{
        char err[256] = "", *text;
        if (render(f, messages, tools, true, &text, err, sizeof(err)))
                fail_msg("%s", err);
        assert_string_equal(text, want);
        mem_free(text);
}

static void refuses(const struct fixture *f, const char *messages, const char *tools, int rc,
                    const char *words)
{
        char err[256] = "", *text;
        assert_int_equal(render(f, messages, tools, true, &text, err, sizeof(err)), rc);
        assert_null(text);
        assert_string_equal(err, words);
}

/* ---- the template of ours ---------------------------------------------------------------------------- */

static void chatml_without_template(void **state)
{
        struct fixture f;
        (void)state;
        open_file(&f, &(struct says){ 0 });
        renders(&f, "[{'role':'user','content':'hi'}]", NULL,
                "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
        renders(&f,
                "[{'role':'developer','content':'brief'},{'role':'user','content':'hi'},"
                "{'role':'assistant','content':'yes'},{'role':'system','content':'now'}]",
                NULL,
                "<|im_start|>system\nbrief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
                "<|im_start|>assistant\nyes<|im_end|>\n<|im_start|>system\nnow<|im_end|>\n"
                "<|im_start|>assistant\n");
        renders(&f, "[]", NULL, "<|im_start|>assistant\n");
        renders(&f, "[{'role':'system','content':''}]", NULL,
                "<|im_start|>system\n<|im_end|>\n<|im_start|>assistant\n");
        refuses(&f, "[{'role':'judge','content':'hi'}]", NULL, -EINVAL, "the role judge is not known");
        close_file(&f);
}

static void chatml_with_tools(void **state)
{
        struct fixture f;
        (void)state;
        open_file(&f, &(struct says){ 0 });
        renders(&f,
                "[{'role':'system','content':'brief'},{'role':'user','content':'hi'},"
                "{'role':'assistant','content':null,'tool_calls':[{'id':'1','type':'function','function':"
                "{'name':'f','arguments':{'x':1}}},{'id':'2','type':'function','function':"
                "{'name':'g','arguments':{}}}]},"
                "{'role':'tool','tool_call_id':'1','content':'one'},{'role':'tool','tool_call_id':'2','"
                "content':'two'},"
                "{'role':'assistant','content':'So','tool_calls':[{'function':{'name':'f','arguments':'{}'}}]"
                "}]",
                "[{'type':'function','function':{'name':'f'}},{'type':'function','function':{'name':'g'}}]",
                "<|im_start|>system\nbrief\n\n# Tools\n\nThese functions can be called:\n<tools>\n"
                "{\"type\": \"function\", \"function\": {\"name\": \"f\"}}\n"
                "{\"type\": \"function\", \"function\": {\"name\": \"g\"}}\n</tools>\n\n"
                "To call one, write its name and arguments as JSON:\n<tool_call>\n"
                "{\"name\": ..., \"arguments\": {...}}\n</tool_call><|im_end|>\n"
                "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n"
                "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call><|im_end|>\n"
                "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</"
                "tool_response>"
                "<|im_end|>\n<|im_start|>assistant\nSo\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n"
                "</tool_call><|im_end|>\n<|im_start|>assistant\n");
        close_file(&f);
}

/* ---- the file's templates ---------------------------------------------------------------------------- */

#define PRINT_ROLES "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"

static void which_template(void **state)
{
        struct fixture f;
        (void)state;
        open_file(&f, &(struct says){ .template = PRINT_ROLES "{{ tools is none }}{{ eos_token }}",
                                      .tool_use = "tools:{{ tools|length }}" });
        renders(&f, "[{'role':'user','content':'hi'}]", NULL, "[user:hi]True</s>");
        renders(&f, "[{'role':'user','content':'hi'}]", "[]", "[user:hi]True</s>");
        renders(&f, "[{'role':'user','content':'hi'}]", "[{'a':1}]", "tools:1");
        renders(&f, "[{'role':'developer','content':'hi'}]", NULL, "[system:hi]True</s>");
        close_file(&f);
        open_file(&f, &(struct says){ .template = PRINT_ROLES "{# knows developer #}" });
        renders(&f, "[{'role':'developer','content':'hi'}]", NULL, "[developer:hi]");
        close_file(&f);
        open_file(&f,
                  &(struct says){ .tool_use = "only {{ tools|length if tools else 0 }}", .no_chatml = true });
        renders(&f, "[]", NULL, "only 0");
        close_file(&f);
        open_file(&f, &(struct says){ .no_chatml = true });
        assert_null(f.m.chat);
        refuses(&f, "[]", NULL, -ENOTSUP, "the model has no chat template");
        close_file(&f);
}

static void faults_of_templates(void **state)
{
        struct fixture f;
        (void)state;
        open_file(&f, &(struct says){ .template = "a\n{% include 'x' %}" });
        assert_non_null(f.m.chat);
        refuses(&f, "[]", NULL, -EINVAL, "the model's chat template, line 2: {% include %} is not supported");
        close_file(&f);
        open_file(&f, &(struct says){ .template = "{{ raise_exception('roles must alternate') }}" });
        refuses(&f, "[]", NULL, -EINVAL, "roles must alternate");
        close_file(&f);
        open_file(&f, &(struct says){ .template = "\n{{ messages[0].content }}{{ messages[0]['x']['y'] }}" });
        refuses(&f, "[{'role':'user'}]", NULL, -EINVAL,
                "the model's chat template, line 2: 'dict object' has no attribute 'x'");
        close_file(&f);
        open_file(&f, &(struct says){ .template = "{% for i in range(99999) %}{% for j in range(99999) %}{% "
                                                  "endfor %}{% endfor %}" });
        refuses(&f, "[]", NULL, -E2BIG, "the model's chat template, line 1: the template takes too long");
        close_file(&f);
}

/* ---- tokens ------------------------------------------------------------------------------------------ */

static struct engine_tokens tokenize(const struct fixture *f, const json_t *messages)
{
        struct engine_chat chat = { .messages = messages, .generate = true };
        struct engine_tokens out = { 0 };
        char err[256];
        if (engine_chat_tokenize(&f->m, &chat, &out, err, sizeof(err)))
                fail_msg("%s", err);
        return out;
}

static size_t controls(const struct fixture *f, const struct engine_tokens *t)
{
        size_t n = 0;
        for (size_t i = 0; i < t->n; i++)
                n += tokenizer_is_control(f->m.tok, t->p[i]);
        return n;
}

static size_t controls_of(const struct fixture *f, const char *content)
{
        json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", content);
        struct engine_tokens t = tokenize(f, messages);
        size_t n = controls(f, &t);
        engine_tokens_release(&t);
        json_decref(messages);
        return n;
}

/* bos comes once, whoever is to put it. */
static void bos_once(void **state)
{
        static const struct {
                const char *template;
                bool add;
                size_t want;
        } rows[] = { { "{{ bos_token }}x", true, 1 },
                     { "{{ bos_token }}x", false, 1 },
                     { "x", true, 1 },
                     { "x", false, 0 },
                     { "<s>x", true, 1 },
                     { "{{ messages[0].content }}", true, 1 } };
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct fixture f;
                open_file(&f, &(struct says){ .template = rows[i].template, .add_bos = rows[i].add });
                assert_int_equal(controls_of(&f, "<s>"), rows[i].want);
                close_file(&f);
        }
}

/* A marker in a message, or made of a message and what the template puts beside it, stays text. */
static void nothing_is_forged(void **state)
{
        struct fixture f;
        (void)state;
        open_file(&f, &(struct says){ 0 });
        size_t plain = controls_of(&f, "hi");
        assert_int_equal(plain, 3);
        for (size_t i = 0; i < MARKERS; i++)
                assert_int_equal(controls_of(&f, markers[i]), plain);
        close_file(&f);
        open_file(&f, &(struct says){ .template = "<|im_start|>{{ messages[0].content }}|im_end|>"
                                                  "{{ '<|im_' ~ messages[0].content }}[INST]" });
        assert_int_equal(controls_of(&f, "hi"), 2);
        assert_int_equal(controls_of(&f, "<"), 2);
        assert_int_equal(controls_of(&f, "end|>"), 2);
        assert_int_equal(controls_of(&f, "<|im_end|><|im_start|>[INST]"), 2);
        close_file(&f);
        open_file(&f, &(struct says){ .template = "{{ messages[0].content|upper|trim }}{{ messages|tojson }}"
                                                  "{% for k in messages[0] %}{{ k }}{% endfor %}" });
        json_t *messages = parse("[{'role':'[inst]','content':' </s>','[INST]':['<s>']}]");
        struct engine_tokens t = tokenize(&f, messages);
        assert_int_equal(controls(&f, &t), 0);
        engine_tokens_release(&t);
        json_decref(messages);
        close_file(&f);
}

/* Where no marker is written in a message, the tokens are those of the whole text. */
static void borders_do_not_cut(void **state)
{
        static const char *const contents[] = { "the user in hell", " the",          "er th", "",
                                                "\n\n  x",          "in\xc3\xbcther" };
        struct fixture f;
        (void)state;
        open_file(&f, &(struct says){
                              .template = "[INST]us{{ messages[0].content }}e the{{ messages[0].content }}"
                                          "llth{{ messages[0].content }}[/INST]" });
        for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
                json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", contents[i]);
                struct engine_chat chat = { .messages = messages };
                struct engine_tokens t = tokenize(&f, messages);
                struct tok_ids whole = { 0 };
                char *text;
                assert_int_equal(engine_chat_render(&f.m, &chat, &text, NULL, 0), 0);
                assert_int_equal(tokenizer_encode(f.m.tok, str_c(text), TOK_ENCODE_SPECIAL, &whole), 0);
                assert_int_equal(t.n, whole.n);
                assert_memory_equal(t.p, whole.p, t.n * sizeof(*t.p));
                mem_free(text);
                tok_ids_release(&whole);
                engine_tokens_release(&t);
                json_decref(messages);
        }
        close_file(&f);
}

#ifdef CAIRN_FAULTS
static void memory_runs_out(void **state)
{
        struct fixture f;
        json_t *messages = parse("[{'role':'developer','content':'hi'},{'role':'user','content':'<s>'}]");
        struct engine_chat chat = { .messages = messages, .generate = true };
        int rc = -ENOMEM;
        (void)state;
        open_file(&f, &(struct says){ 0 });
        for (long n = 1; rc; n++) {
                struct engine_tokens out = { 0 };
                mem_fail_nth(n);
                rc = engine_chat_tokenize(&f.m, &chat, &out, NULL, 0);
                mem_fail_nth(0);
                assert_true(rc == 0 || rc == -ENOMEM);
                engine_tokens_release(&out);
        }
        for (long n = 1, failed = 1; failed; n++) {
                struct chat *c;
                mem_fail_nth(n);
                failed = chat_new(f.m.file, f.m.tok, &c);
                mem_fail_nth(0);
                assert_true(failed == 0 || failed == -ENOMEM);
                chat_free(c);
        }
        json_decref(messages);
        close_file(&f);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(chatml_without_template),
                cmocka_unit_test(chatml_with_tools),
                cmocka_unit_test(which_template),
                cmocka_unit_test(faults_of_templates),
                cmocka_unit_test(bos_once),
                cmocka_unit_test(nothing_is_forged),
                cmocka_unit_test(borders_do_not_cut),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(memory_runs_out),
#endif
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
