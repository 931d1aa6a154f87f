/* The parts of a grammar under construction. Internal to this folder. */
#ifndef CAIRN_GRAMMAR_BUILD_H
#define CAIRN_GRAMMAR_BUILD_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "grammar/charset.h"
#include "grammar/fa.h"
#include "grammar/grammar.h"
#include "grammar/work.h"

enum gr_kind {
        GR_EMPTY,
        GR_BYTES,
        GR_CHARS,
        GR_TOKEN,
        GR_SEQ,
        GR_ALT,
        GR_REPEAT,
        GR_RULE, /* defined once by grammar_define */
        GR_FA,   /* an automaton over characters */
};

struct gr_node {
        enum gr_kind kind;
        enum gr_coding coding; /* CHARS, FA */
        uint32_t uses;
        uint32_t cost;  /* about how many states it takes */
        uint32_t depth; /* of parts within parts, recursion through rules not counted */
        union {
                struct str bytes;
                struct {
                        const struct fa_range *r;
                        size_t n;
                } chars;
                int32_t token;
                struct {
                        gnode *p;
                        size_t n;
                } kids;
                struct {
                        gnode part;
                        int min, max;
                } repeat;
                gnode defined; /* RULE: -1 while it is not */
                const struct fa *fa;
        } u;
};

struct grammar_builder {
        struct arena *arena; /* holds whatever the nodes point to */
        struct VEC(struct gr_node) nodes;
        struct gr_work work;
        size_t max_bytes;
        int err;                /* sticky: the first that was met */
        gnode json_parts[2][8]; /* parts that schemas share, by white space style; 0: not made yet */
};

/* Notes and returns the error. */
int gr_fail(struct grammar_builder *b, int err);
/* For the end of a function that makes a whole of a schema or the like: when that is what is wrong, the
 * builder stays usable, and the caller can put something else in its place. Returns the part. */
gnode gr_settle(struct grammar_builder *b, gnode part);
/* Memory that lives as long as the builder; NULL notes -E2BIG or -ENOMEM. */
void *gr_alloc(struct grammar_builder *b, size_t size);
struct str gr_strdup(struct grammar_builder *b, struct str s);
/* Stores a node whose content is complete. */
gnode gr_add(struct grammar_builder *b, struct gr_node node);
/* One character of a set, which is copied; an empty set matches nothing. */
gnode gr_chars(struct grammar_builder *b, const struct charset *set, enum gr_coding coding);
/* Texts that a deterministic automaton over characters accepts; takes it over, even on failure. */
gnode gr_fa(struct grammar_builder *b, struct fa *a, enum gr_coding coding);
/* A text character by character: JSON may write them differently. */
gnode gr_text(struct grammar_builder *b, struct str text, enum gr_coding coding);
/* What nothing matches. */
gnode gr_nothing(struct grammar_builder *b);
/* A part that is compiled once, however often it is used. */
gnode gr_shared(struct grammar_builder *b, gnode part);
static inline gnode gr_optional(struct grammar_builder *b, gnode part)
{
        return grammar_repeat(b, part, 0, 1);
}
#define GR_SEQ_OF(b, ...)                                \
        grammar_seq((b), (const gnode[]){ __VA_ARGS__ }, \
                    sizeof((const gnode[]){ __VA_ARGS__ }) / sizeof(gnode))
#define GR_ALT_OF(b, ...)                                \
        grammar_alt((b), (const gnode[]){ __VA_ARGS__ }, \
                    sizeof((const gnode[]){ __VA_ARGS__ }) / sizeof(gnode))
/* Fills err (may be NULL). */
void gr_error(struct grammar_err *err, const char *path, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
#endif
