/* The parts of JSON that do not depend on a schema. Internal to this folder. */
#ifndef CAIRN_GRAMMAR_JSON_PARTS_H
#define CAIRN_GRAMMAR_JSON_PARTS_H

#include "grammar/build.h"

enum json_kind {
        PART_SPACE, /* between tokens: nothing, a space, or a new line with indentation */
        PART_CHAR,  /* one character of a string */
        PART_STRING,
        PART_INTEGER, /* up to 18 digits: what fits 64 bits */
        PART_NUMBER,  /* what a double holds */
        PART_VALUE,
        PART_ARRAY,
        PART_OBJECT,
};

/* Made once a builder; the flags are those of grammar_schema. */
gnode json_part(struct grammar_builder *b, enum json_kind kind, unsigned flags);
/* `open`, members separated by commas, `close`: the first member and the further ones. */
gnode json_list(struct grammar_builder *b, const char *open, gnode first, gnode rest, const char *close,
                unsigned flags);
#endif
