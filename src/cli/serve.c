/* cairn serve: puts the parts together, says when it is ready, and takes them apart on a signal. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "account/account.h"
#include "account/limits.h"
#include "api/api.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "classify/classify.h"
#include "cli/builtin.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/lineup.h"
#include "cli/state.h"
#include "http/client.h"
#include "http/server.h"
#include "jobs/installation.h"
#include "models/registry.h"
#include "store/blob.h"

#define HOST_MAX 256
#define SWEEP_INTERVAL_S 300
#define CORS_MAX 65536
#define MIN_WORKERS 4
#define MAX_WORKERS 64
#define STOP_MARGIN_S 10 /* for the end itself, after the grace */

/* All that runs; a NULL part has not been started. */
struct server {
        struct config config;
        struct lineup lineup;
        struct state state;
        struct limits *limits;
        struct classifier *moderation;
        struct http_guard *guard;
        struct http_client *client;
        struct api api;
        bool serving;
        char host[HOST_MAX];
        int port; /* the one asked for, then the one that was bound */
};

/* ---- the environment of the process ---- */

/* SIGHUP comes when the terminal closes: an end like the others, unless it is ignored (nohup). */
static void stop_signals(sigset_t *ret)
{
        sigemptyset(ret);
        sigaddset(ret, SIGINT);
        sigaddset(ret, SIGTERM);
        sigaddset(ret, SIGHUP);
}

/* Before any thread is made: signals wait for wait_for_stop(), files are private, every descriptor that the
 * system allows may be used. */
static void prepare_process(void)
{
        sigset_t stop;
        struct rlimit files;
        signal(SIGPIPE, SIG_IGN); /* a client that left is an error of its write */
        signal(SIGXFSZ, SIG_IGN); /* so is a file at its size limit */
        stop_signals(&stop);
        pthread_sigmask(SIG_BLOCK, &stop, NULL);
        umask(077);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
                files.rlim_cur = files.rlim_max;
                setrlimit(RLIMIT_NOFILE, &files);
        }
}

static int wait_for_stop(void)
{
        sigset_t stop;
        int signal_number = 0;
        stop_signals(&stop);
        while (sigwait(&stop, &signal_number) != 0)
                ;
        return signal_number;
}

/* From now on a signal ends the process at once: what was answered is on the disk. */
static void allow_hard_stop(void)
{
        sigset_t stop;
        stop_signals(&stop);
        pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
}

static void *end_late(void *arg)
{
        int64_t until = clock_mono_ms() + 1000 * (*(const int64_t *)arg + STOP_MARGIN_S);
        int64_t left;
        while ((left = until - clock_mono_ms()) > 0)
                usleep((useconds_t)(left < 100 ? left * 1000 : 100000));
        log_error("stopped", "what was waited for does not end; the process ends without it");
        _exit(1);
}

/* What a stop waits for may never come, as when a database is frozen: then the process ends all the same, as
 * it would by a second signal. */
static void bound_stop(const int64_t *grace_s)
{
        pthread_t thread;
        if (!thread_start(&thread, "stop-bound", end_late, (void *)grace_s))
                pthread_detach(thread);
}

/* ---- start ---- */

static int open_limits(struct server *s, char *err, size_t errn)
{
        const struct config *c = &s->config;
        struct limits_options o = {
                .rules = c->rate_limits.items,
                .n_rules = c->rate_limits.n,
                .prices = c->prices.items,
                .n_prices = c->prices.n,
                .backend = c->limits.backend,
                .refuse = c->limits.unreachable == CONFIG_REFUSE,
        };
        return limits_open(&o, s->state.store, &s->limits, err, errn);
}

/* A wrong key or bucket, or one that is another installation's, ends the start; a service that does not
 * answer now may do so later, and whose it is is asked again before anything is removed from it. */
static int open_blobs(struct server *s, char *err, size_t errn)
{
        char why[CLI_ERR];
        int rc = state_open_blobs(&s->config, true, &s->state, err, errn);
        if (rc)
                return rc;
        rc = blobs_ping(s->state.blobs, why, sizeof(why));
        if (!rc)
                rc = installation_check(s->state.store, s->state.blobs, true, why, sizeof(why));
        if (rc == -EAGAIN) {
                log_warn("blobs", "files cannot be reached now: %s", why);
                return 0;
        }
        if (rc)
                snprintf(err, errn, "blobs: %s", why);
        return rc;
}

/* What the server asks of others, at addresses that clients name. */
static int open_outgoing(struct server *s, char *err, size_t errn)
{
        const struct config_list *allow = &s->config.outbound_allow;
        char why[CLI_ERR];
        int rc = http_guard_new((const char *const *)allow->items, allow->n, &s->guard, why, sizeof(why));
        if (rc) {
                snprintf(err, errn, "outbound_allow: %s", why);
                return rc;
        }
        struct http_client_config client = { .guard = s->guard, .ca_file = s->config.outbound_ca };
        rc = http_client_start(&client, &s->client, why, sizeof(why));
        if (rc)
                snprintf(err, errn, "outbound_ca: %s", why);
        return rc;
}

