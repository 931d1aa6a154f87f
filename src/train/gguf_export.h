/* Parameters as a GGUF file of the `llama` architecture. */
#ifndef CAIRN_TRAIN_GGUF_EXPORT_H
#define CAIRN_TRAIN_GGUF_EXPORT_H

#include "engine/gguf_write.h"
#include "engine/tokenizer.h"
#include "train/llama.h"

struct gguf_export_info {
        const char *name;    /* general.name */
        int context;         /* the context length that the file states */
        uint32_t type;       /* of the matrices; norms are F32 */
        struct str template; /* how a chat becomes text, as Jinja; empty: ChatML without functions */
};
/* Writes p and the vocabulary. 0 or a negative errno with a message. */
int gguf_export(const char *path, const struct llama_params *p, const struct tok_spec *vocab,
                const struct gguf_export_info *info, char *err, size_t errn);
/* Rounds the matrices as gguf_export() would and back, to measure what that costs. 0, -ENOMEM, or -EINVAL (a
 * weight is not finite). */
int gguf_round(struct llama_params *p, uint32_t type);
/* "f32", "f16", "bf16", "q8_0"; false when it is none of them. */
bool gguf_type_of(const char *name, uint32_t *ret);
#endif
