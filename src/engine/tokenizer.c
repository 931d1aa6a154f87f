#include "engine/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/tok_internal.h"

int tok_invalid(char *err, size_t errn, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        if (errn)
                vsnprintf(err, errn, fmt, ap);
        va_end(ap);
        return -EINVAL;
}

/* --- tables ----------------------------------------------------------------------------------------- */

size_t tok_table_cap(size_t n)
{
        size_t cap = 16;
        while (cap < n * 2)
                cap *= 2;
        return cap;
}

struct str tok_piece_at(const struct tokenizer *t, size_t i)
{
        return (struct str){ t->bytes + t->ends[i], t->ends[i + 1] - t->ends[i] };
}

uint64_t tok_mix(uint64_t h)
{
        h ^= h >> 33;
        h *= 0xff51afd7ed558ccdULL;
        h ^= h >> 33;
        return h;
}

int32_t tok_table_get(const struct tokenizer *t, const struct id_table *table, struct str s, uint64_t hash)
{
        if (!table->slots)
                return NO_ID;
        for (size_t i = tok_mix(hash) & table->mask; table->slots[i]; i = (i + 1) & table->mask) {
                int32_t id = (int32_t)table->slots[i] - 1;
                if (str_eq(tok_piece_at(t, (size_t)id), s))
                        return id;
        }
        return NO_ID;
}

int32_t tok_text_get(const struct tokenizer *t, struct str s)
{
        return tok_table_get(t, &t->text, s, str_hash(s));
}

/* -EEXIST when the bytes are there already. */
static int table_put(const struct tokenizer *t, struct id_table *table, int32_t id)
{
        struct str s = tok_piece_at(t, (size_t)id);
        size_t i = tok_mix(str_hash(s)) & table->mask;
        for (; table->slots[i]; i = (i + 1) & table->mask) {
                if (str_eq(tok_piece_at(t, table->slots[i] - 1), s))
                        return -EEXIST;
        }
        table->slots[i] = (uint32_t)id + 1;
        return 0;
}

static bool is_special(const struct tokenizer *t, size_t id)
{
        return t->types[id] == TOK_CONTROL || t->types[id] == TOK_USER_DEFINED || t->types[id] == TOK_UNKNOWN;
}

/* --- construction ----------------------------------------------------------------------------------- */

/* Writes a spelling with spaces for U+2581, which in WordPiece stands only in front; at most as long. */
static size_t decode_spaces(struct str s, enum tok_kind kind, char *out)
{
        size_t n = 0;
        for (size_t i = 0; i < s.n;) {
                bool possible = s.n - i >= 3 && (!i || kind != TOK_KIND_WORDPIECE);
                bool mark = possible && !memcmp(s.p + i, "\xe2\x96\x81", 3);
                out[n++] = mark ? ' ' : s.p[i];
                i += mark ? 3 : 1;
        }
        return n;
}

/* The byte of a spelling like <0x0A>, or -1. */
static int byte_of(struct str s)
{
        char hex[3] = { 0 }, *end;
        if (s.n != 6 || !str_starts(s, "<0x") || s.p[5] != '>')
                return -1;
        memcpy(hex, s.p + 3, 2);
        long byte = strtol(hex, &end, 16);
        return end == hex + 2 && byte >= 0 ? (int)byte : -1;
}

/* Markers that some files call text: as control tokens they cannot come out of what a user writes. */
static bool is_marker(struct str s)
{
        static const char *const names[] = {
                "<start_of_turn>",
                "<end_of_turn>",
                "<bos>",
                "<eos>",
                "<s>",
                "</s>",
                "<tool_call>",
                "</tool_call>",
                "<tool_response>",
                "</tool_response>",
                "<think>",
                "</think>",
                "[INST]",
                "[/INST]",
                "[TOOL_CALLS]",
                "[AVAILABLE_TOOLS]",
                "[/AVAILABLE_TOOLS]",
                "[TOOL_RESULTS]",
                "[/TOOL_RESULTS]",
        };
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (str_eqc(s, names[i]))
                        return true;
        return s.n > 4 && str_starts(s, "<|") && !memcmp(s.p + s.n - 2, "|>", 2);
}

