/* Where the models that ship with Cairn lie. */
#ifndef CAIRN_CLI_BUILTIN_H
#define CAIRN_CLI_BUILTIN_H

#include <stddef.h>

#define BUILTIN_ID "cairn-tiny" /* the id it is served under */
#define BUILTIN_FILE BUILTIN_ID ".gguf"
#define BUILTIN_MODERATION "cairn-moderation.bin" /* the classifier of texts (src/classify) */

/* Puts the path of a built-in model's file into ret: beside the program's folder as installed
 * (BIN/../share/cairn/models), in the source tree of a program that lies in build/PRESET, or below the
 * prefix the build was configured for. 0; -ENOENT with one line in err that says how to get one. */
int builtin_find(const char *file, char *ret, size_t n, char *err, size_t errn);
/* The same for a program in the folder `bin` and a data folder `datadir`: for tests. */
int builtin_find_from(const char *file, const char *bin, const char *datadir, char *ret, size_t n, char *err,
                      size_t errn);
#endif
