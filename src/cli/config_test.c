#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/mem.h"
#include "cli/config.h"
#include "cli/config_internal.h"

static char file[64], err[512];

/* Each test begins without any variable of ours, in a home of its own. */
static int setup(void **state)
{
        (void)state;
        for (size_t i = 0; option_at(i); i++)
                unsetenv(option_at(i)->env);
        unsetenv("CAIRN_CONFIG");
        unsetenv("XDG_DATA_HOME");
        setenv("HOME", "/srv/ann", 1);
        return 0;
}

static int teardown(void **state)
{
        if (*file)
                unlink(file);
        *file = '\0';
        return setup(state);
}

static const char *file_with(const char *text)
{
        if (*file)
                unlink(file);
        snprintf(file, sizeof(file), "/tmp/cairn-config-XXXXXX");
        int fd = mkstemp(file);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        close(fd);
        return file;
}

#define LOAD(c, ...)                                                                \
        config_load((c), (int)(sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *)), \
                    (char *[]){ __VA_ARGS__ }, err, sizeof(err))

/* Loads a file that must be refused with this message behind the file's name. */
static void assert_refused(const char *yaml, const char *message)
{
        struct config c;
        char expected[600];
        int rc = config_load_file(&c, file_with(yaml), err, sizeof(err));
        snprintf(expected, sizeof(expected), "%s%s", file, message);
        assert_string_equal(err, expected);
        assert_int_equal(rc, -EINVAL);
        assert_null(c.listen);
}

static void defaults_are_complete(void **state)
{
        struct config c;
        (void)state;
        assert_int_equal(config_load(&c, 0, NULL, err, sizeof(err)), 0);
        assert_string_equal(c.listen, "127.0.0.1:8080");
        assert_string_equal(c.data, "/srv/ann/.local/share/cairn");
        assert_int_equal(c.models.n, 0);
        assert_null(c.api_key);
        assert_int_equal(c.log.format, CONFIG_LOG_JSON);
        assert_int_equal(c.log.level, LOG_INFO_);
        assert_int_equal(c.limits.max_body, 64 << 20);
        assert_int_equal(c.limits.header_timeout, 15);
        assert_int_equal(c.unknown_parameters, CONFIG_UNKNOWN_REJECT);
        assert_int_equal(c.response_retention, 30 * 86400);
        config_release(&c);
        assert_null(c.listen);
        setenv("XDG_DATA_HOME", "/var/data", 1);
        assert_int_equal(config_load(&c, 0, NULL, err, sizeof(err)), 0);
        assert_string_equal(c.data, "/var/data/cairn");
        config_release(&c);
}

static void a_file_sets_everything(void **state)
{
        struct config c;
        (void)state;
        const char *yaml = "# all of it\n"
                           "listen: '[::1]:9000'\n"
                           "data: ~/data\n"
                           "models:\n"
                           "  - /models/a.gguf\n"
                           "  - path: ~/b.gguf\n"
                           "    id: big\n"
                           "    aliases: [gpt-5, gpt-4o]\n"
                           "aliases: {fast: a, text-embedding-3-small: big}\n"
                           "log: {format: text, level: warn}\n"
                           "cors_origins: ['https://a.example', 'https://b.example']\n"
                           "outbound_allow: [10.1.0.0/16, hooks.example]\noutbound_ca: /etc/ca.pem\n"
                           "api_key: team-secret\n"
                           "limits:\n"
                           "  max_body: 2MiB\n"
                           "  max_connections: 100\n"
                           "  idle_timeout: 2m\n"
                           "tls:\n"
                           "  cert: c.pem\n"
                           "  key: k.pem\n"
                           "threads: {http: 2, workers: 3, engine: 4}\n"
                           "engine: {context: 4096, kv_memory: 1G, batch: 8, queue: 7}\n"
                           "unknown_parameters: ignore\n"
                           "shutdown_grace: 0\n"
                           "response_retention: 7d\n";
        if (config_load_file(&c, file_with(yaml), err, sizeof(err)))
                fail_msg("%s", err);
        assert_string_equal(c.listen, "[::1]:9000");
        assert_string_equal(c.data, "/srv/ann/data");
        assert_int_equal(c.models.n, 2);
        assert_string_equal(c.models.items[0].path, "/models/a.gguf");
        assert_null(c.models.items[0].id);
        assert_string_equal(c.models.items[1].path, "/srv/ann/b.gguf");
        assert_string_equal(c.models.items[1].id, "big");
        assert_int_equal(c.models.items[1].aliases.n, 2);
        assert_string_equal(c.models.items[1].aliases.items[1], "gpt-4o");
        assert_int_equal(c.aliases.n, 2);
        assert_string_equal(c.aliases.items[1].name, "text-embedding-3-small");
        assert_string_equal(c.aliases.items[1].model, "big");
        assert_int_equal(c.log.format, CONFIG_LOG_TEXT);
        assert_int_equal(c.log.level, LOG_WARN_);
        assert_int_equal(c.outbound_allow.n, 2);
        assert_string_equal(c.outbound_allow.items[1], "hooks.example");
        assert_string_equal(c.outbound_ca, "/etc/ca.pem");
        assert_int_equal(c.cors_origins.n, 2);
        assert_string_equal(c.cors_origins.items[0], "https://a.example");
        assert_string_equal(c.api_key, "team-secret");
        assert_int_equal(c.limits.max_body, 2 << 20);
        assert_int_equal(c.limits.max_connections, 100);
        assert_int_equal(c.limits.idle_timeout, 120);
        assert_string_equal(c.tls.key, "k.pem");
        assert_int_equal(c.threads.engine, 4);
        assert_int_equal(c.engine.context, 4096);
        assert_int_equal(c.engine.kv_memory, 1 << 30);
        assert_int_equal(c.engine.queue, 7);
        assert_int_equal(c.unknown_parameters, CONFIG_UNKNOWN_IGNORE);
        assert_int_equal(c.shutdown_grace, 0);
        assert_int_equal(c.response_retention, 7 * 86400);
        assert_string_equal(c._file, file);
        config_release(&c);
}

