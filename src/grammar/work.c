#include "grammar/work.h"

/* Steps between two looks at the caller's cancel flag: well below a millisecond. */
#define POLL_STEPS 20000

int gr_step(struct gr_work *w, int64_t n)
{
        w->steps -= n;
        if (w->steps < 0)
                return -E2BIG;
        w->until_poll -= n;
        if (w->until_poll > 0)
                return 0;
        w->until_poll = POLL_STEPS;
        return w->cancel && w->cancel(w->ctx) ? -ECANCELED : 0;
}
