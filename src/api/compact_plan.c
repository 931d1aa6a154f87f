#include "api/compact_plan.h"

#include <errno.h>
#include <string.h>
#include "agent/items.h"
#include "base/map.h"

#define ENTRY_MAX 6000       /* bytes of one entry */
#define DIGEST_ENTRY_MAX 240 /* and of one in a digest */
#define ENTRY_ROOM 64        /* for what says that something was left out */

/* ---- entries ---- */

/* Appends s, or its first two thirds and its end when it has more than `max` bytes. */
static void add_shortened(struct buf *out, struct str s, size_t max)
{
        if (s.n <= max) {
                buf_add(out, s.p, s.n);
                return;
        }
        size_t head = str_utf8_complete((struct str){ s.p, max * 2 / 3 }), tail = s.n - max / 3;
        while (tail < s.n && ((unsigned char)s.p[tail] & 0xc0) == 0x80)
                tail++;
        buf_add(out, s.p, head);
        buf_addf(out, " [... %zu bytes left out ...] ", tail - head);
        buf_add(out, s.p + tail, s.n - tail);
}

static const char *speaker(const json_t *message)
{
        struct str role = json_str(message, "role");
        if (str_eqc(role, "assistant"))
                return "Assistant";
        if (str_eqc(role, "user"))
                return "User";
        return json_get(message, "id") ? "Instructions" : "Earlier notes";
}

/* One entry of who said what: a new string; JSON null for what is not told (reasoning). NULL when memory is
 * out. */
static json_t *entry(const json_t *item, const struct map *calls)
{
        struct buf text;
        json_t *said = NULL;
        buf_init(&text, 2 * ENTRY_MAX);
        if (str_eqc(json_str(item, "type"), "message")) {
                said = item_text(json_object_get(item, "content"));
                buf_addf(&text, "%s: ", speaker(item));
        } else if (item_is_call(item)) {
                said = json_incref(json_get(item, json_get(item, "arguments") ? "arguments" : "input"));
                buf_addf(&text, "The assistant called the tool %.*s with ", STR_ARG(json_str(item, "name")));
        } else if (item_is_output(item)) {
                const json_t *call = map_get(calls, json_str(item, "call_id"));
                said = item_text(json_object_get(item, "output"));
                buf_addf(&text, "Result of the tool %.*s: ", STR_ARG(json_str(call, "name")));
        } else {
                buf_release(&text);
                return json_null();
        }
        add_shortened(&text, json_as_str(said), ENTRY_MAX);
        json_t *v = said && !buf_error(&text) ? json_strn(buf_str(&text)) : NULL;
        json_decref(said);
        buf_release(&text);
        return v;
}

static int add_entry(json_t *entries, const json_t *item, const struct map *calls)
{
        json_t *text = entry(item, calls);
        if (json_is_null(text))
                return 0;
        return json_array_append_new(entries, text) ? -ENOMEM : 0;
}

json_t *compact_digest(const json_t *entries, size_t from, size_t to, size_t max)
{
        struct buf text;
        size_t first = to, bytes = 0;
        while (first > from && bytes < max) {
                size_t len = json_string_length(json_array_get(entries, first - 1));
                bytes += (len < DIGEST_ENTRY_MAX ? len : DIGEST_ENTRY_MAX + ENTRY_ROOM) + 1;
                first -= bytes <= max;
        }
        buf_init(&text, max + ENTRY_ROOM);
        if (first > from)
                buf_addf(&text, "(%zu earlier entries are left out.)\n", first - from);
        for (size_t i = first; i < to; i++) {
                add_shortened(&text, json_as_str(json_array_get(entries, i)), DIGEST_ENTRY_MAX);
                buf_addc(&text, '\n');
        }
        json_t *v = buf_error(&text) ? NULL : json_strn(buf_str(&text));
        buf_release(&text);
        return v;
}

/* ---- what is kept ---- */

/* Calls and results by their ids. */
struct calls {
        struct map made, answered;
};

