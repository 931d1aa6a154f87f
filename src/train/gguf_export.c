#include "train/gguf_export.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "kernels/kernels.h"
#include "kernels/quantize.h"

/* How a chat becomes text when the caller has no template. */
static const char plain_template[] =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
        "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% "
        "endif %}";

static const struct {
        const char *name;
        uint32_t type;
        uint32_t file_type; /* general.file_type */
} types[] = {
        { "f32", GGUF_WF32, 0 },
        { "f16", GGUF_WF16, 1 },
        { "q8_0", GGUF_WQ8_0, 7 },
        { "bf16", GGUF_WBF16, 32 },
};

bool gguf_type_of(const char *name, uint32_t *ret)
{
        for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
                if (!strcmp(name, types[i].name)) {
                        *ret = types[i].type;
                        return true;
                }
        }
        return false;
}

static uint32_t file_type(uint32_t type)
{
        for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
                if (types[i].type == type)
                        return types[i].file_type;
        }
        return 0;
}

static void put_shape(struct gguf_writer *w, const struct llama_shape *s, const struct gguf_export_info *info)
{
        gguf_put_str(w, "general.architecture", STR("llama"));
        gguf_put_str(w, "general.name", str_c(info->name));
        gguf_put_u32(w, "general.file_type", file_type(info->type));
        gguf_put_u32(w, "general.quantization_version", 2);
        gguf_put_u32(w, "llama.context_length", (uint32_t)info->context);
        gguf_put_u32(w, "llama.embedding_length", (uint32_t)s->n_embd);
        gguf_put_u32(w, "llama.block_count", (uint32_t)s->n_layer);
        gguf_put_u32(w, "llama.feed_forward_length", (uint32_t)s->n_ff);
        gguf_put_u32(w, "llama.attention.head_count", (uint32_t)s->n_head);
        gguf_put_u32(w, "llama.attention.head_count_kv", (uint32_t)s->n_kv);
        gguf_put_u32(w, "llama.attention.key_length", (uint32_t)s->head_dim);
        gguf_put_u32(w, "llama.attention.value_length", (uint32_t)s->head_dim);
        gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", s->norm_eps);
        gguf_put_u32(w, "llama.rope.dimension_count", (uint32_t)s->head_dim);
        gguf_put_f32(w, "llama.rope.freq_base", s->rope_base);
        gguf_put_u32(w, "llama.vocab_size", (uint32_t)s->n_vocab);
}

static void put_id(struct gguf_writer *w, const char *key, int32_t id)
{
        if (id >= 0)
                gguf_put_u32(w, key, (uint32_t)id);
}

/* The id of a control token by its spelling, -1 when there is none. */
static int32_t control_id(const struct tok_spec *v, const char *spelling)
{
        for (size_t i = 0; v->types && i < v->n_vocab; i++) {
                if (v->types[i] == TOK_CONTROL && str_eqc(v->tokens[i], spelling))
                        return (int32_t)i;
        }
        return -1;
}

static void put_vocab(struct gguf_writer *w, const struct tok_spec *v, struct str template)
{
        gguf_put_str(w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_put_str(w, "tokenizer.ggml.pre", v->pre);
        gguf_put_strs(w, "tokenizer.ggml.tokens", v->tokens, v->n_vocab);
        if (v->types)
                gguf_put_i32s(w, "tokenizer.ggml.token_type", v->types, v->n_vocab);
        gguf_put_strs(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
        put_id(w, "tokenizer.ggml.bos_token_id", v->bos);
        put_id(w, "tokenizer.ggml.eos_token_id", v->eos);
        put_id(w, "tokenizer.ggml.eot_token_id", v->eot);
        put_id(w, "tokenizer.ggml.unknown_token_id", v->unk);
        put_id(w, "tokenizer.ggml.padding_token_id", control_id(v, "<|pad|>"));
        gguf_put_bool(w, "tokenizer.ggml.add_bos_token", v->add_bos);
        gguf_put_str(w, "tokenizer.chat_template", template.n ? template : str_c(plain_template));
}

int gguf_export(const char *path, const struct llama_params *p, const struct tok_spec *vocab,
                const struct gguf_export_info *info, char *err, size_t errn)
{
        struct gguf_writer *w;
        int n = llama_tensor_count(&p->shape);

        if (vocab->n_vocab != (size_t)p->shape.n_vocab) {
                snprintf(err, errn, "the vocabulary has %zu tokens, the model %d", vocab->n_vocab,
                         p->shape.n_vocab);
                return -EINVAL;
        }
        int rc = gguf_writer_open(path, &w, err, errn);
        if (rc)
                return rc;
        put_shape(w, &p->shape, info);
        put_vocab(w, vocab, info->template);
        for (int i = 0; i < n; i++) {
                struct llama_tensor t = llama_tensor_at(p, i);
                uint64_t dims[2] = { (uint64_t)t.cols, (uint64_t)t.rows };
                gguf_add_tensor(w, t.name, t.is_norm ? GGUF_WF32 : info->type, t.is_norm ? 1 : 2, dims);
        }
        for (int i = 0; i < n; i++) {
                struct llama_tensor t = llama_tensor_at(p, i);
                gguf_write_floats(w, p->data + t.at, (size_t)t.rows * (size_t)t.cols);
        }
        return gguf_writer_close(w, err, errn);
}

int gguf_round(struct llama_params *p, uint32_t type)
{
        const struct kern_type *t = kern_type_by_id(type);
        uint8_t *q = mem_alloc(kern_type_size(t, p->n / t->block * t->block));
        int rc = q ? 0 : -ENOMEM;
        for (int i = 0; !rc && i < llama_tensor_count(&p->shape); i++) {
                struct llama_tensor at = llama_tensor_at(p, i);
                size_t n = (size_t)at.rows * (size_t)at.cols;
                if (at.is_norm)
                        continue;
                rc = kern_quantize(type, p->data + at.at, n, q, NULL);
                if (!rc)
                        t->dequant(q, p->data + at.at, n);
        }
        mem_free(q);
        return rc;
}
