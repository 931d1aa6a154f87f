/* Writes small chat models of random weights, one for each format of tool calls: what they say makes no
 * sense, so that calls and JSON come out right only if the grammar sees to it. Each has the control tokens of
 * its family and the chat template of that name in chat_templates/.
 *
 *     make_chat_models TEMPLATES DIRECTORY        writes DIRECTORY/chat-hermes.gguf and so on
 *
 * The weights are random, but tokens have a disposition of their own: quotes and ends are likely, bytes that
 * are no characters are not, so that strings are short and answers end. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/vec.h"
#include "engine/gguf_write.h"
#include "engine/tokenizer.h"

enum { EMBD = 64, FF = 96, HEADS = 2, LAYERS = 1, CONTEXT = 8192 };

#define LEAN 4.0f     /* of the first component of every embedding: what the dispositions act on */
#define UNLIKELY (-6) /* disposition of control tokens that only the grammar should bring */
#define MAX_TEMPLATE (64u << 10)

static const struct family {
        const char *name;
        const char *controls[16]; /* the first begins a text, the second ends a turn */
        const char *spelled[4];   /* markers that are ordinary tokens */
} families[] = {
        { "hermes", { "<|endoftext|>", "<|im_end|>", "<|im_start|>" }, { "<tool_call>", "</tool_call>" } },
        { "thinks",
          { "<|endoftext|>", "<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>", "<think>",
            "</think>" },
          { 0 } },
        { "reasons",
          { "<|endoftext|>", "<|im_end|>", "<|im_start|>" },
          { "<tool_call>", "</tool_call>", "<think>", "</think>" } },
        { "llama3",
          { "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
            "<|python_tag|>" },
          { 0 } },
        { "mistral",
          { "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]",
            "[TOOL_RESULTS]", "[/TOOL_RESULTS]" },
          { 0 } },
        { "mistral-args",
          { "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]",
            "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[ARGS]", "[CALL_ID]", "[SYSTEM_PROMPT]",
            "[/SYSTEM_PROMPT]" },
          { 0 } },
        { "harmony",
          { "<|startoftext|>", "<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>",
            "<|constrain|>", "<|call|>" },
          { 0 } },
        { "deepseek",
          { "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
            "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁output▁begin｜>",
            "<｜tool▁output▁end｜>", "<｜tool▁outputs▁end｜>" },
          { 0 } },
        { "phi4",
          { "<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|/tool|>",
            "<|tool_call|>", "<|/tool_call|>" },
          { 0 } },
        { "plain", { "<bos>", "<end_of_turn>", "<start_of_turn>" }, { 0 } },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the vocabulary ---- */

struct vocab {
        struct VEC(struct str) tokens; /* as GGUF spells them; owned */
        struct VEC(int32_t) types;
        struct VEC(float) lean;
};

static void add_token(struct vocab *v, struct str spelling, int32_t type, float lean)
{
        struct str copy = { mem_strndup(spelling.p, spelling.n), spelling.n };
        if (!copy.p || vec_push(&v->tokens, copy) || vec_push(&v->types, type) || vec_push(&v->lean, lean))
                fputs("make_chat_models: out of memory\n", stderr);
}

/* An ordinary token: its bytes in GPT-2's alphabet. */
static void add_text(struct vocab *v, struct str text, float lean)
{
        char out[64];
        size_t n = 0;
        for (size_t i = 0; i < text.n && n + 2 < sizeof(out); i++)
                n += (size_t)tokenizer_byte_char((uint8_t)text.p[i], out + n);
        add_token(v, (struct str){ out, n }, TOK_NORMAL, lean);
}

static float lean_of_byte(int b)
{
        if (b == '"')
                return 4;
        if (b == '}' || b == ']')
                return 3;
        if (b >= 0x80 || b < 0x20 || b == '\\')
                return -4;
        return (b >= 'a' && b <= 'z') || b == ' ' ? 1 : 0;
}

/* Reasoning, and a message of harmony, are to come to an end. */
static bool ends_part(const char *control)
{
        return !strcmp(control, "</think>") || !strcmp(control, "<|end|>");
}

static void fill_vocab(struct vocab *v, const struct family *f)
{
        static const struct {
                const char *text;
                float lean;
        } parts[] = { { "\"}", 3 },
                      { "\",", 3 },
                      { "\"]", 3 },
                      { "\": ", 3 },
                      { "\", \"", 3 },
                      { "{\"", 1 },
                      { "}}", 3 },
                      { "{}", 1 },
                      { "[]", 1 },
                      { "true", 1 },
                      { "false", 1 },
                      { "null", 1 },
                      { "\": \"", 3 },
                      { "name", 1 },
                      { "arguments", 1 },
                      { "\n\n", -2 },
                      { ". ", 1 },
                      { ", ", 1 },
                      { "\xc3\xa9", 0 },
                      { "\xe2\x82\xac", -1 },
                      { "\xf0\x9f\x98\x80", -1 } };
        for (int b = 0; b < 256; b++)
                add_text(v, (struct str){ (const char *)&(uint8_t){ (uint8_t)b }, 1 }, lean_of_byte(b));
        for (const char *c = "bdfgklmnprstvz"; *c; c++)
                for (const char *vowel = "aeiou"; *vowel; vowel++)
                        add_text(v, (struct str){ (char[]){ *c, *vowel }, 2 }, 1);
        for (size_t i = 0; i < COUNT(parts); i++)
                add_text(v, str_c(parts[i].text), parts[i].lean);
        for (size_t i = 0; i < COUNT(f->spelled) && f->spelled[i]; i++)
                add_token(v, str_c(f->spelled[i]), TOK_USER_DEFINED, 2);
        for (size_t i = 0; i < COUNT(f->controls) && f->controls[i]; i++)
                add_token(v, str_c(f->controls[i]), TOK_CONTROL,
                          i == 1 || ends_part(f->controls[i]) ? 3 : UNLIKELY);
}

static void release_vocab(struct vocab *v)
{
        for (size_t i = 0; i < v->tokens.n; i++)
                mem_free((char *)v->tokens.p[i].p);
        vec_release(&v->tokens);
        vec_release(&v->types);
        vec_release(&v->lean);
}

static int32_t id_of(const struct vocab *v, const char *spelling)
{
        for (size_t i = 0; i < v->tokens.n; i++)
                if (str_eqc(v->tokens.p[i], spelling))
                        return (int32_t)i;
        return -1;
}

/* ---- the file ---- */

static void put_metadata(struct gguf_writer *w, const struct family *f, const struct vocab *v,
                         struct str template)
{
        char name[64];
        snprintf(name, sizeof(name), "chat-%s", f->name);
        gguf_put_str(w, "general.architecture", STR("llama"));
        gguf_put_str(w, "general.name", str_c(name));
        gguf_put_u32(w, "llama.context_length", CONTEXT);
        gguf_put_u32(w, "llama.embedding_length", EMBD);
        gguf_put_u32(w, "llama.block_count", LAYERS);
        gguf_put_u32(w, "llama.feed_forward_length", FF);
        gguf_put_u32(w, "llama.attention.head_count", HEADS);
        gguf_put_u32(w, "llama.attention.head_count_kv", HEADS);
        gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        gguf_put_f32(w, "llama.rope.freq_base", 10000.0f);
        gguf_put_str(w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_put_str(w, "tokenizer.ggml.pre", STR("gpt-2"));
        gguf_put_strs(w, "tokenizer.ggml.tokens", v->tokens.p, v->tokens.n);
        gguf_put_i32s(w, "tokenizer.ggml.token_type", v->types.p, v->types.n);
        gguf_put_strs(w, "tokenizer.ggml.merges", &STR("l a"), 1); /* there must be a list of them */
        gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)id_of(v, f->controls[0]));
        gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)id_of(v, f->controls[1]));
        gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
        gguf_put_str(w, "tokenizer.chat_template", template);
}

