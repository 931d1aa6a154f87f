/* Responses in the background: nobody waits for them, so they outlive their request, its connection and the
 * process.
 *
 * One that is accepted is a row, the first events of its log (response_log.h) and a job, committed together.
 * The job's worker runs the turn and appends the events; the last ones are committed together with the final
 * row, the items, the usage, the webhook event and the end of the job. When the process dies, the job is
 * claimed again, here or elsewhere, and the run is repeated with the same seed: response_replay.h lets
 * through what is new. So a response has one log without a gap, and one end.
 *
 * Whoever cancels a response writes its end himself, from any process; the run notices that the row is not
 * what it was, writes nothing more, and ends the job with the record of what it used. What was reserved of
 * the project's limits goes with the job: who ends that settles it. A job that waits is ended by whoever
 * cancels or deletes the response. */
#ifndef CAIRN_API_RESPONSE_BACKGROUND_H
#define CAIRN_API_RESPONSE_BACKGROUND_H

#include "api/op_list.h"
#include "api/resources.h"
#include "api/response.h"
#include "api/response_log.h"
#include "api/response_replay.h"

#define JOB_RESPONSE "response"

/* POST /responses with `background`, whose body was read: accepts it. */
int background_create(struct req *r, const struct response_ask *ask, struct reply *ret,
                      struct api_err *reterr);
/* The reply to a POST that made the response `id` as a stream, or that repeats it: its events, from the first
 * on, as the body asks for them. 0 or -1. */
int background_follow(struct req *r, const char *id, struct reply *ret, struct api_err *reterr);
/* Of the deletion of a response: its run, and those who follow it, are told; and after it. */
int background_on_delete(struct req *r, struct resource_change *c, struct api_err *reterr);
void background_on_gone(struct req *r, const json_t *doc);

/* ---- for the worker and for whoever cancels ---- */

/* A response as the store has it. */
struct background_state {
        char id[ID_MAX], project[ID_MAX];
        struct log_owner owner; /* points to them */
        int64_t version;
        json_t *doc;          /* {"object", "input"}; "reserved" until it runs, see meter.h; "compaction" */
        struct replay replay; /* what the log holds */
};
/* Whether a response has ended. 0 or a negative errno: -ENOENT when it was deleted. */
int background_look(struct store *s, const char *id, const char *project, bool *ret_over);
/* 0 or a negative errno: -ENOENT when there is no such response of the project, -EBADMSG when its row or log
 * is damaged. Release it in any case. */
int background_load(struct store *s, const char *id, const char *project, struct background_state *ret,
                    struct store_fault *fault);
void background_release(struct background_state *st);
bool background_is_over(const struct background_state *st); /* its status is final */

/* Makes p's output the items that the log has whole, and closes one that is open there, as incomplete. */
void background_close_items(struct response *p, const struct replay *replay);

/* The last commit of a response. */
struct background_end {
        const struct log_owner *owner;
        int64_t version;                /* that the row must have */
        const json_t *doc;              /* {"object", "input"} in the final state; borrowed until the write */
        const struct log_batch *events; /* the last ones */
};
/* Its operations, to be committed with the end of the job: the row first. `rows` holds what they borrow. */
int background_end_ops(struct req *r, const struct background_end *end, struct op_list *l,
                       struct log_rows *rows);
#endif
