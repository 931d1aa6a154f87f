#include "http/guard.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

/* An address of either family. IPv4 inside IPv6 is IPv4 here. */
struct address {
        bool v6;
        uint8_t b[16]; /* network order; IPv4 in the first four */
};

struct network {
        struct address base;
        unsigned bits;
};

struct host {
        char *name;
        size_t n;
};

struct http_guard {
        struct network *networks;
        size_t n_networks;
        struct host *hosts;
        size_t n_hosts;
};

/* ---- addresses ---- */

/* What IANA's registry of special IPv4 addresses (RFC 6890) keeps from global use, and what is not unicast.
 */
static const struct {
        uint32_t base;
        unsigned bits;
} special_v4[] = {
        { 0x00000000, 8 },  /* this network */
        { 0x0a000000, 8 },  /* private, RFC 1918 */
        { 0x64400000, 10 }, /* shared by carrier-grade NAT, RFC 6598 */
        { 0x7f000000, 8 },  /* loopback */
        { 0xa9fe0000, 16 }, /* link-local, where clouds keep their metadata */
        { 0xac100000, 12 }, /* private */
        { 0xc0000000, 24 }, /* IETF protocol assignments */
        { 0xc0000200, 24 }, /* documentation */
        { 0xc0586300, 24 }, /* 6to4 relays, RFC 7526 */
        { 0xc0a80000, 16 }, /* private */
        { 0xc6120000, 15 }, /* benchmarks */
        { 0xc6336400, 24 }, /* documentation */
        { 0xcb007100, 24 }, /* documentation */
        { 0xe0000000, 4 },  /* multicast */
        { 0xf0000000, 4 },  /* reserved, broadcast */
};

/* IPv6 is the other way about: only 2000::/3 is global unicast, less these. */
static const struct {
        uint8_t base[4];
        unsigned bits;
} special_v6[] = {
        { { 0x20, 0x01, 0x00, 0x00 }, 23 }, /* IETF protocol assignments: Teredo, ORCHID, benchmarks */
        { { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, /* documentation */
        { { 0x20, 0x02, 0x00, 0x00 }, 16 }, /* 6to4: an IPv4 address inside */
        { { 0x3f, 0xff, 0x00, 0x00 }, 20 }, /* documentation, RFC 9637 */
};

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
        unsigned bytes = bits / 8, rest = bits % 8;
        return memcmp(a, b, bytes) == 0 && (!rest || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0);
}

static bool in_network(const struct address *a, const struct network *net)
{
        return a->v6 == net->base.v6 && same_bits(a->b, net->base.b, net->bits);
}

/* Takes IPv4 out of the IPv6 forms that carry it: mapped (RFC 4291) and NAT64 (RFC 6052). */
static void unwrap_v4(struct address *a)
{
        static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff },
                             nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
        if (!a->v6 || (memcmp(a->b, mapped, 12) && memcmp(a->b, nat64, 12)))
                return;
        a->v6 = false;
        memmove(a->b, a->b + 12, 4);
        memset(a->b + 4, 0, 12);
}

static bool address_of(const struct sockaddr *sa, struct address *ret, unsigned *ret_port)
{
        *ret = (struct address){ .v6 = sa->sa_family == AF_INET6 };
        if (sa->sa_family == AF_INET) {
                const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
                memcpy(ret->b, &in->sin_addr, 4);
                *ret_port = ntohs(in->sin_port);
        } else if (sa->sa_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
                memcpy(ret->b, &in6->sin6_addr, 16);
                *ret_port = ntohs(in6->sin6_port);
        } else {
                return false;
        }
        unwrap_v4(ret);
        return true;
}

