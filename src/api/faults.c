#include "api/faults.h"

#ifdef CAIRN_FAULTS
#include <stdint.h>
#include "base/fault.h"
#include "base/map.h"
#include "base/mem.h"

/* How often each X-Cairn-Fault-Key has failed. Test builds only: never freed. */
static struct map counts;
static pthread_mutex_t counts_lock = PTHREAD_MUTEX_INITIALIZER;

/* True for the first `times` requests that carry the key; always without a key. */
static bool due(struct str key, int64_t times)
{
        if (!times || !key.n)
                return true;
        pthread_mutex_lock(&counts_lock);
        intptr_t n = (intptr_t)map_get(&counts, key) + 1;
        map_put(&counts, key, (void *)n, NULL);
        pthread_mutex_unlock(&counts_lock);
        return n <= times;
}

int64_t fault_number(const struct req *r, const char *name, int64_t dflt)
{
        struct str spec = req_header(r, "X-Cairn-Fault");
        int64_t number = dflt;
        while (spec.n) {
                struct str rest, value, word = str_split(str_split(spec, ';', &rest), '=', &value);
                if (str_eqc(word, name))
                        str_to_i64(value, &number);
                spec = rest;
        }
        return number;
}

/* Arms the places of each "point=..."; false when one is malformed. */
static bool points_arm(const struct req *r)
{
        struct str spec = req_header(r, "X-Cairn-Fault");
        bool good = true;
        while (spec.n) {
                struct str rest, value, word = str_split(str_split(spec, ';', &rest), '=', &value);
                if (str_eqc(word, "point"))
                        good &= !fault_arm(value);
                spec = rest;
        }
        return good;
}

int fault_inject(struct req *r, struct api_err *reterr)
{
        int64_t status = fault_number(r, "status", 0), alloc = fault_number(r, "alloc", 0);
        r->fail_after = (int)fault_number(r, "midstream", 0);
        if (alloc)
                mem_fail_nth((long)alloc);
        if (!points_arm(r)) {
                err_set(reterr, 400, "invalid_request_error", "invalid_value", NULL,
                        "X-Cairn-Fault arms no place: PLACE[:NTH[:EFFECT[:TIMES]]] was expected.");
                return -1;
        }
        if (status < 400 || status > 599 ||
            !due(req_header(r, "X-Cairn-Fault-Key"), fault_number(r, "times", 0)))
                return 0;
        err_set(reterr, (int)status, status >= 500 ? "server_error" : "invalid_request_error", "injected",
                NULL, "A fault was injected by the request.");
        reterr->retry_after_ms = 1;
        return -1;
}
#else
int64_t fault_number(const struct req *r, const char *name, int64_t dflt)
{
        (void)r;
        (void)name;
        return dflt;
}

int fault_inject(struct req *r, struct api_err *reterr)
{
        (void)r;
        (void)reterr;
        return 0;
}
#endif
