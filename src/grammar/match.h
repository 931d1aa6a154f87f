/* Internal to this folder. */
#ifndef CAIRN_GRAMMAR_MATCH_H
#define CAIRN_GRAMMAR_MATCH_H

#include <stdbool.h>
#include <stdint.h>

struct grammar;
struct space;

struct grammar_match {
        struct grammar *g;
        struct space *sp;
        struct grammar_match *prev, *next; /* of the space's list */
        uint32_t set;
        bool ended; /* an end token was taken */
};
#endif
