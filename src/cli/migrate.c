/* cairn migrate: moves a data directory's store to PostgreSQL, and its blobs to S3. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "store/blob.h"
#include "store/datadir.h"
#include "store/migrate.h"

static struct {
        const char *database, *blobs;
        bool resume;
} given;

static const struct arg options[] = {
        { "data", ARG_CONFIG, "DIR", "the data directory to move; its server must have ended",
          .target = NULL },
        { "config", ARG_CONFIG, "FILE", "the configuration file, as for `cairn serve`", .target = NULL },
        { "to-database", ARG_TEXT, "URL", "where to: postgres://... (the configured database)",
          .target = &given.database },
        { "to-blobs", ARG_TEXT, "URL", "where to move the contents of files: s3://BUCKET/PREFIX (they stay)",
          .target = &given.blobs },
        { "s3-endpoint", ARG_CONFIG, "URL", "the S3 service, as for `cairn serve`", .target = NULL },
        { "s3-region", ARG_CONFIG, "NAME", "its region, as for `cairn serve`", .target = NULL },
        { "resume", ARG_FLAG, NULL, "go on with a migration that was interrupted", .target = &given.resume },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

/* One line that is written over on a terminal; elsewhere a line for each part that is complete. */
static void show(void *ctx, const char *what, int64_t done, int64_t total)
{
        (void)ctx;
        bool terminal = isatty(STDERR_FILENO);
        if (terminal || done >= total)
                fprintf(stderr, "%s%-14s %" PRId64 " of %" PRId64 "%s", terminal ? "\r\033[K" : "", what,
                        done, total, !terminal || done >= total ? "\n" : "");
}

struct blob_move {
        struct blobs *from, *to;
        int64_t done;
        char failed[128]; /* the blob that could not be copied */
};

/* A blob that is there already, whole, is left alone: so this too can be gone on with. */
static int blob_move(void *ctx, const char *id, int64_t modified)
{
        struct blob_move *m = ctx;
        (void)modified;
        int rc = blob_copy(m->from, id, m->to);
        if (rc)
                snprintf(m->failed, sizeof(m->failed), "%s", id);
        else
                m->done++;
        return rc;
}

/* Each is verified as it is read, and once more, by its digest, as it arrives. */
static int move_blobs(const struct config *config)
{
        char err[CLI_ERR] = "";
        struct blobs_options from = { .data_dir = config->data }, to = { .data_dir = config->data,
                                                                         .url = given.blobs,
                                                                         .endpoint = config->s3_endpoint,
                                                                         .region = config->s3_region,
                                                                         .key = config->s3_key,
                                                                         .secret = config->s3_secret };
        struct blob_move m = { 0 };
        int rc = blobs_open(&from, &m.from, err, sizeof(err));
        if (!rc)
                rc = blobs_open(&to, &m.to, err, sizeof(err));
        if (!rc)
                rc = blobs_ping(m.to, err, sizeof(err));
        if (!rc)
                rc = blobs_list(m.from, blob_move, &m);
        blobs_close(m.from);
        blobs_close(m.to);
        if (rc && *m.failed)
                return cli_fail("migrate: blob %s: %s", m.failed, strerror(-rc));
        if (rc)
                return cli_fail("migrate: %s", *err ? err : strerror(-rc));
        show(NULL, "blobs", m.done, m.done);
        return 0;
}

static int move_store(const struct config *config, const char *to)
{
        struct store_fault fault = { 0 };
        struct store_migration m = {
                .from = config->data, .to = to, .resume = given.resume, .progress = show
        };
        int rc = store_migrate(&m, &fault);
        return rc ? cli_fail("migrate: %s", *fault.msg ? fault.msg : strerror(-rc)) : 0;
}

/* While the blobs move no server may write: a row could come to name one that stays behind. The lock is given
 * up for store_migrate() to take, which keeps it while it copies. */
static int move_blobs_alone(const struct config *config)
{
        char err[CLI_ERR];
        int fd, code = 0;
        if (datadir_lock(config->data, &fd, err, sizeof(err)))
                return cli_fail("migrate: %s", err);
        if (given.blobs)
                code = move_blobs(config);
        close(fd);
        return code;
}

/* The blobs come first, as they do when a file is written: no row may name one that is missing. */
static int migrate(const struct config *config)
{
        const char *to = given.database ? given.database : config->database;
        if (!to)
                return cli_fail("migrate: --to-database is missing");
        if (access(config->data, R_OK | X_OK))
                return cli_fail("data directory %s: %s", config->data, strerror(errno));
        if (move_blobs_alone(config) || move_store(config, to))
                return 1;
        puts("Everything was copied and compared. The secret of the data directory (its file `pepper`) "
             "belongs to it.");
        return 0;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct config config;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("migrate: %s", err);
        if (args.n_words)
                return cli_fail("migrate: unexpected argument '%s'", args.words[0]);
        if (config_load(&config, args.n_config, args.config, err, sizeof(err)))
                return cli_fail("%s", err);
        int code = migrate(&config);
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn migrate --data DIR --to-database URL [--to-blobs URL] [--resume]\n\n"
              "Copies everything that the data directory's store holds into an empty PostgreSQL database, "
              "then "
              "compares\nboth. The directory is not changed. Interrupted, it is gone on with by "
              "--resume.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_migrate = { "migrate", run, "move a data directory to PostgreSQL", help };
