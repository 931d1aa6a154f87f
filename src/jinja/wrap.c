/* Breaking a line into shorter ones as Python's textwrap does: words, hyphenated words and dashes are the
 * pieces; space at the ends of lines goes. */
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

/* A line as characters, so that what stands around a position can be looked at. */
struct chars {
        const uint32_t *c;
        const size_t *at; /* n + 1 byte offsets */
        size_t n;
};

static bool blank(uint32_t c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool word(uint32_t c)
{
        return c == '_' || uni_alnum(c);
}

static bool letter(const struct chars *s, size_t i)
{
        return i < s->n && word(s->c[i]) && !uni_is(s->c[i], UNI_DECIMAL);
}

/* A character after which a dash may follow: of a word, or its punctuation. */
static bool word_end(uint32_t c)
{
        return word(c) || (c < 0x80 && c && strchr("!\"'&.,?", (int)c));
}

/* The end of a run of at least two dashes at i that a word follows, 0 when there is none. */
static size_t dashes(const struct chars *s, size_t i)
{
        size_t end = i;
        while (end < s->n && s->c[end] == '-')
                end++;
        return end >= i + 2 && end < s->n && word(s->c[end]) ? end : 0;
}

/* Whether a piece may end behind the hyphen at i. */
static bool hyphen_breaks(const struct chars *s, size_t i)
{
        if (i >= s->n || s->c[i] != '-' || i < 2)
                return false;
        bool before = (letter(s, i - 1) && letter(s, i - 2)) ||
                      (i >= 3 && word_end(s->c[i - 1]) && s->c[i - 2] == '-' && letter(s, i - 3));
        size_t next = i + 1;
        if (!letter(s, next))
                return false;
        next++;
        return before && (letter(s, next) || (next < s->n && s->c[next] == '-' && letter(s, next + 1)));
}

static size_t piece_end(const struct chars *s, size_t i, bool hyphens)
{
        size_t end = i;
        if (blank(s->c[i])) {
                while (end < s->n && blank(s->c[end]))
                        end++;
                return end;
        }
        if (hyphens && i && word_end(s->c[i - 1]) && (end = dashes(s, i)))
                return end;
        for (end = i + 1; end < s->n && !blank(s->c[end]); end++) {
                if (hyphens && hyphen_breaks(s, end))
                        return end + 1;
                if (hyphens && word_end(s->c[end - 1]) && dashes(s, end))
                        return end;
        }
        return end;
}

static struct chars decode(struct run *r, struct jv s)
{
        size_t n = jv_length(r, s), at = 0;
        uint32_t *c = run_array(r, n, sizeof(*c));
        size_t *offset = run_array(r, n + 1, sizeof(*offset));
        run_step(r, n);
        for (size_t i = 0; i < n; i++) {
                offset[i] = at;
                at += uni_next(s.s->p + at, &c[i]);
        }
        offset[n] = at;
        return (struct chars){ c, offset, n };
}

/* The end of the part of a piece too long for a line that goes into `room`: behind a hyphen, where one is. */
static size_t break_piece(const struct chars *s, size_t from, size_t to, size_t room, bool hyphens)
{
        size_t end = from + room;
        if (hyphens && to - from > room)
                for (size_t i = from + room; i > from + 1; i--)
                        if (s->c[i - 1] == '-') {
                                for (size_t k = from; k < i - 1; k++)
                                        if (s->c[k] != '-')
                                                return i;
                                break;
                        }
        return end < to ? end : to;
}

void text_wrap(struct run *r, struct jv line, const struct wrap_opts *o, struct jv *list)
{
        struct chars s = decode(r, line);
        size_t width = (size_t)o->width, i = 0;
        while (i < s.n) {
                size_t start = i, end = i, last = i; /* the line is [start, last): without space at its end */
                if (list->l->n && blank(s.c[i])) {
                        i = piece_end(&s, i, o->break_hyphens);
                        start = end = last = i;
                }
                while (end < s.n) {
                        size_t next = piece_end(&s, end, o->break_hyphens);
                        run_step(r, next - end);
                        if (next - start > width) {
                                bool too_long = next - end > width;
                                size_t room = width - (end - start);
                                if (too_long && o->break_long)
                                        end = last = room ? break_piece(&s, end, next, room, o->break_hyphens)
                                                          : end;
                                else if (end == start)
                                        end = last = next;
                                break;
                        }
                        if (!blank(s.c[end]))
                                last = next;
                        end = next;
                }
                if (last > start)
                        jv_push(r, list, jv_part(r, line, s.at[start], s.at[last]));
                i = end;
        }
}
