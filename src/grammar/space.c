#include "grammar/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/mask.h"
#include "grammar/match.h"

/* Memory at which a space is tidied, and that it must never exceed. */
#define SOFT_BYTES ((size_t)24 << 20)
#define HARD_BYTES ((size_t)256 << 20)
/* Items in one set. A step's work grows with them, and whoever decodes in the same batch waits for it: tens
 * of milliseconds at most. Only a grammar that reads a text in very many ways gets there. */
#define MAX_ITEMS 30000
#define FEW_SLOTS 64

/* ---- spaces --------------------------------------------------------------------------------------- */

static void set_free(struct space *sp, uint32_t number)
{
        struct set *s = sp->sets.p[number];
        if (!s)
                return;
        mem_free(s->items);
        mem_free(s->waits);
        mem_free(s->next);
        vec_release(&s->after);
        mem_free(s->mask);
        mem_free(s);
        sp->sets.p[number] = NULL;
}

static void space_free(struct space *sp)
{
        for (uint32_t i = 0; i < sp->sets.n; i++)
                set_free(sp, i);
        cells_free(sp);
        vec_release(&sp->sets);
        vec_release(&sp->unused);
        vec_release(&sp->draft);
        vec_release(&sp->inside);
        mem_free(sp->draft.slot);
        mem_free(sp->inside.slot);
        mem_free(sp->buckets);
        mem_free(sp->stack);
        vocab_unref(sp->v);
        pthread_mutex_destroy(&sp->lock);
        mem_free(sp);
}

void space_free_all(struct grammar *g)
{
        while (g->spaces) {
                struct space *sp = g->spaces;
                g->spaces = sp->next;
                space_free(sp);
        }
}

static struct space *space_new(const struct grammar *g, const struct grammar_vocab *v)
{
        struct space *sp = mem_calloc(1, sizeof(*sp));
        if (!sp)
                return NULL;
        if (pthread_mutex_init(&sp->lock, NULL)) {
                mem_free(sp);
                return NULL;
        }
        sp->g = g;
        sp->v = vocab_ref(v);
        sp->mask = 255;
        sp->buckets = mem_calloc(sp->mask + 1, sizeof(*sp->buckets));
        sp->stack = mem_calloc((size_t)v->max_len + 1, sizeof(*sp->stack));
        sp->draft.mask = sp->inside.mask = FEW_SLOTS - 1;
        sp->draft.slot = mem_calloc(FEW_SLOTS, sizeof(uint32_t));
        sp->inside.slot = mem_calloc(FEW_SLOTS, sizeof(uint32_t));
        bool ok = sp->buckets && sp->stack && sp->draft.slot && sp->inside.slot;
        for (int i = 0; ok && i < SET_FIRST; i++)
                ok = !vec_push(&sp->sets, (struct set *)NULL);
        if (!ok) {
                space_free(sp);
                return NULL;
        }
        return sp;
}

int space_get(struct grammar *g, const struct grammar_vocab *v, struct space **ret)
{
        pthread_mutex_lock(&g->lock);
        struct space *sp = g->spaces;
        while (sp && sp->v != v)
                sp = sp->next;
        if (!sp) {
                sp = space_new(g, v);
                if (sp) {
                        sp->next = g->spaces;
                        g->spaces = sp;
                }
        }
        pthread_mutex_unlock(&g->lock);
        *ret = sp;
        return sp ? 0 : -ENOMEM;
}

void space_drop(struct grammar *g, const struct grammar_vocab *v)
{
        struct space **at = &g->spaces, *sp;
        bool used = true;
        pthread_mutex_lock(&g->lock);
        while ((sp = *at) && sp->v != v)
                at = &sp->next;
        if (sp) {
                pthread_mutex_lock(&sp->lock);
                used = sp->matches;
                pthread_mutex_unlock(&sp->lock);
        }
        if (!used)
                *at = sp->next;
        pthread_mutex_unlock(&g->lock);
        if (!used)
                space_free(sp);
}

