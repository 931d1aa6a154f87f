/* cairn inspect: what a model file holds, and whether this program can run it. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "engine/engine.h"

#define VALUE_SHOWN 72 /* bytes of a metadata value on its line */

static bool as_json, with_tensors;

static const struct arg options[] = {
        { "tensors", ARG_FLAG, NULL, "also list every tensor", .target = &with_tensors },
        { "json", ARG_FLAG, NULL, "print everything as one JSON object", .target = &as_json },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

static void print_summary(const json_t *doc)
{
        printf("architecture  %s\n", json_cstr(doc, "architecture", "(none)"));
        printf("name          %s\n", json_cstr(doc, "name", "(none)"));
        printf("parameters    %.1f million in %zu tensors\n", (double)json_int(doc, "parameters", 0) / 1e6,
               json_array_size(json_get(doc, "tensors")));
        printf("size          %.1f MB in %lld file%s\n", (double)json_int(doc, "file_bytes", 0) / 1e6,
               (long long)json_int(doc, "parts", 1), json_int(doc, "parts", 1) == 1 ? "" : "s");
        const char *reason = json_cstr(doc, "reason", NULL);
        printf("runs here     %s%s\n", reason ? "no: " : "yes", reason ? reason : "");
}

static int print_types(const json_t *doc)
{
        struct table t;
        const char *name;
        json_t *row;
        table_init(&t, 3);
        table_cell(&t, "TYPE");
        table_cell(&t, "TENSORS");
        table_cell(&t, "MB");
        json_object_foreach(json_get(doc, "types"), name, row)
        {
                table_cell(&t, name);
                table_cellf(&t, "%lld", (long long)json_int(row, "tensors", 0));
                table_cellf(&t, "%.2f", (double)json_int(row, "bytes", 0) / 1e6);
        }
        putchar('\n');
        int rc = table_print(&t, stdout);
        table_release(&t);
        return rc;
}

/* One line: what is longer is cut, and a template's line breaks stay \n. */
static void print_metadata(const json_t *doc)
{
        const char *key;
        json_t *v;
        putchar('\n');
        json_object_foreach(json_get(doc, "metadata"), key, v)
        {
                size_t n;
                char *text = json_text(v, &n);
                size_t shown = text ? n : 0;
                if (shown > VALUE_SHOWN)
                        for (shown = VALUE_SHOWN;
                             ((uint8_t)text[shown] & 0xc0) == 0x80;) /* whole characters */
                                shown--;
                printf("%s = %.*s%s\n", key, (int)shown, text ? text : "", text && shown < n ? "..." : "");
                mem_free(text);
        }
}

static int print_tensors(const json_t *doc)
{
        struct table t;
        size_t i;
        json_t *row;
        table_init(&t, 4);
        table_cell(&t, "TENSOR");
        table_cell(&t, "TYPE");
        table_cell(&t, "SHAPE");
        table_cell(&t, "BYTES");
        json_array_foreach(json_get(doc, "tensors"), i, row)
        {
                size_t n;
                char *shape = json_text(json_get(row, "shape"), &n);
                table_cell(&t, json_cstr(row, "name", "?"));
                table_cell(&t, json_cstr(row, "type", "?"));
                table_cell(&t, shape);
                table_cellf(&t, "%lld", (long long)json_int(row, "bytes", 0));
                mem_free(shape);
        }
        putchar('\n');
        int rc = table_print(&t, stdout);
        table_release(&t);
        return rc;
}

static int print(const json_t *doc)
{
        if (as_json) {
                size_t n;
                char *text = json_text(doc, &n);
                if (text)
                        puts(text);
                mem_free(text);
                return text ? 0 : -1;
        }
        print_summary(doc);
        if (print_types(doc))
                return -1;
        print_metadata(doc);
        return with_tensors ? print_tensors(doc) : 0;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        json_t *doc;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("inspect: %s", err);
        if (args.n_words != 1)
                return cli_fail("inspect: give one FILE; see 'cairn help inspect'");
        if (engine_inspect(args.words[0], &doc, err, sizeof(err)))
                return cli_fail("%s: %s", args.words[0], err);
        int rc = print(doc);
        json_decref(doc);
        return rc ? cli_fail("out of memory") : 0;
}

static void help(FILE *out)
{
        fputs("usage: cairn inspect [--tensors] [--json] FILE\n\n"
              "Shows the metadata and the tensors of a GGUF file, and whether Cairn can run it; if not, "
              "why.\n"
              "Of a split model, give the first part.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_inspect = { "inspect", run, "what a model file holds", help };
