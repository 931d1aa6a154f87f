/* Random grammars over a small alphabet, against the sets of texts that they stand for. */
#include <pthread.h>
#include "grammar/cache.h"
#include "grammar/match.h"
#include "grammar/program.h"
#include "grammar/testing.h"

#define LEN 6 /* texts up to this length are enumerated */
#define TEXTS ((1 << (LEN + 1)) - 1)
#define NODES 12

/* A set of texts over {a, b}: the text of length n with bits w has index 2^n - 1 + w. */
struct language {
        bool has[TEXTS];
};

enum model_kind { M_EMPTY, M_LITERAL, M_SEQ, M_ALT, M_REPEAT, M_RULE };

struct model {
        enum model_kind kind;
        int a, b; /* parts */
        int min, max;
        char text[4];
};

static int index_of(const char *text)
{
        int n = (int)strlen(text), w = 0;
        for (int i = 0; i < n; i++)
                w = w * 2 + (text[i] == 'b');
        return (1 << n) - 1 + w;
}

static void text_of(int index, char *ret)
{
        int n = 0;
        while ((2 << n) - 1 <= index)
                n++;
        int w = index - ((1 << n) - 1);
        for (int i = 0; i < n; i++)
                ret[i] = w >> (n - 1 - i) & 1 ? 'b' : 'a';
        ret[n] = '\0';
}

static void concat(const struct language *a, const struct language *b, struct language *ret)
{
        struct language out = { 0 };
        char x[LEN + 1], y[2 * LEN + 2];
        for (int i = 0; i < TEXTS; i++) {
                if (!a->has[i])
                        continue;
                text_of(i, x);
                for (int k = 0; k < TEXTS; k++) {
                        if (!b->has[k])
                                continue;
                        size_t n = strlen(x);
                        memcpy(y, x, n);
                        text_of(k, y + n);
                        if (strlen(y) <= LEN)
                                out.has[index_of(y)] = true;
                }
        }
        *ret = out;
}

static void repeat(const struct language *a, int min, int max, struct language *ret)
{
        struct language power = { .has = { true } }, out = { 0 };
        int top = max < 0 ? min + LEN : max;
        for (int i = 0; i <= top; i++) {
                for (int k = 0; i >= min && k < TEXTS; k++)
                        out.has[k] |= power.has[k];
                concat(&power, a, &power);
        }
        *ret = out;
}

/* The languages of all parts: least fixed point. */
static void solve(const struct model *m, struct language *l)
{
        bool changed = true;
        memset(l, 0, NODES * sizeof(*l));
        while (changed) {
                changed = false;
                for (int i = 0; i < NODES; i++) {
                        struct language now = { 0 };
                        switch (m[i].kind) {
                        case M_EMPTY:
                                now.has[0] = true;
                                break;
                        case M_LITERAL:
                                now.has[index_of(m[i].text)] = true;
                                break;
                        case M_SEQ:
                                concat(&l[m[i].a], &l[m[i].b], &now);
                                break;
                        case M_ALT:
                                for (int k = 0; k < TEXTS; k++)
                                        now.has[k] = l[m[i].a].has[k] || l[m[i].b].has[k];
                                break;
                        case M_REPEAT:
                                repeat(&l[m[i].a], m[i].min, m[i].max, &now);
                                break;
                        case M_RULE:
                                now = l[m[i].a];
                                break;
                        }
                        changed |= memcmp(&now, &l[i], sizeof(now)) != 0;
                        l[i] = now;
                }
        }
}

/* Parts refer to earlier ones; rules to any. */
static void invent(struct rng *rng, struct model *m)
{
        static const char *const literals[] = { "a", "b", "ab", "ba", "aab", "bbb" };
        for (int i = 0; i < NODES; i++) {
                uint32_t roll = (uint32_t)(rng_next(rng) % 100);
                m[i] = (struct model){ .kind = M_LITERAL };
                snprintf(m[i].text, sizeof(m[i].text), "%s", literals[rng_next(rng) % 6]);
                if (i < 2 || roll < 15)
                        continue;
                m[i].a = (int)(rng_next(rng) % (uint32_t)i);
                m[i].b = (int)(rng_next(rng) % (uint32_t)i);
                m[i].kind = roll < 45   ? M_SEQ
                            : roll < 65 ? M_ALT
                            : roll < 82 ? M_REPEAT
                            : roll < 97 ? M_RULE
                                        : M_EMPTY;
                if (m[i].kind == M_RULE)
                        m[i].a = (int)(rng_next(rng) % NODES);
                m[i].min = (int)(rng_next(rng) % 4);
                m[i].max = rng_next(rng) % 3 ? m[i].min + (int)(rng_next(rng) % 4) : -1;
        }
}

