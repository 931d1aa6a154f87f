/* Blobs as objects of an S3-compatible service: PREFIX/ab/cdef... Small ones are put at once, others in parts
 * (multipart upload), so that a failure repeats little and memory stays constant. */
#include "store/blob_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/s3_client.h"

#define PART_SIZE ((size_t)8 << 20) /* S3 wants at least 5 MiB and at most 10,000 parts */
#define PARTS_MAX 10000
#define LIST_TEXT_MAX ((size_t)8 << 20)
#define ETAG_MAX 128
#define QUERY_MAX 4096
#ifndef LIST_PAGE
#define LIST_PAGE 1000 /* S3's own maximum */
#endif

struct s3_object {
        struct s3_client *client;
        char name[BLOB_ID_LEN + 2];
};

int blob_s3_open(const struct blobs_options *o, atomic_ullong *retries, void **ret_place, char *err,
                 size_t errn)
{
        struct s3_client *c;
        int rc = s3_client_new(o, retries, &c, err, errn);
        if (!rc)
                *ret_place = c;
        return rc;
}

static void s3_free(void *place)
{
        s3_client_free(place);
}

/* ---- writing ---- */

static int read_part(int fd, uint64_t offset, char *p, size_t n)
{
        for (size_t done = 0; done < n;) {
                ssize_t got = pread(fd, p + done, n - done, (off_t)(offset + done));
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return blob_fail(got ? -errno : -EIO, "reading what was staged failed");
                done += (size_t)got;
        }
        return 0;
}

/* Whether the object is there with this size: after an answer was lost. */
static bool there(struct s3_client *c, const char *name, uint64_t size)
{
        struct s3_request head = { .method = "HEAD", .name = name };
        return !s3_perform(c, &head) && head.total == size;
}

static int upload_begin(struct s3_client *c, const char *name, char **ret_id)
{
        char id[1024];
        struct buf answer;
        buf_init(&answer, LIST_TEXT_MAX);
        struct s3_request q = { .method = "POST", .name = name, .query = "uploads=", .text = &answer };
        int rc = s3_perform(c, &q);
        const char *at = answer.p;
        if (!rc && (!at || !s3_xml_next("UploadId", &at, at + answer.n, id, sizeof(id))))
                rc = blob_fail(-EIO, "S3: no UploadId in the answer");
        if (!rc) {
                *ret_id = s3_escape(id);
                rc = *ret_id ? 0 : -ENOMEM;
        }
        buf_release(&answer);
        return rc;
}

