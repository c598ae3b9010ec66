/*
 * The tables of a log in one kv environment, shared by the backends that keep them there: for queue/embedded
 * they are the log itself, for queue/kafka a local copy of it. Readers, keys, offsets and the turning of ops
 * and records into changes are the same for both; when a transaction begins and commits is the backend's.
 *
 * Tables: mail, events, control, audit, dead (partition, offset -> value); backlog, state, suppression,
 * quota, evidence (partition, key -> value); index (partition, index key, row key -> nothing); meta (format,
 * number of partitions, and per log and partition the next offset, the delete line and how far deletion has
 * got).
 *
 * One thread writes; readers run on any. Only for files in queue/.
 */
#ifndef REMUDA_QUEUE_STORE_STORE_H
#define REMUDA_QUEUE_STORE_STORE_H

#include "lib/base/kv.h"
#include "queue/log_private.h"

enum {
    STORE_FORMAT = 1,
    KEY_MOST = 511, /* of the kv table */
    STREAM_VALUE_BYTES = 24,
};

/* The offsets of one log and partition, as stored in meta. */
struct stream_offsets {
    uint64_t next;    /* of the next append, put or erase; never used twice */
    uint64_t line;    /* readers see nothing below */
    uint64_t trimmed; /* nothing is stored below; up to line when deletion has caught up */
};

/* Offsets begin at 1: an epoch is an offset in state and is never 0. */
#define STREAM_NEW ((struct stream_offsets){1, 1, 1})

struct stream {
    enum log_name name;
    uint32_t partition;
    struct stream_offsets now; /* in the open transaction */
    struct stream_offsets durable;
    bool touched;          /* on store.touched */
    struct list trim_link; /* on store.trims while trimmed < line */
};

struct tables {
    kv_table logs[LOG_NAMES];
    kv_table index;
    kv_table meta;
};

/* What space.c knows, and when it looks again. */
struct space {
    uint64_t next_us, stat_next_us, exhausted_until_us;
    uint64_t since_check_bytes, since_stat_bytes; /* written, roughly */
    uint64_t writable_bytes;                      /* found by the last check */
    struct kv_stat stat;
};

/* First member of a backend's log. */
struct store {
    struct log log;
    char *dir;
    struct kv_options options; /* dir is the above */
    bool copy;
    pthread_rwlock_t env_lock; /* read: a snapshot is held; write: the environment is being replaced */
    struct kv_env *env;        /* NULL while it can't be opened */
    struct tables tables;

    /* The writing thread's. */
    struct kv_txn *txn; /* the open one */
    struct stream *streams[LOG_NAMES];
    struct stream **touched;
    size_t n_touched, cap_touched;
    struct list trims;
    struct buf scratch;
    struct space space;
};

/* ---- keys.c -------------------------------------------------------------------------------------- */

enum { OFFSET_KEY_BYTES = 10, INDEX_GROUP = 8 };

void key_put_u64(char *out, uint64_t n);
uint64_t key_get_u64(const char *in);
/* 2 bytes partition and 8 bytes offset, big-endian. */
struct span key_of_offset(char out[OFFSET_KEY_BYTES], uint32_t partition, uint64_t offset);
/* False when key is not of this partition. */
bool key_take_offset(struct span key, uint32_t partition, uint64_t *offset);
/* 2 bytes partition, then the key as it is. */
struct span key_of_row(char out[KEY_MOST], uint32_t partition, struct span key);
/* What follows the partition; false when key is not of it. */
bool key_take_row(struct span key, uint32_t partition, struct span *row);
/* Partition, index key (encoded so that order and its end are kept), row key. */
struct span key_of_index(char out[KEY_MOST], uint32_t partition, struct span index_key, struct span row_key);
/* index_key is decoded into out (LOG_INDEX_KEY_MOST bytes); row_key points into key. */
bool key_take_index(struct span key, uint32_t partition, char *out, struct span *index_key,
                    struct span *row_key);
struct span key_of_stream(char out[8], enum log_name name, uint32_t partition);
void stream_pack(char out[STREAM_VALUE_BYTES], const struct stream_offsets *s);
bool stream_unpack(struct span value, struct stream_offsets *out);

/* ---- store.c ----------------------------------------------------------------------------------------- */

