/* KV on disk: found again by another engine, whole or in part, and never believed when it is damaged. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/rand.h"
#include "engine/test_run.h"

#define MODEL "tests/vectors/q8-gqa-tied.gguf" /* context 128 */
#define OTHER "tests/vectors/q8-mha.gguf"
#define PROMPT 60

static char dir[64];

static struct engine_model *open_model(const char *path, size_t limit)
{
        struct engine_opts opts = { .threads = 1, .kv_dir = dir, .kv_disk_bytes = limit };
        char err[200] = "";
        struct engine_model *m = NULL;
        if (engine_model_open(path, &opts, &m, err, sizeof(err)))
                fail_msg("%s", err);
        return m;
}

static void make_prompt(int32_t *out, size_t n, uint64_t seed)
{
        struct rng rng;
        rng_seed(&rng, seed + 700);
        for (size_t i = 0; i < n; i++)
                out[i] = (int32_t)rng_below(&rng, 256);
}

/* Runs a prompt whose KV is kept; the tokens that it had from the cache. */
static int keep(struct engine_model *m, const int32_t *prompt, size_t n, int more, struct run *ret)
{
        struct engine_req req = { .prompt = prompt,
                                  .n_prompt = n,
                                  .max_tokens = more,
                                  .logprobs = 0,
                                  .sampling = ENGINE_SAMPLING_DEFAULT,
                                  .keep = true };
        req.sampling.temperature = 0;
        assert_int_equal(run_all(ret, m, &req), 0);
        assert_true(ret->end.finish == ENGINE_LENGTH || ret->end.finish == ENGINE_STOP);
        return ret->end.usage.cached_tokens;
}

static int keep_only(struct engine_model *m, const int32_t *prompt, size_t n)
{
        struct run r;
        int cached = keep(m, prompt, n, 2, &r);
        run_release(&r);
        return cached;
}

/* The files in the directory, sorted by nothing; their number. With `change`, called for each path. */
static int each_file(void (*change)(const char *path))
{
        DIR *d = opendir(dir);
        int n = 0;
        assert_non_null(d);
        for (struct dirent *f; (f = readdir(d));) {
                char path[400];
                if (f->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof(path), "%s/%s", dir, f->d_name);
                if (change)
                        change(path);
                n++;
        }
        closedir(d);
        return n;
}

static void remove_file(const char *path)
{
        unlink(path);
}

static void flip_byte(const char *path, off_t at)
{
        char c;
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0 && pread(fd, &c, 1, at) == 1);
        c ^= 0x20;
        assert_int_equal(pwrite(fd, &c, 1, at), 1);
        close(fd);
}

static void flip_head(const char *path)
{
        flip_byte(path, 20);
}

static void flip_last(const char *path)
{
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        flip_byte(path, st.st_size - 5);
}

static void cut(const char *path)
{
        assert_int_equal(truncate(path, 300), 0);
}

static int set_up(void **state)
{
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/cairn-kv-XXXXXX");
        return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        each_file(remove_file);
        return rmdir(dir);
}

/* A restart, a second turn, and a third that departs from the second; outputs are those of an engine without.
 */
static void test_restart(void **state)
{
        (void)state;
        int32_t prompt[120];
        struct run first, second, plain;
        make_prompt(prompt, 120, 1);
        struct engine_model *m = open_model(MODEL, 0);
        assert_int_equal(keep(m, prompt, PROMPT, 10, &first), 0);
        engine_model_close(m); /* waits for what is being written */
        assert_int_equal(each_file(NULL), 1);
        m = open_model(MODEL, 0);
        assert_int_equal(keep(m, prompt, 100, 10, &second), 48); /* whole blocks of what was the same */
        struct engine_stats stats;
        engine_model_stats(m, &stats);
        assert_true(stats.tokens_restored >= 48 && stats.kv_disk_bytes > 0);
        engine_model_close(m);
        assert_int_equal(each_file(NULL), 2); /* the second holds what the first has not */
        struct engine_opts none = { .threads = 1 };
        assert_int_equal(engine_model_open(MODEL, &none, &m, NULL, 0), 0);
        assert_int_equal(keep(m, prompt, 100, 10, &plain), 0);
        engine_model_close(m);
        assert_int_equal(plain.tokens.n, second.tokens.n);
        for (size_t i = 0; i < plain.tokens.n; i++) {
                assert_int_equal(plain.tokens.p[i].id, second.tokens.p[i].id);
                assert_memory_equal(&plain.tokens.p[i].logprob, &second.tokens.p[i].logprob, sizeof(float));
        }
        m = open_model(MODEL, 0);
        prompt[90] ^= 1;
        assert_int_equal(keep_only(m, prompt, 110), 80); /* from both files, up to the change */
        engine_model_close(m);
        run_release(&first);
        run_release(&second);
        run_release(&plain);
}

/* What is damaged or of another model is removed, and the prompt evaluated. */
static void spoil(void (*change)(const char *path), int left_at_start)
{
        int32_t prompt[PROMPT];
        make_prompt(prompt, PROMPT, 2);
        struct engine_model *m = open_model(MODEL, 0);
        assert_int_equal(keep_only(m, prompt, PROMPT), 0);
        engine_model_close(m);
        assert_int_equal(each_file(change), 1);
        m = open_model(MODEL, 0);
        assert_int_equal(each_file(NULL), left_at_start);
        assert_true(keep_only(m, prompt, PROMPT) < 48);
        engine_model_close(m);
        each_file(remove_file);
}

static void test_damage(void **state)
{
        (void)state;
        spoil(flip_head, 0);
        spoil(cut, 0);
        spoil(flip_last, 1); /* found out when the block is read */
}

static void test_other_model(void **state)
{
        (void)state;
        int32_t prompt[PROMPT];
        make_prompt(prompt, PROMPT, 3);
        struct engine_model *m = open_model(OTHER, 0);
        assert_int_equal(keep_only(m, prompt, PROMPT), 0);
        engine_model_close(m);
        assert_int_equal(each_file(NULL), 1);
        m = open_model(MODEL, 0);
        assert_int_equal(each_file(NULL), 0);
        engine_model_close(m);
}

/* The directory stays within its limit; what was used last stays. */
static void test_limit(void **state)
{
        (void)state;
        int32_t prompts[6][PROMPT];
        struct stat st;
        struct engine_stats stats;
        struct engine_model *m = open_model(MODEL, 30000);
        for (uint64_t i = 0; i < 6; i++) {
                make_prompt(prompts[i], PROMPT, 20 + i);
                assert_int_equal(keep_only(m, prompts[i], PROMPT), 0);
                usleep(20000); /* times of files are what orders them after a restart */
        }
        engine_model_close(m);
        int files = each_file(NULL);
        assert_true(files >= 1 && files < 6);
        m = open_model(MODEL, 30000);
        engine_model_stats(m, &stats);
        assert_int_equal(keep_only(m, prompts[0], PROMPT), 0);
        assert_int_equal(keep_only(m, prompts[5], PROMPT), 48);
        engine_model_close(m);
        assert_int_equal(stat(dir, &st), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_other_model, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
