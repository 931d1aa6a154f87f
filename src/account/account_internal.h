/* Shared by account.c (opening, the keeper thread, authentication) and keys.c (rows of keys). */
#ifndef CAIRN_ACCOUNT_ACCOUNT_INTERNAL_H
#define CAIRN_ACCOUNT_ACCOUNT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include "account/account.h"
#include "account/secret.h"
#include "store/store.h"

/* Kinds of rows. All belong to the organization (project ""), but for project keys, which their project owns.
 * The root row names the defaults, and its version counts the changes of keys: whoever changes a key updates
 * it in the same transaction, and every process looks at it once a second. */
#define KIND_ACCOUNT "account"
#define ROOT_ID "root"
#define KIND_ORGANIZATION "organization"
#define KIND_PROJECT "project"
#define KIND_USER "user"
#define KIND_KEY "key"

/* Filter columns of a key's row. */
enum { KEY_F_DIGEST, KEY_F_KIND, KEY_F_ORIGIN };

/* A live key in memory. */
struct key_entry {
        uint8_t digest[DIGEST_BYTES];
        int64_t expires;
        _Atomic int64_t used; /* unix seconds of the last use; 0: never */
        int64_t used_stored;  /* what the row says; the keeper's */
        struct principal who;
};

/* All live keys, immutable but for `used`. Open addressing by the first bytes of the digest. */
struct key_table {
        struct key_entry *entries;
        size_t n;
        uint32_t *slots; /* index + 1, 0: free */
        size_t mask;
};

struct account {
        struct store *store;
        char org[ID_MAX], project[ID_MAX], user[ID_MAX];
        struct pepper pepper;
        char secret_check[DIGEST_HEX]; /* of the root row; "" in one that an older program made */

        pthread_rwlock_t table_lock; /* held for writing only to exchange the pointer */
        struct key_table *table;
        pthread_mutex_t reload_lock; /* one reload or flush at a time; guards epoch */
        int64_t epoch;               /* version of the root row that the table shows, or newer */

        pthread_t keeper;
        bool keeper_runs;
        pthread_mutex_t keeper_lock;
        pthread_cond_t keeper_woken;
        bool stopping;
};

/* ---- keys.c ---- */

/* Reads all keys into a new table, of key_table_free(). */
int key_table_load(struct account *a, struct key_table **ret, struct store_fault *fault);
void key_table_free(struct key_table *t); /* accepts NULL */
struct key_entry *key_table_find(const struct key_table *t, const uint8_t digest[DIGEST_BYTES]);
/* Writes the last-use times that changed; errors leave them for the next time. */
void key_table_flush(struct account *a, struct key_table *t);

/* ---- account.c ---- */

/* Shows what the store says now. */
int account_reload(struct account *a, struct store_fault *fault);
#endif
