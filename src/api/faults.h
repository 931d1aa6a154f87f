/* Fault points of test builds (CAIRN_FAULTS): a request asks for a failure with the header
 * "X-Cairn-Fault: status=503;times=2", "midstream=3" or "alloc=7" (the 7th allocation from now fails). Other
 * builds ignore the header. */
#ifndef CAIRN_API_FAULTS_H
#define CAIRN_API_FAULTS_H

#include "api/req.h"

/* -1 with *reterr when this request is to fail now. */
int fault_inject(struct req *r, struct api_err *reterr);
#endif
