/* The filter pprint: repr, with the keys of dicts in order and lists that do not fit into a line broken at
 * their elements, as Python's pprint lays them out. */
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

#define WIDTH 80

/* Keys of one kind are ordered as such, others by their type first. */
static struct jv order_key(struct run *r, const struct jv_dict *d, size_t i)
{
        bool mixed = false;
        for (size_t k = 1; k < d->n; k++)
                mixed |= d->keys[k].kind != d->keys[0].kind;
        run_step(r, d->n);
        return mixed ? jv_pair(r, jv_cstr(r, jv_type(d->keys[i])), d->keys[i]) : d->keys[i];
}

/* The same value with the keys of dicts in order. */
static struct jv ordered(struct run *r, struct jv v)
{
        run_enter(r);
        struct jv out = v;
        if (v.kind == JV_LIST || v.kind == JV_TUPLE) {
                out = jv_list(r, v.kind, v.l->n);
                for (size_t i = 0; i < v.l->n; i++)
                        jv_push(r, &out, ordered(r, v.l->v[i]));
        } else if (v.kind == JV_DICT) {
                struct sorted *rows = run_array(r, v.d->n, sizeof(*rows));
                for (size_t i = 0; i < v.d->n; i++)
                        rows[i] = (struct sorted){ order_key(r, v.d, i),
                                                   jv_pair(r, v.d->keys[i], v.d->vals[i]) };
                jv_sort(r, rows, v.d->n, false);
                out = jv_dict(r, v.d->n);
                for (size_t i = 0; i < v.d->n; i++)
                        jv_put(r, &out, rows[i].v.l->v[0], ordered(r, rows[i].v.l->v[1]));
        }
        out.data = v.data;
        run_leave(r);
        return out;
}

static struct jv repr(struct run *r, struct jv v)
{
        struct text t = text_new(r);
        text_repr(&t, v);
        return text_value(&t, false);
}

static void new_line(struct text *t, int64_t indent, bool data)
{
        text_adds(t, ",\n", data);
        for (int64_t i = 0; i < indent; i++)
                text_adds(t, " ", data);
}

static void lay_out(struct text *t, struct jv v, int64_t indent, int64_t allowance);

static void lay_out_list(struct text *t, struct jv v, int64_t indent, int64_t allowance)
{
        bool list = v.kind == JV_LIST;
        const char *close = list ? "]" : v.l->n == 1 ? ",)" : ")";
        text_adds(t, list ? "[" : "(", v.data);
        for (size_t i = 0; i < v.l->n; i++) {
                bool last = i + 1 == v.l->n;
                if (i)
                        new_line(t, indent + 1, v.data);
                lay_out(t, v.l->v[i], indent + 1, last ? allowance + (int64_t)strlen(close) : 1);
        }
        text_adds(t, close, v.data);
}

static void lay_out_dict(struct text *t, struct jv v, int64_t indent, int64_t allowance)
{
        text_adds(t, "{", v.data);
        for (size_t i = 0; i < v.d->n; i++) {
                bool last = i + 1 == v.d->n;
                struct jv key = repr(t->r, v.d->keys[i]);
                if (i)
                        new_line(t, indent + 1, v.data);
                text_addv(t, key);
                text_adds(t, ": ", v.data);
                lay_out(t, v.d->vals[i], indent + 3 + (int64_t)jv_length(t->r, key),
                        last ? allowance + 1 : 1);
        }
        text_adds(t, "}", v.data);
}

/* Writes v at column `indent`, keeping `allowance` columns free behind it. */
static void lay_out(struct text *t, struct jv v, int64_t indent, int64_t allowance)
{
        struct run *r = t->r;
        struct jv line = repr(r, v);
        run_enter(r);
        if ((int64_t)jv_length(r, line) <= WIDTH - indent - allowance)
                text_addv(t, line);
        else if (v.kind == JV_LIST || v.kind == JV_TUPLE)
                lay_out_list(t, v, indent, allowance);
        else if (v.kind == JV_DICT)
                lay_out_dict(t, v, indent, allowance);
        else if (v.kind == JV_STR && !v.s->markup)
                run_fail(r, "pprint is not supported for a string that is longer than a line");
        else
                text_addv(t, line);
        run_leave(r);
}

struct jv jv_pprint(struct run *r, struct jv v, const struct jv_args *a)
{
        struct text t = text_new(r);
        (void)a;
        lay_out(&t, ordered(r, v), 0, 0);
        return text_value(&t, false);
}
