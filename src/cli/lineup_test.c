/* Runs on the built-in model, from the root of the source tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/str.h"
#include "cli/config.h"
#include "cli/lineup.h"
#include "models/registry.h"

static char file[] = "models/cairn-tiny.gguf";
static char err[512];

static const char *id_behind(const struct lineup *l, const char *name)
{
        const struct model *m = registry_find(l->registry, str_c(name));
        return m ? m->id : "(none)";
}

static int open_two(struct config_alias *aliases, size_t n, struct lineup *ret)
{
        static char *own[] = { "gpt-4o-mini" };
        struct config_model models[] = {
                { .path = file, .id = "first" },
                { .path = file, .id = "gpt-4o", .aliases = { own, 1 } },
        };
        struct config config = { .models = { models, 2 }, .aliases = { aliases, n } };
        *err = '\0';
        return lineup_open(&config, NULL, ret, err, sizeof(err));
}

static void sample_names_mean_the_first_model(void **state)
{
        struct lineup l;
        (void)state;
        assert_int_equal(open_two(NULL, 0, &l), 0);
        assert_string_equal(id_behind(&l, "first"), "first");
        assert_string_equal(id_behind(&l, "gpt-5"), "first");
        assert_string_equal(id_behind(&l, "text-embedding-3-small"), "first");
        assert_string_equal(id_behind(&l, "gpt-4o"), "gpt-4o");      /* an id of its own */
        assert_string_equal(id_behind(&l, "gpt-4o-mini"), "gpt-4o"); /* an alias of its own */
        assert_string_equal(id_behind(&l, "gpt-6"), "(none)");
        assert_string_equal(l.builtin, "");
        lineup_release(&l);
}

static void configured_aliases_come_first(void **state)
{
        struct config_alias aliases[] = { { "gpt-5", "gpt-4o" }, { "mine", "first" } };
        struct lineup l;
        (void)state;
        assert_int_equal(open_two(aliases, 2, &l), 0);
        assert_string_equal(id_behind(&l, "gpt-5"), "gpt-4o");
        assert_string_equal(id_behind(&l, "mine"), "first");
        lineup_release(&l);
}

static void mistakes_are_named(void **state)
{
        struct config_alias nowhere[] = { { "mine", "missing" } }, taken[] = { { "first", "gpt-4o" } };
        struct config_model model = { .path = "/nonexistent/x.gguf" };
        struct config config = { .models = { &model, 1 } };
        struct lineup l;
        (void)state;
        assert_int_equal(open_two(nowhere, 1, &l), -ENOENT);
        assert_non_null(strstr(err, "missing"));
        assert_null(l.registry);
        assert_int_equal(open_two(taken, 1, &l), -EEXIST);
        assert_non_null(strstr(err, "first"));
        assert_int_equal(lineup_open(&config, NULL, &l, err, sizeof(err)), -ENOENT);
        assert_non_null(strstr(err, "/nonexistent/x.gguf"));
        lineup_release(&l); /* harmless */
}

/* Each model has a directory of its own for KV, whatever its id looks like. */
static void ids_become_directories(void **state)
{
        static const char *const ids[] = { "ours/m", "theirs/m", "..", "x" }, *const names[] = {
                "ours%2Fm", "theirs%2Fm", "%2E.", "x"
        };
        struct config_model models[4];
        char data[] = "/tmp/cairn-lineup-XXXXXX", path[128];
        struct lineup l;
        (void)state;
        assert_non_null(mkdtemp(data));
        for (size_t i = 0; i < 4; i++)
                models[i] = (struct config_model){ .path = file, .id = (char *)(uintptr_t)ids[i] };
        struct config config = { .models = { models, 4 }, .data = data, .engine.kv_disk = 1 << 20 };
        assert_int_equal(lineup_open(&config, NULL, &l, err, sizeof(err)), 0);
        lineup_release(&l);
        for (size_t i = 0; i < 4; i++) {
                snprintf(path, sizeof(path), "%s/kv/%s", data, names[i]);
                assert_int_equal(rmdir(path), 0);
        }
        snprintf(path, sizeof(path), "%s/kv", data);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rmdir(data), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sample_names_mean_the_first_model),
                cmocka_unit_test(configured_aliases_come_first),
                cmocka_unit_test(mistakes_are_named),
                cmocka_unit_test(ids_become_directories),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
