#include "store/s3_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "store/blob_internal.h"

#define ATTEMPTS 5
#define FIRST_PAUSE_MS 100 /* doubled each time, and up to as much again by chance */
#define GIVE_UP_MS 40000   /* no new attempt after that */
#define CONNECT_TIMEOUT_MS 5000
#define REQUEST_TIMEOUT_S 300 /* of a request as a whole; */
#define STALL_BYTES 1024      /* slower than this a second */
#define STALL_S 20            /* for this long is dead */
#define BRIEF_MS 2500         /* of a request that only asks for an answer */
#define SILENT_MS 5000        /* how long a service that gave none is left alone */
#define IDLE_MAX 16           /* kept connections */
#define ERROR_TEXT_MAX 65536
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-"

struct s3_client {
        char *base;   /* "https://host/bucket" */
        char *prefix; /* "" or "a/b/" */
        char *key, *secret, *signer;
        atomic_ullong *retries;
        pthread_mutex_t lock; /* of what follows */
        CURL *idle[IDLE_MAX];
        size_t n_idle;
        bool suspect, probing; /* it said nothing for too long; one request asks whether it answers */
        int64_t silent_until;  /* monotonic milliseconds: it did not, and is not asked before */
};

/* One attempt. */
struct attempt {
        struct s3_request *q;
        CURL *curl;
        size_t sent;      /* of the body */
        struct buf error; /* the body of an answer that is none of 2xx */
        char why[CURL_ERROR_SIZE];
};

/* ---- making a client ---- */

static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *fmt, ...)
{
        struct buf b;
        va_list ap;
        buf_init(&b, 4096);
        va_start(ap, fmt);
        buf_addv(&b, fmt, ap);
        va_end(ap);
        char *made = buf_take(&b, NULL);
        return made;
}

static const char *or_env(const char *value, const char *name)
{
        if (value && *value)
                return value;
        value = getenv(name);
        return value ? value : "";
}

/* Fills base and prefix from "s3://BUCKET/PREFIX". */
static int take_url(struct s3_client *c, const struct blobs_options *o, const char *region, char *err,
                    size_t errn)
{
        const char *bucket = o->url + strlen("s3://");
        size_t n = strcspn(bucket, "/");
        const char *prefix = bucket[n] ? bucket + n + 1 : "";
        size_t end = strlen(prefix);
        while (end && prefix[end - 1] == '/')
                end--;
        if (n < 3 || n > 63 || strspn(bucket, NAME_CHARS) != strlen(bucket) || end > 512) {
                snprintf(err, errn,
                         "'%.200s': s3://BUCKET/PREFIX wants a bucket of 3 to 63 characters, and letters, "
                         "digits, "
                         "'.', '_', '-' only",
                         o->url);
                return -EINVAL;
        }
        c->prefix = text("%.*s%s", (int)end, prefix, end ? "/" : "");
        if (o->endpoint && *o->endpoint) {
                size_t length = strlen(o->endpoint);
                while (length && o->endpoint[length - 1] == '/')
                        length--;
                c->base = text("%.*s/%.*s", (int)length, o->endpoint, (int)n, bucket);
        } else {
                c->base = text("https://s3.%s.amazonaws.com/%.*s", region, (int)n, bucket);
        }
        return c->base && c->prefix ? 0 : -ENOMEM;
}

static int check_options(const struct blobs_options *o, const char *region, const char *key,
                         const char *secret, char *err, size_t errn)
{
        if (o->endpoint && *o->endpoint && strncmp(o->endpoint, "http://", 7) != 0 &&
            strncmp(o->endpoint, "https://", 8) != 0)
                snprintf(err, errn, "s3_endpoint: '%.200s' is no http:// or https:// URL", o->endpoint);
        else if (strspn(region, NAME_CHARS) != strlen(region))
                snprintf(err, errn, "s3_region: '%.100s' is no region", region);
        else if (!*key || !*secret)
                snprintf(err, errn,
                         "S3 needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or s3_key and "
                         "s3_secret");
        else
                return 0;
        return -EINVAL;
}

int s3_client_new(const struct blobs_options *o, atomic_ullong *retries, struct s3_client **ret, char *err,
                  size_t errn)
{
        const char *region = or_env(o->region, "AWS_REGION"), *key = or_env(o->key, "AWS_ACCESS_KEY_ID"),
                   *secret = or_env(o->secret, "AWS_SECRET_ACCESS_KEY");
        region = *region ? region : "us-east-1";
        int rc = check_options(o, region, key, secret, err, errn);
        if (rc)
                return rc;
        struct s3_client *c = mem_calloc(1, sizeof(*c));
        rc = c && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -ENOMEM;
        if (!rc) {
                pthread_mutex_init(&c->lock, NULL);
                c->retries = retries;
                c->key = mem_strdup(key);
                c->secret = mem_strdup(secret);
                c->signer = text("aws:amz:%s:s3", region);
                rc = take_url(c, o, region, err, errn);
        }
        if (!rc && (!c->key || !c->secret || !c->signer))
                rc = -ENOMEM;
        if (rc == -ENOMEM)
                snprintf(err, errn, "memory is out");
        if (rc) {
                s3_client_free(c);
                return rc;
        }
        *ret = c;
        return 0;
}

