/* The vocabulary of a model file: the keys tokenizer.ggml.*, with the values that readers of GGUF take for
 * granted where a file leaves them out. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "engine/gguf.h"
#include "engine/tok_internal.h"

#define KEY(name) "tokenizer.ggml." name

/* What a kind of vocabulary is called, and what holds for it when the file does not say. */
static const struct defaults {
        const char *model;
        enum tok_kind kind;
        int32_t bos, eos, unk;
        bool add_bos, add_eos, space_prefix;
} kinds[] = {
        { "gpt2", TOK_KIND_BPE, -1, -1, -1, false, false, false },
        { "llama", TOK_KIND_SPM, 1, 2, 0, true, false, true },
        { "t5", TOK_KIND_UNIGRAM, -1, 1, 2, false, true, true },
        { "bert", TOK_KIND_WORDPIECE, 101, 102, 100, true, true, false },
};

/* The arrays of a spec, freed together. */
struct arrays {
        struct str *tokens, *merges;
        int32_t *types;
        float *scores;
};

static int bad(char *err, size_t errn, const char *key, const char *what)
{
        return tok_invalid(err, errn, "%s %s", key, what);
}

static int read_kind(const struct gguf *g, const struct defaults **ret, char *err, size_t errn)
{
        struct str name;
        if (gguf_get_str(g, KEY("model"), &name))
                return bad(err, errn, KEY("model"), "is missing or not a string");
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                if (str_eqc(name, kinds[i].model)) {
                        *ret = &kinds[i];
                        return 0;
                }
        }
        return bad(err, errn, KEY("model"), "is not gpt2, llama, t5 or bert");
}

static int read_tokens(const struct gguf *g, enum tok_kind kind, struct arrays *a, struct tok_spec *spec,
                       char *err, size_t errn)
{
        size_t n = 0;
        int rc = gguf_get_strs(g, KEY("tokens"), &a->tokens, &spec->n_vocab);
        if (rc)
                return rc == -ENOMEM ? rc : bad(err, errn, KEY("tokens"), "is not an array of strings");
        if (!spec->n_vocab || spec->n_vocab > TOK_VOCAB_MAX)
                return bad(err, errn, KEY("tokens"), "is empty or too large");
        rc = gguf_get_i32s(g, KEY("token_type"), &a->types, &n);
        if ((rc && rc != -ENOENT) || (!rc && n != spec->n_vocab))
                return rc == -ENOMEM
                               ? rc
                               : bad(err, errn, KEY("token_type"), "does not have one integer per token");
        bool scored = kind == TOK_KIND_SPM || kind == TOK_KIND_UNIGRAM;
        rc = scored ? gguf_get_f32s(g, KEY("scores"), &a->scores, &n) : -ENOENT;
        if ((rc && rc != -ENOENT) || (!rc && n != spec->n_vocab))
                return rc == -ENOMEM ? rc
                                     : bad(err, errn, KEY("scores"), "does not have one number per token");
        rc = gguf_get_strs(g, KEY("merges"), &a->merges, &spec->n_merges);
        if (rc && rc != -ENOENT)
                return rc == -ENOMEM ? rc : bad(err, errn, KEY("merges"), "is not an array of strings");
        spec->tokens = a->tokens;
        spec->types = a->types;
        spec->scores = a->scores;
        spec->merges = a->merges;
        return 0;
}

/* A token id; a default that lies outside the vocabulary is none. */
static int read_id(const struct gguf *g, const char *key, const struct tok_spec *spec, int32_t usual,
                   int32_t *ret, char *err, size_t errn)
{
        uint64_t v;
        int rc = gguf_get_u64(g, key, &v);
        *ret = !rc && v < spec->n_vocab ? (int32_t)v : -1;
        if (rc == -ENOENT) {
                *ret = usual >= 0 && (size_t)usual < spec->n_vocab ? usual : -1;
                return 0;
        }
        return rc || v >= spec->n_vocab ? bad(err, errn, key, "is not a token of the vocabulary") : 0;
}

