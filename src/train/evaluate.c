#include "train/evaluate.h"

#include <errno.h>
#include <string.h>
#include "base/mem.h"

struct eval_worker {
        struct packed packed;
        uint8_t *hits;
        struct eval_result result;
        int rc;
};

struct eval_job {
        struct llama_work *const *work;
        const struct llama_params *params;
        const struct dataset *data;
        struct eval_worker *workers;
        int n_workers;
        uint8_t *exact; /* may be NULL */
};

static void add_score(struct eval_score *a, const struct eval_score *b)
{
        a->n += b->n;
        a->exact += b->exact;
        a->loss += b->loss;
        a->weight += b->weight;
}

/* One document: its segment `seg` of the packed batch, its hits from *hit on. */
static void score_document(struct eval_job *job, struct eval_worker *w, int seg, size_t *hit)
{
        const struct llama_batch *b = &w->packed.batch;
        size_t doc = (size_t)w->packed.doc[seg];
        struct eval_score s = { .n = 1, .exact = 1 };

        for (int r = b->seg[seg]; r < b->seg[seg + 1]; r++) {
                if (b->weights[r] == 0.0f)
                        continue;
                s.weight += (double)b->weights[r];
                if (!w->hits[(*hit)++])
                        s.exact = 0;
        }
        add_score(&w->result.total, &s);
        add_score(&w->result.by_category[job->data->docs[doc].category], &s);
        if (job->exact)
                job->exact[doc] = (uint8_t)s.exact;
}

static void run_packed(struct eval_job *job, struct eval_worker *w, struct llama_work *work)
{
        struct llama_result r;
        size_t hit = 0;

        w->rc = llama_run(work, job->params, &w->packed.batch, 1.0f, NULL, w->hits, &r);
        if (w->rc)
                return;
        for (int i = 0; i < w->packed.batch.n_seg; i++)
                score_document(job, w, i, &hit);
        w->result.total.loss += r.loss;
        packed_clear(&w->packed);
}

static void eval_share(void *arg, int worker)
{
        struct eval_job *job = arg;
        struct eval_worker *w = &job->workers[worker];
        size_t n = job->data->n_docs;
        size_t from = n * (size_t)worker / (size_t)job->n_workers;
        size_t to = n * (size_t)(worker + 1) / (size_t)job->n_workers;

        for (size_t i = from; i < to && !w->rc; i++) {
                if (packed_add(&w->packed, job->data, i))
                        continue;
                run_packed(job, w, job->work[worker]);
                if (!w->rc && !packed_add(&w->packed, job->data, i))
                        w->rc = -EINVAL;
        }
        if (!w->rc && w->packed.batch.n_seg)
                run_packed(job, w, job->work[worker]);
}

int evaluate(struct team *team, struct llama_work *const *work, const struct llama_params *p,
             const struct dataset *d, int max_rows, bool keep_each, struct eval_result *ret)
{
        struct eval_job job = { .work = work, .params = p, .data = d, .n_workers = team_size(team) };
        int rc = -ENOMEM;

        *ret = (struct eval_result){ 0 };
        job.workers = mem_calloc((size_t)job.n_workers, sizeof(*job.workers));
        job.exact = keep_each ? mem_calloc(d->n_docs, 1) : NULL;
        if (!job.workers || (keep_each && !job.exact))
                goto out;
        for (int i = 0; i < job.n_workers; i++) {
                job.workers[i].hits = mem_alloc((size_t)max_rows);
                if (!job.workers[i].hits || packed_init(&job.workers[i].packed, max_rows))
                        goto out;
        }
        team_run(team, eval_share, &job);
        rc = 0;
        for (int i = 0; i < job.n_workers; i++) {
                const struct eval_result *r = &job.workers[i].result;
                rc = rc ? rc : job.workers[i].rc;
                add_score(&ret->total, &r->total);
                for (int c = 0; c < DATASET_CATEGORIES; c++)
                        add_score(&ret->by_category[c], &r->by_category[c]);
        }
        ret->exact = job.exact;
        job.exact = NULL;
out:
        for (int i = 0; job.workers && i < job.n_workers; i++) {
                packed_release(&job.workers[i].packed);
                mem_free(job.workers[i].hits);
        }
        mem_free(job.workers);
        mem_free(job.exact);
        return rc;
}
