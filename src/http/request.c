#include "http/internal.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include "base/clock.h"
#include "base/mem.h"

/* ---- Life ---- */

/* Puts a fresh or recycled request into its first state; keeps the text buffer's memory. */
static void http_req_reset(struct http_req *r, struct conn *c, struct MHD_Connection *mhd)
{
        struct buf text = r->text;
        memset(r, 0, offsetof(struct http_req, headers));
        memset(&r->n_headers, 0, sizeof(*r) - offsetof(struct http_req, n_headers));
        r->text = text;
        buf_clear(&r->text);
        atomic_init(&r->refs, 1);
        atomic_init(&r->holds, 1);
        r->server = c->server;
        r->conn = c;
        r->mhd = mhd;
        r->attached = true;
        r->content_length = -1;
        r->body_max = c->server->config.max_body_bytes;
        r->start_us = clock_mono_us();
        memcpy(r->peer, c->peer, sizeof(r->peer));
        pthread_mutex_init(&r->lock, NULL);
}

struct http_req *http_req_new(struct conn *c, struct MHD_Connection *mhd, const char *uri)
{
        struct http_req *r = c->spare;
        c->spare = NULL;
        if (!r) {
                r = mem_alloc(sizeof(*r));
                if (!r)
                        return NULL;
                /* Method, target and headers; the ends are counted twice at most. */
                buf_init(&r->text, 2 * c->server->config.max_header_bytes + 4096);
        }
        http_req_reset(r, c, mhd);
        buf_add(&r->text, uri, strlen(uri) + 1);
        if (buf_error(&r->text)) {
                c->spare = r;
                return NULL;
        }
        atomic_fetch_add(&c->server->active, 1);
        return r;
}

void http_req_free_spare(struct http_req *r)
{
        if (!r)
                return;
        buf_release(&r->text);
        mem_free(r);
}

void http_req_ref(struct http_req *r)
{
        atomic_fetch_add(&r->refs, 1);
}

void http_req_unref(void *p)
{
        struct http_req *r = p;
        if (atomic_fetch_sub(&r->refs, 1) != 1)
                return;
        pthread_mutex_destroy(&r->lock);
        buf_release(&r->text);
        mem_free(r);
}

void http_req_hold(struct http_req *r)
{
        atomic_fetch_add(&r->holds, 1);
}

/* The exchange is over: nobody else holds it. */
static void http_req_end(struct http_req *r)
{
        struct http_server *s = r->server;
        struct http_done done = {
                .status = r->status,
                .bytes_in = r->body_bytes,
                .bytes_out = r->bytes_out,
                .duration_us = clock_mono_us() - r->start_us,
                .aborted = r->gone || !r->completed_ok,
        };
        if (done.aborted)
                atomic_fetch_add_explicit(&s->aborted, 1, memory_order_relaxed);
        if (r->seen && s->app.on_done)
                s->app.on_done(s->app.ctx, r, &done);
        reply_release(r);
        buf_release(&r->body);
        multipart_free(r->multipart);
        r->multipart = NULL;
}

/* Drops a hold; true for the last one. */
static bool http_req_drop(struct http_req *r)
{
        return atomic_fetch_sub(&r->holds, 1) == 1;
}

void http_req_unhold(struct http_req *r)
{
        if (!http_req_drop(r))
                return;
        struct http_server *s = r->server;
        http_req_end(r);
        http_req_unref(r);
        atomic_fetch_sub(&s->active, 1);
}

/* Marks the client as gone, once. `watched`: the watcher says so, MHD does not know yet and must be made to
 * look; what MHD has in hand to send is then left to MHD, since clients may close as soon as they have the
 * last byte. */
static void lose_client(struct http_req *r, bool watched)
{
        struct http_server *s = r->server;
        pthread_mutex_lock(&r->lock);
        struct ring *ring = r->ended ? NULL : r->ring; /* lives until the exchange ends, which we hold open */
        bool act = r->attached && !r->gone && (!watched || !r->replied || ring);
        bool tell = act && r->seen && (r->owed || ring);
        if (act) {
                r->gone = true;
                http_req_hold(r);
        }
        if (act && r->suspended) {
                r->suspended = false;
                MHD_resume_connection(r->mhd);
        } else if (act && watched) {
                /* MHD may wait for the socket to take more bytes: this ends the wait. */
                shutdown(r->conn->fd, SHUT_RDWR);
        }
        pthread_mutex_unlock(&r->lock);
        if (!act)
                return;
        if (ring)
                ring_cancel(ring);
        if (tell && s->app.on_abort)
                s->app.on_abort(s->app.ctx, r);
        http_req_unhold(r);
}

void http_req_abort(struct http_req *r)
{
        lose_client(r, true);
}

