/*
 * What was recorded, as the simulation reads it: events in the order of their times, from a file of lines as
 * `remuda events` prints them, or from a running relay's admin listener. Only what a replay needs of each.
 */
#ifndef REMUDA_RELAY_SIMULATE_RECORDED_H
#define REMUDA_RELAY_SIMULATE_RECORDED_H

#include <jansson.h>
#include <stdio.h>

#include "lib/base/buf.h"

enum recorded_type {
    RECORDED_ACCEPTED,
    RECORDED_DELIVERED,
    RECORDED_DEFERRED,
    RECORDED_BOUNCED,
    RECORDED_EXPIRED,
    RECORDED_SUPPRESSED,
    RECORDED_COMPLAINT,
    RECORDED_LATE_BOUNCE,
    RECORDED_OTHER, /* held, rerouted, alert, tenant */
};

struct recorded {
    enum recorded_type type;
    uint64_t submission; /* hash of its identity; 0: of none */
    uint64_t time_ms;
    uint64_t accepted_ms; /* with the first event of a submission; else 0 */
    bool final;
    uint32_t attempt;
    struct span tenant, sender; /* sender: its domain */
    struct span domain, provider, scope, source, mx_host, cause;
    /* Of its first recipient; code 0: nobody answered. */
    int code;
    struct span enhanced, text;
    uint64_t took_ms; /* the attempt, from the lookup to the answer */
};

/* Spans point into the event. False: not an event. */
bool recorded_read(const json_t *event, struct recorded *out);

/* Where events come from, one after another. */
struct recorded_feed;

/* Of a file in the order of time, "-" for standard input; NULL when it cannot be opened (errno). */
struct recorded_feed *recorded_feed_file(const char *path);
/* Of the admin listener at the address, accepted or told in since_ms <= time < until_ms. */
struct recorded_feed *recorded_feed_admin(const char *address, uint32_t partitions, uint64_t since_ms,
                                          uint64_t until_ms);
void recorded_feed_free(struct recorded_feed *f);
/*
 * The next event (a new reference), NULL at the end and on trouble; trouble is then in words in *error, with
 * file and line where there is one.
 */
json_t *recorded_feed_next(struct recorded_feed *f, struct buf *error);

#endif
