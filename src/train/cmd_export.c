#include <stdio.h>
#include "base/mem.h"
#include "train/args.h"
#include "train/checkpoint.h"
#include "train/commands.h"
#include "train/gguf_export.h"
#include "train/vocab.h"

#define TEMPLATE_MAX (1 << 20)

int cmd_export(int argc, char **argv)
{
        const char *checkpoint = NULL, *vocab_path = NULL, *out = NULL, *name = "cairn-tiny",
                   *type_name = "q8_0", *template_path = NULL;
        long context = 0;
        struct gguf_export_info info;
        char *template = NULL;
        size_t n_template = 0;
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
                { "template", ARG_TEXT, &template_path, false,
                  "Jinja file of the chat template; ChatML without functions by default" },
        };
        size_t n = sizeof(table) / sizeof(*table);

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc && (!gguf_type_of(type_name, &info.type) || context < 0 || context > 1 << 20)) {
                snprintf(err, sizeof(err), "--type or --context is out of range");
                rc = -1;
        }
        if (!rc)
                rc = vocab_load(vocab_path, &vocab, err, sizeof(err));
        if (!rc)
                rc = checkpoint_load(checkpoint, &params, NULL, NULL, &state, err, sizeof(err));
        if (!rc && template_path)
                rc = file_read(template_path, TEMPLATE_MAX, &template, &n_template, err, sizeof(err));
        if (!rc) {
                info.name = name;
                info.context = context ? (int)context : params.shape.n_ctx;
                info.template = (struct str){ template, n_template };
                rc = gguf_export(out, &params, &vocab.spec, &info, err, sizeof(err));
        }
        mem_free(template);
        llama_params_release(&params);
        vocab_release(&vocab);
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
