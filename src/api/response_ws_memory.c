#include "api/response_ws_memory.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/mem.h"

#define ENTRIES_MAX 32
#define BYTES_MAX ((size_t)32 << 20)
#define JSON_DEPTH 256

/* A response as text: arrays of items. */
struct entry {
        struct entry *next; /* older */
        char *id, *stored, *input, *output;
        size_t bytes;
};

struct memory {
        pthread_mutex_t lock;
        struct entry *newest;
};

struct memory *memory_new(void)
{
        struct memory *m = mem_calloc(1, sizeof(*m));
        if (m)
                pthread_mutex_init(&m->lock, NULL);
        return m;
}

static void entry_free(struct entry *e)
{
        mem_free(e->id);
        mem_free(e->stored);
        mem_free(e->input);
        mem_free(e->output);
        mem_free(e);
}

void memory_free(struct memory *m)
{
        if (!m)
                return;
        while (m->newest) {
                struct entry *e = m->newest;
                m->newest = e->next;
                entry_free(e);
        }
        pthread_mutex_destroy(&m->lock);
        mem_free(m);
}

void memory_turn_release(struct memory_turn *t)
{
        mem_free(t->previous);
        mem_free(t->stored);
        mem_free(t->input);
        *t = (struct memory_turn){ 0 };
}

/* ---- going on ---- */

/* Input as an array of items: a text is a message of the user. New. */
static json_t *input_items(const json_t *input)
{
        if (json_is_array(input))
                return json_copy((json_t *)input);
        if (!json_is_string(input))
                return json_array();
        return json_pack("[{s:s, s:s, s:O}]", "type", "message", "role", "user", "content", input);
}

/* A compaction_trigger is no part of the conversation: it says what becomes of it. */
static void take_trigger(json_t *items)
{
        size_t n = json_array_size(items);
        if (n && str_eqc(json_str(json_array_get(items, n - 1), "type"), "compaction_trigger"))
                json_array_remove(items, n - 1);
}

/* Fills t->stored and *ret_items (new) of a remembered response: 0, -ENOENT, -ENOMEM. */
static int recall(struct memory *m, const char *id, struct memory_turn *t, json_t **ret_items)
{
        struct json_fault why;
        json_t *output = NULL;
        int rc = -ENOENT;
        *ret_items = NULL;
        pthread_mutex_lock(&m->lock);
        struct entry *e = m->newest;
        while (e && strcmp(e->id, id) != 0)
                e = e->next;
        if (e) {
                *ret_items = json_parse(str_c(e->input), JSON_DEPTH, &why);
                output = json_parse(str_c(e->output), JSON_DEPTH, &why);
                t->stored = e->stored ? mem_strdup(e->stored) : NULL;
                rc = *ret_items && output && !e->stored == !t->stored ? 0 : -ENOMEM;
        }
        pthread_mutex_unlock(&m->lock);
        if (rc == 0)
                rc = json_array_extend(*ret_items, output) ? -ENOMEM : 0;
        json_decref(output);
        return rc;
}

/* Puts the remembered items in front of the input. */
static int go_on(struct memory *m, json_t *body, const char *previous, struct memory_turn *t)
{
        json_t *items, *input = NULL;
        int rc = recall(m, previous, t, &items);
        if (rc == 0) {
                input = input_items(json_get(body, "input"));
                t->previous = mem_strdup(previous);
                rc = input && t->previous && !json_array_extend(items, input) ? 0 : -ENOMEM;
        }
        if (rc == 0)
                rc = json_put(body, "input", json_incref(items));
        if (rc == 0 && t->stored)
                rc = json_put(body, "previous_response_id", json_string(t->stored));
        else if (rc == 0)
                json_object_del(body, "previous_response_id");
        json_decref(input);
        json_decref(items);
        return rc == -ENOENT ? 0 : rc;
}

int memory_expand(struct memory *m, json_t *body, struct memory_turn *t)
{
        const char *previous = json_cstr(body, "previous_response_id", NULL);
        int rc = 0;
        size_t n;
        /* Both together are refused by the operation: it shall see both. */
        if (previous && !json_get(body, "conversation"))
                rc = go_on(m, body, previous, t);
        if (rc || json_flag(body, "store", true))
                return rc;
        if (previous && !t->previous) { /* a stored one */
                t->stored = mem_strdup(previous);
                rc = t->stored ? 0 : -ENOMEM;
        }
        json_t *items = input_items(json_get(body, "input"));
        take_trigger(items);
        t->input = items && rc == 0 ? json_text(items, &n) : NULL;
        json_decref(items);
        return t->input ? 0 : -ENOMEM;
}

/* ---- remembering ---- */

static struct entry *entry_new(const struct memory_turn *t, const json_t *response)
{
        size_t n = 0;
        json_t *output = json_get(response, "output");
        struct entry *e = mem_calloc(1, sizeof(*e));
        if (!e)
                return NULL;
        e->id = mem_strdup(json_cstr(response, "id", ""));
        e->stored = t->stored ? mem_strdup(t->stored) : NULL;
        e->input = mem_strdup(t->input);
        e->output = output ? json_text(output, &n) : mem_strdup("[]");
        if (e->id && e->input && e->output && !t->stored == !e->stored) {
                e->bytes = strlen(e->input) + n;
                return e;
        }
        entry_free(e);
        return NULL;
}

/* Cuts the list where it has become too long. Lock held. */
static void forget_oldest(struct memory *m)
{
        struct entry **at = &m->newest;
        size_t bytes = 0, n = 0;
        while (*at && n < ENTRIES_MAX && bytes + (*at)->bytes <= BYTES_MAX) {
                bytes += (*at)->bytes;
                n++;
                at = &(*at)->next;
        }
        struct entry *rest = *at;
        *at = NULL;
        while (rest) {
                struct entry *e = rest;
                rest = e->next;
                entry_free(e);
        }
}

void memory_note(struct memory *m, const struct memory_turn *t, const json_t *event)
{
        struct str type = json_str(event, "type");
        if (!t->input || (!str_eqc(type, "response.completed") && !str_eqc(type, "response.incomplete")))
                return;
        struct entry *e = entry_new(t, json_get(event, "response"));
        if (!e)
                return;
        pthread_mutex_lock(&m->lock);
        e->next = m->newest;
        m->newest = e;
        forget_oldest(m);
        pthread_mutex_unlock(&m->lock);
}

json_t *memory_show(const struct memory_turn *t, const json_t *event)
{
        json_t *shown = json_copy((json_t *)event), *response = json_get(event, "response");
        if (!shown || !response || !t->previous)
                return shown;
        json_t *copy = json_copy(response);
        if (copy && json_put(copy, "previous_response_id", json_string(t->previous)) == 0 &&
            json_put(shown, "response", json_incref(copy)) == 0) {
                json_decref(copy);
                return shown;
        }
        json_decref(copy);
        json_decref(shown);
        return NULL;
}
