#include "engine/kv_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/pool.h"
#include "base/rand.h"
#include "engine/kv_file.h"
#include "engine/lora.h"
#include "engine/model.h"
#include "engine/sched.h"

#define DEFAULT_BYTES ((uint64_t)4 << 30)
#define QUEUE_MAX 64
#define ENTRIES_MAX 4096
#define MIN_BLOCKS 2 /* evaluating fewer is as fast as reading them */
#define NAME_BYTES 32
#define SAMPLE 256 /* bytes at each end of a tensor that go into the fingerprint */

/* A file. */
struct entry {
        char name[NAME_BYTES];
        int32_t *tokens; /* to * KERN_KV_BLOCK */
        uint32_t from, to;
        uint64_t bytes, used; /* used: larger is more recent */
        bool pending;         /* being written */
        int readers;
};

/* A part of a file that goes into blocks. */
struct piece {
        struct entry *entry;
        uint32_t first;
        int n;
};

struct work {
        struct kv_disk *disk;
        struct work *next; /* in the list of those that are done */
        bool save;
        struct entry *entry; /* save */
        struct engine_seq *seq;
        struct VEC(struct piece) pieces;
        int32_t *blocks;
        int n, n_good;
        uint32_t first;       /* number of blocks[0] in its sequence */
        struct entry *spoilt; /* load: found to be damaged */
        int rc;
};

struct kv_disk {
        struct kv *kv;
        struct mailbox *box;
        atomic_uint_fast64_t *restored;
        struct pool *pool;
        int dir;
        uint64_t model, limit, bytes, clock;
        uint32_t max_blocks;
        int held; /* blocks that work under way holds */
        struct VEC(struct entry *) entries;
        pthread_mutex_t lock; /* of the next */
        struct work *done;
};

uint64_t kv_disk_bytes(const struct kv_disk *d)
{
        return d->bytes;
}

/* ---- the fingerprint ---------------------------------------------------------------------------- */

static uint64_t add_ends(uint64_t sum, const void *p, size_t bytes)
{
        size_t n = bytes < SAMPLE ? bytes : SAMPLE;
        sum = kv_file_sum(sum, p, n);
        return kv_file_sum(sum, (const char *)p + bytes - n, n);
}

/* What adapters add to the weights of a layer. */
static uint64_t add_adapters(uint64_t sum, const struct layer *layer)
{
        for (int role = 0; role < W_ROLES; role++) {
                const struct weight *w = &layer->w[role];
                for (const struct lora *l = w->lora; l; l = l->next) {
                        sum = kv_file_sum(sum, &role, sizeof(role));
                        sum = add_ends(sum, l->a, w->mats * l->rank * w->n * sizeof(*l->a));
                        sum = add_ends(sum, l->b, w->mats * w->rows * l->rank * sizeof(*l->b));
                }
        }
        return sum;
}

/* A number that tells this model from others: its shape and kernels, what the file says of it, and both ends
 * of every tensor, those of adapters included. */
static uint64_t fingerprint(const struct engine_model *m, const struct engine_opts *o, int n_ctx)
{
        /* frequencies that the length of the context chooses */
        bool long_rope = m->global.w[W_ROPE_LONG].type && n_ctx > m->hp.rope.n_ctx_orig;
        uint64_t facts[] = { (uint64_t)m->hp.n_layer, (uint64_t)m->hp.n_embd,
                             (uint64_t)m->hp.n_head,  (uint64_t)m->hp.n_head_kv,
                             (uint64_t)m->hp.n_vocab, m->info.n_params,
                             m->info.file_bytes,      (uint64_t)o->kv_type,
                             (uint64_t)m->k->isa,     long_rope };
        uint64_t sum = kv_file_sum(KERN_KV_BLOCK, facts, sizeof(facts));
        for (size_t i = 0; i < gguf_tensor_count(m->file); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(m->file, i);
                sum = kv_file_sum(sum, t->name.p, t->name.n);
                sum = add_ends(sum, t->data, (size_t)t->bytes);
        }
        struct gguf_entry e;
        for (size_t i = 0; gguf_entry_at(m->file, i, &e); i++) {
                sum = kv_file_sum(sum, e.key.p, e.key.n);
                sum = add_ends(sum, e.data, e.bytes);
        }
        sum = add_adapters(sum, &m->global);
        for (int l = 0; l < m->hp.n_layer; l++)
                sum = add_adapters(sum, &m->layers[l]);
        return sum;
}

/* ---- entries ------------------------------------------------------------------------------------ */

static void entry_free(struct entry *e)
{
        if (e)
                mem_free(e->tokens);
        mem_free(e);
}

