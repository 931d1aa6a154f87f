#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "account/account.h"
#include "account/account_internal.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/store.h"

static char dir[64], err[256];

static void dir_remove(void)
{
        char command[128];
        if (!*dir)
                return;
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
        *dir = '\0';
}

/* One process's view of the data directory. */
struct view {
        struct store *store;
        struct account *account;
};

static struct view view_open(void)
{
        struct view v = { 0 };
        struct store_fault fault = { 0 };
        if (store_open(dir, NULL, &v.store, &fault))
                fail_msg("%s", fault.msg);
        if (account_open(v.store, dir, NULL, &v.account, err, sizeof(err)))
                fail_msg("%s", err);
        return v;
}

static void view_close(struct view *v)
{
        account_close(v->account);
        store_close(v->store);
}

static int setup(void **state)
{
        dir_remove();
        snprintf(dir, sizeof(dir), "/tmp/cairn-account-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        struct view *v = mem_calloc(1, sizeof(*v));
        *v = view_open();
        *state = v;
        return 0;
}

static int teardown(void **state)
{
        struct view *v = *state;
        view_close(v);
        mem_free(v);
        dir_remove();
        return 0;
}

static struct account *account_of(void **state)
{
        return ((struct view *)*state)->account;
}

static int try_key(struct account *a, const char *value)
{
        struct principal who;
        return account_authenticate(a, str_c(value), &who);
}

static struct account_minted ensure(struct account *a, const char *api, const char *admin)
{
        struct account_minted minted;
        if (account_ensure_keys(a, api, admin, &minted, err, sizeof(err)))
                fail_msg("%s", err);
        return minted;
}

/* ---- the first start and the later ones ---- */

static void the_first_start_mints_one_key_of_each_kind(void **state)
{
        struct account *a = account_of(state);
        struct principal who;
        struct account_minted m = ensure(a, NULL, "");
        assert_int_equal(strncmp(m.project_key, "sk-proj-", 8), 0);
        assert_true(strlen(m.project_key) >= 48);
        assert_int_equal(strncmp(m.admin_key, "sk-admin-", 9), 0);
        assert_true(strlen(m.admin_key) >= 49);

        assert_int_equal(account_authenticate(a, str_c(m.project_key), &who), 0);
        assert_int_equal(who.kind, KEY_PROJECT);
        assert_string_equal(who.org, account_org(a));
        assert_int_equal(strncmp(who.org, "org-", 4), 0);
        assert_string_equal(who.project, account_default_project(a));
        assert_int_equal(strncmp(who.project, "proj_", 5), 0);
        assert_int_equal(strncmp(who.user, "user-", 5), 0);
        assert_int_equal(strncmp(who.key, "key_", 4), 0);
        assert_int_equal(account_authenticate(a, str_c(m.admin_key), &who), 0);
        assert_int_equal(who.kind, KEY_ADMIN);
        assert_string_equal(who.project, "");

        m = ensure(a, NULL, NULL);
        assert_string_equal(m.project_key, "");
        assert_string_equal(m.admin_key, "");
}

static void keys_outlive_a_restart(void **state)
{
        struct view *v = *state;
        char org[ID_MAX];
        struct account_minted m = ensure(v->account, NULL, NULL);
        snprintf(org, sizeof(org), "%s", account_org(v->account));
        view_close(v);
        *v = view_open();
        assert_string_equal(account_org(v->account), org);
        assert_int_equal(try_key(v->account, m.project_key), 0);
        assert_int_equal(try_key(v->account, m.admin_key), 0);
        m = ensure(v->account, NULL, NULL);
        assert_string_equal(m.project_key, "");
}

static void values_are_nowhere_on_the_disk(void **state)
{
        struct view *v = *state;
        char command[512];
        struct account_minted m = ensure(v->account, NULL, "chosen-by-people");
        snprintf(command, sizeof(command), "grep -rqaF -e '%s' -e chosen-by-people '%s'", m.project_key, dir);
        assert_int_not_equal(system(command), 0);
        view_close(v);
        assert_int_not_equal(system(command), 0);
        snprintf(command, sizeof(command), "grep -rqaF redacted_value '%s'",
                 dir); /* the search does search */
        assert_int_equal(system(command), 0);
        *v = view_open();
}

static void wrong_values_open_nothing(void **state)
{
        struct account *a = account_of(state);
        struct account_minted m = ensure(a, NULL, NULL);
        char changed[ACCOUNT_KEY_MAX], huge[1000];
        memset(huge, 'a', sizeof(huge));
        snprintf(changed, sizeof(changed), "%s", m.project_key);
        for (size_t i = 0; i < strlen(m.project_key); i++) {
                changed[i] ^= 1;
                assert_int_equal(try_key(a, changed), -EACCES);
                changed[i] ^= 1;
        }
        assert_int_equal(try_key(a, changed), 0);
        changed[strlen(changed) - 1] = '\0';
        assert_int_equal(try_key(a, changed), -EACCES);
        assert_int_equal(try_key(a, ""), -EACCES);
        struct principal who;
        assert_int_equal(account_authenticate(a, (struct str){ huge, sizeof(huge) }, &who), -EACCES);
        assert_int_equal(account_authenticate(a, (struct str){ NULL, 0 }, &who), -EACCES);
}

static void environment_keys_follow_the_environment(void **state)
{
        struct view *v = *state;
        struct principal who;
        struct account_minted m = ensure(v->account, "team-key-1", NULL);
        assert_string_equal(m.project_key, ""); /* the environment's key is the project key */
        assert_int_not_equal(strlen(m.admin_key), 0);
        assert_int_equal(account_authenticate(v->account, str_c("team-key-1"), &who), 0);
        assert_string_equal(who.project, account_default_project(v->account));
        view_close(v);
        *v = view_open();
        assert_int_equal(try_key(v->account, "team-key-1"), 0); /* tools change nothing */
        m = ensure(v->account, "team-key-2", "admin-key-2");
        assert_string_equal(m.project_key, "");
        assert_string_equal(m.admin_key, "");
        assert_int_equal(try_key(v->account, "team-key-1"), -EACCES);
        assert_int_equal(try_key(v->account, "team-key-2"), 0);
        assert_int_equal(account_authenticate(v->account, str_c("admin-key-2"), &who), 0);
        assert_int_equal(who.kind, KEY_ADMIN);
        m = ensure(v->account, NULL, NULL);
        assert_int_equal(try_key(v->account, "team-key-2"), -EACCES);
        assert_int_equal(try_key(v->account, "admin-key-2"), -EACCES);
        assert_int_equal(try_key(v->account, m.project_key), 0); /* nobody is locked out */
        assert_string_equal(m.admin_key, "");                    /* that of the first start is still there */
}

static void bad_environment_values_are_refused(void **state)
{
        struct account *a = account_of(state);
        struct account_minted m, again;
        char huge[400];
        memset(huge, 'a', sizeof(huge));
        huge[sizeof(huge) - 1] = '\0';
        m = ensure(a, NULL, NULL);
        assert_int_equal(account_ensure_keys(a, "short", NULL, &again, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "CAIRN_API_KEY"));
        assert_int_equal(account_ensure_keys(a, NULL, "with space", &again, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "CAIRN_ADMIN_KEY"));
        assert_int_equal(account_ensure_keys(a, huge, NULL, &again, err, sizeof(err)), -EINVAL);
        assert_int_equal(account_ensure_keys(a, "same-value", "same-value", &again, err, sizeof(err)),
                         -EINVAL);
        assert_int_equal(account_ensure_keys(a, m.admin_key, NULL, &again, err, sizeof(err)), -EINVAL);
        assert_int_equal(try_key(a, m.admin_key), 0);
        ensure(a, "value-one", "value-two"); /* and the values may change places */
        ensure(a, "value-two", "value-one");
        struct principal who;
        assert_int_equal(account_authenticate(a, str_c("value-one"), &who), 0);
        assert_int_equal(who.kind, KEY_ADMIN);
}

/* ---- keys ---- */

static void keys_are_created_listed_and_revoked(void **state)
{
        struct account *a = account_of(state);
        struct key_info made, *list;
        char value[ACCOUNT_KEY_MAX];
        size_t n;
        ensure(a, NULL, NULL);
        assert_int_equal(account_key_create(a, KEY_PROJECT, NULL, "B\xc3\xa4r \"x\"", 0, value, &made, err,
                                            sizeof(err)),
                         0);
        assert_int_equal(try_key(a, value), 0);
        assert_int_equal(account_key_list(a, &list, &n, err, sizeof(err)), 0);
        assert_int_equal(n, 3);
        assert_string_equal(list[2].id, made.id);
        assert_string_equal(list[2].name, "B\xc3\xa4r \"x\"");
        assert_string_equal(list[2].project, account_default_project(a));
        assert_int_equal(strncmp(list[2].redacted, "sk-proj-...", 11), 0);
        assert_string_equal(list[2].redacted + 11, value + strlen(value) - 4);
        assert_true(list[2].created > 0 && list[2].last_used >= list[2].created);
        assert_int_equal(list[0].last_used, 0);
        mem_free(list);
        assert_int_equal(account_key_revoke(a, made.id, err, sizeof(err)), 0);
        assert_int_equal(try_key(a, value), -EACCES);
        assert_int_equal(account_key_revoke(a, made.id, err, sizeof(err)), -ENOENT);
        assert_int_equal(account_key_revoke(a, "", err, sizeof(err)), -ENOENT);
        assert_int_equal(account_key_revoke(a, "root", err, sizeof(err)), -ENOENT);
}

static void bad_keys_are_refused(void **state)
{
        struct account *a = account_of(state);
        struct key_info made;
        char value[ACCOUNT_KEY_MAX], name[300];
        memset(name, 'n', sizeof(name));
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(
                account_key_create(a, KEY_PROJECT, "proj_none", NULL, 0, value, &made, err, sizeof(err)),
                -ENOENT);
        assert_non_null(strstr(err, "proj_none"));
        assert_int_equal(account_key_create(a, KEY_PROJECT, NULL, name, 0, value, &made, err, sizeof(err)),
                         -EINVAL);
        assert_int_equal(account_key_create(a, KEY_PROJECT, NULL, "\xff", 0, value, &made, err, sizeof(err)),
                         -EINVAL);
        assert_int_equal(account_key_create(a, KEY_ADMIN, NULL, NULL, 5, value, &made, err, sizeof(err)),
                         -EINVAL);
}

static void keys_expire(void **state)
{
        struct account *a = account_of(state);
        char value[ACCOUNT_KEY_MAX];
        struct key_info made;
        int64_t soon = clock_unix() + 2;
        assert_int_equal(account_key_create(a, KEY_PROJECT, NULL, NULL, soon, value, &made, err, sizeof(err)),
                         0);
        assert_int_equal(try_key(a, value), 0);
        while (clock_unix() < soon)
                usleep(20000);
        assert_int_equal(try_key(a, value), -EACCES);
}

static void other_processes_are_noticed(void **state)
{
        struct account *a = account_of(state);
        struct view tool = view_open();
        struct key_info made;
        char value[ACCOUNT_KEY_MAX];
        int64_t began = clock_mono_ms();
        assert_int_equal(
                account_key_create(tool.account, KEY_PROJECT, NULL, "t", 0, value, &made, err, sizeof(err)),
                0);
        while (try_key(a, value) && clock_mono_ms() - began < 5000)
                usleep(10000);
        assert_int_equal(try_key(a, value), 0);
        assert_int_equal(account_key_revoke(tool.account, made.id, err, sizeof(err)), 0);
        began = clock_mono_ms();
        while (!try_key(a, value) && clock_mono_ms() - began < 5000)
                usleep(10000);
        assert_int_equal(try_key(a, value), -EACCES);
        print_message("a revocation by another process took %d ms\n", (int)(clock_mono_ms() - began));
        view_close(&tool);
}

static void last_use_is_kept(void **state)
{
        struct view *v = *state;
        struct key_info *list;
        size_t n;
        struct account_minted m = ensure(v->account, NULL, NULL);
        assert_int_equal(try_key(v->account, m.admin_key), 0);
        view_close(v); /* flushes */
        *v = view_open();
        assert_int_equal(account_key_list(v->account, &list, &n, err, sizeof(err)), 0);
        assert_int_equal(n, 2);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(list[i].last_used > 0, list[i].kind == KEY_ADMIN);
        mem_free(list);
        assert_int_equal(try_key(v->account, m.project_key), 0);
}

/* ---- the pepper ---- */

static void the_pepper_is_private_and_needed(void **state)
{
        struct view *v = *state;
        char path[128], moved[128];
        struct account *none;
        struct stat st;
        ensure(v->account, NULL, NULL);
        snprintf(path, sizeof(path), "%s/pepper", dir);
        snprintf(moved, sizeof(moved), "%s/elsewhere", dir);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(st.st_size, 32);
        assert_int_equal(rename(path, moved), 0);
        assert_int_equal(account_open(v->store, dir, NULL, &none, err, sizeof(err)), -ENOKEY);
        assert_null(none);
        assert_non_null(strstr(err, "pepper"));
        assert_int_equal(rename(moved, path), 0);
        assert_int_equal(chmod(path, 0644), 0);
        assert_int_equal(account_open(v->store, dir, NULL, &none, err, sizeof(err)), 0);
        account_close(none);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(truncate(path, 31), 0);
        assert_int_equal(account_open(v->store, dir, NULL, &none, err, sizeof(err)), -EBADMSG);
}

/* Another server on the same store: with the same secret by either way, or not at all. */
static void all_servers_have_one_secret(void **state)
{
        static const char other[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        struct view *v = *state;
        char path[128], hex[65], elsewhere[] = "/tmp/cairn-account-XXXXXX";
        uint8_t bytes[32];
        struct account *second = NULL;
        ensure(v->account, NULL, NULL);
        assert_int_equal(account_open(v->store, dir, other, &second, err, sizeof(err)), -EKEYREJECTED);
        assert_null(second);
        assert_non_null(strstr(err, "CAIRN_SECRET"));
        assert_int_equal(account_open(v->store, dir, "short", &second, err, sizeof(err)), -EINVAL);
        /* A data directory of its own has no secret yet, and must not get one that fits nobody. */
        assert_non_null(mkdtemp(elsewhere));
        assert_int_equal(account_open(v->store, elsewhere, NULL, &second, err, sizeof(err)), -ENOKEY);
        assert_int_equal(rmdir(elsewhere), 0);
        snprintf(path, sizeof(path), "%s/pepper", dir);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        assert_int_equal(fread(bytes, 1, sizeof(bytes), f), sizeof(bytes));
        fclose(f);
        str_hex(bytes, sizeof(bytes), hex);
        assert_int_equal(account_open(v->store, elsewhere, hex, &second, err, sizeof(err)), 0);
        account_close(second);
}

/* RFC 4231 test case 1 has a key of 20 bytes 0x0b; HMAC pads keys with zeros, so 32 bytes hold it. */
static void digests_are_hmac_sha256(void **state)
{
        uint8_t secret[32] = { 0 }, digest[DIGEST_BYTES], parsed[DIGEST_BYTES];
        struct pepper p;
        char hex[DIGEST_HEX];
        (void)state;
        memset(secret, 0x0b, 20);
        pepper_set(&p, secret);
        assert_int_equal(secret_digest(&p, STR("Hi There"), digest), 0);
        str_hex(digest, DIGEST_BYTES, hex);
        assert_string_equal(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert_true(digest_parse(hex, parsed));
        assert_memory_equal(parsed, digest, sizeof(digest));
        assert_false(digest_parse("b0344c", parsed));
        hex[7] = 'G';
        assert_false(digest_parse(hex, parsed));
}

static void redaction_shows_little(void **state)
{
        char out[24];
        (void)state;
        assert_string_equal(account_redact(out, STR("sk-VKM0123456789abcdefwjh3")), "sk-VKM***wjh3");
        assert_string_equal(account_redact(out, STR("hunter2")), "***");
        assert_string_equal(account_redact(out, STR("a\"\nb\xff"
                                                    "cdefghijklmnop")),
                            "a??b?c***mnop");
        assert_string_equal(account_redact(out, STR("")), "***");
        secret_redact("sk-admin-0123456789abcdefghijklmnop", out);
        assert_string_equal(out, "sk-admin-...mnop");
        secret_redact("my-own-key", out);
        assert_string_equal(out, "***");
}

/* ---- many at once ---- */

struct runner {
        struct account *a;
        const char *good;
        _Atomic bool *stop;
        _Atomic int *wrong;
};

static void *authenticate_on(void *arg)
{
        struct runner *r = arg;
        while (!*r->stop) {
                if (try_key(r->a, r->good) || try_key(r->a, "not a key at all") != -EACCES)
                        ++*r->wrong;
        }
        return NULL;
}

static void changes_do_not_disturb_requests(void **state)
{
        struct account *a = account_of(state);
        struct account_minted m = ensure(a, NULL, NULL);
        _Atomic bool stop = false;
        _Atomic int wrong = 0;
        struct runner r = { a, m.project_key, &stop, &wrong };
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, authenticate_on, &r), 0);
        for (int i = 0; i < 30; i++) {
                char value[ACCOUNT_KEY_MAX];
                struct key_info made;
                assert_int_equal(
                        account_key_create(a, KEY_PROJECT, NULL, "x", 0, value, &made, err, sizeof(err)), 0);
                assert_int_equal(try_key(a, value), 0);
                assert_int_equal(account_key_revoke(a, made.id, err, sizeof(err)), 0);
                assert_int_equal(try_key(a, value), -EACCES);
        }
        stop = true;
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(wrong, 0);
}

static void authentication_is_quick(void **state)
{
        struct account *a = account_of(state);
        struct account_minted m = ensure(a, NULL, NULL);
        int64_t best = INT64_MAX;
        for (int round = 0; round < 5; round++) {
                int64_t began = clock_mono_us();
                for (int i = 0; i < 20000; i++)
                        assert_int_equal(try_key(a, m.project_key), 0);
                int64_t took = clock_mono_us() - began;
                best = took < best ? took : best;
        }
        print_message("one authentication: %d ns\n", (int)(best / 20));
        assert_true(best / 20 < 20000); /* generous: sanitizers and busy machines run this too */
}

static void *open_on(void *arg)
{
        *(struct view *)arg = view_open();
        return NULL;
}

static void first_starts_at_once_make_one_account(void **state)
{
        struct view views[4];
        pthread_t threads[4];
        char value[ACCOUNT_KEY_MAX];
        view_close(*state);
        dir_remove();
        snprintf(dir, sizeof(dir), "/tmp/cairn-account-XXXXXX");
        assert_non_null(mkdtemp(dir));
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, open_on, &views[i]), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(
                account_key_create(views[0].account, KEY_ADMIN, NULL, NULL, 0, value, NULL, err, sizeof(err)),
                0);
        for (int i = 0; i < 4; i++) { /* one organization, and one pepper */
                assert_string_equal(account_org(views[i].account), account_org(views[0].account));
                assert_int_equal(account_reload(views[i].account, NULL), 0);
                assert_int_equal(try_key(views[i].account, value), 0);
        }
        for (int i = 0; i < 4; i++)
                view_close(&views[i]);
        *(struct view *)*state = view_open();
}

