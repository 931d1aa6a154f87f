/* GET /models and GET /models/{model}. */
#include <string.h>
#include "api/api.h"
#include "api/handlers.h"
#include "models/registry.h"

static json_t *model_json(const char *name, const struct model *m, enum model_state state)
{
        return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", name, "object", "model", "created",
                         (json_int_t)m->created, "owned_by", m->owned_by, "status", model_state_name(state));
}

json_t *model_list_json(const struct registry *models, bool ready)
{
        json_t *data = json_array();
        const struct model *m;
        const char *name;
        for (size_t it = 0; registry_next(models, &it, &name, &m);)
                json_array_append_new(data, model_json(name, m, ready ? MODEL_READY : model_state(m)));
        return json_pack("{s:s, s:o}", "object", "list", "data", data);
}

/* The list for when all models are ready was made at the start; the tree is for checking it. */
int model_list(struct req *r, struct reply *ret, struct api_err *reterr)
{
        (void)reterr;
        if (r->check || !registry_all_ready(r->api->models)) {
                ret->json = model_list_json(r->api->models, false);
        } else {
                ret->type = "application/json";
                ret->text = r->api->model_list;
        }
        return 0;
}

int model_retrieve(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *name = req_param(r, "model");
        const struct model *m = registry_find(r->api->models, str_c(name));
        if (!m)
                return err_model_not_found(reterr, str_c(name));
        ret->json = model_json(name, m, model_state(m));
        return 0;
}
