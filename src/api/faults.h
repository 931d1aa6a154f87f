/* Fault points of test builds (CAIRN_FAULTS): a request asks for a failure with the header
 * "X-Cairn-Fault: status=503;times=2", "midstream=3", "alloc=7" (the 7th allocation from now fails) or
 * "point=store.commit:1:EIO" (a place of base/fault.h, for whoever comes there next). Other builds ignore the
 * header. */
#ifndef CAIRN_API_FAULTS_H
#define CAIRN_API_FAULTS_H

#include "api/req.h"

/* The number that the header gives to a name ("window=3": the time a batch may take), else dflt. */
int64_t fault_number(const struct req *r, const char *name, int64_t dflt);
/* -1 with *reterr when this request is to fail now. */
int fault_inject(struct req *r, struct api_err *reterr);
#endif
