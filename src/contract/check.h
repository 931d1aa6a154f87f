/* Private to this folder. */
#ifndef CAIRN_CONTRACT_CHECK_H
#define CAIRN_CONTRACT_CHECK_H

#include "contract/contract.h"

/* A flag of schema_check beside the public ones: {"$file": n} stands for a file. Only contract_form() sets
 * it, and only it makes such objects, so that no client can name a file that it did not send. */
#define SCHEMA_FILES 0x100u

/* schema_check of one named parameter; a NULL value is a missing one. */
int schema_check_named(const struct schema *s, const char *name, const json_t *value,
                       struct schema_err *reterr);
#endif
