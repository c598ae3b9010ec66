/* Event batches as arrivals and ends of submissions. Only the fields that count are looked at. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/api/account_private.h"

enum {
    PIECE_BATCHES = 256, /* read under one snapshot */
    PIECE_BYTES = 2 * 1024 * 1024,
    SKEW_MS = 10 * 60 * 1000, /* clocks of nodes differ by less */
};

static struct span offset_span(const uint64_t *offset)
{
    return span_of((const char *)offset, sizeof(*offset));
}

bool account_is_old(const struct account_reader *r, uint64_t offset)
{
    uintptr_t from;
    while (offset >= r->watermark && (from = (uintptr_t)map_get(&r->carried, offset_span(&offset))))
        offset = from;
    return offset < r->watermark;
}

/* ---- events ---- */

static bool id_take(struct span bytes, struct msgid *out)
{
    if (bytes.len != MSGID_BYTES)
        return false;
    memcpy(out->bytes, bytes.ptr, MSGID_BYTES);
    return true;
}

static void subid_take(struct span packed, struct subid *out)
{
    struct proto_field f;
    while (proto_field_take(&packed, &f)) {
        if (f.number == 1)
            out->partition = (uint32_t)f.varint;
        else if (f.number == 2)
            out->offset = f.varint;
        else if (f.number == 3)
            out->index = (uint32_t)f.varint;
    }
}

static void target_take(struct span packed, struct account_end *out)
{
    struct proto_field f;
    while (proto_field_take(&packed, &f)) {
        if (f.number == 1)
            out->target = (uint32_t)f.varint;
        else if (f.number == 5)
            out->transfer_kind = f.varint;
        else if (f.number == 6)
            out->number.sequence = f.varint;
        else if (f.number == 7)
            out->number.epoch = f.varint;
    }
}

static enum account_count kind_of(uint64_t event_type)
{
    switch (event_type) {
    case REMUDA__EVENT_TYPE__EVENT_DELIVERED:
        return ACCOUNT_DELIVERED;
    case REMUDA__EVENT_TYPE__EVENT_EXPIRED:
        return ACCOUNT_EXPIRED;
    case REMUDA__EVENT_TYPE__EVENT_REROUTED:
        return ACCOUNT_GIVEN;
    default:
        return ACCOUNT_BOUNCED;
    }
}

/* False: it ends nothing. */
static bool end_take(struct span packed, struct account_end *out)
{
    struct proto_field f;
    uint64_t type = 0;
    bool final = false, has_message = false, has_id = false;
    *out = (struct account_end){0};
    while (proto_field_take(&packed, &f)) {
        switch (f.number) {
        case 1:
            type = f.varint;
            break;
        case 2:
            subid_take(f.bytes, &out->id);
            has_id = true;
            break;
        case 3:
            has_message = id_take(f.bytes, &out->message);
            break;
        case 7:
            out->domain = f.bytes;
            break;
        case 11:
            final = f.varint != 0;
            break;
        case 25:
            target_take(f.bytes, out);
            break;
        case 30:
            out->record_offset = f.varint;
            break;
        default:
            break;
        }
    }
    out->kind = kind_of(type);
    return final && has_message && has_id;
}

/* ---- what was read of mail ---- */

static void tell_end(struct account_reader *r, const Remuda__TakenRecord *t, enum account_count kind)
{
    struct account_end e = {
        .partition = r->partition, .kind = kind, .id = subid_of(t->first), .record_offset = t->offset};
    if (r->end && id_take(span_of((const char *)t->message_id.data, t->message_id.len), &e.message))
        r->end(r->arg, &e);
}

static void tell_arrivals(struct account_reader *r, const Remuda__TakenRecord *t)
{
    struct account_arrival a = {.kind = t->kind,
                                .id = subid_of(t->first),
                                .offset = t->offset,
                                .giver = t->giver,
                                .number = {t->epoch, t->sequence}};
    if (!r->arrival || !id_take(span_of((const char *)t->message_id.data, t->message_id.len), &a.message))
        return;
    for (size_t i = 0; i < t->n_indexes; i++) {
        a.id.index = t->indexes[i];
        a.domain = i < t->n_domains ? t->domains[i] : "";
        r->arrival(r->arg, &a);
    }
}

/* What stands below `covered` was told before: by an owner that died, and again by the next one. */
static void take_entry(struct account_reader *r, const Remuda__TakenRecord *t)
{
    if (t->kind == REMUDA__TAKEN_KIND__TAKEN_ENDED || t->kind == REMUDA__TAKEN_KIND__TAKEN_BURIED) {
        if (t->first)
            tell_end(r, t, t->kind == REMUDA__TAKEN_KIND__TAKEN_ENDED ? ACCOUNT_READ : ACCOUNT_DEAD);
        return;
    }
    bool awaited = map_remove(&r->unread, offset_span(&t->offset)) != NULL;
    if (r->covered && t->offset < r->covered && !awaited)
        return;
    if (t->kind == REMUDA__TAKEN_KIND__TAKEN_UNREADABLE)
        map_put(&r->unread, offset_span(&t->offset), r);
    else if (t->kind == REMUDA__TAKEN_KIND__TAKEN_DEAD)
        r->dead++;
    else if (t->kind != REMUDA__TAKEN_KIND__TAKEN_CARRIED && t->first)
        tell_arrivals(r, t);
    else if (t->offset >= r->watermark && t->from_offset)
        map_put(&r->carried, offset_span(&t->offset), (void *)(uintptr_t)t->from_offset);
}

