/* The worker of background responses: runs the turn of a job and writes its log to the end. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/conversation.h"
#include "api/durable.h"
#include "api/meter.h"
#include "api/params.h"
#include "api/response_background.h"
#include "api/response_feed.h"
#include "api/response_writer.h"
#include "api/stored.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

#define OPERATION "createResponse"
#define TRIES_MAX 3         /* attempts in a row that brought nothing new */
#define RETRY_MS 500        /* after one that failed, doubled with each */
#define BUSY_MS 500         /* until the model can be asked again */
#define NOT_WRITTEN_MS 5000 /* after an end that could not be committed */

#define KEY_COMPACTION "compaction" /* of the document: what the compaction in the log took */

struct background {
        struct response p; /* first */
        struct api *api;
        struct job_run *job;
        struct background_state state;
        json_t *payload;
        int tries;     /* attempts before this one that brought nothing new */
        int64_t begin; /* sequence number at which this one began */
        struct writer writer;
        bool writing, watching;
        struct log_batch rest; /* events behind the last commit of the writer */
        bool closed;           /* the writer is: events go to `rest` */
        atomic_bool broken;    /* an event could not be kept: the run is worth nothing */
        bool ended_item;       /* in the event that is being taken */
};

/* ---- the parts ---- */

/* Nobody waits for the reply. */
static void no_reply(void *ctx, struct req *r, int status, const json_t *body)
{
        (void)ctx;
        (void)r;
        (void)status;
        (void)body;
}

static const struct req_sink no_sink = { .reply = no_reply };

static void background_free(struct gen *g)
{
        struct background *b = (struct background *)g;
        if (b->writing)
                writer_release(&b->writer);
        log_batch_release(&b->rest);
        background_release(&b->state);
        json_decref(b->payload);
        response_release(&b->p);
        mem_free(b);
}

/* The job must not go on, or its response is not its any more. Any thread. */
static void give_up(void *ctx)
{
        struct background *b = ctx;
        req_abort(b->p.gen.r);
}

static void on_room(void *ctx)
{
        struct background *b = ctx;
        response_resume_run(&b->p.gen);
}

/* ---- events ---- */

static bool to_log(struct response *p, const char *type, json_t *data)
{
        struct background *b = (struct background *)p;
        struct schema_err why;
        int rc = data && !mem_take_failure() ? 0 : -ENOMEM;
        if (rc == 0 && p->gen.r->check && contract_check_event(p->gen.r->op, type, data, &why))
                req_violation(p->gen.r, type, &why);
        if (rc == 0 && !atomic_load(&b->broken))
                rc = b->closed ? log_batch_add(&b->rest, data) : writer_add(&b->writer, data);
        json_decref(data);
        if (rc && !atomic_exchange(&b->broken, true) && !b->closed)
                give_up(b);
        return true;
}

static const struct response_out log_out = { to_log };

/* What was sent belongs together: it is committed as one, with the response as it is now where a poll is to
 * see a difference. False asks for a pause. */
static bool group_done(struct background *b, bool changed)
{
        json_t *object = changed ? response_object(&b->p, "in_progress", true) : NULL;
        json_t *doc = object ? response_document(&b->p, object) : NULL;
        json_t *spent = doc ? response_compaction_spent(&b->p) : NULL;
        if (spent)
                json_object_set_new(doc, KEY_COMPACTION, spent);
        bool more = writer_ready(&b->writer, doc);
        json_decref(doc);
        json_decref(object);
        return more;
}

static void keep_item(void *ctx, json_t *ended)
{
        struct background *b = ctx;
        json_array_append(b->p.output, ended);
}

static bool take_event(void *ctx, const struct agent_event *ev)
{
        struct background *b = ctx;
        b->ended_item |= ev->kind == AGENT_ITEM_END;
        return response_take(&b->p, ev);
}

static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct background *b = ctx;
        struct replay_sink sink = { keep_item, take_event, b };
        (void)run;
        b->ended_item = false;
        int64_t before = b->p.sequence;
        bool more = replay_event(&b->state.replay, ev, &sink);
        if (b->p.sequence != before)
                more = group_done(b, b->ended_item) && more;
        if (ev->kind == AGENT_DONE)
                gen_done(&b->p.gen, 1);
        return more;
}