/* The bytes of token i, and its type. */
static int load_piece(struct tokenizer *t, const struct tok_spec *spec, size_t i, const int16_t map[512],
                      char *err, size_t errn)
{
        struct str s = spec->tokens[i];
        char *out = t->bytes + t->ends[i];
        int32_t type = spec->types ? spec->types[i] : TOK_NORMAL;
        if (type < TOK_NORMAL || type > TOK_BYTE)
                return tok_invalid(err, errn, "tokenizer: token %zu has type %d", i, (int)type);
        if (type == TOK_USER_DEFINED && is_marker(s))
                type = TOK_CONTROL;
        t->types[i] = (uint8_t)type;
        if (type == TOK_BYTE && byte_of(s) >= 0) {
                out[0] = (char)byte_of(s);
                s.n = 1;
        } else if (type == TOK_CONTROL || (type == TOK_USER_DEFINED && spec->kind == TOK_KIND_BPE)) {
                memcpy(out, s.p, s.n);
        } else if (spec->kind == TOK_KIND_BPE) {
                s.n = tok_bpe_decode(s, map, out);
        } else {
                s.n = decode_spaces(s, spec->kind, out);
        }
        t->ends[i + 1] = t->ends[i] + (uint32_t)s.n;
        return 0;
}

static int load_pieces(struct tokenizer *t, const struct tok_spec *spec, char *err, size_t errn)
{
        int16_t map[512];
        size_t total = 0;
        int rc = 0;

        if (!spec->n_vocab || spec->n_vocab > TOK_VOCAB_MAX)
                return tok_invalid(err, errn, "tokenizer: %zu tokens; 1 to %u are possible", spec->n_vocab,
                                   TOK_VOCAB_MAX);
        for (size_t i = 0; i < spec->n_vocab; i++)
                total += spec->tokens[i].n;
        if (total > UINT32_MAX)
                return tok_invalid(err, errn, "tokenizer: the vocabulary is larger than 4 GiB");
        t->n_vocab = spec->n_vocab;
        t->bytes = mem_alloc(total + 1);
        t->ends = mem_calloc(spec->n_vocab + 1, sizeof(*t->ends));
        t->types = mem_calloc(spec->n_vocab, 1);
        if (!t->bytes || !t->ends || !t->types)
                return -ENOMEM;
        tok_bpe_alphabet(map);
        for (size_t i = 0; i < spec->n_vocab && !rc; i++)
                rc = load_piece(t, spec, i, map, err, errn);
        return rc;
}

/* SentencePiece has byte tokens beside the tokens of the same characters: they are no way to write text. */
static bool is_fallback(const struct tokenizer *t, size_t i)
{
        return t->kind != TOK_KIND_BPE && t->types[i] == TOK_BYTE;
}

/* Puts token i where text finds it. Of tokens with the same bytes byte-level BPE can have but one; elsewhere
 * the first one counts. */
static int index_piece(struct tokenizer *t, size_t i, char *err, size_t errn)
{
        struct str s = tok_piece_at(t, i);
        bool special = is_special(t, i);
        if (t->types[i] == TOK_UNUSED || (!s.n && t->kind != TOK_KIND_BPE))
                return 0;
        if (!s.n)
                return tok_invalid(err, errn, "tokenizer: token %zu is empty", i);
        if (is_fallback(t, i)) {
                t->byte_ids[(unsigned char)s.p[0]] = (int32_t)i;
                return 0;
        }
        if (table_put(t, special ? &t->special : &t->text, (int32_t)i) && t->kind == TOK_KIND_BPE)
                return tok_invalid(err, errn, "tokenizer: token %zu is a duplicate", i);
        if (special && s.n <= TOK_SPECIAL_MAX) {
                t->special_first[(unsigned char)s.p[0]] = true;
                t->special_length[s.n] = true;
        }
        if (!special && s.n > t->longest)
                t->longest = s.n;
        return 0;
}

