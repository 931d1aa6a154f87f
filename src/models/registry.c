#include "models/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/vec.h"
#include "engine/engine.h"
#include "models/format.h"

#define AT_ONCE_BYTES ((uint64_t)64 << 20)
#define WARM_CHUNK ((size_t)4 << 20)
#define WARM_STEP 10 /* percent between two reports */
#define ERROR_MAX 320

/* A model with what is not for others. After the id, all is under the registry's lock. */
struct entry {
        struct model model; /* first: the public part is the entry */
        struct registry *registry;
        char *path, *format;     /* format: NULL or as configured */
        struct engine_opts opts; /* with copies of its strings */
        uint64_t file_bytes;
        enum model_state state;
        uint64_t bytes; /* in memory: expected, and once loaded the true number */
        int holds;
        int64_t used_us;
        bool needed;  /* somebody asks for it: others may be dropped for it */
        bool opening; /* a thread loads it: its own business until that is done */
        char error[ERROR_MAX];
};

struct alias {
        char *name;
        const struct model *model;
};

struct registry {
        struct registry_opts opts;
        struct VEC(struct entry *) models;
        struct VEC(struct alias) aliases;
        pthread_mutex_t lock;
        pthread_cond_t changed; /* a state, a hold given up, or stop */
        pthread_t loader;
        bool loading; /* the thread runs */
        atomic_int unready;
        bool stop;
};

/* ---- memory of entries -------------------------------------------------------------------------- */

static void opts_release(struct engine_opts *o)
{
        struct engine_adapter *adapters = (struct engine_adapter *)o->adapters;
        for (size_t i = 0; adapters && i < o->n_adapters; i++)
                mem_free((char *)adapters[i].path);
        mem_free(adapters);
        mem_free((char *)o->kv_dir);
}

static int opts_copy(struct engine_opts *ret, const struct engine_opts *o)
{
        struct engine_adapter *adapters = NULL;
        *ret = o ? *o : (struct engine_opts){ 0 };
        ret->kv_dir = NULL;
        ret->adapters = NULL;
        ret->n_adapters = 0;
        if (o && o->kv_dir && !(ret->kv_dir = mem_strdup(o->kv_dir)))
                return -ENOMEM;
        if (!o || !o->n_adapters)
                return 0;
        ret->adapters = adapters = mem_calloc(o->n_adapters, sizeof(*adapters));
        for (; adapters && ret->n_adapters < o->n_adapters; ret->n_adapters++) {
                struct engine_adapter *a = &adapters[ret->n_adapters];
                *a = o->adapters[ret->n_adapters];
                a->path = mem_strdup(a->path);
                if (!a->path)
                        return -ENOMEM;
        }
        return adapters ? 0 : -ENOMEM;
}

static void entry_free(struct entry *e)
{
        if (!e)
                return;
        engine_model_close(e->model.engine);
        idiom_free((struct idiom *)e->model.idiom);
        opts_release(&e->opts);
        mem_free(e->format);
        mem_free((char *)e->model.id);
        mem_free(e->path);
        mem_free(e);
}

static struct entry *entry_of(const struct model *m)
{
        return (struct entry *)m;
}

struct registry *registry_new(void)
{
        struct registry *r = mem_calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        pthread_mutex_init(&r->lock, NULL);
        thread_cond_init(&r->changed);
        return r;
}

void registry_configure(struct registry *r, const struct registry_opts *opts)
{
        r->opts = *opts;
}

void registry_free(struct registry *r)
{
        if (!r)
                return;
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        if (r->loading)
                pthread_join(r->loader, NULL);
        for (size_t i = 0; i < r->models.n; i++)
                entry_free(r->models.p[i]);
        for (size_t i = 0; i < r->aliases.n; i++)
                mem_free(r->aliases.p[i].name);
        vec_release(&r->models);
        vec_release(&r->aliases);
        pthread_mutex_destroy(&r->lock);
        pthread_cond_destroy(&r->changed);
        mem_free(r);
}

/* ---- loading ------------------------------------------------------------------------------------ */

