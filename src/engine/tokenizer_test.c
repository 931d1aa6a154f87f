#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/rand.h"
#include "engine/tok_internal.h"

/* A vocabulary for tests: the 256 bytes, then the joins of `merges`, then the specials. */
#define MAX_TOKENS 600
struct fixture {
        char text[MAX_TOKENS][40];
        struct str tokens[MAX_TOKENS], merges[64];
        int32_t types[MAX_TOKENS];
        struct tok_spec spec;
};
static struct fixture fx;

static void add_token(const char *text, size_t n, int32_t type)
{
        size_t i = fx.spec.n_vocab++;
        assert_true(n < sizeof(fx.text[i]));
        memcpy(fx.text[i], text, n);
        fx.tokens[i] = (struct str){ fx.text[i], n };
        fx.types[i] = type;
}

/* merges: spellings in the byte alphabet, "left right". */
static void make(const char *pre, const char *const *merges, size_t n)
{
        memset(&fx, 0, sizeof(fx));
        fx.spec = (struct tok_spec){ .tokens = fx.tokens,
                                     .types = fx.types,
                                     .merges = fx.merges,
                                     .pre = str_c(pre),
                                     .bos = -1,
                                     .eos = -1,
                                     .eot = -1,
                                     .unk = -1 };
        for (int b = 0; b < 256; b++) {
                char c[2];
                add_token(c, (size_t)tokenizer_byte_char((uint8_t)b, c), TOK_NORMAL);
        }
        for (size_t i = 0; i < n; i++) {
                char joined[40];
                const char *space = strchr(merges[i], ' ');
                int len = snprintf(joined, sizeof(joined), "%.*s%s", (int)(space - merges[i]), merges[i],
                                   space + 1);
                fx.merges[fx.spec.n_merges++] = str_c(merges[i]);
                add_token(joined, (size_t)len, TOK_NORMAL);
        }
        add_token("<|a|>", 5, TOK_CONTROL);
        add_token("<|a|>b", 6, TOK_CONTROL);
        add_token("<tool>", 6, TOK_USER_DEFINED);
}

static struct tokenizer *open_fixture(void)
{
        struct tokenizer *t = NULL;
        char err[200] = "";
        int rc = tokenizer_new(&fx.spec, &t, err, sizeof(err));
        if (rc)
                fail_msg("%s", err);
        return t;
}

/* The pieces of a text, joined by "|". */
static const char *cut(const struct tokenizer *t, struct str text, int flags)
{
        static char out[4096];
        struct tok_ids ids = { 0 };
        size_t n = 0;
        assert_int_equal(tokenizer_encode(t, text, flags, &ids), 0);
        for (size_t i = 0; i < ids.n; i++) {
                struct str p = tokenizer_piece(t, ids.p[i]);
                n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s", i ? "|" : "", STR_ARG(p));
        }
        out[n] = '\0';
        tok_ids_release(&ids);
        return out;
}

static const char *const hello[] = { "l o", "h e", "he l", "hel lo", "Ġ w", "Ġw o" };

static void merges_follow_their_rank(void **state)
{
        (void)state;
        make("gpt-2", hello, 6);
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("hello world"), 0), "hello| wo|r|l|d");
        assert_string_equal(cut(t, STR("lolo"), 0), "lo|lo");
        assert_string_equal(cut(t, STR(""), 0), "");
        assert_int_equal(tokenizer_find(t, STR(" wo")), 261);
        assert_int_equal(tokenizer_find(t, STR("nothing")), -1);
        assert_int_equal(tokenizer_piece(t, 9999).n, 0);
        tokenizer_free(t);
}

/* Only llama-bpe takes a word that is a token whole, although its merges do not lead there. */
static void whole_words(void **state)
{
        (void)state;
        make("llama-bpe", hello, 6);
        fx.spec.n_merges = 4;
        add_token("held", 4, TOK_NORMAL);
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("held"), 0), "held");
        tokenizer_free(t);
        fx.spec.pre = STR("qwen2");
        t = open_fixture();
        assert_string_equal(cut(t, STR("held"), 0), "hel|d");
        tokenizer_free(t);
}

