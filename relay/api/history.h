/*
 * The index over the events log: which events tell of a message, which messages have a recipient, sender or
 * tenant. It holds pointers only; what happened is read from the log on demand, so the index can always be
 * thrown away and made again (its environment, <data>/history, is not synced).
 *
 * One thread of its own, the indexer, looks for new events of all partitions four times a second (and at once
 * when somebody waits in history_catch_up), from its own position. It starts over when the index does not
 * fit: missing, damaged, ahead of the log, or not closed before the machine went down. Where the log has
 * deleted events before they were indexed it goes on with the first that exist.
 *
 * As the first reader of every event the indexer also writes the lines about mail to the program's log
 * (relay/api/event_line.h): once for each event, in the order of its partition, at most a moment late.
 *
 * Keeping: the indexer drops old entries in pieces. The events themselves are deleted by the owner of their
 * partition (log_batch_delete_below through partition_housekeep), below what history_events_keep_from tells.
 */
#ifndef REMUDA_RELAY_API_HISTORY_H
#define REMUDA_RELAY_API_HISTORY_H

#include "lib/base/arena.h"
#include "lib/base/id.h"
#include "lib/base/logger.h"
#include "queue/log.h"

struct history;

struct history_options {
    const char *dir;       /* copied; created when absent; nobody else's files may be in it */
    struct log *log;       /* borrowed until history_free */
    struct logger *logger; /* borrowed; NULL: silent */
    uint64_t history_ms;   /* age at which events may go */
    uint64_t lifetime_ms;  /* longest retry lifetime: entries are kept this much longer than history_ms */
    uint64_t map_bytes;    /* bound of the index's file; 0: 64 GiB */
};

/* Opens the index (starting over where it must) and starts the indexer. RM_EIO, RM_EFULL, RM_ELOCKED. */
int history_new(const struct history_options *options, struct history **out) MUST_CHECK;
/* Indexes and tells what is left, closes the index. After the shards, before log_close. NULL is allowed. */
void history_free(struct history *h);

/* Other keeping times, from a reload. Any thread. */
void history_configure(struct history *h, uint64_t history_ms, uint64_t lifetime_ms);
/* Waits until the events that are durable now are indexed, at most timeout_ms; false when they are not. */
bool history_catch_up(struct history *h, uint32_t timeout_ms);

/* Lowest offset of events[partition] still wanted: everything below is older than history_ms and indexed.
 * 0: nothing may go. Any thread, lock-free. */
uint64_t history_events_keep_from(const struct history *h, uint32_t partition);
/* Batches of events not indexed yet, all partitions. Any thread. */
uint64_t history_lag(const struct history *h);
/* Whether events of that time are still kept. Any thread. */
bool history_covers(const struct history *h, uint64_t wall_ms);
/* Older events of a partition that this process has are still to come (log_read_missing): what is not found
 * may be among them. Any thread. */
bool history_waits(const struct history *h);
/* How often this process had to start the index over. Any thread. */
uint64_t history_rebuilds(const struct history *h);

/* ---- reading: any thread ------------------------------------------------------------------------- */

struct history_event {
    uint32_t partition;
    uint32_t index;  /* place in its batch */
    uint64_t offset; /* of the batch in events[partition] */
    Remuda__Event *event;
};

/* Decoded events with the arena that holds them. */
struct history_events {
    struct arena arena;
    struct history_event *list;
    size_t n;
};
void history_events_init(struct history_events *e);
void history_events_fini(struct history_events *e);

/*
 * All events of the message, and of the bounces and delay notices made of it, in the order of their times.
 * out is initialised by the caller. RM_ENOTFOUND: nothing is known of it (a message accepted less than five
 * seconds ago may have no event yet). RM_EIO, RM_ECORRUPT.
 */
int history_trace(struct history *h, const struct msgid *id, struct history_events *out) MUST_CHECK;

struct history_query {
    struct span recipient; /* whole address, any case; empty: any */
    struct span sender;
    struct span tenant;
    uint64_t since_ms;          /* accepted at or after; 0: from the oldest */
    uint64_t until_ms;          /* accepted before; 0: to the newest */
    const struct msgid *before; /* only older ids, to go on from a last search; NULL: from the newest */
    size_t limit;               /* messages wanted, 1..1000 */
};

/* Ids of messages that match, the newest first. */
struct history_ids {
    struct msgid *ids; /* malloc'ed */
    size_t n;
    struct msgid last; /* the last candidate looked at */
    bool more;         /* there may be older ones: ask again with before = last */
};
void history_ids_fini(struct history_ids *ids);

/*
 * Messages by what is indexed: recipient, else sender, else tenant, else time alone leads; what else is asked
 * for is checked against the events. Looks at no more than 20,000 candidates, then says more.
 */
int history_search(struct history *h, const struct history_query *q, struct history_ids *out) MUST_CHECK;

enum { HISTORY_SEARCH_MOST = 1000, HISTORY_CANDIDATES_MOST = 20000 };

/*
 * Events as they stand in the log, from events[partition] at *offset on, at most limit batches; *offset
 * becomes the offset to go on from. For tools. RM_EIO, RM_ECORRUPT.
 */
int history_read(struct history *h, uint32_t partition, uint64_t *offset, size_t limit,
                 struct history_events *out) MUST_CHECK;

#endif