static void report(const struct entry *e, enum model_state state, int percent, const char *error)
{
        const struct registry_opts *o = &e->registry->opts;
        if (o->on_state)
                o->on_state(o->ctx, &e->model, state, percent, error);
}

/* With the lock. */
static void set_state(struct entry *e, enum model_state state)
{
        atomic_fetch_add(&e->registry->unready, (e->state == MODEL_READY) - (state == MODEL_READY));
        e->state = state;
        pthread_cond_broadcast(&e->registry->changed);
}

/* Reads the file once, so that the system has it in memory and somebody sees how far that is. A file that is
 * large beside the memory is left to be read on use. */
static void warm(const struct entry *e)
{
        uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        int fd = e->file_bytes > memory / 2 ? -1 : open(e->path, O_RDONLY | O_CLOEXEC), told = 0;
        char *room = fd < 0 ? NULL : mem_alloc(WARM_CHUNK);
        ssize_t n = 1;
        for (uint64_t at = 0; room && n > 0; at += (uint64_t)n) {
                pthread_mutex_lock(&e->registry->lock);
                bool stop = e->registry->stop;
                pthread_mutex_unlock(&e->registry->lock);
                n = stop ? 0 : pread(fd, room, WARM_CHUNK, (off_t)at);
                int percent = (int)(at * 100 / (e->file_bytes ? e->file_bytes : 1));
                if (percent >= told + WARM_STEP && percent < 100) {
                        told = percent;
                        report(e, MODEL_LOADING, percent, NULL);
                }
        }
        mem_free(room);
        if (fd >= 0)
                close(fd);
}

/* What a model has in memory. */
static uint64_t size_of(const struct engine_model *engine)
{
        struct engine_stats stats;
        engine_model_stats(engine, &stats);
        return engine_model_info(engine)->file_bytes + stats.kv_total;
}

/* Refuses what could never be in memory. 0, or -E2BIG with a sentence. */
static int check_size(const struct registry *r, uint64_t bytes, char *why, size_t n)
{
        if (!r->opts.memory || bytes <= r->opts.memory)
                return 0;
        snprintf(why, n, "it needs %llu MiB, and all models together may have %llu",
                 (unsigned long long)(bytes >> 20), (unsigned long long)(r->opts.memory >> 20));
        return -E2BIG;
}

/* Opens the model and finds out how it writes. 0 or negative errno with a sentence. */
static int open_model(const struct entry *e, struct engine_model **ret, struct idiom **ret_idiom, char *why,
                      size_t n)
{
        int rc = engine_model_open(e->path, &e->opts, ret, why, n);
        if (rc)
                return rc;
        rc = check_size(e->registry, size_of(*ret), why, n);
        if (!rc && engine_model_info(*ret)->has_chat) {
                rc = idiom_detect(*ret, e->format, ret_idiom);
                if (rc)
                        snprintf(why, n, rc == -EINVAL ? "there is no format '%s'" : "out of memory",
                                 e->format);
        }
        if (rc)
                engine_model_close(*ret);
        return rc;
}

/* Loads the entry, without the lock; it is `opening`, so nobody else touches it. */
static int load(struct entry *e, char *why, size_t n)
{
        struct engine_model *engine = NULL;
        struct idiom *idiom = NULL;
        int rc = open_model(e, &engine, &idiom, why, n);
        pthread_mutex_lock(&e->registry->lock);
        if (!rc) {
                const struct engine_info *info = engine_model_info(engine);
                e->bytes = size_of(engine);
                e->model.engine = engine;
                e->model.idiom = idiom;
                e->model.n_ctx = info->n_ctx;
                e->model.n_embd = info->n_embd;
                e->model.chat = info->has_chat;
        } else {
                snprintf(e->error, sizeof(e->error), "%s", why);
        }
        e->needed = e->opening = false;
        e->used_us = clock_mono_us();
        set_state(e, rc ? MODEL_FAILED : MODEL_READY);
        pthread_mutex_unlock(&e->registry->lock);
        return rc;
}

/* ---- the budget (with the lock) ----------------------------------------------------------------- */

