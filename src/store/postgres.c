#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/ids.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/thread.h"
#include "store/postgres_internal.h"

static void postgres_stats(struct store *store, struct store_stats *ret)
{
        struct postgres_store *s = (struct postgres_store *)store;
        ret->writes = s->n_writes;
        ret->failed = s->n_failed;
        ret->commits = s->n_commits;
        ret->reads = s->n_reads;
        ret->queued = write_queue_length(&s->queue);
}

static void postgres_close(struct store *store)
{
        struct postgres_store *s = (struct postgres_store *)store;
        postgres_writer_stop(s);
        postgres_listen_stop(s);
        postgres_pool_close(s);
        write_queue_release(&s->queue);
        pthread_mutex_destroy(&s->pool_lock);
        pthread_cond_destroy(&s->conn_back);
        mem_free(s->uri);
        mem_free(s->instance);
        mem_free(s);
}

static const struct store_backend postgres_backend = {
        .name = "postgres",
        .get = postgres_get,
        .list = postgres_list,
        .submit = postgres_submit,
        .job_claim = postgres_job_claim,
        .job_renew = postgres_job_renew,
        .job_count = postgres_job_count,
        .job_tally = postgres_job_tally,
        .job_scan = postgres_job_scan,
        .usage_fold = postgres_usage_fold,
        .usage_sum = postgres_usage_sum,
        .buckets_take = postgres_buckets_take,
        .scan = postgres_scan,
        .check = postgres_check,
        .listen = postgres_listen,
        .stats = postgres_stats,
        .close = postgres_close,
};

static struct postgres_store *postgres_new(const char *uri, const struct store_options *options)
{
        struct postgres_store *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->store.backend = &postgres_backend;
        s->listener.stop_fd = -1;
        s->max_conns = options->readers > 0 ? options->readers : 8;
        if (s->max_conns > POSTGRES_READERS_MAX)
                s->max_conns = POSTGRES_READERS_MAX;
        snprintf(s->origin, sizeof(s->origin), "%016llx", (unsigned long long)rand_u64());
        write_queue_init(&s->queue, options->max_queued);
        pthread_mutex_init(&s->pool_lock, NULL);
        thread_cond_init(&s->conn_back);
        s->uri = mem_strdup(uri);
        s->instance = mem_strdup(options->instance ? options->instance : "");
        if (!s->uri || !s->instance) {
                postgres_close(&s->store);
                return NULL;
        }
        return s;
}

int postgres_store_open(const char *uri, const struct store_options *options, struct store **ret,
                        struct store_fault *fault)
{
        struct postgres_store *s = postgres_new(uri, options);
        *ret = NULL;
        if (!s)
                return store_fail(fault, -ENOMEM, "memory is out");
        int rc = postgres_writer_start(s, options->existing, fault);
        if (rc) {
                postgres_close(&s->store);
                return rc == -ECONNRESET ? -ENOTCONN : rc;
        }
        *ret = &s->store;
        return 0;
}