static int read_ids(const struct gguf *g, const struct defaults *d, struct tok_spec *spec, char *err,
                    size_t errn)
{
        bool bert = d->kind == TOK_KIND_WORDPIECE;
        int rc = read_id(g, KEY("bos_token_id"), spec, d->bos, &spec->bos, err, errn);
        if (!rc && bert) /* [CLS]; newer files call it bos */
                rc = read_id(g, KEY("cls_token_id"), spec, spec->bos, &spec->bos, err, errn);
        if (!rc)
                rc = read_id(g, KEY("eos_token_id"), spec, d->eos, &spec->eos, err, errn);
        if (!rc)
                rc = read_id(g, KEY("eot_token_id"), spec, -1, &spec->eot, err, errn);
        if (!rc)
                rc = read_id(g, KEY("unknown_token_id"), spec, d->unk, &spec->unk, err, errn);
        if (!rc) /* the key is spelt like this */
                rc = read_id(g, KEY("seperator_token_id"), spec, spec->eos, &spec->last, err, errn);
        if (!rc && !bert)
                spec->last = spec->eos;
        return rc;
}

static int read_flag(const struct gguf *g, const char *key, bool usual, bool *ret, char *err, size_t errn)
{
        int rc = gguf_get_bool(g, key, ret);
        if (rc == -ENOENT)
                *ret = usual;
        return rc && rc != -ENOENT ? bad(err, errn, key, "is not a boolean") : 0;
}

/* BERT's vocabularies are of lower case unless one has capitals. */
static bool has_capitals(const struct tok_spec *spec)
{
        for (size_t i = 0; i < spec->n_vocab; i++) {
                struct str s = spec->tokens[i];
                if ((spec->types && spec->types[i] != TOK_NORMAL) || (s.n && s.p[0] == '['))
                        continue;
                for (size_t k = 0; k < s.n; k++)
                        if (s.p[k] >= 'A' && s.p[k] <= 'Z')
                                return true;
        }
        return false;
}

/* Phi-3 drops white space behind its markers; its files have no key that says so. */
static bool strips_after(const struct gguf *g)
{
        struct str arch;
        return !gguf_get_str(g, "general.architecture", &arch) && str_eqc(arch, "phi3");
}

static int read_settings(const struct gguf *g, const struct defaults *d, struct tok_spec *spec, char *err,
                         size_t errn)
{
        int rc = 0;
        if (d->kind == TOK_KIND_BPE) {
                spec->pre = STR("default");
                rc = gguf_get_str(g, KEY("pre"), &spec->pre);
                if (rc && rc != -ENOENT)
                        return bad(err, errn, KEY("pre"), "is not a string");
        }
        bool bos = d->add_bos || (d->kind == TOK_KIND_BPE && tok_pre_adds_bos(spec->pre));
        rc = read_flag(g, KEY("add_bos_token"), bos, &spec->add_bos, err, errn);
        if (!rc)
                rc = read_flag(g, KEY("add_eos_token"), d->add_eos, &spec->add_eos, err, errn);
        if (!rc && d->kind == TOK_KIND_WORDPIECE)
                rc = read_flag(g, KEY("add_sep_token"), spec->add_eos, &spec->add_eos, err, errn);
        if (!rc)
                rc = read_flag(g, KEY("add_space_prefix"), d->space_prefix, &spec->space_prefix, err, errn);
        if (!rc)
                rc = read_flag(g, KEY("remove_extra_whitespaces"), false, &spec->squeeze_spaces, err, errn);
        if (!rc)
                rc = read_flag(g, KEY("normalizer.lowercase"), !has_capitals(spec), &spec->fold, err, errn);
        if (rc)
                return rc;
        rc = gguf_get_bytes(g, KEY("precompiled_charsmap"), &spec->charsmap);
        if (rc && rc != -ENOENT)
                return bad(err, errn, KEY("precompiled_charsmap"), "is not an array of bytes");
        spec->strip_after = d->kind == TOK_KIND_SPM && strips_after(g);
        return 0;
}

int tokenizer_from_gguf(const struct gguf *g, struct tokenizer **ret, char *err, size_t errn)
{
        struct arrays a = { 0 };
        struct tok_spec spec = { 0 };
        const struct defaults *d = NULL;
        int rc = read_kind(g, &d, err, errn);
        if (!rc)
                rc = read_tokens(g, d->kind, &a, &spec, err, errn);
        if (!rc)
                rc = read_ids(g, d, &spec, err, errn);
        if (!rc)
                rc = read_settings(g, d, &spec, err, errn);
        if (!rc) {
                spec.kind = d->kind;
                rc = tokenizer_new(&spec, ret, err, errn);
        }
        mem_free(a.tokens);
        mem_free(a.merges);
        mem_free(a.types);
        mem_free(a.scores);
        if (rc == -ENOMEM && errn)
                snprintf(err, errn, "out of memory");
        return rc;
}
