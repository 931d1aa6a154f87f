/* Keys as rows of the store, and as the table that authentication searches. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include "account/account_internal.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#define PAGE 500

static const char *kind_word(enum key_kind kind)
{
        return kind == KEY_ADMIN ? "admin" : "project";
}

static void copy_text(char *out, size_t size, const char *text)
{
        snprintf(out, size, "%s", text ? text : "");
}

/* ---- a row ---- */

static void info_read(const struct object *row, const json_t *doc, struct key_info *ret)
{
        memset(ret, 0, sizeof(*ret));
        copy_text(ret->id, sizeof(ret->id), row->id);
        copy_text(ret->project, sizeof(ret->project), row->project);
        copy_text(ret->name, sizeof(ret->name), json_cstr(doc, "name", ""));
        copy_text(ret->redacted, sizeof(ret->redacted), json_cstr(doc, "redacted_value", "***"));
        copy_text(ret->user, sizeof(ret->user), json_cstr(doc, "owner_id", ""));
        ret->kind = row->f[KEY_F_KIND] && !strcmp(row->f[KEY_F_KIND], "admin") ? KEY_ADMIN : KEY_PROJECT;
        ret->environment = row->f[KEY_F_ORIGIN] && !strcmp(row->f[KEY_F_ORIGIN], "environment");
        ret->created = row->created;
        ret->last_used = json_int(doc, "last_used_at", 0);
        ret->expires = row->expires;
}

static json_t *doc_of(const struct key_info *k)
{
        return json_pack("{s:s, s:s, s:s, s:I}", "name", k->name, "redacted_value", k->redacted, "owner_id",
                         k->user, "last_used_at", (json_int_t)k->last_used);
}

/* Calls fn for each live key, oldest first, until it says otherwise than 0. */
static int keys_each(struct store *s,
                     int (*fn)(void *ctx, const struct object *row, const struct key_info *info), void *ctx,
                     struct store_fault *fault)
{
        struct store_query q = { .kind = KIND_KEY, .limit = PAGE };
        char after[ID_MAX];
        bool more = true;
        int rc = 0;
        while (more && !rc) {
                struct store_page page;
                rc = store_list(s, &q, &page, fault);
                if (rc)
                        return rc;
                for (size_t i = 0; i < page.n && !rc; i++) {
                        struct key_info info;
                        struct json_fault why;
                        json_t *doc = json_parse(page.items[i].doc, 8, &why);
                        info_read(&page.items[i], doc, &info);
                        json_decref(doc);
                        rc = fn(ctx, &page.items[i], &info);
                }
                more = page.has_more;
                if (page.n)
                        copy_text(after, sizeof(after), page.items[page.n - 1].id);
                q.after = after;
                store_page_release(&page);
        }
        return rc;
}

/* ---- the table ---- */

void key_table_free(struct key_table *t)
{
        if (!t)
                return;
        mem_free(t->entries);
        mem_free(t->slots);
        mem_free(t);
}

static size_t slot_of(const uint8_t digest[DIGEST_BYTES])
{
        uint64_t head;
        memcpy(&head, digest, sizeof(head));
        return (size_t)head;
}

struct key_entry *key_table_find(const struct key_table *t, const uint8_t digest[DIGEST_BYTES])
{
        /* The digest is a keyed one, so where the search leads tells a caller nothing about other keys. */
        for (size_t i = slot_of(digest) & t->mask; t->slots[i]; i = (i + 1) & t->mask) {
                struct key_entry *e = &t->entries[t->slots[i] - 1];
                if (!CRYPTO_memcmp(e->digest, digest, DIGEST_BYTES))
                        return e;
        }
        return NULL;
}

static int table_index(struct key_table *t)
{
        size_t size = 16;
        while (size < t->n * 2)
                size *= 2;
        t->slots = mem_calloc(size, sizeof(*t->slots));
        if (!t->slots)
                return -ENOMEM;
        t->mask = size - 1;
        for (size_t k = 0; k < t->n; k++) {
                size_t i = slot_of(t->entries[k].digest) & t->mask;
                while (t->slots[i])
                        i = (i + 1) & t->mask;
                t->slots[i] = (uint32_t)k + 1;
        }
        return 0;
}

struct table_builder {
        struct account *a;
        struct key_table *t;
        size_t cap;
};