static void nothing_leaves_the_defaults(void **state)
{
        static const char *const files[] = { "", "# only a comment\n", "---\n",
                                             "limits:\nlisten: ~\nmodels: null\n", "---\nlisten:\n...\n" };
        struct config c;
        (void)state;
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
                if (config_load_file(&c, file_with(files[i]), err, sizeof(err)))
                        fail_msg("%s", err);
                assert_string_equal(c.listen, "127.0.0.1:8080");
                config_release(&c);
        }
}

static void flags_beat_environment_beats_file(void **state)
{
        struct config c;
        (void)state;
        const char *path =
                file_with("listen: file:1\nlimits: {max_body: 1M, idle_timeout: 5}\nmodels: [f1, f2]\n"
                          "log: {level: error}\naliases: {x: y}\n");
        setenv("CAIRN_LISTEN", "env:2", 1);
        setenv("CAIRN_MAX_BODY", "2M", 1);
        setenv("CAIRN_MODEL", "e1, e2,e3", 1);
        setenv("CAIRN_API_KEY", "from-environment", 1);
        setenv("CAIRN_ADMIN_KEY", "", 1);
        assert_int_equal(
                LOAD(&c, "--listen", "flag:3", "--config", (char *)path, "--model=m1", "--model", "m2"), 0);
        assert_string_equal(c.listen, "flag:3");
        assert_int_equal(c.limits.max_body, 2 << 20);
        assert_int_equal(c.limits.idle_timeout, 5);
        assert_int_equal(c.log.level, LOG_ERROR_);
        assert_int_equal(c.models.n, 2);
        assert_string_equal(c.models.items[0].path, "m1");
        assert_string_equal(c.models.items[1].path, "m2");
        assert_string_equal(c.aliases.items[0].model, "y");
        assert_string_equal(c.api_key, "from-environment");
        assert_null(c.admin_key);
        config_release(&c);
        setenv("CAIRN_CONFIG", path, 1);
        assert_int_equal(config_load(&c, 0, NULL, err, sizeof(err)), 0);
        assert_string_equal(c.listen, "env:2");
        assert_int_equal(c.models.n, 3);
        assert_string_equal(c.models.items[1].path, "e2");
        assert_int_equal(c.limits.idle_timeout, 5);
        config_release(&c);
}

