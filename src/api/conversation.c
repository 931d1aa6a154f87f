#include "api/conversation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "agent/items.h"
#include "api/api.h"
#include "api/compact.h"
#include "api/presence.h"
#include "api/stored.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

#define KIND_STATE "conversation.state"
#define PAGE 200
#define HOLD_ATTEMPTS 16
#define ARENA_MAX ((size_t)256 << 20)

/* A row of an item has the id "conv_...48 digits.../its id". */
_Static_assert(5 + 48 + 1 + ITEM_ID_MAX <= STORE_ID_MAX, "the id of an item does not fit");

/* ---- what this process holds ---- */

/* A hold whose release could not be written stays in the store: what is not in here either is free. */
struct conversations {
        pthread_mutex_t lock;
        struct map by; /* ids of the responses that hold one */
};

int conversations_start(struct api *api)
{
        struct conversations *all = mem_calloc(1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        pthread_mutex_init(&all->lock, NULL);
        map_init(&all->by);
        api->conversations = all;
        return 0;
}

void conversations_stop(struct api *api)
{
        struct conversations *all = api->conversations;
        if (!all)
                return;
        map_release(&all->by, NULL);
        pthread_mutex_destroy(&all->lock);
        mem_free(all);
        api->conversations = NULL;
}

static int note_holder(struct conversations *all, const char *by)
{
        pthread_mutex_lock(&all->lock);
        int rc = map_put(&all->by, str_c(by), all, NULL);
        pthread_mutex_unlock(&all->lock);
        return rc;
}

static void forget_holder(struct conversations *all, const char *by)
{
        pthread_mutex_lock(&all->lock);
        map_remove(&all->by, str_c(by));
        pthread_mutex_unlock(&all->lock);
}

static bool is_holder(struct conversations *all, const char *by)
{
        pthread_mutex_lock(&all->lock);
        bool found = map_get(&all->by, str_c(by)) != NULL;
        pthread_mutex_unlock(&all->lock);
        return found;
}

/* ---- the state ---- */

struct state {
        int64_t items;                    /* how many there are */
        int64_t last;                     /* when the newest was added: time never goes back in a list */
        char by[ID_MAX], process[ID_MAX]; /* who holds it; "": nobody */
        int64_t version;
};

static int state_read(struct req *r, const char *id, struct state *ret, struct store_fault *fault)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(r->api->store, KIND_STATE, id, req_project(r), &row, fault);
        if (rc)
                return rc;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        *ret = (struct state){ .items = json_int(doc, "items", 0),
                               .last = json_int(doc, "last", 0),
                               .version = row.version };
        snprintf(ret->by, sizeof(ret->by), "%s", json_cstr(doc, "by", ""));
        snprintf(ret->process, sizeof(ret->process), "%s", json_cstr(doc, "process", ""));
        rc = doc ? 0 : -EIO;
        json_decref(doc);
        object_release(&row);
        return rc;
}

static int state_fault(const char *id, int rc, const struct store_fault *fault, struct api_err *reterr)
{
        if (rc == -ENOENT || rc == -EINVAL) /* -EINVAL: no id of ours looks like that */
                return err_not_found(reterr, RESOURCE_CONVERSATION.what, id);
        return err_store(reterr, rc, fault);
}

/* Whether somebody other than `by` works on the conversation. */
static bool is_held(struct api *api, const struct state *st, const char *by)
{
        if (!*st->by || !strcmp(st->by, by))
                return false;
        return strcmp(st->process, api->process) ? presence_alive(api, st->process)
                                                 : is_holder(api->conversations, st->by);
}

static int locked(struct api_err *reterr)
{
        err_invalid(reterr, "conversation_locked", "conversation",
                    "Another process is currently operating on this conversation. Please retry in a few "
                    "seconds.");
        reterr->passes = true;
        return -1;
}

static int full(const char *param, struct api_err *reterr)
{
        return err_invalid(reterr, "conversation_full", param, "A conversation has at most %d items.",
                           CONVERSATION_ITEMS_MAX);
}