static int table_add(void *ctx, const struct object *row, const struct key_info *info)
{
        struct table_builder *b = ctx;
        struct key_table *t = b->t;
        if (t->n == b->cap) {
                size_t cap = b->cap ? b->cap * 2 : 16;
                struct key_entry *entries = mem_realloc(t->entries, cap, sizeof(*entries));
                if (!entries)
                        return -ENOMEM;
                t->entries = entries;
                b->cap = cap;
        }
        struct key_entry *e = &t->entries[t->n];
        memset(e, 0, sizeof(*e));
        if (!digest_parse(row->f[KEY_F_DIGEST], e->digest))
                return 0; /* a damaged row opens nothing */
        e->expires = row->expires;
        e->used = e->used_stored = info->last_used;
        e->who.kind = info->kind;
        copy_text(e->who.org, sizeof(e->who.org), b->a->org);
        copy_text(e->who.project, sizeof(e->who.project), info->kind == KEY_ADMIN ? "" : info->project);
        copy_text(e->who.user, sizeof(e->who.user), info->user);
        copy_text(e->who.key, sizeof(e->who.key), info->id);
        copy_text(e->who.name, sizeof(e->who.name), info->name);
        t->n++;
        return 0;
}

int key_table_load(struct account *a, struct key_table **ret, struct store_fault *fault)
{
        struct table_builder b = { .a = a, .t = mem_calloc(1, sizeof(*b.t)) };
        *ret = NULL;
        if (!b.t)
                return -ENOMEM;
        int rc = keys_each(a->store, table_add, &b, fault);
        if (!rc)
                rc = table_index(b.t);
        if (rc) {
                key_table_free(b.t);
                return rc;
        }
        *ret = b.t;
        return 0;
}

static int flush_one(struct account *a, const struct key_entry *e, int64_t used)
{
        struct object row;
        struct json_fault why;
        size_t n = 0;
        int rc = store_get(a->store, KIND_KEY, e->who.key, NULL, &row, NULL);
        if (rc)
                return rc;
        json_t *doc = json_parse(row.doc, 8, &why);
        char *text = NULL;
        if (doc && !json_put(doc, "last_used_at", json_integer(used)))
                text = json_text(doc, &n);
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = KIND_KEY,
                               .id = e->who.key,
                               .doc = { text, n },
                               .set = STORE_SET_DOC,
                               .if_version = row.version };
        rc = text ? store_write(a->store, &op, 1, NULL) : -ENOMEM;
        mem_free(text);
        json_decref(doc);
        object_release(&row);
        return rc;
}

void key_table_flush(struct account *a, struct key_table *t)
{
        for (size_t i = 0; i < t->n; i++) {
                struct key_entry *e = &t->entries[i];
                int64_t used = atomic_load_explicit(&e->used, memory_order_relaxed);
                if (used > e->used_stored && !flush_one(a, e, used))
                        e->used_stored = used;
        }
}

/* ---- changes ---- */

/* To stand in every write that changes keys: the root's next version, which tells all processes. */
static struct store_op root_touch(void)
{
        return (struct store_op){ .verb = STORE_UPDATE,
                                  .kind = KIND_ACCOUNT,
                                  .id = ROOT_ID,
                                  .project = "",
                                  .set = STORE_SET_FILTERS };
}

/* Inserts the key with this value, in place of the row `replaces` if that is not NULL. */
static int key_insert(struct account *a, const struct key_info *k, const char *value, const char *replaces,
                      struct store_fault *fault)
{
        uint8_t digest[DIGEST_BYTES];
        char hex[DIGEST_HEX], *text = NULL;
        size_t n = 0;
        int rc = secret_digest(&a->pepper, str_c(value), digest);
        if (rc)
                return rc;
        str_hex(digest, DIGEST_BYTES, hex);
        json_t *doc = doc_of(k);
        text = doc ? json_text(doc, &n) : NULL;
        json_decref(doc);
        if (!text)
                return -ENOMEM;
        struct store_op ops[3] = {
                { .verb = STORE_PUT,
                  .kind = KIND_KEY,
                  .id = k->id,
                  .project = k->project,
                  .created = k->created,
                  .expires = k->expires,
                  .f = { hex, kind_word(k->kind), k->environment ? "environment" : NULL },
                  .doc = { text, n } },
                root_touch(),
                { .verb = STORE_DELETE, .kind = KIND_KEY, .id = replaces },
        };
        if (replaces) { /* the old row goes first: it may have the same id */
                struct store_op put = ops[0];
                ops[0] = ops[2];
                ops[2] = put;
        }
        rc = store_write(a->store, ops, replaces ? 3 : 2, fault);
        mem_free(text);
        return rc;
}

static int explain(int rc, const struct store_fault *fault, char *err, size_t errn)
{
        if (rc)
                snprintf(err, errn, "%s", *fault->msg ? fault->msg : strerror(-rc));
        return rc;
}

