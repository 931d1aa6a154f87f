/* Rate limits and prices: lists of rules, each a mapping in the file, or "member=value member=value" on the
 * command line and in the environment. */
#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "cli/config_internal.h"
#include "cli/suggest.h"

#define WORD_MAX 320
#define LIMIT_MAX INT64_C(1000000000000)
#define PRICE_MAX 1e6
#define KILOBYTES 1000 /* of a megabyte, as the API counts them */

/* ---- values ---- */

static int set_name(const char **field, const char *text)
{
        mem_free((char *)*field);
        *field = mem_strdup(text);
        return *field ? 0 : -ENOMEM;
}

static int set_dollars(struct loader *l, double *field, const char *where, const char *name, const char *text)
{
        double v;
        if (!str_to_f64(str_c(text), &v) || v < 0 || v > PRICE_MAX)
                return loader_fail(l, -EINVAL, where, "%s must be 0 to %.0f US dollars, not '%.60s'", name,
                                   PRICE_MAX, text);
        *field = v;
        return 0;
}

static int set_tier(struct loader *l, struct limit_rule *rule, const char *where, const char *text)
{
        for (int i = 0; limit_tier_names[i]; i++) {
                if (strcmp(limit_tier_names[i], text))
                        continue;
                rule->tier = (enum limit_tier)i;
                return 0;
        }
        return loader_fail(l, -EINVAL, where, "tier must be none, free or tier_1 to tier_5, not '%.60s'",
                           text);
}

static int set_max(struct loader *l, int64_t *field, int64_t factor, const char *where, const char *name,
                   const char *text)
{
        int64_t v = 0;
        if (!strcmp(text, "unlimited")) {
                *field = 0;
                return 0;
        }
        if (!str_to_i64(str_c(text), &v) || v < 1 || v > LIMIT_MAX)
                return loader_fail(l, -EINVAL, where, "%s must be 1 to %lld, or unlimited, not '%.60s'", name,
                                   (long long)LIMIT_MAX, text);
        *field = v * factor;
        return 0;
}

/* ---- members ---- */

static const struct {
        const char *name;
        enum limit_dim dim;
        int64_t factor;
} maxima[] = {
        { "requests_per_minute", LIMIT_REQUESTS_MINUTE, 1 },
        { "requests_per_day", LIMIT_REQUESTS_DAY, 1 },
        { "tokens_per_minute", LIMIT_TOKENS_MINUTE, 1 },
        { "tokens_per_day", LIMIT_TOKENS_DAY, 1 },
        { "images_per_minute", LIMIT_IMAGES_MINUTE, 1 },
        { "audio_megabytes_per_minute", LIMIT_AUDIO_MINUTE, KILOBYTES },
        { "other_requests_per_minute", LIMIT_OTHER_MINUTE, 1 },
        { "batch_tokens_in_queue", LIMIT_BATCH_TOKENS, 1 },
};

static int unknown_member(struct loader *l, const char *where, const char *name, const char *const *known,
                          size_t n)
{
        const char *guess = suggest_nearest(name, known, n);
        if (guess)
                return loader_fail(l, -EINVAL, where, "has no '%.60s' (did you mean '%s'?)", name, guess);
        return loader_fail(l, -EINVAL, where, "has no '%.60s'", name);
}

static int rule_member(struct loader *l, void *item, const char *where, const char *name, const char *text)
{
        const char *known[sizeof(maxima) / sizeof(*maxima) + 4] = { "project", "model", "tier", "budget" };
        struct limit_rule *rule = item;
        size_t n = 4;
        if (!strcmp(name, "project"))
                return set_name(&rule->project, text);
        if (!strcmp(name, "model"))
                return set_name(&rule->model, text);
        if (!strcmp(name, "tier"))
                return set_tier(l, rule, where, text);
        if (!strcmp(name, "budget"))
                return set_dollars(l, &rule->budget, where, name, text);
        for (size_t i = 0; i < sizeof(maxima) / sizeof(*maxima); i++) {
                if (!strcmp(name, maxima[i].name))
                        return set_max(l, &rule->max[maxima[i].dim], maxima[i].factor, where, name, text);
                known[n++] = maxima[i].name;
        }
        return unknown_member(l, where, name, known, n);
}

static int price_member(struct loader *l, void *item, const char *where, const char *name, const char *text)
{
        static const char *const known[] = { "model", "input", "cached_input", "output" };
        struct price *price = item;
        double *const fields[] = { NULL, &price->input, &price->cached_input, &price->output };
        if (!strcmp(name, known[0]))
                return set_name(&price->model, text);
        for (size_t i = 1; i < 4; i++)
                if (!strcmp(name, known[i]))
                        return set_dollars(l, fields[i], where, name, text);
        return unknown_member(l, where, name, known, 4);
}

int record_member(struct loader *l, const struct option *o, void *item, const char *where, const char *name,
                  const char *text)
{
        if (!*text)
                return loader_fail(l, -EINVAL, where, "%.60s must not be empty", name);
        return o->type == OPT_RATES ? rule_member(l, item, where, name, text)
                                    : price_member(l, item, where, name, text);
}

/* ---- lists ---- */

bool option_is_records(const struct option *o)
{
        return o->type == OPT_RATES || o->type == OPT_PRICES;
}

int record_add(struct config *c, const struct option *o, void **ret)
{
        if (o->type == OPT_RATES) {
                struct limit_rule *items =
                        mem_realloc(c->rate_limits.items, c->rate_limits.n + 1, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                c->rate_limits.items = items;
                *ret = &items[c->rate_limits.n++];
                limit_rule_init(*ret);
                return 0;
        }
        struct price *items = mem_realloc(c->prices.items, c->prices.n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        c->prices.items = items;
        *ret = &items[c->prices.n++];
        *(struct price *)*ret = (struct price){ .cached_input = -1 };
        return 0;
}

int record_check(struct loader *l, const struct option *o, const void *item, const char *where)
{
        const struct limit_rule *rule = item;
        if (o->type == OPT_RATES && rule->budget >= 0 && rule->model)
                return loader_fail(l, -EINVAL, where, "a budget is of a project, not of a model");
        return 0;
}

int record_read(struct loader *l, const struct option *o, void *item, const char *where, const char *text)
{
        struct str rest = str_trim(str_c(text));
        while (rest.p && rest.n) {
                struct str word = str_split(rest, ' ', &rest), value;
                struct str name = str_split(word, '=', &value);
                char key[WORD_MAX], v[WORD_MAX];
                if (!word.n)
                        continue;
                if (!value.p || name.n >= sizeof(key) || value.n >= sizeof(v))
                        return loader_fail(l, -EINVAL, where, "must be 'NAME=VALUE NAME=VALUE', not '%.60s'",
                                           text);
                snprintf(key, sizeof(key), "%.*s", STR_ARG(name));
                snprintf(v, sizeof(v), "%.*s", STR_ARG(value));
                int rc = record_member(l, o, item, where, key, v);
                if (rc)
                        return rc;
        }
        return record_check(l, o, item, where);
}

void rates_release(struct config_rates *rates)
{
        for (size_t i = 0; i < rates->n; i++) {
                mem_free((char *)rates->items[i].project);
                mem_free((char *)rates->items[i].model);
        }
        mem_free(rates->items);
        memset(rates, 0, sizeof(*rates));
}

void prices_release(struct config_prices *prices)
{
        for (size_t i = 0; i < prices->n; i++)
                mem_free((char *)prices->items[i].model);
        mem_free(prices->items);
        memset(prices, 0, sizeof(*prices));
}
