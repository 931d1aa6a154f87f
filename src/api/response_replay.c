#include "api/response_replay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

#define TEXT_MAX ((size_t)64 << 20)

void replay_init(struct replay *r)
{
        *r = (struct replay){ .live = true }; /* until something is in the log */
}

static void item_free(struct replay_item *it)
{
        if (!it)
                return;
        buf_release(&it->item.text);
        mem_free(it->item.name);
        json_decref(it->item.logprobs);
        json_decref(it->ended);
        mem_free(it);
}

void replay_release(struct replay *r)
{
        for (size_t i = 0; i < r->items.n; i++)
                item_free(r->items.p[i]);
        vec_release(&r->items);
}

/* ---- reading the log ---- */

static const struct {
        const char *type;
        enum agent_item_kind kind;
        bool custom;
} spoken_types[] = {
        { "reasoning", AGENT_REASONING, false },
        { "message", AGENT_MESSAGE, false },
        { "function_call", AGENT_CALL, false },
        { "custom_tool_call", AGENT_CALL, true },
};

static void copy_id(char out[ID_MAX], const json_t *item, const char *key)
{
        snprintf(out, ID_MAX, "%s", json_cstr(item, key, ""));
}

/* response.output_item.added */
static int take_added(struct replay *r, const json_t *event)
{
        const json_t *item = json_get(event, "item");
        const char *type = json_cstr(item, "type", ""), *name = json_cstr(item, "name", NULL);
        if (replay_open(r) || json_int(event, "output_index", -1) != (int64_t)r->items.n)
                return -EBADMSG;
        struct replay_item *it = mem_calloc(1, sizeof(*it));
        if (!it || vec_push(&r->items, it)) {
                mem_free(it);
                return -ENOMEM;
        }
        for (size_t i = 0; i < sizeof(spoken_types) / sizeof(*spoken_types); i++) {
                if (strcmp(type, spoken_types[i].type))
                        continue;
                it->spoken = true;
                it->item.kind = spoken_types[i].kind;
                it->item.custom = spoken_types[i].custom;
        }
        it->item.index = (int)r->items.n - 1;
        buf_init(&it->item.text, TEXT_MAX);
        copy_id(it->item.id, item, "id");
        copy_id(it->item.call_id, item, "call_id");
        it->item.name = name ? mem_strdup(name) : NULL;
        return name && !it->item.name ? -ENOMEM : 0;
}

static struct replay_item *last_open(const struct replay *r)
{
        struct replay_item *it = r->items.n ? r->items.p[r->items.n - 1] : NULL;
        return it && !it->ended ? it : NULL;
}

static int take_delta(struct replay *r, const json_t *event)
{
        struct replay_item *it = last_open(r);
        struct str text = json_str(event, "delta");
        json_t *logprobs = json_get(event, "logprobs");
        if (!it || !it->spoken)
                return -EBADMSG;
        buf_add(&it->item.text, text.p, text.n);
        if (json_array_size(logprobs)) {
                if (!it->item.logprobs)
                        it->item.logprobs = json_array();
                if (json_array_extend(it->item.logprobs, logprobs))
                        return -ENOMEM;
        }
        return buf_error(&it->item.text);
}

/* response.output_item.done */
static int take_done(struct replay *r, const json_t *event)
{
        struct replay_item *it = last_open(r);
        json_t *item = json_get(event, "item");
        if (!it || !json_is_object(item))
                return -EBADMSG;
        it->ended = json_incref(item);
        return 0;
}

static bool ends_with(struct str s, struct str end)
{
        return s.n >= end.n && !memcmp(s.p + s.n - end.n, end.p, end.n);
}

int replay_take(struct replay *r, const json_t *event)
{
        struct str type = json_str(event, "type");
        if (r->over || json_int(event, "sequence_number", -1) != r->next)
                return -EBADMSG;
        r->next++;
        if (str_eqc(type, "response.in_progress"))
                r->begun = true;
        if (str_eqc(type, "response.reasoning_summary_part.added"))
                r->summary = true;
        r->over = str_eqc(type, "response.completed") || str_eqc(type, "response.incomplete") ||
                  str_eqc(type, "response.failed");
        int rc = 0;
        if (str_eqc(type, "response.output_item.added"))
                rc = take_added(r, event);
        else if (str_eqc(type, "response.output_item.done"))
                rc = take_done(r, event);
        else if (ends_with(type, STR(".delta")))
                rc = take_delta(r, event);
        r->live = !r->items.n;
        return rc;
}

const struct agent_item *replay_open(const struct replay *r)
{
        struct replay_item *it = last_open(r);
        return it ? &it->item : NULL;
}

/* ---- repeating ---- */

/* Gives up what is left of the log: an open item ends as incomplete, whole ones stay. */
static bool give_up(struct replay *r, const struct replay_sink *sink)
{
        bool more = true;
        for (; r->at < r->items.n; r->at++) {
                struct replay_item *it = r->items.p[r->at];
                if (it->ended)
                        sink->kept(sink->ctx, it->ended);
                else
                        more &= sink->event(sink->ctx, &(struct agent_event){ .kind = AGENT_ITEM_END,
                                                                              .item = &it->item });
        }
        r->live = true;
        return more;
}

