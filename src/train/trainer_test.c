#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/mem.h"
#include "train/bpe_train.h"
#include "train/decode.h"
#include "train/gguf_export.h"
#include "train/trainer.h"
#include "train/vocab.h"

/* Everything from text to a trained model, small: a vocabulary, a data set of ten facts, some steps. */
static char dir[64];
static struct tokenizer *tok;
static struct dataset data;

static const char *path(const char *name)
{
        static char out[160];
        snprintf(out, sizeof(out), "%s/%s", dir, name);
        return out;
}

static void write_data(void)
{
        static const char *const rows[][2] = { { "red", "stop" },  { "green", "go" },  { "amber", "wait" },
                                               { "blue", "rest" }, { "white", "run" }, { "black", "hide" } };
        FILE *f = fopen(path("data.jsonl"), "w");
        assert_non_null(f);
        for (int i = 0; i < 6; i++)
                fprintf(f,
                        "{\"category\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": \"what is "
                        "%s\"}, "
                        "{\"role\": \"assistant\", \"content\": \"%s means %s\"}]}\n",
                        i % 2 ? "odd" : "even", rows[i][0], rows[i][0], rows[i][1]);
        fprintf(f, "{\"category\": \"plain\", \"prompt\": \"say\", \"completion\": \" said\"}\n");
        fclose(f);
}

