#include "train/judge.h"

#include <string.h>

#define OPENING "<tool_call>\n"
#define CLOSING "\n</tool_call>"
#define DEPTH 32

const json_t *judge_expected(const json_t *question)
{
        const json_t *messages = json_get(question, "messages");
        return json_array_get(messages, json_array_size(messages) - 1);
}

/* Takes the next call off the front of *rest; NULL when it does not start with one. */
static json_t *next_call(struct str *rest)
{
        struct json_fault bad;
        if (!str_starts(*rest, OPENING))
                return NULL;
        struct str body = { rest->p + strlen(OPENING), rest->n - strlen(OPENING) };
        const char *end = memmem(body.p, body.n, CLOSING, strlen(CLOSING));
        if (!end)
                return NULL;
        size_t used = (size_t)(end - rest->p) + strlen(CLOSING);
        body.n = (size_t)(end - body.p);
        *rest = (struct str){ rest->p + used, rest->n - used };
        if (rest->n && rest->p[0] == '\n') /* between calls */
                *rest = (struct str){ rest->p + 1, rest->n - 1 };
        return json_parse(body, DEPTH, &bad);
}

static void judge_calls(const json_t *calls, struct str answer, struct verdict *v)
{
        v->named = v->right = true;
        for (size_t i = 0; i < json_array_size(calls); i++) {
                const json_t *want = json_get(json_array_get(calls, i), "function");
                json_t *got = next_call(&answer);
                v->named = v->named && str_eq(json_str(got, "name"), json_str(want, "name"));
                v->right = v->right && json_equal(json_get(got, "arguments"), json_get(want, "arguments"));
                json_decref(got);
        }
        v->named = v->named && !answer.n;
        v->right = v->right && v->named;
}

static bool same_json(struct str a, struct str b)
{
        struct json_fault bad;
        json_t *x = json_parse(a, DEPTH, &bad), *y = json_parse(b, DEPTH, &bad);
        bool same = x && y && json_equal(x, y);
        json_decref(x);
        json_decref(y);
        return same;
}

struct verdict judge_answer(const json_t *question, struct str answer)
{
        const json_t *expected = judge_expected(question), *calls = json_get(expected, "tool_calls");
        struct verdict v = { .calls = json_array_size(calls) > 0 };
        if (v.calls)
                judge_calls(calls, answer, &v);
        else if (json_get(question, "response_schema"))
                v.right = same_json(answer, json_str(expected, "content"));
        else
                v.right = str_eq(answer, json_str(expected, "content"));
        return v;
}
