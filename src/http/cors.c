/* Cross-origin resource sharing (WHATWG Fetch, section 3.2): who may read replies from a browser. */
#include "http/internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ALLOW_HEADERS                                                                              \
        "Authorization, api-key, Content-Type, OpenAI-Organization, OpenAI-Project, OpenAI-Beta, " \
        "Idempotency-Key, X-Client-Request-Id"
#define EXPOSE_HEADERS                                                                                    \
        "x-request-id, openai-processing-ms, openai-version, openai-organization, openai-poll-after-ms, " \
        "retry-after, retry-after-ms, x-should-retry, location, x-ratelimit-limit-requests, "             \
        "x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "        \
        "x-ratelimit-reset-requests, x-ratelimit-reset-tokens"

static bool allows_any(const char *origins)
{
        return strcmp(origins, "*") == 0;
}

/* Whether the reply to this request may name its origin. */
static bool allowed(const struct http_req *r, struct str *ret_origin)
{
        const char *origins = r->server->cors_origins;
        *ret_origin = origins ? http_req_header(r, "Origin") : (struct str){ NULL, 0 };
        if (!ret_origin->n)
                return false;
        if (allows_any(origins))
                return true;
        struct str rest = str_c(origins);
        while (rest.p) {
                struct str one = str_trim(str_split(rest, ',', &rest));
                if (str_ieqc(one, ret_origin->p))
                        return true;
        }
        return false;
}

bool cors_is_preflight(const struct http_req *r)
{
        struct str origin;
        return str_eqc(r->method, "OPTIONS") && http_req_header(r, "Access-Control-Request-Method").n &&
               allowed(r, &origin);
}

void cors_reply_preflight(struct http_req *r)
{
        struct str wanted = http_req_header(r, "Access-Control-Request-Headers");
        struct http_header h[] = {
                { STR("Access-Control-Allow-Methods"), STR("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS") },
                { STR("Access-Control-Allow-Headers"), wanted.n ? wanted : STR(ALLOW_HEADERS) },
                { STR("Access-Control-Max-Age"), STR("86400") },
                { STR("Vary"), STR("Access-Control-Request-Headers") },
        };
        http_reply(r, 204, h, sizeof(h) / sizeof(h[0]), STR(""));
}

void cors_add(const struct http_req *r, struct MHD_Response *response)
{
        struct str origin;
        const char *origins = r->server->cors_origins;
        if (!origins)
                return;
        if (!allows_any(origins))
                MHD_add_response_header(response, "Vary", "Origin");
        if (!allowed(r, &origin))
                return;
        MHD_add_response_header(response, "Access-Control-Allow-Origin",
                                allows_any(origins) ? "*" : origin.p);
        MHD_add_response_header(response, "Access-Control-Expose-Headers", EXPOSE_HEADERS);
}
