/* The wording of schema errors. Private to this folder. */
#ifndef CAIRN_CONTRACT_WORDS_H
#define CAIRN_CONTRACT_WORDS_H

#include "contract/tables.h"

/* Where a value stands: a chain to the root, whose `up` is NULL. A frame is a field or, without a name, an
 * array element. */
struct at {
        const struct at *up;
        const char *name;
        size_t index;
        int depth;
};

/* "Invalid 'path': " and the text. */
void word_invalid(struct schema_err *err, const struct at *at, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
void word_unknown(struct schema_err *err, const struct at *at);
void word_missing(struct schema_err *err, const struct at *at);
/* "expected an array of objects, but got a string instead" */
void word_type_error(struct schema_err *err, const struct at *at, const struct schema *s, const json_t *got);
/* "Supported values are: ...": of an enumeration, or of the tags of a union. */
void word_enum_error(struct schema_err *err, const struct at *at, const struct schema *s, const json_t *got);
void word_tag_error(struct schema_err *err, const struct at *at, const struct schema *s, const json_t *got);
#endif
