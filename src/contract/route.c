/* The router: a walk through the generated trie of paths. */
#include "contract/tables.h"

#include <string.h>
#include "contract/text.h"

#define MAX_SEGMENTS 16
enum { ROOT_V1, ROOT_TOP }; /* the first two nodes of the trie */

struct walk {
        const char *segment[MAX_SEGMENTS]; /* decoded */
        size_t n;
        int method; /* -1: one that no operation has */
        const char *value[ROUTE_MAX_PARAMS];
        size_t n_values;
        unsigned allow;
};

static int method_of(struct str name)
{
        if (str_eqc(name, "HEAD"))
                return M_GET;
        for (int m = 0; m < M_COUNT; m++)
                if (str_eqc(name, contract_method_name(m)))
                        return m;
        return -1;
}

static const struct segment *literal_child(const struct segment *node, const char *text)
{
        size_t lo = node->first, hi = lo + node->n;
        while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                int order = strcmp(text, segment_at((unsigned)mid)->text);
                if (order == 0)
                        return segment_at((unsigned)mid);
                if (order < 0)
                        hi = mid;
                else
                        lo = mid + 1;
        }
        return NULL;
}

/* The operation's index plus one; 0 when the path leads nowhere or has other methods (noted in allow). A
 * literal segment is tried before a parameter. */
static unsigned descend(struct walk *w, const struct segment *node, size_t depth)
{
        if (depth == w->n) {
                for (int m = 0; m < M_COUNT; m++)
                        if (node->op[m])
                                w->allow |= 1u << m;
                return w->method >= 0 ? node->op[w->method] : 0;
        }
        const struct segment *child = literal_child(node, w->segment[depth]);
        unsigned found = child ? descend(w, child, depth + 1) : 0;
        if (found || !node->param || w->n_values == ROUTE_MAX_PARAMS)
                return found;
        w->value[w->n_values++] = w->segment[depth];
        found = descend(w, segment_at(node->param), depth + 1);
        if (!found)
                w->n_values--;
        return found;
}

/* Cuts the path at its slashes and decodes the pieces into text. */
static enum route_result split(struct str path, char *text, struct walk *w)
{
        size_t used = 0;
        while (path.p) {
                struct str piece = str_split(path, '/', &path);
                size_t n;
                if (!piece.n || w->n == MAX_SEGMENTS)
                        return ROUTE_UNKNOWN;
                if (!text_decode(piece, false, text + used, &n))
                        return ROUTE_BAD;
                w->segment[w->n++] = text + used;
                used += n + 1;
        }
        return ROUTE_FOUND;
}

enum route_result contract_route(struct str method, struct str path, struct route_match *ret)
{
        struct walk w = { .method = method_of(method) };
        ret->op = NULL;
        ret->allow = 0;
        ret->n = 0;
        if (path.n > ROUTE_MAX_PATH)
                return ROUTE_BAD;
        if (path.n < 2 || path.p[0] != '/')
                return ROUTE_UNKNOWN;
        bool versioned = str_starts(path, "/v1/");
        path = (struct str){ path.p + (versioned ? 4 : 1), path.n - (versioned ? 4 : 1) };
        if (path.n && path.p[path.n - 1] == '/')
                path.n--;
        enum route_result cut = path.n ? split(path, ret->_text, &w) : ROUTE_UNKNOWN;
        if (cut != ROUTE_FOUND)
                return cut;
        unsigned found = versioned ? 0 : descend(&w, segment_at(ROOT_TOP), 0);
        if (!found)
                found = descend(&w, segment_at(ROOT_V1), 0);
        ret->allow = w.allow;
        if (!found)
                return w.allow ? ROUTE_METHOD : ROUTE_UNKNOWN;
        size_t count;
        ret->op = contract_operations(&count) + found - 1;
        ret->n = w.n_values;
        for (size_t i = 0; i < w.n_values; i++) {
                ret->param[i].name = ret->op->path_params[i].name;
                ret->param[i].value = w.value[i];
        }
        return ROUTE_FOUND;
}

const char *route_param(const struct route_match *m, const char *name)
{
        for (size_t i = 0; i < m->n; i++)
                if (strcmp(m->param[i].name, name) == 0)
                        return m->param[i].value;
        return NULL;
}
