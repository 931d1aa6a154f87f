/* Object ids: a prefix that says the kind, then random characters. */
#ifndef CAIRN_BASE_IDS_H
#define CAIRN_BASE_IDS_H

#include <stddef.h>

#define ID_MAX 72

/* "resp_" + 48 hex digits, say. out has ID_MAX bytes; returns out. */
char *id_hex(char *out, const char *prefix, int digits);
/* "chatcmpl-" + letters and digits. */
char *id_alnum(char *out, const char *prefix, int chars);
#endif