/* The compaction is shown: a run that repeats this one will not make it again, but has to say what it took.
 */
static void compacted(struct response *p)
{
        group_done((struct background *)p, true);
}

static json_t *logged_item(struct response *p, const char *type)
{
        struct background *b = (struct background *)p;
        struct replay_sink sink = { keep_item, take_event, b };
        return replay_whole_item(&b->state.replay, type, &sink);
}

/* ---- the end ---- */

/* Puts the job down for some time, to be repeated. `counts`: as an attempt that failed. */
static void put_down(struct background *b, int64_t wait_ms, bool counts)
{
        struct store_fault fault = { 0 };
        int64_t version;
        size_t n;
        if (b->writing && !b->closed) { /* its timer and its commit must not find b gone */
                writer_close(&b->writer, &b->rest, &version);
                b->closed = true;
        }
        json_object_set_new(b->payload, "tries", json_integer(counts ? b->tries : b->tries - 1));
        json_object_set_new(b->payload, "seen", json_integer((json_int_t)b->begin));
        char *text = json_text(b->payload, &n);
        int64_t due = wait_ms ? clock_unix_us() / 1000 + wait_ms : 0;
        meter_wrote(b->p.gen.r); /* nobody pays for what is done again */
        int rc = job_retry(b->job, due, (struct str){ text, n }, NULL, 0, &fault);
        if (rc && rc != -ESTALE)
                job_lost(b->job);
        mem_free(text);
}

static int64_t retry_wait(const struct background *b)
{
        return (int64_t)RETRY_MS << (b->tries > 0 ? b->tries : 0);
}

/* Ends the job with the operations; what was reserved for it is settled with that. Errors as of job_finish().
 */
static int end_job(struct background *b, const struct store_op *ops, size_t n, struct store_fault *fault)
{
        const json_t *reserved = json_object_get(b->payload, "reserved");
        meter_settle(b->api, b->state.project, reserved, b->p.gen.r);
        int rc = job_finish(b->job, ops, n, fault);
        if (rc)
                meter_unsettle(b->api, b->state.project, reserved, b->p.gen.r);
        return rc;
}

/* Ends the job of a response that is cancelled or deleted, with the record of what it used. */
static void quit(struct background *b)
{
        struct store_op usage;
        size_t n = meter_op(b->p.gen.r, &usage);
        int rc = end_job(b, &usage, n, NULL);
        if (rc == 0)
                meter_wrote(b->p.gen.r); /* else it is still due, and written alone */
        else if (rc != -ESTALE)
                job_lost(b->job);
}

/* The response is deleted or cancelled, or another process works on it; or a commit of our own was done that
 * the store said had failed. In the latter cases whoever has the job looks again. */
static void leave(struct background *b)
{
        bool over = false, stopping = job_stopping(b->job);
        int rc = background_look(b->api->store, b->state.id, b->state.project, &over);
        if (rc == -ENOENT || over)
                quit(b);
        else
                put_down(b, stopping ? 0 : BUSY_MS, !stopping);
}

/* The end is committed, or it could not be: rc. `elsewhere`: because of the conversation. */
static void after_end(struct background *b, int rc, bool elsewhere, const struct store_fault *fault)
{
        if (rc == 0) {
                meter_wrote(b->p.gen.r);
                if (b->p.held)
                        conversation_appended(b->p.held);
        } else if (elsewhere && rc == -EALREADY) { /* the turn has to follow on what it has become */
                put_down(b, BUSY_MS, false);
        } else if (!elsewhere && (rc == -ENOENT || rc == -EALREADY || rc == -EEXIST)) {
                leave(b);
        } else if (rc != -ESTALE) {
                log_warn("background", "%s: %s", b->state.id, *fault->msg ? fault->msg : strerror(-rc));
                put_down(b, elsewhere ? retry_wait(b) : NOT_WRITTEN_MS, true);
        }
}

/* The operations that append to its conversation what is completed, or incomplete; none for others. */
static int append_ops(struct background *b, const json_t *object, const struct store_op **ret, size_t *ret_n)
{
        if (!b->p.held || !json_get(object, "usage"))
                return 0;
        int rc = fault_at("response.append");
        return rc ? rc : conversation_append(b->p.held, b->p.input, b->p.output, ret, ret_n);
}

