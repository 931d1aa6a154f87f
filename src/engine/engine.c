/* The public interface: thin over model, scheduler and tokenizer. */
#include <errno.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/mem.h"
#include "engine/lora.h"
#include "engine/model.h"
#include "engine/sched.h"
#include "grammar/grammar.h"

#define MAX_DETOKENIZED (256u << 20)

int engine_model_open(const char *path, const struct engine_opts *opts, struct engine_model **ret, char *err,
                      size_t errn)
{
        static const struct engine_opts defaults = { 0 };
        char unused[8];
        if (!err) {
                err = unused;
                errn = sizeof(unused);
        }
        const struct kern *k = kern_select(err, errn);
        if (!k)
                return -EINVAL;
        struct engine_model *m = mem_calloc(1, sizeof(*m));
        if (!m) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        pthread_mutex_init(&m->vocab_lock, NULL);
        int rc = model_load(m, path, k, err, errn);
        for (size_t i = 0; !rc && opts && i < opts->n_adapters; i++)
                rc = lora_load(m, &opts->adapters[i], err, errn);
        if (!rc)
                rc = sched_start(m, opts ? opts : &defaults, &m->sched, err, errn);
        if (rc) {
                engine_model_close(m);
                return rc;
        }
        m->info.n_ctx = m->sched->n_ctx;
        *ret = m;
        return 0;
}

void engine_model_close(struct engine_model *m)
{
        if (!m)
                return;
        sched_stop(m->sched);
        grammar_vocab_free(m->vocab);
        pthread_mutex_destroy(&m->vocab_lock);
        model_unload(m);
        mem_free(m);
}

const struct engine_info *engine_model_info(const struct engine_model *m)
{
        return &m->info;
}

void engine_model_stats(const struct engine_model *m, struct engine_stats *ret)
{
        const struct sched *s = m->sched;
        const struct counters *c = &s->count;
        *ret = (struct engine_stats){
                .active = atomic_load(&c->active),
                .queued = atomic_load(&c->queued),
                .kv_used = atomic_load(&c->kv_used),
                .kv_cached = atomic_load(&c->kv_cached),
                .kv_total = (uint64_t)s->kv.n_blocks * (uint64_t)s->kv.n_layer * s->kv.at.block,
                .tokens_decoded = atomic_load(&c->decoded),
                .tokens_prefill = atomic_load(&c->prefill),
                .tokens_cached = atomic_load(&c->cached),
                .tokens_drafted = atomic_load(&c->drafted),
                .tokens_accepted = atomic_load(&c->accepted),
                .steps = atomic_load(&c->steps),
                .sequences = atomic_load(&c->sequences),
                .preempted = atomic_load(&c->preempted),
                .wait_ms = atomic_load(&c->wait_ms),
                .kv_disk_bytes = atomic_load(&c->disk_bytes),
                .tokens_restored = atomic_load(&c->restored),
        };
}

/* ---- text and tokens ---------------------------------------------------------------------------- */

void engine_tokens_release(struct engine_tokens *t)
{
        mem_free(t->p);
        *t = (struct engine_tokens){ 0 };
}

int engine_tokenize(const struct engine_model *m, struct str text, unsigned flags, struct engine_tokens *out)
{
        if (!str_is_utf8(text))
                return -EINVAL;
        struct tok_ids ids = { out->p, out->n, out->cap };
        int tok_flags = (flags & ENGINE_TOK_BOS ? TOK_ENCODE_BOS : 0) |
                        (flags & ENGINE_TOK_EOS ? TOK_ENCODE_EOS : 0) |
                        (flags & ENGINE_TOK_SPECIAL ? TOK_ENCODE_SPECIAL : 0);
        int rc = tokenizer_encode(m->tok, text, tok_flags, &ids);
        *out = (struct engine_tokens){ ids.p, ids.n, ids.cap };
        return rc;
}

struct str engine_token_piece(const struct engine_model *m, int32_t id)
{
        return model_piece(m, id);
}

char *engine_detokenize(const struct engine_model *m, const int32_t *tokens, size_t n, size_t *ret_n)
{
        struct buf text;
        uint8_t partial[4];
        size_t n_partial = 0;
        buf_init(&text, MAX_DETOKENIZED);
        for (size_t i = 0; i < n; i++)
                utf8_feed(&text, partial, &n_partial, model_piece_after(m, i ? tokens[i - 1] : -1, tokens[i]),
                          false);
        utf8_feed(&text, partial, &n_partial, STR(""), true);
        buf_reserve(&text, 1); /* an empty text is a string too */
        return buf_take(&text, ret_n);
}

int32_t engine_token_find(const struct engine_model *m, struct str text)
{
        int32_t id = tokenizer_find(m->tok, text);
        return id >= 0 && tokenizer_is_control(m->tok, id) ? id : -1;
}

struct str engine_token_name(const struct engine_model *m, int32_t id)
{
        return tokenizer_is_control(m->tok, id) ? tokenizer_piece(m->tok, id) : STR("");
}

static struct str piece_of(void *ctx, int32_t id)
{
        return model_piece(ctx, id);
}

const struct grammar_vocab *engine_vocab(struct engine_model *m)
{
        pthread_mutex_lock(&m->vocab_lock);
        if (!m->vocab && grammar_vocab_new(m->info.n_vocab, piece_of, m, m->is_end, &m->vocab))
                m->vocab = NULL;
        const struct grammar_vocab *vocab = m->vocab;
        pthread_mutex_unlock(&m->vocab_lock);
        return vocab;
}

/* ---- generation --------------------------------------------------------------------------------- */

int engine_submit(struct engine_model *m, const struct engine_req *req, const struct engine_sink *sink,
                  struct engine_seq **ret)
{
        struct engine_seq *s;
        if (!m->info.generates)
                return -ENOTSUP;
        int rc = seq_new(m, req, sink, &s);
        if (rc)
                return rc;
        *ret = s; /* before the engine has it: events may find the handle */
        rc = sched_submit(m->sched, s);
        if (rc) {
                *ret = NULL;
                engine_seq_unref(s);
                engine_seq_unref(s);
        }
        return rc;
}
