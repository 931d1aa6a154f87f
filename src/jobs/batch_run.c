/* The lines of a batch at work: many at a time, each answer committed once.
 *
 * The thread of the job reads the input, starts requests and commits what came back; the answers arrive on
 * other threads, which write them as lines of the output. While a commit waits for the disk the lines in
 * flight go on, and what they bring makes the next commit. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/thread.h"
#include "base/vec.h"
#include "jobs/batch_internal.h"

#define LINE_DEPTH 128
#define PAGE 1000
#define TROUBLE_MS 100 /* between two commits, when one has failed */
#define GATHER_MS 20   /* answers are taken when a quarter of the lines are back, or after so long */
#define GATHER_MAX 16
#define ATTEMPTS 10 /* of a line that is refused for the moment, the first among them, */
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 30000 /* with pauses that double: together some two minutes */
#define COMMIT_WAIT_MS 100 /* answers are committed when there are many, or after so long */
#define COMMIT_MANY 128
#define COMMIT_ANSWERS 512 /* at most in one transaction */
#define COMMIT_BYTES ((size_t)8 << 20)
#define ANSWER_MAX STORE_DOC_MAX
#define ANSWER_OPS 3 /* at most, to commit it */

enum verdict {
        ANSWERED,
        REFUSED,   /* for the moment: another attempt, of those it has */
        TOO_EARLY, /* the model is still being loaded, or the conversation is in use: as often as it takes */
        TROUBLE,   /* the store is in trouble: as often as it takes too, with growing pauses */
};

/* A line from its start to the commit of its answer. */
struct answer {
        struct lines *lines;
        size_t index, slot; /* in the input; in lines.running */
        char id[BATCH_LINE_ID_MAX];
        char *text; /* of the line */
        size_t n;
        json_t *body;    /* of it, for the first attempt */
        char *custom_id; /* as JSON */
        json_t *left;    /* its kept reply, if that was read already */
        int attempts, troubles;
        int64_t due_ms; /* of the next attempt, monotonic */
        void *handle;
        /* Of the last attempt: */
        int status;
        enum verdict verdict;
        struct buf out; /* the line of the output file */
        const struct store_usage *usage;
        bool kept, unsure;    /* as in batch_reply */
        bool dropped;         /* it is no answer, and the line is not run again: only its usage counts */
        json_int_t tokens[4]; /* input, cached, output, reasoning */
        struct answer *next;
};

struct answers {
        struct answer *first, **last;
        size_t n;
};

/* What a batch has at work. */
struct lines {
        struct batch *b;
        struct batch_input in;
        unsigned char *answered; /* a bit for each line of the input, */
        unsigned char *kept;     /* and for each whose reply is kept */
        bool only_kept;          /* no other line is run any more */
        size_t total, next;      /* of the lines that were read */
        bool read_all;
        struct VEC(struct answer *) running;
        struct answers waiting; /* for another attempt */
        struct answers ready;   /* to be committed, */
        int64_t ready_ms;       /* the first of them since (monotonic) */
        bool trouble;           /* the last commit failed */
        pthread_mutex_t lock;
        pthread_cond_t told;
        /* Under the lock: */
        struct answer *done;   /* came back, in no order */
        size_t n_done, n_told; /* how many; `told` is signalled when they are so many */
};

/* ---- lists ---- */

static void list_init(struct answers *l)
{
        l->first = NULL;
        l->last = &l->first;
        l->n = 0;
}

static void list_add(struct answers *l, struct answer *a)
{
        a->next = NULL;
        *l->last = a;
        l->last = &a->next;
        l->n++;
}

static struct answer *list_take(struct answers *l, struct answer **at)
{
        struct answer *a = *at;
        *at = a->next;
        if (!a->next)
                l->last = at;
        l->n--;
        return a;
}

static void answer_free(struct answer *a)
{
        struct batch_runner *run = &a->lines->b->all->o.runner;
        if (a->handle)
                run->release(a->handle);
        buf_release(&a->out);
        json_decref(a->body);
        json_decref(a->left);
        mem_free(a->custom_id);
        mem_free(a->text);
        mem_free(a);
}

