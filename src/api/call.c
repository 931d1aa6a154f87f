#include "api/call.h"

#include <errno.h>
#include <stdio.h>
#include "api/api.h"
#include "api/pipeline.h"
#include "api/stream.h"
#include "base/mem.h"

int call_start(struct api *api, const struct call *c, struct req **ret)
{
        size_t n;
        *ret = NULL;
        struct req *r = req_new(api, NULL);
        if (!r)
                return -ENOMEM;
        r->op = contract_operation(c->operation);
        r->route = r->op ? api->routes[r->op - contract_operations(&n)] : NULL;
        r->who = c->who;
        r->sink = c->sink;
        r->sink_ctx = c->ctx;
        r->call_flags = c->flags;
        r->body = json_keep(r->arena, json_incref(c->body));
        if (c->request_id)
                snprintf(r->id, sizeof(r->id), "%s", c->request_id);
        int rc = !r->route ? -ENOSYS : !r->body ? -ENOMEM : 0;
        if (rc == 0) {
                req_ref(r); /* the handler's */
                *ret = r;   /* the sink may be told before pipeline_run() returns */
                rc = pipeline_run(r);
                if (rc)
                        req_unref(r);
        }
        if (rc) {
                req_unref(r);
                *ret = NULL;
        }
        return rc;
}

void call_cancel(struct req *r)
{
        req_abort(r);
}

void call_resume(struct req *r)
{
        pthread_mutex_lock(&r->_lock);
        if (r->_stream)
                stream_resume(r->_stream);
        pthread_mutex_unlock(&r->_lock);
}
