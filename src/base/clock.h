/* Wall time for what clients see, monotonic time for what we measure. */
#ifndef CAIRN_BASE_CLOCK_H
#define CAIRN_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_unix(void);    /* seconds since 1970 */
int64_t clock_unix_us(void); /* microseconds since 1970 */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
#endif