static uint64_t resident(const struct registry *r)
{
        uint64_t bytes = 0;
        for (size_t i = 0; i < r->models.n; i++)
                if (r->models.p[i]->state == MODEL_READY || r->models.p[i]->opening)
                        bytes += r->models.p[i]->bytes;
        return bytes;
}

static bool fits(const struct registry *r, const struct entry *e)
{
        return !r->opts.memory || resident(r) + e->bytes <= r->opts.memory;
}

/* The model that was not used for longest, of those that nobody holds. */
static struct entry *idle_longest(const struct registry *r)
{
        struct entry *best = NULL;
        for (size_t i = 0; i < r->models.n; i++) {
                struct entry *e = r->models.p[i];
                if (e->state == MODEL_READY && !e->holds && (!best || e->used_us < best->used_us))
                        best = e;
        }
        return best;
}

/* Gives the model's memory back. The lock is released while that takes place. */
static void drop(struct registry *r, struct entry *e)
{
        struct engine_model *engine = e->model.engine;
        struct idiom *idiom = (struct idiom *)e->model.idiom;
        e->model.engine = NULL;
        e->model.idiom = NULL;
        set_state(e, MODEL_UNLOADED);
        pthread_mutex_unlock(&r->lock);
        engine_model_close(engine);
        idiom_free(idiom);
        report(e, MODEL_UNLOADED, 0, NULL);
        pthread_mutex_lock(&r->lock);
}

/* Makes up for what loaded models turned out to need beyond what was expected of them. The one that was
 * loaded last stays: somebody is about to use it. */
static bool drop_surplus(struct registry *r, const struct entry *last)
{
        struct entry *idle = r->opts.memory && resident(r) > r->opts.memory ? idle_longest(r) : NULL;
        if (!idle || idle == last)
                return false;
        drop(r, idle);
        return true;
}

/* ---- the loader's thread ------------------------------------------------------------------------ */

/* What to load next: first what somebody waits for, the longest wait first. */
static struct entry *next_to_load(const struct registry *r)
{
        struct entry *best = NULL;
        for (size_t i = 0; i < r->models.n; i++) {
                struct entry *e = r->models.p[i];
                if (e->state == MODEL_LOADING && !e->opening &&
                    (!best || (e->needed && (!best->needed || e->used_us < best->used_us))))
                        best = e;
        }
        return best;
}

static void *loader_main(void *arg)
{
        struct registry *r = arg;
        char why[ERROR_MAX];
        const struct entry *last = NULL;
        pthread_mutex_lock(&r->lock);
        while (!r->stop) {
                struct entry *e = next_to_load(r), *idle;
                if (drop_surplus(r, last))
                        continue;
                if (e && fits(r, e)) {
                        e->opening = true;
                        last = e;
                        pthread_mutex_unlock(&r->lock);
                        report(e, MODEL_LOADING, 0, NULL);
                        warm(e);
                        int rc = load(e, why, sizeof(why));
                        report(e, rc ? MODEL_FAILED : MODEL_READY, 100, rc ? why : NULL);
                        pthread_mutex_lock(&r->lock);
                } else if (e && !e->needed) {
                        set_state(e, MODEL_UNLOADED); /* there is no room for it until somebody asks */
                } else if (e && (idle = idle_longest(r))) {
                        drop(r, idle);
                } else {
                        pthread_cond_wait(&r->changed, &r->lock);
                }
        }
        pthread_mutex_unlock(&r->lock);
        return NULL;
}

/* With the lock. */
static int want(struct registry *r, struct entry *e, bool needed)
{
        int rc = 0;
        e->needed = e->needed || needed;
        if (!r->loading)
                rc = thread_start(&r->loader, "model-loader", loader_main, r);
        if (rc)
                return rc;
        r->loading = true;
        if (e->state != MODEL_LOADING)
                e->used_us = clock_mono_us();
        set_state(e, MODEL_LOADING);
        return 0;
}

/* ---- holding ------------------------------------------------------------------------------------ */

