#include "account/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "account/budget.h"
#include "account/limits_internal.h"
#include "base/clock.h"
#include "base/mem.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MS INT64_C(86400000)
#define DAY_S INT64_C(86400)
#define LEARN_STEP_S 600 /* how finely the last day is replayed */
#define KEY_MAX 256
#define KEY_MODEL_SHOWN 96 /* a longer model id is cut and hashed */

struct limits {
        struct limit_rule *rules;
        size_t n_rules;
        struct prices *prices;
        struct budget *budget;
        struct backend *local;   /* in this process */
        struct backend *backend; /* the one in force; may be `local` */
        struct settler *settler; /* of a backend that waits, else NULL */
        bool refuse;
        int64_t (*now_ms)(void);
        atomic_uint_fast64_t refused[LIMIT_RATES], over_budget, backend_errors;
        pthread_mutex_t error_lock;
        char last_error[160];
};

/* ---- the dimensions ---- */

static const struct {
        const char *noun, *phrase, *word; /* word: within a bucket's key */
        int64_t refill_ms;
} dims[LIMIT_DIMS] = {
        [LIMIT_REQUESTS_MINUTE] = { "requests", "requests per min (RPM)", "rpm", MINUTE_MS },
        [LIMIT_REQUESTS_DAY] = { "requests", "requests per day (RPD)", "rpd", DAY_MS },
        [LIMIT_TOKENS_MINUTE] = { "tokens", "tokens per min (TPM)", "tpm", MINUTE_MS },
        [LIMIT_TOKENS_DAY] = { "tokens", "tokens per day (TPD)", "tpd", DAY_MS },
        [LIMIT_IMAGES_MINUTE] = { "images", "images per min (IPM)", "ipm", MINUTE_MS },
        [LIMIT_AUDIO_MINUTE] = { "audio", "kilobytes of audio per min", "apm", MINUTE_MS },
        [LIMIT_OTHER_MINUTE] = { "requests", "requests without a model per min", "opm", MINUTE_MS },
        [LIMIT_BATCH_TOKENS] = { "tokens", "enqueued tokens", "batch", 0 },
};

const char *limit_noun(enum limit_dim dim)
{
        return dims[dim].noun;
}

const char *limit_word(enum limit_dim dim)
{
        return dims[dim].word;
}

const char *limit_phrase(enum limit_dim dim)
{
        return dims[dim].phrase;
}

/* ---- tiers ---- */

const char *const limit_tier_names[] = { "none",   "free",   "tier_1", "tier_2",
                                         "tier_3", "tier_4", "tier_5", NULL };
_Static_assert(sizeof(limit_tier_names) / sizeof(*limit_tier_names) == TIERS + 1, "a name for each tier");

/* In the order of enum limit_dim; 0: no limit. */
static const int64_t tiers[TIERS][LIMIT_DIMS] = {
        [TIER_FREE] = { 3, 200, 40000, 0, 1, 10000, 1000, 200000 },
        [TIER_1] = { 60, 3000, 60000, 0, 5, 25000, 1000, 2000000 },
        [TIER_2] = { 500, 5000, 80000, 0, 20, 50000, 1000, 20000000 },
        [TIER_3] = { 5000, 10000, 160000, 0, 50, 100000, 1000, 100000000 },
        [TIER_4] = { 10000, 30000, 2000000, 0, 150, 250000, 1000, 1000000000 },
        [TIER_5] = { 30000, 100000, 10000000, 0, 250, 1000000, 1000, 15000000000 },
};

int64_t limit_of_tier(enum limit_tier tier, enum limit_dim dim)
{
        return tier > TIER_NONE && tier < TIERS ? tiers[tier][dim] : 0;
}

/* ---- rules ---- */

void limit_rule_init(struct limit_rule *rule)
{
        *rule = (struct limit_rule){ .tier = TIER_UNSAID, .budget = -1 };
        for (int dim = 0; dim < LIMIT_DIMS; dim++)
                rule->max[dim] = LIMIT_UNSAID;
}

