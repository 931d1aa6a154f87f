#include "account/usage.h"

#include <math.h>
#include <string.h>
#include "account/account.h"
#include "base/mem.h"

const char *const usage_kinds[] = { USAGE_COMPLETIONS,   USAGE_EMBEDDINGS, USAGE_MODERATIONS,
                                    USAGE_MAKES_IMAGES,  USAGE_SPEECHES,   USAGE_TRANSCRIPTIONS,
                                    USAGE_VECTOR_STORES, USAGE_FILES,      NULL };

struct store_usage usage_row(const struct usage *u, const char *id, const struct principal *who,
                             const struct prices *prices)
{
        struct store_usage row = { .id = id,
                                   .what = u->what,
                                   .project = who->project,
                                   .user = who->user,
                                   .key = who->key,
                                   .model = u->model ? u->model : "",
                                   .tier = u->tier ? u->tier : "",
                                   .batch = u->batch };
        for (int i = 0; i < USAGE_N; i++)
                row.n[i] = u->n[i];
        row.n[USAGE_COST] = prices_cost(prices, u);
        return row;
}

/* ---- prices ---- */

#define CACHED_SHARE 0.1    /* of the price of input, where none is named */
#define CHEAP_FACTOR 0.5    /* batches and the tier "flex" */
#define PRIORITY_FACTOR 2.0 /* the tier "priority" */
#define NANO_PER_TOKEN 1e3  /* a dollar a million tokens is so many billionths of a dollar a token */

struct prices {
        size_t n;
        struct price list[];
};

struct prices *prices_new(const struct price *list, size_t n)
{
        struct prices *p = mem_calloc(1, sizeof(*p) + n * sizeof(*list));
        if (!p)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                struct price *one = &p->list[p->n++];
                *one = list[i];
                one->model = list[i].model ? mem_strdup(list[i].model) : NULL;
                if (one->cached_input < 0)
                        one->cached_input = one->input * CACHED_SHARE;
                if (list[i].model && !one->model) {
                        prices_free(p);
                        return NULL;
                }
        }
        return p;
}

void prices_free(struct prices *p)
{
        for (size_t i = 0; p && i < p->n; i++)
                mem_free((char *)p->list[i].model);
        mem_free(p);
}

static const struct price *find(const struct prices *p, const char *model)
{
        const struct price *any = NULL;
        for (size_t i = 0; p && i < p->n; i++) {
                if (!p->list[i].model)
                        any = &p->list[i];
                else if (model && !strcmp(p->list[i].model, model))
                        return &p->list[i];
        }
        return any;
}

int64_t prices_cost(const struct prices *p, const struct usage *u)
{
        const struct price *price = find(p, u->model);
        if (!price)
                return 0;
        double dollars = (double)(u->n[USAGE_INPUT] - u->n[USAGE_CACHED]) * price->input +
                         (double)u->n[USAGE_CACHED] * price->cached_input +
                         (double)u->n[USAGE_OUTPUT] * price->output;
        if (u->batch || (u->tier && !strcmp(u->tier, "flex")))
                dollars *= CHEAP_FACTOR;
        else if (u->tier && !strcmp(u->tier, "priority"))
                dollars *= PRIORITY_FACTOR;
        return llround(dollars * NANO_PER_TOKEN);
}
