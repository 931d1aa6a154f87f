/* The states of the reader: what the bytes are that come next. */
#include "models/reader.h"

#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "models/reader_internal.h"

#define STREAM_MAX ((size_t)64 << 20) /* of bytes held at one time: a bound that no model reaches */

/* ---- life --------------------------------------------------------------------------------------- */

static int copy_tools(struct reader *r, const struct turn_tool *tools, size_t n)
{
        r->tools = mem_calloc(n, sizeof(*r->tools));
        if (!r->tools)
                return -ENOMEM;
        for (; r->n_tools < n; r->n_tools++) {
                const struct turn_tool *t = &tools[r->n_tools];
                r->tools[r->n_tools] =
                        (struct reader_tool){ mem_strndup(t->name.p, t->name.n), t->name.n, t->custom };
                if (!r->tools[r->n_tools].name)
                        return -ENOMEM;
        }
        return 0;
}

/* The marks that end a text: those of the idiom, then the stop strings. */
static int set_marks(struct reader *r, const struct str *stop, size_t n)
{
        const struct idiom *d = r->d;
        if (n > ENGINE_STOP_MAX)
                return -EINVAL;
        if (d->format && d->format->shape == FORMAT_CHANNELS) {
                const struct str ends[READER_CHANNEL_MARKS] = { d->close, d->section, d->section_end,
                                                                d->open };
                memcpy(r->marks, ends, sizeof(ends));
                r->n_marks = READER_CHANNEL_MARKS;
        } else if (r->calls) {
                r->marks[r->n_marks++] = d->section.n ? d->section : d->open;
        }
        for (size_t i = 0; i < n; i++)
                buf_add(&r->stops, stop[i].p, stop[i].n);
        if (buf_error(&r->stops))
                return -ENOMEM;
        for (size_t i = 0, at = 0; i < n; at += stop[i++].n)
                r->marks[r->n_marks++] = (struct str){ r->stops.p + at, stop[i].n };
        r->n_stops = n;
        return 0;
}

static enum reader_state first_state(const struct reader_opts *opts)
{
        if (opts->idiom->format && opts->idiom->format->shape == FORMAT_CHANNELS)
                return READ_HEADER;
        switch (opts->think) {
        case READER_THINKS:
                return READ_THINK_LEAD;
        case READER_MAY_THINK:
                return READ_START;
        default:
                return READ_ANSWER_START;
        }
}

struct reader *reader_new(const struct reader_opts *opts)
{
        struct reader *r = mem_calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        buf_init(&r->in, STREAM_MAX);

        buf_init(&r->out, STREAM_MAX);
        buf_init(&r->call.early, STREAM_MAX);
        buf_init(&r->stops, ENGINE_STOP_MAX * ENGINE_STOP_BYTES);
        r->d = opts->idiom;
        r->calls = opts->calls && opts->idiom->format;
        r->guided = opts->guided;
        r->tokens = opts->tokens;
        r->state = first_state(opts);
        if (set_marks(r, opts->stop, opts->n_stop) || copy_tools(r, opts->tools, opts->n_tools)) {
                reader_free(r);
                return NULL;
        }
        return r;
}

void reader_free(struct reader *r)
{
        if (!r)
                return;
        for (size_t i = 0; i < r->n_tools; i++)
                mem_free(r->tools[i].name);
        mem_free(r->tools);
        buf_release(&r->in);

        buf_release(&r->out);
        buf_release(&r->call.early);
        buf_release(&r->stops);
        vec_release(&r->records);
        vec_release(&r->tops);
        vec_release(&r->queue);
        vec_release(&r->said);
        vec_release(&r->view);
        mem_free(r);
}

/* ---- states: each returns whether there may be more to do with what is there ---------------------- */

static bool go(struct reader *r, enum reader_state state)
{
        r->state = state;
        return true;
}

/* What was held is no call: it is text, and so is what follows. */
static bool no_call(struct reader *r)
{
        if (r->call.tool) { /* too late to take it back; the rest of a character goes with it */
                reader_call_end(r);
                while (r->at < r->limit && (r->in.p[r->at] & 0xc0) == 0x80)
                        reader_pass(r, 1, USE_DROP);
        }
        if (r->holds) {
                r->holds = false;
                r->at = r->hold;
                reader_pass(r, r->n_hold, USE_TEXT);
        }
        return go(r, READ_ANSWER);
}

