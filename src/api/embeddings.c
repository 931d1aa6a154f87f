/* POST /embeddings: mean-pooled states of the model, as floats or as base64 of little-endian float32. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <openssl/evp.h>
#include "api/api.h"
#include "api/handlers.h"
#include "api/meter.h"
#include "api/params.h"
#include "base/mem.h"

#define MAX_TOTAL_TOKENS 300000 /* of one request, as OpenAI has it */

struct inputs {
        struct engine_tokens tokens; /* of all inputs, one after another */
        size_t *ends;                /* where each ends */
        size_t n;
};

static void inputs_release(struct inputs *in)
{
        engine_tokens_release(&in->tokens);
        mem_free(in->ends);
}

static int add_text(const struct model *m, struct inputs *in, struct str text, struct api_err *e)
{
        if (!text.n)
                return err_invalid(e, "invalid_value", "input",
                                   "Invalid 'input': input cannot be an empty string.");
        int rc = engine_tokenize(m->engine, text, ENGINE_TOK_BOS | ENGINE_TOK_EOS, &in->tokens);
        return rc ? err_internal(e, rc, "tokenize", "") : 0;
}

static int end_input(const struct model *m, struct inputs *in, struct api_err *e)
{
        size_t start = in->n ? in->ends[in->n - 1] : 0, length = in->tokens.n - start;
        if (!length)
                return err_invalid(e, "invalid_value", "input", "Invalid 'input': an input has no tokens.");
        if (length > (size_t)m->n_ctx)
                return err_invalid(
                        e, "context_length_exceeded", "input",
                        "This model's maximum context length is %d tokens, however you requested %zu tokens. "
                        "Please reduce your input.",
                        m->n_ctx, length);
        if (in->tokens.n > MAX_TOTAL_TOKENS)
                return err_invalid(e, "invalid_value", "input",
                                   "Invalid 'input': more than %d tokens in all inputs together.",
                                   MAX_TOTAL_TOKENS);
        in->ends[in->n++] = in->tokens.n;
        return 0;
}

/* A string, a list of strings, a list of token ids or a list of such lists. */
static int read_inputs(struct req *r, const struct model *m, struct inputs *in, struct api_err *e)
{
        const json_t *input = json_object_get(r->body, "input");
        bool one = json_is_string(input) || json_is_integer(json_array_get(input, 0));
        size_t n = one ? 1 : json_array_size(input);
        in->ends = mem_calloc(n, sizeof(*in->ends));
        if (!in->ends)
                return err_internal(e, -ENOMEM, "inputs", "");
        for (size_t i = 0; i < n; i++) {
                const json_t *v = one ? input : json_array_get(input, i);
                int rc = json_is_string(v) ? add_text(m, in, json_as_str(v), e)
                                           : params_token_ids(m, v, "input", &in->tokens, e);
                if (rc || end_input(m, in, e))
                        return -1;
        }
        return 0;
}

static int compute(struct req *r, const struct model *m, const struct inputs *in, float *out,
                   struct api_err *e)
{
        struct engine_input *list = mem_calloc(in->n, sizeof(*list));
        if (!list)
                return err_internal(e, -ENOMEM, "inputs", "");
        for (size_t i = 0; i < in->n; i++) {
                size_t start = i ? in->ends[i - 1] : 0;
                list[i] = (struct engine_input){ in->tokens.p + start, in->ends[i] - start };
        }
        int rc = engine_embed(m->engine, list, in->n, out, req_gone, r);
        mem_free(list);
        if (rc == -ECANCELED)
                return err_overloaded(e); /* nobody reads it */
        return rc ? err_internal(e, rc, "embed", "") : 0;
}

/* The first `dims` numbers at unit length again, as OpenAI shortens embeddings. */
static void shorten(float *v, int dims)
{
        double sum = 0;
        for (int i = 0; i < dims; i++)
                sum += (double)v[i] * v[i];
        float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
        for (int i = 0; i < dims; i++)
                v[i] *= scale;
}

static json_t *vector_json(const float *v, int dims, bool base64)
{
        if (base64) {
                size_t bytes = (size_t)dims * sizeof(float);
                char *text = mem_alloc(bytes / 3 * 4 + 8);
                int n = text ? EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)v, (int)bytes)
                             : 0;
                json_t *s = text ? json_stringn(text, (size_t)n) : NULL;
                mem_free(text);
                return s;
        }
        json_t *list = json_array();
        for (int i = 0; i < dims; i++)
                json_array_append_new(list, json_real((double)v[i]));
        return list;
}

/* The record of usage is on the disk before the reply is given. */
static int record(struct req *r, const struct model *m, size_t tokens, struct api_err *e)
{
        meter_use(r, &(struct usage){ .what = USAGE_EMBEDDINGS,
                                      .model = m->id,
                                      .tier = "default",
                                      .n[USAGE_INPUT] = (int64_t)tokens });
        int rc = meter_write(r);
        return rc ? err_internal(e, rc, "usage", "") : 0;
}

int embedding_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct model *m;
        struct inputs in = { 0 };
        if (params_model(r, &m, reterr))
                return -1;
        int64_t dims = json_int(r->body, "dimensions", m->n_embd);
        if (dims > m->n_embd)
                return err_invalid(reterr, "integer_above_max_value", "dimensions",
                                   "Invalid 'dimensions': integer above maximum value. Expected a value <= "
                                   "%d, but got %lld "
                                   "instead.",
                                   m->n_embd, (long long)dims);
        int rc = read_inputs(r, m, &in, reterr);
        float *out = rc ? NULL : mem_calloc(in.n * (size_t)m->n_embd, sizeof(*out));
        if (rc == 0)
                rc = out ? compute(r, m, &in, out, reterr) : err_internal(reterr, -ENOMEM, "embeddings", "");
        if (rc == 0)
                rc = record(r, m, in.tokens.n, reterr);
        if (rc == 0) {
                bool base64 = !strcmp(json_cstr(r->body, "encoding_format", "float"), "base64");
                json_t *data = json_array();
                for (size_t i = 0; i < in.n; i++) {
                        float *v = out + i * (size_t)m->n_embd;
                        if (dims < m->n_embd)
                                shorten(v, (int)dims);
                        json_array_append_new(data, json_pack("{s:s, s:I, s:o}", "object", "embedding",
                                                              "index", (json_int_t)i, "embedding",
                                                              vector_json(v, (int)dims, base64)));
                }
                ret->json = json_pack("{s:s, s:o, s:s, s:{s:I, s:I}}", "object", "list", "data", data,
                                      "model", m->id, "usage", "prompt_tokens", (json_int_t)in.tokens.n,
                                      "total_tokens", (json_int_t)in.tokens.n);
        }
        mem_free(out);
        inputs_release(&in);
        return rc;
}
