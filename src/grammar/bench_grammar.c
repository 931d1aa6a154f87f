/* What grammars cost at a vocabulary of 128k tokens: compilation, and the mask of each step of random texts.
 * Prints a line for each grammar: microseconds of the first text (nothing is cached yet) and of later ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "grammar/grammar.h"

#define N_VOCAB 128000
#define STEPS 120
#define TEXTS 20

static char *pieces[N_VOCAB];
static size_t lengths[N_VOCAB];
static struct rng rng;

static struct str piece(void *ctx, int32_t id)
{
        (void)ctx;
        return (struct str){ pieces[id] ? pieces[id] : "", lengths[id] };
}

/* Shaped like byte-level BPE: all bytes, words of letters with and without a space in front, digits, runs of
 * punctuation and spaces, pieces of other scripts. */
static void make_piece(int32_t id, char *ret, size_t *ret_n)
{
        static const char *const syllables[] = { "an",  "er", "in",  "on",   "th",   "e",  "st", "re",
                                                 "al",  "it", "o",   "ing",  "tion", "s",  "un", "pre",
                                                 "con", "ly", "ed",  "able", "ment", "ar", "i",  "or",
                                                 "es",  "ic", "ous", "a",    "ness", "co" };
        static const char *const marks[] = { "\"", ":", ",", "{", "}", "[",  "]",  "\\", "n", "(",
                                             ")",  ";", "=", "/", " ", "\n", "\t", "'",  "." };
        static const char *const scripts[] = { "\xd0\xb0", "\xd1\x81", "\xe4\xbd\xa0", "\xe5\xa5\xbd",
                                               "\xc3\xa9", "\xd9\x85", "\xe3\x81\x82", "\xf0\x9f\x98" };
        uint64_t kind = rng_below(&rng, 100);
        size_t n = 0;
        if (id <= 256 && id > 0) {
                ret[n++] = (char)(id - 1);
        } else if (kind < 4) {
                for (uint64_t k = 1 + rng_below(&rng, 3); k > 0; k--)
                        ret[n++] = (char)('0' + rng_below(&rng, 10));
        } else if (kind < 12) {
                for (uint64_t k = 1 + rng_below(&rng, 5); k > 0; k--)
                        ret[n++] = marks[rng_below(&rng, 19)][0];
        } else if (kind < 13) {
                for (uint64_t k = 1 + rng_below(&rng, 60); k > 0; k--)
                        ret[n++] = ' ';
        } else {
                bool other = kind < 30;
                if (rng_below(&rng, 2))
                        ret[n++] = ' ';
                for (uint64_t k = 1 + rng_below(&rng, 4); k > 0; k--) {
                        const char *s = other ? scripts[rng_below(&rng, 8)] : syllables[rng_below(&rng, 30)];
                        for (; *s; s++)
                                ret[n++] = *s;
                }
        }
        *ret_n = n;
}

