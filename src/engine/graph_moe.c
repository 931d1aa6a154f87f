/* Mixtures of experts (Shazeer et al. 2017; Fedus et al. 2021): a router gives each token to a few of many
 * feed-forward parts.
 *
 * Tokens are sorted by expert, so that an expert's weights are read once for all of its tokens. A product's
 * row depends on its own input only and a token adds up its experts in the order of its own choice, so
 * neighbours in the batch change nothing. */
#include <math.h>
#include <string.h>
#include "engine/graph.h"

/* The n best of the token's scores, best first, as expert[] and their shares. */
static void choose(const struct hparams *hp, const float *scores, int32_t *expert, float *share)
{
        bool taken[ARCH_MAX_EXPERTS] = { 0 };
        float total = 0;
        int n = hp->n_expert_used;
        for (int i = 0; i < n; i++) {
                int best = -1;
                for (int j = 0; j < hp->n_expert; j++)
                        if (!taken[j] && (best < 0 || scores[j] > scores[best]))
                                best = j;
                taken[best] = true;
                expert[i] = best;
                share[i] = expf(scores[best] - scores[expert[0]]);
                total += share[i];
        }
        /* Softmax over the chosen is softmax over all, scaled to add up to 1. */
        for (int j = 0; !hp->expert_norm && j < hp->n_expert; j++)
                if (!taken[j])
                        total += expf(scores[j] - scores[expert[0]]);
        for (int i = 0; i < n; i++)
                share[i] /= total;
}

/* Counting sort of the tokens' entries by expert. */
static void sort_entries(struct eval *e)
{
        struct moe *m = &e->moe;
        int n = e->batch.n * e->hp->n_expert_used, experts = e->hp->n_expert;
        memset(m->first, 0, (size_t)(experts + 1) * sizeof(*m->first));
        for (int i = 0; i < n; i++)
                m->first[m->expert[i] + 1]++;
        for (int i = 0; i < experts; i++)
                m->first[i + 1] += m->first[i];
        for (int i = 0; i < n; i++) /* moves the beginnings on... */
                m->entry[i] = m->first[m->expert[i]]++;
        for (int i = experts; i > 0; i--) /* ...to the next one's */
                m->first[i] = m->first[i - 1];
        m->first[0] = 0;
}

static void route(struct eval *e, int tid, const struct weight *w)
{
        struct moe *m = &e->moe;
        size_t from, to, used = (size_t)e->hp->n_expert_used, experts = (size_t)e->hp->n_expert;
        graph_matmul(e, tid, &w[W_ROUTER], m->router, experts);
        graph_sync(e);
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++)
                choose(e->hp, m->router + t * experts, m->expert + t * used, m->share + t * used);
        graph_sync(e);
        if (tid == 0)
                sort_entries(e);
        graph_sync(e);
}

/* Copies the tokens' inputs, in both forms, to their entries. (syncs) */
static void gather(struct eval *e, int tid, bool q8)
{
        const struct kern_act *act = &e->threads[tid].act;
        struct moe *m = &e->moe;
        size_t from, to, used = (size_t)e->hp->n_expert_used;
        graph_my_share(e, tid, (size_t)e->batch.n * used, &from, &to);
        for (size_t i = from; i < to; i++) {
                size_t t = i / used, at = (size_t)m->entry[i];
                memcpy(m->in + at * act->n, act->f + t * act->ldf, act->n * sizeof(float));
                if (q8) {
                        memcpy(m->act.q + at * act->ldq, act->q + t * act->ldq, act->ldq);
                        memcpy(m->act.d + at * act->ldd, act->d + t * act->ldd, act->ldd * sizeof(float));
                }
        }
        graph_sync(e);
}

/* The inputs of one expert out of rows of n values, ld apart. */
static struct kern_act inputs_of(const struct eval *e, const float *rows, size_t ld, size_t n, size_t first)
{
        size_t ldq = kern_q8_bytes(n), ldd = kern_q8_scales(n);
        return (struct kern_act){
                rows + first * ld, ld, e->moe.act.q + first * ldq, ldq, e->moe.act.d + first * ldd, ldd, n
        };
}

static void gate_experts(struct eval *e, int tid, const struct weight *w)
{
        const struct moe *m = &e->moe;
        size_t from, to, ff = w[W_UP_EXPS].rows, n = w[W_UP_EXPS].n;
        graph_my_rows(e, tid, ff, &from, &to);
        for (size_t x = 0; x < (size_t)e->hp->n_expert; x++) {
                size_t first = (size_t)m->first[x], nt = (size_t)m->first[x + 1] - first;
                struct kern_act act = inputs_of(e, m->in, n, n, first);
                float *gate = m->ff + first * m->ld_ff;
                graph_product(e, &w[W_GATE_EXPS], x, &act, gate, m->ld_ff, from, to, nt);
                graph_product(e, &w[W_UP_EXPS], x, &act, gate + ff, m->ld_ff, from, to, nt);
                for (size_t t = 0; t < nt; t++)
                        graph_activate(e, gate + t * m->ld_ff + from, gate + t * m->ld_ff + ff + from,
                                       to - from);
        }
        graph_sync(e);
}

static void quantize_gated(struct eval *e, int tid, size_t ff)
{
        const struct moe *m = &e->moe;
        size_t from, to, ldq = kern_q8_bytes(ff), ldd = kern_q8_scales(ff);
        graph_my_share(e, tid, (size_t)e->batch.n * (size_t)e->hp->n_expert_used, &from, &to);
        for (size_t i = from; i < to; i++)
                e->k->quant_q8(m->ff + i * m->ld_ff, ff, m->act.q + i * ldq, m->act.d + i * ldd);
        graph_sync(e);
}

static void project_back(struct eval *e, int tid, const struct weight *down)
{
        const struct moe *m = &e->moe;
        size_t from, to, ff = down->n, n = down->rows;
        graph_my_rows(e, tid, n, &from, &to);
        for (size_t x = 0; x < (size_t)e->hp->n_expert; x++) {
                size_t first = (size_t)m->first[x], nt = (size_t)m->first[x + 1] - first;
                struct kern_act act = inputs_of(e, m->ff, m->ld_ff, ff, first);
                graph_product(e, down, x, &act, m->in + first * n, n, from, to, nt);
        }
        graph_sync(e);
}

void graph_experts(struct eval *e, int tid, const struct weight *w)
{
        const struct moe *m = &e->moe;
        size_t from, to, n = (size_t)e->hp->n_embd, used = (size_t)e->hp->n_expert_used;
        route(e, tid, w);
        gather(e, tid, weight_q8(&w[W_GATE_EXPS]) || weight_q8(&w[W_UP_EXPS]));
        gate_experts(e, tid, w);
        if (weight_q8(&w[W_DOWN_EXPS]))
                quantize_gated(e, tid, w[W_DOWN_EXPS].n);
        project_back(e, tid, &w[W_DOWN_EXPS]);
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++) {
                float *h = e->h + t * n;
                memset(h, 0, n * sizeof(*h));
                for (size_t i = t * used; i < (t + 1) * used; i++) {
                        const float *out = m->in + (size_t)m->entry[i] * n;
                        for (size_t c = 0; c < n; c++)
                                h[c] += m->share[i] * out[c];
                }
        }
        graph_sync(e);
}
