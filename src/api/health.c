/* What operators ask: is it alive, is it ready, what are its figures; and the contract it serves. */
#include <errno.h>
#include "api/api.h"
#include "api/handlers.h"
#include "store/store.h"

#define METRICS_MAX ((size_t)4 << 20)
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

int health_live(struct req *r, struct reply *ret, struct api_err *reterr)
{
        (void)r;
        (void)reterr;
        ret->json = json_pack("{s:s}", "status", "ok");
        return 0;
}

/* Ready when the store takes writes: the models were opened before the first connection. */
int health_ready(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        int rc = store_ping(r->api->store, &fault);
        if (rc)
                return err_set(reterr, 503, "server_error", "not_ready", NULL,
                               "The store does not answer: %s", fault.msg);
        ret->json = json_pack("{s:s}", "status", "ready");
        return 0;
}

int health_metrics(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct buf text;
        buf_init(&text, METRICS_MAX);
        metrics_write(r->api, &text);
        int rc = buf_error(&text);
        if (rc == 0) {
                ret->type = METRICS_TYPE;
                ret->text.n = text.n;
                ret->text.p = arena_strndup(r->arena, text.p, text.n);
                rc = ret->text.p ? 0 : -ENOMEM;
        }
        buf_release(&text);
        return rc ? err_internal(reterr, rc, "metrics", "") : 0;
}

int openapi_document(struct req *r, struct reply *ret, struct api_err *reterr)
{
        (void)r;
        (void)reterr;
        ret->type = "application/json";
        ret->text = contract_openapi();
        return 0;
}
