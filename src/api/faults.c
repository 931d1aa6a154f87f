#include "api/faults.h"

#ifdef CAIRN_FAULTS
#include <stdint.h>
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

int fault_inject(struct req *r, struct api_err *reterr)
{
        struct str spec = req_header(r, "X-Cairn-Fault");
        int64_t status = 0, times = 0, midstream = 0, alloc = 0;
        while (spec.n) {
                struct str rest, value, name = str_split(str_split(spec, ';', &rest), '=', &value);
                if (str_eqc(name, "status"))
                        str_to_i64(value, &status);
                else if (str_eqc(name, "times"))
                        str_to_i64(value, &times);
                else if (str_eqc(name, "midstream"))
                        str_to_i64(value, &midstream);
                else if (str_eqc(name, "alloc"))
                        str_to_i64(value, &alloc);
                spec = rest;
        }
        r->fail_after = (int)midstream;
        if (alloc)
                mem_fail_nth((long)alloc);
        if (status < 400 || status > 599 || !due(req_header(r, "X-Cairn-Fault-Key"), times))
                return 0;
        err_set(reterr, (int)status, status >= 500 ? "server_error" : "invalid_request_error", "injected",
                NULL, "A fault was injected by the request.");
        reterr->retry_after_ms = 1;
        return -1;
}
#else
int fault_inject(struct req *r, struct api_err *reterr)
{
        (void)r;
        (void)reterr;
        return 0;
}
#endif
