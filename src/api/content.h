/* Replies that are the content of a file: ranges (RFC 9110, section 14), HEAD, constant memory. */
#ifndef CAIRN_API_CONTENT_H
#define CAIRN_API_CONTENT_H

#include "api/req.h"

struct file;

/* Answers with the file's bytes, those that the header Range asks for; takes over `f`. The first bytes are
 * read before the reply begins, so that damage there is an error; damage found later cuts the connection.
 * Returns what a handler returns. */
int content_reply(struct req *r, struct file *f, struct reply *ret, struct api_err *reterr);

/* What "Range: bytes=..." selects of `size` bytes. 1: [*ret_from, *ret_to); 0: everything (no range, several,
 * or malformed: they are ignored); -1: nothing. */
int content_range(struct str range, uint64_t size, uint64_t *ret_from, uint64_t *ret_to);
/* "attachment; filename=..." of any UTF-8 name (RFC 6266, RFC 8187). */
void content_disposition(struct buf *out, const char *filename);
#endif
