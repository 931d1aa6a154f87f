#include "store/conformance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/conformance_internal.h"

static store_opener *opener;

int conformance_setup(void **state)
{
        *state = opener(1);
        return *state ? 0 : -1;
}

int conformance_teardown(void **state)
{
        store_close(*state);
        return 0;
}

struct store *conformance_reopen(struct store *s)
{
        store_close(s);
        s = opener(0);
        assert_non_null(s);
        return s;
}

struct store_op conformance_thing(const char *id, int64_t created)
{
        return (struct store_op){ .verb = STORE_PUT,
                                  .kind = "thing",
                                  .id = id,
                                  .project = "proj_a",
                                  .created = created,
                                  .doc = { id, strlen(id) } };
}

void conformance_put_things(struct store *s, int n)
{
        for (int i = 0; i < n; i++) {
                char id[32];
                snprintf(id, sizeof(id), "t%03d", i);
                struct store_op op = conformance_thing(id, 1000 + i / 3); /* three of each second */
                assert_int_equal(store_put(s, &op, NULL), 0);
        }
}

int64_t conformance_version(struct store *s, const char *id)
{
        struct object o;
        int rc = store_get(s, "thing", id, NULL, &o, NULL);
        int64_t version = rc ? rc : o.version;
        object_release(&o);
        return version;
}

static void put_then_get(void **state)
{
        struct store_op op = { .kind = "thing",
                               .id = "t1",
                               .project = "proj_a",
                               .parent = "p1",
                               .created = 42,
                               .expires = clock_unix() + 1000,
                               .f = { "gpt", NULL, "", "x" },
                               .doc = STR("{\"a\":\"\\u0000 \xc3\xa4\"}") };
        struct object o;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_get(*state, "thing", "t1", "proj_a", &o, NULL), 0);
        assert_string_equal(o.kind, "thing");
        assert_string_equal(o.id, "t1");
        assert_string_equal(o.project, "proj_a");
        assert_string_equal(o.parent, "p1");
        assert_int_equal(o.created, 42);
        assert_int_equal(o.expires, op.expires);
        assert_int_equal(o.version, 1);
        assert_true(o.seq > 0);
        assert_string_equal(o.f[0], "gpt");
        assert_null(o.f[1]);
        assert_string_equal(o.f[2], "");
        assert_string_equal(o.f[3], "x");
        assert_true(str_eq(o.doc, op.doc));
        assert_int_equal(o.doc.p[o.doc.n], 0);
        object_release(&o);
        assert_null(o.id);
}

static void put_empty_and_large_docs(void **state)
{
        struct store_op op = conformance_thing("empty", 1);
        struct object o;
        op.doc = (struct str){ NULL, 0 };
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_get(*state, "thing", "empty", NULL, &o, NULL), 0);
        assert_int_equal(o.doc.n, 0);
        object_release(&o);

        size_t n = 5u << 20;
        char *big = mem_alloc(n);
        memset(big, 'x', n);
        op = conformance_thing("big", 1);
        op.doc = (struct str){ big, n };
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_get(*state, "thing", "big", NULL, &o, NULL), 0);
        assert_true(str_eq(o.doc, op.doc));
        object_release(&o);
        mem_free(big);
}

static void put_twice_is_refused(void **state)
{
        struct store_fault fault;
        struct store_op op = conformance_thing("t1", 1);
        assert_int_equal(store_put(*state, &op, NULL), 0);
        op.project = "proj_b"; /* an id is taken for all tenants */
        assert_int_equal(store_put(*state, &op, &fault), -EEXIST);
        assert_non_null(strstr(fault.msg, "t1"));
        op.kind = "other"; /* but per kind */
        assert_int_equal(store_put(*state, &op, NULL), 0);
}

