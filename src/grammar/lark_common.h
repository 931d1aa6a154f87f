/* The terminals of Lark's module "common". Internal to this folder. */
#ifndef CAIRN_GRAMMAR_LARK_COMMON_H
#define CAIRN_GRAMMAR_LARK_COMMON_H

#include "base/str.h"

/* The regular expression of a terminal, or NULL. */
const char *lark_common(struct str name);
#endif
