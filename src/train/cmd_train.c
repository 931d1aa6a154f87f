#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "train/args.h"
#include "train/commands.h"
#include "train/trainer.h"
#include "train/vocab.h"

struct options {
        const char *data, *held_out, *vocab, *checkpoint, *from;
        long d, layers, heads, kv, ff, ctx;
        long steps, rows, micros, threads, warmup, seed, eval_every, save_every, log_every;
        double lr, decay, minutes, weight_decay;
        bool adamw;
};

/* Set by SIGINT and SIGTERM: the run ends after the current step, with a checkpoint. */
static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
        (void)sig;
        stopping = 1;
}

static void duration(double s, char out[16])
{
        int all = (int)(s + 0.5);
        snprintf(out, 16, "%d:%02d:%02d", all / 3600 % 1000, all / 60 % 60, all % 60);
}

static void print_progress(const struct trainer_report *r, const struct run_state *s)
{
        char eta[16], spent[16];
        duration(r->eta_s, eta);
        duration(s->seconds, spent);
        fprintf(stderr,
                "step %ld/%ld loss %.4f norm %.2f lr %.2e %.0f tok/s %.1fM tokens epoch %llu %s eta %s\n",
                r->step, r->steps, r->loss, r->grad_norm, r->lr, r->tokens_per_s, (double)s->tokens * 1e-6,
                (unsigned long long)s->epoch, spent, eta);
}

static int print_held_out(struct trainer *t, const struct dataset *held)
{
        struct eval_result r;
        int rc = trainer_evaluate(t, held, false, &r);
        if (!rc)
                fprintf(stderr, "held out: loss %.4f, %.1f%% of %ld answers exact\n",
                        r.total.loss / r.total.weight, 100.0 * (double)r.total.exact / (double)r.total.n,
                        r.total.n);
        return rc;
}

static int run_loop(struct trainer *t, const struct options *o, const struct dataset *held, const char *path,
                    char *err, size_t errn)
{
        struct trainer_report r;
        int rc = 0;

        while (!trainer_done(t) && !stopping && !rc) {
                rc = trainer_step(t, &r);
                if (rc) {
                        snprintf(err, errn, "the loss is not finite at step %ld",
                                 (long)trainer_state(t).step + 1);
                        break;
                }
                struct run_state s = trainer_state(t);
                if (r.step % o->log_every == 0 || r.step == 1)
                        print_progress(&r, &s);
                if (held && r.step % o->eval_every == 0)
                        rc = print_held_out(t, held);
                if (!rc && r.step % o->save_every == 0)
                        rc = trainer_save(t, path, err, errn);
        }
        if (!rc)
                rc = trainer_save(t, path, err, errn);
        if (!rc && held)
                rc = print_held_out(t, held);
        return rc;
}

static int start_params(const struct options *o, const struct tokenizer *tok, struct llama_params *p,
                        char *err, size_t errn)
{
        struct llama_shape s = {
                .n_vocab = (int32_t)tokenizer_size(tok),
                .n_embd = (int32_t)o->d,
                .n_layer = (int32_t)o->layers,
                .n_head = (int32_t)o->heads,
                .n_kv = (int32_t)o->kv,
                .head_dim = (int32_t)(o->heads > 0 ? o->d / o->heads : 0),
                .n_ff = (int32_t)o->ff,
                .n_ctx = (int32_t)o->ctx,
                .rope_base = 10000.0f,
                .norm_eps = 1e-5f,
        };
        int rc = llama_shape_check(&s, err, errn);
        if (!rc)
                rc = llama_params_init(p, &s);
        if (!rc)
                llama_params_random(p, (uint64_t)o->seed);
        return rc;
}

static struct trainer_config make_config(const struct options *o)
{
        struct trainer_config c = trainer_defaults();
        c.steps = o->steps;
        c.minutes = o->minutes;
        c.rows = (int)o->rows;
        c.micros = (int)o->micros;
        c.workers = (int)o->threads;
        c.lr = (float)o->lr;
        c.warmup = o->warmup;
        c.decay = o->decay;
        c.seed = (uint64_t)o->seed;
        c.optim.muon = !o->adamw;
        c.optim.weight_decay = (float)o->weight_decay;
        return c;
}

