/* The operations of batches, and how the API runs their lines (jobs/batch.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/durable.h"
#include "api/faults.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "api/meter.h"
#include "api/params.h"
#include "api/resources.h"
#include "base/log.h"
#include "base/mem.h"
#include "jobs/batch.h"
#include "jobs/files.h"

#define LINES_AT_ONCE 32 /* unless the options say */

const struct resource RESOURCE_BATCH = { .kind = BATCH_KIND,
                                         .what = "Batch",
                                         .id_param = "batch_id",
                                         .list = "listBatches",
                                         .retrieve = "retrieveBatch" };

/* ---- lines ---- */

/* The operation of an endpoint ("/v1/chat/completions"), if a line may ask for it. NULL: not served. */
static const struct operation *endpoint_operation(struct api *api, const char *endpoint)
{
        struct route_match match;
        size_t n;
        if (contract_route(STR("POST"), str_c(endpoint), &match) != ROUTE_FOUND)
                return NULL;
        return api->routes[match.op - contract_operations(&n)] ? match.op : NULL;
}

static int line_invalid(struct batch_why *why, const struct api_err *e)
{
        why->code = e->code;
        snprintf(why->param, sizeof(why->param), "%s", e->param);
        snprintf(why->msg, sizeof(why->msg), "%s", e->msg);
        return -EINVAL;
}

static int line_check(void *ctx, const char *endpoint, json_t *body, const char **ret_model,
                      struct batch_why *why)
{
        struct api *api = ctx;
        struct api_err e = { 0 };
        struct schema_err schema_why;
        const struct operation *op = endpoint_operation(api, endpoint);
        unsigned flags = SCHEMA_CREATE | (api->options.ignore_unknown ? SCHEMA_LENIENT : 0);
        json_t *name = json_get(body, "model");
        const char *model = op ? params_model_id(api, op, body) : NULL;
        if (!op)
                err_invalid(&e, "invalid_value", "", "This server does not serve %s.", endpoint);
        else if (schema_check(contract_body(op, "application/json"), body, flags, &schema_why))
                err_schema(&e, &schema_why);
        else if (model)
                *ret_model = model;
        else if (!name)
                err_invalid(&e, "missing_required_parameter", "model",
                            "Missing required parameter: 'model'.");
        else
                err_model_not_found(&e, json_as_str(name));
        return e.status ? line_invalid(why, &e) : 0;
}

/* A line on its way: the handle of batch_runner. */
struct line {
        struct req *r;
        struct batch_call call;
        bool kept; /* its reply, with what it stores */
};

static int line_keep(void *ctx, struct req *r, const json_t *body, struct store_op *ret)
{
        struct line *line = ctx;
        struct batch_reply reply = { .status = 200, .request_id = r->id, .body = body };
        int rc = batch_keep(&line->call, &reply, r->arena, ret);
        line->kept = rc == 0;
        return rc;
}

static void line_reply(void *ctx, struct req *r, int status, const json_t *body)
{
        struct line *line = ctx;
        struct store_op op;
        bool used = meter_batch_op(r, &op);
        struct batch_reply reply = { .status = status,
                                     .request_id = r->id,
                                     .body = body,
                                     .usage = used ? op.usage : NULL,
                                     .kept = line->kept && status == 200,
                                     .unsure = line->kept && status >= 500 };
        line->call.done(line->call.ctx, &reply);
}

static int line_start(void *ctx, const struct batch_call *call, void **ret)
{
        static const struct req_sink sink = { .reply = line_reply, .keep = line_keep };
        struct api *api = ctx;
        const struct operation *op = endpoint_operation(api, call->endpoint);
        struct line *line = mem_calloc(1, sizeof(*line));
        if (!line || !op) {
                mem_free(line);
                return line ? -ENOSYS : -ENOMEM;
        }
        line->call = *call;
        line->call.body = NULL; /* the request has it now */
        *ret = line;            /* the reply may come before call_start() returns */
        struct call c = { .operation = op->id,
                          .who = *call->who,
                          .body = call->body,
                          .flags = CALL_BATCH,
                          .sink = &sink,
                          .ctx = line };
        int rc = call_start(api, &c, &line->r);
        if (rc) {
                mem_free(line);
                *ret = NULL;
        }
        return rc;
}

