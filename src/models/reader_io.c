/* The input window and the event queue of the reader. */
#include <errno.h>
#include <string.h>
#include "models/reader_internal.h"

/* ---- events ------------------------------------------------------------------------------------- */

/* The event that more of the same kind is added to. */
static struct reader_event *event_of(struct reader *r, enum turn_kind kind)
{
        struct reader_event *last = r->queue.n > r->head ? &r->queue.p[r->queue.n - 1] : NULL;
        bool grows = kind == TURN_TEXT || kind == TURN_REASONING || kind == TURN_CALL_INPUT;
        if (last && grows && last->kind == kind)
                return last;
        struct reader_event ev = { .kind = kind,
                                   .start = r->out.n,
                                   .token = r->said.n,
                                   .call = kind == TURN_TEXT || kind == TURN_REASONING ? 0 : r->n_calls - 1,
                                   .tool = r->call.tool };
        if (vec_push(&r->queue, ev)) {
                r->error = -ENOMEM;
                return NULL;
        }
        return &r->queue.p[r->queue.n - 1];
}

void reader_say(struct reader *r, enum turn_kind kind, struct str text)
{
        struct reader_event *ev = event_of(r, kind);
        if (!ev)
                return;
        size_t before = r->out.n;
        buf_add(&r->out, text.p, text.n);
        ev->n += r->out.n - before;
}

/* Text without the control tokens in it. */
static void say_plain(struct reader *r, enum turn_kind kind, struct str text)
{
        while (text.n) {
                const char *control = memchr(text.p, FORMAT_CONTROL, text.n);
                size_t n = control ? (size_t)(control - text.p) : text.n;
                if (n && kind == TURN_CALL_INPUT)
                        reader_call_input(r, (struct str){ text.p, n });
                else if (n)
                        reader_say(r, kind, (struct str){ text.p, n });
                const char *end = control ? memchr(control, FORMAT_CONTROL_END, text.n - n) : NULL;
                n = end ? (size_t)(end + 1 - text.p) : text.n;
                text = (struct str){ text.p + n, text.n - n };
        }
}

bool reader_next(struct reader *r, struct turn_event *ret)
{
        if (r->head == r->queue.n)
                return false;
        const struct reader_event *ev = &r->queue.p[r->head];
        if (vec_reserve(&r->view, ev->n_tokens)) {
                r->error = -ENOMEM;
                return false;
        }
        for (size_t i = 0; i < ev->n_tokens; i++) {
                const struct reader_record *rec = &r->said.p[ev->token + i];
                r->view.p[i] = rec->tok;
                r->view.p[i].top = rec->tok.n_top ? r->tops.p + rec->top : NULL;
        }
        *ret = (struct turn_event){ .kind = ev->kind,
                                    .text = ev->n ? (struct str){ r->out.p + ev->start, ev->n } : STR(""),
                                    .tokens = r->view.p,
                                    .n_tokens = ev->n_tokens,
                                    .call = ev->call,
                                    .last = r->ended };
        if (ev->kind == TURN_CALL_BEGIN) {
                ret->name = (struct str){ ev->tool->name, ev->tool->n_name };
                ret->custom = ev->tool->custom;
        }
        return true;
}

void reader_taken(struct reader *r)
{
        if (++r->head < r->queue.n)
                return;
        r->head = r->queue.n = r->said.n = 0;
        buf_cut(&r->out, 0);
        if (r->n_credited < r->records.n)
                return;
        r->n_credited = r->records.n = 0;
        r->tops.n = 0;
}

/* ---- tokens ------------------------------------------------------------------------------------- */

/* A token's record goes out with the text that it ends in. */
static void say_token(struct reader *r, const struct reader_record *rec)
{
        struct reader_event *ev = event_of(r, TURN_TEXT);
        if (!ev)
                return;
        if (vec_push(&r->said, *rec))
                r->error = -ENOMEM;
        else
                ev->n_tokens++;
}

