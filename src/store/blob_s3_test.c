/* Blobs on S3: the common suite against a real service (OpenStack Swift with its s3api, from Debian packages,
 * started by tests/lib/swift.py), and a service that misbehaves. Ends with 77 where the packages are missing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/fault.h"
#include "store/conformance_blob.h"
#define LIST_PAGE 3 /* so that short lists have pages */
#include "store/blob_s3.c"

#define SKIPPED 77

static char dir[64], err[256], endpoint[128], url[64];
static pid_t swift;
static int swift_stdin;

/* ---- the service ---- */

/* Starts tests/lib/swift.py, which prints its endpoint when it serves and ends with its standard input. */
static int swift_start(void)
{
        int in[2], out[2], status;
        assert_int_equal(pipe(in) | pipe(out), 0);
        swift = fork();
        if (!swift) {
                dup2(in[0], 0);
                dup2(out[1], 1);
                close(in[1]);
                execlp("python3", "python3", "tests/lib/swift.py", (char *)NULL);
                _exit(127);
        }
        close(in[0]);
        close(out[1]);
        swift_stdin = in[1];
        FILE *answer = fdopen(out[0], "r");
        bool ready = fscanf(answer, "%127s", endpoint) == 1;
        fclose(answer);
        if (ready)
                return 0;
        waitpid(swift, &status, 0);
        return WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED ? SKIPPED : 1;
}

static void swift_stop(void)
{
        close(swift_stdin);
        waitpid(swift, NULL, 0);
}

static struct blobs_options options(void)
{
        return (struct blobs_options){ .data_dir = dir,
                                       .exclusive = true,
                                       .url = url,
                                       .endpoint = endpoint,
                                       .key = "test:tester",
                                       .secret = "testing" };
}

/* Each test has a prefix of its own in the one bucket. */
static int bucket_open(struct blob_fixture *f)
{
        static int number;
        snprintf(dir, sizeof(dir), "/tmp/cairn-blob-s3-XXXXXX");
        snprintf(url, sizeof(url), "s3://cairn-tests/run/%d", ++number);
        struct blobs_options o = options();
        return mkdtemp(dir) ? blobs_open(&o, &f->blobs, err, sizeof(err)) : -errno;
}

static void bucket_close(struct blob_fixture *f)
{
        char command[128];
        blobs_close(f->blobs);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
}

static struct blobs *bucket_again(struct blob_fixture *f)
{
        struct blobs *b = NULL;
        struct blobs_options o = options();
        (void)f;
        o.exclusive = false;
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), 0);
        return b;
}

static struct blob_fixture s3 = { .open = bucket_open, .close = bucket_close, .again = bucket_again };

static int setup(void **state)
{
        int rc = bucket_open(&s3);
        *state = s3.blobs;
        return rc;
}

static int teardown(void **state)
{
        (void)state;
        bucket_close(&s3);
        return 0;
}

static void a_wrong_secret_is_refused(void **state)
{
        struct blob_writer *w;
        struct blob_info info;
        struct blobs *b;
        struct blobs_options o = options();
        (void)state;
        o.secret = "guessed";
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), 0);
        assert_int_equal(blobs_ping(b, err, sizeof(err)), -EACCES);
        assert_non_null(strstr(err, "SignatureDoesNotMatch"));
        assert_int_equal(blob_create(b, 10, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        assert_int_equal(blob_commit(w, &info), -EACCES);
        blobs_close(b);
}

static void a_missing_bucket_is_no_missing_blob(void **state)
{
        struct blob_reader *r;
        struct blobs *b;
        struct blobs_options o = options();
        (void)state;
        o.url = "s3://no-such-bucket";
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), 0);
        assert_int_equal(blob_open(b, "0123456789abcdef0123456789abcdef", &r), -EIO);
        assert_true(blobs_ping(b, err, sizeof(err)) < 0);
        assert_non_null(strstr(err, "NoSuchBucket"));
        blobs_close(b);
}

static int count(void *ctx, const char *id, int64_t modified)
{
        (void)id;
        (void)modified;
        ++*(int *)ctx;
        return 0;
}

static void long_lists_have_pages(void **state)
{
        int seen = 0;
        for (int i = 0; i < 8; i++)
                blob_put_text(*state, "x");
        assert_int_equal(blobs_list(*state, count, &seen), 0);
        assert_int_equal(seen, 8);
}

static void bad_options_are_named(void **state)
{
        struct blobs *b;
        struct blobs_options o = options();
        (void)state;
        o.url = "s3://x";
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), -EINVAL);
        o.url = "s3://bucket/with space";
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), -EINVAL);
        o = options();
        o.endpoint = "localhost:1";
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "s3_endpoint"));
        o = options();
        o.key = "";
        unsetenv("AWS_ACCESS_KEY_ID");
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "AWS_ACCESS_KEY_ID"));
        assert_null(b);
}

