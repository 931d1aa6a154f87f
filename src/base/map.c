#include "base/map.h"

#include <errno.h>
#include <stdint.h>
#include "base/mem.h"

/* A removed slot keeps this key so that probe chains stay whole. */
static char tombstone[1];

void map_init(struct map *m)
{
        *m = (struct map){ 0 };
}

void map_release(struct map *m, void (*free_value)(void *))
{
        for (size_t i = 0; i < m->cap; i++) {
                struct map_slot *slot = &m->slots[i];
                if (!slot->key || slot->key == tombstone)
                        continue;
                if (free_value)
                        free_value(slot->value);
                mem_free(slot->key);
        }
        mem_free(m->slots);
        map_init(m);
}

static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
        if (!m->cap)
                return NULL;
        for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
                struct map_slot *slot = &m->slots[i];
                if (!slot->key)
                        return NULL;
                if (slot->key != tombstone && slot->hash == hash &&
                    str_eq((struct str){ slot->key, slot->n }, key))
                        return slot;
        }
}

void *map_get(const struct map *m, struct str key)
{
        struct map_slot *slot = find(m, key, str_hash(key));
        return slot ? slot->value : NULL;
}

static void place(struct map_slot *slots, size_t cap, struct map_slot slot)
{
        size_t i = slot.hash & (cap - 1);
        while (slots[i].key)
                i = (i + 1) & (cap - 1);
        slots[i] = slot;
}

static int rehash(struct map *m)
{
        size_t cap = m->cap ? m->cap : 16;
        if (m->n * 2 >= m->cap) /* else only tombstones fill it: the same size will do */
                cap = m->cap ? m->cap * 2 : 16;
        struct map_slot *slots = mem_calloc(cap, sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < m->cap; i++)
                if (m->slots[i].key && m->slots[i].key != tombstone)
                        place(slots, cap, m->slots[i]);
        mem_free(m->slots);
        m->slots = slots;
        m->cap = cap;
        m->_used = m->n;
        return 0;
}

int map_put(struct map *m, struct str key, void *value, void **ret_old)
{
        uint64_t hash = str_hash(key);
        struct map_slot *slot = find(m, key, hash);
        if (ret_old)
                *ret_old = slot ? slot->value : NULL;
        if (slot) {
                slot->value = value;
                return 0;
        }
        if ((m->_used + 1) * 4 > m->cap * 3 && rehash(m))
                return -ENOMEM;
        char *copy = mem_strndup(key.p, key.n);
        if (!copy)
                return -ENOMEM;
        place(m->slots, m->cap, (struct map_slot){ copy, key.n, hash, value });
        m->n++;
        m->_used++;
        return 0;
}

void *map_remove(struct map *m, struct str key)
{
        struct map_slot *slot = find(m, key, str_hash(key));
        if (!slot)
                return NULL;
        void *value = slot->value;
        mem_free(slot->key);
        *slot = (struct map_slot){ .key = tombstone };
        m->n--;
        return value;
}

bool map_next(const struct map *m, size_t *it, struct str *ret_key, void **ret_value)
{
        for (; *it < m->cap; (*it)++) {
                struct map_slot *slot = &m->slots[*it];
                if (!slot->key || slot->key == tombstone)
                        continue;
                *ret_key = (struct str){ slot->key, slot->n };
                *ret_value = slot->value;
                (*it)++;
                return true;
        }
        return false;
}
