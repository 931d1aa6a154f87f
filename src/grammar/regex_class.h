/* Named classes of characters. Internal to this folder. */
#ifndef CAIRN_GRAMMAR_REGEX_CLASS_H
#define CAIRN_GRAMMAR_REGEX_CLASS_H

#include <stdbool.h>
#include "base/str.h"
#include "grammar/charset.h"

/* Adds \d, \w, \s (or \h, horizontal space) by its letter: of all of Unicode, or as ECMA-262 has them. */
void class_letter(char letter, bool unicode, struct charset *ret);
/* Adds a general category, its group ("L"), a long name ("Letter"), or one of "Any", "ASCII", "Alphabetic"
 * and the like that categories decide. False when there is no such thing. */
bool class_property(struct str name, struct charset *ret);
/* Adds "alpha", "digit", ... of ASCII; false when there is no such class. "^alpha" is the complement. */
bool class_posix(struct str name, struct charset *ret);
#endif
