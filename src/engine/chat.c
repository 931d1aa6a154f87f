/* ChatML: "<|im_start|>role\ncontent<|im_end|>\n" for each message. */
#include <errno.h>
#include "base/mem.h"
#include "engine/model.h"

static const struct {
        const char *role, *rendered;
} roles[] = {
        { "system", "system\n" },
        { "developer", "system\n" },
        { "user", "user\n" },
        { "assistant", "assistant\n" },
};

static const char *header_of(struct str role)
{
        for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
                if (str_eqc(role, roles[i].role))
                        return roles[i].rendered;
        return NULL;
}

/* Encodes plain text: no control token can come of it. */
static int add_text(const struct engine_model *m, struct str text, struct tok_ids *ids)
{
        return str_is_utf8(text) ? tokenizer_encode(m->tok, text, 0, ids) : -EINVAL;
}

static int add_message(const struct engine_model *m, const struct engine_message *msg, struct tok_ids *ids)
{
        int rc;
        const char *header = header_of(msg->role);
        if (!header)
                return -EINVAL;
        if ((rc = tok_ids_push(ids, m->chat.start)) || (rc = add_text(m, str_c(header), ids)) ||
            (rc = add_text(m, msg->content, ids)) || (rc = tok_ids_push(ids, m->chat.end)))
                return rc;
        return add_text(m, STR("\n"), ids);
}

int engine_chat_tokenize(const struct engine_model *m, const struct engine_message *msgs, size_t n,
                         bool generate, struct engine_tokens *out)
{
        int rc = m->info.has_chat ? 0 : -ENOTSUP;
        struct tok_ids ids = { out->p, out->n, out->cap };
        if (!rc && m->info.add_bos && m->info.bos >= 0)
                rc = tok_ids_push(&ids, m->info.bos);
        for (size_t i = 0; !rc && i < n; i++)
                rc = add_message(m, &msgs[i], &ids);
        if (!rc && generate && !(rc = tok_ids_push(&ids, m->chat.start)))
                rc = add_text(m, STR("assistant\n"), &ids);
        *out = (struct engine_tokens){ ids.p, ids.n, ids.cap };
        return rc;
}
