/* The end of a batch: its output files, its last state, and the rows that are not needed any more. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "jobs/batch_internal.h"
#include "jobs/files.h"
#include "jobs/webhook.h"
#include "store/blob.h"

#define LINE_DEPTH 128
#define PAGE 500
#define PIECE ((size_t)256 << 10) /* of a blob, gathered in memory */
#define FILE_MAX ((uint64_t)64 << 30)

/* ---- the words of each end ---- */

static const struct final {
        const char *status, *at; /* of the batch */
        const char *event;
        const char *from;       /* the status that it had, unless any will do */
        const char *code, *msg; /* of the lines that did not run */
} finals[] = {
        [BATCH_DONE] = { "completed", "completed_at", "batch.completed", "finalizing", "server_error",
                         "This line was not run." },
        [BATCH_CANCELLED] = { "cancelled", "cancelled_at", "batch.cancelled", "cancelling", "batch_cancelled",
                              "This line was not run: the batch was cancelled." },
        [BATCH_EXPIRED] = { "expired", "expired_at", "batch.expired", NULL, "batch_expired",
                            "This line could not be run before the completion window expired." },
        [BATCH_NO_INPUT] = { "failed", "failed_at", "batch.failed", NULL, "", "" },
};

/* ---- a file that is written ---- */

struct output {
        struct batch *b;
        struct blob_writer *writer; /* NULL: no line yet */
        struct buf buf;
        struct file_made file; /* once its blob is committed */
};

static void output_init(struct output *o, struct batch *b)
{
        memset(o, 0, sizeof(*o));
        o->b = b;
        buf_init(&o->buf, STORE_DOC_MAX + 2 * PIECE);
}

/* A blob that was committed without its row stays, for files_collect(): whether the row is really missing is
 * not always known when its commit failed. */
static void output_release(struct output *o)
{
        blob_abort(o->writer);
        file_made_release(&o->file);
        buf_release(&o->buf);
}

static int output_flush(struct output *o)
{
        int rc = buf_error(&o->buf);
        if (rc == 0 && o->buf.n && (rc = blob_append(o->writer, o->buf.p, o->buf.n)))
                batch_failed(o->b, rc, blob_fault());
        buf_clear(&o->buf);
        return rc;
}

static int output_line(struct output *o, struct str line)
{
        int rc = o->writer ? 0 : blob_create(o->b->all->o.blobs, FILE_MAX, &o->writer);
        if (rc)
                return batch_failed(o->b, rc, blob_fault());
        buf_add(&o->buf, line.p, line.n);
        buf_addc(&o->buf, '\n');
        return o->buf.n >= PIECE ? output_flush(o) : buf_error(&o->buf);
}

/* Commits the blob and makes the row of its file. Nothing when there was no line. */
static int output_end(struct output *o, const char *which)
{
        const struct batch *b = o->b;
        char name[ID_MAX + 32];
        struct blob_info blob;
        int64_t now = clock_unix();
        struct file_new what = { .project = b->project,
                                 .filename = name,
                                 .purpose = "batch_output",
                                 .type = "application/jsonl",
                                 .created = now,
                                 .expires = now + json_int(b->doc, "expires_after", FILE_BATCH_EXPIRES_S) };
        if (!o->writer)
                return 0;
        snprintf(name, sizeof(name), "%s_%s.jsonl", b->id, which);
        int rc = output_flush(o);
        if (rc)
                return rc;
        rc = blob_commit(o->writer, &blob);
        o->writer = NULL;
        return rc ? batch_failed(o->b, rc, blob_fault()) : file_make(&what, &blob, 1, &o->file);
}

/* ---- the lines, in the order of the input ---- */

struct outputs {
        struct batch *b;
        const struct final *final;
        struct output good, bad;
        struct batch_input in;
        bool reads;  /* the input, for the ids of the lines that did not run */
        size_t next; /* of its lines */
        int lost;    /* why it cannot be read any more */
        struct store_page page;
        size_t at;
};