void s3_client_free(struct s3_client *c)
{
        if (!c)
                return;
        while (c->n_idle)
                curl_easy_cleanup(c->idle[--c->n_idle]);
        pthread_mutex_destroy(&c->lock);
        if (c->secret)
                explicit_bzero(c->secret, strlen(c->secret));
        mem_free(c->base);
        mem_free(c->prefix);
        mem_free(c->key);
        mem_free(c->secret);
        mem_free(c->signer);
        mem_free(c);
}

const char *s3_client_prefix(const struct s3_client *c)
{
        return c->prefix;
}

/* A handle with its connection, if one is idle. */
static CURL *handle_take(struct s3_client *c)
{
        pthread_mutex_lock(&c->lock);
        CURL *curl = c->n_idle ? c->idle[--c->n_idle] : NULL;
        pthread_mutex_unlock(&c->lock);
        return curl ? curl : curl_easy_init();
}

static void handle_give(struct s3_client *c, CURL *curl)
{
        if (!curl)
                return;
        curl_easy_reset(curl);
        pthread_mutex_lock(&c->lock);
        if (c->n_idle < IDLE_MAX) {
                c->idle[c->n_idle++] = curl;
                curl = NULL;
        }
        pthread_mutex_unlock(&c->lock);
        curl_easy_cleanup(curl);
}

/* ---- one attempt ---- */

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
        struct attempt *a = ctx;
        size_t part = a->q->body_n - a->sent;
        if (part > size * n)
                part = size * n;
        if (part)
                memcpy(out, (const char *)a->q->body + a->sent, part);
        a->sent += part;
        return part;
}

/* The service may ask for the body a second time: after 100-continue, on a connection that had gone. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
        struct attempt *a = ctx;
        if (origin != SEEK_SET || offset < 0 || (size_t)offset > a->q->body_n)
                return CURL_SEEKFUNC_FAIL;
        a->sent = (size_t)offset;
        return CURL_SEEKFUNC_OK;
}

static size_t on_content(char *p, size_t size, size_t n, void *ctx)
{
        struct attempt *a = ctx;
        struct s3_request *q = a->q;
        long status = 0;
        n *= size;
        curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status < 200 || status > 299) {
                if (a->error.n + n <= ERROR_TEXT_MAX)
                        buf_add(&a->error, p, n);
                return n;
        }
        if (q->text) {
                buf_add(q->text, p, n);
                return buf_error(q->text) ? 0 : n;
        }
        if (!q->into)
                return n;
        if (n > q->into_max - q->into_n)
                return 0;
        memcpy((char *)q->into + q->into_n, p, n);
        q->into_n += n;
        return n;
}

/* Whether the header line is `name`; *ret gets its value. */
static bool header_is(struct str line, const char *name, struct str *ret)
{
        struct str value, field = str_split(line, ':', &value);
        while (value.n && strchr("\r\n", value.p[value.n - 1]))
                value.n--;
        *ret = str_trim(value);
        return str_ieqc(field, name);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
        struct attempt *a = ctx;
        struct str line = { p, size * n }, value;
        int64_t number;
        if (header_is(line, "etag", &value)) {
                snprintf(a->q->etag, sizeof(a->q->etag), "%.*s", STR_ARG(value));
        } else if (header_is(line, "content-range", &value)) { /* "bytes 0-9/100" */
                struct str rest;
                str_split(value, '/', &rest);
                if (str_to_i64(rest, &number) && number >= 0)
                        a->q->total = (uint64_t)number;
        } else if (header_is(line, "content-length", &value) && !a->q->total) {
                if (str_to_i64(value, &number) && number >= 0)
                        a->q->total = (uint64_t)number;
        }
        return size * n;
}

/* The digest of the body is signed with the rest, so that no other body can arrive. */
static struct curl_slist *headers_of(const struct s3_request *q)
{
        unsigned char digest[32];
        char line[128] = "x-amz-content-sha256: ";
        if (!EVP_Digest(q->body_n ? q->body : "", q->body_n, digest, NULL, EVP_sha256(), NULL))
                return NULL;
        str_hex(digest, sizeof(digest), line + strlen(line));
        struct curl_slist *list = curl_slist_append(NULL, line), *more = NULL;
        if (list && (!strcmp(q->method, "PUT") || !strcmp(q->method, "POST")))
                more = curl_slist_append(list, "Content-Type: application/octet-stream");
        return more ? more : list;
}

