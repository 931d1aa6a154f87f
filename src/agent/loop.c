#include "agent/loop.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "models/registry.h"

/* An answer is bounded by the context; this is far above any context here. */
#define TEXT_MAX ((size_t)64 << 20)
/* log(0) is no JSON number: OpenAI reports a token it deems impossible like this. */
#define LOGPROB_FLOOR (-9999.0)

struct agent_run {
        atomic_int refs; /* the caller's and the turn's */
        struct agent_sink sink;
        const struct model *model;
        struct turn *turn; /* set before agent_start returns; not used on the model's thread */
        struct buf text;
        json_t *logprobs;
        struct agent_outcome outcome;
        char error[256];
        bool begun;
        bool broken;      /* memory was out: what was gathered is not whole */
        atomic_bool held; /* the sink asked for a pause */
};

static void run_put(struct agent_run *run)
{
        if (atomic_fetch_sub(&run->refs, 1) != 1)
                return;
        turn_unref(run->turn);
        buf_release(&run->text);
        json_decref(run->logprobs);
        mem_free(run);
}

json_t *agent_token_text(struct str piece)
{
        if (str_is_utf8(piece))
                return json_strn(piece);
        struct buf text;
        buf_init(&text, 4096);
        for (size_t i = 0; i < piece.n; i++)
                buf_addf(&text, "\\x%02x", (unsigned char)piece.p[i]);
        json_t *v = json_strn(buf_str(&text));
        buf_release(&text);
        return v;
}

static json_t *token_object(struct str piece, float logprob)
{
        json_t *bytes = json_array();
        for (size_t i = 0; i < piece.n; i++)
                json_array_append_new(bytes, json_integer((unsigned char)piece.p[i]));
        double value = isfinite(logprob) ? (double)logprob : LOGPROB_FLOOR;
        return json_pack("{s:o, s:f, s:o}", "token", agent_token_text(piece), "logprob", value, "bytes",
                         bytes);
}

/* Token objects {token, logprob, bytes, top_logprobs} of the API: a new array. */
static json_t *logprob_list(const struct model *m, const struct engine_token *tokens, size_t n)
{
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
                json_t *token = token_object(tokens[i].piece, tokens[i].logprob), *top = json_array();
                for (int k = 0; k < tokens[i].n_top; k++) {
                        struct str piece = engine_token_piece(m->engine, tokens[i].top[k].id);
                        json_array_append_new(top, token_object(piece, tokens[i].top[k].logprob));
                }
                json_object_set_new(token, "top_logprobs", top);
                json_array_append_new(list, token);
        }
        return list;
}

/* The pause is noted before the sink is asked: a resume that comes before its answer is back ends it all the
 * same. */
static void tell(struct agent_run *run, const struct agent_event *ev)
{
        atomic_store(&run->held, true);
        if (run->sink.on_event(run->sink.ctx, run, ev))
                atomic_store(&run->held, false);
}

static void begin(struct agent_run *run)
{
        if (run->begun)
                return;
        run->begun = true;
        tell(run, &(struct agent_event){ .kind = AGENT_MESSAGE_BEGIN });
}

static void take_text(struct agent_run *run, const struct turn_event *ev)
{
        json_t *piece = NULL;
        begin(run);
        buf_add(&run->text, ev->text.p, ev->text.n);
        if (run->logprobs && ev->n_tokens) {
                piece = logprob_list(run->model, ev->tokens, ev->n_tokens);
                json_array_extend(run->logprobs, piece);
        }
        if (ev->text.n || piece)
                tell(run, &(struct agent_event){ .kind = AGENT_TEXT, .text = ev->text, .logprobs = piece });
        run->broken |= mem_take_failure();
        json_decref(piece);
}

static void take_done(struct agent_run *run, const struct turn_event *ev)
{
        run->outcome = (struct agent_outcome){ .finish = ev->finish, .usage = ev->usage };
        if (buf_error(&run->text) || run->broken)
                run->outcome.finish = ENGINE_ERROR;
        if (run->outcome.finish == ENGINE_ERROR) {
                snprintf(run->error, sizeof(run->error), "%s",
                         ev->error ? ev->error : "the answer does not fit into memory");
                run->outcome.error = run->error;
        } else {
                begin(run); /* an empty answer is a message too */
        }
        if (run->begun)
                tell(run, &(struct agent_event){ .kind = AGENT_MESSAGE_END });
        tell(run, &(struct agent_event){ .kind = AGENT_DONE });
}

