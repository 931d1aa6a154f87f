/* Functions that every template has. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "jinja/run.h"

#define RANGE_MAX 100000 /* elements, as in Jinja's sandbox */

static struct jv range(struct run *r, struct jv self, const struct jv_args *a)
{
        struct jv_range *g = run_alloc(r, sizeof(*g));
        int64_t v[3] = { 0, 0, 1 };
        (void)self;
        if (!a->n || a->n > 3 || a->n_kw)
                run_fail(r, "range expected 1 to 3 arguments, got %zu", a->n);
        for (size_t i = 0; i < a->n; i++)
                v[a->n == 1 ? 1 : i] = jv_as_int(r, a->v[i], "an argument of range");
        if (!v[2])
                run_fail(r, "range() arg 3 must not be zero");
        uint64_t distance = v[2] > 0 ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1];
        uint64_t step = v[2] > 0 ? (uint64_t)v[2] : 0 - (uint64_t)v[2];
        bool empty = v[2] > 0 ? v[0] >= v[1] : v[0] <= v[1];
        uint64_t n = empty ? 0 : (distance - 1) / step + 1;
        if (n > RANGE_MAX)
                run_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                         RANGE_MAX);
        *g = (struct jv_range){ .start = v[0], .stop = v[1], .step = v[2], .n = (size_t)n };
        return (struct jv){ .kind = JV_RANGE, .r = g };
}

/* dict(mapping or pairs, name=value, ...) */
static struct jv dict(struct run *r, struct jv self, const struct jv_args *a)
{
        struct jv out = jv_dict(r, a->n_kw);
        (void)self;
        if (a->n > 1)
                run_fail(r, "dict expected at most 1 argument, got %zu", a->n);
        if (a->n) {
                const struct jv_list *l = jv_iterate(r, a->v[0]);
                for (size_t i = 0; i < l->n; i++) {
                        run_step(r, 1);
                        if (a->v[0].kind == JV_DICT) {
                                jv_put(r, &out, l->v[i], a->v[0].d->vals[i]);
                                continue;
                        }
                        const struct jv_list *pair = jv_iterate(r, l->v[i]);
                        if (pair->n != 2)
                                run_fail(r,
                                         "dictionary update sequence element #%zu has length %zu; 2 is "
                                         "required",
                                         i, pair->n);
                        jv_put(r, &out, pair->v[0], pair->v[1]);
                }
        }
        for (size_t i = 0; i < a->n_kw; i++)
                jv_put(r, &out, jv_str(r, a->kw_name[i], false), a->kw[i]);
        return out;
}

static struct jv namespace(struct run *r, struct jv self, const struct jv_args *a)
{
        struct jv out = dict(r, self, a);
        out.kind = JV_NAMESPACE;
        return out;
}

static struct jv turns(struct run *r, enum jv_kind kind, struct jv items)
{
        struct jv_turns *t = run_alloc(r, sizeof(*t));
        t->items = items;
        return (struct jv){ .kind = (uint8_t)kind, .turns = t };
}

static struct jv cycler(struct run *r, struct jv self, const struct jv_args *a)
{
        struct jv items = jv_list(r, JV_LIST, a->n);
        (void)self;
        if (!a->n || a->n_kw)
                run_fail(r, "at least one item has to be provided");
        for (size_t i = 0; i < a->n; i++)
                jv_push(r, &items, a->v[i]);
        return turns(r, JV_CYCLER, items);
}

static struct jv joiner(struct run *r, struct jv self, const struct jv_args *a)
{
        (void)self;
        return turns(r, JV_JOINER, a->v[0].kind == JV_MISSING ? jv_cstr(r, ", ") : a->v[0]);
}

static struct jv lipsum(struct run *r, struct jv self, const struct jv_args *a)
{
        (void)self;
        (void)a;
        run_fail(r, "lipsum() is not supported: rendering must be repeatable");
}

static struct jv raise_exception(struct run *r, struct jv self, const struct jv_args *a)
{
        (void)self;
        struct str msg = jv_text(jv_to_str(r, a->v[0]));
        size_t n = msg.n < sizeof(r->err->msg) ? msg.n : sizeof(r->err->msg) - 1;
        r->err->raised = true;
        run_fail(r, "%.*s", (int)str_utf8_complete((struct str){ msg.p, n }), msg.p);
}

/* The local time by the format of strftime. */
static struct jv strftime_now(struct run *r, struct jv self, const struct jv_args *a)
{
        char text[256];
        time_t now = (time_t)clock_unix();
        struct tm tm;
        (void)self;
        if (a->v[0].kind != JV_STR)
                run_fail(r, "strftime() argument 1 must be str, not %s", jv_type(a->v[0]));
        const char *format = arena_strndup(r->mem, a->v[0].s->p, a->v[0].s->n);
        if (!format || !localtime_r(&now, &tm))
                run_fail(r, "the time is not known");
        size_t n = strftime(text, sizeof(text), format, &tm);
        if (!n && *format)
                run_fail(r, "strftime_now: the format gives no text, or too much");
        char *copy = run_alloc(r, n + 1);
        memcpy(copy, text, n);
        return jv_str(r, (struct str){ copy, str_is_utf8((struct str){ text, n }) ? n : 0 }, false);
}

static const struct jv_builtin functions[] = {
        { "cycler", cycler, NULL, 0 },       { "dict", dict, NULL, 0 },
        { "joiner", joiner, "sep", 0 },      { "lipsum", lipsum, NULL, 0 },
        { "namespace", namespace, NULL, 0 }, { "raise_exception", raise_exception, "message", 1 },
        { "range", range, NULL, 0 },         { "strftime_now", strftime_now, "format", 1 },
};

const struct jv_builtin *function_find(struct str name)
{
        return jv_builtin_find(functions, sizeof(functions) / sizeof(functions[0]), name);
}
