/* What a log holds, and what of a repeated run is let through: cut at every place, chunked otherwise, or
 * saying something else from any place on. */
#include "api/response_replay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"

#define ITEMS_MAX 5
#define TEXT_LEN 64

/* What a run says: the same for every repetition with one seed. */
struct line {
        enum agent_item_kind kind;
        char name[8];
        char text[TEXT_LEN];
        bool whole;
};

struct script {
        struct line lines[ITEMS_MAX];
        size_t n;
};

static void random_script(struct rng *rng, struct script *s)
{
        *s = (struct script){ .n = 1 + rng_below(rng, ITEMS_MAX) };
        for (size_t i = 0; i < s->n; i++) {
                struct line *l = &s->lines[i];
                size_t n = 1 + rng_below(rng, TEXT_LEN - 2);
                l->kind = (enum agent_item_kind)rng_below(rng, 3);
                l->whole = i + 1 < s->n || rng_below(rng, 2);
                snprintf(l->name, sizeof(l->name), "%s", l->kind == AGENT_CALL ? "tool" : "");
                for (size_t k = 0; k < n; k++)
                        l->text[k] = (char)('a' + rng_below(rng, 26));
        }
}

/* ---- the log, as it is written ---- */

struct logged {
        json_t *events;
        int items;
};

static void add_event(struct logged *l, const char *type, json_t *fields)
{
        json_t *event = json_pack("{s:s, s:I}", "type", type, "sequence_number",
                                  (json_int_t)json_array_size(l->events));
        json_object_update(event, fields);
        json_decref(fields);
        json_array_append_new(l->events, event);
}

static const char *type_of(enum agent_item_kind kind)
{
        return kind == AGENT_MESSAGE ? "message" : kind == AGENT_CALL ? "function_call" : "reasoning";
}

static json_t *item_json(const struct agent_item *item, const char *status)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s%}", "type", type_of(item->kind), "id", item->id,
                         "call_id", item->call_id, "name", item->name ? item->name : "", "status", status,
                         "text", item->text.p ? item->text.p : "", item->text.n);
}

static json_t *logprobs_of(size_t n)
{
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(list, json_integer((json_int_t)i));
        return list;
}

/* One event of a run as events of the log: a group. */
static bool log_event(void *ctx, const struct agent_event *ev)
{
        struct logged *l = ctx;
        switch (ev->kind) {
        case AGENT_ITEM_BEGIN:
                add_event(l, "response.output_item.added",
                          json_pack("{s:i, s:o}", "output_index", l->items, "item",
                                    item_json(ev->item, "in_progress")));
                break;
        case AGENT_DELTA:
                add_event(l, "response.output_text.delta",
                          json_pack("{s:i, s:o, s:o}", "output_index", l->items, "delta", json_strn(ev->text),
                                    "logprobs", ev->logprobs ? json_incref(ev->logprobs) : json_array()));
                break;
        case AGENT_ITEM_END:
                add_event(l, "response.output_text.done", json_pack("{s:i}", "output_index", l->items));
                add_event(l, "response.output_item.done",
                          json_pack("{s:i, s:o}", "output_index", l->items++, "item",
                                    item_json(ev->item, ev->item->whole ? "completed" : "incomplete")));
                break;
        default:
                break;
        }
        return true;
}

static void fold(struct replay *r, const json_t *events)
{
        size_t i;
        json_t *event;
        replay_init(r);
        json_array_foreach((json_t *)events, i, event) assert_int_equal(replay_take(r, event), 0);
}

/* ---- a run ---- */

typedef bool tell_fn(void *ctx, const struct agent_event *ev);

/* Says the script in deltas of random lengths, with ids of its own; one token object a letter. Stops after
 * max_events, as a process that dies. */
static void say(const struct script *s, struct rng *rng, const char *run, size_t max_events, tell_fn *tell,
                void *ctx)
{
        for (size_t i = 0; i < s->n; i++) {
                const struct line *l = &s->lines[i];
                struct agent_item item = { .kind = l->kind, .index = (int)i, .whole = l->whole };
                snprintf(item.id, sizeof(item.id), "%s_%zu", run, i);
                snprintf(item.call_id, sizeof(item.call_id), "%s", l->kind == AGENT_CALL ? item.id : "");
                item.name = l->name[0] ? mem_strdup(l->name) : NULL;
                buf_init(&item.text, 4096);
                item.logprobs = json_array();
                if (max_events-- == 0)
                        goto dead;
                tell(ctx, &(struct agent_event){ .kind = AGENT_ITEM_BEGIN, .item = &item });
                for (size_t at = 0, len = strlen(l->text); at < len;) {
                        size_t n = 1 + rng_below(rng, len - at);
                        json_t *piece = logprobs_of(n);
                        buf_add(&item.text, l->text + at, n);
                        json_array_extend(item.logprobs, piece);
                        if (max_events-- == 0) {
                                json_decref(piece);
                                goto dead;
                        }
                        tell(ctx, &(struct agent_event){ .kind = AGENT_DELTA,
                                                         .item = &item,
                                                         .text = { l->text + at, n },
                                                         .logprobs = piece });
                        json_decref(piece);
                        at += n;
                }
                if (max_events-- == 0)
                        goto dead;
                tell(ctx, &(struct agent_event){ .kind = AGENT_ITEM_END, .item = &item });
                buf_release(&item.text);
                mem_free(item.name);
                json_decref(item.logprobs);
                continue;
        dead:
                buf_release(&item.text);
                mem_free(item.name);
                json_decref(item.logprobs);
                return;
        }
        tell(ctx, &(struct agent_event){ .kind = AGENT_DONE });
}

