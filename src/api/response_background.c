#include "api/response_background.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "api/input.h"
#include "api/meter.h"
#include "api/params.h"
#include "api/response_feed.h"
#include "api/stored.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "jobs/webhook.h"

#define CANCEL_ATTEMPTS 64 /* each is lost only to a commit of the run */

/* ---- a response whose events go into a batch ---- */

struct closing {
        struct response p; /* first */
        struct log_batch events;
        int err;
};

static bool to_batch(struct response *p, const char *type, json_t *data)
{
        struct closing *c = (struct closing *)p;
        struct schema_err why;
        int rc = mem_take_failure() ? -ENOMEM : log_batch_add(&c->events, data);
        if (rc == 0 && p->gen.r->check &&
            contract_check_event(contract_operation("createResponse"), type, data, &why))
                req_violation(p->gen.r, type, &why);
        if (rc && !c->err)
                c->err = rc;
        json_decref(data);
        return true;
}

static const struct response_out batch_out = { to_batch };

static void closing_init(struct closing *c, struct req *r, int64_t next)
{
        c->p.gen.r = r;
        c->p.out = &batch_out;
        c->p.sequence = next;
        c->err = 0;
        log_batch_init(&c->events, next);
}

static void closing_release(struct closing *c)
{
        json_decref(c->p.output);
        log_batch_release(&c->events);
}

/* ---- POST /responses ---- */

/* Of the job among those that wait. */
static int job_priority(struct req *r)
{
        const char *tier = params_tier(r);
        return !strcmp(tier, "priority") ? 1 : !strcmp(tier, "flex") ? -1 : 0;
}

/* What the worker needs beside the row, which has the input: {body, who, seed, ...}. The seed makes the run
 * one that can be repeated. */
static json_t *job_payload(struct req *r, int64_t next, json_t *reserved)
{
        json_t *body = json_copy(r->body), *seed = json_get(r->body, "seed");
        json_object_del(body, "input");
        return json_pack("{s:o, s:o, s:o, s:s, s:i, s:i, s:I, s:O*}", "body", body, "who",
                         principal_json(&r->who), "seed",
                         seed ? json_incref(seed) : json_integer((json_int_t)(rand_u64() >> 1)), "request",
                         r->id, "fail_after", r->fail_after, "tries", 0, "seen", (json_int_t)next, "reserved",
                         reserved);
}

/* Whether a response was stored, or may have been, by a commit that the store said had failed. */
static bool may_be_stored(struct req *r, const char *id)
{
        bool over;
        return background_look(r->api->store, id, req_project(r), &over) != -ENOENT;
}

