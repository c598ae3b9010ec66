/*
 * What the writer of a power-cut test notes for the checker, one binary record each, and how the content of
 * a message follows from its number, so that the checker can tell every byte.
 */
#ifndef REMUDA_TESTS_POWERCUT_NOTES_H
#define REMUDA_TESTS_POWERCUT_NOTES_H

#include <stdint.h>
#include <string.h>

#include "queue/log.h"

enum { POWERCUT_PARTITIONS = 3, POWERCUT_BODY_MOST = 6000 };

enum note_kind {
    NOTE_OPENED, /* the log is open: cuts begin here */
    NOTE_ACKED,  /* message number stands at (partition, offset) and was told durable */
    NOTE_DELETE, /* deletion of (partition) below offset was asked for: may have happened from here on */
};

struct note {
    uint64_t position; /* of the journal at that moment */
    uint64_t offset;
    uint32_t kind, partition, number, unused;
};

/* The bytes of message number: its number, its length, and a sequence that follows from both. */
static inline size_t message_bytes(uint32_t number, char out[POWERCUT_BODY_MOST])
{
    uint32_t x = number * 2654435761u + 1;
    size_t len = 16 + x % (number % 7 == 0 ? POWERCUT_BODY_MOST - 16 : 900);
    uint32_t head[2] = {number, (uint32_t)len};
    memcpy(out, head, sizeof(head));
    for (size_t i = sizeof(head); i < len; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = (char)(x >> 24);
    }
    return len;
}

/* A backlog value's only index key: its first 4 bytes. */
static inline int powercut_index(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST])
{
    if (value.len < 4)
        return 0;
    memcpy(out[0].bytes, value.ptr, 4);
    out[0].len = 4;
    return 1;
}

#endif
