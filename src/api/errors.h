/* The one form of an error: filled by these helpers, written by err_json(), wherever it arises. */
#ifndef CAIRN_API_ERRORS_H
#define CAIRN_API_ERRORS_H

#include <stdbool.h>
#include <stddef.h>
#include "base/json.h"
#include "contract/contract.h"

struct store_fault;

struct api_err {
        int status;
        const char *type;             /* static; "invalid_request_error", "server_error", ... */
        const char *code;             /* static; NULL is JSON null */
        char param[SCHEMA_PARAM_MAX]; /* "" is JSON null */
        char msg[SCHEMA_MSG_MAX];
        int retry_after_ms; /* 0: no header */
        bool no_retry;      /* clients that retry by the status are told not to */
        bool passes;        /* the same request may succeed later, whatever the status: its key is freed */
        unsigned allow;     /* 405: methods by bit, for the Allow header */
};

/* All return -1, so that a handler can `return err_...(...)`. */
int err_set(struct api_err *e, int status, const char *type, const char *code, const char *param,
            const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* 400 invalid_request_error. */
int err_invalid(struct api_err *e, const char *code, const char *param, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
int err_schema(struct api_err *e, const struct schema_err *from);
/* 400: a parameter, or the value given, that this server cannot honour for the model. */
int err_unsupported(struct api_err *e, const char *param);
/* 404 "`what` with id 'id' not found." */
int err_not_found(struct api_err *e, const char *what, const char *id);
int err_model_not_found(struct api_err *e, struct str model);
/* What a negative errno of the layers below means to a client; `doing` is for the log only. */
int err_internal(struct api_err *e, int rc, const char *doing, const char *detail);
/* The same for the store: also -ENOENT of a cursor. */
int err_store(struct api_err *e, int rc, const struct store_fault *fault);
int err_overloaded(struct api_err *e);
int err_loading(struct api_err *e); /* 503: the model is not ready yet */

/* {"error":{message,type,param,code}}: a new object, NULL when memory is out. */
json_t *err_json(const struct api_err *e);
#endif