void reader_credit(struct reader *r, enum reader_use use)
{
        if (use == USE_HOLD)
                return;
        size_t position = r->base + r->at;
        for (; r->n_credited < r->records.n && r->records.p[r->n_credited].end <= position; r->n_credited++) {
                if (use == USE_REASONING)
                        r->reasoning_tokens++;
                else if (use == USE_TEXT && r->tokens)
                        say_token(r, &r->records.p[r->n_credited]);
        }
}

/* ---- input -------------------------------------------------------------------------------------- */

struct str reader_rest(const struct reader *r)
{
        return r->in.p ? (struct str){ r->in.p + r->at, r->limit - r->at } : STR("");
}

bool reader_is_space(char c)
{
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void reader_pass(struct reader *r, size_t n, enum reader_use use)
{
        struct str text = { reader_rest(r).p, n };
        r->at += n;
        if (n && use == USE_TEXT)
                say_plain(r, TURN_TEXT, text);
        else if (n && use == USE_REASONING)
                say_plain(r, TURN_REASONING, text);
        else if (n && use == USE_INPUT)
                say_plain(r, TURN_CALL_INPUT, text);
        reader_credit(r, use);
}

void reader_hold(struct reader *r, size_t n)
{
        r->holds = true;
        r->hold = r->at;
        r->n_hold = n;
        reader_pass(r, n, USE_HOLD);
}

bool reader_skip_space(struct reader *r, enum reader_use use)
{
        struct str rest = reader_rest(r);
        size_t n = 0;
        while (n < rest.n && reader_is_space(rest.p[n]))
                n++;
        reader_pass(r, n, use);
        return n < rest.n;
}

int reader_follows(const struct reader *r, struct str mark)
{
        struct str rest = reader_rest(r);
        size_t n = rest.n < mark.n ? rest.n : mark.n;
        if (!mark.n || (n && memcmp(rest.p, mark.p, n)))
                return -1;
        return n == mark.n ? 1 : r->ended ? -1 : 0;
}

/* The mark that is complete first: its index, and where it begins; -1 without one. Which one that is does not
 * depend on the pieces that the text comes in. */
static int find_mark(struct str text, const struct str *marks, size_t n, size_t *ret_at)
{
        int found = -1;
        for (size_t i = 0; i < n && text.n; i++) {
                const char *hit = marks[i].n ? memmem(text.p, text.n, marks[i].p, marks[i].n) : NULL;
                if (!hit)
                        continue;
                found = (int)i;
                *ret_at = (size_t)(hit - text.p);
                text.n = *ret_at + marks[i].n - 1; /* another one must end before */
        }
        return found;
}

/* Length of the end of the text that may be the beginning of a mark. */
static size_t mark_begun(struct str text, const struct str *marks, size_t n)
{
        size_t most = 0;
        for (size_t i = 0; i < n; i++) {
                size_t k = marks[i].n && marks[i].n - 1 < text.n ? marks[i].n - 1 : text.n;
                for (; marks[i].n && k > most; k--)
                        if (!memcmp(text.p + text.n - k, marks[i].p, k))
                                most = k;
        }
        return most;
}

static size_t space_before(struct str text, size_t at)
{
        size_t n = 0;
        while (n < at && n < READER_SPACE_MAX && reader_is_space(text.p[at - n - 1]))
                n++;
        return n;
}

int reader_scan(struct reader *r, enum reader_use use, const struct str *marks, size_t n, size_t n_stops,
                bool trim, size_t *ret_mark)
{
        struct str rest = reader_rest(r);
        size_t at = 0;
        int found = find_mark(rest, marks, n, &at);
        if (found >= 0) {
                bool is_stop = (size_t)found >= n - n_stops;
                size_t space = trim && !is_stop ? space_before(rest, at) : 0;
                reader_pass(r, at - space, use);
                *ret_mark = space + marks[found].n;
                return found;
        }
        size_t keep = r->ended ? 0 : mark_begun(rest, marks, n);
        if (trim && !r->ended)
                keep += space_before(rest, rest.n - keep);
        reader_pass(r, rest.n - keep, use);
        return -1;
}
