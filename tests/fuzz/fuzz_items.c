/* fuzz_items.c: bodies of chats and responses become items, and items the messages of a turn.
 *
 * Input: JSON text, as the body of a chat when it has `messages`, else of a response; what the contract
 * refuses never gets that far. What is taken must make sense: ids are unique, every message has its role,
 * calls come with an id, and results of tools answer a call that was shown before. A compaction of it keeps
 * what has to be kept. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include "agent/items.h"
#include "agent/messages.h"
#include "api/compact_plan.h"
#include "base/map.h"

#define DEPTH_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *find(void *ctx, const char *id, size_t index, struct schema_err *reterr)
{
        (void)ctx;
        if (index % 3 == 0)
                return json_pack("{s:s, s:s, s:s, s:[{s:s, s:s}]}", "id", id, "type", "message", "role",
                                 "user", "content", "type", "input_text", "text", "stored");
        if (index % 3 == 1)
                return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "type", "function_call", "call_id",
                                 "call_1", "name", "f", "arguments", "{}");
        snprintf(reterr->msg, sizeof(reterr->msg), "not found");
        return NULL;
}

static json_t *unseal(void *ctx, const char *type, struct str sealed, size_t index, struct schema_err *reterr)
{
        (void)ctx;
        (void)type;
        (void)index;
        if (sealed.p[0] != 'x')
                snprintf(reterr->msg, sizeof(reterr->msg), "forged");
        return sealed.p[0] == 'x' ? json_stringn(sealed.p, sealed.n) : NULL;
}

static void check_ids(const json_t *items)
{
        struct map seen = { 0 };
        size_t i;
        json_t *item;
        json_array_foreach((json_t *)items, i, item)
        {
                struct str id = json_str(item, "id");
                assert(id.n && !map_get(&seen, id));
                assert(map_put(&seen, id, item, NULL) == 0);
        }
        map_release(&seen, NULL);
}

static void check_messages(const json_t *messages)
{
        struct map shown = { 0 };
        size_t i, k;
        json_t *m, *call;
        json_array_foreach((json_t *)messages, i, m)
        {
                assert(json_str(m, "role").n);
                json_t *calls = json_object_get(m, "tool_calls");
                assert(!calls || json_array_size(calls));
                json_array_foreach(calls, k, call)
                {
                        const json_t *inner = json_object_get(call, json_cstr(call, "type", ""));
                        assert(json_is_string(json_object_get(inner, "name")));
                        assert(map_put(&shown, json_str(call, "id"), call, NULL) == 0);
                }
                if (str_eqc(json_str(m, "role"), "tool"))
                        assert(map_get(&shown, json_str(m, "tool_call_id")));
                else
                        assert(calls || json_is_string(json_object_get(m, "content")));
        }
        map_release(&shown, NULL);
}

static int read_items(const json_t *body, bool chat, json_t *items)
{
        static const struct item_source source = { find, unseal, NULL, NULL };
        struct schema_err why;
        if (chat)
                return items_from_chat(json_object_get(body, "messages"), items, &why);
        json_t *made = json_array();
        int rc = items_from_input(json_get(body, "input"), &source, NULL, items, made, &why);
        if (rc == 0)
                check_ids(items);
        if (rc == 0)
                rc = items_check_calls(items, &why);
        assert(rc == 0 || why.msg[0]);
        json_decref(made);
        return rc;
}

/* What a compaction keeps are items of the conversation in their order, and all calls without a result. */
static void check_compaction(const json_t *items, enum compact_covers covers, size_t keep_bytes)
{
        struct compact_plan plan;
        struct map answered = { 0 };
        size_t i, next = 0;
        json_t *item;
        assert(compact_plan_make(items, covers, keep_bytes, &plan) == 0);
        json_array_foreach((json_t *)items, i, item)
        {
                if (item_is_output(item))
                        assert(map_put(&answered, json_str(item, "call_id"), item, NULL) == 0);
        }
        json_array_foreach((json_t *)items, i, item)
        {
                bool kept = json_array_get(plan.kept, next) == item;
                bool open = item_is_call(item) && !map_get(&answered, json_str(item, "call_id"));
                next += kept;
                assert(kept || !open);
        }
        assert(next == json_array_size(plan.kept));
        json_t *digest = compact_digest(plan.entries, 0, json_array_size(plan.entries), 100);
        assert(digest && str_is_utf8(json_as_str(digest)));
        json_decref(digest);
        map_release(&answered, NULL);
        compact_plan_release(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct json_fault fault;
        json_t *body = json_parse((struct str){ (const char *)data, size }, DEPTH_MAX, &fault);
        bool chat = json_object_get(body, "messages") != NULL;
        const struct operation *op = contract_operation(chat ? "createChatCompletion" : "createResponse");
        if (json_is_object(body) &&
            schema_check(contract_body(op, "application/json"), body, SCHEMA_LENIENT, NULL) == 0) {
                json_t *items = json_array();
                int rc = read_items(body, chat, items);
                assert(rc == 0 || rc == -EINVAL);
                if (rc == 0) {
                        json_t *messages = messages_from_items(json_str(body, "instructions"), items);
                        check_messages(messages);
                        json_decref(messages);
                        check_compaction(items, COMPACT_ANSWERS, 0);
                        check_compaction(items, COMPACT_ALL, size / 4);
                }
                json_decref(items);
        }
        json_decref(body);
        return 0;
}
