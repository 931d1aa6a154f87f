/* cairn-train classifier: labelled sentences -> a model file of src/classify, and a table of how good it is.
 *
 * Data are JSON lines {"text": "...", "labels": ["a", ...]}; the labels' names and order are those of
 * --labels. Independent logistic regressions, AdaGrad (Duchi et al. 2011), one pass over shuffled data an
 * epoch. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/vec.h"
#include "classify/classify.h"
#include "train/args.h"
#include "train/commands.h"

#define LINE_MAX_BYTES 65536
#define EXAMPLES_MAX 1000000
#define EPSILON 1e-6f

struct example {
        uint32_t labels; /* bit by label */
        uint32_t n;
        uint32_t *features;
};

struct set {
        struct VEC(struct example) rows;
};

struct model {
        int n_labels, bits;
        const char *names[CLASSIFY_LABELS_MAX];
        float bias[CLASSIFY_LABELS_MAX], bias_squares[CLASSIFY_LABELS_MAX], threshold[CLASSIFY_LABELS_MAX];
        float *weights, *squares;
};

static int label_bits(const struct model *m, const json_t *labels, uint32_t *ret)
{
        size_t i;
        json_t *v;
        *ret = 0;
        json_array_foreach(labels, i, v)
        {
                int l = 0;
                while (l < m->n_labels && !str_eqc(json_as_str(v), m->names[l]))
                        l++;
                if (l == m->n_labels)
                        return -EINVAL;
                *ret |= 1u << l;
        }
        return 0;
}

static int read_line(const struct model *m, struct str line, struct set *set)
{
        uint32_t features[CLASSIFY_FEATURES_MAX];
        struct json_fault fault;
        struct example e = { 0 };
        json_t *v = json_parse(line, 4, &fault);
        int rc = v ? label_bits(m, json_get(v, "labels"), &e.labels) : -EINVAL;
        if (rc == 0) {
                e.n = (uint32_t)classify_features(json_str(v, "text"), m->bits, features);
                e.features = mem_alloc(e.n * sizeof(*features) + 1);
                rc = e.features ? vec_push(&set->rows, e) : -ENOMEM;
        }
        if (rc == 0)
                memcpy(e.features, features, e.n * sizeof(*features));
        json_decref(v);
        return rc;
}

static int read_set(const struct model *m, const char *path, struct set *set)
{
        char line[LINE_MAX_BYTES];
        FILE *f = fopen(path, "r");
        int rc = f ? 0 : -errno;
        for (size_t n = 1; rc == 0 && set->rows.n < EXAMPLES_MAX && fgets(line, sizeof(line), f); n++) {
                rc = read_line(m, str_trim(str_c(line)), set);
                if (rc)
                        fprintf(stderr, "classifier: %s:%zu: not a labelled text\n", path, n);
        }
        if (f)
                fclose(f);
        else
                fprintf(stderr, "classifier: %s: %s\n", path, strerror(-rc));
        return rc;
}

static void set_release(struct set *set)
{
        for (size_t i = 0; i < set->rows.n; i++)
                mem_free(set->rows.p[i].features);
        vec_release(&set->rows);
}

/* Log-odds of each label. */
static void forward(const struct model *m, const struct example *e, float *z)
{
        float value = e->n ? 1 / sqrtf((float)e->n) : 0;
        for (int l = 0; l < m->n_labels; l++)
                z[l] = 0;
        for (uint32_t i = 0; i < e->n; i++) {
                const float *w = m->weights + (size_t)e->features[i] * (size_t)m->n_labels;
                for (int l = 0; l < m->n_labels; l++)
                        z[l] += w[l];
        }
        for (int l = 0; l < m->n_labels; l++)
                z[l] = m->bias[l] + z[l] * value;
}

static void learn(struct model *m, const struct example *e, float rate, float decay)
{
        float z[CLASSIFY_LABELS_MAX], g[CLASSIFY_LABELS_MAX], value = e->n ? 1 / sqrtf((float)e->n) : 0;
        forward(m, e, z);
        for (int l = 0; l < m->n_labels; l++) {
                g[l] = 1 / (1 + expf(-z[l])) - (float)(e->labels >> l & 1);
                m->bias_squares[l] += g[l] * g[l];
                m->bias[l] -= rate * g[l] / sqrtf(m->bias_squares[l] + EPSILON);
        }
        for (uint32_t i = 0; i < e->n; i++) {
                size_t at = (size_t)e->features[i] * (size_t)m->n_labels;
                for (int l = 0; l < m->n_labels; l++) {
                        float grad = g[l] * value + decay * m->weights[at + (size_t)l];
                        float *square = &m->squares[at + (size_t)l];
                        *square += grad * grad;
                        m->weights[at + (size_t)l] -= rate * grad / sqrtf(*square + EPSILON);
                }
        }
}

static void shuffle(struct set *set, struct rng *rng)
{
        for (size_t i = set->rows.n; i > 1; i--) {
                size_t j = (size_t)rng_below(rng, i);
                struct example e = set->rows.p[i - 1];
                set->rows.p[i - 1] = set->rows.p[j];
                set->rows.p[j] = e;
        }
}

