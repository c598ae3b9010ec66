/* The control log's word on whether a log is in use. */
#include "relay/migration.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "proto/codec.h"

/* Nothing fences the control log: a word that comes late, or at the same time as another, must change neither
 * the id of a move that is under way nor what was said since (step word of tests/model/migrate.pml). */
static bool counts(const struct migration *m, const Remuda__Migration *found)
{
    bool same = m->known && memcmp(m->id.bytes, found->id.data, sizeof(m->id.bytes)) == 0;
    switch (found->state) {
    case REMUDA__MIGRATION_STATE__MIGRATION_LEAVING:
        return !migration_is_away(m);
    case REMUDA__MIGRATION_STATE__MIGRATION_LEFT:
        return !m->known || (same && migration_is_away(m));
    default:
        return same || !m->known || m->state == REMUDA__MIGRATION_STATE__MIGRATION_LEFT;
    }
}

static void take(struct migration *m, struct span value)
{
    struct arena a = ARENA_INIT;
    const Remuda__Control *record = control_decode(&a, value);
    const Remuda__Migration *found = record ? record->migration : NULL;
    if (found && counts(m, found)) {
        m->known = true;
        memcpy(m->id.bytes, found->id.data, sizeof(m->id.bytes));
        m->state = found->state;
        m->time_ms = found->time_ms;
        snprintf(m->other, sizeof(m->other), "%s", found->other);
    }
    arena_fini(&a);
}

int migration_follow(struct log *log, uint64_t *next, struct migration *newest)
{
    struct log_reader *r;
    struct span value;
    int err = log_read_begin(log, &r);
    if (err != RM_OK)
        return err;
    for (; log_read_next(r, LOG_CONTROL, 0, next, &value); (*next)++)
        take(newest, value);
    log_read_end(r);
    return RM_OK;
}

bool migration_is_away(const struct migration *m)
{
    return m->known && m->state != REMUDA__MIGRATION_STATE__MIGRATION_CAME;
}

int migration_check(struct log *log, uint64_t *next, struct migration *newest, struct logger *logger)
{
    int err = migration_follow(log, next, newest);
    if (err != RM_OK || !migration_is_away(newest))
        return err;
    if (newest->state == REMUDA__MIGRATION_STATE__MIGRATION_LEFT)
        logger_log(logger, LOG_ERROR, "migrate.has_left", LF_STR("to", newest->other),
                   LF_STR("what", "mail and state of this log are in the other one: run the relay there, or "
                                  "move them back with `remuda migrate`"));
    else
        logger_log(logger, LOG_ERROR, "migrate.not_finished", LF_STR("to", newest->other),
                   LF_STR("what", "run `remuda migrate` again to end the move"));
    return RM_EREFUSED;
}

static void stored(void *arg, struct log_batch *b, int status)
{
    (void)b;
    *(int *)arg = status;
}

int migration_append(struct log_client *c, const struct migration *m)
{
    Remuda__Migration stored_form = REMUDA__MIGRATION__INIT;
    Remuda__Control record = REMUDA__CONTROL__INIT;
    struct buf packed = BUF_INIT;
    int status = RM_ECLOSED;
    stored_form.id.data = (uint8_t *)(uintptr_t)m->id.bytes;
    stored_form.id.len = sizeof(m->id.bytes);
    stored_form.state = m->state;
    stored_form.other = (char *)(uintptr_t)m->other;
    stored_form.time_ms = clock_wall_ms();
    record.migration = &stored_form;
    proto_pack(&packed, &record.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_CONTROL, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
    log_submit(c, b, stored, &status);
    log_client_flush(c);
    return status;
}

int migration_begin(struct log_client *c, struct log *log, const char *other, uint64_t *next,
                    struct migration *newest)
{
    struct migration mine = {.state = REMUDA__MIGRATION_STATE__MIGRATION_LEAVING,
                             .id = msgid_make(clock_wall_ms())};
    snprintf(mine.other, sizeof(mine.other), "%s", other);
    int err = migration_append(c, &mine);
    if (err == RM_OK)
        err = migration_follow(log, next, newest);
    return err == RM_OK && !migration_is_away(newest) ? RM_ETIMEDOUT : err;
}
