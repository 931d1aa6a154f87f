/* Routing, queries, forms, the tables as a whole, and every negative case of tests/contract_negative. */
#include "contract/contract.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "contract/cases.h"
#include "contract/tables.h"

/* ---- routing ---- */

static const char *route(const char *method, const char *path, struct route_match *m)
{
        enum route_result r = contract_route(str_c(method), str_c(path), m);
        static const char *const words[] = { "found", "method", "unknown", "bad" };
        return r == ROUTE_FOUND ? m->op->id : words[r];
}

static void test_route(void **state)
{
        (void)state;
        struct route_match m;
        assert_string_equal(route("POST", "/v1/chat/completions", &m), "createChatCompletion");
        assert_string_equal(route("POST", "/chat/completions", &m), "createChatCompletion");
        assert_string_equal(route("HEAD", "/v1/models", &m), "listModels");
        assert_string_equal(route("GET", "/v1/models/", &m), "listModels");
        assert_string_equal(route("GET", "/v1/models/ft:gpt:org%2Fname:x", &m), "retrieveModel");
        assert_string_equal(route_param(&m, "model"), "ft:gpt:org/name:x");
        assert_null(route_param(&m, "x"));
        assert_string_equal(route("GET", "/v1/threads/t/runs/r/steps/s", &m), "getRunStep");
        assert_string_equal(route_param(&m, "thread_id"), "t");
        assert_string_equal(route_param(&m, "run_id"), "r");
        assert_string_equal(route_param(&m, "step_id"), "s");
        assert_string_equal(route("POST", "/v1/responses/input_tokens", &m), "Getinputtokencounts");
        /* A literal segment without this method leaves the parameter its chance. */
        assert_string_equal(route("GET", "/v1/responses/input_tokens", &m), "getResponse");
        assert_string_equal(route("POST", "/v1/responses/r/cancel", &m), "cancelResponse");
        /* An alias of the beginning of a path. */
        assert_string_equal(route("POST", "/v1/webhooks/whe_1/test", &m), "testWebhookEndpoint");
        assert_string_equal(route_param(&m, "webhook_endpoint_id"), "whe_1");
        assert_string_equal(route("GET", "/v1/webhooks", &m), "listWebhookEndpoints");
        assert_string_equal(route("GET", "/healthz", &m), "getHealth");
        assert_string_equal(route("GET", "/v1/healthz", &m), "unknown");
}

