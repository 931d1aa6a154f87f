/* What the parts of the reader share: the window on its input, the queue of its events, and the call that is
 * being read. Only reader*.c include it. */
#ifndef CAIRN_MODELS_READER_INTERNAL_H
#define CAIRN_MODELS_READER_INTERNAL_H

#include "base/buf.h"
#include "base/vec.h"
#include "models/reader.h"

#define READER_NAME_MAX 128 /* of a tool, in bytes */
#define READER_SPACE_MAX 64 /* white space that is held back */
#define READER_CHANNEL_MARKS 4

/* What becomes of bytes of the input, and with them of the tokens that end there. */
enum reader_use {
        USE_DROP,
        USE_HOLD, /* not known yet: stays in the window */
        USE_TEXT,
        USE_REASONING,
        USE_INPUT, /* of a call */
};

enum reader_state {
        READ_START,        /* white space before reasoning or answer */
        READ_THINK_LEAD,   /* white space after the opening of reasoning */
        READ_THINK,        /* reasoning */
        READ_ANSWER_LEAD,  /* white space after reasoning */
        READ_ANSWER_START, /* the first characters, where a bare call may stand */
        READ_ANSWER,       /* text */
        READ_NEXT_CALL,    /* after a call in a section or list, or after a bare one */
        READ_LIST,         /* before the '[' of a list */
        READ_OBJECT,       /* {"name": ..., "arguments": ...} */
        READ_CLOSE,        /* after it */
        READ_NAME,         /* FORMAT_NAMED: up to the separator */
        READ_NAMED_LEAD,   /* white space before the arguments */
        READ_NAMED_INPUT,  /* arguments or input, up to a marker */
        READ_HEADER,       /* FORMAT_CHANNELS: up to the message */
        READ_MESSAGE,      /* its text, up to a marker */
        READ_NOTHING,      /* the answer has been stopped */
};

struct reader_tool {
        char *name;
        size_t n_name;
        bool custom;
};

/* A token of the input that has not been accounted for. */
struct reader_record {
        struct engine_token tok; /* its .top is at tops.p + top */
        size_t end;              /* position in the stream */
        size_t top;
};

struct reader_event {
        enum turn_kind kind;
        size_t start, n;        /* in `out` */
        size_t token, n_tokens; /* in `said` */
        int call;
        const struct reader_tool *tool;
};

/* Undoes the escapes of a JSON string, byte by byte. */
struct unescape {
        enum { PLAIN, ESCAPE, HEX } state;
        int digits;
        unsigned code, high; /* of \uXXXX; a first half of a pair that waits for the second */
};

/* The call that is being read. */
struct reader_call {
        const struct reader_tool *tool; /* NULL until its name is known: from then on its events go out */
        enum {
                CALL_OPEN,
                CALL_MEMBER,
                CALL_KEY,
                CALL_COLON,
                CALL_VALUE,
                CALL_NAME,
                CALL_SKIP,
                CALL_ARGS,
        } state;
        char key[16], name[READER_NAME_MAX];
        size_t n_key, n_name;
        struct {
                int depth;
                bool string, escape, begun;
        } value;
        struct {
                enum { INPUT_START, INPUT_RAW, INPUT_STRING, INPUT_KEY, INPUT_COLON, INPUT_END } state;
                bool in_key;
                struct unescape text;
        } input;
        bool has_input;   /* something of the arguments has come */
        struct buf early; /* arguments that came before the name */
};

struct reader {
        const struct idiom *d;
        struct reader_tool *tools;
        size_t n_tools;
        bool calls, guided, tokens;
        struct buf stops;
        struct str
                marks[1 + READER_CHANNEL_MARKS + ENGINE_STOP_MAX]; /* that end a text: markers, then stops */
        size_t n_marks, n_stops;

        struct buf in; /* the stream from position `base` on */
        size_t base;
        size_t at, limit;    /* what is to be read next; up to where it may be */
        bool holds;          /* the input from `hold` on may be a call, or not: */
        size_t hold, n_hold; /* then its first n_hold bytes are text */
        struct VEC(struct reader_record) records;
        size_t n_credited; /* of records */
        struct VEC(struct engine_top) tops;

        enum reader_state state;
        enum reader_use message; /* READ_MESSAGE */
        struct reader_call call;
        int n_calls;
        bool ended, whole, stopped;
        int reasoning_tokens;
        int error;

        struct buf out;
        struct VEC(struct reader_event) queue;
        size_t head;
        struct VEC(struct reader_record) said; /* tokens of the queued events */
        struct VEC(struct engine_token) view;  /* those of the next event */
};

/* ---- reader_io.c: input window and event queue ---- */

struct str reader_rest(const struct reader *r); /* what may be read */
bool reader_is_space(char c);
/* Uses up n bytes of the input. */
void reader_pass(struct reader *r, size_t n, enum reader_use use);
/* Uses n bytes, which may turn out to begin a call, with USE_HOLD. */
void reader_hold(struct reader *r, size_t n);
void reader_say(struct reader *r, enum turn_kind kind, struct str text);
void reader_credit(struct reader *r, enum reader_use use);
/* Uses up white space. True when something else follows; false when more input is needed, or at the end. */
bool reader_skip_space(struct reader *r, enum reader_use use);
/* Whether the input goes on with `mark`: 1 yes, 0 not known yet, -1 no. */
int reader_follows(const struct reader *r, struct str mark);
/* Uses text up to the first of the marks: its index. -1: there is none yet; what may be the beginning of one
 * stays in the input. `trim`: so does white space at the end, and white space before a mark that is no stop
 * string is counted in *ret_mark, the length of the mark, which is not used. */
int reader_scan(struct reader *r, enum reader_use use, const struct str *marks, size_t n, size_t n_stops,
                bool trim, size_t *ret_mark);

/* ---- reader_call.c: one call ---- */

const struct reader_tool *reader_find_tool(const struct reader *r, struct str name);
void reader_call_open(struct reader *r);
void reader_call_begin(struct reader *r, const struct reader_tool *tool);
void reader_call_end(struct reader *r);
/* Takes text of its arguments, of which events are made; kept until the name is known. */
void reader_call_input(struct reader *r, struct str text);
/* A JSON object with name and arguments. 1: it is whole; 0: more input is needed; -1: it is no call. */
int reader_call_object(struct reader *r);

/* ---- reader_channels.c ---- */

bool reader_header(struct reader *r);
bool reader_message(struct reader *r);
void reader_message_end(struct reader *r);
#endif
