/* The log of a background response: its events as they were sent, in the store, from the first to the last.
 *
 * A row (kind KIND_RESPONSE_EVENTS, parent: the response) has some consecutive events as a JSON array, one a
 * line. Its id is made of the response's id and the sequence number of its first event. So whoever has read a
 * row knows the id of the next one; nobody can append twice at one place (-EEXIST); and since no row reaches
 * over a multiple of LOG_ROW_EVENTS, the row at which to begin to read is known for every number.
 *
 * Events are kept without the padding that hides the lengths of deltas: log_padding() gives it, always the
 * same for the same event. */
#ifndef CAIRN_API_RESPONSE_LOG_H
#define CAIRN_API_RESPONSE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/vec.h"
#include "store/store.h"

#define KIND_RESPONSE_EVENTS "response.events"
#define RESPONSE_TOPIC "response"           /* told with the id when more events are committed */
#define RESPONSE_TOPIC_OVER "response.over" /* told when the response is final, or deleted */
#define LOG_ROW_EVENTS 64
#define LOG_ROW_ID_MAX (ID_MAX + 24)

/* The response that a log belongs to. Strings are borrowed. */
struct log_owner {
        const char *id, *project;
        int64_t created, expires; /* unix seconds, as of the response */
};

/* ---- writing ---- */

/* Consecutive events in memory. */
struct log_batch {
        struct buf text; /* their JSON, one behind the other */
        struct VEC(size_t) ends;
        int64_t first; /* sequence number of the first one */
};

void log_batch_init(struct log_batch *b, int64_t first);
void log_batch_release(struct log_batch *b);
/* Empties it; the next event will have the number `first`. */
void log_batch_clear(struct log_batch *b, int64_t first);
/* The sequence number of the next event. */
int64_t log_batch_next(const struct log_batch *b);
/* Appends an event, an object that begins with "type" and "sequence_number", which is log_batch_next(). 0,
 * -ENOMEM, -EFBIG; then the batch is as it was. */
int log_batch_add(struct log_batch *b, const json_t *event);
/* Appends all of `more`, which begins where b ends, and empties it. 0 or -ENOMEM, -EFBIG. */
int log_batch_move(struct log_batch *b, struct log_batch *more);

/* The operations that append a batch, and what they borrow. */
struct log_rows {
        struct store_op *ops;
        size_t n;
        struct log_row_text {
                char id[LOG_ROW_ID_MAX];
                struct buf doc;
        } * texts;
};
/* Owner's strings must live until the write. 0 or -ENOMEM, -EFBIG; release it in any case. */
int log_rows_make(const struct log_batch *b, const struct log_owner *owner, struct log_rows *ret);
void log_rows_release(struct log_rows *rows);

/* ---- reading ---- */

/* One event. Borrowed from its row. */
struct log_line {
        struct str json, type;
        int64_t sequence;
};

/* The number at which a row begins that has, or will have, the event `sequence` or ones before it. */
int64_t log_row_start(int64_t sequence);
/* Reads the row whose first event is `first`: 0, -ENOENT when there is none (yet), or the store's errors. The
 * caller releases the row. */
int log_row_read(struct store *s, const struct log_owner *owner, int64_t first, struct object *ret,
                 struct store_fault *fault);
/* The next line of a row's document, of which *rest is what was not read: 1, 0 at the end, -EBADMSG when it
 * is damaged. Begin with *rest = the document. */
int log_line_next(struct str *rest, struct log_line *ret);
/* Whether the event is the last one of its response. */
bool log_line_is_last(const struct log_line *line);
/* Appends `line` as JSON, with its padding when it is a delta and `obfuscate` is set. Errors are the
 * buffer's. */
void log_line_write(const struct log_line *line, const char *response, bool obfuscate, struct buf *out);

/* Calls fn for every event of the log in order; a non-zero return of fn ends it and is returned. */
int log_each(struct store *s, const struct log_owner *owner,
             int (*fn)(void *ctx, const struct log_line *line), void *ctx, struct store_fault *fault);
#endif