/* The next row of an answer, or NULL at their end. */
static int next_row(struct outputs *o, const struct object **ret)
{
        char after[BATCH_LINE_ID_MAX] = "";
        *ret = NULL;
        if (o->at >= o->page.n && (o->page.has_more || !o->page.items)) {
                if (o->page.n)
                        snprintf(after, sizeof(after), "%s", o->page.items[o->page.n - 1].id);
                store_page_release(&o->page);
                o->at = 0;
                int rc = batch_rows(o->b, BATCH_LINE_KIND, *after ? after : NULL, PAGE, &o->page);
                if (rc)
                        return rc;
        }
        if (o->at < o->page.n)
                *ret = &o->page.items[o->at];
        return 0;
}

static int write_row(struct outputs *o, const struct object *row)
{
        bool good = row->f[0] && !strcmp(row->f[0], BATCH_LINE_OUTPUT);
        o->at++;
        return output_line(good ? &o->good : &o->bad, row->doc);
}

/* The line of the error file for a line that did not run, from its text in the input. */
static int write_unrun(struct outputs *o, struct str text)
{
        char id[ID_MAX];
        struct json_fault why;
        json_t *line = json_parse(text, LINE_DEPTH, &why);
        json_t *v = json_pack("{s:s, s:O?, s:n, s:{s:s, s:s}}", "id", id_hex(id, "batch_req_", 32),
                              "custom_id", json_get(line, "custom_id"), "response", "error", "code",
                              o->final->code, "message", o->final->msg);
        size_t n = 0;
        char *out = v ? json_text(v, &n) : NULL;
        int rc = out ? output_line(&o->bad, (struct str){ out, n }) : -ENOMEM;
        mem_free(out);
        json_decref(v);
        json_decref(line);
        return rc;
}

/* The next line of the input; when it is lost, no more is read of it. */
static int read_input(struct outputs *o, struct str *ret)
{
        int rc = batch_input_next(&o->in, ret);
        o->next++;
        if (rc == 1)
                return 0;
        if (rc < 0 && rc != -EMSGSIZE && !batch_input_lost(rc))
                return rc;
        o->reads = false;
        o->lost = rc == -ENOENT ? -ENOENT : -EBADMSG;
        return 0;
}

/* Writes the lines in front of line `until`, which did not run. */
static int write_unrun_until(struct outputs *o, size_t until)
{
        struct str text;
        int rc = 0;
        while (rc == 0 && o->reads && o->next < until) {
                rc = read_input(o, &text);
                if (rc == 0 && o->reads)
                        rc = write_unrun(o, text);
        }
        return rc;
}

/* Writes every answer and, between them, what did not run. */
static int write_all(struct outputs *o)
{
        size_t total = (size_t)json_int(json_get(o->b->object, "request_counts"), "total", 0), index;
        const struct object *row;
        struct str text;
        int rc;
        while ((rc = next_row(o, &row)) == 0 && row) {
                if (!batch_line_index(o->b, row->id, &index))
                        return batch_failed(o->b, -EBADMSG, "the row of an answer is damaged");
                rc = write_unrun_until(o, index);
                if (rc == 0 && o->reads)
                        rc = read_input(o, &text);
                if (rc == 0)
                        rc = write_row(o, row);
                if (rc)
                        return rc;
        }
        return rc ? rc : write_unrun_until(o, total);
}

/* Opens what the lines of this end need, and writes the files. */
static int write_files(struct outputs *o, enum batch_end end)
{
        int rc = end == BATCH_DONE ? 0 : batch_input_open(&o->in, o->b);
        if (rc && !batch_input_lost(rc))
                return rc;
        if (end == BATCH_NO_INPUT) /* it was opened only to see what is wrong with it */
                o->lost = rc ? rc : -EBADMSG;
        else if (rc)
                o->lost = rc;
        else
                o->reads = end != BATCH_DONE;
        rc = write_all(o);
        if (rc == 0)
                rc = output_end(&o->good, "output");
        return rc ? rc : output_end(&o->bad, "error");
}

/* ---- the last commit ---- */

static json_t *errors_list(json_t *data)
{
        return json_pack("{s:s, s:o}", "object", "list", "data", data);
}

/* What is said of an input that was lost on the way. */
static json_t *lost_errors(int lost)
{
        bool gone = lost == -ENOENT;
        return json_pack("[o]", batch_error(gone ? "input_file_not_found" : "input_file_damaged",
                                            gone ? "The input file does not exist any more."
                                                 : "The input file is damaged.",
                                            "input_file_id", 0));
}

