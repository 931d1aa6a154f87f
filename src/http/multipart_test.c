/* Forms as clients send them, cut into pieces of every size; what is malformed; what is too much. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/multipart.h"

/* The sink writes what it is told as text: "[name|filename|type]content." */
static void put(struct buf *b, struct str s)
{
        if (s.p)
                buf_add(b, s.p, s.n);
        else
                buf_addc(b, '-');
}

static int begin(void *ctx, const struct multipart_part *part)
{
        struct buf *b = ctx;
        buf_addc(b, '[');
        put(b, part->name);
        buf_addc(b, '|');
        put(b, part->filename);
        buf_addc(b, '|');
        put(b, part->content_type);
        buf_addc(b, ']');
        return 0;
}

static int data(void *ctx, struct str piece)
{
        assert_true(piece.n > 0);
        buf_add(ctx, piece.p, piece.n);
        return 0;
}

static int end(void *ctx)
{
        buf_addc(ctx, '.');
        return 0;
}

static const struct multipart_sink sink = { begin, data, end };

/* Parses `form` in pieces of `step` bytes; the outcome and in `out` the transcript. */
static int parse(const char *boundary, struct str form, size_t step, const struct multipart_limits *limits,
                 struct buf *out, char *message, size_t message_n)
{
        struct multipart *m = multipart_new(boundary, limits, &sink, out);
        assert_non_null(m);
        int rc = 0;
        for (size_t i = 0; i < form.n && !rc; i += step)
                rc = multipart_feed(m, (struct str){ form.p + i, form.n - i < step ? form.n - i : step });
        if (!rc)
                rc = multipart_finish(m);
        else
                assert_int_equal(multipart_finish(m), rc); /* sticky */
        snprintf(message, message_n, "%s", multipart_message(m));
        multipart_free(m);
        return rc;
}

static void gives(const char *boundary, const char *form, const char *want)
{
        for (size_t step = 1; step <= strlen(form) + 1; step++) {
                struct buf out;
                char message[200];
                buf_init(&out, 1 << 20);
                int rc = parse(boundary, str_c(form), step, NULL, &out, message, sizeof(message));
                if (rc)
                        fail_msg("step %zu: %d %s", step, rc, message);
                assert_string_equal(out.p ? out.p : "", want);
                buf_release(&out);
        }
}

static void refuses(const char *form, const struct multipart_limits *limits, int want, const char *why)
{
        for (size_t step = 1; step <= strlen(form) + 1; step++) {
                struct buf out;
                char message[200];
                buf_init(&out, 1 << 20);
                assert_int_equal(parse("b", str_c(form), step, limits, &out, message, sizeof(message)), want);
                if (!strstr(message, why))
                        fail_msg("'%s' does not say '%s'", message, why);
                buf_release(&out);
        }
}

#define CD "Content-Disposition: form-data; "

static void parses_forms(void **state)
{
        (void)state;
        gives("xyz",
              "--xyz\r\n" CD "name=\"purpose\"\r\n\r\nassistants\r\n--xyz\r\n" CD
              "name=\"file\"; filename=\"a b.txt\"\r\nContent-Type: text/plain; x=y\r\n\r\nline\r\n--xy\r\n"
              "\r\n--xyz--\r\n",
              "[purpose|-|-]assistants.[file|a b.txt|text/plain; x=y]line\r\n--xy\r\n.");
        gives("b", "--b--", "");
        gives("b", "--b--\r\nepilogue --b\r\n", "");
        gives("b", "preamble\r\n--bogus\r\n--b\r\n" CD "name=x\r\n\r\n\r\n--b--", "[x|-|-].");
        gives("b", "\r\n--b  \t\r\n" CD "name=x\r\n\r\n\r\r\n--b--", "[x|-|-]\r.");
        gives("b", "--b\r\n" CD "name=x\r\n\r\n\r\n--bb\r\n--b-\r\n--b -\r\n--b \r--b\r\n--b--",
              "[x|-|-]\r\n--bb\r\n--b-\r\n--b -\r\n--b \r--b.");
        gives("b", "--b\r\n\r\nno headers\r\n--b--", "[-|-|-]no headers.");
        gives("b", "--b\n" CD "name=x\n\nlf headers\r\n--b--", "[x|-|-]lf headers.");
        gives("'()+_,-./:=?", "--'()+_,-./:=?\r\n" CD "name=x\r\n\r\n1\r\n--'()+_,-./:=?--", "[x|-|-]1.");
}

