/* cairn quantize: a model file with its matrices in smaller types. Constant memory: a slice of rows at a
 * time. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/gguf_write.h"
#include "engine/quantize_mix.h"
#include "kernels/kernels.h"
#include "kernels/quantize.h"
#include "kernels/team.h"

#define SLICE_VALUES (4u << 20) /* values converted between two writes */

/* One tensor on its way: a slice of its rows, shared out over the team. */
struct slice {
        const struct kern_type *from, *to;
        const uint8_t *src;
        uint8_t *dst;
        float *rows; /* one row for each thread */
        size_t n, count;
        int threads;
        atomic_int rc;
};

struct job {
        const struct gguf *in;
        struct gguf_writer *out;
        const struct engine_quantize_opts *opts;
        struct kern_team *team;
        struct mix mix;
        const struct kern_type **types; /* of each tensor */
        struct engine_quantize_state state;
        char *err;
        size_t errn;
};

static int __attribute__((format(printf, 3, 4))) fail(struct job *j, int rc, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(j->err, j->errn, fmt, ap);
        va_end(ap);
        return rc;
}

static void convert_rows(void *arg, int tid)
{
        struct slice *s = arg;
        size_t from, to, in = kern_type_size(s->from, s->n), out = kern_type_size(s->to, s->n);
        float *row = s->rows + (size_t)tid * s->n;
        kern_team_share(tid, s->threads, s->count, 1, &from, &to);
        for (size_t r = from; r < to && !atomic_load(&s->rc); r++) {
                s->from->dequant(s->src + r * in, row, s->n);
                int rc = kern_quantize(s->to->id, row, s->n, s->dst + r * out, NULL);
                if (rc)
                        atomic_store(&s->rc, rc);
        }
}

/* False: the caller asked for an end. */
static bool step(struct job *j, uint64_t in, uint64_t out)
{
        j->state.done += in;
        j->state.written += out;
        return !j->opts->progress || j->opts->progress(j->opts->ctx, &j->state);
}

static int write_unchanged(struct job *j, const struct gguf_tensor *t)
{
        for (uint64_t at = 0; at < t->bytes;) {
                uint64_t part = t->bytes - at < SLICE_VALUES ? t->bytes - at : SLICE_VALUES;
                if (gguf_write_raw(j->out, (const uint8_t *)t->data + at, part))
                        return -EIO; /* the writer keeps the reason */
                if (!step(j, part, part))
                        return fail(j, -ECANCELED, "cancelled");
                at += part;
        }
        return 0;
}

static int write_slices(struct job *j, const struct gguf_tensor *t, struct slice *s, size_t rows,
                        size_t at_once)
{
        size_t in = kern_type_size(s->from, s->n), out = kern_type_size(s->to, s->n);
        for (size_t r = 0; r < rows; r += s->count) {
                s->count = rows - r < at_once ? rows - r : at_once;
                s->src = (const uint8_t *)t->data + r * in;
                kern_team_run(j->team, convert_rows, s);
                if (atomic_load(&s->rc))
                        return fail(j, atomic_load(&s->rc),
                                    "tensor %.*s holds a value that %s cannot represent", (int)t->name.n,
                                    t->name.p, s->to->name);
                if (gguf_write_raw(j->out, s->dst, s->count * out))
                        return -EIO; /* the writer keeps the reason */
                if (!step(j, s->count * in, s->count * out))
                        return fail(j, -ECANCELED, "cancelled");
        }
        return 0;
}

static int write_converted(struct job *j, const struct gguf_tensor *t, const struct kern_type *to)
{
        size_t n = t->ne[0], rows = t->ne[1] * t->ne[2] * t->ne[3];
        size_t at_once = SLICE_VALUES / n ? SLICE_VALUES / n : 1;
        struct slice s = { .from = t->type, .to = to, .n = n, .threads = kern_team_size(j->team) };
        s.rows = mem_alloc((size_t)s.threads * n * sizeof(float));
        s.dst = mem_alloc((at_once < rows ? at_once : rows) * kern_type_size(to, n));
        int rc = s.rows && s.dst ? write_slices(j, t, &s, rows, at_once) : fail(j, -ENOMEM, "out of memory");
        mem_free(s.rows);
        mem_free(s.dst);
        return rc;
}

static int write_tensors(struct job *j)
{
        int rc = 0;
        for (size_t i = 0; !rc && i < gguf_tensor_count(j->in); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(j->in, i);
                j->state.tensor = t->name;
                j->state.tensor_no = i + 1;
                rc = j->types[i] == t->type ? write_unchanged(j, t) : write_converted(j, t, j->types[i]);
        }
        return rc;
}

/* Everything of the file except what the new types and the single part make untrue. */
static void copy_metadata(struct job *j)
{
        struct gguf_entry e;
        for (size_t i = 0; gguf_entry_at(j->in, i, &e); i++)
                if (!str_eqc(e.key, "general.file_type") && !str_eqc(e.key, "general.quantization_version") &&
                    !str_eqc(e.key, "general.alignment") && !str_starts(e.key, "split."))
                        gguf_put_entry(j->out, &e);
        gguf_put_u32(j->out, "general.quantization_version", 2);
        gguf_put_u32(j->out, "general.file_type", j->mix.file_type);
}

static int declare_tensors(struct job *j)
{
        j->state.tensors = gguf_tensor_count(j->in);
        j->types = mem_calloc(j->state.tensors + 1, sizeof(const struct kern_type *));
        if (!j->types)
                return fail(j, -ENOMEM, "out of memory");
        for (size_t i = 0; i < j->state.tensors; i++) {
                const struct gguf_tensor *t = gguf_tensor_at(j->in, i);
                char name[1100];
                snprintf(name, sizeof(name), "%.*s", (int)t->name.n, t->name.p);
                j->types[i] = mix_type(&j->mix, t);
                j->state.total += t->bytes;
                gguf_add_tensor(j->out, name, j->types[i]->id, t->n_dims, t->ne);
        }
        return 0;
}

int engine_quantize(const char *in, const char *out, const struct engine_quantize_opts *opts, char *err,
                    size_t errn)
{
        struct job j = { .opts = opts, .err = err, .errn = errn };
        struct gguf *file = NULL;
        int threads = opts->threads > 0 ? opts->threads : kern_team_default_threads();
        char why[256];
        int rc = gguf_open(in, &file, why, sizeof(why));
        if (rc)
                return fail(&j, rc, "%s: %s", in, why);
        j.in = file;
        rc = mix_init(&j.mix, opts->type, file, err, errn);
        if (!rc && !(j.team = kern_team_new(threads)))
                rc = fail(&j, -ENOMEM, "no threads");
        if (!rc)
                rc = gguf_writer_open(out, &j.out, err, errn);
        if (!rc) {
                copy_metadata(&j);
                rc = declare_tensors(&j);
        }
        if (!rc)
                rc = write_tensors(&j);
        /* -EIO: closing tells what went wrong in the writer */
        if (j.out && (!rc || rc == -EIO))
                rc = gguf_writer_close(j.out, err, errn);
        else
                gguf_writer_abort(j.out);
        mem_free(j.types);
        kern_team_free(j.team);
        gguf_close(file);
        return rc;
}
