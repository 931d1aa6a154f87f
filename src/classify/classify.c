/* The model file and the scoring.
 *
 * File, little-endian: "CRNCLS01", u32 labels, u32 bits; for each label char[48] name, f32 bias, f32
 * threshold, f32 scale; then int8 weights[(1 << bits) * labels], bucket by bucket. */
#include "classify/classify.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

#define MAGIC "CRNCLS01"
#define BITS_MIN 8
#define BITS_MAX 20
#define WINDOW_BYTES 1000 /* a sentence without an end is cut here */

struct label {
        char name[CLASSIFY_NAME_MAX];
        float bias, threshold, scale;
};
_Static_assert(sizeof(struct label) == CLASSIFY_NAME_MAX + 12, "labels are read as they lie in the file");

struct classifier {
        uint32_t n_labels, bits;
        struct label labels[CLASSIFY_LABELS_MAX];
        int8_t *weights;
};

/* ---- files ---- */

static bool label_ok(const struct label *l)
{
        return memchr(l->name, 0, sizeof(l->name)) && l->name[0] && isfinite(l->bias) && isfinite(l->scale) &&
               l->threshold > 0 && l->threshold < 1;
}

static int read_model(FILE *f, struct classifier *c)
{
        char magic[sizeof(MAGIC) - 1];
        if (fread(magic, sizeof(magic), 1, f) != 1 || memcmp(magic, MAGIC, sizeof(magic)) ||
            fread(&c->n_labels, 4, 1, f) != 1 || fread(&c->bits, 4, 1, f) != 1 || !c->n_labels ||
            c->n_labels > CLASSIFY_LABELS_MAX || c->bits < BITS_MIN || c->bits > BITS_MAX ||
            fread(c->labels, sizeof(*c->labels), c->n_labels, f) != c->n_labels)
                return -EINVAL;
        for (uint32_t i = 0; i < c->n_labels; i++)
                if (!label_ok(&c->labels[i]))
                        return -EINVAL;
        size_t n = ((size_t)1 << c->bits) * c->n_labels;
        c->weights = mem_alloc(n);
        if (!c->weights)
                return -ENOMEM;
        return fread(c->weights, 1, n, f) == n && fgetc(f) == EOF ? 0 : -EINVAL;
}

int classifier_open(const char *path, struct classifier **ret, char *err, size_t errn)
{
        *ret = NULL;
        struct classifier *c = mem_calloc(1, sizeof(*c));
        FILE *f = c ? fopen(path, "rb") : NULL;
        int rc = !c ? -ENOMEM : !f ? -errno : read_model(f, c);
        if (f)
                fclose(f);
        if (rc) {
                snprintf(err, errn, "%s: %s", path,
                         rc == -EINVAL ? "not a classifier made by cairn-train" : strerror(-rc));
                classifier_close(c);
                return rc;
        }
        *ret = c;
        return 0;
}

void classifier_close(struct classifier *c)
{
        if (!c)
                return;
        mem_free(c->weights);
        mem_free(c);
}

int classifier_write(const char *path, const struct classifier_image *image)
{
        size_t n = (size_t)1 << image->bits;
        uint32_t head[2] = { (uint32_t)image->n_labels, (uint32_t)image->bits };
        struct label labels[CLASSIFY_LABELS_MAX] = { 0 };
        FILE *f = fopen(path, "wb");
        if (!f)
                return -errno;
        for (int l = 0; l < image->n_labels; l++) {
                float most = 0;
                for (size_t b = 0; b < n; b++)
                        most = fmaxf(most, fabsf(image->weights[b * (size_t)image->n_labels + (size_t)l]));
                snprintf(labels[l].name, sizeof(labels[l].name), "%s", image->names[l]);
                labels[l].bias = image->bias[l];
                labels[l].threshold = image->threshold[l];
                labels[l].scale = most / 127;
        }
        fwrite(MAGIC, 1, sizeof(MAGIC) - 1, f);
        fwrite(head, sizeof(head), 1, f);
        fwrite(labels, sizeof(*labels), head[0], f);
        for (size_t i = 0; i < n * head[0]; i++) {
                float scale = labels[i % head[0]].scale;
                fputc((int8_t)(scale > 0 ? lrintf(image->weights[i] / scale) : 0), f);
        }
        int rc = ferror(f) ? -EIO : 0;
        return fclose(f) ? -EIO : rc;
}

int classifier_labels(const struct classifier *c)
{
        return (int)c->n_labels;
}

const char *classifier_label(const struct classifier *c, int label)
{
        return c->labels[label].name;
}

float classifier_threshold(const struct classifier *c, int label)
{
        return c->labels[label].threshold;
}

/* ---- scoring ---- */

static void score_window(const struct classifier *c, struct str window, float *best)
{
        uint32_t features[CLASSIFY_FEATURES_MAX];
        int32_t sums[CLASSIFY_LABELS_MAX] = { 0 };
        size_t n = classify_features(window, (int)c->bits, features);
        if (!n)
                return;
        for (size_t i = 0; i < n; i++) {
                const int8_t *w = c->weights + (size_t)features[i] * c->n_labels;
                for (uint32_t l = 0; l < c->n_labels; l++)
                        sums[l] += w[l];
        }
        for (uint32_t l = 0; l < c->n_labels; l++) {
                float z = c->labels[l].bias + (float)sums[l] * c->labels[l].scale / sqrtf((float)n);
                best[l] = fmaxf(best[l], 1 / (1 + expf(-z)));
        }
}

/* The length of the sentence that `text` begins with, its end marks and spaces included. */
static size_t sentence(struct str text)
{
        size_t n = 0;
        while (n < text.n && n < WINDOW_BYTES && !strchr(".!?\n", text.p[n]))
                n++;
        while (n < text.n && (!text.p[n] || strchr(".!?\n \t\r\"')", text.p[n])))
                n++;
        return n ? n : 1;
}

void classifier_score(const struct classifier *c, struct str text, float *ret)
{
        memset(ret, 0, c->n_labels * sizeof(*ret));
        for (size_t at = 0; at < text.n;) {
                struct str rest = { text.p + at, text.n - at };
                size_t one = sentence(rest);
                score_window(c, (struct str){ rest.p, one }, ret);
                if (one < rest.n)
                        score_window(c,
                                     (struct str){ rest.p, one + sentence((struct str){ rest.p + one,
                                                                                        rest.n - one }) },
                                     ret);
                at += one;
        }
}
