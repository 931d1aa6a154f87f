/* Whatever a model writes, and in whatever pieces it comes: the events are the same as when it comes at once,
 * they are in order, their text is UTF-8, and where nothing but text is looked for, nothing of it is lost.
 * Input: a byte for the format, one of flags, one of seed for the cuts, then the stream. In it 0x01 and a
 * byte stand for a control token, 0x02 and a byte for a marker that is spelled out, and bytes from 0x80 on
 * for characters of several bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "models/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { CONTROLS = 1, CALLS = 2, STOPS = 4, WHOLE = 8, GUIDED = 16, THINK_SHIFT = 5 };

#define STREAM_MAX 20000

static const struct turn_tool tools[] = {
        { .name = STR_INIT("add") },
        { .name = STR_INIT("get_weather") },
        { .custom = true, .name = STR_INIT("run") },
};

static int32_t is_control(void *ctx, struct str spelling)
{
        (void)spelling;
        return *(int *)ctx & CONTROLS ? 1 : -1;
}

static const char *const words[] = { "{\"name\": \"",
                                     "\"arguments\": ",
                                     "\"parameters\": {",
                                     "{\"input\": \"",
                                     "}}",
                                     "analysis",
                                     " to=functions.",
                                     "assistant",
                                     "add",
                                     "run",
                                     "STOP",
                                     "```json\n",
                                     "\\ud83d\\ude00",
                                     "[CALL_ID]" };

static const char *marker(const struct format *f, uint8_t b)
{
        const char *all[] = { f->section, f->section_end, f->open, f->close, f->sep, f->think, f->think_end };
        const char *m = all[b % 7];
        return b >= 128 ? words[b % (sizeof(words) / sizeof(words[0]))] : m ? m : "";
}

/* ---- one reading ---- */

struct outcome {
        struct buf events, text;
        int kind, call; /* of the last event; the call that is open, -1: none */
        int n_calls, reasoning;
};

static void hear(struct outcome *o, struct reader *r)
{
        struct turn_event ev;
        while (reader_next(r, &ev)) {
                bool piece = ev.kind == TURN_TEXT || ev.kind == TURN_REASONING || ev.kind == TURN_CALL_INPUT;
                if (!str_is_utf8(ev.text) ||
                    (o->call >= 0 && (ev.kind == TURN_TEXT || ev.kind == TURN_REASONING)))
                        abort();
                if (ev.kind == TURN_CALL_BEGIN) {
                        if (o->call >= 0 || ev.call != o->n_calls++)
                                abort();
                        o->call = ev.call;
                } else if (ev.kind == TURN_CALL_INPUT || ev.kind == TURN_CALL_END) {
                        if (ev.call != o->call)
                                abort();
                        o->call = ev.kind == TURN_CALL_END ? -1 : o->call;
                }
                if (ev.kind == TURN_TEXT)
                        buf_add(&o->text, ev.text.p, ev.text.n);
                if (!piece || (ev.text.n && o->kind != (int)ev.kind))
                        buf_addf(&o->events, "\n%d %.*s:", ev.kind, STR_ARG(ev.name));
                if (!piece || ev.text.n)
                        o->kind = (int)ev.kind;
                if (piece)
                        buf_add(&o->events, ev.text.p, ev.text.n);
                reader_taken(r);
        }
}

static void text(struct reader *r, struct outcome *o, struct str s)
{
        struct engine_token token = { .id = 1, .piece = s };
        if (reader_text(r, s, &token, s.n > 0))
                abort();
        hear(o, r);
}

static void feed(struct reader *r, struct outcome *o, struct str stream, struct rng *cuts)
{
        while (stream.n) {
                const char *control = memchr(stream.p, FORMAT_CONTROL, stream.n);
                size_t n = control ? (size_t)(control - stream.p) : stream.n;
                if (n) {
                        size_t most = cuts ? 1 + rng_below(cuts, 12) : n;
                        n = n < most ? n : most;
                        text(r, o, (struct str){ stream.p, n });
                } else {
                        const char *end = memchr(stream.p, FORMAT_CONTROL_END, stream.n);
                        n = (size_t)(end - stream.p) + 1;
                        if (reader_control(r, (struct str){ stream.p + 1, n - 2 }))
                                abort();
                        hear(o, r);
                }
                stream = (struct str){ stream.p + n, stream.n - n };
        }
}

