#include "api/compact_run.h"

#include <errno.h>
#include <string.h>
#include "agent/loop.h"
#include "api/api.h"
#include "api/compact.h"
#include "base/mem.h"
#include "base/pool.h"
#include "models/registry.h"

#define SUMMARY_TOKENS_MIN 64
#define SUMMARY_TOKENS_MAX 1024
#define BYTES_PER_TOKEN 3 /* a first guess; what does not fit is tried again with less */
#define CHUNK_MIN 256     /* bytes; a model that cannot take so much cannot summarise */
#define TURNS_MAX 64      /* the oldest of what would take more is left out */
#define TEXT_MAX ((size_t)16 << 20)

#define ROLE                                                                                                \
        "You write notes on a conversation between a user and an assistant, from which the assistant will " \
        "go "                                                                                               \
        "on without having the conversation itself. Reply with the notes alone."
#define TASK                                                                                                \
        "Write the notes. Keep what the user wants and how, decisions and their reasons, facts, names, "    \
        "numbers, file names and identifiers exactly as they were written, results of tools that still "    \
        "matter, what has been done and what is still open. Leave out greetings and what no longer holds. " \
        "Use at most %d words."

struct compaction {
        struct req *r;
        struct turn_req turn;
        char *instructions;
        enum compact_covers covers;
        struct compact_plan plan;
        size_t next, end;      /* entries: the first that no turn has had; behind those that this one has */
        size_t chunk_bytes;    /* of entries that one turn is given */
        json_t *notes;         /* a string; NULL: none yet */
        struct agent_run *run; /* the turn; of whichever thread is at it */
        atomic_int left;       /* of the turn: its start and its end */
        struct pool_task task;
        compaction_done_fn *done;
        void *ctx;
        pthread_mutex_t lock; /* guards the two below, against compaction_cancel() */
        struct agent_run *running;
        bool cancelled;
        int rc;
        struct engine_usage usage;
        int reasoning;
};

/* ---- one turn ---- */

/* Behind the entries that a turn is given: at least one. */
static size_t chunk_end(const struct compaction *c)
{
        size_t bytes = 0, i = c->next, n = json_array_size(c->plan.entries);
        while (i < n && (i == c->next || bytes < c->chunk_bytes))
                bytes += json_string_length(json_array_get(c->plan.entries, i++)) + 1;
        return i > c->next + 1 && bytes > c->chunk_bytes ? i - 1 : i;
}

static void add_text(struct buf *out, struct str s, size_t max)
{
        s.n = s.n <= max ? s.n : str_utf8_complete((struct str){ s.p, max });
        buf_add(out, s.p, s.n);
        buf_addc(out, '\n');
}

static json_t *messages(const struct compaction *c)
{
        struct buf role, task;
        buf_init(&role, TEXT_MAX);
        buf_init(&task, TEXT_MAX);
        buf_adds(&role, ROLE);
        if (c->instructions)
                buf_addf(&role, "\n\nThe assistant works under these instructions:\n%s", c->instructions);
        if (c->notes) {
                buf_adds(&task, "The notes so far:\n");
                add_text(&task, json_as_str(c->notes), c->chunk_bytes);
                buf_adds(&task, "\nThe conversation goes on:\n");
        } else {
                buf_adds(&task, "The conversation:\n");
        }
        for (size_t i = c->next; i < c->end; i++)
                add_text(&task, json_as_str(json_array_get(c->plan.entries, i)), c->chunk_bytes);
        buf_adds(&task, "\n");
        buf_addf(&task, TASK, c->turn.max_tokens / 2);
        bool whole = !buf_error(&role) && !buf_error(&task);
        json_t *v = whole ? json_pack("[{s:s, s:o}, {s:s, s:o}]", "role", "system", "content",
                                      json_strn(buf_str(&role)), "role", "user", "content",
                                      json_strn(buf_str(&task)))
                          : NULL;
        buf_release(&role);
        buf_release(&task);
        return v;
}

static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev);