struct store_options {
    const char *dir;    /* created when absent */
    uint64_t map_bytes; /* 0: 1 TiB (8 GiB under the thread sanitizer) */
    bool sync;
    unsigned max_readers; /* snapshots held at once; 0: 512 */
    bool copy;            /* of a log that says itself how many partitions it has */
};

/* Initialises log and the rest; nothing is opened. */
void store_init(struct store *e, const struct log_backend *backend, const struct store_options *options,
                const struct log_options *common);
/* Closes the environment when it is open. */
void store_fini(struct store *e);
/*
 * Opens environment and tables and checks the format; the streams are loaded. RM_ELOCKED: another process has
 * it. RM_EINVAL: it is of another format version, or a copy of a log that had more partitions. RM_EIO,
 * RM_EFULL, RM_ECORRUPT. *why, if given, becomes a constant phrase.
 */
int store_open(struct store *e, const char **why) MUST_CHECK;
/* Free bytes of the disk for an ordinary user; UINT64_MAX when it can't be told. Any thread. */
uint64_t store_disk_free(const struct store *e);
/* Sizes; all but disk_free_bytes stay as they are when they can't be read. */
void store_figures(struct store *e, struct log_figures *out);

/* ---- space.c ------------------------------------------------------------------------------------------- */

/*
 * Sets log.admits by free disk, free map and free pages, before bytes are written: looks every 100 ms, every
 * 16 MiB and whenever the floor is near.
 */
void space_check(struct store *e, uint64_t written_bytes);
/* A commit found no space: intake is refused until a later check. */
void space_exhausted(struct store *e);

/* ---- streams.c --------------------------------------------------------------------------------------- */

void streams_init(struct store *e);
void streams_fini(struct store *e);
/* Reads all from meta, in a read transaction. */
int streams_load(struct store *e) MUST_CHECK;
struct stream *stream_touch(struct store *e, enum log_name name, uint32_t partition);
/* Writes what was touched to meta; before the commit. */
void streams_store(struct store *e);
void streams_committed(struct store *e);
void streams_rolled_back(struct store *e);
/* Remembers that records below the line are to be deleted. */
void stream_trim_later(struct store *e, struct stream *s);

/* ---- apply.c ------------------------------------------------------------------------------------------ */

/* Applies all ops of b to the transaction, whose error is sticky; the offsets are the next ones. */
void apply_batch(struct store *e, struct log_batch *b);
/* Deletes up to most records below the lines. */
void apply_trims(struct store *e, int most);

/* What another made durable, at its offset, in the order of its stream. */
void apply_record(struct store *e, struct stream *s, uint64_t offset, struct span value);
/* The same for what stands below the end and was left out when that was passed. */
void apply_missed(struct store *e, struct stream *s, uint64_t offset, struct span value);
/* Goes on with offset: what stands between the end and it is left out. */
void apply_leave_out(struct store *e, struct stream *s, uint64_t offset);
/* A value with ptr NULL is a tombstone. */
void apply_value(struct store *e, struct stream *s, uint64_t offset, struct span key, struct span value);
/* A claim read back: older ones are erased, owner and time are kept under its epoch, which is offset. */
void apply_claim(struct store *e, struct stream *s, uint64_t offset, struct span owner);
void apply_line(struct store *e, struct stream *s, uint64_t line);
/* Forgets all of it, its offsets too. */
void apply_clear(struct store *e, struct stream *s);

/* ---- reader.c ----------------------------------------------------------------------------------------- */

int store_read_begin(struct log *log, struct log_reader **out) MUST_CHECK;
void store_read_end(struct log_reader *r);
bool store_read_next(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t *offset,
                     struct span *value);
int store_read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                  struct span *value) MUST_CHECK;
/* A value of meta; RM_ENOTFOUND. */
int store_read_meta(struct log_reader *r, struct span key, struct span *value) MUST_CHECK;
/* The offset is not below the delete line, and not beyond the end. */
bool store_read_covers(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset);
uint64_t store_read_end_offset(struct log_reader *r, enum log_name name, uint32_t partition);
int store_read_key(struct log_reader *r, enum log_name name, uint32_t partition, struct span key,
                   struct span *value) MUST_CHECK;
bool store_read_key_next(struct log_reader *r, enum log_name name, uint32_t partition, struct span from,
                         struct span *key, struct span *value);
bool store_read_index(struct log_reader *r, uint32_t partition, struct span from, struct span after,
                      struct span *index_key, struct span *row_key);

#endif
