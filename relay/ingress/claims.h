/*
 * What is claimed of tenants' limits: the records of the quota log. A holder (one shard of one life of a
 * node) has one record for each tenant, which says how many messages it may have accepted at most in this
 * minute and this day, counted from 1970 in UTC. Who may claim how much is allowance.c's.
 */
#ifndef REMUDA_RELAY_INGRESS_CLAIMS_H
#define REMUDA_RELAY_INGRESS_CLAIMS_H

#include "lib/base/id.h"
#include "queue/log.h"

enum claims_window { CLAIMS_MINUTE, CLAIMS_DAY, CLAIMS_WINDOWS };
extern const uint64_t claims_length_ms[CLAIMS_WINDOWS];

struct claims_of {
    uint64_t number;  /* of the minute or day */
    uint64_t claimed; /* messages */
    uint64_t before;  /* what was claimed of the one before */
};

struct claims_record {
    const char *tenant; /* at most 63 bytes */
    const struct msgid *holder;
    struct claims_of windows[CLAIMS_WINDOWS];
};

/* Adds the record to a batch. node: its name, for those who look. */
void claims_put(struct log_batch *b, const struct claims_record *r, const char *node);
/* Sums what all other holders have claimed of the record's windows. RM_EIO ... when the log cannot be read.
 */
int claims_of_others(struct log *log, const struct claims_record *r, uint64_t out[CLAIMS_WINDOWS]) MUST_CHECK;
/* Erases records of days before yesterday, at most 1,000 with one call; NULL: there are none. The batch is
 * the caller's. */
struct log_batch *claims_erase_old(struct log *log, uint64_t wall_ms);

#endif