static bool read_start(struct reader *r)
{
        struct str rest = reader_rest(r);
        size_t at = r->at, space = 0;
        while (space < rest.n && reader_is_space(rest.p[space]))
                space++;
        r->at += space;
        int opens = reader_follows(r, r->d->think);
        r->at = at;
        if (opens < 0)
                return go(r, READ_ANSWER_START);
        if (opens == 0)
                return false;
        reader_pass(r, space + r->d->think.n, USE_DROP);
        return go(r, READ_THINK_LEAD);
}

static bool read_think(struct reader *r)
{
        size_t mark;
        if (reader_scan(r, USE_REASONING, &r->d->think_end, 1, 0, true, &mark) < 0)
                return false;
        reader_pass(r, mark, USE_DROP);
        return go(r, READ_ANSWER_LEAD);
}

/* A call that is the whole answer needs no opening. */
static bool read_answer_start(struct reader *r)
{
        struct str rest = reader_rest(r);
        size_t space = 0;
        if (!r->calls || !r->d->format->bare)
                return go(r, READ_ANSWER);
        while (space < rest.n && reader_is_space(rest.p[space]))
                space++;
        if (space == rest.n)
                return r->ended && go(r, READ_ANSWER);
        if (rest.p[space] != '{')
                return go(r, READ_ANSWER);
        reader_hold(r, space + 1);
        reader_call_open(r);
        r->call.state = CALL_MEMBER;
        return go(r, READ_OBJECT);
}

/* At an opening marker of n bytes. */
static bool open_call(struct reader *r, size_t n)
{
        reader_hold(r, n);
        reader_call_open(r);
        switch (r->d->format->shape) {
        case FORMAT_LIST:
                return go(r, READ_LIST);
        case FORMAT_NAMED:
                return go(r, READ_NAME);
        default:
                return go(r, READ_OBJECT);
        }
}

static bool read_answer(struct reader *r)
{
        size_t n_markers = r->n_marks - r->n_stops, mark;
        if (r->ended && r->n_calls && !reader_skip_space(r, USE_DROP))
                return false; /* white space after the last call */
        int found = reader_scan(r, USE_TEXT, r->marks, r->n_marks, r->n_stops, r->calls, &mark);
        if (found < 0)
                return false;
        if ((size_t)found >= n_markers) {
                r->stopped = true;
                return go(r, READ_NOTHING);
        }
        if (!r->d->section.n)
                return open_call(r, mark);
        reader_pass(r, mark, USE_DROP);
        return go(r, READ_NEXT_CALL);
}

static bool read_next_call(struct reader *r)
{
        const struct idiom *d = r->d;
        struct str separator = d->format->bare ? STR(";") : STR(",");
        if (!reader_skip_space(r, USE_DROP))
                return false;
        int opens = reader_follows(r, d->open), ends = reader_follows(r, d->section_end),
            list = d->format->shape == FORMAT_LIST || d->format->bare ? reader_follows(r, separator) : -1,
            bracket = d->format->shape == FORMAT_LIST ? reader_follows(r, STR("]")) : -1;
        if (opens == 1)
                return open_call(r, d->open.n);
        if (ends == 1) {
                reader_pass(r, d->section_end.n, USE_DROP);
                return go(r, READ_ANSWER);
        }
        if (list == 1) {
                reader_hold(r, 1);
                reader_call_open(r);
                return go(r, READ_OBJECT);
        }
        if (bracket == 1) {
                reader_pass(r, 1, USE_DROP);
                return go(r, READ_CLOSE);
        }
        if (opens == 0 || ends == 0)
                return false;
        return go(r, READ_ANSWER);
}

static bool read_list(struct reader *r)
{
        if (!reader_skip_space(r, USE_HOLD))
                return false;
        if (reader_follows(r, STR("[")) != 1)
                return no_call(r);
        reader_pass(r, 1, USE_HOLD);
        return go(r, READ_OBJECT);
}