static int index_pieces(struct tokenizer *t, char *err, size_t errn)
{
        size_t cap = tok_table_cap(t->n_vocab), n_special = 0;
        int rc = 0;

        for (size_t i = 0; i < t->n_vocab; i++)
                n_special += is_special(t, i);
        t->text = (struct id_table){ mem_calloc(cap, sizeof(uint32_t)), cap - 1 };
        cap = tok_table_cap(n_special);
        t->special = (struct id_table){ mem_calloc(cap, sizeof(uint32_t)), cap - 1 };
        if (!t->text.slots || !t->special.slots)
                return -ENOMEM;
        memset(t->byte_ids, 0xff, sizeof(t->byte_ids)); /* NO_ID */
        for (size_t i = 0; i < t->n_vocab && !rc; i++)
                rc = index_piece(t, i, err, errn);
        for (int b = 0; b < 256 && t->kind == TOK_KIND_BPE; b++) {
                char c = (char)b;
                t->byte_ids[b] = tok_text_get(t, (struct str){ &c, 1 });
        }
        return rc;
}

static int check_ids(const struct tok_spec *spec, char *err, size_t errn)
{
        const int32_t ids[] = { spec->bos, spec->eos, spec->eot, spec->unk, spec->add_eos ? spec->last : -1 };
        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
                if (ids[i] < -1 || (ids[i] >= 0 && (size_t)ids[i] >= spec->n_vocab))
                        return tok_invalid(err, errn, "tokenizer: special token id %d is out of range",
                                           (int)ids[i]);
        }
        return 0;
}

static void copy_settings(struct tokenizer *t, const struct tok_spec *spec)
{
        t->kind = spec->kind;
        t->bos = spec->bos;
        t->eos = spec->eos;
        t->eot = spec->eot;
        t->unk = spec->unk;
        t->last = spec->last;
        t->add_bos = spec->add_bos && spec->bos >= 0;
        t->add_eos = spec->add_eos && spec->last >= 0;
        t->strip_after = spec->strip_after;
        t->fold = spec->fold;
}

static int load_kind(struct tokenizer *t, const struct tok_spec *spec, char *err, size_t errn)
{
        int rc;
        switch (t->kind) {
        case TOK_KIND_BPE:
                return tok_bpe_load(t, spec, err, errn);
        case TOK_KIND_SPM:
                rc = tok_norm_load(&t->norm, spec, err, errn);
                return rc ? rc : tok_spm_load(t, spec);
        case TOK_KIND_UNIGRAM:
                rc = tok_norm_load(&t->norm, spec, err, errn);
                return rc ? rc : tok_unigram_load(t, spec);
        case TOK_KIND_WORDPIECE:
                return 0;
        }
        return tok_invalid(err, errn, "tokenizer: kind %d is not known", (int)spec->kind);
}

int tokenizer_new(const struct tok_spec *spec, struct tokenizer **ret, char *err, size_t errn)
{
        struct tokenizer *t = mem_calloc(1, sizeof(*t));
        int rc = -ENOMEM;

        if (!t)
                goto out;
        copy_settings(t, spec);
        rc = check_ids(spec, err, errn);
        if (!rc)
                rc = load_pieces(t, spec, err, errn);
        if (!rc)
                rc = index_pieces(t, err, errn);
        if (!rc)
                rc = load_kind(t, spec, err, errn);
out:
        if (rc == -ENOMEM && errn)
                snprintf(err, errn, "tokenizer: out of memory");
        if (rc) {
                tokenizer_free(t);
                return rc;
        }
        *ret = t;
        return 0;
}