static void take_taken(struct account_reader *r, struct span packed)
{
    struct arena a = ARENA_INIT;
    ProtobufCAllocator in_arena = arena_allocator(&a);
    const Remuda__Taken *t = remuda__taken__unpack(&in_arena, packed.len, (const uint8_t *)packed.ptr);
    if (!t) {
        r->strange++;
        arena_fini(&a);
        return;
    }
    if (r->covered && t->from > r->covered && r->not_read)
        r->not_read(r->arg, r->covered, t->from);
    for (size_t i = 0; i < t->n_records; i++)
        take_entry(r, t->records[i]);
    if (t->to > r->covered)
        r->covered = t->to;
    arena_fini(&a);
}

/* ---- batches ---- */

/* What was read stands in front of the ends that it makes possible: they may be in one batch. */
static void take_batch(struct account_reader *r, struct span value)
{
    struct history_batch head = {.offset = r->at};
    struct span taken = {0}, rest = value;
    struct proto_field f;
    while (proto_field_take(&rest, &f)) {
        if (f.number == 2)
            head.epoch = f.varint;
        else if (f.number == 3)
            head.sequence = f.varint;
        else if (f.number == 4)
            taken = f.bytes;
    }
    if (rest.len)
        r->strange++;
    if (history_batch_note(&r->twice, &head))
        return;
    if (taken.len)
        take_taken(r, taken);
    struct account_end e;
    for (rest = value; r->end && proto_field_take(&rest, &f);)
        if (f.number == 1 && end_take(f.bytes, &e)) {
            e.partition = r->partition;
            r->end(r->arg, &e);
        }
}

/* One piece; *more is false when there was nothing left below `to`. */
static int read_piece(struct account_reader *r, uint64_t to, bool *more)
{
    struct log_reader *log;
    struct span value;
    size_t bytes = 0;
    int rc = log_read_begin(r->log, &log);
    if (rc != RM_OK)
        return rc;
    *more = true;
    for (int i = 0; *more && i < PIECE_BATCHES && bytes < PIECE_BYTES; i++) {
        uint64_t at = r->next;
        *more = log_read_next(log, LOG_EVENTS, r->partition, &at, &value) && at < to;
        if (!*more)
            break;
        r->at = at;
        take_batch(r, value);
        r->next = at + 1;
        bytes += value.len;
    }
    log_read_end(log);
    return RM_OK;
}

int account_read(struct account_reader *r, uint64_t to, uint64_t deadline_us)
{
    bool more = true;
    int rc = RM_OK;
    while (rc == RM_OK && more) {
        rc = read_piece(r, to, &more);
        if (rc == RM_OK && more && clock_boot_us() > deadline_us)
            rc = RM_ETIMEDOUT;
    }
    return rc;
}

void account_reader_fini(struct account_reader *r)
{
    map_fini(&r->unread);
    map_fini(&r->carried);
}

/* ---- where to begin ---- */

/* Time of the first event of a batch; 0: it has none. */
static uint64_t batch_ms(struct span value)
{
    struct proto_field f, in;
    while (proto_field_take(&value, &f))
        for (struct span event = f.bytes; f.number == 1 && proto_field_take(&event, &in);)
            if (in.number == 4)
                return in.varint;
    return 0;
}

/* Time of the first batch with events at or after *offset, which becomes its offset; 0: none. */
static uint64_t time_at(struct log_reader *r, uint32_t partition, uint64_t *offset)
{
    struct span value;
    uint64_t ms = 0;
    for (; !ms && log_read_next(r, LOG_EVENTS, partition, offset, &value); *offset += !ms)
        ms = batch_ms(value);
    return ms;
}

/* Times rise with offsets, so halving finds the first batch that is not older. */
static uint64_t search(struct log_reader *r, uint32_t partition, uint64_t from, uint64_t cut_ms)
{
    uint64_t low = from, high = log_read_end_offset(r, LOG_EVENTS, partition);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;
        uint64_t ms = time_at(r, partition, &at);
        if (!ms || ms >= cut_ms || at >= high)
            high = middle;
        else
            low = at + 1;
    }
    return low;
}

int account_begin(struct log *log, uint32_t partition, uint64_t *since_ms, uint64_t *offset)
{
    struct log_reader *r;
    struct span value;
    uint64_t first = 0;
    int rc = log_read_begin(log, &r);
    if (rc != RM_OK)
        return rc;
    *offset = 0;
    if (log_read_next(r, LOG_EVENTS, partition, &first, &value)) {
        *offset = search(r, partition, first, *since_ms > SKEW_MS ? *since_ms - SKEW_MS : 0);
        uint64_t at = first, begins = first > 1 ? time_at(r, partition, &at) : 0;
        if (begins && *since_ms < begins + SKEW_MS)
            *since_ms = begins + SKEW_MS;
    }
    log_read_end(r);
    return RM_OK;
}