static bool same(const char *a, const char *b)
{
        return a && b && !strcmp(a, b);
}

/* How specific the rule is that holds here; -1: it does not hold. */
static int rank(const struct limit_rule *rule, const char *project, const char *model)
{
        if ((rule->project && !same(rule->project, project)) || (rule->model && !same(rule->model, model)))
                return -1;
        return (rule->project ? 2 : 0) + (rule->model ? 1 : 0);
}

static int64_t said(const struct limit_rule *rule, enum limit_dim dim)
{
        if (rule->max[dim] == LIMIT_UNSAID && rule->tier != TIER_UNSAID)
                return limit_of_tier(rule->tier, dim);
        return rule->max[dim];
}

int64_t limits_max(const struct limits *l, const char *project, const char *model, enum limit_dim dim)
{
        int64_t max = 0;
        int best = 0;
        for (size_t i = 0; i < l->n_rules; i++) {
                const struct limit_rule *rule = &l->rules[i];
                int r = rank(rule, project, model);
                if (r < best || said(rule, dim) == LIMIT_UNSAID)
                        continue;
                best = r;
                max = said(rule, dim);
        }
        return max;
}

/* US dollars a month; < 0: no budget. */
static double budget_of(const struct limits *l, const char *project)
{
        double budget = -1;
        int best = 0;
        for (size_t i = 0; i < l->n_rules; i++) {
                int r = rank(&l->rules[i], project, NULL);
                if (r < best || l->rules[i].budget < 0)
                        continue;
                best = r;
                budget = l->rules[i].budget;
        }
        return budget;
}

const struct prices *limits_prices(const struct limits *l)
{
        return l->prices;
}

bool limits_are_shared(const struct limits *l)
{
        return l->backend != l->local;
}

/* ---- buckets of a request ---- */

struct taking {
        struct store_bucket buckets[LIMIT_RATES];
        enum limit_dim dims[LIMIT_RATES];
        char keys[LIMIT_RATES][KEY_MAX];
        size_t n;
};

/* "proj_x/tpm/model". Store and Redis keep keys of other processes, which must come to the same. */
static void write_key(char out[KEY_MAX], const char *project, enum limit_dim dim, const char *model)
{
        size_t n = strlen(model);
        if (n <= KEY_MODEL_SHOWN)
                snprintf(out, KEY_MAX, "%s/%s/%s", project, dims[dim].word, model);
        else
                snprintf(out, KEY_MAX, "%s/%s/%.*s#%016llx", project, dims[dim].word, KEY_MODEL_SHOWN, model,
                         (unsigned long long)str_hash(str_c(model)));
}

/* Which dimensions a request has at all. */
static bool concerns(const struct limits_ask *ask, enum limit_dim dim)
{
        if (!ask->model)
                return dim == LIMIT_OTHER_MINUTE;
        if (dim == LIMIT_IMAGES_MINUTE || dim == LIMIT_AUDIO_MINUTE)
                return ask->amount[dim] != 0;
        return dim != LIMIT_OTHER_MINUTE;
}

static void gather(const struct limits *l, const struct limits_ask *ask, struct taking *t)
{
        t->n = 0;
        for (enum limit_dim dim = 0; dim < LIMIT_RATES; dim++) {
                int64_t max = concerns(ask, dim) ? limits_max(l, ask->project, ask->model, dim) : 0;
                if (max <= 0)
                        continue;
                write_key(t->keys[t->n], ask->project, dim, ask->model ? ask->model : "");
                t->dims[t->n] = dim;
                t->buckets[t->n] = (struct store_bucket){ .key = t->keys[t->n],
                                                          .capacity = max,
                                                          .refill_ms = dims[dim].refill_ms,
                                                          .amount = ask->amount[dim] };
                t->n++;
        }
}

