/* Outgoing HTTP: the one way in which this server calls another that a client has named. libcurl on one
 * thread, connections reused, every address checked by a guard (guard.h) as its connection is opened.
 *
 * Certificates are verified, redirects are not followed (they would lead around what was checked when the URL
 * was registered), proxies of the environment are not used, and every exchange is bounded in bytes and time.
 */
#ifndef CAIRN_HTTP_CLIENT_H
#define CAIRN_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "http/guard.h"
#include "http/server.h"

struct http_client;

struct http_client_config {
        const struct http_guard *guard; /* lives as long as the client */
        const char *ca_file; /* PEM authorities instead of the system's; NULL: the system's. Copied */
        int max_active;      /* exchanges at the same time, others wait their turn; 0: 256 */
        size_t max_queued;   /* that wait; 0: 4096 */
};

/* Starts the thread. 0, or a negative errno with a line in err. */
int http_client_start(const struct http_client_config *config, struct http_client **ret, char *err,
                      size_t errn);
/* Ends every exchange with -ECANCELED and joins. Accepts NULL. */
void http_client_stop(struct http_client *c);

/* How an exchange ended. Valid during the call that tells of it. */
struct http_answer {
        int rc;             /* 0: there is an answer, whatever its status */
        int status;         /* 100..599; 0 without an answer */
        struct str type;    /* Content-Type, may be empty */
        struct str body;    /* followed by a NUL */
        int64_t elapsed_ms; /* from its turn to its end */
        const char *err;    /* a sentence when rc is negative, else "" */
};

/* Runs once, on the client's thread: it must be quick. */
typedef void http_answer_fn(void *ctx, const struct http_answer *a);

struct http_call {
        const char *method; /* "POST" */
        const char *url;
        const struct http_header *headers; /* without Host, Content-Length, Expect */
        size_t n_headers;
        struct str body;
        size_t max_answer; /* bytes of the answer's body */
        bool cut_answer;   /* a longer one is cut there, one that breaks off counts; else: errors */
        int64_t connect_ms, total_ms;
        http_answer_fn *done;
        void *ctx;
};

/* Starts an exchange; all of `call` is copied. 0 with *ret_id (may be NULL) never 0; then `done` runs.
 * Negative: it does not: -EINVAL (a header with a line break), -EAGAIN (too many wait, or the client stops),
 * -ENOMEM.
 *
 * rc of the answer: -EACCES the guard refused every address, -EHOSTUNREACH the name has none, -ETIMEDOUT,
 * -EFBIG, -EPROTO the certificate or the protocol, -ECANCELED, -EINVAL the URL, -EIO anything else. */
int http_client_send(struct http_client *c, const struct http_call *call, uint64_t *ret_id);
/* Ends it early; its `done` still runs, with -ECANCELED unless it was through. Any thread. */
void http_client_cancel(struct http_client *c, uint64_t id);
#endif
