#include "base/ids.h"

#include <string.h>
#include "base/rand.h"

static char *id_from(char *out, const char *prefix, int chars, const char *alphabet, unsigned size)
{
        size_t at = strlen(prefix);
        if (at > ID_MAX - 1)
                at = ID_MAX - 1;
        memcpy(out, prefix, at);
        while (chars-- > 0 && at < ID_MAX - 1) {
                unsigned char byte;
                do { /* refuse the tail that would favour the first letters */
                        rand_bytes(&byte, 1);
                } while (byte >= 256 - 256 % size);
                out[at++] = alphabet[byte % size];
        }
        out[at] = '\0';
        return out;
}

char *id_hex(char *out, const char *prefix, int digits)
{
        return id_from(out, prefix, digits, "0123456789abcdef", 16);
}

char *id_alnum(char *out, const char *prefix, int chars)
{
        return id_from(out, prefix, chars, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                       62);
}
