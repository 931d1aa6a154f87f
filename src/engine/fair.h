/* How much each owner of sequences has had: among equal priorities the engine serves the one with the least.
 *
 * The virtual token counter of Sheng et al. (2024): evaluated tokens are charged to the owner; one that comes
 * back after it had nothing to do is lifted to the least of those that have, so that idling saves up nothing.
 * The engine thread owns it. */
#ifndef CAIRN_ENGINE_FAIR_H
#define CAIRN_ENGINE_FAIR_H

#include <stdint.h>
#include "base/vec.h"

/* An owner's account. */
struct share {
        uint64_t owner;
        uint64_t served; /* tokens, lifted */
        int live;        /* sequences */
        int running;     /* of these: with a place in the batch */
};

struct fair {
        struct VEC(struct share *) shares;
};

void fair_release(struct fair *f);
/* The account of an owner who has one more sequence now; NULL when memory is out. */
struct share *fair_join(struct fair *f, uint64_t owner);
/* The sequence is over. Few accounts without any are remembered. */
void fair_leave(struct fair *f, struct share *s);
#endif