static void rate_limits_and_prices_are_rules(void **state)
{
        struct config c;
        (void)state;
        assert_int_equal(config_load_file(&c,
                                          file_with("limits: redis://cache:6380/2\n"
                                                    "rate_limits:\n"
                                                    "  - tier: tier_2\n"
                                                    "  - {project: proj_a, budget: 12.5}\n"
                                                    "  - project=proj_a model=m requests_per_day=unlimited\n"
                                                    "  - audio_megabytes_per_minute: 3\n"
                                                    "prices:\n"
                                                    "  - {model: m, input: 1.25, output: 10}\n"),
                                          err, sizeof(err)),
                         0);
        assert_string_equal(c.limits.backend, "redis://cache:6380/2");
        assert_int_equal(c.rate_limits.n, 4);
        assert_int_equal(c.rate_limits.items[0].tier, TIER_2);
        assert_int_equal(c.rate_limits.items[0].max[LIMIT_TOKENS_DAY], LIMIT_UNSAID);
        assert_string_equal(c.rate_limits.items[1].project, "proj_a");
        assert_true(c.rate_limits.items[1].budget > 12.4 && c.rate_limits.items[1].budget < 12.6);
        assert_string_equal(c.rate_limits.items[2].model, "m");
        assert_int_equal(c.rate_limits.items[2].max[LIMIT_REQUESTS_DAY], 0);
        assert_int_equal(c.rate_limits.items[3].max[LIMIT_AUDIO_MINUTE], 3000);
        assert_int_equal(c.prices.n, 1);
        assert_true(c.prices.items[0].output > 9.9 && c.prices.items[0].cached_input < 0);
        config_release(&c);
        assert_refused("rate_limits: [{tier: 6}]\n",
                       ":1: 'rate_limits' tier must be none, free or tier_1 to tier_5, not '6'");
        assert_refused("rate_limits: [{tokens_per_minit: 6}]\n",
                       ":1: 'rate_limits' has no 'tokens_per_minit' (did you mean 'tokens_per_minute'?)");
        assert_refused(
                "rate_limits: [{requests_per_day: 0}]\n",
                ":1: 'rate_limits' requests_per_day must be 1 to 1000000000000, or unlimited, not '0'");
        assert_refused("rate_limits: [{model: m, budget: 1}]\n",
                       ":1: 'rate_limits' a budget is of a project, not of a model");
        assert_refused("rate_limits: [tier]\n",
                       ":1: 'rate_limits' must be 'NAME=VALUE NAME=VALUE', not 'tier'");
        assert_refused("prices: [{input: -1}]\n",
                       ":1: 'prices' input must be 0 to 1000000 US dollars, not '-1'");
}

static void mistakes_in_the_file_name_line_and_key(void **state)
{
        (void)state;
        assert_refused("listen: a:1\n\nlistne: b:2\n",
                       ":3: unknown option 'listne' (did you mean 'listen'?)");
        assert_refused("limits:\n  max_boddy: 1\n",
                       ":2: unknown option 'limits.max_boddy' (did you mean 'limits.max_body'?)");
        assert_refused("limit: {}\n", ":1: unknown option 'limit' (did you mean 'limits'?)");
        assert_refused("zebra: 1\n", ":1: unknown option 'zebra'");
        assert_refused("listen: [a]\n", ":1: 'listen' must be a single value");
        assert_refused("listen: 8080\n", ":1: 'listen' must be HOST:PORT, not '8080'");
        assert_refused("listen: a:65536\n", ":1: 'listen' must be HOST:PORT, not 'a:65536'");
        assert_refused("listen: ::1:80\n", ":1: 'listen' must be HOST:PORT, not '::1:80'");
        assert_refused("listen: ''\n", ":1: 'listen' must not be empty");
        assert_refused("tls: 5\n", ":1: 'tls' must be a mapping");
        assert_refused("limits: {max_connections: many}\n",
                       ":1: 'limits.max_connections' must be a whole number, not 'many'");
        assert_refused("limits: {max_connections: 0}\n",
                       ":1: 'limits.max_connections' must be 1 to 1000000, not 0");
        assert_refused("limits: {max_connections: 1k}\n",
                       ":1: 'limits.max_connections' must be a whole number, not '1k'");
        assert_refused("limits:\n  max_body: -1\n",
                       ":2: 'limits.max_body' must be a size, such as 64M, not '-1'");
        assert_refused("limits: {max_body: 9999999999999G}\n",
                       ":1: 'limits.max_body' must be a size, such as 64M, not '9999999999999G'");
        assert_refused("limits: {max_body: 3G}\n",
                       ":1: 'limits.max_body' must be 1024 to 2147483648 bytes, not 3221225472");
        assert_refused("shutdown_grace: soon\n",
                       ":1: 'shutdown_grace' must be a time, such as 30s or 5m, not 'soon'");
        assert_refused("log: {level: loud}\n",
                       ":1: 'log.level' must be one of debug, info, warn, error, not 'loud'");
        assert_refused("models: a.gguf\n", ":1: 'models' must be a list");
        assert_refused("models:\n - [a]\n",
                       ":2: 'models' must hold file names, or mappings of path, id and aliases");
        assert_refused("models:\n - id: x\n", ":2: 'models' needs a path for this model");
        assert_refused("models:\n - path: x\n   name: y\n",
                       ":3: 'name' is unknown here; a model has path, id, aliases, format and adapters");
        assert_refused("models:\n - path: x\n   aliases: y\n",
                       ":3: 'models.aliases' must be a list of names");
        assert_refused("cors_origins: [{a: b}]\n", ":1: 'cors_origins' must be a list of texts");
        assert_refused("aliases: [a]\n", ":1: 'aliases' must map names to models");
        assert_refused("aliases: {a: [b]}\n", ":1: 'aliases' must map names to models");
        assert_refused("data: a\nlisten: b:1\ndata: c\n", ":3: 'data' stands here for the second time");
        assert_refused("api_key: \"a\\0b\"\n", ":1: 'api_key' must be a single value");
        assert_refused("[a]: b\n", ":1: 'key' must be a word");
        assert_refused("- listen\n", " must be a mapping of options");
        assert_refused("listen: a:1\n---\nlisten: b:1\n", " holds more than one document");
}

