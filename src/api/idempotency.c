#include "api/idempotency.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/leftovers.h"
#include "api/meter.h"
#include "api/presence.h"
#include "api/response_background.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/sse.h"

#define KEY_MAX 255
#define LIFE_S (24 * 3600)
#define DOC_MAX (2 * IDEMPOTENCY_REPLY_MAX) /* escaped inside a JSON string */
#define ATTEMPTS 8
#define REFUSED (-1) /* what the err_...() functions give: no errno that the store uses */
#define SHA256_HEX 65

/* The claim of a request. */
struct idempotency {
        char id[SHA256_HEX]; /* of the row */
        char fingerprint[SHA256_HEX];
        int64_t version;   /* of the row that is ours */
        atomic_bool ended; /* the reply and the end of a rejected stream may meet */
};

/* ---- digests ---- */

static int sha256(const struct str *parts, size_t n, char ret[SHA256_HEX])
{
        unsigned char md[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);
        for (size_t i = 0; ok && i < n; i++)
                ok = EVP_DigestUpdate(c, parts[i].p, parts[i].n) && EVP_DigestUpdate(c, "", 1);
        ok = ok && EVP_DigestFinal_ex(c, md, &len);
        EVP_MD_CTX_free(c);
        if (ok)
                str_hex(md, len, ret);
        return ok ? 0 : -ENOMEM;
}

/* The operation with its path, query and body as they were understood: their order and spaces do not count.
 */
static int fingerprint(const struct req *r, char ret[SHA256_HEX])
{
        char *query = json_dumps(r->query, JSON_COMPACT | JSON_SORT_KEYS);
        char *body = json_dumps(r->body, JSON_COMPACT | JSON_SORT_KEYS);
        int rc = query && body ? 0 : -ENOMEM;
        if (rc == 0) {
                struct str parts[] = { str_c(r->op->id), http_req_path(r->http), str_c(query), str_c(body) };
                rc = sha256(parts, sizeof(parts) / sizeof(*parts), ret);
        }
        mem_free(query);
        mem_free(body);
        return rc;
}

/* ---- the claim ---- */

static const char *tenant(const struct req *r)
{
        return *r->who.project ? r->who.project : r->who.org;
}

/* The text of a reply as the row keeps it: sealed, since it may hold a secret that is shown only once. */
static json_t *sealed_text(const struct req *r, const struct idempotency *i, struct str text)
{
        char *sealed = NULL;
        if (account_seal(r->api->account, str_c(i->id), text, &sealed))
                return NULL;
        json_t *v = json_string(sealed);
        mem_free(sealed);
        return v;
}

/* What every document of the row says; new. */
static json_t *claim_json(const struct req *r, const struct idempotency *i)
{
        return json_pack("{s:s, s:s, s:s}", "fingerprint", i->fingerprint, "process", r->api->process,
                         "request", r->id);
}

/* The row's document while the request runs, or of its reply: type and text. NULL when memory is out. */
static char *document(const struct req *r, const struct idempotency *i, int status, const char *type,
                      struct str text, size_t *ret_n)
{
        json_t *doc = claim_json(r, i);
        int rc = doc ? 0 : -ENOMEM;
        if (status) {
                rc |= json_put(doc, "status", json_integer(status));
                rc |= json_put(doc, "type", type ? json_string(type) : json_null());
                rc |= json_put(doc, "text", type ? sealed_text(r, i, text) : json_null());
        }
        char *out = rc ? NULL : json_text(doc, ret_n);
        json_decref(doc);
        return out;
}

/* The document of a reply that is the stream of a background response: it is followed, not copied. */
static char *followed(const struct req *r, const struct idempotency *i, const char *response, size_t *ret_n)
{
        json_t *doc = claim_json(r, i);
        int rc = json_put(doc, "status", json_integer(200));
        rc |= json_put(doc, "follows", json_string(response));
        char *out = rc ? NULL : json_text(doc, ret_n);
        json_decref(doc);
        return out;
}

