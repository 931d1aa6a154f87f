/* A small multi-label text classifier: logistic regression over hashed n-grams of words and letters
 * (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning"; Joulin et al. 2016, "Bag of
 * Tricks").
 *
 * A text is judged in windows of one and of two sentences; a label's score is its highest, so that one
 * sentence of a long text counts as it would alone. The model is a file of 8-bit weights made by `cairn-train
 * classifier`.
 *
 * A classifier is immutable once opened: any thread. */
#ifndef CAIRN_CLASSIFY_CLASSIFY_H
#define CAIRN_CLASSIFY_CLASSIFY_H

#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct classifier;

#define CLASSIFY_LABELS_MAX 32
#define CLASSIFY_NAME_MAX 48

/* Reads a model file, at most 64 MiB. 0, or a negative errno with a sentence in err: -EINVAL when it is no
 * such file. */
int classifier_open(const char *path, struct classifier **ret, char *err, size_t errn);
void classifier_close(struct classifier *c); /* accepts NULL */
int classifier_labels(const struct classifier *c);
const char *classifier_label(const struct classifier *c, int label);
/* From this score on a text has the label. */
float classifier_threshold(const struct classifier *c, int label);
/* The probability of each label, classifier_labels() of them in ret. Linear in the length of the text. */
void classifier_score(const struct classifier *c, struct str text, float *ret);

/* ---- what the trainer shares ---- */

#define CLASSIFY_FEATURES_MAX 2048 /* of one window; the rest is not looked at */

/* The distinct features of a window as buckets below 1 << bits; how many. Each weighs 1 / sqrt of that. */
size_t classify_features(struct str window, int bits, uint32_t ret[CLASSIFY_FEATURES_MAX]);

/* A model to be written: weights[bucket * n_labels + label]. */
struct classifier_image {
        int n_labels, bits;
        const char *const *names;
        const float *bias, *threshold, *weights;
};
/* Writes the file with the weights rounded to 8 bits, a scale for each label. 0 or a negative errno. */
int classifier_write(const char *path, const struct classifier_image *image);
#endif
