/* What is read from the store, in memory: rows, pages, jobs and usage records, each in one block. */
#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "store/store_internal.h"

#define USAGE_WORDS_MAX (256u << 20) /* words of all records of one answer */

/* ---- filling a block ---- */

size_t block_string_size(const char *s)
{
        return s ? strlen(s) + 1 : 0;
}

const char *block_string(char **at, const char *s)
{
        if (!s)
                return NULL;
        size_t size = strlen(s) + 1;
        char *copy = memcpy(*at, s, size);
        *at += size;
        return copy;
}

struct str block_bytes(char **at, struct str s)
{
        char *copy = *at;
        if (s.n)
                memcpy(copy, s.p, s.n);
        copy[s.n] = '\0';
        *at += s.n + 1;
        return (struct str){ copy, s.n };
}

/* ---- rows and pages ---- */

int object_fill(struct object *ret, const struct object *from)
{
        size_t size = block_string_size(from->kind) + block_string_size(from->id) +
                      block_string_size(from->project) + block_string_size(from->parent) + from->doc.n + 1;
        for (int i = 0; i < STORE_FILTERS; i++)
                size += block_string_size(from->f[i]);
        char *at = mem_alloc(size);
        memset(ret, 0, sizeof(*ret));
        if (!at)
                return -ENOMEM;
        *ret = *from;
        ret->_mem = at;
        ret->kind = block_string(&at, from->kind);
        ret->id = block_string(&at, from->id);
        ret->project = block_string(&at, from->project);
        ret->parent = block_string(&at, from->parent);
        for (int i = 0; i < STORE_FILTERS; i++)
                ret->f[i] = block_string(&at, from->f[i]);
        ret->doc = block_bytes(&at, from->doc);
        return 0;
}

void object_release(struct object *o)
{
        mem_free(o->_mem);
        memset(o, 0, sizeof(*o));
}

void store_page_release(struct store_page *p)
{
        for (size_t i = 0; i < p->n; i++)
                object_release(&p->items[i]);
        mem_free(p->items);
        memset(p, 0, sizeof(*p));
}

/* ---- jobs ---- */

int job_fill(struct job *ret, const struct job *from)
{
        char *at = mem_alloc(block_string_size(from->kind) + block_string_size(from->id) +
                             block_string_size(from->project) + from->payload.n + 1);
        memset(ret, 0, sizeof(*ret));
        if (!at)
                return -ENOMEM;
        *ret = *from;
        ret->_mem = at;
        ret->kind = block_string(&at, from->kind);
        ret->id = block_string(&at, from->id);
        ret->project = block_string(&at, from->project);
        ret->payload = block_bytes(&at, from->payload);
        return 0;
}

void job_release(struct job *j)
{
        mem_free(j->_mem);
        memset(j, 0, sizeof(*j));
}

/* ---- usage records ---- */

/* The words of a record in the order in which the list keeps them, one behind the other. */
static const char **usage_word(struct store_usage *u, int i)
{
        const char **words[] = { &u->id, &u->what, &u->project, &u->user, &u->key, &u->model, &u->tier };
        return words[i];
}

void usage_list_init(struct usage_list *l)
{
        memset(l, 0, sizeof(*l));
        buf_init(&l->words, USAGE_WORDS_MAX);
}

int usage_list_add(struct usage_list *l, const struct store_usage *u)
{
        struct store_usage copy = *u;
        for (int i = 0; i < USAGE_WORDS; i++) {
                const char *word = *usage_word(&copy, i);
                buf_add(&l->words, word ? word : "", word ? strlen(word) + 1 : 1);
        }
        int rc = buf_error(&l->words);
        return rc ? rc : (vec_push(&l->items, copy) ? -ENOMEM : 0);
}

int usage_list_take(struct usage_list *l, struct store_usage **ret, size_t *ret_n)
{
        size_t head = l->items.n * sizeof(struct store_usage);
        struct store_usage *all = mem_alloc(head + l->words.n);
        if (!all)
                return -ENOMEM;
        char *at = (char *)all + head;
        if (l->items.n) {
                memcpy(all, l->items.p, head);
                memcpy(at, l->words.p, l->words.n);
        }
        for (size_t k = 0; k < l->items.n; k++) {
                for (int i = 0; i < USAGE_WORDS; i++) {
                        *usage_word(&all[k], i) = at;
                        at += strlen(at) + 1;
                }
        }
        *ret = all;
        *ret_n = l->items.n;
        usage_list_release(l);
        return 0;
}

void usage_list_release(struct usage_list *l)
{
        vec_release(&l->items);
        buf_release(&l->words);
}

/* ---- copies of records, for writes that do not wait ---- */

size_t usage_words_size(const struct store_usage *u)
{
        struct store_usage copy = *u;
        size_t size = 0;
        for (int i = 0; i < USAGE_WORDS; i++)
                size += block_string_size(*usage_word(&copy, i));
        return size;
}

void usage_place(struct store_usage *to, const struct store_usage *from, char **at)
{
        *to = *from;
        for (int i = 0; i < USAGE_WORDS; i++) {
                const char **word = usage_word(to, i);
                *word = block_string(at, *word);
        }
}

bool usage_words_ok(const struct store_usage *u)
{
        struct store_usage copy = *u;
        for (int i = 0; i < USAGE_WORDS; i++) {
                if (!store_word_ok(*usage_word(&copy, i), i == 0))
                        return false;
        }
        return true;
}