static bool read_object(struct reader *r)
{
        int rc = reader_call_object(r);
        if (rc < 0)
                return no_call(r);
        if (rc == 0)
                return false;
        reader_call_end(r);
        return go(r, r->d->format->shape == FORMAT_LIST ? READ_NEXT_CALL : READ_CLOSE);
}

static bool read_close(struct reader *r)
{
        enum reader_state after = r->d->format->bare ? READ_NEXT_CALL : READ_ANSWER;
        if (!r->d->close.n)
                return go(r, after);
        if (!reader_skip_space(r, USE_DROP))
                return false;
        int closes = reader_follows(r, r->d->close);
        if (closes == 0)
                return false;
        if (closes == 1)
                reader_pass(r, r->d->close.n, USE_DROP);
        return go(r, after);
}

/* A name, and what stands between it and the arguments: the separator, perhaps with an id before it. */
static bool read_name(struct reader *r)
{
        struct str rest = reader_rest(r), sep = r->d->sep;
        const char *hit = memmem(rest.p, rest.n, sep.p, sep.n);
        size_t n = hit ? (size_t)(hit - rest.p) : 0;
        if (!hit && rest.n < READER_NAME_MAX + sep.n && !r->ended)
                return false;
        if (!hit || n > READER_NAME_MAX)
                return no_call(r);
        const char *control = memchr(rest.p, FORMAT_CONTROL, n);
        struct str name = str_trim((struct str){ rest.p, control ? (size_t)(control - rest.p) : n });
        const struct reader_tool *tool = reader_find_tool(r, name);
        if (!tool)
                return no_call(r);
        reader_pass(r, n + sep.n, USE_HOLD);
        reader_call_begin(r, tool);
        return go(r, tool->custom ? READ_NAMED_INPUT : READ_NAMED_LEAD);
}

static bool read_named_input(struct reader *r)
{
        const struct idiom *d = r->d;
        const struct str ends[] = { d->close, d->section_end, d->close.n ? STR("") : d->open };
        size_t before = r->out.n, mark;
        int found = reader_scan(r, USE_INPUT, ends, 3, 0, !r->call.tool->custom, &mark);
        r->call.has_input |= r->out.n != before;
        if (found < 0)
                return false;
        reader_call_end(r);
        if (found == 2)
                return open_call(r, mark);
        reader_pass(r, mark, USE_DROP);
        return go(r, found == 0 && d->section.n ? READ_NEXT_CALL : READ_ANSWER);
}

static bool read_nothing(struct reader *r)
{
        reader_pass(r, r->limit - r->at, USE_DROP);
        return false;
}

static bool step(struct reader *r)
{
        switch (r->state) {
        case READ_START:
                return read_start(r);
        case READ_THINK_LEAD:
                return reader_skip_space(r, USE_DROP) && go(r, READ_THINK);
        case READ_THINK:
                return read_think(r);
        case READ_ANSWER_LEAD:
                return reader_skip_space(r, USE_DROP) && go(r, READ_ANSWER_START);
        case READ_ANSWER_START:
                return read_answer_start(r);
        case READ_ANSWER:
                return read_answer(r);
        case READ_NEXT_CALL:
                return read_next_call(r);
        case READ_LIST:
                return read_list(r);
        case READ_OBJECT:
                return read_object(r);
        case READ_CLOSE:
                return read_close(r);
        case READ_NAME:
                return read_name(r);
        case READ_NAMED_LEAD:
                return reader_skip_space(r, USE_DROP) && go(r, READ_NAMED_INPUT);
        case READ_NAMED_INPUT:
                return read_named_input(r);
        case READ_HEADER:
                return reader_header(r);
        case READ_MESSAGE:
                return reader_message(r);
        case READ_NOTHING:
                return read_nothing(r);
        }
        return false;
}

/* ---- input -------------------------------------------------------------------------------------- */

static int failure(const struct reader *r)
{
        const struct buf *bufs[] = { &r->in, &r->out, &r->call.early };
        for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
                if (buf_error(bufs[i]))
                        return buf_error(bufs[i]);
        return r->error;
}

static int run(struct reader *r)
{
        while (!failure(r) && step(r))
                ;
        size_t used = r->holds ? r->hold : r->at;
        r->base += used;
        r->limit -= used;
        r->at -= used;
        r->hold = 0;
        buf_consume(&r->in, used);
        return failure(r);
}