static const struct {
        const char *name;
        int cols, rows; /* 0: the vocabulary; a vector has no rows of its own: 1 */
} tensors[] = {
        { "token_embd.weight", EMBD, 0 },      { "blk.0.attn_norm.weight", EMBD, 1 },
        { "blk.0.attn_q.weight", EMBD, EMBD }, { "blk.0.attn_k.weight", EMBD, EMBD },
        { "blk.0.attn_v.weight", EMBD, EMBD }, { "blk.0.attn_output.weight", EMBD, EMBD },
        { "blk.0.ffn_norm.weight", EMBD, 1 },  { "blk.0.ffn_gate.weight", EMBD, FF },
        { "blk.0.ffn_up.weight", EMBD, FF },   { "blk.0.ffn_down.weight", FF, EMBD },
        { "output_norm.weight", EMBD, 1 },     { "output.weight", EMBD, 0 },
};

/* A row of a matrix. The first component of an embedding is LEAN and stays about that: what is added to it on
 * the way is small. After the norm it is LEAN over the root of the mean square. */
static void fill_row(const char *name, size_t row, const struct vocab *v, struct rng *rng, float *out, int n)
{
        bool is_norm = strstr(name, "norm") != NULL, embeds = !strcmp(name, "token_embd.weight");
        float normed = LEAN / sqrtf((LEAN * LEAN + EMBD - 1) / EMBD);
        for (int i = 0; i < n; i++)
                out[i] = is_norm ? 1 : (float)rng_normal(rng) * (embeds ? 1.0f : 0.12f);
        if (embeds)
                out[0] = LEAN;
        else if (!strcmp(name, "output.weight"))
                out[0] = v->lean.p[row] / normed;
}

