/* cairn backup: a consistent copy of a data directory, also while a server runs on it. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/state.h"
#include "jobs/files.h"
#include "jobs/installation.h"
#include "store/blob.h"
#include "store/datadir.h"
#include "store/store.h"

#define ROUNDS_MAX                                                                              \
        20 /* copies of the database, when files are deleted faster than their blobs are copied \
            */
#define PEPPER_MAX 4096
#define PATH_LEN 4096

static struct {
        const char *to;
} given;

static const struct arg options[] = {
        { "to", ARG_TEXT, "DIR", "the new directory for the copy", .target = &given.to },
        { "data", ARG_CONFIG, "DIR", "the data directory, as for `cairn serve`", .target = NULL },
        { "database", ARG_CONFIG, "URL", "the database, as for `cairn serve`", .target = NULL },
        { "blobs", ARG_CONFIG, "URL", "the place of the blobs, as for `cairn serve`", .target = NULL },
        { "s3-endpoint", ARG_CONFIG, "URL", "the S3 service, as for `cairn serve`", .target = NULL },
        { "s3-region", ARG_CONFIG, "NAME", "its region, as for `cairn serve`", .target = NULL },
        { "config", ARG_CONFIG, "FILE", "the configuration file, as for `cairn serve`", .target = NULL },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

struct backup {
        const struct config *config;
        const char *to;
        struct store *store, *copy;
        struct blobs *from, *into;
        size_t n_blobs, n_damaged; /* blobs that were copied, and that could not be */
        size_t n_rows_damaged;     /* rows whose blobs are not known */
        bool again;                /* a file was deleted between the copy of its row and that of its blobs */
        char *err;
        size_t errn;
};

static int failed(struct backup *b, int rc, const char *what)
{
        snprintf(b->err, b->errn, "%s", what && *what ? what : strerror(-rc));
        return rc;
}

/* ---- blobs ---- */

/* Whether the row that names a blob which cannot be copied is still there: then the blob is damaged, else
 * the file was deleted meanwhile. */
static int row_is_live(struct backup *b, const struct object *row, bool *ret)
{
        struct store_fault fault = { .msg = "" };
        struct object live;
        int rc = store_get(b->store, row->kind, row->id, row->project, &live, &fault);
        *ret = rc == 0;
        object_release(&live);
        return rc && rc != -ENOENT ? failed(b, rc, fault.msg) : 0;
}

static int one_blob(void *ctx, const struct object *row, const json_t *blob)
{
        struct backup *b = ctx;
        const char *id = json_cstr(blob, "id", "");
        bool live;
        int rc = blob_copy(b->from, id, b->into);
        if (!rc) {
                b->n_blobs++;
                return 0;
        }
        if (rc != -ENOENT && rc != -EBADMSG)
                return failed(b, rc, blob_fault());
        char why[256];
        if (rc == -EBADMSG)
                snprintf(why, sizeof(why), "%s", blob_fault());
        else
                snprintf(why, sizeof(why), "blob %s is missing", id);
        rc = row_is_live(b, row, &live);
        if (rc)
                return rc;
        if (!live) {
                b->again = true;
                return 0;
        }
        b->n_damaged++;
        fprintf(stderr, "cairn: backup: %s %s: %s\n", row->kind, row->id, why);
        return 0;
}

static int damaged_row(void *ctx, const struct object *row, const char *why)
{
        struct backup *b = ctx;
        b->n_rows_damaged++;
        fprintf(stderr, "cairn: backup: %s %s is damaged, so that its blobs are not known: %s\n", row->kind,
                row->id, why);
        return 0;
}

/* ---- rounds ---- */

/* The database first, then every blob that the copied rows name. A row that was deleted in between may have
 * lost its blobs: then the database is copied once more, in which that row is not any more. Blobs that were
 * copied for nothing are orphans of the copy, which its first server removes. */
static int one_round(struct backup *b)
{
        struct files_visitor visitor = { one_blob, damaged_row, b };
        struct store_fault fault = { .msg = "" };
        b->again = false;
        b->n_blobs = b->n_damaged = b->n_rows_damaged = 0;
        int rc = store_backup(b->store, b->to, &fault);
        if (!rc)
                rc = store_open(b->to, NULL, &b->copy, &fault);
        if (!rc && b->from) {
                rc = files_each_blob(b->copy, &visitor, &fault);
                if (rc && *b->err)
                        snprintf(fault.msg, sizeof(fault.msg), "%s", b->err);
        }
        store_close(b->copy); /* which leaves no log beside the database */
        b->copy = NULL;
        return rc ? failed(b, rc, fault.msg) : 0;
}

static int database_remove(struct backup *b)
{
        char path[PATH_LEN];
        snprintf(path, sizeof(path), "%s/cairn.db", b->to);
        return unlink(path) ? failed(b, -errno, NULL) : 0;
}

static int rounds(struct backup *b)
{
        int rc = 0;
        for (int i = 0; i < ROUNDS_MAX; i++) {
                rc = one_round(b);
                if (rc || !b->again)
                        return rc;
                rc = database_remove(b);
                if (rc)
                        return rc;
        }
        return failed(b, -EBUSY, "files are deleted faster than they can be copied; try again later");
}

/* ---- whose it is ---- */

/* The copy is an installation of its own: its blobs are those that were copied, and on S3 none until somebody
 * says which, for the bucket is the original's. */
static int copy_is_another(struct backup *b)
{
        struct store_fault fault = { .msg = "" };
        int rc = store_open(b->to, NULL, &b->copy, &fault);
        if (rc)
                return failed(b, rc, fault.msg);
        rc = installation_renew(b->copy, b->into, b->err, b->errn);
        store_close(b->copy);
        b->copy = NULL;
        return rc;
}

/* A bucket without a mark would be taken for that of whichever database comes first. */
static int bucket_is_marked(struct backup *b, struct state *state)
{
        bool known;
        int rc = installation_known(b->store, &known, b->err, b->errn);
        if (rc || known)
                return rc;
        rc = state_open_blobs(b->config, false, state, b->err, b->errn);
        return rc ? rc : installation_check(b->store, state->blobs, true, b->err, b->errn);
}

/* ---- the secret ---- */

/* The file with which keys are verified, unless the secret is configured elsewhere. */
static int pepper_copy(struct backup *b)
{
        char from[PATH_LEN], to[PATH_LEN], secret[PEPPER_MAX];
        int in = -1, out = -1, rc = 0;
        snprintf(from, sizeof(from), "%s/pepper", b->config->data);
        snprintf(to, sizeof(to), "%s/pepper", b->to);
        in = open(from, O_RDONLY | O_CLOEXEC);
        if (in < 0)
                return errno == ENOENT ? 0 : failed(b, -errno, NULL);
        ssize_t n = read(in, secret, sizeof(secret));
        if (n >= 0)
                out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (n < 0 || out < 0 || write(out, secret, (size_t)n) != n || fsync(out))
                rc = failed(b, errno ? -errno : -EIO, NULL);
        explicit_bzero(secret, sizeof(secret));
        close(in);
        if (out >= 0)
                close(out);
        return rc ? rc : datadir_sync(b->to);
}

/* ---- the command ---- */

static int open_all(struct backup *b, struct state *state)
{
        int rc = state_open_existing(b->config, state, b->err, b->errn);
        if (rc)
                return rc;
        b->store = state->store;
        rc = datadir_make(b->to, b->err, b->errn);
        if (rc)
                return rc;
        if (b->config->blobs) /* elsewhere, and safe there */
                return bucket_is_marked(b, state);
        struct blobs_options into = { .data_dir = b->to, .exclusive = true };
        rc = state_open_blobs(b->config, false, state, b->err, b->errn);
        b->from = state->blobs;
        return rc ? rc : blobs_open(&into, &b->into, b->err, b->errn);
}

/* The copy is made under another name and renamed when it is whole: no half of one is ever taken for one. */
static int name_part(char *part, size_t n, char *err, size_t errn)
{
        size_t len = strlen(given.to);
        while (len > 1 && given.to[len - 1] == '/')
                len--;
        if ((size_t)snprintf(part, n, "%.*s.part", (int)len, given.to) >= n) {
                snprintf(err, errn, "%s: %s", given.to, strerror(ENAMETOOLONG));
                return -ENAMETOOLONG;
        }
        struct stat st;
        if (stat(part, &st))
                return 0;
        snprintf(err, errn, "%s is there: remove what an interrupted backup left", part);
        return -EEXIST;
}

static int rename_part(struct backup *b)
{
        char to[PATH_LEN];
        snprintf(to, sizeof(to), "%.*s", (int)(strlen(b->to) - strlen(".part")), b->to);
        if (rename(b->to, to))
                return failed(b, -errno, NULL);
        char *slash = strrchr(to, '/');
        if (slash)
                slash[slash == to] = '\0';
        int rc = datadir_sync(slash ? to : ".");
        return rc && rc != -EACCES ? failed(b, rc, NULL) : 0;
}

/* What the copy lacks, of which each part was told of: 0 when that is nothing, else 1. */
static int lacks(const struct backup *b)
{
        if (b->n_damaged)
                cli_fail("backup: %zu blob%s could not be copied; `cairn check` tells more", b->n_damaged,
                         b->n_damaged == 1 ? "" : "s");
        if (b->n_rows_damaged)
                cli_fail("backup: the blobs of %zu damaged row%s were not copied", b->n_rows_damaged,
                         b->n_rows_damaged == 1 ? "" : "s");
        return b->n_damaged || b->n_rows_damaged;
}

static int backup(const struct config *config)
{
        char err[CLI_ERR] = "", part[PATH_LEN];
        struct backup b = { .config = config, .to = part, .err = err, .errn = sizeof(err) };
        struct state state = { 0 };
        int rc = name_part(part, sizeof(part), err, sizeof(err));
        if (rc)
                return cli_fail("backup: %s", err);
        rc = open_all(&b, &state);
        if (!rc)
                rc = rounds(&b);
        if (!rc)
                rc = copy_is_another(&b);
        if (!rc)
                rc = pepper_copy(&b);
        blobs_close(b.into);
        state_close(&state);
        if (!rc)
                rc = rename_part(&b);
        if (rc)
                return cli_fail("backup: %s", *err ? err : strerror(-rc));
        printf("%s: the database and %zu blob%s\n", given.to, b.n_blobs, b.n_blobs == 1 ? "" : "s");
        return lacks(&b);
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct config config;
        struct stat st;
        int code = 1;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("backup: %s", err);
        if (args.n_words)
                return cli_fail("backup: unexpected argument '%s'", args.words[0]);
        if (!given.to)
                return cli_fail("backup: --to DIR is missing");
        if (!stat(given.to, &st))
                return cli_fail("backup: %s: %s", given.to, strerror(EEXIST));
        if (config_load(&config, args.n_config, args.config, err, sizeof(err)))
                return cli_fail("%s", err);
        if (config.database)
                cli_fail("backup: a PostgreSQL database is copied with pg_dump, and blobs with the tools of "
                         "their service");
        else
                code = backup(&config);
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn backup --to NEWDIR [--data DIR]\n\n"
              "Copies a data directory while a server runs on it: the database as it is at one moment, "
              "every\n"
              "blob that its rows name, and the secret under which keys are kept. What was acknowledged "
              "before\n"
              "the copy began is in it, and NEWDIR is there when it is whole. It is a data directory: `cairn "
              "serve --data NEWDIR` serves it.\n"
              "With blobs on S3 the bucket is not copied, and the copy is not served with it until `cairn "
              "check\n--adopt` says that it takes the original's place.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_backup = { "backup", run, "copy a data directory while it is served", help };