/* What a client keeps for us comes back as it was, or not at all. */
static void sealed_text_opens_only_here(void **state)
{
        struct account *a = account_of(state);
        const struct str text = STR("first think, \xe2\x82\xac then speak");
        char *sealed, *again, *open;
        size_t n;
        assert_int_equal(account_seal(a, STR("proj_a"), text, &sealed), 0);
        assert_int_equal(account_seal(a, STR("proj_a"), text, &again), 0);
        assert_string_not_equal(sealed, again); /* equal texts cannot be told */
        assert_null(strstr(sealed, "think"));
        assert_int_equal(account_unseal(a, STR("proj_a"), str_c(sealed), &open, &n), 0);
        assert_int_equal(n, text.n);
        assert_memory_equal(open, text.p, text.n);
        mem_free(open);
        assert_int_equal(account_unseal(a, STR("proj_b"), str_c(sealed), &open, &n), -EINVAL);
        for (size_t i = 0; i < strlen(sealed); i++) {
                char kept = sealed[i];
                sealed[i] = kept == 'A' ? 'B' : 'A';
                assert_int_equal(account_unseal(a, STR("proj_a"), str_c(sealed), &open, &n), -EINVAL);
                assert_null(open);
                sealed[i] = kept;
        }
        sealed[strlen(sealed) - 2]++; /* the same bytes, spelled in another way */
        assert_int_equal(account_unseal(a, STR("proj_a"), str_c(sealed), &open, &n), -EINVAL);
        sealed[strlen(sealed) - 2]--;
        for (size_t cut = 0; cut < strlen(sealed); cut++)
                assert_int_equal(account_unseal(a, STR("proj_a"), (struct str){ sealed, cut }, &open, &n),
                                 -EINVAL);
        assert_int_equal(account_unseal(a, STR("proj_a"), STR("not base64!!"), &open, &n), -EINVAL);
        a->pepper.inner[0] ^= 1; /* another installation */
        assert_int_equal(account_unseal(a, STR("proj_a"), str_c(sealed), &open, &n), -EINVAL);
        mem_free(sealed);
        mem_free(again);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(the_first_start_mints_one_key_of_each_kind),
                CASE(keys_outlive_a_restart),
                CASE(values_are_nowhere_on_the_disk),
                CASE(wrong_values_open_nothing),
                CASE(environment_keys_follow_the_environment),
                CASE(bad_environment_values_are_refused),
                CASE(keys_are_created_listed_and_revoked),
                CASE(bad_keys_are_refused),
                CASE(keys_expire),
                CASE(other_processes_are_noticed),
                CASE(last_use_is_kept),
                CASE(the_pepper_is_private_and_needed),
                CASE(all_servers_have_one_secret),
                cmocka_unit_test(digests_are_hmac_sha256),
                cmocka_unit_test(redaction_shows_little),
                CASE(changes_do_not_disturb_requests),
                CASE(authentication_is_quick),
                CASE(first_starts_at_once_make_one_account),
                CASE(sealed_text_opens_only_here),
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