void tokenizer_free(struct tokenizer *t)
{
        if (!t)
                return;
        mem_free(t->bytes);
        mem_free(t->ends);
        mem_free(t->types);
        mem_free(t->text.slots);
        mem_free(t->special.slots);
        mem_free(t->merges);
        mem_free(t->norm.map);
        mem_free(t->ranks);
        mem_free(t->scores);
        tok_trie_release(&t->trie);
        for (int i = 0; i < t->n_words; i++)
                pcre2_code_free(t->words[i]);
        mem_free(t);
}

/* --- characters ------------------------------------------------------------------------------------- */

size_t tok_char_length(struct str s)
{
        unsigned char lead = (unsigned char)s.p[0];
        size_t n = lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
        return n > 1 && (n > s.n || !str_is_utf8((struct str){ s.p, n })) ? 1 : n;
}

uint32_t tok_char_code(struct str s)
{
        const unsigned char *p = (const unsigned char *)s.p;
        switch (tok_char_length(s)) {
        case 2:
                return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
        case 3:
                return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        case 4:
                return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
        default:
                return p[0] < 0x80 ? p[0] : 0xFFFD;
        }
}

int tok_push_unknown(struct tok_work *w, struct str bytes)
{
        bool all = true;
        for (size_t i = 0; i < bytes.n; i++)
                all = all && w->t->byte_ids[(unsigned char)bytes.p[i]] >= 0;
        if (!all) {
                if (w->t->unk < 0)
                        return -EINVAL;
                bool repeated = w->out->n > w->from && w->out->p[w->out->n - 1] == w->t->unk;
                return repeated ? 0 : tok_ids_push(w->out, w->t->unk);
        }
        int rc = 0;
        for (size_t i = 0; i < bytes.n && !rc; i++)
                rc = tok_ids_push(w->out, w->t->byte_ids[(unsigned char)bytes.p[i]]);
        return rc;
}

/* --- text ------------------------------------------------------------------------------------------- */

/* Text without special tokens. */
static int encode_plain(struct tok_work *w, struct str text)
{
        w->from = w->out->n;
        if (!text.n)
                return 0;
        switch (w->t->kind) {
        case TOK_KIND_BPE:
                return tok_bpe_encode(w, text);
        case TOK_KIND_SPM:
                return tok_spm_encode(w, text);
        case TOK_KIND_UNIGRAM:
                return tok_unigram_encode(w, text);
        case TOK_KIND_WORDPIECE:
                return tok_wordpiece_encode(w, text);
        }
        return -EINVAL;
}

/* The longest special token that text starts with, NO_ID when there is none; control tokens only of up to
 * `free` bytes. */
static int32_t special_at(const struct tokenizer *t, struct str text, size_t free)
{
        int32_t best = NO_ID;
        if (!t->special_first[(unsigned char)text.p[0]])
                return NO_ID;
        size_t most = text.n < TOK_SPECIAL_MAX ? text.n : TOK_SPECIAL_MAX;
        uint64_t hash = str_hash((struct str){ text.p, 0 });
        for (size_t n = 1; n <= most; n++) {
                hash = str_hash_more(hash, (struct str){ text.p + n - 1, 1 });
                if (!t->special_length[n])
                        continue;
                int32_t id = tok_table_get(t, &t->special, (struct str){ text.p, n }, hash);
                if (id >= 0 && (n <= free || t->types[id] == TOK_USER_DEFINED))
                        best = id;
        }
        return best;
}

/* Where control tokens may be recognised: everywhere but in data. */
struct guard {
        const struct tok_range *data;
        size_t n; /* ranges that end behind the position reached */
};

/* How many bytes from `at` on are free of data. Positions only grow from call to call. */
static size_t unguarded(struct guard *g, size_t at)
{
        while (g->n && g->data->end <= at) {
                g->data++;
                g->n--;
        }
        if (!g->n)
                return SIZE_MAX;
        return g->data->start > at ? g->data->start - at : 0;
}

