#include "http/multipart.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "base/mem.h"

#define BOUNDARY_MAX 70
/* Spaces that may follow a boundary on its line (RFC 2046 "transport padding"); more is content. */
#define PADDING_MAX 64

enum state {
        PREAMBLE,  /* before the first boundary: dropped */
        DELIMITED, /* after "--boundary": the rest of its line decides what it was */
        HEADERS,
        DATA,
        EPILOGUE, /* after the closing boundary: dropped */
};

struct multipart {
        struct multipart_sink sink;
        void *ctx;
        struct multipart_limits limits;
        enum state state, before; /* `before` the boundary: PREAMBLE or DATA */
        int error;
        char message[160];
        /* "\r\n--boundary". CR stands at its start only, so a failed match can restart nowhere but at a CR.
         */
        char delimiter[BOUNDARY_MAX + 5];
        size_t delimiter_n, matched;
        char tail[PADDING_MAX];
        size_t tail_n;
        size_t parts, header_bytes;
        struct buf line;
        struct buf name, filename, content_type;
        bool has_name, has_filename, extended, has_type;
};

/* ---- Errors ---- */

static int fail(struct multipart *m, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fail(struct multipart *m, int rc, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(m->message, sizeof(m->message), fmt, ap);
        va_end(ap);
        m->error = rc;
        return rc;
}

/* The sink's error. */
static int sunk(struct multipart *m, int rc)
{
        m->error = rc;
        return rc;
}

const char *multipart_message(const struct multipart *m)
{
        return m->message;
}

/* ---- Parameters of header values ---- */

static bool is_token(char c)
{
        return c > ' ' && c < 127 && !strchr("()<>@,;:\\\"/[]?=", c);
}

static void skip_spaces(struct str *s)
{
        while (s->n && (*s->p == ' ' || *s->p == '\t'))
                s->p++, s->n--;
}

static struct str take_token(struct str *s)
{
        struct str t = { s->p, 0 };
        while (t.n < s->n && is_token(t.p[t.n]))
                t.n++;
        s->p += t.n;
        s->n -= t.n;
        return t;
}

/* A quoted string after its opening quote. Only \" and \\ are escapes: some clients send Windows paths. */
static bool take_quoted(struct str *s, struct buf *out)
{
        while (s->n && *s->p != '"') {
                if (*s->p == '\\' && s->n > 1 && (s->p[1] == '"' || s->p[1] == '\\'))
                        s->p++, s->n--;
                buf_addc(out, *s->p);
                s->p++, s->n--;
        }
        if (!s->n)
                return false;
        s->p++, s->n--;
        return true;
}

/* Takes "; key=value" off s, the value into `out`. 1; 0 at the end; -1 when malformed. Values outside quotes
 * run to the next ';', as real clients send them. */
static int take_parameter(struct str *s, struct str *key, struct buf *out)
{
        buf_clear(out);
        do {
                skip_spaces(s);
                if (!s->n)
                        return 0;
                if (*s->p != ';')
                        return -1;
                s->p++, s->n--;
                skip_spaces(s);
        } while (!s->n || *s->p == ';');
        *key = take_token(s);
        skip_spaces(s);
        if (!key->n || !s->n || *s->p != '=')
                return -1;
        s->p++, s->n--;
        skip_spaces(s);
        if (s->n && *s->p == '"') {
                s->p++, s->n--;
                return take_quoted(s, out) ? 1 : -1;
        }
        struct str rest, value = str_split(*s, ';', &rest);
        s->p += value.n;
        s->n -= value.n;
        value = str_trim(value);
        buf_add(out, value.p, value.n);
        return value.n ? 1 : -1;
}

bool multipart_is_form(struct str content_type)
{
        struct str rest;
        return str_ieqc(str_trim(str_split(content_type, ';', &rest)), "multipart/form-data");
}

static bool boundary_ok(struct str b)
{
        for (size_t i = 0; i < b.n; i++)
                if (b.p[i] < ' ' || b.p[i] > '~')
                        return false;
        return b.n >= 1 && b.n <= BOUNDARY_MAX && b.p[b.n - 1] != ' ';
}

int multipart_boundary(struct str content_type, char *out, char *err, size_t errn)
{
        struct buf value;
        struct str key, boundary = { NULL, 0 };
        int rc = -EINVAL, got;
        buf_init(&value, 1024);
        if (!multipart_is_form(content_type)) {
                snprintf(err, errn, "The Content-Type is not multipart/form-data.");
                goto out;
        }
        size_t type_n = strlen("multipart/form-data");
        skip_spaces(&content_type);
        content_type = (struct str){ content_type.p + type_n, content_type.n - type_n };
        while ((got = take_parameter(&content_type, &key, &value)) > 0) {
                if (!str_ieqc(key, "boundary"))
                        continue;
                boundary = buf_str(&value);
                break;
        }
        if (got < 0 || buf_error(&value) || (boundary.n && !boundary_ok(boundary))) {
                snprintf(err, errn, "The Content-Type's boundary must be 1 to 70 printable characters.");
        } else if (!boundary.n) {
                snprintf(err, errn, "The Content-Type multipart/form-data lacks its boundary.");
        } else {
                memcpy(out, boundary.p, boundary.n);
                out[boundary.n] = '\0';
                rc = 0;
        }
out:
        buf_release(&value);
        return rc;
}

/* ---- Part headers ---- */

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 32;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "%XX" at s.p[i], or -1. */
static int percent_byte(struct str s, size_t i)
{
        if (i + 2 >= s.n || s.p[i] != '%')
                return -1;
        int high = hex_digit(s.p[i + 1]), low = hex_digit(s.p[i + 2]);
        return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Form names as browsers write them: %22, %0D and %0A stand for what cannot be sent, any other % for itself
 * (WHATWG HTML, "multipart/form-data encoding algorithm"). */
static void decode_form(struct str s, struct buf *out)
{
        for (size_t i = 0; i < s.n; i++) {
                int c = percent_byte(s, i);
                bool escaped = c == '"' || c == '\r' || c == '\n';
                buf_addc(out, escaped ? (char)c : s.p[i]);
                i += escaped ? 2 : 0;
        }
}

/* RFC 5987: charset'language'percent-encoded. */
static bool decode_extended(struct str s, struct buf *out)
{
        struct str rest, value, charset = str_split(s, '\'', &rest);
        str_split(rest, '\'', &value);
        bool latin1 = str_ieqc(charset, "ISO-8859-1");
        if (!value.p || (!latin1 && !str_ieqc(charset, "UTF-8")))
                return false;
        for (size_t i = 0; i < value.n; i++) {
                int c = (unsigned char)value.p[i];
                if (c == '%') {
                        c = percent_byte(value, i);
                        i += 2;
                }
                if (c < 0)
                        return false;
                if (latin1 && c >= 128) {
                        buf_addc(out, (char)(0xc0 | c >> 6));
                        c = 0x80 | (c & 0x3f);
                }
                buf_addc(out, (char)c);
        }
        return true;
}

static int check_name(struct multipart *m, const char *what, const struct buf *b)
{
        struct str s = buf_str(b);
        if (buf_error(b) == -ENOMEM)
                return fail(m, -ENOMEM, "The server is out of memory.");
        if (buf_error(b))
                return fail(m, -E2BIG, "The %s of part %zu is longer than %zu bytes.", what, m->parts,
                            m->limits.max_name_bytes);
        if (!str_is_utf8(s) || (s.n && memchr(s.p, '\0', s.n)))
                return fail(m, -EBADMSG, "The %s of part %zu is not valid UTF-8 text.", what, m->parts);
        return 0;
}

/* One parameter of Content-Disposition. */
static int take_name(struct multipart *m, struct str key, struct str value)
{
        if (str_ieqc(key, "name")) {
                buf_clear(&m->name);
                decode_form(value, &m->name);
                m->has_name = true;
                return check_name(m, "name", &m->name);
        }
        bool extended = str_ieqc(key, "filename*");
        if (!extended && (!str_ieqc(key, "filename") || m->extended))
                return 0;
        buf_clear(&m->filename);
        if (!extended)
                decode_form(value, &m->filename);
        else if (!decode_extended(value, &m->filename))
                return fail(m, -EBADMSG, "The filename* of part %zu is malformed.", m->parts);
        m->has_filename = true;
        m->extended = extended;
        return check_name(m, "filename", &m->filename);
}

static int take_disposition(struct multipart *m, struct str value)
{
        struct buf parameter;
        struct str key, kind = take_token(&value);
        int got, rc = 0;
        if (!str_ieqc(kind, "form-data"))
                return fail(m, -EBADMSG, "The Content-Disposition of part %zu is not form-data.", m->parts);
        buf_init(&parameter, m->limits.max_header_bytes);
        while (!rc && (got = take_parameter(&value, &key, &parameter)) != 0) {
                if (got < 0)
                        rc = fail(m, -EBADMSG, "The Content-Disposition of part %zu is malformed.", m->parts);
                else if (buf_error(&parameter))
                        rc = fail(m, -ENOMEM, "The server is out of memory.");
                else
                        rc = take_name(m, key, buf_str(&parameter));
        }
        buf_release(&parameter);
        return rc;
}

static int take_header(struct multipart *m, struct str line)
{
        struct str value, name = str_split(line, ':', &value);
        if (!value.p || !name.n || *name.p == ' ' || *name.p == '\t')
                return fail(m, -EBADMSG, "A header line of part %zu is malformed.", m->parts);
        value = str_trim(value);
        if (str_ieqc(name, "Content-Disposition"))
                return take_disposition(m, value);
        if (str_ieqc(name, "Content-Type")) {
                buf_clear(&m->content_type);
                buf_add(&m->content_type, value.p, value.n);
                m->has_type = true;
        } else if (str_ieqc(name, "Content-Transfer-Encoding") && !str_ieqc(value, "binary") &&
                   !str_ieqc(value, "8bit") && !str_ieqc(value, "7bit")) {
                return fail(m, -EBADMSG,
                            "The Content-Transfer-Encoding of part %zu is not supported: send binary.",
                            m->parts);
        }
        return 0;
}

static struct str optional(bool has, const struct buf *b)
{
        if (!has)
                return (struct str){ NULL, 0 };
        return b->n ? buf_str(b) : STR("");
}

static int part_begin(struct multipart *m)
{
        struct multipart_part part = {
                .name = optional(m->has_name, &m->name),
                .filename = optional(m->has_filename, &m->filename),
                .content_type = optional(m->has_type, &m->content_type),
        };
        int rc = m->sink.part_begin ? m->sink.part_begin(m->ctx, &part) : 0;
        m->state = DATA;
        return rc ? sunk(m, rc) : 0;
}

/* ---- States: each takes some bytes of the piece, and leaves what is not its own ---- */

static int headers_start(struct multipart *m)
{
        m->state = HEADERS;
        m->header_bytes = 0;
        m->has_name = m->has_filename = m->extended = m->has_type = false;
        buf_clear(&m->line);
        buf_clear(&m->name);
        buf_clear(&m->filename);
        buf_clear(&m->content_type);
        if (++m->parts > m->limits.max_parts)
                return fail(m, -E2BIG, "The form has more than %zu parts.", m->limits.max_parts);
        return 0;
}

static int feed_headers(struct multipart *m, struct str *in)
{
        const char *end = memchr(in->p, '\n', in->n);
        size_t n = end ? (size_t)(end - in->p) + 1 : in->n;
        m->header_bytes += n;
        if (m->header_bytes > m->limits.max_header_bytes)
                return fail(m, -E2BIG, "The headers of part %zu are larger than %zu bytes.", m->parts,
                            m->limits.max_header_bytes);
        buf_add(&m->line, in->p, n);
        in->p += n;
        in->n -= n;
        if (buf_error(&m->line))
                return fail(m, -ENOMEM, "The server is out of memory.");
        if (!end)
                return 0;
        struct str line = { m->line.p, m->line.n - 1 };
        if (line.n && line.p[line.n - 1] == '\r')
                line.n--;
        int rc = line.n ? take_header(m, line) : part_begin(m);
        buf_clear(&m->line);
        return rc;
}

static int emit(struct multipart *m, const char *p, size_t n)
{
        if (m->state != DATA || !n || !m->sink.part_data)
                return 0;
        int rc = m->sink.part_data(m->ctx, (struct str){ p, n });
        return rc ? sunk(m, rc) : 0;
}

/* Content up to the next delimiter, which may have begun in an earlier piece. */
static int feed_content(struct multipart *m, struct str *in)
{
        size_t held = m->matched, i = 0, goal = m->delimiter_n;
        int rc = 0;
        while (i < in->n && m->matched < goal && !rc) {
                if (!m->matched) {
                        const char *cr = memchr(in->p + i, '\r', in->n - i);
                        i = cr ? (size_t)(cr - in->p) + 1 : in->n;
                        m->matched = cr ? 1 : 0;
                } else if (in->p[i] == m->delimiter[m->matched]) {
                        i++;
                        m->matched++;
                } else {
                        rc = emit(m, m->delimiter, held);
                        held = m->matched = 0;
                }
        }
        if (!rc)
                rc = emit(m, in->p, i - (m->matched - held));
        if (m->matched == goal) {
                m->matched = 0;
                m->tail_n = 0;
                m->before = m->state;
                m->state = DELIMITED;
        }
        in->p += i;
        in->n -= i;
        return rc;
}

static int part_end(struct multipart *m)
{
        int rc = m->before == DATA && m->sink.part_end ? m->sink.part_end(m->ctx) : 0;
        return rc ? sunk(m, rc) : 0;
}

/* The delimiter was content after all: "--boundary" followed by something else. */
static int undelimit(struct multipart *m)
{
        m->state = m->before;
        int rc = emit(m, m->delimiter, m->delimiter_n);
        return rc ? rc : emit(m, m->tail, m->tail_n);
}

static int feed_delimited(struct multipart *m, struct str *in)
{
        char c = *in->p, last = m->tail_n ? m->tail[m->tail_n - 1] : ' ';
        int rc = 0;
        if (c == '-' && last == '-' && m->tail_n == 1) {
                rc = part_end(m);
                m->state = EPILOGUE;
        } else if (c == '\n' && (last == '\r' || last == ' ' || last == '\t')) {
                rc = part_end(m);
                if (!rc)
                        rc = headers_start(m);
        } else if (m->tail_n < PADDING_MAX &&
                   ((c == '-' && !m->tail_n) ||
                    ((c == ' ' || c == '\t' || c == '\r') && (last == ' ' || last == '\t')))) {
                m->tail[m->tail_n++] = c;
        } else {
                return undelimit(m); /* c is looked at again as content */
        }
        in->p++;
        in->n--;
        return rc;
}

/* ---- Public ---- */

struct multipart *multipart_new(const char *boundary, const struct multipart_limits *limits,
                                const struct multipart_sink *sink, void *ctx)
{
        struct multipart *m = mem_calloc(1, sizeof(*m));
        if (!m)
                return NULL;
        m->sink = *sink;
        m->ctx = ctx;
        if (limits)
                m->limits = *limits;
        if (!m->limits.max_parts)
                m->limits.max_parts = 1000;
        if (!m->limits.max_header_bytes)
                m->limits.max_header_bytes = 8192;
        if (!m->limits.max_name_bytes)
                m->limits.max_name_bytes = 1024;
        m->delimiter_n = (size_t)snprintf(m->delimiter, sizeof(m->delimiter), "\r\n--%s", boundary);
        m->matched = 2; /* the first boundary needs no line break before it */
        buf_init(&m->line, m->limits.max_header_bytes);
        buf_init(&m->name, m->limits.max_name_bytes);
        buf_init(&m->filename, m->limits.max_name_bytes);
        buf_init(&m->content_type, m->limits.max_header_bytes);
        return m;
}

void multipart_free(struct multipart *m)
{
        if (!m)
                return;
        buf_release(&m->line);
        buf_release(&m->name);
        buf_release(&m->filename);
        buf_release(&m->content_type);
        mem_free(m);
}

int multipart_feed(struct multipart *m, struct str piece)
{
        int rc = m->error;
        while (!rc && piece.n) {
                switch (m->state) {
                case PREAMBLE:
                case DATA:
                        rc = feed_content(m, &piece);
                        break;
                case DELIMITED:
                        rc = feed_delimited(m, &piece);
                        break;
                case HEADERS:
                        rc = feed_headers(m, &piece);
                        break;
                case EPILOGUE:
                        return 0;
                }
        }
        return rc;
}

int multipart_finish(struct multipart *m)
{
        if (m->error || m->state == EPILOGUE)
                return m->error;
        return fail(m, -EBADMSG,
                    m->state == PREAMBLE && !m->parts ? "The form does not contain its boundary."
                                                      : "The form ends before its closing boundary.");
}
