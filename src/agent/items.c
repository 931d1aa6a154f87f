#include "agent/items.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "agent/loop.h"
#include "base/buf.h"
#include "base/ids.h"
#include "base/map.h"

#define ID_HEX_DIGITS 48
#define TEXT_MAX ((size_t)256 << 20)
#define CALL_ID_MAX 64

int item_refuse(struct schema_err *reterr, const char *code, const char *param, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(reterr->msg, sizeof(reterr->msg), fmt, ap);
        va_end(ap);
        snprintf(reterr->param, sizeof(reterr->param), "%s", param);
        reterr->code = code;
        return -EINVAL;
}

static int refuse_type(struct schema_err *reterr, const char *path, const char *type)
{
        char param[SCHEMA_PARAM_MAX];
        snprintf(param, sizeof(param), "%s.type", path);
        return item_refuse(reterr, "unsupported_value", param,
                           "Unsupported value: '%s' does not support '%s' with this model.", param, type);
}

/* ---- text ---- */

static json_t *part_text(const json_t *part)
{
        return json_object_get(part, json_object_get(part, "refusal") ? "refusal" : "text");
}

json_t *item_text(const json_t *parts)
{
        size_t i;
        json_t *part;
        struct buf text;
        if (json_is_string(parts))
                return json_incref((json_t *)parts);
        if (json_array_size(parts) == 1 && json_is_string(part_text(json_array_get(parts, 0))))
                return json_incref(part_text(json_array_get(parts, 0)));
        buf_init(&text, TEXT_MAX);
        json_array_foreach((json_t *)parts, i, part)
        {
                struct str s = json_as_str(part_text(part));
                buf_add(&text, s.p, s.n);
        }
        json_t *joined = buf_error(&text) ? NULL : json_strn(buf_str(&text));
        buf_release(&text);
        return joined;
}

json_t *item_reasoning_text(const json_t *item)
{
        json_t *content = json_get(item, "content");
        json_t *parts = json_array_size(content) ? content : json_get(item, "summary");
        return json_array_size(parts) ? item_text(parts) : NULL;
}

json_t *item_text_part(struct str text, const json_t *logprobs)
{
        json_t *lp = logprobs ? json_deep_copy(logprobs) : json_array();
        return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", json_strn(text),
                         "annotations", "logprobs", lp);
}

json_t *item_reasoning_part(struct str text)
{
        return json_pack("{s:s, s:o}", "type", "reasoning_text", "text", json_strn(text));
}

json_t *item_summary_part(struct str text)
{
        return json_pack("{s:s, s:o}", "type", "summary_text", "text", json_strn(text));
}

/* ---- items of an answer ---- */

static json_t *call_json(const struct agent_item *item, const char *status, struct str input)
{
        const char *type = item->custom ? "custom_tool_call" : "function_call";
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", item->id, "type", type, "status", status,
                         "call_id", item->call_id, "name", item->name, item->custom ? "input" : "arguments",
                         json_strn(input));
}

static json_t *message_json(const struct agent_item *item, const char *status, json_t *content)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", item->id, "type", "message", "status", status,
                         "role", "assistant", "content", content);
}

static json_t *reasoning_json(const struct agent_item *item, const char *status)
{
        return json_pack("{s:s, s:s, s:s, s:[]}", "id", item->id, "type", "reasoning", "status", status,
                         "summary");
}

json_t *item_begun(const struct agent_item *item)
{
        if (item->kind == AGENT_CALL)
                return call_json(item, "in_progress", STR(""));
        return item->kind == AGENT_MESSAGE ? message_json(item, "in_progress", json_array())
                                           : reasoning_json(item, "in_progress");
}

json_t *item_ended(const struct agent_item *item, const struct item_form *form)
{
        const char *status = item->whole ? "completed" : "incomplete";
        struct str text = buf_str(&item->text);
        if (item->kind == AGENT_CALL)
                return call_json(item, status, text);
        if (item->kind == AGENT_MESSAGE)
                return message_json(item, status, json_pack("[o]", item_text_part(text, item->logprobs)));
        json_t *v = reasoning_json(item, status);
        if (form->summary)
                json_object_set_new(v, "summary", json_pack("[o]", item_summary_part(text)));
        else
                json_object_set_new(v, "content", json_pack("[o]", item_reasoning_part(text)));
        if (form->sealed)
                json_object_set_new(v, "encrypted_content", json_string(form->sealed));
        return v;
}

