/*
 * Answers that no rule knows, counted by what they have in common: ids, addresses, numbers and host names are
 * masked, so that one kind of reply is one entry however often it came. Bounded: at most UNKNOWN_MOST kinds;
 * a new one takes the place of the one that came least often, the oldest of those. Any thread.
 */
#ifndef REMUDA_RELAY_UNKNOWN_H
#define REMUDA_RELAY_UNKNOWN_H

#include "lib/base/span.h"

struct unknown_answers;

enum { UNKNOWN_MOST = 500, UNKNOWN_TEXT = 200 };

struct unknown_kind {
    char provider[64];
    int code;
    char masked[UNKNOWN_TEXT]; /* "<addr> said # of <host>"; cut */
    char sample[UNKNOWN_TEXT]; /* the last one as it came, lines joined by spaces; cut */
    uint64_t count;
    uint64_t first_ms, last_ms;
};

struct unknown_answers *unknown_new(void);
void unknown_free(struct unknown_answers *u);

void unknown_note(struct unknown_answers *u, struct span provider, int code, struct span text,
                  uint64_t now_ms);
/* Copies out at most room kinds, those that came most often first; returns how many there are in out. */
int unknown_list(struct unknown_answers *u, struct unknown_kind *out, int room);
/* Answers noted so far, those whose entries are gone included. */
uint64_t unknown_total(struct unknown_answers *u);

/* The text with its variable parts masked: "<addr>" for addresses of mail, "<ip>", "<host>", "<url>", "<id>"
 * for words with digits among letters, "#" for numbers; single spaces. Writes a NUL-terminated string. */
void unknown_mask(struct span text, char out[UNKNOWN_TEXT]);

#endif