static bool is_public(const struct address *a)
{
        if (!a->v6) {
                uint32_t v4 =
                        (uint32_t)a->b[0] << 24 | (uint32_t)a->b[1] << 16 | (uint32_t)a->b[2] << 8 | a->b[3];
                for (size_t i = 0; i < sizeof(special_v4) / sizeof(*special_v4); i++)
                        if (((v4 ^ special_v4[i].base) >> (32 - special_v4[i].bits)) == 0)
                                return false;
                return true;
        }
        if (a->b[0] >> 5 != 1)
                return false;
        for (size_t i = 0; i < sizeof(special_v6) / sizeof(*special_v6); i++)
                if (same_bits(a->b, special_v6[i].base, special_v6[i].bits))
                        return false;
        return true;
}

bool http_address_public(const struct sockaddr *sa)
{
        struct address a;
        unsigned port;
        return address_of(sa, &a, &port) && is_public(&a);
}

/* ---- the list ---- */

/* "10.0.0.0/8", "::1", "[::1]": false for what is no address. */
static bool parse_network(struct str text, struct network *ret)
{
        char address[INET6_ADDRSTRLEN];
        struct str rest, base = str_split(text, '/', &rest);
        int64_t bits = -1;
        if (base.n >= 2 && base.p[0] == '[' && base.p[base.n - 1] == ']')
                base = (struct str){ base.p + 1, base.n - 2 };
        if (base.n >= sizeof(address))
                return false;
        memcpy(address, base.p, base.n);
        address[base.n] = '\0';
        *ret = (struct network){ .base.v6 = memchr(address, ':', base.n) != NULL };
        if (inet_pton(ret->base.v6 ? AF_INET6 : AF_INET, address, ret->base.b) != 1)
                return false;
        int64_t max = ret->base.v6 ? 128 : 32;
        if (rest.p && (!str_to_i64(rest, &bits) || bits < 0 || bits > max))
                return false;
        ret->bits = (unsigned)(rest.p ? bits : max);
        if (ret->bits == 128)
                unwrap_v4(&ret->base);
        if (!ret->base.v6 && ret->bits > 32)
                ret->bits = 32;
        return true;
}

/* Letters, digits, dots, hyphens and underscores. */
static bool is_host_name(struct str s)
{
        for (size_t i = 0; i < s.n; i++) {
                char c = s.p[i];
                bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                            c == '.' || c == '-' || c == '_';
                if (!fine)
                        return false;
        }
        return s.n > 0 && s.n <= 253;
}

static int add_entry(struct http_guard *g, struct str text, char *err, size_t errn)
{
        if (parse_network(text, &g->networks[g->n_networks])) {
                g->n_networks++;
                return 0;
        }
        if (!is_host_name(text)) {
                snprintf(err, errn, "'%.*s' is neither a network (10.0.0.0/8) nor a host name",
                         STR_ARG(text));
                return -EINVAL;
        }
        char *name = mem_strndup(text.p, text.n);
        if (!name) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        g->hosts[g->n_hosts++] = (struct host){ name, text.n };
        return 0;
}

int http_guard_new(const char *const *allow, size_t n, struct http_guard **ret, char *err, size_t errn)
{
        struct http_guard *g = mem_calloc(1, sizeof(*g));
        int rc = -ENOMEM;
        *ret = NULL;
        snprintf(err, errn, "out of memory");
        if (g) {
                g->networks = mem_calloc(n + 1, sizeof(*g->networks));
                g->hosts = mem_calloc(n + 1, sizeof(*g->hosts));
                rc = g->networks && g->hosts ? 0 : -ENOMEM;
        }
        for (size_t i = 0; i < n && rc == 0; i++)
                rc = add_entry(g, str_trim(str_c(allow[i])), err, errn);
        if (rc) {
                http_guard_free(g);
                return rc;
        }
        snprintf(err, errn, "%s", "");
        *ret = g;
        return 0;
}

void http_guard_free(struct http_guard *g)
{
        if (!g)
                return;
        for (size_t i = 0; i < g->n_hosts; i++)
                mem_free(g->hosts[i].name);
        mem_free(g->hosts);
        mem_free(g->networks);
        mem_free(g);
}