static void forget(struct kv_disk *d, struct entry *e)
{
        size_t i = 0;
        while (d->entries.p[i] != e)
                i++;
        d->entries.p[i] = d->entries.p[--d->entries.n];
        d->bytes -= e->bytes;
        entry_free(e);
}

static void discard(struct kv_disk *d, struct entry *e)
{
        unlinkat(d->dir, e->name, 0);
        forget(d, e);
}

/* Removes the least recently used files until the rest is within the limits. A conversation's earlier files
 * are used whenever its later ones are, and count as more recent. */
static void enforce_limits(struct kv_disk *d)
{
        while (d->bytes > d->limit || d->entries.n > ENTRIES_MAX) {
                struct entry *oldest = NULL;
                for (size_t i = 0; i < d->entries.n; i++) {
                        struct entry *e = d->entries.p[i];
                        if (!e->pending && !e->readers && (!oldest || e->used < oldest->used))
                                oldest = e;
                }
                if (!oldest)
                        return;
                discard(d, oldest);
        }
}

/* The entry that goes on furthest from block `at` of tokens[0 .. n blocks): how many blocks further, and the
 * entry in *ret. */
static int furthest(const struct kv_disk *d, const int32_t *tokens, int n, int at, bool pending,
                    struct entry **ret)
{
        int best = 0;
        for (size_t i = 0; i < d->entries.n; i++) {
                struct entry *e = d->entries.p[i];
                int to = (int)e->to < n ? (int)e->to : n;
                if ((e->pending && !pending) || (int)e->from > at || to - at <= best ||
                    memcmp(e->tokens, tokens, (size_t)(at + 1) * KERN_KV_BLOCK * sizeof(*tokens)))
                        continue;
                int same = at + 1;
                while (same < to && !memcmp(e->tokens + same * KERN_KV_BLOCK, tokens + same * KERN_KV_BLOCK,
                                            KERN_KV_BLOCK * sizeof(*tokens)))
                        same++;
                if (same - at > best) {
                        best = same - at;
                        *ret = e;
                }
        }
        return best;
}

/* Marks an entry as used, here and, for the next start, on the disk. The last block of a sequence is touched
 * first, so that its beginning is the most recent. */
static void touch(struct kv_disk *d, struct entry *e)
{
        e->used = ++d->clock;
        utimensat(d->dir, e->name, NULL, 0);
}

/* ---- work --------------------------------------------------------------------------------------- */

static void work_free(struct work *w)
{
        vec_release(&w->pieces);
        mem_free(w->blocks);
        mem_free(w);
}

static void write_blocks(struct work *w)
{
        struct kv_disk *d = w->disk;
        const struct entry *e = w->entry;
        w->rc = kv_file_write(d->dir, e->name, d->kv, d->model, e->tokens, e->from, e->to, w->blocks);
}

static void read_blocks(struct work *w)
{
        struct kv_disk *d = w->disk;
        for (size_t i = 0; i < w->pieces.n; i++) {
                const struct piece *p = &w->pieces.p[i];
                int good = 0;
                w->rc = kv_file_read(d->dir, p->entry->name, d->kv, d->model, p->first, p->n,
                                     w->blocks + w->n_good, &good);
                w->n_good += good;
                if (w->rc) {
                        w->spoilt = p->entry;
                        return;
                }
        }
}

/* On the pool's thread. */
static void run_work(void *arg)
{
        struct work *w = arg;
        struct kv_disk *d = w->disk;
        if (w->save)
                write_blocks(w);
        else
                read_blocks(w);
        pthread_mutex_lock(&d->lock);
        w->next = d->done;
        d->done = w;
        pthread_mutex_unlock(&d->lock);
        mailbox_poke(d->box);
}

/* Work with room for n blocks, NULL when memory is out. */
static struct work *work_new(struct kv_disk *d, int n)
{
        struct work *w = mem_calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        w->disk = d;
        w->blocks = mem_alloc((size_t)n * sizeof(*w->blocks));
        if (w->blocks)
                return w;
        work_free(w);
        return NULL;
}

static void unref_blocks(struct kv_disk *d, struct work *w)
{
        d->held -= w->n;
        while (w->n > 0)
                kv_unref(d->kv, w->blocks[--w->n]);
}

/* Blocks of sequences that run are never to be short because of what the disk does. */
static bool may_hold(const struct kv_disk *d, int n)
{
        return d->held + n <= d->kv->n_blocks / 4;
}

/* ---- saving ------------------------------------------------------------------------------------- */

static struct entry *entry_new(const int32_t *tokens, int from, int to)
{
        struct entry *e = mem_calloc(1, sizeof(*e));
        size_t bytes = (size_t)to * KERN_KV_BLOCK * sizeof(*tokens);
        if (!e || !(e->tokens = mem_alloc(bytes))) {
                entry_free(e);
                return NULL;
        }
        snprintf(e->name, sizeof(e->name), "%016" PRIx64 ".kv", rand_u64());
        memcpy(e->tokens, tokens, bytes);
        e->from = (uint32_t)from;
        e->to = (uint32_t)to;
        return e;
}

