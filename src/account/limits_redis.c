/* Buckets in Redis: one script takes from all of them in one step, by the clock of the Redis. */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include "account/limits_internal.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define SCHEME "redis://"
#define UNIX_SCHEME "unix:"
#define DEFAULT_PORT 6379
#define CONNECTIONS 16
#define TAKE_MS 1000  /* all that one taking waits for: a connection, connecting, the answer */
#define RETRY_MS 1000 /* after a failure nobody tries again for so long */
#define TAKE_MAX 16
#define ARGS 4 /* numbers of a bucket */
#define NUMBER_MAX 24
#define KEY_PREFIX "{cairn}:limit:" /* the braces keep all keys on one node of a cluster */

/* KEYS: the buckets; ARGV: capacity, refill_ms, amount, force of each. Gives {index of the bucket that is
 * short or 0, level of each}. A full bucket need not exist, so it ends with the time that fills it. */
static const char script[] =
        "local time = redis.call('TIME') "
        "local now = time[1] * 1000 + math.floor(time[2] / 1000) "
        "local level, short, longest = {}, 0, -1 "
        "for i = 1, #KEYS do "
        "  local capacity, refill, amount = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-2]), "
        "tonumber(ARGV[4*i-1]) "
        "  local known = redis.call('HMGET', KEYS[i], 'level', 'at') "
        "  level[i] = capacity "
        "  if known[1] then "
        "    local passed = math.max(0, now - tonumber(known[2])) "
        "    level[i] = math.min(capacity, tonumber(known[1]) + passed * capacity / refill) "
        "  end "
        "  if ARGV[4*i] == '0' and amount > 0 and level[i] < amount then "
        "    local wait = (amount - level[i]) * refill / capacity "
        "    if wait > longest then short, longest = i, wait end "
        "  end "
        "end "
        "local answer = { short } "
        "for i = 1, #KEYS do "
        "  local capacity, refill, amount = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-2]), "
        "tonumber(ARGV[4*i-1]) "
        "  if short == 0 and amount ~= 0 then "
        "    level[i] = math.min(capacity, level[i] - amount) "
        "    redis.call('HSET', KEYS[i], 'level', string.format('%.17g', level[i]), 'at', now) "
        "    redis.call('PEXPIRE', KEYS[i], math.ceil((capacity - level[i]) * refill / capacity) + 1000) "
        "  end "
        "  answer[i + 1] = math.floor(level[i]) "
        "end "
        "return answer";

struct redis {
        struct backend base;
        char *host, *path, *user, *password; /* host, or path of a socket */
        int port, db;
        pthread_mutex_t lock;
        pthread_cond_t freed; /* of the monotonic clock: a connection, or the pause has begun */
        redisContext *idle[CONNECTIONS];
        int n_idle, n_open;
        int64_t retry_ms; /* monotonic: not before */
};

/* ---- connections ---- */

/* What is left until then (of the monotonic clock); never 0, which would mean for ever. */
static struct timeval left(int64_t deadline_ms)
{
        int64_t ms = deadline_ms - clock_mono_ms();
        ms = ms > 0 ? ms : 1;
        return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
}

/* NULL: the connection is of no use any more. */
static redisReply *ask(redisContext *c, int64_t deadline_ms, int argc, const char **argv)
{
        if (redisSetTimeout(c, left(deadline_ms)) != REDIS_OK)
                return NULL;
        return redisCommandArgv(c, argc, argv, NULL);
}

/* One command whose reply is only looked at for an error. */
static int plain(redisContext *c, int64_t deadline_ms, int argc, const char **argv, char *err, size_t errn)
{
        redisReply *reply = ask(c, deadline_ms, argc, argv);
        int rc = !reply || reply->type == REDIS_REPLY_ERROR ? -EIO : 0;
        if (rc)
                snprintf(err, errn, "redis: %s: %s", argv[0], reply ? reply->str : c->errstr);
        if (reply)
                freeReplyObject(reply);
        return rc;
}

static int greet(struct redis *r, redisContext *c, int64_t deadline_ms, char *err, size_t errn)
{
        const char *auth[] = { "AUTH", r->user ? r->user : r->password, r->password };
        char db[16];
        const char *select[] = { "SELECT", db };
        int rc = 0;
        snprintf(db, sizeof(db), "%d", r->db);
        if (r->password)
                rc = plain(c, deadline_ms, r->user ? 3 : 2, auth, err, errn);
        if (rc == 0 && r->db)
                rc = plain(c, deadline_ms, 2, select, err, errn);
        return rc;
}

static redisContext *connect_new(struct redis *r, int64_t deadline_ms, char *err, size_t errn)
{
        redisContext *c = r->path ? redisConnectUnixWithTimeout(r->path, left(deadline_ms))
                                  : redisConnectWithTimeout(r->host, r->port, left(deadline_ms));
        if (!c || c->err)
                snprintf(err, errn, "redis: %s", c ? c->errstr : "memory is out");
        else if (greet(r, c, deadline_ms, err, errn) == 0)
                return c;
        if (c)
                redisFree(c);
        return NULL;
}

