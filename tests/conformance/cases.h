/* The cases of the conformance body; each runs on a fresh rig of every backend. */
#ifndef REMUDA_TESTS_CONFORMANCE_CASES_H
#define REMUDA_TESTS_CONFORMANCE_CASES_H

#include "tests/conformance/rig.h"

#define CONFORMANCE_CASES(X)                                                                                 \
    X(case_appends_are_read_in_order)                                                                        \
    X(case_small_logs)                                                                                       \
    X(case_offsets_survive)                                                                                  \
    X(case_head_and_body)                                                                                    \
    X(case_big_value)                                                                                        \
    X(case_batches_are_atomic)                                                                               \
    X(case_failed_batch_leaves_nothing)                                                                      \
    X(case_told_only_when_durable)                                                                           \
    X(case_woken_once)                                                                                       \
    X(case_intake_is_refused_first)                                                                          \
    X(case_long_queue_refuses_intake)                                                                        \
    X(case_delete_below)                                                                                     \
    X(case_delete_beyond_the_end)                                                                            \
    X(case_reader_keeps_its_snapshot)                                                                        \
    X(case_partitions_are_added_and_never_taken_away)                                                        \
    X(case_last_value_stays)                                                                                 \
    X(case_ops_of_a_batch_in_order)                                                                          \
    X(case_index_follows_values)                                                                             \
    X(case_index_order)                                                                                      \
    X(case_epochs_grow)                                                                                      \
    X(case_partitions_are_shared_out)                                                                        \
    X(case_partitions_are_added_while_it_runs)                                                               \
    X(case_nothing_after_lost)                                                                               \
    X(case_follow_from_the_middle)                                                                           \
    X(case_follow_from_beyond_the_end)                                                                       \
    X(case_follow_in_pieces)                                                                                 \
    X(case_slow_follower)                                                                                    \
    X(case_follow_beside_appenders)                                                                          \
    X(case_follow_again_and_again)                                                                           \
    X(case_append_while_told)

/* Where partitions move between processes. */
#define SHARED_CASES(X)                                                                                      \
    X(case_left_out_is_fetched)                                                                              \
    X(case_older_events_come_afterwards)

#define DECLARE_CASE(name) void name(void **state);
CONFORMANCE_CASES(DECLARE_CASE)
SHARED_CASES(DECLARE_CASE)
#undef DECLARE_CASE

#endif