/* Commits the final state with ops[0..n), of room for three more: the end of its expiry, the
 * event, and the tokens given back. */
static int commit_final(struct batch *b, const struct final *f, json_t *set, struct store_op *ops, size_t n)
{
        struct store_fault fault;
        struct arena *a = arena_new(BATCH_EVENT_ARENA);
        ops[n++] = batch_over_op(b->id);
        int rc = a && set ? webhook_event_op(a, b->project, f->event, b->id, &ops[n++]) : -ENOMEM;
        if (rc == 0)
                do {
                        struct buf text = { 0 };
                        memset(&fault, 0, sizeof(fault));
                        rc = batch_unqueue(b, &text, &ops[n], &fault);
                        if (rc >= 0)
                                rc = batch_save(b, f->from, json_incref(set), ops, n + (rc == 0), &fault);
                        buf_release(&text);
                } while (rc == -EALREADY && fault.op == n + 1); /* another batch has changed what it holds */
        arena_free(a);
        json_decref(set);
        return rc;
}

/* {status, ..._at}, and whatever else there is. */
static json_t *final_set(const struct final *f)
{
        return json_pack("{s:s, s:I}", "status", f->status, f->at, (json_int_t)clock_unix());
}

int batch_fail(struct batch *b, json_t *errors)
{
        static const struct final invalid = { "failed", "failed_at", "batch.failed", "validating", "", "" };
        struct store_op ops[3];
        json_t *set = final_set(&invalid);
        json_put(set, "errors", errors_list(errors));
        return commit_final(b, &invalid, set, ops, 0);
}

static int commit_files(struct outputs *o)
{
        struct store_op ops[5];
        size_t n = 0;
        json_t *set = final_set(o->final);
        if (*o->good.file.id) {
                ops[n++] = o->good.file.op;
                json_put(set, "output_file_id", json_string(o->good.file.id));
        }
        if (*o->bad.file.id) {
                ops[n++] = o->bad.file.op;
                json_put(set, "error_file_id", json_string(o->bad.file.id));
        }
        if (o->lost)
                json_put(set, "errors", errors_list(lost_errors(o->lost)));
        if (mem_take_failure()) { /* a part of it may be missing */
                json_decref(set);
                set = NULL;
        }
        return commit_final(o->b, o->final, set, ops, n);
}

int batch_finalize(struct batch *b, enum batch_end end)
{
        struct outputs o = { .b = b, .final = &finals[end] };
        int rc = 0;
        if (end == BATCH_DONE && !batch_is(b, "finalizing"))
                rc = batch_save(b, "in_progress",
                                json_pack("{s:s, s:I}", "status", "finalizing", "finalizing_at",
                                          (json_int_t)clock_unix()),
                                NULL, 0, NULL);
        if (rc)
                return rc;
        output_init(&o.good, b);
        output_init(&o.bad, b);
        if (batch_time(b, "in_progress_at"))
                rc = write_files(&o, end);
        if (rc == 0)
                rc = commit_files(&o);
        output_release(&o.good);
        output_release(&o.bad);
        batch_input_close(&o.in);
        store_page_release(&o.page);
        return rc;
}

static int clean(struct batch *b, const char *kind, struct store_op *ops)
{
        bool more = true;
        int rc = 0;
        while (more && rc == 0) {
                struct store_page page;
                rc = batch_rows(b, kind, NULL, PAGE, &page);
                if (rc)
                        break;
                for (size_t i = 0; i < page.n; i++)
                        ops[i] = (struct store_op){ .verb = STORE_DELETE,
                                                    .kind = kind,
                                                    .id = page.items[i].id,
                                                    .project = b->project };
                if (page.n)
                        rc = job_save(b->run, (struct str){ NULL, 0 }, ops, page.n, NULL);
                more = page.has_more;
                store_page_release(&page);
        }
        return rc;
}

int batch_clean(struct batch *b)
{
        struct store_op *ops = mem_calloc(PAGE, sizeof(*ops));
        int rc = ops ? clean(b, BATCH_LINE_KIND, ops) : -ENOMEM;
        if (rc == 0)
                rc = clean(b, BATCH_REPLY_KIND, ops);
        mem_free(ops);
        return rc;
}
