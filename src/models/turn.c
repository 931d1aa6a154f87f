#include "models/turn.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/grammar.h"
#include "models/guide.h"
#include "models/prompt.h"
#include "models/reader.h"
#include "models/registry.h"

struct turn {
        atomic_int refs; /* the caller's and the model thread's */
        struct turn_sink sink;
        const struct model *model;
        _Atomic(struct engine_seq *) seq; /* NULL until engine_submit has returned */
        atomic_bool cancelled, resumed;   /* asked for while seq was not known yet */

        /* model thread only */
        struct reader *reader; /* NULL: the output is the answer as it is */
        bool taken;            /* the engine's event is in the reader; its events are on their way */
        int fail_after, texts;
        const char *failed; /* why the turn was given up; NULL while it was not */
};

static const char no_memory[] = "the answer does not fit into memory";

static void turn_put(struct turn *t)
{
        if (atomic_fetch_sub(&t->refs, 1) != 1)
                return;
        engine_seq_unref(atomic_load(&t->seq));
        reader_free(t->reader);
        model_release(t->model);
        mem_free(t);
}

/* ---- events (model thread) ---------------------------------------------------------------------- */

static void give_up(struct turn *t, const char *why)
{
        t->failed = why;
        turn_cancel(t);
}

/* The injected failure of test builds: the turn is cancelled and its end is reported as an error. */
static void inject_failure(struct turn *t, const struct turn_event *ev)
{
#ifdef CAIRN_FAULTS
        if (t->fail_after && ev->kind == TURN_TEXT && t->texts++ >= t->fail_after)
                give_up(t, "injected failure");
#else
        (void)t;
        (void)ev;
#endif
}

static bool tell(struct turn *t, const struct turn_event *ev)
{
        inject_failure(t, ev);
        return t->failed || t->sink.on_event(t->sink.ctx, ev);
}

/* Passes on what the reader has made of the output. False when the sink is full. */
static bool tell_read(struct turn *t)
{
        struct turn_event ev;
        while (reader_next(t->reader, &ev)) {
                if (!tell(t, &ev) && !ev.last)
                        return false;
                reader_taken(t->reader);
        }
        return true;
}

static int feed(struct turn *t, const struct engine_event *ev)
{
        const struct engine_token *tokens = ev->tokens;
        size_t n = ev->n_tokens;
        if (ev->kind == ENGINE_EV_TEXT)
                return reader_text(t->reader, ev->text, tokens, n);
        n -= n && tokens[n - 1].id == ev->control; /* its own record */
        int rc = reader_text(t->reader, STR(""), tokens, n);
        return rc ? rc : reader_control(t->reader, engine_token_name(t->model->engine, ev->control));
}

/* Text and control tokens go through the reader. While the sink is full, the engine brings the same event
 * again. */
static bool read_event(struct turn *t, const struct engine_event *ev)
{
        if (!t->taken && !t->failed && feed(t, ev))
                give_up(t, no_memory);
        t->taken = !tell_read(t);
        if (reader_stopped(t->reader) && !t->taken)
                turn_cancel(t);
        return !t->taken;
}

static void finish(struct turn *t, const struct engine_event *ev)
{
        struct turn_event out = { .kind = TURN_DONE,
                                  .last = true,
                                  .finish = ev->finish,
                                  .usage = ev->usage,
                                  .error = ev->error_msg };
        if (t->reader && reader_stopped(t->reader) && ev->finish != ENGINE_ERROR)
                out.finish = ENGINE_STOP;
        if (t->reader && !t->failed && out.finish != ENGINE_CANCELLED) {
                if (reader_end(t->reader, out.finish == ENGINE_STOP))
                        t->failed = no_memory;
                tell_read(t);
        }
        if (t->reader)
                out.reasoning_tokens = reader_reasoning_tokens(t->reader);
        if (t->failed) {
                out.finish = ENGINE_ERROR;
                out.error = t->failed;
        }
        t->sink.on_event(t->sink.ctx, &out);
        turn_put(t);
}

static bool on_engine_event(void *ctx, const struct engine_event *ev)
{
        struct turn *t = ctx;
        if (ev->kind == ENGINE_EV_DONE) {
                finish(t, ev);
                return true;
        }
        if (t->reader && ev->kind != ENGINE_EV_PROMPT)
                return read_event(t, ev);
        if (ev->kind == ENGINE_EV_CONTROL)
                return true;
        struct turn_event out = { .kind = ev->kind == ENGINE_EV_PROMPT ? TURN_PROMPT : TURN_TEXT,
                                  .text = ev->text,
                                  .tokens = ev->tokens,
                                  .n_tokens = ev->n_tokens };
        return tell(t, &out);
}

