/* "did you mean": the known word nearest to a mistyped one. */
#ifndef CAIRN_CLI_SUGGEST_H
#define CAIRN_CLI_SUGGEST_H

#include <stddef.h>

/* Edits that turn a into b: insertion, deletion, substitution and exchange of neighbours (the optimal string
 * alignment distance; Damerau, 1964). Words longer than 63 bytes are as far apart as they are long. */
size_t suggest_distance(const char *a, const char *b);

/* The nearest of n words when it is near enough to be meant (a third of its length, at least 1 edit; or the
 * typed word begins it), else NULL. */
const char *suggest_nearest(const char *typed, const char *const *words, size_t n);
#endif