/* Every other time parts are made so costly that repetitions are counted and shared parts are rules. */
static struct grammar *compile(const struct model *m, bool costly)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        gnode nodes[NODES];
        struct grammar *g = NULL;
        struct grammar_err err;
        for (int i = 0; i < NODES; i++)
                nodes[i] = m[i].kind == M_RULE ? grammar_forward(b) : 0;
        gnode dear =
                grammar_literal(b, STR("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
        for (int i = 0; i < NODES; i++) {
                switch (m[i].kind) {
                case M_EMPTY:
                        nodes[i] = grammar_empty(b);
                        break;
                case M_LITERAL:
                        nodes[i] = grammar_literal(b, str_c(m[i].text));
                        break;
                case M_SEQ:
                        nodes[i] = grammar_seq(b, (gnode[]){ nodes[m[i].a], nodes[m[i].b] }, 2);
                        break;
                case M_ALT:
                        nodes[i] = grammar_alt(b, (gnode[]){ nodes[m[i].a], nodes[m[i].b] }, 2);
                        break;
                case M_REPEAT:
                        nodes[i] = nodes[m[i].a];
                        if (costly) {
                                gnode both[] = { nodes[i], dear, dear, dear, dear, dear, dear, dear, dear };
                                nodes[i] = grammar_alt(b, both, 9);
                        }
                        nodes[i] = grammar_repeat(b, nodes[i], m[i].min, m[i].max);
                        break;
                case M_RULE:
                        break;
                }
        }
        for (int i = 0; i < NODES; i++)
                if (m[i].kind == M_RULE)
                        grammar_define(b, nodes[i], nodes[m[i].a]);
        int r = grammar_finish(b, nodes[NODES - 1], &g, &err);
        if (r && getenv("V"))
                print_message("%d %s\n", r, err.msg);
        if (r && r != -EINVAL)
                fail_msg("finish: %d %s", r, err.msg);
        return g;
}

static bool has_extension(const struct language *l, const char *prefix)
{
        char text[LEN + 1];
        for (int i = 0; i < TEXTS; i++) {
                text_of(i, text);
                if (l->has[i] && !strncmp(text, prefix, strlen(prefix)))
                        return true;
        }
        return false;
}

/* Breadth first over the places, which are numbers. */
static bool can_end(const struct grammar_match *m)
{
        static uint8_t seen[1 << 16];
        static struct grammar_match *queue[4096];
        size_t n = 0;
        bool found = false;
        memset(seen, 0, sizeof(seen));
        assert_int_equal(grammar_match_clone(m, &queue[n++]), 0);
        for (size_t i = 0; i < n && !found; i++) {
                found = grammar_match_may_end(queue[i]);
                for (int k = 0; k < 3 && n < 4096; k++) {
                        struct grammar_match *copy;
                        assert_int_equal(grammar_match_clone(queue[i], &copy), 0);
                        if (feed(copy, (struct str){ "abx" + k, 1 }) && !seen[copy->set % sizeof(seen)]) {
                                seen[copy->set % sizeof(seen)] = 1;
                                queue[n++] = copy;
                        } else {
                                grammar_match_free(copy);
                        }
                }
        }
        while (n)
                grammar_match_free(queue[--n]);
        return found;
}

static void complain(const struct model *m, const char *text, const char *what)
{
        for (int k = 0; k < NODES; k++)
                print_message("%d: kind %d a %d b %d %d..%d %s\n", k, (int)m[k].kind, m[k].a, m[k].b,
                              m[k].min, m[k].max, m[k].text);
        fail_msg("\"%s\": %s", text, what);
}

static void check_grammar(const struct model *m, struct grammar_vocab *v, int32_t n_vocab, bool costly)
{
        static struct language l[NODES];
        const struct language *root = &l[NODES - 1];
        solve(m, l);
        struct grammar *g = compile(m, costly);
        char text[LEN + 1];
        for (int i = 0; i < TEXTS; i++) {
                struct grammar_match *match;
                text_of(i, text);
                if (!g) {
                        if (root->has[i])
                                complain(m, text, "nothing matches");
                        continue;
                }
                assert_int_equal(grammar_match_new(g, v, &match), 0);
                bool alive = feed(match, str_c(text));
                if ((alive && grammar_match_may_end(match)) != root->has[i])
                        complain(m, text, root->has[i] ? "not accepted" : "accepted");
                if (has_extension(root, text) && !alive)
                        complain(m, text, "not reached");
                if (alive && strlen(text) < 5) {
                        check_mask(match, n_vocab);
                        if (!costly && !can_end(match))
                                complain(m, text, "a dead end");
                }
                assert_true(!alive || !grammar_match_must_end(match) || grammar_match_may_end(match));
                grammar_match_free(match);
        }
        grammar_unref(g);
}

static void random_grammars(void **state)
{
        (void)state;
        static const struct str more[] = { STR_INIT("aa"),   STR_INIT("ab"),  STR_INIT("ba"),
                                           STR_INIT("bb"),   STR_INIT("aab"), STR_INIT("bba"),
                                           STR_INIT("abab"), STR_INIT("x"),   STR_INIT("xx"),
                                           STR_INIT("aaaaa") };
        struct grammar_vocab *v = test_vocab(more, 10);
        struct rng rng;
        rng_seed(&rng, 7);
        for (int i = 0; i < 1500; i++) {
                struct model m[NODES];
                invent(&rng, m);
                check_grammar(m, v, T_PIECES + 10, i % 2);
        }
        grammar_vocab_free(v);
}

static struct grammar *shared_grammar(void)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar *g;
        assert_int_equal(grammar_finish(b, grammar_json_object(b, 0), &g, NULL), 0);
        return g;
}

