/* bench_batch FILE.gguf INPUT.jsonl: the bare engine's side of bench_batch.py. Reads the lines of a batch of
 * chat completions, renders and tokenizes their prompts beforehand, and for each line of standard input, a
 * number of sequences to keep in flight, generates all answers and prints
 *
 *      SECONDS PROMPT_TOKENS GENERATED_TOKENS */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/engine.h"

#define DEPTH 64
#define DECODED_TOGETHER 32 /* as the server has it */

struct work {
        struct engine_tokens prompt;
        int max_tokens;
};

struct bench {
        struct engine_model *m;
        struct work *work;
        size_t n, cap;
        pthread_mutex_t lock;
        pthread_cond_t moved;
        size_t running;
        uint64_t prompt, made;
};

static bool on_event(void *ctx, const struct engine_event *ev)
{
        struct bench *b = ctx;
        if (ev->kind != ENGINE_EV_DONE)
                return true;
        pthread_mutex_lock(&b->lock);
        b->running--;
        b->prompt += (uint64_t)ev->usage.prompt_tokens;
        b->made += (uint64_t)ev->usage.completion_tokens;
        pthread_cond_signal(&b->moved);
        pthread_mutex_unlock(&b->lock);
        return true;
}

static int add_line(struct bench *b, struct str text)
{
        char err[200];
        struct json_fault why;
        json_t *line = json_parse(text, DEPTH, &why), *body = json_get(line, "body");
        if (b->n == b->cap) {
                b->cap = b->cap ? 2 * b->cap : 1024;
                b->work = mem_realloc(b->work, b->cap, sizeof(*b->work));
        }
        struct work *w = &b->work[b->n++];
        struct engine_chat chat = { .messages = json_get(body, "messages"), .generate = true };
        *w = (struct work){ .max_tokens = (int)json_int(body, "max_completion_tokens", 16) };
        int rc = engine_chat_tokenize(b->m, &chat, &w->prompt, err, sizeof(err));
        json_decref(line);
        return rc;
}

static int read_lines(struct bench *b, const char *path)
{
        char *line = NULL;
        size_t cap = 0;
        ssize_t n;
        int rc = 0;
        FILE *f = fopen(path, "r");
        while (f && rc == 0 && (n = getline(&line, &cap, f)) > 0)
                rc = add_line(b, (struct str){ line, (size_t)n });
        if (f)
                fclose(f);
        free(line); /* allowed: getline() */
        return f ? rc : -1;
}

static int run(struct bench *b, size_t at_once)
{
        struct engine_sink sink = { on_event, b };
        int rc = 0;
        b->prompt = b->made = 0;
        for (size_t i = 0; i < b->n && rc == 0; i++) {
                struct engine_req req = { .prompt = b->work[i].prompt.p,
                                          .n_prompt = b->work[i].prompt.n,
                                          .max_tokens = b->work[i].max_tokens,
                                          .logprobs = -1,
                                          .sampling = { .repetition = 1, .top_p = 1 } };
                struct engine_seq *seq;
                pthread_mutex_lock(&b->lock);
                while (b->running >= at_once)
                        pthread_cond_wait(&b->moved, &b->lock);
                b->running++;
                pthread_mutex_unlock(&b->lock);
                rc = engine_submit(b->m, &req, &sink, &seq);
                if (rc == 0)
                        engine_seq_unref(seq);
        }
        pthread_mutex_lock(&b->lock);
        while (rc == 0 && b->running)
                pthread_cond_wait(&b->moved, &b->lock);
        pthread_mutex_unlock(&b->lock);
        return rc;
}

int main(int argc, char **argv)
{
        struct bench b = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
        const struct engine_opts opts = { .max_batch = DECODED_TOGETHER };
        char err[200] = "", line[100];
        if (argc != 3) {
                fprintf(stderr, "usage: bench_batch FILE.gguf INPUT.jsonl\n");
                return 2;
        }
        json_setup();
        if (engine_model_open(argv[1], &opts, &b.m, err, sizeof(err)) || read_lines(&b, argv[2])) {
                fprintf(stderr, "bench_batch: %s, %s: %s\n", argv[1], argv[2], err);
                return 1;
        }
        printf("%zu\n", b.n);
        fflush(stdout);
        int rc = 0;
        while (!rc && fgets(line, sizeof(line), stdin)) {
                int64_t start = clock_mono_us();
                rc = run(&b, strtoul(line, NULL, 10));
                printf("%.6f %llu %llu\n", (double)(clock_mono_us() - start) / 1e6,
                       (unsigned long long)b.prompt, (unsigned long long)b.made);
                fflush(stdout);
        }
        engine_model_close(b.m);
        for (size_t i = 0; i < b.n; i++)
                engine_tokens_release(&b.work[i].prompt);
        mem_free(b.work);
        return rc ? 1 : 0;
}