/* The run says something else from this item on: all of the item so far is new. */
static bool diverge(struct replay *r, const struct agent_item *item, const struct replay_sink *sink)
{
        json_t *logprobs = item->logprobs ? json_copy(item->logprobs) : NULL; /* the item's still grows */
        struct agent_event begin = { .kind = AGENT_ITEM_BEGIN, .item = item };
        struct agent_event said = {
                .kind = AGENT_DELTA, .item = item, .text = buf_str(&item->text), .logprobs = logprobs
        };
        bool more = give_up(r, sink);
        more &= sink->event(sink->ctx, &begin);
        if (said.text.n)
                more &= sink->event(sink->ctx, &said);
        json_decref(logprobs);
        return more;
}

static bool same_beginning(const struct replay_item *it, const struct agent_item *item)
{
        const struct agent_item *logged = &it->item;
        return it->spoken && logged->kind == item->kind && logged->custom == item->custom &&
               str_eq(str_c(logged->name), str_c(item->name));
}

static bool repeat_begin(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink)
{
        if (same_beginning(r->items.p[r->at], ev->item))
                return true;
        bool more = give_up(r, sink);
        return sink->event(sink->ctx, ev) && more;
}

/* The item of the run with the ids that the log has for it. */
static const struct agent_item *as_shown(struct replay *r, const struct agent_item *item)
{
        const struct agent_item *logged = &r->items.p[r->at]->item;
        r->shown = *item;
        memcpy(r->shown.id, logged->id, sizeof(r->shown.id));
        memcpy(r->shown.call_id, logged->call_id, sizeof(r->shown.call_id));
        return &r->shown;
}

/* The token objects of the run's item behind those that the log has: a new array, or NULL. */
static json_t *new_logprobs(const struct agent_item *item, const struct agent_item *logged)
{
        size_t had = json_array_size(logged->logprobs), n = json_array_size(item->logprobs);
        if (!item->logprobs)
                return NULL;
        json_t *list = json_array();
        for (size_t i = had; i < n; i++)
                json_array_append(list, json_array_get(item->logprobs, i));
        return list;
}

/* The open item of the log is all repeated and goes on: with what the run says beyond it. */
static bool go_on(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink)
{
        const struct agent_item *logged = &r->items.p[r->at]->item;
        struct str all = buf_str(&ev->item->text);
        json_t *logprobs = new_logprobs(ev->item, logged);
        struct agent_event rest = { .kind = AGENT_DELTA,
                                    .item = as_shown(r, ev->item),
                                    .text = { all.p + logged->text.n, all.n - logged->text.n },
                                    .logprobs = logprobs };
        r->live = r->going_on = true;
        bool more = sink->event(sink->ctx, &rest);
        json_decref(logprobs);
        return more;
}

/* Whether what the run has said of the item so far is what the log says, as far as both go. The text before
 * the event was compared when it came. */
static bool same_text(const struct replay_item *it, const struct agent_event *ev)
{
        struct str logged = buf_str(&it->item.text), said = buf_str(&ev->item->text);
        size_t before = said.n - ev->text.n, n = said.n < logged.n ? said.n : logged.n;
        if (said.n > logged.n && it->ended)
                return false;
        return n <= before || !memcmp(logged.p + before, said.p + before, n - before);
}

static bool repeat_delta(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink)
{
        const struct replay_item *it = r->items.p[r->at];
        if (!same_text(it, ev))
                return diverge(r, ev->item, sink);
        return ev->item->text.n > it->item.text.n ? go_on(r, ev, sink) : true;
}

static bool repeat_end(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink)
{
        struct replay_item *it = r->items.p[r->at];
        const char *status = ev->item->whole ? "completed" : "incomplete";
        bool same = it->item.text.n == ev->item->text.n &&
                    (!it->ended || !strcmp(json_cstr(it->ended, "status", "completed"), status));
        bool more = true;
        if (!same) {
                more = diverge(r, ev->item, sink);
                return sink->event(sink->ctx, ev) && more;
        }
        if (it->ended)
                sink->kept(sink->ctx, it->ended);
        else
                more = sink->event(sink->ctx, &(struct agent_event){ .kind = AGENT_ITEM_END,
                                                                     .item = as_shown(r, ev->item) });
        r->at++;
        r->live = r->at == r->items.n;
        return more;
}

/* Behind the end of the log. */
static bool live_event(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink)
{
        struct agent_event shown = *ev;
        if (!r->going_on)
                return sink->event(sink->ctx, ev);
        shown.item = as_shown(r, ev->item);
        if (ev->kind == AGENT_ITEM_END) {
                r->going_on = false;
                r->at++;
        }
        return sink->event(sink->ctx, &shown);
}

bool replay_event(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink)
{
        if (ev->kind == AGENT_DONE)
                return r->live ? true : give_up(r, sink);
        if (r->live)
                return live_event(r, ev, sink);
        switch (ev->kind) {
        case AGENT_ITEM_BEGIN:
                return repeat_begin(r, ev, sink);
        case AGENT_DELTA:
                return repeat_delta(r, ev, sink);
        default:
                return repeat_end(r, ev, sink);
        }
}

json_t *replay_whole_item(struct replay *r, const char *type, const struct replay_sink *sink)
{
        struct replay_item *it = r->at < r->items.n ? r->items.p[r->at] : NULL;
        if (r->live)
                return NULL;
        if (it && !it->spoken && it->ended && !strcmp(json_cstr(it->ended, "type", ""), type)) {
                r->at++;
                r->live = r->at == r->items.n;
                return it->ended;
        }
        give_up(r, sink);
        return NULL;
}
