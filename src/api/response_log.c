#include "api/response_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/rand.h"

#define BATCH_MAX ((size_t)256 << 20)
#define PADDING_STEP 16
#define TYPE_KEY "{\"type\":\""
#define SEQUENCE_KEY "\",\"sequence_number\":"

/* ---- writing ---- */

void log_batch_init(struct log_batch *b, int64_t first)
{
        *b = (struct log_batch){ .first = first };
        buf_init(&b->text, BATCH_MAX);
}

void log_batch_release(struct log_batch *b)
{
        buf_release(&b->text);
        vec_release(&b->ends);
}

void log_batch_clear(struct log_batch *b, int64_t first)
{
        buf_clear(&b->text);
        b->ends.n = 0;
        b->first = first;
}

int64_t log_batch_next(const struct log_batch *b)
{
        return b->first + (int64_t)b->ends.n;
}

int log_batch_add(struct log_batch *b, const json_t *event)
{
        size_t before = b->text.n;
        int rc = event ? json_write(event, &b->text) : -ENOMEM;
        if (rc == 0 && vec_push(&b->ends, b->text.n))
                rc = -ENOMEM;
        if (rc)
                buf_cut(&b->text, before);
        return rc;
}

int log_batch_move(struct log_batch *b, struct log_batch *more)
{
        size_t before = b->text.n;
        if (vec_reserve(&b->ends, b->ends.n + more->ends.n))
                return -ENOMEM;
        buf_add(&b->text, more->text.p, more->text.n);
        int rc = buf_error(&b->text);
        if (rc) {
                buf_cut(&b->text, before);
                return rc;
        }
        for (size_t i = 0; i < more->ends.n; i++)
                b->ends.p[b->ends.n++] = before + more->ends.p[i];
        log_batch_clear(more, log_batch_next(b));
        return 0;
}

static const char *row_id(char out[LOG_ROW_ID_MAX], const char *response, int64_t first)
{
        snprintf(out, LOG_ROW_ID_MAX, "%s_%lld", response, (long long)first);
        return out;
}

/* How many events of the batch go into the row that begins with the i-th. */
static size_t row_events(const struct log_batch *b, size_t i)
{
        int64_t first = b->first + (int64_t)i;
        size_t room = (size_t)(LOG_ROW_EVENTS - first % LOG_ROW_EVENTS), left = b->ends.n - i;
        return left < room ? left : room;
}

static int row_text(const struct log_batch *b, size_t i, size_t n, struct buf *out)
{
        buf_init(out, STORE_DOC_MAX);
        buf_addc(out, '[');
        for (size_t k = i; k < i + n; k++) {
                size_t from = k ? b->ends.p[k - 1] : 0;
                buf_adds(out, k == i ? "\n" : ",\n");
                buf_add(out, b->text.p + from, b->ends.p[k] - from);
        }
        buf_adds(out, "\n]");
        return buf_error(out);
}

int log_rows_make(const struct log_batch *b, const struct log_owner *owner, struct log_rows *ret)
{
        size_t most = b->ends.n / LOG_ROW_EVENTS + 2;
        int rc = 0;
        *ret = (struct log_rows){ .ops = mem_calloc(most, sizeof(*ret->ops)),
                                  .texts = mem_calloc(most, sizeof(*ret->texts)) };
        if (!ret->ops || !ret->texts)
                return -ENOMEM;
        for (size_t i = 0; i < b->ends.n && rc == 0;) {
                struct log_row_text *text = &ret->texts[ret->n];
                size_t n = row_events(b, i);
                rc = row_text(b, i, n, &text->doc);
                ret->ops[ret->n++] =
                        (struct store_op){ .verb = STORE_PUT,
                                           .kind = KIND_RESPONSE_EVENTS,
                                           .id = row_id(text->id, owner->id, b->first + (int64_t)i),
                                           .project = owner->project,
                                           .parent = owner->id,
                                           .created = owner->created,
                                           .expires = owner->expires,
                                           .doc = buf_str(&text->doc) };
                i += n;
        }
        return rc;
}