/* ---- drafts: the items of a set being made ----------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
        h = (h ^ v) * 0x9e3779b97f4a7c15u;
        return h ^ (h >> 32);
}

static uint64_t item_hash(const struct item *x)
{
        return mix(mix(0, (uint64_t)x->state << 32 | x->origin), (uint64_t)x->head << 32 | x->count);
}

static bool item_eq(const struct item *a, const struct item *b)
{
        return a->state == b->state && a->head == b->head && a->count == b->count && a->origin == b->origin;
}

static void seen_clear(struct space *sp)
{
        for (size_t i = 0; i < sp->draft.n; i++) {
                size_t at = item_hash(&sp->draft.p[i].item) & sp->draft.mask;
                for (; sp->draft.slot[at]; at = (at + 1) & sp->draft.mask)
                        sp->draft.slot[at] = 0;
        }
        sp->draft.n = 0;
}

static int seen_grow(struct space *sp)
{
        size_t mask = sp->draft.mask * 2 + 1;
        uint32_t *slot = mem_calloc(mask + 1, sizeof(*slot));
        if (!slot)
                return -ENOMEM;
        for (uint32_t i = 0; i < sp->draft.n; i++) {
                size_t at = item_hash(&sp->draft.p[i].item) & mask;
                while (slot[at])
                        at = (at + 1) & mask;
                slot[at] = i + 1;
        }
        mem_free(sp->draft.slot);
        sp->draft.slot = slot;
        sp->draft.mask = mask;
        return 0;
}

/* Adds an item unless it is there. One that is there as hollow and comes again as not hollow is looked at
 * again by whoever walks the draft: it comes once more, at the end. */
static int push(struct space *sp, struct item x, bool derived, bool hollow)
{
        if (x.origin == SET_BOTTOM)
                x.head = 0; /* all that ends at the bottom ends alike */
        size_t at = item_hash(&x) & sp->draft.mask;
        for (; sp->draft.slot[at]; at = (at + 1) & sp->draft.mask) {
                struct draft *d = &sp->draft.p[sp->draft.slot[at] - 1];
                if (!item_eq(&d->item, &x))
                        continue;
                if (!d->hollow || hollow)
                        return 0;
                derived = d->derived;
                d->derived = true; /* the later one stands for it */
                d->hollow = false;
                break;
        }
        if (sp->draft.n >= MAX_ITEMS)
                return -E2BIG;
        if (vec_push(&sp->draft, ((struct draft){ x, derived, hollow })))
                return -ENOMEM;
        sp->draft.slot[at] = (uint32_t)sp->draft.n;
        return sp->draft.n * 2 > sp->draft.mask ? seen_grow(sp) : 0;
}

/* Whether a state's edges, calls and tokens may be taken. */
static bool leads(const struct space *sp, const struct item *x)
{
        const struct prog_state *st = &sp->g->states[x->state];
        if (st->flags & PROG_INERT)
                return false;
        return !(st->flags & PROG_BOUNDARY) || x->count < sp->g->rules[st->rule].max;
}

static bool is_complete(const struct space *sp, const struct item *x)
{
        const struct prog_state *st = &sp->g->states[x->state];
        if (st->flags & PROG_BOUNDARY)
                return x->count >= sp->g->rules[st->rule].min;
        return st->flags & PROG_ACCEPT;
}

/* What follows from an item without reading and without completing its rule: the next repetition, and what
 * comes after calls of rules that may be empty. */
static int push_derived(struct space *sp, struct draft d)
{
        const struct grammar *g = sp->g;
        const struct prog_state *st = &g->states[d.item.state];
        bool on = leads(sp, &d.item), derived = d.derived || on;
        if ((st->flags & PROG_ITERATED) && !d.hollow) {
                const struct prog_rule *rule = &g->rules[st->rule];
                struct item next = d.item;
                next.state = rule->start;
                if (rule->max != UINT32_MAX || next.count < rule->min)
                        next.count++;
                int r = push(sp, next, derived, false);
                if (r)
                        return r;
        }
        for (uint32_t c = st->call; on && c < st[1].call; c++) {
                if (!g->rules[g->calls[c].rule].nullable)
                        continue;
                struct item next = d.item;
                next.state = g->calls[c].to;
                int r = push(sp, next, true, d.hollow || st->flags & PROG_BOUNDARY);
                if (r)
                        return r;
        }
        return 0;
}