/* The first bucket that could never hold what is asked for, or -1. */
static int too_large(const struct taking *t)
{
        for (size_t i = 0; i < t->n; i++)
                if (t->buckets[i].amount > t->buckets[i].capacity)
                        return (int)i;
        return -1;
}

static void note_error(struct limits *l, const char *err)
{
        atomic_fetch_add(&l->backend_errors, 1);
        pthread_mutex_lock(&l->error_lock);
        snprintf(l->last_error, sizeof(l->last_error), "%s", err);
        pthread_mutex_unlock(&l->error_lock);
}

/* Takes from the backend, or, when that is out of reach, from this process's own buckets. */
static int take(struct limits *l, struct taking *t, size_t *ret_short)
{
        char err[160] = "";
        int64_t now = l->now_ms();
        int rc = l->backend->take(l->backend, t->buckets, t->n, now, ret_short, err, sizeof(err));
        if (rc == 0 || rc == -EAGAIN || rc == -ENOMEM)
                return rc;
        note_error(l, err);
        if (l->refuse || l->backend == l->local)
                return -EIO;
        return l->local->take(l->local, t->buckets, t->n, now, ret_short, err, sizeof(err));
}

static void show(const struct taking *t, struct limits_answer *ret)
{
        for (size_t i = 0; i < t->n; i++) {
                const struct store_bucket *b = &t->buckets[i];
                ret->states[ret->n++] = (struct limit_state){
                        .dim = t->dims[i],
                        .limit = b->capacity,
                        .remaining = b->ret_level > 0 ? b->ret_level : 0,
                        .reset_ms = bucket_wait(b, (double)b->ret_level, (double)b->capacity),
                };
        }
}

static int refuse(struct limits *l, const struct taking *t, size_t at, int64_t requested, bool never,
                  struct limits_answer *ret)
{
        const struct store_bucket *b = &t->buckets[at];
        ret->dim = t->dims[at];
        ret->limit = b->capacity;
        ret->used = b->capacity - b->ret_level;
        ret->requested = requested;
        ret->wait_ms = never ? 0 : bucket_wait(b, (double)b->ret_level, (double)requested);
        atomic_fetch_add(&l->refused[ret->dim], 1);
        return -EAGAIN;
}

int limits_take(struct limits *l, const struct limits_ask *ask, struct limits_answer *ret)
{
        struct taking t;
        size_t at = 0;
        memset(ret, 0, sizeof(*ret));
        int rc = ask->model ? limits_check_budget(l, ask->project) : 0;
        if (rc)
                return rc;
        gather(l, ask, &t);
        if (!t.n)
                return 0;
        int never = too_large(&t);
        int64_t requested = never >= 0 ? t.buckets[never].amount : 0;
        for (size_t i = 0; never >= 0 && i < t.n; i++)
                t.buckets[i].amount = 0; /* only to know the levels */
        rc = take(l, &t, &at);
        /* What earlier requests reserved and did not use may still be on its way back. */
        if (rc == -EAGAIN && l->settler && settler_catch_up(l->settler))
                rc = take(l, &t, &at);
        if (rc && rc != -EAGAIN)
                return rc;
        show(&t, ret);
        if (never >= 0)
                return refuse(l, &t, (size_t)never, requested, true, ret);
        return rc ? refuse(l, &t, at, t.buckets[at].amount, false, ret) : 0;
}

void limits_settle(struct limits *l, const struct limits_ask *more)
{
        struct taking t;
        size_t unused;
        char err[160];
        gather(l, more, &t);
        if (!t.n)
                return;
        for (size_t i = 0; i < t.n; i++)
                t.buckets[i].force = true;
        if (l->settler)
                settler_add(l->settler, t.buckets, t.n);
        else
                l->backend->take(l->backend, t.buckets, t.n, l->now_ms(), &unused, err, sizeof(err));
}

/* ---- budgets ---- */

