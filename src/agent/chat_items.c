/* The messages of a chat completion as items. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "agent/items.h"
#include "base/buf.h"
#include "base/map.h"

#define LISTED_MAX 400 /* bytes of the ids that an error lists */

/* One conversion. The calls of the last assistant message are open until a message with the role tool answers
 * them; all of them must be answered before anything else is said. */
struct chat_reading {
        json_t *items;
        struct map calls; /* call id -> the item; an answered one stays, as ANSWERED */
        size_t open;      /* calls without an answer */
        size_t asked;     /* index of the message that has them */
        bool legacy;      /* they are one `function_call`, answered by the role function */
        size_t index;     /* of the message that is being read */
        struct schema_err *err;
};

static char answered; /* its address marks a call in the map */
#define ANSWERED ((void *)&answered)

static int add(struct chat_reading *rd, json_t *item)
{
        return json_array_append_new(rd->items, item) ? -ENOMEM : 0;
}

/* The message that should have answered the open calls, or that never came. */
static int unanswered(struct chat_reading *rd)
{
        char param[48], ids[LISTED_MAX] = "";
        struct str id;
        void *call;
        size_t used = 0;
        for (size_t it = 0; map_next(&rd->calls, &it, &id, &call);) {
                if (call == ANSWERED || used + id.n + 3 > sizeof(ids))
                        continue;
                used += (size_t)snprintf(ids + used, sizeof(ids) - used, "%s%.*s", used ? ", " : "",
                                         STR_ARG(id));
        }
        snprintf(param, sizeof(param), "messages.[%zu].role", rd->asked);
        if (rd->legacy)
                return item_refuse(rd->err, NULL, param,
                                   "An assistant message with 'function_call' must be followed by a message "
                                   "with the role 'function'.");
        return item_refuse(rd->err, NULL, param,
                           "An assistant message with 'tool_calls' must be followed by tool messages "
                           "responding to each 'tool_call_id'. The following tool_call_ids did not have "
                           "response messages: %s",
                           ids);
}

/* Anything but an answer: no call may be open. */
static int settle(struct chat_reading *rd)
{
        if (rd->open)
                return unanswered(rd);
        map_release(&rd->calls, NULL);
        rd->calls = (struct map){ 0 };
        return 0;
}

static int add_call(struct chat_reading *rd, const char *id, const json_t *call, bool custom)
{
        const char *text = custom ? "input" : "arguments";
        json_t *item = json_pack("{s:s, s:s, s:O, s:O}", "type",
                                 custom ? "custom_tool_call" : "function_call", "call_id", id, "name",
                                 json_object_get(call, "name"), text, json_object_get(call, text));
        int rc = add(rd, item);
        if (rc == 0)
                rc = map_put(&rd->calls, str_c(id), item, NULL);
        rd->open = rd->calls.n;
        rd->asked = rd->index;
        return rc;
}

static int add_calls(struct chat_reading *rd, const json_t *message)
{
        json_t *list = json_get(message, "tool_calls"), *call;
        json_t *legacy = json_get(message, "function_call");
        size_t i;
        int rc = 0;
        rd->legacy = legacy != NULL;
        if (legacy)
                return add_call(rd, json_cstr(legacy, "name", ""), legacy, false);
        json_array_foreach(list, i, call)
        {
                bool custom = str_eqc(json_str(call, "type"), "custom");
                if (rc == 0)
                        rc = add_call(rd, json_cstr(call, "id", ""),
                                      json_object_get(call, custom ? "custom" : "function"), custom);
        }
        return rc;
}

/* Reasoning that a client sends back, under either of the names in use. */
static int add_reasoning(struct chat_reading *rd, const json_t *message)
{
        struct str text = json_str(message, "reasoning_content");
        if (!text.n)
                text = json_str(message, "reasoning");
        if (!text.n)
                return 0;
        return add(rd, json_pack("{s:s, s:[], s:[o]}", "type", "reasoning", "summary", "content",
                                 item_reasoning_part(text)));
}

static json_t *parts_of(struct chat_reading *rd, const char *role, const json_t *content)
{
        char path[64];
        snprintf(path, sizeof(path), "messages[%zu].content", rd->index);
        return item_parts(role, content, path, rd->err);
}

