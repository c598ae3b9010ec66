/*
 * The account of mail: whether everything that was accepted has had its end or waits. It holds three kinds of
 * record against each other, which are written at different moments by different code:
 *
 *   what the owner read of `mail`   field `taken` of the event batches: made when a record is read, before
 *                                   anything is decided about it; each offset once (docs/FORMATS.md)
 *   what had its end                final events, and the ends that taken tells of
 *   what waits                      rows of the backlog, and mail above the watermark
 *
 * For each partition that this process owns it takes the submissions below the watermark that were accepted
 * at or after a time, by the hour of acceptance, in two passes. The first adds up counts and sums of hashes,
 * so that its memory does not grow with the mail; where they differ, the second looks for names. What it
 * names was looked for again until it stayed so for a while: at work, the logs are read a moment apart.
 *
 * Whatever it cannot know it says, and never as "all is well": partitions owned elsewhere, time run out, more
 * differences than it can name.
 */
#ifndef REMUDA_RELAY_API_ACCOUNT_H
#define REMUDA_RELAY_API_ACCOUNT_H

#include "lib/base/arena.h"
#include "lib/base/id.h"
#include "queue/log.h"
#include "queue/partition.h"

/* Submissions of one partition by the hour in which their message was accepted (of a report: the original).
 */
enum account_count {
    ACCOUNT_ACCEPTED, /* came in: messages of senders */
    ACCOUNT_REPORTS,  /* came in: bounces and notices of delay */
    ACCOUNT_FEEDBACK, /* came in: mail for the bounce domain */
    ACCOUNT_RECEIVED, /* came in: copies of transfers */
    ACCOUNT_DELIVERED,
    ACCOUNT_BOUNCED, /* suppressed too */
    ACCOUNT_EXPIRED,
    ACCOUNT_READ,  /* feedback that was read */
    ACCOUNT_GIVEN, /* to another partition */
    ACCOUNT_DEAD,
    ACCOUNT_WAITING,
    ACCOUNT_LOST,  /* named as exceptions */
    ACCOUNT_TWICE, /* final more often than they came in: an owner that died, or was too late, and the next
                      one */
    ACCOUNT_COUNTS
};

struct account_hour {
    uint32_t partition;
    uint32_t hour; /* since 1970 */
    uint64_t counts[ACCOUNT_COUNTS];
};

enum account_trouble {
    ACCOUNT_NO_END,       /* came in, has no end and does not wait */
    ACCOUNT_NO_BEGINNING, /* has an end, and never came in */
    ACCOUNT_NOT_ARRIVED,  /* given to another partition, which never had it */
    ACCOUNT_BODY_GONE,    /* waits, and its record is not in the log any more */
    ACCOUNT_NOT_READ,     /* offsets that the watermark has passed and nobody has read */
    ACCOUNT_GAP,          /* offsets above the watermark that are not in the log */
};

struct account_exception {
    enum account_trouble trouble;
    uint32_t partition;
    uint64_t offset, to;  /* of its record in mail[partition]; a range of offsets: from, below */
    struct subid id;      /* not of ranges, nor what follows */
    struct msgid message; /* all zero when not known */
    char *domain;         /* of its recipients; "" when not known */
    uint32_t target;      /* ACCOUNT_NOT_ARRIVED: where it was to go */
    bool in_log;          /* its record still stands at offset */
};

enum account_state {
    ACCOUNT_JUDGED,
    ACCOUNT_ELSEWHERE, /* not owned by this process now */
    ACCOUNT_UNJUDGED,  /* see why */
};

struct account_partition {
    enum account_state state;
    const char *why; /* constant, "" when judged */
    uint64_t watermark;
    uint64_t above; /* offsets of mail at or above it: not final and without a row, or not read yet */
    uint64_t dead;  /* records put aside unread: of them nothing is known */
};

struct account {
    struct arena arena;
    uint64_t since_ms; /* what was asked for, or later: when what is kept of events begins */
    struct account_partition *partitions;
    uint32_t n_partitions;
    struct account_hour *hours; /* by partition and hour */
    size_t n_hours;
    struct account_exception *exceptions;
    size_t n_exceptions, exceptions_in_all;
};

struct account_options {
    struct log *log;
    uint64_t since_ms;    /* of acceptance, wall clock */
    uint64_t deadline_us; /* boot clock: partitions not done by then are ACCOUNT_UNJUDGED */
    size_t names_most;    /* names held in memory at a time; 0: 200,000 */
    uint32_t settle_ms;   /* a difference is looked at again for so long; 0: 4,000 */
};

enum { ACCOUNT_EXCEPTIONS_MOST = 1000 };

/* Blocks for as long as it takes to read the events since then (about a second for a million), in pieces that
 * hold no snapshot for longer than a moment; on a thread of its caller's. RM_EIO, RM_ECORRUPT. */
int account_make(const struct account_options *o, struct account *out) MUST_CHECK;
void account_fini(struct account *a);

#endif
