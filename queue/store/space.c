/*
 * Free space: decides whether intake is admitted. What can still be written is the free disk, or the rest of
 * the map if that is less, plus the free pages inside the file, which deletions give back only there.
 */
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "queue/store/store.h"

enum {
    CHECK_US = 100 * 1000,
    CHECK_BYTES = 16 * 1024 * 1024,
    STAT_QUICK_US = 1000,
    STAT_SHARE = 50,             /* where counting free pages takes longer: at most 1/50 of the time */
    FLOOR_LEAST = 1024 * 1024,   /* even without a configured floor deletion needs pages to write */
    GROUP_OVERHEAD = 256 * 1024, /* tree pages that a commit rewrites */
};

static void refresh_stat(struct store *e, struct space *s, uint64_t now)
{
    if (now < s->stat_next_us)
        return;
    if (kv_stat(e->env, &s->stat) != RM_OK)
        return;
    uint64_t took = clock_boot_us() - now;
    s->stat_next_us = took < STAT_QUICK_US ? now : now + took * STAT_SHARE;
    s->since_stat_bytes = 0;
}

static uint64_t writable_bytes(const struct store *e, const struct space *s)
{
    uint64_t disk = store_disk_free(e);
    uint64_t taken = s->stat.used_bytes + s->stat.free_bytes;
    uint64_t map = s->stat.map_bytes > taken ? s->stat.map_bytes - taken : 0;
    uint64_t writable = (disk < map ? disk : map) + s->stat.free_bytes;
    return writable > s->since_stat_bytes ? writable - s->since_stat_bytes : 0;
}

static void set_admits(struct store *e, int admits)
{
    int before = atomic_exchange_explicit(&e->log.admits, admits, memory_order_relaxed);
    if (before == RM_OK && admits != RM_OK && e->log.options.trouble)
        e->log.options.trouble(e->log.options.arg, admits, "no space for new mail: intake is refused");
}

static uint64_t floor_bytes(const struct store *e)
{
    uint64_t floor = e->log.options.floor_free_bytes;
    return floor > FLOOR_LEAST ? floor : FLOOR_LEAST;
}

static bool check_due(const struct store *e, const struct space *s, uint64_t now)
{
    uint64_t need = floor_bytes(e) + s->since_check_bytes;
    return now >= s->next_us || s->since_check_bytes >= CHECK_BYTES || s->writable_bytes < need;
}

static void measure(struct store *e, struct space *s, uint64_t now)
{
    refresh_stat(e, s, now);
    s->writable_bytes = writable_bytes(e, s);
}

void space_check(struct store *e, uint64_t bytes)
{
    struct space *s = &e->space;
    uint64_t cost = bytes ? bytes + bytes / 2 + GROUP_OVERHEAD : 0;
    s->since_check_bytes += cost;
    s->since_stat_bytes += cost;
    uint64_t now = clock_boot_us();
    if (!check_due(e, s, now) || now < s->exhausted_until_us)
        return;
    measure(e, s, now);
    s->next_us = now + CHECK_US;
    s->since_check_bytes = 0;
    uint64_t enough = floor_bytes(e);
    if (log_admits(&e->log) != RM_OK) {
        enough += enough / 16; /* not on and off at the edge */
    } else if (s->writable_bytes < enough && s->since_stat_bytes) {
        s->stat_next_us =
            0; /* nobody is refused for a guess from an old count, which errs on the safe side */
        measure(e, s, now);
    }
    set_admits(e, s->writable_bytes >= enough ? RM_OK : RM_EFULL);
}

void space_exhausted(struct store *e)
{
    uint64_t now = clock_boot_us();
    e->space.exhausted_until_us = now + CHECK_US;
    set_admits(e, RM_EFULL);
}
