/* Bodies and replies by media type, and the checks of what is sent. */
#include "contract/contract.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "contract/tables.h"
#include "contract/text.h"

const struct schema *contract_body(const struct operation *op, const char *media_type)
{
        for (size_t i = 0; i < op->n_bodies; i++)
                if (text_media_is(media_type, op->bodies[i].type))
                        return op->bodies[i].schema;
        return NULL;
}

static int refuse(struct schema_err *err, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
static int refuse(struct schema_err *err, const char *code, const char *fmt, ...)
{
        va_list ap;
        if (!err)
                return -EINVAL;
        err->code = code;
        err->param[0] = '\0';
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        return -EINVAL;
}

static int check_error(const char *media_type, const json_t *body, struct schema_err *reterr)
{
        if (!body || !text_media_is(media_type, "application/json"))
                return refuse(reterr, "wrong_media_type",
                              "An error is sent as '%s', not as application/json.", media_type);
        return schema_check(contract_schema("ErrorResponse"), body, SCHEMA_REPLY, reterr);
}

int contract_check_reply(const struct operation *op, int status, const char *media_type, const json_t *body,
                         struct schema_err *reterr)
{
        bool known = false;
        if (status >= 400 && op->flags & OP_OURS)
                return 0;
        if (status >= 400)
                return check_error(media_type, body, reterr);
        for (size_t i = 0; i < op->n_replies; i++) {
                const struct op_media *m = &op->replies[i];
                if (m->status != status)
                        continue;
                known = true;
                if (text_media_is(media_type, m->type))
                        return body ? schema_check(m->schema, body, SCHEMA_REPLY, reterr) : 0;
        }
        if (known && op->event && text_media_is(media_type, "text/event-stream"))
                return 0;
        if (known)
                return refuse(reterr, "wrong_media_type", "%s does not answer %d with '%s'.", op->id, status,
                              media_type);
        return refuse(reterr, "wrong_status", "%s does not answer with status %d.", op->id, status);
}

/* Assistants' events are described as {event, data}: the event line and the data line of the wire. */
static int check_named_event(const struct schema *s, const char *event, const json_t *data,
                             struct schema_err *reterr)
{
        json_t *pair = json_pack("{s:s, s:O}", "event", event ? event : "", "data", (json_t *)data);
        int rc = pair ? schema_check(s, pair, SCHEMA_REPLY, reterr) : -ENOMEM;
        json_decref(pair);
        return rc;
}

int contract_check_event(const struct operation *op, const char *event, const json_t *data,
                         struct schema_err *reterr)
{
        const struct schema *s = op->event;
        if (!s)
                return refuse(reterr, "not_a_stream", "%s does not send events.", op->id);
        if (s->kind == S_UNION && strcmp(schema_tag(s), "event") == 0)
                return check_named_event(s, event, data, reterr);
        if (json_is_object(json_object_get(data, "error")) && !json_object_get(data, "type"))
                return schema_check(contract_schema("ErrorResponse"), data, SCHEMA_REPLY, reterr);
        return schema_check(s, data, SCHEMA_REPLY, reterr);
}