/* ---- content of messages ---- */

/* One text part in the form that its role has. */
static json_t *text_part(const char *role, struct str text)
{
        if (strcmp(role, "assistant") == 0)
                return item_text_part(text, NULL);
        return json_pack("{s:s, s:o}", "type", "input_text", "text", json_strn(text));
}

json_t *item_parts(const char *role, const json_t *content, const char *path, struct schema_err *reterr)
{
        json_t *parts = json_array();
        size_t i;
        json_t *part;
        if (json_is_string(content) && json_array_append_new(parts, text_part(role, json_as_str(content)))) {
                json_decref(parts);
                return NULL;
        }
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
                        refuse_type(reterr, at, type);
                }
                if (!known || json_array_append_new(parts, made)) {
                        json_decref(parts);
                        return NULL;
                }
        }
        return parts;
}

/* ---- the input of a response ---- */

/* One normalisation of an input. */
struct reading {
        const struct item_source *source;
        struct map taken; /* ids in the conversation */
        json_t *made;
        size_t index; /* of the item that is being read */
        struct schema_err *err;
};

/* "input[3]" and what follows it, as errors name a place; out has SCHEMA_PARAM_MAX bytes. */
static const char *path_of(const struct reading *rd, const char *rest, char *out)
{
        snprintf(out, SCHEMA_PARAM_MAX, "%s[%zu]%s", rd->source->field ? rd->source->field : "input",
                 rd->index, rest);
        return out;
}

/* The id wanted if it is still free, else a new one in `out`; NULL with rd->err when it is too long, and when
 * memory is out. */
static const char *take_id(struct reading *rd, const char *wanted, const char *prefix, char *out)
{
        const char *id = wanted;
        if (strlen(wanted) > ITEM_ID_MAX) {
                char path[SCHEMA_PARAM_MAX];
                item_refuse(rd->err, "string_above_max_length", path_of(rd, ".id", path),
                            "Invalid '%s': string too long. Expected a string with at most %d bytes, but got "
                            "one with %zu instead.",
                            path, ITEM_ID_MAX, strlen(wanted));
                return NULL;
        }
        if (!*wanted || map_get(&rd->taken, str_c(wanted))) {
                id = id_hex(out, prefix, ID_HEX_DIGITS);
                if (json_array_append_new(rd->made, json_string(id)))
                        return NULL;
        }
        return map_put(&rd->taken, str_c(id), rd, NULL) ? NULL : id;
}

/* What the ids of new items of a type begin with. */
static const char *prefix_of(const json_t *item)
{
        static const char *const prefixes[][2] = {
                { "message", "msg_" },          { "function_call", "fc_" },
                { "custom_tool_call", "ctc_" }, { "function_call_output", "fco_" },
                { "reasoning", "rs_" },         { "custom_tool_call_output", "ctco_" },
                { "compaction", "cmp_" },
        };
        for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
                if (str_eqc(json_str(item, "type"), prefixes[i][0]))
                        return prefixes[i][1];
        return "item_";
}

/* Gives an item (consumed) its id. */
static json_t *identified(struct reading *rd, json_t *item)
{
        char made[ID_MAX];
        const char *wanted = json_cstr(item, "id", "");
        const char *id = item ? take_id(rd, wanted, prefix_of(item), made) : NULL;
        if (id == wanted || (id && json_object_set_new(item, "id", json_string(id)) == 0))
                return item;
        json_decref(item);
        return NULL;
}

static json_t *message_item(const char *role, json_t *parts, const char *id)
{
        return json_pack("{s:s*, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "status", "completed",
                         "role", role, "content", parts);
}

static json_t *read_message(struct reading *rd, const json_t *in)
{
        char path[SCHEMA_PARAM_MAX];
        path_of(rd, ".content", path);
        const char *role = json_cstr(in, "role", "user");
        json_t *parts = item_parts(role, json_object_get(in, "content"), path, rd->err);
        if (!parts)
                return NULL;
        return identified(rd, message_item(role, parts, json_cstr(in, "id", NULL)));
}

static json_t *read_call(struct reading *rd, const json_t *in, bool custom)
{
        const char *text = custom ? "input" : "arguments";
        json_t *item =
                json_pack("{s:s*, s:s, s:s, s:O, s:O, s:O}", "id", json_cstr(in, "id", NULL), "type",
                          custom ? "custom_tool_call" : "function_call", "status",
                          json_cstr(in, "status", "completed"), "call_id", json_object_get(in, "call_id"),
                          "name", json_object_get(in, "name"), text, json_object_get(in, text));
        return identified(rd, item);
}

