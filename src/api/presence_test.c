/* The row by which others know that a process lives: its renewal, and what it does not decide. */
#include "api/presence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "api/api.h"
#include "base/clock.h"
#include "store/store.h"

#define KIND "process"

static char dir[] = "/tmp/cairn-presence-XXXXXX";
static struct api api;

static bool has_row(const char *process)
{
        struct object row;
        bool there = store_get(api.store, KIND, process, NULL, &row, NULL) == 0;
        object_release(&row);
        return there;
}

static void put_row(const char *process)
{
        struct store_op op = { .verb = STORE_PUT, .kind = KIND, .id = process, .doc = STR("{}") };
        assert_int_equal(store_put(api.store, &op, NULL), 0);
}

static void test_others_by_their_rows(void **state)
{
        (void)state;
        put_row("proc_before");
        assert_int_equal(presence_start(&api), 0);
        assert_false(presence_alive(&api, "proc_before")); /* nobody else serves this store */
        put_row("proc_other");
        assert_true(presence_alive(&api, "proc_other"));
        assert_false(presence_alive(&api, "proc_unknown"));
        assert_false(presence_alive(&api, ""));
        char own[ID_MAX];
        snprintf(own, sizeof(own), "%s", api.process);
        assert_true(has_row(own));
        presence_stop(&api);
        assert_false(has_row(own));
        presence_stop(&api); /* again: harmless */
}

/* Its row may be gone; the process asks, so it lives. The renewal puts the row back for the others, while
 * nothing else of the API runs. */
static void test_own_row_lost(void **state)
{
        (void)state;
        assert_int_equal(presence_start(&api), 0);
        assert_int_equal(store_delete(api.store, KIND, api.process, NULL, NULL), 0);
        assert_true(presence_alive(&api, api.process));
        assert_false(has_row(api.process));
        int64_t until = clock_mono_ms() + 2 * PRESENCE_RENEW_MS;
        while (!has_row(api.process) && clock_mono_ms() < until)
                nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
        assert_true(has_row(api.process));
        presence_stop(&api);
}

static int setup(void **state)
{
        (void)state;
        return mkdtemp(dir) && store_open(dir, NULL, &api.store, NULL) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
        char command[80];
        (void)state;
        store_close(api.store);
        snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_others_by_their_rows),
                                            cmocka_unit_test(test_own_row_lost) };
        return cmocka_run_group_tests(tests, setup, teardown);
}
