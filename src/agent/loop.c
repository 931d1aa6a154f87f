#include "agent/loop.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "base/mem.h"
#include "base/vec.h"
#include "models/registry.h"

/* An answer is bounded by the context; this is far above any context here. */
#define TEXT_MAX ((size_t)64 << 20)
/* log(0) is no JSON number: OpenAI reports a token it deems impossible like this. */
#define LOGPROB_FLOOR (-9999.0)
#define ID_HEX_DIGITS 48
#define CALL_ID_CHARS 24

struct agent_run {
        atomic_int refs; /* the caller's and the turn's */
        struct agent_sink sink;
        const struct model *model;
        struct turn *turn; /* set before agent_start returns; not used on the model's thread */
        struct VEC(struct agent_item *) items;
        struct agent_item *open; /* the item that is being said, the last of them; NULL: none */
        bool logprobs;           /* asked for */
        json_t *early;           /* logprobs of tokens whose text is still to come; NULL: none */
        struct agent_outcome outcome;
        char error[256];
        bool broken;      /* memory was out: what was gathered is not whole */
        atomic_bool held; /* the sink asked for a pause */
};

static void item_free(struct agent_item *item)
{
        buf_release(&item->text);
        json_decref(item->logprobs);
        mem_free(item->name);
        mem_free(item);
}

static void run_put(struct agent_run *run)
{
        if (atomic_fetch_sub(&run->refs, 1) != 1)
                return;
        turn_unref(run->turn);
        for (size_t i = 0; i < run->items.n; i++)
                item_free(run->items.p[i]);
        vec_release(&run->items);
        json_decref(run->early);
        mem_free(run);
}

/* ---- log probabilities ---- */

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

/* ---- items ---- */

/* The pause is noted before the sink is asked: a resume that comes before its answer is back ends it all the
 * same. */
static void tell(struct agent_run *run, const struct agent_event *ev)
{
        bool was = atomic_exchange(&run->held, true);
        if (run->sink.on_event(run->sink.ctx, run, ev) && !was)
                atomic_store(&run->held, false);
}

static void close_item(struct agent_run *run, bool whole)
{
        struct agent_item *item = run->open;
        if (!item)
                return;
        run->open = NULL;
        item->whole = whole;
        run->broken |= buf_error(&item->text) != 0;
        tell(run, &(struct agent_event){ .kind = AGENT_ITEM_END, .item = item });
}

static void name_item(struct agent_run *run, struct agent_item *item, const struct turn_event *ev)
{
        static const char *const prefixes[] = { [AGENT_REASONING] = "rs_", [AGENT_MESSAGE] = "msg_" };
        if (item->kind != AGENT_CALL) {
                id_hex(item->id, prefixes[item->kind], ID_HEX_DIGITS);
                return;
        }
        item->custom = ev->custom;
        item->call = run->outcome.calls++;
        item->name = mem_strndup(ev->name.p, ev->name.n);
        id_hex(item->id, ev->custom ? "ctc_" : "fc_", ID_HEX_DIGITS);
        id_alnum(item->call_id, "call_", CALL_ID_CHARS);
}

/* Opens an item; `ev` is the event that begins a call. NULL when memory is out: the run is broken then. */
static struct agent_item *open_item(struct agent_run *run, enum agent_item_kind kind,
                                    const struct turn_event *ev)
{
        close_item(run, true);
        struct agent_item *item = mem_calloc(1, sizeof(*item));
        if (!item || vec_push(&run->items, item)) {
                mem_free(item);
                run->broken = true;
                return NULL;
        }
        item->kind = kind;
        item->index = (int)run->items.n - 1;
        buf_init(&item->text, TEXT_MAX);
        if (kind == AGENT_MESSAGE && run->logprobs)
                item->logprobs = json_array();
        name_item(run, item, ev);
        run->open = item;
        tell(run, &(struct agent_event){ .kind = AGENT_ITEM_BEGIN, .item = item });
        return item;
}

static bool is_open(const struct agent_run *run, enum agent_item_kind kind)
{
        return run->open && run->open->kind == kind;
}

static struct agent_item *opened(struct agent_run *run, enum agent_item_kind kind)
{
        return is_open(run, kind) ? run->open : open_item(run, kind, NULL);
}

static void say(struct agent_run *run, struct agent_item *item, struct str text, json_t *logprobs)
{
        if (!item || (!text.n && !logprobs))
                return;
        buf_add(&item->text, text.p, text.n);
        tell(run,
             &(struct agent_event){ .kind = AGENT_DELTA, .item = item, .text = text, .logprobs = logprobs });
}

/* ---- events of the turn ---- */

/* The text of an answer and the tokens that it is made of, which may come before it: a message begins with
 * its first text. */
static void take_text(struct agent_run *run, const struct turn_event *ev)
{
        json_t *piece = run->early;
        run->early = NULL;
        if (run->logprobs && ev->n_tokens) {
                json_t *more = logprob_list(run->model, ev->tokens, ev->n_tokens);
                if (piece) {
                        json_array_extend(piece, more);
                        json_decref(more);
                } else {
                        piece = more;
                }
        }
        if (!ev->text.n && !is_open(run, AGENT_MESSAGE)) {
                run->early = piece;
                return;
        }
        struct agent_item *item = opened(run, AGENT_MESSAGE);
        if (item && piece)
                json_array_extend(item->logprobs, piece);
        say(run, item, ev->text, piece);
        json_decref(piece);
}

static void end_call(struct agent_run *run)
{
        struct agent_item *item = run->open;
        if (!is_open(run, AGENT_CALL))
                return;
        if (!item->text.n && !item->custom) /* arguments are an object, if an empty one */
                say(run, item, STR("{}"), NULL);
        close_item(run, true);
}