/* Gives back a connection that acquire() gave; c NULL: it is lost. */
static void give_back(struct redis *r, redisContext *c)
{
        pthread_mutex_lock(&r->lock);
        if (c)
                r->idle[r->n_idle++] = c;
        else
                r->n_open--;
        pthread_cond_signal(&r->freed);
        pthread_mutex_unlock(&r->lock);
}

static void pause_trying(struct redis *r)
{
        pthread_mutex_lock(&r->lock);
        r->retry_ms = clock_mono_ms() + RETRY_MS;
        pthread_cond_broadcast(&r->freed);
        pthread_mutex_unlock(&r->lock);
}

/* Waits until there is a connection, or leave to make one, which is taken: 1 with *ret, NULL for leave; 0
 * when nobody tries now, or time is up. */
static int admit(struct redis *r, int64_t deadline_ms, redisContext **ret)
{
        int64_t now;
        *ret = NULL;
        pthread_mutex_lock(&r->lock);
        while ((now = clock_mono_ms()) >= r->retry_ms && now < deadline_ms && !r->n_idle &&
               r->n_open >= CONNECTIONS)
                thread_cond_wait_until(&r->freed, &r->lock, deadline_ms);
        bool may = now >= r->retry_ms && now < deadline_ms;
        if (may && r->n_idle)
                *ret = r->idle[--r->n_idle];
        else if (may)
                r->n_open++;
        pthread_mutex_unlock(&r->lock);
        return may;
}

/* A connection for one command: an idle one, or a new one (*ret_fresh). -EIO with a sentence when there is
 * none, at once when the Redis failed within the last second. */
static int acquire(struct redis *r, int64_t deadline_ms, redisContext **ret, bool *ret_fresh, char *err,
                   size_t errn)
{
        if (!admit(r, deadline_ms, ret)) {
                snprintf(err, errn, "redis: was out of reach a moment ago");
                return -EIO;
        }
        *ret_fresh = !*ret;
        if (*ret)
                return 0;
        *ret = connect_new(r, deadline_ms, err, errn);
        if (*ret)
                return 0;
        give_back(r, NULL);
        pause_trying(r);
        return -EIO;
}

/* ---- the script ---- */

struct command {
        const char *argv[3 + TAKE_MAX * (1 + ARGS)];
        char count[NUMBER_MAX];
        char keys[TAKE_MAX][sizeof(KEY_PREFIX) + 256];
        char numbers[TAKE_MAX][ARGS][NUMBER_MAX];
        int argc;
};

static void write_command(struct command *cmd, const struct store_bucket *list, size_t n)
{
        cmd->argv[0] = "EVAL";
        cmd->argv[1] = script;
        snprintf(cmd->count, sizeof(cmd->count), "%zu", n);
        cmd->argv[2] = cmd->count;
        cmd->argc = 3;
        for (size_t i = 0; i < n; i++) {
                snprintf(cmd->keys[i], sizeof(cmd->keys[i]), KEY_PREFIX "%s", list[i].key);
                cmd->argv[cmd->argc++] = cmd->keys[i];
        }
        for (size_t i = 0; i < n; i++) {
                int64_t values[ARGS] = { list[i].capacity, list[i].refill_ms, list[i].amount, list[i].force };
                for (int k = 0; k < ARGS; k++) {
                        snprintf(cmd->numbers[i][k], NUMBER_MAX, "%lld", (long long)values[k]);
                        cmd->argv[cmd->argc++] = cmd->numbers[i][k];
                }
        }
}

/* {short, level...} */
static int read_reply(const redisReply *reply, struct store_bucket *list, size_t n, size_t *ret_short,
                      char *err, size_t errn)
{
        if (reply->type == REDIS_REPLY_ERROR) {
                snprintf(err, errn, "redis: %s", reply->str);
                return -EIO;
        }
        bool well = reply->type == REDIS_REPLY_ARRAY && reply->elements == n + 1;
        for (size_t i = 0; well && i <= n; i++)
                well = reply->element[i]->type == REDIS_REPLY_INTEGER;
        if (!well || reply->element[0]->integer < 0 || reply->element[0]->integer > (long long)n) {
                snprintf(err, errn, "redis: an answer that makes no sense");
                return -EIO;
        }
        for (size_t i = 0; i < n; i++)
                list[i].ret_level = reply->element[i + 1]->integer;
        if (!reply->element[0]->integer)
                return 0;
        *ret_short = (size_t)reply->element[0]->integer - 1;
        return -EAGAIN;
}

/* One try. *ret_again: the connection was an old one and had died, a new one may work. If the command had
 * been carried out before it died it is carried out twice: a limit is then kept too strictly, once. A Redis
 * that gives no answer in time hangs, on every connection: nobody tries for a while. */
