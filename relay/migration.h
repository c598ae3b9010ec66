/*
 * Whether a log is in use, by the newest Migration in its control log that counts: once its mail and state
 * are on their way into another log nothing runs on it any more but `remuda migrate`, so that no message is
 * sent and no cap is spent from both.
 */
#ifndef REMUDA_RELAY_MIGRATION_H
#define REMUDA_RELAY_MIGRATION_H

#include "lib/base/id.h"
#include "lib/base/logger.h"
#include "queue/log.h"
#include "remuda.pb-c.h"

enum { MIGRATION_OTHER_MOST = 512 };

struct migration {
    bool known; /* false: there has never been one */
    struct msgid id;
    Remuda__MigrationState state;
    char other[MIGRATION_OTHER_MOST]; /* the other log, in words */
    uint64_t time_ms;
};

/*
 * Reads the control log from *next on, and sets both to what is found: the newest word that counts. The first
 * that says leaving counts until all has left, so that there is one id; left counts of the same id; came of
 * the same id or after left. What log_read_begin returns.
 */
int migration_follow(struct log *log, uint64_t *next, struct migration *newest) MUST_CHECK;
/* The same at the start of a relay: RM_EREFUSED, and why is logged, when it may not run on this log. */
int migration_check(struct log *log, uint64_t *next, struct migration *newest,
                    struct logger *logger) MUST_CHECK;
/* Leaving, or left: no relay runs on the log. */
bool migration_is_away(const struct migration *m);
/* Appends and waits until it is durable, with now as its time: not on a loop's thread. */
int migration_append(struct log_client *c, const struct migration *m) MUST_CHECK;
/* Says leaving under a new id, and reads back as migration_follow what counts: another may have been first.
 * RM_ETIMEDOUT: it is not to be read. */
int migration_begin(struct log_client *c, struct log *log, const char *other, uint64_t *next,
                    struct migration *newest) MUST_CHECK;

#endif
