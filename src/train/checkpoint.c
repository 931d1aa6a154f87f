#include "train/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "train/vocab.h"

#define MAGIC "CAIRNCK1"

/* The file: this, then parameters, first and second moments; all little endian float32. */
struct header {
        char magic[8];
        uint32_t size; /* of this header */
        uint32_t reserved;
        uint64_t n; /* floats in each of the three arrays */
        struct llama_shape shape;
        struct run_state state;
};

int checkpoint_save(const char *path, const struct llama_params *p, const float *m, const float *v,
                    const struct run_state *state, char *err, size_t errn)
{
        struct header h = { .size = sizeof(h), .n = p->n, .shape = p->shape, .state = *state };
        size_t part = p->n * sizeof(float);
        char *image = mem_alloc(sizeof(h) + 3 * part);
        int rc;

        if (!image) {
                snprintf(err, errn, "%s: out of memory", path);
                return -ENOMEM;
        }
        memcpy(h.magic, MAGIC, sizeof(h.magic));
        memcpy(image, &h, sizeof(h));
        memcpy(image + sizeof(h), p->data, part);
        memcpy(image + sizeof(h) + part, m, part);
        memcpy(image + sizeof(h) + 2 * part, v, part);
        rc = file_write(path, image, sizeof(h) + 3 * part, err, errn);
        mem_free(image);
        return rc;
}

static float *copy_floats(const char *from, size_t n)
{
        float *p = mem_alloc(n * sizeof(float));
        if (p)
                memcpy(p, from, n * sizeof(float));
        return p;
}

static int unpack(const char *image, size_t n, struct llama_params *p, float **ret_m, float **ret_v,
                  struct run_state *ret_state)
{
        struct header h;
        int rc;

        if (n < sizeof(h))
                return -EINVAL;
        memcpy(&h, image, sizeof(h));
        if (memcmp(h.magic, MAGIC, sizeof(h.magic)) || h.size != sizeof(h) || h.n > n ||
            n != sizeof(h) + 3 * h.n * sizeof(float))
                return -EINVAL;
        rc = llama_params_init(p, &h.shape);
        if (rc)
                return rc;
        if (p->n != h.n)
                return -EINVAL;
        memcpy(p->data, image + sizeof(h), p->n * sizeof(float));
        if (ret_m && !(*ret_m = copy_floats(image + sizeof(h) + p->n * sizeof(float), p->n)))
                return -ENOMEM;
        if (ret_v && !(*ret_v = copy_floats(image + sizeof(h) + 2 * p->n * sizeof(float), p->n)))
                return -ENOMEM;
        *ret_state = h.state;
        return 0;
}

int checkpoint_load(const char *path, struct llama_params *ret, float **ret_m, float **ret_v,
                    struct run_state *ret_state, char *err, size_t errn)
{
        char *image = NULL;
        size_t n;
        int rc = file_read(path, (size_t)8 << 30, &image, &n, err, errn);

        if (rc)
                return rc;
        *ret = (struct llama_params){ 0 };
        if (ret_m)
                *ret_m = NULL;
        if (ret_v)
                *ret_v = NULL;
        rc = unpack(image, n, ret, ret_m, ret_v, ret_state);
        mem_free(image);
        if (!rc)
                return 0;
        snprintf(err, errn, "%s: %s", path,
                 rc == -EINVAL ? "not a checkpoint of this version" : strerror(-rc));
        llama_params_release(ret);
        if (ret_m)
                mem_free(*ret_m), *ret_m = NULL;
        if (ret_v)
                mem_free(*ret_v), *ret_v = NULL;
        return rc;
}
