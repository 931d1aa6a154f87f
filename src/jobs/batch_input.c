/* The lines of an input file, read in constant memory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "jobs/batch_internal.h"
#include "jobs/files.h"
#include "store/blob.h"

#define CHUNK ((size_t)256 << 10)

/* Whether there is no input any more is asked of the whole store of blobs too: what is not found in one that
 * is away (not mounted, say) may be there later, and so may a part of it. */
static int failed(struct batch_input *in, int rc)
{
        if (batch_input_lost(rc) && blobs_ping(in->b->all->o.blobs, in->err, sizeof(in->err)))
                rc = -EIO;
        return batch_failed(in->b, rc, in->err);
}

int batch_input_open(struct batch_input *in, struct batch *b)
{
        memset(in, 0, sizeof(*in));
        in->b = b;
        in->max_line = b->all->o.max_line;
        buf_init(&in->buf, in->max_line + 2 * CHUNK);
        int rc = file_open(b->all->o.store, b->all->o.blobs, b->project,
                           json_cstr(b->object, "input_file_id", ""), &in->file, in->err, sizeof(in->err));
        return rc ? failed(in, rc) : 0;
}

void batch_input_close(struct batch_input *in)
{
        file_close(in->file);
        buf_release(&in->buf);
        in->file = NULL;
}

bool batch_input_lost(int rc)
{
        return rc == -ENOENT || rc == -EBADMSG;
}

/* Appends the next piece of the file: its length, 0 at the end. */
static int fill(struct batch_input *in, size_t *ret_n)
{
        buf_consume(&in->buf, in->at);
        in->at = 0;
        char *p = buf_reserve(&in->buf, CHUNK);
        if (!p)
                return buf_error(&in->buf);
        int rc = file_read(in->file, in->offset, p, CHUNK, ret_n, in->err, sizeof(in->err));
        if (rc)
                return failed(in, rc);
        if (in->offset == 0 && *ret_n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) /* a byte order mark */
                in->at = 3;
        in->offset += *ret_n;
        in->buf.n += *ret_n;
        return 0;
}

/* The next line with its end, or what is left at the end of the file. 1, 0 at the end, or an error. */
static int next_raw(struct batch_input *in, struct str *ret)
{
        size_t seen = 0, got = 0;
        for (;;) {
                char *p = in->buf.p + in->at;
                size_t have = in->buf.n - in->at;
                char *end = have > seen ? memchr(p + seen, '\n', have - seen) : NULL;
                if (end) {
                        *ret = (struct str){ p, (size_t)(end - p) };
                        in->at += ret->n + 1;
                        return 1;
                }
                if (have > in->max_line) { /* its rest is skipped piece by piece */
                        in->at = in->buf.n;
                        in->skipping = true;
                        have = 0;
                }
                seen = have;
                int rc = fill(in, &got);
                if (rc)
                        return rc;
                if (!got) {
                        *ret = (struct str){ in->buf.p + in->at, have };
                        in->at += have;
                        return have > 0 || in->skipping;
                }
        }
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r';
}

int batch_input_next(struct batch_input *in, struct str *ret)
{
        for (;;) {
                in->skipping = false;
                int rc = next_raw(in, ret);
                if (rc <= 0)
                        return rc;
                in->number++;
                if (in->skipping || ret->n > in->max_line)
                        return -EMSGSIZE;
                while (ret->n && is_blank(ret->p[ret->n - 1]))
                        ret->n--;
                for (; ret->n && is_blank(*ret->p); ret->n--)
                        ret->p++;
                if (ret->n)
                        return 1;
        }
}
