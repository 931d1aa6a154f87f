/* Replies to lines that store something: kept with what they store, until the answer is committed. */
#include <errno.h>
#include <stdio.h>
#include "jobs/batch_internal.h"

int batch_keep(const struct batch_call *call, const struct batch_reply *reply, struct arena *a,
               struct store_op *ret)
{
        struct json_fault why;
        json_t *custom_id = json_parse(str_c(call->custom_id), 1, &why);
        json_t *doc = json_pack("{s:o, s:i, s:s, s:O}", "custom_id", custom_id, "status", reply->status,
                                "request_id", reply->request_id, "body", reply->body);
        *ret = (struct store_op){ .verb = STORE_PUT,
                                  .kind = BATCH_REPLY_KIND,
                                  .id = call->line,
                                  .project = call->who->project,
                                  .parent = call->batch,
                                  .doc = json_arena_text(a, doc) };
        json_decref(doc);
        return ret->doc.p ? 0 : -ENOMEM;
}

static void report_damage(const struct batches *all, const char *line, const char *why)
{
        char finding[512];
        snprintf(finding, sizeof(finding), "the reply that was kept for %s is damaged: %s", line, why);
        all->o.report(finding);
}

int batch_kept(const struct batch *b, const char *line, json_t **ret)
{
        struct object row;
        struct json_fault why;
        *ret = NULL;
        int rc = store_get(b->all->o.store, BATCH_REPLY_KIND, line, b->project, &row, NULL);
        if (rc)
                return rc;
        *ret = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        object_release(&row);
        if (*ret)
                return 0;
        if (!why.no_memory)
                report_damage(b->all, line, why.msg);
        return why.no_memory ? -ENOMEM : -EBADMSG;
}
