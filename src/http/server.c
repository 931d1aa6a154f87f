#include "http/internal.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/websocket.h"

/* What MHD needs in a connection's memory besides the header bytes. */
#define POOL_EXTRA (8 * 1024)
/* For the I/O threads to close their connections before they are stopped. */
#define CLOSE_MS 1000

/* ---- Listening ---- */

int http_listen_parse(const char *spec, char *host, size_t n, int *ret_port)
{
        const char *colon = strrchr(spec, ':');
        struct str name = { spec, colon ? (size_t)(colon - spec) : 0 };
        struct str digits = str_c(colon ? colon + 1 : spec);
        int64_t port;
        bool bracketed = name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
        if (bracketed)
                name = (struct str){ name.p + 1, name.n - 2 };
        else if (memchr(name.p, ':', name.n))
                return -EINVAL;
        if (!str_to_i64(digits, &port) || port < 0 || port > 65535 || name.n >= n)
                return -EINVAL;
        memcpy(host, name.p, name.n);
        host[name.n] = '\0';
        *ret_port = (int)port;
        return 0;
}

static int bind_one(const struct addrinfo *a)
{
        int one = 1, zero = 0;
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (a->ai_family == AF_INET6)
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
                return fd;
        int rc = -errno;
        close(fd);
        return rc;
}

/* A listening socket, or a negative errno. "Every address" prefers IPv6, which then takes IPv4 too. */
static int listen_on(const struct http_config *config, char *err, size_t errn)
{
        bool any = !config->host || !*config->host || strcmp(config->host, "*") == 0;
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        struct addrinfo *list = NULL;
        char port[16];
        int fd = -EADDRNOTAVAIL;
        snprintf(port, sizeof(port), "%d", config->port);
        int rc = getaddrinfo(any ? NULL : config->host, port, &hints, &list);
        if (rc) {
                snprintf(err, errn, "cannot listen on %s:%s: %s", any ? "*" : config->host, port,
                         gai_strerror(rc));
                return -EINVAL;
        }
        for (int family = 0; family < 2 && fd < 0; family++)
                for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
                        if (!any || (a->ai_family == AF_INET6) == (family == 0))
                                fd = bind_one(a);
        freeaddrinfo(list);
        if (fd < 0)
                snprintf(err, errn, "cannot listen on %s:%s: %s", any ? "*" : config->host, port,
                         strerror(-fd));
        return fd;
}

static int port_of(int fd)
{
        struct sockaddr_storage addr;
        socklen_t n = sizeof(addr);
        if (getsockname(fd, (struct sockaddr *)&addr, &n))
                return 0;
        return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                                : ((struct sockaddr_in *)&addr)->sin_port);
}

/* ---- Starting ---- */

/* Targets reach the application as they were sent: MHD must not decode them. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *s)
{
        (void)cls, (void)mhd;
        return strlen(s);
}

/* MHD logs what clients do wrong, and socket options that socket pairs lack, many times a second. Only
 * trouble of the process itself is passed on. */
static void on_mhd_log(void *cls, const char *fmt, va_list ap)
{
        char text[256];
        (void)cls;
        if (!strstr(fmt, "accept") && !strstr(fmt, "epoll") && !strstr(fmt, "thread"))
                return;
        vsnprintf(text, sizeof(text), fmt, ap);
        text[strcspn(text, "\n")] = '\0';
        log_warn("http", "%s", text);
}

static int start_daemon(struct http_server *s)
{
        const struct http_config *config = &s->config;
        /* TURBO leaves the shutdown of sockets to close(), so that conn.c may have a last word before. */
        unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC |
                         MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO |
                         MHD_USE_NO_LISTEN_SOCKET;
        /* The watcher's deadlines come first; MHD's idle timeout is for transfers that stand still. */
        int idle = config->idle_timeout_s > config->header_timeout_s ? config->idle_timeout_s
                                                                     : config->header_timeout_s;
        struct MHD_OptionItem options[] = {
                { MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_mhd_log, s },
                { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)conn_notify, s },
                { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)conn_completed, s },
                { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)conn_uri, s },
                { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, s },
                { MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)(config->max_header_bytes + POOL_EXTRA),
                  NULL },
                { MHD_OPTION_CONNECTION_LIMIT, INT_MAX, NULL }, /* kept by accept.c */
                { MHD_OPTION_CONNECTION_TIMEOUT, idle + 2, NULL },
                { MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
                { MHD_OPTION_THREAD_POOL_SIZE, config->threads > 1 ? config->threads : 0, NULL },
                { MHD_OPTION_END, 0, NULL },
        };
        s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, conn_handle, s, MHD_OPTION_ARRAY, options,
                                     MHD_OPTION_END);
        return s->daemon ? 0 : -EIO;
}

