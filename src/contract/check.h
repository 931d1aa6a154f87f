/* Private to this folder. */
#ifndef CAIRN_CONTRACT_CHECK_H
#define CAIRN_CONTRACT_CHECK_H

#include "contract/contract.h"

/* schema_check of one named parameter; a NULL value is a missing one. */
int schema_check_named(const struct schema *s, const char *name, const json_t *value,
                       struct schema_err *reterr);
#endif