/* Commits the response, its first events and its job, with the reply. */
static int commit_accepted(struct req *r, struct closing *c, json_t *object, struct api_err *reterr)
{
        struct log_owner owner = { c->p.id, req_project(r), c->p.created, stored_expiry(r, c->p.created) };
        struct store_op row = { .verb = STORE_PUT,
                                .kind = RESOURCE_RESPONSE.kind,
                                .id = owner.id,
                                .project = owner.project,
                                .created = owner.created,
                                .expires = owner.expires };
        struct store_op job = { .verb = STORE_JOB_PUT,
                                .kind = JOB_RESPONSE,
                                .id = owner.id,
                                .project = owner.project,
                                .priority = job_priority(r) };
        json_t *doc = response_document(&c->p, object), *items = response_referable_input(&c->p);
        json_t *reserved = meter_reserved(r);
        json_t *payload = job_payload(r, log_batch_next(&c->events), reserved);
        struct store_fault fault = { 0 };
        struct log_rows rows;
        struct op_list l;
        op_list_init(&l);
        int rc = log_rows_make(&c->events, &owner, &rows);
        if (reserved)
                json_object_set(doc, "reserved", reserved);
        op_list_add_doc(&l, &row, doc);
        stored_item_ops(&l, r, owner.id, owner.created, items);
        op_list_add(&l, rows.ops, rows.n);
        op_list_add_doc(&l, &job, payload);
        if (rc == 0)
                rc = mem_take_failure() ? -ENOMEM : l.err;
        if (rc == 0)
                rc = json_flag(r->body, "stream", false)
                             ? req_commit_followed(r, l.ops.p, l.ops.n, owner.id, &fault)
                             : req_commit(r, l.ops.p, l.ops.n, object, &fault);
        if (rc == 0 || may_be_stored(r, owner.id))
                meter_hand_over(r);
        op_list_release(&l);
        log_rows_release(&rows);
        json_decref(doc);
        json_decref(items);
        json_decref(payload);
        json_decref(reserved);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

/* A prompt that can never be run is refused now, not later. */
static int check_prompt(struct req *r, const struct response_ask *ask, struct api_err *reterr)
{
        struct turn_err why = { 0 };
        long n =
                ask->truncate || ask->compact_at || ask->items.compact_now ? 0 : turn_count(&ask->turn, &why);
        if (n >= 0 && n < ask->turn.model->n_ctx)
                return 0;
        return params_turn_error(r, DIALECT_RESPONSES, n < 0 ? (int)n : -E2BIG, &ask->turn, &why, reterr);
}

int background_follow(struct req *r, const char *id, struct reply *ret, struct api_err *reterr)
{
        const json_t *options = json_get(r->body, "stream_options");
        struct log_owner owner = { .id = id, .project = req_project(r) };
        struct follow f = { .obfuscate = json_flag(options, "include_obfuscation", true) };
        return feeds_follow(r, &owner, &f, ret, reterr);
}

int background_create(struct req *r, const struct response_ask *ask, struct reply *ret,
                      struct api_err *reterr)
{
        static const char *const opening[] = { "response.created", "response.queued" };
        struct closing c = { 0 };
        json_t *object = NULL;
        int rc = check_prompt(r, ask, reterr);
        closing_init(&c, r, 0);
        if (rc == 0 && response_init(&c.p, r, ask))
                rc = err_internal(reterr, -ENOMEM, "response", "");
        if (rc == 0) {
                object = json_keep(r->arena, response_object(&c.p, "queued", false));
                for (int i = 0; i < 2; i++)
                        response_send_state(&c.p, opening[i], json_incref(object));
                rc = c.err ? err_internal(reterr, c.err, "response", "")
                           : commit_accepted(r, &c, object, reterr);
        }
        if (rc == 0 && json_flag(r->body, "stream", false))
                rc = background_follow(r, c.p.id, ret, reterr);
        else if (rc == 0)
                ret->json = json_incref(object);
        closing_release(&c);
        return rc;
}

/* ---- what the store has ---- */

static bool is_final(const json_t *doc)
{
        const char *status = json_cstr(json_object_get(doc, "object"), "status", "");
        return strcmp(status, "queued") && strcmp(status, "in_progress");
}

int background_look(struct store *s, const char *id, const char *project, bool *ret_over)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(s, RESOURCE_RESPONSE.kind, id, project, &row, NULL);
        if (rc)
                return rc;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        rc = doc ? 0 : why.no_memory ? -ENOMEM : -EBADMSG;
        *ret_over = doc && is_final(doc);
        json_decref(doc);
        object_release(&row);
        return rc;
}

static int take_line(void *ctx, const struct log_line *line)
{
        struct json_fault why;
        json_t *event = json_parse(line->json, STORE_DOC_DEPTH, &why);
        int rc = event ? replay_take(ctx, event) : why.no_memory ? -ENOMEM : -EBADMSG;
        json_decref(event);
        return rc;
}

int background_load(struct store *s, const char *id, const char *project, struct background_state *st,
                    struct store_fault *fault)
{
        struct object row;
        struct json_fault why;
        *st = (struct background_state){ 0 };
        snprintf(st->id, sizeof(st->id), "%s", id);
        snprintf(st->project, sizeof(st->project), "%s", project);
        replay_init(&st->replay);
        int rc = store_get(s, RESOURCE_RESPONSE.kind, id, project, &row, fault);
        if (rc)
                return rc == -EINVAL ? -ENOENT : rc; /* no id of ours looks like that */
        st->version = row.version;
        st->owner = (struct log_owner){ st->id, st->project, row.created, row.expires };
        st->doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        object_release(&row);
        if (!json_object_get(st->doc, "object"))
                return !st->doc && why.no_memory ? -ENOMEM : -EBADMSG;
        return log_each(s, &st->owner, take_line, &st->replay, fault);
}