static void set_method(struct attempt *a)
{
        const struct s3_request *q = a->q;
        CURL *curl = a->curl;
        if (!strcmp(q->method, "PUT")) {
                curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
                curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
                curl_easy_setopt(curl, CURLOPT_READDATA, a);
                curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
                curl_easy_setopt(curl, CURLOPT_SEEKDATA, a);
                curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body_n);
        } else if (!strcmp(q->method, "POST")) {
                curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_n);
                curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body_n ? q->body : "");
        } else if (!strcmp(q->method, "HEAD")) {
                curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
        } else if (strcmp(q->method, "GET") != 0) {
                curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
        }
}

static CURLcode attempt_run(struct s3_client *c, struct attempt *a, const char *url)
{
        CURL *curl = a->curl;
        struct curl_slist *headers = headers_of(a->q);
        if (!headers)
                return CURLE_OUT_OF_MEMORY;
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, c->signer);
        curl_easy_setopt(curl, CURLOPT_USERNAME, c->key); /* not USERPWD: a key may have a colon */
        curl_easy_setopt(curl, CURLOPT_PASSWORD, c->secret);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_RANGE, a->q->range);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_content);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, a);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, a->why);
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, a->q->brief ? BRIEF_MS : REQUEST_TIMEOUT_S * 1000L);
        curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, (long)a->q->brief); /* an old one may be what is dead */
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
        set_method(a);
        CURLcode rc = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &a->q->status);
        curl_slist_free_all(headers);
        return rc;
}

/* Whether what failed may do better another time; q->code is known. A late error is one of a service that had
 * begun to answer, so its status is a success. */
static bool may_pass(const struct s3_request *q)
{
        if (q->status <= 299)
                return strcmp(q->code, "NoSuchUpload") != 0;
        return q->status >= 500 ? q->status != 501 && q->status != 507 : q->status == 429;
}

static int status_error(const struct s3_request *q, bool again)
{
        if (again)
                return -EAGAIN;
        if (q->status <= 299 || (q->status == 404 && strcmp(q->code, "NoSuchBucket") != 0))
                return -ENOENT;
        if (q->status == 401 || q->status == 403)
                return -EACCES;
        return q->status == 507 ? -ENOSPC : -EIO;
}

static bool is_error(const struct buf *text)
{
        return text->n && memmem(text->p, text->n, "<Error>", strlen("<Error>"));
}

/* What the body of an error says: its code, into q, and its message. */
static void read_error(struct s3_request *q, const struct buf *text, char *message, size_t n)
{
        const char *at = text->p, *end = at ? at + text->n : at;
        if (at)
                s3_xml_next("Code", &at, end, q->code, sizeof(q->code));
        if (at)
                s3_xml_next("Message", &at, end, message, n);
}

/* What a finished attempt means: 0 or a negative errno; *ret_again when another one may do better. */
static int attempt_judge(struct attempt *a, CURLcode rc, bool *ret_again)
{
        struct s3_request *q = a->q;
        char message[160] = "";
        *ret_again = false;
        q->stalled = rc == CURLE_OPERATION_TIMEDOUT;
        if (rc == CURLE_OUT_OF_MEMORY)
                return blob_fail(-ENOMEM, "memory is out");
        if (rc == CURLE_WRITE_ERROR)
                return blob_fail(-EIO, "S3: %s %s: the answer is longer than it may be", q->method,
                                 q->name ? q->name : "");
        if (rc != CURLE_OK) {
                *ret_again = rc != CURLE_PEER_FAILED_VERIFICATION && rc != CURLE_URL_MALFORMAT;
                return blob_fail(*ret_again ? -EAGAIN : -EIO, "S3: %s",
                                 a->why[0] ? a->why : curl_easy_strerror(rc));
        }
        bool good = q->status >= 200 && q->status <= 299;
        if (good && !(q->late_error && is_error(q->text)))
                return 0;
        read_error(q, good ? q->text : &a->error, message, sizeof(message));
        *ret_again = may_pass(q);
        return blob_fail(status_error(q, *ret_again), "S3: %s %s: status %ld %s %s", q->method,
                         q->name ? q->name : "", q->status, q->code, message);
}

static int attempt(struct s3_client *c, struct s3_request *q, const char *url, bool *ret_again)
{
        struct attempt a = { .q = q };
        *ret_again = false;
        q->status = 0;
        q->stalled = false;
        q->into_n = 0;
        q->total = 0;
        q->etag[0] = q->code[0] = '\0';
        if (q->text)
                buf_clear(q->text);
        int rc = fault_at("s3.request");
        if (rc) {
                *ret_again = true;
                return blob_fail(-EAGAIN, "S3: %s", strerror(-rc));
        }
        a.curl = handle_take(c);
        if (!a.curl)
                return blob_fail(-ENOMEM, "memory is out");
        buf_init(&a.error, ERROR_TEXT_MAX);
        rc = attempt_judge(&a, attempt_run(c, &a, url), ret_again);
        buf_release(&a.error);
        handle_give(c, a.curl);
        return rc;
}

