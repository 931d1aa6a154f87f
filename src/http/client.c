#include "http/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define MAX_ACTIVE 256
#define MAX_QUEUED 4096
#define IDLE_CONNECTIONS 64
#define POLL_MS 1000
#define USER_AGENT "Cairn/" CAIRN_VERSION

/* One exchange: queued, then active, then told of and freed. The members from `easy` on are the thread's. */
struct exchange {
        struct exchange *next;
        uint64_t id;
        bool cancelled; /* under the client's lock */
        char *method, *url, *request;
        size_t request_n;
        struct curl_slist *headers;
        struct http_call call; /* its pointers are not used */

        struct http_client *client;
        CURL *easy;
        struct buf body;
        int64_t start_ms;
        bool host_allowed, cut, too_long;
        bool answered;                /* the head of the answer is here */
        size_t connections, refusals; /* tried, and refused by the guard */
        char err[CURL_ERROR_SIZE];
};

struct http_client {
        const struct http_guard *guard;
        char *ca_file;
        size_t max_active, max_queued;
        CURLM *multi;
        pthread_t thread;

        pthread_mutex_t lock; /* of what follows */
        struct exchange *queue, **queue_end;
        size_t queued;
        uint64_t last_id;
        bool stopping;

        struct exchange *active; /* the thread's, but for `cancelled`; changed under the lock */
        size_t n_active;
};

/* ---- exchanges ---- */

static void exchange_free(struct exchange *x)
{
        if (!x)
                return;
        curl_easy_cleanup(x->easy);
        curl_slist_free_all(x->headers);
        buf_release(&x->body);
        mem_free(x->method);
        mem_free(x->url);
        mem_free(x->request);
        mem_free(x);
}

static bool has_line_break(struct str s)
{
        return memchr(s.p, '\r', s.n) || memchr(s.p, '\n', s.n) || memchr(s.p, '\0', s.n);
}

/* A line in libcurl's form. */
static int add_line(struct exchange *x, const char *line)
{
        struct curl_slist *longer = curl_slist_append(x->headers, line);
        if (!longer)
                return -ENOMEM;
        x->headers = longer;
        return 0;
}

/* "Name: value"; an empty value needs the form "Name;". */
static int add_header(struct exchange *x, struct str name, struct str value)
{
        struct buf line;
        if (!name.n || has_line_break(name) || (value.n && has_line_break(value)))
                return -EINVAL;
        buf_init(&line, 64 * 1024);
        buf_addf(&line, value.n ? "%.*s: %.*s" : "%.*s;", STR_ARG(name), STR_ARG(value));
        int rc = buf_error(&line) == -EFBIG ? -EINVAL : buf_error(&line);
        if (rc == 0)
                rc = add_line(x, line.p);
        buf_release(&line);
        return rc;
}

static int exchange_new(struct http_client *c, const struct http_call *call, struct exchange **ret)
{
        struct exchange *x = mem_calloc(1, sizeof(*x));
        if (!x)
                return -ENOMEM;
        x->client = c;
        x->call = *call;
        x->method = mem_strdup(call->method);
        x->url = mem_strdup(call->url);
        x->request = mem_strndup(call->body.p ? call->body.p : "", call->body.n);
        x->request_n = call->body.n;
        buf_init(&x->body, call->max_answer);
        int rc = x->method && x->url && x->request ? 0 : -ENOMEM;
        for (size_t i = 0; i < call->n_headers && rc == 0; i++)
                rc = add_header(x, call->headers[i].name, call->headers[i].value);
        if (rc == 0) /* an unasked "Expect: 100-continue" would cost servers that ignore it a second */
                rc = add_line(x, "Expect:");
        if (rc) {
                exchange_free(x);
                return rc;
        }
        *ret = x;
        return 0;
}

/* ---- what libcurl asks while it works ---- */