/* What an assistant message says: its content, else its refusal. */
static const json_t *said(const json_t *message)
{
        json_t *content = json_get(message, "content");
        return content ? content : json_get(message, "refusal");
}

static int read_said(struct chat_reading *rd, const json_t *message, const char *role)
{
        bool calls = json_array_size(json_get(message, "tool_calls")) || json_get(message, "function_call");
        const json_t *content = said(message);
        if (calls && (!content || (json_is_string(content) && !json_string_length(content))))
                return 0; /* calls need no words */
        json_t *parts = parts_of(rd, role, content);
        if (!parts)
                return rd->err->msg[0] ? -EINVAL : -ENOMEM;
        return add(rd, json_pack("{s:s, s:s, s:s, s:o}", "type", "message", "status", "completed", "role",
                                 role, "content", parts));
}

static int read_assistant(struct chat_reading *rd, const json_t *message)
{
        if (json_get(message, "audio")) {
                char path[64];
                snprintf(path, sizeof(path), "messages[%zu].audio", rd->index);
                return item_refuse(rd->err, "unsupported_parameter", path,
                                   "Unsupported parameter: '%s' is not supported with this model.", path);
        }
        int rc = add_reasoning(rd, message);
        if (rc == 0)
                rc = read_said(rd, message, "assistant");
        return rc ? rc : add_calls(rd, message);
}

/* An answer to a call: role tool, or function for the calls of old. */
static int read_answer(struct chat_reading *rd, const json_t *message, bool legacy)
{
        const char *key = legacy ? "name" : "tool_call_id";
        struct str id = json_str(message, key);
        char param[64];
        if (!rd->calls.n || rd->legacy != legacy) {
                snprintf(param, sizeof(param), "messages.[%zu].role", rd->index);
                return item_refuse(rd->err, NULL, param,
                                   "Invalid parameter: messages with role '%s' must be a response to a "
                                   "preceding message with '%s'.",
                                   legacy ? "function" : "tool", legacy ? "function_call" : "tool_calls");
        }
        json_t *call = map_get(&rd->calls, id);
        if (!call) {
                snprintf(param, sizeof(param), "messages.[%zu].%s", rd->index, key);
                return item_refuse(rd->err, NULL, param,
                                   "Invalid parameter: '%s' of '%.*s' not found in '%s' of previous message.",
                                   key, (int)(id.n < 64 ? id.n : 64), id.p,
                                   legacy ? "function_call" : "tool_calls");
        }
        bool again = (void *)call == ANSWERED;
        bool custom = !again && str_eqc(json_str(call, "type"), "custom_tool_call");
        rd->open -= !again;
        json_t *content = json_get(message, "content");
        json_t *output = json_is_array(content) ? parts_of(rd, "user", content)
                         : content              ? json_incref(content)
                                                : json_string("");
        if (!output)
                return rd->err->msg[0] ? -EINVAL : -ENOMEM;
        int rc = add(rd, json_pack("{s:s, s:s%, s:o}", "type",
                                   custom ? "custom_tool_call_output" : "function_call_output", "call_id",
                                   id.p, id.n, "output", output));
        return rc ? rc : map_put(&rd->calls, id, ANSWERED, NULL);
}

static int read_message(struct chat_reading *rd, const json_t *message)
{
        const char *role = json_cstr(message, "role", "");
        if (!strcmp(role, "tool") || !strcmp(role, "function"))
                return read_answer(rd, message, role[0] == 'f');
        int rc = settle(rd);
        if (rc)
                return rc;
        return strcmp(role, "assistant") ? read_said(rd, message, role) : read_assistant(rd, message);
}

int items_from_chat(const json_t *messages, json_t *items, struct schema_err *reterr)
{
        struct chat_reading rd = { .items = items, .err = reterr };
        size_t n = json_array_size(messages);
        int rc = 0;
        *reterr = (struct schema_err){ 0 };
        for (; rc == 0 && rd.index < n; rd.index++)
                rc = read_message(&rd, json_array_get(messages, rd.index));
        if (rc == 0)
                rc = settle(&rd);
        map_release(&rd.calls, NULL);
        return rc;
}
