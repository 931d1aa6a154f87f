/* The thread team: shares cover everything once, and barriers order what threads write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "kernels/team.h"

struct work {
        struct team *team;
        int cells[8];
        int wrong[8];
};

/* Each round every thread writes its cell, then checks all cells. */
static void rounds(void *arg, int tid)
{
        struct work *w = arg;
        for (int round = 1; round <= 300; round++) {
                w->cells[tid] = round;
                team_barrier(w->team);
                for (int i = 0; i < team_size(w->team); i++)
                        w->wrong[tid] += w->cells[i] != round;
                team_barrier(w->team);
        }
}

static void test_barriers(void **state)
{
        (void)state;
        for (int n = 1; n <= 5; n += 2) {
                struct work w = { .team = team_new(n) };
                assert_non_null(w.team);
                for (int i = 0; i < 20; i++)
                        team_run(w.team, rounds, &w);
                for (int i = 0; i < n; i++)
                        assert_int_equal(w.wrong[i], 0);
                team_free(w.team);
        }
}

static void test_share(void **state)
{
        (void)state;
        for (size_t n = 0; n < 50; n++) {
                for (int threads = 1; threads < 7; threads++) {
                        size_t next = 0, from, to;
                        for (int tid = 0; tid < threads; tid++, next = to) {
                                team_share(tid, threads, n, 8, &from, &to);
                                assert_int_equal(from, next);
                                assert_true(from % 8 == 0 || from == n);
                        }
                        assert_int_equal(next, n);
                }
        }
}

static void test_sizes(void **state)
{
        (void)state;
        assert_true(team_default_threads() >= 1);
        assert_null(team_new(0));
        team_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_barriers),
                cmocka_unit_test(test_share),
                cmocka_unit_test(test_sizes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
