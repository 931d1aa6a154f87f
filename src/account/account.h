/* Who calls: the organization, its projects and their keys.
 *
 * Keys are kept as HMAC-SHA-256 under a secret of the installation (DATA/pepper, mode 0600) beside a redacted
 * form; the value itself is returned once, by the call that made it. Authentication looks in memory; changes
 * made by another process on the same store (`cairn keys revoke`) are seen within about a second.
 *
 * Functions return 0 or a negative errno, with a sentence in err where they take it. Any thread, unless
 * said otherwise. */
#ifndef CAIRN_ACCOUNT_ACCOUNT_H
#define CAIRN_ACCOUNT_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/ids.h"
#include "base/json.h"
#include "base/str.h"

struct account;
struct store;

#define ACCOUNT_KEY_MAX 256 /* longest key value, with its NUL */
#define ACCOUNT_NAME_MAX 128

enum key_kind { KEY_PROJECT, KEY_ADMIN };

/* ---- opening ---- */

/* Opens the account kept in `store`, making the organization, its owner and the default project when there
 * are none. The installation's secret is `secret`, 64 hexadecimal digits, or when that is NULL or empty the
 * file data_dir/pepper: -ENOKEY when the store depends on a secret and the file is gone, -EKEYREJECTED when
 * it is not that of the store. Starts the thread that watches for changes and flushes last-use times. The
 * store must outlive the account. */
int account_open(struct store *store, const char *data_dir, const char *secret, struct account **ret,
                 char *err, size_t errn);
void account_close(struct account *a); /* flushes, joins, frees; accepts NULL */

/* What a start of the server made; an empty string means that nothing was. Show it once, then wipe it. */
struct account_minted {
        char project_key[ACCOUNT_KEY_MAX];
        char admin_key[ACCOUNT_KEY_MAX];
};

/* For the start of the server. A non-empty environment value becomes the value of the "environment" key of
 * its kind, replacing the one of the last start; without a value that key ceases to exist. Then, where no
 * project key or no admin key exists, one is made and returned in *ret. -EINVAL when a value is shorter than
 * 8 or longer than 255 characters, has other than visible ASCII, or when both are the same. */
int account_ensure_keys(struct account *a, const char *env_api_key, const char *env_admin_key,
                        struct account_minted *ret, char *err, size_t errn);

/* ---- authentication ---- */

struct principal {
        enum key_kind kind;
        char org[ID_MAX];     /* "org-..." */
        char project[ID_MAX]; /* "proj_..."; "" for an admin key */
        char user[ID_MAX];    /* "user-...", the key's owner */
        char key[ID_MAX];     /* "key_..." */
        char name[ACCOUNT_NAME_MAX];
};

/* The one on whose behalf work is done that outlives the request, as JSON and back: {org, project, user, key}
 * of a project key. A new object, NULL when memory is out. */
json_t *principal_json(const struct principal *who);
/* What is absent is "". */
void principal_read(const json_t *v, struct principal *ret);

/* Fills *ret when the presented value is a live key; -EACCES otherwise, in the same time whatever is wrong
 * with it. Below a microsecond, no store access, safe on an I/O thread. */
int account_authenticate(struct account *a, struct str presented, struct principal *ret);

/* Hides a key value for logs and messages: "sk-VKM***wjh3"; "***" when it is short. out has 24 bytes. */
char *account_redact(char *out, struct str key);

/* ---- what only this server can read ---- */

#define ACCOUNT_SEAL_MAX ((size_t)64 << 20) /* bytes of a text to be sealed */

/* Encrypts text for a client to keep and to send back: nobody can read or change it, and only the same
 * `context` (a project, say) opens it. *ret: base64, NUL-terminated, mem_free() it. -E2BIG, -ENOMEM. */
int account_seal(struct account *a, struct str context, struct str text, char **ret);
/* The text again, NUL-terminated in *ret, mem_free() it. -EINVAL when it is not what account_seal made, by
 * this installation and for this context; -ENOMEM. An empty text is none. */
int account_unseal(struct account *a, struct str context, struct str sealed, char **ret, size_t *ret_n);

/* ---- what exists ---- */

const char *account_org(struct account *a);             /* "org-...", lives as long as a */
const char *account_default_project(struct account *a); /* "proj_..." */

/* Makes a project, a tenant of its own: ret_id gets its id. -EINVAL for a name that is empty or too long. */
int account_project_create(struct account *a, const char *name, char ret_id[ID_MAX], char *err, size_t errn);

struct key_info {
        char id[ID_MAX];
        char name[ACCOUNT_NAME_MAX];
        char redacted[24]; /* "sk-proj-...abcd" */
        char project[ID_MAX];
        char user[ID_MAX];
        enum key_kind kind;
        bool environment;  /* its value is set by CAIRN_API_KEY or CAIRN_ADMIN_KEY */
        int64_t created;   /* unix seconds */
        int64_t last_used; /* unix seconds, 0: never; another process sees it up to a minute late */
        int64_t expires;   /* unix seconds, 0: never */
};

/* Makes a key. project NULL: the default one (ignored for an admin key); name NULL: "". expires: unix
 * seconds or 0. ret_value (ACCOUNT_KEY_MAX bytes) gets the value, which cannot be had again. It works in
 * this process at once. -ENOENT when there is no such project. */
int account_key_create(struct account *a, enum key_kind kind, const char *project, const char *name,
                       int64_t expires, char *ret_value, struct key_info *ret, char *err, size_t errn);
/* All keys, newest last, in an array of mem_alloc that the caller frees with mem_free(). Reads the store. */
int account_key_list(struct account *a, struct key_info **ret, size_t *ret_n, char *err, size_t errn);
/* Ends a key for good; it fails here at once. Takes the id. -ENOENT when there is no such key. */
int account_key_revoke(struct account *a, const char *id, char *err, size_t errn);
#endif