/* The guard's word on each address, at the moment a socket is made for it. */
static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
        struct exchange *x = ctx;
        (void)purpose;
        x->connections++;
        if (x->host_allowed || http_guard_allows(x->client->guard, &a->addr))
                return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
        x->refusals++;
        return CURL_SOCKET_BAD;
}

/* Called for each line of the answer's head; the empty one ends it, unless an interim answer (1xx) did. */
static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
        struct exchange *x = ctx;
        long status = 0;
        if (*p == '\r' || *p == '\n') {
                curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
                x->answered = status >= 200;
        }
        return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
        struct exchange *x = ctx;
        size_t room = x->call.max_answer - x->body.n, all = size * n, take = all < room ? all : room;
        buf_add(&x->body, p, take);
        if (buf_error(&x->body))
                return 0;
        if (take < all) {
                x->cut = x->call.cut_answer;
                x->too_long = !x->cut;
                return 0;
        }
        return all;
}

/* ---- the thread ---- */

static bool host_is_allowed(const struct exchange *x)
{
        CURLU *parts = curl_url();
        char *host = NULL;
        bool allowed = parts && !curl_url_set(parts, CURLUPART_URL, x->url, 0) &&
                       !curl_url_get(parts, CURLUPART_HOST, &host, 0) &&
                       http_guard_allows_host(x->client->guard, str_c(host));
        curl_free(host);
        curl_url_cleanup(parts);
        return allowed;
}

static void set_request(struct exchange *x)
{
        CURL *e = x->easy;
        if (!strcmp(x->method, "GET")) {
                curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
        } else {
                curl_easy_setopt(e, CURLOPT_POST, 1L);
                curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->request_n);
                curl_easy_setopt(e, CURLOPT_POSTFIELDS, x->request);
                if (strcmp(x->method, "POST") != 0)
                        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, x->method);
        }
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers);
        curl_easy_setopt(e, CURLOPT_USERAGENT, USER_AGENT);
}

static void set_bounds(struct exchange *x)
{
        CURL *e = x->easy;
        curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(e, CURLOPT_PROXY, "");
        curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
        curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)x->call.connect_ms);
        curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)x->call.total_ms);
        if (x->client->ca_file)
                curl_easy_setopt(e, CURLOPT_CAINFO, x->client->ca_file);
}

/* Gives the exchange to libcurl: 0 or a negative errno. */
static int begin(struct http_client *c, struct exchange *x)
{
        x->start_ms = clock_mono_ms();
        if (http_guard_url(c->guard, x->url, x->err, sizeof(x->err)) == -EINVAL)
                return -EINVAL; /* what is merely forbidden is found when the connection is opened */
        x->easy = curl_easy_init();
        if (!x->easy)
                return -ENOMEM;
        x->host_allowed = host_is_allowed(x);
        x->err[0] = '\0';
        set_request(x);
        set_bounds(x);
        curl_easy_setopt(x->easy, CURLOPT_PRIVATE, x);
        curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->err);
        curl_easy_setopt(x->easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
        curl_easy_setopt(x->easy, CURLOPT_OPENSOCKETDATA, x);
        curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
        curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
        if (curl_easy_setopt(x->easy, CURLOPT_URL, x->url) || curl_multi_add_handle(c->multi, x->easy))
                return -ENOMEM;
        return 0;
}

