/* cairn check: looks at everything in a data directory, or a database and its blobs, and says what is wrong.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/state.h"
#include "jobs/batch.h"
#include "jobs/files.h"
#include "jobs/installation.h"
#include "jobs/webhook.h"
#include "store/blob.h"
#include "store/store.h"

#define KINDS_MAX 64 /* kinds of jobs that are listed */

static struct {
        bool repair, adopt, quick, json;
} given;

static const struct arg options[] = {
        { "repair", ARG_FLAG, NULL, "remove blobs that no row names", .target = &given.repair },
        { "adopt", ARG_FLAG, NULL, "first make the blobs this database's, after a copy was restored",
          .target = &given.adopt },
        { "quick", ARG_FLAG, NULL, "do not read the contents of blobs", .target = &given.quick },
        { "json", ARG_FLAG, NULL, "print one JSON object instead of text", .target = &given.json },
        { "data", ARG_CONFIG, "DIR", "the data directory, as for `cairn serve`", .target = NULL },
        { "database", ARG_CONFIG, "URL", "the database, as for `cairn serve`", .target = NULL },
        { "blobs", ARG_CONFIG, "URL", "the place of the blobs, as for `cairn serve`", .target = NULL },
        { "s3-endpoint", ARG_CONFIG, "URL", "the S3 service, as for `cairn serve`", .target = NULL },
        { "s3-region", ARG_CONFIG, "NAME", "its region, as for `cairn serve`", .target = NULL },
        { "config", ARG_CONFIG, "FILE", "the configuration file, as for `cairn serve`", .target = NULL },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

/* What is looked at, and what was found. */
struct check {
        struct store *store;
        struct blobs *blobs;
        json_t *findings; /* sentences; under --json only */
        size_t n_findings, n_rows, n_orphans;
        bool orphans_unknown; /* a row is damaged: any blob may be that row's */
        struct map open;      /* "KIND ID" of rows that a job should work on */
};

static void finding(void *ctx, const char *sentence)
{
        struct check *c = ctx;
        c->n_findings++;
        if (given.json)
                json_array_append_new(c->findings, json_string(sentence));
        else
                printf("%s\n", sentence);
}

static void orphan(void *ctx, const char *blob)
{
        struct check *c = ctx;
        char text[128];
        snprintf(text, sizeof(text), "blob %s: no row names it%s", blob, given.repair ? "; removed" : "");
        finding(c, text);
}

/* ---- rows and the work on them ---- */

static bool batch_is_open(const json_t *object)
{
        static const char *const open[] = { "validating", "in_progress", "finalizing", "cancelling" };
        for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++) {
                if (!strcmp(json_cstr(object, "status", ""), open[i]))
                        return true;
        }
        return false;
}

static bool response_is_open(const json_t *object)
{
        const char *status = json_cstr(object, "status", "");
        return json_flag(object, "background", false) &&
               (!strcmp(status, "queued") || !strcmp(status, "in_progress"));
}

static bool delivery_is_open(const json_t *object)
{
        return !strcmp(json_cstr(object, "status", ""), "pending");
}

/* Rows on which a job with their id works until they are closed. A job that `outlives` its row, which went
 * with another, finds that out when it is due. */
static const struct work {
        const char *kind, *job;
        bool outlives;
        bool (*is_open)(const json_t *object);
} works[] = {
        { BATCH_KIND, BATCH_KIND, false, batch_is_open },
        { "response", "response", false, response_is_open },
        { KIND_WEBHOOK_DELIVERY, WEBHOOK_DELIVERY, true, delivery_is_open },
};
#define N_WORKS (sizeof(works) / sizeof(*works))

static bool row_is_open(const struct object *row, const json_t *doc)
{
        for (size_t i = 0; i < N_WORKS; i++) {
                if (!strcmp(works[i].kind, row->kind))
                        return works[i].is_open(json_get(doc, "object"));
        }
        return false;
}

static const struct work *work_of_job(const char *kind)
{
        for (size_t i = 0; i < N_WORKS; i++) {
                if (!strcmp(works[i].job, kind))
                        return &works[i];
        }
        return NULL;
}