static void broken_yaml_names_its_line(void **state)
{
        static const struct {
                const char *yaml;
                int line;
        } broken[] = {
                { "listen: a:1\nlimits: {max_body: 1\ndata: x\n", 3 },
                { "a: b\n  c: d\n", 2 },
                { "\tlisten: a\n", 1 },
                { "listen: \"a\n", 2 },
                { "listen: *nothing\n", 1 },
                { "listen: \xff\n", 1 },
        };
        struct config c;
        (void)state;
        for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
                char place[128];
                assert_int_equal(config_load_file(&c, file_with(broken[i].yaml), err, sizeof(err)), -EINVAL);
                snprintf(place, sizeof(place), "%s:%d: ", file, broken[i].line);
                if (strncmp(err, place, strlen(place)) != 0)
                        fail_msg("%s is not at line %d", err, broken[i].line);
        }
}

static void hostile_files_do_no_harm(void **state)
{
        struct config c;
        size_t n = 100000;
        char *deep = mem_alloc(n + 1);
        (void)state;
        memset(deep, '[', n);
        deep[n] = '\0';
        assert_int_equal(config_load_file(&c, file_with(deep), err, sizeof(err)), -EINVAL);
        mem_free(deep);
        /* A mapping that holds itself; and one node as two options. */
        assert_int_equal(config_load_file(&c, file_with("limits: &a\n  max_body: *a\n"), err, sizeof(err)),
                         -EINVAL);
        assert_int_equal(config_load_file(&c, file_with("models: &m\n - x\n - *m\n"), err, sizeof(err)),
                         -EINVAL);
        assert_int_equal(config_load_file(&c, file_with("&a x: 1\n"), err, sizeof(err)), -EINVAL);
        assert_int_equal(config_load_file(&c, "/tmp", err, sizeof(err)), -EINVAL);
        assert_string_equal(err, "/tmp is a directory");
        assert_int_equal(config_load_file(&c, "/nowhere.yaml", err, sizeof(err)), -ENOENT);
        assert_string_equal(err, "/nowhere.yaml cannot be read: No such file or directory");
}

static void mistakes_on_the_command_line_are_named(void **state)
{
        struct config c;
        (void)state;
        assert_int_equal(LOAD(&c, "--lisen", "a:1"), -EINVAL);
        assert_string_equal(err, "unknown option '--lisen' (did you mean '--listen'?)");
        assert_int_equal(LOAD(&c, "--zebra"), -EINVAL);
        assert_string_equal(err, "unknown option '--zebra'; --help lists all");
        assert_int_equal(LOAD(&c, "--listen"), -EINVAL);
        assert_string_equal(err, "--listen needs a value");
        assert_int_equal(LOAD(&c, "serve"), -EINVAL);
        assert_string_equal(err, "unexpected argument 'serve'");
        assert_int_equal(LOAD(&c, "--max-body=huge"), -EINVAL);
        assert_string_equal(err, "--max-body must be a size, such as 64M, not 'huge'");
        assert_int_equal(LOAD(&c, "--alias", "x"), -EINVAL);
        assert_string_equal(err, "--alias must be NAME=MODEL, not 'x'");
        assert_int_equal(LOAD(&c, "--tls-cert", "x"), -EINVAL);
        assert_string_equal(err, "tls.cert is set, but tls.key is not");
        assert_int_equal(LOAD(&c, "--tls-client-ca", "x"), -EINVAL);
        assert_string_equal(err, "tls.client_ca is set, but tls.cert is not");
        assert_int_equal(LOAD(&c, "--config", "/nowhere.yaml"), -ENOENT);
        setenv("CAIRN_MAX_CONNECTIONS", "0", 1);
        assert_int_equal(config_load(&c, 0, NULL, err, sizeof(err)), -EINVAL);
        assert_string_equal(err, "CAIRN_MAX_CONNECTIONS must be 1 to 1000000, not 0");
}

