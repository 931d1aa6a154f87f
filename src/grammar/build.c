#include "grammar/build.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

#define DEFAULT_BYTES ((size_t)64 << 20)
#define DEFAULT_STEPS 50000000
#define MAX_DEPTH 1000

struct grammar_builder *grammar_builder_new(const struct grammar_limits *limits)
{
        static const struct grammar_limits none;
        const struct grammar_limits *l = limits ? limits : &none;
        struct grammar_builder *b = mem_calloc(1, sizeof(*b));
        if (!b)
                return NULL;
        b->max_bytes = l->bytes ? l->bytes : DEFAULT_BYTES;
        b->work = (struct gr_work){
                .steps = l->steps ? l->steps : DEFAULT_STEPS,
                .bytes = (int64_t)b->max_bytes,
                .cancel = l->cancel,
                .ctx = l->ctx,
        };
        b->arena = arena_new(b->max_bytes);
        if (!b->arena || vec_push(&b->nodes, ((struct gr_node){ .kind = GR_EMPTY }))) {
                grammar_builder_free(b);
                return NULL;
        }
        return b;
}

void grammar_builder_free(struct grammar_builder *b)
{
        if (!b)
                return;
        arena_free(b->arena);
        vec_release(&b->nodes);
        mem_free(b);
}

void gr_error(struct grammar_err *err, const char *path, const char *fmt, ...)
{
        if (!err)
                return;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        /* A message cut in the middle of a character would not be valid UTF-8. */
        err->msg[str_utf8_complete(str_c(err->msg))] = '\0';
        snprintf(err->path, sizeof(err->path), "%s", path ? path : "");
        err->path[str_utf8_complete(str_c(err->path))] = '\0';
}

int gr_fail(struct grammar_builder *b, int err)
{
        if (!b->err)
                b->err = err;
        return err;
}

void *gr_alloc(struct grammar_builder *b, size_t size)
{
        void *p = arena_alloc(b->arena, size);
        if (!p)
                gr_fail(b, arena_used(b->arena) + size > b->max_bytes ? -E2BIG : -ENOMEM);
        return p;
}

struct str gr_strdup(struct grammar_builder *b, struct str s)
{
        char *p = gr_alloc(b, s.n + 1);
        if (!p)
                return (struct str){ "", 0 };
        if (s.n)
                memcpy(p, s.p, s.n);
        return (struct str){ p, s.n };
}

static uint32_t sum(uint32_t a, uint64_t b)
{
        uint64_t total = a + b;
        return total > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)total;
}

/* Counts a use of a part, and takes its cost and depth into the whole. */
static void use(struct grammar_builder *b, struct gr_node *whole, gnode part, uint64_t times)
{
        struct gr_node *p = &b->nodes.p[part];
        p->uses++;
        if (p->kind != GR_RULE)
                whole->cost = sum(whole->cost, p->cost * times);
        else
                whole->cost = sum(whole->cost, 1);
        if (p->kind != GR_RULE && p->depth + 1 > whole->depth)
                whole->depth = p->depth + 1;
}

gnode gr_add(struct grammar_builder *b, struct gr_node node)
{
        if (b->err)
                return b->err;
        int r = gr_step(&b->work, 1);
        if (!r)
                r = gr_memory(&b->work, sizeof(node));
        if (!r && (node.depth > MAX_DEPTH || b->nodes.n >= INT32_MAX))
                r = -E2BIG;
        if (!r && vec_push(&b->nodes, node))
                r = -ENOMEM;
        return r ? gr_fail(b, r) : (gnode)(b->nodes.n - 1);
}

/* The first error among the parts, or that of the builder; 0 when all is well. */
static int parts_error(struct grammar_builder *b, const gnode *parts, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (parts[i] < 0)
                        return parts[i];
                if ((size_t)parts[i] >= b->nodes.n)
                        return gr_fail(b, -EINVAL);
        }
        return b->err;
}

/* The part, or the error that it or the builder stands for. */
static gnode gr_checked(struct grammar_builder *b, gnode part)
{
        int r = parts_error(b, &part, 1);
        return r ? r : part;
}

gnode gr_settle(struct grammar_builder *b, gnode part)
{
        if (part < 0 && (b->err == -EINVAL || b->err == -E2BIG))
                b->err = 0;
        return part;
}

gnode grammar_empty(struct grammar_builder *b)
{
        return b->err ? b->err : 0;
}

gnode grammar_literal(struct grammar_builder *b, struct str text)
{
        if (!text.n)
                return grammar_empty(b);
        struct str copy = gr_strdup(b, text);
        return gr_add(b, (struct gr_node){ .kind = GR_BYTES, .cost = sum(0, text.n), .u.bytes = copy });
}

gnode grammar_token(struct grammar_builder *b, int32_t id)
{
        if (id < 0)
                return gr_fail(b, -EINVAL);
        return gr_add(b, (struct gr_node){ .kind = GR_TOKEN, .cost = 1, .u.token = id });
}

