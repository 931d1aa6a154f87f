/* The life of a request: accept > parse > route > authenticate > body > validate > handler > reply > account.
 * These are the callbacks of the HTTP server. */
#ifndef CAIRN_API_PIPELINE_H
#define CAIRN_API_PIPELINE_H

#include "http/server.h"

struct api;
struct req;

/* The application that serves `api`. */
struct http_app pipeline_app(struct api *api);
/* Validates and answers a request whose route is set, on the threads that its route asks for; consumes a
 * reference. -EAGAIN, and nothing consumed, when too much waits already. */
int pipeline_run(struct req *r);
#endif
