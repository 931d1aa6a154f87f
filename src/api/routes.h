/* Which function serves which operation: the hand-written rows, joined with those of resources.c. */
#ifndef CAIRN_API_ROUTES_H
#define CAIRN_API_ROUTES_H

#include "api/req.h"

/* One route an operation, by its index in contract_operations(); NULL where nothing serves it. The array is
 * of mem_alloc; free it with routes_free(). NULL when memory is out. */
const struct route **routes_build(void);
void routes_free(const struct route **routes);
/* How many operations the rows of routes.c and resources.c name. */
size_t routes_rows(void);
#endif
