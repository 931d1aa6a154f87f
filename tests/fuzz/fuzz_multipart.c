/* Whatever the bytes, and however they are cut: the parser's outcome and what it emits are the same as when
 * it gets them at once. Input: one byte of seed for the cuts, one of boundary choice, then the Content-Type's
 * boundary parameter up to the first LF, then the form. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/rand.h"
#include "http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void put(struct buf *b, struct str s)
{
        buf_addc(b, s.p ? '=' : '-');
        buf_add(b, s.p ? s.p : "", s.n);
}

static int begin(void *ctx, const struct multipart_part *part)
{
        buf_addc(ctx, '[');
        put(ctx, part->name);
        put(ctx, part->filename);
        put(ctx, part->content_type);
        return 0;
}

static int data(void *ctx, struct str piece)
{
        if (!piece.n)
                abort();
        buf_add(ctx, piece.p, piece.n);
        return 0;
}

static int end(void *ctx)
{
        buf_addc(ctx, ']');
        return 0;
}

struct outcome {
        int rc;
        struct buf out;
        char message[200];
};

static void parse(struct outcome *o, const char *boundary, struct str form, struct rng *cuts)
{
        static const struct multipart_sink sink = { begin, data, end };
        static const struct multipart_limits limits = { .max_parts = 8,
                                                        .max_header_bytes = 256,
                                                        .max_name_bytes = 32 };
        buf_init(&o->out, 1 << 24);
        struct multipart *m = multipart_new(boundary, &limits, &sink, &o->out);
        if (!m)
                abort();
        o->rc = 0;
        while (form.n && !o->rc) {
                size_t step = cuts ? 1 + (size_t)rng_below(cuts, 8) : form.n;
                step = step < form.n ? step : form.n;
                o->rc = multipart_feed(m, (struct str){ form.p, step });
                form = (struct str){ form.p + step, form.n - step };
        }
        if (!o->rc)
                o->rc = multipart_finish(m);
        snprintf(o->message, sizeof(o->message), "%s", multipart_message(m));
        multipart_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct str type, form, all = { (const char *)bytes + 2, n - 2 };
        char boundary[71] = "b", err[128];
        struct outcome whole, cut;
        struct rng cuts;
        if (n < 2)
                return 0;
        type = str_split(all, '\n', &form);
        if (!form.p || multipart_boundary(type, boundary, err, sizeof(err)))
                form = all; /* keeps the default boundary */
        rng_seed(&cuts, bytes[0] | (uint64_t)bytes[1] << 8);
        parse(&whole, boundary, form, NULL);
        parse(&cut, boundary, form, &cuts);
        if (whole.rc != cut.rc || !str_eq(buf_str(&whole.out), buf_str(&cut.out)) ||
            strcmp(whole.message, cut.message) != 0)
                abort();
        buf_release(&whole.out);
        buf_release(&cut.out);
        return 0;
}