/* Kind and id are one key: both are words without spaces. */
static int open_put(struct check *c, const struct object *row)
{
        char key[2 * STORE_ID_MAX + 2];
        snprintf(key, sizeof(key), "%s %s", row->kind, row->id);
        return map_put(&c->open, str_c(key), c, NULL);
}

/* Rows that files_check() looks at. */
static bool names_blobs(const struct object *row)
{
        return !strcmp(row->kind, FILE_KIND) || !strcmp(row->kind, UPLOAD_PART_KIND);
}

/* What begins like JSON is JSON: else it is damage that the database's own checks cannot see. */
static int row_check(void *ctx, const struct object *row)
{
        struct check *c = ctx;
        struct json_fault why = { .msg = "" };
        char text[512];
        int rc = 0;
        c->n_rows++;
        if (!row->doc.n || !strchr("{[", row->doc.p[0]) || names_blobs(row))
                return 0;
        json_t *doc = json_parse(row->doc, STORE_DOC_DEPTH, &why);
        if (doc && row_is_open(row, doc))
                rc = open_put(c, row);
        if (!doc && why.no_memory)
                rc = -ENOMEM;
        if (!doc && !why.no_memory) {
                snprintf(text, sizeof(text), "%s %s: its document is damaged: %s", row->kind, row->id,
                         why.msg);
                finding(c, text);
        }
        json_decref(doc);
        return rc;
}

static int is_that_job(void *ctx, const struct job *j)
{
        const struct job *that = ctx;
        return !strcmp(j->kind, that->kind) && !strcmp(j->id, that->id);
}

/* A job has its row until it is dropped with it: so the row is looked for first, then the job once more. */
static int job_check(void *ctx, const struct job *j)
{
        struct check *c = ctx;
        struct job that = *j;
        struct object row;
        char key[2 * STORE_ID_MAX + 2], text[768];
        const struct work *work = work_of_job(j->kind);
        if (!work)
                return 0;
        snprintf(key, sizeof(key), "%s %s", work->kind, j->id);
        map_remove(&c->open, str_c(key));
        if (work->outlives)
                return 0;
        int rc = store_get(c->store, work->kind, j->id, NULL, &row, NULL);
        object_release(&row);
        if (rc == -ENOENT && store_job_scan(c->store, is_that_job, &that, NULL) == 1) {
                snprintf(text, sizeof(text), "job %s: there is no such %s", j->id, work->kind);
                finding(c, text);
        }
        return rc == -ENOENT ? 0 : rc;
}

/* The rows that were open when they were read, and had no job later: unless they were closed meanwhile. */
static int open_check(struct check *c)
{
        struct str key, id;
        size_t it = 0;
        void *unused;
        int rc = 0;
        while (!rc && map_next(&c->open, &it, &key, &unused)) {
                struct str kind = str_split(key, ' ', &id);
                char word[STORE_ID_MAX + 1], name[STORE_ID_MAX + 1], text[768];
                struct json_fault why;
                struct object row;
                snprintf(word, sizeof(word), "%.*s", STR_ARG(kind));
                snprintf(name, sizeof(name), "%.*s", STR_ARG(id));
                rc = store_get(c->store, word, name, NULL, &row, NULL);
                json_t *doc = rc ? NULL : json_parse(row.doc, STORE_DOC_DEPTH, &why);
                if (doc && row_is_open(&row, doc)) {
                        snprintf(text, sizeof(text), "%s %s: it is not finished, and no job works on it",
                                 word, row.id);
                        finding(c, text);
                }
                json_decref(doc);
                object_release(&row);
                rc = rc == -ENOENT ? 0 : rc;
        }
        return rc;
}

static int store_part(struct check *c, char *err, size_t errn)
{
        struct store_fault fault = { .msg = "" };
        int rc = store_check(c->store, finding, c, &fault);
        if (!rc)
                rc = store_scan(c->store, NULL, row_check, c, &fault);
        if (!rc)
                rc = store_job_scan(c->store, job_check, c, &fault);
        if (!rc)
                rc = open_check(c);
        if (rc)
                snprintf(err, errn, "%s", *fault.msg ? fault.msg : strerror(-rc));
        return rc;
}

/* ---- blobs ---- */

