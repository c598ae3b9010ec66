/*
 * The parts of the log on Kafka. One thread (kafka_run) does everything: it takes batches from the queue,
 * serves the producer's reports, the reader's messages and the group's events, and writes the local copy.
 * librdkafka's callbacks run on it, inside the polls. Other threads only read the copy, submit, and set what
 * is under lock.
 */
#ifndef REMUDA_QUEUE_KAFKA_PRIVATE_H
#define REMUDA_QUEUE_KAFKA_PRIVATE_H

#include <librdkafka/rdkafka.h>

#include "queue/kafka/kafka.h"
#include "queue/kafka/login.h"
#include "queue/store/store.h"

enum {
    KAFKA_TOPIC_MOST = 250, /* Kafka's limit is 249 */
    KAFKA_ACK_MS = 15000,
    KAFKA_SESSION_MS = 10000,
    KAFKA_HEARTBEAT_MS = 1000,  /* its answer tells of a rebalance: who takes over hears of it so soon */
    KAFKA_LEASE_MOST_MS = 7000, /* after a commit was sent that was answered: well before the session ends */
    KAFKA_LEASE_MS = 1000,      /* between two commits of the lease */
    KAFKA_CALL_MS = 10000,      /* a question to the brokers */
    KAFKA_IN_FLIGHT_BYTES = 64 * 1024 * 1024,
    KAFKA_GROUP_BYTES = 990 * 1000, /* of mail in one request: below batch.size */
    KAFKA_LINGER_US = 200,          /* linger.ms: a group is handed over within it */
};

/* A message on its way: the opaque of its delivery report. */
struct kafka_sent {
    struct kafka_flight *flight; /* NULL: a claim or a mark, or with repair a value written again */
    uint32_t op;
    uint32_t partition;
    bool repair;
    struct list node;  /* of kafka_part.outbox, until it is sent */
    struct span value; /* of mail, when it is joined */
    char *owned;
};

/* A batch on its way. */
struct kafka_flight {
    struct list node;        /* kafka.flights, then kafka.acked: in order of submission */
    struct list client_node; /* log_client.flights */
    struct log_batch *batch;
    int stage;         /* everything of this stage and below has been sent */
    size_t pending;    /* sent, no report yet */
    size_t seen;       /* ops below it can be read from the copy */
    uint64_t moved_us; /* when it was taken, or its last stage was acknowledged */
    int status;
    struct kafka_sent sent[];
};

/* What is read into the copy. */
struct kafka_follow {
    bool on;
    uint64_t target;  /* caught up when next reaches it */
    uint64_t deleted; /* the brokers keep nothing below, or were asked to */
};

/* A record read whose follower is told when it is known whether it is ours, with its hint. */
struct kafka_hint {
    uint64_t offset;
    struct message *message;
};

struct kafka_ring {
    struct kafka_hint *at;
    size_t head, count, cap;
};

enum kafka_ownership {
    PART_NONE,
    PART_READING,  /* assigned: the copy catches up */
    PART_CLAIMING, /* the claim is on its way to state */
    PART_MARKING,  /* and, one after the other, to backlog and events */
    PART_SETTLING, /* all three are durable: reading up to what was there then */
    PART_OWNED,
    PART_LOSING, /* its client was told, has not released yet */
};

struct kafka_part {
    enum kafka_ownership ownership;
    uint64_t epoch;                /* 0: none yet */
    uint64_t claims[LOG_NAMES];    /* newest epoch whose claim or mark was read in each log */
    bool overtaken;                /* a newer claim than ours was read */
    uint64_t retry_at_us;          /* reading: not claimed before */
    struct buf voids;              /* name, key length and key of void values, to be written over */
    size_t void_notes;             /* notes of them in the copy, at most */
    int marks_pending;             /* no report yet */
    uint64_t release_at_us;        /* losing: not waited for any longer */
    uint64_t mail_unacked;         /* of this process, no report yet */
    uint64_t mail_acked;           /* highest offset of this process's */
    struct list outbox;            /* struct kafka_sent: mail that waits for the group under way */
    struct list outbox_node;       /* of kafka.outboxes, while there is any */
    bool outbox_late;              /* that group, or a part of it, was not answered in time */
    struct kafka_ring hints, told; /* ours and acknowledged; read and not told */
};

