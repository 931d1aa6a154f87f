#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"

#define LINE_MAX_BYTES 8192

static enum log_level min_level = LOG_INFO_;
static bool as_json = true;
static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_setup(enum log_level min, bool json)
{
        min_level = min;
        as_json = json;
}

/* 2026-01-31T12:00:00.123Z */
static void add_time(struct buf *line)
{
        int64_t us = clock_unix_us();
        time_t seconds = (time_t)(us / 1000000);
        struct tm tm;
        char text[32];
        gmtime_r(&seconds, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        buf_addf(line, "%s.%03dZ", text, (int)(us / 1000 % 1000));
}

static void add_escaped(struct buf *line, const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                if (c == '"' || c == '\\')
                        buf_addf(line, "\\%c", c);
                else if (c < 0x20 || c == 0x7f)
                        buf_addf(line, "\\u%04x", c);
                else
                        buf_addc(line, (char)c);
        }
}

/* What a client chose must not command the terminal of whoever reads it. */
static void add_printable(struct buf *line, const char *s)
{
        for (; *s; s++)
                buf_addc(line, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

/* One write() a line: lines of other threads never mix into it. */
static void emit(struct buf *line)
{
        buf_addc(line, '\n');
        if (!buf_error(line)) {
                ssize_t written = write(STDERR_FILENO, line->p, line->n);
                (void)written; /* nowhere left to complain */
        }
        buf_release(line);
}

void log_fields(enum log_level level, const char *event, const char *fields, const char *text)
{
        if (level < min_level)
                return;
        struct buf line;
        buf_init(&line, 4 * LINE_MAX_BYTES);
        if (as_json) {
                buf_adds(&line, "{\"time\":\"");
                add_time(&line);
                buf_addf(&line, "\",\"level\":\"%s\",\"event\":\"%s\"%s%s}", level_names[level], event,
                         *fields ? "," : "", fields);
        } else {
                add_time(&line);
                buf_addf(&line, " %-5s %s: ", level_names[level], event);
                add_printable(&line, text);
        }
        emit(&line);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
        if (level < min_level)
                return;
        char message[LINE_MAX_BYTES / 2];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(message, sizeof(message), fmt, ap);
        va_end(ap);
        struct buf fields;
        buf_init(&fields, 3 * LINE_MAX_BYTES);
        buf_adds(&fields, "\"message\":\"");
        add_escaped(&fields, message);
        buf_addc(&fields, '"');
        if (!buf_error(&fields))
                log_fields(level, event, fields.p, message);
        buf_release(&fields);
}
