/* Reads what a model writes: takes the stream of a sequence, in pieces of any size, and tells answer,
 * reasoning and tool calls apart as they come. Nothing is lost: what turns out to be no call is text. Nothing
 * is late: only what may be the beginning of a marker or a stop string is held back, and white space that a
 * call may follow.
 *
 * One thread at a time. */
#ifndef CAIRN_MODELS_READER_H
#define CAIRN_MODELS_READER_H

#include "models/format.h"
#include "models/turn.h"

struct reader;

/* Where the prompt leaves the model. */
enum reader_think {
        READER_ANSWERS, /* nothing to be thought */
        READER_MAY_THINK,
        READER_THINKS, /* the prompt has opened the reasoning */
};

/* The idiom must outlive the reader; the rest is copied. */
struct reader_opts {
        const struct idiom *idiom;
        enum reader_think think;
        bool calls;  /* look for tool calls */
        bool guided; /* a grammar holds the model to the format: a call that was begun is one */
        const struct turn_tool *tools; /* that may be called */
        size_t n_tools;
        const struct str *stop; /* strings that end the answer; not empty */
        size_t n_stop;
        bool tokens; /* TEXT events carry their tokens */
};

struct reader *reader_new(const struct reader_opts *opts); /* NULL when memory is out */
void reader_free(struct reader *r);                        /* accepts NULL */

/* More output: whole characters usually, but any bytes will do; and the records of the tokens that end in it,
 * the last at its end. 0, -ENOMEM, -EFBIG. */
int reader_text(struct reader *r, struct str text, const struct engine_token *tokens, size_t n);
/* A control token, by its spelling. */
int reader_control(struct reader *r, struct str spelling);
/* There is no more. `whole`: the model came to an end by itself. */
int reader_end(struct reader *r, bool whole);

/* The next event (TEXT, REASONING or CALL_...), which stays the next until reader_taken(). Valid until the
 * reader is used again. False when there is none now. */
bool reader_next(struct reader *r, struct turn_event *ret);
void reader_taken(struct reader *r);

bool reader_stopped(const struct reader *r);         /* a stop string was found: nothing more is wanted */
int reader_reasoning_tokens(const struct reader *r); /* so far; counted only when records are given */
#endif
