#include "api/content.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "jobs/files.h"

#define BLOCK ((size_t)64 << 10)
#define RING ((size_t)256 << 10)
#define ERR 256

/* A reply under way. It lives until both sides have dropped the ring. Whoever raises `wanted` from 0 runs
 * send_more() on a worker; a wake-up meanwhile makes it look once more. */
struct sending {
        struct req *req;
        struct file *file;
        struct ring *ring;
        uint64_t at, end;
        size_t held; /* bytes of `block` that the ring had no room for */
        bool over;
        atomic_int wanted;
        char block[BLOCK];
};

static void sending_free(void *p)
{
        struct sending *s = p;
        file_close(s->file);
        req_unref(s->req);
        mem_free(s);
}

/* ---- sending ---- */

/* Reads the next block. 0, or a negative errno with the reason in err. */
static int read_block(struct sending *s, char *err)
{
        size_t n = s->end - s->at < BLOCK ? (size_t)(s->end - s->at) : BLOCK;
        int rc = file_read(s->file, s->at, s->block, n, &s->held, err, ERR);
        s->at += s->held;
        return rc;
}

/* Fills the ring as far as it goes. */
static void fill(struct sending *s)
{
        char err[ERR] = "";
        int rc = 0;
        while (!s->over) {
                if (!s->held && s->at == s->end)
                        break;
                if (!s->held)
                        rc = read_block(s, err);
                if (rc) {
                        log_error("file", "%s was cut: %s", s->req->id, err);
                        break;
                }
                rc = ring_write(s->ring, (struct str){ s->block, s->held });
                if (rc == -EAGAIN)
                        return;
                if (rc)
                        break; /* the client is gone */
                s->held = 0;
        }
        s->over = true;
        ring_end(s->ring, (struct str){ "", 0 });
}

static void send_more(void *ctx)
{
        struct sending *s = ctx;
        int seen = atomic_load(&s->wanted);
        bool over;
        do {
                fill(s);
                over = s->over;
        } while (!over && !atomic_compare_exchange_strong(&s->wanted, &seen, 0));
        if (over) /* `wanted` stays up: nobody comes again */
                ring_unref(s->ring);
}

static void on_room(void *ctx)
{
        struct sending *s = ctx;
        if (atomic_fetch_add(&s->wanted, 1) || pool_submit(s->req->api->files, send_more, s) == 0)
                return;
        log_warn("file", "%s was cut: too many requests are waiting", s->req->id);
        s->over = true;
        ring_end(s->ring, (struct str){ "", 0 });
        ring_unref(s->ring);
}

