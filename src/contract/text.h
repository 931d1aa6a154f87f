/* Percent-decoding, shared by paths and queries. Private to this folder. */
#ifndef CAIRN_CONTRACT_TEXT_H
#define CAIRN_CONTRACT_TEXT_H

#include <stdbool.h>
#include "base/str.h"

/* Decodes s into out (s.n + 1 bytes suffice) and ends it with a NUL. '+' becomes a space when plus is set.
 * False for a broken %-escape, a NUL or invalid UTF-8. */
bool text_decode(struct str s, bool plus, char *out, size_t *ret_n);
/* True when media type `have`, parameters aside, is `want`, which may be "type" followed by a star. */
bool text_media_is(const char *have, const char *want);
#endif
