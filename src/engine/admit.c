/* Admission and preemption.
 *
 * Sequences that wait are ranked by level (their priority, and one more for every AGE_US of waiting), then by
 * what their owner has had, then by arrival. One is admitted when there is a place in the batch and memory
 * for the tokens that it has; what it will generate is not set aside. When memory runs out, or one of a
 * higher priority comes, or one of an owner who has nothing running, a lower-ranked sequence is sent back to
 * wait. What it had computed stays in the tree as long as there is room and is found there again; the rest is
 * evaluated anew, with the same result, for no result depends on how rows are cut into steps.
 *
 * The best-ranked of all is never sent back and fits alone, so there is always progress. */
#include "engine/admit.h"

#include <errno.h>
#include "base/clock.h"
#include "engine/kv_disk.h"
#include "engine/step.h"

#define AGE_US 10000000
#define WORTH_WAITING KERN_KV_BLOCK /* tokens: computing fewer twice costs less than a step of waiting */

/* ---- ranks -------------------------------------------------------------------------------------- */

static int level_of(const struct engine_seq *seq, int64_t now_us)
{
        int64_t aged = seq->priority + (now_us - seq->since_us) / AGE_US;
        return aged < seq->level ? seq->level : aged < INT32_MAX ? (int)aged : INT32_MAX;
}

bool admit_before(const struct engine_seq *a, const struct engine_seq *b)
{
        if (a->level != b->level)
                return a->level > b->level;
        if (a->share != b->share && a->share->served != b->share->served)
                return a->share->served < b->share->served;
        return a->order < b->order;
}

static bool has_place(const struct engine_seq *seq)
{
        return (seq->state == SEQ_PREFILL || seq->state == SEQ_DECODE) && !seq->paused;
}

static int places_taken(const struct sched *s)
{
        int n = 0;
        for (size_t i = 0; i < s->active.n; i++)
                n += has_place(s->active.p[i]);
        return n;
}

/* How many of the owner's sequences have a place, counted anew: pausing and ending change it. */
static void count_running(struct sched *s)
{
        for (size_t i = 0; i < s->fair.shares.n; i++)
                s->fair.shares.p[i]->running = 0;
        for (size_t i = 0; i < s->active.n; i++)
                if (has_place(s->active.p[i]))
                        s->active.p[i]->share->running++;
}

/* ---- memory ------------------------------------------------------------------------------------- */

void admit_publish(struct sched *s, struct engine_seq *seq, bool part)
{
        struct kv *kv = &s->kv;
        int whole = seq->n_done / KERN_KV_BLOCK, left = seq->n_done % KERN_KV_BLOCK;
        for (int i = seq->n_published; i < whole || (part && left && i == whole); i++) {
                int32_t parent = i ? seq->blocks[i - 1] : -1;
                if (i && kv->blocks[parent].n < KERN_KV_BLOCK)
                        return; /* there was no memory to publish what comes before */
                seq->blocks[i] = kv_publish(kv, seq->blocks[i], parent, seq->tokens + i * KERN_KV_BLOCK,
                                            i < whole ? KERN_KV_BLOCK : left);
                seq->n_published += i < whole;
        }
}

/* From the last block to the first: the beginning is what others share, and is to be forgotten last. */
static void release_blocks(struct sched *s, struct engine_seq *seq)
{
        while (seq->n_blocks > 0)
                kv_unref(&s->kv, seq->blocks[--seq->n_blocks]);
        seq->n_published = 0;
        seq->n_done = 0;
}

void admit_release(struct sched *s, struct engine_seq *seq)
{
        if (!seq->n_blocks)
                return;
        admit_publish(s, seq, true);
        if (seq->keep && s->disk && seq->state == SEQ_ENDING && seq->finish != ENGINE_ERROR)
                kv_disk_save(s->disk, seq->tokens, seq->blocks, seq->n_published);
        release_blocks(s, seq);
}

void admit_leave(struct sched *s, struct engine_seq *seq)
{
        if (seq->share)
                fair_leave(&s->fair, seq->share);
        seq->share = NULL;
}

static void remove_from(struct seq_list *list, const struct engine_seq *seq)
{
        size_t i = 0;
        while (list->p[i] != seq)
                i++;
        for (list->n--; i < list->n; i++)
                list->p[i] = list->p[i + 1];
}

