/* Which blobs belong to which database. What no row of the database names is removed from its blobs, so with
 * the wrong blobs every one of them would go.
 *
 * A database has a row with the id of its installation, and the place of the blobs a mark with the same id.
 * Both are made by the first server; all processes on the database and all copies of the row share it. A copy
 * that may be served beside its original gets an id of its own.
 *
 * Functions return 0 or a negative errno with a sentence in err: -EPERM when the two do not belong together,
 * else what the store and the blobs return. */
#ifndef CAIRN_JOBS_INSTALLATION_H
#define CAIRN_JOBS_INSTALLATION_H

#include <stdbool.h>
#include <stddef.h>
#include "store/blob.h"
#include "store/store.h"

/* Holds both against each other. Blobs without a mark are the database's when there are none, or when it
 * names one of them; `adopt`: then they are marked, and else refused. */
int installation_check(struct store *s, struct blobs *b, bool adopt, char *err, size_t errn);
/* Gives the database an id that no other has, and the blobs its mark: for a copy that was just made of both.
 * `b` NULL: of the database alone, whose blobs stay those of the original. */
int installation_renew(struct store *s, struct blobs *b, char *err, size_t errn);
/* The same for blobs that somebody says are the database's. Refuses them when it names none of them. */
int installation_claim(struct store *s, struct blobs *b, char *err, size_t errn);
/* Whether the database has an id, and so its blobs their mark. */
int installation_known(struct store *s, bool *ret, char *err, size_t errn);
#endif