int http_deliver(void *server, int fd, const struct sockaddr *peer, socklen_t n)
{
        struct http_server *s = server;
        return MHD_add_connection(s->daemon, fd, peer, n) == MHD_YES ? 0 : -EIO;
}

static void server_free(struct http_server *s)
{
        accept_stop(s);
        tls_stop(s->tls);
        if (s->daemon)
                MHD_stop_daemon(s->daemon);
        ws_hub_stop(s->ws);
        watch_stop(s);
        if (s->listen_fd >= 0)
                close(s->listen_fd);
        mem_free(s->cors_origins);
        mem_free(s);
}

static int server_open(struct http_server *s, char *err, size_t errn)
{
        struct http_config *config = &s->config;
        if (!config->tls_cert != !config->tls_key) {
                snprintf(err, errn, "TLS needs both a certificate and a key");
                return -EINVAL;
        }
        s->listen_fd = listen_on(config, err, errn);
        if (s->listen_fd < 0)
                return s->listen_fd;
        s->port = port_of(s->listen_fd);
        snprintf(err, errn, "cannot start the HTTP server: out of memory or threads");
        int rc = watch_start(s);
        if (!rc)
                rc = ws_hub_start(s, &s->ws);
        if (!rc)
                rc = start_daemon(s);
        if (rc || !config->tls_cert)
                return rc ? rc : accept_start(s);
        s->tls = tls_start(config, s->listen_fd, http_deliver, s, err, errn);
        return s->tls ? 0 : -EINVAL;
}

int http_server_start(const struct http_config *config, const struct http_app *app, struct http_server **ret,
                      char *err, size_t errn)
{
        struct http_server *s = mem_calloc(1, sizeof(*s));
        int rc = -ENOMEM;
        if (!s || (config->cors_origins && !(s->cors_origins = mem_strdup(config->cors_origins)))) {
                snprintf(err, errn, "out of memory");
                mem_free(s);
                return rc;
        }
        s->config = *config;
        s->app = *app;
        s->listen_fd = -1;
        if (s->config.threads <= 0)
                s->config.threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
        if (s->config.min_body_rate <= 0)
                s->config.min_body_rate = 1;
        rc = server_open(s, err, errn);
        if (rc) {
                server_free(s);
                return rc;
        }
        /* Borrowed only while starting. */
        s->config.host = s->config.tls_cert = s->config.tls_key = s->config.tls_client_ca = NULL;
        s->config.cors_origins = NULL;
        snprintf(err, errn, "%s", "");
        *ret = s;
        return 0;
}

int http_server_port(const struct http_server *s)
{
        return s->port;
}

/* ---- Stopping ---- */

/* Until *count is 0 or the time has come. */
static void wait_none(atomic_long *count, int64_t until_ms)
{
        const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
        while (atomic_load(count) > 0 && clock_mono_ms() < until_ms)
                nanosleep(&pause, NULL);
}

static void stop_accepting(struct http_server *s)
{
        if (s->tls)
                tls_stop_accept(s->tls);
        else
                accept_stop(s);
        /* Refuses who comes now; the descriptor is closed when no thread of TLS can be about to accept. */
        shutdown(s->listen_fd, SHUT_RDWR);
}

void http_server_stop(struct http_server *s, int grace_ms)
{
        if (!s)
                return;
        atomic_store(&s->stopping, true);
        stop_accepting(s);
        int64_t until = clock_mono_ms() + grace_ms;
        ws_hub_drain(s->ws);
        wait_none(&s->active, until);
        ws_hub_wait(s->ws, until);
        /* From here on nothing falls asleep, and what sleeps is woken: MHD must not stop with sleepers. */
        atomic_store(&s->cancelled, true);
        watch_close_all(s);
        wait_none(&s->connections, clock_mono_ms() + CLOSE_MS);
        atomic_store(&s->ending, true);
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
        wait_none(&s->active, INT64_MAX); /* replies the application still owes */
        server_free(s);
}

void http_server_stats(struct http_server *s, struct http_stats *ret)
{
        *ret = (struct http_stats){
                .requests = atomic_load(&s->requests),
                .connections = atomic_load(&s->connections),
                .active = atomic_load(&s->active),
                .refused = atomic_load(&s->refused),
                .timeouts = atomic_load(&s->timeouts),
                .aborted = atomic_load(&s->aborted),
        };
}
