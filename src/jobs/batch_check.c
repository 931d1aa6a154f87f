/* The validation of a batch: every line of its input is read before the first one runs. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "account/limits.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "jobs/batch_internal.h"
#include "jobs/files.h"

#define LINE_DEPTH 128
#define LINE_VALUES 500000 /* of a line's JSON: what bounds the memory of its tree */
#define MAX_ERRORS 1000    /* reported; the rest is cut */
#define LOOK_LINES 64      /* between two looks for a reason to leave off */
#define BYTES_PER_TOKEN 4  /* an estimate, for the limit of tokens in the queue */

struct checker {
        struct batch *b;
        const char *endpoint;
        struct map ids; /* custom_id -> the number of its line */
        json_t *errors;
        const char *model; /* of the first line */
        size_t total, number;
        int64_t inputs; /* of embeddings */
        int64_t tokens; /* estimated, of the prompts */
};

/* ---- one line ---- */

static void __attribute__((format(printf, 4, 5)))
blame(struct checker *c, const char *code, const char *param, const char *fmt, ...)
{
        char msg[1024];
        va_list ap;
        if (json_array_size(c->errors) >= MAX_ERRORS)
                return;
        va_start(ap, fmt);
        vsnprintf(msg, sizeof(msg), fmt, ap);
        va_end(ap);
        json_array_append_new(c->errors, batch_error(code, msg, param, c->number));
}

static bool text_member(struct checker *c, const json_t *line, const char *name, struct str *ret)
{
        const json_t *v = json_get(line, name);
        *ret = json_as_str(v);
        if (!v)
                blame(c, "missing_required_parameter", name, "Missing required parameter: '%s'.", name);
        else if (!json_is_string(v))
                blame(c, "invalid_type", name, "Invalid type for '%s': expected a string.", name);
        return json_is_string(v);
}

static void check_custom_id(struct checker *c, const json_t *line)
{
        struct str id;
        if (!text_member(c, line, "custom_id", &id))
                return;
        if (!id.n || id.n > BATCH_CUSTOM_ID_MAX) {
                blame(c, "invalid_value", "custom_id", "Invalid 'custom_id': it must have 1 to %d bytes.",
                      BATCH_CUSTOM_ID_MAX);
                return;
        }
        size_t first = (size_t)map_get(&c->ids, id);
        if (first)
                blame(c, "duplicate_custom_id", "custom_id",
                      "The custom_id '%.*s' of this line is that of line %zu. Each must be unique.",
                      STR_ARG(id), first);
        else
                map_put(&c->ids, id, (void *)c->number, NULL);
}

static void check_target(struct checker *c, const json_t *line)
{
        struct str method, url;
        if (text_member(c, line, "method", &method) && !str_eqc(method, "POST"))
                blame(c, "invalid_method", "method", "Invalid method '%.20s': only 'POST' can be used.",
                      json_cstr(line, "method", ""));
        if (text_member(c, line, "url", &url) && !str_eqc(url, c->endpoint))
                blame(c, "url_mismatch", "url",
                      "The url '%.100s' of this line is not the endpoint of the batch, '%s'.",
                      json_cstr(line, "url", ""), c->endpoint);
}

static void check_members(struct checker *c, const json_t *line)
{
        static const char *const known[] = { "custom_id", "method", "url", "body" };
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)line, key, value)
        {
                bool found = c->b->all->o.lenient;
                for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
                        found |= !strcmp(key, known[i]);
                if (!found)
                        blame(c, "unknown_parameter", key, "Unknown parameter: '%.100s'.", key);
        }
}

/* What a request may say and a line may not. */
static bool check_modes(struct checker *c, const json_t *body)
{
        static const char *const modes[] = { "stream", "background" };
        bool ok = true;
        for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
                char param[32];
                snprintf(param, sizeof(param), "body.%s", modes[i]);
                if (!json_flag(body, modes[i], false))
                        continue;
                blame(c, "invalid_value", param, "'%s' cannot be used in a batch.", modes[i]);
                ok = false;
        }
        return ok;
}

static void check_model(struct checker *c, const char *model)
{
        if (!c->model)
                c->model = model;
        else if (strcmp(c->model, model))
                blame(c, "mismatched_model", "body.model",
                      "The model '%s' of this line is not that of the lines before, '%s'. A batch is for one "
                      "model.",
                      model, c->model);
}

/* How many inputs a body of embeddings has: one, or a list of texts or of lists of tokens. */
static int64_t count_inputs(const json_t *body)
{
        const json_t *input = json_get(body, "input");
        bool one = !json_is_array(input) || json_is_integer(json_array_get(input, 0));
        return one ? 1 : (int64_t)json_array_size(input);
}