static void malformed_calls_are_refused(void **state)
{
        char long_id[STORE_ID_MAX + 2];
        struct store_pair twice[] = { { "k", "a" }, { "k", "b" } };
        struct store_op op = conformance_thing("", 1), none = { 0 };
        struct store_query q = { .kind = "thing", .project = "proj_a" };
        struct store_page page;
        struct object o;
        memset(long_id, 'a', sizeof(long_id) - 1);
        long_id[sizeof(long_id) - 1] = '\0';
        assert_int_equal(store_put(*state, &op, NULL), -EINVAL);
        op = conformance_thing(long_id, 1);
        assert_int_equal(store_put(*state, &op, NULL), -EINVAL);
        op = conformance_thing("t", 1);
        op.metadata = twice;
        op.nmetadata = 2;
        assert_int_equal(store_put(*state, &op, NULL), -EINVAL);
        op = conformance_thing("t", 1);
        op.verb = STORE_UPDATE;
        assert_int_equal(store_write(*state, &op, 1, NULL), -EINVAL);
        assert_int_equal(store_write(*state, &none, 1, NULL), -EINVAL);
        assert_int_equal(store_write(*state, NULL, 0, NULL), -EINVAL);
        assert_int_equal(store_list(*state, &q, &page, NULL), -EINVAL); /* limit 0 */
        q.limit = STORE_PAGE_MAX + 1;
        assert_int_equal(store_list(*state, &q, &page, NULL), -EINVAL);
        /* What a client may have sent is just not there. */
        assert_int_equal(store_get(*state, "thing", long_id, "proj_a", &o, NULL), -ENOENT);
        assert_int_equal(store_delete(*state, "thing", "", "proj_a", NULL), -ENOENT);
}

static void tenants_are_blind_to_each_other(void **state)
{
        struct store_op op = conformance_thing("t1", 1);
        struct store_query q = { .kind = "thing", .project = "proj_b", .limit = 10 };
        struct store_page page;
        struct store_fault foreign, unknown;
        struct object o;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_get(*state, "thing", "t1", "proj_b", &o, &foreign), -ENOENT);
        assert_int_equal(store_delete(*state, "thing", "t1", "proj_b", &foreign), -ENOENT);
        assert_int_equal(store_delete(*state, "thing", "t0", "proj_b", &unknown), -ENOENT);
        foreign.msg[strlen(foreign.msg) - 1] = '0';
        assert_string_equal(foreign.msg, unknown.msg);
        op.verb = STORE_UPDATE;
        op.set = STORE_SET_DOC;
        op.project = "proj_b";
        assert_int_equal(store_write(*state, &op, 1, NULL), -ENOENT);
        assert_int_equal(store_list(*state, &q, &page, NULL), 0);
        assert_int_equal(page.n, 0);
        store_page_release(&page);
        q.after = "t1";
        assert_int_equal(store_list(*state, &q, &page, NULL), -ENOENT);
        assert_int_equal(store_get(*state, "thing", "t1", "proj_a", &o, NULL), 0);
        object_release(&o);
        assert_int_equal(store_get(*state, "thing", "t1", NULL, &o, NULL), 0);
        object_release(&o);
}

static void update_sets_what_it_names(void **state)
{
        struct store_op op = conformance_thing("t1", 7);
        struct object o;
        op.f[0] = "old";
        assert_int_equal(store_put(*state, &op, NULL), 0);
        struct store_op up = { .verb = STORE_UPDATE,
                               .kind = "thing",
                               .id = "t1",
                               .project = "proj_a",
                               .doc = STR("new"),
                               .f = { "lost" },
                               .set = STORE_SET_DOC };
        assert_int_equal(store_write(*state, &up, 1, NULL), 0);
        assert_int_equal(store_get(*state, "thing", "t1", NULL, &o, NULL), 0);
        assert_true(str_eqc(o.doc, "new"));
        assert_string_equal(o.f[0], "old");
        assert_int_equal(o.version, 2);
        assert_int_equal(o.created, 7);
        object_release(&o);
        up.set = STORE_SET_FILTERS | STORE_SET_EXPIRES;
        up.doc = STR("lost");
        up.f[0] = NULL;
        up.f[3] = "four";
        up.expires = clock_unix() + 99;
        assert_int_equal(store_write(*state, &up, 1, NULL), 0);
        assert_int_equal(store_get(*state, "thing", "t1", NULL, &o, NULL), 0);
        assert_true(str_eqc(o.doc, "new"));
        assert_null(o.f[0]);
        assert_string_equal(o.f[3], "four");
        assert_int_equal(o.expires, up.expires);
        assert_int_equal(o.version, 3);
        object_release(&o);
        up.id = "none";
        assert_int_equal(store_write(*state, &up, 1, NULL), -ENOENT);
}