static int blobs_part(struct check *c, char *err, size_t errn)
{
        char text[CLI_ERR];
        int rc = files_check(c->store, c->blobs, !given.quick, finding, c, err, errn);
        if (rc)
                return rc;
        rc = files_collect(c->store, c->blobs, given.repair, orphan, c, &c->n_orphans, err, errn);
        if (rc != -EBADMSG)
                return rc;
        c->orphans_unknown = true;
        snprintf(text, sizeof(text), "blobs that no row names were not looked for: %s", err);
        finding(c, text);
        return 0;
}

/* ---- the report ---- */

static int jobs_text(struct check *c, char *err, size_t errn)
{
        struct job_tally tally[KINDS_MAX];
        struct store_fault fault = { .msg = "" };
        size_t n;
        int rc = store_job_tally(c->store, tally, KINDS_MAX, &n, &fault);
        if (rc) {
                snprintf(err, errn, "%s", fault.msg);
                return rc;
        }
        for (size_t i = 0; i < n; i++)
                printf("jobs %s: %zu wait, %zu run\n", tally[i].kind, tally[i].waiting, tally[i].running);
        return 0;
}

static int report_json(struct check *c)
{
        json_t *orphans = c->orphans_unknown ? json_null() : json_integer((json_int_t)c->n_orphans);
        json_t *out = json_pack("{s:b, s:I, s:o, s:I, s:O}", "ok", c->n_findings == 0, "rows",
                                (json_int_t)c->n_rows, "orphan_blobs", orphans, "removed_blobs",
                                (json_int_t)(given.repair ? c->n_orphans : 0), "findings", c->findings);
        char *text = out ? json_text(out, NULL) : NULL;
        json_decref(out);
        if (!text)
                return -ENOMEM;
        printf("%s\n", text);
        mem_free(text);
        return 0;
}

static int report(struct check *c, char *err, size_t errn)
{
        int rc = 0;
        if (given.json)
                rc = report_json(c);
        else if (!(rc = jobs_text(c, err, errn)))
                printf("%zu rows, %zu finding%s\n", c->n_rows, c->n_findings, c->n_findings == 1 ? "" : "s");
        if (rc == -ENOMEM)
                snprintf(err, errn, "memory is out");
        return rc;
}

/* 0 when nothing is wrong, 1 else: what a repair removed was wrong, and the next check says that it is not
 * any more. */
static int check_all(const struct config *config)
{
        struct check c = { .findings = json_array() };
        struct state state;
        char err[CLI_ERR] = "";
        map_init(&c.open);
        int rc = state_open_existing(config, &state, err, sizeof(err));
        if (!rc)
                rc = state_open_blobs(config, false, &state, err, sizeof(err));
        c.store = state.store;
        c.blobs = state.blobs;
        if (!rc && given.adopt)
                rc = installation_claim(c.store, c.blobs, err, sizeof(err));
        if (!rc) /* else every blob would be a finding */
                rc = installation_check(c.store, c.blobs, given.repair, err, sizeof(err));
        if (!rc)
                rc = store_part(&c, err, sizeof(err));
        if (!rc)
                rc = blobs_part(&c, err, sizeof(err));
        if (!rc)
                rc = report(&c, err, sizeof(err));
        state_close(&state);
        map_release(&c.open, NULL);
        json_decref(c.findings);
        if (rc)
                return cli_fail("check: %s", err);
        return c.n_findings ? 1 : 0;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct config config;
        struct stat st;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("check: %s", err);
        if (args.n_words)
                return cli_fail("check: unexpected argument '%s'", args.words[0]);
        if (config_load(&config, args.n_config, args.config, err, sizeof(err)))
                return cli_fail("%s", err);
        int code = 1;
        if (stat(config.data, &st)) /* which holds the blobs, or what is being written of them */
                cli_fail("data directory %s: %s", config.data, strerror(errno));
        else
                code = check_all(&config);
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn check [--repair] [--adopt] [--quick] [--json]\n\n"
              "Verifies what is stored, also while a server runs on it: the database's own checks, rows "
              "whose\n"
              "parent is missing, documents, jobs, the usage log, every blob that a row names (there, "
              "whole,\n"
              "with the digest that it was written with), and blobs that no row names for an hour. Prints a\n"
              "line for each finding. Exit code 0 when there is none, else 1.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_check = { "check", run, "verify what is stored", help };