int account_key_create(struct account *a, enum key_kind kind, const char *project, const char *name,
                       int64_t expires, char *ret_value, struct key_info *ret, char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        struct key_info k = { .kind = kind, .created = clock_unix(), .expires = expires };
        struct object row;
        if (name && strlen(name) >= ACCOUNT_NAME_MAX) {
                snprintf(err, errn, "the name may have %d bytes", ACCOUNT_NAME_MAX - 1);
                return -EINVAL;
        }
        if (name && !str_is_utf8(str_c(name))) {
                snprintf(err, errn, "the name is not valid UTF-8");
                return -EINVAL;
        }
        if (expires && expires <= k.created) {
                snprintf(err, errn, "the key would have expired already");
                return -EINVAL;
        }
        if (kind == KEY_PROJECT) {
                project = project ? project : a->project;
                int rc = store_get(a->store, KIND_PROJECT, project, "", &row, &fault);
                object_release(&row);
                if (rc)
                        return explain(rc, &fault, err, errn);
                copy_text(k.project, sizeof(k.project), project);
        }
        id_alnum(k.id, "key_", 24);
        copy_text(k.name, sizeof(k.name), name);
        copy_text(k.user, sizeof(k.user), a->user);
        secret_make(kind, ret_value);
        secret_redact(ret_value, k.redacted);
        int rc = key_insert(a, &k, ret_value, NULL, &fault);
        if (!rc)
                account_reload(a, NULL); /* the key exists; should this fail, the keeper repeats it */
        if (ret)
                *ret = k;
        return explain(rc, &fault, err, errn);
}

int account_key_revoke(struct account *a, const char *id, char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        struct store_op ops[2] = { { .verb = STORE_DELETE, .kind = KIND_KEY, .id = id }, root_touch() };
        if (!id || !*id || strlen(id) >= ID_MAX) {
                snprintf(err, errn, "no such key: %.80s", id ? id : "");
                return -ENOENT;
        }
        int rc = store_write(a->store, ops, 2, &fault);
        if (!rc)
                rc = account_reload(a, &fault);
        return explain(rc, &fault, err, errn);
}

struct info_list {
        struct key_info *items;
        size_t n, cap;
};

