#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/mem.h"

/* Bound of one serialised value; a reply or an event is far below it. */
#define JSON_TEXT_MAX ((size_t)256 << 20)
#define REAL_DIGITS 15

void json_setup(void)
{
        json_set_alloc_funcs(mem_alloc, mem_free);
        json_object_seed(0);
}

/* What brackets and commas outside strings say of a text, whether it is JSON or not. */
struct outline {
        size_t values;      /* at most */
        size_t too_deep_at; /* the first bracket deeper than asked for, or the length of the text */
};

static struct outline outline(struct str text, int max_depth)
{
        struct outline o = { 1, text.n };
        long depth = 0;
        bool in_string = false;
        for (size_t i = 0; i < text.n; i++) {
                char c = text.p[i];
                if (in_string) {
                        if (c == '\\')
                                i++;
                        else if (c == '"')
                                in_string = false;
                } else if (c == '"') {
                        in_string = true;
                } else if (c == ',') {
                        o.values++;
                } else if (c == '[' || c == '{') {
                        o.values++;
                        if (++depth > max_depth && o.too_deep_at == text.n)
                                o.too_deep_at = i;
                } else if (c == ']' || c == '}') {
                        depth--;
                }
        }
        return o;
}

size_t json_values(struct str text)
{
        return outline(text, INT_MAX).values;
}

/* jansson's own depth limit is a constant: brackets are counted before it recurses. */
json_t *json_parse(struct str text, int max_depth, struct json_fault *reterr)
{
        *reterr = (struct json_fault){ 0 };
        size_t too_deep_at = outline(text, max_depth).too_deep_at;
        if (too_deep_at < text.n) {
                reterr->offset = too_deep_at;
                snprintf(reterr->msg, sizeof(reterr->msg), "nested deeper than %d levels at byte %zu",
                         max_depth, reterr->offset);
                return NULL;
        }
        json_error_t e;
        json_t *v = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
        if (!v) {
                reterr->no_memory = json_error_code(&e) == json_error_out_of_memory || mem_take_failure();
                reterr->offset = e.position > 0 ? (size_t)e.position : 0;
                snprintf(reterr->msg, sizeof(reterr->msg), "%.110s (line %d, column %d)", e.text, e.line,
                         e.column);
        }
        return v;
}

static int add_bytes(const char *p, size_t n, void *out)
{
        buf_add(out, p, n);
        return buf_error(out) ? -1 : 0;
}

int json_write(const json_t *v, struct buf *out)
{
        int failed = json_dump_callback(v, add_bytes, out,
                                        JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(REAL_DIGITS));
        if (buf_error(out))
                return buf_error(out);
        return failed ? -ENOMEM : 0;
}

char *json_text(const json_t *v, size_t *ret_n)
{
        struct buf out;
        buf_init(&out, JSON_TEXT_MAX);
        if (json_write(v, &out)) {
                buf_release(&out);
                return NULL;
        }
        return buf_take(&out, ret_n);
}

struct str json_arena_text(struct arena *a, const json_t *v)
{
        struct str out = { NULL, 0 };
        char *text = v ? json_text(v, &out.n) : NULL;
        if (!text || arena_defer(a, mem_free, text))
                return (struct str){ NULL, 0 };
        out.p = text;
        return out;
}

json_t *json_get(const json_t *obj, const char *key)
{
        json_t *v = json_object_get(obj, key);
        return json_is_null(v) ? NULL : v;
}

struct str json_as_str(const json_t *v)
{
        if (!json_is_string(v))
                return (struct str){ "", 0 };
        return (struct str){ json_string_value(v), json_string_length(v) };
}

struct str json_str(const json_t *obj, const char *key)
{
        return json_as_str(json_object_get(obj, key));
}

const char *json_cstr(const json_t *obj, const char *key, const char *dflt)
{
        json_t *v = json_object_get(obj, key);
        return json_is_string(v) ? json_string_value(v) : dflt;
}

int64_t json_int(const json_t *obj, const char *key, int64_t dflt)
{
        json_t *v = json_object_get(obj, key);
        return json_is_integer(v) ? (int64_t)json_integer_value(v) : dflt;
}

double json_num(const json_t *obj, const char *key, double dflt)
{
        json_t *v = json_object_get(obj, key);
        return json_is_number(v) ? json_number_value(v) : dflt;
}

bool json_flag(const json_t *obj, const char *key, bool dflt)
{
        json_t *v = json_object_get(obj, key);
        return json_is_boolean(v) ? json_is_true(v) : dflt;
}

int json_put(json_t *obj, const char *key, json_t *v)
{
        return v && json_object_set_new(obj, key, v) == 0 ? 0 : -ENOMEM;
}

json_t *json_strn(struct str s)
{
        return json_stringn(s.p, s.n);
}

static void drop(void *v)
{
        json_decref(v);
}

json_t *json_keep(struct arena *a, json_t *v)
{
        if (v && arena_defer(a, drop, v))
                return NULL;
        return v;
}
