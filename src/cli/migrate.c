/* cairn migrate: moves a data directory's store to PostgreSQL, and its blobs to S3. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "jobs/files.h"
#include "jobs/installation.h"
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
        int64_t done, damaged;
        char why[256]; /* it could not go on */
};

/* A blob that is there already, whole, is left alone: so this too can be gone on with. One that is lost at
 * the source is told of and does not stop the others. */
static int blob_move(void *ctx, const struct object *row, const json_t *blob)
{
        struct blob_move *m = ctx;
        const char *id = json_cstr(blob, "id", "");
        int rc = blob_copy(m->from, id, m->to);
        if (!rc) {
                m->done++;
                return 0;
        }
        if (rc != -ENOENT && rc != -EBADMSG) {
                snprintf(m->why, sizeof(m->why), "blob %s: %s", id, blob_fault());
                return rc;
        }
        m->damaged++;
        fprintf(stderr, "cairn: migrate: %s %s: blob %s %s\n", row->kind, row->id, id,
                rc == -ENOENT ? "is missing" : blob_fault());
        return 0;
}

/* The row moves as it is. */
static int row_damaged(void *ctx, const struct object *row, const char *why)
{
        struct blob_move *m = ctx;
        m->damaged++;
        fprintf(stderr, "cairn: migrate: %s %s: its row is damaged, its blobs stay behind: %s\n", row->kind,
                row->id, why);
        return 0;
}

static struct blobs_options target_options(const struct config *config)
{
        return (struct blobs_options){ .data_dir = config->data,
                                       .url = given.blobs ? given.blobs : config->blobs,
                                       .endpoint = config->s3_endpoint,
                                       .region = config->s3_region,
                                       .key = config->s3_key,
                                       .secret = config->s3_secret };
}

static int found_one(void *ctx, const char *id, int64_t modified)
{
        (void)ctx;
        (void)id;
        (void)modified;
        return 1;
}

/* What is in the place would be removed by the first server, for no row names it. */
static int place_is_free(struct blobs *to, char *err, size_t errn)
{
        char mark[BLOBS_MARK_MAX];
        int rc = blobs_mark(to, mark);
        if (!rc) {
                snprintf(err, errn, "%s is the place of installation %s: choose an empty one",
                         blobs_where(to), mark);
                return -ENOTEMPTY;
        }
        rc = rc == -ENOENT ? 0 : rc;
        if (!rc && !given.resume)
                rc = blobs_list(to, found_one, NULL);
        if (rc > 0) {
                snprintf(err, errn,
                         "%s holds blobs: choose an empty place, or go on with an earlier migration by "
                         "--resume",
                         blobs_where(to));
                return -ENOTEMPTY;
        }
        if (rc)
                snprintf(err, errn, "%s", blob_fault());
        return rc;
}

static int open_place(const struct config *config, struct blobs **ret, char *err, size_t errn)
{
        struct blobs_options o = target_options(config);
        int rc = blobs_open(&o, ret, err, errn);
        return rc ? rc : blobs_ping(*ret, err, errn);
}

/* Every blob that a row names. Each is verified as it is read; what a service keeps it compares with a digest
 * that is sent along. */
static int move_blobs(const struct config *config, struct store *store, int64_t *ret_damaged)
{
        char err[CLI_ERR] = "";
        struct blobs_options from = { .data_dir = config->data };
        struct store_fault fault = { .msg = "" };
        struct blob_move m = { 0 };
        struct files_visitor visitor = { blob_move, row_damaged, &m };
        int rc = blobs_open(&from, &m.from, err, sizeof(err));
        if (!rc)
                rc = installation_check(store, m.from, false, err, sizeof(err));
        if (!rc)
                rc = open_place(config, &m.to, err, sizeof(err));
        if (!rc)
                rc = place_is_free(m.to, err, sizeof(err));
        if (!rc)
                rc = files_each_blob(store, &visitor, &fault);
        blobs_close(m.from);
        blobs_close(m.to);
        if (rc)
                return cli_fail("migrate: %s", *m.why       ? m.why
                                               : *err       ? err
                                               : *fault.msg ? fault.msg
                                                            : strerror(-rc));
        *ret_damaged = m.damaged;
        show(NULL, "blobs", m.done, m.done);
        return 0;
}

/* The blobs that stay where they are become the new database's in the end: they must be the old one's now. */
static int check_blobs(const struct config *config, struct store *store)
{
        char err[CLI_ERR] = "";
        struct blobs *b = NULL;
        int rc = open_place(config, &b, err, sizeof(err));
        if (!rc)
                rc = installation_check(store, b, false, err, sizeof(err));
        blobs_close(b);
        return rc ? cli_fail("migrate: %s", *err ? err : strerror(-rc)) : 0;
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
static int move_blobs_alone(const struct config *config, int64_t *ret_damaged)
{
        char err[CLI_ERR];
        struct store_fault fault = { .msg = "" };
        struct store *store = NULL;
        int fd, code = 0;
        if (datadir_lock(config->data, &fd, err, sizeof(err)))
                return cli_fail("migrate: %s", err);
        int rc = store_open(config->data, NULL, &store, &fault);
        if (rc)
                code = cli_fail("migrate: %s", *fault.msg ? fault.msg : strerror(-rc));
        else if (given.blobs)
                code = move_blobs(config, store, ret_damaged);
        else
                code = check_blobs(config, store);
        store_close(store);
        close(fd);
        return code;
}

/* The new database is an installation of its own: the old one must not take the blobs for its own any more,
 * of which it will not know the newer ones. */
static int mark_blobs(const struct config *config, const char *to)
{
        char err[CLI_ERR] = "";
        struct store_fault fault = { .msg = "" };
        struct store *store = NULL;
        struct blobs *b = NULL;
        int rc = store_open(to, NULL, &store, &fault);
        if (rc)
                snprintf(err, sizeof(err), "%s", fault.msg);
        if (!rc)
                rc = open_place(config, &b, err, sizeof(err));
        if (!rc)
                rc = installation_renew(store, b, err, sizeof(err));
        blobs_close(b);
        store_close(store);
        if (!rc)
                return 0;
        return cli_fail(
                "migrate: everything was copied, but the blobs could not be marked as the database's, "
                "which `cairn check --adopt` does: %s",
                *err ? err : strerror(-rc));
}

/* The blobs come first, as they do when a file is written: no row may name one that is missing. */
static int migrate(const struct config *config)
{
        const char *to = given.database ? given.database : config->database;
        if (!to)
                return cli_fail("migrate: --to-database is missing");
        char file[4096];
        snprintf(file, sizeof(file), "%s/cairn.db", config->data);
        if (access(file, R_OK | W_OK)) /* a mistyped --data is no new store */
                return cli_fail("data directory: %s: %s", file, strerror(errno));
        int64_t damaged = 0;
        if (move_blobs_alone(config, &damaged) || move_store(config, to) || mark_blobs(config, to))
                return 1;
        if (damaged)
                return cli_fail("migrate: everything was copied but the contents of %" PRId64
                                " files or parts; `cairn check` tells more",
                                damaged);
        puts("Everything was copied, and every row compared. The secret of the data directory (its file "
             "`pepper`) "
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
              "compares\nboth; with --to-blobs the contents of files too. The directory is not changed, but "
              "that "
              "blobs which stay\nthere become the database's. Interrupted, it is gone on with by "
              "--resume.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_migrate = { "migrate", run, "move a data directory to PostgreSQL", help };