#ifdef CAIRN_FAULTS
static void what_passes_is_tried_again(void **state)
{
        struct blobs_stats stats;
        assert_int_equal(fault_arm(STR("s3.request:1:EIO:2")), 0);
        struct blob_info info = blob_put_text(*state, "abc");
        fault_clear();
        blobs_get_stats(*state, &stats);
        assert_int_equal(stats.retries, 2);
        assert_int_equal(blob_verify(*state, info.id), 0);
}

static int none(void *ctx, const char *id, int64_t modified)
{
        (void)ctx;
        (void)id;
        (void)modified;
        return -1;
}

/* The service goes away amid the parts of a large blob: nothing shows, and what was begun can be removed. */
static void a_broken_upload_shows_nothing(void **state)
{
        static char block[1 << 20];
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(*state, 64 << 20, &w), 0);
        for (int i = 0; i < 20; i++)
                assert_int_equal(blob_append(w, block, sizeof(block)), 0);
        assert_int_equal(fault_arm(STR("s3.request:3:EIO:5")), 0); /* the second part, to the last attempt */
        assert_int_equal(blob_commit(w, &info), -EAGAIN);
        fault_clear();
        assert_int_equal(blobs_list(*state, none, NULL), 0);
        assert_int_equal(blobs_abandon(*state, -60), 0);
}
#endif

/* ---- a service that misbehaves ---- */

struct fake {
        int fd, port;
        const char *answer; /* NULL: accepts and says nothing more */
        const char *later;  /* from the second request on; NULL: the same */
        atomic_int asked;
        pthread_t thread;
};

static void *fake_main(void *arg)
{
        struct fake *f = arg;
        char block[4096];
        for (;;) {
                int fd = accept(f->fd, NULL, NULL);
                if (fd < 0)
                        return NULL;
                const char *answer = atomic_fetch_add(&f->asked, 1) && f->later ? f->later : f->answer;
                if (answer && read(fd, block, sizeof(block)) > 0)
                        assert_true(write(fd, answer, strlen(answer)) > 0);
                shutdown(fd, SHUT_WR);
                while (read(fd, block, sizeof(block)) > 0)
                        ;
                close(fd);
        }
}

/* Connections are taken, by the system, and nothing is said. */
static void fake_listen(struct fake *f)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof(a);
        f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(f->fd, 16), 0);
        assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &n), 0);
        f->port = ntohs(a.sin_port);
}