static int open_state(struct server *s, struct account_minted *ret_minted, char *err, size_t errn)
{
        int rc = state_open_store(&s->config, true, &s->state, err, errn);
        if (rc == 0) /* first: a database that is refused for its blobs is left as it was */
                rc = open_blobs(s, err, errn);
        if (rc == 0)
                rc = state_open_account(&s->config, &s->state, err, errn);
        if (rc == 0)
                rc = account_ensure_keys(s->state.account, s->config.api_key, s->config.admin_key, ret_minted,
                                         err, errn);
        if (rc == 0)
                rc = open_limits(s, err, errn);
        if (rc == 0)
                rc = open_outgoing(s, err, errn);
        return rc;
}

/* The classifier of /v1/moderations; without the built-in file that operation is not served. */
static int open_moderation(struct server *s, char *err, size_t errn)
{
        char builtin[PATH_MAX];
        const char *path = s->config.moderation_model;
        if (!path && builtin_find(BUILTIN_MODERATION, builtin, sizeof(builtin), err, errn)) {
                log_warn("moderation", "%s", err);
                return 0;
        }
        return classifier_open(path ? path : builtin, &s->moderation, err, errn);
}

/* "a,b" of the configured origins. */
static int join_origins(const struct config_list *origins, struct buf *ret, char *err, size_t errn)
{
        for (size_t i = 0; i < origins->n; i++)
                buf_addf(ret, "%s%s", i ? "," : "", origins->items[i]);
        if (buf_error(ret))
                snprintf(err, errn, "cors_origins: longer than %d bytes together", CORS_MAX);
        return buf_error(ret);
}

static struct http_config http_config_of(const struct server *s, const char *origins)
{
        const struct config *c = &s->config;
        struct http_config http = HTTP_CONFIG_DEFAULTS;
        http.host = s->host;
        http.port = s->port;
        http.threads = (int)c->threads.http;
        http.tls_cert = c->tls.cert;
        http.tls_key = c->tls.key;
        http.tls_client_ca = c->tls.client_ca;
        http.max_body_bytes = (size_t)c->limits.max_body;
        http.max_connections = (int)c->limits.max_connections;
        http.header_timeout_s = (int)c->limits.header_timeout;
        http.body_timeout_s = (int)c->limits.body_timeout;
        http.idle_timeout_s = (int)c->limits.idle_timeout;
        http.write_timeout_s = (int)c->limits.write_timeout;
        http.cors_origins = origins;
        return http;
}

/* Workers wait for commits and embeddings more than they compute: 0 means two a core. */
static int worker_threads(const struct config *c)
{
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        if (c->threads.workers)
                return (int)c->threads.workers;
        return cores < 2 ? MIN_WORKERS : cores > MAX_WORKERS / 2 ? MAX_WORKERS : (int)cores * 2;
}

static int start_api(struct server *s, char *err, size_t errn)
{
        const struct config *c = &s->config;
        const char *check = getenv("CAIRN_CHECK");
        struct buf origins;
        buf_init(&origins, CORS_MAX);
        int rc = join_origins(&c->cors_origins, &origins, err, errn);
        if (rc)
                goto out;
        struct http_config http = http_config_of(s, origins.n ? origins.p : NULL);
        s->api.models = s->lineup.registry;
        s->api.store = s->state.store;
        s->api.blobs = s->state.blobs;
        s->api.account = s->state.account;
        s->api.limits = s->limits;
        s->api.moderation = s->moderation;
        s->api.guard = s->guard;
        s->api.client = s->client;
        s->api.options =
                (struct api_options){ .workers = worker_threads(c),
                                      .max_body = (size_t)c->limits.max_body,
                                      .max_file = (uint64_t)c->limits.max_file,
                                      .batch_lines =
                                              (int)(c->batch_lines ? c->batch_lines : 2 * c->engine.batch),
                                      .ignore_unknown = c->unknown_parameters == CONFIG_UNKNOWN_IGNORE,
                                      .check = check && strcmp(check, "1") == 0,
                                      .retention_s = c->response_retention,
                                      .instance = *s->state.instance ? s->state.instance : NULL,
                                      .background = c->background,
                                      .sweep_interval_s = SWEEP_INTERVAL_S };
        rc = api_start(&s->api, &http, err, errn);
        if (rc == 0) {
                s->serving = true;
                s->port = http_server_port(s->api.http);
        }
out:
        buf_release(&origins);
        return rc;
}

/* ---- what people see ---- */

