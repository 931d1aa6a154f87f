#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "http/sse.h"

static void frame_is(const char *event, struct str data, const char *want)
{
        struct buf b;
        buf_init(&b, 1000);
        sse_frame(&b, event, data);
        assert_int_equal(buf_error(&b), 0);
        assert_string_equal(b.p, want);
        buf_release(&b);
}

static void writes_frames(void **state)
{
        (void)state;
        frame_is(NULL, STR("{\"a\":1}"), "data: {\"a\":1}\n\n");
        frame_is("response.created", STR("{}"), "event: response.created\ndata: {}\n\n");
        frame_is(NULL, STR(""), "data: \n\n");
        frame_is(NULL, STR("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
}

static void writes_comments(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 100);
        sse_comment(&b, "ping");
        assert_string_equal(b.p, ": ping\n\n");
        buf_release(&b);
}

static void reports_a_full_buffer(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 10);
        sse_frame(&b, NULL, STR("far too long for it"));
        assert_true(buf_error(&b) != 0);
        buf_release(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(writes_frames),
                cmocka_unit_test(writes_comments),
                cmocka_unit_test(reports_a_full_buffer),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