/* ---- making operations ---- */

struct change {
        struct arena *arena; /* of the operations and all that they point to */
        const char *project, *id;
        struct state state;
        struct store_op *ops; /* the first is that of the state */
        size_t n;
        int64_t referable_until; /* of items that can be referenced; 0: none can */
};

/* The text of a document, which lives as long as the arena. */
static int text_of(struct arena *a, const json_t *doc, struct str *ret)
{
        *ret = json_arena_text(a, doc);
        return mem_take_failure() || !ret->p ? -ENOMEM : 0; /* a part of it may be missing */
}

/* Room for the state and `items` items. */
static int change_init(struct change *c, struct arena *a, const char *project, const char *id, size_t items)
{
        c->arena = a;
        c->project = arena_strdup(a, project);
        c->id = arena_strdup(a, id);
        c->ops = arena_array(a, struct store_op, 2 * items + 1);
        c->n = 1;
        return c->project && c->id && c->ops ? 0 : -ENOMEM;
}

/* `doc` (consumed) of one item as operations: its place in the conversation and, when its id was made here,
 * the row that item references find. That one has no parent, since it outlives the conversation; its first
 * filter column says whose item it is (take_reference). */
static int add_item(struct change *c, json_t *doc, bool referable)
{
        const json_t *item = json_object_get(doc, "object");
        const char *item_id = arena_strdup(c->arena, json_cstr(item, "id", ""));
        const char *key = item_id ? arena_printf(c->arena, "%s/%s", c->id, item_id) : NULL;
        struct store_op *place = &c->ops[c->n];
        *place = (struct store_op){ .verb = STORE_PUT,
                                    .kind = RESOURCE_CONVERSATION_ITEM.kind,
                                    .id = key,
                                    .project = c->project,
                                    .parent = c->id,
                                    .created = c->state.last };
        int rc = key ? text_of(c->arena, doc, &place->doc) : -ENOMEM;
        c->n++;
        c->state.items++;
        if (rc == 0 && referable) {
                struct store_op *found = &c->ops[c->n++];
                *found = (struct store_op){ .verb = STORE_PUT,
                                            .kind = KIND_ITEM,
                                            .id = item_id,
                                            .project = c->project,
                                            .created = c->state.last,
                                            .expires = c->referable_until,
                                            .f = { c->id } };
                rc = text_of(c->arena, item, &found->doc);
        }
        json_decref(doc);
        return rc;
}

/* `made` are the ids, in order, that were made here. */
static int add_items(struct change *c, const json_t *items, const json_t *made)
{
        size_t i, next = 0;
        json_t *item;
        int rc = 0;
        int64_t now = clock_unix();
        c->state.last = now > c->state.last ? now : c->state.last;
        json_array_foreach((json_t *)items, i, item)
        {
                bool mine = c->referable_until &&
                            str_eqc(json_as_str(json_array_get(made, next)), json_cstr(item, "id", ""));
                next += mine;
                if (rc == 0)
                        rc = add_item(c, json_pack("{s:O}", "object", item), mine);
        }
        return rc;
}

/* The operation of the state as it will be: inserted when it has no version yet. */
static int change_end(struct change *c)
{
        const struct state *st = &c->state;
        c->ops[0] = (struct store_op){ .verb = st->version ? STORE_UPDATE : STORE_PUT,
                                       .kind = KIND_STATE,
                                       .id = c->id,
                                       .project = c->project,
                                       .parent = c->id,
                                       .set = STORE_SET_DOC,
                                       .if_version = st->version };
        json_t *doc = json_pack("{s:I, s:I, s:s*, s:s*}", "items", (json_int_t)st->items, "last",
                                (json_int_t)st->last, "by", *st->by ? st->by : NULL, "process",
                                *st->by ? st->process : NULL);
        int rc = text_of(c->arena, doc, &c->ops[0].doc);
        json_decref(doc);
        return rc;
}