static int info_add(void *ctx, const struct object *row, const struct key_info *info)
{
        struct info_list *list = ctx;
        (void)row;
        if (list->n == list->cap) {
                size_t cap = list->cap ? list->cap * 2 : 16;
                struct key_info *items = mem_realloc(list->items, cap, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                list->items = items;
                list->cap = cap;
        }
        list->items[list->n++] = *info;
        return 0;
}

/* What this process knows of the last use is newer than the row. */
static void info_freshen(struct account *a, struct key_info *k)
{
        pthread_rwlock_rdlock(&a->table_lock);
        for (size_t i = 0; i < a->table->n; i++) {
                struct key_entry *e = &a->table->entries[i];
                int64_t used = atomic_load_explicit(&e->used, memory_order_relaxed);
                if (!strcmp(e->who.key, k->id) && used > k->last_used)
                        k->last_used = used;
        }
        pthread_rwlock_unlock(&a->table_lock);
}

int account_key_list(struct account *a, struct key_info **ret, size_t *ret_n, char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        struct info_list list = { 0 };
        *ret = NULL;
        *ret_n = 0;
        int rc = keys_each(a->store, info_add, &list, &fault);
        if (rc) {
                mem_free(list.items);
                return explain(rc, &fault, err, errn);
        }
        for (size_t i = 0; i < list.n; i++)
                info_freshen(a, &list.items[i]);
        *ret = list.items;
        *ret_n = list.n;
        return 0;
}

/* ---- the start of the server ---- */

#define ENVIRONMENT_TRIES 8

static const struct {
        const char *id, *variable, *name;
} environment[] = {
        [KEY_PROJECT] = { "key_environment_project", "CAIRN_API_KEY", "Environment" },
        [KEY_ADMIN] = { "key_environment_admin", "CAIRN_ADMIN_KEY", "Environment" },
};

/* A value that opens as the other kind already would make every request with it ambiguous. */
static int environment_check(struct account *a, enum key_kind kind, const char *value, char *err, size_t errn)
{
        uint8_t digest[DIGEST_BYTES];
        const char *complaint = secret_complaint(value);
        if (complaint) {
                snprintf(err, errn, "%s %s", environment[kind].variable, complaint);
                return -EINVAL;
        }
        int rc = secret_digest(&a->pepper, str_c(value), digest);
        if (rc)
                return rc;
        pthread_rwlock_rdlock(&a->table_lock);
        const struct key_entry *e = key_table_find(a->table, digest);
        bool taken = e && e->who.kind != kind && strcmp(e->who.key, environment[e->who.kind].id) != 0;
        pthread_rwlock_unlock(&a->table_lock);
        if (!taken)
                return 0;
        snprintf(err, errn, "%s has the value of a key of the other kind", environment[kind].variable);
        return -EINVAL;
}

static bool environment_has(const struct object *row, const struct pepper *pepper, const char *value)
{
        uint8_t want[DIGEST_BYTES], have[DIGEST_BYTES];
        return !secret_digest(pepper, str_c(value), want) && digest_parse(row->f[KEY_F_DIGEST], have) &&
               !CRYPTO_memcmp(want, have, DIGEST_BYTES);
}

/* Makes the environment's key of this kind what the environment says: this value, or absent. */
static int environment_apply(struct account *a, enum key_kind kind, const char *value,
                             struct store_fault *fault)
{
        struct object old;
        struct store_op gone[2] = { { .verb = STORE_DELETE, .kind = KIND_KEY, .id = environment[kind].id },
                                    root_touch() };
        int rc = store_get(a->store, KIND_KEY, environment[kind].id, NULL, &old, fault);
        bool exists = !rc;
        if (rc && rc != -ENOENT)
                return rc;
        if (fault)
                fault->msg[0] = '\0';
        rc = 0;
        if (!value) {
                rc = exists ? store_write(a->store, gone, 2, fault) : 0;
        } else if (!exists || !environment_has(&old, &a->pepper, value)) {
                struct key_info k = { .kind = kind, .environment = true, .created = clock_unix() };
                copy_text(k.id, sizeof(k.id), environment[kind].id);
                copy_text(k.name, sizeof(k.name), environment[kind].name);
                copy_text(k.user, sizeof(k.user), a->user);
                copy_text(k.project, sizeof(k.project), kind == KEY_ADMIN ? "" : a->project);
                secret_redact(value, k.redacted);
                rc = key_insert(a, &k, value, exists ? k.id : NULL, fault);
        }
        object_release(&old);
        return rc;
}

/* Another server on the same store may do the same at the same time: then it is looked at once more. */
static int environment_settle(struct account *a, enum key_kind kind, const char *value,
                              struct store_fault *fault)
{
        int rc = -EEXIST;
        for (int i = 0; i < ENVIRONMENT_TRIES && (rc == -EEXIST || rc == -ENOENT); i++)
                rc = environment_apply(a, kind, value, fault);
        return rc;
}

static bool has_kind(struct account *a, enum key_kind kind)
{
        bool found = false;
        pthread_rwlock_rdlock(&a->table_lock);
        for (size_t i = 0; i < a->table->n; i++)
                found |= a->table->entries[i].who.kind == kind;
        pthread_rwlock_unlock(&a->table_lock);
        return found;
}

int account_ensure_keys(struct account *a, const char *env_api_key, const char *env_admin_key,
                        struct account_minted *ret, char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        const char *values[] = { [KEY_PROJECT] = env_api_key, [KEY_ADMIN] = env_admin_key };
        char *minted[] = { [KEY_PROJECT] = ret->project_key, [KEY_ADMIN] = ret->admin_key };
        int rc = 0;
        memset(ret, 0, sizeof(*ret));
        for (int kind = KEY_PROJECT; kind <= KEY_ADMIN && !rc; kind++) {
                if (values[kind] && !*values[kind])
                        values[kind] = NULL;
                if (values[kind])
                        rc = environment_check(a, kind, values[kind], err, errn);
        }
        if (rc)
                return rc;
        if (values[KEY_PROJECT] && values[KEY_ADMIN] && !strcmp(values[KEY_PROJECT], values[KEY_ADMIN])) {
                snprintf(err, errn, "CAIRN_API_KEY and CAIRN_ADMIN_KEY must differ");
                return -EINVAL;
        }
        for (int kind = KEY_PROJECT; kind <= KEY_ADMIN && !rc; kind++)
                rc = environment_settle(a, kind, values[kind], &fault);
        if (!rc)
                rc = account_reload(a, &fault);
        if (rc)
                return explain(rc, &fault, err, errn);
        for (int kind = KEY_PROJECT; kind <= KEY_ADMIN && !rc; kind++) {
                if (!has_kind(a, kind))
                        rc = account_key_create(a, kind, NULL, "Initial key", 0, minted[kind], NULL, err,
                                                errn);
        }
        return rc;
}
