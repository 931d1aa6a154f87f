#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "engine/gguf_write.h"

static char path[] = "/tmp/cairn-gguf-XXXXXX";
static char image[1 << 16];

static int setup(void **state)
{
        (void)state;
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        return unlink(path);
}

static int teardown(void **state)
{
        (void)state;
        unlink(path);
        return 0;
}

static struct gguf_writer *open_writer(void)
{
        struct gguf_writer *w;
        char err[200];
        assert_int_equal(gguf_writer_open(path, &w, err, sizeof(err)), 0);
        return w;
}

static size_t read_file(void)
{
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t n = fread(image, 1, sizeof(image), f);
        fclose(f);
        return n;
}

/* The whole file, byte for byte. */
static void layout(void **state)
{
        (void)state;
        struct gguf_writer *w = open_writer();
        char err[200];
        const uint64_t row[1] = { 3 }, matrix[2] = { 32, 1 };
        float v[32] = { 127.0f, -1.0f, 0.4f };
        gguf_put_u32(w, "a", 7);
        gguf_put_bool(w, "b", true);
        gguf_add_tensor(w, "x", GGUF_WF32, 1, row);
        gguf_add_tensor(w, "y", GGUF_WQ8_0, 2, matrix);
        gguf_write_floats(w, v, 1); /* in pieces */
        gguf_write_floats(w, v + 1, 2);
        gguf_write_floats(w, v, 32);
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), 0);
        size_t n = read_file();
        static const char head[] =
                "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"
                "\1\0\0\0\0\0\0\0a\4\0\0\0\7\0\0\0"
                "\1\0\0\0\0\0\0\0b\7\0\0\0\1"
                "\1\0\0\0\0\0\0\0x\1\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                "\1\0\0\0\0\0\0\0y\2\0\0\0\x20\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x8\0\0\0\x20\0\0\0\0\0\0\0";
        assert_memory_equal(image, head, sizeof(head) - 1);
        size_t data = (sizeof(head) - 1 + 31) / 32 * 32;
        assert_int_equal(n, data + 32 + 64);
        assert_memory_equal(image + data, v, 12);
        assert_memory_equal(image + data + 32, "\x00\x3c\x7f\xff\0", 5); /* scale 1, then 127, -1, 0 */
}

static void mistakes_are_refused(void **state)
{
        (void)state;
        const uint64_t odd[1] = { 33 }, row[1] = { 4 };
        const float v[8] = { 0 };
        char err[200];
        unlink(path);
        struct gguf_writer *w = open_writer();
        gguf_put_u32(w, "a", 1);
        assert_int_equal(gguf_put_u32(w, "a", 2), -EEXIST);
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), -EEXIST);
        w = open_writer();
        assert_int_equal(gguf_add_tensor(w, "t", GGUF_WQ8_0, 1, odd), -EINVAL);
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), -EINVAL);
        w = open_writer();
        gguf_add_tensor(w, "t", GGUF_WF32, 1, row);
        assert_int_equal(gguf_put_u32(w, "late", 2), -EINVAL);
        gguf_writer_abort(w);
        w = open_writer();
        gguf_add_tensor(w, "t", GGUF_WF32, 1, row);
        assert_int_equal(gguf_write_floats(w, v, 8), -EINVAL);
        gguf_writer_abort(w);
        w = open_writer();
        gguf_add_tensor(w, "t", GGUF_WF32, 1, row);
        gguf_write_floats(w, v, 3);
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "incomplete"));
        assert_int_equal(access(path, F_OK), -1); /* nothing under the final name */
        assert_int_equal(gguf_writer_open("/no/such/dir/x", &w, err, sizeof(err)), -ENOENT);
        assert_int_equal(gguf_writer_close(NULL, err, sizeof(err)), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(layout),
                cmocka_unit_test(mistakes_are_refused),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