/* ---- holding ---- */

struct conversation {
        struct req *r; /* referenced */
        struct arena *arena;
        char id[STORE_ID_MAX + 1], by[ID_MAX];
        struct state state; /* as it was written when the hold began */
        bool held;
};

const char *conversation_id(const struct conversation *c)
{
        return c->id;
}

static void conversation_free(struct conversation *c)
{
        struct req *r = c->r;
        arena_free(c->arena);
        mem_free(c);
        req_unref(r);
}

/* Writes the state with another holder, "" for none, and waits unless `done` is given: then c may be gone
 * when this returns 0. Its operation lives in an arena of its own. */
static int write_holder(struct conversation *c, const char *by, store_done_fn *done,
                        struct store_fault *fault)
{
        struct change change = { .state = c->state };
        struct store *store = c->r->api->store;
        struct arena *a = arena_new(ARENA_MAX);
        int rc = a ? change_init(&change, a, req_project(c->r), c->id, 0) : -ENOMEM;
        snprintf(change.state.by, sizeof(change.state.by), "%s", by);
        snprintf(change.state.process, sizeof(change.state.process), "%s", c->r->api->process);
        if (rc == 0)
                rc = change_end(&change);
        if (rc == 0 && done) {
                rc = store_write_async(store, change.ops, 1, done, c);
        } else if (rc == 0) {
                rc = store_write(store, change.ops, 1, fault);
                change.state.version++;
                c->state = rc ? c->state : change.state;
        }
        arena_free(a);
        return rc;
}

static int try_hold(struct conversation *c, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        int rc = -ESTALE;
        for (int i = 0; i < HOLD_ATTEMPTS && rc == -ESTALE; i++) {
                rc = state_read(c->r, c->id, &c->state, &fault);
                if (rc == 0 && is_held(c->r->api, &c->state, c->by))
                        return locked(reterr);
                if (rc == 0 && c->state.items >= CONVERSATION_ITEMS_MAX)
                        return full("conversation", reterr);
                if (rc == 0)
                        rc = write_holder(c, c->by, NULL, &fault);
        }
        if (rc == -ESTALE)
                return locked(reterr);
        return rc ? state_fault(c->id, rc, &fault, reterr) : 0;
}

int conversation_hold(struct req *r, const char *id, const char *by, struct conversation **ret,
                      struct api_err *reterr)
{
        struct conversation *c = mem_calloc(1, sizeof(*c));
        *ret = NULL;
        if (strlen(id) > STORE_ID_MAX) {
                mem_free(c);
                return err_not_found(reterr, RESOURCE_CONVERSATION.what, id);
        }
        if (!c || note_holder(r->api->conversations, by)) {
                mem_free(c);
                return err_internal(reterr, -ENOMEM, "conversation", "");
        }
        c->r = r;
        req_ref(r);
        snprintf(c->id, sizeof(c->id), "%s", id);
        snprintf(c->by, sizeof(c->by), "%s", by);
        if (try_hold(c, reterr)) {
                conversation_release(c);
                return -1;
        }
        c->held = true;
        *ret = c;
        return 0;
}

static void on_released(void *ctx, int rc, const struct store_fault *fault)
{
        (void)rc;
        (void)fault;
        conversation_free(ctx);
}

/* Once nobody in this process is known to hold it, it is free: the write may come late, or fail. */
void conversation_release(struct conversation *c)
{
        if (!c)
                return;
        forget_holder(c->r->api->conversations, c->by);
        if (!c->held || write_holder(c, "", on_released, NULL))
                conversation_free(c);
}