static void versions_guard_updates(void **state)
{
        struct store_op op = conformance_thing("t1", 1);
        struct store_op up = { .verb = STORE_UPDATE,
                               .kind = "thing",
                               .id = "t1",
                               .doc = STR("x"),
                               .set = STORE_SET_DOC,
                               .if_version = 1 };
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_write(*state, &up, 1, NULL), 0);
        assert_int_equal(store_write(*state, &up, 1, NULL), -ESTALE);
        up.verb = STORE_CHECK;
        assert_int_equal(store_write(*state, &up, 1, NULL), -ESTALE);
        up.if_version = 2;
        assert_int_equal(store_write(*state, &up, 1, NULL), 0);
        assert_int_equal(conformance_version(*state, "t1"), 2);
        up.verb = STORE_DELETE;
        up.if_version = 1;
        assert_int_equal(store_write(*state, &up, 1, NULL), -ESTALE);
        up.if_version = 2;
        assert_int_equal(store_write(*state, &up, 1, NULL), 0);
        assert_int_equal(conformance_version(*state, "t1"), -ENOENT);
}

static void delete_takes_descendants(void **state)
{
        struct store_op ops[] = { conformance_thing("root", 1), conformance_thing("child", 1),
                                  conformance_thing("grandchild", 1), conformance_thing("other", 1),
                                  conformance_thing("stranger", 1) };
        ops[1].parent = "root";
        ops[2].parent = "child";
        ops[3].parent = "elsewhere";
        ops[4].parent = "root";
        ops[4].project = "proj_b";
        assert_int_equal(store_write(*state, ops, 5, NULL), 0);
        assert_int_equal(store_delete(*state, "thing", "root", "proj_a", NULL), 0);
        assert_int_equal(conformance_version(*state, "root"), -ENOENT);
        assert_int_equal(conformance_version(*state, "child"), -ENOENT);
        assert_int_equal(conformance_version(*state, "grandchild"), -ENOENT);
        assert_int_equal(conformance_version(*state, "other"), 1);
        assert_int_equal(conformance_version(*state, "stranger"), 1);
        assert_int_equal(store_delete(*state, "thing", "root", "proj_a", NULL), -ENOENT);
}

static void a_write_is_all_or_nothing(void **state)
{
        struct store_fault fault;
        struct store_pair meta = { "k", "v" };
        struct store_op ops[] = { conformance_thing("a", 1), conformance_thing("b", 1),
                                  conformance_thing("c", 1), conformance_thing("b", 1) };
        ops[0].metadata = &meta;
        ops[0].nmetadata = 1;
        assert_int_equal(store_write(*state, ops, 4, &fault), -EEXIST);
        assert_int_equal(fault.op, 3);
        assert_int_equal(conformance_version(*state, "a"), -ENOENT);
        assert_int_equal(conformance_version(*state, "b"), -ENOENT);
        ops[3] = (struct store_op){ .verb = STORE_CHECK, .kind = "thing", .id = "missing" };
        assert_int_equal(store_write(*state, ops, 4, &fault), -ENOENT);
        assert_int_equal(conformance_version(*state, "c"), -ENOENT);
        assert_int_equal(store_write(*state, ops, 3, &fault), 0);
        assert_int_equal(conformance_version(*state, "c"), 1);
        assert_string_equal(fault.msg, "");
}

