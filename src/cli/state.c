#include "cli/state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "account/account.h"
#include "store/blob.h"
#include "store/datadir.h"
#include "store/store.h"

/* With a database elsewhere the directory has no store that would make and lock it. */
static int directory_prepare(const char *dir, bool exclusive, struct state *s, char *err, size_t errn)
{
        int fd = -1;
        int rc = datadir_make(dir, err, errn);
        if (!rc && exclusive)
                rc = datadir_lock(dir, &fd, err, errn);
        if (!rc && exclusive)
                s->lock = fd;
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
        if (rc)
                return rc;
        rc = store_open(c->database ? c->database : c->data, &options, &ret->store, &fault);
        if (rc) {
                snprintf(err, errn, "%s", *fault.msg ? fault.msg : strerror(-rc));
                state_close(ret);
        }
        return rc;
}

int state_open(const struct config *c, bool exclusive, struct state *ret, char *err, size_t errn)
{
        int rc = state_open_store(c, exclusive, ret, err, errn);
        if (!rc)
                rc = account_open(ret->store, c->data, c->secret, &ret->account, err, errn);
        if (rc)
                state_close(ret);
        return rc;
}

int state_open_blobs(const struct config *c, bool exclusive, struct state *s, char *err, size_t errn)
{
        struct blobs_options o = { .data_dir = c->data,
                                   .exclusive = exclusive,
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