/* Takes over `f`, also on failure. */
static int sending_new(struct req *r, struct file *f, uint64_t from, uint64_t to, struct sending **ret)
{
        struct sending *s = mem_calloc(1, sizeof(*s));
        if (!s) {
                file_close(f);
                return -ENOMEM;
        }
        req_ref(r);
        s->req = r;
        s->file = f;
        s->at = from;
        s->end = to;
        s->ring = ring_new(RING, NULL);
        if (!s->ring || ring_own(s->ring, sending_free, s)) {
                sending_free(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

/* ---- ranges and headers ---- */

/* A number of any length: what is more than fits is beyond every file all the same. False: it is none. */
static bool position(struct str s, uint64_t *ret)
{
        uint64_t value = 0;
        bool beyond = false;
        for (size_t i = 0; i < s.n; i++) {
                if (s.p[i] < '0' || s.p[i] > '9')
                        return false;
                beyond |= __builtin_mul_overflow(value, 10, &value) ||
                          __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value);
        }
        *ret = beyond ? UINT64_MAX : value;
        return s.n > 0;
}

int content_range(struct str range, uint64_t size, uint64_t *ret_from, uint64_t *ret_to)
{
        uint64_t from, to;
        *ret_from = 0;
        *ret_to = size;
        if (range.n < 7 || !str_ieqc((struct str){ range.p, 6 }, "bytes=") || memchr(range.p, ',', range.n))
                return 0;
        struct str last, first = str_trim(str_split((struct str){ range.p + 6, range.n - 6 }, '-', &last));
        last = str_trim(last);
        if (!first.n) { /* the last so many */
                if (!position(last, &to))
                        return 0;
                *ret_from = to < size ? size - to : 0;
                return to && size ? 1 : -1;
        }
        if (!last.p || !position(first, &from))
                return 0;
        if (last.n && (!position(last, &to) || to < from))
                return 0;
        if (from >= size)
                return -1;
        *ret_from = from;
        if (last.n && to < size)
                *ret_to = to + 1;
        return 1;
}

void content_disposition(struct buf *out, const char *filename)
{
        buf_adds(out, "attachment; filename=\"");
        for (const unsigned char *p = (const unsigned char *)filename; *p; p++)
                buf_addc(out, *p < 0x20 || *p > 0x7e || strchr("\"\\%", *p) ? '_' : (char)*p);
        buf_adds(out, "\"; filename*=UTF-8''");
        for (const unsigned char *p = (const unsigned char *)filename; *p; p++) {
                bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                             (*p >= 'a' && *p <= 'z') || strchr("-._~", *p);
                if (plain)
                        buf_addc(out, (char)*p);
                else
                        buf_addf(out, "%%%02X", *p);
        }
}

/* Whether the range counts: with If-Range only while the file is the one that the client has a part of. */
static int selected(struct req *r, const char *etag, uint64_t size, uint64_t *ret_from, uint64_t *ret_to)
{
        struct str condition = req_header(r, "If-Range"), range = req_header(r, "Range");
        if (condition.n && !str_eqc(condition, etag))
                range.n = 0;
        return content_range(range, size, ret_from, ret_to);
}

/* Fills the reply's headers; false when memory is out. */
static bool headers(struct req *r, const struct file *f, const char *etag, const char *range,
                    struct reply *ret)
{
        struct buf disposition;
        struct http_header *h = arena_array(r->arena, struct http_header, REPLY_HEADERS_MAX);
        buf_init(&disposition, 16384);
        content_disposition(&disposition, json_cstr(file_object(f), "filename", "file"));
        char *text = buf_error(&disposition) ? NULL : arena_strndup(r->arena, disposition.p, disposition.n);
        buf_release(&disposition);
        if (!h || !text)
                return false;
        h[ret->n_headers++] = (struct http_header){ STR("Content-Disposition"), str_c(text) };
        h[ret->n_headers++] = (struct http_header){ STR("X-Content-Type-Options"), STR("nosniff") };
        h[ret->n_headers++] = (struct http_header){ STR("Accept-Ranges"), STR("bytes") };
        h[ret->n_headers++] = (struct http_header){ STR("ETag"), str_c(etag) };
        if (range)
                h[ret->n_headers++] = (struct http_header){ STR("Content-Range"), str_c(range) };
        ret->headers = h;
        return true;
}

/* 416 with the size, as RFC 9110, section 15.5.17 wants it. */
static int unsatisfiable(struct req *r, uint64_t size, struct reply *ret, struct api_err *reterr)
{
        struct http_header *h = arena_make(r->arena, struct http_header);
        char *text = arena_printf(r->arena, "bytes */%llu", (unsigned long long)size);
        err_set(reterr, 416, "invalid_request_error", "invalid_range", NULL,
                "The requested range lies outside the file, which has %llu bytes.", (unsigned long long)size);
        if (!h || !text)
                return err_internal(reterr, -ENOMEM, "range", "");
        *h = (struct http_header){ STR("Content-Range"), str_c(text) };
        ret->status = 416;
        ret->headers = h;
        ret->n_headers = 1;
        ret->json = err_json(reterr);
        return 0;
}

int content_reply(struct req *r, struct file *f, struct reply *ret, struct api_err *reterr)
{
        uint64_t from, to, size = file_size(f);
        struct sending *s;
        char err[ERR] = "", *range = NULL;
        char *etag = arena_printf(r->arena, "\"%s\"", json_cstr(file_object(f), "id", ""));
        int found = etag ? selected(r, etag, size, &from, &to) : 0;
        if (found < 0) {
                file_close(f);
                return unsatisfiable(r, size, ret, reterr);
        }
        if (found)
                range = arena_printf(r->arena, "bytes %llu-%llu/%llu", (unsigned long long)from,
                                     (unsigned long long)to - 1, (unsigned long long)size);
        if (!etag || (found && !range) || !headers(r, f, etag, range, ret)) {
                file_close(f);
                return err_internal(reterr, -ENOMEM, "file", "");
        }
        int rc = sending_new(r, f, from, to, &s);
        if (rc)
                return err_internal(reterr, rc, "file", "");
        rc = read_block(s, err);
        if (rc) {
                ring_unref(s->ring);
                ring_unref(s->ring);
                return err_internal(reterr, rc, "file", err);
        }
        ret->status = found ? 206 : 200;
        ret->type = "application/octet-stream";
        ret->length = to - from;
        ret->stream = s->ring;
        ring_set_on_room(s->ring, on_room, s);
        atomic_store(&s->wanted, 1);
        send_more(s); /* what the ring takes; the rest when the client has read */
        return 0;
}
