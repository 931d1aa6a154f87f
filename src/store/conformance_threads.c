/* Many threads that write and read at once, and writes whose answer nobody waits for. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "store/conformance_internal.h"

/* ---- many threads ---- */

#define WRITERS 64
#define WRITES_EACH 40

struct swarm {
        struct store *s;
        int number;
        _Atomic int *failures;
};

/* Each writer inserts its rows; every fifth write fails on purpose and must stay alone with its failure. */
static void *swarm_write(void *arg)
{
        struct swarm *me = arg;
        char id[32];
        for (int i = 0; i < WRITES_EACH; i++) {
                snprintf(id, sizeof(id), "w%02d-%03d", me->number, i);
                struct store_op ops[2] = { conformance_thing(id, 1000), conformance_thing(id, 1000) };
                if (i % 5 == 4 && store_write(me->s, ops, 2, NULL) != -EEXIST)
                        ++*me->failures;
                if (store_put(me->s, ops, NULL))
                        ++*me->failures;
                struct object o;
                if (store_get(me->s, "thing", id, "proj_a", &o, NULL)) /* one reads what one wrote */
                        ++*me->failures;
                object_release(&o);
        }
        return NULL;
}

static void writers_do_not_disturb_each_other(void **state)
{
        pthread_t threads[WRITERS];
        struct swarm swarm[WRITERS];
        _Atomic int failures = 0;
        for (int i = 0; i < WRITERS; i++) {
                swarm[i] = (struct swarm){ *state, i, &failures };
                assert_int_equal(pthread_create(&threads[i], NULL, swarm_write, &swarm[i]), 0);
        }
        for (int i = 0; i < WRITERS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(failures, 0);
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = STORE_PAGE_MAX };
        struct store_page page;
        assert_int_equal(store_list(*state, &q, &page, NULL), 0);
        assert_int_equal(page.n, WRITERS * WRITES_EACH);
        for (size_t i = 1; i < page.n; i++)
                assert_true(page.items[i].seq > page.items[i - 1].seq);
        store_page_release(&page);
        struct store_stats stats;
        store_get_stats(*state, &stats);
        assert_int_equal(stats.writes, WRITERS * WRITES_EACH);
        assert_int_equal(stats.failed, WRITERS * WRITES_EACH / 5);
        assert_true(stats.commits <= stats.writes + stats.failed);
        assert_int_equal(stats.queued, 0);
}

static void *insert_while_paging(void *arg)
{
        struct swarm *me = arg;
        char id[32];
        for (int i = 0; i < 400; i++) {
                snprintf(id, sizeof(id), "x%03d", i);
                struct store_op op =
                        conformance_thing(id, i % 2 ? 900 : 2000); /* in front of the rest and behind */
                if (store_put(me->s, &op, NULL))
                        ++*me->failures;
                if (i % 3 == 0 && store_delete(me->s, "thing", id, "proj_a", NULL))
                        ++*me->failures;
        }
        return NULL;
}

/* The rows t... lie between the inserted ones; a walk must meet each exactly once, in order. */
static int walk_among(struct store *s, bool descending, int total)
{
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 7, .descending = descending };
        char after[32], expected[32];
        int seen = 0;
        bool more = true;
        while (more) {
                struct store_page page;
                int rc = store_list(s, &q, &page, NULL);
                if (rc == -ENOENT && after[0] == 'x')
                        return total; /* the cursor itself was deleted: said, not skipped */
                assert_int_equal(rc, 0);
                for (size_t i = 0; i < page.n; i++) {
                        if (page.items[i].id[0] != 't')
                                continue;
                        snprintf(expected, sizeof(expected), "t%03d", descending ? total - 1 - seen : seen);
                        assert_string_equal(page.items[i].id, expected);
                        seen++;
                }
                more = page.has_more;
                if (page.n)
                        snprintf(after, sizeof(after), "%s", page.items[page.n - 1].id);
                q.after = after;
                store_page_release(&page);
        }
        return seen;
}

static void pages_hold_under_concurrent_writes(void **state)
{
        _Atomic int failures = 0;
        struct swarm writer = { *state, 0, &failures };
        pthread_t thread;
        conformance_put_things(*state, 60);
        assert_int_equal(pthread_create(&thread, NULL, insert_while_paging, &writer), 0);
        for (int i = 0; i < 30; i++)
                assert_int_equal(walk_among(*state, i % 2, 60), 60);
        pthread_join(thread, NULL);
        assert_int_equal(failures, 0);
        assert_int_equal(walk_among(*state, false, 60), 60);
}