void background_release(struct background_state *st)
{
        replay_release(&st->replay);
        json_decref(st->doc);
        st->doc = NULL;
}

bool background_is_over(const struct background_state *st)
{
        return is_final(st->doc);
}

/* ---- the end ---- */

void background_close_items(struct response *p, const struct replay *replay)
{
        const struct agent_item *open = replay_open(replay);
        p->summary = replay->summary;
        json_array_clear(p->output);
        for (size_t i = 0; i < replay->items.n; i++)
                if (replay->items.p[i]->ended)
                        json_array_append(p->output, replay->items.p[i]->ended);
        if (open)
                response_take(p, &(struct agent_event){ .kind = AGENT_ITEM_END, .item = open });
}

int background_end_ops(struct req *r, const struct background_end *end, struct op_list *l,
                       struct log_rows *rows)
{
        json_t *object = json_object_get(end->doc, "object");
        struct store_op row = { .verb = STORE_UPDATE,
                                .kind = RESOURCE_RESPONSE.kind,
                                .id = end->owner->id,
                                .project = end->owner->project,
                                .set = STORE_SET_DOC,
                                .if_version = end->version };
        struct store_op told[] = {
                { .verb = STORE_NOTIFY, .kind = RESPONSE_TOPIC, .id = end->owner->id },
                { .verb = STORE_NOTIFY, .kind = RESPONSE_TOPIC_OVER, .id = end->owner->id },
                { 0 }
        };
        const char *type = arena_printf(r->arena, "response.%s", json_cstr(object, "status", "failed"));
        int rc = log_rows_make(end->events, end->owner, rows);
        op_list_add_doc(l, &row, end->doc);
        op_list_add(l, rows->ops, rows->n);
        stored_item_ops(l, r, end->owner->id, end->owner->created, json_object_get(object, "output"));
        if (rc == 0)
                rc = type ? webhook_event_op(r->arena, end->owner->project, type, end->owner->id, &told[2])
                          : -ENOMEM;
        op_list_add(l, told, 3);
        return rc ? rc : l->err;
}

int background_on_delete(struct req *r, struct resource_change *c, struct api_err *reterr)
{
        struct store_op *ops = arena_array(r->arena, struct store_op, 2);
        if (!ops)
                return err_internal(reterr, -ENOMEM, "deletion", "");
        ops[0] = (struct store_op){ .verb = STORE_NOTIFY, .kind = RESPONSE_TOPIC_OVER, .id = c->id };
        ops[1] = (struct store_op){ .verb = STORE_JOB_WAKE, .kind = JOB_RESPONSE, .id = c->id };
        c->more = ops;
        c->n_more = 2;
        return 0;
}

/* Ends the job of a response that is over, if it was never begun and nobody works on it now, and gives back
 * what it had reserved. Else its worker does both. */
static void end_waiting(struct req *r, const char *id, const json_t *reserved)
{
        struct store_op end = { .verb = STORE_JOB_FINISH, .kind = JOB_RESPONSE, .id = id }; /* no lease */
        if (reserved && store_write(r->api->store, &end, 1, NULL) == 0)
                meter_settle(r->api, req_project(r), reserved, NULL);
}

void background_on_gone(struct req *r, const json_t *doc)
{
        end_waiting(r, json_cstr(json_object_get(doc, "object"), "id", ""), json_get(doc, "reserved"));
}

/* ---- POST /responses/{response_id}/cancel ---- */

/* Writes the end of a response that was cancelled, in the state in which it was read: 0, or -ESTALE or
 * -EEXIST when its run has written meanwhile. */
static int commit_cancelled(struct req *r, struct background_state *st, struct store_fault *fault)
{
        struct closing c = { 0 };
        struct log_rows rows = { 0 };
        struct op_list l;
        json_t *object = json_object_get(st->doc, "object");
        struct background_end end = { &st->owner, st->version, st->doc, &c.events };
        struct store_op wake = { .verb = STORE_JOB_WAKE, .kind = JOB_RESPONSE, .id = st->id };
        closing_init(&c, r, st->replay.next);
        op_list_init(&l);
        c.p.output = json_array();
        background_close_items(&c.p, &st->replay);
        response_set_state(object, "cancelled", c.p.output, NULL, NULL);
        response_send_closing(&c.p, json_incref(object));
        int rc = c.err ? c.err : background_end_ops(r, &end, &l, &rows);
        op_list_add(&l, &wake, 1);
        if (rc == 0)
                rc = mem_take_failure() ? -ENOMEM : l.err;
        if (rc == 0)
                rc = req_commit(r, l.ops.p, l.ops.n, object, fault);
        op_list_release(&l);
        log_rows_release(&rows);
        closing_release(&c);
        return rc;
}

