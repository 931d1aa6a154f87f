/* The last page of a long list against its first, plain, filtered by a column, by metadata, and backwards.
 *
 *   bench_lists [rows] [directory]
 *
 * A page costs a seek and its rows wherever it lies, so the ratio is about 1; the bound is 2. Pages are read
 * in turns, and medians compared. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/store.h"

#define DOC_BYTES 500
#define PAGE 20
#define GROUP 1000 /* rows of one write */
#define ROUNDS 301 /* readings of each page */
#define BOUND 2.0  /* last / first, at most */
#define MODELS 10  /* values of the filter column; the list of each is a tenth of the rows */

static char doc[DOC_BYTES];

static void die(const char *what, const char *why)
{
        fprintf(stderr, "bench_lists: %s: %s\n", what, why);
        exit(1);
}

static void row_id(int i, char *buf, size_t n)
{
        snprintf(buf, n, "chatcmpl_%012d", i);
}

/* Three rows of each second; every row has a model, and one pair of metadata of ten values. */
static void rows_put(struct store *s, int from, int n)
{
        static struct store_op ops[GROUP];
        static char ids[GROUP][32], values[GROUP][16], models[GROUP][16];
        static struct store_pair pairs[GROUP];
        struct store_fault fault;
        for (int i = 0; i < n; i++) {
                row_id(from + i, ids[i], sizeof(ids[i]));
                snprintf(models[i], sizeof(models[i]), "model-%d", (from + i) % MODELS);
                snprintf(values[i], sizeof(values[i]), "user-%d", (from + i) % MODELS);
                pairs[i] = (struct store_pair){ "user", values[i] };
                ops[i] = (struct store_op){ .verb = STORE_PUT,
                                            .kind = "chat.completion",
                                            .id = ids[i],
                                            .project = "proj_bench",
                                            .created = 1700000000 + (from + i) / 3,
                                            .f = { models[i] },
                                            .metadata = &pairs[i],
                                            .nmetadata = 1,
                                            .doc = { doc, sizeof(doc) } };
        }
        if (store_write(s, ops, (size_t)n, &fault))
                die("store_write", fault.msg);
}

struct page {
        const char *name;
        struct store_query q;
        int expect; /* rows */
        int64_t took[ROUNDS];
};

static int ascending(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
        return (x > y) - (x < y);
}

static void page_time(struct store *s, struct page *p, int round)
{
        struct store_fault fault;
        struct store_page page;
        int64_t began = clock_mono_us();
        if (store_list(s, &p->q, &page, &fault))
                die(p->name, fault.msg);
        p->took[round] = clock_mono_us() - began;
        if (page.n != (size_t)p->expect)
                die(p->name, "another number of rows was expected");
        store_page_release(&page);
}

static double page_median(struct page *p)
{
        qsort(p->took, ROUNDS, sizeof(*p->took), ascending);
        return (double)p->took[ROUNDS / 2];
}

static bool pages_compare(struct store *s, int rows)
{
        /* The last page holds the PAGE rows behind the cursor; in the list of one model these lie apart. */
        static char after[32], filtered[32], last[32];
        static const struct store_pair user = { "user", "user-0" };
        const struct store_query plain = { .kind = "chat.completion",
                                           .project = "proj_bench",
                                           .limit = PAGE };
        int end = rows / MODELS * MODELS;
        row_id(rows - PAGE - 1, after, sizeof(after));
        row_id(end - (PAGE + 1) * MODELS, filtered, sizeof(filtered));
        row_id(rows - 1, last, sizeof(last));
        struct page pages[] = {
                { .name = "plain", .q = plain, .expect = PAGE },
                { .name = "plain, last", .q = plain, .expect = PAGE },
                { .name = "newest first, last", .q = plain, .expect = PAGE },
                { .name = "in front of the last row", .q = plain, .expect = PAGE },
                { .name = "of a model", .q = plain, .expect = PAGE },
                { .name = "of a model, last", .q = plain, .expect = PAGE },
                { .name = "with metadata", .q = plain, .expect = PAGE },
                { .name = "with metadata, last", .q = plain, .expect = PAGE },
        };
        static char early[32];
        row_id(PAGE, early, sizeof(early));
        static const int first_of[] = { 0, 0, 0, 0, 4, 4, 6, 6 };
        size_t n = sizeof(pages) / sizeof(*pages);
        bool good = true;
        pages[1].q.after = after;
        pages[2].q.descending = true;
        pages[2].q.after = early;
        pages[3].q.before = last;
        for (int i = 4; i < 6; i++)
                pages[i].q.f[0] = "model-0";
        for (int i = 6; i < 8; i++) {
                pages[i].q.metadata = &user;
                pages[i].q.nmetadata = 1;
        }
        pages[5].q.after = pages[7].q.after = filtered;
        for (int round = 0; round < ROUNDS; round++) {
                for (size_t i = 0; i < n; i++)
                        page_time(s, &pages[i], round);
        }
        double medians[8];
        for (size_t i = 0; i < n; i++) {
                medians[i] = page_median(&pages[i]);
                double ratio = medians[i] / medians[first_of[i]];
                printf("lists: %d rows, page %-26s %6.0f us, ratio to the first %.2f\n", rows, pages[i].name,
                       medians[i], ratio);
                good &= ratio <= BOUND;
        }
        return good;
}

int main(int argc, char **argv)
{
        char dir[512], command[600];
        struct store_fault fault;
        const char *address = getenv("CAIRN_TEST_POSTGRES"); /* instead of a directory */
        struct store *store;
        int rows = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1000000;
        snprintf(dir, sizeof(dir), "%.400s/cairn-bench-XXXXXX", argc > 2 ? argv[2] : "/tmp");
        if (rows < 1000 || !mkdtemp(dir))
                die(dir, "usage: bench_lists [rows, 1000 at least] [directory]");
        memset(doc, 'x', sizeof(doc));
        if (store_open(address && *address ? address : dir, NULL, &store, &fault))
                die("store_open", fault.msg);
        for (int i = 0; i < rows; i += GROUP)
                rows_put(store, i, rows - i < GROUP ? rows - i : GROUP);
        bool good = pages_compare(store, rows);
        store_close(store);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        if (system(command))
                fprintf(stderr, "bench_lists: %s is left behind\n", dir);
        return good ? 0 : 1;
}
