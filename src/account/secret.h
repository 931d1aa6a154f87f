/* Key values: how they are made, hidden and turned into the digests that are kept. */
#ifndef CAIRN_ACCOUNT_SECRET_H
#define CAIRN_ACCOUNT_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "account/account.h"

#define DIGEST_BYTES 32
#define DIGEST_HEX (2 * DIGEST_BYTES + 1)

/* The installation's secret, as the two key blocks of HMAC (RFC 2104). */
struct pepper {
        uint8_t inner[64], outer[64];
};

/* Reads DATA/pepper. When it is missing: makes it if `create`, else -ENOKEY. A file that others may read is
 * made private. err gets a sentence. */
int pepper_load(const char *data_dir, bool create, struct pepper *ret, char *err, size_t errn);
void pepper_set(struct pepper *p, const uint8_t secret[32]);

/* HMAC-SHA-256 of value. 0 or -ENOMEM. Any thread; allocates once a thread. */
int secret_digest(const struct pepper *p, struct str value, uint8_t ret[DIGEST_BYTES]);
/* Reads what str_hex() wrote; false when `hex` (may be NULL) is no digest in lower case. */
bool digest_parse(const char *hex, uint8_t ret[DIGEST_BYTES]);

/* A new value: "sk-proj-" or "sk-admin-" and 48 letters and digits. out has ACCOUNT_KEY_MAX bytes. */
void secret_make(enum key_kind kind, char *out);
/* What is shown of a key for good: "sk-proj-...abcd", or "***" of a short one. out has 24 bytes. */
void secret_redact(const char *value, char *out);
/* NULL, or what a value that people chose lacks. */
const char *secret_complaint(const char *value);
#endif
