#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "cli/builtin.h"

static char root[64], path[512], err[256];

/* Makes ROOT/dir and its parents. */
static void make_dir(const char *dir)
{
        char full[256];
        snprintf(full, sizeof(full), "%s/%s", root, dir);
        for (char *p = full + strlen(root) + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                mkdir(full, 0700);
                *p = '/';
        }
        mkdir(full, 0700);
}

static void touch(const char *file)
{
        char full[256];
        snprintf(full, sizeof(full), "%s/%s", root, file);
        FILE *f = fopen(full, "w");
        assert_non_null(f);
        fclose(f);
}

static int find(const char *bin, const char *datadir)
{
        char b[256], d[256];
        snprintf(b, sizeof(b), "%s/%s", root, bin);
        snprintf(d, sizeof(d), "%s/%s", root, datadir);
        return builtin_find_from(BUILTIN_FILE, b, d, path, sizeof(path), err, sizeof(err));
}

static int setup(void **state)
{
        (void)state;
        snprintf(root, sizeof(root), "/tmp/cairn-builtin-XXXXXX");
        if (!mkdtemp(root))
                return -1;
        make_dir("prefix/bin");
        make_dir("prefix/share/cairn/models");
        make_dir("tree/build/release");
        make_dir("tree/models");
        make_dir("data/cairn/models");
        return 0;
}

static int remove_tree(void **state)
{
        static const char *const files[] = { "prefix/share/cairn/models/cairn-tiny.gguf",
                                             "tree/models/cairn-tiny.gguf",
                                             "data/cairn/models/cairn-tiny.gguf" };
        static const char *const dirs[] = { "prefix/bin",
                                            "prefix/share/cairn/models",
                                            "prefix/share/cairn",
                                            "prefix/share",
                                            "prefix",
                                            "tree/build/release",
                                            "tree/build",
                                            "tree/models",
                                            "tree",
                                            "data/cairn/models",
                                            "data/cairn",
                                            "data",
                                            "" };
        char full[256];
        (void)state;
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
                snprintf(full, sizeof(full), "%s/%s", root, files[i]);
                unlink(full);
        }
        for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
                snprintf(full, sizeof(full), "%s/%s", root, dirs[i]);
                rmdir(full);
        }
        return 0;
}

static void none_names_the_remedy(void **state)
{
        (void)state;
        assert_int_equal(find("prefix/bin", "data"), -ENOENT);
        assert_non_null(strstr(err, "--model FILE"));
        assert_non_null(strstr(err, "data/cairn/models/cairn-tiny.gguf"));
}

static void beside_the_installed_program(void **state)
{
        (void)state;
        touch("prefix/share/cairn/models/cairn-tiny.gguf");
        touch("data/cairn/models/cairn-tiny.gguf");
        assert_int_equal(find("prefix/bin", "data"), 0);
        assert_non_null(strstr(path, "/prefix/bin/../share/cairn/models/cairn-tiny.gguf"));
}

static void in_the_source_tree(void **state)
{
        (void)state;
        touch("tree/models/cairn-tiny.gguf");
        assert_int_equal(find("tree/build/release", "nowhere"), 0);
        assert_non_null(strstr(path, "/tree/build/release/../../models/cairn-tiny.gguf"));
}

static void below_the_configured_prefix(void **state)
{
        (void)state;
        touch("data/cairn/models/cairn-tiny.gguf");
        assert_int_equal(find("nowhere", "data"), 0);
        assert_non_null(strstr(path, "/data/cairn/models/cairn-tiny.gguf"));
}

static void a_path_too_long_is_not_cut(void **state)
{
        char small[8];
        (void)state;
        touch("data/cairn/models/cairn-tiny.gguf");
        assert_int_equal(builtin_find_from(BUILTIN_FILE, root, root, small, sizeof(small), err, sizeof(err)),
                         -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(none_names_the_remedy, setup, remove_tree),
                cmocka_unit_test_setup_teardown(beside_the_installed_program, setup, remove_tree),
                cmocka_unit_test_setup_teardown(in_the_source_tree, setup, remove_tree),
                cmocka_unit_test_setup_teardown(below_the_configured_prefix, setup, remove_tree),
                cmocka_unit_test_setup_teardown(a_path_too_long_is_not_cut, setup, remove_tree),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