int conversation_append(struct conversation *c, const json_t *input, const json_t *output,
                        const struct store_op **ret, size_t *ret_n)
{
        struct change change = { .state = c->state };
        size_t items = json_array_size(input) + json_array_size(output);
        arena_free(c->arena); /* of an attempt before */
        c->arena = arena_new(ARENA_MAX);
        int rc = c->arena ? change_init(&change, c->arena, req_project(c->r), c->id, items) : -ENOMEM;
        change.state.by[0] = '\0';
        if (rc == 0)
                rc = add_items(&change, input, NULL);
        if (rc == 0)
                rc = add_items(&change, output, NULL);
        if (rc == 0)
                rc = change_end(&change);
        *ret = change.ops;
        *ret_n = change.n;
        return rc;
}

void conversation_appended(struct conversation *c)
{
        c->held = false;
}

/* ---- reading ---- */

/* Adds the items of a page (newest first) to `ret` until there is enough: whether there is. */
static bool take_page(struct req *r, const struct store_page *page, size_t max_bytes, size_t *bytes,
                      json_t *ret, enum conversation_extent *extent, int *rc)
{
        for (size_t i = 0; i < page->n; i++) {
                struct json_fault why;
                *bytes += page->items[i].doc.n;
                if (*bytes > max_bytes) {
                        *extent = CONVERSATION_CUT;
                        return true;
                }
                json_t *doc = json_parse(page->items[i].doc, STORE_DOC_DEPTH, &why);
                json_t *item = json_object_get(doc, "object");
                *rc = item ? 0 : why.no_memory ? -ENOMEM : -EIO;
                if (item && json_array_append(ret, item))
                        *rc = -ENOMEM;
                bool all = item && compaction_covers_all(r, item);
                json_decref(doc);
                if (all)
                        *extent = CONVERSATION_COMPACTED;
                if (all || *rc)
                        return true;
        }
        return false;
}

