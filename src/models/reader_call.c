/* One call: its name, and its arguments or input, as they come. */
#include <errno.h>
#include <string.h>
#include "models/reader_internal.h"

/* ---- the escapes of JSON strings (RFC 8259, section 7) ------------------------------------------- */

static size_t put_utf8(unsigned c, char out[4])
{
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 63));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char)(0xe0 | c >> 12);
                out[1] = (char)(0x80 | (c >> 6 & 63));
                out[2] = (char)(0x80 | (c & 63));
                return 3;
        }
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 63));
        out[2] = (char)(0x80 | (c >> 6 & 63));
        out[3] = (char)(0x80 | (c & 63));
        return 4;
}

/* The first half of a surrogate pair that no second half follows becomes U+FFFD. */
static size_t put_unpaired(struct unescape *u, char *out)
{
        size_t n = u->high ? put_utf8(0xfffd, out) : 0;
        u->high = 0;
        return n;
}

static size_t put_unit(struct unescape *u, unsigned unit, char *out)
{
        if (u->high && unit >= 0xdc00 && unit < 0xe000) {
                unsigned c = 0x10000 + ((u->high - 0xd800) << 10) + (unit - 0xdc00);
                u->high = 0;
                return put_utf8(c, out);
        }
        size_t n = put_unpaired(u, out);
        if (unit >= 0xd800 && unit < 0xdc00) {
                u->high = unit;
                return n;
        }
        return n + put_utf8(unit >= 0xdc00 && unit < 0xe000 ? 0xfffd : unit, out + n);
}

static unsigned hex_value(char c)
{
        return c >= '0' && c <= '9' ? (unsigned)(c - '0') : (((unsigned)c | 32) - 'a' + 10) & 15;
}

