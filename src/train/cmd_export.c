#include <stdio.h>
#include "train/args.h"
#include "train/checkpoint.h"
#include "train/commands.h"
#include "train/gguf_export.h"
#include "train/vocab.h"

int cmd_export(int argc, char **argv)
{
        const char *checkpoint = NULL, *vocab_path = NULL, *out = NULL, *name = "cairn-tiny",
                   *type_name = "q8_0";
        long context = 0;
        uint32_t type;
        struct llama_params params = { 0 };
        struct run_state state;
        struct vocab vocab = { 0 };
        char err[256] = "";
        const struct arg table[] = {
                { "checkpoint", ARG_TEXT, &checkpoint, true, "checkpoint file" },
                { "tokenizer", ARG_TEXT, &vocab_path, true, "vocabulary file" },
                { "out", ARG_TEXT, &out, true, "GGUF file to write" },
                { "name", ARG_TEXT, &name, false, "general.name" },
                { "context", ARG_INT, &context, false,
                  "context length to state; the trained one by default" },
                { "type", ARG_TEXT, &type_name, false, "of the matrices: f32, f16, bf16 or q8_0" },
        };
        size_t n = sizeof(table) / sizeof(*table);

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc && (!gguf_type_of(type_name, &type) || context < 0 || context > 1 << 20)) {
                snprintf(err, sizeof(err), "--type or --context is out of range");
                rc = -1;
        }
        if (!rc)
                rc = vocab_load(vocab_path, &vocab, err, sizeof(err));
        if (!rc)
                rc = checkpoint_load(checkpoint, &params, NULL, NULL, &state, err, sizeof(err));
        if (!rc)
                rc = gguf_export(out, &params, &vocab.spec, name, context ? (int)context : params.shape.n_ctx,
                                 type, err, sizeof(err));
        llama_params_release(&params);
        vocab_release(&vocab);
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