static void list_clear(struct answers *l)
{
        while (l->first)
                answer_free(list_take(l, &l->first));
}

/* ---- answers ---- */

static bool has_bit(const unsigned char *bits, size_t index)
{
        return bits[index / 8] & 1u << index % 8;
}

static void set_bit(unsigned char *bits, size_t index)
{
        bits[index / 8] |= (unsigned char)(1u << index % 8);
}

/* The counts that chat completions, completions and embeddings call prompt and completion, and responses
 * input and output. */
static void read_tokens(struct answer *a, const json_t *body)
{
        const json_t *u = json_get(body, "usage");
        bool newer = json_get(u, "input_tokens");
        const json_t *in = json_get(u, newer ? "input_tokens_details" : "prompt_tokens_details");
        const json_t *out = json_get(u, newer ? "output_tokens_details" : "completion_tokens_details");
        a->tokens[0] = json_int(u, newer ? "input_tokens" : "prompt_tokens", 0);
        a->tokens[1] = json_int(in, "cached_tokens", 0);
        a->tokens[2] = json_int(u, newer ? "output_tokens" : "completion_tokens", 0);
        a->tokens[3] = json_int(out, "reasoning_tokens", 0);
}

static bool succeeded(const struct answer *a)
{
        return a->status >= 200 && a->status < 300;
}

/* What to make of a reply; status 0: it was lost here, for want of memory. A 503 without a code is that of
 * the store. */
static enum verdict judge(int status, const struct batch_reply *reply)
{
        const char *code = json_cstr(json_get(reply->body, "error"), "code", "");
        if (reply->unsure)
                return TROUBLE;
        if (status == 400)
                return strcmp(code, "conversation_locked") ? ANSWERED : TOO_EARLY;
        if (status == 429)
                return strcmp(code, "insufficient_quota") ? REFUSED : ANSWERED;
        if (status == 503)
                return !*code ? TROUBLE : strcmp(code, "model_loading") ? REFUSED : TOO_EARLY;
        return status ? ANSWERED : REFUSED;
}

/* Another line of the output: what there is no reply to. */
static void write_failure(struct answer *a)
{
        char id[ID_MAX];
        buf_clear(&a->out);
        buf_addf(&a->out,
                 "{\"id\":\"%s\",\"custom_id\":%s,\"response\":null,\"error\":{\"code\":\"server_error\","
                 "\"message\":\"The reply to this line could not be kept.\"}}",
                 id_hex(id, "batch_req_", 32), a->custom_id);
}

/* Told of the reply, on any thread: writes the line of the output and hands the answer to the job's thread.
 */
static void on_done(void *ctx, const struct batch_reply *reply)
{
        struct answer *a = ctx;
        struct lines *l = a->lines;
        char id[ID_MAX];
        buf_clear(&a->out);
        buf_addf(&a->out,
                 "{\"id\":\"%s\",\"custom_id\":%s,\"response\":{\"status_code\":%d,\"request_id\":\"%s\",",
                 id_hex(id, "batch_req_", 32), a->custom_id, reply->status, reply->request_id);
        buf_adds(&a->out, "\"body\":");
        int rc = reply->body ? json_write(reply->body, &a->out) : -ENOMEM;
        buf_adds(&a->out, "},\"error\":null}");
        a->status = rc || buf_error(&a->out) ? 0 : reply->status;
        a->verdict = judge(a->status, reply);
        a->usage = reply->usage;
        a->kept = reply->kept;
        a->unsure = reply->unsure;
        read_tokens(a, reply->body);
        pthread_mutex_lock(&l->lock);
        a->next = l->done;
        l->done = a;
        if (++l->n_done == l->n_told)
                pthread_cond_signal(&l->told);
        pthread_mutex_unlock(&l->lock);
}

