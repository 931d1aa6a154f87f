/* Opening, the keeper thread and authentication. */
#include "account/account_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/thread.h"

#define FLUSH_SECONDS 60 /* between writings of the last-use times */

/* ---- authentication ---- */

json_t *principal_json(const struct principal *who)
{
        return json_pack("{s:s, s:s, s:s, s:s}", "org", who->org, "project", who->project, "user", who->user,
                         "key", who->key);
}

void principal_read(const json_t *v, struct principal *ret)
{
        *ret = (struct principal){ .kind = KEY_PROJECT };
        snprintf(ret->org, sizeof(ret->org), "%s", json_cstr(v, "org", ""));
        snprintf(ret->project, sizeof(ret->project), "%s", json_cstr(v, "project", ""));
        snprintf(ret->user, sizeof(ret->user), "%s", json_cstr(v, "user", ""));
        snprintf(ret->key, sizeof(ret->key), "%s", json_cstr(v, "key", ""));
}

int account_authenticate(struct account *a, struct str presented, struct principal *ret)
{
        uint8_t digest[DIGEST_BYTES];
        if (presented.n >= ACCOUNT_KEY_MAX || secret_digest(&a->pepper, presented, digest))
                return -EACCES;
        int64_t now = clock_unix();
        int rc = -EACCES;
        pthread_rwlock_rdlock(&a->table_lock);
        struct key_entry *e = key_table_find(a->table, digest);
        if (e && !(e->expires && e->expires <= now)) {
                *ret = e->who;
                /* Written once a second at most, so that the line stays shared between the cores. */
                if (atomic_load_explicit(&e->used, memory_order_relaxed) < now)
                        atomic_store_explicit(&e->used, now, memory_order_relaxed);
                rc = 0;
        }
        pthread_rwlock_unlock(&a->table_lock);
        return rc;
}

/* ---- following the store ---- */

static int root_version(struct account *a, int64_t *ret, struct store_fault *fault)
{
        struct object root;
        int rc = store_get(a->store, KIND_ACCOUNT, ROOT_ID, "", &root, fault);
        *ret = root.version;
        object_release(&root);
        return rc;
}

/* Exchanges the table; last uses that the rows do not know yet move over. */
static void table_install(struct account *a, struct key_table *fresh)
{
        pthread_rwlock_wrlock(&a->table_lock);
        struct key_table *old = a->table;
        for (size_t i = 0; old && i < old->n; i++) {
                struct key_entry *e = key_table_find(fresh, old->entries[i].digest);
                if (e && old->entries[i].used > e->used)
                        e->used = old->entries[i].used;
        }
        a->table = fresh;
        pthread_rwlock_unlock(&a->table_lock);
        key_table_free(old);
}

/* With reload_lock held. The version is read before the keys: a change in between is loaded twice, never
 * missed. */
static int reload_locked(struct account *a, struct store_fault *fault)
{
        struct key_table *fresh;
        int64_t version;
        int rc = root_version(a, &version, fault);
        if (!rc)
                rc = key_table_load(a, &fresh, fault);
        if (rc)
                return rc;
        table_install(a, fresh);
        a->epoch = version;
        return 0;
}

int account_reload(struct account *a, struct store_fault *fault)
{
        pthread_mutex_lock(&a->reload_lock);
        int rc = reload_locked(a, fault);
        pthread_mutex_unlock(&a->reload_lock);
        return rc;
}

/* A store that fails leaves the table as it is; the next second asks again. */
static void follow(struct account *a)
{
        int64_t version;
        pthread_mutex_lock(&a->reload_lock);
        if (!root_version(a, &version, NULL) && version != a->epoch)
                reload_locked(a, NULL);
        pthread_mutex_unlock(&a->reload_lock);
}

static void flush(struct account *a)
{
        pthread_mutex_lock(&a->reload_lock); /* so the table stays while its rows are written */
        key_table_flush(a, a->table);
        pthread_mutex_unlock(&a->reload_lock);
}

static void *keeper_main(void *arg)
{
        struct account *a = arg;
        int ticks = 0;
        pthread_mutex_lock(&a->keeper_lock);
        while (!a->stopping) {
                int64_t next = clock_mono_ms() + 1000;
                while (!a->stopping && !thread_cond_wait_until(&a->keeper_woken, &a->keeper_lock, next))
                        ;
                if (a->stopping)
                        break;
                pthread_mutex_unlock(&a->keeper_lock);
                follow(a);
                if (++ticks % FLUSH_SECONDS == 0)
                        flush(a);
                pthread_mutex_lock(&a->keeper_lock);
        }
        pthread_mutex_unlock(&a->keeper_lock);
        flush(a);
        return NULL;
}

