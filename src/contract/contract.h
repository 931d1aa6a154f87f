/* The OpenAI contract as data: which operations exist, what a request may say and what a reply must be.
 * The tables are generated at build time from contract/ (see contract/README.md); this folder knows no
 * sockets and keeps no state. Every function may be called from any thread. */
#ifndef CAIRN_CONTRACT_CONTRACT_H
#define CAIRN_CONTRACT_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/json.h"
#include "base/str.h"

struct schema; /* one node of the schema table: see contract/tables.h for who needs to look inside */

enum http_method { M_GET, M_POST, M_PUT, M_PATCH, M_DELETE, M_COUNT };

enum op_security {
        SEC_PROJECT, /* a project key */
        SEC_ADMIN,   /* an admin key, and only that */
        SEC_NONE,    /* anybody: health, /openapi.json */
};

enum op_flags {
        OP_OURS = 1,          /* from extensions.json, not one of the official operations */
        OP_ROOT = 2,          /* lives at "/", not under "/v1" */
        OP_BODY_REQUIRED = 4, /* the facts demand a request body */
        OP_UPDATE = 8,        /* changes an existing object: explicit null clears (use SCHEMA_UPDATE) */
        OP_DEPRECATED = 16,
        OP_STREAMS = 32, /* can answer with server-sent events: `event` is set */
};

struct op_param {
        const char *name; /* canonical: without "[]" */
        const struct schema *schema;
        bool required;
};

/* A request body or a reply by media type. schema is NULL where the facts leave the type open. */
struct op_media {
        int status;       /* 0 for request bodies */
        const char *type; /* "application/json", "multipart/form-data", ... */
        const struct schema *schema;
};

struct operation {
        const char *id;   /* operationId, e.g. "createChatCompletion" */
        const char *path; /* template below the base path, e.g. "/files/{file_id}/content" */
        const char *tag;  /* first tag, "" when the facts name none */
        enum http_method method;
        enum op_security security;
        unsigned flags; /* enum op_flags */
        const struct op_param *path_params, *query;
        size_t n_path, n_query;
        const struct op_media *bodies, *replies;
        size_t n_bodies, n_replies;
        const struct schema *event; /* one server-sent event's data, or NULL */
};

/* Official operations; the 7 "?beta=true" twins of the facts are the same routes and not counted. */
#define CONTRACT_OFFICIAL 281

/* All operations, ours last: *ret_n of them, static. */
const struct operation *contract_operations(size_t *ret_n);
const struct operation *contract_operation(const char *id); /* NULL when unknown */
const char *contract_method_name(enum http_method m);
/* The schema of a request body of this media type (parameters such as "; charset" ignored), or NULL. */
const struct schema *contract_body(const struct operation *op, const char *media_type);
/* A component schema by its name in the facts ("CreateEmbeddingRequest"), or NULL. */
const struct schema *contract_schema(const char *name);
/* The merged facts as OpenAPI JSON text, static: GET /openapi.json. */
struct str contract_openapi(void);

/* ---- routing ---- */

#define ROUTE_MAX_PARAMS 6
#define ROUTE_MAX_PATH 2048

enum route_result {
        ROUTE_FOUND,
        ROUTE_METHOD,  /* the path exists with other methods: allow says which */
        ROUTE_UNKNOWN, /* no such path */
        ROUTE_BAD,     /* longer than ROUTE_MAX_PATH, a broken %-escape, invalid UTF-8 or a %00 */
};

struct route_match {
        const struct operation *op; /* ROUTE_FOUND only */
        unsigned allow;             /* bit 1u << enum http_method, for FOUND and METHOD */
        size_t n;
        struct {
                const char *name;  /* static */
                const char *value; /* percent-decoded, in _text */
        } param[ROUTE_MAX_PARAMS];
        char _text[ROUTE_MAX_PATH + ROUTE_MAX_PARAMS];
};

/* Finds the operation of a method and a path without its query. "/v1/x" and "/x" are the same path
 * ("/healthz" and the like exist only at the root); one trailing slash is tolerated, empty segments are
 * not. Literal segments win over parameters. `method` is the wire text; HEAD counts as GET. */
enum route_result contract_route(struct str method, struct str path, struct route_match *ret);
/* The value of a path parameter, or NULL. Valid as long as m. */
const char *route_param(const struct route_match *m, const char *name);

/* ---- validation ---- */

#define SCHEMA_PARAM_MAX 256
#define SCHEMA_MSG_MAX 768

