#include "api/response.h"

#include "agent/items.h"
#include "api/chat.h"

/* Sends one event of `type`, adding type and sequence number to its fields (consumed). */
static bool send(struct response *p, const char *type, json_t *fields)
{
        json_t *event = json_pack("{s:s, s:I}", "type", type, "sequence_number", (json_int_t)p->sequence++);
        json_object_update(event, fields);
        json_decref(fields);
        return stream_event(p->gen.stream, type, event);
}

/* Fields that place an event in the output: {item_id, output_index, content_index}. */
static json_t *at_part(const struct response *p)
{
        return json_pack("{s:s, s:i, s:i}", "item_id", p->message_id, "output_index", 0, "content_index", 0);
}

void response_send_opening(struct response *p)
{
        send(p, "response.created", json_pack("{s:o}", "response", response_object(p, "in_progress", NULL)));
        send(p, "response.in_progress",
             json_pack("{s:o}", "response", response_object(p, "in_progress", NULL)));
}

static bool send_begin(struct response *p)
{
        send(p, "response.output_item.added",
             json_pack("{s:i, s:{s:s, s:s, s:s, s:s, s:[]}}", "output_index", 0, "item", "id", p->message_id,
                       "type", "message", "status", "in_progress", "role", "assistant", "content"));
        json_t *fields = at_part(p);
        json_object_set_new(fields, "part", item_text_part(STR(""), NULL));
        return send(p, "response.content_part.added", fields);
}

static bool send_delta(struct response *p, const struct agent_event *ev)
{
        json_t *fields = at_part(p);
        json_object_set_new(fields, "delta", json_strn(ev->text));
        json_object_set_new(fields, "logprobs", ev->logprobs ? json_incref(ev->logprobs) : json_array());
        if (p->obfuscate)
                json_object_set_new(fields, "obfuscation", obfuscation_json(ev->text.n));
        return send(p, "response.output_text.delta", fields);
}

static bool send_end(struct response *p)
{
        const json_t *logprobs = agent_logprobs(p->run);
        json_t *fields = at_part(p);
        json_object_set_new(fields, "text", json_strn(agent_text(p->run)));
        json_object_set_new(fields, "logprobs", logprobs ? json_deep_copy(logprobs) : json_array());
        send(p, "response.output_text.done", fields);
        fields = at_part(p);
        json_object_set_new(fields, "part", item_text_part(agent_text(p->run), logprobs));
        send(p, "response.content_part.done", fields);
        return send(p, "response.output_item.done",
                    json_pack("{s:i, s:o}", "output_index", 0, "item", response_message(p)));
}

bool response_send(struct response *p, const struct agent_event *ev)
{
        switch (ev->kind) {
        case AGENT_MESSAGE_BEGIN:
                return send_begin(p);
        case AGENT_TEXT:
                return send_delta(p, ev);
        case AGENT_MESSAGE_END:
                return send_end(p);
        case AGENT_DONE:
                break;
        }
        return true;
}

void response_send_closing(struct response *p, json_t *object)
{
        char type[64];
        snprintf(type, sizeof(type), "response.%s", json_cstr(object, "status", "failed"));
        send(p, type, json_pack("{s:o}", "response", object));
        stream_end(p->gen.stream, false);
}