/* Commits the end with the job's; consumes the object. */
static void finish_as(struct background *b, json_t *object, int64_t version)
{
        struct req *r = b->p.gen.r;
        json_t *doc = object ? response_document(&b->p, object) : NULL;
        struct background_end end = { &b->state.owner, version, doc, &b->rest };
        struct store_fault fault = { 0 };
        struct log_rows rows = { 0 };
        struct store_op usage;
        const struct store_op *kept = NULL;
        size_t n_kept = 0;
        struct op_list l;
        response_send_closing(&b->p, json_incref(object));
        op_list_init(&l);
        int rc = atomic_load(&b->broken) ? -ENOMEM : background_end_ops(r, &end, &l, &rows);
        if (meter_op(r, &usage))
                op_list_add(&l, &usage, 1);
        size_t own = l.ops.n;
        int appended = append_ops(b, object, &kept, &n_kept);
        op_list_add(&l, kept, n_kept);
        if (rc == 0)
                rc = appended ? appended : mem_take_failure() ? -ENOMEM : l.err;
        if (rc == 0)
                rc = end_job(b, l.ops.p, l.ops.n, &fault);
        bool elsewhere = appended || (rc && n_kept && fault.op >= own);
        if (elsewhere && rc == -ENOENT) { /* the conversation is gone */
                rc = end_job(b, l.ops.p, own, &fault);
                elsewhere = false;
        }
        after_end(b, rc, elsewhere, &fault);
        op_list_release(&l);
        log_rows_release(&rows);
        json_decref(doc);
        json_decref(object);
}

/* The turn could not follow on the compaction: the prompt is too long even so. */
static void finish_refused(struct background *b, int64_t version)
{
        json_t *object = response_object(&b->p, "failed", true);
        response_set_state(object, "failed", b->p.output, "invalid_prompt", b->p.late.msg);
        finish_as(b, object, version);
}

static void background_finish(struct gen *g)
{
        struct background *b = (struct background *)g;
        const struct agent_outcome out = response_outcome(&b->p);
        int64_t version;
        feeds_unwatch_over(b->api->feeds, b->state.id);
        int rc = writer_close(&b->writer, &b->rest, &version);
        b->closed = true;
        bool said = out.finish == ENGINE_STOP || out.finish == ENGINE_LENGTH;
        bool failed = out.finish == ENGINE_ERROR && !atomic_load(&b->broken);
        bool new = b->p.sequence > b->begin;
        if (rc == -ESTALE || rc == -ENOENT || rc == -EEXIST)
                leave(b);
        else if (rc == 0 && b->p.late.status >= 400 && b->p.late.status < 500)
                finish_refused(b, version);
        else if (rc == 0 && said && !atomic_load(&b->broken))
                finish_as(b, response_object(&b->p, NULL, true), version);
        else if (!job_stopping(b->job) && failed && !new && b->tries + 1 >= TRIES_MAX)
                finish_as(b, response_object(&b->p, "failed", true), version);
        else if (out.finish == ENGINE_CANCELLED)
                leave(b);
        else
                put_down(b, job_stopping(b->job) ? 0 : retry_wait(b), true);
}

static const struct gen_ops background_ops = { .cancel = response_cancel_run,
                                               .resume = response_resume_run,
                                               .usage = response_usage,
                                               .finish = background_finish,
                                               .free = background_free };

/* ---- the start ---- */

/* Fails a response whose run cannot begin. */
static void refuse(struct background *b, const char *code, const char *message)
{
        json_t *object = json_object_get(b->state.doc, "object");
        int64_t version = b->state.version;
        if (b->writing) {
                int rc = writer_close(&b->writer, &b->rest, &version);
                b->closed = true;
                if (rc == -ESTALE || rc == -ENOENT || rc == -EEXIST) {
                        leave(b);
                        return;
                }
        } else {
                log_batch_init(&b->rest, b->p.sequence);
                b->closed = true;
        }
        b->p.out = &log_out;
        if (!b->p.output)
                b->p.output = json_array();
        if (!b->p.input)
                b->p.input =
                        json_keep(b->p.gen.r->arena, json_incref(json_object_get(b->state.doc, "input")));
        background_close_items(&b->p, &b->state.replay);
        response_set_state(object, "failed", b->p.output, code, message);
        finish_as(b, json_incref(object), version);
}

