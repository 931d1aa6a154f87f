#include "train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "train/ops.h"

/* From OpenBLAS: our threads already share the work, so each of its calls uses one. */
void openblas_set_num_threads(int n);

struct worker {
        struct llama_work *work;
        struct llama_params grad;
        struct llama_result result; /* of this step */
        double squares;             /* of this worker's slice of the summed gradient */
        int rc;
};

struct trainer {
        struct trainer_config cfg;
        struct llama_params params;
        struct optim optim;
        struct dealer dealer;
        struct packed *micros; /* [cfg.micros] */
        struct worker *workers;
        struct llama_work **works; /* of the workers, for evaluate() */
        struct team *team;
        struct run_state state;
        float scale, lr; /* of this step */
        double norm;
};

struct trainer_config trainer_defaults(void)
{
        return (struct trainer_config){ .steps = 1000,
                                        .rows = 1024,
                                        .micros = 8,
                                        .workers = 2,
                                        .lr = 3e-3f,
                                        .warmup = 100,
                                        .decay = 0.4,
                                        .seed = 1,
                                        .optim = optim_defaults() };
}

static int make_workers(struct trainer *t)
{
        const struct llama_shape *s = &t->params.shape;
        for (int i = 0; i < t->cfg.workers; i++) {
                struct worker *w = &t->workers[i];
                w->work = llama_work_new(s, t->cfg.rows, s->n_ctx);
                if (!w->work || llama_params_init(&w->grad, s))
                        return -ENOMEM;
                t->works[i] = w->work;
        }
        for (int i = 0; i < t->cfg.micros; i++) {
                if (packed_init(&t->micros[i], t->cfg.rows))
                        return -ENOMEM;
        }
        return 0;
}

static int check_config(const struct trainer_config *c, const struct llama_shape *s, const struct dataset *d,
                        char *err, size_t errn)
{
        const char *why = NULL;
        if (c->workers < 1 || c->workers > 256 || c->micros < 1 || c->rows < 2)
                why = "workers, batches and rows must be positive";
        else if (c->steps < 1 && c->minutes <= 0)
                why = "steps or minutes must be positive";
        for (size_t i = 0; i < d->n_docs && !why; i++) {
                if (d->docs[i].n - 1 > c->rows || d->docs[i].n - 1 > s->n_ctx)
                        why = "a document is longer than a batch or the context";
        }
        if (why)
                snprintf(err, errn, "training: %s", why);
        return why ? -EINVAL : 0;
}

int trainer_new(const struct trainer_config *cfg, struct llama_params *params, const float *m, const float *v,
                const struct run_state *state, const struct dataset *data, struct trainer **ret, char *err,
                size_t errn)
{
        int rc = check_config(cfg, &params->shape, data, err, errn);
        if (rc)
                return rc;
        struct trainer *t = mem_calloc(1, sizeof(*t));
        rc = -ENOMEM;
        if (!t)
                goto out;
        openblas_set_num_threads(1);
        t->cfg = *cfg;
        t->state = *state;
        t->params = *params;
        *params = (struct llama_params){ 0 };
        t->workers = mem_calloc((size_t)cfg->workers, sizeof(*t->workers));
        t->works = mem_calloc((size_t)cfg->workers, sizeof(*t->works));
        t->micros = mem_calloc((size_t)cfg->micros, sizeof(*t->micros));
        t->team = team_new(cfg->workers);
        if (!t->workers || !t->works || !t->micros || !t->team || make_workers(t))
                goto out;
        if (optim_init(&t->optim, &cfg->optim, &t->params, cfg->workers) ||
            dealer_init(&t->dealer, data, cfg->seed, state->epoch, state->next))
                goto out;
        if (m)
                memcpy(t->optim.m, m, t->params.n * sizeof(float));
        if (v)
                memcpy(t->optim.v, v, t->params.n * sizeof(float));
        rc = 0;
out:
        if (rc) {
                snprintf(err, errn, "training: out of memory or threads");
                trainer_free(t);
                return rc;
        }
        *ret = t;
        return 0;
}

void trainer_free(struct trainer *t)
{
        if (!t)
                return;
        team_free(t->team);
        for (int i = 0; t->workers && i < t->cfg.workers; i++) {
                llama_work_free(t->workers[i].work);
                llama_params_release(&t->workers[i].grad);
        }
        for (int i = 0; t->micros && i < t->cfg.micros; i++)
                packed_release(&t->micros[i]);
        mem_free(t->workers);
        mem_free(t->works);
        mem_free(t->micros);
        optim_release(&t->optim);
        dealer_release(&t->dealer);
        llama_params_release(&t->params);
        mem_free(t);
}

/* --- one step, in three rounds of the team ---------------------------------------------------------- */

