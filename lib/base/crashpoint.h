/*
 * Places at which a test lets the process die as by kill -9, to prove that nothing is lost or doubled
 * whatever had just happened. Compiled in with -DREMUDA_CRASH_POINTS (CMake's REMUDA_CRASH_POINTS; preset
 * asan) and then asleep unless the environment says REMUDA_CRASH_AT=NAME or NAME:N, which means the N-th pass
 * (default 1) of that place, by the signal of number REMUDA_CRASH_SIGNAL (default SIGKILL). Otherwise
 * CRASH_POINT is nothing at all.
 */
#ifndef REMUDA_LIB_BASE_CRASHPOINT_H
#define REMUDA_LIB_BASE_CRASHPOINT_H

#include <stdbool.h>

/* One row per place: constant, name, what has happened by then. */
#define CRASH_POINT_TABLE(X)                                                                                 \
    X(COMMIT_BEFORE, "commit-before", "a group stands in its transaction, which is not committed")           \
    X(COMMIT_AFTER, "commit-after", "a group is committed, nobody has been told")                            \
    X(CLAIM_DURABLE, "claim-durable", "Kafka: a claim of a partition is durable, no mark of it is")          \
    X(CLAIM_MARKED, "claim-marked", "Kafka: a claim is marked in backlog, not in events")                    \
    X(APPENDS_DURABLE, "appends-durable", "Kafka: of a flush the appends are durable, its events are not")   \
    X(EVENTS_DURABLE, "events-durable", "Kafka: of a flush the events are durable, its rows are not")        \
    X(BACKLOG_DURABLE, "backlog-durable", "Kafka: of a flush the rows are durable, what it learned is not")  \
    X(STATE_DURABLE, "state-durable", "Kafka: of a flush all is durable but the position")                   \
    X(FLUSH_BEFORE, "flush-before", "outcomes are gathered, not handed to the log")                          \
    X(FLUSH_DURABLE, "flush-durable", "outcomes are durable, the owner has not heard of it")                 \
    X(COPY_FLUSH_BEFORE, "copy-flush-before", "a flush with transfers or bounces is not handed to the log")  \
    X(COPY_FLUSH_DURABLE, "copy-flush-durable", "transfers or bounces are durable, not yet heard of")        \
    X(TRANSFER_CHUNK, "transfer-chunk", "a chunk of a transferred message is copied, the record is not")     \
    X(TRANSFER_GATHERED, "transfer-gathered", "the copy of a record waits for its flush, without its event") \
    X(TRANSFER_ABROAD, "transfer-abroad", "a copy is durable in another log, its final is not here")         \
    X(MIGRATE_LISTS, "migrate-lists", "lists and decisions are in the other log, what was learned is not")   \
    X(MIGRATE_LEARNED, "migrate-learned", "what was learned is in the other log, no mail is")                \
    X(MIGRATE_END, "migrate-end", "all is in the other log, and it is not said here")                        \
    X(RECORD_TAKEN, "record-taken", "a stored or new record was handed to its owner")                        \
    X(TRANSFER_READ, "transfer-read", "a transferred copy or a bounce was read, nothing was done with it")   \
    X(BOUNCE_GATHERED, "bounce-gathered", "a bounce waits for its flush, without the event of its cause")    \
    X(REPORT_BOUND, "report-bound", "a failure is sealed for every owner, its report is not gathered")       \
    X(CARRY_CHUNK, "carry-chunk", "a chunk is carried forward, its record is not")                           \
    X(CARRY_RECORD, "carry-record", "a record is carried forward, its rows point to the old place")          \
    X(CARRY_READ, "carry-read", "the carried record was read, before its rows move")                         \
    X(CARRY_MOVED, "carry-moved", "the rows' new place waits for the flush")                                 \
    X(CHUNK_DURABLE, "chunk-durable", "a chunk of a message being received is durable")                      \
    X(RECORD_BEFORE, "record-before", "all chunks of a message are durable, its record is not appended")     \
    X(RECORD_DURABLE, "record-durable", "a record is durable, its 250 is not sent")                          \
    X(DOT_GIVEN, "dot-given", "the kernel has the final dot, the answer is awaited")                         \
    X(ANSWER_READ, "answer-read", "a receiver answered, its event is not made")

#define CRASH_POINT_ENUM(constant, name, what) CRASH_##constant,
enum crash_point { CRASH_POINT_TABLE(CRASH_POINT_ENUM) CRASH_POINTS };
#undef CRASH_POINT_ENUM

/* Name and meaning of a place. Never NULL. */
const char *crash_point_name(enum crash_point p);
const char *crash_point_what(enum crash_point p);
/* True in a build that has them. */
bool crash_points_built(void);
/* Dies here if the environment asks for it. Any thread. Use CRASH_POINT. */
void crash_point_pass(enum crash_point p);

#ifdef REMUDA_CRASH_POINTS
#define CRASH_POINT(constant) crash_point_pass(CRASH_##constant)
#else
#define CRASH_POINT(constant) ((void)0)
#endif

#endif
