/* A compaction under way: the model writes the summary, in as many turns as the conversation needs to pass
 * through its context, each going on from the notes of the one before. A model that writes nothing is
 * replaced by a mechanical digest; so a compaction ends well whenever the model runs at all.
 *
 * The same conversation gives the same summary: the turns take the most likely token. */
#ifndef CAIRN_API_COMPACT_RUN_H
#define CAIRN_API_COMPACT_RUN_H

#include "api/compact_plan.h"
#include "api/req.h"
#include "models/turn.h"

struct compaction;

struct compaction_req {
        const struct turn_req *turn; /* the model, priority and owner of its turns */
        struct str instructions;     /* under which the assistant works; may be empty */
        const json_t *items;         /* what the model would be shown */
        enum compact_covers covers;
        bool always; /* also when there is nothing to be summarised */
        int room;    /* tokens that the conversation should fit into afterwards, well; < 0: the context */
};

/* `done` runs once, on any thread and possibly before compaction_start returns: then compaction_result() may
 * be called. Must not block. */
typedef void compaction_done_fn(void *ctx, struct compaction *c);

/* Nothing of `q` is needed after the return. 0 with *ret, set before `done`; -ENODATA when nothing could be
 * left out; -ENOMEM. Worker threads only. */
int compaction_start(struct req *r, const struct compaction_req *q, compaction_done_fn *done, void *ctx,
                     struct compaction **ret);
void compaction_cancel(struct compaction *c); /* any thread; `done` follows soon */
void compaction_free(struct compaction *c);   /* after `done`; accepts NULL */

/* The compaction item: new. NULL with *ret_rc when it failed (-ECANCELED: it was cancelled). */
json_t *compaction_result(struct compaction *c, int *ret_rc);
/* What all its turns took. */
const struct engine_usage *compaction_usage(const struct compaction *c, int *ret_reasoning);
#endif
