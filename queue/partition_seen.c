/*
 * Transfer keys seen, the receiver's side, by giver (a partition of this log, or of another one whose mail
 * moves here): a copy whose key is known is dropped, unless it is the
 * first one, read again after a start. A giver's floor says which of its numbers can never come again.
 *
 * state[p] keeps, with the position that passes them, the keys of copies below the watermark, and the highest
 * floor that those copies carried. What stands above is read again after a start and so known again; a floor
 * that only a later copy carries must not count when the earlier ones are read.
 *
 * A bounce has another number when another owner of the giver makes it again after a crash: it is known by
 * its id too, which its cause alone makes. When no such owner can be told apart by its floor, the newest
 * REPORTS_MOST are remembered. (`take` and `forget` of tests/model/transfer.pml.)
 */
#include <stdio.h>
#include <stdlib.h>

#include "queue/partition_private.h"

enum { REPORTS_MOST = 256 };

struct seen_key {
    struct transfer_number number, floor;
    uint64_t at;     /* offset of the first copy */
    uint64_t report; /* hash of a report's id; else 0 */
};

/* Hashed by its bytes: no padding. */
struct giver {
    uint32_t partition;
    uint8_t from[16]; /* of another log: the migration's id; else zero */
};

struct seen {
    struct giver giver;
    struct transfer_number floor;    /* of all copies read */
    struct transfer_number stored;   /* of those below the watermark written last */
    struct map by_number, by_report; /* offset of the first copy, plus 1 */
    struct seen_key *fresh;          /* above the watermark, by offset: fresh[0..head) are gone */
    size_t head, n_fresh, cap_fresh;
    uint64_t read_to;      /* highest offset of a copy read */
    struct seen_key *kept; /* below it: what the row holds, by offset */
    size_t n_kept, cap_kept;
};

static struct span number_span(const struct transfer_number *n)
{
    return span_of((const char *)n, sizeof(*n));
}

static struct span report_span(const uint64_t *report)
{
    return span_of((const char *)report, sizeof(*report));
}

/* An id of another length is none that any version has given. */
static struct giver giver_of(uint32_t partition, const ProtobufCBinaryData *from)
{
    struct giver g = {.partition = partition};
    if (from->len == sizeof(g.from))
        memcpy(g.from, from->data, sizeof(g.from));
    return g;
}

static bool is_foreign(const struct giver *g)
{
    static const uint8_t none[sizeof(g->from)];
    return memcmp(g->from, none, sizeof(none)) != 0;
}

static struct seen *seen_of(struct partition *p, struct giver giver)
{
    struct span key = span_of((const char *)&giver, sizeof(giver));
    struct seen *s = map_get(&p->seen, key);
    if (s)
        return s;
    s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->giver = giver;
    map_put(&p->seen, key, s);
    return s;
}

static struct seen_key *push(struct seen_key **keys, size_t *n, size_t *cap, const struct seen_key *k)
{
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 8;
        *keys = realloc(*keys, *cap * sizeof(**keys));
        ENSURE(*keys);
    }
    (*keys)[*n] = *k;
    return &(*keys)[(*n)++];
}

static void know(struct seen *s, const struct seen_key *k)
{
    map_put(&s->by_number, number_span(&k->number), (void *)(uintptr_t)(k->at + 1));
    if (k->report)
        map_put(&s->by_report, report_span(&k->report), (void *)(uintptr_t)(k->at + 1));
}

static void forget(struct seen *s, const struct seen_key *k)
{
    map_remove(&s->by_number, number_span(&k->number));
    if (k->report)
        map_remove(&s->by_report, report_span(&k->report));
}

/* ---- reading copies ---- */

/* Offset of the first copy with this key, plus 1; 0: none is known. */
static uint64_t known_at(const struct seen *s, const struct seen_key *k)
{
    uint64_t at = (uintptr_t)map_get(&s->by_number, number_span(&k->number));
    return at || !k->report ? at : (uintptr_t)map_get(&s->by_report, report_span(&k->report));
}

