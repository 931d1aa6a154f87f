/* Where outgoing requests may go: what clients name (webhooks, images, MCP servers) must not reach the
 * networks that only this machine can see (server-side request forgery, OWASP A10:2021).
 *
 * The check that counts is made on the address of each connection as it is opened, after names were resolved:
 * a name that changes its mind (DNS rebinding) changes nothing. http_guard_url() is only the early word to
 * who registers a URL. */
#ifndef CAIRN_HTTP_GUARD_H
#define CAIRN_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include "base/str.h"

#define HTTP_URL_MAX 2048 /* bytes of a URL, without its NUL */

struct http_guard;

/* `allow` are the operator's exceptions: networks ("10.1.0.0/16", "fd00::/8"), addresses, or host names,
 * whose addresses and ports are then not looked at. They are copied. 0; -EINVAL with a line in err; -ENOMEM.
 */
int http_guard_new(const char *const *allow, size_t n, struct http_guard **ret, char *err, size_t errn);
void http_guard_free(struct http_guard *g); /* accepts NULL */

/* Whether an address is one of the public internet: not private, loopback, link-local, shared (RFC 6598),
 * multicast, reserved or for documentation (RFC 6890, RFC 8190), nor one of these inside IPv6 (mapped,
 * NAT64). */
bool http_address_public(const struct sockaddr *a);
/* Whether a host name of a URL is on the list. */
bool http_guard_allows_host(const struct http_guard *g, struct str host);
/* Whether a connection to the address and port may be opened. Ports below 1024, but 80 and 443, only where
 * the list has the network: others than web servers listen there. */
bool http_guard_allows(const struct http_guard *g, const struct sockaddr *a);
/* Judges a URL before anything is resolved. 0; -EINVAL when it is no http or https URL of a host, carries
 * credentials or is too long; -EACCES when its literal address, "localhost" or its port is out of bounds: err
 * says so in words that follow "The URL ". */
int http_guard_url(const struct http_guard *g, const char *url, char *err, size_t errn);
#endif
