#include "jobs/webhook_secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include "account/account.h"
#include "base/mem.h"
#include "base/rand.h"

#define PREFIX "whsec_"
#define KEY_BYTES 24 /* base64 without padding */
#define KEY_CHARS 32
#define MAC_BYTES 32
#define HINT_CHARS 4

_Static_assert(sizeof(PREFIX) + KEY_CHARS <= WEBHOOK_SECRET_SIZE, "a secret fits its buffer");

/* ---- one secret ---- */

static void make_secret(char out[WEBHOOK_SECRET_SIZE])
{
        uint8_t key[KEY_BYTES];
        rand_bytes(key, sizeof(key));
        memcpy(out, PREFIX, sizeof(PREFIX) - 1);
        EVP_EncodeBlock((uint8_t *)out + sizeof(PREFIX) - 1, key, sizeof(key));
        OPENSSL_cleanse(key, sizeof(key));
}

/* The HMAC key of a secret; false when it is none of ours. */
static bool key_of(const char *secret, uint8_t key[KEY_BYTES])
{
        const char *text = secret + sizeof(PREFIX) - 1;
        return strncmp(secret, PREFIX, sizeof(PREFIX) - 1) == 0 && strlen(text) == KEY_CHARS &&
               EVP_DecodeBlock(key, (const uint8_t *)text, KEY_CHARS) == KEY_BYTES;
}

int webhook_sign(const char *secret, const char *id, int64_t timestamp, struct str body, struct buf *ret)
{
        uint8_t key[KEY_BYTES], mac[MAC_BYTES], text[4 * ((MAC_BYTES + 2) / 3) + 1];
        struct buf content;
        unsigned n = sizeof(mac);
        if (!key_of(secret, key))
                return -EINVAL;
        buf_init(&content, body.n + 256);
        buf_addf(&content, "%s.%lld.", id, (long long)timestamp);
        buf_add(&content, body.p, body.n);
        int rc = buf_error(&content);
        if (rc == 0 && !HMAC(EVP_sha256(), key, KEY_BYTES, (const uint8_t *)content.p, content.n, mac, &n))
                rc = -ENOMEM;
        if (rc == 0) {
                EVP_EncodeBlock(text, mac, MAC_BYTES);
                buf_addf(ret, "%sv1,%s", ret->n ? " " : "", text);
                rc = buf_error(ret);
        }
        OPENSSL_cleanse(key, sizeof(key));
        buf_release(&content);
        return rc;
}

/* ---- those of an endpoint ---- */

static bool is_live(const json_t *entry, int64_t now)
{
        int64_t until = json_int(entry, "until", 0);
        return !until || until > now;
}

/* What stays of the earlier secrets, behind the new one in `list`. */
static void keep_others(json_t *list, const json_t *earlier, int64_t now)
{
        size_t i;
        json_t *entry;
        json_array_foreach((json_t *)earlier, i, entry)
        {
                int64_t until = json_int(entry, "until", 0), latest = now + WEBHOOK_OVERLAP_S;
                if (!is_live(entry, now) || json_array_size(list) >= WEBHOOK_SECRETS_MAX)
                        continue;
                json_array_append_new(list, json_pack("{s:O, s:I}", "sealed", json_get(entry, "sealed"),
                                                      "until", (json_int_t)(until ? until : latest)));
        }
}

int webhook_secret_renew(struct account *a, const char *endpoint, json_t *doc, bool keep_old, int64_t now,
                         char ret[WEBHOOK_SECRET_SIZE])
{
        char hint[sizeof(PREFIX) + 3 + HINT_CHARS];
        char *sealed = NULL;
        make_secret(ret);
        int rc = account_seal(a, str_c(endpoint), str_c(ret), &sealed);
        if (rc)
                return rc;
        json_t *list = json_pack("[{s:s, s:I}]", "sealed", sealed, "until", (json_int_t)0);
        if (list && keep_old)
                keep_others(list, json_get(doc, "secrets"), now);
        snprintf(hint, sizeof(hint), PREFIX "...%s", ret + strlen(ret) - HINT_CHARS);
        rc = json_put(doc, "secrets", list);
        if (rc == 0)
                rc = json_put(json_object_get(doc, "object"), "signing_secret_hint", json_string(hint));
        mem_free(sealed);
        return rc ? -ENOMEM : 0;
}

int webhook_signature(struct account *a, const char *endpoint, const json_t *doc, const char *id,
                      int64_t timestamp, struct str body, struct buf *ret)
{
        size_t i;
        json_t *entry;
        json_array_foreach(json_get(doc, "secrets"), i, entry)
        {
                char *secret = NULL;
                size_t n = 0;
                if (!is_live(entry, timestamp))
                        continue;
                int rc = account_unseal(a, str_c(endpoint), json_str(entry, "sealed"), &secret, &n);
                if (rc == 0)
                        rc = webhook_sign(secret, id, timestamp, body, ret);
                if (secret)
                        OPENSSL_cleanse(secret, n);
                mem_free(secret);
                if (rc == -ENOMEM)
                        return rc;
        }
        return ret->n ? 0 : -EINVAL;
}
