#include "agent/messages.h"

#include "agent/items.h"
#include "base/map.h"

struct making {
        json_t *messages;
        json_t *reasoning;   /* text that waits for what followed it; NULL: none */
        json_t *assistant;   /* the message that calls are added to; NULL: none; borrowed */
        struct map calls;    /* call id -> the call */
        struct map answered; /* call id -> the output */
        bool broken;         /* memory was out */
};

/* Appends a message (consumed) that ends what the assistant said before. NULL when memory is out. */
static json_t *append(struct making *mk, json_t *message)
{
        bool failed = json_array_append_new(mk->messages, message) != 0;
        mk->broken |= failed;
        mk->assistant = NULL;
        return failed ? NULL : message;
}

/* A new message of the assistant with the reasoning before it. content is consumed, NULL is null. */
static void append_assistant(struct making *mk, json_t *content)
{
        mk->assistant = append(mk, json_pack("{s:s, s:o?, s:o*}", "role", "assistant", "content", content,
                                             "reasoning_content", mk->reasoning));
        mk->reasoning = NULL;
}

static void drop_reasoning(struct making *mk)
{
        json_decref(mk->reasoning);
        mk->reasoning = NULL;
}

static void add_message(struct making *mk, const json_t *item)
{
        json_t *content = item_text(json_object_get(item, "content"));
        if (str_eqc(json_str(item, "role"), "assistant")) {
                append_assistant(mk, content);
                return;
        }
        drop_reasoning(mk);
        append(mk, json_pack("{s:O, s:o}", "role", json_object_get(item, "role"), "content", content));
}

static void add_call(struct making *mk, const json_t *item)
{
        bool custom = str_eqc(json_str(item, "type"), "custom_tool_call");
        const char *kind = custom ? "custom" : "function", *text = custom ? "input" : "arguments";
        if (str_eqc(json_str(item, "status"), "incomplete") &&
            !map_get(&mk->answered, json_str(item, "call_id")))
                return;
        if (!mk->assistant || mk->reasoning)
                append_assistant(mk, NULL);
        json_t *calls = json_object_get(mk->assistant, "tool_calls");
        if (!calls && json_put(mk->assistant, "tool_calls", json_array()) == 0)
                calls = json_object_get(mk->assistant, "tool_calls");
        json_t *call =
                json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", json_object_get(item, "call_id"), "type", kind,
                          kind, "name", json_object_get(item, "name"), text, json_object_get(item, text));
        mk->broken |= json_array_append_new(calls, call) != 0;
}

static void add_output(struct making *mk, const json_t *item)
{
        const json_t *call = map_get(&mk->calls, json_str(item, "call_id"));
        drop_reasoning(mk);
        append(mk, json_pack("{s:s, s:O, s:O*, s:o}", "role", "tool", "tool_call_id",
                             json_object_get(item, "call_id"), "name", json_object_get(call, "name"),
                             "content", item_text(json_object_get(item, "output"))));
}

static void add_item(struct making *mk, const json_t *item)
{
        struct str type = json_str(item, "type");
        if (str_eqc(type, "message")) {
                add_message(mk, item);
        } else if (item_is_call(item)) {
                add_call(mk, item);
        } else if (item_is_output(item)) {
                add_output(mk, item);
        } else if (str_eqc(type, "reasoning")) {
                drop_reasoning(mk);
                mk->reasoning = item_reasoning_text(item);
        }
}

json_t *messages_from_items(struct str instructions, const json_t *items)
{
        struct making mk = { .messages = json_array() };
        size_t i;
        json_t *item;
        json_array_foreach((json_t *)items, i, item)
        {
                struct map *index = item_is_call(item)     ? &mk.calls
                                    : item_is_output(item) ? &mk.answered
                                                           : NULL;
                if (index && map_put(index, json_str(item, "call_id"), item, NULL))
                        mk.broken = true;
        }
        if (instructions.n)
                append(&mk, json_pack("{s:s, s:o}", "role", "system", "content", json_strn(instructions)));
        json_array_foreach((json_t *)items, i, item) add_item(&mk, item);
        drop_reasoning(&mk);
        map_release(&mk.calls, NULL);
        map_release(&mk.answered, NULL);
        if (mk.broken)
                json_decref(mk.messages);
        return mk.broken ? NULL : mk.messages;
}
