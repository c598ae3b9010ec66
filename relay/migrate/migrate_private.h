/* What the files of a migration share. */
#ifndef REMUDA_RELAY_MIGRATE_MIGRATE_PRIVATE_H
#define REMUDA_RELAY_MIGRATE_MIGRATE_PRIVATE_H

#include "queue/mover.h"
#include "relay/lanes.h"
#include "relay/migrate/migrate.h"
#include "relay/migration.h"

struct migrate {
    struct migrate_options o;
    struct migration migration;   /* of the log that is left */
    struct migration known_there; /* of the other one, before */
    char from_name[MIGRATION_OTHER_MOST], to_name[MIGRATION_OTHER_MOST];
    struct log *from, *to;
    struct log_client *here, *there;
    struct lanes *lanes; /* of the log that it comes to */
    int wake_fd;
    struct mover **movers; /* by partition; NULL: not claimed yet */
    uint32_t n_claimed;
    bool lost;  /* another process has got a partition of it */
    int failed; /* a partition could not be opened */
    struct {
        uint64_t pairs, tenants, suppressed, claims, decisions, dead;
    } moved;
};

/* ---- waiting ---- */

/* Until either log has something to tell, or 250 ms are over; then tells it. */
void migrate_wait(struct migrate *m);
/* A batch of its own: submits it and waits until it is durable, again and again while it is refused for now;
 * what the trouble is, is said once. RM_ECLOSED: the log is another's. */
int migrate_write(struct migrate *m, struct log_client *c, struct log_batch *b) MUST_CHECK;

/* ---- where to ---- */

/* Lane and partition in the other log. pool, provider, shard: here. */
void migrate_place(void *arg, const Remuda__Record *record, const Remuda__Submission *submission,
                   Remuda__TransferTo *to);
/* The partition there of what belongs to a source or a tenant at a provider; -1: there is none. */
int migrate_home_of_pair(const struct migrate *m, const char *source, const char *provider,
                         Remuda__TransferTo *to);
int migrate_home_of_tenant(const struct migrate *m, const char *tenant, const char *provider,
                           Remuda__TransferTo *to);

/* ---- what is moved besides mail: each may be run again. RM_OK or what a log said. ---- */

int migrate_learned(struct migrate *m) MUST_CHECK;
int migrate_suppression(struct migrate *m) MUST_CHECK;
/* What has been accepted of tenants' limits today. */
int migrate_claims(struct migrate *m) MUST_CHECK;
int migrate_decisions(struct migrate *m) MUST_CHECK;
int migrate_dead(struct migrate *m) MUST_CHECK;

#endif