int limits_check_budget(struct limits *l, const char *project)
{
        double dollars = budget_of(l, project);
        if (dollars < 0)
                return 0;
        int rc = budget_check(l->budget, project, dollars, l->now_ms());
        if (rc == -EDQUOT)
                atomic_fetch_add(&l->over_budget, 1);
        return rc;
}

void limits_spend(struct limits *l, const char *project, int64_t cost)
{
        if (cost && budget_of(l, project) >= 0)
                budget_spend(l->budget, project, cost);
}

/* ---- opening ---- */

static int copy_rules(struct limits *l, const struct limits_options *o)
{
        l->rules = mem_calloc(o->n_rules, sizeof(*l->rules));
        if (!l->rules)
                return -ENOMEM;
        for (size_t i = 0; i < o->n_rules; i++) {
                struct limit_rule *rule = &l->rules[l->n_rules++];
                *rule = o->rules[i];
                rule->project = o->rules[i].project ? mem_strdup(o->rules[i].project) : NULL;
                rule->model = o->rules[i].model ? mem_strdup(o->rules[i].model) : NULL;
                if (!rule->project != !o->rules[i].project || !rule->model != !o->rules[i].model)
                        return -ENOMEM;
        }
        return 0;
}

/* Whether processes share the store, and with it its buckets. */
static bool store_shares(struct store *store)
{
        size_t unused;
        return store_buckets_take(store, NULL, 0, clock_unix_us() / 1000, &unused, NULL) != -ENOTSUP;
}

static int open_backend(struct limits *l, const char *name, struct store *store, char *err, size_t errn)
{
        int rc = 0;
        l->local = backend_memory();
        if (!l->local)
                return -ENOMEM;
        if (!name)
                name = store_shares(store) ? "store" : "memory";
        if (!strcmp(name, "memory")) {
                l->backend = l->local;
                return 0;
        }
        if (strcmp(name, "store") != 0) {
                rc = backend_redis(name, &l->backend, err, errn);
        } else if (store_shares(store)) {
                l->backend = backend_store(store);
        } else {
                snprintf(err, errn,
                         "limits.backend: this store is of one process; it keeps limits in memory");
                return -ENOTSUP;
        }
        if (rc == 0)
                l->settler = l->backend ? settler_start(l->backend, l->local) : NULL;
        return rc ? rc : l->settler ? 0 : -ENOMEM;
}

/* Takes from the day's buckets what a row of the log says was used in its ten minutes. */
static void replay(struct limits *l, const struct store_usage *row)
{
        struct limits_ask ask = { .project = row->project, .model = row->model };
        struct taking t;
        size_t unused;
        ask.amount[LIMIT_REQUESTS_DAY] = row->n[USAGE_REQUESTS];
        ask.amount[LIMIT_TOKENS_DAY] = row->n[USAGE_INPUT] + row->n[USAGE_OUTPUT];
        gather(l, &ask, &t);
        for (size_t i = 0; i < t.n; i++) {
                t.buckets[i].force = true;
                if (dims[t.dims[i]].refill_ms == DAY_MS)
                        l->local->take(l->local, &t.buckets[i], 1, row->at * 1000, &unused, NULL, 0);
        }
}

static bool has_day_limits(const struct limits *l)
{
        for (size_t i = 0; i < l->n_rules; i++)
                if (said(&l->rules[i], LIMIT_REQUESTS_DAY) > 0 || said(&l->rules[i], LIMIT_TOKENS_DAY) > 0)
                        return true;
        return false;
}