static json_t *read_output(struct reading *rd, const json_t *in, bool custom)
{
        char path[SCHEMA_PARAM_MAX];
        const json_t *said = json_object_get(in, "output");
        path_of(rd, ".call_id", path);
        if (!json_str(in, "call_id").n) {
                item_refuse(rd->err, "missing_required_parameter", path, "Missing required parameter: '%s'.",
                            path);
                return NULL;
        }
        path_of(rd, ".output", path);
        json_t *output =
                json_is_array(said) ? item_parts("user", said, path, rd->err) : json_incref((json_t *)said);
        if (!output)
                return NULL;
        json_t *item = json_pack("{s:s*, s:s, s:s, s:O, s:o}", "id", json_cstr(in, "id", NULL), "type",
                                 custom ? "custom_tool_call_output" : "function_call_output", "status",
                                 json_cstr(in, "status", "completed"), "call_id",
                                 json_object_get(in, "call_id"), "output", output);
        return identified(rd, item);
}

/* Reasoning comes back with its text, sealed, or by its id alone when it was stored. */
static json_t *read_reasoning(struct reading *rd, const json_t *in)
{
        struct str sealed = json_str(in, "encrypted_content");
        const char *id = json_cstr(in, "id", "");
        json_t *text = item_reasoning_text(in), *content = json_get(in, "content");
        if (!text && !sealed.n && !strncmp(id, "rs_", 3))
                return identified(rd, rd->source->find(rd->source->ctx, id, rd->index, rd->err));
        if (sealed.n && !json_array_size(content)) {
                json_decref(text);
                text = rd->source->unseal(rd->source->ctx, "reasoning", sealed, rd->index, rd->err);
                if (!text)
                        return NULL;
                content = json_pack("[o]", item_reasoning_part(json_as_str(text)));
        } else {
                json_incref(content);
        }
        json_decref(text);
        json_t *summary = json_get(in, "summary");
        json_t *item = json_pack("{s:s*, s:s, s:o, s:o*, s:O*}", "id", *id ? id : NULL, "type", "reasoning",
                                 "summary", summary ? json_incref(summary) : json_array(), "content", content,
                                 "encrypted_content", json_get(in, "encrypted_content"));
        return identified(rd, item);
}

/* A compaction stays sealed; it is opened to see that it is whole and ours. */
static json_t *read_compaction(struct reading *rd, const json_t *in)
{
        json_t *text = rd->source->unseal(rd->source->ctx, "compaction", json_str(in, "encrypted_content"),
                                          rd->index, rd->err);
        if (!text)
                return NULL;
        json_decref(text);
        return identified(rd,
                          json_pack("{s:s*, s:s, s:O}", "id", json_cstr(in, "id", NULL), "type", "compaction",
                                    "encrypted_content", json_object_get(in, "encrypted_content")));
}

/* One item of the input array; NULL with rd->err. */
static json_t *read_item(struct reading *rd, const json_t *in)
{
        const char *type = json_cstr(in, "type", NULL);
        if (!type)
                type = json_get(in, "role") ? "message" : "item_reference";
        if (!strcmp(type, "message"))
                return read_message(rd, in);
        if (!strcmp(type, "item_reference"))
                return identified(
                        rd, rd->source->find(rd->source->ctx, json_cstr(in, "id", ""), rd->index, rd->err));
        if (!strcmp(type, "reasoning"))
                return read_reasoning(rd, in);
        if (!strcmp(type, "compaction"))
                return read_compaction(rd, in);
        bool custom = !strncmp(type, "custom_tool_call", 16);
        if (!strcmp(type, "function_call") || !strcmp(type, "custom_tool_call"))
                return read_call(rd, in, custom);
        if (!strcmp(type, "function_call_output") || !strcmp(type, "custom_tool_call_output"))
                return read_output(rd, in, custom);
        char path[SCHEMA_PARAM_MAX];
        if (!strcmp(type, "compaction_trigger")) {
                item_refuse(rd->err, "invalid_value", path_of(rd, "", path),
                            "Invalid '%s': a compaction_trigger must be the final input item.", path);
                return NULL;
        }
        refuse_type(rd->err, path_of(rd, "", path), type);
        return NULL;
}