/* Starts a turn over the next entries, fewer and fewer until they fit. */
static int start_turn(struct compaction *c)
{
        struct agent_sink sink = { on_event, c };
        int rc = -E2BIG;
        while (rc == -E2BIG && c->chunk_bytes >= CHUNK_MIN) {
                struct agent_req req = { .turn = c->turn };
                struct turn_err why = { 0 };
                c->end = chunk_end(c);
                json_t *said = messages(c);
                req.turn.messages = said;
                rc = said ? agent_start(&req, &sink, &c->run, &why) : -ENOMEM;
                json_decref(said);
                if (rc == -E2BIG)
                        c->chunk_bytes -= c->chunk_bytes / 3;
        }
        return rc;
}

/* ---- from turn to turn ---- */

static void finish(struct compaction *c, int rc)
{
        c->rc = rc;
        c->done(c->ctx, c);
}

/* So many entries that TURNS_MAX turns would not be through with them are left out, oldest first. */
static size_t first_entry(const struct compaction *c)
{
        size_t bytes = 0, i = json_array_size(c->plan.entries);
        while (i > 0 && bytes < c->chunk_bytes * TURNS_MAX)
                bytes += json_string_length(json_array_get(c->plan.entries, --i)) + 1;
        return i;
}

static void step(void *ctx);

/* A turn is over when it was started and has ended, in whatever order that is noticed. */
static void turn_part_over(struct compaction *c)
{
        if (atomic_fetch_sub(&c->left, 1) != 1)
                return;
        c->task = (struct pool_task){ .fn = step, .arg = c };
        pool_push(c->r->api->slow, &c->task);
}

static void publish(struct compaction *c, struct agent_run *run)
{
        pthread_mutex_lock(&c->lock);
        c->running = run;
        if (run && c->cancelled)
                agent_cancel(run);
        pthread_mutex_unlock(&c->lock);
}

static bool is_cancelled(struct compaction *c)
{
        pthread_mutex_lock(&c->lock);
        bool cancelled = c->cancelled;
        pthread_mutex_unlock(&c->lock);
        return cancelled;
}

static size_t digest_bytes(const struct compaction *c)
{
        return (size_t)c->turn.max_tokens * BYTES_PER_TOKEN;
}

/* Adds a digest of the entries from `from` on to the notes. */
static void add_digest(struct compaction *c, size_t from)
{
        json_t *digest = compact_digest(c->plan.entries, from, c->end, digest_bytes(c));
        struct str before = json_as_str(c->notes), more = json_as_str(digest);
        struct buf text;
        buf_init(&text, TEXT_MAX);
        add_text(&text, before, TEXT_MAX);
        buf_add(&text, more.p, more.n);
        json_t *notes = digest && !buf_error(&text) ? json_strn(buf_str(&text)) : NULL;
        json_decref(digest);
        buf_release(&text);
        if (!notes) {
                c->rc = -ENOMEM;
                return;
        }
        json_decref(c->notes);
        c->notes = notes;
}

/* Takes the notes of the turn that has ended. Without any, the entries go into them as a digest. */
static void take_notes(struct compaction *c)
{
        const struct agent_outcome *out = agent_outcome(c->run);
        json_t *said = agent_said(c->run, AGENT_MESSAGE);
        struct str text = str_trim(json_as_str(said));
        size_t from = c->next;
        c->usage.prompt_tokens += out->usage.prompt_tokens;
        c->usage.cached_tokens += out->usage.cached_tokens;
        c->usage.completion_tokens += out->usage.completion_tokens;
        c->reasoning += out->reasoning_tokens;
        if (out->finish == ENGINE_ERROR)
                c->rc = -EIO;
        if (out->finish == ENGINE_STOP || out->finish == ENGINE_LENGTH)
                c->next = c->end;
        if (text.n) {
                json_decref(c->notes);
                c->notes = json_incref(said);
        } else if (c->next == c->end) {
                add_digest(c, from);
        }
        json_decref(said);
}

static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        (void)run;
        if (ev->kind == AGENT_DONE)
                turn_part_over(ctx);
        return true;
}

