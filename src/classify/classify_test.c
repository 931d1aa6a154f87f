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
#include "classify/classify.h"

#define BITS 10
#define SIZE ((size_t)1 << BITS)

static char path[] = "/tmp/classify-test-XXXXXX";

/* A model of two labels, where "red" speaks for the first and "blue" against the second. */
static void write_model(void)
{
        static const char *const names[] = { "warm", "cold" };
        static const float bias[] = { -4, 1 }, threshold[] = { 0.5f, 0.5f };
        static float weights[SIZE * 2];
        uint32_t features[CLASSIFY_FEATURES_MAX];
        memset(weights, 0, sizeof(weights));
        size_t n = classify_features(STR("red"), BITS, features);
        for (size_t i = 0; i < n; i++)
                weights[features[i] * 2] = 10;
        n = classify_features(STR("blue"), BITS, features);
        for (size_t i = 0; i < n; i++)
                weights[features[i] * 2 + 1] = -10;
        struct classifier_image image = { 2, BITS, names, bias, threshold, weights };
        assert_int_equal(classifier_write(path, &image), 0);
}

static int setup(void **state)
{
        (void)state;
        int fd = mkstemp(path);
        if (fd < 0 || close(fd))
                return -1;
        write_model();
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        return unlink(path);
}

static struct classifier *opened(void)
{
        struct classifier *c;
        char err[256];
        assert_int_equal(classifier_open(path, &c, err, sizeof(err)), 0);
        return c;
}

static void scores_follow_the_words(void **state)
{
        (void)state;
        struct classifier *c = opened();
        float s[2];
        assert_int_equal(classifier_labels(c), 2);
        assert_string_equal(classifier_label(c, 1), "cold");
        assert_float_equal(classifier_threshold(c, 0), 0.5f, 0);
        classifier_score(c, STR("red"), s);
        assert_true(s[0] > 0.99f && s[1] > 0.7f);
        classifier_score(c, STR("BLUE!"), s);
        assert_true(s[0] < 0.05f && s[1] < 0.01f);
        classifier_score(c, STR("green"), s);
        assert_true(s[0] < 0.1f && s[1] > 0.6f);
        classifier_close(c);
}

static void one_sentence_counts_in_a_long_text(void **state)
{
        (void)state;
        struct classifier *c = opened();
        float alone[2], among[2];
        char text[20000] = "";
        size_t n = 0;
        while (n < 9000)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "Nothing of interest here. ");
        n += (size_t)snprintf(text + n, sizeof(text) - n, "Red. ");
        while (n < 19000)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "Nothing of interest here. ");
        classifier_score(c, STR("Red. "), alone);
        classifier_score(c, (struct str){ text, n }, among);
        assert_true(among[0] >= alone[0] && among[0] > 0.99f);
        classifier_close(c);
}

static void any_bytes_can_be_scored(void **state)
{
        (void)state;
        struct classifier *c = opened();
        float s[2];
        char bytes[4096];
        classifier_score(c, (struct str){ "", 0 }, s);
        assert_true(s[0] == 0 && s[1] == 0);
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (char)(i * 7 + i / 256);
        classifier_score(c, (struct str){ bytes, sizeof(bytes) }, s);
        assert_true(isfinite(s[0]) && isfinite(s[1]));
        memset(bytes, 'a', sizeof(bytes)); /* one word without an end */
        classifier_score(c, (struct str){ bytes, sizeof(bytes) }, s);
        assert_true(s[0] >= 0 && s[0] <= 1);
        memset(bytes, 0, sizeof(bytes));
        classifier_score(c, (struct str){ bytes, sizeof(bytes) }, s);
        classifier_close(c);
}

static void features_are_distinct_and_bounded(void **state)
{
        (void)state;
        uint32_t features[CLASSIFY_FEATURES_MAX];
        char text[8192];
        for (size_t i = 0; i < sizeof(text); i++)
                text[i] = i % 7 == 6 ? ' ' : (char)('a' + i * i / 13 % 26);
        size_t n = classify_features((struct str){ text, sizeof(text) }, 16, features);
        assert_true(n > 100 && n <= CLASSIFY_FEATURES_MAX);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++)
                        assert_true(features[i] != features[k]);
        uint32_t again[CLASSIFY_FEATURES_MAX];
        assert_int_equal(classify_features(STR("Don't  STOP"), 16, features),
                         classify_features(STR("dont stop."), 16, again));
        assert_memory_equal(features, again, 16);
}

/* Every prefix of a file, and one with a byte too much, is refused. */
static void damaged_files_are_refused(void **state)
{
        (void)state;
        char bytes[SIZE * 2 + 4096], other[] = "/tmp/classify-cut-XXXXXX", err[256];
        struct classifier *c;
        FILE *f = fopen(path, "rb");
        size_t n = fread(bytes, 1, sizeof(bytes), f);
        fclose(f);
        int fd = mkstemp(other);
        assert_true(fd >= 0);
        for (size_t cut = 0; cut <= n + 1; cut += cut < 200 || cut > n - 3 ? 1 : 97) {
                assert_int_equal(ftruncate(fd, 0), 0);
                assert_int_equal(pwrite(fd, bytes, cut, 0), (ssize_t)cut);
                int rc = classifier_open(other, &c, err, sizeof(err));
                assert_int_equal(rc, cut == n ? 0 : -EINVAL);
                classifier_close(c);
        }
        bytes[8] = 127; /* labels */
        assert_int_equal(pwrite(fd, bytes, n, 0), (ssize_t)n);
        assert_int_equal(classifier_open(other, &c, err, sizeof(err)), -EINVAL);
        close(fd);
        unlink(other);
        assert_int_equal(classifier_open("/nonexistent/model.bin", &c, err, sizeof(err)), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(scores_follow_the_words),
                cmocka_unit_test(one_sentence_counts_in_a_long_text),
                cmocka_unit_test(any_bytes_can_be_scored),
                cmocka_unit_test(features_are_distinct_and_bounded),
                cmocka_unit_test(damaged_files_are_refused),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
