/* What waits: the rows of a partition, read in pieces, with the place where events ended at each. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/api/account_private.h"

enum { ROWS_A_READ = 2000, LATE_MOST = 1000000 };

static void *room(void *list, size_t n, size_t *cap, size_t each)
{
    if (n < *cap)
        return list;
    *cap = *cap ? *cap * 2 : 64;
    list = realloc(list, *cap * each);
    ENSURE(list);
    return list;
}

static void add_cut(struct account_rows *out, struct span key, uint64_t events_end)
{
    out->cuts = room(out->cuts, out->n_cuts, &out->cap_cuts, sizeof(*out->cuts));
    struct account_cut *c = &out->cuts[out->n_cuts++];
    memset(&c->to, 0xff, sizeof(c->to));
    if (key.len == sizeof(c->to.bytes)) {
        memcpy(c->to.bytes, key.ptr, key.len);
    }
    c->events_end = events_end;
}

/* The two fields of a row that count. */
static bool row_take(struct span packed, struct account_late *out)
{
    struct proto_field f;
    bool has_message = false;
    while (proto_field_take(&packed, &f)) {
        if (f.number == 2) {
            out->at = f.varint;
        } else if (f.number == 4 && f.bytes.len == MSGID_BYTES) {
            memcpy(out->message.bytes, f.bytes.ptr, MSGID_BYTES);
            has_message = true;
        }
    }
    return has_message;
}

/* In a cluster the bodies of rows are read when they are needed: there the line tells, below which all may be
 * deleted. */
static int body_is_gone(const struct account_scan *s, struct log_reader *r, uint64_t at, bool *gone)
{
    struct span body;
    int rc = RM_OK;
    *gone = at < s->delete_line;
    if (log_capabilities(s->log) & LOG_ATOMIC) {
        rc = log_read_at(r, LOG_MAIL, s->partition, at, &body);
        *gone = rc == RM_ENOTFOUND;
    }
    return *gone ? RM_OK : rc;
}

static int take_row(const struct account_scan *s, struct log_reader *r, struct account_late *row,
                    struct account_rows *out)
{
    bool gone;
    int rc = body_is_gone(s, r, row->at, &gone);
    if (rc != RM_OK)
        return rc;
    if (gone)
        s->body_gone(s->arg, row);
    if (row->at < s->watermark) {
        s->waits(s->arg, row->id, &row->message);
        return RM_OK;
    }
    if (out->n_late == LATE_MOST)
        return RM_EFULL;
    out->late = room(out->late, out->n_late, &out->cap_late, sizeof(*out->late));
    out->late[out->n_late++] = *row;
    return RM_OK;
}

/* One piece from the key in *from on, which becomes where to go on; *more is false at the end. */
static int read_piece(const struct account_scan *s, struct buf *from, struct account_rows *out, bool *more)
{
    struct log_reader *r;
    struct span key, value;
    int rc = log_read_begin(s->log, &r);
    if (rc != RM_OK)
        return rc;
    *more = true;
    out->events_end = log_read_end_offset(r, LOG_EVENTS, s->partition);
    for (int i = 0; rc == RM_OK && *more && i < ROWS_A_READ; i++) {
        *more = log_read_key_next(r, LOG_BACKLOG, s->partition, buf_span(from), &key, &value);
        if (!*more)
            break;
        struct account_late row = {.id = row_key_parse(key)};
        if (row_take(value, &row))
            rc = take_row(s, r, &row, out);
        buf_clear(from);
        buf_add_span(from, key);
        buf_add_char(from, '\0'); /* the next key that can be */
    }
    struct span to = span_of(from->data, from->len ? from->len - 1 : 0);
    add_cut(out, *more ? to : span_of(NULL, 0), out->events_end);
    log_read_end(r);
    return rc;
}

int account_rows_read(const struct account_scan *s, struct account_rows *out)
{
    struct buf from = BUF_INIT;
    bool more = true;
    int rc = RM_OK;
    *out = (struct account_rows){0};
    while (rc == RM_OK && more) {
        rc = read_piece(s, &from, out, &more);
        if (rc == RM_OK && more && clock_boot_us() > s->deadline_us)
            rc = RM_ETIMEDOUT;
    }
    buf_fini(&from);
    return rc;
}

void account_rows_fini(struct account_rows *rows)
{
    free(rows->cuts);
    free(rows->late);
}

/* Cut number i holds the keys up to and with cuts[i].to that the ones before it do not. */
uint64_t account_rows_cut(const struct account_rows *rows, struct subid id)
{
    struct row_key key = row_key_make(id);
    size_t low = 0, high = rows->n_cuts - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (memcmp(rows->cuts[middle].to.bytes, key.bytes, sizeof(key.bytes)) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return rows->cuts[low].events_end;
}