static void expired_rows_are_absent(void **state)
{
        struct store_op op = conformance_thing("t1", 5), child = conformance_thing("c1", 5),
                        live = conformance_thing("t2", 5);
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 10 };
        struct store_page page;
        size_t removed;
        op.expires = clock_unix() - 1;
        child.parent = "t1";
        live.expires = clock_unix() + 1000;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_put(*state, &child, NULL), 0);
        assert_int_equal(store_put(*state, &live, NULL), 0);
        assert_int_equal(conformance_version(*state, "t1"), -ENOENT);
        assert_int_equal(store_delete(*state, "thing", "t1", NULL, NULL), -ENOENT);
        assert_int_equal(store_list(*state, &q, &page, NULL), 0);
        assert_int_equal(page.n, 1);
        assert_string_equal(page.items[0].id, "t2");
        store_page_release(&page);
        q.after = "t1";
        assert_int_equal(store_list(*state, &q, &page, NULL), -ENOENT);
        assert_int_equal(store_sweep(*state, &removed, NULL), 0);
        assert_int_equal(removed, 2);
        assert_int_equal(conformance_version(*state, "c1"), -ENOENT);
        assert_int_equal(conformance_version(*state, "t2"), 1);
        assert_int_equal(store_sweep(*state, &removed, NULL), 0);
        assert_int_equal(removed, 0);
}

static void the_id_of_an_expired_row_is_free(void **state)
{
        struct store_op op = conformance_thing("t1", 5);
        op.expires = clock_unix() - 1;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        op.expires = 0;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_int_equal(store_put(*state, &op, NULL), -EEXIST);
        assert_int_equal(conformance_version(*state, "t1"), 1);
}

static void many_expired_rows_are_swept(void **state)
{
        char id[32];
        size_t removed;
        struct store_op ops[1200];
        static char ids[1200][16];
        for (int i = 0; i < 1200; i++) {
                snprintf(ids[i], sizeof(ids[i]), "e%d", i);
                ops[i] = conformance_thing(ids[i], 1);
                ops[i].expires = 1 + i;
        }
        assert_int_equal(store_write(*state, ops, 1200, NULL), 0);
        snprintf(id, sizeof(id), "live");
        struct store_op live = conformance_thing(id, 1);
        assert_int_equal(store_put(*state, &live, NULL), 0);
        assert_int_equal(store_sweep(*state, &removed, NULL), 0);
        assert_int_equal(removed, 1200);
        assert_int_equal(conformance_version(*state, "live"), 1);
}

/* ---- lists ---- */

void conformance_walk(struct store *s, struct store_query q, int total)
{
        struct store_page page;
        char expected[32], last[32];
        int seen = 0;
        q.after = NULL;
        do {
                assert_int_equal(store_list(s, &q, &page, NULL), 0);
                assert_true(page.n <= (size_t)q.limit);
                for (size_t i = 0; i < page.n; i++, seen++) {
                        snprintf(expected, sizeof(expected), "t%03d", q.descending ? total - 1 - seen : seen);
                        assert_string_equal(page.items[i].id, expected);
                }
                assert_int_equal(page.has_more, seen < total);
                if (page.n)
                        snprintf(last, sizeof(last), "%s", page.items[page.n - 1].id);
                q.after = last;
                bool more = page.has_more;
                store_page_release(&page);
                if (!more)
                        break;
        } while (1);
        assert_int_equal(seen, total);
}

static void pages_walk_the_list(void **state)
{
        conformance_put_things(*state, 50);
        for (int limit = 1; limit <= 51; limit += (limit < 8 ? 1 : 43)) {
                struct store_query q = { .kind = "thing", .project = "proj_a", .limit = limit };
                conformance_walk(*state, q, 50);
                q.descending = true;
                conformance_walk(*state, q, 50);
                q.project = NULL;
                conformance_walk(*state, q, 50);
        }
}

