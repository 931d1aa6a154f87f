#include "agent/items.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/ids.h"
#include "base/map.h"

#define ID_HEX_DIGITS 48

static int refuse(struct schema_err *reterr, const char *code, const char *param, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

static int refuse(struct schema_err *reterr, const char *code, const char *param, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(reterr->msg, sizeof(reterr->msg), fmt, ap);
        va_end(ap);
        snprintf(reterr->param, sizeof(reterr->param), "%s", param);
        reterr->code = code;
        return -EINVAL;
}

static int refuse_part(struct schema_err *reterr, const char *path, const char *type)
{
        char param[SCHEMA_PARAM_MAX];
        snprintf(param, sizeof(param), "%s.type", path);
        return refuse(reterr, "unsupported_value", param,
                      "Unsupported value: '%s' does not support '%s' with this model. It reads text only.",
                      param, type);
}

static bool is_assistant(const char *role)
{
        return strcmp(role, "assistant") == 0;
}

json_t *item_text_part(struct str text, const json_t *logprobs)
{
        json_t *lp = logprobs ? json_deep_copy(logprobs) : json_array();
        return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", json_strn(text),
                         "annotations", "logprobs", lp);
}

json_t *item_message(const char *id, const char *status, struct str text, const json_t *logprobs)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:[o]}", "id", id, "type", "message", "status", status, "role",
                         "assistant", "content", item_text_part(text, logprobs));
}

/* One text part in the form that its role has. */
static json_t *text_part(const char *role, struct str text)
{
        if (is_assistant(role))
                return item_text_part(text, NULL);
        return json_pack("{s:s, s:o}", "type", "input_text", "text", json_strn(text));
}

/* A part list from `content` (a string, a list of parts, or null). path names it in errors. */
static json_t *parts_of(const char *role, const json_t *content, const char *path, struct schema_err *reterr)
{
        json_t *parts = json_array();
        if (json_is_string(content)) {
                if (json_array_append_new(parts, text_part(role, json_as_str(content)))) {
                        json_decref(parts);
                        return NULL;
                }
                return parts;
        }
        size_t i;
        json_t *part;
        json_array_foreach((json_t *)content, i, part)
        {
                const char *type = json_cstr(part, "type", "");
                json_t *made = NULL;
                bool known = true;
                if (!strcmp(type, "input_text") || !strcmp(type, "text") || !strcmp(type, "output_text"))
                        made = text_part(role, json_str(part, "text"));
                else if (!strcmp(type, "refusal"))
                        made = json_pack("{s:s, s:o}", "type", "refusal", "refusal",
                                         json_strn(json_str(part, "refusal")));
                else
                        known = false;
                if (!known) {
                        char at[SCHEMA_PARAM_MAX];
                        snprintf(at, sizeof(at), "%s[%zu]", path, i);
                        refuse_part(reterr, at, type);
                }
                if (!known || json_array_append_new(parts, made)) {
                        json_decref(parts);
                        return NULL;
                }
        }
        return parts;
}

static json_t *message_item(const char *role, json_t *parts, const char *id)
{
        json_t *item = json_pack("{s:s*, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "status",
                                 "completed", "role", role, "content", parts);
        return item;
}

/* The ids in a conversation. */
struct ids {
        struct map taken;
        json_t *made;
};

/* The id wanted if it is still free, else a new one in `out`; NULL when memory is out. */
static const char *take_id(struct ids *ids, const char *wanted, const char *prefix, char *out)
{
        const char *id = wanted;
        if (!*wanted || map_get(&ids->taken, str_c(wanted))) {
                id = id_hex(out, prefix, ID_HEX_DIGITS);
                if (json_array_append_new(ids->made, json_string(id)))
                        return NULL;
        }
        return map_put(&ids->taken, str_c(id), ids, NULL) ? NULL : id;
}

static json_t *input_message(const json_t *in, size_t index, struct ids *ids, struct schema_err *reterr)
{
        char path[64], made[ID_MAX];
        snprintf(path, sizeof(path), "input[%zu].content", index);
        const char *role = json_cstr(in, "role", "user");
        json_t *parts = parts_of(role, json_object_get(in, "content"), path, reterr);
        const char *id = parts ? take_id(ids, json_cstr(in, "id", ""), "msg_", made) : NULL;
        if (id)
                return message_item(role, parts, id);
        json_decref(parts);
        return NULL;
}

/* Gives an item (consumed) its id. */
static json_t *identified(json_t *item, const char *prefix, struct ids *ids)
{
        char made[ID_MAX];
        const char *wanted = json_cstr(item, "id", ""),
                   *id = item ? take_id(ids, wanted, prefix, made) : NULL;
        if (id == wanted || (id && json_object_set_new(item, "id", json_string(id)) == 0))
                return item;
        json_decref(item);
        return NULL;
}

/* One item of the input array; NULL with *reterr. */
static json_t *input_item(const json_t *in, size_t index, const struct item_source *source, struct ids *ids,
                          struct schema_err *reterr)
{
        const char *type = json_cstr(in, "type", NULL);
        if (!type)
                type = json_get(in, "role") ? "message" : "item_reference";
        if (!strcmp(type, "message"))
                return input_message(in, index, ids, reterr);
        if (!strcmp(type, "item_reference"))
                return identified(source->find(source->ctx, json_cstr(in, "id", ""), index, reterr), "msg_",
                                  ids);
        if (!strcmp(type, "reasoning"))
                return identified(json_deep_copy(in), "rs_", ids);
        char path[48];
        snprintf(path, sizeof(path), "input[%zu]", index);
        refuse_part(reterr, path, type);
        return NULL;
}

