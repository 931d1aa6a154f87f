#include "grammar/cache.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/program.h"
#include "grammar/space.h"

#define MAX_ENTRIES 128
#define MAX_BYTES ((size_t)192 << 20)
/* Larger sources are compiled each time: a few of them would be the whole cache. */
#define MAX_KEY ((size_t)1 << 20)

struct entry {
        uint64_t hash;
        char *key;
        size_t n;
        struct grammar *g;
        uint64_t used; /* the clock when it was last asked for */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry entries[MAX_ENTRIES];
static size_t n_entries;
static uint64_t now;

/* With what its matchers have found out. */
static size_t memory_of(struct grammar *g)
{
        size_t bytes = g->bytes;
        pthread_mutex_lock(&g->lock);
        for (struct space *sp = g->spaces; sp; sp = sp->next) {
                pthread_mutex_lock(&sp->lock);
                bytes += sp->bytes;
                pthread_mutex_unlock(&sp->lock);
        }
        pthread_mutex_unlock(&g->lock);
        return bytes;
}

static void drop(size_t i)
{
        grammar_unref(entries[i].g);
        mem_free(entries[i].key);
        entries[i] = entries[--n_entries];
}

static size_t oldest(void)
{
        size_t at = 0;
        for (size_t i = 1; i < n_entries; i++)
                if (entries[i].used < entries[at].used)
                        at = i;
        return at;
}

static void make_room(size_t bytes)
{
        for (size_t i = 0; i < n_entries; i++)
                bytes += memory_of(entries[i].g) + entries[i].n;
        while (n_entries && (n_entries == MAX_ENTRIES || bytes > MAX_BYTES)) {
                size_t at = oldest();
                bytes -= memory_of(entries[at].g) + entries[at].n;
                drop(at);
        }
}

static struct grammar *look_up(struct str key, uint64_t hash)
{
        for (size_t i = 0; i < n_entries; i++) {
                struct entry *e = &entries[i];
                if (e->hash != hash || e->n != key.n || memcmp(e->key, key.p, key.n) != 0)
                        continue;
                e->used = ++now;
                return grammar_ref(e->g);
        }
        return NULL;
}

/* Without memory for the key it is not remembered, which is no failure. */
static void remember(struct str key, uint64_t hash, struct grammar *g)
{
        char *copy = mem_strndup(key.p, key.n);
        if (!copy)
                return;
        make_room(memory_of(g) + key.n);
        entries[n_entries++] = (struct entry){ hash, copy, key.n, grammar_ref(g), ++now };
}

int grammar_cached(struct str key, int (*make)(void *ctx, struct grammar **ret), void *ctx,
                   struct grammar **ret)
{
        uint64_t hash = str_hash(key);
        if (key.n > MAX_KEY)
                return make(ctx, ret);
        pthread_mutex_lock(&lock);
        struct grammar *found = look_up(key, hash);
        pthread_mutex_unlock(&lock);
        if (found) {
                *ret = found;
                return 0;
        }
        int r = make(ctx, ret);
        if (r)
                return r;
        pthread_mutex_lock(&lock);
        found = look_up(key, hash);
        if (found)
                grammar_unref(found); /* somebody was faster */
        else
                remember(key, hash, *ret);
        pthread_mutex_unlock(&lock);
        return 0;
}

void grammar_cache_forget(const struct grammar_vocab *v)
{
        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_entries; i++)
                space_drop(entries[i].g, v);
        pthread_mutex_unlock(&lock);
}

void grammar_cache_clear(void)
{
        pthread_mutex_lock(&lock);
        while (n_entries)
                drop(n_entries - 1);
        pthread_mutex_unlock(&lock);
}