static json_t *text_input(struct reading *rd, const json_t *input)
{
        json_t *parts = json_pack("[o]", text_part("user", json_as_str(input)));
        return identified(rd, message_item("user", parts, NULL));
}

int items_from_input(const json_t *input, const struct item_source *source, const json_t *earlier,
                     json_t *items, json_t *made, struct schema_err *reterr)
{
        struct reading rd = { .source = source, .made = made, .err = reterr };
        int rc = 0;
        size_t i, n = json_is_string(input) ? 1 : json_array_size(input);
        json_t *before;
        *reterr = (struct schema_err){ 0 };
        json_array_foreach((json_t *)earlier, i, before)
        {
                if (map_put(&rd.taken, json_str(before, "id"), &rd, NULL))
                        rc = -ENOMEM;
        }
        for (; rc == 0 && rd.index < n; rd.index++) {
                json_t *item = json_is_string(input) ? text_input(&rd, input)
                                                     : read_item(&rd, json_array_get(input, rd.index));
                if (!item)
                        rc = reterr->msg[0] ? -EINVAL : -ENOMEM;
                else if (json_array_append_new(items, item))
                        rc = -ENOMEM;
        }
        map_release(&rd.taken, NULL);
        return rc;
}

int items_renew_ids(json_t *items, const json_t *earlier)
{
        struct map taken = { 0 };
        size_t i;
        json_t *item;
        int rc = 0;
        json_array_foreach((json_t *)earlier, i, item)
        {
                if (rc == 0)
                        rc = map_put(&taken, json_str(item, "id"), item, NULL);
        }
        json_array_foreach(items, i, item)
        {
                char id[ID_MAX];
                struct str had = json_str(item, "id");
                if (rc || (had.n <= ITEM_ID_MAX && !map_get(&taken, had)))
                        continue;
                json_t *renewed = json_copy(item);
                id_hex(id, prefix_of(item), ID_HEX_DIGITS);
                rc = json_put(renewed, "id", json_string(id));
                if (json_array_set_new(items, i, renewed))
                        rc = -ENOMEM;
        }
        map_release(&taken, NULL);
        return rc ? -ENOMEM : 0;
}

/* ---- calls and their outputs ---- */

bool item_is_call(const json_t *item)
{
        struct str type = json_str(item, "type");
        return str_eqc(type, "function_call") || str_eqc(type, "custom_tool_call");
}

bool item_is_output(const json_t *item)
{
        struct str type = json_str(item, "type");
        return str_eqc(type, "function_call_output") || str_eqc(type, "custom_tool_call_output");
}

/* "function call" or "custom tool call", as errors name them. */
static const char *kind_of(const json_t *item)
{
        return str_starts(json_str(item, "type"), "custom") ? "custom tool call" : "function call";
}

int items_check_calls(const json_t *items, struct schema_err *reterr)
{
        struct map open = { 0 }; /* call id -> the call, until it is answered */
        struct map seen = { 0 };
        size_t i;
        json_t *item;
        int rc = 0;
        *reterr = (struct schema_err){ 0 };
        json_array_foreach((json_t *)items, i, item)
        {
                struct str id = json_str(item, "call_id");
                if (item_is_call(item) && !rc) {
                        rc = map_put(&open, id, item, NULL);
                        if (!rc)
                                rc = map_put(&seen, id, item, NULL);
                } else if (item_is_output(item) && !rc) {
                        map_remove(&open, id);
                        if (!map_get(&seen, id))
                                rc = item_refuse(reterr, NULL, "input",
                                                 "No tool call found for %s output with call_id %.*s.",
                                                 kind_of(item),
                                                 (int)(id.n < CALL_ID_MAX ? id.n : CALL_ID_MAX), id.p);
                }
        }
        json_array_foreach((json_t *)items, i, item)
        {
                struct str id = json_str(item, "call_id");
                bool cut = str_eqc(json_str(item, "status"), "incomplete");
                if (!rc && item_is_call(item) && map_get(&open, id) && !cut)
                        rc = item_refuse(reterr, NULL, "input", "No tool output found for %s %.*s.",
                                         kind_of(item), (int)(id.n < CALL_ID_MAX ? id.n : CALL_ID_MAX), id.p);
        }
        map_release(&open, NULL);
        map_release(&seen, NULL);
        return rc;
}