/* Can come no more: what has this number was known once. The bounces of an owner that is no more are told by
 * no floor: it may not have known of them itself. */
static bool is_below(const struct partition *p, struct transfer_number floor, const struct seen_key *k)
{
    bool by_floor = !k->report || k->number.epoch == floor.epoch || log_capabilities(p->log) & LOG_ATOMIC;
    return by_floor && transfer_number_order(k->number, floor) < 0;
}

static struct seen_key key_of(const Remuda__Record *record, uint64_t offset)
{
    const Remuda__Transfer *t = record->transfer;
    bool report = t->kind == REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE ||
                  t->kind == REMUDA__TRANSFER_KIND__TRANSFER_DELAY_NOTICE;
    return (struct seen_key){.number = {t->epoch, t->sequence},
                             .floor = {t->floor_epoch, t->floor},
                             .at = offset,
                             .report = report ? hash64(record->id.data, record->id.len) | 1 : 0};
}

/* In its place: one that could not be read at first comes late. */
static void push_fresh(struct seen *s, const struct seen_key *k)
{
    struct seen_key *last = push(&s->fresh, &s->n_fresh, &s->cap_fresh, k);
    for (; last > s->fresh + s->head && last[-1].at > k->at; last--)
        last[0] = last[-1];
    *last = *k;
}

/* A copy that could not be read at first must not be measured by the floors of those behind it. */
bool partition_seen_take(struct partition *p, const Remuda__Record *record, uint64_t offset)
{
    struct seen *s = seen_of(p, giver_of(record->transfer->partition, &record->transfer->from));
    struct seen_key k = key_of(record, offset);
    uint64_t known = known_at(s, &k);
    if (known)
        return known == offset + 1;
    if (offset > s->read_to && is_below(p, s->floor, &k))
        return false;
    know(s, &k);
    push_fresh(s, &k);
    if (transfer_number_order(k.floor, s->floor) > 0)
        s->floor = k.floor;
    if (offset > s->read_to)
        s->read_to = offset;
    return true;
}

/* ---- state ---- */

/* "seen:3", or "seen:3@" and the migration's id in hexadecimal digits. */
static size_t seen_name(const struct giver *g, char *out, size_t room)
{
    int n = snprintf(out, room, "seen:%u", g->partition);
    if (is_foreign(g)) {
        n += snprintf(out + n, room - (size_t)n, "@");
        for (size_t i = 0; i < sizeof(g->from); i++)
            n += snprintf(out + n, room - (size_t)n, "%02x", g->from[i]);
    }
    ENSURE(n > 0 && (size_t)n < room);
    return (size_t)n;
}

static void write_seen(struct partition *p, const struct seen *s, struct log_batch *b)
{
    Remuda__SeenTransfers row = REMUDA__SEEN_TRANSFERS__INIT;
    Remuda__SeenKey *keys = calloc(s->n_kept + 1, sizeof(*keys));
    Remuda__SeenKey **list = calloc(s->n_kept + 1, sizeof(*list));
    ENSURE(keys && list);
    for (size_t i = 0; i < s->n_kept; i++) {
        remuda__seen_key__init(&keys[i]);
        keys[i].epoch = s->kept[i].number.epoch;
        keys[i].sequence = s->kept[i].number.sequence;
        keys[i].at = s->kept[i].at;
        keys[i].report = s->kept[i].report;
        list[i] = &keys[i];
    }
    row.giver = s->giver.partition;
    if (is_foreign(&s->giver)) {
        row.from.data = (uint8_t *)(uintptr_t)s->giver.from;
        row.from.len = sizeof(s->giver.from);
    }
    row.floor_epoch = s->stored.epoch;
    row.floor = s->stored.sequence;
    row.keys = list;
    row.n_keys = s->n_kept;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &row.base);
    char name[64];
    size_t len = seen_name(&s->giver, name, sizeof(name));
    log_batch_put(b, LOG_STATE, p->number, span_of(name, len), buf_span(&packed));
    buf_fini(&packed);
    free(keys);
    free(list);
}

