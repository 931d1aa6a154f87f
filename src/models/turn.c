#include "models/turn.h"

#include <errno.h>
#include <stdatomic.h>
#include "base/mem.h"
#include "models/registry.h"

struct turn {
        atomic_int refs; /* the caller's and the model thread's */
        struct turn_sink sink;
        _Atomic(struct engine_seq *) seq; /* NULL until engine_submit has returned */
        atomic_bool cancelled, resumed;   /* asked for while seq was not known yet */
        int fail_after, texts;
        bool failed; /* by fail_after; model thread only */
};

static void turn_put(struct turn *t)
{
        if (atomic_fetch_sub(&t->refs, 1) != 1)
                return;
        engine_seq_unref(atomic_load(&t->seq));
        mem_free(t);
}

/* The injected failure of test builds: the turn is cancelled and its end is reported as an error. */
static bool inject_failure(struct turn *t, const struct engine_event *ev)
{
#ifdef CAIRN_FAULTS
        if (t->fail_after && ev->kind == ENGINE_EV_TEXT && t->texts++ >= t->fail_after) {
                t->failed = true;
                turn_cancel(t);
        }
#else
        (void)ev;
#endif
        return t->failed;
}

static bool on_engine_event(void *ctx, const struct engine_event *ev)
{
        static const enum turn_kind kinds[] = {
                [ENGINE_EV_PROMPT] = TURN_PROMPT, [ENGINE_EV_TEXT] = TURN_TEXT, [ENGINE_EV_DONE] = TURN_DONE
        };
        struct turn *t = ctx;
        bool failed = inject_failure(t, ev);
        if (failed && ev->kind != ENGINE_EV_DONE)
                return true;
        struct turn_event out = { .kind = kinds[ev->kind],
                                  .text = ev->text,
                                  .tokens = ev->tokens,
                                  .n_tokens = ev->n_tokens,
                                  .finish = failed ? ENGINE_ERROR : ev->finish,
                                  .usage = ev->usage,
                                  .error = failed ? "injected failure" : ev->error_msg };
        bool taken = t->sink.on_event(t->sink.ctx, &out);
        if (ev->kind == ENGINE_EV_DONE)
                turn_put(t);
        return taken;
}

static int tokenize(const struct turn_req *req, struct engine_tokens *out, struct turn_err *err)
{
        struct engine_chat chat = { .messages = req->messages, .generate = true };
        int rc = engine_chat_tokenize(req->model->engine, &chat, out, err->msg, sizeof(err->msg));
        if (rc == -EINVAL)
                err->field = TURN_ERR_MESSAGES;
        err->prompt_tokens = out->n;
        return rc;
}

static int submit(struct turn *t, const struct turn_req *req, const int32_t *prompt, size_t n_prompt)
{
        struct engine_req e = { .prompt = prompt,
                                .n_prompt = n_prompt,
                                .max_tokens = req->max_tokens,
                                .sampling = req->sampling,
                                .stop = req->stop,
                                .n_stop = req->n_stop,
                                .logprobs = req->logprobs,
                                .prompt_logprobs = req->prompt_logprobs,
                                .priority = req->priority,
                                .owner = req->owner,
                                .keep = req->keep };
        struct engine_sink sink = { on_engine_event, t };
        struct engine_seq *seq;
        atomic_fetch_add(&t->refs, 1); /* the model thread's, dropped with DONE */
        int rc = engine_submit(req->model->engine, &e, &sink, &seq);
        if (rc) {
                atomic_fetch_sub(&t->refs, 1);
                return rc;
        }
        atomic_store(&t->seq, seq);
        if (atomic_load(&t->cancelled))
                engine_seq_cancel(seq);
        if (atomic_load(&t->resumed))
                engine_seq_resume(seq);
        return 0;
}

int turn_start(const struct turn_req *req, const struct turn_sink *sink, struct turn **ret,
               struct turn_err *err)
{
        struct turn_err unread;
        struct engine_tokens rendered = { 0 };
        const int32_t *prompt = req->tokens;
        size_t n_prompt = req->n_tokens;
        int rc = 0;
        err = err ? err : &unread;
        *err = (struct turn_err){ .prompt_tokens = n_prompt };
        struct turn *t = mem_calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        atomic_init(&t->refs, 1);
        t->sink = *sink;
        t->fail_after = req->fail_after;
        if (req->messages) {
                rc = tokenize(req, &rendered, err);
                prompt = rendered.p;
                n_prompt = rendered.n;
        }
        if (rc == 0)
                rc = submit(t, req, prompt, n_prompt);
        engine_tokens_release(&rendered);
        if (rc) {
                turn_put(t);
                return rc;
        }
        *ret = t;
        return 0;
}

void turn_cancel(struct turn *t)
{
        atomic_store(&t->cancelled, true);
        struct engine_seq *seq = atomic_load(&t->seq);
        if (seq)
                engine_seq_cancel(seq);
}

void turn_resume(struct turn *t)
{
        atomic_store(&t->resumed, true);
        struct engine_seq *seq = atomic_load(&t->seq);
        if (seq)
                engine_seq_resume(seq);
}

void turn_unref(struct turn *t)
{
        if (t)
                turn_put(t);
}

long turn_count(const struct turn_req *req, struct turn_err *err)
{
        struct turn_err unread;
        struct engine_tokens tokens = { 0 };
        err = err ? err : &unread;
        *err = (struct turn_err){ .prompt_tokens = req->n_tokens };
        if (!req->messages)
                return (long)req->n_tokens;
        int rc = tokenize(req, &tokens, err);
        long count = rc ? rc : (long)tokens.n;
        engine_tokens_release(&tokens);
        return count;
}
