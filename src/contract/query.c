/* Query strings and multipart fields as JSON. The names are first sorted into a tree, "a[b][]" being a path;
 * then each node of the tree becomes the JSON value that the schema asks for. */
#include "contract/tables.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "contract/check.h"
#include "contract/text.h"

#define TREE_MAX_BYTES (8u << 20)
#define FILE_KEY "$file"   /* marks a file in what contract_form() makes: nobody else may write it */
#define NAME_QUOTED 64     /* bytes of a client's name in a message */
#define VALUE_MAX_DEPTH 64 /* of JSON text in a multipart field */

/* One value as it came: text, or a file of a form. */
struct leaf {
        struct str text;
        const struct form_field *file; /* NULL: text */
        struct leaf *next;
};

struct node {
        struct str key;
        struct node *kids, **kids_end, *next;
        struct leaf *leaves, **leaves_end;
        size_t n_leaves;
        bool listed; /* a name ended in "[]" */
};

struct build {
        struct arena *arena;
        struct schema_err *err;
        bool form; /* multipart: no commas, JSON text allowed, empty strings kept */
};

static int refuse(struct schema_err *err, const char *code, const char *param, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
static int refuse(struct schema_err *err, const char *code, const char *param, const char *fmt, ...)
{
        va_list ap;
        if (!err)
                return -EINVAL;
        err->code = code;
        snprintf(err->param, sizeof(err->param), "%s", param);
        err->param[str_utf8_complete(str_c(err->param))] = '\0';
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        err->msg[str_utf8_complete(str_c(err->msg))] = '\0';
        return -EINVAL;
}

/* ---- the query string ---- */

static int decode_pair(struct str piece, struct arena *a, struct kv *ret)
{
        struct str value, name = str_split(piece, '=', &value);
        char *n = arena_alloc(a, name.n + 1), *v = arena_alloc(a, value.n + 1);
        if (!n || !v)
                return -ENOMEM;
        if (!text_decode(name, true, n, &ret->name.n) || !text_decode(value, true, v, &ret->value.n))
                return -EINVAL;
        ret->name.p = n;
        ret->value.p = v;
        return 0;
}

int contract_parse_query(struct str text, struct arena *a, struct kv **ret, size_t *ret_n,
                         struct schema_err *reterr)
{
        size_t n = 0, room = 1;
        for (size_t i = 0; i < text.n; i++)
                room += text.p[i] == '&';
        if (room > QUERY_MAX_PAIRS)
                return refuse(reterr, NULL, "", "The query string has more than %d parameters.",
                              QUERY_MAX_PAIRS);
        struct kv *pairs = arena_array(a, struct kv, room);
        if (!pairs)
                return -ENOMEM;
        while (text.n) {
                struct str piece = str_split(text, '&', &text);
                if (!piece.n)
                        continue;
                int rc = decode_pair(piece, a, &pairs[n++]);
                if (rc == -EINVAL)
                        return refuse(reterr, NULL, "",
                                      "The query string is not valid: a %%-escape is broken or the text is "
                                      "not UTF-8.");
                if (rc)
                        return rc;
        }
        *ret = pairs;
        *ret_n = n;
        return 0;
}

/* ---- the tree ---- */

static void node_init(struct node *n, struct str key)
{
        n->key = key;
        n->kids_end = &n->kids;
        n->leaves_end = &n->leaves;
}

static struct node *child(struct build *b, struct node *n, struct str key)
{
        for (struct node *kid = n->kids; kid; kid = kid->next)
                if (str_eq(kid->key, key))
                        return kid;
        struct node *kid = arena_make(b->arena, struct node);
        if (!kid)
                return NULL;
        node_init(kid, key);
        *n->kids_end = kid;
        n->kids_end = &kid->next;
        return kid;
}

/* "a[b][c]": the next bracketed piece of rest; false when what follows is not "[...]". */
static bool next_piece(struct str *rest, struct str *ret)
{
        const char *end = rest->n && rest->p[0] == '[' ? memchr(rest->p, ']', rest->n) : NULL;
        if (!end)
                return false;
        *ret = (struct str){ rest->p + 1, (size_t)(end - rest->p - 1) };
        *rest = (struct str){ end + 1, rest->n - ret->n - 2 };
        return !memchr(ret->p, '[', ret->n);
}

static int add_leaf(struct build *b, struct node *n, struct str text, const struct form_field *file)
{
        struct leaf *leaf = arena_make(b->arena, struct leaf);
        if (!leaf)
                return -ENOMEM;
        *leaf = (struct leaf){ text, file, NULL };
        *n->leaves_end = leaf;
        n->leaves_end = &leaf->next;
        n->n_leaves++;
        return 0;
}

static int refuse_name(struct build *b, struct str name, const char *why)
{
        if (name.n > NAME_QUOTED)
                name.n = str_utf8_complete((struct str){ name.p, NAME_QUOTED });
        return refuse(b->err, "invalid_value", "", "Invalid parameter '%.*s': %s.", STR_ARG(name), why);
}

static int add_value(struct build *b, struct node *root, struct str name, struct str text,
                     const struct form_field *file)
{
        const char *bracket = memchr(name.p, '[', name.n);
        struct str rest = { NULL, 0 }, piece, base = name;
        if (bracket && bracket > name.p) {
                base.n = (size_t)(bracket - name.p);
                rest = (struct str){ bracket, name.n - base.n };
        }
        struct node *at = child(b, root, base);
        bool ended = false; /* "[]" must be the last piece */
        for (int depth = 0; at && rest.n; depth++) {
                if (depth == QUERY_MAX_DEPTH || ended || !next_piece(&rest, &piece))
                        return refuse_name(b, name, "the brackets make no sense");
                if (str_eqc(piece, FILE_KEY))
                        return refuse_name(b, name, "this name is reserved");
                if (piece.n && at->leaves)
                        return refuse_name(b, name, "it is given as a value and as an object");
                if (piece.n)
                        at = child(b, at, piece);
                else
                        ended = at->listed = true;
        }
        if (at && at->kids)
                return refuse_name(b, name, "it is given as a value and as an object");
        return at ? add_leaf(b, at, text, file) : -ENOMEM;
}

/* ---- what a schema accepts ---- */

/* The part of s that takes values of this kind, or NULL. S_ANY is nothing in particular. */
static const struct schema *accepts(const struct schema *s, enum schema_kind kind)
{
        if (s->kind == kind)
                return s;
        if (s->kind != S_UNION)
                return NULL;
        const struct variant *v = schema_variants(s);
        for (unsigned i = 0; i < s->n; i++)
                if (schema_node(v[i].node)->kind == kind)
                        return schema_node(v[i].node);
        return NULL;
}

static bool accepts_scalar(const struct schema *s)
{
        return s->kind == S_ANY || accepts(s, S_STRING) || accepts(s, S_INTEGER) || accepts(s, S_NUMBER) ||
               accepts(s, S_BOOLEAN);
}

static bool takes_text(const struct schema *s)
{
        const struct schema *string = accepts(s, S_STRING);
        return s->kind == S_ANY || (string && !string->n && !(string->flags & SN_BINARY));
}

static bool is_listed_value(const struct schema *s, struct str text)
{
        const struct schema *string = accepts(s, S_STRING);
        for (unsigned i = 0; string && i < string->n; i++)
                if (str_eqc(text, schema_enum(string, i)))
                        return true;
        return false;
}

/* ---- tree -> JSON ---- */

static json_t *value_of(struct build *b, const struct node *n, const struct schema *s);

static json_t *string_of(struct str s)
{
        return json_stringn(s.n ? s.p : "", s.n);
}

static json_t *file_object(const struct form_field *f)
{
        json_t *o = json_object();
        if (!o || json_put(o, FILE_KEY, json_integer(f->file)) ||
            json_put(o, "filename", string_of(f->filename)) ||
            json_put(o, "content_type", string_of(f->media_type)) ||
            json_put(o, "bytes", json_integer((json_int_t)f->size))) {
                json_decref(o);
                return NULL;
        }
        return o;
}

/* Multipart clients send whole objects and arrays as JSON text. */
static bool is_json_text(const struct build *b, const struct schema *s, const struct leaf *leaf)
{
        char first = leaf->text.n ? leaf->text.p[0] : '\0';
        return b->form && !leaf->file &&
               ((first == '{' && accepts(s, S_OBJECT)) || (first == '[' && accepts(s, S_ARRAY)));
}

static bool names_file(const json_t *v)
{
        const char *name;
        json_t *value;
        size_t i;
        if (json_object_get(v, FILE_KEY))
                return true;
        json_object_foreach((json_t *)v, name, value) if (names_file(value)) return true;
        json_array_foreach(v, i, value) if (names_file(value)) return true;
        return false;
}

/* NULL when it only looked like it: then it stays text, and the validator refuses it. */
static json_t *json_of_text(struct str text)
{
        struct json_fault fault;
        json_t *v = json_parse(text, VALUE_MAX_DEPTH, &fault);
        if (!v || !names_file(v))
                return v;
        json_decref(v);
        return NULL;
}

/* The text as the type that the schema asks for; as a string when it does not look like it, so that the
 * validator says what was expected. */
static json_t *scalar(const struct build *b, const struct leaf *leaf, const struct schema *s)
{
        int64_t i;
        double d;
        struct str text = leaf->text;
        if (leaf->file)
                return file_object(leaf->file);
        json_t *whole = is_json_text(b, s, leaf) ? json_of_text(text) : NULL;
        if (whole)
                return whole;
        if (takes_text(s) || is_listed_value(s, text))
                return string_of(text);
        if (accepts(s, S_BOOLEAN) && (str_eqc(text, "true") || str_eqc(text, "false")))
                return json_boolean(text.p[0] == 't');
        if (accepts(s, S_INTEGER) && str_to_i64(text, &i))
                return json_integer(i);
        if (accepts(s, S_NUMBER) && str_to_i64(text, &i))
                return json_integer(i);
        if (accepts(s, S_NUMBER) && str_to_f64(text, &d))
                return json_real(d);
        if (s->flags & SN_NULLABLE && str_eqc(text, "null"))
                return json_null();
        return string_of(text);
}

static int append(json_t *array, json_t *item)
{
        return item && json_array_append_new(array, item) == 0 ? 0 : -ENOMEM;
}

/* Appends the values of one leaf: "a,b" in a query is two. */
static int append_leaf(struct build *b, json_t *array, const struct leaf *leaf, const struct schema *item,
                       bool commas)
{
        if (!commas || leaf->file)
                return append(array, scalar(b, leaf, item));
        struct str rest = leaf->text;
        do {
                struct leaf part = { str_split(rest, ',', &rest), NULL, NULL };
                if (append(array, scalar(b, &part, item)))
                        return -ENOMEM;
        } while (rest.p);
        return 0;
}

static json_t *array_of_leaves(struct build *b, const struct node *n, const struct schema *array)
{
        json_t *out = json_array();
        bool commas = !b->form && !n->listed;
        for (const struct leaf *leaf = n->leaves; out && leaf; leaf = leaf->next) {
                if (append_leaf(b, out, leaf, schema_node(array->item), commas) == 0)
                        continue;
                json_decref(out);
                return NULL;
        }
        return out;
}

static bool is_index(struct str key)
{
        int64_t i;
        return key.n && key.n < 6 && str_to_i64(key, &i) && i >= 0;
}

static int by_index(const void *a, const void *b)
{
        int64_t x = 0, y = 0;
        str_to_i64((*(const struct node *const *)a)->key, &x);
        str_to_i64((*(const struct node *const *)b)->key, &y);
        return x < y ? -1 : x > y;
}

/* x[0], x[1], ...: the elements in the order of their indices. */
static json_t *array_of_kids(struct build *b, const struct node *n, const struct schema *array)
{
        size_t count = 0;
        for (const struct node *kid = n->kids; kid; kid = kid->next)
                count++;
        const struct node **sorted = arena_array(b->arena, const struct node *, count);
        json_t *out = sorted ? json_array() : NULL;
        if (!out)
                return NULL;
        count = 0;
        for (const struct node *kid = n->kids; kid; kid = kid->next)
                sorted[count++] = kid;
        qsort(sorted, count, sizeof(sorted[0]), by_index);
        for (size_t i = 0; i < count; i++) {
                if (append(out, value_of(b, sorted[i], schema_node(array->item))) == 0)
                        continue;
                json_decref(out);
                return NULL;
        }
        return out;
}

static json_t *object_of_kids(struct build *b, const struct node *n, const struct schema *object)
{
        json_t *out = json_object();
        for (const struct node *kid = n->kids; out && kid; kid = kid->next) {
                const struct field *f = object ? schema_field(object, kid->key.p, kid->key.n) : NULL;
                const struct schema *s = schema_node(f ? f->node : object ? object->item : 0);
                json_t *value = value_of(b, kid, s);
                char *key = arena_strndup(b->arena, kid->key.p, kid->key.n);
                if (key && json_put(out, key, value) == 0)
                        continue;
                if (!key)
                        json_decref(value);
                json_decref(out);
                return NULL;
        }
        return out;
}

static bool all_indices(const struct node *n)
{
        for (const struct node *kid = n->kids; kid; kid = kid->next)
                if (!is_index(kid->key))
                        return false;
        return true;
}

/* NULL when memory is out. Several values of what takes one become an array, which the schema refuses. */
static json_t *value_of(struct build *b, const struct node *n, const struct schema *s)
{
        const struct schema *array = accepts(s, S_ARRAY);
        if (n->kids)
                return array && all_indices(n) ? array_of_kids(b, n, array)
                                               : object_of_kids(b, n, accepts(s, S_OBJECT));
        if (n->listed || n->n_leaves > 1)
                return array_of_leaves(b, n, array ? array : schema_node(0));
        if (array && !accepts_scalar(s) && !is_json_text(b, s, n->leaves))
                return array_of_leaves(b, n, array);
        return scalar(b, n->leaves, s);
}

/* An empty value of anything but open text is an absent one: clients send "limit=" for no limit. */
static bool is_empty(const struct build *b, const struct node *n, const struct schema *s)
{
        if (n->kids || n->listed || n->n_leaves != 1 || n->leaves->file || n->leaves->text.n)
                return false;
        return !b->form || !takes_text(s);
}

/* ---- operations ---- */

static int put_param(struct build *b, const struct node *root, const struct op_param *p, json_t *out)
{
        const struct node *n = root->kids;
        while (n && !str_eqc(n->key, p->name))
                n = n->next;
        if (!n || is_empty(b, n, p->schema))
                return p->required ? schema_check_named(p->schema, p->name, NULL, b->err) : 0;
        json_t *value = value_of(b, n, p->schema);
        if (!value)
                return -ENOMEM;
        int rc = schema_check_named(p->schema, p->name, value, b->err);
        if (rc) {
                json_decref(value);
                return rc;
        }
        return json_put(out, p->name, value) ? -ENOMEM : 0;
}

/* Is the parameter, without its brackets, one of the operation's? */
static bool is_known(const struct operation *op, struct str name)
{
        const char *bracket = memchr(name.p, '[', name.n);
        if (bracket)
                name.n = (size_t)(bracket - name.p);
        for (size_t i = 0; i < op->n_query; i++)
                if (str_eqc(name, op->query[i].name))
                        return true;
        return false;
}

int contract_query(const struct operation *op, const struct kv *pairs, size_t n, json_t **ret,
                   struct schema_err *reterr)
{
        struct build b = { arena_new(TREE_MAX_BYTES), reterr, false };
        struct node root = { 0 };
        json_t *out = json_object();
        int rc = b.arena && out ? 0 : -ENOMEM;
        node_init(&root, str_c(""));
        for (size_t i = 0; i < n && rc == 0; i++)
                if (is_known(op, pairs[i].name))
                        rc = add_value(&b, &root, pairs[i].name, pairs[i].value, NULL);
        for (size_t i = 0; i < op->n_query && rc == 0; i++)
                rc = put_param(&b, &root, &op->query[i], out);
        arena_free(b.arena);
        if (rc) {
                json_decref(out);
                return rc;
        }
        *ret = out;
        return 0;
}

/* The fields of the form as one object; empty ones that are not text are left out. */
static json_t *form_object(struct build *b, struct node *root, const struct schema *s)
{
        struct node **link = &root->kids;
        while (*link) {
                const struct field *f = s ? schema_field(s, (*link)->key.p, (*link)->key.n) : NULL;
                if (f && is_empty(b, *link, schema_node(f->node)))
                        *link = (*link)->next;
                else
                        link = &(*link)->next;
        }
        return object_of_kids(b, root, s);
}

static bool is_text(struct str s)
{
        return str_is_utf8(s) && !memchr(s.p ? s.p : "", '\0', s.n);
}

static int add_field(struct build *b, struct node *root, const struct form_field *f)
{
        if (!f->name.n)
                return refuse(b->err, NULL, "", "A field of the form has no name.");
        if (!is_text(f->name) || !is_text(f->filename) || !is_text(f->media_type) ||
            (f->file < 0 && !str_is_utf8(f->value)))
                return refuse(b->err, NULL, "", "A field of the form is not valid UTF-8.");
        return add_value(b, root, f->name, f->value, f->file >= 0 ? f : NULL);
}

int contract_form(const struct operation *op, const struct form_field *fields, size_t n, unsigned flags,
                  json_t **ret, struct schema_err *reterr)
{
        const struct schema *s = contract_body(op, "multipart/form-data");
        if (!s)
                s = contract_body(op, "application/json");
        if (n > QUERY_MAX_PAIRS)
                return refuse(reterr, NULL, "", "The form has more than %d fields.", QUERY_MAX_PAIRS);
        struct build b = { arena_new(TREE_MAX_BYTES), reterr, true };
        struct node root = { 0 };
        int rc = b.arena ? 0 : -ENOMEM;
        node_init(&root, str_c(""));
        for (size_t i = 0; i < n && rc == 0; i++)
                rc = add_field(&b, &root, &fields[i]);
        json_t *out = rc == 0 ? form_object(&b, &root, s && s->kind == S_OBJECT ? s : NULL) : NULL;
        if (rc == 0)
                rc = out ? schema_check(s, out, flags | SCHEMA_FILES, reterr) : -ENOMEM;
        arena_free(b.arena);
        if (rc) {
                json_decref(out);
                return rc;
        }
        *ret = out;
        return 0;
}
