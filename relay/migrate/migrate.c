/*
 * The course of a migration (steps of tests/model/migrate.pml): both logs are opened, the one that is left is
 * claimed, everything is moved, and what was done is told. One thread, which waits for both logs.
 */
#include "relay/migrate/migrate.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "relay/ctl/ctl.h"
#include "relay/ctl/text.h"
#include "relay/log_choice.h"
#include "relay/migrate/migrate_private.h"

enum {
    WAIT_MS = 250,
    TELL_MS = 2000,
    STOP_EXTRA_MS = 60000, /* a relay that was asked to stop drains first; then its log is free soon */
    CLAIM_MS = 600000,     /* nodes of a cluster stop, or their sessions end; then its mail is read */
    CLAIM_TELL_MS = 15000,
};

/* ---- waiting ---- */

static void wake(void *arg)
{
    static const uint64_t one = 1;
    const struct migrate *m = arg;
    ssize_t n = write(m->wake_fd, &one, sizeof(one));
    (void)n; /* full: it is awake */
}

void migrate_wait(struct migrate *m)
{
    struct pollfd fd = {.fd = m->wake_fd, .events = POLLIN};
    uint64_t n;
    if (poll(&fd, 1, WAIT_MS) > 0)
        while (read(m->wake_fd, &n, sizeof(n)) > 0)
            ;
    if (m->here)
        log_client_poll(m->here);
    log_client_poll(m->there);
}

struct written {
    int status;
    bool done;
    struct log_batch *kept;
};

static void stored(void *arg, struct log_batch *b, int status)
{
    struct written *w = arg;
    w->status = status;
    w->done = true;
    if (status == RM_OK || status == RM_ECLOSED)
        return;
    log_batch_keep(b);
    w->kept = b;
}

int migrate_write(struct migrate *m, struct log_client *c, struct log_batch *b)
{
    for (bool told = false; !m->lost; told = true) {
        struct written w = {0};
        log_submit(c, b, stored, &w);
        while (!w.done)
            migrate_wait(m);
        if (!w.kept)
            return w.status;
        if (!told)
            fprintf(m->o.err, "remuda: %s: %s; it is tried again\n",
                    c == m->there ? m->to_name : m->from_name, rm_strerror(w.status));
        b = w.kept;
        migrate_wait(m);
    }
    log_batch_free(b);
    return RM_ECLOSED;
}

/* ---- opening ---- */

static void on_trouble(void *arg, int err, const char *what)
{
    const struct migrate *m = arg;
    if (err != RM_OK)
        fprintf(m->o.err, "remuda: %s: %s\n", what, rm_strerror(err));
}

/* Without a start: of a cluster that is left all mail is read at once, because all of it moves. */
static struct log_options log_options(struct migrate *m, const struct settings *s)
{
    return (struct log_options){.partitions = s->partitions,
                                .index = row_index_keys,
                                .floor_free_bytes = s->floor_free_bytes,
                                .carry_after = UINT64_MAX, /* what waits goes: nothing is carried */
                                .trouble = on_trouble,
                                .arg = m};
}

static int failed(const struct migrate *m, const char *name, int err)
{
    fprintf(m->o.err, "remuda: %s: %s%s\n", name, rm_strerror(err),
            err == RM_ELOCKED ? ": a relay runs on it, stop it first" : "");
    return CTL_FAILED;
}

/* Everything that mail, or what was learned, will want is there. */
static bool configurations_match(const struct migrate *m)
{
    const struct settings *from = m->o.from, *to = m->o.to;
    bool ok = strcmp(from->log_backend, "memory") != 0 && strcmp(to->log_backend, "memory") != 0;
    if (!ok)
        fputs("remuda: a log in memory has nothing that outlives its process\n", m->o.err);
    for (int i = 0; i < from->router.n_pools; i++)
        if (router_pool_find(&to->router, span_str(from->router.pools[i].name)) < 0) {
            fprintf(m->o.err, "remuda: pool %s is not in the other configuration\n",
                    from->router.pools[i].name);
            ok = false;
        }
    for (int i = 0; i < from->n_tenants; i++) {
        bool found = false;
        for (int k = 0; k < to->n_tenants && !found; k++)
            found = strcmp(from->tenants[i].name, to->tenants[k].name) == 0;
        if (!found)
            fprintf(m->o.err, "remuda: tenant %s is not in the other configuration\n", from->tenants[i].name);
        ok = ok && found;
    }
    return ok;
}

