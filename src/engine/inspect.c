/* cairn inspect: a model file as JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "kernels/kernels.h"

#define ARRAY_SHOWN 8 /* items of a long array of the metadata */

/* By GGUF's numbers of value types. */
enum { T_F32 = 6, T_BOOL = 7, T_STR = 8, T_F64 = 12 };
static const char *const type_names[] = { "uint8",  "int8",    "uint16", "int16",  "uint32",
                                          "int32",  "float32", "bool",   "string", "array",
                                          "uint64", "int64",   "float64" };
static const uint8_t type_sizes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

/* Item at p; *ret_next is what follows it. NULL for what JSON cannot hold. */
static json_t *item(uint32_t type, const uint8_t *p, const uint8_t **ret_next)
{
        uint64_t bits = 0;
        int64_t integer;
        double d;
        float f;
        memcpy(&bits, p, type == T_STR ? sizeof(bits) : type_sizes[type]);
        *ret_next = p + (type == T_STR ? sizeof(bits) + bits : type_sizes[type]);
        switch (type) {
        case T_F32:
                memcpy(&f, p, sizeof(f));
                return json_real((double)f);
        case T_F64:
                memcpy(&d, p, sizeof(d));
                return json_real(d);
        case T_BOOL:
                return json_boolean(bits);
        case T_STR:
                return json_strn((struct str){ (const char *)p + sizeof(bits), (size_t)bits });
        default:
                return gguf_integer(type, p, &integer) ? json_integer(integer) : json_real((double)bits);
        }
}

static json_t *value_of(const struct gguf_entry *e)
{
        const uint8_t *p = e->data;
        if (!e->is_array)
                return item(e->type, p, &p);
        json_t *items = json_array();
        for (uint64_t i = 0; i < e->n && i < ARRAY_SHOWN; i++) {
                json_t *v = item(e->type, p, &p);
                json_array_append_new(items, v ? v : json_null());
        }
        if (e->n <= ARRAY_SHOWN)
                return items;
        return json_pack("{s:s, s:I, s:o}", "type", type_names[e->type], "length", (json_int_t)e->n, "first",
                         items);
}

static int add_metadata(json_t *doc, const struct gguf *g)
{
        json_t *all = json_object();
        struct gguf_entry e;
        int rc = all ? 0 : -ENOMEM;
        for (size_t i = 0; !rc && gguf_entry_at(g, i, &e); i++) {
                json_t *v = value_of(&e), *key = json_strn(e.key);
                if (json_is_string(key))
                        rc = json_put(all, json_string_value(key), v ? v : json_null());
                else
                        json_decref(v);
                json_decref(key);
        }
        int put = json_put(doc, "metadata", all);
        return rc ? rc : put;
}

static int count_type(json_t *types, const struct gguf_tensor *t)
{
        json_t *row = json_get(types, t->type->name);
        if (!row) {
                row = json_pack("{s:i, s:i}", "tensors", 0, "bytes", 0);
                if (json_put(types, t->type->name, row))
                        return -ENOMEM;
        }
        if (json_put(row, "tensors", json_integer(json_int(row, "tensors", 0) + 1)))
                return -ENOMEM;
        return json_put(row, "bytes", json_integer(json_int(row, "bytes", 0) + (json_int_t)t->bytes));
}

static json_t *describe(const struct gguf_tensor *t, uint64_t *ret_values)
{
        json_t *shape = json_array(), *name = json_strn(t->name);
        *ret_values = 1;
        for (int i = 0; i < t->n_dims; i++) {
                json_array_append_new(shape, json_integer((json_int_t)t->ne[i]));
                *ret_values *= t->ne[i];
        }
        return json_pack("{s:o, s:s, s:o, s:I}", "name", name ? name : json_null(), "type", t->type->name,
                         "shape", shape, "bytes", (json_int_t)t->bytes);
}

static int add_tensors(json_t *doc, const struct gguf *g)
{
        json_t *list = json_array(), *types = json_object();
        uint64_t total = 0;
        int rc = list && types ? 0 : -ENOMEM;
        for (size_t i = 0; !rc && i < gguf_tensor_count(g); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(g, i);
                uint64_t values;
                rc = json_array_append_new(list, describe(t, &values)) ? -ENOMEM : count_type(types, t);
                total += values;
        }
        if (!rc)
                rc = json_put(doc, "parameters", json_integer((json_int_t)total));
        int put = json_put(doc, "types", types);
        rc = rc ? rc : put;
        put = json_put(doc, "tensors", list);
        return rc ? rc : put;
}

/* Reads all but the weights' values, as the server would. */
static int add_verdict(json_t *doc, const char *path)
{
        char why[512] = "";
        struct engine_model *m = mem_calloc(1, sizeof(*m));
        int rc = m ? model_load(m, path, kern_variant(KERN_REF), why, sizeof(why)) : -ENOMEM;
        if (m)
                model_unload(m);
        mem_free(m);
        if (rc == -ENOMEM || json_put(doc, "runnable", json_boolean(rc == 0)))
                return -ENOMEM;
        return json_put(doc, "reason", rc ? json_string(why) : json_null());
}

static int put_text(json_t *doc, const struct gguf *g, const char *name, const char *key)
{
        struct str s;
        json_t *v = gguf_get_str(g, key, &s) ? NULL : json_strn(s);
        return json_put(doc, name, v ? v : json_null());
}

int engine_inspect(const char *path, json_t **ret, char *err, size_t errn)
{
        struct gguf *g;
        int rc = gguf_open(path, &g, err, errn);
        if (rc)
                return rc;
        json_t *doc = json_object();
        rc = json_put(doc, "file_bytes", json_integer((json_int_t)gguf_file_bytes(g)));
        if (!rc)
                rc = json_put(doc, "parts", json_integer((json_int_t)gguf_part_count(g)));
        if (!rc)
                rc = put_text(doc, g, "architecture", "general.architecture");
        if (!rc)
                rc = put_text(doc, g, "name", "general.name");
        if (!rc)
                rc = add_metadata(doc, g);
        if (!rc)
                rc = add_tensors(doc, g);
        if (!rc)
                rc = add_verdict(doc, path);
        gguf_close(g);
        if (rc) {
                snprintf(err, errn, "out of memory");
                json_decref(doc);
                return rc;
        }
        *ret = doc;
        return 0;
}
