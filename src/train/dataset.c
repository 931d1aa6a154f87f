#include "train/dataset.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "train/vocab.h"

#define DATA_FILE_MAX (2ull << 30)

/* Growing a document token by token. */
struct writer {
        const struct tokenizer *t;
        struct tok_ids ids;
        uint8_t *counts;
        size_t counts_cap;
        int32_t im_start, im_end;
};

/* Makes room for a mark beside each token. */
static int grow_counts(struct writer *w)
{
        if (w->counts_cap < w->ids.cap) {
                uint8_t *p = mem_realloc(w->counts, w->ids.cap, 1);
                if (!p)
                        return -ENOMEM;
                memset(p + w->counts_cap, 0, w->ids.cap - w->counts_cap);
                w->counts = p;
                w->counts_cap = w->ids.cap;
        }
        return 0;
}

static int put_marked(struct writer *w, struct str text, int flags, bool counts)
{
        size_t from = w->ids.n;
        int rc = tokenizer_encode(w->t, text, flags, &w->ids);
        if (!rc)
                rc = grow_counts(w);
        if (!rc)
                memset(w->counts + from, counts, w->ids.n - from);
        return rc;
}

static int put_text(struct writer *w, struct str text, bool counts)
{
        return put_marked(w, text, 0, counts);
}

static int put_id(struct writer *w, int32_t id, bool counts)
{
        int rc = tok_ids_push(&w->ids, id);
        if (!rc)
                rc = grow_counts(w);
        if (!rc)
                w->counts[w->ids.n - 1] = counts;
        return rc;
}

/* "<|im_start|>" role newline */
static int put_header(struct writer *w, struct str role)
{
        char line[64];
        int n = snprintf(line, sizeof(line), "%.*s\n", (int)(role.n < 40 ? role.n : 40), role.p);
        int rc = put_id(w, w->im_start, false);
        return rc ? rc : put_text(w, (struct str){ line, (size_t)n }, false);
}

static int put_message(struct writer *w, const json_t *message, bool counts)
{
        struct str role = json_str(message, "role"), content = json_str(message, "content");
        if (str_eqc(role, "developer"))
                role = STR("system");
        if (!role.n || !json_is_string(json_get(message, "content")))
                return -EINVAL;
        counts = counts && str_eqc(role, "assistant");
        int rc = put_header(w, role);
        if (!rc)
                rc = put_text(w, content, counts);
        if (!rc)
                rc = put_id(w, w->im_end, counts);
        return rc ? rc : put_text(w, STR("\n"), false);
}

static int put_chat(struct writer *w, const json_t *messages, int flags)
{
        size_t n = json_array_size(messages);
        int rc = n ? 0 : -EINVAL;
        for (size_t i = 0; i < n && !rc; i++) {
                bool counts = !(flags & DATASET_LAST_TURN) || i + 1 == n;
                rc = put_message(w, json_array_get(messages, i), counts);
        }
        return rc;
}

static int writer_init(struct writer *w, const struct tokenizer *t)
{
        *w = (struct writer){ .t = t,
                              .im_start = tokenizer_find(t, STR("<|im_start|>")),
                              .im_end = tokenizer_find(t, STR("<|im_end|>")) };
        return w->im_start < 0 || w->im_end < 0 ? -EINVAL : 0;
}

static void writer_release(struct writer *w)
{
        tok_ids_release(&w->ids);
        mem_free(w->counts);
}

int chat_prompt(const json_t *messages, const struct tokenizer *t, struct tok_ids *out)
{
        struct writer w;
        int rc = writer_init(&w, t);
        w.ids = *out;
        if (!rc)
                rc = put_chat(&w, messages, 0);
        if (!rc)
                rc = put_header(&w, STR("assistant"));
        *out = w.ids;
        mem_free(w.counts);
        return rc;
}

/* A document that its maker has rendered: control tokens are read where they are written in it. */
static int put_segments(struct writer *w, const json_t *segments, int flags)
{
        size_t n = json_array_size(segments);
        int rc = n ? 0 : -EINVAL;
        for (size_t i = 0; i < n && !rc; i++) {
                const json_t *segment = json_array_get(segments, i);
                bool learn = json_is_true(json_get(segment, "learn"));
                if (!json_is_string(json_get(segment, "text")))
                        return -EINVAL;
                if (flags & DATASET_LAST_TURN)
                        learn = learn && i + 1 == n;
                rc = put_marked(w, json_str(segment, "text"), TOK_ENCODE_SPECIAL, learn);
        }
        return rc;
}