/* ---- start -------------------------------------------------------------------------------------- */

/* What a turn is made of, before it runs. */
struct plan {
        const struct turn_req *req;
        struct engine_tokens prompt, prediction;
        enum reader_think think;
        struct grammar *grammar;
};

static void plan_release(struct plan *p)
{
        engine_tokens_release(&p->prompt);
        engine_tokens_release(&p->prediction);
        grammar_unref(p->grammar);
}

/* The tokens of the prompt, and the grammar. */
static int make_plan(struct plan *p, struct turn_err *err)
{
        const struct turn_req *req = p->req;
        const struct idiom *d = req->model->idiom;
        if (!req->messages)
                return 0;
        if (!d)
                return -ENOTSUP;
        int rc = prompt_tokens(req, d, &p->prompt, &p->think, err);
        err->prompt_tokens = p->prompt.n;
        if (!rc && p->prompt.n >= (size_t)req->model->n_ctx)
                rc = -E2BIG;
        struct format_vocab vocab = format_vocab_of(req->model->engine);
        if (!rc)
                rc = guide_make(req, d, &vocab, p->think, &p->grammar, err);
        if (!rc && req->prediction.n)
                rc = engine_tokenize(req->model->engine, req->prediction, 0, &p->prediction);
        return rc;
}

/* Output needs reading where it may be more than the answer. */
static int make_reader(struct turn *t, const struct plan *p)
{
        const struct turn_req *req = p->req;
        const struct idiom *d = req->model->idiom;
        struct reader_opts opts = { .idiom = d,
                                    .think = p->think,
                                    .calls = req->n_tools && req->choice != TURN_NONE,
                                    .guided = p->grammar != NULL,
                                    .tools = req->tools,
                                    .n_tools = req->n_tools,
                                    .stop = req->stop,
                                    .n_stop = req->n_stop,
                                    .tokens = req->logprobs >= 0 };
        if (!req->messages || (!d->reasons && !req->n_tools))
                return 0;
        t->reader = reader_new(&opts);
        return t->reader ? 0 : -ENOMEM;
}

static int submit(struct turn *t, const struct plan *p)
{
        const struct turn_req *req = p->req;
        struct engine_req e = { .prompt = req->messages ? p->prompt.p : req->tokens,
                                .n_prompt = req->messages ? p->prompt.n : req->n_tokens,
                                .max_tokens = req->max_tokens,
                                .sampling = req->sampling,
                                .stop = t->reader ? NULL : req->stop,
                                .n_stop = t->reader ? 0 : req->n_stop,
                                .logprobs = req->logprobs,
                                .prompt_logprobs = req->prompt_logprobs,
                                .records = t->reader != NULL,
                                .priority = req->priority,
                                .owner = req->owner,
                                .grammar = p->grammar,
                                .controls = t->reader != NULL,
                                .prediction = p->prediction.p,
                                .n_prediction = p->prediction.n,
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
        struct plan plan = { .req = req };
        err = err ? err : &unread;
        *err = (struct turn_err){ .prompt_tokens = req->n_tokens };
        int rc = model_hold(req->model, 0); /* until the last reference on the turn is gone */
        if (rc)
                return rc;
        struct turn *t = mem_calloc(1, sizeof(*t));
        if (!t) {
                model_release(req->model);
                return -ENOMEM;
        }
        atomic_init(&t->refs, 1);
        t->sink = *sink;
        t->model = req->model;
        t->fail_after = req->fail_after;
        rc = make_plan(&plan, err);
        if (!rc)
                rc = make_reader(t, &plan);
        if (!rc)
                rc = submit(t, &plan);
        plan_release(&plan);
        if (rc)
                turn_put(t);
        else
                *ret = t;
        return rc;
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
        enum reader_think think;
        err = err ? err : &unread;
        *err = (struct turn_err){ .prompt_tokens = req->n_tokens };
        if (!req->messages)
                return (long)req->n_tokens;
        if (!req->model->idiom)
                return -ENOTSUP;
        int rc = prompt_tokens(req, req->model->idiom, &tokens, &think, err);
        err->prompt_tokens = tokens.n;
        engine_tokens_release(&tokens);
        return rc ? rc : (long)err->prompt_tokens;
}
