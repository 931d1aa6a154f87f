/* The life of a request: accept > parse > route > authenticate > body > validate > handler > reply > account.
 * These are the callbacks of the HTTP server. */
#ifndef CAIRN_API_PIPELINE_H
#define CAIRN_API_PIPELINE_H

#include "http/server.h"

struct api;

/* The application that serves `api`. */
struct http_app pipeline_app(struct api *api);
#endif