static int push_completed(struct space *sp, const struct item *x, bool *may_end)
{
        if (!is_complete(sp, x))
                return 0;
        if (x->origin == SET_BOTTOM) {
                *may_end = true;
                return 0;
        }
        int r = space_expand(sp, x->origin);
        const struct set *o = sp->sets.p[x->origin];
        for (uint32_t i = 0; !r && i < o->n_waits; i++)
                if (o->waits[i].rule == x->head)
                        r = push(sp, o->waits[i].next, false, false);
        return r;
}

static int by_item(const void *a, const void *b)
{
        return memcmp(a, b, sizeof(struct item));
}

/* ---- interning ------------------------------------------------------------------------------------ */

static int grow_buckets(struct space *sp)
{
        size_t mask = sp->mask * 2 + 1;
        uint32_t *buckets = mem_calloc(mask + 1, sizeof(*buckets));
        if (!buckets)
                return -ENOMEM;
        for (uint32_t i = SET_FIRST; i < sp->sets.n; i++) {
                struct set *s = sp->sets.p[i];
                if (!s)
                        continue;
                s->chain = buckets[s->hash & mask];
                buckets[s->hash & mask] = i;
        }
        mem_free(sp->buckets);
        sp->buckets = buckets;
        sp->mask = mask;
        return 0;
}

static int new_set(struct space *sp, const struct item *core, uint32_t n, bool may_end, uint64_t hash,
                   uint32_t *ret)
{
        if (sp->bytes > HARD_BYTES)
                return -E2BIG;
        if (sp->n_sets > sp->mask && grow_buckets(sp))
                return -ENOMEM;
        struct set *s = mem_calloc(1, sizeof(*s));
        struct item *items = mem_calloc((size_t)n + 1, sizeof(*items));
        uint32_t number = (uint32_t)sp->sets.n;
        bool ok = s && items;
        if (ok && sp->unused.n)
                number = sp->unused.p[--sp->unused.n];
        else if (ok)
                ok = !vec_push(&sp->sets, s);
        if (!ok) {
                mem_free(s);
                mem_free(items);
                return -ENOMEM;
        }
        if (n)
                memcpy(items, core, n * sizeof(*items));
        *s = (struct set){
                .hash = hash, .chain = sp->buckets[hash & sp->mask], .n_core = n, .may_end = may_end
        };
        s->items = items;
        sp->sets.p[number] = s;
        sp->buckets[hash & sp->mask] = number;
        sp->bytes += sizeof(*s) + n * sizeof(*items);
        sp->n_sets++;
        *ret = number;
        return 0;
}

static int intern(struct space *sp, const struct item *core, uint32_t n, bool may_end, uint32_t *ret)
{
        uint64_t hash = mix(n, may_end);
        if (!n && !may_end) {
                *ret = SET_DEAD;
                return 0;
        }
        for (uint32_t i = 0; i < n; i++)
                hash = mix(hash, item_hash(&core[i]));
        for (uint32_t i = sp->buckets[hash & sp->mask]; i; i = sp->sets.p[i]->chain) {
                const struct set *s = sp->sets.p[i];
                if (s->hash == hash && s->n_core == n && s->may_end == may_end &&
                    (!n || !memcmp(s->items, core, n * sizeof(*core)))) {
                        *ret = i;
                        return 0;
                }
        }
        return new_set(sp, core, n, may_end, hash, ret);
}