static int text_input(const json_t *input, struct ids *ids, json_t *items)
{
        char made[ID_MAX];
        const char *id = take_id(ids, "", "msg_", made);
        json_t *parts = id ? json_pack("[o]", text_part("user", json_as_str(input))) : NULL;
        return json_array_append_new(items, message_item("user", parts, id)) ? -ENOMEM : 0;
}

int items_from_input(const json_t *input, const struct item_source *source, const json_t *earlier,
                     json_t *items, json_t *made, struct schema_err *reterr)
{
        struct ids ids = { .made = made };
        int rc = 0;
        size_t i;
        json_t *in;
        *reterr = (struct schema_err){ 0 };
        json_array_foreach((json_t *)earlier, i, in)
        {
                if (map_put(&ids.taken, json_str(in, "id"), &ids, NULL))
                        rc = -ENOMEM;
        }
        if (rc == 0 && json_is_string(input))
                rc = text_input(input, &ids, items);
        for (i = 0; rc == 0 && i < json_array_size(input); i++) {
                json_t *item = input_item(json_array_get(input, i), i, source, &ids, reterr);
                if (!item)
                        rc = reterr->msg[0] ? -EINVAL : -ENOMEM;
                else if (json_array_append_new(items, item))
                        rc = -ENOMEM;
        }
        map_release(&ids.taken, NULL);
        return rc;
}

/* What an assistant message of a chat says: its content, else its refusal. */
static const json_t *chat_content(const json_t *message)
{
        json_t *content = json_get(message, "content");
        return content ? content : json_get(message, "refusal");
}

int items_from_chat(const json_t *messages, json_t *items, struct schema_err *reterr)
{
        *reterr = (struct schema_err){ 0 };
        size_t i;
        json_t *m;
        json_array_foreach((json_t *)messages, i, m)
        {
                char path[64];
                const char *role = json_cstr(m, "role", "");
                snprintf(path, sizeof(path), "messages[%zu].content", i);
                if (!strcmp(role, "tool") || !strcmp(role, "function")) {
                        snprintf(path, sizeof(path), "messages[%zu].role", i);
                        return refuse(reterr, "unsupported_value", path,
                                      "Unsupported value: '%s' does not support '%s' with this model.", path,
                                      role);
                }
                if (json_get(m, "tool_calls") || json_get(m, "function_call") || json_get(m, "audio")) {
                        const char *name = json_get(m, "tool_calls")      ? "tool_calls"
                                           : json_get(m, "function_call") ? "function_call"
                                                                          : "audio";
                        snprintf(path, sizeof(path), "messages[%zu].%s", i, name);
                        return refuse(reterr, "unsupported_parameter", path,
                                      "Unsupported parameter: '%s' is not supported with this model.", path);
                }
                json_t *parts = parts_of(role, chat_content(m), path, reterr);
                if (!parts)
                        return reterr->msg[0] ? -EINVAL : -ENOMEM;
                if (json_array_append_new(items, message_item(role, parts, NULL)))
                        return -ENOMEM;
        }
        return 0;
}

static struct str part_text(const json_t *part)
{
        return json_str(part, json_object_get(part, "refusal") ? "refusal" : "text");
}

/* The text of a message item: its parts joined. One part, the usual case, is not copied. */
static int text_of(struct arena *a, const json_t *item, struct str *ret)
{
        const json_t *parts = json_object_get(item, "content");
        size_t n = 0, i;
        json_t *part;
        *ret = part_text(json_array_get(parts, 0));
        if (json_array_size(parts) < 2)
                return 0;
        json_array_foreach((json_t *)parts, i, part) n += part_text(part).n;
        char *joined = arena_alloc(a, n + 1);
        if (!joined)
                return -ENOMEM;
        *ret = (struct str){ joined, n };
        json_array_foreach((json_t *)parts, i, part)
        {
                struct str text = part_text(part);
                memcpy(joined, text.p, text.n);
                joined += text.n;
        }
        return 0;
}

static int add_message(json_t *messages, struct str role, struct str content)
{
        return json_array_append_new(messages, json_pack("{s:o, s:o}", "role", json_strn(role), "content",
                                                         json_strn(content)))
                       ? -ENOMEM
                       : 0;
}

int items_to_messages(struct arena *a, struct str instructions, const json_t *items, json_t **ret)
{
        json_t *out = json_keep(a, json_array()), *item;
        int rc = out ? 0 : -ENOMEM;
        size_t i;
        if (!rc && instructions.n)
                rc = add_message(out, STR("system"), instructions);
        json_array_foreach((json_t *)items, i, item)
        {
                struct str text;
                if (rc || strcmp(json_cstr(item, "type", ""), "message"))
                        continue;
                rc = text_of(a, item, &text);
                if (!rc)
                        rc = add_message(out, json_str(item, "role"), text);
        }
        *ret = out;
        return rc;
}