static void addresses_are_split(void **state)
{
        struct config c;
        char host[64];
        int port;
        (void)state;
        assert_int_equal(LOAD(&c, "--listen", "[::1]:0"), 0);
        assert_int_equal(config_listen(&c, host, sizeof(host), &port), 0);
        assert_string_equal(host, "::1");
        assert_int_equal(port, 0);
        assert_int_equal(config_listen(&c, host, 3, &port), -EINVAL);
        config_release(&c);
        assert_int_equal(LOAD(&c, "--listen=0.0.0.0:443"), 0);
        assert_int_equal(config_listen(&c, host, sizeof(host), &port), 0);
        assert_string_equal(host, "0.0.0.0");
        assert_int_equal(port, 443);
        config_release(&c);
}

/* The table itself: names, flags and variables are distinct, and defaults lie within their bounds. */
static void every_option_is_sound(void **state)
{
        struct config c;
        (void)state;
        for (size_t i = 0; option_at(i); i++) {
                const struct option *o = option_at(i);
                assert_ptr_equal(option_find(o->name), o);
                assert_false(option_is_group(o->name));
                assert_int_equal(strncmp(o->env, "CAIRN_", 6), 0);
                assert_true(o->help && o->meta);
                assert_int_equal(o->words != NULL, o->type == OPT_WORD);
                for (size_t k = 0; k < i; k++) {
                        assert_string_not_equal(option_at(k)->env, o->env);
                        if (o->flag && option_at(k)->flag)
                                assert_string_not_equal(option_at(k)->flag, o->flag);
                        assert_true(option_at(k)->offset != o->offset);
                }
        }
        assert_int_equal(config_load(&c, 0, NULL, err, sizeof(err)), 0);
        config_release(&c);
}

static void help_names_every_option(void **state)
{
        char *text = NULL;
        size_t n = 0;
        (void)state;
        FILE *out = open_memstream(&text, &n);
        config_help(out);
        fclose(out);
        for (size_t i = 0; option_at(i); i++) {
                char flag[64];
                snprintf(flag, sizeof(flag), "--%s ", option_at(i)->flag ? option_at(i)->flag : "");
                assert_non_null(strstr(text, option_at(i)->flag ? flag : option_at(i)->env));
                assert_non_null(strstr(text, option_at(i)->name));
        }
        free(text);
}

#ifdef CAIRN_FAULTS
/* Whatever allocation fails, loading says so and leaks nothing. */
static void memory_may_run_out(void **state)
{
        struct config c;
        int rc = -ENOMEM;
        (void)state;
        const char *path =
                file_with("listen: a:1\nmodels: [a, {path: b, id: c, aliases: [d]}]\naliases: {e: f}\n");
        for (long n = 1; rc && n < 1000; n++) {
                mem_fail_nth(n);
                rc = LOAD(&c, "--config", (char *)path, "--alias", "x=y");
                mem_fail_nth(0);
                if (rc)
                        assert_int_equal(rc, -ENOMEM);
        }
        assert_int_equal(rc, 0);
        config_release(&c);
}
#endif

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(defaults_are_complete),
                CASE(a_file_sets_everything),
                CASE(nothing_leaves_the_defaults),
                CASE(flags_beat_environment_beats_file),
                CASE(rate_limits_and_prices_are_rules),
                CASE(mistakes_in_the_file_name_line_and_key),
                CASE(broken_yaml_names_its_line),
                CASE(hostile_files_do_no_harm),
                CASE(mistakes_on_the_command_line_are_named),
                CASE(addresses_are_split),
                CASE(every_option_is_sound),
                CASE(help_names_every_option),
#ifdef CAIRN_FAULTS
                CASE(memory_may_run_out),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
