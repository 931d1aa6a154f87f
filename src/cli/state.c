#include "cli/state.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "account/account.h"
#include "store/blob.h"
#include "store/datadir.h"
#include "store/store.h"

/* The data directory, which one server holds at a time, names it: the machine, and the directory's place
 * there. A copy of the directory is another one. */
static int instance_name(const char *dir, char ret[65])
{
        char machine[64] = "", host[256] = "", text[512];
        uint8_t digest[SHA256_DIGEST_LENGTH];
        struct stat st;
        FILE *f = fopen("/etc/machine-id", "r");
        if (f && !fgets(machine, sizeof(machine), f))
                *machine = '\0';
        if (f)
                fclose(f);
        if (stat(dir, &st) || gethostname(host, sizeof(host) - 1))
                return -errno;
        int n = snprintf(text, sizeof(text), "%s %s %llu %llu", machine, host, (unsigned long long)st.st_dev,
                         (unsigned long long)st.st_ino);
        SHA256((const uint8_t *)text, (size_t)n, digest);
        str_hex(digest, sizeof(digest), ret);
        return 0;
}

/* With a database elsewhere the directory has no store that would make and lock it. */
static int directory_prepare(const char *dir, bool exclusive, struct state *s, char *err, size_t errn)
{
        int fd = -1;
        int rc = datadir_make(dir, err, errn);
        if (!rc && exclusive)
                rc = datadir_lock(dir, &fd, err, errn);
        if (!rc && exclusive) {
                s->lock = fd;
                rc = instance_name(dir, s->instance);
                if (rc)
                        snprintf(err, errn, "data directory %s: %s", dir, strerror(-rc));
        }
        return rc;
}

int state_open_store(const struct config *c, bool exclusive, struct state *ret, char *err, size_t errn)
{
        struct store_options options = { .exclusive = exclusive };
        struct store_fault fault = { 0 };
        int rc = 0;
        memset(ret, 0, sizeof(*ret));
        if (c->database)
                rc = directory_prepare(c->data, exclusive, ret, err, errn);
        if (rc) {
                state_close(ret);
                return rc;
        }
        options.instance = *ret->instance ? ret->instance : NULL;
        rc = store_open(c->database ? c->database : c->data, &options, &ret->store, &fault);
        if (rc) {
                snprintf(err, errn, "%s", *fault.msg ? fault.msg : strerror(-rc));
                state_close(ret);
        }
        return rc;
}

int state_open_existing(const struct config *c, struct state *ret, char *err, size_t errn)
{
        struct store_options options = { .existing = true };
        struct store_fault fault = { 0 };
        memset(ret, 0, sizeof(*ret));
        int rc = store_open(c->database ? c->database : c->data, &options, &ret->store, &fault);
        if (rc)
                snprintf(err, errn, "%s%s", *fault.msg ? fault.msg : strerror(-rc),
                         rc == -ENOENT && !c->database ? " (one on PostgreSQL is named by --database)" : "");
        return rc;
}

int state_open_account(const struct config *c, struct state *s, char *err, size_t errn)
{
        return account_open(s->store, c->data, c->secret, &s->account, err, errn);
}

int state_open_blobs(const struct config *c, bool exclusive, struct state *s, char *err, size_t errn)
{
        struct blobs_options o = { .data_dir = c->data,
                                   .exclusive = exclusive,
                                   .shared = c->database != NULL,
                                   .url = c->blobs,
                                   .endpoint = c->s3_endpoint,
                                   .region = c->s3_region,
                                   .key = c->s3_key,
                                   .secret = c->s3_secret };
        return blobs_open(&o, &s->blobs, err, errn);
}

void state_close(struct state *s)
{
        blobs_close(s->blobs);
        account_close(s->account);
        store_close(s->store);
        if (s->lock)
                close(s->lock);
        memset(s, 0, sizeof(*s));
}
