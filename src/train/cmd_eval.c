#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "train/args.h"
#include "train/checkpoint.h"
#include "train/commands.h"
#include "train/decode.h"
#include "train/evaluate.h"
#include "train/gguf_export.h"
#include "train/vocab.h"

#define ROWS 2048
#define WORKERS_MAX 64

void openblas_set_num_threads(int n); /* OpenBLAS; its header hides behind cblas.h */

static double share(const struct eval_score *s)
{
        return s->n ? 100.0 * (double)s->exact / (double)s->n : 0.0;
}

static double mean_loss(const struct eval_score *s)
{
        return s->weight > 0 ? s->loss / s->weight : 0.0;
}

static void print_table(const struct dataset *d, const struct eval_result *r)
{
        printf("%-16s %6s %8s\n", "category", "n", "exact");
        for (int i = 0; i < d->n_categories; i++)
                printf("%-16s %6ld %7.1f%%\n", d->categories[i], r->by_category[i].n,
                       share(&r->by_category[i]));
        printf("%-16s %6ld %7.1f%%   loss %.4f\n", "all", r->total.n, share(&r->total), mean_loss(&r->total));
}

static int write_report(const char *path, const struct llama_params *p, const struct run_state *state,
                        const char *type, const struct dataset *d, const struct eval_result *r, char *err,
                        size_t errn)
{
        json_t *by = json_object(), *doc;
        for (int i = 0; i < d->n_categories; i++)
                json_put(by, d->categories[i],
                         json_pack("{s:I, s:I}", "questions", (json_int_t)r->by_category[i].n, "exact",
                                   (json_int_t)r->by_category[i].exact));
        doc = json_pack("{s:I, s:s, s:I, s:I, s:f, s:I, s:I, s:f, s:o}", "parameters", (json_int_t)p->n,
                        "weights", type, "steps", (json_int_t)state->step, "trained_tokens",
                        (json_int_t)state->tokens, "held_out_loss", mean_loss(&r->total), "questions",
                        (json_int_t)r->total.n, "exact", (json_int_t)r->total.exact, "exact_share",
                        share(&r->total) / 100.0, "categories", by);
        char *text = doc ? json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(4)) : NULL;
        int rc = text ? file_write(path, text, strlen(text), err, errn) : -1;
        mem_free(text);
        json_decref(doc);
        return rc;
}

static void print_tokens(const struct tokenizer *t, const int32_t *ids, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct str s = tokenizer_piece(t, ids[i]);
                fwrite(s.p, 1, s.n, stdout);
        }
        putchar('\n');
}

/* Shows questions that were not answered exactly, with the answer given. */
static void show_wrong(const struct llama_params *p, struct llama_work *w, const struct tokenizer *t,
                       const struct dataset *d, const uint8_t *exact, const char *category, long most)
{
        for (size_t i = 0; i < d->n_docs && most > 0; i++) {
                const struct document *doc = &d->docs[i];
                struct tok_ids ids = { 0 };
                if (exact[i] || (category && strcmp(category, d->categories[doc->category])))
                        continue;
                most--;
                printf("--- %s\n", d->categories[doc->category]);
                print_tokens(t, d->tokens + doc->at, (size_t)doc->n);
                for (int k = 0; k < doc->n && !d->counts[doc->at + (size_t)k]; k++)
                        tok_ids_push(&ids, d->tokens[doc->at + (size_t)k]);
                size_t from = ids.n;
                if (!decode_greedy(w, p, &ids, 100, tokenizer_find(t, STR("<|im_end|>")))) {
                        printf(">>> ");
                        print_tokens(t, ids.p + from, ids.n - from);
                }
                tok_ids_release(&ids);
        }
}

struct options {
        const char *checkpoint, *vocab, *questions, *type, *report, *category;
        long threads, wrong;
};

static int eval(const struct options *o, char *err, size_t errn)
{
        struct llama_params params = { 0 };
        struct run_state state;
        struct tokenizer *tok = NULL;
        struct dataset d = { 0 };
        struct eval_result r = { 0 };
        struct llama_work *works[WORKERS_MAX] = { NULL };
        struct team *team = team_new((int)o->threads);
        uint32_t type = GGUF_WF32;
        int rc = team && gguf_type_of(o->type, &type) ? 0 : -1;

        openblas_set_num_threads(1);
        if (!rc)
                rc = vocab_tokenizer(o->vocab, &tok, err, errn);
        if (!rc)
                rc = checkpoint_load(o->checkpoint, &params, NULL, NULL, &state, err, errn);
        if (!rc)
                rc = gguf_round(&params, type);
        if (!rc)
                rc = dataset_load(&d, o->questions, tok, params.shape.n_ctx, DATASET_LAST_TURN, err, errn);
        for (int i = 0; i < o->threads && !rc; i++) {
                works[i] = llama_work_new(&params.shape, ROWS, params.shape.n_ctx);
                rc = works[i] ? 0 : -1;
        }
        if (!rc)
                rc = evaluate(team, works, &params, &d, ROWS, true, &r);
        if (!rc) {
                print_table(&d, &r);
                show_wrong(&params, works[0], tok, &d, r.exact, o->category, o->wrong);
        }
        if (!rc && o->report)
                rc = write_report(o->report, &params, &state, o->type, &d, &r, err, errn);
        for (int i = 0; i < WORKERS_MAX; i++)
                llama_work_free(works[i]);
        mem_free(r.exact);
        dataset_release(&d);
        llama_params_release(&params);
        tokenizer_free(tok);
        team_free(team);
        return rc;
}

int cmd_eval(int argc, char **argv)
{
        struct options o = { .type = "q8_0", .threads = 2 };
        char err[256] = "evaluation failed";
        const struct arg table[] = {
                { "checkpoint", ARG_TEXT, &o.checkpoint, true, "checkpoint file" },
                { "tokenizer", ARG_TEXT, &o.vocab, true, "vocabulary file" },
                { "questions", ARG_TEXT, &o.questions, true, "JSONL file of questions with answers" },
                { "type", ARG_TEXT, &o.type, false, "round the matrices as this GGUF type first" },
                { "report", ARG_TEXT, &o.report, false, "JSON file to write" },
                { "wrong", ARG_INT, &o.wrong, false, "show this many wrong answers" },
                { "category", ARG_TEXT, &o.category, false, "show wrong answers of this category only" },
                { "threads", ARG_INT, &o.threads, false, "worker threads" },
        };
        size_t n = sizeof(table) / sizeof(*table);

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc && (o.threads < 1 || o.threads > WORKERS_MAX)) {
                snprintf(err, sizeof(err), "--threads must be 1 to %d", WORKERS_MAX);
                rc = -1;
        }
        if (!rc)
                rc = eval(&o, err, sizeof(err));
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