void http_req_complete(struct http_req *r, bool ok)
{
        struct conn *c = r->conn;
        struct http_server *s = r->server;
        ok = ok || r->cut;
        if (!ok)
                lose_client(r, false);
        watch_req_remove(r);
        pthread_mutex_lock(&r->lock);
        r->attached = false;
        r->completed_ok = ok;
        pthread_mutex_unlock(&r->lock);
        if (!http_req_drop(r))
                return;
        http_req_end(r);
        if (!c->spare && atomic_load(&r->refs) == 1) {
                pthread_mutex_destroy(&r->lock);
                c->spare = r;
        } else {
                http_req_unref(r);
        }
        atomic_fetch_sub(&s->active, 1);
}

bool http_req_suspend(struct http_req *r)
{
        pthread_mutex_lock(&r->lock);
        bool ready = r->gone || r->wake || r->ping_due || (r->stage == STAGE_WAITING && r->replied);
        r->wake = false;
        /* Read under the lock: who sets it afterwards takes the lock and finds us asleep. */
        r->suspended = !ready && !atomic_load(&r->server->cancelled);
        if (r->suspended)
                MHD_suspend_connection(r->mhd);
        bool sleeps = r->suspended;
        pthread_mutex_unlock(&r->lock);
        return sleeps;
}

void http_req_wake(void *p)
{
        struct http_req *r = p;
        pthread_mutex_lock(&r->lock);
        r->wake = true;
        if (r->suspended) {
                r->suspended = false;
                MHD_resume_connection(r->mhd);
        }
        pthread_mutex_unlock(&r->lock);
}

/* ---- Headers ---- */

/* MHD's view of the headers, valid during the call only. */
struct raw_headers {
        struct http_header list[HTTP_MAX_HEADERS];
        size_t n, bytes;
        bool too_many;
};

static enum MHD_Result collect(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_n,
                               const char *value, size_t value_n)
{
        (void)kind;
        struct raw_headers *raw = cls;
        if (raw->n == HTTP_MAX_HEADERS) {
                raw->too_many = true;
                return MHD_NO;
        }
        struct http_header *h = &raw->list[raw->n++];
        h->name = (struct str){ name, name_n };
        h->value = value ? str_trim((struct str){ value, value_n }) : (struct str){ "", 0 };
        raw->bytes += h->name.n + h->value.n + 4;
        return MHD_YES;
}

static struct str keep(struct buf *text, struct str s)
{
        struct str kept = { text->p + text->n, s.n };
        buf_add(text, s.p, s.n);
        buf_addc(text, '\0');
        return kept;
}

/* Splits the target, which stands first in the text. The absolute form loses its scheme and authority. */
static void split_target(struct http_req *r, size_t n)
{
        struct str target = { r->text.p, n };
        for (int i = 0; i < 2; i++) {
                const char *scheme = i ? "https://" : "http://";
                size_t k = strlen(scheme);
                if (target.n < k || strncasecmp(target.p, scheme, k))
                        continue;
                const char *slash = memchr(target.p + k, '/', target.n - k);
                target = slash ? (struct str){ slash, target.n - (size_t)(slash - target.p) } : STR("/");
        }
        char *mark = memchr(target.p, '?', target.n);
        r->path = target;
        if (!mark)
                return;
        *mark = '\0';
        r->path.n = (size_t)(mark - target.p);
        r->query = (struct str){ mark + 1, target.n - r->path.n - 1 };
}

/* What of the headers decides where the request ends, counted so that no two readers can disagree (RFC 9112,
 * sections 3.2, 6.1 and 6.3). */
struct framing {
        int hosts, lengths, codings;
        struct str coding, encoding, expect;
};

static void framing_scan(struct http_req *r, struct framing *f)
{
        for (size_t i = 0; i < r->n_headers; i++) {
                struct str name = r->headers[i].name, value = r->headers[i].value;
                if (str_ieqc(name, "Host")) {
                        f->hosts++;
                } else if (str_ieqc(name, "Content-Length")) {
                        f->lengths++;
                        str_to_i64(value, &r->content_length);
                } else if (str_ieqc(name, "Transfer-Encoding")) {
                        f->codings++;
                        f->coding = value;
                } else if (str_ieqc(name, "Content-Encoding")) {
                        f->encoding = value;
                } else if (str_ieqc(name, "Expect")) {
                        f->expect = value;
                }
        }
}

