#include <errno.h>
#include <string.h>
#include "engine/output.h"

#define MAX_TEXT (64u << 20) /* of text held at one time: a bound that no model reaches */

/* ---- UTF-8 (RFC 3629) --------------------------------------------------------------------------- */

/* Bytes of the character that starts with b, and the range its second byte must be in; 0: none starts so. */
static int char_length(uint8_t b, uint8_t *ret_low, uint8_t *ret_high)
{
        *ret_low = 0x80;
        *ret_high = 0xbf;
        if (b < 0x80)
                return 1;
        if (b < 0xc2 || b > 0xf4)
                return 0;
        if (b < 0xe0)
                return 2;
        if (b == 0xe0)
                *ret_low = 0xa0; /* shorter forms exist */
        if (b == 0xed)
                *ret_high = 0x9f; /* surrogates */
        if (b == 0xf0)
                *ret_low = 0x90;
        if (b == 0xf4)
                *ret_high = 0x8f; /* beyond U+10FFFF */
        return b < 0xf0 ? 3 : 4;
}

/* Looks at the character at p: its length when whole; 0 when the n bytes are a proper beginning of one; minus
 * the length of the broken part otherwise. */
static int utf8_char(const uint8_t *p, size_t n)
{
        uint8_t low, high;
        int len = char_length(p[0], &low, &high);
        if (!len)
                return -1;
        for (int i = 1; i < len; i++) {
                if ((size_t)i == n)
                        return 0;
                if (p[i] < low || p[i] > high)
                        return -i;
                low = 0x80;
                high = 0xbf;
        }
        return len;
}

void utf8_feed(struct buf *out, uint8_t partial[4], size_t *n_partial, struct str bytes, bool final)
{
        uint8_t window[8];
        size_t at = 0;
        while (*n_partial || at < bytes.n) {
                size_t n = *n_partial, more = bytes.n - at < 4 - n ? bytes.n - at : 4 - n;
                memcpy(window, partial, n);
                memcpy(window + n, bytes.p + at, more);
                int len = utf8_char(window, n + more);
                if (!len && !final) { /* all that is left belongs to one unfinished character */
                        memcpy(partial, window, n + more);
                        *n_partial = n + more;
                        return;
                }
                if (len > 0)
                        buf_add(out, window, (size_t)len);
                else
                        buf_adds(out, "\xef\xbf\xbd");
                size_t used = len > 0 ? (size_t)len : len < 0 ? (size_t)-len : n + more;
                if (used >= n) {
                        at += used - n;
                        *n_partial = 0;
                } else {
                        memmove(partial, partial + used, n - used);
                        *n_partial = n - used;
                }
        }
}

/* ---- stop strings ------------------------------------------------------------------------------- */

int output_set_stops(struct output *o, const struct str *stop, size_t n)
{
        if (n > ENGINE_STOP_MAX)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                if (!stop[i].n || stop[i].n > ENGINE_STOP_BYTES || !str_is_utf8(stop[i]))
                        return -EINVAL;
                buf_add(&o->stops, stop[i].p, stop[i].n);
                o->stop_end[i] = o->stops.n;
        }
        o->n_stops = n;
        return buf_error(&o->stops);
}

static struct str stop_at(const struct output *o, size_t i)
{
        size_t from = i ? o->stop_end[i - 1] : 0;
        return (struct str){ o->stops.p + from, o->stop_end[i] - from };
}

struct str output_stop(const struct output *o)
{
        return o->stopped < 0 ? STR("") : stop_at(o, (size_t)o->stopped);
}

/* Where the text after the last control token begins in what is held. */
static size_t after_mark(const struct output *o)
{
        return o->floor > o->taken ? o->floor - o->taken : 0;
}

/* Cuts the text before the earliest stop string in it. Text before `fresh` has been searched already, so only
 * matches that end behind it are possible. */
static void find_stop(struct output *o, size_t fresh)
{
        size_t best = o->text.n;
        for (size_t i = 0; i < o->n_stops; i++) {
                struct str s = stop_at(o, i);
                size_t from = fresh >= s.n ? fresh - s.n + 1 : 0, floor = after_mark(o);
                from = from > floor ? from : floor;
                if (from >= o->text.n)
                        continue;
                const char *hit = memmem(o->text.p + from, o->text.n - from, s.p, s.n);
                if (hit && (size_t)(hit - o->text.p) < best) {
                        best = (size_t)(hit - o->text.p);
                        o->stopped = (int)i;
                }
        }
        if (o->stopped < 0)
                return;
        o->text.n = best;
        while (o->records.n && !o->records.p[o->records.n - 1].prompt &&
               !o->records.p[o->records.n - 1].control &&
               o->records.p[o->records.n - 1].start >= o->taken + best)
                o->tops.n -= (size_t)o->records.p[--o->records.n].tok.n_top;
}

/* Length of the end of the text that may be the beginning of a stop string. */
static size_t held(const struct output *o)
{
        size_t most = 0, text = o->text.n - after_mark(o);
        for (size_t i = 0; i < o->n_stops; i++) {
                struct str s = stop_at(o, i);
                size_t n = s.n - 1 < text ? s.n - 1 : text;
                for (; n > most; n--)
                        if (!memcmp(o->text.p + o->text.n - n, s.p, n))
                                most = n;
        }
        return most;
}