/* What a refusal of the request or the model means to a response that was accepted: that it waits, that it is
 * tried again, or that it ends. */
static void refused(struct background *b, const struct api_err *e)
{
        bool locked = e->code && !strcmp(e->code, "conversation_locked"); /* it waits for its turn */
        if (e->status == 429 || e->status == 503 || locked)
                put_down(b, e->retry_after_ms > BUSY_MS ? e->retry_after_ms : BUSY_MS, false);
        else if (e->status >= 500)
                put_down(b, retry_wait(b), true);
        else
                refuse(b, "invalid_prompt", e->msg);
}

/* The request on whose behalf it runs. The body is that of the client, the input what it was found to be. */
static int make_req(struct background *b)
{
        size_t n;
        struct req *r = req_new(b->api, NULL);
        if (!r)
                return -ENOMEM;
        json_t *body = json_keep(r->arena, json_copy(json_object_get(b->payload, "body")));
        r->op = contract_operation(OPERATION);
        r->route = b->api->routes[r->op - contract_operations(&n)];
        r->sink = &no_sink;
        r->call_flags = CALL_ADMITTED;
        r->body = body;
        r->query = json_keep(r->arena, json_object());
        r->fail_after = (int)json_int(b->payload, "fail_after", 0);
        principal_read(json_object_get(b->payload, "who"), &r->who);
        snprintf(r->id, sizeof(r->id), "%s", json_cstr(b->payload, "request", ""));
        int rc = body && r->query ? json_object_set(body, "input", json_object_get(b->state.doc, "input"))
                                  : -1;
        if (rc == 0)
                gen_init(&b->p.gen, &background_ops, r, 1); /* takes a reference */
        req_unref(r);
        return rc ? -ENOMEM : 0;
}

/* Counts the attempts that brought nothing. What makes the server die must not do so for ever. */
static int count_attempt(struct background *b)
{
        int64_t next = b->state.replay.next, seen = json_int(b->payload, "seen", 0);
        int before = (int)json_int(b->payload, "tries", 0);
        b->begin = next;
        b->tries = next > seen ? 0 : before + 1;
        if (job_of(b->job)->attempt <= 1) {
                b->tries = 0;
                return 0;
        }
        json_object_set_new(b->payload, "tries", json_integer(b->tries));
        json_object_set_new(b->payload, "seen", json_integer((json_int_t)next));
        size_t n;
        char *text = json_text(b->payload, &n);
        int rc = text ? job_save(b->job, (struct str){ text, n }, NULL, 0, NULL) : -ENOMEM;
        mem_free(text);
        return rc;
}

/* Begins to write, and says that the response is in progress unless the log does already. */
static int begin_log(struct background *b)
{
        struct writer_start s = { .store = b->api->store,
                                  .feeds = b->api->feeds,
                                  .owner = b->state.owner,
                                  .job = job_of(b->job),
                                  .kind = RESOURCE_RESPONSE.kind,
                                  .next = b->state.replay.next,
                                  .version = b->state.version,
                                  .ops = { give_up, on_room, b } };
        b->p.sequence = s.next;
        b->p.out = &log_out;
        writer_init(&b->writer, &s);
        b->writing = true;
        if (!b->state.replay.begun) {
                response_send_state(&b->p, "response.in_progress",
                                    response_object(&b->p, "in_progress", false));
                group_done(b, true);
        }
        int rc = feeds_watch_over(b->api->feeds, b->state.id, give_up, b);
        b->watching = rc == 0;
        return rc;
}

