#include "http/internal.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define REFUSAL_MAX (64 * 1024)

const char *status_text(int status)
{
        return MHD_get_reason_phrase_for((unsigned)status);
}

void refuse_word(struct http_server *s, struct http_req *r, int status, const char *message, struct buf *head,
                 struct buf *body)
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

void refuse_timeout(struct http_server *s, int fd)
{
        struct buf head, body, raw;
        refuse_word(s, NULL, 408, "The request was not complete in time.", &head, &body);
        buf_init(&raw, 4 * REFUSAL_MAX);
        buf_addf(&raw, "HTTP/1.1 408 %s\r\n", status_text(408));
        buf_add(&raw, head.p, head.n);
        buf_addf(&raw, "Connection: close\r\nContent-Length: %zu\r\n\r\n", body.n);
        buf_add(&raw, body.p, body.n);
        if (!buf_error(&raw))
                (void)!send(fd, raw.p, raw.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        buf_release(&raw);
        buf_release(&head);
        buf_release(&body);
}

/* ---- What libmicrohttpd refuses by itself ----
 * A request that it cannot parse (headers, chunk sizes, limits) never reaches the access handler: the library
 * queues an HTML page of its own, and has no option to change that. It does so through its exported
 * MHD_queue_response, which the dynamic linker resolves to the definition below; there the page is replaced
 * by the application's words. Our own replies go straight to the library's function. Were the call ever bound
 * inside the library (or were it linked statically), clients would get the HTML page with the same status. */

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

static void response_add(void *ctx, struct str name, struct str value)
{
        char line[1024];
        if (name.n + value.n + 2 > sizeof(line))
                return;
        memcpy(line, name.p, name.n);
        line[name.n] = '\0';
        memcpy(line + name.n + 1, value.p, value.n);
        line[name.n + 1 + value.n] = '\0';
        MHD_add_response_header(ctx, line, line + name.n + 1);
}

/* The application's error in place of `page`; NULL when memory is out. */
static struct MHD_Response *reworded(struct conn *c, struct http_req *r, unsigned int status)
{
        struct buf head, body;
        refuse_word(c->server, r, (int)status, parse_error(status), &head, &body);
        struct MHD_Response *response =
                buf_error(&body) ? NULL
                                 : MHD_create_response_from_buffer(body.n, body.p, MHD_RESPMEM_MUST_COPY);
        if (response)
                each_line(&head, response_add, response);
        buf_release(&head);
        buf_release(&body);
        return response;
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned int status, struct MHD_Response *page)
{
        struct conn *c = conn_of(mhd);
        struct MHD_Response *response = c ? reworded(c, conn_refused(c, (int)status), status) : NULL;
        enum MHD_Result rc = mhd_queue(mhd, status, response ? response : page);
        if (response)
                MHD_destroy_response(response);
        return rc;
}
