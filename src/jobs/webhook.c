#include "jobs/webhook.h"

#include <errno.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/mem.h"

#define EVENT_HEX 32

int webhook_event_op(struct arena *a, const char *project, const char *type, const char *data_id,
                     struct store_op *ret)
{
        char id[ID_MAX];
        size_t n = 0;
        json_t *payload = json_pack("{s:s, s:I, s:{s:s}}", "type", type, "created_at",
                                    (json_int_t)clock_unix(), "data", "id", data_id);
        char *text = payload ? json_text(payload, &n) : NULL;
        const char *kept = text ? arena_strndup(a, text, n) : NULL;
        const char *name = arena_strdup(a, id_hex(id, "evt_", EVENT_HEX));
        json_decref(payload);
        mem_free(text);
        if (!kept || !name)
                return -ENOMEM;
        *ret = (struct store_op){ .verb = STORE_JOB_PUT,
                                  .kind = WEBHOOK_EVENT,
                                  .id = name,
                                  .project = project,
                                  .doc = { kept, n } };
        return 0;
}
