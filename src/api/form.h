/* Multipart request bodies: fields are kept in memory, files go to the blob store as they arrive, in constant
 * memory; then both become one JSON body that is validated like any other. A file is
 * {"$file": index, "filename", "content_type", "bytes", "sha256"} there. */
#ifndef CAIRN_API_FORM_H
#define CAIRN_API_FORM_H

#include "api/req.h"

struct blob_writer;
struct form;

/* Whether the body of this request is to be read as a form. */
bool form_wanted(const struct req *r);
/* Sets the reading up, in on_headers. 0 or -1. What arrives that cannot be taken is answered there and then:
 * 413 for a file over its limit, 503 when the disk is full. I/O thread. */
int form_expect(struct req *r, struct api_err *reterr);
/* The validated r->body of what was read. 0 or -1. */
int form_body(struct req *r, struct api_err *reterr);
/* Takes the file that a value of the body stands for; NULL when it is none, or was taken. The caller commits
 * or aborts it; what nobody takes is removed with the request. */
struct blob_writer *form_take(struct req *r, const json_t *file);
/* 400: the operation wants a form, and something else was sent. */
int form_refuse(const struct req *r, struct api_err *reterr);
#endif
