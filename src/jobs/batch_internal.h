/* What the files of the batch worker share. A struct batch belongs to the thread of its job. */
#ifndef CAIRN_JOBS_BATCH_INTERNAL_H
#define CAIRN_JOBS_BATCH_INTERNAL_H

#include <pthread.h>
#include "account/account.h"
#include "base/buf.h"
#include "jobs/batch.h"

struct file;

struct batches {
        struct batches_options o;
        pthread_mutex_t lock;
        int running; /* batches with lines in flight: they share o.lines */
};

/* One batch in the hands of its worker. */
struct batch {
        struct batches *all;
        struct job_run *run;
        const char *id, *project; /* of the job */
        json_t *doc;              /* as the store has it in `version` */
        json_t *object;           /* borrowed from doc */
        int64_t version;
        int64_t looked_ms; /* when it was last looked for a reason to stop */
        struct principal who;
        int failed; /* the last errno of batch_failed(), */
        char why[512];
};

/* Remembers why something failed, for who reports that the batch has to wait. Returns rc. */
int batch_failed(struct batch *b, int rc, const char *why);

/* What the work on a batch has come to. Negative: an errno, whichever it is, worth another attempt: only
 * batch_load() can say that there is nothing left to work on. */
enum batch_end {
        BATCH_DONE,
        BATCH_CANCELLED, /* its client asked for it */
        BATCH_EXPIRED,
        BATCH_NO_INPUT, /* the input file is gone or damaged: `errors` says so */
        BATCH_STOPPED,  /* the server stops, or the lease is lost */
};

#define BATCH_EVENT_ARENA ((size_t)64 << 10) /* for webhook_event_op() */

/* ---- batch_row.c: its row ---- */

/* Reads the row again. -ENOENT when the batch is gone, -EBADMSG when it is damaged. */
int batch_load(struct batch *b, struct store_fault *fault);
void batch_unload(struct batch *b);
bool batch_is(const struct batch *b, const char *status);
int64_t batch_time(const struct batch *b, const char *field); /* 0 when absent */
bool batch_is_over(const json_t *object);
/* The operation of the last commit that lets the job of its expiry see that it is over. Borrows id. */
struct store_op batch_over_op(const char *id);
/* Commits the end of a batch whose time is over and which nobody has begun with: 0 when it is over, in
 * whichever way, or gone; -EAGAIN while it is not; else what the store says. */
int batch_expire_waiting(struct store *s, const char *project, const char *id);

/* Merges `set` (consumed) into the object and commits it together with ops[0..n), fenced by the lease; read
 * again when somebody else has changed the row. `from`: the status that it must have (NULL: any), else
 * -ECANCELED. -ESTALE: the lease is lost. */
int batch_save(struct batch *b, const char *from, json_t *set, const struct store_op *ops, size_t n,
               struct store_fault *fault);
/* The same with `around` (consumed; NULL: nothing) merged into the document around the object. */
int batch_save_around(struct batch *b, const char *from, json_t *set, json_t *around,
                      const struct store_op *ops, size_t n, struct store_fault *fault);
/* A reason to leave off: BATCH_STOPPED, BATCH_CANCELLED, BATCH_EXPIRED, or BATCH_DONE when there is none.
 * Asks the store only now and then, unless `now`. */
int batch_look(struct batch *b, bool now);

/* {"code", "message", "param", "line"}; line 0 and an empty param are null. NULL when memory is out. */
json_t *batch_error(const char *code, const char *msg, const char *param, size_t line);

/* ---- batch_input.c: the lines of the input ---- */

struct batch_input {
        struct batch *b;
        struct file *file;
        struct buf buf;
        size_t at, max_line;
        uint64_t offset;
        size_t number; /* of the line that was read last, from 1 */
        bool skipping; /* the rest of a line that is too long */
        char err[256];
};

/* Reads through the input file of b. 0 or a negative errno, see batch_input_lost(). */
int batch_input_open(struct batch_input *in, struct batch *b);
void batch_input_close(struct batch_input *in); /* harmless on a zeroed one */
/* The next line that is not blank, without its end; valid until the next call. 1; 0 at the end; -EMSGSIZE for
 * one that is too long, behind which reading goes on; else a negative errno, in->err says more. */
int batch_input_next(struct batch_input *in, struct str *ret);
/* Whether reading failed for good; else it is worth another attempt. */
bool batch_input_lost(int rc);

/* ---- batch_check.c: the validation of the input ---- */

/* Reads all of it and commits what it finds: in_progress (BATCH_DONE), failed, or the reason to leave off. */
int batch_validate(struct batch *b);
/* The tokens of an ended batch go back to the limit: an operation for its last commit. 0, or 1 when there is
 * none to do. `text` keeps its document. */
int batch_unqueue(struct batch *b, struct buf *text, struct store_op *ret, struct store_fault *fault);

/* ---- batch_run.c: the lines at work ---- */

/* Runs the lines without an answer. BATCH_DONE when each has one. */
int batch_execute(struct batch *b);
/* Answers only those whose reply is kept: before the end of a batch whose other lines will not run.
 * BATCH_DONE, BATCH_STOPPED or a negative errno. */
int batch_answer_kept(struct batch *b);

/* ---- batch_reply.c: what lines have stored ---- */

/* What was kept for a line: {"custom_id", "status", "request_id", "body"}, a new reference. 0; -ENOENT when
 * there is nothing; -EBADMSG when it is damaged, which is reported; else what the store says. */
int batch_kept(const struct batch *b, const char *line, json_t **ret);

/* ---- batch_output.c: the end ---- */

/* Writes the output files, and commits them and the final state. 0 or a negative errno. */
int batch_finalize(struct batch *b, enum batch_end end);
/* The same for one without lines. `errors` is consumed. */
int batch_fail(struct batch *b, json_t *errors);
/* Removes the rows below a batch that is over. */
int batch_clean(struct batch *b);

/* ---- the rows of lines ---- */

/* The number of the line of a row's id, counted from 0; false for an id that is none of ours. */
bool batch_line_index(const struct batch *b, const char *id, size_t *ret);
#define BATCH_LINE_ID_MAX (ID_MAX + 8)
const char *batch_line_id(const struct batch *b, size_t index, char out[BATCH_LINE_ID_MAX]);
/* One page of the rows of a kind behind the row `after` (NULL: the first); answers are in the order of the
 * input. */
int batch_rows(struct batch *b, const char *kind, const char *after, int limit, struct store_page *ret);
#define BATCH_LINE_OUTPUT "output" /* the first filter column: which file it goes to */
#define BATCH_LINE_ERROR "error"
#endif