static struct logger *stderr_logger(void)
{
    struct logger_options o = {.level = LOG_ERROR, .format = LOG_FORMAT_HUMAN, .fd = STDERR_FILENO};
    return logger_new(&o);
}

/* ---- the log that it comes to ---- */

struct founding {
    struct migrate *m;
    struct log_batch *batch;
    struct log_reader *reader;
};

static void found_one(void *arg, uint32_t partition, uint64_t epoch)
{
    struct founding *f = arg;
    partition_found(f->reader, partition, epoch, f->batch);
}

static void ignore(void *arg, uint32_t partition)
{
    (void)arg, (void)partition;
}

/* An embedded log that nobody has run on yet has no positions, and mail without them is refused at its start.
 */
static int found_partitions(struct migrate *m)
{
    struct founding f = {.m = m};
    struct log_ownership table = {.gained = found_one, .losing = ignore, .lost = ignore, .arg = &f};
    if (!(log_capabilities(m->to) & LOG_ATOMIC))
        return RM_OK;
    int err = log_join(m->to, &m->there, &table, 1, "migrate");
    if (err == RM_OK)
        err = log_read_begin(m->to, &f.reader);
    if (err != RM_OK)
        return err;
    f.batch = log_batch_new(LOG_OWNER);
    log_client_poll(m->there);
    log_read_end(f.reader);
    if (log_batch_ops(f.batch) > 0)
        return migrate_write(m, m->there, f.batch);
    log_batch_free(f.batch);
    return RM_OK;
}

/* One that is being left itself takes nothing. */
static int check_there(struct migrate *m)
{
    uint64_t next = 0;
    int err = migration_follow(m->to, &next, &m->known_there);
    if (err != RM_OK || !migration_is_away(&m->known_there))
        return err;
    if (m->known_there.state == REMUDA__MIGRATION_STATE__MIGRATION_LEFT)
        return RM_OK;
    fprintf(m->o.err, "remuda: %s is on its way into %s itself: end that first\n", m->to_name,
            m->known_there.other);
    return RM_EREFUSED;
}

/* One that was left before is in use again. */
static int take_into_use(struct migrate *m)
{
    struct migration now = {.state = REMUDA__MIGRATION_STATE__MIGRATION_CAME};
    if (!migration_is_away(&m->known_there))
        return CTL_OK;
    now.id = msgid_make(clock_wall_ms());
    snprintf(now.other, sizeof(now.other), "%s", m->from_name);
    int err = migration_append(m->there, &now);
    return err == RM_OK ? CTL_OK : failed(m, m->to_name, err);
}

static int open_there(struct migrate *m)
{
    struct log_options common = log_options(m, m->o.to);
    struct logger *logger = stderr_logger();
    int err = log_choice_open_beside(m->o.to, "migrate-to", &common, logger, &m->to);
    logger_free(logger);
    if (err != RM_OK)
        return failed(m, m->to_name, err);
    m->there = log_client_new(m->to, wake, m);
    err = check_there(m);
    if (err == RM_OK)
        err = lanes_load(m->to, &m->o.to->router, &m->lanes);
    if (err == RM_OK)
        err = found_partitions(m);
    return err == RM_OK ? CTL_OK : failed(m, m->to_name, err);
}

/* ---- the log that it leaves ---- */

static int try_open(struct migrate *m, struct logger *logger)
{
    struct log_options common = log_options(m, m->o.from);
    return log_choice_open_beside(m->o.from, "migrate-from", &common, logger, &m->from);
}

static int open_with_words(struct migrate *m)
{
    struct logger *logger = stderr_logger();
    int err = try_open(m, logger);
    logger_free(logger);
    return err;
}