static int write_model(const struct family *f, struct str template, const char *path)
{
        struct vocab v = { 0 };
        struct gguf_writer *w;
        struct rng rng;
        char err[256];
        fill_vocab(&v, f);
        rng_seed(&rng, str_hash(str_c(f->name)));
        int rc = gguf_writer_open(path, &w, err, sizeof(err));
        if (!rc) {
                put_metadata(w, f, &v, template);
                for (size_t i = 0; i < COUNT(tensors); i++) {
                        uint64_t rows = tensors[i].rows ? (uint64_t)tensors[i].rows : v.tokens.n;
                        uint64_t dims[2] = { (uint64_t)tensors[i].cols, rows };
                        gguf_add_tensor(w, tensors[i].name, GGUF_WF32, tensors[i].rows == 1 ? 1 : 2, dims);
                }
                for (size_t i = 0; i < COUNT(tensors); i++) {
                        size_t rows = tensors[i].rows ? (size_t)tensors[i].rows : v.tokens.n;
                        for (size_t row = 0; row < rows; row++) {
                                float out[FF];
                                fill_row(tensors[i].name, row, &v, &rng, out, tensors[i].cols);
                                gguf_write_floats(w, out, (size_t)tensors[i].cols);
                        }
                }
                rc = gguf_writer_close(w, err, sizeof(err));
        }
        if (rc)
                fprintf(stderr, "make_chat_models: %s: %s\n", path, err);
        release_vocab(&v);
        return rc;
}

/* ---- the program ---- */

static int read_file(const char *path, struct buf *out)
{
        FILE *f = fopen(path, "rb");
        char chunk[4096];
        size_t n;
        if (!f) {
                fprintf(stderr, "make_chat_models: %s: %s\n", path, strerror(errno));
                return -errno;
        }
        while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
                buf_add(out, chunk, n);
        fclose(f);
        return buf_error(out);
}

int main(int argc, char **argv)
{
        int rc = argc == 3 ? 0 : -EINVAL;
        if (rc)
                fputs("usage: make_chat_models TEMPLATES DIRECTORY\n", stderr);
        for (size_t i = 0; !rc && i < COUNT(families); i++) {
                char path[4096];
                struct buf template;
                buf_init(&template, MAX_TEMPLATE);
                snprintf(path, sizeof(path), "%s/%s.jinja", argv[1], families[i].name);
                rc = read_file(path, &template);
                snprintf(path, sizeof(path), "%s/chat-%s.gguf", argv[2], families[i].name);
                if (!rc)
                        rc = write_model(&families[i], buf_str(&template), path);
                buf_release(&template);
        }
        return rc ? 1 : 0;
}