static int setup(void **state)
{
        static const char *const special[] = { "<|im_start|>", "<|im_end|>" };
        struct bpe_trainer *bpe;
        char err[256] = "";
        (void)state;
        json_setup();
        snprintf(dir, sizeof(dir), "/tmp/cairn-train-XXXXXX");
        assert_non_null(mkdtemp(dir));
        write_data();
        assert_int_equal(bpe_trainer_new("qwen2", &bpe), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(
                        bpe_trainer_add(bpe, STR("what is red green amber means stop user assistant")), 0);
        assert_int_equal(bpe_trainer_write(bpe, 280, special, 2, "<|im_start|>", "<|im_end|>", path("v.json"),
                                           err, sizeof(err)),
                         0);
        bpe_trainer_free(bpe);
        assert_int_equal(vocab_tokenizer(path("v.json"), &tok, err, sizeof(err)), 0);
        assert_int_equal(dataset_load(&data, path("data.jsonl"), tok, 64, 0, err, sizeof(err)), 0);
        return 0;
}

static int teardown(void **state)
{
        static const char *const names[] = { "data.jsonl", "v.json", "a.ckpt", "bad.jsonl", "m.gguf" };
        (void)state;
        dataset_release(&data);
        tokenizer_free(tok);
        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
                unlink(path(names[i]));
        rmdir(dir);
        return 0;
}

static struct llama_shape small_shape(void)
{
        return (struct llama_shape){ .n_vocab = (int32_t)tokenizer_size(tok),
                                     .n_embd = 32,
                                     .n_layer = 2,
                                     .n_head = 4,
                                     .n_kv = 2,
                                     .head_dim = 8,
                                     .n_ff = 64,
                                     .n_ctx = 64,
                                     .rope_base = 10000.0f,
                                     .norm_eps = 1e-5f };
}

static struct trainer_config small_config(long steps)
{
        struct trainer_config c = trainer_defaults();
        c.steps = steps;
        c.rows = 70;
        c.micros = 2;
        c.warmup = 5;
        c.lr = 1e-2f;
        return c;
}

static struct trainer *start(long steps)
{
        struct llama_params p;
        struct llama_shape s = small_shape();
        struct trainer_config c = small_config(steps);
        struct run_state zero = { 0 };
        struct trainer *t;
        char err[256];
        assert_int_equal(llama_params_init(&p, &s), 0);
        llama_params_random(&p, 1);
        assert_int_equal(trainer_new(&c, &p, NULL, NULL, &zero, &data, &t, err, sizeof(err)), 0);
        return t;
}

static struct trainer *resume(const char *file, long steps)
{
        struct llama_params p;
        struct trainer_config c = small_config(steps);
        struct run_state s;
        struct trainer *t;
        float *m, *v;
        char err[256];
        assert_int_equal(checkpoint_load(file, &p, &m, &v, &s, err, sizeof(err)), 0);
        assert_int_equal(trainer_new(&c, &p, m, v, &s, &data, &t, err, sizeof(err)), 0);
        mem_free(m);
        mem_free(v);
        return t;
}

/* Only the assistant's words and the end of its turn count, and the rendering is ChatML. */
static void documents_are_chatml(void **state)
{
        (void)state;
        struct buf text, counted;
        buf_init(&text, 4096);
        buf_init(&counted, 4096);
        for (int i = 0; i < data.docs[0].n; i++) {
                size_t at = data.docs[0].at + (size_t)i;
                struct str s = tokenizer_piece(tok, data.tokens[at]);
                buf_add(&text, s.p, s.n);
                if (data.counts[at])
                        buf_add(&counted, s.p, s.n);
        }
        assert_string_equal(text.p, "<|im_start|>user\nwhat is red<|im_end|>\n<|im_start|>assistant\n"
                                    "red means stop<|im_end|>\n");
        assert_string_equal(counted.p, "red means stop<|im_end|>");
        assert_int_equal(data.n_categories, 3);
        buf_release(&text);
        buf_release(&counted);
}

static void bad_lines_are_named(void **state)
{
        (void)state;
        struct dataset d;
        char err[256];
        FILE *f = fopen(path("bad.jsonl"), "w");
        fputs("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"messages\": [{\"role\": \"user\"}]}\n", f);
        fclose(f);
        assert_true(dataset_load(&d, path("bad.jsonl"), tok, 64, 0, err, sizeof(err)) < 0);
        assert_non_null(strstr(err, "line 2"));
        assert_true(dataset_load(&d, path("none.jsonl"), tok, 64, 0, err, sizeof(err)) < 0);
}

/* Each epoch deals every document once, in another order. */
static void dealer_deals_epochs(void **state)
{
        (void)state;
        struct dealer d;
        struct packed p;
        int seen[7] = { 0 }, n = 0;
        assert_int_equal(packed_init(&p, 70), 0);
        assert_int_equal(dealer_init(&d, &data, 1, 0, 0), 0);
        while (n < 14) {
                dealer_fill(&d, &p);
                assert_true(p.batch.n_seg > 0 && p.batch.n_rows <= 70);
                for (int i = 0; i < p.batch.n_seg && n < 14; i++, n++)
                        seen[p.doc[i]]++;
        }
        for (int i = 0; i < 7; i++)
                assert_int_equal(seen[i], 2);
        dealer_release(&d);
        packed_release(&p);
}

static void it_learns_and_answers(void **state)
{
        (void)state;
        struct trainer *t = start(200);
        struct trainer_report r;
        struct eval_result e;
        double first = 0;
        while (!trainer_done(t)) {
                assert_int_equal(trainer_step(t, &r), 0);
                first = r.step == 1 ? r.loss : first;
        }
        assert_true(first > 3.0 && r.loss < 0.1);
        assert_int_equal(trainer_evaluate(t, &data, true, &e), 0);
        assert_int_equal(e.total.n, 7);
        assert_int_equal(e.total.exact, 7);
        assert_int_equal(e.by_category[0].n, 3);
        mem_free(e.exact);

        struct llama_shape s = small_shape();
        struct llama_work *w = llama_work_new(&s, 64, 64);
        struct tok_ids ids = { 0 };
        json_t *chat = json_pack("[{s:s, s:s}]", "role", "user", "content", "what is blue");
        assert_int_equal(chat_prompt(chat, tok, &ids), 0);
        size_t from = ids.n;
        assert_int_equal(decode_greedy(w, trainer_params(t), &ids, 30, tokenizer_eos(tok)), 0);
        struct buf text;
        buf_init(&text, 4096);
        for (size_t i = from; i < ids.n; i++) {
                struct str piece = tokenizer_piece(tok, ids.p[i]);
                buf_add(&text, piece.p, piece.n);
        }
        assert_string_equal(text.p, "blue means rest");
        buf_release(&text);
        json_decref(chat);
        tok_ids_release(&ids);
        llama_work_free(w);
        trainer_free(t);
}

/* Six steps at once, or three, a checkpoint and three more: the same bits. */
static void resume_is_exact(void **state)
{
        (void)state;
        struct trainer *whole = start(6), *part = start(6);
        struct trainer_report r;
        char err[256];
        for (int i = 0; i < 6; i++)
                assert_int_equal(trainer_step(whole, &r), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(trainer_step(part, &r), 0);
        assert_int_equal(trainer_save(part, path("a.ckpt"), err, sizeof(err)), 0);
        trainer_free(part);
        part = resume(path("a.ckpt"), 6);
        for (int i = 0; i < 3; i++)
                assert_int_equal(trainer_step(part, &r), 0);
        assert_true(trainer_done(part));
        assert_int_equal(trainer_params(whole)->n, trainer_params(part)->n);
        assert_memory_equal(trainer_params(whole)->data, trainer_params(part)->data,
                            trainer_params(whole)->n * sizeof(float));
        trainer_free(whole);
        trainer_free(part);
}

static void damaged_checkpoints_are_refused(void **state)
{
        (void)state;
        struct trainer *t = start(2);
        struct llama_params p;
        struct run_state s;
        char err[256];
        assert_int_equal(trainer_save(t, path("a.ckpt"), err, sizeof(err)), 0);
        trainer_free(t);
        assert_int_equal(truncate(path("a.ckpt"), 1000), 0);
        assert_true(checkpoint_load(path("a.ckpt"), &p, NULL, NULL, &s, err, sizeof(err)) < 0);
        assert_non_null(strstr(err, "not a checkpoint"));
        assert_null(p.data);
}

static void documents_must_fit(void **state)
{
        (void)state;
        struct llama_params p;
        struct llama_shape s = small_shape();
        struct trainer_config c = small_config(2);
        struct run_state zero = { 0 };
        struct trainer *t;
        char err[256];
        c.rows = 8;
        assert_int_equal(llama_params_init(&p, &s), 0);
        assert_true(trainer_new(&c, &p, NULL, NULL, &zero, &data, &t, err, sizeof(err)) < 0);
        assert_non_null(strstr(err, "longer"));
        llama_params_release(&p);
}

/* The file holds every tensor, and rounding as it does stays within half a step of the block's scale. */
static void export_writes_gguf(void **state)
{
        (void)state;
        struct trainer *t = start(2);
        struct vocab v;
        struct llama_params copy;
        struct llama_shape s = small_shape();
        char err[256];
        char *file;
        size_t n;
        assert_int_equal(vocab_load(path("v.json"), &v, err, sizeof(err)), 0);
        const struct gguf_export_info info = { .name = "x", .context = 64, .type = GGUF_WQ8_0 };
        assert_int_equal(gguf_export(path("m.gguf"), trainer_params(t), &v.spec, &info, err, sizeof(err)), 0);
        assert_int_equal(file_read(path("m.gguf"), 1 << 24, &file, &n, err, sizeof(err)), 0);
        assert_memory_equal(file, "GGUF\3\0\0\0\x14\0\0\0\0\0\0\0", 16); /* version 3, 20 tensors */
        assert_int_equal(n % 32, 0);
        mem_free(file);
        vocab_release(&v);
        assert_int_equal(llama_params_init(&copy, &s), 0);
        memcpy(copy.data, trainer_params(t)->data, copy.n * sizeof(float));
        assert_int_equal(gguf_round(&copy, GGUF_WQ8_0), 0);
        double worst = 0;
        for (size_t i = 0; i < copy.n; i++) {
                double e = (double)copy.data[i] - (double)trainer_params(t)->data[i];
                worst = e * e > worst ? e * e : worst;
        }
        assert_true(worst > 0 && worst < 1e-6);
        llama_params_release(&copy);
        trainer_free(t);
}

#ifdef CAIRN_FAULTS
/* Whichever allocation fails while a model and a trainer are set up and a checkpoint goes out and
 * in, an error comes back and nothing leaks. */
static int set_up_all(void)
{
        struct llama_params p = { 0 }, q = { 0 };
        struct llama_shape s = small_shape();
        struct trainer_config c = small_config(1);
        struct run_state state = { 0 };
        struct trainer *t = NULL;
        float *m = NULL, *v = NULL;
        char err[256];
        int rc = llama_params_init(&p, &s);
        if (!rc)
                rc = trainer_new(&c, &p, NULL, NULL, &state, &data, &t, err, sizeof(err));
        if (!rc)
                rc = trainer_save(t, path("a.ckpt"), err, sizeof(err));
        if (!rc)
                rc = checkpoint_load(path("a.ckpt"), &q, &m, &v, &state, err, sizeof(err));
        mem_free(m);
        mem_free(v);
        llama_params_release(&q);
        llama_params_release(&p);
        trainer_free(t);
        return rc;
}

static void out_of_memory(void **state)
{
        (void)state;
        int rc = -1;
        long n = 0;
        while (rc && ++n < 2000) {
                mem_fail_nth(n);
                rc = set_up_all();
                mem_fail_nth(0);
        }
        assert_int_equal(rc, 0);
        assert_true(n > 30);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(documents_are_chatml), cmocka_unit_test(bad_lines_are_named),
                cmocka_unit_test(dealer_deals_epochs),  cmocka_unit_test(it_learns_and_answers),
                cmocka_unit_test(resume_is_exact),      cmocka_unit_test(damaged_checkpoints_are_refused),
                cmocka_unit_test(documents_must_fit),   cmocka_unit_test(export_writes_gguf),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(out_of_memory),
#endif

        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