static void decodes_names(void **state)
{
        (void)state;
        gives("b",
              "--b\r\n" CD "name=\"a\\\"b%22c%0D%0Ad\"; filename=\"C:\\dir\\100%25.txt\"\r\n\r\n\r\n--b--",
              "[a\"b\"c\r\nd|C:\\dir\\100%25.txt|-].");
        gives("b", "--b\r\n" CD "filename*=UTF-8''na%c3%afve.txt; filename=plain; name=f\r\n\r\n\r\n--b--",
              "[f|na\xc3\xafve.txt|-].");
        gives("b", "--b\r\n" CD "filename=plain; filename*=iso-8859-1'en'%e9; name=f\r\n\r\n\r\n--b--",
              "[f|\xc3\xa9|-].");
        gives("b", "--b\r\ncontent-disposition:FORM-DATA;NAME=f ; filename=\"\"\r\n\r\n\r\n--b--", "[f||-].");
        gives("b", "--b\r\n" CD "name=\"metadata[a;b]\";\r\nX-Other: 1\r\n\r\n\r\n--b--",
              "[metadata[a;b]|-|-].");
}

static void refuses_malformed_forms(void **state)
{
        (void)state;
        refuses("", NULL, -EBADMSG, "does not contain its boundary");
        refuses("--c\r\n\r\n--c--", NULL, -EBADMSG, "does not contain its boundary");
        refuses("--b\r\n" CD "name=x\r\n\r\ncut off", NULL, -EBADMSG, "before its closing boundary");
        refuses("--b\r\n" CD "name=x\r\n\r\ncut off\r\n--b", NULL, -EBADMSG, "before its closing boundary");
        refuses("--b\r\n" CD "name=x\r\n", NULL, -EBADMSG, "before its closing boundary");
        refuses("--b\r\nno colon\r\n\r\n", NULL, -EBADMSG, "header line of part 1");
        refuses("--b\r\n" CD "name=x\r\n folded\r\n\r\n", NULL, -EBADMSG, "header line of part 1");
        refuses("--b\r\nContent-Disposition: attachment; name=x\r\n\r\n", NULL, -EBADMSG, "not form-data");
        refuses("--b\r\n" CD "name=\"x\r\n\r\n", NULL, -EBADMSG, "malformed");
        refuses("--b\r\n" CD "=x\r\n\r\n", NULL, -EBADMSG, "malformed");
        refuses("--b\r\n" CD "name=x\xff\r\n\r\n", NULL, -EBADMSG, "UTF-8");
        refuses("--b\r\n" CD "filename*=UTF-8''%00\r\n\r\n", NULL, -EBADMSG, "UTF-8");
        refuses("--b\r\n" CD "filename*=UTF-8''%f\r\n\r\n", NULL, -EBADMSG, "filename*");
        refuses("--b\r\n" CD "filename*=EBCDIC''a\r\n\r\n", NULL, -EBADMSG, "filename*");
        refuses("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n", NULL, -EBADMSG,
                "Content-Transfer-Encoding");
}

static void keeps_limits(void **state)
{
        (void)state;
        const struct multipart_limits limits = { .max_parts = 2,
                                                 .max_header_bytes = 100,
                                                 .max_name_bytes = 5 };
        refuses("--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--", &limits, -E2BIG, "more than 2 parts");
        refuses("--b\r\n" CD "name=123456\r\n\r\n", &limits, -E2BIG, "name of part 1 is longer than 5");
        refuses("--b\r\nA: 12345678901234567890123456789012345678901234567890\r\n"
                "B: 12345678901234567890123456789012345678901234567890\r\n\r\n",
                &limits, -E2BIG, "larger than 100 bytes");
}

