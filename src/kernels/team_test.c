/* The thread team: shares cover everything once, and barriers order what threads write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "kernels/team.h"

struct work {
        struct kern_team *team;
        int cells[8];
        int wrong[8];
};

/* Each round every thread writes its cell, then checks all cells. */
static void rounds(void *arg, int tid)
{
        struct work *w = arg;
        for (int round = 1; round <= 300; round++) {
                w->cells[tid] = round;
                kern_team_barrier(w->team);
                for (int i = 0; i < kern_team_size(w->team); i++)
                        w->wrong[tid] += w->cells[i] != round;
                kern_team_barrier(w->team);
        }
}

static void test_barriers(void **state)
{
        (void)state;
        for (int n = 1; n <= 5; n += 2) {
                struct work w = { .team = kern_team_new(n) };
                assert_non_null(w.team);
                for (int i = 0; i < 20; i++)
                        kern_team_run(w.team, rounds, &w);
                for (int i = 0; i < n; i++)
                        assert_int_equal(w.wrong[i], 0);
                kern_team_free(w.team);
        }
}

static void test_share(void **state)
{
        (void)state;
        for (size_t n = 0; n < 50; n++) {
                for (int threads = 1; threads < 7; threads++) {
                        size_t next = 0, from, to;
                        for (int tid = 0; tid < threads; tid++, next = to) {
                                kern_team_share(tid, threads, n, 8, &from, &to);
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
        assert_true(kern_team_default_threads() >= 1);
        assert_null(kern_team_new(0));
        kern_team_free(NULL);
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
