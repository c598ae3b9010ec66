/*
 * Reading a message's body in pieces, wherever it stands: in memory, behind its record in the log, or in
 * chunk records. At most one piece (LOG_VALUE_MOST bytes) is in memory at a time.
 */
#ifndef REMUDA_QUEUE_BODY_H
#define REMUDA_QUEUE_BODY_H

#include "queue/log.h"
#include "queue/message.h"

struct body_source {
    struct log *log;
    uint32_t partition;
    uint64_t at;             /* offset of the record (its live copy) */
    struct message *message; /* borrowed; its body is used when it has one */
};

struct body_reader {
    struct body_source source;
    size_t next_piece;
    uint64_t given;    /* bytes handed out so far */
    struct blob *held; /* the piece handed out last */
};

/* Reads nothing yet. source is copied, its message borrowed until body_read_end. Any thread. */
void body_read_begin(struct body_reader *r, const struct body_source *source);
/*
 * The next piece; *piece has ptr NULL at the end (a piece may be empty: its ptr is not NULL). It is valid,
 * and r->held can be referenced for longer, until the next call or body_read_end. RM_ENOTFOUND (deleted),
 * RM_ECORRUPT (no part of this message, or at the end: not body_bytes in all), RM_EIO. After an error the
 * body is not whole and must not be passed off as such.
 */
int body_read_next(struct body_reader *r, struct span *piece) MUST_CHECK;
/* Gives the piece back; harmless when there is none. */
void body_read_end(struct body_reader *r);

#endif