/* A repetition that goes through the filter into the same log. */
struct repetition {
        struct replay replay;
        struct logged *log;
        json_t *output; /* items in their final form: kept ones, then new ones */
};

static void keep(void *ctx, json_t *ended)
{
        struct repetition *rep = ctx;
        json_array_append(rep->output, ended);
}

static bool pass(void *ctx, const struct agent_event *ev)
{
        struct repetition *rep = ctx;
        if (ev->kind == AGENT_ITEM_BEGIN) /* one item at a time, at the end of the list */
                assert_int_equal(rep->log->items, json_array_size(rep->output));
        if (ev->kind == AGENT_ITEM_END)
                json_array_append_new(rep->output,
                                      item_json(ev->item, ev->item->whole ? "completed" : "incomplete"));
        return log_event(rep->log, ev);
}

static bool filter(void *ctx, const struct agent_event *ev)
{
        struct repetition *rep = ctx;
        return replay_event(&rep->replay, ev, &(struct replay_sink){ keep, pass, rep });
}

static struct str text_of(const json_t *output, size_t i)
{
        return json_str(json_array_get(output, i), "text");
}

/* The log is one that a client can follow, and its items are the output. */
static void check_log(const struct logged *log, const json_t *output)
{
        struct replay all;
        fold(&all, log->events);
        assert_null(replay_open(&all));
        assert_int_equal(all.items.n, json_array_size(output));
        for (size_t i = 0; i < all.items.n; i++) {
                const struct replay_item *it = all.items.p[i];
                struct str said = buf_str(&it->item.text), whole = text_of(output, i);
                assert_true(str_eq(said, whole));
                assert_true(json_equal(it->ended, json_array_get(output, i)));
                assert_int_equal(json_array_size(it->item.logprobs), said.n); /* one a letter, none twice */
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(it->item.id, all.items.p[k]->item.id);
        }
        replay_release(&all);
}

/* A run dies after `events` events; another says `second`. Gives the output in rep. */
static void die_and_repeat(const struct script *first, const struct script *second, struct rng *rng,
                           size_t events, struct logged *log, struct repetition *rep)
{
        *log = (struct logged){ .events = json_array() };
        say(first, rng, "a", events, log_event, log);
        *rep = (struct repetition){ .log = log, .output = json_array() };
        fold(&rep->replay, log->events);
        say(second, rng, "b", SIZE_MAX, filter, rep);
}

static void release(struct logged *log, struct repetition *rep)
{
        replay_release(&rep->replay);
        json_decref(rep->output);
        json_decref(log->events);
}

/* The same again: no item is doubled, none is missing, the ids are those of the first run as far as it came.
 */
static void test_same_again(void **state)
{
        struct rng rng;
        (void)state;
        rng_seed(&rng, 1);
        for (int round = 0; round < 3000; round++) {
                struct script s;
                struct logged log;
                struct repetition rep;
                random_script(&rng, &s);
                size_t events = rng_below(&rng, 40);
                die_and_repeat(&s, &s, &rng, events, &log, &rep);
                assert_int_equal(json_array_size(rep.output), s.n);
                for (size_t i = 0; i < s.n; i++) {
                        const json_t *item = json_array_get(rep.output, i);
                        bool known = i < rep.replay.items.n;
                        assert_true(str_eqc(text_of(rep.output, i), s.lines[i].text));
                        assert_string_equal(json_cstr(item, "status", ""),
                                            s.lines[i].whole ? "completed" : "incomplete");
                        assert_int_equal(json_cstr(item, "id", "")[0], known ? 'a' : 'b');
                }
                check_log(&log, rep.output);
                release(&log, &rep);
        }
}

/* Something else: what clients have seen stays, an open item ends as incomplete, and all that the second run
 * says from there on is there. */
