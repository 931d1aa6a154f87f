#include "grammar/regex_class.h"

#include <string.h>
#include "grammar/unicode.h"

static void add_category(const char *prefix, struct charset *ret)
{
        for (size_t i = 0; i < unicode_n_classes; i++) {
                const struct unicode_class *c = &unicode_classes[i];
                if (strncmp(c->name, prefix, strlen(prefix)) != 0)
                        continue;
                for (size_t k = 0; k < c->n; k++)
                        charset_add(ret, c->ranges[k].lo, c->ranges[k].hi);
        }
}

void class_letter(char letter, bool unicode, struct charset *ret)
{
        switch (letter) {
        case 'd':
                if (unicode)
                        add_category("Nd", ret);
                else
                        charset_add(ret, '0', '9');
                break;
        case 'w':
                charset_add(ret, '0', '9');
                charset_add(ret, 'A', 'Z');
                charset_add(ret, 'a', 'z');
                charset_add(ret, '_', '_');
                if (unicode) {
                        add_category("L", ret);
                        add_category("M", ret);
                        add_category("Nd", ret);
                        add_category("Nl", ret);
                        add_category("Pc", ret);
                        charset_add(ret, 0x200c, 0x200d);
                }
                break;
        case 's':
                charset_add(ret, '\t', '\r');
                add_category("Z", ret);
                charset_add(ret, unicode ? 0x85 : 0xfeff, unicode ? 0x85 : 0xfeff);
                break;
        case 'h':
                charset_add(ret, '\t', '\t');
                add_category("Zs", ret);
                break;
        }
        charset_settle(ret);
}

/* ASCII letters and digits without case, spaces, hyphens and underscores, as UAX #44 matches names. */
static void loose(struct str name, char *ret, size_t size)
{
        size_t n = 0;
        for (size_t i = 0; i < name.n && n + 1 < size; i++) {
                char c = name.p[i];
                if (c == '_' || c == '-' || c == ' ')
                        continue;
                ret[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        }
        ret[n] = '\0';
}

static bool by_long_name(const char *name, struct charset *ret)
{
        static const struct {
                const char *name, *category;
        } names[] = {
                { "letter", "L" },
                { "casedletter", "Lu" },
                { "uppercaseletter", "Lu" },
                { "lowercaseletter", "Ll" },
                { "titlecaseletter", "Lt" },
                { "modifierletter", "Lm" },
                { "otherletter", "Lo" },
                { "mark", "M" },
                { "nonspacingmark", "Mn" },
                { "spacingmark", "Mc" },
                { "enclosingmark", "Me" },
                { "number", "N" },
                { "decimalnumber", "Nd" },
                { "letternumber", "Nl" },
                { "othernumber", "No" },
                { "punctuation", "P" },
                { "punct", "P" },
                { "symbol", "S" },
                { "mathsymbol", "Sm" },
                { "currencysymbol", "Sc" },
                { "modifiersymbol", "Sk" },
                { "othersymbol", "So" },
                { "separator", "Z" },
                { "spaceseparator", "Zs" },
                { "lineseparator", "Zl" },
                { "paragraphseparator", "Zp" },
                { "connectorpunctuation", "Pc" },
                { "dashpunctuation", "Pd" },
                { "openpunctuation", "Ps" },
                { "closepunctuation", "Pe" },
                { "initialpunctuation", "Pi" },
                { "finalpunctuation", "Pf" },
                { "otherpunctuation", "Po" },
                { "control", "Cc" },
                { "format", "Cf" },
                { "privateuse", "Co" },
                { "unassigned", "Cn" },
                { "other", "C" },
        };
        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
                if (strcmp(names[i].name, name) != 0)
                        continue;
                add_category(names[i].category, ret);
                if (!strcmp(name, "casedletter")) {
                        add_category("Ll", ret);
                        add_category("Lt", ret);
                }
                charset_settle(ret);
                return true;
        }
        return false;
}

bool class_property(struct str name, struct charset *ret)
{
        char key[40];
        struct str value;
        struct str left = str_split(name, '=', &value);
        if (value.p) {
                loose(left, key, sizeof(key));
                if (strcmp(key, "gc") != 0 && strcmp(key, "generalcategory") != 0)
                        return false;
                name = value;
        }
        loose(name, key, sizeof(key));
        if (!strcmp(key, "any"))
                charset_add(ret, 0, CHAR_MAX_POINT);
        else if (!strcmp(key, "ascii"))
                charset_add(ret, 0, 0x7f);
        if (ret->r.n) {
                charset_settle(ret);
                return true;
        }
        if (by_long_name(key, ret))
                return true;
        if (!key[0] || strlen(key) > 2)
                return false;
        key[0] = (char)(key[0] & ~0x20);
        add_category(key, ret);
        charset_settle(ret);
        return ret->r.n > 0;
}

bool class_posix(struct str name, struct charset *ret)
{
        static const struct {
                const char *name;
                struct fa_range r[4];
        } classes[] = {
                { "alnum", { { '0', '9' }, { 'A', 'Z' }, { 'a', 'z' } } },
                { "alpha", { { 'A', 'Z' }, { 'a', 'z' } } },
                { "ascii", { { 0, 0x7f } } },
                { "blank", { { '\t', '\t' }, { ' ', ' ' } } },
                { "cntrl", { { 0, 0x1f }, { 0x7f, 0x7f } } },
                { "digit", { { '0', '9' } } },
                { "graph", { { '!', '~' } } },
                { "lower", { { 'a', 'z' } } },
                { "print", { { ' ', '~' } } },
                { "punct", { { '!', '/' }, { ':', '@' }, { '[', '`' }, { '{', '~' } } },
                { "space", { { '\t', '\r' }, { ' ', ' ' } } },
                { "upper", { { 'A', 'Z' } } },
                { "word", { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } } },
                { "xdigit", { { '0', '9' }, { 'A', 'F' }, { 'a', 'f' } } },
        };
        bool negate = name.n && name.p[0] == '^';
        if (negate) {
                name.p++;
                name.n--;
        }
        for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
                if (!str_eqc(name, classes[i].name))
                        continue;
                for (size_t k = 0; k < 4; k++)
                        if (classes[i].r[k].hi)
                                charset_add(ret, classes[i].r[k].lo, classes[i].r[k].hi);
                charset_settle(ret);
                if (negate)
                        charset_negate(ret);
                return true;
        }
        return false;
}