static void run(const struct idiom *d, int flags, struct str stream, struct rng *cuts, struct outcome *o)
{
        static const struct str stops[] = { STR_INIT("STOP"), STR_INIT("\n\n\n"), STR_INIT("<tool") };
        struct reader_opts opts = { .idiom = d,
                                    .think = (enum reader_think)((flags >> THINK_SHIFT) % 3),
                                    .calls = flags & CALLS,
                                    .guided = flags & GUIDED,
                                    .tools = tools,
                                    .n_tools = 3,
                                    .stop = stops,
                                    .n_stop = flags & STOPS ? 3 : 0,
                                    .tokens = true };
        struct reader *r = reader_new(&opts);
        if (!r)
                abort();
        *o = (struct outcome){ .call = -1, .kind = -1 };
        buf_init(&o->events, 1 << 24);
        buf_init(&o->text, 1 << 24);
        feed(r, o, stream, cuts);
        if (reader_end(r, flags & WHOLE))
                abort();
        hear(o, r);
        if ((flags & WHOLE) && o->call >= 0)
                abort();
        if (buf_error(&o->events) || buf_error(&o->text))
                abort();
        reader_free(r);
}

/* ---- the input ---- */

static void put_spelling(struct buf *out, const char *spelling, bool control)
{
        if (control && *spelling)
                buf_addf(out, "%c%s%c", FORMAT_CONTROL, spelling, FORMAT_CONTROL_END);
        else
                buf_adds(out, spelling);
}

static void make_stream(const struct format *f, const uint8_t *bytes, size_t n, struct buf *out,
                        struct buf *plain)
{
        static const char *const chars[] = { "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbd\x9c" };
        for (size_t i = 0; i < n && out->n < STREAM_MAX; i++) {
                if (bytes[i] <= 2 && bytes[i] && i + 1 < n) {
                        const char *m = marker(f, bytes[++i]);
                        put_spelling(out, m, bytes[i - 1] == 1);
                        if (bytes[i - 1] == 2)
                                buf_adds(plain, m);
                } else if (bytes[i] >= 0x80) {
                        buf_adds(out, chars[bytes[i] % 4]);
                        buf_adds(plain, chars[bytes[i] % 4]);
                } else {
                        buf_addc(out, (char)bytes[i]);
                        buf_addc(plain, (char)bytes[i]);
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        size_t n_formats = 0;
        while (format_at(n_formats))
                n_formats++;
        if (n < 3)
                return 0;
        const struct format *f = format_at(bytes[0] % n_formats);
        int flags = bytes[1];
        struct format_vocab vocab = { is_control, &flags };
        struct idiom *d = idiom_new(f, &vocab);
        struct buf stream, plain;
        struct outcome once, cut;
        struct rng cuts;
        if (!d)
                abort();
        buf_init(&stream, 1 << 24);
        buf_init(&plain, 1 << 24);
        make_stream(f, bytes + 3, n - 3, &stream, &plain);
        rng_seed(&cuts, bytes[2]);
        run(d, flags, buf_str(&stream), NULL, &once);
        run(d, flags, buf_str(&stream), &cuts, &cut);
        if (!str_eq(buf_str(&once.events), buf_str(&cut.events)))
                abort();
        bool all_text = !(flags & (CALLS | STOPS)) && (flags >> THINK_SHIFT) % 3 == READER_ANSWERS;
        if (all_text && f->shape != FORMAT_CHANNELS && !str_eq(buf_str(&once.text), buf_str(&plain)))
                abort();
        buf_release(&once.events);
        buf_release(&once.text);
        buf_release(&cut.events);
        buf_release(&cut.text);
        buf_release(&stream);
        buf_release(&plain);
        idiom_free(d);
        return 0;
}