/* Makes a set of the draft: completes what is complete, and keeps what nothing else implies. */
static int settle(struct space *sp, bool may_end, uint32_t *ret)
{
        int r = 0;
        for (size_t i = 0; !r && i < sp->draft.n; i++) {
                struct draft d = sp->draft.p[i];
                r = push_completed(sp, &d.item, &may_end);
                if (!r)
                        r = push_derived(sp, d);
        }
        uint32_t n = 0;
        struct item few[8], *core = few;
        if (!r && sp->draft.n > 8 && !(core = mem_alloc(sp->draft.n * sizeof(*core))))
                r = -ENOMEM;
        for (size_t i = 0; !r && i < sp->draft.n; i++)
                if (!sp->draft.p[i].derived && leads(sp, &sp->draft.p[i].item))
                        core[n++] = sp->draft.p[i].item;
        if (!r && n > 1)
                qsort(core, n, sizeof(*core), by_item);
        if (!r)
                r = intern(sp, core, n, may_end, ret);
        if (core != few)
                mem_free(core);
        seen_clear(sp);
        return r;
}

/* ---- expansion ------------------------------------------------------------------------------------ */

struct waits VEC(struct wait);

/* Predicts what an item calls. A call after which its rule is over hands its own return on. */
static int push_calls(struct space *sp, uint32_t set, struct item x, struct waits *waits)
{
        const struct grammar *g = sp->g;
        const struct prog_state *st = &g->states[x.state];
        bool counted = g->rules[st->rule].counted;
        int r = 0;
        for (uint32_t c = st->call; !r && c < st[1].call; c++) {
                uint32_t rule = g->calls[c].rule, to = g->calls[c].to;
                struct item begun = { g->rules[rule].start, rule, 0, set };
                if (!counted && (g->states[to].flags & PROG_INERT)) {
                        begun.head = x.head;
                        begun.origin = x.origin;
                } else {
                        struct item next = { to, x.head, x.count, x.origin };
                        r = vec_push(waits, ((struct wait){ rule, next })) ? -ENOMEM : 0;
                }
                if (!r)
                        r = push(sp, begun, true, false);
        }
        return r;
}