static int find_calls(const json_t *items, struct calls *ret)
{
        size_t i;
        json_t *item;
        *ret = (struct calls){ 0 };
        json_array_foreach((json_t *)items, i, item)
        {
                struct map *index = item_is_call(item)     ? &ret->made
                                    : item_is_output(item) ? &ret->answered
                                                           : NULL;
                if (index && map_put(index, json_str(item, "call_id"), item, NULL))
                        return -ENOMEM;
        }
        return 0;
}

/* A summary has no id. */
bool compact_is_request(const json_t *item)
{
        return str_eqc(json_str(item, "type"), "message") && !str_eqc(json_str(item, "role"), "assistant") &&
               json_get(item, "id");
}

static bool is_open_call(const json_t *item, const struct calls *calls)
{
        return item_is_call(item) && !map_get(&calls->answered, json_str(item, "call_id"));
}

static size_t text_bytes(const json_t *message)
{
        json_t *text = item_text(json_object_get(message, "content"));
        size_t n = json_string_length(text);
        json_decref(text);
        return n;
}

/* Where that begins which the model is to answer now. Of messages in a row max_bytes, and the last in any
 * case: more of them could not be shown to it. */
static size_t find_tail(const json_t *items, size_t max_bytes)
{
        size_t n = json_array_size(items), at = n, first = n;
        while (at > 0 && item_is_output(json_array_get(items, at - 1)))
                at--;
        if (at == n) {
                size_t bytes = 0;
                while (at > 0 && compact_is_request(json_array_get(items, at - 1))) {
                        bytes += text_bytes(json_array_get(items, at - 1));
                        if (at < n && bytes > max_bytes)
                                break;
                        at--;
                }
                return at;
        }
        for (size_t i = 0; i < at && first == n; i++) { /* the first of the calls that were answered last */
                const json_t *call = json_array_get(items, i);
                for (size_t k = at; k < n && item_is_call(call) && first == n; k++)
                        if (str_eq(json_str(json_array_get(items, k), "call_id"), json_str(call, "call_id")))
                                first = i;
        }
        if (first == n) /* no call was found: the results stand for themselves */
                return at;
        return first > 0 && str_eqc(json_str(json_array_get(items, first - 1), "type"), "reasoning")
                       ? first - 1
                       : first;
}

/* Where the newest messages of users and developers before `tail` begin, of which keep_bytes hold the text.
 */
static size_t find_recent(const json_t *items, size_t tail, size_t keep_bytes)
{
        size_t from = tail, bytes = 0;
        for (size_t i = tail; i-- > 0;) {
                const json_t *item = json_array_get(items, i);
                if (!compact_is_request(item))
                        continue;
                bytes += text_bytes(item);
                if (bytes > keep_bytes)
                        break;
                from = i;
        }
        return from;
}

int compact_plan_make(const json_t *items, enum compact_covers covers, size_t keep_bytes,
                      struct compact_plan *ret)
{
        bool all = covers == COMPACT_ALL;
        size_t tail = all ? find_tail(items, 2 * keep_bytes) : json_array_size(items), i;
        size_t recent = all ? find_recent(items, tail, keep_bytes) : tail;
        struct calls calls = { 0 };
        json_t *item;
        *ret = (struct compact_plan){ json_array(), json_array() };
        int rc = ret->entries && ret->kept ? find_calls(items, &calls) : -ENOMEM;
        json_array_foreach((json_t *)items, i, item)
        {
                bool open = i < tail && is_open_call(item, &calls);
                bool kept = i >= tail || open || (i >= recent && compact_is_request(item));
                if (rc == 0 && kept && json_array_append(ret->kept, item))
                        rc = -ENOMEM;
                if (rc == 0 && i < tail && !open)
                        rc = add_entry(ret->entries, item, &calls.made);
        }
        map_release(&calls.made, NULL);
        map_release(&calls.answered, NULL);
        return rc;
}

void compact_plan_release(struct compact_plan *p)
{
        json_decref(p->entries);
        json_decref(p->kept);
        *p = (struct compact_plan){ 0 };
}
