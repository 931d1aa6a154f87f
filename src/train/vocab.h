/* A vocabulary as a file: the arrays of a tok_spec, in JSON. Training makes it, the trainer and the GGUF
 * export read it. */
#ifndef CAIRN_TRAIN_VOCAB_H
#define CAIRN_TRAIN_VOCAB_H

#include "base/json.h"
#include "engine/tokenizer.h"

struct vocab {
        struct tok_spec spec; /* points into the rest */
        json_t *doc;          /* owns the strings */
        struct str *strings;
        int32_t *types;
};

/* Reads and checks a file that vocab_write() wrote. 0 or a negative errno with a message. */
int vocab_load(const char *path, struct vocab *ret, char *err, size_t errn);
/* The spec's strings must be UTF-8. The file appears whole or not at all. */
int vocab_save(const char *path, const struct tok_spec *spec, char *err, size_t errn);
void vocab_release(struct vocab *v);
/* The tokenizer of a vocabulary file. 0 or a negative errno with a message. */
int vocab_tokenizer(const char *path, struct tokenizer **ret, char *err, size_t errn);

/* Reads a whole file of at most max bytes into *ret (mem_free). 0 or a negative errno with a message. */
int file_read(const char *path, size_t max, char **ret, size_t *ret_n, char *err, size_t errn);
/* Calls fn for each JSON line of a file of at most max bytes; fn takes the document over. Ends at the first
 * error: of the file, of a line (-EINVAL), or what fn returned; err names the line. */
int jsonl_each(const char *path, size_t max, int (*fn)(void *ctx, json_t *doc), void *ctx, char *err,
               size_t errn);
/* Writes path.tmp, syncs it and renames it to path. 0 or a negative errno with a message. */
int file_write(const char *path, const void *p, size_t n, char *err, size_t errn);
#endif