/* Where the patterns cut, seen through a vocabulary in which every pair of letters or digits joins. */
static void patterns_cut_words(void **state)
{
        static const char *const joins[] = { "1 2", "12 3", "a b", "' s", "Ġ a", "Ċ Ċ", "! !", "! Ċ", "Ġ Ġ" };
        (void)state;
        make("gpt-2", joins, 9);
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("123 ab's!!\n\n"), 0), "123| |ab|'s|!!|\n\n");
        assert_string_equal(cut(t, STR("a   a"), 0), "a|  | a");
        tokenizer_free(t);
        fx.spec.pre = STR("qwen2");
        t = open_fixture();
        assert_string_equal(cut(t, STR("123"), 0), "1|2|3");
        assert_string_equal(cut(t, STR("ab!\n"), 0), "ab|!\n");
        tokenizer_free(t);
        fx.spec.pre = STR("llama-bpe");
        t = open_fixture();
        assert_string_equal(cut(t, STR("1231"), 0), "123|1");
        tokenizer_free(t);
}

static void control_tokens_only_when_allowed(void **state)
{
        (void)state;
        make("qwen2", hello, 6);
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("x<|a|>y"), TOK_ENCODE_SPECIAL), "x|<|a|>|y");
        assert_string_equal(cut(t, STR("x<|a|>y"), 0), "x|<|||a|||>|y");
        assert_string_equal(cut(t, STR("<|a|>bb"), TOK_ENCODE_SPECIAL), "<|a|>b|b"); /* the longest */
        assert_string_equal(cut(t, STR("a<tool>b"), 0), "a|<tool>|b");
        assert_true(tokenizer_is_control(t, tokenizer_find(t, STR("<|a|>"))));
        assert_false(tokenizer_is_control(t, tokenizer_find(t, STR("<tool>"))));
        tokenizer_free(t);
}

/* Control tokens come from what is not data, and not from a mixture either. */
static void data_forges_nothing(void **state)
{
        (void)state;
        make("qwen2", hello, 6);
        struct tokenizer *t = open_fixture();
        static const struct {
                struct tok_range data[2];
                size_t n;
                const char *want;
        } cases[] = {
                { { { 0, 0 } }, 0, "<|a|>|hello|<|a|>" },
                { { { 5, 10 } }, 1, "<|a|>|hello|<|a|>" },
                { { { 0, 5 } }, 1, "<|||a|||>|hello|<|a|>" },
                { { { 4, 5 } }, 1, "<|||a|||>|hello|<|a|>" },
                { { { 3, 6 }, { 14, 15 } }, 2, "<|||a|||>|hello|<|||a|||>" },
                { { { 5, 7 }, { 9, 11 } }, 2, "<|a|>|hello|<|||a|||>" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                char out[200] = "";
                size_t n = 0;
                struct tok_ids ids = { 0 };
                assert_int_equal(tokenizer_encode_guarded(t, STR("<|a|>hello<|a|>"), cases[i].data,
                                                          cases[i].n, TOK_ENCODE_SPECIAL, &ids),
                                 0);
                for (size_t k = 0; k < ids.n; k++)
                        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s", k ? "|" : "",
                                              STR_ARG(tokenizer_piece(t, ids.p[k])));
                assert_string_equal(out, cases[i].want);
                tok_ids_release(&ids);
        }
        tokenizer_free(t);
}

/* Merges must not be a way to spell a control token out of text. */
static void merges_never_make_control_tokens(void **state)
{
        (void)state;
        make("qwen2", NULL, 0);
        add_token("zz", 2, TOK_CONTROL);
        fx.merges[fx.spec.n_merges++] = STR("z z");
        struct tokenizer *t = NULL;
        char err[200];
        assert_int_equal(tokenizer_new(&fx.spec, &t, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "merge 0"));
}

static void bos_comes_first_when_wanted(void **state)
{
        (void)state;
        make("qwen2", NULL, 0);
        fx.spec.bos = 256;
        fx.spec.add_bos = true;
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("x"), TOK_ENCODE_BOS), "<|a|>|x");
        assert_string_equal(cut(t, STR("x"), 0), "x");
        tokenizer_free(t);
}