/* The records of tokens whose text ends in the n bytes before the end of the input. */
static int add_records(struct reader *r, const struct engine_token *tokens, size_t n_tokens, size_t n)
{
        size_t start = r->base + r->in.n - n, end = r->base + r->in.n;
        if (vec_reserve(&r->records, r->records.n + n_tokens))
                return -ENOMEM;
        for (size_t i = n_tokens; i-- > 0;) {
                r->records.p[r->records.n + i] = (struct reader_record){ .tok = tokens[i], .end = end };
                end -= tokens[i].piece.n < end - start ? tokens[i].piece.n : end - start;
        }
        for (size_t i = 0; i < n_tokens; i++) {
                size_t n_top = (size_t)tokens[i].n_top;
                if (vec_reserve(&r->tops, r->tops.n + n_top))
                        return -ENOMEM;
                if (n_top)
                        memcpy(r->tops.p + r->tops.n, tokens[i].top, n_top * sizeof(*r->tops.p));
                r->records.p[r->records.n++].top = r->tops.n;
                r->tops.n += n_top;
        }
        return 0;
}

int reader_text(struct reader *r, struct str text, const struct engine_token *tokens, size_t n)
{
        buf_add(&r->in, text.p, text.n);
        if (buf_error(&r->in) || add_records(r, tokens, n, text.n))
                return -ENOMEM;
        r->limit = str_utf8_complete(buf_str(&r->in));
        return run(r);
}

/* Whether a control token means anything here: it stands in a marker, or, where names and headers have others
 * within them, the idiom has control tokens at all. */
static bool is_marker(const struct reader *r, struct str spelling)
{
        const struct idiom *d = r->d;
        const struct str marks[] = { d->section, d->section_end, d->open,     d->close,
                                     d->sep,     d->think,       d->think_end };
        bool any = d->format && (d->format->shape == FORMAT_NAMED || d->format->shape == FORMAT_CHANNELS);
        if (any && d->sep.n && memchr(d->open.p, FORMAT_CONTROL, d->open.n))
                return true;
        for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
                const char *hit = marks[i].n ? memmem(marks[i].p, marks[i].n, spelling.p, spelling.n) : NULL;
                if (hit && hit > marks[i].p && hit[-1] == FORMAT_CONTROL)
                        return true;
        }
        return false;
}

int reader_control(struct reader *r, struct str spelling)
{
        if (!spelling.n || !is_marker(r, spelling))
                return failure(r);
        buf_addc(&r->in, FORMAT_CONTROL);
        buf_add(&r->in, spelling.p, spelling.n);
        buf_addc(&r->in, FORMAT_CONTROL_END);
        r->limit = r->in.n;
        return run(r);
}

/* The end of the output in each state. What is held back is text, or belongs to what was begun. */
int reader_end(struct reader *r, bool whole)
{
        r->ended = true;
        r->whole = whole;
        r->limit = r->in.n;
        run(r);
        if (r->guided && !whole) /* a call cut before its name: there is nothing to say of it */
                r->holds = false;
        while (r->holds && no_call(r)) /* it never came to a name */
                run(r);
        switch (r->state) {
        case READ_ANSWER_LEAD:
        case READ_NEXT_CALL:
        case READ_CLOSE:
        case READ_NOTHING:
                reader_credit(r, USE_DROP);
                break;
        case READ_THINK:
        case READ_THINK_LEAD:
                reader_credit(r, USE_REASONING);
                break;
        case READ_OBJECT:
        case READ_NAME:
        case READ_LIST:
        case READ_NAMED_LEAD:
        case READ_NAMED_INPUT:
                if (r->call.tool && whole)
                        reader_call_end(r);
                reader_credit(r, USE_DROP);
                break;
        case READ_MESSAGE:
        case READ_HEADER:
                reader_message_end(r);
                break;
        default:
                reader_credit(r, USE_TEXT);
        }
        return failure(r);
}

bool reader_stopped(const struct reader *r)
{
        return r->stopped;
}

int reader_reasoning_tokens(const struct reader *r)
{
        return r->reasoning_tokens;
}