static size_t old_reports(const struct seen *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_kept; i++)
        n += transfer_number_order(s->kept[i].number, s->stored) < 0;
    return n;
}

/* Lets go what is below the floor; of old owners' bounces the oldest. */
static void trim(struct partition *p, struct seen *s)
{
    size_t n = s->n_kept, kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct seen_key k = s->kept[i];
        if (is_below(p, s->stored, &k))
            forget(s, &k);
        else
            s->kept[kept++] = k;
    }
    s->n_kept = kept;
    size_t old = old_reports(s);
    for (size_t i = 0; i < s->n_kept && old > REPORTS_MOST; i++) {
        if (transfer_number_order(s->kept[i].number, s->stored) >= 0)
            continue;
        forget(s, &s->kept[i]);
        memmove(&s->kept[i], &s->kept[i + 1], (s->n_kept - i - 1) * sizeof(s->kept[0]));
        s->n_kept--;
        i--;
        old--;
    }
}

/* Moves what the watermark passes from fresh to kept. False: nothing. */
static bool pass(struct partition *p, struct seen *s, uint64_t watermark)
{
    size_t before = s->head;
    for (; s->head < s->n_fresh && s->fresh[s->head].at < watermark; s->head++) {
        const struct seen_key *k = &s->fresh[s->head];
        (void)push(&s->kept, &s->n_kept, &s->cap_kept, k);
        if (transfer_number_order(k->floor, s->stored) > 0)
            s->stored = k->floor;
    }
    if (s->head == before)
        return false;
    if (s->head * 2 >= s->n_fresh) {
        memmove(s->fresh, s->fresh + s->head, (s->n_fresh - s->head) * sizeof(s->fresh[0]));
        s->n_fresh -= s->head;
        s->head = 0;
    }
    trim(p, s);
    return true;
}

void partition_seen_flush(struct partition *p, uint64_t watermark, struct log_batch *b)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&p->seen, &pos, &key, &value))
        if (pass(p, value, watermark))
            write_seen(p, value, b);
}

static void take_row(struct partition *p, const Remuda__SeenTransfers *row)
{
    struct seen *s = seen_of(p, giver_of(row->giver, &row->from));
    s->floor = s->stored = (struct transfer_number){row->floor_epoch, row->floor};
    for (size_t i = 0; i < row->n_keys; i++) {
        const Remuda__SeenKey *from = row->keys[i];
        struct seen_key k = {.number = {from->epoch, from->sequence}, .at = from->at, .report = from->report};
        know(s, push(&s->kept, &s->n_kept, &s->cap_kept, &k));
    }
}

void partition_seen_load(struct partition *p, struct log_reader *r)
{
    struct span at = SPAN_LIT("seen:"), key, value;
    char after[64]; /* the key just read and a NUL: the smallest key behind it */
    while (log_read_key_next(r, LOG_STATE, p->number, at, &key, &value) &&
           span_istarts(key, SPAN_LIT("seen:"))) {
        Remuda__SeenTransfers *row =
            remuda__seen_transfers__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        ENSURE(key.len < sizeof(after));
        memcpy(after, key.ptr, key.len);
        after[key.len] = '\0';
        at = span_of(after, key.len + 1);
        if (row)
            take_row(p, row);
        else
            p->events->trouble(p->events->arg, RM_ECORRUPT,
                               "the transfers seen of a partition do not decode");
        remuda__seen_transfers__free_unpacked(row, NULL);
    }
}

void partition_seen_free(struct partition *p)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&p->seen, &pos, &key, &value)) {
        struct seen *s = value;
        map_fini(&s->by_number);
        map_fini(&s->by_report);
        free(s->fresh);
        free(s->kept);
        free(s);
    }
    map_fini(&p->seen);
}
