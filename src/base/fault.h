/* Named places where a test makes the program fail, in builds with CAIRN_FAULTS. Elsewhere a place costs
 * nothing.
 *
 * A place asks fault_at("store.commit") and treats a negative answer as what the system would have said.
 * Tests arm places through the environment (CAIRN_FAULTS_SPEC, read at the first question), the request
 * header X-Cairn-Fault ("point=store.commit:3:ENOSPC") or fault_arm(). A specification is a comma-separated
 * list of
 *
 *     PLACE[:NTH[:EFFECT[:TIMES]]]
 *
 * NTH (1): the first question from now that is affected. EFFECT (EIO): the name of an error, `delay=MS`, or
 * `kill` (the process gets SIGKILL). TIMES (1): so many questions in a row are affected, 0: all. The places
 * are listed in tests/README.md. Any thread. */
#ifndef CAIRN_BASE_FAULT_H
#define CAIRN_BASE_FAULT_H

#include "base/str.h"

#ifdef CAIRN_FAULTS
/* 0: go on; or a negative errno. Sleeps through a delay. */
int fault_at(const char *place);
/* Arms what `spec` says in addition to what is armed. -EINVAL (and nothing armed) when it is malformed,
 * -ENOSPC when too much is armed. */
int fault_arm(struct str spec);
void fault_clear(void); /* disarms everything */
#else
static inline int fault_at(const char *place)
{
        (void)place;
        return 0;
}
#endif
#endif