static void test_route_refusals(void **state)
{
        (void)state;
        struct route_match m;
        assert_string_equal(route("PUT", "/v1/chat/completions", &m), "method");
        assert_int_equal(m.allow, 1u << M_GET | 1u << M_POST);
        assert_string_equal(route("OPTIONS", "/v1/models/m", &m), "method");
        assert_int_equal(m.allow, 1u << M_GET | 1u << M_DELETE);
        assert_string_equal(route("GET", "/v1/nothing", &m), "unknown");
        assert_string_equal(route("GET", "/v1", &m), "unknown");
        assert_string_equal(route("GET", "/v1/", &m), "unknown");
        assert_string_equal(route("GET", "/", &m), "unknown");
        assert_string_equal(route("GET", "", &m), "unknown");
        assert_string_equal(route("GET", "//v1/models", &m), "unknown");
        assert_string_equal(route("GET", "/v1//models", &m), "unknown");
        assert_string_equal(route("GET", "/v1/models//", &m), "unknown");
        assert_string_equal(route("GET", "/v1/models/%zz", &m), "bad");
        assert_string_equal(route("GET", "/v1/models/%0", &m), "bad");
        assert_string_equal(route("GET", "/v1/models/a%00b", &m), "bad");
        assert_string_equal(route("GET", "/v1/models/%ff", &m), "bad");
        assert_string_equal(route("GET", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", &m), "unknown");
        char *path = mem_calloc(1, ROUTE_MAX_PATH + 2);
        memset(path, 'a', ROUTE_MAX_PATH + 1);
        memcpy(path, "/v1/models/", 11);
        assert_string_equal(route("GET", path, &m), "bad");
        path[ROUTE_MAX_PATH] = '\0';
        assert_string_equal(route("GET", path, &m), "retrieveModel");
        assert_int_equal(strlen(route_param(&m, "model")), ROUTE_MAX_PATH - 11);
        mem_free(path);
}

/* Every operation is reached by its own path, with its parameters by their names. */
static void test_every_route(void **state)
{
        (void)state;
        size_t n;
        const struct operation *ops = contract_operations(&n);
        for (size_t i = 0; i < n; i++) {
                struct route_match m;
                struct buf b;
                buf_init(&b, 4096);
                buf_adds(&b, ops[i].flags & OP_ROOT ? "" : "/v1");
                for (const char *p = ops[i].path; *p; p++)
                        buf_addc(&b, *p == '{' || *p == '}' ? '_' : *p);
                assert_string_equal(route(contract_method_name(ops[i].method), b.p, &m), ops[i].id);
                assert_int_equal(m.n, ops[i].n_path);
                for (size_t k = 0; k < m.n; k++) {
                        assert_string_equal(m.param[k].name, ops[i].path_params[k].name);
                        assert_memory_equal(m.param[k].value + 1, m.param[k].name, strlen(m.param[k].name));
                }
                buf_release(&b);
        }
}

/* ---- the tables ---- */

static bool served_models(const struct operation *op, void *ctx)
{
        (void)ctx;
        return strcmp(op->tag, "Models") == 0 || op->flags & OP_OURS;
}

static void test_operations(void **state)
{
        (void)state;
        size_t n, official = 0, admin = 0;
        const struct operation *ops = contract_operations(&n);
        for (size_t i = 0; i < n; i++) {
                official += !(ops[i].flags & OP_OURS);
                admin += ops[i].security == SEC_ADMIN;
                assert_ptr_equal(contract_operation(ops[i].id), &ops[i]);
                assert_true(*ops[i].tag);
        }
        assert_int_equal(official, CONTRACT_OFFICIAL);
        assert_int_equal(admin, 119);
        assert_null(contract_operation("nothing"));
        assert_true(contract_operation("updateChatCompletion")->flags & OP_UPDATE);
        assert_true(contract_operation("createChatCompletion")->flags & OP_STREAMS);
        assert_int_equal(contract_operation("getHealth")->security, SEC_NONE);
        assert_int_equal(contract_operation("listModels")->security, SEC_PROJECT);
        FILE *null = fopen("/dev/null", "w");
        assert_int_equal(contract_coverage(served_models, NULL, true, null), 3);
        fclose(null);
}

static void test_defaults(void **state)
{
        (void)state;
        const struct schema *s = contract_body(contract_operation("createCompletion"), "application/json");
        assert_string_equal(schema_default(s, "max_tokens"), "16");
        assert_string_equal(schema_default(s, "prompt"), "\"<|endoftext|>\"");
        assert_null(schema_default(s, "model"));
        assert_null(schema_default(s, "nothing"));
        assert_true(schema_has(s, "model"));
        assert_false(schema_has(s, "nothing"));
        assert_null(schema_file_field(s));
        assert_null(contract_schema("Nothing"));
        assert_null(contract_body(contract_operation("createCompletion"), "text/plain"));
}

static void test_openapi(void **state)
{
        (void)state;
        struct json_fault fault;
        json_t *doc = json_parse(contract_openapi(), 200, &fault);
        assert_non_null(doc);
        assert_non_null(json_object_get(json_object_get(doc, "paths"), "/healthz"));
        assert_null(json_object_get(doc, "x-events"));
        assert_int_equal(contract_openapi().p[contract_openapi().n], 0);
        json_decref(doc);
}

static void test_pattern(void **state)
{
        (void)state;
        const struct schema *tool = contract_schema("MCPTool");
        const struct schema *s = schema_node(schema_field(tool, "tunnel_id", 9)->node);
        const char *good = "tunnel_0123456789abcdef0123456789abcdef";
        assert_true(pattern_match(schema_pattern(s), good, strlen(good)));
        assert_false(pattern_match(schema_pattern(s), good, strlen(good) - 1));
        assert_false(
                pattern_match(schema_pattern(s), "Tunnel_0123456789abcdef0123456789abcdef", strlen(good)));
}

/* ---- queries ---- */

/* The query as compact JSON, or "!param code". */
static const char *query(const char *id, const char *text)
{
        static char out[512];
        struct schema_err err = { .code = "none" };
        struct arena *a = arena_new(1 << 20);
        struct kv *pairs;
        size_t n;
        json_t *v = NULL;
        int rc = contract_parse_query(str_c(text), a, &pairs, &n, &err);
        if (rc == 0)
                rc = contract_query(contract_operation(id), pairs, n, &v, &err);
        char *json = rc ? NULL : json_text(v, &n);
        snprintf(out, sizeof(out), "%s%s%s%s", rc ? "!" : "", rc ? err.param : json, rc ? " " : "",
                 rc ? err.code ? err.code : "null" : "");
        mem_free(json);
        json_decref(v);
        arena_free(a);
        return out;
}

static void test_query(void **state)
{
        (void)state;
        assert_string_equal(query("listFiles", ""), "{}");
        assert_string_equal(query("listFiles", "limit=2&order=asc&foo=bar&beta=true"),
                            "{\"limit\":2,\"order\":\"asc\"}");
        assert_string_equal(query("listFiles", "limit=&after="), "{}");
        assert_string_equal(query("listFiles", "?=&&limit=10000"), "{\"limit\":10000}");
        assert_string_equal(query("listFiles", "after=file%2D1&purpose=fine+tune"),
                            "{\"purpose\":\"fine tune\",\"after\":\"file-1\"}");
        const char *two = "{\"include\":[\"file_search_call.results\",\"reasoning.encrypted_content\"]}";
        assert_string_equal(query("getResponse",
                                  "include%5B%5D=file_search_call.results&include[]=reasoning.encrypted_"
                                  "content"),
                            two);
        assert_string_equal(
                query("getResponse", "include=file_search_call.results,reasoning.encrypted_content"), two);
        assert_string_equal(
                query("getResponse", "include=file_search_call.results&include=reasoning.encrypted_content"),
                two);
        assert_string_equal(query("getResponse",
                                  "include[1]=reasoning.encrypted_content&include[0]=file_search_call."
                                  "results"),
                            two);
        assert_string_equal(query("getResponse", "stream=true&starting_after=3&include_obfuscation=false"),
                            "{\"stream\":true,\"starting_after\":3,\"include_obfuscation\":false}");
        assert_string_equal(query("listChatCompletions", "metadata[a]=b&metadata%5Bc%5D=d"),
                            "{\"metadata\":{\"a\":\"b\",\"c\":\"d\"}}");
        assert_string_equal(query("listChatCompletions", "metadata=null"), "{\"metadata\":null}");
        assert_string_equal(query("list-audit-logs", "effective_at[gt]=5&project_ids[]=a&project_ids[]=b"),
                            "{\"effective_at\":{\"gt\":5},\"project_ids\":[\"a\",\"b\"]}");
        assert_string_equal(query("list-audit-logs", "project_ids=a"), "{\"project_ids\":[\"a\"]}");
}

static void test_query_refusals(void **state)
{
        (void)state;
        assert_string_equal(query("listFiles", "limit=0"), "!limit integer_below_min_value");
        assert_string_equal(query("listFiles", "limit=10001"), "!limit integer_above_max_value");
        assert_string_equal(query("listInputItems", "limit=101"), "!limit integer_above_max_value");
        assert_string_equal(query("listFiles", "limit=two"), "!limit invalid_type");
        assert_string_equal(query("listFiles", "limit=1&limit=2"), "!limit invalid_type");
        assert_string_equal(query("listFiles", "limit[a]=1"), "!limit invalid_type");
        assert_string_equal(query("listFiles", "order=up"), "!order invalid_value");
        assert_string_equal(query("getResponse", "include[]=x"), "!include[0] invalid_value");
        assert_string_equal(query("getResponse", "stream=yes"), "!stream invalid_type");
        assert_string_equal(query("listFiles", "limit=%zz"), "! null");
        assert_string_equal(query("listFiles", "limit=%ff"), "! null");
        assert_string_equal(query("listFiles", "limit=%00"), "! null");
        assert_string_equal(query("listFiles", "limit=5%"), "! null");
        assert_string_equal(query("listChatCompletions", "metadata[a=b"), "! invalid_value");
        assert_string_equal(query("listChatCompletions", "metadata=a&metadata[b]=c"), "! invalid_value");
        assert_string_equal(query("listChatCompletions", "metadata[b]=c&metadata=a"), "! invalid_value");
        assert_string_equal(query("listChatCompletions", "metadata[a][b][c][d][e][f][g]=1"),
                            "! invalid_value");
        assert_string_equal(query("usage-costs", "limit=7"), "!start_time missing_required_parameter");
        struct buf b;
        buf_init(&b, 1 << 20);
        for (int i = 0; i < QUERY_MAX_PAIRS; i++)
                buf_adds(&b, "a=1&");
        assert_string_equal(query("listFiles", b.p), "! null");
        buf_release(&b);
}

/* ---- forms ---- */

static struct form_field text_field(const char *name, const char *value)
{
        return (struct form_field){ .name = str_c(name), .value = str_c(value), .file = -1 };
}

static struct form_field file_field(const char *name, int index)
{
        return (struct form_field){ .name = str_c(name), .file = index, .filename = STR("a.bin"), .size = 9 };
}

static const char *form(const char *id, const struct form_field *fields, size_t n)
{
        static char out[512];
        struct schema_err err;
        json_t *v = NULL;
        int rc = contract_form(contract_operation(id), fields, n, SCHEMA_CREATE, &v, &err);
        char *json = rc ? NULL : json_text(v, &n);
        snprintf(out, sizeof(out), "%s%s%s%s", rc ? "!" : "", rc ? err.param : json, rc ? " " : "",
                 rc ? err.code ? err.code : "null" : "");
        mem_free(json);
        json_decref(v);
        return out;
}
#define FORM(id, ...)                                  \
        form(id, (struct form_field[]){ __VA_ARGS__ }, \
             sizeof((struct form_field[]){ __VA_ARGS__ }) / sizeof(struct form_field))
#define FILE_JSON "{\"$file\":0,\"filename\":\"a.bin\",\"content_type\":\"\",\"bytes\":9}"

static void test_form(void **state)
{
        (void)state;
        static const struct {
                const char *op, *field;
        } files[] = { { "createFile", "file" }, { "addUploadPart", "data" }, { "createUpload", NULL } };
        for (size_t f = 0; f < sizeof(files) / sizeof(*files); f++) {
                const struct operation *op = contract_operation(files[f].op);
                const char *field = schema_file_field(contract_body(op, "multipart/form-data"));
                assert_true(field == files[f].field || !strcmp(field, files[f].field));
        }
        assert_string_equal(FORM("createFile", file_field("file", 0), text_field("purpose", "batch"),
                                 text_field("expires_after[anchor]", "created_at"),
                                 text_field("expires_after[seconds]", "3600")),
                            "{\"file\":" FILE_JSON
                            ",\"purpose\":\"batch\",\"expires_after\":{\"anchor\":\"created_at\","
                            "\"seconds\":3600}}");
        assert_string_equal(
                FORM("createTranscription", file_field("file", 0), text_field("model", "whisper-1"),
                     text_field("stream", "false"), text_field("temperature", "0.5"),
                     text_field("timestamp_granularities[]", "word"), text_field("prompt", ""),
                     text_field("chunking_strategy", "auto")),
                "{\"file\":" FILE_JSON ",\"model\":\"whisper-1\",\"stream\":false,\"temperature\":0.5,"
                "\"timestamp_granularities\":[\"word\"],\"prompt\":\"\",\"chunking_strategy\":\"auto\"}");
        assert_string_equal(FORM("createTranscription", file_field("file", 0),
                                 text_field("model", "whisper-1"),
                                 text_field("chunking_strategy[type]", "server_vad"),
                                 text_field("chunking_strategy[threshold]", "0.5")),
                            "{\"file\":" FILE_JSON
                            ",\"model\":\"whisper-1\",\"chunking_strategy\":{\"type\":\"server_vad\","
                            "\"threshold\":0.5}}");
        assert_string_equal(FORM("createImageEdit", file_field("image", 0), text_field("prompt", "a, b"),
                                 text_field("n", "2")),
                            "{\"image\":" FILE_JSON ",\"prompt\":\"a, b\",\"n\":2}");
        assert_string_equal(FORM("createImageEdit", file_field("image[]", 0), text_field("prompt", "a")),
                            "{\"image\":[" FILE_JSON "],\"prompt\":\"a\"}");
        assert_string_equal(FORM("createImageEdit", file_field("image", 0), file_field("image", 0),
                                 text_field("prompt", "a")),
                            "{\"image\":[" FILE_JSON "," FILE_JSON "],\"prompt\":\"a\"}");
        assert_string_equal(FORM("create-realtime-call", text_field("sdp", "v=0"),
                                 text_field("session", "{\"type\":\"realtime\"}")),
                            "{\"sdp\":\"v=0\",\"session\":{\"type\":\"realtime\"}}");
}

static void test_form_refusals(void **state)
{
        (void)state;
        assert_string_equal(FORM("createFile", text_field("file", "x"), text_field("purpose", "batch")),
                            "!file invalid_type");
        assert_string_equal(FORM("createFile", text_field("purpose", "batch")),
                            "!file missing_required_parameter");
        assert_string_equal(FORM("createFile", file_field("file", 0), text_field("purpose", "x")),
                            "!purpose invalid_value");
        assert_string_equal(FORM("createFile", file_field("file", 0), text_field("purpose", "batch"),
                                 text_field("x", "1")),
                            "!x unknown_parameter");
        assert_string_equal(FORM("createFile", file_field("file", 0), text_field("purpose", "\xff")),
                            "! null");
        assert_string_equal(FORM("createFile", file_field("file", 0), text_field("\xff", "x")), "! null");
        assert_string_equal(form("createFile", (struct form_field[]){ { .file = -1 } }, 1), "! null");
        /* Files that were not sent. */
        assert_string_equal(FORM("createVideo", text_field("prompt", "a"),
                                 text_field("input_reference", "{\"$file\":7}")),
                            "!input_reference invalid_type");
        assert_string_equal(
                FORM("createVideo", text_field("prompt", "a"), text_field("input_reference[$file]", "7")),
                "! invalid_value");
        json_t *forged = json_pack("{s:s, s:{s:i}}", "purpose", "batch", "file", "$file", 7);
        struct schema_err err;
        const struct schema *upload = contract_body(contract_operation("createFile"), "multipart/form-data");
        assert_int_equal(schema_check(upload, forged, SCHEMA_CREATE, &err), -EINVAL);
        assert_string_equal(err.param, "file");
        json_decref(forged);
        assert_string_equal(FORM("createTranscription", file_field("file", 0), text_field("model", "m"),
                                 text_field("temperature", "hot")),
                            "!temperature invalid_type");
}

#ifdef CAIRN_FAULTS
/* Every allocation fails once: the call says so and nothing leaks (the leak checker watches). */
static void test_out_of_memory(void **state)
{
        (void)state;
        struct kv pairs[] = { { STR("metadata[a]"), STR("b") },
                              { STR("limit"), STR("2") },
                              { STR("model"), STR("m") } };
        struct form_field fields[] = { file_field("file", 0), text_field("purpose", "batch"),
                                       text_field("expires_after[anchor]", "created_at"),
                                       text_field("expires_after[seconds]", "3600") };
        const struct operation *list = contract_operation("listChatCompletions"),
                               *create = contract_operation("createFile");
        int rc = -ENOMEM;
        long n = 0;
        while (rc) {
                json_t *v = NULL;
                mem_fail_nth(++n);
                rc = contract_query(list, pairs, 3, &v, NULL);
                mem_fail_nth(0);
                assert_true(rc == 0 || rc == -ENOMEM);
                json_decref(v);
        }
        assert_true(n > 5);
        for (n = 0, rc = -ENOMEM; rc;) {
                json_t *v = NULL;
                mem_fail_nth(++n);
                rc = contract_form(create, fields, 4, SCHEMA_CREATE, &v, NULL);
                mem_fail_nth(0);
                assert_true(rc == 0 || rc == -ENOMEM);
                json_decref(v);
        }
        assert_true(n > 10);
}
#endif

/* ---- negative cases ---- */

struct tally {
        size_t n, wrong;
};

/* What the validator makes of the case; returns its verdict. */
static int run_case(const struct negative_case *c, struct schema_err *err)
{
        unsigned flags = c->op->flags & OP_UPDATE ? SCHEMA_UPDATE : SCHEMA_CREATE;
        if (!c->query)
                return schema_check(contract_body(c->op, "application/json"), c->body, flags, err);
        struct arena *a = arena_new(1 << 20);
        struct kv *pairs;
        size_t n;
        json_t *v = NULL;
        int rc = contract_parse_query(str_c(c->query), a, &pairs, &n, err);
        if (rc == 0)
                rc = contract_query(c->op, pairs, n, &v, err);
        json_decref(v);
        arena_free(a);
        return rc;
}

static int judge(const struct negative_case *c, void *ctx)
{
        struct tally *t = ctx;
        struct schema_err err = { .code = "" };
        t->n++;
        int rc = run_case(c, &err);
        if (rc == -EINVAL && err.code && strcmp(err.param, c->param) == 0 && strcmp(err.code, c->code) == 0)
                return 0;
        t->wrong++;
        print_error("%s: %s of %s: want %s, got %s at '%s': %s\n", c->op->id, c->what, c->param, c->code,
                    rc ? err.code : "acceptance", rc ? err.param : "", rc ? err.msg : "");
        return 0;
}

static json_t *read_examples(void)
{
        struct json_fault fault = { .msg = "cannot be read" };
        struct buf b;
        buf_init(&b, 1 << 20);
        FILE *f = fopen("tests/contract_negative/examples.json", "rb");
        assert_non_null(f);
        char *room = buf_reserve(&b, 1 << 19);
        b.n = fread(room, 1, 1 << 19, f);
        fclose(f);
        json_t *v = json_parse(buf_str(&b), 100, &fault);
        buf_release(&b);
        if (!v)
                fail_msg("examples.json: %s", fault.msg);
        return v;
}

static void test_negative_cases(void **state)
{
        (void)state;
        struct tally t = { 0, 0 };
        json_t *examples = read_examples();
        size_t i, n;
        const json_t *example;
        json_array_foreach(examples, i, example)
        {
                const struct operation *op = contract_operation(json_cstr(example, "operation", ""));
                assert_non_null(op);
                assert_int_equal(contract_cases(op, json_get(example, "body"), judge, &t, &n), 0);
                assert_true(n >= 3);
        }
        json_decref(examples);
        assert_int_equal(t.wrong, 0);
        assert_true(t.n > 1500);
}

static int setup(void **state)
{
        (void)state;
        json_setup();
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_route),          cmocka_unit_test(test_route_refusals),
                cmocka_unit_test(test_every_route),    cmocka_unit_test(test_operations),
                cmocka_unit_test(test_defaults),       cmocka_unit_test(test_openapi),
                cmocka_unit_test(test_pattern),        cmocka_unit_test(test_query),
                cmocka_unit_test(test_query_refusals), cmocka_unit_test(test_form),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_out_of_memory),
#endif
                cmocka_unit_test(test_form_refusals),  cmocka_unit_test(test_negative_cases),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
