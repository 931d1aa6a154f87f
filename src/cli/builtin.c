#include "cli/builtin.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int builtin_find_from(const char *file, const char *bin, const char *datadir, char *ret, size_t n, char *err,
                      size_t errn)
{
        const struct {
                const char *base, *below;
        } places[] = {
                { bin, "../share/cairn/" }, /* PREFIX/bin/cairn */
                { bin, "../../" },          /* build/PRESET/cairn */
                { datadir, "cairn/" },
        };
        for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
                int len = snprintf(ret, n, "%s/%smodels/%s", places[i].base, places[i].below, file);
                if (len > 0 && (size_t)len < n && access(ret, F_OK) == 0)
                        return 0;
        }
        snprintf(err, errn,
                 "the built-in model was not found (%s/cairn/models/%s): name a GGUF file with --model FILE, "
                 "or run `make install` in the source tree",
                 datadir, file);
        return -ENOENT;
}

int builtin_find(const char *file, char *ret, size_t n, char *err, size_t errn)
{
        char bin[PATH_MAX];
        ssize_t len = readlink("/proc/self/exe", bin, sizeof(bin) - 1);
        bin[len > 0 ? len : 0] = '\0';
        char *slash = strrchr(bin, '/');
        if (slash)
                *slash = '\0';
        return builtin_find_from(file, bin, CAIRN_DATADIR, ret, n, err, errn);
}