/* ---- tokens in, events out ---------------------------------------------------------------------- */

void output_init(struct output *o)
{
        *o = (struct output){ .stopped = -1 };
        buf_init(&o->text, MAX_TEXT);
        buf_init(&o->stops, ENGINE_STOP_MAX * ENGINE_STOP_BYTES);
}

void output_release(struct output *o)
{
        buf_release(&o->text);
        buf_release(&o->stops);
        vec_release(&o->marks);
        vec_release(&o->records);
        vec_release(&o->tops);
        vec_release(&o->list);
}

static int add_record(struct output *o, struct record r)
{
        if (vec_reserve(&o->tops, o->tops.n + (size_t)r.tok.n_top) || vec_push(&o->records, r))
                return -ENOMEM;
        if (r.tok.n_top)
                memcpy(o->tops.p + o->tops.n, r.tok.top, (size_t)r.tok.n_top * sizeof(*r.tok.top));
        o->tops.n += (size_t)r.tok.n_top;
        return 0;
}

int output_push_prompt(struct output *o, struct engine_token tok)
{
        return add_record(o, (struct record){ .tok = tok, .prompt = true });
}

int output_push(struct output *o, struct engine_token tok, bool record)
{
        size_t before = o->text.n;
        utf8_feed(&o->text, o->partial, &o->n_partial, tok.piece, false);
        struct record r = { .tok = tok,
                            .start = o->taken + before,
                            .end = o->taken + o->text.n + (o->n_partial ? 1 : 0) };
        if (buf_error(&o->text) || (record && add_record(o, r)))
                return -ENOMEM;
        find_stop(o, before);
        return 0;
}

int output_push_control(struct output *o, struct engine_token tok, bool record)
{
        size_t before = o->text.n;
        utf8_feed(&o->text, o->partial, &o->n_partial, STR(""), true);
        find_stop(o,
                  before); /* of U+FFFD alone: no character was complete before that has not been looked at */
        if (o->stopped >= 0)
                return 0;
        struct mark mark = { o->taken + o->text.n, tok.id, record };
        struct record r = { .tok = tok, .start = mark.at, .end = mark.at, .control = true };
        if (buf_error(&o->text) || (record && add_record(o, r)) || vec_push(&o->marks, mark))
                return -ENOMEM;
        o->floor = mark.at;
        return 0;
}

int output_end(struct output *o)
{
        size_t before = o->text.n;
        if (o->stopped < 0) {
                utf8_feed(&o->text, o->partial, &o->n_partial, STR(""), true);
                find_stop(o, before);
        }
        o->ended = true;
        return buf_error(&o->text) ? -ENOMEM : 0;
}

/* Records that go with the next event: of the prompt; or those up to the next mark whose text ends within the
 * first n bytes, all of them with `all`. */
static size_t ready_records(const struct output *o, bool prompt, bool all, size_t n)
{
        size_t k = 0;
        while (k < o->records.n && o->records.p[k].prompt == prompt && !o->records.p[k].control &&
               (prompt || all || o->records.p[k].end <= o->taken + n))
                k++;
        return k;
}

bool output_next(struct output *o, struct engine_event *ret)
{
        const struct mark *mark = o->marks.n ? o->marks.p : NULL;
        bool prompt = o->records.n && o->records.p[0].prompt, all = o->ended || o->stopped >= 0 || mark;
        size_t n = prompt ? 0 : mark ? mark->at - o->taken : all ? o->text.n : o->text.n - held(o);
        bool control = mark && !prompt && !n; /* all text before it has been taken */
        size_t k = ready_records(o, prompt, all, n) + (control && mark->recorded);
        if (!n && !control && !(k && (prompt || all)))
                return false;
        if (vec_reserve(&o->list, k))
                return false;
        const struct engine_top *top = o->tops.p;
        for (size_t i = 0; i < k; i++) {
                o->list.p[i] = o->records.p[i].tok;
                o->list.p[i].top = top;
                top += o->list.p[i].n_top;
        }
        *ret = (struct engine_event){
                .kind = prompt    ? ENGINE_EV_PROMPT
                        : control ? ENGINE_EV_CONTROL
                                  : ENGINE_EV_TEXT,
                .control = control ? mark->id : 0,
                .text = { o->text.p, n },
                .tokens = o->list.p,
                .n_tokens = k,
        };
        return true;
}

bool output_pending(const struct output *o)
{
        return o->text.n || o->records.n || o->marks.n;
}

void output_taken(struct output *o, const struct engine_event *ev)
{
        size_t tops = 0;
        if (ev->kind == ENGINE_EV_CONTROL)
                memmove(o->marks.p, o->marks.p + 1, --o->marks.n * sizeof(*o->marks.p));
        for (size_t i = 0; i < ev->n_tokens; i++)
                tops += (size_t)o->records.p[i].tok.n_top;
        o->records.n -= ev->n_tokens;
        if (ev->n_tokens)
                memmove(o->records.p, o->records.p + ev->n_tokens, o->records.n * sizeof(*o->records.p));
        o->tops.n -= tops;
        if (tops)
                memmove(o->tops.p, o->tops.p + tops, o->tops.n * sizeof(*o->tops.p));
        o->taken += ev->text.n;
        buf_consume(&o->text, ev->text.n);
}