/* Of this thread alone: others may be busy. */
static double cpu_us(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct grammar_vocab *make_vocab(void)
{
        struct grammar_vocab *v;
        static uint8_t is_end[N_VOCAB] = { 1 };
        for (int32_t id = 1; id < N_VOCAB; id++) {
                char buf[80];
                make_piece(id, buf, &lengths[id]);
                pieces[id] = mem_strndup(buf, lengths[id]);
        }
        double begin = cpu_us();
        if (grammar_vocab_new(N_VOCAB, piece, NULL, is_end, &v))
                abort();
        printf("vocabulary of %d tokens: %.1f ms\n", N_VOCAB, (cpu_us() - begin) / 1000);
        return v;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

/* Mostly what ordinary text has: letters rather than the end of what is open. */
static int32_t choose(const uint32_t *bits)
{
        for (int tries = 0; tries < 400; tries++) {
                int32_t id = (int32_t)rng_below(&rng, N_VOCAB);
                if (bits[id / 32] >> (id % 32) & 1)
                        return id;
        }
        int32_t n = 0, chosen = 0;
        for (int32_t id = 0; id < N_VOCAB; id++)
                if (bits[id / 32] >> (id % 32) & 1 && rng_below(&rng, (uint64_t)++n) == 0)
                        chosen = id;
        return chosen;
}

/* One text; the microseconds of its masks go to *us. */
static size_t walk(struct grammar *g, const struct grammar_vocab *v, double *us)
{
        static uint32_t bits[(N_VOCAB + 31) / 32];
        struct grammar_match *m;
        size_t n = 0;
        if (grammar_match_new(g, v, &m))
                abort();
        for (int32_t id = 1; n < STEPS && id; n++) {
                double begin = cpu_us();
                if (grammar_match_mask(m, bits))
                        abort();
                us[n] = cpu_us() - begin;
                id = choose(bits);
                if (grammar_match_token(m, id))
                        abort();
        }
        grammar_match_free(m);
        return n;
}

static void report(const char *name, double compile_ms, double *first, size_t n_first, double *later,
                   size_t n_later)
{
        double sum = 0;
        for (size_t i = 0; i < n_later; i++)
                sum += later[i];
        qsort(first, n_first, sizeof(*first), by_value);
        qsort(later, n_later, sizeof(*later), by_value);
        printf("%-22s %8.2f %9.0f %8.0f %9.1f %8.0f %8.0f %8.0f\n", name, compile_ms, first[n_first / 2],
               first[n_first - 1], sum / (double)n_later, later[n_later / 2], later[n_later * 99 / 100],
               later[n_later - 1]);
}

static gnode make(struct grammar_builder *b, const char *kind, const char *text, json_t *schema)
{
        if (!strcmp(kind, "regex"))
                return grammar_regex(b, str_c(text), NULL);
        if (!strcmp(kind, "lark"))
                return grammar_lark(b, str_c(text), NULL);
        if (!strcmp(kind, "object"))
                return grammar_json_object(b, 0);
        if (!strcmp(kind, "free"))
                return grammar_text_without(b, (struct str[]){ STR("<tool_call>"), STR("</think>") }, 2);
        return grammar_schema(b, schema, 0, NULL);
}

static void bench(const char *name, const char *kind, const char *text, const struct grammar_vocab *v)
{
        static double first[STEPS], later[STEPS * TEXTS];
        struct json_fault fault;
        struct grammar *g;
        json_t *schema = strcmp(kind, "schema") ? NULL : json_parse(str_c(text), 100, &fault);
        double begin = cpu_us();
        struct grammar_builder *b = grammar_builder_new(NULL);
        if (grammar_finish(b, make(b, kind, text, schema), &g, NULL))
                abort();
        double compile_ms = (cpu_us() - begin) / 1000;
        rng_seed(&rng, 11);
        size_t n_first = walk(g, v, first), n_later = 0;
        for (int i = 0; i < TEXTS; i++)
                n_later += walk(g, v, later + n_later);
        report(name, compile_ms, first, n_first, later, n_later);
        grammar_unref(g);
        json_decref(schema);
}

int main(void)
{
        json_setup();
        rng_seed(&rng, 1);
        struct grammar_vocab *v = make_vocab();
        printf("%-22s %8s %9s %8s %9s %8s %8s %8s\n", "", "compile", "first", "first", "later", "later",
               "later", "later");
        printf("%-22s %8s %9s %8s %9s %8s %8s %8s\n", "grammar", "ms", "median us", "max us", "mean us",
               "median", "p99", "max");
        bench("string", "schema", "{\"type\":\"string\"}", v);
        bench("string, maxLength", "schema", "{\"type\":\"string\",\"maxLength\":200}", v);
        bench("person", "schema",
              "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
              "\"integer\"},"
              "\"email\":{\"type\":\"string\",\"format\":\"email\"},\"tags\":{\"type\":\"array\",\"items\":{"
              "\"type\":\"string\"}}},"
              "\"required\":[\"name\",\"age\",\"email\",\"tags\"],\"additionalProperties\":false}",
              v);
        bench("steps", "schema",
              "{\"type\":\"object\",\"properties\":{\"steps\":{\"type\":\"array\",\"items\":{\"type\":"
              "\"object\",\"properties\":"
              "{\"explanation\":{\"type\":\"string\"},\"output\":{\"type\":\"string\"}},\"required\":["
              "\"explanation\",\"output\"],"
              "\"additionalProperties\":false}},\"final\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":"
              "1000}},"
              "\"required\":[\"steps\",\"final\"],\"additionalProperties\":false}",
              v);
        bench("recursive ui", "schema",
              "{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\",\"enum\":[\"div\","
              "\"button\",\"field\"]},\"label\":"
              "{\"type\":\"string\"},\"children\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}},"
              "\"required\":[\"type\",\"label\","
              "\"children\"],\"additionalProperties\":false}",
              v);
        bench("pattern", "schema", "{\"type\":\"string\",\"pattern\":\"^[A-Za-z]+( [a-z]+){3,}$\"}", v);
        bench("any object", "object", "", v);
        bench("free text", "free", "", v);
        bench("regex", "regex", "[A-Za-z ,.]{1,5000}", v);
        bench("lark arithmetic", "lark",
              "start: expr\nexpr: expr \"+\" term | term\nterm: term \"*\" atom | atom\natom: NUMBER | \"(\" "
              "expr \")\"\n"
              "%import common.NUMBER\n%import common.WS\n%ignore WS\n",
              v);
        grammar_vocab_free(v);
        for (int32_t id = 0; id < N_VOCAB; id++)
                mem_free(pieces[id]);
        return 0;
}
