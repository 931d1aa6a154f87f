/* ChatML: "<|im_start|>role\ncontent<|im_end|>\n" for each message. */
#include <errno.h>
#include <stdio.h>
#include "base/buf.h"
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

/* The text between two markers is encoded in one piece, without recognising control tokens in it: whatever a
 * message says, no marker can come of it. */
static int add_message(const struct engine_model *m, const json_t *msg, struct tok_ids *ids)
{
        struct str content = json_str(msg, "content");
        const char *header = header_of(json_str(msg, "role"));
        if (!header || !str_is_utf8(content))
                return -EINVAL;
        struct buf text;
        buf_init(&text, content.n + 64);
        buf_adds(&text, header);
        buf_add(&text, content.p, content.n);
        int rc = buf_error(&text);
        if (!rc && !(rc = tok_ids_push(ids, m->chat.start)) &&
            !(rc = tokenizer_encode(m->tok, buf_str(&text), 0, ids)) &&
            !(rc = tok_ids_push(ids, m->chat.end)))
                rc = tokenizer_encode(m->tok, STR("\n"), 0, ids);
        buf_release(&text);
        return rc;
}

int engine_chat_tokenize(const struct engine_model *m, const struct engine_chat *chat,
                         struct engine_tokens *out, char *err, size_t errn)
{
        int rc = m->info.has_chat ? 0 : -ENOTSUP;
        if (errn)
                snprintf(err, errn, "%s", rc ? "the model has no chat template" : "");
        struct tok_ids ids = { out->p, out->n, out->cap };
        if (!rc && m->info.add_bos && m->info.bos >= 0)
                rc = tok_ids_push(&ids, m->info.bos);
        for (size_t i = 0; !rc && i < json_array_size(chat->messages); i++)
                rc = add_message(m, json_array_get(chat->messages, i), &ids);
        if (!rc && chat->generate && !(rc = tok_ids_push(&ids, m->chat.start)))
                rc = tokenizer_encode(m->tok, STR("assistant\n"), 0, &ids);
        *out = (struct engine_tokens){ ids.p, ids.n, ids.cap };
        return rc;
}