/* The URL for a client on this machine. */
static void base_url(const struct server *s, char *ret, size_t n)
{
        const char *host = s->host;
        bool any = !*host || !strcmp(host, "*") || !strcmp(host, "0.0.0.0") || !strcmp(host, "::");
        bool v6 = !any && strchr(host, ':');
        snprintf(ret, n, "%s://%s%s%s:%d/v1", s->config.tls.cert ? "https" : "http", v6 ? "[" : "",
                 any ? "127.0.0.1" : host, v6 ? "]" : "", s->port);
}

/* The only time that the values of keys leave the process. */
static void show_keys(const struct account_minted *minted, const char *url)
{
        if (!*minted->project_key && !*minted->admin_key)
                return;
        puts("\nNew keys, shown only this once. Paste this into the shell of your client:\n");
        printf("  export OPENAI_BASE_URL=%s\n", url);
        if (*minted->project_key)
                printf("  export OPENAI_API_KEY=%s\n", minted->project_key);
        if (*minted->admin_key)
                printf("  export OPENAI_ADMIN_KEY=%s\n", minted->admin_key);
        puts("\n`cairn keys create` makes another one.\n");
}

static void show_ready(const struct server *s, const char *url, int64_t start_us)
{
        const char *name = "";
        const struct model *m;
        size_t it = 0, models = 0;
        while (registry_next(s->lineup.registry, &it, &name, &m) && strcmp(name, m->id) == 0)
                models++;
        double ms = (double)(clock_mono_us() - start_us) / 1000.0;
        it = 0;
        registry_next(s->lineup.registry, &it, &name, &m);
        printf("Cairn " CAIRN_VERSION " serves %s", name);
        if (models > 1)
                printf(" and %zu more", models - 1);
        printf(" at %s (ready in %.0f ms; Ctrl-C stops)\n", url, ms);
        fflush(stdout);
        log_info("ready", "ready at %s in %.1f ms", url, ms);
}

/* How the loading of models goes, on stderr with the rest of the log. */
static void report_model(void *ctx, const struct model *m, enum model_state state, int percent,
                         const char *error)
{
        (void)ctx;
        if (state == MODEL_FAILED)
                log_error("model", "%s could not be loaded: %s", m->id, error);
        else if (state == MODEL_LOADING)
                log_info("model", "%s: loading, %d %%", m->id, percent);
        else
                log_info("model", "%s: %s", m->id, model_state_name(state));
}

/* ---- the command ---- */

static int start(struct server *s, int64_t start_us, char *err, size_t errn)
{
        struct account_minted minted = { 0 };
        char url[HOST_MAX + 32];
        log_setup((enum log_level)s->config.log.level, s->config.log.format == CONFIG_LOG_JSON);
        int rc = config_listen(&s->config, s->host, sizeof(s->host), &s->port);
        if (rc) {
                snprintf(err, errn, "listen: the host of '%s' is too long", s->config.listen);
                return rc;
        }
        rc = lineup_open(&s->config, report_model, &s->lineup, err, errn);
        if (rc == 0)
                rc = open_moderation(s, err, errn);
        if (rc == 0)
                rc = open_state(s, &minted, err, errn);
        if (rc == 0)
                rc = start_api(s, err, errn);
        base_url(s, url, sizeof(url));
        show_keys(&minted, url); /* also when the start failed: they exist now */
        if (rc == 0)
                show_ready(s, url, start_us);
        explicit_bzero(&minted, sizeof(minted));
        return rc;
}

static void stop(struct server *s)
{
        if (s->serving)
                api_stop(&s->api, (int)(s->config.shutdown_grace * 1000));
        http_client_stop(s->client);
        http_guard_free(s->guard);
        limits_close(s->limits);
        classifier_close(s->moderation);
        state_close(&s->state);
        lineup_release(&s->lineup);
        config_release(&s->config);
}

static int run(int argc, char **argv)
{
        static struct server s; /* the API keeps pointers into it */
        char err[CLI_ERR] = "";
        int64_t start_us = clock_mono_us();
        if (config_load(&s.config, argc, argv, err, sizeof(err)))
                return cli_fail("%s", err);
        prepare_process();
        int rc = start(&s, start_us, err, sizeof(err));
        if (rc == 0) {
                int signal_number = wait_for_stop();
                log_info("stopping", "%s: waiting up to %lld s for requests; a second signal stops at once",
                         strsignal(signal_number), (long long)s.config.shutdown_grace);
                allow_hard_stop();
                bound_stop(&s.config.shutdown_grace);
        }
        stop(&s);
        if (rc)
                return cli_fail("%s", *err ? err : strerror(-rc));
        log_info("stopped", "stopped");
        return 0;
}

static void help(FILE *out)
{
        fputs("usage: cairn serve [OPTION]...\n\n"
              "Serves the OpenAI API. Without options: the built-in model on 127.0.0.1:8080, state in the "
              "XDG data\n"
              "directory. The first start prints an API key and an admin key. Precedence: options, then the\n"
              "environment, then the configuration file, then defaults.\n\n",
              out);
        config_help(out);
}

const struct command command_serve = { "serve", run, "serve the API", help };
