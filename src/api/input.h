/* Items that a client sent, with what they refer to: items that are stored, and content that this server
 * sealed for it. */
#ifndef CAIRN_API_INPUT_H
#define CAIRN_API_INPUT_H

#include "api/req.h"

struct input {
        const char *field;     /* the parameter that the items come from: "input", "items" */
        const json_t *value;   /* what the contract has checked: a string, an array, or NULL for none */
        const json_t *earlier; /* items whose ids are taken; NULL: none */
        const json_t *near;    /* items that references look at first; NULL: none */
};

/* Normalises them (items_from_input), appending to `items` and `made`. 404 for a reference to what is not
 * stored; 400 for sealed content that is not ours. */
int input_read(struct req *r, const struct input *in, json_t *items, json_t *made, struct api_err *reterr);

/* Whether the query asks for the sealed form of reasoning (include[]=reasoning.encrypted_content). */
bool input_wants_sealed(const struct req *r);
/* A stored item (borrowed) as the reader asks for it: a new reference, NULL when memory is out. Reasoning has
 * its sealed form when a reader asks for it, whether or not the writer did. */
json_t *input_shown(struct req *r, json_t *item);
/* The same of an array of items: a new array. */
json_t *input_shown_all(struct req *r, const json_t *items);

/* Seals text for the project of the request, to be sent back in an item of the type: NUL-terminated in *ret,
 * mem_free() it. */
int input_seal(struct req *r, const char *type, struct str text, char **ret);
/* The text again: a new string. NULL with *ret_rc: -EINVAL when it is not ours, -ENOMEM. */
json_t *input_unseal(struct req *r, const char *type, struct str sealed, int *ret_rc);
/* 400: the content sealed in `where` could not be verified. */
int input_bad_seal(const char *where, struct api_err *reterr);
#endif