static void line_cancel(void *handle)
{
        struct line *line = handle;
        call_cancel(line->r);
}

static void line_release(void *handle)
{
        struct line *line = handle;
        req_unref(line->r);
        mem_free(line);
}

/* ---- the worker ---- */

static void report(const char *finding)
{
        log_error("batches", "%s", finding);
}

static int open_batches(struct api *api, struct durable_list *list)
{
        struct batches_options o = {
                .store = api->store,
                .blobs = api->blobs,
                .limits = api->limits,
                .runner = { line_check, line_start, line_cancel, line_release, api },
                .report = report,
                .lines = api->options.batch_lines > 0 ? api->options.batch_lines : LINES_AT_ONCE,
                .max_line = api->options.max_body,
                .lenient = api->options.ignore_unknown,
        };
        int rc = batches_new(&o, &api->batches);
        if (rc == 0) {
                list->workers[list->n++] = batches_worker(api->batches);
                list->workers[list->n++] = batches_expiry_worker(api->batches);
        }
        return rc;
}

static void close_batches(struct api *api)
{
        batches_free(api->batches);
        api->batches = NULL;
}

const struct durable_family DURABLE_BATCHES = { "batches", open_batches, close_batches };

/* ---- POST /batches ---- */

static int check_endpoint(struct req *r, const char *endpoint, struct api_err *e)
{
        if (endpoint_operation(r->api, endpoint))
                return 0;
        return err_invalid(e, "invalid_value", "endpoint",
                           "This version of Cairn does not serve %s, so no batch can ask for it.", endpoint);
}

/* The input has to be a file of the caller's, made for this. What is in it the validation says. */
static int check_input(struct req *r, const char *id, struct api_err *e)
{
        struct object row;
        struct store_fault fault = { 0 };
        int rc = store_get(r->api->store, FILE_KIND, id, req_project(r), &row, &fault);
        if (rc == -ENOENT)
                return err_invalid(e, "invalid_value", "input_file_id",
                                   "Invalid 'input_file_id': there is no file with the id '%.100s'.", id);
        if (rc)
                return err_store(e, rc, &fault);
        bool ok = row.f[0] && !strcmp(row.f[0], "batch");
        object_release(&row);
        if (ok)
                return 0;
        return err_invalid(
                e, "invalid_value", "input_file_id",
                "Invalid 'input_file_id': the file '%.100s' was not uploaded with the purpose 'batch'.", id);
}

/* With the reply, for who repeats the request. */
static int commit_new(void *ctx, const struct store_op *ops, size_t n, const json_t *object,
                      struct store_fault *fault)
{
        return req_commit(ctx, ops, n, object, fault);
}

int batch_create_one(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const json_t *after = json_get(r->body, "output_expires_after");
        struct store_fault fault = { 0 };
        struct batch_new what = { .who = &r->who,
                                  .input_file = json_cstr(r->body, "input_file_id", ""),
                                  .endpoint = json_cstr(r->body, "endpoint", ""),
                                  .metadata = json_get(r->body, "metadata"),
                                  .expires_after = json_int(after, "seconds", FILE_BATCH_EXPIRES_S),
                                  .window = fault_number(r, "window", BATCH_WINDOW_S),
                                  .commit = commit_new,
                                  .ctx = r };
        if (check_endpoint(r, what.endpoint, reterr) || check_input(r, what.input_file, reterr))
                return -1;
        int rc = batch_create(r->api->store, &what, &ret->json, &fault);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

/* ---- POST /batches/{batch_id}/cancel ---- */

int batch_cancel_one(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_BATCH.id_param);
        struct store_fault fault = { 0 };
        json_t *object;
        int rc = batch_cancel(r->api->store, req_project(r), id, &object, &fault);
        if (rc == -ENOENT || rc == -EINVAL)
                return err_not_found(reterr, RESOURCE_BATCH.what, id);
        if (rc == -EALREADY) {
                err_invalid(reterr, NULL, NULL, "Cannot cancel a batch with status '%s'.",
                            json_cstr(object, "status", ""));
                json_decref(object);
                return -1;
        }
        ret->json = object;
        return rc ? err_store(reterr, rc, &fault) : 0;
}