static int put_line(struct writer *w, const json_t *line, int flags)
{
        w->ids.n = 0;
        if (json_get(line, "segments"))
                return put_segments(w, json_get(line, "segments"), flags);
        if (json_get(line, "messages"))
                return put_chat(w, json_get(line, "messages"), flags);
        if (!json_is_string(json_get(line, "prompt")) || !json_is_string(json_get(line, "completion")))
                return -EINVAL;
        int rc = put_text(w, json_str(line, "prompt"), false);
        if (!rc)
                rc = put_text(w, json_str(line, "completion"), true);
        return rc ? rc : put_id(w, w->im_end, true);
}

/* --- the data set ----------------------------------------------------------------------------------- */

static int category_index(struct dataset *d, struct str name)
{
        for (int i = 0; i < d->n_categories; i++) {
                if (str_eqc(name, d->categories[i]))
                        return i;
        }
        if (d->n_categories == DATASET_CATEGORIES)
                return -EINVAL;
        d->categories[d->n_categories] = mem_strndup(name.n ? name.p : "none", name.n ? name.n : 4);
        return d->categories[d->n_categories] ? d->n_categories++ : -ENOMEM;
}

static int dataset_append(struct dataset *d, const struct writer *w, int category)
{
        size_t n = w->ids.n;
        if (d->n_tokens + n > d->cap) {
                size_t cap = (d->cap + n) * 2;
                int32_t *tokens = mem_realloc(d->tokens, cap, sizeof(*tokens));
                if (!tokens)
                        return -ENOMEM;
                d->tokens = tokens;
                uint8_t *counts = mem_realloc(d->counts, cap, 1);
                if (!counts)
                        return -ENOMEM;
                d->counts = counts;
                d->cap = cap;
        }
        if (d->n_docs == d->docs_cap) {
                size_t cap = d->docs_cap ? d->docs_cap * 2 : 1024;
                struct document *docs = mem_realloc(d->docs, cap, sizeof(*docs));
                if (!docs)
                        return -ENOMEM;
                d->docs = docs;
                d->docs_cap = cap;
        }
        memcpy(d->tokens + d->n_tokens, w->ids.p, n * sizeof(*d->tokens));
        memcpy(d->counts + d->n_tokens, w->counts, n);
        d->docs[d->n_docs++] = (struct document){ d->n_tokens, (int32_t)n, category };
        d->n_tokens += n;
        return 0;
}

static int load_line(struct dataset *d, struct writer *w, struct str line, int max_len, int flags)
{
        struct json_fault bad;
        json_t *doc = json_parse(line, 16, &bad);
        int rc = doc ? put_line(w, doc, flags) : -EINVAL;
        int category = rc ? 0 : category_index(d, json_str(doc, "category"));

        if (!rc && category < 0)
                rc = category;
        if (!rc && w->ids.n > (size_t)max_len)
                d->n_dropped++;
        else if (!rc && w->ids.n > 1)
                rc = dataset_append(d, w, category);
        json_decref(doc);
        return rc;
}

int dataset_load(struct dataset *d, const char *path, const struct tokenizer *t, int max_len, int flags,
                 char *err, size_t errn)
{
        struct writer w;
        char *text = NULL;
        size_t n = 0, number = 0;
        int rc = writer_init(&w, t);

        *d = (struct dataset){ 0 };
        if (rc) {
                snprintf(err, errn, "the vocabulary has no ChatML tokens");
                return rc;
        }
        rc = file_read(path, DATA_FILE_MAX, &text, &n, err, errn);
        if (rc)
                goto out;
        for (struct str rest = { text, n }; rest.n && !rc;) {
                struct str line = str_split(rest, '\n', &rest);
                number++;
                if (line.n)
                        rc = load_line(d, &w, line, max_len, flags);
        }
        if (rc)
                snprintf(err, errn, "%s: line %zu: %s", path, number, strerror(-rc));
        else if (!d->n_docs)
                snprintf(err, errn, "%s: no documents", path), rc = -EINVAL;
out:
        mem_free(text);
        writer_release(&w);
        if (rc)
                dataset_release(d);
        return rc;
}

