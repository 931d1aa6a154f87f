#include "api/errors.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "store/store.h"

#define INVALID "invalid_request_error"
#define SERVER "server_error"
#define OVERLOAD_RETRY_MS 1000
#define LOADING_RETRY_MS 2000

static int fill(struct api_err *e, int status, const char *type, const char *code, const char *param,
                const char *fmt, va_list ap)
{
        *e = (struct api_err){ .status = status, .type = type, .code = code };
        if (param)
                snprintf(e->param, sizeof(e->param), "%s", param);
        vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
        return -1;
}

int err_set(struct api_err *e, int status, const char *type, const char *code, const char *param,
            const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        fill(e, status, type, code, param, fmt, ap);
        va_end(ap);
        return -1;
}

int err_invalid(struct api_err *e, const char *code, const char *param, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        fill(e, 400, INVALID, code, param, fmt, ap);
        va_end(ap);
        return -1;
}

int err_schema(struct api_err *e, const struct schema_err *from)
{
        return err_invalid(e, from->code, from->param, "%s", from->msg);
}

int err_unsupported(struct api_err *e, const char *param)
{
        return err_invalid(e, "unsupported_parameter", param,
                           "Unsupported parameter: '%s' is not supported with this model.", param);
}

int err_not_found(struct api_err *e, const char *what, const char *id)
{
        return err_set(e, 404, INVALID, NULL, NULL, "%s with id '%.200s' not found.", what, id);
}

int err_model_not_found(struct api_err *e, struct str model)
{
        int shown = model.n < 200 ? (int)model.n : 200;
        return err_set(e, 404, INVALID, "model_not_found", NULL,
                       "The model `%.*s` does not exist or you do not have access to it.", shown, model.p);
}

int err_overloaded(struct api_err *e)
{
        err_set(e, 503, SERVER, "overloaded", NULL,
                "The server is handling as many requests as it can. Please try again in a moment.");
        e->retry_after_ms = OVERLOAD_RETRY_MS;
        return -1;
}

int err_loading(struct api_err *e)
{
        err_set(e, 503, SERVER, "model_loading", NULL,
                "The model is still being loaded. Please try again in a moment.");
        e->retry_after_ms = LOADING_RETRY_MS;
        return -1;
}

int err_internal(struct api_err *e, int rc, const char *doing, const char *detail)
{
        if (rc == -EBUSY)
                return err_loading(e);
        if (rc == -EAGAIN || rc == -ECANCELED) /* cancelled: the client left, or the server stops */
                return err_overloaded(e);
        log_error("internal_error", "%s: %s%s%s", doing, strerror(-rc), *detail ? ": " : "", detail);
        return err_set(e, rc == -ENOSPC || rc == -EROFS ? 503 : 500, SERVER, NULL, NULL,
                       "The server had an error while processing your request. Sorry about that!");
}

int err_store(struct api_err *e, int rc, const struct store_fault *fault)
{
        const char *detail = fault ? fault->msg : "";
        if (rc != -EBUSY && rc != -ENOTCONN)
                return err_internal(e, rc, "store", detail);
        log_warn("store", "%s", detail);
        err_set(e, 503, SERVER, NULL, NULL,
                "The server cannot reach its database at the moment. Please try again in a moment.");
        e->retry_after_ms = OVERLOAD_RETRY_MS;
        return -1;
}

json_t *err_json(const struct api_err *e)
{
        /* A message may have been cut inside a character of what it quotes. */
        struct str msg = str_c(e->msg), param = str_c(e->param);
        msg.n = str_utf8_complete(msg);
        param.n = str_utf8_complete(param);
        json_t *text = json_strn(msg);
        if (!text)
                text = json_string("The request is not valid.");
        return json_pack("{s:{s:o, s:s, s:o, s:s?}}", "error", "message", text, "type", e->type, "param",
                         param.n ? json_strn(param) : json_null(), "code", e->code);
}