/* Starts the turn. 0, or -1 with *e. */
static int start_turn(struct background *b, struct api_err *e)
{
        struct req *r = b->p.gen.r;
        struct response_ask ask = { .items.input = json_object_get(b->state.doc, "input") };
        struct agent_sink sink = { on_event, b };
        if (meter_open(r, e) || response_hold(r, b->state.id, &ask.held, e))
                return -1;
        if (response_read(r, &ask, e)) {
                conversation_release(ask.held);
                return -1;
        }
        if (response_init(&b->p, r, &ask))
                return err_internal(e, -ENOMEM, "response", "");
        snprintf(b->p.id, sizeof(b->p.id), "%s", b->state.id);
        b->p.created = b->state.owner.created;
        b->p.obfuscate = false; /* the log has no padding: each stream adds it */
        ask.turn.sampling.has_seed = true;
        ask.turn.sampling.seed = (uint64_t)json_int(b->payload, "seed", 0);
        int rc = begin_log(b);
        if (rc)
                return err_internal(e, rc, "response", "");
        b->p.logged = logged_item;
        b->p.compacted = compacted;
        response_compaction_was(&b->p, json_object_get(b->state.doc, KEY_COMPACTION));
        return response_run(&b->p, &ask, &sink, e);
}

/* Runs a response that is as it should be. b is the gen's afterwards. */
static void run_response(struct background *b)
{
        struct api_err e = { 0 };
        int rc = start_turn(b, &e);
        if (rc) {
                if (b->watching)
                        feeds_unwatch_over(b->api->feeds, b->state.id);
                if (job_stopping(b->job))
                        put_down(b, 0, false);
                else
                        refused(b, &e);
                gen_reject(&b->p.gen, &(struct reply){ 0 }, 1);
        }
        gen_started(&b->p.gen, rc);
}

/* Reads what the job is about. 0, or a negative errno: -ENOENT when there is nothing to be done (any more).
 */
static int load(struct background *b, struct store_fault *fault)
{
        const struct job *job = job_of(b->job);
        struct json_fault why;
        b->payload = json_parse(job->payload, STORE_DOC_DEPTH, &why);
        if (!b->payload && why.no_memory)
                return -ENOMEM;
        int rc = background_load(b->api->store, job->id, job->project, &b->state, fault);
        if (rc == 0 && background_is_over(&b->state))
                rc = -ENOENT;
        if (rc)
                return rc;
        b->p.sequence = b->state.replay.next;
        return b->payload ? count_attempt(b) : -EBADMSG;
}

static void run_job(void *ctx, struct job_run *job)
{
        struct background *b = mem_calloc(1, sizeof(*b));
        struct store_fault fault = { 0 };
        int rc = b ? 0 : -ENOMEM;
        if (rc == 0) {
                b->api = ctx;
                b->job = job;
                atomic_init(&b->broken, false);
                rc = load(b, &fault);
        }
        if (rc == 0)
                rc = make_req(b);
        if (rc == 0) {
                job_set_data(job, b);
                if (job_stopping(job)) /* stop_job() may have come before */
                        give_up(b);
                if (b->tries >= TRIES_MAX) {
                        refuse(b, NULL, "The server failed repeatedly while it worked on the response.");
                        gen_reject(&b->p.gen, &(struct reply){ 0 }, 1);
                        gen_started(&b->p.gen, -1);
                } else {
                        run_response(b);
                }
                return;
        }
        if (rc == -ENOENT || rc == -EBADMSG) { /* nothing can be done, now or later */
                if (rc == -EBADMSG)
                        log_error("background", "the response %s is damaged", job_of(job)->id);
                rc = end_job(b, NULL, 0, NULL);
        } else if (rc != -ESTALE) {
                log_warn("background", "%s: %s", job_of(job)->id, *fault.msg ? fault.msg : strerror(-rc));
                rc = job_retry(job, clock_unix_us() / 1000 + NOT_WRITTEN_MS, (struct str){ 0 }, NULL, 0,
                               NULL);
        }
        if (rc && rc != -ESTALE)
                job_lost(job);
        if (b)
                background_free(&b->p.gen);
}

static void stop_job(void *ctx, struct job_run *job)
{
        struct background *b = job_data(job);
        (void)ctx;
        if (b)
                give_up(b);
}

/* ---- the family ---- */

static int open_family(struct api *api, struct durable_list *list)
{
        int rc = feeds_start(api);
        if (rc == 0)
                list->workers[list->n++] = (struct job_worker){ .kind = JOB_RESPONSE,
                                                                .at_once = api->options.background,
                                                                .run = run_job,
                                                                .stop = stop_job,
                                                                .ctx = api };
        return rc;
}

const struct durable_family DURABLE_RESPONSES = { "responses", open_family, feeds_stop };