bool http_guard_allows_host(const struct http_guard *g, struct str host)
{
        if (host.n && host.p[host.n - 1] == '.') /* the root's dot changes nothing */
                host.n--;
        for (size_t i = 0; i < g->n_hosts; i++)
                if (g->hosts[i].n == host.n && str_ieqc(host, g->hosts[i].name))
                        return true;
        return false;
}

static bool listed(const struct http_guard *g, const struct address *a)
{
        for (size_t i = 0; i < g->n_networks; i++)
                if (in_network(a, &g->networks[i]))
                        return true;
        return false;
}

static bool is_web_port(unsigned port)
{
        return port == 80 || port == 443 || port >= 1024;
}

bool http_guard_allows(const struct http_guard *g, const struct sockaddr *sa)
{
        struct address a;
        unsigned port;
        if (!address_of(sa, &a, &port))
                return false;
        return listed(g, &a) || (is_public(&a) && is_web_port(port));
}

/* ---- URLs ---- */

static bool is_localhost(struct str host)
{
        static const char suffix[] = ".localhost";
        size_t n = sizeof(suffix) - 1;
        if (host.n && host.p[host.n - 1] == '.')
                host.n--;
        return str_ieqc(host, "localhost") ||
               (host.n > n && str_ieqc((struct str){ host.p + host.n - n, n }, suffix));
}

/* What can be said of a host before it is resolved. */
static int judge_host(const struct http_guard *g, struct str host, unsigned port, char *err, size_t errn)
{
        struct network literal;
        if (http_guard_allows_host(g, host))
                return 0;
        bool known = parse_network(is_localhost(host) ? STR("127.0.0.1") : host, &literal);
        if (known && listed(g, &literal.base))
                return 0;
        if (known && !is_public(&literal.base)) {
                snprintf(
                        err, errn,
                        "must not lead to a private or local address (%.*s); the operator of this server can "
                        "allow it with outbound_allow.",
                        host.n < 100 ? (int)host.n : 100, host.p);
                return -EACCES;
        }
        if (is_web_port(port))
                return 0;
        snprintf(err, errn, "must use port 80, 443 or one from 1024 on, not %u.", port);
        return -EACCES;
}

/* The parts of a URL that are judged. */
static int judge_parts(const struct http_guard *g, CURLU *parts, char *err, size_t errn)
{
        char *scheme = NULL, *host = NULL, *port = NULL, *zone = NULL;
        int64_t number = 0;
        int rc = -EINVAL;
        if (curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) ||
            curl_url_get(parts, CURLUPART_HOST, &host, 0) ||
            curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) || !*host)
                snprintf(err, errn, "is not an http or https URL.");
        else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
                snprintf(err, errn, "must begin with https:// or http://.");
        else if (!str_to_i64(str_c(port), &number) || number < 1)
                snprintf(err, errn, "has no usable port.");
        else if (curl_url_get(parts, CURLUPART_ZONEID, &zone, 0) == CURLUE_OK)
                snprintf(err, errn, "must not name a network interface.");
        else
                rc = judge_host(g, str_c(host), (unsigned)number, err, errn);
        curl_free(scheme);
        curl_free(host);
        curl_free(port);
        curl_free(zone);
        return rc;
}

int http_guard_url(const struct http_guard *g, const char *url, char *err, size_t errn)
{
        if (strlen(url) > HTTP_URL_MAX) {
                snprintf(err, errn, "must not be longer than %d bytes.", HTTP_URL_MAX);
                return -EINVAL;
        }
        CURLU *parts = curl_url();
        if (!parts)
                return -ENOMEM;
        CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER);
        int rc = -EINVAL;
        if (code == CURLUE_USER_NOT_ALLOWED)
                snprintf(err, errn, "must not contain credentials.");
        else if (code == CURLUE_OUT_OF_MEMORY)
                rc = -ENOMEM;
        else if (code)
                snprintf(err, errn, "is not an http or https URL.");
        else
                rc = judge_parts(g, parts, err, errn);
        curl_url_cleanup(parts);
        return rc;
}