static void pause_ms(int64_t ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 };
        while (nanosleep(&t, &t) && errno == EINTR)
                ;
}

/* What an attempt tells of the service: that it answers, whatever it says, or that it does not. */
static void heard(struct s3_client *c, const struct s3_request *q)
{
        pthread_mutex_lock(&c->lock);
        if (q->stalled)
                c->suspect = true;
        else if (q->status)
                c->suspect = false;
        if (q->stalled && q->brief)
                c->silent_until = clock_mono_ms() + SILENT_MS;
        pthread_mutex_unlock(&c->lock);
}

static char *url_of(const struct s3_client *c, const struct s3_request *q)
{
        const char *query = q->query ? q->query : "", *mark = q->query ? "?" : "";
        return q->name ? text("%s/%s%s%s%s", c->base, c->prefix, q->name, mark, query)
                       : text("%s%s%s", c->base, mark, query);
}

/* One attempt to list nothing much. */
static bool answers(struct s3_client *c)
{
        struct buf answer;
        bool again;
        buf_init(&answer, ERROR_TEXT_MAX);
        struct s3_request q = {
                .method = "GET", .query = "list-type=2&max-keys=1", .text = &answer, .brief = true
        };
        char *url = url_of(c, &q);
        if (url)
                attempt(c, &q, url, &again);
        heard(c, &q);
        mem_free(url);
        buf_release(&answer);
        return q.status && !q.stalled;
}

/* Whether a request may be made: any, unless the service was silent; then one asks it first. */
static int pass(struct s3_client *c)
{
        pthread_mutex_lock(&c->lock);
        bool suspect = c->suspect, turn = suspect && !c->probing && clock_mono_ms() >= c->silent_until;
        c->probing |= turn;
        pthread_mutex_unlock(&c->lock);
        if (!suspect)
                return 0;
        bool good = turn && answers(c);
        if (turn) {
                pthread_mutex_lock(&c->lock);
                c->probing = false;
                pthread_mutex_unlock(&c->lock);
        }
        return good ? 0 : blob_fail(-EAGAIN, "S3: the service does not answer");
}

int s3_perform(struct s3_client *c, struct s3_request *q)
{
        int64_t start = clock_mono_ms(), wait = FIRST_PAUSE_MS;
        bool again = false;
        int rc = 0;
        char *url = url_of(c, q);
        if (!url)
                return blob_fail(-ENOMEM, "memory is out");
        for (int i = 0; i < ATTEMPTS; i++, wait *= 2) {
                if (i) {
                        pause_ms(wait + (int64_t)(rand_u64() % (uint64_t)wait));
                        atomic_fetch_add(c->retries, 1);
                }
                rc = q->brief ? 0 : pass(c);
                if (rc)
                        break;
                rc = attempt(c, q, url, &again);
                heard(c, q);
                if (!again || q->brief || clock_mono_ms() - start > GIVE_UP_MS)
                        break;
        }
        mem_free(url);
        return rc;
}

/* ---- words ---- */

char *s3_escape(const char *value)
{
        struct buf out;
        buf_init(&out, 4096);
        buf_adds(&out, "");
        for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
                if (*p != '/' && strchr(NAME_CHARS "~", *p))
                        buf_addc(&out, (char)*p);
                else
                        buf_addf(&out, "%%%02X", *p);
        }
        return buf_take(&out, NULL);
}

/* Resolves the five entities of XML, in place. */
static void entities(char *s)
{
        static const struct {
                const char *name;
                char c;
        } table[] = {
                { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' }
        };
        char *out = s;
        while (*s) {
                size_t i = 0, n = sizeof(table) / sizeof(*table);
                while (i < n && strncmp(s, table[i].name, strlen(table[i].name)) != 0)
                        i++;
                *out++ = i < n ? table[i].c : *s;
                s += i < n ? strlen(table[i].name) : 1;
        }
        *out = '\0';
}

bool s3_xml_next(const char *name, const char **at, const char *end, char *ret, size_t n)
{
        char open[64], close[64];
        snprintf(open, sizeof(open), "<%s>", name);
        snprintf(close, sizeof(close), "</%s>", name);
        const char *from = memmem(*at, (size_t)(end - *at), open, strlen(open));
        if (!from)
                return false;
        from += strlen(open);
        const char *to = memmem(from, (size_t)(end - from), close, strlen(close));
        if (!to)
                return false;
        snprintf(ret, n, "%.*s", (int)((size_t)(to - from) < n ? (size_t)(to - from) : n - 1), from);
        entities(ret);
        *at = to + strlen(close);
        return true;
}