/* Mail of a partition that is asked for and not in the copy. */
struct kafka_sweep {
    uint64_t *wanted; /* offsets, ascending; under sweep_lock */
    size_t n, cap;
    /* The thread's. */
    bool on;                        /* a session reads */
    bool fetched;                   /* something that the owner was not told of yet */
    uint64_t from, at;              /* of the session: its beginning; next offset that it yields */
    unsigned tries;                 /* sessions in a row that began there */
    uint64_t passed, bytes;         /* of what was read, to tell how large a gap is */
    uint64_t started_us, needed_us; /* the session; something was wanted */
    uint64_t told_us;
};

/* Events left out when a partition was gained, that are read afterwards; none when from is to. */
struct kafka_fill {
    uint64_t from, to;
};

struct kafka {
    struct store store;
    pthread_t thread;
    int wake_fd;
    char *prefix, *brokers, *ca, *mechanism, *user, *password, *owner;
    bool tls, development;
    unsigned follow_all;
    uint64_t ack_ms;
    rd_kafka_t *producer, *reader, *group;
    rd_kafka_queue_t *read_queue, *admin_queue;
    rd_kafka_topic_t *out[LOG_NAMES], *in[LOG_NAMES];

    /* The thread's. */
    struct kafka_follow *follows[LOG_NAMES];
    struct kafka_part *parts;
    struct list flights, acked, outboxes;
    uint64_t handed_us;  /* the last group, to the producer */
    uint64_t push_at_us; /* when the first one since the last push may be sent; 0: none */
    bool look_flights;   /* some may go on */
    size_t in_flight_bytes;
    bool look_acked; /* some may be readable by now */
    uint64_t next_second_us;
    int deleting;           /* requests on their way */
    uint64_t restart_at_us; /* reading failed: it begins again from what the copy has; 0: all is well */
    bool closing;
    uint64_t closing_since_us;

    /* What was left out when a partition was gained (sweep.c). */
    rd_kafka_t *sweeper; /* NULL until it is needed */
    rd_kafka_queue_t *sweep_queue;
    rd_kafka_topic_t *sweep_topic;
    pthread_mutex_t sweep_lock;
    struct kafka_sweep *sweeps;
    int sweeping;         /* sessions */
    uint32_t sweeps_wait; /* partitions that wait for one */
    uint32_t sweep_turn;
    uint64_t sweep_pause_us;
    _Atomic bool sweep_due; /* something may be wanted */

    /* Older events (fill.c); the thread's. */
    struct kafka_fill *fills;
    rd_kafka_queue_t *fill_queue; /* NULL until it is needed; of the sweeper */
    rd_kafka_topic_t *fill_topic;
    uint32_t filling; /* partition that a session reads, plus one; 0: none */
    uint64_t fill_next_us;

    /* Group; the thread's but for what says otherwise. */
    rd_kafka_topic_partition_list_t *revoking; /* handed over when all are released; NULL */
    uint64_t subscribed_us, commit_at_us, commit_sent_us;
    uint64_t heard_us;        /* when the last commit was sent that was answered; 0: none was */
    uint64_t rejoin_until_us; /* the group may be about to join again: no commit */
    bool commit_pending, assigned_once;
    _Atomic uint64_t lease_until_us;
    _Atomic bool joining;      /* no commit may be sent */
    _Atomic uint8_t *owned;    /* by partition: attempts may be started */
    _Atomic uint8_t *released; /* by partition: log_release was called */

    /* Partitions added while it runs (grow.c). */
    _Atomic uint32_t grown; /* so many are known to be there */
    uint32_t grown_group;   /* the group knows of so many */
    uint64_t grow_at_us;    /* looked at again */

    /* For those who wait in open, join, leave and grow. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool opened; /* the thread runs */
    bool caught_up, join_due, joined, leave_due, left;

    char last_error[800];      /* of connections, in librdkafka's words; while opening */
    struct kafka_login *login; /* NULL: librdkafka logs in itself */
};

static inline struct kafka *kafka_of(struct log *log)
{
    return CONTAINER_OF(log, struct kafka, store.log);
}