/* Fills the day's buckets of this process from the usage log: a restart is no new day. */
static int learn_day(struct limits *l, struct store *store, char *err, size_t errn)
{
        int64_t now = l->now_ms() / 1000;
        int rc = 0;
        if (l->backend != l->local || !has_day_limits(l))
                return 0;
        for (size_t k = 0; usage_kinds[k] && rc == 0; k++) {
                struct store_usage_query q = { .what = usage_kinds[k],
                                               .from = now - DAY_S,
                                               .to = now + 1,
                                               .width = LEARN_STEP_S,
                                               .by = USAGE_BY_PROJECT | USAGE_BY_MODEL | USAGE_BY_BATCH };
                struct store_usage *rows = NULL;
                struct store_fault fault = { 0 };
                size_t n = 0;
                rc = store_usage_sum(store, &q, &rows, &n, &fault);
                if (rc)
                        snprintf(err, errn, "the usage log: %s", fault.msg);
                for (size_t i = 0; rc == 0 && i < n; i++)
                        if (!rows[i].batch && *rows[i].model)
                                replay(l, &rows[i]);
                mem_free(rows);
        }
        return rc;
}

static int64_t clock_now_ms(void)
{
        return clock_unix_us() / 1000;
}

int limits_open(const struct limits_options *o, struct store *store, struct limits **ret, char *err,
                size_t errn)
{
        struct limits *l = mem_calloc(1, sizeof(*l));
        *ret = NULL;
        snprintf(err, errn, "memory is out");
        if (!l)
                return -ENOMEM;
        pthread_mutex_init(&l->error_lock, NULL);
        l->refuse = o->refuse;
        l->now_ms = clock_now_ms;
        l->prices = prices_new(o->prices, o->n_prices);
        l->budget = budget_new(store);
        int rc = l->prices && l->budget ? copy_rules(l, o) : -ENOMEM;
        if (rc == 0)
                rc = open_backend(l, o->backend, store, err, errn);
        if (rc == 0)
                rc = learn_day(l, store, err, errn);
        if (rc) {
                limits_close(l);
                return rc;
        }
        *ret = l;
        return 0;
}

void limits_close(struct limits *l)
{
        if (!l)
                return;
        settler_stop(l->settler);
        if (l->backend && l->backend != l->local)
                l->backend->free(l->backend);
        if (l->local)
                l->local->free(l->local);
        for (size_t i = 0; i < l->n_rules; i++) {
                mem_free((char *)l->rules[i].project);
                mem_free((char *)l->rules[i].model);
        }
        mem_free(l->rules);
        prices_free(l->prices);
        budget_free(l->budget);
        pthread_mutex_destroy(&l->error_lock);
        mem_free(l);
}

/* ---- words and numbers ---- */

char *limit_duration(char out[LIMIT_DURATION_MAX], int64_t ms)
{
        int64_t s = ms / 1000, h = s / 3600, m = s / 60 % 60;
        int fraction = (int)(ms % 1000), digits = 3;
        int n = 0;
        if (ms < 1000) {
                snprintf(out, LIMIT_DURATION_MAX, ms > 0 ? "%lldms" : "0s", (long long)ms);
                return out;
        }
        if (h)
                n += snprintf(out + n, (size_t)(LIMIT_DURATION_MAX - n), "%lldh", (long long)h);
        if (s >= 60)
                n += snprintf(out + n, (size_t)(LIMIT_DURATION_MAX - n), "%lldm", (long long)m);
        n += snprintf(out + n, (size_t)(LIMIT_DURATION_MAX - n), "%d", (int)(s % 60));
        for (; fraction && fraction % 10 == 0; digits--)
                fraction /= 10;
        snprintf(out + n, (size_t)(LIMIT_DURATION_MAX - n), fraction ? ".%0*ds" : "s", digits, fraction);
        return out;
}

void limits_get_stats(struct limits *l, struct limits_stats *ret)
{
        for (int i = 0; i < LIMIT_RATES; i++)
                ret->refused[i] = atomic_load(&l->refused[i]);
        ret->over_budget = atomic_load(&l->over_budget);
        ret->backend_errors = atomic_load(&l->backend_errors);
        pthread_mutex_lock(&l->error_lock);
        snprintf(ret->last_error, sizeof(ret->last_error), "%s", l->last_error);
        pthread_mutex_unlock(&l->error_lock);
}
