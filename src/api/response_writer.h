/* Appends the events of a running background response to its log, in groups: what comes within
 * WRITER_DELAY_MS of the first is one commit. The commit fails when the job is not ours any more, or when the
 * response was changed by somebody else (cancelled) or deleted: then nothing more is written and on_lost() is
 * told.
 *
 * One thread produces (the model's); commits are made by the thread of the feeds and answered on the
 * store's. */
#ifndef CAIRN_API_RESPONSE_WRITER_H
#define CAIRN_API_RESPONSE_WRITER_H

#include <pthread.h>
#include "api/response_feed.h"
#include "api/response_log.h"
#include "store/store.h"

#define WRITER_DELAY_MS 25
#define WRITER_RETRY_MS 1000         /* after a commit that failed for now (a full disk) */
#define WRITER_MAX ((size_t)1 << 20) /* bytes that wait before the producer is asked to pause */

struct writer_ops {
        void (*on_lost)(void *ctx); /* once; the store's thread: quick */
        void (*on_room)(void *ctx); /* what made writer_ready() say false is over; the store's thread */
        void *ctx;
};

struct writer {
        struct store *store;
        struct feeds *feeds;
        struct log_owner owner;
        const struct job *job;
        const char *kind; /* of the response's row */
        struct writer_ops ops;
        struct log_batch group; /* the producer's, until writer_ready */
        pthread_mutex_t lock;
        pthread_cond_t still;
        /* Under the lock: */
        int64_t version; /* of the response's row */
        struct log_batch waiting;
        struct log_batch flying; /* in a commit, or in one that failed for now */
        char *doc, *flying_doc;  /* the response's document, when it is to be replaced; NULL */
        size_t doc_n, flying_doc_n;
        bool in_flight, paused, closed;
        int lost; /* why; 0: it is not */
        struct feeds_timer timer;
};

/* Where a writer begins: after the events before `next`, with the row in `version`. Members of `job` and
 * `owner` are borrowed. */
struct writer_start {
        struct store *store;
        struct feeds *feeds;
        struct log_owner owner;
        const struct job *job;
        const char *kind;
        int64_t next, version;
        struct writer_ops ops;
};
void writer_init(struct writer *w, const struct writer_start *s);
/* After writer_close(). */
void writer_release(struct writer *w);

/* Producer. Adds an event to the group that is being made. 0 or -ENOMEM, -EFBIG. */
int writer_add(struct writer *w, const json_t *event);
/* Producer. The group is whole and may be committed, all of it or nothing; with it the response's new
 * document (borrowed), unless NULL. False asks for a pause. */
bool writer_ready(struct writer *w, const json_t *doc);
/* Ends the writing: waits for the commit that is under way. What was not committed is moved to *ret_rest
 * (initialised here, to be released), for a last commit at *ret_version of the row. 0, or why the response is
 * not ours any more (-ESTALE, -ENOENT, -EEXIST). */
int writer_close(struct writer *w, struct log_batch *ret_rest, int64_t *ret_version);
#endif