/* Uploads the parts; `parts` gets their list as CompleteMultipartUpload wants it. */
static int upload_parts(struct s3_client *c, const char *name, const char *id, int fd, uint64_t size,
                        char *block, struct buf *parts)
{
        int number = 0, rc = 0;
        for (uint64_t at = 0; at < size && !rc; at += PART_SIZE) {
                char query[QUERY_MAX];
                size_t n = size - at < PART_SIZE ? (size_t)(size - at) : PART_SIZE;
                snprintf(query, sizeof(query), "partNumber=%d&uploadId=%s", ++number, id);
                struct s3_request q = {
                        .method = "PUT", .name = name, .query = query, .body = block, .body_n = n
                };
                rc = read_part(fd, at, block, n);
                if (!rc)
                        rc = s3_perform(c, &q);
                buf_addf(parts, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", number, q.etag);
        }
        return rc ? rc : buf_error(parts);
}

static int upload_complete(struct s3_client *c, const char *name, const char *id, const struct buf *parts,
                           uint64_t size)
{
        char query[QUERY_MAX];
        struct buf answer;
        buf_init(&answer, LIST_TEXT_MAX);
        snprintf(query, sizeof(query), "uploadId=%s", id);
        struct s3_request q = { .method = "POST",
                                .name = name,
                                .query = query,
                                .body = parts->p,
                                .body_n = parts->n,
                                .text = &answer,
                                .late_error = true }; /* it begins to answer before it is through */
        int rc = s3_perform(c, &q);
        if (rc == -ENOENT && there(c, name, size)) /* an attempt whose answer was lost has done it */
                rc = 0;
        buf_release(&answer);
        return rc;
}

static void upload_abort(struct s3_client *c, const char *name, const char *id)
{
        char query[QUERY_MAX];
        snprintf(query, sizeof(query), "uploadId=%s", id);
        struct s3_request q = { .method = "DELETE", .name = name, .query = query };
        char why[256];
        snprintf(why, sizeof(why), "%s", blob_fault()); /* what made it fail is the news, not this */
        s3_perform(c, &q);
        blob_fail(0, "%s", why);
}

static int put_in_parts(struct s3_client *c, const char *name, int fd, uint64_t size, char *block)
{
        char *id = NULL;
        struct buf parts;
        if (size > (uint64_t)PART_SIZE * PARTS_MAX)
                return blob_fail(-EFBIG, "S3 takes %d parts", PARTS_MAX);
        buf_init(&parts, PARTS_MAX * (ETAG_MAX + 80));
        buf_adds(&parts, "<CompleteMultipartUpload>");
        int rc = upload_begin(c, name, &id);
        if (!rc)
                rc = upload_parts(c, name, id, fd, size, block, &parts);
        buf_adds(&parts, "</CompleteMultipartUpload>");
        if (!rc)
                rc = buf_error(&parts);
        if (!rc)
                rc = upload_complete(c, name, id, &parts, size);
        if (rc && id)
                upload_abort(c, name, id);
        mem_free(id);
        buf_release(&parts);
        return rc;
}

/* Nothing that is being written can be missing: what the service does not find is its own record of an
 * upload, which somebody else has ended. A new attempt may do better. */
static int not_missing(int rc)
{
        return rc == -ENOENT ? -EAGAIN : rc;
}

static int s3_publish(void *place, const char *id, int fd, const char *path, uint64_t size)
{
        char name[BLOB_ID_LEN + 2];
        char *block = mem_alloc(size < PART_SIZE ? (size_t)size : PART_SIZE);
        if (!block)
                return blob_fail(-ENOMEM, "memory is out");
        blob_name(name, id);
        int rc;
        if (size <= PART_SIZE) {
                struct s3_request q = {
                        .method = "PUT", .name = name, .body = block, .body_n = (size_t)size
                };
                rc = read_part(fd, 0, block, (size_t)size);
                if (!rc)
                        rc = s3_perform(place, &q);
        } else {
                rc = put_in_parts(place, name, fd, size, block);
        }
        mem_free(block);
        if (!rc)
                unlink(path);
        return not_missing(rc);
}

static int s3_remove(void *place, const char *id)
{
        char name[BLOB_ID_LEN + 2];
        struct s3_request head = { .method = "HEAD", .name = blob_name(name, id) },
                          q = { .method = "DELETE", .name = name };
        int rc = s3_perform(place, &head); /* S3 deletes what is not there without a word */
        if (rc)
                return rc;
        rc = s3_perform(place, &q);
        return rc == -ENOENT ? 0 : rc; /* an attempt whose answer was lost has done it */
}

/* ---- reading ---- */

static int s3_open(void *place, const char *id, void *tail, size_t *tail_n, void **ret_object,
                   uint64_t *ret_size)
{
        char range[32];
        struct s3_object *o = mem_alloc(sizeof(*o));
        if (!o)
                return blob_fail(-ENOMEM, "memory is out");
        o->client = place;
        blob_name(o->name, id);
        snprintf(range, sizeof(range), "-%zu", *tail_n);
        struct s3_request q = {
                .method = "GET", .name = o->name, .range = range, .into = tail, .into_max = *tail_n
        };
        int rc = s3_perform(place, &q);
        if (!rc && (q.into_n > q.total || !q.total))
                rc = blob_fail(-EBADMSG, "S3 says it has %llu bytes", (unsigned long long)q.total);
        if (rc) {
                mem_free(o);
                return q.status == 416 ? blob_fail(-EBADMSG, "it is empty") : rc;
        }
        *tail_n = q.into_n;
        *ret_size = q.total;
        *ret_object = o;
        return 0;
}

static int s3_read(void *object, uint64_t offset, void *p, size_t n)
{
        const struct s3_object *o = object;
        char range[64];
        if (!n)
                return 0;
        snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)offset,
                 (unsigned long long)(offset + n - 1));
        struct s3_request q = { .method = "GET", .name = o->name, .range = range, .into = p, .into_max = n };
        int rc = s3_perform(o->client, &q);
        if (q.status == 416 || (!rc && q.into_n != n))
                rc = blob_fail(-EBADMSG, "it is shorter than it was");
        return rc;
}

static void s3_close(void *object)
{
        mem_free(object);
}

/* ---- the whole set ---- */

/* "2026-11-21T04:05:06.000Z" as unix seconds; 0 when it is none. */
static int64_t time_of(const char *s)
{
        struct tm tm = { 0 };
        return strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) : 0;
}

/* One <Contents> of a listing. */
static int list_entry(struct s3_client *c, const char *entry, int (*fn)(void *, const char *, int64_t),
                      void *ctx)
{
        char key[1200], modified[64] = "", id[BLOB_ID_LEN + 1];
        const char *end = entry + strlen(entry), *at = entry;
        size_t skip = strlen(s3_client_prefix(c));
        if (!s3_xml_next("Key", &at, end, key, sizeof(key)))
                return 0;
        at = entry;
        s3_xml_next("LastModified", &at, end, modified, sizeof(modified));
        return strlen(key) > skip && blob_name_id(key + skip, id) ? fn(ctx, id, time_of(modified)) : 0;
}