/* A relay has it: it is asked to leave, and drains. */
static int open_here(struct migrate *m)
{
    int err = try_open(m, NULL);
    if (err == RM_ELOCKED && m->o.stop_relay(m->o.arg, m->to_name) == RM_OK) {
        uint64_t until = clock_boot_us() / 1000 + 2 * m->o.from->drain_ms + STOP_EXTRA_MS;
        fprintf(m->o.out, "the relay finishes what it is sending, and stops\n");
        fflush(m->o.out);
        while ((err = try_open(m, NULL)) == RM_ELOCKED && clock_boot_us() / 1000 < until)
            migrate_wait(m);
    } else if (err != RM_OK && err != RM_ELOCKED) {
        err = open_with_words(m);
    }
    if (err != RM_OK)
        return failed(m, m->from_name, err);
    m->here = log_client_new(m->from, wake, m);
    return CTL_OK;
}

/* The same id when it is run again. */
static int begin(struct migrate *m)
{
    uint64_t next = 0;
    int err = migration_follow(m->from, &next, &m->migration);
    if (err == RM_OK && !migration_is_away(&m->migration))
        err = migration_begin(m->here, m->from, m->to_name, &next, &m->migration);
    if (err != RM_OK)
        return failed(m, m->from_name, err);
    if (strcmp(m->migration.other, m->to_name) == 0)
        return CTL_OK;
    fprintf(m->o.err, "remuda: %s moves into %s: it cannot go elsewhere\n", m->from_name, m->migration.other);
    return CTL_FAILED;
}

static void on_gained(void *arg, uint32_t partition, uint64_t epoch)
{
    struct migrate *m = arg;
    struct mover_options o = {.log = m->from,
                              .client = m->here,
                              .partition = partition,
                              .epoch = epoch,
                              .abroad = m->there,
                              .id = m->migration.id.bytes,
                              .table_version = lanes_version(m->lanes),
                              .place = migrate_place,
                              .trouble = on_trouble,
                              .arg = m};
    int err = mover_open(&o, &m->movers[partition]);
    if (err != RM_OK)
        m->failed = err;
    else
        m->n_claimed++;
}

static void on_lost(void *arg, uint32_t partition)
{
    struct migrate *m = arg;
    (void)partition;
    m->lost = true;
}

/* All of them: whoever else ran on the log stops by itself. */
static int claim(struct migrate *m)
{
    struct log_ownership table = {.gained = on_gained, .losing = on_lost, .lost = on_lost, .arg = m};
    uint32_t n = log_partitions(m->from);
    m->movers = calloc(n, sizeof(struct mover *));
    ENSURE(m->movers);
    int err = log_join(m->from, &m->here, &table, 1, "migrate");
    uint64_t now = clock_boot_us() / 1000, until = now + CLAIM_MS, tell = now + CLAIM_TELL_MS;
    while (err == RM_OK && m->n_claimed < n && !m->failed && !m->lost && now < until) {
        migrate_wait(m);
        now = clock_boot_us() / 1000;
        if (now < tell)
            continue;
        tell = now + CLAIM_TELL_MS;
        fprintf(m->o.out, "has %u of %u partitions, and waits for the nodes that run on it to stop\n",
                m->n_claimed, n);
        fflush(m->o.out);
    }
    if (err == RM_OK && m->failed)
        err = m->failed;
    if (err != RM_OK)
        return failed(m, m->from_name, err);
    if (m->n_claimed < n || m->lost) {
        fprintf(m->o.err, "remuda: %s: only %u of %u partitions could be had: other nodes still run on it\n",
                m->from_name, m->n_claimed, n);
        return CTL_FAILED;
    }
    return CTL_OK;
}

static bool brings_state(struct span value)
{
    struct mail_view view;
    size_t need;
    struct arena a = ARENA_INIT;
    const Remuda__Record *record = NULL;
    if (mail_view(value, &view, &need) == RM_OK && view.kind == MAIL_RECORD)
        record = record_decode(&a, view.header);
    bool brings = record && record->kind == REMUDA__RECORD_KIND__RECORD_STATE;
    arena_fini(&a);
    return brings;
}

static bool state_waits(struct log_reader *r, uint32_t partition)
{
    struct span value;
    uint64_t at = 0;
    if (log_read_key(r, LOG_STATE, partition, SPAN_LIT("position"), &value) == RM_OK) {
        Remuda__Position *pos = remuda__position__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        at = pos ? pos->watermark : 0;
        if (pos)
            remuda__position__free_unpacked(pos, NULL);
    }
    for (; log_read_next(r, LOG_MAIL, partition, &at, &value); at++)
        if (brings_state(value))
            return true;
    return false;
}

