/* Writes texts of grammars by choosing random tokens from their masks, and says of given texts whether they
 * belong. For the tests that compare with other implementations.
 *
 * One request a line of standard input, one answer a line of standard output:
 *   {"schema": ..., "strict": bool, "compact": bool} or {"regex": "..."} or {"lark": "..."}, with
 *   "samples": how many, "seed": n, "texts": ["...", ...]
 *   -> {"error": null | {"msg", "path"}, "samples": [text | null (not over after MAX_TOKENS)], "accepted":
 * [bool]}
 */
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "grammar/grammar.h"

#define MAX_TOKENS 3000
/* From here on tokens that close something are preferred, or texts would hardly ever end. */
#define LONG_ENOUGH 40
#define N_PIECES 3000
#define N_VOCAB (1 + 256 + N_PIECES)

static char pieces[N_VOCAB][16];
static size_t lengths[N_VOCAB];
static struct grammar_vocab *vocab;
static struct rng rng;

static struct str piece(void *ctx, int32_t id)
{
        (void)ctx;
        return (struct str){ pieces[id], lengths[id] };
}

/* Token 0 ends; then all bytes; then runs of letters, digits, punctuation of JSON and white space. */
static int make_vocab(void)
{
        static const char *const parts[] = { "\"",
                                             "\":",
                                             "\",",
                                             "{\"",
                                             "\"}",
                                             "[",
                                             "]",
                                             "},",
                                             "{",
                                             "}",
                                             "[[",
                                             "]]",
                                             ",",
                                             ", ",
                                             ": ",
                                             "\n",
                                             "  ",
                                             "\n  ",
                                             "1",
                                             "0",
                                             "23",
                                             ".5",
                                             "-",
                                             "true",
                                             "fal",
                                             "se",
                                             "null",
                                             "\\n",
                                             "\\u",
                                             "00e9",
                                             "a",
                                             "e",
                                             "th",
                                             "in",
                                             "er",
                                             "xyz",
                                             "name",
                                             "\xc3\xa9",
                                             "\xe4\xbd",
                                             "\xa0",
                                             "\xf0\x9f\x98",
                                             "\\\"",
                                             "e-",
                                             "T",
                                             "Z",
                                             ":" };
        uint8_t is_end[N_VOCAB] = { 1 };
        for (int id = 1; id < N_VOCAB; id++) {
                if (id <= 256) {
                        pieces[id][0] = (char)(id - 1);
                        lengths[id] = 1;
                        continue;
                }
                while (lengths[id] < 2 || rng_below(&rng, 3)) {
                        const char *part = parts[rng_below(&rng, sizeof(parts) / sizeof(*parts))];
                        size_t n = strlen(part);
                        if (lengths[id] + n > sizeof(pieces[id]))
                                break;
                        memcpy(pieces[id] + lengths[id], part, n);
                        lengths[id] += n;
                }
        }
        return grammar_vocab_new(N_VOCAB, piece, NULL, is_end, &vocab);
}

static bool has(const uint32_t *bits, int32_t id)
{
        return bits[id / 32] >> (id % 32) & 1;
}

static int32_t any_of(const uint32_t *bits, const char *first)
{
        int32_t n = 0, chosen = -1;
        for (int32_t id = 1; id < N_VOCAB; id++) {
                if (!has(bits, id) || (first && !strchr(first, pieces[id][0])))
                        continue;
                if (rng_below(&rng, (uint64_t)++n) == 0)
                        chosen = id;
        }
        return chosen;
}

static int32_t choose(const uint32_t *bits, int step)
{
        int32_t id = -1;
        if (has(bits, 0) && (step > LONG_ENOUGH || rng_below(&rng, 3) == 0))
                return 0;
        if (step > LONG_ENOUGH && rng_below(&rng, 4))
                id = any_of(bits, "]}");
        if (id < 0 && step > LONG_ENOUGH && rng_below(&rng, 4))
                id = any_of(bits, "\"0123456789");
        if (id < 0)
                id = any_of(bits, NULL);
        return id < 0 ? 0 : id;
}

