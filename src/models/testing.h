/* For test programs: a small random-weight model of tests/vectors behind a registry, and waiting for what
 * happens on its thread. */
#ifndef CAIRN_MODELS_TESTING_H
#define CAIRN_MODELS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "engine/engine.h"
#include "models/registry.h"

#define TESTING_MODEL "tests/vectors/q8-mha.gguf"
#define TESTING_CONTROL_MAX 64

/* What a test program runs on; one a program. */
static struct {
        struct registry *registry;
        const struct model *model;
        struct engine_bias
                no_end[TESTING_CONTROL_MAX]; /* forbids every control token: answers run to their limit */
        size_t n_no_end;
} testing;

/* cmocka's group set-up: serves the model as "tiny". */
static inline int testing_open(void **state)
{
        struct engine_opts opts = { .threads = 1, .max_batch = 4 };
        char err[256];
        (void)state;
        testing.registry = registry_new();
        if (registry_add_file(testing.registry, "tiny", TESTING_MODEL, &opts, err, sizeof(err)))
                return -1;
        const struct model *m = testing.model = registry_find(testing.registry, STR("tiny"));
        int n_vocab = m ? engine_model_info(m->engine)->n_vocab : 0;
        for (int id = 0; id < n_vocab && testing.n_no_end < TESTING_CONTROL_MAX; id++)
                if (!engine_token_piece(m->engine, id).n)
                        testing.no_end[testing.n_no_end++] = (struct engine_bias){ id, -100 };
        return m ? 0 : -1;
}

static inline int testing_close(void **state)
{
        (void)state;
        registry_free(testing.registry);
        return 0;
}

/* The path of a chat model that the build has written beside the test programs
 * (tests/lib/make_chat_models.c). */
static inline void testing_chat_model(const char *name, char *path, size_t n)
{
        char self[4096] = "";
        ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash = len > 0 ? strrchr(self, '/') : NULL;
        snprintf(path, n, "%.*s/chat_models/chat-%s.gguf", slash ? (int)(slash - self) : 1,
                 slash ? self : ".", name);
}

/* Waits up to 20 seconds for another thread to set the flag. */
static inline void testing_wait(atomic_int *flag)
{
        for (int i = 0; i < 20000 && !atomic_load(flag); i++)
                usleep(1000);
        assert_true(atomic_load(flag) != 0);
}
#endif
