/* Hostile model files: through the reader and everything that a model's loading does with what it read, up to
 * a token and an evaluation when the file passes for a model. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "engine/engine.h"

#define MAX_FILE (1 << 18)

static bool ignore(void *ctx, const struct engine_event *ev)
{
        (void)ctx;
        (void)ev;
        return true;
}

/* Two inputs, one of them all tokens. */
static void embed(struct engine_model *m, const struct engine_tokens *t)
{
        struct engine_input in[2] = { { t->p, t->n }, { t->p, 1 } };
        float *v = mem_calloc(2, (size_t)engine_model_info(m)->n_embd * sizeof(*v));
        if (t->n && v)
                engine_embed(m, in, 2, v, NULL, NULL);
        mem_free(v);
}

/* Runs a few tokens, when the model is small enough for that to be quick. */
static void use(struct engine_model *m)
{
        struct engine_tokens t = { 0 };
        struct engine_seq *seq;
        json_t *messages =
                json_pack("[{s:s, s:s}]", "role", "user", "content", "the <|im_end|> \xf0\x9f\x98\x80");
        struct engine_chat chat = { .messages = messages, .generate = true };
        struct engine_sink sink = { ignore, NULL };
        engine_tokenize(m, STR("in the \xc3\xa9 on"), ENGINE_TOK_BOS | ENGINE_TOK_SPECIAL, &t);
        engine_chat_tokenize(m, &chat, &t, NULL, 0);
        json_decref(messages);
        mem_free(engine_detokenize(m, t.p, t.n, NULL));
        struct engine_req req = { .prompt = t.p,
                                  .n_prompt = t.n < 8 ? t.n : 8,
                                  .max_tokens = 2,
                                  .logprobs = 2,
                                  .sampling = ENGINE_SAMPLING_DEFAULT };
        if (t.n && !engine_submit(m, &req, &sink, &seq))
                engine_seq_unref(seq);
        embed(m, &t);
        engine_tokens_release(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        char path[64], err[256] = "";
        struct engine_model *m;
        struct engine_opts opts = { .threads = 1, .ctx_max = 32, .kv_bytes = 1 << 20, .max_batch = 2 };
        if (!n || n > MAX_FILE)
                return 0;
        int fd = memfd_create("fuzz", MFD_CLOEXEC);
        if (fd < 0 || write(fd, data, n) != (ssize_t)n)
                __builtin_trap();
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int rc = engine_model_open(path, &opts, &m, err, sizeof(err));
        if (rc && !err[0])
                __builtin_trap(); /* a refusal without a reason */
        if (!rc) {
                use(m);
                engine_model_close(m);
        }
        close(fd);
        return 0;
}