static int keeper_start(struct account *a)
{
        int rc = thread_start(&a->keeper, "account-keeper", keeper_main, a);
        a->keeper_runs = !rc;
        return rc;
}

static void keeper_stop(struct account *a)
{
        if (!a->keeper_runs)
                return;
        pthread_mutex_lock(&a->keeper_lock);
        a->stopping = true;
        pthread_cond_signal(&a->keeper_woken);
        pthread_mutex_unlock(&a->keeper_lock);
        pthread_join(a->keeper, NULL);
        a->keeper_runs = false;
}

/* ---- opening ---- */

static struct str text_or_empty(char *text, size_t n)
{
        return text ? (struct str){ text, n } : (struct str){ "", 0 };
}

/* What tells whether two servers have the same secret, and nothing about it. */
static int check_value(const struct pepper *pepper, char ret[DIGEST_HEX])
{
        uint8_t digest[DIGEST_BYTES];
        int rc = secret_digest(pepper, STR("check of the installation's secret"), digest);
        if (!rc)
                str_hex(digest, DIGEST_BYTES, ret);
        return rc;
}

/* The rows of a new installation, in one write that the root's id makes happen once among all processes. */
static int bootstrap(struct account *a, const char *check, struct store_fault *fault)
{
        char org[ID_MAX], project[ID_MAX], user[ID_MAX], *text[4];
        size_t n[4];
        json_int_t now = clock_unix();
        id_alnum(org, "org-", 24);
        id_alnum(project, "proj_", 24);
        id_alnum(user, "user-", 24);
        json_t *docs[4] = {
                json_pack("{s:s, s:s, s:s, s:s}", "organization", org, "default_project", project, "owner",
                          user, "secret_check", check),
                json_pack("{s:s, s:s, s:s, s:I}", "object", "organization", "id", org, "name",
                          "Default organization", "created_at", now),
                json_pack("{s:s, s:s, s:s, s:I, s:n, s:s}", "id", project, "object", "organization.project",
                          "name", "Default project", "created_at", now, "archived_at", "status", "active"),
                json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "object", "organization.user", "id", user, "name",
                          "Owner", "email", "owner@localhost", "role", "owner", "added_at", now),
        };
        const char *ids[4] = { ROOT_ID, org, project, user };
        const char *kinds[4] = { KIND_ACCOUNT, KIND_ORGANIZATION, KIND_PROJECT, KIND_USER };
        struct store_op ops[4];
        int rc = 0;
        for (int i = 0; i < 4; i++) {
                text[i] = docs[i] ? json_text(docs[i], &n[i]) : NULL;
                json_decref(docs[i]);
                if (!text[i])
                        rc = -ENOMEM;
                ops[i] = (struct store_op){ .verb = STORE_PUT,
                                            .kind = kinds[i],
                                            .id = ids[i],
                                            .created = now,
                                            .doc = text_or_empty(text[i], n[i]) };
        }
        if (!rc)
                rc = store_write(a->store, ops, 4, fault);
        for (int i = 0; i < 4; i++)
                mem_free(text[i]);
        return rc;
}

/* Learns the defaults from the root row; -ENOENT when there is none yet. */
static int root_load(struct account *a, struct store_fault *fault)
{
        struct object root;
        struct json_fault why;
        int rc = store_get(a->store, KIND_ACCOUNT, ROOT_ID, "", &root, fault);
        if (rc)
                return rc;
        json_t *doc = json_parse(root.doc, 8, &why);
        snprintf(a->org, sizeof(a->org), "%s", json_cstr(doc, "organization", ""));
        snprintf(a->project, sizeof(a->project), "%s", json_cstr(doc, "default_project", ""));
        snprintf(a->user, sizeof(a->user), "%s", json_cstr(doc, "owner", ""));
        snprintf(a->secret_check, sizeof(a->secret_check), "%s", json_cstr(doc, "secret_check", ""));
        json_decref(doc);
        object_release(&root);
        if (!*a->org || !*a->project) {
                if (fault)
                        snprintf(fault->msg, sizeof(fault->msg), "the account's root row is damaged");
                return -EIO;
        }
        return 0;
}

