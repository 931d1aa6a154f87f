/* A streaming parser of multipart/form-data (RFC 7578, RFC 2046 section 5.1): bytes are pushed in pieces of
 * any size, parts come out through a sink, memory stays constant and time linear. */
#ifndef CAIRN_HTTP_MULTIPART_H
#define CAIRN_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct multipart;

/* One part's headers. Strings are NUL-terminated and live until the sink's part_begin returns. */
struct multipart_part {
        struct str name;         /* decoded; {NULL, 0} when the part has none */
        struct str filename;     /* decoded, filename* preferred; {NULL, 0} when absent: then it is a field */
        struct str content_type; /* as sent; {NULL, 0} when absent */
};

/* Each returns 0, or a negative errno that multipart_feed hands to its caller. Any may be NULL. */
struct multipart_sink {
        int (*part_begin)(void *ctx, const struct multipart_part *part);
        int (*part_data)(void *ctx, struct str piece); /* never empty */
        int (*part_end)(void *ctx);
};

/* A 0 means the default. */
struct multipart_limits {
        size_t max_parts;        /* 1000 */
        size_t max_header_bytes; /* of one part: 8192 */
        size_t max_name_bytes;   /* of a decoded name or filename: 1024 */
};

/* The boundary parameter of a Content-Type, 1 to 70 characters, quoted or not. `out` has 71 bytes. 0, or
 * -EINVAL with the reason in err when the type is not multipart/form-data or the boundary is missing or
 * malformed. */
int multipart_boundary(struct str content_type, char *out, char *err, size_t errn);
/* Whether a Content-Type names multipart/form-data, well formed or not. */
bool multipart_is_form(struct str content_type);

/* NULL when memory is out. `sink` is copied, `limits` may be NULL. */
struct multipart *multipart_new(const char *boundary, const struct multipart_limits *limits,
                                const struct multipart_sink *sink, void *ctx);
void multipart_free(struct multipart *m); /* accepts NULL */
/* Takes the next bytes. 0; -EBADMSG when malformed; -E2BIG when over a limit; else what the sink returned.
 * The error is sticky. */
int multipart_feed(struct multipart *m, struct str piece);
/* After the last byte: 0, or -EBADMSG when the closing boundary has not come, or the sticky error. */
int multipart_finish(struct multipart *m);
/* What was wrong, one sentence; "" without an error of the parser's own. */
const char *multipart_message(const struct multipart *m);
#endif
