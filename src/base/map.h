/* A hash map from byte strings to pointers (open addressing). Keys are copied. Not thread-safe. */
#ifndef CAIRN_BASE_MAP_H
#define CAIRN_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"

struct map_slot {
        char *key;
        size_t n;
        uint64_t hash;
        void *value;
};

struct map {
        struct map_slot *slots;
        size_t n, cap, _used;
};

void map_init(struct map *m);
void map_release(struct map *m, void (*free_value)(void *)); /* free_value may be NULL */
void *map_get(const struct map *m, struct str key);
/* 0 or -ENOMEM. *ret_old (may be NULL) gets the value that stood there. */
int map_put(struct map *m, struct str key, void *value, void **ret_old);
void *map_remove(struct map *m, struct str key); /* the value, or NULL */
/* Iteration: start with *it = 0; false at the end. The map must not change meanwhile. */
bool map_next(const struct map *m, size_t *it, struct str *ret_key, void **ret_value);
#endif