static void assert_page(struct store *s, const struct store_query *q, const char *ids, bool more)
{
        struct store_page page;
        char got[256] = "";
        assert_int_equal(store_list(s, q, &page, NULL), 0);
        for (size_t i = 0; i < page.n; i++) {
                size_t n = strlen(got);
                snprintf(got + n, sizeof(got) - n, "%s%s", i ? " " : "", page.items[i].id);
        }
        assert_string_equal(got, ids);
        assert_int_equal(page.has_more, more);
        store_page_release(&page);
}

static void cursors_bound_the_page(void **state)
{
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 3 };
        conformance_put_things(*state, 10);
        q.before = "t006";
        assert_page(*state, &q, "t003 t004 t005", true);
        q.before = "t003";
        assert_page(*state, &q, "t000 t001 t002", false);
        q.before = "t001";
        assert_page(*state, &q, "t000", false);
        q.before = "t000";
        assert_page(*state, &q, "", false);
        q.before = "t006";
        q.after = "t001";
        assert_page(*state, &q, "t002 t003 t004", true);
        q.after = "t003";
        assert_page(*state, &q, "t004 t005", false);
        q.after = "t009";
        q.before = NULL;
        assert_page(*state, &q, "", false);
        q.descending = true;
        assert_page(*state, &q, "t008 t007 t006", true);
        q.after = NULL;
        q.before = "t004";
        assert_page(*state, &q, "t007 t006 t005", true);
        q.before = "t007";
        assert_page(*state, &q, "t009 t008", false);
}

static void unknown_cursors_are_refused(void **state)
{
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 3, .after = "nope" };
        struct store_op child = conformance_thing("c1", 1);
        struct store_page page;
        conformance_put_things(*state, 4);
        child.parent = "t000";
        assert_int_equal(store_put(*state, &child, NULL), 0);
        assert_int_equal(store_list(*state, &q, &page, NULL), -ENOENT);
        q.after = "c1"; /* a row, but of another list */
        assert_int_equal(store_list(*state, &q, &page, NULL), -ENOENT);
        q.after = "t001";
        assert_int_equal(store_delete(*state, "thing", "t001", NULL, NULL), 0);
        assert_int_equal(store_list(*state, &q, &page, NULL), -ENOENT);
        q.after = NULL;
        q.before = "nope";
        assert_int_equal(store_list(*state, &q, &page, NULL), -ENOENT);
        q.before = NULL;
        q.parent = "t000";
        assert_page(*state, &q, "c1", false);
}

static void lists_filter_by_columns(void **state)
{
        static const char *const models[] = { "a", "b", NULL };
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 2 };
        for (int i = 0; i < 9; i++) {
                char id[16];
                snprintf(id, sizeof(id), "t%d", i);
                struct store_op op = conformance_thing(id, 1);
                op.f[0] = models[i % 3];
                op.f[2] = i < 5 ? "early" : "late";
                assert_int_equal(store_put(*state, &op, NULL), 0);
        }
        q.f[0] = "b";
        assert_page(*state, &q, "t1 t4", true);
        q.after = "t4";
        assert_page(*state, &q, "t7", false);
        q.after = NULL;
        q.f[2] = "late";
        assert_page(*state, &q, "t7", false);
        q.f[0] = NULL;
        q.limit = 9;
        assert_page(*state, &q, "t5 t6 t7 t8", false);
        q.f[1] = "";
        assert_page(*state, &q, "", false);
}

