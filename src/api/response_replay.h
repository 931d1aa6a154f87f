/* Going on with a response whose process died: what its log holds is compared with what the repeated run
 * says, and only what is new is let through.
 *
 * A run with the same seed and parameters says the same again, bit by bit. So the repetition is silent until
 * it comes to where the log ends: in the middle of an item, as a rule, which then goes on under the ids that
 * clients know. Should the repetition say something else (another machine, another model file), an item that
 * is open in the log is closed as incomplete, and what the run says from that item on follows in new items:
 * clients see a valid stream without a gap in either case.
 *
 * One thread at a time; it does not block. */
#ifndef CAIRN_API_RESPONSE_REPLAY_H
#define CAIRN_API_RESPONSE_REPLAY_H

#include "agent/loop.h"
#include "base/vec.h"

/* An item as the log has it. */
struct replay_item {
        struct agent_item item; /* kind, custom, ids, name; the text and logprobs so far */
        bool spoken;            /* by the model, in deltas; else it only came whole */
        json_t *ended;          /* its final form; NULL while it is open */
};

struct replay {
        struct VEC(struct replay_item *) items;
        int64_t next;  /* sequence number of the next event */
        bool begun;    /* response.in_progress is in the log */
        bool summary;  /* reasoning in it is shown as its summary */
        bool over;     /* the last event is in the log */
        size_t at;     /* items that are dealt with: repeated as they were, or given up */
        bool live;     /* nothing of the log is left: what comes is new */
        bool going_on; /* the open item of the log has become live: it is shown with its ids */
        struct agent_item shown;
};

void replay_init(struct replay *r);
void replay_release(struct replay *r);

/* ---- reading the log ---- */

/* Adds the next event of the log. 0, -EBADMSG when it cannot follow on the ones before, -ENOMEM. */
int replay_take(struct replay *r, const json_t *event);

/* The item that is open at the log's end; NULL: none is. Lives as long as r. */
const struct agent_item *replay_open(const struct replay *r);

/* ---- repeating ---- */

struct replay_sink {
        /* The next item of the answer is one that clients have seen whole. */
        void (*kept)(void *ctx, json_t *ended);
        /* What is new. AGENT_ITEM_END of an item with `whole` unset also closes one that was given up. */
        bool (*event)(void *ctx, const struct agent_event *ev);
        void *ctx;
};

/* Filters one event of the run; false asks for no further ones for now, as event() did. When the run is done,
 * items of the log that it did not repeat are given up. */
bool replay_event(struct replay *r, const struct agent_event *ev, const struct replay_sink *sink);
/* For an item that comes whole and from no model: its logged form (borrowed) when the log has one of this
 * `type` here, else NULL: it is new then. kept() was called for what was given up, not for the result. */
json_t *replay_whole_item(struct replay *r, const char *type, const struct replay_sink *sink);
#endif