static int put_claim(struct req *r, struct idempotency *i, struct store_fault *fault)
{
        struct store_op op = { .verb = STORE_PUT,
                               .kind = KIND_IDEMPOTENCY,
                               .id = i->id,
                               .project = tenant(r),
                               .expires = clock_unix() + LIFE_S };
        char *doc = document(r, i, 0, NULL, (struct str){ 0 }, &op.doc.n);
        op.doc.p = doc;
        int rc = doc ? store_write(r->api->store, &op, 1, fault) : -ENOMEM;
        mem_free(doc);
        i->version = 1;
        return rc;
}

/* Replaces what the row says, if it is still ours. */
static struct store_op replacement(const struct req *r, const struct idempotency *i, struct str doc)
{
        return (struct store_op){ .verb = STORE_UPDATE,
                                  .kind = KIND_IDEMPOTENCY,
                                  .id = i->id,
                                  .project = tenant(r),
                                  .set = STORE_SET_DOC,
                                  .if_version = i->version,
                                  .doc = doc };
}

/* The claim of a dead process becomes ours; -ESTALE when somebody else was quicker. */
static int take_over(struct req *r, struct idempotency *i, int64_t version, struct store_fault *fault)
{
        size_t n;
        i->version = version;
        char *doc = document(r, i, 0, NULL, (struct str){ 0 }, &n);
        struct store_op op = replacement(r, i, (struct str){ doc, n });
        int rc = doc ? store_write(r->api->store, &op, 1, fault) : -ENOMEM;
        mem_free(doc);
        i->version++;
        return rc;
}

/* ---- a key that was used before ---- */

static int replay(struct req *r, const struct idempotency *i, const json_t *doc, struct reply *ret,
                  struct api_err *e)
{
        const char *type = json_cstr(doc, "type", NULL), *response = json_cstr(doc, "follows", NULL);
        ret->replayed = true;
        if (response)
                return background_follow(r, response, ret, e) ? -1 : 1;
        if (!type)
                return err_invalid(
                        e, "idempotency_reply_not_kept", NULL,
                        "The request with this Idempotency-Key was completed (%s), but its reply cannot be "
                        "given again. Retrieve what it made, or use another key.",
                        json_cstr(doc, "request", ""));
        ret->status = (int)json_int(doc, "status", 200);
        char *text = NULL;
        int rc = account_unseal(r->api->account, str_c(i->id), json_str(doc, "text"), &text, &ret->text.n);
        ret->text.p = rc ? NULL : arena_strndup(r->arena, text, ret->text.n);
        mem_free(text);
        if (rc && rc != -ENOMEM)
                return err_internal(e, -EIO, "replay", "the stored reply cannot be opened");
        ret->type = strncmp(type, "text/event-stream", 17) ? "application/json" : SSE_CONTENT_TYPE;
        return ret->text.p ? 1 : err_internal(e, -ENOMEM, "replay", "");
}

/* 1: *ret is its reply; 0: it is ours now; -ESTALE: look again; another errno of the store; REFUSED with *e.
 */
static int used_before(struct req *r, struct idempotency *i, struct reply *ret, struct store_fault *fault,
                       struct api_err *e)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(r->api->store, KIND_IDEMPOTENCY, i->id, tenant(r), &row, fault);
        if (rc)
                return rc == -ENOENT ? -ESTALE : rc;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        if (!doc) {
                rc = err_internal(e, -EIO, "idempotency", why.msg);
        } else if (strcmp(json_cstr(doc, "fingerprint", ""), i->fingerprint)) {
                rc = err_invalid(e, "idempotency_key_reused", NULL,
                                 "This Idempotency-Key was used with another request. A key may only be sent "
                                 "again with "
                                 "the same method, URL and body that it was first used with.");
        } else if (json_get(doc, "status")) {
                rc = replay(r, i, doc, ret, e);
        } else if (!strcmp(json_cstr(doc, "request", ""), r->id)) {
                i->version = row.version; /* our own claim, of which the store did not say that it was done */
        } else if (presence_alive(r->api, json_cstr(doc, "process", ""))) {
                rc = err_set(e, 409, "invalid_request_error", "idempotency_key_in_use", NULL,
                             "A request with this Idempotency-Key is still under way. Please try again in a "
                             "moment.");
                e->retry_after_ms = 1000;
        } else {
                rc = take_over(r, i, row.version, fault);
                rc = rc == -ENOENT ? -ESTALE : rc;
        }
        json_decref(doc);
        object_release(&row);
        return rc;
}