static void any_bytes_come_back(void **state)
{
        static const char *const pres_used[] = { "gpt-2", "llama-bpe", "qwen2" };
        (void)state;
        struct rng r;
        rng_seed(&r, 11);
        for (int k = 0; k < 3; k++) {
                make(pres_used[k], hello, 6);
                struct tokenizer *t = open_fixture();
                for (int round = 0; round < 400; round++) {
                        char text[60];
                        struct tok_ids ids = { 0 };
                        struct buf back;
                        size_t n = rng_below(&r, sizeof(text));
                        for (size_t i = 0; i < n; i++)
                                text[i] = (char)(round % 2 ? (int)rng_below(&r, 256)
                                                           : "hello w\n\xc3\xa9 19"[rng_below(&r, 13)]);
                        buf_init(&back, 4096);
                        assert_int_equal(tokenizer_encode(t, (struct str){ text, n }, 1, &ids), 0);
                        for (size_t i = 0; i < ids.n; i++)
                                buf_add(&back, tokenizer_piece(t, ids.p[i]).p,
                                        tokenizer_piece(t, ids.p[i]).n);
                        assert_int_equal(back.n, n);
                        if (n)
                                assert_memory_equal(back.p, text, n);
                        buf_release(&back);
                        tok_ids_release(&ids);
                }
                tokenizer_free(t);
        }
}

/* The plain definition of BPE: again and again join the leftmost pair of the best rank. */
static size_t reference_merge(const struct tokenizer *t, int32_t *ids, size_t n)
{
        for (;;) {
                const struct merge *best = NULL;
                size_t at = 0;
                for (size_t i = 0; i + 1 < n; i++) {
                        const struct merge *m = tok_bpe_merge(t, ids[i], ids[i + 1]);
                        if (m && (!best || m->rank < best->rank)) {
                                best = m;
                                at = i;
                        }
                }
                if (!best)
                        return n;
                ids[at] = best->id;
                memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(*ids));
                n--;
        }
}

static void the_heap_does_as_the_definition(void **state)
{
        static const char *const joins[] = {
                "a a", "a b", "aa a", "b a", "ab ab", "aa b", "ba b", "aaa aab"
        };
        (void)state;
        struct rng r;
        rng_seed(&r, 3);
        make("qwen2", joins, 4);
        static const char *const more[] = { "ab ab", "aa b", "ba b" };
        for (int i = 0; i < 3; i++) {
                char joined[8];
                snprintf(joined, sizeof(joined), "%.*s%s", (int)(strchr(more[i], ' ') - more[i]), more[i],
                         strchr(more[i], ' ') + 1);
                fx.merges[fx.spec.n_merges++] = str_c(more[i]);
                add_token(joined, strlen(joined), TOK_NORMAL);
        }
        struct tokenizer *t = open_fixture();
        for (int round = 0; round < 3000; round++) {
                char text[40];
                int32_t want[40];
                struct tok_ids ids = { 0 };
                size_t n = 1 + rng_below(&r, sizeof(text) - 1);
                for (size_t i = 0; i < n; i++) {
                        text[i] = "aab"[rng_below(&r, 3)];
                        want[i] = t->byte_ids[(unsigned char)text[i]];
                }
                size_t n_want = reference_merge(t, want, n);
                assert_int_equal(tokenizer_encode(t, (struct str){ text, n }, 0, &ids), 0);
                assert_int_equal(ids.n, n_want);
                assert_memory_equal(ids.p, want, n_want * sizeof(*want));
                tok_ids_release(&ids);
        }
        tokenizer_free(t);
}

/* A megabyte of one letter is one word: it must not take quadratic time, and must not lose a byte. */
static void long_words_take_little_time(void **state)
{
        static const char *const joins[] = { "a a", "aa aa", "aaaa aaaa" };
        (void)state;
        size_t n = 1 << 20, total = 0;
        char *text = mem_alloc(n);
        struct tok_ids ids = { 0 };
        memset(text, 'a', n);
        make("qwen2", joins, 3);
        struct tokenizer *t = open_fixture();
        int64_t begin = clock_mono_ms();
        assert_int_equal(tokenizer_encode(t, (struct str){ text, n }, 1, &ids), 0);
        assert_true(clock_mono_ms() - begin < 120000); /* also under a sanitizer; a square would be hours */
        for (size_t i = 0; i < ids.n; i++)
                total += tokenizer_piece(t, ids.p[i]).n;
        assert_int_equal(total, n);
        assert_int_equal(ids.n, n / 8);
        tok_ids_release(&ids);
        memset(text, ' ', n);
        assert_int_equal(tokenizer_encode(t, (struct str){ text, n }, 1, &ids), 0);
        tok_ids_release(&ids);
        tokenizer_free(t);
        mem_free(text);
}

