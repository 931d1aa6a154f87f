/* What a sequence has generated and not yet handed out: bytes become valid UTF-8, stop strings are looked
 * for across token boundaries, and each token's record leaves with the text that it completes. */
#ifndef CAIRN_ENGINE_OUTPUT_H
#define CAIRN_ENGINE_OUTPUT_H

#include "base/buf.h"
#include "base/vec.h"
#include "engine/engine.h"

struct record {
        struct engine_token tok; /* .top is set when the record is handed out */
        size_t start, end;       /* place in the text; end counts a character still incomplete */
        bool prompt, control;
};

/* A control token between the text before `at` and the text after it. */
struct mark {
        size_t at;
        int32_t id;
        bool recorded;
};

struct output {
        struct buf text; /* valid UTF-8 not yet taken; its first byte is number `taken` of the output */
        size_t taken;
        uint8_t partial[4]; /* an incomplete character */
        size_t n_partial;
        struct buf stops;                          /* the stop strings, one after the other */
        size_t stop_end[ENGINE_STOP_MAX], n_stops; /* where each ends in `stops` */
        int stopped;                               /* index of the stop string found, -1 */
        bool ended;                                /* no more tokens: nothing is held back */
        struct VEC(struct mark) marks;             /* not yet taken, in order */
        size_t floor; /* where the text after the last mark begins: no stop string spans a mark */
        struct VEC(struct record) records;
        struct VEC(struct engine_top) tops;   /* of all records, in order */
        struct VEC(struct engine_token) list; /* the last event's view of the records */
};

void output_init(struct output *o);
void output_release(struct output *o);
int output_set_stops(struct output *o, const struct str *stop, size_t n); /* 0, -EINVAL, -ENOMEM */
/* Adds a token of the output: its bytes, and its record when `record`. 0 or -ENOMEM. After a stop string was
 * found (o->stopped >= 0) nothing more is to be added. */
int output_push(struct output *o, struct engine_token tok, bool record);
/* Adds a control token: what came before it is complete. 0 or -ENOMEM. */
int output_push_control(struct output *o, struct engine_token tok, bool record);
/* Adds a record of a prompt token. */
int output_push_prompt(struct output *o, struct engine_token tok);
/* No more tokens: an incomplete character becomes U+FFFD and held text is released. */
int output_end(struct output *o);
/* What can be handed out now: false when nothing. The event points into o until the next call. The same event
 * comes again until output_taken() says that it was delivered. */
bool output_next(struct output *o, struct engine_event *ret);
/* Whether anything has been added that was not taken. After output_end and when output_next has nothing:
 * there was no memory to hand it out. */
bool output_pending(const struct output *o);
void output_taken(struct output *o, const struct engine_event *ev);
struct str output_stop(const struct output *o); /* the stop string found, or empty */

/* Appends bytes as valid UTF-8: complete characters, U+FFFD for each maximal broken part. An incomplete end
 * is kept in partial[*n_partial] (with `final` it counts as broken). */
void utf8_feed(struct buf *out, uint8_t partial[4], size_t *n_partial, struct str bytes, bool final);
#endif