static void fake_answer(struct fake *f)
{
        assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

static void fake_start(struct fake *f)
{
        fake_listen(f);
        fake_answer(f);
}

static void fake_stop(struct fake *f)
{
        shutdown(f->fd, SHUT_RDWR);
        close(f->fd);
        pthread_join(f->thread, NULL);
}

/* What a commit to a service with this answer says, and how often it asked. */
static int commit_to(const char *answer, int *ret_asked)
{
        struct fake f = { .answer = answer };
        char where[64];
        struct blobs *b;
        struct blob_writer *w;
        struct blob_info info;
        fake_start(&f);
        snprintf(where, sizeof(where), "http://127.0.0.1:%d", f.port);
        struct blobs_options o = options();
        o.endpoint = where;
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), 0);
        assert_int_equal(blob_create(b, 10, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        int rc = blob_commit(w, &info);
        assert_string_equal(info.id, "");
        blobs_close(b);
        fake_stop(&f);
        *ret_asked = atomic_load(&f.asked);
        return rc;
}

static void errors_are_told_apart(void **state)
{
        int asked;
        (void)state;
        assert_int_equal(commit_to("HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", &asked), -EAGAIN);
        assert_int_equal(asked, 5);
        assert_int_equal(commit_to("HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n", &asked), -ENOSPC);
        assert_int_equal(asked, 1);
        assert_int_equal(
                commit_to("HTTP/1.1 400 Bad\r\nContent-Length: 76\r\n\r\n<Error><Code>EntityTooLarge</Code>"
                          "<Message>a &lt; b &amp; c</Message></Error>",
                          &asked),
                -EIO);
        assert_non_null(strstr(blob_fault(), "EntityTooLarge"));
        assert_non_null(strstr(blob_fault(), "a < b & c"));
        /* What is being written cannot be missing. */
        assert_int_equal(commit_to("HTTP/1.1 404 No\r\nContent-Length: "
                                   "40\r\n\r\n<Error><Code>NoSuchUpload</Code></Error>  ",
                                   &asked),
                         -EAGAIN);
        assert_int_equal(asked, 1);
        assert_non_null(strstr(blob_fault(), "NoSuchUpload"));
        assert_int_equal(commit_to("nonsense\r\n\r\n", &asked), -EAGAIN);
        assert_int_equal(commit_to(NULL, &asked), -EAGAIN);
        assert_int_equal(asked, 5);
}

/* What completing an upload says when the service answers so, and how often it was asked. */
static int complete_at(const char *answer, const char *later, int *ret_asked)
{
        struct fake f = { .answer = answer, .later = later };
        atomic_ullong retries = 0;
        struct s3_client *c;
        struct buf parts;
        char where[64];
        fake_start(&f);
        snprintf(where, sizeof(where), "http://127.0.0.1:%d", f.port);
        struct blobs_options o = options();
        o.endpoint = where;
        assert_int_equal(s3_client_new(&o, &retries, &c, err, sizeof(err)), 0);
        buf_init(&parts, 100);
        buf_adds(&parts, "<CompleteMultipartUpload/>");
        int rc = upload_complete(c, "ab/cd", "id", &parts, 3);
        buf_release(&parts);
        s3_client_free(c);
        fake_stop(&f);
        *ret_asked = atomic_load(&f.asked);
        return rc;
}

#define LATE(code)                                                             \
        "HTTP/1.1 200 OK\r\n\r\n\n\n<?xml version=\"1.0\"?><Error><Code>" code \
        "</Code><Message>so late</Message></Error>"
#define DONE \
        "HTTP/1.1 200 OK\r\n\r\n<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>"

/* S3 may find out that it cannot complete an upload when it has said 200 already. */
static void late_errors_are_tried_again(void **state)
{
        int asked;
        (void)state;
        assert_int_equal(complete_at(DONE, NULL, &asked), 0);
        assert_int_equal(asked, 1);
        assert_int_equal(complete_at(LATE("InternalError"), DONE, &asked), 0);
        assert_int_equal(asked, 2);
        assert_int_equal(complete_at(LATE("InternalError"), NULL, &asked), -EAGAIN);
        assert_int_equal(asked, 5);
        assert_non_null(strstr(blob_fault(), "InternalError so late"));
        /* An attempt before was the one that did it, if the object is there with its size. */
        assert_int_equal(complete_at(LATE("NoSuchUpload"), "HTTP/1.1 404 No\r\n\r\n", &asked), -ENOENT);
        assert_int_equal(asked, 2);
        assert_int_equal(
                complete_at(LATE("NoSuchUpload"), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", &asked), 0);
}

static void a_service_that_is_down_is_an_error_soon(void **state)
{
        struct blobs_options o = options();
        struct blobs *b;
        struct blob_reader *r;
        int64_t start = clock_mono_ms();
        (void)state;
        o.endpoint = "http://127.0.0.1:9"; /* discard: nobody listens */
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), 0);
        assert_int_equal(blobs_ping(b, err, sizeof(err)), -EAGAIN);
        assert_int_equal(blob_open(b, "0123456789abcdef0123456789abcdef", &r), -EAGAIN);
        assert_null(r);
        assert_true(clock_mono_ms() - start < 10000);
        blobs_close(b);
}

static int commit_one(struct blobs *b)
{
        struct blob_writer *w;
        struct blob_info info;
        assert_int_equal(blob_create(b, 10, &w), 0);
        assert_int_equal(blob_append(w, "a", 1), 0);
        return blob_commit(w, &info);
}

/* A service that takes connections and says nothing holds up one request for some seconds, and then none:
 * until it answers again. */
static void a_service_that_is_silent_is_left_alone(void **state)
{
        struct fake f = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" };
        struct blobs_options o = options();
        struct blobs *b;
        char where[64];
        (void)state;
        fake_listen(&f);
        snprintf(where, sizeof(where), "http://127.0.0.1:%d", f.port);
        o.endpoint = where;
        assert_int_equal(blobs_open(&o, &b, err, sizeof(err)), 0);
        int64_t start = clock_mono_ms();
        assert_int_equal(blobs_ping(b, err, sizeof(err)), -EAGAIN);
        assert_true(clock_mono_ms() - start < 4500);
        start = clock_mono_ms();
        for (int i = 0; i < 20; i++)
                assert_int_equal(commit_one(b), -EAGAIN);
        assert_non_null(strstr(blob_fault(), "does not answer"));
        assert_true(clock_mono_ms() - start < 2000);
        fake_answer(&f);
        while (commit_one(b) && clock_mono_ms() - start < 20000)
                usleep(100000);
        assert_true(clock_mono_ms() - start < 20000);
        assert_int_equal(commit_one(b), 0);
        blobs_close(b);
        fake_stop(&f);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(a_wrong_secret_is_refused),
                CASE(a_missing_bucket_is_no_missing_blob),
                CASE(long_lists_have_pages),
                CASE(bad_options_are_named),
#ifdef CAIRN_FAULTS
                CASE(what_passes_is_tried_again),
                CASE(a_broken_upload_shows_nothing),
#endif
                CASE(late_errors_are_tried_again),
                CASE(errors_are_told_apart),
                CASE(a_service_that_is_down_is_an_error_soon),
                CASE(a_service_that_is_silent_is_left_alone),
        };
        signal(SIGPIPE, SIG_IGN);
        int rc = swift_start();
        if (rc)
                return rc;
        int failed = blob_conformance("s3", &s3) + cmocka_run_group_tests(tests, NULL, NULL);
        swift_stop();
        return failed;
}