static void expect_refused(const char *what)
{
        struct tokenizer *t = NULL;
        char err[200] = "";
        int rc = tokenizer_new(&fx.spec, &t, err, sizeof(err));
        assert_int_equal(rc, -EINVAL);
        if (!strstr(err, what))
                fail_msg("'%s' does not speak of '%s'", err, what);
}

static void hostile_specs_are_refused(void **state)
{
        (void)state;
        make("no-such", NULL, 0);
        expect_refused("no-such");
        make("qwen2", NULL, 0);
        fx.spec.n_vocab = 0;
        expect_refused("0 tokens");
        make("qwen2", NULL, 0);
        fx.spec.eos = 9999;
        expect_refused("9999");
        make("qwen2", NULL, 0);
        fx.spec.bos = -7;
        expect_refused("-7");
        make("qwen2", NULL, 0);
        fx.types[3] = 99;
        expect_refused("token 3 has type");
        make("qwen2", NULL, 0);
        add_token("a", 1, TOK_NORMAL);
        expect_refused("duplicate");
        make("qwen2", NULL, 0);
        add_token("", 0, TOK_NORMAL);
        expect_refused("empty");
        static const char *const bad[] = { "ab", "a ", " b", "", " ", "a zz", "qq a", "a b" };
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                make("qwen2", NULL, 0);
                fx.merges[fx.spec.n_merges++] = str_c(bad[i]);
                expect_refused("merge 0");
        }
}

/* A vocabulary without some byte can encode only through unk. */
static void missing_bytes(void **state)
{
        (void)state;
        struct tok_ids ids = { 0 };
        make("qwen2", NULL, 0);
        fx.tokens['q'] = STR("qq");
        struct tokenizer *t = open_fixture();
        assert_int_equal(tokenizer_encode(t, STR("aq"), 0, &ids), -EINVAL);
        tokenizer_free(t);
        fx.spec.unk = 5;
        t = open_fixture();
        ids.n = 0;
        assert_int_equal(tokenizer_encode(t, STR("aq"), 0, &ids), 0);
        assert_int_equal(ids.p[1], 5);
        tok_ids_release(&ids);
        tokenizer_free(t);
}

static void byte_tokens(void **state)
{
        (void)state;
        make("qwen2", NULL, 0);
        fx.tokens['q'] = STR("<0x71>");
        fx.types['q'] = TOK_BYTE;
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("aq"), 0), "a|q");
        tokenizer_free(t);
}

/* --- SentencePiece and WordPiece -------------------------------------------------------------------- */

/* A vocabulary whose first three tokens are <unk>, <s> and </s>; tokens end with NULL, scores fall. */
static void make_pieces(enum tok_kind kind, const char *const *tokens)
{
        static float scores[MAX_TOKENS];
        memset(&fx, 0, sizeof(fx));
        fx.spec = (struct tok_spec){ .kind = kind,
                                     .tokens = fx.tokens,
                                     .types = fx.types,
                                     .scores = scores,
                                     .bos = 1,
                                     .eos = 2,
                                     .eot = -1,
                                     .unk = 0,
                                     .last = 2,
                                     .add_eos = true,
                                     .space_prefix = kind != TOK_KIND_WORDPIECE };
        add_token("<unk>", 5, TOK_UNKNOWN);
        add_token("<s>", 3, TOK_CONTROL);
        add_token("</s>", 4, TOK_CONTROL);
        for (size_t i = 0; tokens[i]; i++)
                add_token(tokens[i], strlen(tokens[i]), TOK_NORMAL);
        for (size_t i = 0; i < fx.spec.n_vocab; i++)
                scores[i] = -(float)i;
}

#define MARK "\xe2\x96\x81"
static const char *const spm_tokens[] = {
        MARK "ab", "ab", "cd", MARK, "a", "b", "c", "d", "<", "s", ">", NULL
};