enum schema_flags {
        SCHEMA_CREATE = 0,  /* request: explicit null equals absent on optional fields */
        SCHEMA_UPDATE = 1,  /* request: null only where the facts say nullable (it clears); absent keeps */
        SCHEMA_LENIENT = 2, /* request: unknown top-level fields are ignored */
        SCHEMA_REPLY = 4,   /* what we send: nulls only where nullable, reply-only fields required, unknown
                               fields fine unless the schema forbids them */
};

struct schema_err {
        char msg[SCHEMA_MSG_MAX];     /* in OpenAI's words */
        char param[SCHEMA_PARAM_MAX]; /* JSON path as in "messages[1].role"; "" means none (JSON null) */
        const char *code;             /* "invalid_type", ... ; static; NULL when the wire has null */
};

/* Checks value against schema. 0, or -EINVAL with *reterr filled (reterr may be NULL). Changes nothing.
 * Never recurses deeper than the schema and SCHEMA_DEPTH_MAX allow. A NULL schema accepts everything, a NULL
 * value is null. */
int schema_check(const struct schema *s, const json_t *value, unsigned flags, struct schema_err *reterr);
#define SCHEMA_DEPTH_MAX 128

/* The `default` of a field of an object schema; NULL when the facts name none. Static JSON text. */
const char *schema_default(const struct schema *s, const char *field);
/* True when an object schema knows the field. */
bool schema_has(const struct schema *s, const char *field);
/* The one field of a form's schema that takes a file; NULL when there are none or several. Static. */
const char *schema_file_field(const struct schema *s);
/* The values that a string schema lists, by index; NULL behind the last. Static. */
const char *schema_word(const struct schema *s, unsigned i);

/* ---- one shape for query, form and JSON ---- */

#define QUERY_MAX_PAIRS 1024
#define QUERY_MAX_DEPTH 6

struct kv {
        struct str name, value; /* decoded */
};

/* A multipart field. A file part has file >= 0: the caller's index of the stored part. */
struct form_field {
        struct str name, value;
        int file;              /* -1: a plain value in `value` */
        struct str filename;   /* of a file part, may be empty */
        struct str media_type; /* of the part, may be empty */
        uint64_t size;         /* bytes of a file part */
};

struct arena;

/* Splits "a=1&b%5B%5D=x" into at most QUERY_MAX_PAIRS decoded pairs in `a`. '+' is a space. 0; -EINVAL for
 * a broken %-escape, invalid UTF-8, a NUL or too many pairs (*reterr says which); -ENOMEM. */
int contract_parse_query(struct str text, struct arena *a, struct kv **ret, size_t *ret_n,
                         struct schema_err *reterr);

/* Query pairs as one JSON object, typed by the operation's parameters and validated: x, x[], x[0] and "a,b"
 * make arrays, a[k]=v objects, "2" an integer where the facts ask for one. An empty value is an absent one.
 * Unknown parameters are ignored. 0 and a new reference in *ret; -EINVAL with *reterr; -ENOMEM. */
int contract_query(const struct operation *op, const struct kv *pairs, size_t n, json_t **ret,
                   struct schema_err *reterr);

/* The same for multipart fields against the operation's multipart schema (or its JSON schema when it has no
 * multipart one), with `flags` as for schema_check. A file becomes {"$file": index, "filename",
 * "content_type", "bytes"} and is accepted where the facts say binary. */
int contract_form(const struct operation *op, const struct form_field *fields, size_t n, unsigned flags,
                  json_t **ret, struct schema_err *reterr);

/* ---- checking what we send (CAIRN_CHECK=1) ---- */

/* 0, or -EINVAL when the reply is not what the facts promise for this status and media type. body is NULL for
 * replies that are not JSON: then only status and type are checked. Error statuses (>= 400) are always
 * checked against the error envelope. */
int contract_check_reply(const struct operation *op, int status, const char *media_type, const json_t *body,
                         struct schema_err *reterr);
/* The same for one server-sent event; `event` is the name on the wire, NULL when there is no event line. */
int contract_check_event(const struct operation *op, const char *event, const json_t *data,
                         struct schema_err *reterr);

/* ---- coverage ---- */

/* Prints a table of served and unserved operations by tag, and the totals over the official operations.
 * Returns the number served. served(op, ctx) decides. verbose also lists every unserved operation. */
size_t contract_coverage(bool (*served)(const struct operation *op, void *ctx), void *ctx, bool verbose,
                         FILE *out);
#endif
