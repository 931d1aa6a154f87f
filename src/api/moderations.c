/* POST /moderations: every text judged by the classifier of src/classify. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "account/usage.h"
#include "api/api.h"
#include "api/handlers.h"
#include "api/meter.h"
#include "classify/classify.h"

#define TEXTS_MAX 2048
#define MODEL "omni-moderation-latest"
#define BYTES_PER_TOKEN 4 /* for the usage record: the classifier has no tokens of its own */

/* The names that OpenAI's clients send; all mean the one classifier. */
static const char *const models[] = { MODEL, "omni-moderation-2024-09-26", "text-moderation-latest",
                                      "text-moderation-stable", "text-moderation-007" };

static bool known_model(const char *name)
{
        for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++)
                if (!strcmp(name, models[i]))
                        return true;
        return false;
}

const char *moderation_model(const json_t *body)
{
        return known_model(json_cstr(body, "model", MODEL)) ? MODEL : NULL;
}

/* {flagged, categories, category_scores, category_applied_input_types} of one input of several texts: of each
 * category the highest score counts. */
static json_t *result(const struct classifier *c, const struct str *texts, size_t n)
{
        float best[CLASSIFY_LABELS_MAX] = { 0 }, scores[CLASSIFY_LABELS_MAX];
        json_t *categories = json_object(), *values = json_object(), *types = json_object();
        bool any = false;
        for (size_t i = 0; i < n; i++) {
                classifier_score(c, texts[i], scores);
                for (int l = 0; l < classifier_labels(c); l++)
                        best[l] = scores[l] > best[l] ? scores[l] : best[l];
        }
        for (int l = 0; l < classifier_labels(c); l++) {
                bool flagged = best[l] >= classifier_threshold(c, l);
                json_put(categories, classifier_label(c, l), json_boolean(flagged));
                json_put(values, classifier_label(c, l), json_real((double)best[l]));
                json_put(types, classifier_label(c, l), json_pack("[s]", "text"));
                any |= flagged;
        }
        return json_pack("{s:b, s:o, s:o, s:o}", "flagged", any, "categories", categories, "category_scores",
                         values, "category_applied_input_types", types);
}

static int refuse_image(struct api_err *e, size_t i)
{
        char param[64];
        snprintf(param, sizeof(param), "input[%zu]", i);
        return err_invalid(
                e, "unsupported_value", param,
                "Invalid '%s': this server's moderation model reads text only; images cannot be judged.",
                param);
}

/* Text and image parts are one input together; strings are one each. */
static int judge(const struct req *r, const json_t *input, json_t *results, struct api_err *e)
{
        const struct classifier *c = r->api->moderation;
        size_t n = json_array_size(input), i;
        struct str one = json_as_str(input), *texts = arena_array(r->arena, struct str, n + 1);
        json_t *v;
        if (!texts)
                return err_internal(e, -ENOMEM, "moderation", "");
        if (json_is_string(input)) {
                json_array_append_new(results, result(c, &one, 1));
                return 0;
        }
        json_array_foreach(input, i, v)
        {
                if (!strcmp(json_cstr(v, "type", ""), "image_url"))
                        return refuse_image(e, i);
                texts[i] = json_is_string(v) ? json_as_str(v) : json_str(v, "text");
        }
        if (json_is_object(json_array_get(input, 0))) {
                json_array_append_new(results, result(c, texts, n));
                return 0;
        }
        for (i = 0; i < n; i++)
                json_array_append_new(results, result(c, &texts[i], 1));
        return 0;
}

static int64_t text_bytes(const json_t *input)
{
        int64_t n = (int64_t)json_string_length(input);
        size_t i;
        json_t *v;
        json_array_foreach(input, i, v) n +=
                (int64_t)(json_is_string(v) ? json_as_str(v).n : json_str(v, "text").n);
        return n;
}

int moderation_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *model = json_cstr(r->body, "model", MODEL);
        json_t *input = json_get(r->body, "input"), *results = json_keep(r->arena, json_array());
        char id[ID_MAX];
        if (!moderation_model(r->body))
                return err_model_not_found(reterr, str_c(model));
        if (!r->api->moderation)
                return err_set(reterr, 501, "server_error", "not_implemented", NULL,
                               "This server has no moderation model: the operator can name one with "
                               "moderation_model.");
        if (json_is_array(input) && !json_array_size(input))
                return err_invalid(reterr, "empty_array", "input",
                                   "Invalid 'input': empty array. Expected an array with minimum length 1.");
        if (json_array_size(input) > TEXTS_MAX)
                return err_invalid(reterr, "array_above_max_length", "input",
                                   "Invalid 'input': array too long. Expected an array with maximum length "
                                   "%d, but got an "
                                   "array with length %zu instead.",
                                   TEXTS_MAX, json_array_size(input));
        if (judge(r, input, results, reterr))
                return -1;
        meter_use(r, &(struct usage){ .what = USAGE_MODERATIONS,
                                      .model = model,
                                      .tier = "default",
                                      .n[USAGE_INPUT] = text_bytes(input) / BYTES_PER_TOKEN + 1 });
        int rc = meter_write(r);
        if (rc)
                return err_internal(reterr, rc, "usage", "");
        ret->json = json_pack("{s:s, s:s, s:O}", "id", id_alnum(id, "modr-", 24), "model", model, "results",
                              results);
        return 0;
}