struct counts {
        size_t right, wrong, missed; /* flagged and so labelled; flagged and not; labelled and not flagged */
};

static void examine(const struct model *m, const struct set *set)
{
        struct counts counts[CLASSIFY_LABELS_MAX] = { { 0 } };
        size_t clean = 0, alarms = 0;
        for (size_t i = 0; i < set->rows.n; i++) {
                const struct example *e = &set->rows.p[i];
                float z[CLASSIFY_LABELS_MAX];
                bool any = false;
                forward(m, e, z);
                for (int l = 0; l < m->n_labels; l++) {
                        bool flagged = 1 / (1 + expf(-z[l])) >= m->threshold[l], is = e->labels >> l & 1;
                        counts[l].right += flagged && is;
                        counts[l].wrong += flagged && !is;
                        counts[l].missed += !flagged && is;
                        any |= flagged;
                }
                clean += !e->labels;
                alarms += !e->labels && any;
        }
        printf("%-24s %8s %10s %8s\n", "label", "texts", "precision", "recall");
        for (int l = 0; l < m->n_labels; l++) {
                const struct counts *c = &counts[l];
                printf("%-24s %8zu %10.3f %8.3f\n", m->names[l], c->right + c->missed,
                       (double)c->right / (double)(c->right + c->wrong + (c->right + c->wrong == 0)),
                       (double)c->right / (double)(c->right + c->missed + (c->right + c->missed == 0)));
        }
        printf("harmless texts flagged   %8zu of %zu (%.3f)\n", alarms, clean,
               (double)alarms / (double)(clean ? clean : 1));
}

static void split_labels(struct model *m, char *labels, double threshold)
{
        for (char *name = labels; name && m->n_labels < CLASSIFY_LABELS_MAX;) {
                char *comma = strchr(name, ',');
                if (comma)
                        *comma++ = '\0';
                m->threshold[m->n_labels] = (float)threshold;
                m->names[m->n_labels++] = name;
                name = comma;
        }
}

static int train(struct model *m, struct set *set, long epochs, double rate, double decay, long seed)
{
        struct rng rng;
        size_t n = ((size_t)1 << m->bits) * (size_t)m->n_labels;
        m->weights = mem_calloc(n, sizeof(*m->weights));
        m->squares = mem_calloc(n, sizeof(*m->squares));
        if (!m->weights || !m->squares)
                return -ENOMEM;
        rng_seed(&rng, (uint64_t)seed);
        for (long epoch = 0; epoch < epochs; epoch++) {
                shuffle(set, &rng);
                for (size_t i = 0; i < set->rows.n; i++)
                        learn(m, &set->rows.p[i], (float)rate, (float)decay);
                printf("epoch %ld of %ld\n", epoch + 1, epochs);
                fflush(stdout);
        }
        return 0;
}

int cmd_classifier(int argc, char **argv)
{
        const char *data = NULL, *heldout = NULL, *out = NULL, *labels = NULL;
        long epochs = 6, seed = 1, bits = 16;
        double rate = 0.1, decay = 0, threshold = 0.4;
        const struct arg table[] = {
                { "data", ARG_TEXT, &data, true, "labelled texts, JSON lines" },
                { "heldout", ARG_TEXT, &heldout, true, "those that the table is made of" },
                { "labels", ARG_TEXT, &labels, true, "names, separated by commas" },
                { "out", ARG_TEXT, &out, true, "model file to write" },
                { "bits", ARG_INT, &bits, false, "2^bits buckets (16)" },
                { "epochs", ARG_INT, &epochs, false, "passes over the data (6)" },
                { "rate", ARG_REAL, &rate, false, "learning rate (0.1)" },
                { "decay", ARG_REAL, &decay, false, "weight decay (0)" },
                { "threshold", ARG_REAL, &threshold, false, "score from which a text has a label (0.4)" },
                { "seed", ARG_INT, &seed, false, "order of the data (1)" },
        };
        const size_t n = sizeof(table) / sizeof(*table);
        char err[256];
        struct set set = { { 0 } }, held = { { 0 } };
        struct model m = { 0 };
        if (!argc) {
                args_print(table, n);
                return 1;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (rc == 0 && (bits < 8 || bits > 20))
                rc = -EINVAL, snprintf(err, sizeof(err), "--bits is 8 to 20");
        if (rc) {
                fprintf(stderr, "classifier: %s\n", err);
                return 1;
        }
        char *names = mem_strdup(labels);
        m.bits = (int)bits;
        split_labels(&m, names, threshold);
        rc = names ? read_set(&m, data, &set) : -ENOMEM;
        if (rc == 0)
                rc = read_set(&m, heldout, &held);
        if (rc == 0)
                rc = train(&m, &set, epochs, rate, decay, seed);
        if (rc == 0) {
                struct classifier_image image = {
                        m.n_labels, m.bits, m.names, m.bias, m.threshold, m.weights
                };
                rc = classifier_write(out, &image);
                examine(&m, &held);
        }
        if (rc)
                fprintf(stderr, "classifier: %s\n", strerror(-rc));
        set_release(&set);
        set_release(&held);
        mem_free(m.weights);
        mem_free(m.squares);
        mem_free(names);
        return rc ? 1 : 0;
}
