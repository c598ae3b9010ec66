/* Inside of the account: account.c (the two passes), account_read.c (events as arrivals and ends),
 * account_rows.c (what waits), account_names.c (the second pass). */
#ifndef REMUDA_RELAY_API_ACCOUNT_PRIVATE_H
#define REMUDA_RELAY_API_ACCOUNT_PRIVATE_H

#include "lib/base/map.h"
#include "relay/api/account.h"
#include "relay/api/history_private.h"

/* A submission that became the partition's. */
struct account_arrival {
    Remuda__TakenKind kind;
    struct subid id;
    struct msgid message;
    uint64_t offset;
    const char *domain;
    uint32_t giver;                /* of a copy */
    struct transfer_number number; /* likewise */
};

/* Its end there. */
struct account_end {
    uint32_t partition;
    enum account_count kind;
    struct subid id;
    struct msgid message;
    uint64_t record_offset; /* where its record stood then */
    struct span domain;
    uint32_t target; /* ACCOUNT_GIVEN, and the number of its copy; kind of transfer */
    struct transfer_number number;
    uint64_t transfer_kind;
};

/* Reads events[partition] in order. Callbacks may be NULL. */
struct account_reader {
    struct log *log;
    uint32_t partition;
    uint64_t watermark; /* records of arrivals below it are told apart by account_is_old */
    void (*arrival)(void *arg, const struct account_arrival *a);
    void (*end)(void *arg, const struct account_end *e);
    void (*not_read)(void *arg, uint64_t from, uint64_t to);
    void *arg;

    uint64_t next;      /* batch to be read next */
    uint64_t at;        /* batch in hand */
    uint64_t covered;   /* mail below it was told of; 0: none was yet */
    uint64_t dead;      /* TAKEN_DEAD */
    uint64_t strange;   /* batches that do not decode */
    struct map unread;  /* offsets of TAKEN_UNREADABLE without their entry yet */
    struct map carried; /* new offset -> place of old, of those at or above the watermark */
    struct history_batches twice;
};

/* Reads batches below `to` (UINT64_MAX: to the end as of now), in pieces. RM_ETIMEDOUT at the deadline. */
int account_read(struct account_reader *r, uint64_t to, uint64_t deadline_us) MUST_CHECK;
void account_reader_fini(struct account_reader *r);
/* The record that stands, or stood, at offset came into the partition below the watermark. */
bool account_is_old(const struct account_reader *r, uint64_t offset);
/* Where to begin in order to have all that came in since then; *cut becomes true, and *since_ms later, when
 * events of that time have been deleted. */
int account_begin(struct log *log, uint32_t partition, uint64_t *since_ms, uint64_t *offset) MUST_CHECK;

/* ---- sums ---- */

enum { ACCOUNT_BUCKETS = 64 };

/* Adds up to nothing when each was put in and taken out as often. */
struct account_sum {
    int64_t n;
    uint64_t hashes;
};

struct account_cell {
    struct account_hour hour;
    struct account_sum own[ACCOUNT_BUCKETS];   /* submissions */
    struct account_sum given[ACCOUNT_BUCKETS]; /* copies given to this partition */
};

/* While it is made. */
struct ledger {
    const struct account_options *o;
    struct account *out;
    struct map cells; /* partition and hour -> struct account_cell, in out->arena */
};

struct account_cell *ledger_cell(struct ledger *l, uint32_t partition, const struct msgid *message);
bool ledger_wants(const struct ledger *l, const struct msgid *message);
uint64_t account_hash(const struct subid *id, const struct transfer_number *number);
static inline void account_sum_add(struct account_sum *sums, uint64_t hash, int64_t n)
{
    struct account_sum *s = &sums[hash % ACCOUNT_BUCKETS];
    s->n += n;
    s->hashes += (uint64_t)n * hash;
}
static inline bool account_sum_differs(const struct account_sum *sums, uint64_t hash)
{
    return sums[hash % ACCOUNT_BUCKETS].n != 0 || sums[hash % ACCOUNT_BUCKETS].hashes != 0;
}
/* Takes it over; domain is copied. */
void ledger_exception(struct ledger *l, const struct account_exception *e);

/* ---- account_rows.c ---- */

/* Rows up to this key were read when events ended there. */
struct account_cut {
    struct row_key to;
    uint64_t events_end;
};

/* A row whose record stands at or above the watermark: it may be of an old arrival, or of a new one. */
struct account_late {
    struct subid id;
    struct msgid message;
    uint64_t at;
};

struct account_rows {
    struct account_cut *cuts;
    size_t n_cuts, cap_cuts;
    struct account_late *late;
    size_t n_late, cap_late;
    uint64_t events_end; /* as of the last piece */
};

/* Reads the rows, in pieces, and tells of those whose record stands below the watermark. */
struct account_scan {
    struct log *log;
    uint32_t partition;
    uint64_t watermark, delete_line, deadline_us;
    void (*waits)(void *arg, struct subid id, const struct msgid *message);
    void (*body_gone)(void *arg, const struct account_late *row);
    void *arg;
};
int account_rows_read(const struct account_scan *s, struct account_rows *out) MUST_CHECK;
void account_rows_fini(struct account_rows *rows);
/* Events at or after it say nothing about how the submission's row was read. */
uint64_t account_rows_cut(const struct account_rows *rows, struct subid id);

/* ---- account_names.c ---- */

/* The submissions of the partition in buckets that differ; copies given to it likewise. Adds exceptions. */
int account_names_own(struct ledger *l, uint32_t partition) MUST_CHECK;
int account_names_given(struct ledger *l, uint32_t partition) MUST_CHECK;
/* A tenth of a second, for what is on its way. */
void account_pause(void);

#endif
