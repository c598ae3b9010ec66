/*
 * What of the mail log may go (I7): everything below the lowest of each live record's first chunk (or
 * itself), and each young chunk. Live records: those at or above the durable watermark, and those that rows
 * point to. Records that hold the line with much dead space behind them are carried forward
 * (partition_carry.c).
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "queue/partition_carry.h"

enum {
    YOUNG_MS =
        30 * 60 * 1000,   /* a chunk without its record is kept this long; ingress gives up after 25 min */
    CARRY_DEAD_SHARE = 4, /* only this part of the span above the line is looked at, from below */
    CARRY_AT_ONCE = 64,
    CARRY_MANY =
        50, /* more live records than CARRY_AT_ONCE: worth it when this many times carry_after is dead */
};

static void add_pin(struct partition *p, struct pin pin)
{
    if (p->n_pins == p->cap_pins) {
        p->cap_pins = p->cap_pins ? p->cap_pins * 2 : 16;
        p->pins = realloc(p->pins, p->cap_pins * sizeof(*p->pins));
        ENSURE(p->pins);
    }
    p->pins[p->n_pins++] = pin;
}

void partition_pin_chunk(struct partition *p, const Remuda__ChunkHeader *c, uint64_t offset)
{
    struct pin pin = {.first = offset, .until_ms = c->started_ms + YOUNG_MS, .chunks = 1};
    if (c->id.len == sizeof(pin.id))
        memcpy(pin.id, c->id.data, sizeof(pin.id));
    for (size_t i = 0; i < p->n_pins; i++) {
        struct pin *first = &p->pins[i];
        if (!first->until_ms || !c->id.len || memcmp(first->id, pin.id, sizeof(pin.id)) != 0)
            continue;
        first->chunks++; /* the first chunk of this message already holds the line */
        if (pin.until_ms > first->until_ms)
            first->until_ms = pin.until_ms;
        return;
    }
    add_pin(p, pin);
}

void partition_pin_record(struct partition *p, const Remuda__Record *r, uint64_t offset)
{
    if (r->n_chunks == 0)
        return;
    for (size_t i = 0; i < p->n_pins; i++)
        if (p->pins[i].record == offset)
            return; /* it is read again */
    for (size_t i = 0; i < p->n_pins; i++) {
        struct pin *pin = &p->pins[i];
        if (!pin->until_ms || memcmp(pin->id, r->id.data, sizeof(pin->id)) != 0)
            continue;
        pin->chunks -= r->n_chunks < pin->chunks ? r->n_chunks : pin->chunks;
        if (!pin->chunks) /* else another copy of the message is coming */
            p->pins[i--] = p->pins[--p->n_pins];
    }
    add_pin(p, (struct pin){.first = record_first_live(r, offset), .record = offset});
}

static void drop_old_pins(struct partition *p, uint64_t wall_ms)
{
    for (size_t i = 0; i < p->n_pins; i++) {
        const struct pin *pin = &p->pins[i];
        bool gone = pin->until_ms ? wall_ms > pin->until_ms : p->durable_watermark > pin->record;
        if (!gone)
            continue;
        p->pins[i--] = p->pins[--p->n_pins];
        p->space_due = true;
    }
}

uint64_t partition_young_chunks(const struct partition *p)
{
    uint64_t lowest = 0;
    for (size_t i = 0; i < p->n_pins; i++)
        if (p->pins[i].until_ms && (!lowest || p->pins[i].first < lowest))
            lowest = p->pins[i].first;
    return lowest;
}

static uint64_t get_u64(const char *at)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | (unsigned char)at[i];
    return n;
}

/* The lowest first_live of all durable rows; UINT64_MAX without rows. */
static uint64_t lowest_row(struct partition *p, struct log_reader *r)
{
    struct span key, row;
    if (!log_read_index(r, p->number, SPAN_LIT("A"), span_str(NULL), &key, &row) || key.ptr[0] != 'A')
        return UINT64_MAX;
    return get_u64(key.ptr + 1);
}

static uint64_t find_line(struct partition *p, struct log_reader *r)
{
    uint64_t line = p->durable_watermark;
    uint64_t row = lowest_row(p, r);
    if (row < line)
        line = row;
    for (size_t i = 0; i < p->n_pins; i++)
        if (p->pins[i].first < line)
            line = p->pins[i].first;
    return line;
}

static void move_line(struct partition *p, uint64_t line, uint64_t events_keep)
{
    if (line <= p->delete_line && events_keep <= p->events_line)
        return;
    if (!p->appends)
        p->appends = log_batch_new(LOG_OWNER);
    if (line > p->delete_line) {
        p->delete_line = line;
        log_batch_delete_below(p->appends, LOG_MAIL, p->number, line);
    }
    if (events_keep > p->events_line) {
        p->events_line = events_keep;
        log_batch_delete_below(p->appends, LOG_EVENTS, p->number, events_keep);
    }
    partition_mark_dirty(p);
}

/* Begins to carry the lowest records forward, each once, when what lies between them is mostly dead. */
static void start_carries(struct partition *p, struct log_reader *r)
{
    uint64_t dead = p->durable_watermark - p->delete_line, least = log_carry_after(p->log);
    if (p->n_carries || p->durable_watermark <= p->delete_line || dead < least)
        return;
    struct span from = SPAN_LIT("A"), after = span_str(NULL), key, row;
    uint64_t bound = p->delete_line + dead / CARRY_DEAD_SHARE;
    uint64_t last = UINT64_MAX;
    struct carry_place places[CARRY_AT_ONCE];
    size_t n = 0;
    /* Worth it only when the lowest quarter of the span holds few live records. */
    while (n < CARRY_AT_ONCE && log_read_index(r, p->number, from, after, &key, &row) && key.ptr[0] == 'A') {
        uint64_t first = get_u64(key.ptr + 1);
        if (first >= bound)
            break;
        if (first != last)
            places[n++] = (struct carry_place){.row = row_key_parse(row)};
        last = first;
        from = key;
        after = row;
    }
    if (n == CARRY_AT_ONCE && dead < least * CARRY_MANY)
        return;
    for (size_t i = 0; i < n; i++)
        partition_carry_start(p, r, places[i].row);
}

void partition_make_space(struct partition *p, uint64_t wall_ms, uint64_t events_keep)
{
    struct log_reader *r;
    drop_old_pins(p, wall_ms);
    if (!p->recovered) /* records above the watermark that need older chunks may not have been read yet */
        return;
    if (events_keep > p->durable_events)
        events_keep = p->durable_events; /* the next start reads the finals from there */
    if (!p->space_due && events_keep <= p->events_line)
        return; /* at rest nothing is read */
    p->space_due = false;
    if (log_read_begin(p->log, &r) != RM_OK)
        return;
    uint64_t line = find_line(p, r);
    start_carries(p, r);
    log_read_end(r);
    move_line(p, line, events_keep);
}

void partition_figures(const struct partition *p, struct partition_figures *out)
{
    *out = (struct partition_figures){.watermark = partition_watermark(p),
                                      .delete_line = p->delete_line,
                                      .end = p->next_offset,
                                      .open_records = p->ring_count,
                                      .carried = p->carried,
                                      .dead = p->dead};
}