/* What came here by an earlier move, and was never read by an owner, is in no pair's record. Nothing has been
 * moved yet: the log stays in use. */
static int check_taken_over(struct migrate *m)
{
    struct log_reader *r;
    bool waits = false;
    int err = log_read_begin(m->from, &r);
    if (err != RM_OK)
        return failed(m, m->from_name, err);
    for (uint32_t p = 0; p < log_partitions(m->from) && !waits; p++)
        waits = state_waits(r, p);
    log_read_end(r);
    if (!waits)
        return CTL_OK;
    m->migration.state = REMUDA__MIGRATION_STATE__MIGRATION_CAME;
    err = migration_append(m->here, &m->migration);
    if (err != RM_OK)
        return failed(m, m->from_name, err);
    fprintf(m->o.err,
            "remuda: %s: what came with an earlier move was not taken over yet: run the relay once\n",
            m->from_name);
    return CTL_FAILED;
}

/* ---- mail ---- */

static void sum(const struct migrate *m, struct mover_figures *out)
{
    *out = (struct mover_figures){0};
    for (uint32_t p = 0; p < log_partitions(m->from); p++) {
        struct mover_figures f;
        mover_figures(m->movers[p], &f);
        out->found += f.found;
        out->submissions += f.submissions;
        out->records += f.records;
        out->bytes += f.bytes;
        out->within += f.within;
        out->ended += f.ended;
        out->dead += f.dead;
        out->unreadable += f.unreadable;
    }
}

static void tell_moved(const struct migrate *m)
{
    struct mover_figures f;
    char room[TEXT_ROOM];
    sum(m, &f);
    fprintf(m->o.out, "moved %llu submissions in %llu messages, %s\n", (unsigned long long)f.submissions,
            (unsigned long long)f.records, text_bytes(f.bytes, room));
    fflush(m->o.out);
}

/* Each has moved all that it can; those that it cannot are counted. */
static bool all_at_rest(const struct migrate *m)
{
    for (uint32_t p = 0; p < log_partitions(m->from); p++) {
        struct mover_figures f;
        mover_figures(m->movers[p], &f);
        if (!f.unreadable && !mover_done(m->movers[p]))
            return false;
    }
    return true;
}

static int move_mail(struct migrate *m)
{
    uint64_t told_ms = clock_boot_us() / 1000;
    while (!all_at_rest(m)) {
        for (uint32_t p = 0; p < log_partitions(m->from); p++)
            mover_step(m->movers[p]);
        migrate_wait(m);
        if (m->lost) {
            fprintf(m->o.err, "remuda: %s: another node has taken a partition: stop it, and run this again\n",
                    m->from_name);
            return CTL_FAILED;
        }
        if (clock_boot_us() / 1000 - told_ms < TELL_MS)
            continue;
        told_ms = clock_boot_us() / 1000;
        tell_moved(m);
    }
    return CTL_OK;
}

/* ---- the account ---- */

/* What stands in the log, whatever the movers say. */
static uint64_t count_waiting(const struct migrate *m)
{
    struct log_reader *r;
    uint64_t n = 0;
    if (log_read_begin(m->from, &r) != RM_OK)
        return UINT64_MAX;
    for (uint32_t p = 0; p < log_partitions(m->from); p++) {
        unsigned char from[ROW_KEY_BYTES + 1] = {0};
        size_t len = 0;
        struct span key, value;
        for (; log_read_key_next(r, LOG_BACKLOG, p, span_of((const char *)from, len), &key, &value); n++) {
            ENSURE(key.len == ROW_KEY_BYTES);
            memcpy(from, key.ptr, ROW_KEY_BYTES);
            len = sizeof(from); /* the NUL behind: the next key that can be */
        }
        if (log_read_key(r, LOG_STATE, p, SPAN_LIT("position"), &value) != RM_OK)
            continue;
        Remuda__Position *pos = remuda__position__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        uint64_t end = log_read_end_offset(r, LOG_MAIL, p);
        n += pos && pos->watermark < end ? end - pos->watermark : 0;
        if (pos)
            remuda__position__free_unpacked(pos, NULL);
    }
    log_read_end(r);
    return n;
}