static inline struct stream *kafka_stream(struct kafka *k, enum log_name name, uint32_t partition)
{
    return &k->store.streams[name][partition];
}

/* ---- conf.c ---- */

/* Settings common to all handles, for the caller to add to. Never NULL. */
rd_kafka_conf_t *kafka_conf_new(struct kafka *k);
void kafka_conf_set(rd_kafka_conf_t *c, const char *name, const char *value);
/* Of connections, while opening; NULL: none. */
const char *kafka_last_error(struct kafka *k);
rd_kafka_t *kafka_handle_new(struct kafka *k, rd_kafka_type_t type, rd_kafka_conf_t *c,
                             char why[KAFKA_WHY_MOST]);
void kafka_topic_name(const struct kafka *k, enum log_name name, char out[KAFKA_TOPIC_MOST]);
extern const char *const kafka_log_names[LOG_NAMES];

/* ---- topics.c ---- */

/* Makes topics that are absent and checks settings; needs the producer's handle. */
int kafka_topics_ensure(struct kafka *k, char why[KAFKA_WHY_MOST]) MUST_CHECK;
/* Adds partitions to the topics that have fewer, mail last. Any thread. */
int kafka_topics_grow(struct kafka *k, uint32_t partitions, char why[KAFKA_WHY_MOST]) MUST_CHECK;
/* Asks by this handle, which so knows them from then on: true when all logs have them, with leaders. */
bool kafka_topics_show(const struct kafka *k, rd_kafka_t *handle, uint32_t partitions);

/* ---- produce.c ---- */

int kafka_produce_open(struct kafka *k, char why[KAFKA_WHY_MOST]) MUST_CHECK;
void kafka_produce_close(struct kafka *k);
/* Takes what is queued and sends it on; true when there may be more. */
bool kafka_produce_take(struct kafka *k);
/* Serves delivery reports and finishes what is durable and readable. */
void kafka_produce_poll(struct kafka *k);
/* Makes one value of a record's head and body. */
void kafka_produce_join(struct kafka_sent *s);
/* Hands it to the producer, once; RM_EIO: refused, there will be no report. */
int kafka_produce_mail(struct kafka *k, struct kafka_sent *s) MUST_CHECK;
/* Sends a claim (state) or its mark (backlog, events). */
void kafka_produce_claim(struct kafka *k, enum log_name name, uint32_t partition);
/* Writes the value that the copy has under the key again, or that it has none, under the epoch of now. */
void kafka_produce_again(struct kafka *k, enum log_name name, uint32_t partition, struct span key);
/* Whether a write of this process to the key is under way, or not read back into the copy. */
bool kafka_produce_has(struct kafka *k, enum log_name name, uint32_t partition, struct span key);
/* Tells the followers of a partition what it is time to tell. */
void kafka_tell(struct kafka *k, uint32_t partition);
void kafka_ring_push(struct kafka_ring *r, struct kafka_hint h);
void kafka_ring_clear(struct kafka_ring *r);
/* Without those at offset and above. */
void kafka_ring_truncate(struct kafka_ring *r, uint64_t offset);

/* ---- outbox.c ---- */

void kafka_outbox_init(struct kafka_part *p);
void kafka_outbox_add(struct kafka *k, struct kafka_sent *s);
/* Hands over the next group of each partition that has none under way. */
void kafka_outbox_send(struct kafka *k);
/* Gets what was handed over sent, when it is time. */
void kafka_outbox_push(struct kafka *k);
/* Fails all that waits. */
void kafka_outbox_drop(struct kafka *k);

/* ---- consume.c ---- */

int kafka_consume_open(struct kafka *k, char why[KAFKA_WHY_MOST]) MUST_CHECK;
void kafka_consume_close(struct kafka *k);
/* Reads into the copy what has come; true when there may be more. */
bool kafka_consume_poll(struct kafka *k);
/* Mail and events that their owner does not need from the start (log_options.start) are left out. */
int kafka_follow_start(struct kafka *k, enum log_name name, uint32_t partition) MUST_CHECK;
void kafka_follow_stop(struct kafka *k, enum log_name name, uint32_t partition);
bool kafka_follow_caught_up(struct kafka *k, enum log_name name, uint32_t partition);
/* Reads again from what the copy has. */
void kafka_follow_restart(struct kafka *k);
/* From where on the owner needs mail or events, as far as the state has been read. */
uint64_t kafka_follow_needed(struct kafka *k, enum log_name name, uint32_t partition);
/* Asks the broker for the end of the log, which becomes the target. */
int kafka_follow_target(struct kafka *k, enum log_name name, uint32_t partition) MUST_CHECK;

