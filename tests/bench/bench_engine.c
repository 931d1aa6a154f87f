/* bench_engine [FILE.gguf]: decode and prefill of a 1.1-billion-parameter Q8_0 llama, as shares of what this
 * machine can read and multiply in the same run. The file (random weights, 1.2 GB) is made on first use. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/rand.h"
#include "engine/engine.h"
#include "engine/gguf_write.h"
#include "engine/tokenizer.h"
#include "kernels/bench_machine.h"

#define FILE_NAME "build/bench-1b-q8_0.gguf"
/* The shape of TinyLlama. */
#define LAYERS 22
#define EMBD 2048
#define HEADS 32
#define HEADS_KV 4
#define FF 5632
#define VOCAB 32000
#define CONTEXT 2048

#define PREFILL_TOKENS 512
#define DECODE_TOKENS 48
#define STREAMS 16

/* ---- the file ----------------------------------------------------------------------------------- */

static const struct {
        const char *name;
        uint64_t n, rows;
} layer_tensors[] = {
        { "attn_norm", EMBD, 0 },
        { "attn_q", EMBD, EMBD },
        { "attn_k", EMBD, EMBD / HEADS *HEADS_KV },
        { "attn_v", EMBD, EMBD / HEADS *HEADS_KV },
        { "attn_output", EMBD, EMBD },
        { "ffn_norm", EMBD, 0 },
        { "ffn_gate", EMBD, FF },
        { "ffn_up", EMBD, FF },
        { "ffn_down", FF, EMBD },
};
#define LAYER_TENSORS (sizeof(layer_tensors) / sizeof(layer_tensors[0]))

/* The 256 bytes, then made-up words: nothing is ever joined, so a prompt of n letters has n tokens. */
static void put_vocabulary(struct gguf_writer *w)
{
        static struct str tokens[VOCAB];
        static char text[VOCAB][8];
        for (int i = 0; i < VOCAB; i++) {
                int n = i < 256 ? tokenizer_byte_char((uint8_t)i, text[i])
                                : snprintf(text[i], sizeof(text[i]), "x%d", i);
                tokens[i] = (struct str){ text[i], (size_t)n };
        }
        gguf_put_str(w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_put_str(w, "tokenizer.ggml.pre", STR("gpt-2"));
        gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, VOCAB);
}

static void put_shape(struct gguf_writer *w)
{
        gguf_put_str(w, "general.architecture", STR("llama"));
        gguf_put_str(w, "general.name", STR("bench-1b"));
        gguf_put_u32(w, "llama.context_length", CONTEXT);
        gguf_put_u32(w, "llama.embedding_length", EMBD);
        gguf_put_u32(w, "llama.block_count", LAYERS);
        gguf_put_u32(w, "llama.feed_forward_length", FF);
        gguf_put_u32(w, "llama.attention.head_count", HEADS);
        gguf_put_u32(w, "llama.attention.head_count_kv", HEADS_KV);
        gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        gguf_put_u32(w, "llama.rope.dimension_count", EMBD / HEADS);
        gguf_put_f32(w, "llama.rope.freq_base", 10000);
}

static void add_tensor(struct gguf_writer *w, const char *name, uint64_t n, uint64_t rows)
{
        uint64_t dims[2] = { n, rows };
        gguf_add_tensor(w, name, rows ? GGUF_WQ8_0 : GGUF_WF32, rows ? 2 : 1, dims);
}

/* Random int8 with a scale that keeps activations near 1; norms are 1. */
static void write_tensor(struct gguf_writer *w, struct rng *rng, uint64_t n, uint64_t rows)
{
        static uint8_t row[FF / GGUF_Q8_0_BLOCK * GGUF_Q8_0_BYTES + 8];
        uint16_t scale = gguf_f16(1.0f / (73 * sqrtf((float)n)));
        float ones[EMBD];
        for (size_t i = 0; i < EMBD; i++)
                ones[i] = 1;
        if (!rows)
                gguf_write_floats(w, ones, n);
        size_t bytes = n / GGUF_Q8_0_BLOCK * GGUF_Q8_0_BYTES;
        for (uint64_t r = 0; r < rows; r++) {
                for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
                        uint64_t bits = rng_next(rng);
                        memcpy(row + i, &bits, sizeof(bits));
                }
                for (size_t i = 0; i < bytes; i += GGUF_Q8_0_BYTES)
                        memcpy(row + i, &scale, sizeof(scale));
                gguf_write_raw(w, row, bytes);
        }
}

static int make_file(const char *path)
{
        struct gguf_writer *w;
        struct rng rng;
        char err[200] = "", name[64];
        fprintf(stderr, "bench_engine: writing %s\n", path);
        if (gguf_writer_open(path, &w, err, sizeof(err))) {
                fprintf(stderr, "bench_engine: %s\n", err);
                return -1;
        }
        rng_seed(&rng, 1);
        put_shape(w);
        put_vocabulary(w);
        add_tensor(w, "token_embd.weight", EMBD, VOCAB);
        add_tensor(w, "output_norm.weight", EMBD, 0);
        add_tensor(w, "output.weight", EMBD, VOCAB);
        for (size_t i = 0; i < LAYERS * LAYER_TENSORS; i++) {
                snprintf(name, sizeof(name), "blk.%zu.%s.weight", i / LAYER_TENSORS,
                         layer_tensors[i % LAYER_TENSORS].name);
                add_tensor(w, name, layer_tensors[i % LAYER_TENSORS].n,
                           layer_tensors[i % LAYER_TENSORS].rows);
        }
        write_tensor(w, &rng, EMBD, VOCAB);
        write_tensor(w, &rng, EMBD, 0);
        write_tensor(w, &rng, EMBD, VOCAB);
        for (size_t i = 0; i < LAYERS * LAYER_TENSORS; i++)
                write_tensor(w, &rng, layer_tensors[i % LAYER_TENSORS].n,
                             layer_tensors[i % LAYER_TENSORS].rows);
        if (gguf_writer_close(w, err, sizeof(err))) {
                fprintf(stderr, "bench_engine: %s\n", err);
                return -1;
        }
        return 0;
}