int model_hold(const struct model *m, int wait_ms)
{
        struct entry *e = entry_of(m);
        struct registry *r = e->registry;
        int64_t until = clock_mono_ms() + wait_ms;
        int rc = 0;
        pthread_mutex_lock(&r->lock);
        while (!rc && e->state != MODEL_READY) {
                if (e->state == MODEL_FAILED)
                        rc = -EIO;
                else if (e->state == MODEL_UNLOADED || !e->needed)
                        rc = want(r, e, true);
                else if (r->stop || wait_ms <= 0 || thread_cond_wait_until(&r->changed, &r->lock, until))
                        rc = e->state == MODEL_READY ? 0 : -EBUSY;
        }
        if (!rc) {
                e->holds++;
                e->used_us = clock_mono_us();
        }
        pthread_mutex_unlock(&r->lock);
        return rc;
}

bool model_hold_ready(const struct model *m)
{
        struct entry *e = entry_of(m);
        pthread_mutex_lock(&e->registry->lock);
        bool ready = e->state == MODEL_READY;
        e->holds += ready;
        pthread_mutex_unlock(&e->registry->lock);
        return ready;
}

void model_release(const struct model *m)
{
        struct entry *e = entry_of(m);
        pthread_mutex_lock(&e->registry->lock);
        if (!--e->holds)
                pthread_cond_broadcast(&e->registry->changed);
        pthread_mutex_unlock(&e->registry->lock);
}

enum model_state model_state(const struct model *m)
{
        struct entry *e = entry_of(m);
        pthread_mutex_lock(&e->registry->lock);
        enum model_state state = e->state;
        pthread_mutex_unlock(&e->registry->lock);
        return state;
}

const char *model_state_name(enum model_state state)
{
        static const char *const names[] = { [MODEL_UNLOADED] = "unloaded",
                                             [MODEL_LOADING] = "loading",
                                             [MODEL_READY] = "ready",
                                             [MODEL_FAILED] = "failed" };
        return names[state];
}

void model_error(const struct model *m, char *err, size_t errn)
{
        struct entry *e = entry_of(m);
        pthread_mutex_lock(&e->registry->lock);
        snprintf(err, errn, "%s", e->error);
        pthread_mutex_unlock(&e->registry->lock);
}

/* ---- names -------------------------------------------------------------------------------------- */

/* "dir/name.gguf" gives "name". */
static char *id_of_path(const char *path)
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        size_t n = strlen(name);
        if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
                n -= 5;
        return mem_strndup(name, n);
}

static const struct model *find_id(const struct registry *r, struct str id)
{
        for (size_t i = 0; i < r->models.n; i++)
                if (str_eqc(id, r->models.p[i]->model.id))
                        return &r->models.p[i]->model;
        return NULL;
}

static struct entry *entry_new(struct registry *r, const struct model_file *file, const struct stat *st)
{
        struct entry *e = mem_calloc(1, sizeof(*e));
        if (!e)
                return NULL;
        e->registry = r;
        e->model.id = file->id ? mem_strdup(file->id) : id_of_path(file->path);
        e->model.owned_by = "cairn";
        e->model.created = st->st_mtime;
        e->path = mem_strdup(file->path);
        e->format = file->format ? mem_strdup(file->format) : NULL;
        e->file_bytes = (uint64_t)st->st_size;
        if (!e->model.id || !e->path || !e->format != !file->format || opts_copy(&e->opts, file->opts)) {
                entry_free(e);
                return NULL;
        }
        e->bytes = e->file_bytes + e->opts.kv_bytes;
        return e;
}

/* Loads a new entry now, or leaves it to the loader's thread. */
static int load_or_leave(struct registry *r, struct entry *e, char *why, size_t n)
{
        uint64_t at_once = r->opts.at_once ? r->opts.at_once : AT_ONCE_BYTES;
        pthread_mutex_lock(&r->lock);
        bool later = r->opts.background && e->file_bytes > at_once, room = fits(r, e);
        int rc = later ? want(r, e, false) : 0;
        if (!later && room) {
                e->opening = true;
                set_state(e, MODEL_LOADING);
        }
        pthread_mutex_unlock(&r->lock);
        if (rc || later || !room)
                return rc;
        rc = load(e, why, n);
        pthread_mutex_lock(&r->lock);
        while (!rc && drop_surplus(r, e))
                ;
        pthread_mutex_unlock(&r->lock);
        return rc;
}