/* The next turn, or the end. Worker threads. */
static void step(void *ctx)
{
        struct compaction *c = ctx;
        mem_take_failure(); /* of this thread's earlier work */
        if (c->run)
                take_notes(c);
        publish(c, NULL);
        agent_unref(c->run);
        c->run = NULL;
        if (c->rc || is_cancelled(c) || c->next >= json_array_size(c->plan.entries)) {
                finish(c, c->rc ? c->rc : is_cancelled(c) ? -ECANCELED : 0);
                return;
        }
        atomic_store(&c->left, 2);
        int rc = start_turn(c);
        if (rc == 0) {
                publish(c, c->run);
                turn_part_over(c);
                return;
        }
        bool refused = rc == -E2BIG || rc == -EINVAL || rc == -ENOTSUP;
        finish(c, refused ? 0 : rc); /* a model that cannot do it: the digest will do */
}

/* ---- the whole ---- */

int compaction_start(struct req *r, const struct compaction_req *q, compaction_done_fn *done, void *ctx,
                     struct compaction **ret)
{
        int n_ctx = q->turn->model->n_ctx, room = q->room > 0 && q->room < n_ctx ? q->room : n_ctx;
        int tokens = room / 4;
        struct compaction *c = mem_calloc(1, sizeof(*c));
        *ret = NULL;
        if (!c)
                return -ENOMEM;
        tokens = tokens < SUMMARY_TOKENS_MIN   ? SUMMARY_TOKENS_MIN
                 : tokens > SUMMARY_TOKENS_MAX ? SUMMARY_TOKENS_MAX
                                               : tokens;
        c->turn = (struct turn_req){ .model = q->turn->model,
                                     .sampling = ENGINE_SAMPLING_DEFAULT,
                                     .effort = TURN_EFFORT_NONE,
                                     .max_tokens = tokens,
                                     .logprobs = -1,
                                     .priority = q->turn->priority,
                                     .owner = q->turn->owner };
        c->turn.sampling.temperature = 0;
        c->covers = q->covers;
        c->chunk_bytes = (size_t)(n_ctx > 2 * tokens ? n_ctx - 2 * tokens : tokens) * BYTES_PER_TOKEN;
        c->done = done;
        c->ctx = ctx;
        c->r = r;
        req_ref(r);
        pthread_mutex_init(&c->lock, NULL);
        c->instructions = q->instructions.n ? mem_strndup(q->instructions.p, q->instructions.n) : NULL;
        int rc = compact_plan_make(q->items, q->covers, (size_t)room / 4 * BYTES_PER_TOKEN, &c->plan);
        if (rc || (q->instructions.n && !c->instructions)) {
                compaction_free(c);
                return -ENOMEM;
        }
        if (!q->always && !json_array_size(c->plan.entries)) {
                compaction_free(c);
                return -ENODATA;
        }
        c->next = first_entry(c);
        *ret = c;
        step(c);
        return 0;
}

void compaction_cancel(struct compaction *c)
{
        pthread_mutex_lock(&c->lock);
        c->cancelled = true;
        if (c->running)
                agent_cancel(c->running);
        pthread_mutex_unlock(&c->lock);
}

void compaction_free(struct compaction *c)
{
        if (!c)
                return;
        struct req *r = c->r;
        compact_plan_release(&c->plan);
        json_decref(c->notes);
        mem_free(c->instructions);
        pthread_mutex_destroy(&c->lock);
        mem_free(c);
        req_unref(r);
}

json_t *compaction_result(struct compaction *c, int *ret_rc)
{
        *ret_rc = c->rc;
        if (c->rc)
                return NULL;
        size_t n = json_array_size(c->plan.entries);
        json_t *notes = c->notes && c->next >= n ? json_incref(c->notes)
                                                 : compact_digest(c->plan.entries, 0, n, digest_bytes(c));
        json_t *item = notes ? compaction_seal(c->r, c->covers, notes, c->plan.kept) : NULL;
        json_decref(notes);
        if (!item)
                *ret_rc = -ENOMEM;
        return item;
}

const struct engine_usage *compaction_usage(const struct compaction *c, int *ret_reasoning)
{
        *ret_reasoning = c->reasoning;
        return &c->usage;
}