static void scores_decide_what_is_joined(void **state)
{
        (void)state;
        make_pieces(TOK_KIND_SPM, spm_tokens);
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("abcd"), 0), " ab|cd");
        assert_string_equal(cut(t, STR("a bc"), 0), " |a| |b|c");
        assert_string_equal(cut(t, STR("abab"), TOK_ENCODE_EOS), " ab|ab|</s>");
        assert_string_equal(cut(t, STR("<s>"), 0), " |<|s|>"); /* joins never make a control token */
        assert_string_equal(cut(t, STR("a</s>ab"), TOK_ENCODE_SPECIAL), " |a|</s>| ab");
        assert_string_equal(cut(t, STR("xyza"), 0), " |<unk>|a"); /* a run of the unknown is one */
        assert_string_equal(cut(t, STR(""), 0), "");
        assert_true(tokenizer_adds_space(t));
        tokenizer_free(t);
        add_token("<0x78>", 6, TOK_BYTE);
        add_token("<0xC3>", 6, TOK_BYTE);
        fx.spec.space_prefix = false;
        t = open_fixture();
        assert_string_equal(cut(t, STR("ax\xc3"), 0), "a|x|\xc3");
        assert_string_equal(cut(t, STR("y"), 0), "<unk>");
        tokenizer_free(t);
}

static void the_most_likely_cut(void **state)
{
        static const char *const tokens[] = { MARK, "abc", "ab", "cd", "a", "b", "c", "d", NULL };
        (void)state;
        make_pieces(TOK_KIND_UNIGRAM, tokens);
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("abcd"), 0), " |ab|cd"); /* -5 - 6 beats -4 - 10 */
        assert_string_equal(cut(t, STR("  abc  "), 0), " | | |abc| | ");
        tokenizer_free(t);
        fx.spec.squeeze_spaces = true;
        t = open_fixture();
        assert_string_equal(cut(t, STR("  abc   d "), 0), " |abc| |d");
        assert_string_equal(cut(t, STR("   "), 0), "");
        tokenizer_free(t);
}

static void words_fold_and_split(void **state)
{
        static const char *const tokens[] = { MARK "un",           "able", MARK "cafe", MARK "!",
                                              MARK "\xe4\xbd\xa0", NULL };
        (void)state;
        make_pieces(TOK_KIND_WORDPIECE, tokens);
        fx.spec.fold = true;
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("Unable CAF\xc3\x89!"), 0), " un|able| cafe| !");
        assert_string_equal(cut(t, STR("\xe4\xbd\xa0un"), 0), " \xe4\xbd\xa0| un");
        assert_string_equal(cut(t, STR("unx able"), 0), "<unk>|<unk>");
        char longest[101 * 4];
        memset(longest, 'u', sizeof(longest));
        assert_string_equal(cut(t, (struct str){ longest, sizeof(longest) }, 0), "<unk>");
        tokenizer_free(t);
        fx.spec.unk = -1;
        t = open_fixture();
        struct tok_ids ids = { 0 };
        assert_int_equal(tokenizer_encode(t, STR("x"), 0, &ids), -EINVAL);
        tok_ids_release(&ids);
        tokenizer_free(t);
}

/* Markers that a file calls text are control tokens all the same. */
static void markers_are_control_tokens(void **state)
{
        (void)state;
        make("qwen2", NULL, 0);
        add_token("<|user|>", 8, TOK_USER_DEFINED);
        add_token("<tool_call>", 11, TOK_USER_DEFINED);
        struct tokenizer *t = open_fixture();
        assert_true(tokenizer_is_control(t, tokenizer_find(t, STR("<|user|>"))));
        assert_true(tokenizer_is_control(t, tokenizer_find(t, STR("<tool_call>"))));
        assert_string_equal(cut(t, STR("<tool_call>"), 0), "<|t|o|o|l|_|c|a|l|l|>");
        tokenizer_free(t);
}

static void white_space_behind_markers(void **state)
{
        (void)state;
        make_pieces(TOK_KIND_SPM, spm_tokens);
        fx.spec.strip_after = true;
        struct tokenizer *t = open_fixture();
        assert_string_equal(cut(t, STR("</s> \n ab"), TOK_ENCODE_SPECIAL), "</s>| ab");
        tokenizer_free(t);
}