static int fail_begin(void *ctx, const struct multipart_part *part)
{
        (void)ctx, (void)part;
        return -ENOSPC;
}

static void passes_the_sinks_error_on(void **state)
{
        (void)state;
        const struct multipart_sink failing = { .part_begin = fail_begin };
        struct multipart *m = multipart_new("b", NULL, &failing, NULL);
        assert_int_equal(multipart_feed(m, STR("--b\r\n\r\nx")), -ENOSPC);
        assert_int_equal(multipart_feed(m, STR("\r\n--b--")), -ENOSPC);
        assert_int_equal(multipart_finish(m), -ENOSPC);
        assert_string_equal(multipart_message(m), "");
        multipart_free(m);
}

static void reads_boundaries(void **state)
{
        (void)state;
        static const struct {
                const char *type, *want; /* NULL: refused */
        } cases[] = {
                { "multipart/form-data; boundary=abc", "abc" },
                { "Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b;c\"", "a b;c" },
                { "multipart/form-data ; boundary = x ", "x" },
                { "multipart/form-data; boundary=\"a\\\"b\"", "a\"b" },
                { "multipart/form-data; "
                  "boundary=1234567890123456789012345678901234567890123456789012345678901234567890",
                  "1234567890123456789012345678901234567890123456789012345678901234567890" },
                { "multipart/form-data; "
                  "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
                  NULL },
                { "multipart/form-data; boundary=", NULL },
                { "multipart/form-data; boundary=\"\"", NULL },
                { "multipart/form-data; boundary=\"a", NULL },
                { "multipart/form-data; boundary=\"a \"", NULL },
                { "multipart/form-data; boundary=\"a\tb\"", NULL },
                { "multipart/form-data", NULL },
                { "multipart/mixed; boundary=a", NULL },
                { "text/plain", NULL },
                { "", NULL },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char out[71] = "", err[128] = "";
                int rc = multipart_boundary(str_c(cases[i].type), out, err, sizeof(err));
                if (rc != (cases[i].want ? 0 : -EINVAL))
                        fail_msg("%s: %d %s", cases[i].type, rc, err);
                if (cases[i].want)
                        assert_string_equal(out, cases[i].want);
                else
                        assert_true(err[0] != '\0');
        }
        assert_true(multipart_is_form(STR("MULTIPART/form-data")));
        assert_false(multipart_is_form(STR("multipart/form-data-x; boundary=a")));
}

/* Input that makes every match fail late costs the same as any other. */
static void stays_linear(void **state)
{
        (void)state;
        const size_t n = 8 << 20, period = 4 + 69; /* one character short of the delimiter */
        char boundary[71], start[128];
        char *form = mem_alloc(n);
        for (size_t i = 0; i < n; i++) {
                size_t at = i % period;
                form[i] = at == 0 ? '\r' : at == 1 ? '\n' : at < 4 ? '-' : 'a';
        }
        memset(boundary, 'a', 70);
        boundary[70] = '\0';
        snprintf(start, sizeof(start), "--%s\r\n\r\n", boundary);
        const struct multipart_sink none = { NULL, NULL, NULL };
        struct multipart *m = multipart_new(boundary, NULL, &none, NULL);
        assert_int_equal(multipart_feed(m, str_c(start)), 0);
        int64_t began = clock_mono_ms();
        for (size_t i = 0; i < n; i += 3)
                assert_int_equal(multipart_feed(m, (struct str){ form + i, n - i < 3 ? n - i : 3 }), 0);
        assert_true(clock_mono_ms() - began < 5000);
        multipart_free(m);
        mem_free(form);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parses_forms),
                cmocka_unit_test(decodes_names),
                cmocka_unit_test(refuses_malformed_forms),
                cmocka_unit_test(keeps_limits),
                cmocka_unit_test(passes_the_sinks_error_on),
                cmocka_unit_test(reads_boundaries),
                cmocka_unit_test(stays_linear),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
