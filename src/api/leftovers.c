#include "api/leftovers.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/idempotency.h"
#include "api/stored.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"

#define MAX 100000 /* more requests fail only after hours without a store */

struct leftover {
        struct leftover *next;
        int (*settle)(struct api *api, const struct leftover *l); /* 0 when nothing is left to be done */
        char id[STORE_ID_MAX + 1], tenant[STORE_ID_MAX + 1];
        char request[ID_MAX]; /* of a key: whose claim it is */
};

struct leftovers {
        pthread_mutex_t lock;
        struct leftover *first;
        size_t n;
};

int leftovers_start(struct api *api)
{
        api->leftovers = mem_calloc(1, sizeof(*api->leftovers));
        if (!api->leftovers)
                return -ENOMEM;
        pthread_mutex_init(&api->leftovers->lock, NULL);
        return 0;
}

static void list_free(struct leftover *l)
{
        while (l) {
                struct leftover *next = l->next;
                mem_free(l);
                l = next;
        }
}

void leftovers_stop(struct api *api)
{
        if (!api->leftovers)
                return;
        list_free(api->leftovers->first);
        pthread_mutex_destroy(&api->leftovers->lock);
        mem_free(api->leftovers);
        api->leftovers = NULL;
}

static bool put(struct leftovers *all, struct leftover *l)
{
        pthread_mutex_lock(&all->lock);
        bool room = all->n < MAX;
        if (room) {
                l->next = all->first;
                all->first = l;
                all->n++;
        }
        pthread_mutex_unlock(&all->lock);
        return room;
}

/* The claim is still that of the request, which has no reply to be given again. */
static bool is_claim_of(const struct object *row, const char *request)
{
        struct json_fault why;
        json_t *doc = json_parse(row->doc, STORE_DOC_DEPTH, &why);
        bool is = doc && !strcmp(json_cstr(doc, "request", ""), request) && !json_get(doc, "status");
        json_decref(doc);
        return is;
}

static int free_key(struct api *api, const struct leftover *l)
{
        struct store *s = api->store;
        struct object row;
        int rc = store_get(s, KIND_IDEMPOTENCY, l->id, l->tenant, &row, NULL);
        if (rc)
                return rc == -ENOENT ? 0 : rc;
        struct store_op op = { .verb = STORE_DELETE,
                               .kind = KIND_IDEMPOTENCY,
                               .id = l->id,
                               .project = l->tenant,
                               .if_version = row.version };
        rc = is_claim_of(&row, l->request) ? store_write(s, &op, 1, NULL) : 0;
        object_release(&row);
        return rc == -ENOENT || rc == -ESTALE ? 0 : rc;
}

static int fail_response(struct api *api, const struct leftover *l)
{
        return stored_fail_response(api, l->id, l->tenant);
}

/* False when there is no memory for it, or too much. */
static bool add(struct api *api, const struct leftover *one)
{
        struct leftover *l = mem_alloc(sizeof(*l));
        if (!l)
                return false;
        *l = *one;
        if (put(api->leftovers, l))
                return true;
        mem_free(l);
        return false;
}

void leftovers_add(struct api *api, const char *id, const char *tenant, const char *request)
{
        struct leftover l = { .settle = free_key };
        snprintf(l.id, sizeof(l.id), "%s", id);
        snprintf(l.tenant, sizeof(l.tenant), "%s", tenant);
        snprintf(l.request, sizeof(l.request), "%s", request);
        if (!add(api, &l))
                log_warn("idempotency", "the key of %s stays in use until this process ends", request);
}

void leftovers_add_response(struct api *api, const char *id, const char *project)
{
        struct leftover l = { .settle = fail_response };
        snprintf(l.id, sizeof(l.id), "%s", id);
        snprintf(l.tenant, sizeof(l.tenant), "%s", project);
        if (!add(api, &l))
                log_warn("response", "%s stays in progress until this process ends", id);
}

void leftovers_upkeep(struct api *api)
{
        struct leftovers *all = api->leftovers;
        int rc = 0;
        pthread_mutex_lock(&all->lock);
        struct leftover *list = all->first;
        all->first = NULL;
        all->n = 0;
        pthread_mutex_unlock(&all->lock);
        while (list) {
                struct leftover *l = list;
                list = l->next;
                if (rc == 0)
                        rc = l->settle(api, l);
                if (rc == 0 || !put(all, l)) /* the store is away: the rest waits for the next time */
                        mem_free(l);
        }
}