/* An answer to be, not started yet; NULL when memory is out. Takes custom_id. */
static struct answer *answer_new(struct lines *l, size_t index, char *custom_id)
{
        struct answer *a = custom_id ? mem_calloc(1, sizeof(*a)) : NULL;
        if (!a) {
                mem_free(custom_id);
                return NULL;
        }
        a->lines = l;
        a->index = index;
        a->custom_id = custom_id;
        batch_line_id(l->b, index, a->id);
        buf_init(&a->out, ANSWER_MAX);
        return a;
}

/* That of a line that was validated. 0, -EBADMSG when it is not what it was, or -ENOMEM. */
static int answer_of_line(struct lines *l, struct str text, size_t index, struct answer **ret)
{
        struct json_fault why;
        size_t n;
        json_t *line = json_parse(text, LINE_DEPTH, &why);
        struct answer *a = *ret =
                line ? answer_new(l, index, json_text(json_get(line, "custom_id"), &n)) : NULL;
        if (a) {
                a->text = mem_strndup(text.p, text.n);
                a->n = text.n;
                a->body = json_incref(json_get(line, "body"));
        }
        bool bad = !line && !why.no_memory;
        json_decref(line);
        if (a && a->text)
                return 0;
        if (a)
                answer_free(a);
        *ret = NULL;
        return bad ? -EBADMSG : -ENOMEM;
}

/* That of a line whose reply is kept, without its text: the input may be gone. 0, -ENOENT or -EBADMSG when
 * there is none to be had, or what the store says. */
static int answer_of_kept(struct lines *l, size_t index, struct answer **ret)
{
        char id[BATCH_LINE_ID_MAX];
        json_t *left;
        size_t n;
        int rc = batch_kept(l->b, batch_line_id(l->b, index, id), &left);
        if (rc)
                return rc;
        *ret = answer_new(l, index, json_text(json_get(left, "custom_id"), &n));
        if (*ret)
                (*ret)->left = json_incref(left);
        json_decref(left);
        return *ret ? 0 : -ENOMEM;
}

/* The body for an attempt, a new reference: a request may change it, so each has one of its own. */
static json_t *take_body(struct answer *a)
{
        struct json_fault why;
        json_t *body = a->body;
        if (!body) {
                json_t *line = json_parse((struct str){ a->text, a->n }, LINE_DEPTH, &why);
                body = json_incref(json_get(line, "body"));
                json_decref(line);
        }
        a->body = NULL;
        return body;
}

/* What a line is answered whose kept reply is damaged: it cannot be had again. */
static json_t *damaged(void)
{
        return json_pack("{s:i, s:s, s:{s:{s:s, s:s, s:n, s:n}}}", "status", 500, "request_id", "", "body",
                         "error", "message", "The reply that was kept for this line is damaged.", "type",
                         "server_error", "param", "code");
}

/* Answers with the reply that an attempt has left: 0, -ENOENT when there is none, or what the store says. */
static int answer_left(struct answer *a)
{
        json_t *left = json_incref(a->left);
        int rc = left ? 0 : batch_kept(a->lines->b, a->id, &left);
        if (rc == -EBADMSG)
                left = damaged();
        else if (rc)
                return rc;
        if (!left)
                return -ENOMEM;
        on_done(a, &(struct batch_reply){ .status = (int)json_int(left, "status", 0),
                                          .request_id = json_cstr(left, "request_id", ""),
                                          .body = json_get(left, "body"),
                                          .kept = true });
        json_decref(left);
        return 0;
}

/* Makes an attempt, unless one has stored its reply already. 0, or a negative errno: nothing was begun. */
static int answer_start(struct answer *a)
{
        struct batch *b = a->lines->b;
        struct batch_runner *run = &b->all->o.runner;
        struct batch_call call = { .endpoint = json_cstr(b->object, "endpoint", ""),
                                   .who = &b->who,
                                   .batch = b->id,
                                   .line = a->id,
                                   .custom_id = a->custom_id,
                                   .done = on_done,
                                   .ctx = a };
        if (a->unsure || has_bit(a->lines->kept, a->index)) {
                int rc = answer_left(a);
                if (rc != -ENOENT || !a->unsure)
                        return rc;
                a->unsure = false; /* nothing of it was stored */
        }
        call.body = take_body(a);
        int rc = call.body ? run->start(run->ctx, &call, &a->handle) : -ENOMEM;
        json_decref(call.body);
        return rc;
}