static int framing_check(struct http_req *r, const char *version, const char **ret_message)
{
        struct framing f = { 0 };
        framing_scan(r, &f);
        r->http10 = strcmp(version, "HTTP/1.0") == 0;
        r->chunked = f.codings == 1 && str_ieqc(f.coding, "chunked");
        r->expect = f.expect.n > 0;
        int status = 400;
        if (f.hosts > 1 || (!f.hosts && !r->http10))
                *ret_message = "The request must have exactly one Host header.";
        else if (f.lengths > 1)
                *ret_message = "The request has more than one Content-Length header.";
        else if (f.codings && f.lengths)
                *ret_message = "The request has both Content-Length and Transfer-Encoding.";
        else if (f.codings && r->http10)
                *ret_message = "Transfer-Encoding is not part of HTTP/1.0.";
        else if (f.codings && !r->chunked)
                status = 501, *ret_message = "The only Transfer-Encoding understood is 'chunked'.";
        else if (f.expect.n && !str_ieqc(f.expect, "100-continue"))
                status = 417, *ret_message = "The only expectation understood is '100-continue'.";
        else if (f.encoding.n && !str_ieqc(f.encoding, "identity"))
                status = 415,
                *ret_message = "Request bodies must not be compressed: remove Content-Encoding.";
        else
                status = 0;
        return status;
}

int http_req_take_headers(struct http_req *r, const char *method, const char *version,
                          const char **ret_message)
{
        struct raw_headers raw;
        raw.n = raw.bytes = 0;
        raw.too_many = false;
        MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, collect, &raw);
        size_t target_n = r->text.n - 1;
        if (raw.too_many || raw.bytes + target_n > r->server->config.max_header_bytes) {
                *ret_message = "The request's headers are too large or too many.";
                raw.n = raw.bytes = 0;
        }
        if (!buf_reserve(&r->text, raw.bytes + strlen(method) + 1)) {
                *ret_message = "The server is out of memory.";
                return 503;
        }
        split_target(r, target_n);
        r->method = keep(&r->text, str_c(method));
        for (size_t i = 0; i < raw.n; i++) {
                struct http_header *h = &r->headers[r->n_headers++];
                h->name = keep(&r->text, raw.list[i].name);
                h->value = keep(&r->text, raw.list[i].value);
        }
        return *ret_message ? 431 : framing_check(r, version, ret_message);
}

bool http_req_has_body(const struct http_req *r)
{
        return r->chunked || r->content_length > 0;
}

/* ---- Accessors ---- */

struct str http_req_method(const struct http_req *r)
{
        return r->method;
}

struct str http_req_path(const struct http_req *r)
{
        return r->path;
}

struct str http_req_query(const struct http_req *r)
{
        return r->query;
}

struct str http_req_header(const struct http_req *r, const char *name)
{
        for (size_t i = 0; i < r->n_headers; i++)
                if (str_ieqc(r->headers[i].name, name))
                        return r->headers[i].value;
        return (struct str){ NULL, 0 };
}

const struct http_header *http_req_headers(const struct http_req *r, size_t *ret_n)
{
        *ret_n = r->n_headers;
        return r->headers;
}

const char *http_req_peer(const struct http_req *r)
{
        return r->peer;
}

bool http_req_tls(const struct http_req *r)
{
        return r->server->tls != NULL;
}

struct str http_req_body(const struct http_req *r)
{
        return r->body.n ? buf_str(&r->body) : STR("");
}

uint64_t http_req_body_bytes(const struct http_req *r)
{
        return r->body_bytes;
}

int64_t http_req_age_us(const struct http_req *r)
{
        return clock_mono_us() - r->start_us;
}

bool http_req_aborted(struct http_req *r)
{
        pthread_mutex_lock(&r->lock);
        bool gone = r->gone;
        pthread_mutex_unlock(&r->lock);
        return gone;
}

bool http_req_replied(struct http_req *r)
{
        pthread_mutex_lock(&r->lock);
        bool replied = r->replied;
        pthread_mutex_unlock(&r->lock);
        return replied;
}

void http_req_set_data(struct http_req *r, void *data)
{
        r->data = data;
}

void *http_req_data(const struct http_req *r)
{
        return r->data;
}

/* ---- Body modes ---- */

void http_body_memory(struct http_req *r, size_t max)
{
        r->mode = BODY_MEMORY;
        r->body_max = max;
}

void http_body_sink(struct http_req *r, uint64_t max, int (*data)(void *ctx, struct str piece),
                    void *sink_ctx)
{
        r->mode = BODY_SINK;
        r->body_max = max;
        r->sink = data;
        r->sink_ctx = sink_ctx;
}

void http_body_multipart(struct http_req *r, uint64_t max, const struct multipart_limits *limits,
                         const struct multipart_sink *sink, void *sink_ctx)
{
        char boundary[71], why[128];
        r->mode = BODY_MULTIPART;
        r->body_max = max;
        if (multipart_boundary(http_req_header(r, "Content-Type"), boundary, why, sizeof(why))) {
                refuse(r, 400, why);
                return;
        }
        r->multipart = multipart_new(boundary, limits, sink, sink_ctx);
        if (!r->multipart)
                refuse(r, 503, "The server is out of memory.");
}
