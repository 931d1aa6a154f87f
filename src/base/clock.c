#include "base/clock.h"

#include <time.h>

static int64_t read_us(clockid_t id)
{
        struct timespec t;
        clock_gettime(id, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_unix(void)
{
        return clock_unix_us() / 1000000;
}

int64_t clock_unix_us(void)
{
        return read_us(CLOCK_REALTIME);
}

int64_t clock_mono_ms(void)
{
        return clock_mono_us() / 1000;
}

int64_t clock_mono_us(void)
{
        return read_us(CLOCK_MONOTONIC);
}
