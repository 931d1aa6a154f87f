/* From a GGUF file to a model: shape, weights, vocabulary. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "engine/embed.h"
#include "engine/lora.h"
#include "engine/model.h"
#include "engine/pack.h"

static int bad(char *err, size_t errn, const char *msg)
{
        snprintf(err, errn, "%s", msg);
        return -EINVAL;
}

/* ---- vocabulary --------------------------------------------------------------------------------- */

static int32_t control_token(const struct engine_model *m, const char *spelling)
{
        int32_t id = tokenizer_find(m->tok, str_c(spelling));
        return id >= 0 && tokenizer_is_control(m->tok, id) ? id : -1;
}

/* Which tokens end a turn: those the file names, and the usual spellings. */
static int find_ends(struct engine_model *m)
{
        static const char *const spellings[] = {
                "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>",    "</s>",  "<|end_of_text|>",
                "<|call|>",   "<|return|>",    "<|eot|>",    "<end_of_turn>", "<EOT>", "<|end_of_turn|>",
        };
        m->is_end = mem_calloc((size_t)m->hp.n_vocab, 1);
        if (!m->is_end)
                return -ENOMEM;
        for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
                int32_t id = control_token(m, spellings[i]);
                if (id >= 0)
                        m->is_end[id] = 1;
        }
        /* The end of a turn, except where a turn has several messages (harmony). */
        int32_t end = control_token(m, "<|end|>");
        if (end >= 0 && control_token(m, "<|channel|>") < 0)
                m->is_end[end] = 1;
        if (tokenizer_eos(m->tok) >= 0)
                m->is_end[tokenizer_eos(m->tok)] = 1;
        if (tokenizer_eot(m->tok) >= 0)
                m->is_end[tokenizer_eot(m->tok)] = 1;
        return 0;
}

struct str model_piece(const struct engine_model *m, int32_t id)
{
        return tokenizer_is_control(m->tok, id) ? STR("") : tokenizer_piece(m->tok, id);
}

struct str model_piece_after(const struct engine_model *m, int32_t before, int32_t id)
{
        struct str piece = model_piece(m, id);
        bool begins = before < 0 || tokenizer_is_control(m->tok, before);
        if (begins && piece.n && piece.p[0] == ' ' && tokenizer_adds_space(m->tok))
                piece = (struct str){ piece.p + 1, piece.n - 1 };
        return piece;
}

/* ---- facts -------------------------------------------------------------------------------------- */

/* The type that most bytes of the weights have. */
static const char *main_type(const struct gguf *g)
{
        const char *best = "F32";
        uint64_t most = 0;
        const struct kern_type *type;
        for (size_t i = 0; (type = kern_type_at(i)); i++) {
                uint64_t bytes = 0;
                for (size_t j = 0; j < gguf_tensor_count(g); j++)
                        bytes += gguf_tensor_at(g, j)->type == type ? gguf_tensor_at(g, j)->bytes : 0;
                if (bytes > most) {
                        most = bytes;
                        best = type->name;
                }
        }
        return best;
}

static uint64_t count_params(const struct gguf *g)
{
        uint64_t n = 0;
        for (size_t i = 0; i < gguf_tensor_count(g); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(g, i);
                n += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        }
        return n;
}

/* general.name, or the file's name without its directory and .gguf. */
static char *model_name(const struct gguf *g, const char *path)
{
        struct str s;
        if (!gguf_get_str(g, "general.name", &s) && s.n && str_is_utf8(s))
                return mem_strndup(s.p, s.n);
        const char *slash = strrchr(path, '/');
        s = str_c(slash ? slash + 1 : path);
        if (s.n > 5 && !memcmp(s.p + s.n - 5, ".gguf", 5))
                s.n -= 5;
        return mem_strndup(s.p, s.n);
}

static int fill_info(struct engine_model *m, const char *path)
{
        struct str template;
        m->name = model_name(m->file, path);
        if (!gguf_get_str(m->file, "tokenizer.chat_template", &template))
                m->template = mem_strndup(template.p, template.n);
        m->info = (struct engine_info){
                .name = m->name,
                .arch = m->arch->name,
                .quantization = main_type(m->file),
                .n_params = count_params(m->file),
                .file_bytes = gguf_file_bytes(m->file),
                .n_ctx = m->hp.n_ctx_train,
                .n_ctx_train = m->hp.n_ctx_train,
                .n_embd = embed_size(&m->hp),
                .n_layer = m->hp.n_layer,
                .n_vocab = m->hp.n_vocab,
                .bos = tokenizer_bos(m->tok),
                .eos = tokenizer_eos(m->tok),
                .add_bos = tokenizer_adds_bos(m->tok),
                .generates = m->hp.causal,
                .has_chat = m->chat != NULL,
                .template = m->template,
        };
        return m->name ? 0 : -ENOMEM;
}

/* ---- loading ------------------------------------------------------------------------------------ */

static int load_weights(struct engine_model *m, char *err, size_t errn)
{
        struct str name = { 0 };
        if (gguf_get_str(m->file, "general.architecture", &name))
                return bad(err, errn, "general.architecture is missing: not a model");
        m->arch = arch_find(name.p, name.n);
        if (!m->arch) {
                snprintf(err, errn, "the architecture %.*s is not supported", name.n < 40 ? (int)name.n : 40,
                         str_is_utf8(name) ? name.p : "?");
                return -EINVAL;
        }
        int rc = m->arch->read_hparams(m->file, &m->hp, err, errn);
        if (rc)
                return rc;
        m->hp.n_vocab = (int)tokenizer_size(m->tok);
        m->layers = mem_calloc((size_t)m->hp.n_layer, sizeof(*m->layers));
        if (!m->layers)
                return -ENOMEM;
        rc = arch_bind(m->arch, m->file, &m->hp, &m->global, m->layers, err, errn);
        return rc ? rc : pack_weights(m->k, &m->hp, &m->global, m->layers, 0, &m->packed);
}

int model_load(struct engine_model *m, const char *path, const struct kern *k, char *err, size_t errn)
{
        m->k = k;
        int rc = gguf_open(path, &m->file, err, errn);
        if (!rc)
                rc = tokenizer_from_gguf(m->file, &m->tok, err, errn);
        if (!rc)
                rc = load_weights(m, err, errn);
        if (!rc)
                rc = find_ends(m);
        if (!rc)
                rc = chat_new(m->file, m->tok, &m->chat);
        if (!rc)
                rc = fill_info(m, path);
        if (rc == -ENOMEM)
                snprintf(err, errn, "out of memory");
        return rc;
}

static void release_adapters(struct engine_model *m)
{
        for (int r = 0; r < W_ROLES; r++) {
                lora_free(m->global.w[r].lora);
                for (int l = 0; m->layers && l < m->hp.n_layer; l++)
                        lora_free(m->layers[l].w[r].lora);
        }
}

void model_unload(struct engine_model *m)
{
        release_adapters(m);
        chat_free(m->chat);
        tokenizer_free(m->tok);
        gguf_close(m->file);
        mem_free(m->layers);
        mem_free(m->packed);
        mem_free(m->is_end);
        mem_free(m->name);
        mem_free(m->template);
}