static bool is_hex(char c)
{
        return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* Takes one byte of a string's inside; writes what it stands for (at most 8 bytes). */
static size_t unescape_byte(struct unescape *u, char c, char *out)
{
        static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
        size_t n = 0;
        if (u->state == HEX && is_hex(c)) {
                u->code = u->code << 4 | hex_value(c);
                if (++u->digits < 4)
                        return 0;
                u->state = PLAIN;
                return put_unit(u, u->code, out);
        }
        if (u->state == HEX) { /* that breaks off */
                n = put_unpaired(u, out);
                n += put_utf8(0xfffd, out + n);
                u->state = PLAIN;
        }
        if (u->state == ESCAPE && c == 'u') {
                *u = (struct unescape){ .state = HEX, .high = u->high };
                return 0;
        }
        if (u->state == PLAIN && c == '\\') {
                u->state = ESCAPE;
                return n;
        }
        n += put_unpaired(u, out + n);
        const char *name = u->state == ESCAPE ? strchr(names, c) : NULL;
        out[n++] = name && c ? values[name - names] : c;
        u->state = PLAIN;
        return n;
}

/* ---- arguments ---------------------------------------------------------------------------------- */

/* A function's arguments go out as they are written; written as a string, they are the JSON text in it. A
 * custom tool's are an object whose first string is the input; what is no object is the input itself. */
static void input_byte(struct reader *r, char c)
{
        struct reader_call *call = &r->call;
        char out[8];
        size_t n = 0;
        switch (call->input.state) {
        case INPUT_START:
                if (call->tool->custom && reader_is_space(c))
                        break;
                call->input.state = c == '"'                         ? INPUT_STRING
                                    : c == '{' && call->tool->custom ? INPUT_KEY
                                                                     : INPUT_RAW;
                if (call->input.state == INPUT_RAW)
                        out[n++] = c;
                break;
        case INPUT_RAW:
                out[n++] = c;
                break;
        case INPUT_KEY:
                if (c == '"')
                        call->input.in_key = !call->input.in_key;
                else if (c == ':' && !call->input.in_key)
                        call->input.state = INPUT_COLON;
                break;
        case INPUT_COLON:
                if (!reader_is_space(c))
                        call->input.state = c == '"' ? INPUT_STRING : INPUT_END;
                break;
        case INPUT_STRING:
                if (c == '"' && call->input.text.state != ESCAPE) {
                        n = put_unpaired(&call->input.text, out);
                        call->input.state = INPUT_END;
                } else {
                        n = unescape_byte(&call->input.text, c, out);
                }
                break;
        case INPUT_END:
                break;
        }
        if (n) {
                call->has_input = true;
                reader_say(r, TURN_CALL_INPUT, (struct str){ out, n });
        }
}

void reader_call_input(struct reader *r, struct str text)
{
        if (!r->call.tool) {
                buf_add(&r->call.early, text.p, text.n);
                return;
        }
        size_t i = 0;
        while (i < text.n && r->call.input.state != INPUT_RAW)
                input_byte(r, text.p[i++]);
        if (i < text.n) /* INPUT_RAW, of which the first byte has gone out */
                reader_say(r, TURN_CALL_INPUT, (struct str){ text.p + i, text.n - i });
}

/* ---- the call as a whole ------------------------------------------------------------------------ */

const struct reader_tool *reader_find_tool(const struct reader *r, struct str name)
{
        for (size_t i = 0; i < r->n_tools; i++)
                if (str_eq(name, (struct str){ r->tools[i].name, r->tools[i].n_name }))
                        return &r->tools[i];
        return NULL;
}

void reader_call_open(struct reader *r)
{
        struct buf early = r->call.early;
        buf_cut(&early, 0);
        r->call = (struct reader_call){ .early = early };
}

void reader_call_begin(struct reader *r, const struct reader_tool *tool)
{
        r->call.tool = tool;
        r->n_calls++;
        r->holds = false;
        reader_credit(r, USE_DROP);
        reader_say(r, TURN_CALL_BEGIN, STR(""));
        reader_call_input(r, buf_str(&r->call.early));
        buf_cut(&r->call.early, 0);
}

void reader_call_end(struct reader *r)
{
        if (!r->call.has_input && !r->call.tool->custom) /* a call without arguments */
                reader_say(r, TURN_CALL_INPUT, STR("{}"));
        reader_say(r, TURN_CALL_END, STR(""));
        r->call.tool = NULL;
}

/* ---- {"name": ..., "arguments": ...} ------------------------------------------------------------- */

static bool key_is(const struct reader_call *call, const char *key)
{
        return str_eqc((struct str){ call->key, call->n_key }, key);
}

static bool is_args(const struct reader_call *call)
{
        return key_is(call, "arguments") || key_is(call, "parameters");
}

/* Where a bare object is no call: text that happens to be JSON is not to be held back. */
static bool key_fits(const struct reader *r)
{
        const struct reader_call *call = &r->call;
        return !r->d->format->bare || call->tool || is_args(call) || key_is(call, "name") ||
               key_is(call, "type");
}

static int after_member(struct reader *r, char c)
{
        struct reader_call *call = &r->call;
        if (c == '"') {
                call->state = CALL_KEY;
                call->n_key = 0;
                return 0;
        }
        if (c == '}')
                return call->tool ? 1 : -1;
        return c == ',' || reader_is_space(c) ? 0 : -1;
}

static int key_byte(struct reader *r, char c)
{
        struct reader_call *call = &r->call;
        if (c == '"') {
                call->state = CALL_COLON;
                return key_fits(r) ? 0 : -1;
        }
        if (call->n_key == sizeof(call->key))
                return r->d->format->bare ? -1 : 0; /* no key of ours begins so */
        call->key[call->n_key++] = c;
        return c == '\\' ? -1 : 0;
}

static int name_byte(struct reader *r, char c)
{
        struct reader_call *call = &r->call;
        if (c == '"') {
                const struct reader_tool *tool =
                        reader_find_tool(r, (struct str){ call->name, call->n_name });
                if (!tool)
                        return -1;
                call->state = CALL_MEMBER;
                reader_call_begin(r, tool);
                return 0;
        }
        if (call->n_name == sizeof(call->name))
                return -1;
        call->name[call->n_name++] = c;
        return 0;
}

/* The first character of a member's value. */
static int value_begins(struct reader *r, char c)
{
        struct reader_call *call = &r->call;
        if (reader_is_space(c))
                return 0;
        if (key_is(call, "name")) {
                call->state = CALL_NAME;
                call->n_name = 0;
                return c == '"' && !call->tool ? 0 : -1;
        }
        bool first = !call->has_input && !call->early.n;
        call->state = is_args(call) && first ? CALL_ARGS : CALL_SKIP;
        memset(&call->value, 0, sizeof(call->value));
        return 0;
}

/* One character of a value of any kind: 1 when it is the last, -1 when the value has ended before it. */
static int value_byte(struct reader_call *call, char c)
{
        call->value.begun = true;
        if (call->value.string) {
                if (call->value.escape)
                        call->value.escape = false;
                else if (c == '\\')
                        call->value.escape = true;
                else if (c == '"')
                        call->value.string = false;
                return call->value.string || call->value.depth ? 0 : 1;
        }
        if (c == '"') {
                call->value.string = true;
        } else if (c == '{' || c == '[') {
                call->value.depth++;
        } else if (!call->value.depth && (c == ',' || c == '}' || c == ']' || reader_is_space(c))) {
                return -1;
        } else if (c == '}' || c == ']') {
                return --call->value.depth ? 0 : 1;
        }
        return 0;
}

/* As much of a value as there is: how many bytes it takes. */
static size_t take_value(struct reader *r, struct str text)
{
        struct reader_call *call = &r->call;
        size_t n = 0;
        int end = 0;
        while (n < text.n && !end) {
                end = value_byte(call, text.p[n]);
                n += end >= 0;
        }
        if (call->state == CALL_ARGS)
                reader_call_input(r, (struct str){ text.p, n });
        if (end)
                call->state = CALL_MEMBER;
        return n;
}

static int object_byte(struct reader *r, char c)
{
        switch (r->call.state) {
        case CALL_OPEN:
                r->call.state = c == '{' ? CALL_MEMBER : CALL_OPEN;
                return c == '{' || reader_is_space(c) ? 0 : -1;
        case CALL_MEMBER:
                return after_member(r, c);
        case CALL_KEY:
                return key_byte(r, c);
        case CALL_COLON:
                r->call.state = c == ':' ? CALL_VALUE : CALL_COLON;
                return c == ':' || reader_is_space(c) ? 0 : -1;
        case CALL_VALUE:
                return value_begins(r, c);
        default:
                return name_byte(r, c);
        }
}

int reader_call_object(struct reader *r)
{
        struct str all = reader_rest(r);
        const char *control = all.n ? memchr(all.p, FORMAT_CONTROL, all.n) : NULL;
        size_t limit = control ? r->at + (size_t)(control - all.p) : r->limit;
        while (r->at < limit) {
                struct reader_call *call = &r->call;
                struct str rest = { r->in.p + r->at, limit - r->at };
                size_t n = 1;
                int rc = 0;
                if (call->state == CALL_SKIP || call->state == CALL_ARGS)
                        n = take_value(r, rest);
                else
                        rc = object_byte(r, rest.p[0]);
                if (rc < 0)
                        return rc;
                if (n == 1 && (call->state == CALL_SKIP || call->state == CALL_ARGS) && !call->value.begun)
                        continue; /* this character is the first of the value */
                reader_pass(r, n, call->tool ? USE_DROP : USE_HOLD);
                if (rc)
                        return rc;
        }
        return control ? -1 : 0; /* JSON has no control tokens */
}
