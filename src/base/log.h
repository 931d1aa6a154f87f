/* The process's log on stderr: one line an event, JSON or text. Callers pass no secrets and no bodies. */
#ifndef CAIRN_BASE_LOG_H
#define CAIRN_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_ };

void log_setup(enum log_level min, bool json);
/* `event` is a short constant word; fmt gives the message. Whole lines, any thread. */
void log_event(enum log_level level, const char *event, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* fields: a JSON object's inside ("\"status\":200,...") made by the caller, and its text form, in which
 * control characters become '?'. */
void log_fields(enum log_level level, const char *event, const char *fields, const char *text);
#define log_debug(event, ...) log_event(LOG_DEBUG_, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_INFO_, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_WARN_, event, __VA_ARGS__)
#define log_error(event, ...) log_event(LOG_ERROR_, event, __VA_ARGS__)
#endif
