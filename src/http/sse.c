#include "http/sse.h"

#include <string.h>

/* Appends data as "data: " lines; LF, CR and CRLF each end one. */
static void data_lines(struct buf *b, struct str data)
{
        for (;;) {
                size_t n = 0;
                while (n < data.n && data.p[n] != '\n' && data.p[n] != '\r')
                        n++;
                buf_add(b, "data: ", 6);
                buf_add(b, data.p, n);
                buf_addc(b, '\n');
                if (n == data.n)
                        return;
                n += data.p[n] == '\r' && n + 1 < data.n && data.p[n + 1] == '\n' ? 2 : 1;
                data = (struct str){ data.p + n, data.n - n };
        }
}

void sse_frame(struct buf *b, const char *event, struct str data)
{
        if (event) {
                buf_adds(b, "event: ");
                buf_adds(b, event);
                buf_addc(b, '\n');
        }
        data_lines(b, data);
        buf_addc(b, '\n');
}

void sse_comment(struct buf *b, const char *text)
{
        buf_adds(b, ": ");
        buf_adds(b, text);
        buf_adds(b, "\n\n");
}