static void check_body(struct checker *c, const json_t *line)
{
        struct batch_runner *run = &c->b->all->o.runner;
        struct batch_why why = { 0 };
        const char *model = NULL;
        char param[300];
        json_t *body = json_get(line, "body");
        if (!body) {
                blame(c, "missing_required_parameter", "body", "Missing required parameter: 'body'.");
        } else if (!json_is_object(body)) {
                blame(c, "invalid_type", "body", "Invalid type for 'body': expected an object.");
        } else if (check_modes(c, body)) {
                if (run->check(run->ctx, c->endpoint, body, &model, &why)) {
                        snprintf(param, sizeof(param), "body%s%s", *why.param ? "." : "", why.param);
                        blame(c, why.code ? why.code : "invalid_request", param, "%s", why.msg);
                } else {
                        check_model(c, model);
                }
                if (!strcmp(c->endpoint, "/v1/embeddings"))
                        c->inputs += count_inputs(body);
        }
}

static void check_line(struct checker *c, struct str text)
{
        struct json_fault why = { .msg = "it has too many values" };
        json_t *line = json_values(text) <= LINE_VALUES ? json_parse(text, LINE_DEPTH, &why) : NULL;
        if (!line) {
                blame(c, "invalid_json_line", "", "This line is not parseable as valid JSON: %s.", why.msg);
        } else if (!json_is_object(line)) {
                blame(c, "invalid_json_line", "", "This line is not a JSON object.");
        } else {
                check_custom_id(c, line);
                check_target(c, line);
                check_members(c, line);
                check_body(c, line);
        }
        c->tokens += (int64_t)(text.n / BYTES_PER_TOKEN);
        json_decref(line);
}

/* ---- the whole ---- */

/* What is wrong with the file rather than with a line of it. */
static void check_whole(struct checker *c)
{
        c->number = 0;
        if (!c->total)
                blame(c, "empty_file", "", "The input file has no lines.");
        if (c->total > BATCH_MAX_LINES)
                blame(c, "too_many_tasks", "", "The input file has more than %d lines.", BATCH_MAX_LINES);
        if (c->inputs > BATCH_MAX_INPUTS)
                blame(c, "too_many_inputs", "", "The lines have %lld inputs in all, at most %d are taken.",
                      (long long)c->inputs, BATCH_MAX_INPUTS);
}

/* Reads all lines. BATCH_DONE, a reason to leave off, or a negative errno. */
static int check_lines(struct checker *c, struct batch_input *in)
{
        struct str line;
        int rc = 0, end = BATCH_DONE;
        while (end == BATCH_DONE && c->total <= BATCH_MAX_LINES && (rc = batch_input_next(in, &line)) != 0) {
                c->number = in->number;
                c->total++;
                if (rc == -EMSGSIZE)
                        blame(c, "invalid_json_line", "", "This line has more than %zu bytes.", in->max_line);
                else if (rc < 0)
                        return rc;
                else
                        check_line(c, line);
                if (c->total % LOOK_LINES == 0)
                        end = batch_look(c->b, false);
        }
        return end;
}

static int check_file(struct checker *c, struct batch_input *in)
{
        int rc = batch_input_open(in, c->b);
        if (rc)
                return rc;
        if (file_size(in->file) > BATCH_MAX_BYTES) {
                blame(c, "file_too_large", "", "The input file has more than %llu bytes.",
                      (unsigned long long)BATCH_MAX_BYTES);
                return BATCH_DONE;
        }
        rc = check_lines(c, in);
        if (rc == BATCH_DONE)
                check_whole(c);
        return mem_take_failure() ? -ENOMEM : rc; /* an error may be missing */
}

/* ---- the limit of tokens that wait ---- */

static void queue_id(const char *project, const char *model, char out[STORE_ID_MAX])
{
        snprintf(out, STORE_ID_MAX, "%s/%s", project, model);
}

/* The tokens that the open batches of the project hold; version 0 when there is no row. */
static int queue_read(struct batch *b, const char *id, int64_t *ret_tokens, int64_t *ret_version,
                      struct store_fault *fault)
{
        struct object row;
        struct json_fault why;
        *ret_tokens = *ret_version = 0;
        int rc = store_get(b->all->o.store, BATCH_QUEUE_KIND, id, b->project, &row, fault);
        if (rc)
                return rc == -ENOENT ? 0 : rc;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        *ret_tokens = json_int(doc, "tokens", 0);
        *ret_version = row.version;
        json_decref(doc);
        object_release(&row);
        return 0;
}

