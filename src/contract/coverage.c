/* `cairn coverage`: which operations are served. */
#include "contract/contract.h"

#include <string.h>

typedef bool served_fn(const struct operation *op, void *ctx);

struct tally {
        const char *tag;
        size_t served, total;
};

static struct tally count_tag(const char *tag, served_fn *served, void *ctx)
{
        struct tally t = { .tag = tag };
        size_t n;
        const struct operation *ops = contract_operations(&n);
        for (size_t i = 0; i < n; i++) {
                if (strcmp(ops[i].tag, tag))
                        continue;
                t.total++;
                t.served += served(&ops[i], ctx);
        }
        return t;
}

/* True when no earlier operation has the tag of operation `at`. */
static bool first_of_tag(const struct operation *ops, size_t at)
{
        for (size_t i = 0; i < at; i++)
                if (strcmp(ops[i].tag, ops[at].tag) == 0)
                        return false;
        return true;
}

static void print_unserved(const char *tag, served_fn *served, void *ctx, FILE *out)
{
        size_t n;
        const struct operation *ops = contract_operations(&n);
        for (size_t i = 0; i < n; i++)
                if (strcmp(ops[i].tag, tag) == 0 && !served(&ops[i], ctx))
                        fprintf(out, "        %-6s %-60s %s\n", contract_method_name(ops[i].method),
                                ops[i].path, ops[i].id);
}

size_t contract_coverage(served_fn *served, void *ctx, bool verbose, FILE *out)
{
        size_t n, total = 0, official = 0, ours = 0, ours_served = 0;
        const struct operation *ops = contract_operations(&n);
        fprintf(out, "%-32s %8s %8s\n", "family", "served", "of");
        for (size_t i = 0; i < n; i++) {
                bool own = ops[i].flags & OP_OURS, is_served = served(&ops[i], ctx);
                official += !own;
                ours += own;
                total += !own && is_served;
                ours_served += own && is_served;
                if (!first_of_tag(ops, i))
                        continue;
                struct tally t = count_tag(ops[i].tag, served, ctx);
                fprintf(out, "%-32s %8zu %8zu\n", *t.tag ? t.tag : "(other)", t.served, t.total);
                if (verbose)
                        print_unserved(t.tag, served, ctx, out);
        }
        fprintf(out, "%-32s %8zu %8zu\n", "official operations", total, official);
        fprintf(out, "%-32s %8zu %8zu\n", "our own", ours_served, ours);
        return total;
}
