#include "train/vocab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

#define VOCAB_FILE_MAX (64u << 20)
#define JSONL_DEPTH 16

static int fault(char *err, size_t errn, const char *path, int code)
{
        if (errn)
                snprintf(err, errn, "%s: %s", path, strerror(-code));
        return code;
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_n, char *err, size_t errn)
{
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
        size_t n = 0, size;
        char *p = NULL;

        if (fd < 0 || fstat(fd, &st)) {
                rc = -errno;
                goto out;
        }
        size = (size_t)st.st_size;
        if (!S_ISREG(st.st_mode) || size > max) {
                rc = S_ISREG(st.st_mode) ? -EFBIG : -EINVAL;
                goto out;
        }
        p = mem_alloc(size + 1);
        if (!p) {
                rc = -ENOMEM;
                goto out;
        }
        while (n < size) {
                ssize_t got = read(fd, p + n, size - n);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0) {
                        rc = got ? -errno : -EIO;
                        goto out;
                }
                n += (size_t)got;
        }
        p[n] = '\0';
        *ret = p;
        *ret_n = n;
        p = NULL;
out:
        mem_free(p);
        if (fd >= 0)
                close(fd);
        return rc ? fault(err, errn, path, rc) : 0;
}

int jsonl_each(const char *path, size_t max, int (*fn)(void *ctx, json_t *doc), void *ctx, char *err,
               size_t errn)
{
        char *text = NULL;
        size_t n, number = 0;
        int rc = file_read(path, max, &text, &n, err, errn);

        if (rc)
                return rc;
        for (struct str rest = { text, n }; rest.n && !rc;) {
                struct json_fault bad;
                struct str line = str_split(rest, '\n', &rest);
                number++;
                if (!line.n)
                        continue;
                json_t *doc = json_parse(line, JSONL_DEPTH, &bad);
                rc = doc ? fn(ctx, doc) : -EINVAL;
                if (rc)
                        snprintf(err, errn, "%s: line %zu: %s", path, number, doc ? strerror(-rc) : bad.msg);
        }
        mem_free(text);
        return rc;
}

int file_write(const char *path, const void *p, size_t n, char *err, size_t errn)
{
        char tmp[4096];
        int rc = 0, fd = -1;

        if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int)sizeof(tmp))
                return fault(err, errn, path, -ENAMETOOLONG);
        fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0)
                return fault(err, errn, tmp, -errno);
        for (size_t at = 0; at < n && !rc;) {
                ssize_t put = write(fd, (const char *)p + at, n - at);
                if (put > 0)
                        at += (size_t)put;
                else if (put < 0 && errno != EINTR)
                        rc = -errno;
        }
        if (!rc && fsync(fd))
                rc = -errno;
        if (close(fd) && !rc)
                rc = -errno;
        if (!rc && rename(tmp, path))
                rc = -errno;
        if (rc)
                unlink(tmp);
        return rc ? fault(err, errn, path, rc) : 0;
}

/* Points `out` at the strings of a JSON array; false when an element is something else. */
static bool read_strings(const json_t *array, struct str *out)
{
        for (size_t i = 0; i < json_array_size(array); i++) {
                const json_t *s = json_array_get(array, i);
                if (!json_is_string(s))
                        return false;
                out[i] = json_as_str(s);
        }
        return true;
}

static int read_doc(struct vocab *v)
{
        const json_t *tokens = json_get(v->doc, "tokens"), *merges = json_get(v->doc, "merges");
        const json_t *types = json_get(v->doc, "types");
        size_t n = json_array_size(tokens), m = json_array_size(merges);

        if (!n || json_array_size(types) != n)
                return -EINVAL;
        v->strings = mem_calloc(n + m, sizeof(*v->strings));
        v->types = mem_calloc(n, sizeof(*v->types));
        if (!v->strings || !v->types)
                return -ENOMEM;
        if (!read_strings(tokens, v->strings) || !read_strings(merges, v->strings + n))
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                v->types[i] = (int32_t)json_integer_value(json_array_get(types, i));
        v->spec = (struct tok_spec){
                .n_vocab = n,
                .tokens = v->strings,
                .types = v->types,
                .n_merges = m,
                .merges = v->strings + n,
                .pre = json_str(v->doc, "pre"),
                .bos = (int32_t)json_int(v->doc, "bos", -1),
                .eos = (int32_t)json_int(v->doc, "eos", -1),
                .eot = (int32_t)json_int(v->doc, "eot", -1),
                .unk = (int32_t)json_int(v->doc, "unk", -1),
                .add_bos = json_flag(v->doc, "add_bos", false),
        };
        return 0;
}

int vocab_load(const char *path, struct vocab *ret, char *err, size_t errn)
{
        struct vocab v = { 0 };
        struct json_fault bad;
        char *text = NULL;
        size_t n;
        int rc = file_read(path, VOCAB_FILE_MAX, &text, &n, err, errn);

        if (rc)
                return rc;
        v.doc = json_parse((struct str){ text, n }, 8, &bad);
        mem_free(text);
        if (!v.doc) {
                snprintf(err, errn, "%s: %s", path, bad.msg);
                return -EINVAL;
        }
        rc = read_doc(&v);
        if (rc) {
                snprintf(err, errn, "%s: not a vocabulary file", path);
                vocab_release(&v);
                return rc;
        }
        *ret = v;
        return 0;
}

static json_t *strings_json(const struct str *v, size_t n)
{
        json_t *array = json_array();
        for (size_t i = 0; array && i < n; i++) {
                if (json_array_append_new(array, json_strn(v[i]))) {
                        json_decref(array);
                        return NULL;
                }
        }
        return array;
}

int vocab_save(const char *path, const struct tok_spec *spec, char *err, size_t errn)
{
        json_t *doc = json_object(), *types = json_array();
        struct buf text;
        int rc = 0;

        buf_init(&text, VOCAB_FILE_MAX);
        for (size_t i = 0; i < spec->n_vocab; i++)
                rc |= json_array_append_new(types, json_integer(spec->types ? spec->types[i] : TOK_NORMAL));
        rc |= json_put(doc, "pre", json_strn(spec->pre));
        rc |= json_put(doc, "bos", json_integer(spec->bos));
        rc |= json_put(doc, "eos", json_integer(spec->eos));
        rc |= json_put(doc, "eot", json_integer(spec->eot));
        rc |= json_put(doc, "unk", json_integer(spec->unk));
        rc |= json_put(doc, "add_bos", json_boolean(spec->add_bos));
        rc |= json_put(doc, "types", types);
        rc |= json_put(doc, "tokens", strings_json(spec->tokens, spec->n_vocab));
        rc |= json_put(doc, "merges", strings_json(spec->merges, spec->n_merges));
        if (!rc)
                rc = json_write(doc, &text);
        if (rc) {
                rc = -ENOMEM;
                fault(err, errn, path, rc);
        } else {
                rc = file_write(path, text.p, text.n, err, errn);
        }
        buf_release(&text);
        json_decref(doc);
        return rc;
}

void vocab_release(struct vocab *v)
{
        json_decref(v->doc);
        mem_free(v->strings);
        mem_free(v->types);
        *v = (struct vocab){ 0 };
}

int vocab_tokenizer(const char *path, struct tokenizer **ret, char *err, size_t errn)
{
        struct vocab v;
        int rc = vocab_load(path, &v, err, errn);
        if (rc)
                return rc;
        rc = tokenizer_new(&v.spec, ret, err, errn);
        vocab_release(&v);
        return rc;
}