/* The operation that adds to them. */
static int queue_op(struct batch *b, const char *id, int64_t tokens, int64_t version, struct buf *text,
                    struct store_op *ret)
{
        buf_init(text, 256);
        buf_addf(text, "{\"tokens\":%lld}", (long long)(tokens < 0 ? 0 : tokens));
        *ret = (struct store_op){ .verb = version ? STORE_UPDATE : STORE_PUT,
                                  .set = STORE_SET_DOC,
                                  .kind = BATCH_QUEUE_KIND,
                                  .id = id,
                                  .project = b->project,
                                  .if_version = version,
                                  .doc = buf_str(text) };
        return buf_error(text);
}

int batch_unqueue(struct batch *b, struct buf *text, struct store_op *ret, struct store_fault *fault)
{
        int64_t held = json_int(b->doc, "queued", 0), tokens, version;
        const char *id = json_cstr(b->doc, "queue", "");
        if (!held)
                return 1;
        int rc = queue_read(b, id, &tokens, &version, fault);
        if (rc || !version)
                return rc ? rc : 1;
        return queue_op(b, id, tokens - held, version, text, ret);
}

/* ---- the result ---- */

/* The batch begins: its object, and the tokens that it takes from the limit, which is `max`; 0: there is
 * none. -EDQUOT when there are not so many left. */
static int begin(struct checker *c, int64_t max, struct store_fault *fault)
{
        struct batch *b = c->b;
        char id[STORE_ID_MAX];
        struct buf text = { 0 };
        struct store_op op;
        int64_t tokens, version;
        json_t *held = NULL;
        int rc = 0;
        if (max) {
                queue_id(b->project, c->model, id);
                rc = queue_read(b, id, &tokens, &version, fault);
                if (rc == 0 && tokens + c->tokens > max)
                        return -EDQUOT;
                if (rc == 0)
                        rc = queue_op(b, id, tokens + c->tokens, version, &text, &op);
                held = rc ? NULL : json_pack("{s:I, s:s}", "queued", (json_int_t)c->tokens, "queue", id);
                if (rc == 0 && !held)
                        rc = -ENOMEM;
        }
        json_t *set = json_pack("{s:s, s:I, s:s, s:{s:I, s:i, s:i}}", "status", "in_progress",
                                "in_progress_at", (json_int_t)clock_unix(), "model", c->model,
                                "request_counts", "total", (json_int_t)c->total, "completed", 0, "failed", 0);
        if (rc == 0)
                rc = batch_save_around(b, "validating", json_incref(set), json_incref(held), &op, max ? 1 : 0,
                                       fault);
        json_decref(set);
        json_decref(held);
        buf_release(&text);
        return rc;
}

/* Commits what a valid input leads to. */
static int accept(struct checker *c)
{
        struct limits *l = c->b->all->o.limits;
        struct store_fault fault = { 0 };
        int64_t max = l ? limits_max(l, c->b->project, c->model, LIMIT_BATCH_TOKENS) : 0;
        int rc;
        do {
                rc = begin(c, max, &fault);
        } while ((rc == -EALREADY || rc == -EEXIST) && fault.op); /* another batch of the project begins */
        if (rc != -EDQUOT)
                return rc;
        c->number = 0;
        blame(c, "token_limit_exceeded", "",
              "Enqueued token limit reached for %s in project %s. Limit: %lld enqueued tokens. Please try "
              "again "
              "once some in_progress batches have been completed.",
              c->model, c->b->project, (long long)max);
        return batch_fail(c->b, json_incref(c->errors));
}

/* The input cannot be read. */
static int reject(struct checker *c, const struct batch_input *in, int rc)
{
        c->number = 0;
        if (rc == -ENOENT)
                blame(c, "input_file_not_found", "input_file_id", "The input file does not exist any more.");
        else
                blame(c, "input_file_damaged", "input_file_id", "The input file cannot be read: %s", in->err);
        return batch_fail(c->b, json_incref(c->errors));
}

int batch_validate(struct batch *b)
{
        struct checker c = { .b = b,
                             .endpoint = json_cstr(b->object, "endpoint", ""),
                             .errors = json_array() };
        struct batch_input in = { 0 };
        map_init(&c.ids);
        mem_take_failure();
        int rc = batch_look(b, true);
        if (rc == BATCH_DONE)
                rc = c.errors ? check_file(&c, &in) : -ENOMEM;
        if (batch_input_lost(rc))
                rc = reject(&c, &in, rc);
        else if (rc == BATCH_DONE)
                rc = json_array_size(c.errors) ? batch_fail(b, json_incref(c.errors)) : accept(&c);
        batch_input_close(&in);
        map_release(&c.ids, NULL);
        json_decref(c.errors);
        return rc == -ECANCELED ? BATCH_CANCELLED : rc; /* it is cancelled by now */
}
