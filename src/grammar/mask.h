/* Masks: which tokens a place allows. Internal to this folder; callers hold the space's lock. */
#ifndef CAIRN_GRAMMAR_MASK_H
#define CAIRN_GRAMMAR_MASK_H

#include <stdint.h>
#include "grammar/space.h"

/* Some tokens, as a list while they are few. */
struct mask {
        uint32_t n;       /* of the list; UINT32_MAX: a bit for each token instead */
        uint32_t words[]; /* the list, or the bits */
};

size_t mask_bytes(const struct space *sp, const struct mask *m);
/* Sets the bits of the tokens that the set allows, control tokens and end tokens included. */
int mask_of_set(struct space *sp, uint32_t set, uint32_t *bits);
void cells_free(struct space *sp);
#endif