/* A map of characters is foreign data: every size and content is survived. */
static void damaged_character_maps(void **state)
{
        (void)state;
        struct rng r;
        rng_seed(&r, 5);
        for (int round = 0; round < 3000; round++) {
                char map[120];
                struct tokenizer *t = NULL;
                struct tok_ids ids = { 0 };
                char err[100];
                size_t n = rng_below(&r, sizeof(map));
                uint32_t trie = (uint32_t)(round % 3 ? n / 8 * 4 : rng_below(&r, 200));
                for (size_t i = 0; i < n; i++)
                        map[i] = (char)rng_below(&r, round % 2 ? 4 : 256);
                memcpy(map, &trie, sizeof(trie));
                if (n && round % 5)
                        map[n - 1] = 0;
                make_pieces(TOK_KIND_UNIGRAM, spm_tokens);
                fx.spec.charsmap = (struct str){ map, n };
                int rc = tokenizer_new(&fx.spec, &t, err, sizeof(err));
                if (rc) {
                        assert_int_equal(rc, -EINVAL);
                        continue;
                }
                rc = tokenizer_encode(t, STR("ab\x00 cd\x01\x02\x03 \xc3\xa9"), 0, &ids);
                assert_true(rc == 0 || rc == -EINVAL);
                tok_ids_release(&ids);
                tokenizer_free(t);
        }
}

static void *encode_many(void *arg)
{
        for (int i = 0; i < 2000; i++) {
                struct tok_ids ids = { 0 };
                if (tokenizer_encode(arg, STR("hello hello <|a|> world"), 1, &ids) || ids.n != 9)
                        return arg;
                tok_ids_release(&ids);
        }
        return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
        (void)state;
        pthread_t threads[3];
        make("qwen2", hello, 6);
        struct tokenizer *t = open_fixture();
        for (int i = 0; i < 3; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, encode_many, t), 0);
        for (int i = 0; i < 3; i++) {
                void *failed;
                pthread_join(threads[i], &failed);
                assert_null(failed);
        }
        tokenizer_free(t);
}

#ifdef CAIRN_FAULTS
/* Whichever allocation fails, the caller gets -ENOMEM and nothing leaks (as the leak checker sees). */
static void fail_everywhere(void)
{
        bool done = false;
        for (long n = 1; !done; n++) {
                struct tokenizer *t = NULL;
                struct tok_ids ids = { 0 };
                char err[200] = "";
                mem_fail_nth(n);
                int rc = tokenizer_new(&fx.spec, &t, err, sizeof(err));
                if (rc)
                        assert_non_null(strstr(err, "memory"));
                else
                        rc = tokenizer_encode(t, STR("hello <|a|> world"), TOK_ENCODE_SPECIAL, &ids);
                mem_fail_nth(0);
                assert_true(rc == 0 || rc == -ENOMEM);
                assert_true(n < 100);
                done = rc == 0;
                tok_ids_release(&ids);
                tokenizer_free(t);
        }
}

static void out_of_memory(void **state)
{
        (void)state;
        make("qwen2", hello, 6);
        fail_everywhere();
        for (int kind = TOK_KIND_SPM; kind <= TOK_KIND_WORDPIECE; kind++) {
                make_pieces((enum tok_kind)kind, spm_tokens);
                fail_everywhere();
        }
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(merges_follow_their_rank),
                cmocka_unit_test(whole_words),
                cmocka_unit_test(patterns_cut_words),
                cmocka_unit_test(control_tokens_only_when_allowed),
                cmocka_unit_test(data_forges_nothing),
                cmocka_unit_test(merges_never_make_control_tokens),
                cmocka_unit_test(bos_comes_first_when_wanted),
                cmocka_unit_test(any_bytes_come_back),
                cmocka_unit_test(the_heap_does_as_the_definition),
                cmocka_unit_test(long_words_take_little_time),
                cmocka_unit_test(hostile_specs_are_refused),
                cmocka_unit_test(missing_bytes),
                cmocka_unit_test(byte_tokens),
                cmocka_unit_test(scores_decide_what_is_joined),
                cmocka_unit_test(the_most_likely_cut),
                cmocka_unit_test(words_fold_and_split),
                cmocka_unit_test(markers_are_control_tokens),
                cmocka_unit_test(white_space_behind_markers),
                cmocka_unit_test(damaged_character_maps),
                cmocka_unit_test(threads_share_a_tokenizer),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(out_of_memory),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