/* Sends an active sequence back to wait. It keeps its level and its order of arrival. */
static void preempt(struct sched *s, struct engine_seq *seq)
{
        admit_release(s, seq);
        remove_from(&s->active, seq);
        s->waiting.p[s->waiting.n++] = seq;
        seq->state = SEQ_WAITING;
        seq->since_us = clock_mono_us();
        seq->draft.n = 0;
        atomic_fetch_add(&s->count.preempted, 1);
}

/* An embedding is a sum over tokens that were seen once; it is short and never sent back. */
static bool may_lose(const struct engine_seq *seq)
{
        return (seq->state == SEQ_PREFILL || seq->state == SEQ_DECODE) && !seq->embedding;
}

/* Who loses its memory first: those that do not compute, then the lowest rank. Never one that is ranked
 * before `than`, which is active itself or about to be. */
static struct engine_seq *memory_victim(const struct sched *s, const struct engine_seq *than)
{
        struct engine_seq *worst = NULL;
        for (size_t i = 0; i < s->active.n; i++) {
                struct engine_seq *a = s->active.p[i];
                if (!may_lose(a) || a == than || (!a->paused && admit_before(a, than)))
                        continue;
                if (!worst || (a->paused != worst->paused ? a->paused : admit_before(worst, a)))
                        worst = a;
        }
        return worst;
}

bool admit_grow(struct sched *s, struct engine_seq *seq, int n)
{
        while (seq->n_blocks * KERN_KV_BLOCK < n) {
                int32_t block = kv_alloc(&s->kv);
                if (block >= 0) {
                        seq->blocks[seq->n_blocks++] = block;
                        continue;
                }
                struct engine_seq *victim = memory_victim(s, seq);
                preempt(s, victim ? victim : seq);
                if (!victim)
                        return false;
        }
        return true;
}

/* ---- admission ---------------------------------------------------------------------------------- */

void admit_enqueue(struct sched *s, struct engine_seq *seq)
{
        seq->order = s->arrivals++;
        seq->since_us = clock_mono_us();
        seq->level = seq->priority;
        seq->share = fair_join(&s->fair, seq->owner);
        if (seq->share)
                s->waiting.p[s->waiting.n++] = seq;
        else
                step_fail(s, seq, -ENOMEM);
}

/* Tokens that may come from KV: all but the last, whose logits are needed; fewer when records of prompt
 * tokens are still to be made; none when every token must be seen. */
static size_t reusable(const struct engine_seq *seq)
{
        int n = seq->n_tokens - 1;
        if (seq->embedding)
                n = 0;
        else if (seq->prompt_logprobs && seq->n_scored < seq->n_prompt)
                n = seq->n_scored ? seq->n_scored - 1 : 0;
        return (size_t)n;
}

/* Whether a running prefill is about to compute more of this prompt than the cache has: then waiting for it
 * is cheaper than computing it twice. */
static bool worth_waiting(const struct sched *s, const struct engine_seq *seq)
{
        size_t n = reusable(seq), cached = 0;
        bool probed = false;
        for (size_t i = 0; i < s->active.n; i++) {
                const struct engine_seq *a = s->active.p[i];
                if (a->state != SEQ_PREFILL || a->paused || a->embedding)
                        continue;
                size_t most = n < (size_t)a->n_tokens ? n : (size_t)a->n_tokens, same = 0;
                while (same < most && a->tokens[same] == seq->tokens[same])
                        same++;
                if (same < WORTH_WAITING)
                        continue;
                if (!probed)
                        cached = kv_probe(&s->kv, seq->tokens, n);
                probed = true;
                if (same >= cached + WORTH_WAITING)
                        return true;
        }
        return false;
}

/* The best-ranked of those that could run and were not passed over in this round. */
static struct engine_seq *best_waiting(struct sched *s, int64_t now_us)
{
        struct engine_seq *best = NULL;
        for (size_t i = 0; i < s->waiting.n; i++) {
                struct engine_seq *w = s->waiting.p[i];
                if (w->paused || w->loading || w->passed == s->rounds)
                        continue;
                w->level = level_of(w, now_us);
                if (!best || admit_before(w, best))
                        best = w;
        }
        return best;
}

/* Who makes room in a full batch for `seq`: one of a lower level than its priority, or, when its owner has
 * nothing running, one of an equal level of the owner who has most. */
