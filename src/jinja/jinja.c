/* The public calls: compiling, and rendering with variables from JSON. */
#include "jinja/jinja.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "jinja/run.h"

#define COMPILE_BYTES (64u << 20)
#define STEPS_DEFAULT 20000000
#define BYTES_DEFAULT (64u << 20)
#define DEPTH_DEFAULT 100
#define LEVELS_PER_DEPTH 16    /* nodes may nest that many times as deep as calls */
#define STACK_BYTES (1u << 20) /* of the C stack, whatever the compiler makes of the functions */
#define POLL_STEPS 4096

/* ---- a rendering's tools ------------------------------------------------------------------------------ */

_Noreturn void run_fail(struct run *r, const char *fmt, ...)
{
        char msg[sizeof(r->err->msg)];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(msg, sizeof(msg), fmt, ap);
        va_end(ap);
        size_t len = n < 0 ? 0 : (size_t)n < sizeof(msg) ? (size_t)n : sizeof(msg) - 1;
        len = str_utf8_complete((struct str){ msg, len });
        memcpy(r->err->msg, msg, len);
        r->err->msg[len] = '\0';
        r->err->line = r->line;
        r->rc = -EINVAL;
        longjmp(r->failed, 1);
}

_Noreturn void run_stop(struct run *r, int rc, const char *msg)
{
        snprintf(r->err->msg, sizeof(r->err->msg), "%s", msg);
        r->err->raised = false;
        r->err->line = r->line;
        r->rc = rc;
        longjmp(r->failed, 1);
}

void *run_alloc(struct run *r, size_t size)
{
        void *p = arena_alloc(r->mem, size);
        if (!p)
                run_stop(r, mem_take_failure() ? -ENOMEM : -E2BIG, "the template needs too much memory");
        return p;
}

void *run_array(struct run *r, size_t n, size_t size)
{
        void *p = arena_array_(r->mem, n, size);
        if (!p)
                run_stop(r, mem_take_failure() ? -ENOMEM : -E2BIG, "the template needs too much memory");
        return p;
}

void run_step(struct run *r, size_t n)
{
        if (n > r->steps)
                run_stop(r, -E2BIG, "the template takes too long");
        r->steps -= n;
        if (r->steps > r->next_poll)
                return;
        r->next_poll = r->steps > POLL_STEPS ? r->steps - POLL_STEPS : 0;
        if (r->cancel && r->cancel(r->ctx))
                run_stop(r, -ECANCELED, "cancelled");
}

void run_enter(struct run *r)
{
        if (++r->depth > r->max_depth)
                run_stop(r, -E2BIG, "the template's calls or values are nested too deeply");
}

void run_nest(struct run *r)
{
        size_t used = (size_t)(r->stack - (const char *)__builtin_frame_address(0));
        if (++r->level > r->max_level || used > STACK_BYTES)
                run_stop(r, -E2BIG, "the template is nested too deeply");
}

void run_leave(struct run *r)
{
        r->depth--;
}

/* ---- variables from JSON ------------------------------------------------------------------------------ */

static struct jv convert(struct run *r, const json_t *v, bool data);

static struct jv convert_array(struct run *r, const json_t *v, bool data)
{
        struct jv out = jv_list(r, JV_LIST, json_array_size(v));
        for (size_t i = 0; i < json_array_size(v); i++)
                jv_push(r, &out, convert(r, json_array_get(v, i), data));
        return out;
}

static struct jv convert_object(struct run *r, const json_t *v, bool data)
{
        struct jv out = jv_dict(r, json_object_size(v));
        const char *key;
        json_t *value;
        /* jansson's iteration takes a non-const object, though it changes nothing */
        json_object_foreach((json_t *)(uintptr_t)v, key, value)
                jv_put(r, &out, jv_str(r, str_c(key), data), convert(r, value, data));
        return out;
}

/* Strings stay where they are: the JSON outlives the rendering. */
static struct jv convert(struct run *r, const json_t *v, bool data)
{
        struct jv out = JV_NONE_VALUE;
        run_enter(r);
        run_step(r, 1);
        switch (json_typeof(v)) {
        case JSON_STRING:
                out = jv_str(r, (struct str){ json_string_value(v), json_string_length(v) }, data);
                break;
        case JSON_INTEGER:
                out = jv_int(json_integer_value(v));
                break;
        case JSON_REAL:
                out = jv_float(json_real_value(v));
                break;
        case JSON_TRUE:
        case JSON_FALSE:
                out = jv_bool(json_is_true(v));
                break;
        case JSON_ARRAY:
                out = convert_array(r, v, data);
                break;
        case JSON_OBJECT:
                out = convert_object(r, v, data);
                break;
        case JSON_NULL:
                break;
        }
        out.data = data;
        run_leave(r);
        return out;
}

