#include <errno.h>
#include <stdio.h>
#include "base/json.h"
#include "base/mem.h"
#include "train/args.h"
#include "train/bpe_train.h"
#include "train/commands.h"
#include "train/vocab.h"

#define DATA_FILE_MAX ((size_t)2 << 30)

/* Control tokens of the built-in model: those of ChatML, those that tools and reasoning will need, and a few
 * spare ones, so that a later version keeps the ids of this one. */
static const char *const special[] = {
        "<|endoftext|>",  "<|im_start|>",    "<|im_end|>",       "<|pad|>",        "<tool_call>",
        "</tool_call>",   "<tool_response>", "</tool_response>", "<tools>",        "</tools>",
        "<think>",        "</think>",        "<|fim_prefix|>",   "<|fim_middle|>", "<|fim_suffix|>",
        "<|reserved_0|>", "<|reserved_1|>",  "<|reserved_2|>",   "<|reserved_3|>", "<|reserved_4|>",
        "<|reserved_5|>", "<|reserved_6|>",  "<|reserved_7|>",   "<|reserved_8|>",
};

/* Learns from what one document says, taking it over. */
static int add_strings(void *ctx, json_t *doc)
{
        struct bpe_trainer *t = ctx;
        const json_t *messages = json_get(doc, "messages");
        int rc = 0;
        for (size_t i = 0; i < json_array_size(messages) && !rc; i++)
                rc = bpe_trainer_add(t, json_str(json_array_get(messages, i), "content"));
        if (!rc)
                rc = bpe_trainer_add(t, json_str(doc, "prompt"));
        if (!rc)
                rc = bpe_trainer_add(t, json_str(doc, "completion"));
        json_decref(doc);
        return rc ? -ENOMEM : 0;
}

static int add_file(struct bpe_trainer *t, const char *path, char *err, size_t errn)
{
        int rc = jsonl_each(path, DATA_FILE_MAX, add_strings, t, err, errn);
        /* what every chat has around its messages */
        if (!rc && (bpe_trainer_add(t, STR("system")) || bpe_trainer_add(t, STR("user")) ||
                    bpe_trainer_add(t, STR("assistant")) || bpe_trainer_add(t, STR("\n"))))
                rc = -ENOMEM;
        return rc;
}

int cmd_tokenizer(int argc, char **argv)
{
        const char *data = NULL, *out = NULL, *pre = "qwen2";
        long n_vocab = 2048;
        struct bpe_trainer *t = NULL;
        char err[256] = "";
        const struct arg table[] = {
                { "data", ARG_TEXT, &data, true, "JSONL file of documents" },
                { "out", ARG_TEXT, &out, true, "vocabulary file to write" },
                { "vocab", ARG_INT, &n_vocab, false, "tokens, control tokens included" },
                { "pre", ARG_TEXT, &pre, false, "pre-tokenizer" },
        };
        size_t n = sizeof(table) / sizeof(*table);

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc) {
                rc = bpe_trainer_new(pre, &t);
                if (rc)
                        snprintf(err, sizeof(err), "pre-tokenizer '%s' is not known", pre);
        }
        if (!rc)
                rc = add_file(t, data, err, sizeof(err));
        if (!rc)
                rc = bpe_trainer_write(t, (size_t)n_vocab, special, sizeof(special) / sizeof(*special),
                                       "<|endoftext|>", "<|im_end|>", out, err, sizeof(err));
        bpe_trainer_free(t);
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