/* How many blocks the files have already, or will have; they are touched. */
static int covered(struct kv_disk *d, const int32_t *tokens, int n)
{
        struct entry *path[64];
        int at = 0, depth = 0, more;
        while (depth < 64 && (more = furthest(d, tokens, n, at, true, &path[depth])) > 0) {
                at += more;
                depth++;
        }
        while (depth > 0)
                touch(d, path[--depth]);
        return at;
}

void kv_disk_save(struct kv_disk *d, const int32_t *tokens, const int32_t *blocks, int n)
{
        struct work *w = NULL;
        struct entry *e = NULL;
        int from = n >= MIN_BLOCKS ? covered(d, tokens, n) : n;
        if (n - from < MIN_BLOCKS || !may_hold(d, n - from))
                return;
        w = work_new(d, n - from);
        e = entry_new(tokens, from, n);
        if (!w || !e || vec_push(&d->entries, e)) {
                entry_free(e);
                goto fail;
        }
        struct kv_file_head h = { .from = e->from, .to = e->to };
        h.block_bytes = (uint64_t)d->kv->n_layer * d->kv->at.block;
        e->bytes = kv_file_bytes(&h);
        e->used = ++d->clock;
        e->pending = true;
        d->bytes += e->bytes;
        w->save = true;
        w->entry = e;
        for (int i = from; i < n; i++) {
                kv_ref(d->kv, blocks[i]);
                w->blocks[w->n++] = blocks[i];
        }
        d->held += w->n;
        if (!pool_submit(d->pool, run_work, w))
                return;
        unref_blocks(d, w);
        forget(d, e);
fail:
        if (w)
                work_free(w);
}

static void saved(struct kv_disk *d, struct work *w)
{
        w->entry->pending = false;
        if (w->rc)
                forget(d, w->entry);
        enforce_limits(d);
}

/* ---- loading ------------------------------------------------------------------------------------ */

/* The pieces of files that hold the blocks [first, n) as far as there are any; their number of blocks. */
static int plan(struct kv_disk *d, struct work *w, const int32_t *tokens, int n)
{
        int at = (int)w->first, more;
        struct entry *e = NULL;
        while ((more = furthest(d, tokens, n, at, false, &e)) > 0) {
                if (vec_push(&w->pieces, ((struct piece){ e, (uint32_t)at, more })))
                        break;
                at += more;
        }
        return at - (int)w->first;
}

bool kv_disk_load(struct kv_disk *d, struct engine_seq *seq, size_t n, size_t have)
{
        int whole = (int)(n / KERN_KV_BLOCK), first = (int)(have / KERN_KV_BLOCK), found;
        if (whole - first < MIN_BLOCKS || !d->entries.n)
                return false;
        struct work *w = work_new(d, whole - first);
        if (!w)
                return false;
        w->first = (uint32_t)first;
        found = plan(d, w, seq->tokens, whole);
        if (found < MIN_BLOCKS || !may_hold(d, found) || found > d->kv->n_unused)
                goto fail;
        while (w->n < found)
                w->blocks[w->n++] = kv_alloc(d->kv);
        d->held += found;
        if (pool_submit(d->pool, run_work, w)) {
                unref_blocks(d, w);
                goto fail;
        }
        for (size_t i = w->pieces.n; i-- > 0;) {
                w->pieces.p[i].entry->readers++;
                touch(d, w->pieces.p[i].entry);
        }
        w->seq = seq;
        atomic_fetch_add(&seq->refs, 1);
        seq->loading = true;
        return true;
fail:
        work_free(w);
        return false;
}

/* Puts the blocks that were read into the tree, below those that it has of the sequence's beginning. */
static void attach(struct kv_disk *d, struct work *w)
{
        struct kv *kv = d->kv;
        const int32_t *tokens = w->seq->tokens;
        int first = (int)w->first;
        int32_t *path = mem_alloc(((size_t)first + 1) * sizeof(*path)), parent = -1;
        int have = path ? kv_match(kv, tokens, (size_t)first * KERN_KV_BLOCK, path, first) : -1;
        if (have == first) { /* else it was thrown out meanwhile */
                parent = first ? path[first - 1] : -1;
                for (int i = 0; i < w->n_good; i++) {
                        w->blocks[i] = kv_publish(kv, w->blocks[i], parent,
                                                  tokens + (first + i) * KERN_KV_BLOCK, KERN_KV_BLOCK);
                        parent = w->blocks[i];
                        if (kv->blocks[parent].n < KERN_KV_BLOCK)
                                break;
                        atomic_fetch_add(d->restored, KERN_KV_BLOCK);
                }
        }
        unref_blocks(d, w);
        while (have > 0)
                kv_unref(kv, path[--have]);
        mem_free(path);
}