static int read_key(const struct req *r, struct idempotency *i, struct api_err *e)
{
        struct str key = req_header(r, "Idempotency-Key");
        if (key.n > KEY_MAX)
                return err_invalid(
                        e, "string_above_max_length", NULL,
                        "Invalid Idempotency-Key: a key has at most %d characters, this one has %zu.",
                        KEY_MAX, key.n);
        struct str parts[] = { str_c(tenant(r)), key };
        if (sha256(parts, 2, i->id) || fingerprint(r, i->fingerprint))
                return err_internal(e, -ENOMEM, "idempotency", "");
        return 0;
}

/* What used_before() says. After an -EIO the claim may have been written all the same, so it looks again. */
static int claim(struct req *r, struct idempotency *i, struct reply *ret, struct store_fault *fault,
                 struct api_err *e)
{
        bool unknown = false;
        int rc = -ESTALE;
        for (int attempt = 0; attempt < ATTEMPTS && (rc == -ESTALE || rc == -EIO); attempt++) {
                rc = put_claim(r, i, fault);
                if (rc == -EEXIST)
                        rc = used_before(r, i, ret, fault, e);
                unknown |= rc == -EIO;
        }
        if (rc < 0 && unknown)
                leftovers_add(r->api, i->id, tenant(r), r->id);
        return rc;
}

int idempotency_begin(struct req *r, struct reply *ret, struct api_err *reterr)
{
        if (r->op->method != M_POST || !req_header(r, "Idempotency-Key").n)
                return 0;
        struct idempotency *i = arena_make(r->arena, struct idempotency);
        struct store_fault fault = { 0 };
        if (!i)
                return err_internal(reterr, -ENOMEM, "idempotency", "");
        if (read_key(r, i, reterr))
                return -1;
        int rc = claim(r, i, ret, &fault, reterr);
        if (rc == 0)
                r->idem = i;
        else if (rc == -ESTALE)
                err_overloaded(reterr);
        else if (rc < 0 && rc != REFUSED)
                err_store(reterr, rc, &fault);
        return rc < 0 ? -1 : rc;
}

/* ---- the end ---- */

static bool tells_to_retry(int status)
{
        return status == 408 || status == 409 || status == 429 || status >= 500;
}

/* How the last write of a claim went. When it failed, nobody could use the key: it is freed later. */
static void settled(struct req *r, int rc, const struct store_fault *fault)
{
        if (!rc)
                return;
        log_warn("idempotency", "the reply of %s was not kept: %s", r->id, fault->msg);
        if (rc != -ENOENT && rc != -ESTALE) /* else it is not ours any more */
                leftovers_add(r->api, r->idem->id, tenant(r), r->id);
}

/* The document that keeps a JSON reply; NULL when memory is out. */
static char *kept_json(const struct req *r, const struct idempotency *i, int status, const json_t *body,
                       size_t *ret_n)
{
        struct buf text;
        buf_init(&text, IDEMPOTENCY_REPLY_MAX);
        bool fits = body && !json_write(body, &text);
        char *doc = document(r, i, status, fits ? "application/json" : NULL, buf_str(&text), ret_n);
        buf_release(&text);
        return doc;
}

/* The key will be free again. */
static struct store_op removal(const struct req *r, const struct idempotency *i)
{
        return (struct store_op){ .verb = STORE_DELETE,
                                  .kind = KIND_IDEMPOTENCY,
                                  .id = i->id,
                                  .project = tenant(r),
                                  .if_version = i->version };
}

/* The last write of a claim (NULL: there was no memory for it), with the record of usage that is due; when it
 * fails that alone, which is what the result is about. */
static int end_claim(struct req *r, const struct store_op *op)
{
        struct store_fault fault = { 0 };
        int rc = op ? meter_commit(r, op, 1, &fault) : -ENOMEM;
        settled(r, rc, &fault);
        return rc ? meter_write(r) : 0;
}

void idempotency_free(struct req *r)
{
        struct idempotency *i = r->idem;
        if (!i || atomic_exchange(&i->ended, true))
                return;
        struct store_op op = removal(r, i);
        end_claim(r, &op);
}

