/* Signing secrets of webhook endpoints, and the signatures made with them (Standard Webhooks 1.0).
 *
 * An endpoint's document keeps them sealed (account_seal, its id as the context), the newest first:
 * "secrets": [{"sealed": "...", "until": unix seconds or 0 for good}]. */
#ifndef CAIRN_JOBS_WEBHOOK_SECRET_H
#define CAIRN_JOBS_WEBHOOK_SECRET_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/json.h"

struct account;

#define WEBHOOK_SECRET_SIZE 40  /* "whsec_" and 32 characters, with the NUL */
#define WEBHOOK_SECRETS_MAX 16  /* that sign at the same time: the oldest of more end sooner */
#define WEBHOOK_OVERLAP_S 86400 /* how long a secret signs after its successor was made */

/* Makes a secret the first of `doc`, and object.signing_secret_hint its hint. `keep_old`: the others sign
 * until WEBHOOK_OVERLAP_S after `now` (or their end, if sooner), else they end now. The caller wipes `ret`.
 * 0, -ENOMEM. */
int webhook_secret_renew(struct account *a, const char *endpoint, json_t *doc, bool keep_old, int64_t now,
                         char ret[WEBHOOK_SECRET_SIZE]);

/* The value of webhook-signature: "v1,<base64>" of HMAC-SHA-256 over "id.timestamp.body" for each live secret
 * of `doc`, with spaces between. 0, -EINVAL (no secret of it can be opened), -ENOMEM. */
int webhook_signature(struct account *a, const char *endpoint, const json_t *doc, const char *id,
                      int64_t timestamp, struct str body, struct buf *ret);
/* The signature of one secret, added to *ret. 0, -EINVAL for what is no secret, -ENOMEM. */
int webhook_sign(const char *secret, const char *id, int64_t timestamp, struct str body, struct buf *ret);
#endif
