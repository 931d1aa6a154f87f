/* Which type each tensor of a quantised file gets. The mixtures (Q4_K_M and the like) keep more bits where
 * they matter most, by the rules that llama.cpp made customary. */
#ifndef CAIRN_ENGINE_QUANTIZE_MIX_H
#define CAIRN_ENGINE_QUANTIZE_MIX_H

#include <stddef.h>
#include <stdint.h>

struct gguf;
struct gguf_tensor;
struct kern_type;
struct mix_rule;

struct mix {
        const struct mix_rule *rule;
        uint32_t file_type; /* general.file_type */
        int n_layer;
        int heads_per_kv; /* query heads that share a key head */
        int tied;         /* the embedding is the output matrix as well */
};

/* `name` in either case. 0, or -EINVAL with a message that lists the names. */
int mix_init(struct mix *m, const char *name, const struct gguf *g, char *err, size_t errn);
/* Names in the order of size, NULL at the end. */
const char *mix_name_at(size_t i);
/* The tensor's own type when it is to stay as it is. */
const struct kern_type *mix_type(const struct mix *m, const struct gguf_tensor *t);
#endif