int idempotency_end(struct req *r, int status, const json_t *body)
{
        struct idempotency *i = r->idem;
        size_t n = 0;
        if (tells_to_retry(status))
                idempotency_free(r);
        if (!i || atomic_exchange(&i->ended, true))
                return 0;
        char *doc = kept_json(r, i, status, body, &n);
        struct store_op op = replacement(r, i, (struct str){ doc, n });
        int rc = end_claim(r, doc ? &op : NULL);
        mem_free(doc);
        return rc;
}

static void stream_kept(void *ctx, int rc, const struct store_fault *fault)
{
        struct req *r = ctx;
        settled(r, rc, fault);
        req_unref(r);
}

void idempotency_end_stream(struct req *r, struct str frames, bool whole)
{
        struct idempotency *i = r->idem;
        size_t n = 0;
        if (!i || atomic_exchange(&i->ended, true))
                return;
        struct store_op op = removal(r, i);
        char *doc = NULL;
        if (whole) {
                doc = document(r, i, 200, frames.p ? SSE_CONTENT_TYPE : NULL, frames, &n);
                op = replacement(r, i, (struct str){ doc, n });
        }
        req_ref(r);
        if ((whole && !doc) || store_write_async(r->api->store, &op, 1, stream_kept, r))
                stream_kept(r, -ENOMEM, &(struct store_fault){ .msg = "memory is out" });
        mem_free(doc);
}

bool idempotency_keeps(const struct req *r)
{
        return r->idem && !atomic_load(&r->idem->ended);
}

/* Commits what the request stores, and one operation more. */
static int commit_with(struct req *r, const struct store_op *ops, size_t n, const struct store_op *more,
                       struct store_fault *fault)
{
        struct store_op *all = arena_array(r->arena, struct store_op, n + 1);
        if (!all)
                return -ENOMEM;
        memcpy(all, ops, n * sizeof(*ops));
        all[n] = *more;
        return meter_commit(r, all, n + 1, fault);
}

/* The same with what is kept under the request's key (consumed; NULL: there was no memory for it). */
static int commit_kept(struct req *r, const struct store_op *ops, size_t n, char *doc, size_t doc_n,
                       struct store_fault *fault)
{
        struct idempotency *i = r->idem;
        struct store_op keep = replacement(r, i, (struct str){ doc, doc_n });
        int rc = doc ? commit_with(r, ops, n, &keep, fault) : -ENOMEM;
        if ((rc == -ENOENT || rc == -ESTALE) && fault->op == n) /* others thought this process dead */
                rc = -EAGAIN;
        atomic_store(&i->ended, rc == 0);
        mem_free(doc);
        return rc;
}

int req_commit(struct req *r, const struct store_op *ops, size_t n, const json_t *reply,
               struct store_fault *fault)
{
        struct store_op keep;
        size_t doc_n = 0;
        if (r->sink && r->sink->keep) {
                int rc = r->sink->keep(r->sink_ctx, r, reply, &keep);
                return rc ? rc : commit_with(r, ops, n, &keep, fault);
        }
        if (!idempotency_keeps(r))
                return meter_commit(r, ops, n, fault);
        char *doc = kept_json(r, r->idem, 200, reply, &doc_n);
        return commit_kept(r, ops, n, doc, doc_n, fault);
}

int req_commit_stream(struct req *r, const struct store_op *ops, size_t n, struct str frames,
                      struct store_fault *fault)
{
        size_t doc_n = 0;
        if (!idempotency_keeps(r))
                return meter_commit(r, ops, n, fault);
        char *doc = document(r, r->idem, 200, frames.p ? SSE_CONTENT_TYPE : NULL, frames, &doc_n);
        return commit_kept(r, ops, n, doc, doc_n, fault);
}

int req_commit_followed(struct req *r, const struct store_op *ops, size_t n, const char *response,
                        struct store_fault *fault)
{
        size_t doc_n = 0;
        if (!idempotency_keeps(r))
                return meter_commit(r, ops, n, fault);
        char *doc = followed(r, r->idem, response, &doc_n);
        return commit_kept(r, ops, n, doc, doc_n, fault);
}
