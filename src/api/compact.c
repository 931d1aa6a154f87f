#include "api/compact.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/input.h"
#include "base/mem.h"

#define JSON_DEPTH_SEALED 256
#define ID_DIGITS 48
#define SUMMARY_INTRO                                                                                        \
        "What was said before this point has been left out to save space. This is a summary of it, written " \
        "to go on from:\n\n"

static bool is_compaction(const json_t *item)
{
        return str_eqc(json_str(item, "type"), "compaction");
}

/* What is sealed in a compaction: a new object. NULL with *ret_rc: -EINVAL when it is not ours. */
static json_t *open_item(struct req *r, const json_t *item, int *ret_rc)
{
        struct json_fault why;
        json_t *text = input_unseal(r, "compaction", json_str(item, "encrypted_content"), ret_rc);
        json_t *v = text ? json_parse(json_as_str(text), JSON_DEPTH_SEALED, &why) : NULL;
        if (text && !v)
                *ret_rc = why.no_memory ? -ENOMEM : -EINVAL;
        json_decref(text);
        return v;
}

static bool covers_all(const json_t *opened)
{
        return str_eqc(json_str(opened, "covers"), "all");
}

bool compaction_covers_all(struct req *r, const json_t *item)
{
        int rc;
        json_t *opened = is_compaction(item) ? open_item(r, item, &rc) : NULL;
        bool all = covers_all(opened);
        json_decref(opened);
        return all;
}

json_t *compaction_seal(struct req *r, enum compact_covers covers, json_t *summary, json_t *kept)
{
        char id[ID_MAX], *sealed = NULL;
        size_t n = 0;
        json_t *item = NULL,
               *opened = json_pack("{s:s, s:O, s:O}", "covers", covers == COMPACT_ALL ? "all" : "answers",
                                   "summary", summary, "items", kept);
        char *text = opened ? json_text(opened, &n) : NULL;
        if (text && input_seal(r, "compaction", (struct str){ text, n }, &sealed) == 0)
                item = json_pack("{s:s, s:s, s:s}", "id", id_hex(id, "cmp_", ID_DIGITS), "type", "compaction",
                                 "encrypted_content", sealed);
        mem_free(sealed);
        mem_free(text);
        json_decref(opened);
        return item;
}

/* ---- what the model is shown ---- */

/* Takes away what a compaction of the other kind stands for: all but the messages of users and developers. */
static int drop_answers(json_t **items)
{
        json_t *kept = json_array(), *item;
        size_t i;
        int rc = kept ? 0 : -ENOMEM;
        json_array_foreach(*items, i, item)
        {
                bool said = str_eqc(json_str(item, "type"), "message") &&
                            !str_eqc(json_str(item, "role"), "assistant");
                if (said && json_array_append(kept, item))
                        rc = -ENOMEM;
        }
        json_decref(*items);
        *items = kept;
        return rc;
}

/* The summary as a message of the developer, then what was kept, appended to `shown`. */
static int add_opened(json_t *shown, const json_t *opened)
{
        struct str summary = json_str(opened, "summary");
        struct buf text;
        buf_init(&text, summary.n + sizeof(SUMMARY_INTRO));
        buf_adds(&text, SUMMARY_INTRO);
        buf_add(&text, summary.p, summary.n);
        json_t *message = json_pack("{s:s, s:s, s:s, s:[{s:s, s:o}]}", "type", "message", "status",
                                    "completed", "role", "developer", "content", "type", "input_text", "text",
                                    buf_error(&text) ? NULL : json_strn(buf_str(&text)));
        buf_release(&text);
        int rc = json_array_append_new(shown, message) ? -ENOMEM : 0;
        if (rc == 0 && json_array_extend(shown, json_object_get(opened, "items")))
                rc = -ENOMEM;
        return rc;
}

/* Puts what a compaction says in the place of what it stands for at the end of *shown. */
static int apply(struct req *r, const json_t *item, json_t **shown)
{
        int rc = 0;
        json_t *opened = open_item(r, item, &rc);
        if (opened && covers_all(opened))
                rc = json_array_clear(*shown);
        else if (opened)
                rc = drop_answers(shown);
        if (opened && rc == 0)
                rc = add_opened(*shown, opened);
        json_decref(opened);
        return rc;
}

json_t *compaction_expand(struct req *r, json_t *items, struct api_err *reterr)
{
        json_t *shown = NULL, *item;
        size_t i;
        int rc = 0;
        json_array_foreach(items, i, item)
        {
                if (!is_compaction(item)) {
                        if (shown && rc == 0 && json_array_append(shown, item))
                                rc = -ENOMEM;
                        continue;
                }
                if (!shown) { /* the first: up to here it is as it was */
                        shown = json_array();
                        for (size_t k = 0; k < i && rc == 0; k++)
                                rc = json_array_append(shown, json_array_get(items, k)) ? -ENOMEM : 0;
                }
                if (rc == 0)
                        rc = shown ? apply(r, item, &shown) : -ENOMEM;
        }
        if (shown && !json_keep(r->arena, shown))
                rc = -ENOMEM;
        if (rc == -EINVAL) /* it was ours when it was stored: the secret of the installation has changed */
                input_bad_seal("input", reterr);
        else if (rc)
                err_internal(reterr, rc, "compaction", "");
        return rc ? NULL : shown ? shown : items;
}
