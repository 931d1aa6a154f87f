#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "train/args.h"
#include "train/commands.h"
#include "train/judge.h"
#include "train/vocab.h"

/* The examination that counts: the finished GGUF file, run by the engine that will serve it, asked as a
 * client would ask, with its functions and schema; judge.h says what is right. Nothing holds the model to a
 * grammar here. */
#define IN_FLIGHT 32
#define ANSWER_MAX 300
#define QUESTIONS_FILE_MAX ((size_t)1 << 30)

struct exam {
        struct engine_model *model;
        pthread_mutex_t lock;
        pthread_cond_t room;
        int in_flight;
        json_t *scores;              /* category -> [asked, right, named; -1 where nothing is called] */
        long wrong;                  /* how many wrong answers to print still */
        const char *only;            /* of this category */
        long asked, right, too_long; /* too long for the model's context: not asked */
};

struct question {
        struct exam *exam;
        json_t *doc;
        struct buf answer;
};

static void increase(json_t *score, size_t i, long by)
{
        json_t *n = json_array_get(score, i);
        json_integer_set(n, json_integer_value(n) + by);
}

static void count(struct exam *e, const char *category, struct verdict v)
{
        json_t *score = json_get(e->scores, category);
        if (!score) {
                json_put(e->scores, category, json_pack("[i, i, i]", 0, 0, v.calls ? 0 : -1));
                score = json_get(e->scores, category);
        }
        increase(score, 0, 1);
        increase(score, 1, v.right);
        increase(score, 2, v.named);
        e->asked++;
        e->right += v.right;
}

static void show_message(const json_t *message)
{
        json_t *calls = json_get(message, "tool_calls");
        char *text = calls ? json_text(calls, NULL) : NULL;
        printf("%s: %s\n", json_cstr(message, "role", "?"), text ? text : json_cstr(message, "content", "?"));
        mem_free(text);
}

static void show_wrong(const struct question *q, const char *category)
{
        const json_t *messages = json_get(q->doc, "messages");
        size_t n = json_array_size(messages);
        printf("--- %s\n", category);
        for (size_t i = 0; i < n; i++)
                show_message(json_array_get(messages, i));
        printf("answered: %.*s\n", STR_ARG(buf_str(&q->answer)));
}

/* Judges a finished question and frees it. The lock is held. */
static void judge(struct question *q)
{
        struct exam *e = q->exam;
        const char *category = json_cstr(q->doc, "category", "none");
        struct verdict v = judge_answer(q->doc, buf_str(&q->answer));

        count(e, category, v);
        if (!v.right && e->wrong > 0 && (!e->only || !strcmp(e->only, category))) {
                e->wrong--;
                show_wrong(q, category);
        }
        json_decref(q->doc);
        buf_release(&q->answer);
        mem_free(q);
        e->in_flight--;
        pthread_cond_signal(&e->room);
}

static bool on_event(void *ctx, const struct engine_event *ev)
{
        struct question *q = ctx;
        if (ev->kind == ENGINE_EV_TEXT)
                buf_add(&q->answer, ev->text.p, ev->text.n);
        if (ev->kind == ENGINE_EV_CONTROL) {
                struct str name = engine_token_name(q->exam->model, ev->control);
                buf_add(&q->answer, name.p, name.n);
        }
        if (ev->kind == ENGINE_EV_DONE) {
                struct exam *e = q->exam;
                pthread_mutex_lock(&e->lock);
                judge(q);
                pthread_mutex_unlock(&e->lock);
        }
        return true;
}

/* What the last message, the right answer, is asked with. */
static int prompt_of(const struct exam *e, const json_t *doc, struct engine_tokens *out)
{
        json_t *messages = json_copy(json_get(doc, "messages"));
        size_t n = json_array_size(messages);
        int rc = n < 2 ? -EINVAL : 0;
        if (!rc && json_array_remove(messages, n - 1))
                rc = -EINVAL;
        json_t *schema = json_get(doc, "response_schema");
        json_t *vars = schema ? json_pack("{s:O}", "response_schema", schema) : NULL;
        struct engine_chat chat = {
                .messages = messages, .tools = json_get(doc, "tools"), .vars = vars, .generate = true
        };
        if (!rc)
                rc = engine_chat_tokenize(e->model, &chat, out, NULL, 0);
        json_decref(messages);
        json_decref(vars);
        return rc;
}

static void leave(struct exam *e)
{
        pthread_mutex_lock(&e->lock);
        e->in_flight--;
        pthread_mutex_unlock(&e->lock);
}

static void enter(struct exam *e)
{
        pthread_mutex_lock(&e->lock);
        while (e->in_flight >= IN_FLIGHT)
                pthread_cond_wait(&e->room, &e->lock);
        e->in_flight++;
        pthread_mutex_unlock(&e->lock);
}