/* A variable's value before the template sets any: of data, of trusted, or a function. */
static struct jv global(struct run *r, struct str name, const json_t *data, const json_t *trusted)
{
        const char *key = arena_strndup(r->mem, name.p, name.n);
        const json_t *v = key ? json_object_get(data, key) : NULL;
        if (v)
                return convert(r, v, true);
        v = key ? json_object_get(trusted, key) : NULL;
        if (v)
                return convert(r, v, false);
        const struct jv_builtin *fn = function_find(name);
        if (!fn)
                return (struct jv){ 0 };
        struct jv_method *m = run_alloc(r, sizeof(*m));
        m->fn = fn;
        return (struct jv){ .kind = JV_METHOD, .fn = m };
}

/* ---- rendering ---------------------------------------------------------------------------------------- */

/* The text into the caller's buffer, its marks into spans. */
static int deliver(const struct text *t, struct jinja_output *out)
{
        buf_add(&out->text, t->p, t->n);
        int rc = buf_error(&out->text) ? -ENOMEM : 0;
        for (size_t i = 0, end; !rc && i < t->n; i = end) {
                bool data = t->mark ? t->mark[i] : t->data;
                for (end = t->mark ? i + 1 : t->n; end < t->n && t->mark[end] == (uint8_t)data; end++)
                        ;
                if (vec_push(&out->spans, ((struct jinja_span){ i, end - i, data })))
                        rc = -ENOMEM;
        }
        return rc;
}

/* Apart from jinja_render, whose variables a jump could clobber. */
static int render(struct run *r, const json_t *data, const json_t *trusted, struct text *t)
{
        if (setjmp(r->failed))
                return r->rc;
        size_t n = r->t->symbols.n;
        r->globals = run_array(r, n, sizeof(*r->globals));
        for (size_t i = 0; i < n; i++)
                r->globals[i] = global(r, r->t->symbols.p[i], data, trusted);
        r->out = t;
        run_body(r, r->t->body);
        return 0;
}

int jinja_render(const struct jinja *t, const json_t *data, const json_t *trusted,
                 const struct jinja_limits *limits, bool (*cancel)(void *ctx), void *ctx,
                 struct jinja_output *out, struct jinja_err *err)
{
        const struct jinja_limits none = { 0 }, *l = limits ? limits : &none;
        struct jinja_err unwanted;
        size_t bytes = l->bytes ? l->bytes : BYTES_DEFAULT;
        struct run r = {
                .t = t,
                .err = err ? err : &unwanted,
                .steps = l->steps ? l->steps : STEPS_DEFAULT,
                .max_depth = l->depth ? l->depth : DEPTH_DEFAULT,
                .cancel = cancel,
                .ctx = ctx,
        };
        struct text text = { .r = &r };
        *r.err = (struct jinja_err){ 0 };
        r.next_poll = r.steps;
        r.stack = __builtin_frame_address(0);
        r.max_level = r.max_depth * LEVELS_PER_DEPTH;
        jinja_output_release(out);
        buf_init(&out->text, bytes);
        if (mem_take_failure())
                return -ENOMEM; /* the variables may lack what could not be made */
        r.mem = arena_new(bytes);
        int rc = r.mem ? render(&r, data, trusted, &text) : -ENOMEM;
        if (!rc)
                rc = deliver(&text, out);
        if (rc)
                jinja_output_release(out);
        arena_free(r.mem);
        return rc;
}

void jinja_output_release(struct jinja_output *out)
{
        buf_release(&out->text);
        vec_release(&out->spans);
}

/* ---- compiling ---------------------------------------------------------------------------------------- */

int jinja_compile(struct str source, struct jinja **ret, struct jinja_err *err)
{
        struct jinja_err unwanted;
        struct tokens tokens = { 0 };
        mem_take_failure();
        struct jinja *t = mem_calloc(1, sizeof(*t));
        err = err ? err : &unwanted;
        *err = (struct jinja_err){ 0 };
        *ret = NULL;
        int rc = t && (t->mem = arena_new(COMPILE_BYTES)) ? 0 : -ENOMEM;
        if (!rc)
                rc = jinja_lex(t->mem, source, &tokens, err);
        if (!rc)
                rc = jinja_parse(t, &tokens, err);
        vec_release(&tokens);
        if (rc) {
                jinja_free(t);
                return rc;
        }
        *ret = t;
        return 0;
}

void jinja_free(struct jinja *t)
{
        if (!t)
                return;
        arena_free(t->mem);
        vec_release(&t->symbols);
        mem_free(t);
}