/* A root row of before there was a check value gets one; a process that does the same meanwhile may win. */
static int root_add_check(struct account *a, const char *check, struct store_fault *fault)
{
        struct object root;
        struct json_fault why;
        size_t n = 0;
        int rc = store_get(a->store, KIND_ACCOUNT, ROOT_ID, "", &root, fault);
        if (rc)
                return rc;
        json_t *doc = json_parse(root.doc, 8, &why);
        char *text = doc && !json_put(doc, "secret_check", json_string(check)) ? json_text(doc, &n) : NULL;
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = KIND_ACCOUNT,
                               .id = ROOT_ID,
                               .doc = text_or_empty(text, n),
                               .set = STORE_SET_DOC,
                               .if_version = root.version };
        rc = text ? store_write(a->store, &op, 1, fault) : -ENOMEM;
        mem_free(text);
        json_decref(doc);
        object_release(&root);
        return rc == -ESTALE ? 0 : rc;
}

/* The secret that was given, or that of the data directory; it is made only where nothing depends on one. */
static int secret_take(struct account *a, const char *data_dir, const char *secret, bool create, char *err,
                       size_t errn)
{
        if (!secret || !*secret)
                return pepper_load(data_dir, create, &a->pepper, err, errn);
        uint8_t bytes[DIGEST_BYTES];
        if (!digest_parse(secret, bytes)) {
                snprintf(err, errn,
                         "secret: 64 hexadecimal digits in lower case are needed, as "
                         "`openssl rand -hex 32` prints them");
                return -EINVAL;
        }
        pepper_set(&a->pepper, bytes);
        OPENSSL_cleanse(bytes, sizeof(bytes));
        return 0;
}

/* All servers on one store must have one secret. The root row has a check value of it, written by the server
 * that made the row: so of two that begin on an empty store with secrets of their own, the second is refused.
 */
static int secret_agree(struct account *a, struct store_fault *fault)
{
        char check[DIGEST_HEX];
        int rc = check_value(&a->pepper, check);
        if (!rc && !*a->org) {
                rc = bootstrap(a, check, fault);
                if (!rc || rc == -EEXIST)
                        rc = root_load(a, fault);
        }
        if (!rc && !*a->secret_check) {
                rc = root_add_check(a, check, fault);
                if (!rc)
                        rc = root_load(a, fault);
        }
        if (rc || !CRYPTO_memcmp(check, a->secret_check, sizeof(check)))
                return rc;
        if (fault)
                snprintf(fault->msg, sizeof(fault->msg),
                         "this server's secret is not that of the store: give all servers the same, as the "
                         "file "
                         "`pepper` of the first one's data directory or as CAIRN_SECRET");
        return -EKEYREJECTED;
}

static struct account *account_new(struct store *store)
{
        struct account *a = mem_calloc(1, sizeof(*a));
        pthread_rwlockattr_t writers_first;
        if (!a)
                return NULL;
        a->store = store;
        /* Else a steady stream of requests could keep a revocation waiting. */
        pthread_rwlockattr_init(&writers_first);
        pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&a->table_lock, &writers_first);
        pthread_rwlockattr_destroy(&writers_first);
        pthread_mutex_init(&a->reload_lock, NULL);
        pthread_mutex_init(&a->keeper_lock, NULL);
        thread_cond_init(&a->keeper_woken);
        return a;
}

int account_open(struct store *store, const char *data_dir, const char *secret, struct account **ret,
                 char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        struct account *a = account_new(store);
        *ret = NULL;
        int rc = a ? root_load(a, &fault) : -ENOMEM;
        bool fresh = rc == -ENOENT;
        if (!rc)
                rc = account_reload(a, &fault);
        if (!rc || fresh)
                rc = secret_take(a, data_dir, secret, fresh || (!*a->secret_check && !a->table->n), fault.msg,
                                 sizeof(fault.msg));
        if (!rc)
                rc = secret_agree(a, &fault);
        if (!rc && fresh)
                rc = account_reload(a, &fault);
        if (!rc)
                rc = keeper_start(a);
        if (rc) {
                snprintf(err, errn, "%s", *fault.msg ? fault.msg : strerror(-rc));
                account_close(a);
                return rc;
        }
        *ret = a;
        return 0;
}

void account_close(struct account *a)
{
        if (!a)
                return;
        keeper_stop(a);
        key_table_free(a->table);
        pthread_rwlock_destroy(&a->table_lock);
        pthread_mutex_destroy(&a->reload_lock);
        pthread_mutex_destroy(&a->keeper_lock);
        pthread_cond_destroy(&a->keeper_woken);
        OPENSSL_cleanse(a, sizeof(*a));
        mem_free(a);
}

const char *account_org(struct account *a)
{
        return a->org;
}

const char *account_default_project(struct account *a)
{
        return a->project;
}