static void lists_filter_by_metadata(void **state)
{
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 2 };
        struct store_pair want[2] = { { "user", "ann" }, { "odd", "yes" } };
        for (int i = 0; i < 12; i++) {
                char id[16];
                struct store_pair have[2] = { { "user", i % 3 ? "ann" : "bob" },
                                              { "odd", i % 2 ? "yes" : "no" } };
                snprintf(id, sizeof(id), "t%02d", i);
                struct store_op op = conformance_thing(id, 100 - i / 4); /* created falls while seq grows */
                op.metadata = have;
                op.nmetadata = 2;
                op.project = i == 11 ? "proj_b" : "proj_a";
                assert_int_equal(store_put(*state, &op, NULL), 0);
        }
        q.metadata = want;
        q.nmetadata = 2; /* 1 5 7 of proj_a */
        assert_page(*state, &q, "t05 t07", true);
        q.after = "t07";
        assert_page(*state, &q, "t01", false);
        q.descending = true;
        q.after = "t01";
        assert_page(*state, &q, "t07 t05", false);
        q.after = NULL;
        q.limit = 12;
        q.nmetadata = 1;
        assert_page(*state, &q, "t02 t01 t07 t05 t04 t10 t08", false);
        want[0].value = "eve";
        assert_page(*state, &q, "", false);
        q.project = NULL;
        struct store_page page;
        assert_int_equal(store_list(*state, &q, &page, NULL), -EINVAL);
}

static void metadata_follows_its_row(void **state)
{
        struct store_pair old = { "k", "old" }, new[] = { { "k", "new" }, { "l", "" } };
        struct store_query q = {
                .kind = "thing", .project = "proj_a", .limit = 2, .metadata = &old, .nmetadata = 1
        };
        struct store_op op = conformance_thing("t1", 1);
        op.metadata = &old;
        op.nmetadata = 1;
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_page(*state, &q, "t1", false);
        op.verb = STORE_UPDATE;
        op.set = STORE_SET_DOC;
        op.nmetadata = 0;
        assert_int_equal(store_write(*state, &op, 1, NULL), 0);
        assert_page(*state, &q, "t1", false); /* not named by `set`, so kept */
        op.set = STORE_SET_METADATA;
        op.metadata = new;
        op.nmetadata = 2;
        assert_int_equal(store_write(*state, &op, 1, NULL), 0);
        assert_page(*state, &q, "", false);
        q.metadata = new;
        q.nmetadata = 2;
        assert_page(*state, &q, "t1", false);
        assert_int_equal(store_delete(*state, "thing", "t1", NULL, NULL), 0);
        assert_page(*state, &q, "", false);
        op = conformance_thing("t1", 1);
        assert_int_equal(store_put(*state, &op, NULL), 0);
        assert_page(*state, &q, "", false);
}

static void ping_answers(void **state)
{
        struct store_fault fault;
        assert_int_equal(store_ping(*state, &fault), 0);
}

int store_conformance(const char *backend, store_opener *open)
{
        const struct CMUnitTest store_suite[] = {
                CASE(put_then_get),
                CASE(put_empty_and_large_docs),
                CASE(put_twice_is_refused),
                CASE(malformed_calls_are_refused),
                CASE(tenants_are_blind_to_each_other),
                CASE(update_sets_what_it_names),
                CASE(versions_guard_updates),
                CASE(delete_takes_descendants),
                CASE(a_write_is_all_or_nothing),
                CASE(expired_rows_are_absent),
                CASE(the_id_of_an_expired_row_is_free),
                CASE(many_expired_rows_are_swept),
                CASE(pages_walk_the_list),
                CASE(cursors_bound_the_page),
                CASE(unknown_cursors_are_refused),
                CASE(lists_filter_by_columns),
                CASE(lists_filter_by_metadata),
                CASE(metadata_follows_its_row),
                CASE(ping_answers),
        };
        opener = open;
        int failed = cmocka_run_group_tests_name(backend, store_suite, NULL, NULL);
        return failed + conformance_threads() + conformance_jobs() + conformance_usage() +
               conformance_upkeep();
}
