/*
 * fuzz_grammar.c: grammars from schemas, regular expressions and Lark, and texts chosen from their masks.
 *
 * Input: one byte for the kind of source and the flags, the source up to a NUL, then bytes that choose
 * tokens. A refusal carries a message in UTF-8. A grammar that compiles always leads on: no mask is empty,
 * what it allows is taken, what it does not is refused, and at every eighth step that is tried for all
 * tokens.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "grammar/grammar.h"

#define STEPS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Token 0 ends, 1 is a control token, then all bytes, then these. */
static const char *const longer[] = { "\"",   "\":",  "\",\"", "{\"",      "\"}",      "[]",    "],",  "ab",
                                      "abc",  "aaaa", "  ",    "\n ",      "1.",       "00",    "e+",  "\\u",
                                      "\\\"", "tr",   "ue",    "\xc3\xa9", "\xe4\xbd", "\xa0x", "null" };

#define N_LONGER ((int32_t)(sizeof(longer) / sizeof(*longer)))
#define N_VOCAB (2 + 256 + N_LONGER)

static struct str piece(void *ctx, int32_t id)
{
        static char bytes[256];
        (void)ctx;
        if (id < 2)
                return (struct str){ "", 0 };
        if (id >= 258)
                return str_c(longer[id - 258]);
        bytes[id - 2] = (char)(id - 2);
        return (struct str){ &bytes[id - 2], 1 };
}

static const struct grammar_vocab *vocabulary(void)
{
        static struct grammar_vocab *v;
        static const uint8_t is_end[N_VOCAB] = { 1 };
        if (!v) {
                json_setup();
                int rc = grammar_vocab_new(N_VOCAB, piece, NULL, is_end, &v);
                assert(rc == 0);
        }
        return v;
}

static bool allowed(const uint32_t *bits, int32_t id)
{
        return bits[id / 32] >> (id % 32) & 1;
}

static int32_t nth_allowed(const uint32_t *bits, unsigned nth)
{
        int32_t n = 0;
        for (int32_t id = 0; id < N_VOCAB; id++)
                n += allowed(bits, id);
        assert(n > 0);
        for (int32_t id = 0, k = (int32_t)(nth % (unsigned)n); id < N_VOCAB; id++)
                if (allowed(bits, id) && k-- == 0)
                        return id;
        return 0;
}

static void try_all(const struct grammar_match *m, const uint32_t *bits)
{
        for (int32_t id = 0; id < N_VOCAB; id++) {
                struct grammar_match *copy;
                if (grammar_match_clone(m, &copy))
                        return;
                int rc = grammar_match_token(copy, id);
                assert(rc == -E2BIG || (rc == 0) == allowed(bits, id));
                grammar_match_free(copy);
        }
}

static void walk(struct grammar *g, const uint8_t *choices, size_t n)
{
        struct grammar_match *m;
        uint32_t bits[(N_VOCAB + 31) / 32];
        if (grammar_match_new(g, vocabulary(), &m))
                return;
        for (size_t i = 0; i < n && i < STEPS_MAX; i++) {
                int rc = grammar_match_mask(m, bits);
                if (rc == -E2BIG)
                        break;
                assert(rc == 0);
                assert(allowed(bits, 0) == grammar_match_may_end(m));
                if (i % 8 == 0)
                        try_all(m, bits);
                int32_t id = nth_allowed(bits, choices[i]);
                assert(!grammar_match_must_end(m) || id == 0);
                rc = grammar_match_token(m, id);
                if (rc == -E2BIG)
                        break;
                assert(rc == 0);
                if (!id)
                        break;
        }
        grammar_match_free(m);
}

static gnode make(struct grammar_builder *b, unsigned kind, struct str source, struct grammar_err *err)
{
        struct json_fault fault;
        json_t *schema;
        gnode part;
        switch (kind % 4) {
        case 0:
                return grammar_regex(b, source, err);
        case 1:
                return grammar_lark(b, source, err);
        case 2:
                part = grammar_text_without(b, &source, 1);
                return kind & 4 ? grammar_json_string(b, part) : part;
        default:
                schema = json_parse(source, 100, &fault);
                if (!schema)
                        return -ENOENT;
                part = grammar_schema(b, schema, kind >> 2 & (GRAMMAR_STRICT | GRAMMAR_COMPACT), err);
                json_decref(schema);
                return part;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        /* Small bounds: being refused in time is a part of what is tested. */
        const struct grammar_limits limits = { .bytes = 8 << 20, .steps = 400000 };
        struct grammar_err err = { 0 };
        struct grammar *g = NULL;
        const struct grammar_vocab *v = vocabulary();
        if (size < 2 || !v)
                return 0;
        const uint8_t *end = memchr(data + 1, 0, size - 1);
        size_t n = end ? (size_t)(end - data) - 1 : size - 1;
        struct str source = { (const char *)data + 1, n };
        struct grammar_builder *b = grammar_builder_new(&limits);
        if (!b)
                return 0;
        gnode part = make(b, data[0], source, &err);
        bool silent = part == -ENOENT || data[0] % 4 == 2;
        int rc = grammar_finish(b, part, &g, &err);
        if (rc) {
                assert(str_is_utf8(str_c(err.msg)) && str_is_utf8(str_c(err.path)));
                assert(silent || err.msg[0]);
                return 0;
        }
        walk(g, end ? end + 1 : data, end ? size - n - 2 : size);
        grammar_unref(g);
        return 0;
}