static int shared_grammar_again(void *ctx, struct grammar **ret)
{
        ++*(int *)ctx;
        *ret = shared_grammar();
        return 0;
}

struct job {
        struct grammar *g;
        const struct grammar_vocab *v;
        uint64_t seed;
        size_t taken;
};

/* Random texts; failures are counted, since assertions belong to the main thread. */
static void *walk_alone(void *ctx)
{
        struct job *job = ctx;
        struct rng rng;
        rng_seed(&rng, job->seed);
        for (int text = 0; text < 20; text++) {
                struct grammar_match *m;
                uint32_t bits[16];
                if (grammar_match_new(job->g, job->v, &m))
                        return NULL;
                for (int step = 0; step < 40; step++) {
                        int32_t id;
                        if (grammar_match_mask(m, bits))
                                break;
                        do
                                id = (int32_t)rng_below(&rng, T_PIECES);
                        while (!(bits[id / 32] >> (id % 32) & 1));
                        job->taken += grammar_match_token(m, id) == 0;
                }
                grammar_match_free(m);
        }
        return NULL;
}

/* One grammar, many threads. */
static void threads(void **state)
{
        (void)state;
        struct grammar_vocab *v = test_vocab(NULL, 0);
        struct grammar *g = shared_grammar();
        struct job jobs[4];
        pthread_t ids[4];
        for (int i = 0; i < 4; i++) {
                jobs[i] = (struct job){ g, v, (uint64_t)i, 0 };
                assert_int_equal(pthread_create(&ids[i], NULL, walk_alone, &jobs[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
                pthread_join(ids[i], NULL);
                assert_int_equal(jobs[i].taken, 20 * 40);
        }
        grammar_unref(g);
        grammar_vocab_free(v);
}

static void cache(void **state)
{
        (void)state;
        struct grammar *a, *b, *c;
        int made = 0;
        assert_int_equal(grammar_cached(STR("one"), shared_grammar_again, &made, &a), 0);
        assert_int_equal(grammar_cached(STR("one"), shared_grammar_again, &made, &b), 0);
        assert_int_equal(grammar_cached(STR("two"), shared_grammar_again, &made, &c), 0);
        assert_ptr_equal(a, b);
        assert_ptr_not_equal(a, c);
        assert_int_equal(made, 2);
        grammar_unref(a);
        grammar_unref(b);
        grammar_unref(c);
        /* The least recently used go first. */
        for (int i = 0; i < 200; i++) {
                char key[16];
                snprintf(key, sizeof(key), "key %d", i);
                assert_int_equal(grammar_cached(str_c(key), shared_grammar_again, &made, &a), 0);
                grammar_unref(a);
                assert_int_equal(grammar_cached(STR("one"), shared_grammar_again, &made, &a), 0);
                grammar_unref(a);
        }
        assert_int_equal(made, 202);
        assert_int_equal(grammar_cached(STR("two"), shared_grammar_again, &made, &c), 0);
        assert_int_equal(made, 203);
        grammar_unref(c);
        grammar_cache_clear();
}

/* A grammar outlives the models that it is used with, and keeps nothing of theirs. */
static void vocabularies_go(void **state)
{
        (void)state;
        struct grammar *g;
        int made = 0;
        for (int i = 0; i < 3; i++) {
                struct grammar_vocab *v = test_vocab(NULL, 0);
                struct grammar_match *m, *late;
                assert_int_equal(grammar_cached(STR("kept"), shared_grammar_again, &made, &g), 0);
                assert_int_equal(grammar_match_new(g, v, &m), 0);
                check_mask(m, T_PIECES);
                grammar_match_free(m);
                assert_non_null(g->spaces);
                grammar_vocab_free(v);
                assert_null(g->spaces);
                v = test_vocab(NULL, 0);
                assert_int_equal(grammar_match_new(g, v, &late), 0);
                grammar_vocab_free(v);
                check_mask(late, T_PIECES); /* what is used stays */
                grammar_match_free(late);
                grammar_unref(g);
                grammar_cache_clear();
        }
        assert_int_equal(made, 3);
}

/* Nothing is left of a long text but what can still matter, and control tokens stand beside text. */
static void control_tokens(void **state)
{
        (void)state;
        struct grammar_vocab *v = test_vocab(NULL, 0);
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar *g;
        struct grammar_match *m;
        gnode call[] = { grammar_token(b, T_CONTROL), grammar_json_object(b, GRAMMAR_COMPACT),
                         grammar_token(b, T_CONTROL2) };
        gnode all[] = { grammar_text_without(b, (struct str[]){ STR("<x>") }, 1),
                        grammar_repeat(b, grammar_seq(b, call, 3), 0, 2) };
        assert_int_equal(grammar_finish(b, grammar_seq(b, all, 2), &g, NULL), 0);
        assert_int_equal(grammar_match_new(g, v, &m), 0);
        for (int i = 0; i < 5000; i++)
                assert_true(feed(m, STR("a\xc3\xa9 <x")));
        assert_false(feed(m, STR(">")));
        assert_true(grammar_match_may_end(m));
        check_mask(m, T_PIECES);
        assert_int_equal(grammar_match_token(m, T_CONTROL2), -EINVAL);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(grammar_match_token(m, T_CONTROL), 0);
                assert_false(grammar_match_may_end(m));
                check_mask(m, T_PIECES);
                assert_true(feed(m, STR("{\"k\":[1,{}]}")));
                check_mask(m, T_PIECES);
                assert_int_equal(grammar_match_token(m, T_CONTROL2), 0);
        }
        assert_true(grammar_match_must_end(m));
        assert_int_equal(grammar_match_token(m, T_END), 0);
        assert_true(grammar_match_must_end(m));
        assert_int_equal(grammar_match_token(m, T_CONTROL), -EINVAL);
        grammar_match_free(m);
        grammar_unref(g);
        grammar_vocab_free(v);
}

/* Counts within counts within counts: the ways to read the text become too many, before they take long. */
static void ambiguity_is_bounded(void **state)
{
        (void)state;
        struct grammar_vocab *v = test_vocab(NULL, 0);
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar *g;
        struct grammar_match *m;
        gnode all = grammar_regex(b, STR("((a{0,100}){0,100}){0,100}"), NULL);
        int n = 0;
        assert_int_equal(grammar_finish(b, all, &g, NULL), 0);
        assert_int_equal(grammar_match_new(g, v, &m), 0);
        while (n < 200 && feed(m, STR("a")))
                n++;
        assert_in_range(n, 20, 80);
        grammar_match_free(m);
        grammar_unref(g);
        grammar_vocab_free(v);
}

/* Deep nesting and long ambiguous texts: memory is given back while the text goes on. */
static void long_texts(void **state)
{
        (void)state;
        struct grammar_vocab *v = test_vocab(NULL, 0);
        struct grammar *g = shared_grammar();
        struct grammar_match *m;
        assert_int_equal(grammar_match_new(g, v, &m), 0);
        for (int i = 0; i < 20000; i++)
                assert_true(feed(m, STR("{\"k\":[")));
        check_mask(m, T_PIECES);
        for (int i = 0; i < 20000; i++)
                assert_true(feed(m, STR("]}")));
        assert_true(grammar_match_must_end(m));
        grammar_match_free(m);
        grammar_unref(g);
        grammar_vocab_free(v);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(random_grammars),
                cmocka_unit_test(threads),
                cmocka_unit_test(cache),
                cmocka_unit_test(vocabularies_go),
                cmocka_unit_test(control_tokens),
                cmocka_unit_test(long_texts),
                cmocka_unit_test(ambiguity_is_bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
