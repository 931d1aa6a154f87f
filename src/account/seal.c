#include "account/account.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>
#include "account/account_internal.h"
#include "base/mem.h"
#include "base/rand.h"

/* Sealed text is the base64 of: version, nonce, ciphertext, tag. The cipher is AES-256-GCM (NIST SP 800-38D)
 * under a key that is the pepper's digest of a fixed label; the context is its additional data. Nonces are
 * random: SP 800-38D bounds that to 2^32 texts a key. */
#define VERSION 1
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define OVERHEAD (1 + NONCE_BYTES + TAG_BYTES)

struct sealing {
        EVP_CIPHER_CTX *cipher;
        uint8_t key[DIGEST_BYTES];
};

static int sealing_init(struct sealing *s, struct account *a)
{
        s->cipher = EVP_CIPHER_CTX_new();
        return s->cipher ? secret_digest(&a->pepper, STR("sealed text, version 1"), s->key) : -ENOMEM;
}

static void sealing_clear(struct sealing *s)
{
        EVP_CIPHER_CTX_free(s->cipher);
        OPENSSL_cleanse(s->key, sizeof(s->key));
}

static const uint8_t *bytes(const char *p)
{
        return (const uint8_t *)p;
}

/* Fills raw (text.n + OVERHEAD bytes). */
static bool encrypt(struct sealing *s, struct str context, struct str text, uint8_t *raw)
{
        uint8_t *nonce = raw + 1, *out = nonce + NONCE_BYTES;
        int n;
        raw[0] = VERSION;
        rand_bytes(nonce, NONCE_BYTES);
        return EVP_EncryptInit_ex(s->cipher, EVP_aes_256_gcm(), NULL, s->key, nonce) &&
               EVP_EncryptUpdate(s->cipher, NULL, &n, bytes(context.p), (int)context.n) &&
               EVP_EncryptUpdate(s->cipher, out, &n, bytes(text.p), (int)text.n) &&
               EVP_EncryptFinal_ex(s->cipher, out + text.n, &n) &&
               EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + text.n);
}

/* Writes the text (n - OVERHEAD bytes); false when anything of it is not as it was sealed. */
static bool decrypt(struct sealing *s, struct str context, uint8_t *raw, size_t n, uint8_t *out)
{
        uint8_t *nonce = raw + 1, *body = nonce + NONCE_BYTES, *tag = raw + n - TAG_BYTES;
        int len = (int)(n - OVERHEAD), wrote;
        return raw[0] == VERSION && EVP_DecryptInit_ex(s->cipher, EVP_aes_256_gcm(), NULL, s->key, nonce) &&
               EVP_DecryptUpdate(s->cipher, NULL, &wrote, bytes(context.p), (int)context.n) &&
               EVP_DecryptUpdate(s->cipher, out, &wrote, body, len) &&
               EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) &&
               EVP_DecryptFinal_ex(s->cipher, out + len, &wrote);
}

int account_seal(struct account *a, struct str context, struct str text, char **ret)
{
        struct sealing s = { 0 };
        if (text.n > ACCOUNT_SEAL_MAX)
                return -E2BIG;
        size_t n = text.n + OVERHEAD;
        uint8_t *raw = mem_alloc(n);
        char *out = mem_alloc(4 * ((n + 2) / 3) + 1);
        int rc = raw && out ? sealing_init(&s, a) : -ENOMEM;
        if (rc == 0 && !encrypt(&s, context, text, raw))
                rc = -ENOMEM;
        if (rc == 0)
                EVP_EncodeBlock((uint8_t *)out, raw, (int)n);
        else
                mem_free(out);
        *ret = rc ? NULL : out;
        sealing_clear(&s);
        mem_free(raw);
        return rc;
}

/* The bytes of base64 in raw, which has 3 for each 4 characters; 0 when it is none. Bits of the last
 * character that belong to no byte must be 0, so that a text has one spelling only (RFC 4648, section 3.5).
 */
static size_t decode(struct str sealed, uint8_t *raw)
{
        uint8_t last[5];
        size_t pad = 0;
        while (pad < 2 && pad < sealed.n && sealed.p[sealed.n - 1 - pad] == '=')
                pad++;
        int n = sealed.n % 4 ? -1 : EVP_DecodeBlock(raw, bytes(sealed.p), (int)sealed.n);
        if (n < 3 || !pad)
                return n < 3 ? 0 : (size_t)n;
        EVP_EncodeBlock(last, raw + n - 3, 3 - (int)pad);
        return memcmp(last, sealed.p + sealed.n - 4, 4) ? 0 : (size_t)n - pad;
}

int account_unseal(struct account *a, struct str context, struct str sealed, char **ret, size_t *ret_n)
{
        struct sealing s = { 0 };
        *ret = NULL;
        if (sealed.n > 2 * ACCOUNT_SEAL_MAX)
                return -EINVAL;
        uint8_t *raw = mem_alloc(sealed.n / 4 * 3 + 4);
        size_t n = raw ? decode(sealed, raw) : 0;
        char *text = n > OVERHEAD ? mem_alloc(n - OVERHEAD + 1) : NULL;
        int rc = !raw || (n > OVERHEAD && !text) ? -ENOMEM : n > OVERHEAD ? 0 : -EINVAL;
        if (rc == 0)
                rc = sealing_init(&s, a);
        if (rc == 0 && !decrypt(&s, context, raw, n, (uint8_t *)text))
                rc = -EINVAL;
        if (rc == 0) {
                *ret_n = n - OVERHEAD;
                text[*ret_n] = '\0';
                *ret = text;
                text = NULL;
        }
        sealing_clear(&s);
        mem_free(text);
        mem_free(raw);
        return rc;
}