static void test_something_else(void **state)
{
        struct rng rng;
        int gave_up = 0;
        (void)state;
        rng_seed(&rng, 2);
        for (int round = 0; round < 3000; round++) {
                struct script s, other;
                struct logged log;
                struct repetition rep;
                random_script(&rng, &s);
                other = s;
                size_t line = rng_below(&rng, s.n), at = rng_below(&rng, strlen(s.lines[line].text));
                other.lines[line].text[at] = '!';
                if (rng_below(&rng, 4) == 0)
                        other.n = line + 1;
                die_and_repeat(&s, &other, &rng, rng_below(&rng, 40), &log, &rep);
                size_t n = json_array_size(rep.output), extra = n - other.n;
                assert_true(n >= other.n);
                gave_up += extra > 0;
                for (size_t i = 0; i < rep.replay.items.n; i++) { /* nothing that was shown is lost */
                        const struct replay_item *it = rep.replay.items.p[i];
                        struct str shown = buf_str(&it->item.text), now = text_of(rep.output, i);
                        assert_true(now.n >= shown.n && !memcmp(now.p, shown.p ? shown.p : "", shown.n));
                }
                /* The last items are what the second run said. */
                for (size_t i = line; i < other.n; i++)
                        assert_true(str_eqc(text_of(rep.output, i + extra), other.lines[i].text));
                check_log(&log, rep.output);
                release(&log, &rep);
        }
        assert_true(gave_up > 300);
}

/* A run that dies again and again ends as one that never did. */
static void test_dies_often(void **state)
{
        struct rng rng;
        (void)state;
        rng_seed(&rng, 3);
        for (int round = 0; round < 500; round++) {
                struct script s;
                struct logged log = { .events = json_array() };
                random_script(&rng, &s);
                for (int life = 0; life < 6; life++) {
                        struct repetition rep = { .log = &log, .output = json_array() };
                        char run[8];
                        snprintf(run, sizeof(run), "%c", 'a' + life);
                        fold(&rep.replay, log.events);
                        say(&s, &rng, run, life == 5 ? SIZE_MAX : rng_below(&rng, 30), filter, &rep);
                        if (life == 5) {
                                assert_int_equal(json_array_size(rep.output), s.n);
                                check_log(&log, rep.output);
                        }
                        replay_release(&rep.replay);
                        json_decref(rep.output);
                }
                json_decref(log.events);
        }
}

/* What cannot be a log is refused. */
static void test_damaged(void **state)
{
        static const char *const logs[] = {
                "[{\"type\":\"response.created\",\"sequence_number\":1}]",
                "[{\"type\":\"response.output_text.delta\",\"sequence_number\":0,\"delta\":\"x\"}]",
                "[{\"type\":\"response.output_item.done\",\"sequence_number\":0,\"item\":{}}]",
                "[{\"type\":\"response.output_item.added\",\"sequence_number\":0,\"output_index\":1,\"item\":"
                "{\"type\":\"message\"}}]",
                "[{\"type\":\"response.completed\",\"sequence_number\":0},{\"type\":\"response.queued\","
                "\"sequence_number\":1}]",
        };
        (void)state;
        for (size_t i = 0; i < sizeof(logs) / sizeof(*logs); i++) {
                struct json_fault why;
                json_t *events = json_parse(str_c(logs[i]), 16, &why), *event;
                struct replay r;
                size_t k;
                int rc = 0;
                assert_non_null(events);
                replay_init(&r);
                json_array_foreach(events, k, event) rc = rc ? rc : replay_take(&r, event);
                assert_int_equal(rc, -EBADMSG);
                replay_release(&r);
                json_decref(events);
        }
}

/* An item that comes whole and from no model is known again by its type. */
static void test_whole_items(void **state)
{
        struct json_fault why;
        struct logged log = { .events = json_array() };
        struct repetition rep = { .log = &log, .output = json_array() };
        json_t *item = json_parse(STR("{\"type\":\"compaction\",\"id\":\"cmp_1\"}"), 8, &why);
        (void)state;
        add_event(&log, "response.output_item.added",
                  json_pack("{s:i, s:O}", "output_index", 0, "item", item));
        add_event(&log, "response.output_item.done",
                  json_pack("{s:i, s:O}", "output_index", 0, "item", item));
        struct replay_sink sink = { keep, pass, &rep };
        fold(&rep.replay, log.events);
        json_t *known = replay_whole_item(&rep.replay, "compaction", &sink);
        assert_true(json_equal(known, item));
        assert_null(replay_whole_item(&rep.replay, "compaction", &sink)); /* the next one is new */
        assert_int_equal(json_array_size(rep.output), 0);
        replay_release(&rep.replay);
        fold(&rep.replay, log.events);
        assert_null(replay_whole_item(&rep.replay, "other", &sink));
        assert_int_equal(json_array_size(rep.output), 1); /* what clients saw stays */
        release(&log, &rep);
        json_decref(item);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_same_again),  cmocka_unit_test(test_something_else),
                cmocka_unit_test(test_dies_often),  cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_whole_items),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
