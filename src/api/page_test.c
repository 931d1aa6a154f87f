/* Lists that are paged in memory, and the error body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "api/errors.h"
#include "api/page.h"
#include "api/routes.h"
#include "base/mem.h"

static json_t *ids(int n)
{
        json_t *all = json_array();
        for (int i = 0; i < n; i++) {
                char id[16];
                snprintf(id, sizeof(id), "i%d", i);
                json_array_append_new(all, json_pack("{s:s}", "id", id));
        }
        return all;
}

/* Walks all pages of n objects and checks that each comes exactly once, in order. */
static void walk(int n, int limit, bool descending)
{
        json_t *all = ids(n);
        char cursor[16] = "";
        int seen = 0;
        for (bool more = true; more;) {
                struct page_query q = { cursor[0] ? cursor : NULL, NULL, limit, descending };
                struct api_err e;
                json_t *page, *item;
                size_t i;
                assert_int_equal(page_of_array(all, &q, &page, &e), 0);
                json_array_foreach(json_object_get(page, "data"), i, item)
                {
                        char want[16];
                        snprintf(want, sizeof(want), "i%d", descending ? n - 1 - seen : seen);
                        assert_string_equal(json_cstr(item, "id", ""), want);
                        seen++;
                }
                snprintf(cursor, sizeof(cursor), "%s", json_cstr(page, "last_id", ""));
                more = json_flag(page, "has_more", false);
                json_decref(page);
        }
        assert_int_equal(seen, n);
        json_decref(all);
}

static void test_pages_cover_everything_once(void **state)
{
        (void)state;
        for (int n = 0; n < 9; n++)
                for (int limit = 1; limit < 5; limit++) {
                        walk(n, limit, false);
                        walk(n, limit, true);
                }
}

static void test_unknown_cursor(void **state)
{
        (void)state;
        json_t *all = ids(3), *page;
        struct page_query q = { "nobody", NULL, 2, false };
        struct api_err e;
        assert_int_equal(page_of_array(all, &q, &page, &e), -1);
        assert_int_equal(e.status, 400);
        assert_string_equal(e.param, "after");
        json_decref(all);
}

static void test_error_body_survives_cut_characters(void **state)
{
        (void)state;
        struct api_err e;
        char euros[SCHEMA_MSG_MAX + 8] = "";
        for (int i = 0; i < SCHEMA_MSG_MAX / 3 + 1; i++)
                memcpy(euros + i * 3, "\xe2\x82\xac", 4);
        err_invalid(&e, "invalid_value", "x", "%s", euros);
        json_t *v = err_json(&e);
        json_t *error = json_object_get(v, "error");
        assert_true(json_str(error, "message").n > 700);
        assert_int_equal(json_object_size(error), 4);
        json_decref(v);
        err_set(&e, 500, "server_error", NULL, NULL, "oops");
        v = err_json(&e);
        assert_true(json_is_null(json_object_get(json_object_get(v, "error"), "param")));
        assert_true(json_is_null(json_object_get(json_object_get(v, "error"), "code")));
        json_decref(v);
}

/* Every row of the route and resource tables names an operation of the contract, and some are served. */
static void test_routes_match_the_contract(void **state)
{
        (void)state;
        size_t n, served = 0;
        const struct operation *ops = contract_operations(&n);
        const struct route **routes = routes_build();
        assert_non_null(routes);
        for (size_t i = 0; i < n; i++)
                if (routes[i]) {
                        assert_string_equal(routes[i]->operation, ops[i].id);
                        served++;
                }
        assert_int_equal(served, routes_rows());
        routes_free(routes);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pages_cover_everything_once),
                cmocka_unit_test(test_unknown_cursor),
                cmocka_unit_test(test_error_body_survives_cut_characters),
                cmocka_unit_test(test_routes_match_the_contract),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