static struct engine_seq *place_victim(const struct sched *s, const struct engine_seq *seq)
{
        struct engine_seq *lower = NULL, *equal = NULL;
        for (size_t i = 0; i < s->active.n; i++) {
                struct engine_seq *a = s->active.p[i];
                if (!may_lose(a) || a->paused)
                        continue;
                if (a->level < seq->priority && (!lower || admit_before(lower, a)))
                        lower = a;
                if (a->level <= seq->level && !seq->share->running && a->share->running > 1 &&
                    (!equal || a->share->running > equal->share->running ||
                     (a->share == equal->share && a->order > equal->order)))
                        equal = a;
        }
        return lower ? lower : equal;
}

/* Copies what the tree has of the tokens after the shared blocks into the sequence's first own block. Returns
 * how many; `from` holds them. */
static int copy_part(struct sched *s, struct engine_seq *seq, int32_t from, int part)
{
        kv_copy(&s->kv, seq->blocks[seq->n_published], from);
        kv_unref(&s->kv, from);
        return part;
}

/* Takes what the tree has of the sequence's tokens, the last block in part, and blocks for the rest, of which
 * there is at least one. With too little memory everything is given back. */
static bool take_memory(struct sched *s, struct engine_seq *seq)
{
        struct kv *kv = &s->kv;
        size_t reuse = reusable(seq);
        int want = (seq->n_tokens + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK, part = 0;
        int spare = places_taken(s); /* everybody who decodes needs another block now and then */
        int32_t from = -1;
        seq->n_blocks = seq->n_published = kv_match(kv, seq->tokens, reuse, seq->blocks, want);
        seq->n_done = seq->n_blocks * KERN_KV_BLOCK;
        if (kv->n_unused < want - seq->n_blocks + spare) {
                release_blocks(s, seq);
                return false;
        }
        if (kv->n_unused > want - seq->n_blocks) /* also room to hold the block that is copied from */
                part = kv_match_part(kv, seq->n_blocks ? seq->blocks[seq->n_blocks - 1] : -1,
                                     seq->tokens + seq->n_done, reuse - (size_t)seq->n_done, &from);
        if (part)
                kv_ref(kv, from);
        while (seq->n_blocks < want)
                seq->blocks[seq->n_blocks++] = kv_alloc(kv);
        if (part)
                seq->n_done += copy_part(s, seq, from, part);
        return true;
}

static bool make_room(struct sched *s, struct engine_seq *seq)
{
        while (!take_memory(s, seq)) {
                struct engine_seq *victim = memory_victim(s, seq);
                /* Between equals the one that runs goes on, whatever its owner has had. */
                if (!victim || (!victim->paused && victim->level >= seq->priority))
                        return false;
                preempt(s, victim);
        }
        return true;
}

static void start(struct sched *s, struct engine_seq *seq)
{
        remove_from(&s->waiting, seq);
        s->active.p[s->active.n++] = seq;
        seq->state = SEQ_PREFILL;
        seq->share->running++;
        if (seq->started)
                return;
        seq->started = true;
        seq->n_cached = seq->n_done;
        atomic_fetch_add(&s->count.cached, (uint64_t)seq->n_cached);
        atomic_fetch_add(&s->count.sequences, 1);
}

/* The disk may have more of a prompt than the tree; it is asked once. */
static bool load_first(struct sched *s, struct engine_seq *seq)
{
        if (seq->looked || !s->disk || !reusable(seq))
                return false;
        seq->looked = true;
        return kv_disk_load(s->disk, seq, reusable(seq), kv_probe(&s->kv, seq->tokens, reusable(seq)));
}

void admit_all(struct sched *s)
{
        int64_t now_us = s->waiting.n ? clock_mono_us() : 0;
        struct engine_seq *seq;
        s->rounds++;
        count_running(s);
        while ((seq = best_waiting(s, now_us))) {
                seq->passed = s->rounds;
                if (load_first(s, seq) || worth_waiting(s, seq))
                        continue;
                if (places_taken(s) >= s->max_batch) {
                        struct engine_seq *victim = place_victim(s, seq);
                        if (!victim)
                                return;
                        victim->share->running--;
                        victim->passed = s->rounds;
                        preempt(s, victim);
                }
                if (!make_room(s, seq))
                        return;
                start(s, seq);
        }
}

void admit_limit(struct sched *s)
{
        for (int over = places_taken(s) - s->max_batch; over > 0; over--) {
                struct engine_seq *worst = NULL;
                for (size_t i = 0; i < s->active.n; i++) {
                        struct engine_seq *a = s->active.p[i];
                        if (may_lose(a) && has_place(a) && (!worst || admit_before(worst, a)))
                                worst = a;
                }
                if (!worst)
                        return;
                preempt(s, worst);
        }
}