/* ---- runs --------------------------------------------------------------------------------------- */

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
        if (ev->kind == ENGINE_EV_TEXT && !s->first_us)
                s->first_us = s->last_us;
        if (ev->kind == ENGINE_EV_DONE) {
                s->tokens = ev->usage.completion_tokens;
                --*s->running;
                pthread_cond_signal(s->moved);
        }
        pthread_mutex_unlock(s->lock);
        return true;
}

/* Runs n streams of random prompts to their end. */
static void run_streams(struct engine_model *m, struct stream *streams, int n, size_t n_prompt,
                        int max_tokens)
{
        static uint64_t seed;
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
        int running = n;
        for (int i = 0; i < n; i++) {
                int32_t prompt[PREFILL_TOKENS];
                struct rng rng;
                rng_seed(&rng, ++seed);
                for (size_t k = 0; k < n_prompt; k++)
                        prompt[k] = 33 + (int32_t)rng_below(&rng, 90);
                struct engine_req req = { .prompt = prompt,
                                          .n_prompt = n_prompt,
                                          .max_tokens = max_tokens,
                                          .logprobs = -1,
                                          .sampling = { .repetition = 1, .top_p = 1 } };
                struct engine_sink sink = { on_event, &streams[i] };
                struct engine_seq *seq;
                streams[i] = (struct stream){ &lock, &moved, &running, 0, 0, 0 };
                if (engine_submit(m, &req, &sink, &seq)) {
                        fprintf(stderr, "bench_engine: a request was refused\n");
                        _exit(1);
                }
                engine_seq_unref(seq);
        }
        pthread_mutex_lock(&lock);
        while (running)
                pthread_cond_wait(&moved, &lock);
        pthread_mutex_unlock(&lock);
}

/* Tokens per second of n streams together, from the moment that all of them decode. */
static double decode_speed(struct engine_model *m, int n)
{
        static struct stream s[STREAMS];
        int64_t from = 0, to = 0;
        int tokens = 0;
        run_streams(m, s, n, 16, DECODE_TOKENS);
        for (int i = 0; i < n; i++) {
                from = s[i].first_us > from ? s[i].first_us : from;
                to = s[i].last_us > to ? s[i].last_us : to;
                tokens += s[i].tokens - 1;
        }
        return tokens / ((double)(to - from) / 1e6);
}

static double prefill_speed(struct engine_model *m)
{
        struct stream s;
        int64_t t = clock_mono_us();
        run_streams(m, &s, 1, PREFILL_TOKENS, 1);
        return PREFILL_TOKENS / ((double)(clock_mono_us() - t) / 1e6);
}

static double best_of(double (*speed)(struct engine_model *, int), struct engine_model *m, int n)
{
        double best = 0;
        for (int i = 0; i < 3; i++) {
                double v = speed(m, n);
                best = v > best ? v : best;
        }
        return best;
}

static double prefill_of(struct engine_model *m, int n)
{
        (void)n;
        return prefill_speed(m);
}

int main(int argc, char **argv)
{
        const char *path = argc > 1 ? argv[1] : FILE_NAME;
        char err[200] = "";
        struct engine_model *m;
        struct kern_team *team = kern_team_new(kern_team_default_threads());
        if (!team || (argc < 2 && access(path, R_OK) && make_file(path)))
                return 1;
        int64_t t = clock_mono_us();
        if (engine_model_open(path, NULL, &m, err, sizeof(err))) {
                fprintf(stderr, "bench_engine: %s: %s\n", path, err);
                return 1;
        }
        double ready = (double)(clock_mono_us() - t) / 1e3;
        const struct engine_info *info = engine_model_info(m);
        /* Every weight is read once a token, but of the embeddings a single row. */
        double embd = (double)info->n_vocab * info->n_embd, params = (double)info->n_params - embd;
        double bytes = (double)info->file_bytes * params / (double)info->n_params;
        prefill_speed(m); /* pages the file in */
        double bandwidth = machine_bandwidth(team), fma = machine_fma(team);
        double one = best_of(decode_speed, m, 1), many = decode_speed(m, STREAMS);
        double prefill = best_of(prefill_of, m, 1);
        printf("%-28s %10s %8s\n", "engine", "figure", "ratio");
        printf("%-28s %10.1f %8s  GB/s, %d threads\n", "memory read", bandwidth / 1e9, "",
               kern_team_size(team));
        printf("%-28s %10.1f %8s  Gflop/s\n", "FMA peak", fma / 1e9, "");
        printf("%-28s %10.1f %8s  ms to open %.2f GB\n", "ready", ready, "", (double)info->file_bytes / 1e9);
        printf("%-28s %10.2f %8.2f  tokens/s; of bandwidth / bytes per token\n", "decode, 1 stream", one,
               one * bytes / bandwidth);
        printf("%-28s %10.2f %8.2f  tokens/s; of 1 stream\n", "decode, 16 streams", many, many / one);
        printf("%-28s %10.2f %8.2f  tokens/s; of FMA peak\n", "prefill, 512 tokens", prefill,
               2 * params * prefill / fma);
        engine_model_close(m);
        kern_team_free(team);
        return 0;
}
