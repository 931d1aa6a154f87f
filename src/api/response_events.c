#include "api/response.h"

#include <string.h>
#include "agent/items.h"
#include "api/chat.h"

/* The next event, of `type`: its type and sequence number, and its fields (consumed). */
static json_t *event_json(const struct response *p, const char *type, json_t *fields)
{
        json_t *event = json_pack("{s:s, s:I}", "type", type, "sequence_number", (json_int_t)p->sequence);
        json_object_update(event, fields);
        json_decref(fields);
        return event;
}

static bool send(struct response *p, const char *type, json_t *fields)
{
        json_t *event = event_json(p, type, fields);
        p->sequence++;
        return p->out->event(p, type, event);
}

void response_send_state(struct response *p, const char *type, json_t *object)
{
        send(p, type, json_pack("{s:o}", "response", object));
}

/* ---- items ----
 *
 * An item is announced; its text comes in deltas and once more whole; then the item comes whole. Reasoning
 * and messages have the text in a part, which is announced and closed around it. */

/* How the text of an item travels. */
struct channel {
        const char *delta, *done; /* event types */
        const char *text;         /* the field of `done` that has it */
        const char *index;        /* the field that numbers the part; NULL: the text is in no part */
        const char *part_added, *part_done;
};

static const struct channel channels[] = {
        { "response.output_text.delta", "response.output_text.done", "text", "content_index",
          "response.content_part.added", "response.content_part.done" },
        { "response.reasoning_text.delta", "response.reasoning_text.done", "text", "content_index",
          "response.content_part.added", "response.content_part.done" },
        { "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "text",
          "summary_index", "response.reasoning_summary_part.added", "response.reasoning_summary_part.done" },
        { "response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments",
          NULL, NULL, NULL },
        { "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done", "input", NULL,
          NULL, NULL },
};

static const struct channel *channel_of(const struct response *p, const struct agent_item *item)
{
        switch (item->kind) {
        case AGENT_MESSAGE:
                return &channels[0];
        case AGENT_REASONING:
                return &channels[p->summary ? 2 : 1];
        case AGENT_CALL:
                break;
        }
        return &channels[item->custom ? 4 : 3];
}

/* The place of the item that is open: behind the finished ones. */
static int output_index(const struct response *p)
{
        return (int)json_array_size(p->output);
}

/* Fields that place an event in the output. */
static json_t *place(const struct response *p, const struct agent_item *item, const struct channel *ch)
{
        json_t *v = json_pack("{s:s, s:i}", "item_id", item->id, "output_index", output_index(p));
        if (ch->index)
                json_object_set_new(v, ch->index, json_integer(0));
        return v;
}

/* The part of an item that holds `text`. */
static json_t *part(const struct response *p, const struct agent_item *item, struct str text,
                    const json_t *logprobs)
{
        if (item->kind == AGENT_MESSAGE)
                return item_text_part(text, logprobs);
        return p->summary ? item_summary_part(text) : item_reasoning_part(text);
}

static bool send_begin(struct response *p, const struct agent_item *item)
{
        const struct channel *ch = channel_of(p, item);
        bool more = send(p, "response.output_item.added",
                         json_pack("{s:i, s:o}", "output_index", output_index(p), "item", item_begun(item)));
        if (!ch->part_added)
                return more;
        json_t *fields = place(p, item, ch);
        json_object_set_new(fields, "part", part(p, item, STR(""), NULL));
        return send(p, ch->part_added, fields);
}

static bool send_delta(struct response *p, const struct agent_event *ev)
{
        const struct channel *ch = channel_of(p, ev->item);
        json_t *fields = place(p, ev->item, ch);
        json_object_set_new(fields, "delta", json_strn(ev->text));
        if (ev->item->kind == AGENT_MESSAGE)
                json_object_set_new(fields, "logprobs",
                                    ev->logprobs ? json_incref(ev->logprobs) : json_array());
        if (p->obfuscate)
                json_object_set_new(fields, "obfuscation", obfuscation_json(ev->text.n));
        return send(p, ch->delta, fields);
}

static bool send_end(struct response *p, const struct agent_item *item, json_t *ended)
{
        const struct channel *ch = channel_of(p, item);
        struct str text = buf_str(&item->text);
        json_t *fields = place(p, item, ch);
        json_object_set_new(fields, ch->text, json_strn(text));
        if (item->kind == AGENT_MESSAGE)
                json_object_set_new(fields, "logprobs",
                                    item->logprobs ? json_deep_copy(item->logprobs) : json_array());
        if (item->kind == AGENT_CALL && !item->custom)
                json_object_set_new(fields, "name", json_string(item->name));
        send(p, ch->done, fields);
        if (ch->part_done) {
                fields = place(p, item, ch);
                json_object_set_new(fields, "part", part(p, item, text, item->logprobs));
                send(p, ch->part_done, fields);
        }
        return send(p, "response.output_item.done",
                    json_pack("{s:i, s:O}", "output_index", output_index(p), "item", ended));
}

void response_send_item(struct response *p, json_t *item)
{
        static const char *const types[] = { "response.output_item.added", "response.output_item.done" };
        int index = (int)json_array_size(p->output);
        for (int i = 0; i < 2; i++)
                send(p, types[i], json_pack("{s:i, s:O}", "output_index", index, "item", item));
}

bool response_send(struct response *p, const struct agent_event *ev, json_t *ended)
{
        switch (ev->kind) {
        case AGENT_ITEM_BEGIN:
                return send_begin(p, ev->item);
        case AGENT_DELTA:
                return send_delta(p, ev);
        case AGENT_ITEM_END:
                return send_end(p, ev->item, ended);
        case AGENT_DONE:
                break;
        }
        return true;
}

/* There is no event of its own for a cancelled one; every client knows `incomplete` as an end. */
static const char *closing_type(const json_t *object)
{
        const char *status = json_cstr(object, "status", "failed");
        if (!strcmp(status, "completed"))
                return "response.completed";
        return strcmp(status, "failed") ? "response.incomplete" : "response.failed";
}

void response_send_closing(struct response *p, json_t *object)
{
        response_send_state(p, closing_type(object), object);
}

json_t *response_closing(const struct response *p, json_t *object, const char **ret_type)
{
        *ret_type = closing_type(object);
        return event_json(p, *ret_type, json_pack("{s:O}", "response", object));
}
