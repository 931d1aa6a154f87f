#include "http/internal.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"

#define REFUSAL_MAX (64 * 1024)

static void refuse_word(struct http_server *s, struct http_req *r, int status, const char *message,
                        struct buf *head, struct buf *body)
{
        buf_init(head, REFUSAL_MAX);
        buf_init(body, REFUSAL_MAX);
        atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
        if (s->app.on_bad_request) {
                s->app.on_bad_request(s->app.ctx, r, status, message, head, body);
        } else {
                buf_adds(head, "Content-Type: text/plain; charset=utf-8\r\n");
                buf_addf(body, "%s\n", message);
        }
}

/* Calls fn for each "Name: value\r\n" of head. */
static void each_line(const struct buf *head, void (*fn)(void *ctx, struct str name, struct str value),
                      void *ctx)
{
        struct str rest = buf_str(head);
        while (rest.n) {
                struct str line = str_split(rest, '\n', &rest), value;
                if (line.n && line.p[line.n - 1] == '\r')
                        line.n--;
                struct str name = str_split(line, ':', &value);
                if (name.n && value.p)
                        fn(ctx, str_trim(name), str_trim(value));
        }
}

struct header_list {
        struct http_header h[32];
        size_t n;
};

static void list_add(void *ctx, struct str name, struct str value)
{
        struct header_list *list = ctx;
        if (list->n < sizeof(list->h) / sizeof(list->h[0]))
                list->h[list->n++] = (struct http_header){ name, value };
}

void refuse(struct http_req *r, int status, const char *message)
{
        struct buf head, body;
        struct header_list list = { .n = 0 };
        if (http_req_replied(r))
                return;
        refuse_word(r->server, r, status, message, &head, &body);
        each_line(&head, list_add, &list);
        http_reply_buf(r, status, list.h, list.n, &body);
        buf_release(&body);
        buf_release(&head);
}

void raw_start(struct buf *raw, int status)
{
        char date[64];
        struct tm tm;
        time_t now = (time_t)clock_unix();
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
        buf_addf(raw, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n", status,
                 MHD_get_reason_phrase_for((unsigned)status), date);
}

bool raw_send(int fd, const struct buf *raw)
{
        /* Nothing was written for this request yet, so the socket's buffer takes it whole, or the client
         * reads nothing and would not see it anyway. */
        return !buf_error(raw) && send(fd, raw->p, raw->n, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

void refuse_raw(struct http_server *s, struct http_req *r, int fd, int status, const char *message)
{
        struct buf head, body, raw;
        refuse_word(s, r, status, message, &head, &body);
        buf_init(&raw, 4 * REFUSAL_MAX);
        raw_start(&raw, status);
        buf_add(&raw, head.p, head.n);
        buf_addf(&raw, "Content-Length: %zu\r\n\r\n", body.n);
        buf_add(&raw, body.p, body.n);
        raw_send(fd, &raw);
        buf_release(&raw);
        buf_release(&head);
        buf_release(&body);
}

/* ---- What libmicrohttpd refuses by itself ----
 * A request that it cannot parse (headers, chunk sizes, limits) never reaches the access handler: the library
 * queues an HTML page of its own, and has no option to change that. It does so through its exported
 * MHD_queue_response, which the dynamic linker resolves to the definition below. It writes the application's
 * words to the socket and closes it for writing, so that the page, which is queued all the same, goes
 * nowhere. (Queueing another response would not do: for some errors 0.9.75 sends the header twice. Nor would
 * refusing to queue: it then frees memory that it goes on to read.) Our own replies go straight to the
 * library's function. Were the call ever bound inside the library, or the library linked statically, clients
 * would get the page with the same status. */

enum MHD_Result mhd_queue(struct MHD_Connection *mhd, unsigned int status, struct MHD_Response *response)
{
        typedef enum MHD_Result queue_fn(struct MHD_Connection *, unsigned int, struct MHD_Response *);
        static _Atomic(queue_fn *) known;
        queue_fn *fn = atomic_load_explicit(&known, memory_order_relaxed);
        if (!fn) {
                *(void **)&fn = dlsym(RTLD_NEXT, "MHD_queue_response");
                atomic_store(&known, fn);
        }
        return fn ? fn(mhd, status, response) : MHD_NO;
}

static const char *parse_error(unsigned int status)
{
        switch (status) {
        case MHD_HTTP_CONTENT_TOO_LARGE:
                return "The request's Content-Length or chunk size is too large.";
        case MHD_HTTP_URI_TOO_LONG:
                return "The request's URL is too long.";
        case MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE:
                return "The request's headers are too large or too many.";
        case MHD_HTTP_HTTP_VERSION_NOT_SUPPORTED:
                return "The only protocols understood are HTTP/1.1 and HTTP/1.0.";
        case MHD_HTTP_INTERNAL_SERVER_ERROR:
                return "The server could not process the request.";
        default:
                return "The request is not well-formed HTTP.";
        }
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned int status, struct MHD_Response *page)
{
        struct conn *c = conn_of(mhd);
        if (!c)
                return mhd_queue(mhd, status, page);
        struct http_req *r = conn_refused(c, (int)status);
        refuse_raw(c->server, r, c->fd, (int)status, parse_error(status));
        shutdown(c->fd, SHUT_WR);
        /* While it stops, 0.9.75 takes no response but says it did, and would use it. */
        return atomic_load(&c->server->ending) ? MHD_NO : mhd_queue(mhd, status, page);
}
