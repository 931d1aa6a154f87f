/* cairn chat: a conversation in the terminal with a model in this process; no server is needed.
 *
 * The model's thread puts text into `struct answer` and posts its semaphore; the main thread prints it.
 * Ctrl-C posts the same semaphore, which is one of the few things a signal handler may do. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/loop.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/lineup.h"
#include "models/registry.h"

#define TEXT_MAX ((size_t)16 << 20)

static struct {
        const char *system;
        double temperature, top_p;
        int64_t max_tokens, seed; /* -1: not given */
} given = { .temperature = 0.7, .top_p = 1, .max_tokens = -1, .seed = -1 };

static const struct arg options[] = {
        { "model", ARG_CONFIG, "FILE", "the GGUF file (the configured one, else the built-in model)",
          .target = NULL },
        { "system", ARG_TEXT, "TEXT", "the system message", .target = &given.system },
        { "temperature", ARG_NUMBER, "T", "0 takes the most likely token (0.7)", .target = &given.temperature,
          .min = 0, .max = 2 },
        { "top-p", ARG_NUMBER, "P", "the share of probability to choose from (1)", .target = &given.top_p,
          .min = 0, .max = 1 },
        { "max-tokens", ARG_INT, "N", "the longest answer (until the context is full)",
          .target = &given.max_tokens, .min = 1, .max = 1 << 20 },
        { "seed", ARG_INT, "N", "equal seeds give equal answers", .target = &given.seed, .min = 0,
          .max = 9007199254740992.0 },
        { "config", ARG_CONFIG, "FILE", "the configuration file, as for `cairn serve`", .target = NULL },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

/* ---- Ctrl-C ---- */

static sem_t wake; /* there may be text, the end of the answer, or an interruption */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
        (void)signal_number;
        interrupted = 1;
        sem_post(&wake);
}

/* No SA_RESTART: Ctrl-C at the prompt ends the reading of a line. The model's threads were made with SIGINT
 * blocked, so it always reaches the main thread. */
static void catch_interrupts(void)
{
        struct sigaction action = { .sa_handler = on_interrupt };
        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, NULL);
}

static void mask_interrupts(int how)
{
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        pthread_sigmask(how, &set, NULL);
}

/* ---- the conversation ---- */

struct message {
        const char *role; /* static */
        char *content;
        size_t n;
};

struct chat {
        const struct model *model;
        struct VEC(struct message) messages;
        bool terminal; /* somebody types: show a prompt */
};

static int add_message(struct chat *c, const char *role, struct str content)
{
        struct message m = { role, mem_strndup(content.p, content.n), content.n };
        if (m.content && vec_push(&c->messages, m) == 0)
                return 0;
        mem_free(m.content);
        return -ENOMEM;
}

/* Forgets all messages behind the first `keep`. */
static void cut_messages(struct chat *c, size_t keep)
{
        while (c->messages.n > keep)
                mem_free(c->messages.p[--c->messages.n].content);
}

/* Starts anew, with the system message if there is one. */
static int reset(struct chat *c, const char *system)
{
        cut_messages(c, 0);
        return system && *system ? add_message(c, "system", str_c(system)) : 0;
}

/* ---- one answer ---- */

struct answer {
        pthread_mutex_t lock; /* guards the two members below */
        struct buf text;      /* not yet printed */
        bool done;
};

/* On the model's thread. */
static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct answer *a = ctx;
        (void)run;
        pthread_mutex_lock(&a->lock);
        if (ev->kind == AGENT_DELTA && ev->item->kind == AGENT_MESSAGE)
                buf_add(&a->text, ev->text.p, ev->text.n);
        a->done |= ev->kind == AGENT_DONE;
        sem_post(&wake); /* in the lock: `a` may be gone as soon as it is released after the last event */
        pthread_mutex_unlock(&a->lock);
        return true;
}

/* Prints what has come since the last time; true when that was the end. */
static bool print_news(struct answer *a)
{
        struct buf news;
        pthread_mutex_lock(&a->lock);
        bool done = a->done;
        news = a->text;
        buf_init(&a->text, TEXT_MAX);
        pthread_mutex_unlock(&a->lock);
        if (news.n) {
                fwrite(news.p, 1, news.n, stdout);
                fflush(stdout);
        }
        buf_release(&news);
        return done;
}

static int start_failed(const struct chat *c, int rc, const struct turn_err *err)
{
        switch (rc) {
        case -E2BIG:
                return cli_fail("chat: the message takes %zu tokens; the model has room for %d",
                                err->prompt_tokens, c->model->n_ctx);
        case -ENOTSUP:
                return cli_fail("chat: model '%s' has no chat template", c->model->id);
        case -EINVAL:
                return cli_fail("chat: the message is not valid UTF-8");
        default:
                return cli_fail("chat: %s", strerror(-rc));
        }
}

static struct agent_req request_of(const struct chat *c, const json_t *messages)
{
        struct engine_sampling sampling = ENGINE_SAMPLING_DEFAULT;
        sampling.temperature = (float)given.temperature;
        sampling.top_p = (float)given.top_p;
        sampling.has_seed = given.seed >= 0;
        sampling.seed = given.seed >= 0 ? (uint64_t)given.seed : 0;
        return (struct agent_req){ .turn = { .model = c->model,
                                             .messages = messages,
                                             .sampling = sampling,
                                             .max_tokens = (int)given.max_tokens,
                                             .logprobs = -1 },
                                   .truncate = true };
}