/* Our word for libcurl's, and the sentence that goes with it. */
static int judge(struct exchange *x, CURLcode code)
{
        static const struct {
                CURLcode code;
                int rc;
        } words[] = {
                { CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH },
                { CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT },
                { CURLE_URL_MALFORMAT, -EINVAL },
                { CURLE_UNSUPPORTED_PROTOCOL, -EPROTO }, /* an answer without headers */
                { CURLE_PEER_FAILED_VERIFICATION, -EPROTO },
                { CURLE_SSL_CONNECT_ERROR, -EPROTO },
                { CURLE_WEIRD_SERVER_REPLY, -EPROTO },
                { CURLE_HTTP2, -EPROTO },
                { CURLE_OUT_OF_MEMORY, -ENOMEM },
        };
        if (code == CURLE_OK || x->cut || (x->answered && x->call.cut_answer))
                return 0;
        if (x->too_long) {
                snprintf(x->err, sizeof(x->err), "the answer is longer than %zu bytes", x->call.max_answer);
                return -EFBIG;
        }
        if (code == CURLE_COULDNT_CONNECT && x->refusals && x->refusals == x->connections) {
                snprintf(x->err, sizeof(x->err),
                         "the address is private or local, or the port is not one of web servers");
                return -EACCES;
        }
        if (!x->err[0])
                snprintf(x->err, sizeof(x->err), "%s", curl_easy_strerror(code));
        for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
                if (words[i].code == code)
                        return words[i].rc;
        return -EIO;
}

/* Tells of the end and frees. */
static void conclude(struct http_client *c, struct exchange *x, int rc)
{
        long status = 0;
        char *type = NULL;
        if (x->easy) {
                curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
                curl_easy_getinfo(x->easy, CURLINFO_CONTENT_TYPE, &type);
                curl_multi_remove_handle(c->multi, x->easy);
        }
        if (rc == -ECANCELED)
                snprintf(x->err, sizeof(x->err), "it was cancelled");
        else if (rc == -ENOMEM)
                snprintf(x->err, sizeof(x->err), "out of memory");
        x->call.done(x->call.ctx, &(struct http_answer){
                                          .rc = rc,
                                          .status = rc ? 0 : (int)status,
                                          .type = str_c(type),
                                          .body = x->body.n ? buf_str(&x->body) : STR(""),
                                          .elapsed_ms = x->start_ms ? clock_mono_ms() - x->start_ms : 0,
                                          .err = rc ? x->err : "",
                                  });
        exchange_free(x);
}

static void forget_active(struct http_client *c, struct exchange *x)
{
        pthread_mutex_lock(&c->lock);
        struct exchange **at = &c->active;
        while (*at != x)
                at = &(*at)->next;
        *at = x->next;
        c->n_active--;
        pthread_mutex_unlock(&c->lock);
}

/* The next exchange whose turn it is, made active; NULL when there is none or too many run. *ret_wanted:
 * nobody has cancelled it meanwhile. */
static struct exchange *take_queued(struct http_client *c, bool *ret_wanted)
{
        pthread_mutex_lock(&c->lock);
        struct exchange *x = c->n_active < c->max_active || c->stopping ? c->queue : NULL;
        if (x) {
                c->queue = x->next;
                if (!c->queue)
                        c->queue_end = &c->queue;
                c->queued--;
                x->next = c->active;
                c->active = x;
                c->n_active++;
                *ret_wanted = !x->cancelled && !c->stopping;
        }
        pthread_mutex_unlock(&c->lock);
        return x;
}

static void start_queued(struct http_client *c)
{
        struct exchange *x;
        bool wanted;
        while ((x = take_queued(c, &wanted))) {
                int rc = wanted ? begin(c, x) : -ECANCELED;
                if (rc) {
                        forget_active(c, x);
                        conclude(c, x, rc);
                }
        }
}

static void finish_ready(struct http_client *c)
{
        CURLMsg *m;
        int left;
        while ((m = curl_multi_info_read(c->multi, &left))) {
                struct exchange *x = NULL;
                CURLcode code = m->data.result;
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
                forget_active(c, x);
                conclude(c, x, judge(x, code));
        }
}

/* An active exchange that was told to end, off the list; NULL when there is none. */
static struct exchange *take_cancelled(struct http_client *c)
{
        pthread_mutex_lock(&c->lock);
        struct exchange **at = &c->active;
        while (*at && !(*at)->cancelled && !c->stopping)
                at = &(*at)->next;
        struct exchange *x = *at;
        if (x) {
                *at = x->next;
                c->n_active--;
        }
        pthread_mutex_unlock(&c->lock);
        return x;
}

