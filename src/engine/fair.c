#include "engine/fair.h"

#include "base/mem.h"

#define IDLE_MAX 256 /* accounts without sequences that are remembered */

void fair_release(struct fair *f)
{
        for (size_t i = 0; i < f->shares.n; i++)
                mem_free(f->shares.p[i]);
        vec_release(&f->shares);
}

static struct share *find(struct fair *f, uint64_t owner)
{
        for (size_t i = 0; i < f->shares.n; i++)
                if (f->shares.p[i]->owner == owner)
                        return f->shares.p[i];
        struct share *s = mem_calloc(1, sizeof(*s));
        if (!s || vec_push(&f->shares, s)) {
                mem_free(s);
                return NULL;
        }
        s->owner = owner;
        return s;
}

/* The least of those who have something to do; `own` when nobody has. */
static uint64_t least(const struct fair *f, uint64_t own)
{
        uint64_t min = UINT64_MAX;
        for (size_t i = 0; i < f->shares.n; i++)
                if (f->shares.p[i]->live && f->shares.p[i]->served < min)
                        min = f->shares.p[i]->served;
        return min == UINT64_MAX ? own : min;
}

struct share *fair_join(struct fair *f, uint64_t owner)
{
        struct share *s = find(f, owner);
        if (s && !s->live) {
                uint64_t floor = least(f, s->served);
                s->served = s->served > floor ? s->served : floor;
        }
        if (s)
                s->live++;
        return s;
}

void fair_leave(struct fair *f, struct share *s)
{
        size_t idle = 0, least_used = 0;
        if (--s->live)
                return;
        for (size_t i = 0; i < f->shares.n; i++) {
                const struct share *other = f->shares.p[i];
                if (other->live)
                        continue;
                if (!idle++ || other->served < f->shares.p[least_used]->served)
                        least_used = i;
        }
        if (idle <= IDLE_MAX)
                return;
        mem_free(f->shares.p[least_used]);
        f->shares.p[least_used] = f->shares.p[--f->shares.n];
}