/* Puts a line aside for another attempt. Nobody pays for what is run again. */
static void postpone(struct lines *l, struct answer *a)
{
        struct batch_runner *run = &l->b->all->o.runner;
        int before = a->attempts + a->troubles;
        int64_t pause = (int64_t)RETRY_MIN_MS << (before < 10 ? before : 10);
        pause = pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS;
        pause -= (int64_t)(rand_u64() % (uint64_t)(pause / 4 + 1)); /* so that not all come back at once */
        if (a->handle)
                run->release(a->handle);
        a->handle = NULL;
        a->usage = NULL;
        a->due_ms = clock_mono_ms() + pause;
        list_add(&l->waiting, a);
}

/* Makes an attempt, or puts the line aside: false. */
static bool begin(struct lines *l, struct answer *a)
{
        if (vec_reserve(&l->running, l->running.n + 1) || answer_start(a)) {
                postpone(l, a);
                return false;
        }
        a->slot = l->running.n;
        l->running.p[l->running.n++] = a;
        return true;
}

static void end(struct lines *l, struct answer *a)
{
        struct answer *last = l->running.p[--l->running.n];
        l->running.p[a->slot] = last;
        last->slot = a->slot;
}

/* ---- starting ---- */

/* How many lines of this batch may run now: those that run share what there is. */
static size_t share(struct batches *all)
{
        pthread_mutex_lock(&all->lock);
        int n = all->running > 1 ? all->o.lines / all->running : all->o.lines;
        pthread_mutex_unlock(&all->lock);
        return n > 1 ? (size_t)n : 1;
}

/* The next line of the input that has no answer: 1, 0 at the end, or a negative errno. */
static int next_line(struct lines *l, struct answer **ret)
{
        struct str text;
        while (l->next < l->total) {
                int rc = batch_input_next(&l->in, &text);
                if (rc == 0 || rc == -EMSGSIZE) /* it is not what was validated */
                        return -EBADMSG;
                if (rc < 0)
                        return rc;
                size_t index = l->next++;
                if (has_bit(l->answered, index))
                        continue;
                rc = answer_of_line(l, text, index, ret);
                return rc ? rc : 1;
        }
        return 0;
}

/* The same, of those whose reply is kept: without the input. */
static int next_kept(struct lines *l, struct answer **ret)
{
        for (; l->next < l->total; l->next++) {
                if (has_bit(l->answered, l->next) || !has_bit(l->kept, l->next))
                        continue;
                int rc = answer_of_kept(l, l->next, ret);
                if (rc == -ENOENT || rc == -EBADMSG)
                        continue;
                l->next += rc == 0;
                return rc ? rc : 1;
        }
        return 0;
}

/* Starts as many lines as may run. */
static int feed(struct lines *l)
{
        size_t most = share(l->b->all);
        int64_t now = clock_mono_ms();
        struct answer *a = NULL, **at = &l->waiting.first;
        while (*at && l->running.n < most) {
                if ((*at)->due_ms > now) {
                        at = &(*at)->next;
                        continue;
                }
                a = list_take(&l->waiting, at);
                if (!begin(l, a))
                        break;
        }
        while (!l->read_all && l->running.n + l->waiting.n < most) {
                int rc = l->only_kept ? next_kept(l, &a) : next_line(l, &a);
                if (rc < 0)
                        return rc;
                l->read_all = !rc;
                if (rc && !begin(l, a))
                        break;
        }
        return 0;
}

/* ---- coming back ---- */

/* Waits for answers; under the lock. With few of them at a time this thread and the disk would be busy for
 * nothing: there are more lines at work than the model takes at once. */
static void wait_told(struct lines *l)
{
        l->n_told = l->running.n / 4 < 1 ? 1 : l->running.n / 4 < GATHER_MAX ? l->running.n / 4 : GATHER_MAX;
        if (l->n_done < l->n_told)
                thread_cond_wait_until(&l->told, &l->lock, clock_mono_ms() + GATHER_MS);
        l->n_told = 0;
}

