/* The rows of the backlog, one after another, read in bounded pieces on the admin's thread. */
#include "lib/base/clock.h"
#include "relay/api/admin_private.h"

enum { ROWS_A_READ = 500, SCAN_US_MOST = 20 * 1000 * 1000 };

struct scan {
    struct log *log;
    admin_row_cb each;
    void *arg;
    uint64_t deadline_us;
};

/* Reads one piece from the key in *from, which becomes where to go on; *more is false at the end. */
static int scan_piece(const struct scan *s, uint32_t partition, struct buf *from, bool *more)
{
    struct log_reader *r;
    int rc = log_read_begin(s->log, &r);
    if (rc != RM_OK)
        return rc;
    struct arena decoded = ARENA_INIT;
    struct span key, value;
    *more = true;
    for (int i = 0; *more && i < ROWS_A_READ; i++) {
        *more = log_read_key_next(r, LOG_BACKLOG, partition, buf_span(from), &key, &value);
        if (!*more)
            break;
        const Remuda__BacklogRow *row = row_decode(&decoded, value);
        if (row)
            s->each(s->arg, row);
        buf_clear(from);
        buf_add_span(from, key);
        buf_add_char(from, '\0'); /* the next key that can be */
    }
    arena_fini(&decoded);
    log_read_end(r);
    return RM_OK;
}

int admin_rows_each(struct log *log, admin_row_cb each, void *arg, bool *whole)
{
    struct scan s = {log, each, arg, clock_boot_us() + SCAN_US_MOST};
    struct buf from = BUF_INIT;
    int rc = RM_OK;
    *whole = true;
    for (uint32_t p = 0; rc == RM_OK && *whole && p < log_partitions(log); p++) {
        bool more = log_is_current(log, p); /* other partitions' owners are asked for theirs */
        buf_clear(&from);
        while (rc == RM_OK && more && *whole) {
            rc = scan_piece(&s, p, &from, &more);
            *whole = clock_boot_us() < s.deadline_us;
        }
    }
    buf_fini(&from);
    return rc;
}
