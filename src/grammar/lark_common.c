#include "grammar/lark_common.h"

#include <stddef.h>

#define INT "[0-9]+"
#define EXPONENT "(?:[eE][+-]?" INT ")"
#define DECIMAL "(?:" INT "\\.(?:" INT ")?|\\." INT ")"
#define FLOAT "(?:" INT EXPONENT "|" DECIMAL EXPONENT "?)"
#define NUMBER "(?:" FLOAT "|" INT ")"
#define SIGN "[+-]?"
/* As Lark's own (a string ends at the first quotation mark that is not escaped), without its look-behind. */
#define STRING "\"(?:[^\"\\\\\\n]|\\\\[^\\n])*\""

const char *lark_common(struct str name)
{
        static const struct {
                const char *name, *regex;
        } terminals[] = {
                { "DIGIT", "[0-9]" },
                { "HEXDIGIT", "[0-9a-fA-F]" },
                { "INT", INT },
                { "SIGNED_INT", SIGN INT },
                { "DECIMAL", DECIMAL },
                { "FLOAT", FLOAT },
                { "SIGNED_FLOAT", SIGN FLOAT },
                { "NUMBER", NUMBER },
                { "SIGNED_NUMBER", SIGN NUMBER },
                { "LCASE_LETTER", "[a-z]" },
                { "UCASE_LETTER", "[A-Z]" },
                { "LETTER", "[A-Za-z]" },
                { "WORD", "[A-Za-z]+" },
                { "CNAME", "[A-Za-z_][A-Za-z0-9_]*" },
                { "ESCAPED_STRING", STRING },
                { "WS_INLINE", "[ \\t]+" },
                { "WS", "[ \\t\\f\\r\\n]+" },
                { "CR", "\\r" },
                { "LF", "\\n" },
                { "NEWLINE", "(?:\\r?\\n)+" },
                { "SH_COMMENT", "#[^\\n]*" },
                { "CPP_COMMENT", "//[^\\n]*" },
                { "C_COMMENT", "/\\*(?:[^*]|\\*+[^*/])*\\*+/" },
                { "SQL_COMMENT", "--[^\\n]*" },
        };
        for (size_t i = 0; i < sizeof(terminals) / sizeof(*terminals); i++)
                if (str_eqc(name, terminals[i].name))
                        return terminals[i].regex;
        return NULL;
}
