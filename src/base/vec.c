#include "base/vec.h"

int vec_grow_(void **p, size_t *cap, size_t want, size_t size)
{
        size_t grown = *cap ? *cap : 8;
        while (grown < want) {
                if (grown > (size_t)-1 / 2)
                        return -1;
                grown *= 2;
        }
        void *moved = mem_realloc(*p, grown, size);
        if (!moved)
                return -1;
        *p = moved;
        *cap = grown;
        return 0;
}