/* One page; *token is that of the next one, escaped, or NULL. */
static int list_page(struct s3_client *c, char **token, int (*fn)(void *, const char *, int64_t), void *ctx)
{
        char query[QUERY_MAX], entry[4096], next[2048];
        char *prefix = s3_escape(s3_client_prefix(c));
        struct buf answer;
        buf_init(&answer, LIST_TEXT_MAX);
        if (!prefix)
                return blob_fail(-ENOMEM, "memory is out");
        snprintf(query, sizeof(query), "%s%s%slist-type=2&max-keys=%d&prefix=%s",
                 *token ? "continuation-token=" : "", *token ? *token : "", *token ? "&" : "", LIST_PAGE,
                 prefix);
        mem_free(prefix);
        mem_free(*token);
        *token = NULL;
        struct s3_request q = { .method = "GET", .query = query, .text = &answer };
        int rc = s3_perform(c, &q);
        const char *at = answer.p, *end = at ? at + answer.n : at;
        while (!rc && at && s3_xml_next("Contents", &at, end, entry, sizeof(entry)))
                rc = list_entry(c, entry, fn, ctx);
        at = answer.p;
        if (!rc && at && s3_xml_next("NextContinuationToken", &at, end, next, sizeof(next))) {
                *token = s3_escape(next);
                rc = *token ? 0 : -ENOMEM;
        }
        buf_release(&answer);
        return rc;
}

static int s3_list(void *place, int (*fn)(void *ctx, const char *id, int64_t modified), void *ctx)
{
        char *token = NULL;
        int rc;
        do {
                rc = list_page(place, &token, fn, ctx);
        } while (!rc && token);
        mem_free(token);
        return rc;
}

/* One <Upload> of the listing of unfinished ones. */
static void abandon_entry(struct s3_client *c, const char *entry, int64_t before)
{
        char key[1200], id[1024], begun[64];
        const char *end = entry + strlen(entry), *at = entry;
        size_t skip = strlen(s3_client_prefix(c));
        if (!s3_xml_next("Initiated", &at, end, begun, sizeof(begun)) || time_of(begun) >= before)
                return;
        at = entry;
        if (!s3_xml_next("Key", &at, end, key, sizeof(key)) || strlen(key) <= skip)
                return;
        at = entry;
        char blob[BLOB_ID_LEN + 1];
        char *escaped = s3_xml_next("UploadId", &at, end, id, sizeof(id)) ? s3_escape(id) : NULL;
        if (escaped && blob_name_id(key + skip, blob))
                upload_abort(c, key + skip, escaped);
        mem_free(escaped);
}

static int s3_abandon(void *place, int64_t age_s)
{
        char query[QUERY_MAX], entry[4096];
        char *prefix = s3_escape(s3_client_prefix(place));
        struct buf answer;
        buf_init(&answer, LIST_TEXT_MAX);
        if (!prefix)
                return blob_fail(-ENOMEM, "memory is out");
        snprintf(query, sizeof(query), "prefix=%s&uploads=", prefix);
        mem_free(prefix);
        struct s3_request q = { .method = "GET", .query = query, .text = &answer };
        int rc = s3_perform(place, &q);
        const char *at = answer.p, *end = at ? at + answer.n : at;
        while (!rc && at && s3_xml_next("Upload", &at, end, entry, sizeof(entry)))
                abandon_entry(place, entry, clock_unix() - age_s);
        buf_release(&answer);
        return rc;
}

/* ---- whose they are ---- */

static int s3_mark_get(void *place, char *ret, size_t n)
{
        struct s3_request q = { .method = "GET", .name = BLOBS_MARK_NAME, .into = ret, .into_max = n - 1 };
        int rc = s3_perform(place, &q);
        ret[rc ? 0 : q.into_n] = '\0';
        return rc;
}

static int s3_mark_put(void *place, const char *text)
{
        struct s3_request q = {
                .method = "PUT", .name = BLOBS_MARK_NAME, .body = text, .body_n = strlen(text)
        };
        return s3_perform(place, &q);
}

static int s3_ping(void *place)
{
        struct buf answer;
        buf_init(&answer, LIST_TEXT_MAX);
        struct s3_request q = {
                .method = "GET", .query = "list-type=2&max-keys=1", .text = &answer, .brief = true
        };
        int rc = s3_perform(place, &q);
        buf_release(&answer);
        return rc;
}

const struct blob_place_ops blob_s3_ops = { .publish = s3_publish,
                                            .open = s3_open,
                                            .read = s3_read,
                                            .close = s3_close,
                                            .remove = s3_remove,
                                            .list = s3_list,
                                            .abandon = s3_abandon,
                                            .mark_get = s3_mark_get,
                                            .mark_put = s3_mark_put,
                                            .ping = s3_ping,
                                            .free = s3_free,
                                            .window = 8 };