/* What can be said against an entry before it is loaded. */
static int check_entry(const struct registry *r, const struct entry *e, char *why, size_t n)
{
        if (find_id(r, str_c(e->model.id))) {
                snprintf(why, n, "the id '%s' is taken by another model", e->model.id);
                return -EEXIST;
        }
        return check_size(r, e->bytes, why, n);
}

/* Only the thread that starts the server adds; the loader looks at the list with the lock. */
static void set_count(struct registry *r, size_t n)
{
        pthread_mutex_lock(&r->lock);
        r->models.n = n;
        pthread_mutex_unlock(&r->lock);
}

int registry_add(struct registry *r, const struct model_file *file, char *err, size_t errn)
{
        struct stat st;
        struct entry *e = NULL;
        char why[256] = "out of memory";
        int rc = stat(file->path, &st) ? -errno : 0;
        if (rc) {
                snprintf(err, errn, "model %s: %s", file->path, strerror(-rc));
                return rc;
        }
        pthread_mutex_lock(&r->lock);
        rc = vec_reserve(&r->models, r->models.n + 1) ? -ENOMEM : 0;
        pthread_mutex_unlock(&r->lock);
        if (!rc && !(e = entry_new(r, file, &st)))
                rc = -ENOMEM;
        if (!rc)
                rc = check_entry(r, e, why, sizeof(why));
        if (!rc) {
                r->models.p[r->models.n] = e;
                atomic_fetch_add(&r->unready, 1);
                set_count(r, r->models.n + 1);
                rc = load_or_leave(r, e, why, sizeof(why));
                if (!rc)
                        return 0;
                set_count(r, r->models.n - 1);
                atomic_fetch_sub(&r->unready, 1);
        }
        entry_free(e);
        snprintf(err, errn, "model %s: %s", file->path, why);
        return rc;
}

int registry_add_file(struct registry *r, const char *id, const char *path, const struct engine_opts *opts,
                      char *err, size_t errn)
{
        struct model_file file = { .path = path, .id = id, .opts = opts };
        return registry_add(r, &file, err, errn);
}

int registry_alias(struct registry *r, const char *alias, const char *target, char *err, size_t errn)
{
        const struct model *m = registry_find(r, str_c(target));
        if (!m) {
                snprintf(err, errn, "alias '%s': there is no model '%s'", alias, target);
                return -ENOENT;
        }
        if (find_id(r, str_c(alias))) {
                snprintf(err, errn, "alias '%s' is the id of a model", alias);
                return -EEXIST;
        }
        for (size_t i = 0; i < r->aliases.n; i++) {
                if (strcmp(r->aliases.p[i].name, alias) == 0) {
                        r->aliases.p[i].model = m;
                        return 0;
                }
        }
        struct alias a = { mem_strdup(alias), m };
        if (!a.name || vec_push(&r->aliases, a)) {
                mem_free(a.name);
                snprintf(err, errn, "alias '%s': out of memory", alias);
                return -ENOMEM;
        }
        return 0;
}

const struct model *registry_find(const struct registry *r, struct str name)
{
        const struct model *m = find_id(r, name);
        for (size_t i = 0; !m && i < r->aliases.n; i++)
                if (str_eqc(name, r->aliases.p[i].name))
                        m = r->aliases.p[i].model;
        return m;
}

bool registry_all_ready(const struct registry *r)
{
        return !atomic_load(&r->unready);
}

bool registry_next(const struct registry *r, size_t *it, const char **ret_name, const struct model **ret)
{
        size_t i = (*it)++;
        if (i < r->models.n) {
                *ret = &r->models.p[i]->model;
                *ret_name = (*ret)->id;
                return true;
        }
        i -= r->models.n;
        if (i >= r->aliases.n)
                return false;
        *ret = r->aliases.p[i].model;
        *ret_name = r->aliases.p[i].name;
        return true;
}
