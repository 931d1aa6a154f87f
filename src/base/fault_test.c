#include "base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"

#ifdef CAIRN_FAULTS
static int teardown(void **state)
{
        (void)state;
        fault_clear();
        return 0;
}

static void the_environment_arms(void **state)
{
        (void)state;
        assert_int_equal(fault_at("env.place"), 0);
        assert_int_equal(fault_at("env.place"), -EROFS);
        assert_int_equal(fault_at("env.place"), 0);
}

static void the_nth_question_fails_once(void **state)
{
        (void)state;
        assert_int_equal(fault_arm(STR("a.b:3:ENOSPC, c.d")), 0);
        assert_int_equal(fault_at("a.b"), 0);
        assert_int_equal(fault_at("c.d"), -EIO);
        assert_int_equal(fault_at("c.d"), 0);
        assert_int_equal(fault_at("a.b"), 0);
        assert_int_equal(fault_at("a.b"), -ENOSPC);
        assert_int_equal(fault_at("a.b"), 0);
}

static void questions_fail_in_a_row_or_for_ever(void **state)
{
        (void)state;
        assert_int_equal(fault_arm(STR("a.b:2:EIO:2,c.d:1:EROFS:0")), 0);
        assert_int_equal(fault_at("a.b"), 0);
        assert_int_equal(fault_at("a.b"), -EIO);
        assert_int_equal(fault_at("a.b"), -EIO);
        assert_int_equal(fault_at("a.b"), 0);
        for (int i = 0; i < 100; i++)
                assert_int_equal(fault_at("c.d"), -EROFS);
        fault_clear();
        assert_int_equal(fault_at("c.d"), 0);
}

static void a_delay_passes(void **state)
{
        (void)state;
        assert_int_equal(fault_arm(STR("a.b:1:delay=30")), 0);
        int64_t began = clock_mono_ms();
        assert_int_equal(fault_at("a.b"), 0);
        assert_true(clock_mono_ms() - began >= 30);
}

static void a_kill_kills(void **state)
{
        int status;
        (void)state;
        pid_t pid = fork();
        if (!pid) {
                fault_arm(STR("a.b:2:kill"));
                fault_at("a.b");
                fault_at("a.b");
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void malformed_specifications_are_refused(void **state)
{
        static const char *const bad[] = { "",
                                           ":1",
                                           "a:0",
                                           "a:x",
                                           "a:1:EWHAT",
                                           "a:1:EIO:-1",
                                           "a:1:EIO:1:1",
                                           "a:1:delay=",
                                           "a:1:delay=-1",
                                           "a,,b",
                                           "a.place.whose.name.is.longer.than.any.of.ours.will.be" };
        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                if (fault_arm(str_c(bad[i])) != -EINVAL)
                        fail_msg("\"%s\" was accepted", bad[i]);
        }
        for (int i = 0; i < 32; i++)
                assert_int_equal(fault_arm(STR("a")), 0);
        assert_int_equal(fault_arm(STR("a")), -ENOSPC);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_environment_arms),
                cmocka_unit_test_teardown(the_nth_question_fails_once, teardown),
                cmocka_unit_test_teardown(questions_fail_in_a_row_or_for_ever, teardown),
                cmocka_unit_test_teardown(a_delay_passes, teardown),
                cmocka_unit_test(a_kill_kills),
                cmocka_unit_test_teardown(malformed_specifications_are_refused, teardown),
        };
        setenv("CAIRN_FAULTS_SPEC", "env.place:2:EROFS", 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
        return fault_at("nothing is armed here");
}
#endif