static int start_answer(struct chat *c, struct answer *a, struct agent_run **ret)
{
        struct agent_sink sink = { on_event, a };
        struct turn_err err = { 0 };
        json_t *messages = json_array();
        int rc = messages ? 0 : -ENOMEM;
        for (size_t i = 0; !rc && i < c->messages.n; i++) {
                const struct message *m = &c->messages.p[i];
                json_t *v = json_pack("{s:s, s:s%}", "role", m->role, "content", m->content, m->n);
                rc = json_array_append_new(messages, v) ? -EINVAL : 0;
        }
        struct agent_req req = request_of(c, messages);
        if (!rc)
                rc = agent_start(&req, &sink, ret, &err);
        json_decref(messages);
        return rc ? start_failed(c, rc, &err) : 0;
}

/* Asks the model for the next message and prints it as it comes. Ctrl-C ends it; what was said until then
 * stays in the conversation. 0, or 1 after a message on stderr. */
static int answer(struct chat *c)
{
        struct answer a = { .lock = PTHREAD_MUTEX_INITIALIZER };
        struct agent_run *run = NULL;
        bool cancelled = false;
        buf_init(&a.text, TEXT_MAX);
        int code = start_answer(c, &a, &run);
        if (code)
                return code;
        while (!print_news(&a)) {
                while (sem_wait(&wake) && errno == EINTR)
                        ;
                if (interrupted && !cancelled) {
                        cancelled = true;
                        agent_cancel(run);
                }
        }
        const struct agent_outcome *outcome = agent_outcome(run);
        json_t *said = agent_said(run, AGENT_MESSAGE);
        fputs(cancelled ? " [stopped]\n" : "\n", stdout);
        fflush(stdout);
        if (outcome->finish == ENGINE_ERROR)
                code = cli_fail("chat: %s", outcome->error);
        else if (add_message(c, "assistant", json_as_str(said)))
                code = cli_fail("chat: out of memory");
        json_decref(said);
        agent_unref(run);
        pthread_mutex_destroy(&a.lock);
        return code;
}

/* One exchange. A question that could not be answered leaves the conversation as it was. */
static int ask(struct chat *c, struct str question)
{
        size_t before = c->messages.n;
        if (add_message(c, "user", question))
                return cli_fail("chat: out of memory");
        int code = answer(c);
        if (code)
                cut_messages(c, before);
        return code;
}

/* ---- reading ---- */

static const char commands_help[] = "/system TEXT  start anew with this system message\n"
                                    "/reset        start anew\n"
                                    "/exit         leave (or Ctrl-D)\n"
                                    "Ctrl-C stops an answer.\n";

/* A line that begins with a slash; true when it ends the chat. */
static bool run_command(struct chat *c, const char *line)
{
        static const char system[] = "/system ";
        if (strcmp(line, "/exit") == 0)
                return true;
        if (strcmp(line, "/reset") == 0) {
                if (reset(c, given.system))
                        cli_fail("chat: out of memory");
        } else if (strncmp(line, system, sizeof(system) - 1) == 0) {
                if (reset(c, line + sizeof(system) - 1))
                        cli_fail("chat: out of memory");
        } else if (strcmp(line, "/help") == 0) {
                fputs(commands_help, stdout);
        } else {
                cli_fail("chat: unknown command %s; /help lists them", line);
        }
        return false;
}

/* Asks each line of stdin. The exit code tells whether every one was answered. */
static int converse(struct chat *c)
{
        char *line = NULL;
        size_t cap = 0;
        int code = 0;
        bool over = false;
        while (!over) {
                if (c->terminal)
                        fputs("> ", stdout);
                fflush(stdout);
                interrupted = 0;
                ssize_t n = getline(&line, &cap, stdin);
                if (n < 0)
                        break;
                line[strcspn(line, "\r\n")] = '\0';
                struct str text = str_trim(str_c(line));
                if (text.n && *line == '/')
                        over = run_command(c, line);
                else if (text.n && ask(c, text))
                        code = 1;
                if (interrupted && !c->terminal) { /* in a pipe Ctrl-C means the whole */
                        over = true;
                        code = 1;
                }
        }
        if (c->terminal && !over)
                fputc('\n', stdout);
        free(line); /* allowed: getline's own */
        return code;
}

static int chat_with(const struct model *model, struct args *args)
{
        struct chat c = { .model = model, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) };
        struct buf question;
        int code = 1;
        buf_init(&question, TEXT_MAX);
        for (int i = 0; i < args->n_words; i++)
                buf_addf(&question, "%s%s", i ? " " : "", args->words[i]);
        if (buf_error(&question) || reset(&c, given.system))
                cli_fail("chat: out of memory");
        else if (question.n)
                code = ask(&c, buf_str(&question)) || interrupted;
        else
                code = converse(&c);
        cut_messages(&c, 0);
        vec_release(&c.messages);
        buf_release(&question);
        return code;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct config config;
        struct lineup lineup;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("chat: %s", err);
        if (config_load(&config, args.n_config, args.config, err, sizeof(err)))
                return cli_fail("%s", err);
        sem_init(&wake, 0, 0);
        mask_interrupts(SIG_BLOCK);
        int code = lineup_open(&config, NULL, &lineup, err, sizeof(err)) ? cli_fail("%s", err) : 0;
        if (code == 0) {
                const struct model *model = NULL;
                const char *name;
                size_t it = 0;
                mask_interrupts(SIG_UNBLOCK); /* one that came while the model was opened ends the program */
                catch_interrupts();
                registry_next(lineup.registry, &it, &name, &model);
                model_hold(model, 0); /* the only user: it was loaded when it was added */
                code = chat_with(model, &args);
                model_release(model);
                lineup_release(&lineup);
        }
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn chat [OPTION]... [QUESTION]...\n\n"
              "Talks to a model in the terminal; no server is needed. With a QUESTION: prints the answer and "
              "ends.\n"
              "Without: each line of stdin is a message. Within the chat:\n\n",
              out);
        fputs(commands_help, out);
        fputc('\n', out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_chat = { "chat", run, "talk to a model in the terminal", help };
