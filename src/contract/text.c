#include "contract/text.h"

#include <string.h>
#include <strings.h>

static int hex(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

bool text_decode(struct str s, bool plus, char *out, size_t *ret_n)
{
        size_t n = 0;
        for (size_t i = 0; i < s.n; i++) {
                char c = s.p[i];
                if (c == '%') {
                        bool whole = s.n - i > 2;
                        int high = whole ? hex(s.p[i + 1]) : -1;
                        int low = whole ? hex(s.p[i + 2]) : -1;
                        if (high < 0 || low < 0)
                                return false;
                        c = (char)(high << 4 | low);
                        i += 2;
                } else if (c == '+' && plus) {
                        c = ' ';
                }
                if (!c)
                        return false;
                out[n++] = c;
        }
        out[n] = '\0';
        *ret_n = n;
        return str_is_utf8((struct str){ out, n });
}

bool text_media_is(const char *have, const char *want)
{
        size_t n = strcspn(have, "; \t"), w = strlen(want);
        if (strcmp(want, "*/*") == 0)
                return true;
        if (w > 2 && strcmp(want + w - 2, "/*") == 0)
                return n >= w - 1 && strncasecmp(have, want, w - 1) == 0;
        return n == w && strncasecmp(have, want, w) == 0;
}