static void take_done(struct agent_run *run, const struct turn_event *ev)
{
        struct agent_outcome *out = &run->outcome;
        bool stopped = ev->finish == ENGINE_STOP;
        out->finish = ev->finish;
        out->usage = ev->usage;
        out->reasoning_tokens = ev->reasoning_tokens;
        bool silent = !run->items.n || (stopped && is_open(run, AGENT_REASONING));
        if (silent && ev->finish != ENGINE_ERROR)
                opened(run, AGENT_MESSAGE); /* an empty answer is a message too */
        close_item(run, stopped);
        if (run->broken)
                out->finish = ENGINE_ERROR;
        if (out->finish == ENGINE_ERROR) {
                snprintf(run->error, sizeof(run->error), "%s",
                         ev->error ? ev->error : "the answer does not fit into memory");
                out->error = run->error;
        }
        tell(run, &(struct agent_event){ .kind = AGENT_DONE });
}

static bool on_turn_event(void *ctx, const struct turn_event *ev)
{
        struct agent_run *run = ctx;
        if (ev->kind != TURN_DONE && !ev->last && atomic_load(&run->held))
                return false;
        switch (ev->kind) {
        case TURN_PROMPT:
                break;
        case TURN_TEXT:
                take_text(run, ev);
                break;
        case TURN_REASONING:
                say(run, opened(run, AGENT_REASONING), ev->text, NULL);
                break;
        case TURN_CALL_BEGIN:
                open_item(run, AGENT_CALL, ev);
                break;
        case TURN_CALL_INPUT:
                say(run, run->open, ev->text, NULL);
                break;
        case TURN_CALL_END:
                end_call(run);
                break;
        case TURN_DONE:
                take_done(run, ev);
                run_put(run);
                return true;
        }
        run->broken |= mem_take_failure();
        return true;
}

/* ---- starting ---- */

static bool has_role(const json_t *message, const char *role)
{
        return str_eqc(json_str(message, "role"), role);
}

/* The messages without the `drop` oldest that may go: no system message, and nothing of the last exchange,
 * which begins with the calls that the last messages answer. Results go with their calls. */
static json_t *without_oldest(const json_t *messages, size_t drop)
{
        size_t n = json_array_size(messages), last = n ? n - 1 : 0;
        bool call_gone = false;
        json_t *kept = json_array();
        while (last && has_role(json_array_get(messages, last), "tool"))
                last--;
        for (size_t i = 0; i < n; i++) {
                json_t *m = json_array_get(messages, i);
                bool stays = i >= last || has_role(m, "system") || has_role(m, "developer");
                bool orphan = call_gone && has_role(m, "tool");
                call_gone = !stays && (orphan || drop);
                if (call_gone)
                        drop -= drop && !orphan;
                else
                        json_array_append(kept, m);
        }
        return kept;
}

/* Whether the messages that can never be dropped fit. */
static bool least_fits(const struct turn_req *req)
{
        struct turn_req least = *req;
        json_t *kept = without_oldest(req->messages, json_array_size(req->messages));
        least.messages = kept;
        long n = kept ? turn_count(&least, NULL) : -ENOMEM;
        json_decref(kept);
        return n >= 0 && n < req->model->n_ctx;
}

/* Starts with ever fewer messages until the prompt fits. Drops about a quarter of the rest at a time, so that
 * a long conversation takes few attempts; none when not even what must stay fits. A template may refuse what
 * is left (an answer without its question, say): then more goes. */
static int start_truncated(struct agent_run *run, const struct turn_req *req, const struct turn_sink *sink,
                           struct turn_err *err)
{
        struct turn_req smaller = *req;
        int rc = turn_start(req, sink, &run->turn, err);
        if (rc != -E2BIG || err->field != TURN_ERR_OTHER || !least_fits(req))
                return rc;
        json_t *messages = json_incref((json_t *)req->messages);
        while (rc == -E2BIG || (rc == -EINVAL && err->field == TURN_ERR_MESSAGES)) {
                size_t n = json_array_size(messages);
                json_t *fewer = without_oldest(messages, 1 + n / 4);
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
        *err = (struct turn_err){ 0 };
        if (!run)
                return -ENOMEM;
        atomic_init(&run->refs, 3); /* the caller, the turn, and this function while it runs */
        run->sink = *sink;
        run->model = req->turn.model;
        run->logprobs = req->turn.logprobs >= 0;
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

size_t agent_items(const struct agent_run *run)
{
        return run->items.n;
}

const struct agent_item *agent_item(const struct agent_run *run, size_t i)
{
        return run->items.p[i];
}

const struct agent_outcome *agent_outcome(const struct agent_run *run)
{
        return &run->outcome;
}

json_t *agent_said(const struct agent_run *run, enum agent_item_kind kind)
{
        const struct agent_item *only = NULL;
        struct buf joined; /* used from the second item on */
        size_t found = 0;
        buf_init(&joined, 4 * TEXT_MAX);
        for (size_t i = 0; i < run->items.n; i++) {
                const struct agent_item *item = run->items.p[i];
                if (item->kind != kind)
                        continue;
                if (++found == 2)
                        buf_add(&joined, only->text.p, only->text.n);
                if (found > 1)
                        buf_add(&joined, item->text.p, item->text.n);
                only = item;
        }
        json_t *v = NULL;
        if (found && !buf_error(&joined))
                v = json_strn(found == 1 ? buf_str(&only->text) : buf_str(&joined));
        buf_release(&joined);
        return v;
}