/* ---- sweep.c ---- */

int kafka_sweep_read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                        struct span *value) MUST_CHECK;
/* Reads what is wanted; true when there may be more. */
bool kafka_sweep_poll(struct kafka *k, uint64_t now_us);
/* The partition is not ours any more. */
void kafka_sweep_drop(struct kafka *k, uint32_t partition);
void kafka_sweep_close(struct kafka *k);

/* Its handle, made at first use. */
rd_kafka_t *kafka_sweeper(struct kafka *k);

/* ---- fill.c ---- */

/* What the copy says is missing. */
void kafka_fill_load(struct kafka *k);
/* In the open transaction: reading goes on with offset, what stands between is read later; forgets what is
 * missing. */
void kafka_fill_later(struct kafka *k, struct stream *s, uint64_t offset);
void kafka_fill_forget(struct kafka *k, uint32_t partition);
/* Some is missing at or above the offset. */
bool kafka_fill_misses(const struct kafka *k, uint32_t partition, uint64_t offset);
/* Reads some of what is missing in partitions that are followed. */
void kafka_fill_poll(struct kafka *k, uint64_t now_us);
void kafka_fill_close(struct kafka *k);
bool kafka_fill_read_missing(struct log_reader *r, uint32_t partition, uint64_t *from, uint64_t *to);

/* ---- voids.c ---- */

/* The copy has void rows without a valid one. */
bool kafka_voids_lone(struct kafka *k, uint32_t n);

/* While a void value of that time is applied: notes its key, to be written over by the owner. */
void kafka_void_note(struct kafka *k, const struct stream *s, struct span key, struct span value,
                     uint64_t ms);
/* While another value or a tombstone of the key is applied: it stands behind. */
void kafka_void_passed(struct kafka *k, const struct stream *s, struct span key);
/* Writing over it has failed. */
void kafka_void_again(struct kafka_part *p, enum log_name name, struct span key);
/* What the copy has noted, before it is read on. */
void kafka_voids_load(struct kafka *k, enum log_name name, uint32_t n);
/* Writes over all that is noted in memory; the owner's alone. */
void kafka_voids_repair(struct kafka *k, uint32_t n);
/* The partition is not followed any more. */
void kafka_voids_forget(struct kafka_part *p);

/* ---- grow.c ---- */

int kafka_grow(struct log *log, uint32_t partitions) MUST_CHECK;
void kafka_grown(struct log *log, uint32_t partitions);
void kafka_grow_poll(struct kafka *k, uint64_t now_us);

/* ---- group.c ---- */

int kafka_group_join(struct log *log, const char *owner) MUST_CHECK;
void kafka_group_leave(struct log *log);
void kafka_group_release(struct log *log, uint32_t partition);
bool kafka_group_may_start(const struct log *log, uint32_t partition);
bool kafka_group_owns(const struct log *log, uint32_t partition);
void kafka_group_poll(struct kafka *k, uint64_t now_us);
/* Lets the group know of added partitions; false: not yet, to be called again. */
bool kafka_group_grow(struct kafka *k, uint32_t partitions);
/* A claim or mark was acknowledged at offset, or failed. */
void kafka_group_marked(struct kafka *k, enum log_name name, uint32_t partition, uint64_t offset,
                        bool failed);

/* ---- stop.c ---- */

/* Gives up, after log_stop_by, when the brokers do not answer. */
void kafka_stop_poll(struct kafka *k, uint64_t now_us);
/* They do not answer now, and nothing but the end of the process is to come. */
void kafka_stop_unheard(struct kafka *k);

/* ---- kafka.c ---- */

/* Without connections and copy; what kafka_log_open opens step by step. */
struct kafka *kafka_new(const struct kafka_options *o, const struct log_options *common);
/* Its thread does not run. */
void kafka_free(struct kafka *k);

void kafka_trouble(struct kafka *k, int err, const char *what);

#endif
