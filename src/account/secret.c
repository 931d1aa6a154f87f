#include "account/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/rand.h"

/* ---- the pepper ---- */

void pepper_set(struct pepper *p, const uint8_t secret[32])
{
        memset(p->inner, 0x36, sizeof(p->inner));
        memset(p->outer, 0x5c, sizeof(p->outer));
        for (int i = 0; i < 32; i++) {
                p->inner[i] ^= secret[i];
                p->outer[i] ^= secret[i];
        }
}

/* Writes a fresh secret beside and links it into place, so that of two processes one wins and no reader
 * meets half a file. */
static int pepper_create(const char *data_dir, const char *path)
{
        char temporary[4096], unique[ID_MAX];
        uint8_t secret[32];
        id_hex(unique, "pepper.", 16);
        if ((size_t)snprintf(temporary, sizeof(temporary), "%s/%s", data_dir, unique) >= sizeof(temporary))
                return -ENAMETOOLONG;
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        rand_bytes(secret, sizeof(secret));
        int rc = 0;
        if (write(fd, secret, sizeof(secret)) != (ssize_t)sizeof(secret) || fsync(fd))
                rc = errno ? -errno : -EIO;
        OPENSSL_cleanse(secret, sizeof(secret));
        close(fd);
        if (!rc && link(temporary, path) && errno != EEXIST)
                rc = -errno;
        unlink(temporary);
        int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (!rc && (dir < 0 || fsync(dir)))
                rc = -errno;
        if (dir >= 0)
                close(dir);
        return rc;
}

static int pepper_read(const char *path, uint8_t secret[32])
{
        struct stat st;
        int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st))
                rc = -errno;
        else if (st.st_size != 32 || read(fd, secret, 32) != 32)
                rc = -EBADMSG;
        else if ((st.st_mode & 077) && fchmod(fd, 0600))
                rc = -errno;
        close(fd);
        return rc;
}

int pepper_load(const char *data_dir, bool create, struct pepper *ret, char *err, size_t errn)
{
        char path[4096];
        uint8_t secret[32] = { 0 };
        if ((size_t)snprintf(path, sizeof(path), "%s/pepper", data_dir) >= sizeof(path)) {
                snprintf(err, errn, "the data directory's name is too long");
                return -ENAMETOOLONG;
        }
        int rc = pepper_read(path, secret);
        if (rc == -ENOENT && create) {
                rc = pepper_create(data_dir, path);
                if (!rc)
                        rc = pepper_read(path, secret);
        }
        if (!rc)
                pepper_set(ret, secret);
        OPENSSL_cleanse(secret, sizeof(secret));
        if (rc == -ENOENT) {
                snprintf(err, errn,
                         "%s is missing: without it the stored keys cannot be checked; put it back, copy it "
                         "from "
                         "another server of the same database, or set CAIRN_SECRET",
                         path);
                return -ENOKEY;
        }
        if (rc)
                snprintf(err, errn, "%s: %s", path,
                         rc == -EBADMSG ? "damaged, 32 bytes expected" : strerror(-rc));
        return rc;
}

/* ---- digests ---- */

/* Fetching the algorithm and allocating a context cost more than the digest, so both are kept. */
static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static pthread_key_t digest_key;
static EVP_MD *sha256;

static void context_free(void *context)
{
        EVP_MD_CTX_free(context);
}

static void digest_setup(void)
{
        if (!pthread_key_create(&digest_key, context_free))
                sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static EVP_MD_CTX *thread_context(void)
{
        pthread_once(&digest_once, digest_setup);
        if (!sha256)
                return NULL;
        EVP_MD_CTX *context = pthread_getspecific(digest_key);
        if (context)
                return context;
        context = EVP_MD_CTX_new();
        if (context && pthread_setspecific(digest_key, context)) {
                EVP_MD_CTX_free(context);
                context = NULL;
        }
        return context;
}

static bool digest_of(EVP_MD_CTX *context, const uint8_t block[64], const void *p, size_t n, uint8_t *ret)
{
        return EVP_DigestInit_ex2(context, sha256, NULL) && EVP_DigestUpdate(context, block, 64) &&
               EVP_DigestUpdate(context, p, n) && EVP_DigestFinal_ex(context, ret, NULL);
}

int secret_digest(const struct pepper *p, struct str value, uint8_t ret[DIGEST_BYTES])
{
        uint8_t inner[DIGEST_BYTES];
        EVP_MD_CTX *context = thread_context();
        if (!context || !digest_of(context, p->inner, value.p, value.n, inner) ||
            !digest_of(context, p->outer, inner, sizeof(inner), ret))
                return -ENOMEM;
        return 0;
}

bool digest_parse(const char *hex, uint8_t ret[DIGEST_BYTES])
{
        if (!hex || strlen(hex) != 2 * DIGEST_BYTES || strspn(hex, "0123456789abcdef") != 2 * DIGEST_BYTES)
                return false;
        for (int i = 0; i < DIGEST_BYTES; i++) {
                unsigned byte = 0;
                sscanf(hex + 2 * i, "%2x", &byte);
                ret[i] = (uint8_t)byte;
        }
        return true;
}

/* ---- values ---- */

void secret_make(enum key_kind kind, char *out)
{
        id_alnum(out, kind == KEY_ADMIN ? "sk-admin-" : "sk-proj-", 48);
}

void secret_redact(const char *value, char *out)
{
        size_t n = strlen(value);
        const char *head = "";
        if (!strncmp(value, "sk-proj-", 8))
                head = "sk-proj-";
        else if (!strncmp(value, "sk-admin-", 9))
                head = "sk-admin-";
        if (n < 24)
                snprintf(out, 24, "***");
        else
                snprintf(out, 24, "%s...%s", head, value + n - 4);
}

char *account_redact(char *out, struct str key)
{
        if (key.n < 16) {
                snprintf(out, 24, "***");
                return out;
        }
        snprintf(out, 24, "%.6s***%.4s", key.p, key.p + key.n - 4);
        for (char *p = out; *p; p++) {
                if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\')
                        *p = '?';
        }
        return out;
}

const char *secret_complaint(const char *value)
{
        size_t n = strlen(value);
        if (n < 8)
                return "must have at least 8 characters";
        if (n >= ACCOUNT_KEY_MAX)
                return "must have at most 255 characters";
        for (const char *p = value; *p; p++) {
                if (*p <= ' ' || *p > '~')
                        return "must consist of visible ASCII characters, without spaces";
        }
        return NULL;
}