static bool on_turn_event(void *ctx, const struct turn_event *ev)
{
        struct agent_run *run = ctx;
        if (ev->kind == TURN_DONE) {
                take_done(run, ev);
                run_put(run);
                return true;
        }
        if (atomic_load(&run->held) && !ev->last)
                return false;
        if (ev->kind == TURN_TEXT)
                take_text(run, ev);
        return true;
}

/* A copy of the messages without the `drop` oldest of those that may be dropped: no system message and not
 * the last. NULL when memory is out. */
static json_t *drop_oldest(const json_t *messages, size_t drop)
{
        size_t i, n = json_array_size(messages);
        json_t *left = json_array(), *m;
        json_array_foreach((json_t *)messages, i, m)
        {
                struct str role = json_str(m, "role");
                bool stays = i + 1 == n || str_eqc(role, "system") || str_eqc(role, "developer");
                if (drop && !stays)
                        drop--;
                else
                        json_array_append(left, m);
        }
        return left;
}

/* Whether the messages that can never be dropped fit. */
static bool least_fits(const struct turn_req *req)
{
        struct turn_req least = *req;
        json_t *kept = drop_oldest(req->messages, json_array_size(req->messages));
        least.messages = kept;
        long n = kept ? turn_count(&least, NULL) : -ENOMEM;
        json_decref(kept);
        return n >= 0 && n < req->model->n_ctx;
}

/* Starts with ever fewer messages until the prompt fits. Drops about a quarter of the rest at a time, so that
 * a long conversation takes few attempts; none when not even what must stay fits. */
static int start_truncated(struct agent_run *run, const struct turn_req *req, const struct turn_sink *sink,
                           struct turn_err *err)
{
        struct turn_req smaller = *req;
        int rc = turn_start(req, sink, &run->turn, err);
        if (rc != -E2BIG || !least_fits(req))
                return rc;
        json_t *messages = json_incref((json_t *)req->messages);
        while (rc == -E2BIG) {
                size_t n = json_array_size(messages);
                json_t *fewer = drop_oldest(messages, 1 + n / 4);
                json_decref(messages);
                messages = fewer;
                if (!fewer || json_array_size(fewer) == n)
                        break;
                smaller.messages = fewer;
                rc = turn_start(&smaller, sink, &run->turn, err);
        }
        json_decref(messages);
        return rc;
}

int agent_start(const struct agent_req *req, const struct agent_sink *sink, struct agent_run **ret,
                struct turn_err *err)
{
        struct agent_run *run = mem_calloc(1, sizeof(*run));
        if (!run)
                return -ENOMEM;
        atomic_init(&run->refs, 3); /* the caller, the turn, and this function while it runs */
        run->sink = *sink;
        run->model = req->turn.model;
        buf_init(&run->text, TEXT_MAX);
        run->logprobs = req->turn.logprobs >= 0 ? json_array() : NULL;
        struct turn_sink turn_sink = { on_turn_event, run };
        *ret = run; /* the first events may come before turn_start returns */
        int rc = req->truncate ? start_truncated(run, &req->turn, &turn_sink, err)
                               : turn_start(&req->turn, &turn_sink, &run->turn, err);
        if (rc) {
                atomic_store(&run->refs, 1);
                run->turn = NULL;
                *ret = NULL;
        }
        run_put(run);
        return rc;
}

void agent_cancel(struct agent_run *run)
{
        turn_cancel(run->turn);
}

void agent_resume(struct agent_run *run)
{
        atomic_store(&run->held, false);
        turn_resume(run->turn);
}

void agent_unref(struct agent_run *run)
{
        if (run)
                run_put(run);
}

struct str agent_text(const struct agent_run *run)
{
        return buf_str(&run->text);
}

const json_t *agent_logprobs(const struct agent_run *run)
{
        return run->logprobs;
}

const struct agent_outcome *agent_outcome(const struct agent_run *run)
{
        return &run->outcome;
}
