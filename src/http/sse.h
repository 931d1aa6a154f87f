/* Server-sent events (WHATWG HTML, section 9.2): the frames of an event stream. */
#ifndef CAIRN_HTTP_SSE_H
#define CAIRN_HTTP_SSE_H

#include "base/buf.h"
#include "base/str.h"

/* The Content-Type of an event stream. */
#define SSE_CONTENT_TYPE "text/event-stream; charset=utf-8"

/* Appends one frame: "event: E\ndata: ...\n\n"; without the first line when event is NULL. Line breaks in
 * data become several data lines, which the reader joins again with LF. Errors are the buffer's. */
void sse_frame(struct buf *b, const char *event, struct str data);
/* Appends ": text\n\n", which readers ignore. text has no line break. */
void sse_comment(struct buf *b, const char *text);
#endif