static void loaded(struct kv_disk *d, struct work *w)
{
        for (size_t i = 0; i < w->pieces.n; i++)
                w->pieces.p[i].entry->readers--;
        attach(d, w);
        w->seq->loading = false;
        engine_seq_unref(w->seq);
        if (w->spoilt && !w->spoilt->readers)
                discard(d, w->spoilt);
}

void kv_disk_poll(struct kv_disk *d)
{
        pthread_mutex_lock(&d->lock);
        struct work *list = d->done;
        d->done = NULL;
        pthread_mutex_unlock(&d->lock);
        for (struct work *w; (w = list);) {
                list = w->next;
                if (w->save)
                        saved(d, w);
                else
                        loaded(d, w);
                unref_blocks(d, w);
                work_free(w);
        }
}

/* ---- start and stop ----------------------------------------------------------------------------- */

/* One file of the directory becomes an entry, or is removed. */
static int scan_file(struct kv_disk *d, const char *name)
{
        struct kv_file_head h;
        struct stat st;
        int32_t *tokens = NULL;
        int rc = strlen(name) < NAME_BYTES
                         ? kv_file_open(d->dir, name, d->kv, d->model, d->max_blocks, &h, &tokens)
                         : -EINVAL;
        if (rc == -ENOMEM)
                return rc;
        if (rc || fstatat(d->dir, name, &st, AT_SYMLINK_NOFOLLOW)) {
                unlinkat(d->dir, name, 0);
                mem_free(tokens);
                return 0;
        }
        struct entry *e = mem_calloc(1, sizeof(*e));
        if (!e || vec_push(&d->entries, e)) {
                mem_free(tokens);
                mem_free(e);
                return -ENOMEM;
        }
        snprintf(e->name, sizeof(e->name), "%s", name);
        e->tokens = tokens;
        e->from = h.from;
        e->to = h.to;
        e->bytes = kv_file_bytes(&h);
        e->used = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
        d->clock = e->used > d->clock ? e->used : d->clock;
        d->bytes += e->bytes;
        return 0;
}

/* Only names that are ours are looked at, and removed. */
static bool is_ours(const char *name)
{
        const char *dot = strchr(name, '.');
        return dot && (!strcmp(dot, ".kv") || !strcmp(dot, ".kv.tmp"));
}

static int scan(struct kv_disk *d)
{
        int fd = dup(d->dir), rc = 0;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                rc = -errno;
                if (fd >= 0)
                        close(fd);
                return rc;
        }
        for (struct dirent *f; !rc && (f = readdir(dir));)
                if (is_ours(f->d_name))
                        rc = scan_file(d, f->d_name);
        closedir(dir);
        enforce_limits(d);
        return rc;
}

int kv_disk_open(const struct engine_opts *o, const struct engine_model *m, struct kv *kv, int n_ctx,
                 struct mailbox *box, atomic_uint_fast64_t *restored, struct kv_disk **ret, char *err,
                 size_t errn)
{
        struct kv_disk *d = mem_calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        *d = (struct kv_disk){ .kv = kv,
                               .box = box,
                               .restored = restored,
                               .model = fingerprint(m, o, n_ctx),
                               .limit = o->kv_disk_bytes ? o->kv_disk_bytes : DEFAULT_BYTES,
                               .max_blocks = (uint32_t)kv->n_blocks };
        pthread_mutex_init(&d->lock, NULL);
        int rc = mkdir(o->kv_dir, 0700) && errno != EEXIST ? -errno : 0;
        d->dir = rc ? -1 : open(o->kv_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (!rc && d->dir < 0)
                rc = -errno;
        if (!rc)
                rc = scan(d);
        if (!rc && !(d->pool = pool_new("kv-disk", 1, QUEUE_MAX)))
                rc = -ENOMEM;
        if (rc) {
                snprintf(err, errn, "%s: %s", o->kv_dir, strerror(-rc));
                kv_disk_close(d);
                return rc;
        }
        *ret = d;
        return 0;
}

void kv_disk_close(struct kv_disk *d)
{
        if (!d)
                return;
        pool_free(d->pool); /* after what is queued */
        kv_disk_poll(d);
        for (size_t i = 0; i < d->entries.n; i++)
                entry_free(d->entries.p[i]);
        vec_release(&d->entries);
        if (d->dir >= 0)
                close(d->dir);
        pthread_mutex_destroy(&d->lock);
        mem_free(d);
}
