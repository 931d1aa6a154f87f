#include "cli/suggest.h"

#include <string.h>

#define WORD_MAX 64

static size_t min(size_t a, size_t b)
{
        return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b)
{
        size_t na = strlen(a), nb = strlen(b);
        if (na >= WORD_MAX || nb >= WORD_MAX)
                return na > nb ? na : nb;
        /* Rows i - 2, i - 1 and i of the table of distances between prefixes, by turns. */
        size_t rows[3][WORD_MAX];
        for (size_t j = 0; j <= nb; j++)
                rows[0][j] = j;
        for (size_t i = 1; i <= na; i++) {
                size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
                row[0] = i;
                for (size_t j = 1; j <= nb; j++) {
                        size_t swap = a[i - 1] == b[j - 1] ? 0 : 1;
                        row[j] = min(min(up[j] + 1, row[j - 1] + 1), up[j - 1] + swap);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = min(row[j], up2[j - 2] + 1);
                }
        }
        return rows[na % 3][nb];
}

const char *suggest_nearest(const char *typed, const char *const *words, size_t n)
{
        const char *best = NULL;
        size_t best_distance = 0, typed_n = strlen(typed);
        for (size_t i = 0; i < n; i++) {
                size_t allowed = strlen(words[i]) / 3 ? strlen(words[i]) / 3 : 1;
                size_t distance = suggest_distance(typed, words[i]);
                if (typed_n >= 2 && strncmp(words[i], typed, typed_n) == 0)
                        distance = 1;
                if (distance <= allowed && (!best || distance < best_distance)) {
                        best = words[i];
                        best_distance = distance;
                }
        }
        return best;
}