static int train(const struct options *o, char *err, size_t errn)
{
        struct trainer_config cfg = make_config(o);
        struct tokenizer *tok = NULL;
        struct dataset data = { 0 }, held = { 0 };
        struct llama_params params = { 0 };
        struct run_state state = { 0 };
        struct trainer *t = NULL;
        float *m = NULL, *v = NULL;
        struct stat st;
        char path[4096];

        if (snprintf(path, sizeof(path), "%s/run.ckpt", o->checkpoint) >= (int)sizeof(path))
                return -1;
        int rc = vocab_tokenizer(o->vocab, &tok, err, errn);
        if (!rc && !stat(path, &st))
                rc = checkpoint_load(path, &params, &m, &v, &state, err, errn);
        else if (!rc && o->from)
                rc = checkpoint_load(o->from, &params, NULL, NULL, &(struct run_state){ 0 }, err, errn);
        else if (!rc)
                rc = start_params(o, tok, &params, err, errn);
        if (!rc)
                rc = dataset_load(&data, o->data, tok, params.shape.n_ctx, 0, err, errn);
        if (!rc && o->held_out)
                rc = dataset_load(&held, o->held_out, tok, params.shape.n_ctx, DATASET_LAST_TURN, err, errn);
        if (rc)
                goto out;
        fprintf(stderr,
                "%.2fM parameters, %zu documents, %.1fM tokens (%zu too long), %zu held out; step %ld\n",
                (double)params.n * 1e-6, data.n_docs, (double)data.n_tokens * 1e-6, data.n_dropped,
                held.n_docs, (long)state.step);
        rc = trainer_new(&cfg, &params, m, v, &state, &data, &t, err, errn);
        if (!rc)
                rc = run_loop(t, o, o->held_out ? &held : NULL, path, err, errn);
out:
        trainer_free(t);
        llama_params_release(&params);
        mem_free(m);
        mem_free(v);
        dataset_release(&data);
        dataset_release(&held);
        tokenizer_free(tok);
        return rc;
}

int cmd_train(int argc, char **argv)
{
        struct options o = { .d = 256,
                             .layers = 6,
                             .heads = 8,
                             .kv = 4,
                             .ff = 704,
                             .ctx = 1024,
                             .steps = 3000,
                             .rows = 1024,
                             .micros = 16,
                             .threads = 2,
                             .warmup = 100,
                             .seed = 1,
                             .eval_every = 250,
                             .save_every = 250,
                             .log_every = 10,
                             .lr = 3e-3,
                             .decay = 0.4,
                             .weight_decay = 0.1 };
        const struct arg table[] = {
                { "data", ARG_TEXT, &o.data, true, "JSONL file of documents" },
                { "tokenizer", ARG_TEXT, &o.vocab, true, "vocabulary file" },
                { "checkpoint", ARG_TEXT, &o.checkpoint, true,
                  "directory of run.ckpt; continued when there" },
                { "from", ARG_TEXT, &o.from, false,
                  "checkpoint whose parameters a new run starts from, instead of random ones" },
                { "held-out", ARG_TEXT, &o.held_out, false, "JSONL file of questions" },
                { "d", ARG_INT, &o.d, false, "embedding size" },
                { "layers", ARG_INT, &o.layers, false, "layers" },
                { "heads", ARG_INT, &o.heads, false, "query heads" },
                { "kv", ARG_INT, &o.kv, false, "key-value heads" },
                { "ff", ARG_INT, &o.ff, false, "feed-forward size" },
                { "ctx", ARG_INT, &o.ctx, false, "longest document" },
                { "steps", ARG_INT, &o.steps, false, "steps of the whole run" },
                { "minutes", ARG_REAL, &o.minutes, false, "run this long instead of a number of steps" },
                { "rows", ARG_INT, &o.rows, false, "tokens of a batch" },
                { "micros", ARG_INT, &o.micros, false, "batches of a step" },
                { "threads", ARG_INT, &o.threads, false, "worker threads" },
                { "lr", ARG_REAL, &o.lr, false, "peak learning rate" },
                { "warmup", ARG_INT, &o.warmup, false, "steps of warm-up" },
                { "decay", ARG_REAL, &o.decay, false, "last part of the run in which the rate falls" },
                { "weight-decay", ARG_REAL, &o.weight_decay, false, "decoupled weight decay" },
                { "adamw", ARG_FLAG, &o.adamw, false, "AdamW for everything instead of Muon for matrices" },
                { "seed", ARG_INT, &o.seed, false, "of parameters and order" },
                { "eval-every", ARG_INT, &o.eval_every, false, "steps" },
                { "save-every", ARG_INT, &o.save_every, false, "steps" },
                { "log-every", ARG_INT, &o.log_every, false, "steps" },
        };
        size_t n = sizeof(table) / sizeof(*table);
        char err[256] = "failed";

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc && (o.eval_every < 1 || o.save_every < 1 || o.log_every < 1)) {
                snprintf(err, sizeof(err), "eval-every, save-every and log-every must be positive");
                rc = -1;
        }
        if (!rc)
                rc = train(&o, err, sizeof(err));
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