static int account(struct migrate *m)
{
    struct mover_figures f;
    uint64_t waiting = count_waiting(m);
    sum(m, &f);
    tell_moved(m);
    fprintf(m->o.out,
            "pairs=%llu tenants=%llu suppressed=%llu claims=%llu decisions=%llu dead=%llu\n"
            "found=%llu moved=%llu ended_within=%llu ended_elsewhere=%llu unreadable=%llu waiting=%llu\n",
            (unsigned long long)m->moved.pairs, (unsigned long long)m->moved.tenants,
            (unsigned long long)m->moved.suppressed, (unsigned long long)m->moved.claims,
            (unsigned long long)m->moved.decisions, (unsigned long long)m->moved.dead,
            (unsigned long long)f.found, (unsigned long long)f.submissions, (unsigned long long)f.within,
            (unsigned long long)f.ended, (unsigned long long)f.unreadable, (unsigned long long)waiting);
    if (waiting == 0 && f.found == f.submissions + f.within + f.ended)
        return CTL_OK;
    fprintf(m->o.err, "remuda: not all could be moved: %s still holds mail\n", m->from_name);
    return CTL_FAILED;
}

static int end(struct migrate *m)
{
    int code = account(m);
    if (code != CTL_OK)
        return code;
    CRASH_POINT(MIGRATE_END);
    m->migration.state = REMUDA__MIGRATION_STATE__MIGRATION_LEFT;
    int err = migration_append(m->here, &m->migration);
    return err == RM_OK ? CTL_OK : failed(m, m->from_name, err);
}

/* ---- the whole ---- */

static int move_state(struct migrate *m)
{
    int err = migrate_suppression(m);
    if (err == RM_OK)
        err = migrate_claims(m);
    if (err == RM_OK)
        err = migrate_decisions(m);
    CRASH_POINT(MIGRATE_LISTS);
    if (err == RM_OK)
        err = migrate_learned(m);
    CRASH_POINT(MIGRATE_LEARNED);
    if (err != RM_OK)
        return failed(m, "state", err);
    fprintf(m->o.out,
            "what was learned is in the other log: %llu pairs of sources and providers, %llu of tenants\n",
            (unsigned long long)m->moved.pairs, (unsigned long long)m->moved.tenants);
    fflush(m->o.out);
    return CTL_OK;
}

static int run(struct migrate *m)
{
    int code = configurations_match(m) ? open_there(m) : CTL_FAILED;
    if (code == CTL_OK)
        code = open_here(m);
    if (code == CTL_OK)
        code = begin(m);
    if (code == CTL_OK)
        code = claim(m);
    if (code == CTL_OK)
        code = check_taken_over(m);
    if (code == CTL_OK)
        code = take_into_use(m);
    if (code == CTL_OK)
        code = move_state(m);
    if (code == CTL_OK)
        code = move_mail(m);
    if (code == CTL_OK) {
        int err = migrate_dead(m);
        code = err == RM_OK ? end(m) : failed(m, m->to_name, err);
    }
    return code;
}

static void close_all(struct migrate *m)
{
    for (uint32_t p = 0; m->movers && p < log_partitions(m->from); p++)
        mover_close(m->movers[p]);
    free(m->movers);
    if (m->here)
        log_client_flush(m->here);
    if (m->there)
        log_client_flush(m->there);
    if (m->from) {
        log_leave(m->from);
        log_client_free(m->here);
        log_close(m->from);
    }
    lanes_free(m->lanes);
    if (m->to) {
        log_leave(m->to);
        log_client_free(m->there);
        log_close(m->to);
    }
    close(m->wake_fd);
}

int migrate_run(const struct migrate_options *o)
{
    struct migrate m = {.o = *o, .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    ENSURE(m.wake_fd >= 0);
    log_choice_name(o->from, m.from_name, sizeof(m.from_name));
    log_choice_name(o->to, m.to_name, sizeof(m.to_name));
    if (strcmp(m.from_name, m.to_name) == 0) {
        fprintf(o->err, "remuda: both configurations name the %s\n", m.to_name);
        close(m.wake_fd);
        return CTL_FAILED;
    }
    int code = run(&m);
    close_all(&m);
    return code;
}