static bool is_white(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

static int encode_all(struct tok_work *w, struct str text, bool control, struct guard *guard)
{
        const struct tokenizer *t = w->t;
        size_t from = 0;
        for (size_t i = 0; i < text.n;) {
                size_t free = control ? unguarded(guard, i) : 0;
                int32_t id = special_at(t, (struct str){ text.p + i, text.n - i }, free);
                if (id < 0) {
                        i++;
                        continue;
                }
                int rc = encode_plain(w, (struct str){ text.p + from, i - from });
                if (!rc)
                        rc = tok_ids_push(w->out, id);
                if (rc)
                        return rc;
                i += tok_piece_at(t, (size_t)id).n;
                if (t->strip_after && t->types[id] == TOK_CONTROL && id != t->bos)
                        while (i < text.n && is_white(text.p[i]))
                                i++;
                from = i;
        }
        return encode_plain(w, (struct str){ text.p + from, text.n - from });
}

static void work_release(struct tok_work *w)
{
        mem_free(w->symbols);
        mem_free(w->heap);
        mem_free(w->best);
        buf_release(&w->normal);
        for (int i = 0; i < TOK_PRE_MAX; i++)
                pcre2_match_data_free(w->match[i]);
}

int tokenizer_encode(const struct tokenizer *t, struct str text, int flags, struct tok_ids *out)
{
        return tokenizer_encode_guarded(t, text, NULL, 0, flags, out);
}

int tokenizer_encode_guarded(const struct tokenizer *t, struct str text, const struct tok_range *data,
                             size_t n, int flags, struct tok_ids *out)
{
        struct guard guard = { data, n };
        struct tok_work w = { .t = t, .out = out };
        int rc = 0;

        buf_init(&w.normal, 0);
        if (flags & TOK_ENCODE_BOS && t->add_bos)
                rc = tok_ids_push(out, t->bos);
        if (!rc && text.n)
                rc = encode_all(&w, text, flags & TOK_ENCODE_SPECIAL, &guard);
        if (!rc && flags & TOK_ENCODE_EOS && t->add_eos)
                rc = tok_ids_push(out, t->last);
        work_release(&w);
        return rc;
}

int tok_ids_push(struct tok_ids *ids, int32_t id)
{
        if (ids->n == ids->cap) {
                size_t cap = ids->cap ? ids->cap * 2 : 32;
                int32_t *p = mem_realloc(ids->p, cap, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                ids->p = p;
                ids->cap = cap;
        }
        ids->p[ids->n++] = id;
        return 0;
}

void tok_ids_release(struct tok_ids *ids)
{
        mem_free(ids->p);
        *ids = (struct tok_ids){ 0 };
}

/* --- looking things up ------------------------------------------------------------------------------ */

struct str tokenizer_piece(const struct tokenizer *t, int32_t id)
{
        if (id < 0 || (size_t)id >= t->n_vocab)
                return (struct str){ "", 0 };
        return tok_piece_at(t, (size_t)id);
}

int32_t tokenizer_find(const struct tokenizer *t, struct str bytes)
{
        uint64_t hash = str_hash(bytes);
        int32_t id = tok_table_get(t, &t->text, bytes, hash);
        return id >= 0 ? id : tok_table_get(t, &t->special, bytes, hash);
}

enum tok_type tokenizer_type(const struct tokenizer *t, int32_t id)
{
        return id < 0 || (size_t)id >= t->n_vocab ? TOK_UNUSED : (enum tok_type)t->types[id];
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
        return tokenizer_type(t, id) == TOK_CONTROL;
}

size_t tokenizer_size(const struct tokenizer *t)
{
        return t->n_vocab;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
        return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
        return t->eos;
}

int32_t tokenizer_eot(const struct tokenizer *t)
{
        return t->eot;
}

int32_t tokenizer_unk(const struct tokenizer *t)
{
        return t->unk;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
        return t->add_bos;
}

bool tokenizer_adds_space(const struct tokenizer *t)
{
        return t->norm.space_prefix;
}
