/*
 * The journal of a power-cut test: what the shim writes and the checker reads. A record is this header and
 * len bytes of data; records follow each other without gaps, in the order in which the calls returned.
 */
#ifndef REMUDA_TESTS_POWERCUT_JOURNAL_H
#define REMUDA_TESTS_POWERCUT_JOURNAL_H

#include <stdint.h>

enum journal_kind {
    JOURNAL_FILE,     /* data: path below the watched directory; gives file its number */
    JOURNAL_WRITE,    /* data written at offset; synced: through a descriptor with O_DSYNC */
    JOURNAL_SYNC,     /* fsync, fdatasync or msync of the file returned 0 */
    JOURNAL_TRUNCATE, /* to offset bytes */
};

struct journal_record {
    uint32_t kind;
    uint32_t file;
    uint64_t offset;
    uint32_t len;
    uint32_t synced;
};

#endif
