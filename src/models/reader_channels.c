/* Harmony: an answer is several messages. A header says which channel a message is on (analysis, commentary,
 * final) and to whom it goes ("to=functions.f"); a marker ends it.
 *
 *     <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...<|return|>
 *     <|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>
 */
#include <string.h>
#include "models/reader_internal.h"

#define HEADER_MAX 256
#define FUNCTIONS "functions."
#define MARK_CHANNEL (READER_CHANNEL_MARKS - 1)

static bool has_word(struct str text, const char *word)
{
        return text.n && memmem(text.p, text.n, word, strlen(word)) != NULL;
}

/* The tool that a header addresses, NULL for none of ours. */
static const struct reader_tool *addressee(const struct reader *r, struct str header)
{
        static const char to[] = "to=" FUNCTIONS;
        const char *at = header.n ? memmem(header.p, header.n, to, sizeof(to) - 1) : NULL;
        if (!at || !r->calls)
                return NULL;
        at += sizeof(to) - 1;
        struct str name = { at, 0 };
        while (at + name.n < header.p + header.n && !reader_is_space(at[name.n]) &&
               at[name.n] != FORMAT_CONTROL && at[name.n] != '<')
                name.n++;
        return reader_find_tool(r, name);
}

bool reader_header(struct reader *r)
{
        struct str rest = reader_rest(r), sep = r->d->sep;
        const char *hit = rest.n ? memmem(rest.p, rest.n, sep.p, sep.n) : NULL;
        size_t n = hit ? (size_t)(hit - rest.p) : 0;
        if (!hit && rest.n < HEADER_MAX + sep.n)
                return false;
        if (!hit || n > HEADER_MAX) { /* no header: the model just talks */
                if (reader_follows(r, r->d->open) == 1)
                        reader_pass(r, r->d->open.n, USE_TEXT);
                r->message = USE_TEXT;
                r->state = READ_MESSAGE;
                return true;
        }
        struct str header = { rest.p, n };
        const struct reader_tool *tool = addressee(r, header);
        r->message = tool ? USE_INPUT : has_word(header, "analysis") ? USE_REASONING : USE_TEXT;
        reader_pass(r, n + sep.n, USE_DROP);
        if (tool) {
                reader_call_open(r);
                reader_call_begin(r, tool);
        }
        r->state = READ_MESSAGE;
        return true;
}

bool reader_message(struct reader *r)
{
        bool arguments = r->call.tool && !r->call.tool->custom;
        size_t n_stops = r->message == USE_TEXT ? r->n_stops : 0;
        size_t n = r->n_marks - r->n_stops + n_stops, before = r->out.n, mark;
        int found = reader_scan(r, r->message, r->marks, n, n_stops, arguments, &mark);
        r->call.has_input |= r->call.tool && r->out.n != before;
        if (found < 0)
                return false;
        if (r->call.tool)
                reader_call_end(r);
        r->stopped = (size_t)found >= n - n_stops;
        r->state = r->stopped ? READ_NOTHING : READ_HEADER;
        if (found != MARK_CHANNEL) /* which begins the next header */
                reader_pass(r, mark, USE_DROP);
        return true;
}

/* Whether text is the beginning of a header, and not what a model says that knows of none. */
static bool is_header(const struct reader *r, struct str text)
{
        struct str open = r->d->open;
        return memmem(text.p, text.n, open.p, open.n) || str_starts(text, "assistant") ||
               str_starts(str_trim(text), "to=");
}

/* The markers that end the last message end the turn too, so that they do not come here. */
void reader_message_end(struct reader *r)
{
        struct str rest = reader_rest(r);
        enum reader_use use = r->state == READ_MESSAGE ? r->message : USE_DROP;
        if (r->state == READ_HEADER && rest.n && !is_header(r, rest))
                use = USE_TEXT;
        reader_pass(r, rest.n, use);
        if (r->call.tool && r->whole)
                reader_call_end(r);
}