/* One attempt: 0 with the object in *ret (new), -ESTALE, another errno, or 1 with *reterr. */
static int cancel_once(struct req *r, const char *id, json_t **ret, struct store_fault *fault,
                       struct api_err *reterr)
{
        struct background_state st;
        int rc = background_load(r->api->store, id, req_project(r), &st, fault);
        json_t *object = json_object_get(st.doc, "object");
        if (rc == 0 && !json_flag(object, "background", false)) {
                err_invalid(reterr, NULL, NULL, "Cannot cancel a synchronous response.");
                rc = 1;
        }
        json_t *reserved = json_incref(json_object_get(st.doc, "reserved"));
        if (rc == 0 && !background_is_over(&st)) {
                json_object_del(st.doc, "reserved");
                json_object_del(st.doc, "compaction");
                rc = commit_cancelled(r, &st, fault);
                if (rc == 0)
                        end_waiting(r, id, reserved);
        }
        json_decref(reserved);
        if (rc == 0)
                *ret = json_incref(object);
        background_release(&st);
        return rc == -EEXIST ? -ESTALE : rc;
}

int response_cancel(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_RESPONSE.id_param);
        struct store_fault fault = { 0 };
        int rc = -ESTALE;
        for (int i = 0; i < CANCEL_ATTEMPTS && rc == -ESTALE; i++)
                rc = cancel_once(r, id, &ret->json, &fault, reterr);
        if (rc == 0)
                return 0;
        if (rc == -ENOENT)
                return err_not_found(reterr, RESOURCE_RESPONSE.what, id);
        return rc > 0 ? -1 : rc == -ESTALE ? err_overloaded(reterr) : err_store(reterr, rc, &fault);
}

/* ---- GET /responses/{response_id} ---- */

/* The response (borrowed) as the reader asks for it: new, NULL when memory is out. */
static json_t *shown(struct req *r, json_t *object)
{
        json_t *copy = input_wants_sealed(r) ? json_copy(object) : json_incref(object);
        if (copy == object ||
            json_put(copy, "output", input_shown_all(r, json_object_get(object, "output"))) == 0)
                return copy;
        json_decref(copy);
        return NULL;
}

int response_retrieve(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_RESPONSE.id_param);
        bool stream = json_flag(r->query, "stream", false);
        int64_t after = json_int(r->query, "starting_after", -1);
        json_t *doc;
        if (!stream && json_get(r->query, "starting_after"))
                return err_invalid(
                        reterr, "invalid_value", "starting_after",
                        "The 'starting_after' parameter is only allowed when 'stream' is enabled.");
        if (resource_load(r, &RESOURCE_RESPONSE, id, &doc, NULL, reterr))
                return -1;
        if (!json_keep(r->arena, doc))
                return err_internal(reterr, -ENOMEM, "stored document", "");
        json_t *object = json_object_get(doc, "object");
        if (!stream) {
                ret->json = shown(r, object);
                return ret->json ? 0 : err_internal(reterr, -ENOMEM, "response", "");
        }
        if (input_wants_sealed(r))
                return err_invalid(
                        reterr, "invalid_value", "include",
                        "A stream is given again as it was: 'include' cannot add to it. Create the "
                        "response with it, or retrieve it without 'stream'.");
        if (!json_flag(object, "background", false))
                return err_invalid(reterr, "invalid_value", "stream",
                                   "Only a response created with background=true can be streamed again.");
        struct log_owner owner = { .id = id, .project = req_project(r) };
        struct follow f = { .from = after < 0            ? 0
                                    : after == INT64_MAX ? after
                                                         : after + 1,
                            .obfuscate = json_flag(r->query, "include_obfuscation", true) };
        return feeds_follow(r, &owner, &f, ret, reterr);
}
