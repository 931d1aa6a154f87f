/* Replies to lines that store something: kept with what they store, until the answer is committed. */
#include <errno.h>
#include <stdio.h>
#include "jobs/batch_internal.h"

int batch_keep(const struct batch_call *call, const struct batch_reply *reply, struct arena *a,
               struct store_op *ret)
{
        json_t *doc = json_pack("{s:i, s:s, s:O}", "status", reply->status, "request_id", reply->request_id,
                                "body", reply->body);
        *ret = (struct store_op){ .verb = STORE_PUT,
                                  .kind = BATCH_REPLY_KIND,
                                  .id = call->line,
                                  .project = call->who->project,
                                  .parent = call->batch,
                                  .doc = json_arena_text(a, doc) };
        json_decref(doc);
        return ret->doc.p ? 0 : -ENOMEM;
}

/* What a line whose row is damaged is answered: its reply cannot be had again. */
static json_t *damaged(const struct batches *all, const char *line, const char *why)
{
        char finding[512];
        snprintf(finding, sizeof(finding), "the reply that was kept for %s is damaged: %s", line, why);
        all->o.report(finding);
        return json_pack("{s:i, s:s, s:{s:{s:s, s:s, s:n, s:n}}}", "status", 500, "request_id", "", "body",
                         "error", "message", "The reply that was kept for this line is damaged.", "type",
                         "server_error", "param", "code");
}

int batch_kept(const struct batch_call *call, const struct batches *all)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(all->o.store, BATCH_REPLY_KIND, call->line, call->who->project, &row, NULL);
        if (rc)
                return rc;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        object_release(&row);
        if (!doc && !why.no_memory)
                doc = damaged(all, call->line, why.msg);
        if (!doc)
                return -ENOMEM;
        struct batch_reply reply = { .status = (int)json_int(doc, "status", 0),
                                     .request_id = json_cstr(doc, "request_id", ""),
                                     .body = json_get(doc, "body"),
                                     .kept = true };
        call->done(call->ctx, &reply);
        json_decref(doc);
        return 0;
}