int conversation_read(struct req *r, const char *id, const char *before, size_t max_bytes, json_t *ret,
                      enum conversation_extent *ret_extent, struct api_err *reterr)
{
        struct store_query q = { .kind = RESOURCE_CONVERSATION_ITEM.kind,
                                 .project = req_project(r),
                                 .parent = id,
                                 .after = before ? arena_printf(r->arena, "%s/%s", id, before) : NULL,
                                 .descending = true,
                                 .limit = PAGE };
        struct store_fault fault = { 0 };
        struct store_page page = { 0 }, last = { 0 };
        struct state st;
        size_t bytes = 0;
        json_t *newest = json_keep(r->arena, json_array());
        *ret_extent = CONVERSATION_WHOLE;
        int rc = newest ? state_read(r, id, &st, &fault) : -ENOMEM;
        if (rc)
                return state_fault(id, rc, &fault, reterr);
        for (bool more = true; more && rc == 0;) {
                rc = store_list(r->api->store, &q, &page, &fault);
                store_page_release(&last); /* the cursor lay in it */
                if (rc)
                        break;
                more = !take_page(r, &page, max_bytes, &bytes, newest, ret_extent, &rc) && page.has_more;
                q.after = page.n ? page.items[page.n - 1].id : NULL;
                last = page;
        }
        store_page_release(&last);
        for (size_t i = json_array_size(newest); rc == 0 && i-- > 0;)
                rc = json_array_append(ret, json_array_get(newest, i)) ? -ENOMEM : 0;
        if (rc == -ENOENT && before)
                return 0;
        if (rc == -ENOENT) /* the item at the end of a page was deleted meanwhile */
                return locked(reterr);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

int conversation_ids_taken(struct req *r, const char *id, const json_t *input, json_t **ret,
                           struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        struct object row;
        size_t i;
        json_t *item;
        *ret = json_keep(r->arena, json_array());
        int rc = *ret ? 0 : -ENOMEM;
        json_array_foreach((json_t *)input, i, item)
        {
                const char *item_id = json_cstr(item, "id", NULL);
                const char *key = item_id ? arena_printf(r->arena, "%s/%s", id, item_id) : NULL;
                if (rc || !item_id)
                        continue;
                rc = key ? store_get(r->api->store, RESOURCE_CONVERSATION_ITEM.kind, key, req_project(r),
                                     &row, &fault)
                         : -ENOMEM;
                bool taken = rc == 0 || rc == -EINVAL; /* -EINVAL: longer than a row's id may be */
                if (rc == 0)
                        object_release(&row);
                rc = rc == -ENOENT || taken ? 0 : rc;
                if (taken && json_array_append_new(*ret, json_pack("{s:s}", "id", item_id)))
                        rc = -ENOMEM;
        }
        return rc ? err_store(reterr, rc, &fault) : 0;
}

/* ---- operations on conversations ---- */

static int change_done(struct change *c, int rc, const struct store_op **ret, size_t *ret_n,
                       struct api_err *reterr)
{
        if (rc == 0)
                rc = change_end(c);
        *ret = c->ops;
        *ret_n = c->n;
        return rc ? err_internal(reterr, rc, "conversation", "") : 0;
}

int conversation_begin_ops(struct req *r, const char *id, const json_t *items, const json_t *made,
                           const struct store_op **ret, size_t *ret_n, struct api_err *reterr)
{
        struct change c = { .referable_until = clock_unix() + r->api->options.retention_s };
        int rc = change_init(&c, r->arena, req_project(r), id, json_array_size(items));
        if (rc == 0)
                rc = add_items(&c, items, made);
        return change_done(&c, rc, ret, ret_n, reterr);
}

/* The state of a conversation that nobody holds. */
static int free_state(struct req *r, const char *id, struct state *ret, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        int rc = state_read(r, id, ret, &fault);
        if (rc)
                return state_fault(id, rc, &fault, reterr);
        if (is_held(r->api, ret, ""))
                return locked(reterr);
        ret->by[0] = '\0';
        return 0;
}

int conversation_check(struct req *r, const char *id, struct api_err *reterr)
{
        struct state st;
        return free_state(r, id, &st, reterr);
}

int conversation_add_ops(struct req *r, const char *id, const json_t *items, const json_t *made,
                         const struct store_op **ret, size_t *ret_n, struct api_err *reterr)
{
        struct change c = { .referable_until = clock_unix() + r->api->options.retention_s };
        if (free_state(r, id, &c.state, reterr))
                return -1;
        if (c.state.items + (int64_t)json_array_size(items) > CONVERSATION_ITEMS_MAX)
                return full("items", reterr);
        int rc = change_init(&c, r->arena, req_project(r), id, json_array_size(items));
        if (rc == 0)
                rc = add_items(&c, items, made);
        return change_done(&c, rc, ret, ret_n, reterr);
}

/* Adds the operation that makes an item unknown to references, if they find it because this conversation was
 * given it: the row may belong to a response, or to the conversation that the item was copied from. */
static int take_reference(struct change *c, struct store *store, const char *item, struct store_fault *fault)
{
        struct object row;
        int rc = store_get(store, KIND_ITEM, item, c->project, &row, fault);
        if (rc) /* -EINVAL: no id of ours looks like that */
                return rc == -ENOENT || rc == -EINVAL ? 0 : rc;
        if (row.f[0] && !strcmp(row.f[0], c->id))
                c->ops[c->n++] = (struct store_op){ .verb = STORE_DELETE,
                                                    .kind = KIND_ITEM,
                                                    .id = arena_strdup(c->arena, item),
                                                    .project = c->project,
                                                    .if_version = row.version };
        object_release(&row);
        return c->n > 1 && !c->ops[c->n - 1].id ? -ENOMEM : 0;
}

int conversation_remove_ops(struct req *r, const char *id, const char *item, const struct store_op **ret,
                            size_t *ret_n, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        struct change c = { 0 };
        if (free_state(r, id, &c.state, reterr))
                return -1;
        c.state.items -= c.state.items > 0;
        int rc = change_init(&c, r->arena, req_project(r), id, 1);
        if (rc == 0)
                rc = take_reference(&c, r->api->store, item, &fault);
        if (rc && rc != -ENOMEM)
                return err_store(reterr, rc, &fault);
        return change_done(&c, rc, ret, ret_n, reterr);
}