/* ---- asynchronous writes ---- */

struct tally {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        int answers, errors;
        pthread_t thread;
        struct store *s;
};

static void tally_done(void *ctx, int rc, const struct store_fault *fault)
{
        struct tally *t = ctx;
        pthread_mutex_lock(&t->lock);
        t->answers++;
        t->errors += rc != 0;
        assert_int_equal(rc == 0, *fault->msg == '\0');
        t->thread = pthread_self();
        pthread_cond_signal(&t->changed);
        pthread_mutex_unlock(&t->lock);
}

static void tally_wait(struct tally *t, int answers)
{
        pthread_mutex_lock(&t->lock);
        while (t->answers < answers)
                pthread_cond_wait(&t->changed, &t->lock);
        pthread_mutex_unlock(&t->lock);
}

static void asynchronous_writes_are_copied_and_answered(void **state)
{
        struct tally t = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
        char id[16], doc[16], value[16];
        for (int i = 0; i < 100; i++) {
                snprintf(id, sizeof(id), "t%03d", i % 90); /* the last ten are taken already */
                snprintf(doc, sizeof(doc), "doc %d", i);
                snprintf(value, sizeof(value), "v%d", i);
                struct store_pair pair = { "key", value };
                struct store_op op = conformance_thing(id, 1);
                op.f[1] = value;
                op.metadata = &pair;
                op.nmetadata = 1;
                op.doc = str_c(doc);
                assert_int_equal(store_write_async(*state, &op, 1, tally_done, &t), 0);
                memset(id, '?', sizeof(id) - 1);
                memset(doc, '?', sizeof(doc) - 1);
                memset(value, '?', sizeof(value) - 1);
        }
        tally_wait(&t, 100);
        assert_int_equal(t.errors, 10);
        assert_false(pthread_equal(t.thread, pthread_self()));
        struct store_pair pair = { "key", "v42" };
        struct store_query q = {
                .kind = "thing", .project = "proj_a", .limit = 5, .metadata = &pair, .nmetadata = 1
        };
        struct store_page page;
        assert_int_equal(store_list(*state, &q, &page, NULL), 0);
        assert_int_equal(page.n, 1);
        assert_string_equal(page.items[0].id, "t042");
        assert_string_equal(page.items[0].f[1], "v42");
        assert_true(str_eqc(page.items[0].doc, "doc 42"));
        store_page_release(&page);
        struct store_op bad = { 0 };
        assert_int_equal(store_write_async(*state, &bad, 1, tally_done, &t), -EINVAL);
}

static void chain_done(void *ctx, int rc, const struct store_fault *fault)
{
        struct tally *t = ctx;
        char id[16];
        assert_int_equal(rc, 0);
        snprintf(id, sizeof(id), "t%03d", t->answers + 1);
        struct store_op op = conformance_thing(id, 1);
        if (t->answers < 20)
                assert_int_equal(store_write_async(t->s, &op, 1, chain_done, t), 0);
        tally_done(ctx, rc, fault);
}

static void an_answer_may_write_again(void **state)
{
        struct tally t = { .lock = PTHREAD_MUTEX_INITIALIZER,
                           .changed = PTHREAD_COND_INITIALIZER,
                           .s = *state };
        struct store_op op = conformance_thing("t000", 1);
        assert_int_equal(store_write_async(*state, &op, 1, chain_done, &t), 0);
        tally_wait(&t, 21);
        assert_int_equal(conformance_version(*state, "t020"), 1);
}

static void closing_completes_what_waits(void **state)
{
        struct tally t = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
        char id[16];
        for (int i = 0; i < 50; i++) {
                snprintf(id, sizeof(id), "t%03d", i);
                struct store_op op = conformance_thing(id, 1);
                assert_int_equal(store_write_async(*state, &op, 1, tally_done, &t), 0);
        }
        *state = conformance_reopen(*state);
        assert_int_equal(t.answers, 50);
        assert_int_equal(t.errors, 0);
        struct store_query q = { .kind = "thing", .project = "proj_a", .limit = 20 };
        conformance_walk(*state, q, 50);
}

int conformance_threads(void)
{
        const struct CMUnitTest threads[] = {
                CASE(writers_do_not_disturb_each_other),
                CASE(pages_hold_under_concurrent_writes),
                CASE(asynchronous_writes_are_copied_and_answered),
                CASE(an_answer_may_write_again),
                CASE(closing_completes_what_waits),
        };
        return cmocka_run_group_tests(threads, NULL, NULL);
}
