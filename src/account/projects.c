/* Projects: the tenants that keys and objects belong to. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "account/account_internal.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

int account_project_create(struct account *a, const char *name, char ret_id[ID_MAX], char *err, size_t errn)
{
        struct store_fault fault = { 0 };
        if (!*name || strlen(name) >= ACCOUNT_NAME_MAX || !str_is_utf8(str_c(name))) {
                snprintf(err, errn, "the name of a project has 1 to %d bytes of UTF-8", ACCOUNT_NAME_MAX - 1);
                return -EINVAL;
        }
        id_alnum(ret_id, "proj_", 24);
        json_t *doc = json_pack("{s:s, s:s, s:s, s:I, s:n, s:s}", "id", ret_id, "object",
                                "organization.project", "name", name, "created_at", (json_int_t)clock_unix(),
                                "archived_at", "status", "active");
        struct store_op op = { .verb = STORE_PUT, .kind = KIND_PROJECT, .id = ret_id };
        char *text = doc ? json_text(doc, &op.doc.n) : NULL;
        op.doc.p = text;
        int rc = text ? store_put(a->store, &op, &fault) : -ENOMEM;
        if (rc)
                snprintf(err, errn, "%s", rc == -ENOMEM ? "out of memory" : fault.msg);
        json_decref(doc);
        mem_free(text);
        return rc;
}
