/* Where a command finds what is kept: the store of the configuration, and the account in it. */
#ifndef CAIRN_CLI_STATE_H
#define CAIRN_CLI_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include "cli/config.h"

struct account;
struct blobs;
struct store;

/* What a command opened; zeroed before, and NULL where nothing was. */
struct state {
        struct store *store;
        struct account *account;
        struct blobs *blobs;
        int lock;          /* of the data directory beside a database; 0: none */
        char instance[65]; /* names this server among those on a database, the same after a restart; else ""
                            */
};

/* Opens the store: the configured database, else that of the data directory. The directory is made either
 * way, for it holds the secret and what is being written. `exclusive` is for the server, one for each
 * directory. */
int state_open_store(const struct config *c, bool exclusive, struct state *ret, char *err, size_t errn);
/* Opens a store that is there, for commands that only look at one: where there is none, that is an error and
 * nothing is made. */
int state_open_existing(const struct config *c, struct state *ret, char *err, size_t errn);
/* Opens the account, beside a store that is open. */
int state_open_account(const struct config *c, struct state *s, char *err, size_t errn);
/* Opens the contents of files, beside a store that is open. Whether they are the store's is to be asked of
 * installation_check(). */
int state_open_blobs(const struct config *c, bool exclusive, struct state *s, char *err, size_t errn);
void state_close(struct state *s); /* harmless on a zeroed one */
#endif