/* What becomes of lines that come back without an answer. */
enum rest {
        REST_AGAIN,   /* another attempt */
        REST_LATER,   /* another attempt, of another claim */
        REST_DROPPED, /* none */
};

static void take(struct lines *l, struct answer *a, enum rest rest)
{
        a->attempts += a->verdict == REFUSED;
        a->troubles += a->verdict == TROUBLE;
        if (a->kept)
                set_bit(l->kept, a->index);
        if (a->verdict == ANSWERED || (rest == REST_AGAIN && a->attempts >= ATTEMPTS)) {
                if (!a->status)
                        write_failure(a);
                list_add(&l->ready, a);
        } else if (rest == REST_AGAIN) {
                postpone(l, a);
        } else if (rest == REST_DROPPED && a->usage) {
                a->dropped = true;
                list_add(&l->ready, a);
        } else {
                answer_free(a);
        }
}

/* Takes what has come back, waiting a moment for it: to the commit, or aside for another attempt. */
static void collect(struct lines *l, enum rest rest)
{
        pthread_mutex_lock(&l->lock);
        wait_told(l);
        struct answer *done = l->done;
        l->done = NULL;
        l->n_done = 0;
        pthread_mutex_unlock(&l->lock);
        if (done && !l->ready.n)
                l->ready_ms = clock_mono_ms();
        for (struct answer *next; done; done = next) {
                next = done->next;
                end(l, done);
                take(l, done, rest);
        }
}

/* ---- committing ---- */

/* The counts of the object with those of n answers more; nothing when none of them is one. */
static json_t *counted(const struct batch *b, const struct answers *list, size_t n)
{
        json_t *counts = json_get(b->object, "request_counts"), *u = json_get(b->object, "usage");
        json_int_t good = 0, bad = 0,
                   t[4] = { json_int(u, "input_tokens", 0),
                            json_int(json_get(u, "input_tokens_details"), "cached_tokens", 0),
                            json_int(u, "output_tokens", 0),
                            json_int(json_get(u, "output_tokens_details"), "reasoning_tokens", 0) };
        const struct answer *a = list->first;
        for (size_t i = 0; i < n; i++, a = a->next) {
                good += succeeded(a);
                bad += !succeeded(a) && !a->dropped;
                for (int k = 0; k < 4; k++)
                        t[k] += succeeded(a) ? a->tokens[k] : 0;
        }
        if (!good && !bad)
                return json_object();
        return json_pack("{s:{s:I, s:I, s:I}, s:{s:I, s:{s:I}, s:I, s:{s:I}, s:I}}", "request_counts",
                         "total", json_int(counts, "total", 0), "completed",
                         json_int(counts, "completed", 0) + good, "failed",
                         json_int(counts, "failed", 0) + bad, "usage", "input_tokens", t[0],
                         "input_tokens_details", "cached_tokens", t[1], "output_tokens", t[2],
                         "output_tokens_details", "reasoning_tokens", t[3], "total_tokens", t[0] + t[2]);
}

/* The row of an answer, its usage, and the end of the reply that was kept: the number of operations.
 * `created` is its place: lists come in the order of the input. */
static size_t answer_ops(const struct answer *a, struct store_op ops[ANSWER_OPS])
{
        const struct batch *b = a->lines->b;
        size_t n = 0;
        if (a->usage)
                ops[n++] = (struct store_op){ .verb = STORE_USAGE, .usage = a->usage };
        if (a->dropped)
                return n;
        ops[n++] = (struct store_op){ .verb = STORE_PUT,
                                      .kind = BATCH_LINE_KIND,
                                      .id = a->id,
                                      .project = b->project,
                                      .parent = b->id,
                                      .created = batch_time(b, "created_at") + (int64_t)a->index,
                                      .f = { succeeded(a) ? BATCH_LINE_OUTPUT : BATCH_LINE_ERROR },
                                      .doc = buf_str(&a->out) };
        if (a->kept)
                ops[n++] = (struct store_op){
                        .verb = STORE_DELETE, .kind = BATCH_REPLY_KIND, .id = a->id, .project = b->project
                };
        return n;
}