void dataset_release(struct dataset *d)
{
        mem_free(d->tokens);
        mem_free(d->counts);
        mem_free(d->docs);
        for (int i = 0; i < d->n_categories; i++)
                mem_free(d->categories[i]);
        *d = (struct dataset){ 0 };
}

/* --- packing ---------------------------------------------------------------------------------------- */

int packed_init(struct packed *p, int max_rows)
{
        size_t n = (size_t)max_rows;
        *p = (struct packed){ .max_rows = max_rows };
        p->tokens = mem_calloc(n, sizeof(int32_t));
        p->pos = mem_calloc(n, sizeof(int32_t));
        p->targets = mem_calloc(n, sizeof(int32_t));
        p->seg = mem_calloc(n + 1, sizeof(int32_t));
        p->doc = mem_calloc(n, sizeof(int32_t));
        p->weights = mem_calloc(n, sizeof(float));
        if (!p->tokens || !p->pos || !p->targets || !p->seg || !p->doc || !p->weights) {
                packed_release(p);
                return -ENOMEM;
        }
        packed_clear(p);
        return 0;
}

void packed_release(struct packed *p)
{
        mem_free(p->tokens);
        mem_free(p->pos);
        mem_free(p->targets);
        mem_free(p->seg);
        mem_free(p->doc);
        mem_free(p->weights);
        *p = (struct packed){ 0 };
}

void packed_clear(struct packed *p)
{
        p->batch = (struct llama_batch){ .tokens = p->tokens,
                                         .pos = p->pos,
                                         .targets = p->targets,
                                         .weights = p->weights,
                                         .seg = p->seg };
        p->seg[0] = 0;
}

bool packed_add(struct packed *p, const struct dataset *d, size_t doc)
{
        const struct document *dc = &d->docs[doc];
        int rows = dc->n - 1, at = p->batch.n_rows; /* the last token predicts nothing */

        if (at + rows > p->max_rows)
                return false;
        for (int i = 0; i < rows; i++) {
                size_t k = dc->at + (size_t)i;
                p->tokens[at + i] = d->tokens[k];
                p->pos[at + i] = i;
                p->targets[at + i] = d->tokens[k + 1];
                p->weights[at + i] = d->counts[k + 1] ? 1.0f : 0.0f;
        }
        p->doc[p->batch.n_seg++] = (int32_t)doc;
        p->batch.n_rows += rows;
        p->seg[p->batch.n_seg] = p->batch.n_rows;
        return true;
}

/* The order of an epoch depends on the seed and its number alone (Fisher and Yates). */
static void shuffle(struct dealer *d)
{
        struct rng rng;
        rng_seed(&rng, d->seed ^ (d->epoch + 1) * 0x9e3779b97f4a7c15u);
        for (size_t i = 0; i < d->data->n_docs; i++)
                d->order[i] = (uint32_t)i;
        for (size_t i = d->data->n_docs; i > 1; i--) {
                size_t j = rng_below(&rng, i);
                uint32_t keep = d->order[i - 1];
                d->order[i - 1] = d->order[j];
                d->order[j] = keep;
        }
}

int dealer_init(struct dealer *d, const struct dataset *data, uint64_t seed, uint64_t epoch, uint64_t next)
{
        *d = (struct dealer){ data, seed, epoch, next, mem_calloc(data->n_docs, sizeof(uint32_t)) };
        if (!d->order)
                return -ENOMEM;
        shuffle(d);
        return 0;
}

void dealer_release(struct dealer *d)
{
        mem_free(d->order);
        *d = (struct dealer){ 0 };
}

void dealer_fill(struct dealer *d, struct packed *p)
{
        packed_clear(p);
        for (;;) {
                if (d->next >= d->data->n_docs) {
                        d->epoch++;
                        d->next = 0;
                        shuffle(d);
                }
                if (!packed_add(p, d->data, d->order[d->next]))
                        return;
                d->next++;
        }
}
