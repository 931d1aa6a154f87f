#include "engine/pack.h"
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "engine/arch.h"
#include "kernels/kernels.h"
#include "kernels/team.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define CACHE_LINE 64
#define ROW_UNIT 16 /* a multiple of every variant's panel */

struct work {
        const struct kern *k;
        const struct hparams *hp;
        const struct layer *global;
        struct weight *w;
        char *to;
        int threads;
};

/* Embeddings are looked up in the file; only an output that is tied to them is multiplied. */
static bool is_multiplied(const struct work *j, enum weight_role role, const struct weight *w)
{
        if (!w->type || w->type->panel[j->k->isa] == 1 || role == W_POS_EMBD || role == W_TYPE_EMBD)
                return false;
        return role != W_TOKEN_EMBD || (j->hp->causal && !j->global->w[W_OUTPUT].type);
}

static size_t mat_bytes(const struct kern *k, const struct weight *w)
{
        return kern_packed_bytes(w->type, k->isa, w->n, w->rows);
}

static size_t align_to(size_t n, size_t unit)
{
        return (n + unit - 1) / unit * unit;
}

static void pack_share(void *arg, int tid)
{
        struct work *j = arg;
        const struct weight *w = j->w;
        for (size_t m = 0; m < w->mats; m++) {
                size_t from, to;
                kern_team_share(tid, j->threads, w->rows, ROW_UNIT, &from, &to);
                kern_pack(w->type, j->k->isa, (const char *)w->data + m * w->rows * w->row_bytes, w->n, from,
                          to, j->to + m * mat_bytes(j->k, w));
        }
}

/* The file's whole pages of a matrix are not needed again. Failing to say so costs only memory. */
static void drop_source(const struct weight *w)
{
        uintptr_t page = 4096, from = (uintptr_t)w->data, to = from + w->mats * w->rows * w->row_bytes;
        from = (from + page - 1) & ~(page - 1);
        to &= ~(page - 1);
        if (from < to)
                madvise((void *)from, to - from, MADV_DONTNEED);
}

/* Gives each matrix its place behind `base`, and packs it there unless base is NULL. Returns the bytes of
 * all. */
static size_t pack_layer(struct work *j, struct layer *l, struct kern_team *team, char *base, size_t used)
{
        for (int role = 0; role < W_ROLES; role++) {
                struct weight *w = &l->w[role];
                if (!is_multiplied(j, (enum weight_role)role, w))
                        continue;
                if (base) {
                        j->w = w;
                        j->to = base + used;
                        kern_team_run(team, pack_share, j);
                        drop_source(w);
                        w->packed = base + used;
                        w->packed_bytes = mat_bytes(j->k, w);
                }
                used += align_to(w->mats * mat_bytes(j->k, w), CACHE_LINE);
        }
        return used;
}

static size_t pack_all(struct work *j, struct layer *global, struct layer *layers, struct kern_team *team,
                       char *base)
{
        size_t used = pack_layer(j, global, team, base, 0);
        for (int l = 0; l < j->hp->n_layer; l++)
                used = pack_layer(j, &layers[l], team, base, used);
        return used;
}

int pack_weights(const struct kern *k, const struct hparams *hp, struct layer *global, struct layer *layers,
                 int threads, void **ret)
{
        struct work j = {
                .k = k, .hp = hp, .global = global, .threads = threads ? threads : kern_team_default_threads()
        };
        size_t bytes = pack_all(&j, global, layers, NULL, NULL);
        *ret = NULL;
        if (!bytes)
                return 0;
        struct kern_team *team = kern_team_new(j.threads);
        char *memory = mem_alloc(bytes + HUGE_PAGE);
        if (!team || !memory) {
                kern_team_free(team);
                mem_free(memory);
                return -ENOMEM;
        }
        /* Reading weights is what decoding is about: with huge pages few addresses need translation. */
        size_t skip = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
        char *base = (char *)align_to((uintptr_t)memory, skip);
        if (bytes >= HUGE_PAGE)
                madvise(base, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
        pack_all(&j, global, layers, team, base);
        kern_team_free(team);
        *ret = memory;
        return 0;
}