static int keep_items(struct space *sp, struct set *s, const struct waits *waits)
{
        struct item *items = mem_realloc(s->items, sp->draft.n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        s->items = items;
        for (size_t i = 0; i < sp->draft.n; i++)
                items[i] = sp->draft.p[i].item;
        s->waits = mem_alloc(waits->n * sizeof(*s->waits));
        if (!s->waits)
                return -ENOMEM;
        if (waits->n)
                memcpy(s->waits, waits->p, waits->n * sizeof(*s->waits));
        s->n_items = (uint32_t)sp->draft.n;
        s->n_waits = (uint32_t)waits->n;
        s->expanded = true;
        sp->bytes += (s->n_items - s->n_core) * sizeof(*items) + waits->n * sizeof(*s->waits);
        return 0;
}

static void find_live_bytes(const struct space *sp, struct set *s)
{
        for (uint32_t i = 0; i < s->n_items; i++) {
                const struct prog_state *st = &sp->g->states[s->items[i].state];
                if (!leads(sp, &s->items[i]))
                        continue;
                for (uint32_t e = st->edge; e < st[1].edge; e++)
                        for (unsigned b = sp->g->edges[e].lo; b <= sp->g->edges[e].hi; b++)
                                s->live[b >> 6] |= (uint64_t)1 << (b & 63);
        }
}

int space_expand(struct space *sp, uint32_t set)
{
        struct set *s = sp->sets.p[set];
        struct waits waits = { 0 };
        int r = 0;
        if (s->expanded)
                return 0;
        /* Another set may be in the making: its draft waits. An expansion never needs another one. */
        struct drafts outer = sp->draft;
        sp->draft = sp->inside;
        for (uint32_t i = 0; !r && i < s->n_core; i++)
                r = push(sp, s->items[i], false, false);
        for (size_t i = 0; !r && i < sp->draft.n; i++) {
                struct draft d = sp->draft.p[i];
                r = push_derived(sp, d);
                if (!r && leads(sp, &d.item))
                        r = push_calls(sp, set, d.item, &waits);
        }
        if (!r)
                r = keep_items(sp, s, &waits);
        if (!r)
                find_live_bytes(sp, s);
        seen_clear(sp);
        sp->inside = sp->draft;
        sp->draft = outer;
        vec_release(&waits);
        return r;
}

/* ---- moves ---------------------------------------------------------------------------------------- */

int space_alone(struct space *sp, uint32_t state, uint32_t count, uint32_t *ret)
{
        int r = push(sp, (struct item){ state, 0, count, SET_BOTTOM }, false, false);
        if (r) {
                seen_clear(sp);
                return r;
        }
        return settle(sp, false, ret);
}

int space_start(struct space *sp, uint32_t *ret)
{
        return space_alone(sp, sp->g->rules[0].start, 0, ret);
}

static uint32_t known_step(const struct set *s, uint8_t byte)
{
        if (s->next)
                return s->next[byte];
        for (int i = 0; i < s->few.n; i++)
                if (s->few.byte[i] == byte)
                        return s->few.set[i];
        return SET_NONE;
}

/* Most sets are passed once on the way of some token; a table is for those that are met often. */
static int note_step(struct space *sp, struct set *s, uint8_t byte, uint32_t to)
{
        if (!s->next && s->few.n < SET_FEW) {
                s->few.byte[s->few.n] = byte;
                s->few.set[s->few.n++] = to;
                return 0;
        }
        if (!s->next) {
                s->next = mem_calloc(256, sizeof(*s->next));
                if (!s->next)
                        return -ENOMEM;
                for (int i = 0; i < s->few.n; i++)
                        s->next[s->few.byte[i]] = s->few.set[i];
                for (unsigned b = 0; b < 256; b++)
                        if (!set_leads(s, (uint8_t)b))
                                s->next[b] = SET_DEAD;
                sp->bytes += 256 * sizeof(*s->next);
        }
        s->next[byte] = to;
        return 0;
}

int space_step(struct space *sp, uint32_t set, uint8_t byte, uint32_t *ret)
{
        struct set *s = sp->sets.p[set];
        int r = space_expand(sp, set);
        if (r)
                return r;
        *ret = set_leads(s, byte) ? known_step(s, byte) : SET_DEAD;
        if (*ret != SET_NONE)
                return 0;
        for (uint32_t i = 0; !r && i < s->n_items; i++) {
                const struct prog_state *st = &sp->g->states[s->items[i].state];
                if (!leads(sp, &s->items[i]))
                        continue;
                for (uint32_t e = st->edge; !r && e < st[1].edge && sp->g->edges[e].lo <= byte; e++) {
                        if (sp->g->edges[e].hi < byte)
                                continue;
                        struct item x = s->items[i];
                        x.state = sp->g->edges[e].to;
                        r = push(sp, x, false, false);
                }
        }
        if (r) {
                seen_clear(sp);
                return r;
        }
        r = settle(sp, false, ret);
        return r ? r : note_step(sp, s, byte, *ret);
}

int space_token(struct space *sp, uint32_t set, int32_t id, uint32_t *ret)
{
        const struct set *s = sp->sets.p[set];
        int r = space_expand(sp, set);
        for (uint32_t i = 0; !r && i < s->n_items; i++) {
                const struct prog_state *st = &sp->g->states[s->items[i].state];
                if (!leads(sp, &s->items[i]))
                        continue;
                for (uint32_t t = st->token; !r && t < st[1].token; t++) {
                        if (sp->g->tokens[t].id != id)
                                continue;
                        struct item x = s->items[i];
                        x.state = sp->g->tokens[t].to;
                        r = push(sp, x, false, false);
                }
        }
        if (r) {
                seen_clear(sp);
                return r;
        }
        return settle(sp, false, ret);
}

static int push_core(struct space *sp, uint32_t set, bool *may_end)
{
        int r = 0;
        if (set < SET_FIRST)
                return 0;
        const struct set *s = sp->sets.p[set];
        *may_end |= s->may_end;
        for (uint32_t i = 0; !r && i < s->n_core; i++)
                r = push(sp, s->items[i], false, false);
        return r;
}

int space_union(struct space *sp, uint32_t a, uint32_t b, uint32_t *ret)
{
        bool may_end = false;
        int r = push_core(sp, a, &may_end);
        if (!r)
                r = push_core(sp, b, &may_end);
        if (r) {
                seen_clear(sp);
                return r;
        }
        return settle(sp, may_end, ret);
}

int space_after(struct space *sp, uint32_t origin, uint32_t rule, uint32_t *ret)
{
        if (origin == SET_BOTTOM)
                return intern(sp, NULL, 0, true, ret);
        int r = space_expand(sp, origin);
        struct set *o = sp->sets.p[origin];
        for (size_t i = 0; !r && i < o->after.n; i++)
                if (o->after.p[i].rule == rule) {
                        *ret = o->after.p[i].set;
                        return 0;
                }
        for (uint32_t i = 0; !r && i < o->n_waits; i++)
                if (o->waits[i].rule == rule)
                        r = push(sp, o->waits[i].next, false, false);
        if (r) {
                seen_clear(sp);
                return r;
        }
        r = settle(sp, false, ret);
        if (!r && vec_push(&o->after, ((struct after){ rule, *ret })))
                r = -ENOMEM;
        return r;
}

/* ---- tidying -------------------------------------------------------------------------------------- */

/* Marks a set and all that its items refer to. */
static int mark(struct space *sp, uint32_t set)
{
        struct VEC(uint32_t) work = { 0 };
        int r = 0;
        if (set >= SET_FIRST && !sp->sets.p[set]->marked) {
                sp->sets.p[set]->marked = true;
                r = vec_push(&work, set) ? -ENOMEM : 0;
        }
        while (!r && work.n) {
                const struct set *s = sp->sets.p[work.p[--work.n]];
                for (uint32_t i = 0; !r && i < s->n_core; i++) {
                        uint32_t origin = s->items[i].origin;
                        if (origin < SET_FIRST || sp->sets.p[origin]->marked)
                                continue;
                        sp->sets.p[origin]->marked = true;
                        r = vec_push(&work, origin) ? -ENOMEM : 0;
                }
        }
        vec_release(&work);
        return r;
}

/* Forgets what a kept set knows beyond its core. */
static void forget(struct space *sp, struct set *s)
{
        mem_free(s->mask);
        mem_free(s->waits);
        mem_free(s->next);
        vec_release(&s->after);
        s->mask = NULL;
        s->waits = NULL;
        s->next = NULL;
        s->n_items = s->n_waits = 0;
        s->few.n = 0;
        s->expanded = s->marked = false;
        s->asked = 0;
        memset(s->live, 0, sizeof(s->live));
        sp->bytes += sizeof(*s) + s->n_core * sizeof(*s->items);
        sp->n_sets++;
}

void space_tidy(struct space *sp)
{
        int r = 0;
        if (sp->bytes < SOFT_BYTES)
                return;
        for (struct grammar_match *m = sp->matches; m && !r; m = m->next)
                r = mark(sp, m->set);
        if (r) {
                /* Without memory to look around nothing is dropped: the hard bound holds. */
                for (uint32_t i = SET_FIRST; i < sp->sets.n; i++)
                        if (sp->sets.p[i])
                                sp->sets.p[i]->marked = false;
                return;
        }
        cells_free(sp);
        memset(sp->buckets, 0, (sp->mask + 1) * sizeof(*sp->buckets));
        sp->bytes = sp->n_sets = 0;
        for (uint32_t i = SET_FIRST; i < sp->sets.n; i++) {
                struct set *s = sp->sets.p[i];
                if (s && s->marked) {
                        forget(sp, s);
                        s->chain = sp->buckets[s->hash & sp->mask];
                        sp->buckets[s->hash & sp->mask] = i;
                } else if (s && !vec_push(&sp->unused, i)) {
                        set_free(sp, i);
                } else if (s) {
                        forget(sp, s);
                        s->chain = sp->buckets[s->hash & sp->mask];
                        sp->buckets[s->hash & sp->mask] = i;
                }
        }
}