/* Whether a commit failed only because a kept reply that it removes is not there; the next one leaves it. */
static bool is_kept_missing(struct lines *l, int rc, const struct store_op *ops,
                            const struct store_fault *why)
{
        bool missing = rc == -ENOENT && why->op && ops[why->op - 1].verb == STORE_DELETE;
        for (struct answer *a = l->ready.first; missing && a; a = a->next)
                a->kept &= a->id != ops[why->op - 1].id;
        return missing;
}

/* Commits the first answers that are ready, as many as make a reasonable transaction. */
static int commit_some(struct lines *l)
{
        struct store_fault why = { 0 };
        size_t n = 0, bytes = 0, n_ops = 0;
        for (const struct answer *a = l->ready.first; a && n < COMMIT_ANSWERS && bytes < COMMIT_BYTES;
             a = a->next) {
                bytes += a->out.n;
                n++;
        }
        struct store_op *ops = mem_calloc(ANSWER_OPS * n, sizeof(*ops));
        const struct answer *a = l->ready.first;
        for (size_t i = 0; ops && i < n; i++, a = a->next)
                n_ops += answer_ops(a, ops + n_ops);
        int rc = ops ? batch_save(l->b, NULL, counted(l->b, &l->ready, n), ops, n_ops, &why) : -ENOMEM;
        for (size_t i = 0; rc == 0 && i < n; i++) {
                struct answer *kept = list_take(&l->ready, &l->ready.first);
                if (!kept->dropped)
                        set_bit(l->answered, kept->index);
                answer_free(kept);
        }
        if (ops && is_kept_missing(l, rc, ops, &why))
                rc = 0;
        mem_free(ops);
        return rc;
}

static int commit_ready(struct lines *l)
{
        int rc = 0;
        while (rc == 0 && l->ready.n)
                rc = commit_some(l);
        l->trouble = rc != 0;
        return rc;
}

/* Whether it is time to commit. */
static bool is_ripe(const struct lines *l)
{
        return l->ready.n >= COMMIT_MANY || !l->running.n || clock_mono_ms() - l->ready_ms >= COMMIT_WAIT_MS;
}

/* ---- the whole ---- */

/* Marks the lines of which a process before this one has left a row of this kind. */
static int read_lines(struct lines *l, const char *kind, unsigned char *bits)
{
        char after[BATCH_LINE_ID_MAX];
        bool more = true;
        int rc = 0;
        for (bool first = true; more && rc == 0; first = false) {
                struct store_page page;
                size_t index;
                rc = batch_rows(l->b, kind, first ? NULL : after, PAGE, &page);
                if (rc)
                        break;
                for (size_t i = 0; i < page.n; i++)
                        if (batch_line_index(l->b, page.items[i].id, &index) && index < l->total)
                                set_bit(bits, index);
                if (page.n)
                        snprintf(after, sizeof(after), "%s", page.items[page.n - 1].id);
                more = page.has_more;
                store_page_release(&page);
        }
        return rc;
}

/* What an error of the input leads to. */
static int input_end(int rc)
{
        return batch_input_lost(rc) ? BATCH_NO_INPUT : rc;
}

static int lines_open(struct lines *l, struct batch *b, bool only_kept)
{
        memset(l, 0, sizeof(*l));
        l->b = b;
        l->only_kept = only_kept;
        l->total = (size_t)json_int(json_get(b->object, "request_counts"), "total", 0);
        l->total = l->total < BATCH_MAX_LINES ? l->total : BATCH_MAX_LINES;
        l->answered = mem_calloc(l->total / 8 + 1, 1);
        l->kept = mem_calloc(l->total / 8 + 1, 1);
        list_init(&l->waiting);
        list_init(&l->ready);
        pthread_mutex_init(&l->lock, NULL);
        thread_cond_init(&l->told);
        int rc = l->answered && l->kept ? read_lines(l, BATCH_LINE_KIND, l->answered) : -ENOMEM;
        if (rc == 0)
                rc = read_lines(l, BATCH_REPLY_KIND, l->kept);
        return rc || only_kept ? rc : input_end(batch_input_open(&l->in, b));
}