/* Asks one question, taking doc over; one that does not fit the context is only counted. */
static int ask(void *ctx, json_t *doc)
{
        struct exam *e = ctx;
        struct engine_tokens prompt = { 0 };
        struct question *q = mem_calloc(1, sizeof(*q));
        struct engine_seq *seq = NULL;
        int rc = q ? prompt_of(e, doc, &prompt) : -ENOMEM;

        if (rc)
                goto out;
        *q = (struct question){ .exam = e, .doc = doc };
        buf_init(&q->answer, 1 << 16);
        struct engine_req req = { .prompt = prompt.p,
                                  .n_prompt = prompt.n,
                                  .max_tokens = ANSWER_MAX,
                                  .sampling = ENGINE_SAMPLING_DEFAULT,
                                  .controls = true,
                                  .logprobs = -1 };
        req.sampling.temperature = 0.0f;
        enter(e);
        rc = engine_submit(e->model, &req, &(struct engine_sink){ on_event, q }, &seq);
        if (rc)
                leave(e);
out:
        engine_tokens_release(&prompt);
        if (rc) {
                json_decref(doc);
                mem_free(q);
        } else {
                engine_seq_unref(seq);
        }
        if (rc == -E2BIG)
                e->too_long++;
        return rc == -E2BIG ? 0 : rc;
}

static int ask_all(struct exam *e, const char *path, char *err, size_t errn)
{
        int rc = jsonl_each(path, QUESTIONS_FILE_MAX, ask, e, err, errn);
        pthread_mutex_lock(&e->lock);
        while (e->in_flight)
                pthread_cond_wait(&e->room, &e->lock);
        pthread_mutex_unlock(&e->lock);
        return rc;
}

static double percent(long right, long asked)
{
        return asked ? 100.0 * (double)right / (double)asked : 0.0;
}

static void print_scores(const struct exam *e)
{
        const char *category;
        json_t *score;
        json_object_foreach(e->scores, category, score)
        {
                long asked = (long)json_integer_value(json_array_get(score, 0));
                long right = (long)json_integer_value(json_array_get(score, 1));
                long named = (long)json_integer_value(json_array_get(score, 2));
                printf("%-16s %6ld %7.1f%%", category, asked, percent(right, asked));
                if (named >= 0)
                        printf("   right function %5.1f%%", percent(named, asked));
                putchar('\n');
        }
        printf("%-16s %6ld %7.1f%%\n", "all", e->asked, percent(e->right, e->asked));
        if (e->too_long)
                printf("%ld longer than the context were not asked\n", e->too_long);
}

/* What the report says of a category. */
static json_t *entry(const json_t *score)
{
        json_t *named = json_array_get(score, 2);
        json_t *e = json_pack("{s:O, s:O}", "questions", json_array_get(score, 0), "exact",
                              json_array_get(score, 1));
        if (json_integer_value(named) >= 0)
                json_put(e, "right_function", json_incref(named));
        return e;
}

/* Puts the scores under "engine" into the report that `cairn-train eval` wrote, or into a new one. */
static int add_to_report(const struct exam *e, const char *path, char *err, size_t errn)
{
        char *text = NULL;
        size_t n;
        struct json_fault bad;
        json_t *doc = NULL, *by = json_object();
        const char *category;
        json_t *score;

        if (!file_read(path, 1 << 20, &text, &n, err, errn))
                doc = json_parse((struct str){ text, n }, 16, &bad);
        mem_free(text);
        if (!doc)
                doc = json_object();
        json_object_foreach(e->scores, category, score) json_put(by, category, entry(score));
        json_put(doc, "engine",
                 json_pack("{s:I, s:I, s:f, s:o}", "questions", (json_int_t)e->asked, "exact",
                           (json_int_t)e->right, "exact_share", percent(e->right, e->asked) / 100.0,
                           "categories", by));
        text = json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
        int rc = text ? file_write(path, text, strlen(text), err, errn) : -1;
        mem_free(text);
        json_decref(doc);
        return rc;
}

static int exam(const char *model, const char *questions, const char *report, struct exam *e, long threads,
                char *err, size_t errn)
{
        struct engine_opts opts = { .threads = (int)threads };
        char why[200] = "";
        int rc = engine_model_open(model, &opts, &e->model, why, sizeof(why));
        if (rc) {
                snprintf(err, errn, "%s: %s", model, why);
                return rc;
        }
        e->scores = json_object();
        pthread_mutex_init(&e->lock, NULL);
        pthread_cond_init(&e->room, NULL);
        rc = ask_all(e, questions, err, errn);
        engine_model_close(e->model);
        if (!rc) {
                print_scores(e);
                rc = report ? add_to_report(e, report, err, errn) : 0;
        }
        json_decref(e->scores);
        pthread_cond_destroy(&e->room);
        pthread_mutex_destroy(&e->lock);
        return rc;
}

int cmd_exam(int argc, char **argv)
{
        const char *model = NULL, *questions = NULL, *report = NULL;
        long threads = 2;
        struct exam e = { 0 };
        char err[256] = "examination failed";
        const struct arg table[] = {
                { "model", ARG_TEXT, &model, true, "GGUF file" },
                { "questions", ARG_TEXT, &questions, true, "JSONL file of questions with answers" },
                { "report", ARG_TEXT, &report, false, "JSON file to add the scores to" },
                { "wrong", ARG_INT, &e.wrong, false, "show this many wrong answers" },
                { "category", ARG_TEXT, &e.only, false, "show wrong answers of this category only" },
                { "threads", ARG_INT, &threads, false, "of the engine" },
        };
        size_t n = sizeof(table) / sizeof(*table);

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc && (threads < 1 || threads > 64)) {
                snprintf(err, sizeof(err), "--threads must be 1 to 64");
                rc = -1;
        }
        if (!rc)
                rc = exam(model, questions, report, &e, threads, err, sizeof(err));
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
