/* bench_engine FILE.gguf: runs the engine for bench_engine.py. Each line of standard input is a command, each
 * answer a line with numbers:
 *
 *      machine              bytes read per second, float operations per second, threads
 *      decode N             seconds per token of one stream, over N tokens
 *      prefill N            seconds until the first token after a fresh prompt of N
 *      streams S N          tokens per second of S streams together, N tokens each
 *      shared N             seconds until the first token after a prompt whose first N tokens are known
 *
 * The first line, before any command, has the seconds that opening took. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "base/rand.h"
#include "engine/engine.h"
#include "kernels/bench_machine.h"

#define MAX_STREAMS 64
#define MAX_PROMPT 2200
#define SHORT_PROMPT 16
#define NEW_TOKENS 1 /* of a prompt with a known beginning: what cannot be shared */

struct stream {
        pthread_mutex_t *lock;
        pthread_cond_t *moved;
        int *running;
        int64_t first_us, last_us;
        int tokens;
};

static bool on_event(void *ctx, const struct engine_event *ev)
{
        struct stream *s = ctx;
        pthread_mutex_lock(s->lock);
        s->last_us = clock_mono_us();
        if (!s->first_us)
                s->first_us = s->last_us;
        if (ev->kind == ENGINE_EV_DONE) {
                s->tokens = ev->usage.completion_tokens;
                --*s->running;
                pthread_cond_signal(s->moved);
        }
        pthread_mutex_unlock(s->lock);
        return true;
}

/* Letters; with `seed` 0 the same ones every time. */
static void fill_prompt(int32_t *prompt, size_t n, uint64_t seed)
{
        struct rng rng;
        rng_seed(&rng, seed);
        for (size_t k = 0; k < n; k++)
                prompt[k] = 33 + (int32_t)rng_below(&rng, 90);
}

/* Runs n streams to their end; each prompt is n_known tokens that never change and n_fresh that always do. */
static int run_streams(struct engine_model *m, struct stream *streams, int n, size_t n_known, size_t n_fresh,
                       int max_tokens)
{
        static uint64_t seed;
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
        int running = n;
        for (int i = 0; i < n; i++) {
                int32_t prompt[MAX_PROMPT];
                fill_prompt(prompt, n_known, 0);
                fill_prompt(prompt + n_known, n_fresh, ++seed);
                struct engine_req req = { .prompt = prompt,
                                          .n_prompt = n_known + n_fresh,
                                          .max_tokens = max_tokens,
                                          .logprobs = -1,
                                          .sampling = { .repetition = 1, .top_p = 1 } };
                struct engine_sink sink = { on_event, &streams[i] };
                struct engine_seq *seq;
                streams[i] = (struct stream){ &lock, &moved, &running, 0, 0, 0 };
                int rc = engine_submit(m, &req, &sink, &seq);
                if (rc)
                        return rc;
                engine_seq_unref(seq);
        }
        pthread_mutex_lock(&lock);
        while (running)
                pthread_cond_wait(&moved, &lock);
        pthread_mutex_unlock(&lock);
        return 0;
}

static double seconds_since(int64_t us)
{
        return (double)(clock_mono_us() - us) / 1e6;
}

/* From the moment that all of them decode to the end of the last. */
static int streams_speed(struct engine_model *m, int n, int tokens, double *ret)
{
        static struct stream s[MAX_STREAMS];
        int64_t from = 0, to = 0;
        int made = 0, rc = run_streams(m, s, n, 0, SHORT_PROMPT, tokens);
        for (int i = 0; i < n && !rc; i++) {
                from = s[i].first_us > from ? s[i].first_us : from;
                to = s[i].last_us > to ? s[i].last_us : to;
                made += s[i].tokens - 1;
        }
        *ret = made / ((double)(to - from) / 1e6);
        return rc;
}

static int first_token(struct engine_model *m, size_t known, size_t fresh, double *ret)
{
        struct stream s;
        int64_t start = clock_mono_us();
        int rc = run_streams(m, &s, 1, known, fresh, 1);
        *ret = seconds_since(start);
        return rc;
}

static int run_command(struct engine_model *m, struct kern_team *team, const char *line)
{
        double v = 0;
        int a = 0, b = 0, rc = -1;
        if (!strncmp(line, "machine", 7)) {
                printf("%.6g %.6g %d\n", machine_bandwidth(team), machine_fma(team), kern_team_size(team));
                return 0;
        }
        if (sscanf(line, "decode %d", &a) == 1 && !(rc = streams_speed(m, 1, a, &v)))
                v = 1 / v;
        else if (sscanf(line, "prefill %d", &a) == 1 && a <= MAX_PROMPT)
                rc = first_token(m, 0, (size_t)a, &v);
        else if (sscanf(line, "streams %d %d", &a, &b) == 2 && a <= MAX_STREAMS)
                rc = streams_speed(m, a, b, &v);
        else if (sscanf(line, "shared %d", &a) == 1 && a + NEW_TOKENS <= MAX_PROMPT)
                rc = first_token(m, (size_t)a, NEW_TOKENS, &v);
        printf("%.9g\n", v);
        return rc;
}

int main(int argc, char **argv)
{
        char err[200] = "", line[100];
        struct engine_model *m;
        struct kern_team *team = kern_team_new(kern_team_default_threads());
        int64_t start = clock_mono_us();
        if (argc != 2 || !team) {
                fprintf(stderr, "usage: bench_engine FILE.gguf\n");
                return 2;
        }
        /* Guesses from earlier text would make repetitive output look faster than a token is. */
        const struct engine_opts opts = { .no_lookup = true };
        if (engine_model_open(argv[1], &opts, &m, err, sizeof(err))) {
                fprintf(stderr, "bench_engine: %s: %s\n", argv[1], err);
                return 1;
        }
        printf("%.6g\n", seconds_since(start));
        fflush(stdout);
        int rc = 0;
        while (!rc && fgets(line, sizeof(line), stdin)) {
                rc = run_command(m, team, line);
                fflush(stdout);
        }
        if (rc)
                fprintf(stderr, "bench_engine: '%.*s' failed\n", (int)strcspn(line, "\n"), line);
        engine_model_close(m);
        kern_team_free(team);
        return rc ? 1 : 0;
}