/* Round 1: every worker's own gradient over its batches. */
static void run_share(void *arg, int worker)
{
        struct trainer *t = arg;
        struct worker *w = &t->workers[worker];

        memset(w->grad.data, 0, w->grad.n * sizeof(float));
        w->result = (struct llama_result){ 0 };
        w->rc = 0;
        for (int i = worker; i < t->cfg.micros && !w->rc; i += t->cfg.workers) {
                struct llama_result r = { 0 };
                w->rc = llama_run(w->work, &t->params, &t->micros[i].batch, t->scale, &w->grad, NULL, &r);
                w->result.loss += r.loss;
                w->result.weight += r.weight;
        }
}

/* Round 2: the gradients of all workers are added into worker 0's, each worker doing one slice. */
static void reduce_share(void *arg, int worker)
{
        struct trainer *t = arg;
        size_t n = t->params.n, parts = (size_t)t->cfg.workers;
        size_t from = n * (size_t)worker / parts, to = n * (size_t)(worker + 1) / parts;
        float *sum = t->workers[0].grad.data;

        for (int i = 1; i < t->cfg.workers; i++)
                op_add(sum + from, t->workers[i].grad.data + from, (long)(to - from));
        t->workers[worker].squares = op_square_sum(sum + from, (long)(to - from));
}

/* Round 3: the optimiser, tensor by tensor. */
static void update_share(void *arg, int worker)
{
        struct trainer *t = arg;
        optim_step(&t->optim, &t->params, &t->workers[0].grad, t->lr, (long)t->state.step + 1, t->norm,
                   worker);
}

static double progress(const struct trainer *t)
{
        return t->cfg.minutes > 0 ? t->state.seconds / (60.0 * t->cfg.minutes)
                                  : (double)t->state.step / (double)t->cfg.steps;
}

bool trainer_done(const struct trainer *t)
{
        return progress(t) >= 1.0;
}

static void deal_step(struct trainer *t, double *ret_weight, uint64_t *ret_rows)
{
        *ret_weight = 0.0;
        *ret_rows = 0;
        for (int i = 0; i < t->cfg.micros; i++) {
                struct packed *p = &t->micros[i];
                dealer_fill(&t->dealer, p);
                for (int r = 0; r < p->batch.n_rows; r++)
                        *ret_weight += (double)p->weights[r];
                *ret_rows += (uint64_t)p->batch.n_rows;
        }
}

int trainer_step(struct trainer *t, struct trainer_report *ret)
{
        int64_t begin = clock_mono_us();
        double weight, loss = 0.0, squares = 0.0;
        uint64_t rows;

        deal_step(t, &weight, &rows);
        t->scale = weight > 0 ? (float)(1.0 / weight) : 0.0f;
        t->lr = t->cfg.lr * lr_factor(progress(t), (long)t->state.step, t->cfg.warmup, t->cfg.decay);
        team_run(t->team, run_share, t);
        for (int i = 0; i < t->cfg.workers; i++) {
                if (t->workers[i].rc)
                        return t->workers[i].rc;
                loss += t->workers[i].result.loss;
        }
        team_run(t->team, reduce_share, t);
        for (int i = 0; i < t->cfg.workers; i++)
                squares += t->workers[i].squares;
        t->norm = sqrt(squares);
        if (!isfinite(loss) || !isfinite(t->norm))
                return -ERANGE;
        team_run(t->team, update_share, t);

        double took = (double)(clock_mono_us() - begin) * 1e-6;
        t->state.step++;
        t->state.tokens += rows;
        t->state.seconds += took;
        t->state.epoch = t->dealer.epoch;
        t->state.next = t->dealer.next;
        double done = progress(t);
        *ret = (struct trainer_report){
                .step = (long)t->state.step,
                .steps = t->cfg.minutes > 0 ? (long)((double)t->state.step / (done > 1 ? 1 : done))
                                            : t->cfg.steps,
                .loss = weight > 0 ? loss / weight : 0.0,
                .grad_norm = t->norm,
                .lr = (double)t->lr,
                .tokens_per_s = (double)rows / took,
                .eta_s = done > 0 && done < 1 ? t->state.seconds * (1.0 - done) / done : 0.0,
        };
        return 0;
}

const struct llama_params *trainer_params(const struct trainer *t)
{
        return &t->params;
}

struct run_state trainer_state(const struct trainer *t)
{
        return t->state;
}

int trainer_evaluate(struct trainer *t, const struct dataset *d, bool keep_each, struct eval_result *ret)
{
        return evaluate(t->team, t->works, &t->params, d, t->cfg.rows, keep_each, ret);
}

int trainer_save(const struct trainer *t, const char *path, char *err, size_t errn)
{
        return checkpoint_save(path, &t->params, t->optim.m, t->optim.v, &t->state, err, errn);
}