void log_rows_release(struct log_rows *rows)
{
        for (size_t i = 0; rows->texts && i < rows->n; i++)
                buf_release(&rows->texts[i].doc);
        mem_free(rows->texts);
        mem_free(rows->ops);
        *rows = (struct log_rows){ 0 };
}

/* ---- reading ---- */

int64_t log_row_start(int64_t sequence)
{
        return sequence - sequence % LOG_ROW_EVENTS;
}

int log_row_read(struct store *s, const struct log_owner *owner, int64_t first, struct object *ret,
                 struct store_fault *fault)
{
        char id[LOG_ROW_ID_MAX];
        return store_get(s, KIND_RESPONSE_EVENTS, row_id(id, owner->id, first), owner->project, ret, fault);
}

/* Takes `what` off the front of *s. */
static bool take(struct str *s, const char *what)
{
        size_t n = strlen(what);
        if (!str_starts(*s, what))
                return false;
        s->p += n;
        s->n -= n;
        return true;
}

/* The type and number of an event, which are its first members. */
static bool read_head(struct log_line *line)
{
        struct str s = line->json;
        if (!take(&s, TYPE_KEY))
                return false;
        const char *quote = memchr(s.p, '"', s.n);
        if (!quote)
                return false;
        line->type = (struct str){ s.p, (size_t)(quote - s.p) };
        s.n -= line->type.n;
        s.p = quote;
        if (!take(&s, SEQUENCE_KEY))
                return false;
        size_t digits = 0;
        while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
                digits++;
        return str_to_i64((struct str){ s.p, digits }, &line->sequence);
}

int log_line_next(struct str *rest, struct log_line *ret)
{
        while (rest->n) {
                struct str line = str_split(*rest, '\n', rest);
                if (str_eqc(line, "[") || str_eqc(line, "]"))
                        continue;
                if (line.n && line.p[line.n - 1] == ',')
                        line.n--;
                ret->json = line;
                return read_head(ret) ? 1 : -EBADMSG;
        }
        return 0;
}

bool log_line_is_last(const struct log_line *line)
{
        return str_eqc(line->type, "response.completed") || str_eqc(line->type, "response.incomplete") ||
               str_eqc(line->type, "response.failed");
}

/* Letters that fill the event up to a multiple of PADDING_STEP; which ones depends on the event only. */
static void add_padding(const struct log_line *line, const char *response, struct buf *out)
{
        struct rng rng;
        size_t n = PADDING_STEP - line->json.n % PADDING_STEP;
        rng_seed(&rng, str_hash_more(str_hash(str_c(response)), line->json));
        for (size_t i = 0; i < n; i++)
                buf_addc(out, (char)('a' + rng_below(&rng, 26)));
}

void log_line_write(const struct log_line *line, const char *response, bool obfuscate, struct buf *out)
{
        struct str delta = STR(".delta");
        bool is_delta =
                line->type.n > delta.n && !memcmp(line->type.p + line->type.n - delta.n, delta.p, delta.n);
        if (!obfuscate || !is_delta) {
                buf_add(out, line->json.p, line->json.n);
                return;
        }
        buf_add(out, line->json.p, line->json.n - 1);
        buf_adds(out, ",\"obfuscation\":\"");
        add_padding(line, response, out);
        buf_adds(out, "\"}");
}

int log_each(struct store *s, const struct log_owner *owner,
             int (*fn)(void *ctx, const struct log_line *line), void *ctx, struct store_fault *fault)
{
        int64_t next = 0;
        int rc = 0;
        while (rc == 0) {
                struct object row;
                struct log_line line;
                rc = log_row_read(s, owner, next, &row, fault);
                if (rc)
                        break;
                struct str rest = row.doc;
                int64_t first = next;
                while (rc == 0) {
                        int got = log_line_next(&rest, &line);
                        if (got <= 0) {
                                rc = got;
                                break;
                        }
                        rc = line.sequence == next ? fn(ctx, &line) : -EBADMSG;
                        next++;
                }
                object_release(&row);
                if (rc == 0 && next == first) /* an empty row would be read for ever */
                        rc = -EBADMSG;
        }
        return rc == -ENOENT ? 0 : rc;
}
