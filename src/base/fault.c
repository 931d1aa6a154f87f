#include "base/fault.h"

#ifdef CAIRN_FAULTS
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARMED_MAX 32

enum effect { EFFECT_ERROR, EFFECT_DELAY, EFFECT_KILL };

struct armed {
        char place[48];
        int64_t wait;  /* questions that still pass */
        int64_t times; /* questions that are affected then; 0: all */
        enum effect effect;
        int64_t value; /* a negative errno, or milliseconds */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct armed armed[ARMED_MAX];
static atomic_int n_armed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct {
        const char *name;
        int value;
} errors[] = {
        { "EIO", EIO },       { "ENOSPC", ENOSPC },
        { "EROFS", EROFS },   { "ENOMEM", ENOMEM },
        { "EBUSY", EBUSY },   { "EAGAIN", EAGAIN },
        { "EACCES", EACCES }, { "ETIMEDOUT", ETIMEDOUT },
        { "EPIPE", EPIPE },   { "ECONNRESET", ECONNRESET },
        { "EMFILE", EMFILE }, { "ENOENT", ENOENT },
        { "EINTR", EINTR },   { "ECONNREFUSED", ECONNREFUSED },
        { "EDQUOT", EDQUOT },
};

static bool effect_parse(struct str word, struct armed *ret)
{
        if (str_eqc(word, "kill")) {
                ret->effect = EFFECT_KILL;
                return true;
        }
        if (str_starts(word, "delay=")) {
                ret->effect = EFFECT_DELAY;
                return str_to_i64((struct str){ word.p + 6, word.n - 6 }, &ret->value) && ret->value >= 0 &&
                       ret->value <= 600000;
        }
        for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
                if (str_eqc(word, errors[i].name)) {
                        ret->value = -errors[i].value;
                        return true;
                }
        }
        return false;
}

static bool one_parse(struct str spec, struct armed *ret)
{
        struct str place = str_split(spec, ':', &spec), nth, effect;
        *ret = (struct armed){ .times = 1, .effect = EFFECT_ERROR, .value = -EIO };
        if (!place.n || place.n >= sizeof(ret->place))
                return false;
        memcpy(ret->place, place.p, place.n);
        if (spec.p) {
                nth = str_split(spec, ':', &spec);
                if (!str_to_i64(nth, &ret->wait) || ret->wait < 1)
                        return false;
                ret->wait--;
        }
        if (spec.p) {
                effect = str_split(spec, ':', &spec);
                if (!effect_parse(effect, ret))
                        return false;
        }
        return !spec.p || (str_to_i64(spec, &ret->times) && ret->times >= 0);
}

static int spec_arm(struct str spec)
{
        struct armed parsed[ARMED_MAX];
        int n = 0, rc = 0;
        while (spec.p && !rc) {
                struct str one = str_trim(str_split(spec, ',', &spec));
                if (n == ARMED_MAX)
                        rc = -ENOSPC;
                else if (!one_parse(one, &parsed[n++]))
                        rc = -EINVAL;
        }
        if (rc)
                return rc;
        pthread_mutex_lock(&lock);
        if (n + n_armed > ARMED_MAX)
                rc = -ENOSPC;
        for (int i = 0; i < n && !rc; i++)
                armed[n_armed++] = parsed[i];
        pthread_mutex_unlock(&lock);
        return rc;
}

/* A test that arms nothing by mistake would pass: a specification that nobody can read ends the process. */
static void environment_read(void)
{
        const char *spec = getenv("CAIRN_FAULTS_SPEC");
        if (spec && *spec && spec_arm(str_c(spec)))
                abort();
}

int fault_arm(struct str spec)
{
        pthread_once(&once, environment_read);
        return spec_arm(spec);
}

void fault_clear(void)
{
        pthread_once(&once, environment_read);
        pthread_mutex_lock(&lock);
        n_armed = 0;
        pthread_mutex_unlock(&lock);
}

/* Whether this question of `place` is affected, and how. Every entry of the place counts it. */
static bool question_count(const char *place, struct armed *ret)
{
        bool hit = false;
        pthread_mutex_lock(&lock);
        for (int i = 0; i < n_armed; i++) {
                struct armed *a = &armed[i];
                if (strcmp(a->place, place) != 0)
                        continue;
                if (a->wait) {
                        a->wait--;
                        continue;
                }
                *ret = *a;
                hit = true;
                if (a->times && !--a->times) {
                        *a = armed[--n_armed];
                        i--;
                }
        }
        pthread_mutex_unlock(&lock);
        return hit;
}

int fault_at(const char *place)
{
        struct armed a;
        pthread_once(&once, environment_read);
        if (!atomic_load_explicit(&n_armed, memory_order_relaxed) || !question_count(place, &a))
                return 0;
        if (a.effect == EFFECT_KILL)
                kill(getpid(), SIGKILL);
        if (a.effect == EFFECT_DELAY) {
                usleep((useconds_t)a.value * 1000);
                return 0;
        }
        return (int)a.value;
}
#endif
