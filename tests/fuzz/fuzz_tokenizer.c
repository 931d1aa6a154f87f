/* The tokenizer: any text survives the way to tokens and back, and any vocabulary of any kind is accepted or
 * refused with a reason. The first byte chooses which of the two is tried, and the kind. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "base/mem.h"
#include "engine/tokenizer.h"

#define MAX_TOKENS 512

static const char *const patterns[] = { "gpt-2", "llama-bpe", "deepseek-llm" };

/* Byte tokens, a few merges of the alphabet, and control tokens. */
static struct tokenizer *fixed(int pattern)
{
        static char bytes[256][2];
        static struct str tokens[256 + 8];
        static int32_t types[256 + 8];
        static const char *const more[] = { "th", "the", "in", "an", "\xc4\xa0t", "\xc4\xa0the" };
        static const char *const joined[] = { "t h", "th e", "i n", "a n", "\xc4\xa0 t", "\xc4\xa0t he" };
        struct str merges[5];
        struct tokenizer *t = NULL;
        char err[200];
        for (int i = 0; i < 256; i++)
                tokens[i] = (struct str){ bytes[i], (size_t)tokenizer_byte_char((uint8_t)i, bytes[i]) };
        for (int i = 0; i < 6; i++)
                tokens[256 + i] = str_c(more[i]);
        for (int i = 0; i < 5; i++)
                merges[i] = str_c(joined[i]);
        tokens[262] = STR("<|im_start|>");
        tokens[263] = STR("<|im_end|>");
        for (int i = 0; i < 264; i++)
                types[i] = i < 262 ? TOK_NORMAL : TOK_CONTROL;
        struct tok_spec spec = { .n_vocab = 264,
                                 .tokens = tokens,
                                 .types = types,
                                 .n_merges = 5,
                                 .merges = merges,
                                 .pre = str_c(patterns[pattern]),
                                 .bos = -1,
                                 .eos = 263,
                                 .eot = -1,
                                 .unk = -1 };
        if (tokenizer_new(&spec, &t, err, sizeof(err)))
                __builtin_trap();
        return t;
}

static void text_round_trip(const uint8_t *data, size_t n, int flags)
{
        static struct tokenizer *cached[3];
        int pattern = flags % 3;
        if (!cached[pattern])
                cached[pattern] = fixed(pattern);
        struct tok_ids ids = { 0 };
        struct str text = { (const char *)data, n };
        if (tokenizer_encode(cached[pattern], text, flags & 4 ? TOK_ENCODE_SPECIAL : 0, &ids))
                __builtin_trap(); /* every byte has a token */
        size_t at = 0;
        for (size_t i = 0; i < ids.n; i++) {
                struct str piece = tokenizer_piece(cached[pattern], ids.p[i]);
                if (piece.n > n - at || memcmp(piece.p, data + at, piece.n))
                        __builtin_trap();
                if (!(flags & 4) && tokenizer_is_control(cached[pattern], ids.p[i]))
                        __builtin_trap(); /* text forged a control token */
                at += piece.n;
        }
        if (at != n)
                __builtin_trap();
        tok_ids_release(&ids);
}

static bool is_id(int32_t id, size_t n)
{
        return id >= 0 && (size_t)id < n;
}

static void use(const struct tokenizer *t, struct str text, size_t n_vocab)
{
        struct tok_ids ids = { 0 };
        int rc = tokenizer_encode(t, text, TOK_ENCODE_SPECIAL | TOK_ENCODE_BOS | TOK_ENCODE_EOS, &ids);
        if (rc && rc != -EINVAL)
                __builtin_trap();
        for (size_t i = 0; i < ids.n; i++)
                if (!is_id(ids.p[i], n_vocab))
                        __builtin_trap();
        ids.n = 0;
        struct tok_range all = { 0, text.n };
        if (!tokenizer_encode_guarded(t, text, &all, 1, TOK_ENCODE_SPECIAL, &ids))
                for (size_t i = 0; i < ids.n; i++)
                        if (tokenizer_is_control(t, ids.p[i]) && ids.p[i] != tokenizer_unk(t))
                                __builtin_trap(); /* data forged a control token */
        tok_ids_release(&ids);
}

/* Lines of the input: tokens, and below an empty line merges; the first of them is the map of characters as
 * well. The last line is a text. */
static void vocabulary(const uint8_t *data, size_t n, enum tok_kind kind)
{
        struct str rest = { (const char *)data, n }, lists[2][MAX_TOKENS], line = { 0 };
        size_t counts[2] = { 0 };
        int32_t types[MAX_TOKENS];
        float scores[MAX_TOKENS];
        int list = 0;
        while (rest.p) {
                line = str_split(rest, '\n', &rest);
                if (!line.n && !list)
                        list = 1;
                else if (counts[list] < MAX_TOKENS)
                        lists[list][counts[list]++] = line;
        }
        for (size_t i = 0; i < counts[0]; i++) {
                scores[i] = (float)(i * 37 % 11);
                types[i] = lists[0][i].n && lists[0][i].p[0] == '<' ? TOK_CONTROL : 1 + (int32_t)(i % 7);
        }
        struct tok_spec spec = { .kind = kind,
                                 .n_vocab = counts[0],
                                 .tokens = lists[0],
                                 .types = types,
                                 .scores = scores,
                                 .charsmap = counts[1] && n % 5 ? lists[1][0] : STR(""),
                                 .space_prefix = n % 4 == 1,
                                 .squeeze_spaces = n % 7 == 1,
                                 .strip_after = n % 11 == 1,
                                 .fold = n % 2,
                                 .add_eos = n % 13 == 1,
                                 .n_merges = counts[1],
                                 .merges = lists[1],
                                 .pre = STR("qwen2"),
                                 .bos = (int32_t)(n % 9) - 1,
                                 .eos = 0,
                                 .eot = -1,
                                 .unk = n % 2 ? 0 : -1,
                                 .add_bos = n % 3 == 0 };
        struct tokenizer *t = NULL;
        char err[200] = "";
        if (tokenizer_new(&spec, &t, err, sizeof(err))) {
                if (!err[0])
                        __builtin_trap(); /* a refusal without a reason */
                return;
        }
        use(t, line, counts[0]);
        tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        if (!n || n > 1 << 16)
                return 0;
        if (data[0] & 0x80)
                vocabulary(data + 1, n - 1, (enum tok_kind)(data[0] & 3));
        else
                text_round_trip(data + 1, n - 1, data[0]);
        return 0;
}