/* A text, or null; every token that the mask allows must be taken. */
static json_t *sample(struct grammar *g)
{
        struct grammar_match *m;
        struct buf text;
        uint32_t *bits = mem_calloc(grammar_mask_words(N_VOCAB), sizeof(*bits));
        buf_init(&text, 1 << 20);
        int r = grammar_match_new(g, vocab, &m);
        int32_t id = 1;
        for (int step = 0; !r && id && step < MAX_TOKENS; step++) {
                r = grammar_match_mask(m, bits);
                if (r)
                        break;
                id = choose(bits, step);
                r = grammar_match_token(m, id);
                if (id)
                        buf_add(&text, pieces[id], lengths[id]);
        }
        if (r) {
                fprintf(stderr, "grammar_sample: error %d after %.*s\n", r, (int)text.n, text.p);
                exit(1);
        }
        json_t *out = id ? json_null() : json_stringn(text.p ? text.p : "", text.n);
        grammar_match_free(m);
        buf_release(&text);
        mem_free(bits);
        return out;
}

/* Byte by byte, and once more along the longest tokens: both must say the same. */
static bool accepted(struct grammar *g, struct str text)
{
        struct grammar_match *m;
        bool ok[2];
        for (int way = 0; way < 2; way++) {
                if (grammar_match_new(g, vocab, &m))
                        exit(1);
                ok[way] = true;
                for (size_t at = 0; ok[way] && at < text.n;) {
                        int32_t best = 1 + (unsigned char)text.p[at];
                        for (int32_t id = 257; way && id < N_VOCAB; id++)
                                if (lengths[id] > lengths[best] && lengths[id] <= text.n - at &&
                                    !memcmp(pieces[id], text.p + at, lengths[id]))
                                        best = id;
                        ok[way] = grammar_match_token(m, best) == 0;
                        at += lengths[best];
                }
                ok[way] = ok[way] && grammar_match_may_end(m);
                grammar_match_free(m);
        }
        if (ok[0] != ok[1]) {
                fprintf(stderr, "grammar_sample: bytes and tokens disagree on %.*s\n", (int)text.n, text.p);
                exit(1);
        }
        return ok[0];
}

static int compile(const json_t *req, struct grammar **ret, struct grammar_err *err)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        unsigned flags = (json_flag(req, "strict", false) ? GRAMMAR_STRICT : 0) |
                         (json_flag(req, "compact", false) ? GRAMMAR_COMPACT : 0);
        gnode part;
        if (json_object_get(req, "regex"))
                part = grammar_regex(b, json_str(req, "regex"), err);
        else if (json_object_get(req, "lark"))
                part = grammar_lark(b, json_str(req, "lark"), err);
        else
                part = grammar_schema(b, json_object_get(req, "schema"), flags, err);
        return grammar_finish(b, part, ret, err);
}

static json_t *answer(const json_t *req)
{
        struct grammar_err err = { 0 };
        struct grammar *g = NULL;
        json_t *samples = json_array(), *verdicts = json_array(), *text;
        size_t i;
        int r = compile(req, &g, &err);
        rng_seed(&rng, (uint64_t)json_int(req, "seed", 0));
        for (int64_t n = json_int(req, "samples", 0); !r && n > 0; n--)
                json_array_append_new(samples, sample(g));
        json_array_foreach(json_object_get(req, "texts"), i, text) if (!r)
                json_array_append_new(verdicts, json_boolean(accepted(g, json_as_str(text))));
        grammar_unref(g);
        json_t *error =
                r ? json_pack("{s:i,s:s,s:s}", "code", r, "msg", err.msg, "path", err.path) : json_null();
        return json_pack("{s:o,s:o,s:o}", "error", error, "samples", samples, "accepted", verdicts);
}

int main(void)
{
        static char line[1 << 24];
        struct json_fault fault;
        json_setup();
        rng_seed(&rng, 1);
        if (make_vocab())
                return 1;
        while (fgets(line, sizeof(line), stdin)) {
                json_t *req = json_parse(str_c(line), 500, &fault);
                if (!req) {
                        fprintf(stderr, "grammar_sample: %s\n", fault.msg);
                        return 1;
                }
                json_t *out = answer(req);
                char *text = json_text(out, NULL);
                puts(text);
                fflush(stdout);
                mem_free(text);
                json_decref(out);
                json_decref(req);
        }
        grammar_vocab_free(vocab);
        return 0;
}
