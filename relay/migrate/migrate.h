/*
 * `remuda migrate`: moves the waiting mail and the state of one log into another, whatever their backends
 * are. The process is the only one that runs on the log that it leaves, and no more than an ingress node
 * to the one that it comes to:
 *
 *   look at both configurations and the other log -> say in control that this one is left (a relay that runs
 * on it stops by that) -> claim all its partitions -> lists and decisions -> what was learned of pairs and
 * tenants -> mail (queue/mover.h) -> dead records -> say that all has left
 *
 * Killed at any point it is run again, and goes on: what is in control keeps the id under which the other log
 * knows what has come already.
 */
#ifndef REMUDA_RELAY_MIGRATE_MIGRATE_H
#define REMUDA_RELAY_MIGRATE_MIGRATE_H

#include <stdio.h>

#include "relay/config/settings.h"

struct migrate_options {
    const struct settings *from, *to;
    FILE *out, *err;
    /* Asks the relay that runs on the log to leave for the other one (in words) and stop: RM_OK; RM_EREFUSED:
     * none answers; else it was tried, and said on err. */
    int (*stop_relay)(void *arg, const char *to);
    void *arg;
};

/* CTL_OK: nothing is left. CTL_FAILED: said on err why not; what was done stays done. */
int migrate_run(const struct migrate_options *o);

#endif
