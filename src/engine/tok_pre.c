/* Cutting text into words before byte-level BPE. A pre-tokenizer is one pattern or several; each of several
 * cuts what the one before it has cut. What lies between matches is a word as well, so nothing is lost. The
 * names are those of the GGUF key tokenizer.ggml.pre, the patterns those of the tokenizers published with the
 * models. */
#include <errno.h>
#include <string.h>
#include "engine/tok_internal.h"

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TRAILING_SPACE "\\s+(?!\\S)|\\s+"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" TRAILING_SPACE

/* Case-insensitive contractions, letters with one leading mark, then digits as the model wants them. */
#define CL100K(digits)                                       \
        CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
                    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" TRAILING_SPACE

/* Words that end where a capital follows a small letter. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail) \
        "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail
#define O200K(tail, digits, marks) \
        CASED(tail) "|" digits "| ?[^\\s\\p{L}\\p{N}]+" marks "|\\s*[\\r\\n]+|" TRAILING_SPACE

#define CJK "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define HAN_KOREAN "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define DEEPSEEK3_WORDS                                                                                     \
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
        "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|" TRAILING_SPACE
/* The cased letters of every script, as DeepSeek's first tokenizer lists them. */
#define CASED_LETTERS                                                                                        \
        "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"      \
        "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{"   \
        "38A}"                                                                                               \
        "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"      \
        "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"    \
        "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"    \
        "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{" \
        "1F7D}"                                                                                              \
        "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}"              \
        "\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}"    \
        "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"       \
        "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}"     \
        "\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}"      \
        "\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}"    \
        "\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"    \
        "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}"               \
        "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
#define WIDE_MARKS "!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}"
#define BLOOM_WORDS " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"

static const struct pre {
        const char *names; /* separated by spaces */
        const char *patterns[TOK_PRE_MAX];
        /* A word that is a token is taken as it is, whatever the merges say. These vocabularies start texts
         * with bos unless their file says otherwise. */
        bool whole_words;
} pres[] = {
        { "gpt-2 gpt2 phi-2 mpt olmo jais trillion granite-docling jina-es jina-de jina-v2-es jina-v2-de "
          "roberta-bpe gigachat a.x-4.0 mellum exaone4",
          { GPT2 },
          false },
        { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
          { CL100K("\\p{N}{1,3}") },
          true },
        { "dbrx smaug-bpe chatglm-bpe", { CL100K("\\p{N}{1,3}") }, false },
        { "qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan grok-2", { CL100K("\\p{N}") }, false },
        { "qwen35",
          { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
                        "|\\s*[\\r\\n]+|" TRAILING_SPACE },
          false },
        { "gpt-4o o200k llama4 kanana2 minimax-m2",
          { O200K(CONTRACTION "?", "\\p{N}{1,3}", "[\\r\\n/]*") },
          false },
        { "tekken", { O200K("", "\\p{N}", "[\\r\\n/]*") }, true },
        { "starcoder refact command-r smollm codeshell exaone minerva-7b", { "\\p{N}", GPT2 }, false },
        { "falcon", { "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]" }, false },
        { "default", { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" }, false },
        { "deepseek-llm",
          { "[\\r\\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[" WIDE_MARKS "]+", "\\s+$", HAN_KOREAN, "\\p{N}+" },
          false },
        { "deepseek-coder", { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_KOREAN, "\\p{N}" }, false },
        { "deepseek-v3 hunyuan-dense", { "\\p{N}{1,3}", CJK, DEEPSEEK3_WORDS }, false },
        { "bloom poro-chat gpt3-finnish", { BLOOM_WORDS }, false },
        { "viking", { BLOOM_WORDS, "\\p{N}" }, false },
        { "seed-coder",
          { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+"
                        "|" TRAILING_SPACE },
          false },
        { "bailingmoe bailingmoe2 llada-moe",
          { "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
            "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|" TRAILING_SPACE },
          false },
};

static bool has_name(const char *names, struct str name)
{
        for (struct str rest = str_c(names); rest.n;)
                if (str_eq(str_split(rest, ' ', &rest), name))
                        return true;
        return false;
}

static const struct pre *pre_find(struct str name)
{
        for (size_t i = 0; i < sizeof(pres) / sizeof(*pres); i++)
                if (has_name(pres[i].names, name))
                        return &pres[i];
        return NULL;
}

const char *tokenizer_pattern(struct str name)
{
        const struct pre *pre = pre_find(name);
        return pre && !pre->patterns[1] ? pre->patterns[0] : NULL;
}

bool tok_pre_adds_bos(struct str name)
{
        const struct pre *pre = pre_find(name);
        return pre && pre->whole_words;
}

int tok_pre_load(struct tokenizer *t, struct str name, char *err, size_t errn)
{
        const struct pre *pre = pre_find(name);
        int code;
        size_t at;

        if (!pre)
                return tok_invalid(err, errn, "tokenizer: the pre-tokenizer '%.*s' is not known",
                                   (int)(name.n < 40 ? name.n : 40), name.p ? name.p : "");
        t->whole_words = pre->whole_words;
        for (int i = 0; i < TOK_PRE_MAX && pre->patterns[i]; i++) {
                t->words[i] =
                        pcre2_compile((PCRE2_SPTR)pre->patterns[i], PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY,
                                      &code, &at, NULL);
                if (!t->words[i])
                        return -ENOMEM;
                t->n_words++;
                pcre2_jit_compile(t->words[i],
                                  PCRE2_JIT_COMPLETE); /* without a JIT the interpreter does it */
        }
        return 0;
}

static int split(struct tok_work *w, struct str text, int stage, tok_word_fn *fn);

static int pass_on(struct tok_work *w, struct str text, int stage, tok_word_fn *fn)
{
        if (!text.n)
                return 0;
        return stage + 1 < w->t->n_words ? split(w, text, stage + 1, fn) : fn(w, text);
}

/* Matches and what is between them, in order, go on to the next pattern. */
static int split(struct tok_work *w, struct str text, int stage, tok_word_fn *fn)
{
        const pcre2_code *code = w->t->words[stage];
        pcre2_match_data *match = w->match[stage];
        size_t *span = pcre2_get_ovector_pointer(match);
        for (size_t at = 0; at < text.n; at = span[1]) {
                int found = pcre2_match(code, (PCRE2_SPTR)text.p, text.n, at, 0, match, NULL);
                if (found == PCRE2_ERROR_JIT_STACKLIMIT)
                        found = pcre2_match(code, (PCRE2_SPTR)text.p, text.n, at, PCRE2_NO_JIT, match, NULL);
                if (found == PCRE2_ERROR_NOMEMORY)
                        return -ENOMEM;
                if (found < 0 || span[1] <= at) /* nothing more that matches */
                        return pass_on(w, (struct str){ text.p + at, text.n - at }, stage, fn);
                int rc = pass_on(w, (struct str){ text.p + at, span[0] - at }, stage, fn);
                if (!rc)
                        rc = pass_on(w, (struct str){ text.p + span[0], span[1] - span[0] }, stage, fn);
                if (rc)
                        return rc;
        }
        return 0;
}

int tok_pre_split(struct tok_work *w, struct str text, tok_word_fn *fn)
{
        for (int i = 0; i < w->t->n_words; i++) {
                if (!w->match[i])
                        w->match[i] = pcre2_match_data_create(1, NULL);
                if (!w->match[i])
                        return -ENOMEM;
        }
        return split(w, text, 0, fn);
}
