/* Reading the parameters that the text endpoints share into a turn request, and refusing those that this
 * server cannot honour yet: nothing that a client asks for is ignored. */
#ifndef CAIRN_API_PARAMS_H
#define CAIRN_API_PARAMS_H

#include "api/req.h"
#include "api/tools.h"
#include "models/registry.h"
#include "models/turn.h"

/* What the contract says of the body as an error; for a parameter that another operation calls by another
 * name, the name here. */
int params_schema_error(const struct req *r, const struct schema_err *why, struct api_err *reterr);

/* The model of body.model. 404 model_not_found; 400 when it is absent. */
int params_model(struct req *r, const struct model **ret, struct api_err *reterr);

/* The id of the model that a body of the operation names, under which its limits hold: one that is served or,
 * for moderations, the classifier. NULL: there is none of that name, or none is named. Lives as long as the
 * server. */
const char *params_model_id(const struct api *api, const struct operation *op, const json_t *body);

/* A parameter of a later version. `ok` says whether the value given asks for nothing beyond what is served;
 * NULL: any value does. */
struct param_rule {
        const char *name;
        bool (*ok)(const json_t *value);
};
/* 400 unsupported_parameter for the first of the rules that the body breaks. Ends with a {NULL} row. */
int params_refuse(struct req *r, const struct param_rule *rules, struct api_err *reterr);
bool param_is_empty(const json_t *v); /* [], {} or "" */
bool param_is_false(const json_t *v);
bool param_is_in_memory(const json_t *v); /* the retention of prompts that there is */
/* 400 for stream_options without stream. */
int params_stream_options(struct req *r, struct api_err *reterr);

/* temperature, top_p, top_k, min_p, the penalties, logit_bias, seed, stop, service_tier; and whose request it
 * is. t->model is set. What t points to lies in the request's arena. */
int params_sampling(struct req *r, struct turn_req *t, struct api_err *reterr);
/* A bound of tokens in the body; dflt without it. */
int params_limit(const struct req *r, const char *name, int dflt);
/* The tier that the reply reports: "default", "flex" or "priority". */
const char *params_tier(struct req *r);
/* Appends a list of token ids; 400 for one outside the vocabulary, naming `param`. */
int params_token_ids(const struct model *m, const json_t *list, const char *param, struct engine_tokens *out,
                     struct api_err *reterr);
/* The 4xx or 5xx of a turn over messages that could not start. */
int params_turn_error(const struct req *r, enum dialect d, int rc, const struct turn_req *t,
                      const struct turn_err *why, struct api_err *reterr);
/* The same for a turn over a prompt without messages, which `param` names. */
int params_prompt_error(int rc, const struct turn_req *t, const struct turn_err *why, const char *param,
                        struct api_err *reterr);
/* "fp_" and a hash of the model's file identity: equal for equal weights and configuration. */
const char *params_fingerprint(struct arena *a, const struct model *m);
#endif