static int try_take(struct redis *r, int64_t deadline_ms, struct command *cmd, struct store_bucket *list,
                    size_t n, size_t *ret_short, bool *ret_again, char *err, size_t errn)
{
        redisContext *c;
        bool fresh;
        *ret_again = false;
        int rc = acquire(r, deadline_ms, &c, &fresh, err, errn);
        if (rc)
                return rc;
        redisReply *reply = ask(c, deadline_ms, cmd->argc, cmd->argv);
        if (reply) {
                rc = read_reply(reply, list, n, ret_short, err, errn);
                freeReplyObject(reply);
                give_back(r, c);
                return rc;
        }
        snprintf(err, errn, "redis: %s", c->errstr);
        redisFree(c);
        give_back(r, NULL);
        *ret_again = !fresh && clock_mono_ms() < deadline_ms;
        if (!*ret_again)
                pause_trying(r);
        return -EIO;
}

static int redis_take(struct backend *base, struct store_bucket *list, size_t n, int64_t now_ms,
                      size_t *ret_short, char *err, size_t errn)
{
        struct redis *r = (struct redis *)base;
        struct command cmd;
        bool again;
        (void)now_ms; /* processes may disagree; the script asks the Redis */
        if (n > TAKE_MAX)
                return -EINVAL;
        write_command(&cmd, list, n);
        int64_t deadline_ms = clock_mono_ms() + TAKE_MS;
        int rc;
        do {
                rc = try_take(r, deadline_ms, &cmd, list, n, ret_short, &again, err, errn);
        } while (again);
        return rc;
}

static void redis_free(struct backend *base)
{
        struct redis *r = (struct redis *)base;
        for (int i = 0; i < r->n_idle; i++)
                redisFree(r->idle[i]);
        pthread_cond_destroy(&r->freed);
        pthread_mutex_destroy(&r->lock);
        mem_free(r->host);
        mem_free(r->path);
        mem_free(r->user);
        mem_free(r->password);
        mem_free(r);
}

/* ---- the URL ---- */

static char *text_of(struct str s)
{
        return s.n ? mem_strndup(s.p, s.n) : NULL;
}

static bool read_number(struct str s, int64_t max, int *ret)
{
        int64_t v;
        if (!str_to_i64(s, &v) || v < 0 || v > max)
                return false;
        *ret = (int)v;
        return true;
}

/* "[USER]:PASSWORD" */
static void read_login(struct redis *r, struct str login)
{
        struct str password, user = str_split(login, ':', &password);
        r->user = text_of(user);
        r->password = text_of(password);
}

/* "[LOGIN@]HOST[:PORT][/DB]" */
static bool read_address(struct redis *r, struct str s)
{
        const char *at = memrchr(s.p, '@', s.n);
        struct str db, port, address;
        if (at) {
                read_login(r, (struct str){ s.p, (size_t)(at - s.p) });
                s = (struct str){ at + 1, s.n - (size_t)(at + 1 - s.p) };
        }
        address = str_split(s, '/', &db);
        bool v6 = address.n && address.p[0] == '[';
        const char *end = v6 ? memchr(address.p, ']', address.n) : NULL;
        if (v6 && !end)
                return false;
        struct str host = v6 ? (struct str){ address.p + 1, (size_t)(end - address.p) - 1 }
                             : str_split(address, ':', &port);
        if (v6)
                str_split((struct str){ end + 1, address.n - (size_t)(end + 1 - address.p) }, ':', &port);
        r->port = DEFAULT_PORT;
        if ((port.p && !read_number(port, 65535, &r->port)) || (db.n && !read_number(db, 65535, &r->db)))
                return false;
        r->host = text_of(host);
        return r->host != NULL;
}

/* "PATH[?DB]" */
static bool read_path(struct redis *r, struct str s)
{
        struct str db, path = str_split(s, '?', &db);
        r->path = text_of(path);
        return r->path && (!db.p || read_number(db, 65535, &r->db));
}

int backend_redis(const char *url, struct backend **ret, char *err, size_t errn)
{
        struct str s = str_c(url);
        bool tcp = str_starts(s, SCHEME), local = str_starts(s, UNIX_SCHEME);
        size_t skip = tcp ? strlen(SCHEME) : local ? strlen(UNIX_SCHEME) : 0;
        struct redis *r = mem_calloc(1, sizeof(*r));
        *ret = NULL;
        if (!r)
                return -ENOMEM;
        r->base = (struct backend){ redis_take, redis_free, true };
        pthread_mutex_init(&r->lock, NULL);
        thread_cond_init(&r->freed);
        s = (struct str){ s.p + skip, s.n - skip };
        if (!(tcp && read_address(r, s)) && !(local && read_path(r, s))) {
                redis_free(&r->base);
                snprintf(err, errn,
                         "limits.backend: must be memory, store, redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] "
                         "or "
                         "unix:PATH[?DB]");
                return -EINVAL;
        }
        *ret = &r->base;
        return 0;
}