/* Nothing runs any more. */
static void lines_close(struct lines *l)
{
        list_clear(&l->waiting);
        list_clear(&l->ready);
        batch_input_close(&l->in);
        pthread_cond_destroy(&l->told);
        pthread_mutex_destroy(&l->lock);
        vec_release(&l->running);
        mem_free(l->answered);
        mem_free(l->kept);
}

static void trouble_pause(void)
{
        nanosleep(&(struct timespec){ .tv_nsec = TROUBLE_MS * 1000000 }, NULL);
}

/* Whether a commit that failed is worth another attempt by this claim. */
static bool is_passing_error(int rc)
{
        return rc != -ESTALE && rc != -ENOENT && rc != -EEXIST && rc != -EBADMSG && rc != -EALREADY;
}

/* Lets what runs come to its end, or ends it, and commits what it brings. */
static int drain(struct lines *l, enum rest rest)
{
        struct batch_runner *run = &l->b->all->o.runner;
        for (size_t i = 0; rest != REST_AGAIN && i < l->running.n; i++)
                run->cancel(l->running.p[i]->handle);
        while (l->running.n) {
                list_clear(&l->waiting);
                collect(l, rest);
        }
        int rc = commit_ready(l);
        while (rest == REST_DROPPED && rc && is_passing_error(rc) && !job_stopping(l->b->run)) {
                trouble_pause();
                rc = commit_ready(l); /* nobody else would bring it */
        }
        return rc;
}

/* What becomes of the lines at work when the work has come to `end`. With the input lost its last answers
 * still count; for any other reason they would come too late. */
static enum rest rest_of(int end)
{
        if (end == BATCH_DONE || end == BATCH_NO_INPUT)
                return REST_AGAIN;
        return end == BATCH_CANCELLED || end == BATCH_EXPIRED ? REST_DROPPED : REST_LATER;
}

static int look(struct lines *l)
{
        int why = batch_look(l->b, false);
        return l->only_kept && why != BATCH_STOPPED ? BATCH_DONE : why;
}

/* Runs lines until there are none or there is a reason to leave off. */
static int work(struct lines *l)
{
        int rc = 0, why = look(l);
        bool done = false;
        while (!done && why == BATCH_DONE && rc == 0) {
                if (!l->trouble) /* else no more work for the store */
                        rc = input_end(feed(l));
                collect(l, REST_AGAIN);
                int saved = is_ripe(l) ? commit_ready(l) : 0;
                if (saved && !is_passing_error(saved))
                        return saved;
                if (saved)
                        trouble_pause();
                done = l->read_all && !l->running.n && !l->waiting.n && !l->ready.n;
                why = look(l);
        }
        return rc ? rc : done ? BATCH_DONE : why;
}

static void count_running(struct batches *all, int change)
{
        pthread_mutex_lock(&all->lock);
        all->running += change;
        pthread_mutex_unlock(&all->lock);
}

static int execute(struct batch *b, bool only_kept)
{
        struct lines l;
        count_running(b->all, 1);
        int rc = lines_open(&l, b, only_kept);
        if (rc == 0)
                rc = work(&l);
        int saved = drain(&l, rest_of(rc));
        if (saved && rc >= 0 && rc != BATCH_STOPPED)
                rc = saved;
        lines_close(&l);
        count_running(b->all, -1);
        return rc;
}

int batch_execute(struct batch *b)
{
        return execute(b, false);
}

int batch_answer_kept(struct batch *b)
{
        struct store_page page;
        int rc = batch_rows(b, BATCH_REPLY_KIND, NULL, 1, &page);
        if (rc)
                return rc;
        bool any = page.n > 0;
        store_page_release(&page);
        return any ? execute(b, true) : BATCH_DONE;
}
