/* Listening for what other processes commit. Our own writes are told by the writer before it answers them, so
 * what comes back of them is left out. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "store/postgres_internal.h"
#include "base/thread.h"

#define RETRY_MS 500
#define SEPARATOR '\x1f'

static int listen_on(struct postgres_conn *c, struct store_fault *fault)
{
        static const char sql[] = "SELECT store_name()";
        static const struct params none;
        char command[128];
        PGresult *res;
        int rc = postgres_run(c, STR(sql), &none, &res, fault, "listening");
        if (rc)
                return rc;
        snprintf(command, sizeof(command), "LISTEN %s", PQgetvalue(res, 0, 0));
        PQclear(res);
        return postgres_exec(c, command, fault, "listening");
}

static int listener_connect(struct postgres_store *s, struct store_fault *fault)
{
        struct listener *l = &s->listener;
        int rc = postgres_connect(s->uri, &l->conn, fault);
        if (!rc)
                rc = listen_on(l->conn, fault);
        if (rc) {
                postgres_conn_free(l->conn);
                l->conn = NULL;
        }
        return rc;
}

/* "origin SEPARATOR topic SEPARATOR id" */
static void hear(struct postgres_store *s, char *news)
{
        char *topic = strchr(news, SEPARATOR);
        char *id = topic ? strchr(topic + 1, SEPARATOR) : NULL;
        if (!id)
                return;
        *topic++ = '\0';
        *id++ = '\0';
        if (strcmp(news, s->origin) != 0)
                store_tell(&s->store, topic, id);
}

/* Takes in what has arrived; false when the connection is gone. */
static bool listener_read(struct postgres_store *s)
{
        PGconn *pg = s->listener.conn->pg;
        if (!PQconsumeInput(pg))
                return false;
        PGnotify *n;
        while ((n = PQnotifies(pg))) {
                hear(s, n->extra);
                PQfreemem(n);
        }
        return PQstatus(pg) == CONNECTION_OK;
}

/* True when the store stops; else there is something to read, or the time is over. */
static bool listener_wait(struct listener *l, int timeout_ms)
{
        struct pollfd fds[2] = { { .fd = l->stop_fd, .events = POLLIN } };
        if (l->conn)
                fds[1] = (struct pollfd){ .fd = PQsocket(l->conn->pg), .events = POLLIN };
        int n = poll(fds, l->conn ? 2 : 1, timeout_ms);
        return n > 0 && fds[0].revents;
}

static void *listener_main(void *arg)
{
        struct postgres_store *s = arg;
        struct listener *l = &s->listener;
        while (!listener_wait(l, l->conn ? -1 : RETRY_MS)) {
                if (!l->conn) {
                        if (!listener_connect(s, NULL))
                                store_tell(&s->store, "", ""); /* what was said meanwhile is lost */
                } else if (!listener_read(s)) {
                        postgres_conn_free(l->conn);
                        l->conn = NULL;
                }
        }
        return NULL;
}

int postgres_listen(struct store *store, struct store_fault *fault)
{
        struct postgres_store *s = (struct postgres_store *)store;
        struct listener *l = &s->listener;
        if (l->runs)
                return 0;
        int rc = listener_connect(s, fault);
        if (rc)
                return rc == -ECONNRESET ? -ENOTCONN : rc;
        l->stop_fd = eventfd(0, EFD_CLOEXEC);
        if (l->stop_fd < 0)
                return store_fail(fault, -errno, "no descriptor for the listener: %s", strerror(errno));
        rc = thread_start(&l->thread, "store-listener", listener_main, s);
        if (rc)
                return store_fail(fault, rc, "no thread for the listener: %s", strerror(-rc));
        l->runs = true;
        return 0;
}

void postgres_listen_stop(struct postgres_store *s)
{
        struct listener *l = &s->listener;
        uint64_t one = 1;
        if (l->runs && write(l->stop_fd, &one, sizeof(one)) == sizeof(one))
                pthread_join(l->thread, NULL);
        l->runs = false;
        if (l->stop_fd >= 0)
                close(l->stop_fd);
        l->stop_fd = -1;
        postgres_conn_free(l->conn);
        l->conn = NULL;
}