/* False when all is over. */
static bool go_on(struct http_client *c)
{
        pthread_mutex_lock(&c->lock);
        bool more = !c->stopping || c->queue || c->active;
        pthread_mutex_unlock(&c->lock);
        return more;
}

static void *client_main(void *ctx)
{
        struct http_client *c = ctx;
        struct exchange *x;
        int running;
        while (go_on(c)) {
                start_queued(c);
                curl_multi_perform(c->multi, &running);
                finish_ready(c);
                while ((x = take_cancelled(c)))
                        conclude(c, x, -ECANCELED);
                start_queued(c); /* what had to wait for those that ended */
                if (go_on(c))
                        curl_multi_poll(c->multi, NULL, 0, POLL_MS, NULL);
        }
        return NULL;
}

/* ---- the callers' side ---- */

int http_client_send(struct http_client *c, const struct http_call *call, uint64_t *ret_id)
{
        struct exchange *x;
        int rc = exchange_new(c, call, &x);
        if (rc)
                return rc;
        pthread_mutex_lock(&c->lock);
        if (c->stopping || c->queued >= c->max_queued) {
                rc = -EAGAIN;
        } else {
                x->id = ++c->last_id;
                if (ret_id)
                        *ret_id = x->id;
                *c->queue_end = x;
                c->queue_end = &x->next;
                c->queued++;
        }
        pthread_mutex_unlock(&c->lock);
        if (rc)
                exchange_free(x);
        else
                curl_multi_wakeup(c->multi);
        return rc;
}

static void mark_cancelled(struct exchange *x, uint64_t id)
{
        for (; x; x = x->next)
                if (x->id == id)
                        x->cancelled = true;
}

void http_client_cancel(struct http_client *c, uint64_t id)
{
        pthread_mutex_lock(&c->lock);
        mark_cancelled(c->queue, id);
        mark_cancelled(c->active, id);
        pthread_mutex_unlock(&c->lock);
        curl_multi_wakeup(c->multi);
}

/* ---- start and stop ---- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void setup_curl(void)
{
        curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void client_free(struct http_client *c)
{
        curl_multi_cleanup(c->multi);
        pthread_mutex_destroy(&c->lock);
        mem_free(c->ca_file);
        mem_free(c);
}

int http_client_start(const struct http_client_config *config, struct http_client **ret, char *err,
                      size_t errn)
{
        *ret = NULL;
        if (config->ca_file && access(config->ca_file, R_OK)) {
                int rc = -errno;
                snprintf(err, errn, "cannot read %s: %s", config->ca_file, strerror(-rc));
                return rc;
        }
        pthread_once(&curl_once, setup_curl);
        struct http_client *c = mem_calloc(1, sizeof(*c));
        if (!c) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        pthread_mutex_init(&c->lock, NULL);
        c->guard = config->guard;
        c->max_active = config->max_active > 0 ? (size_t)config->max_active : MAX_ACTIVE;
        c->max_queued = config->max_queued ? config->max_queued : MAX_QUEUED;
        c->queue_end = &c->queue;
        c->ca_file = config->ca_file ? mem_strdup(config->ca_file) : NULL;
        c->multi = curl_multi_init();
        int rc = c->multi && !config->ca_file == !c->ca_file ? 0 : -ENOMEM;
        if (rc == 0) {
                curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
                rc = thread_start(&c->thread, "http-client", client_main, c);
        }
        if (rc) {
                snprintf(err, errn, "cannot start the HTTP client: %s", strerror(-rc));
                client_free(c);
                return rc;
        }
        *ret = c;
        return 0;
}

void http_client_stop(struct http_client *c)
{
        if (!c)
                return;
        pthread_mutex_lock(&c->lock);
        c->stopping = true;
        pthread_mutex_unlock(&c->lock);
        curl_multi_wakeup(c->multi);
        pthread_join(c->thread, NULL);
        client_free(c);
}