static gnode add_kids(struct grammar_builder *b, enum gr_kind kind, const gnode *parts, size_t n)
{
        int r = parts_error(b, parts, n);
        if (r)
                return r;
        struct gr_node node = { .kind = kind, .cost = 1 };
        node.u.kids.n = n;
        node.u.kids.p = gr_alloc(b, n * sizeof(gnode));
        if (!node.u.kids.p)
                return b->err;
        if (n)
                memcpy(node.u.kids.p, parts, n * sizeof(gnode));
        for (size_t i = 0; i < n; i++)
                use(b, &node, parts[i], 1);
        return gr_add(b, node);
}

gnode grammar_seq(struct grammar_builder *b, const gnode *parts, size_t n)
{
        if (n == 0)
                return grammar_empty(b);
        if (n == 1)
                return gr_checked(b, parts[0]);
        return add_kids(b, GR_SEQ, parts, n);
}

gnode grammar_alt(struct grammar_builder *b, const gnode *parts, size_t n)
{
        if (n == 0)
                return -EINVAL;
        if (n == 1)
                return gr_checked(b, parts[0]);
        return add_kids(b, GR_ALT, parts, n);
}

gnode gr_nothing(struct grammar_builder *b)
{
        return add_kids(b, GR_ALT, NULL, 0);
}

gnode grammar_repeat(struct grammar_builder *b, gnode part, int min, int max)
{
        int r = parts_error(b, &part, 1);
        if (r)
                return r;
        if (min < 0 || (max >= 0 && max < min))
                return gr_fail(b, -EINVAL);
        if (max == 0)
                return grammar_empty(b);
        if (min == 1 && max == 1)
                return part;
        struct gr_node node = { .kind = GR_REPEAT, .cost = 2 };
        node.u.repeat.part = part;
        node.u.repeat.min = min;
        node.u.repeat.max = max;
        use(b, &node, part, (uint64_t)(max > 1 ? max : min > 1 ? min : 1));
        return gr_add(b, node);
}

gnode grammar_forward(struct grammar_builder *b)
{
        return gr_add(b, (struct gr_node){ .kind = GR_RULE, .u.defined = -1 });
}

void grammar_define(struct grammar_builder *b, gnode forward, gnode part)
{
        gnode both[2] = { forward, part };
        int r = parts_error(b, both, 2);
        if (r) {
                gr_fail(b, r);
                return;
        }
        struct gr_node *node = &b->nodes.p[forward];
        if (node->kind != GR_RULE || node->u.defined >= 0) {
                gr_fail(b, -EINVAL);
                return;
        }
        node->u.defined = part;
        b->nodes.p[part].uses++;
}

gnode gr_shared(struct grammar_builder *b, gnode part)
{
        gnode rule = grammar_forward(b);
        grammar_define(b, rule, part);
        return b->err ? b->err : rule;
}

gnode gr_chars(struct grammar_builder *b, const struct charset *set, enum gr_coding coding)
{
        if (set->failed)
                return gr_fail(b, -ENOMEM);
        if (!set->r.n)
                return gr_nothing(b);
        struct fa_range *copy = gr_alloc(b, set->r.n * sizeof(*copy));
        if (!copy)
                return b->err;
        memcpy(copy, set->r.p, set->r.n * sizeof(*copy));
        bool ascii = set->r.p[set->r.n - 1].hi < 0x80;
        uint32_t each = coding == GR_JSON ? 30 : 3; /* escapes, bytes of longer characters */
        struct gr_node node = { .kind = GR_CHARS, .coding = coding };
        node.cost = sum(1, ascii ? (set->r.n + 1) / 2 : set->r.n * each);
        node.u.chars.r = copy;
        node.u.chars.n = set->r.n;
        return gr_add(b, node);
}

static void drop_fa(void *p)
{
        fa_release(p);
}

gnode gr_fa(struct grammar_builder *b, struct fa *a, enum gr_coding coding)
{
        struct fa *kept = gr_alloc(b, sizeof(*kept));
        if (!kept) {
                fa_release(a);
                return b->err;
        }
        *kept = *a;
        *a = (struct fa){ 0 };
        if (arena_defer(b->arena, drop_fa, kept))
                return gr_fail(b, -ENOMEM);
        size_t edges = kept->n_states ? kept->first[kept->n_states] : 0;
        int r = gr_memory(&b->work, (int64_t)(edges * sizeof(struct fa_edge) + kept->n_states * 5u));
        if (r)
                return gr_fail(b, r);
        struct gr_node node = { .kind = GR_FA, .coding = coding, .cost = sum(1, kept->n_states + edges) };
        node.u.fa = kept;
        return gr_add(b, node);
}

gnode gr_text(struct grammar_builder *b, struct str text, enum gr_coding coding)
{
        struct VEC(gnode) parts = { 0 };
        gnode out = 0;
        if (coding == GR_UTF8)
                return grammar_literal(b, text);
        for (size_t at = 0; at < text.n && out >= 0;) {
                uint32_t point = utf8_next(text.p, text.n, &at);
                struct fa_range one = { point, point };
                if (point == UINT32_MAX) {
                        out = gr_fail(b, -EINVAL);
                        break;
                }
                struct charset set = { .r = { &one, 1, 1 } };
                out = gr_chars(b, &set, coding);
                if (out >= 0 && vec_push(&parts, out))
                        out = gr_fail(b, -ENOMEM);
        }
        if (out >= 0)
                out = grammar_seq(b, parts.p, parts.n);
        vec_release(&parts);
        return out;
}
