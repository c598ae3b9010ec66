/*
 * Cuts the power at random points of a real relay's life and looks for every recipient whose message had got
 * its 250 before the cut: either an event says what became of it, or its record stands whole in the mail log,
 * byte for byte, where the next start takes it up (at or above the watermark, or under a backlog row).
 *   powercut_check_relay JOURNAL NOTES BODIES PARTITIONS FIRST CUTS SEED
 *       no cut before position FIRST; prints "cuts=N lost=L"; exit status 0 when L is 0, 1 when not
 *   powercut_check_relay JOURNAL build DIR CUT SEED
 *       builds the files of one cut in DIR
 *   powercut_check_relay JOURNAL whole DIR SCRATCH
 *       exit status 0 when the journal yields DIR/data.mdb: the shim has missed nothing
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/id.h"
#include "lib/base/map.h"
#include "queue/embedded/embedded.h"
#include "queue/partition.h"
#include "tests/powercut/disk.h"
#include "tests/powercut/relay_notes.h"

struct history {
    const struct relay_note *notes;
    size_t n_notes;
    const char *bodies;
    uint32_t partitions;
};

/* What a cut has left: recipients by "id address". */
struct found {
    struct map final; /* -> anything */
    struct map live;  /* -> struct place: where the record stands that the next start takes up */
};

struct place {
    uint32_t partition;
    uint64_t offset;
};

static struct span key_of(char out[RELAY_ID_BYTES + RELAY_ADDRESS_BYTES], const char *id, const char *address)
{
    int n = snprintf(out, RELAY_ID_BYTES + RELAY_ADDRESS_BYTES, "%s %s", id, address);
    return span_of(out, (size_t)n);
}

static void id_text(ProtobufCBinaryData id, char out[MSGID_TEXT + 1])
{
    struct msgid raw = {{0}};
    if (id.len == sizeof(raw.bytes))
        memcpy(raw.bytes, id.data, sizeof(raw.bytes));
    msgid_text(&raw, out);
}

/* ---- what stands in the log ---------------------------------------------------------------------------- */

static void take_event(struct found *f, const Remuda__Event *e)
{
    char id[MSGID_TEXT + 1], key[RELAY_ID_BYTES + RELAY_ADDRESS_BYTES];
    id_text(e->message_id, id);
    for (size_t i = 0; i < e->n_recipients; i++)
        if (e->recipients[i]->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING)
            map_put(&f->final, key_of(key, id, e->recipients[i]->address), f);
}

static int take_events(struct found *f, struct log_reader *r, uint32_t p)
{
    uint64_t offset = 0;
    struct span value;
    int broken = 0;
    for (; log_read_next(r, LOG_EVENTS, p, &offset, &value); offset++) {
        struct arena a = ARENA_INIT;
        const Remuda__EventBatch *batch = event_batch_decode(&a, value);
        broken += batch == NULL;
        for (size_t i = 0; batch && i < batch->n_events; i++)
            take_event(f, batch->events[i]);
        arena_fini(&a);
    }
    return broken;
}

/* The next start reads the record from the watermark on, or finds it by its row. */
static bool is_taken_up(struct log_reader *r, struct subid id, uint64_t watermark, uint32_t p,
                        uint64_t offset)
{
    if (offset >= watermark)
        return true;
    struct row_key key = row_key_make(id);
    struct span value;
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = NULL;
    if (log_read_key(r, LOG_BACKLOG, p, span_of((const char *)key.bytes, sizeof(key.bytes)), &value) == RM_OK)
        row = row_decode(&a, value);
    bool there = row && row->at == offset;
    arena_fini(&a);
    return there;
}

static void take_record(struct found *f, struct log_reader *r, uint32_t p, uint64_t offset,
                        uint64_t watermark, const Remuda__Record *record)
{
    char id[MSGID_TEXT + 1], key[RELAY_ID_BYTES + RELAY_ADDRESS_BYTES];
    id_text(record->id, id);
    for (size_t i = 0; i < record->n_submissions; i++) {
        const Remuda__Submission *s = record->submissions[i];
        Remuda__SubmissionId sid = record_submission_id(record, p, offset, i);
        if (!is_taken_up(r, subid_of(&sid), watermark, p, offset))
            continue;
        for (size_t k = 0; k < s->n_recipients; k++) {
            struct place *place = malloc(sizeof(*place));
            ENSURE(place);
            *place = (struct place){p, offset};
            free(map_put(&f->live, key_of(key, id, s->recipients[k]->address), place));
        }
    }
}

static int take_mail(struct found *f, struct log_reader *r, uint32_t p)
{
    uint64_t offset = 0, watermark = 0;
    struct span value;
    int broken = 0;
    if (log_read_key(r, LOG_STATE, p, SPAN_LIT("position"), &value) == RM_OK) {
        Remuda__Position *pos = remuda__position__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        ENSURE(pos);
        watermark = pos->watermark;
        remuda__position__free_unpacked(pos, NULL);
    } else {
        return 1; /* the relay would refuse to open the partition */
    }
    for (; log_read_next(r, LOG_MAIL, p, &offset, &value); offset++) {
        struct mail_view view;
        size_t need;
        struct arena a = ARENA_INIT;
        if (mail_view(value, &view, &need) != RM_OK) {
            broken++;
        } else if (view.kind == MAIL_RECORD) {
            const Remuda__Record *record = record_decode(&a, view.header);
            broken += record == NULL;
            if (record)
                take_record(f, r, p, offset, watermark, record);
        }
        arena_fini(&a);
    }
    return broken;
}

/* ---- bodies -------------------------------------------------------------------------------------------- */

/* Takes want's beginning off when it is what stands in the value's body. */
static bool take_piece(struct log_reader *r, uint32_t p, uint64_t offset, struct span *want)
{
    struct span value;
    struct mail_view view;
    size_t need;
    if (log_read_at(r, LOG_MAIL, p, offset, &value) != RM_OK || mail_view(value, &view, &need) != RM_OK)
        return false;
    struct span body = span_of(value.ptr + view.body_at, value.len - view.body_at);
    if (body.len > want->len || memcmp(body.ptr, want->ptr, body.len) != 0)
        return false;
    *want = span_of(want->ptr + body.len, want->len - body.len);
    return true;
}

static bool body_is(struct log_reader *r, const struct place *at, struct span want)
{
    struct arena a = ARENA_INIT;
    struct span value;
    struct mail_view view;
    size_t need;
    const Remuda__Record *record = NULL;
    if (log_read_at(r, LOG_MAIL, at->partition, at->offset, &value) == RM_OK &&
        mail_view(value, &view, &need) == RM_OK)
        record = record_decode(&a, view.header);
    bool same = record != NULL;
    for (size_t i = 0; same && i < record->n_chunks; i++)
        same = take_piece(r, at->partition, record->chunks[i]->offset, &want);
    if (same && record->n_chunks == 0)
        same = take_piece(r, at->partition, at->offset, &want);
    arena_fini(&a);
    return same && want.len == 0;
}

/* ---- judging ------------------------------------------------------------------------------------------- */

static int missing_recipients(const struct history *h, const struct found *f, struct log_reader *r,
                              uint64_t cut)
{
    char key[RELAY_ID_BYTES + RELAY_ADDRESS_BYTES];
    int missing = 0;
    for (size_t i = 0; i < h->n_notes; i++) {
        const struct relay_note *n = &h->notes[i];
        struct span k = key_of(key, n->id, n->address);
        if (n->position > cut || map_get(&f->final, k))
            continue;
        const struct place *at = map_get(&f->live, k);
        missing += !at || !body_is(r, at, span_of(h->bodies + n->body_at, n->body_len));
    }
    return missing;
}

static int look(void *arg, const char *dir, uint64_t cut)
{
    const struct history *h = arg;
    struct embedded_options options = {.dir = dir, .map_bytes = 4ull << 30, .sync = false};
    struct log_options common = {.partitions = h->partitions, .index = row_index_keys};
    struct log *log;
    struct log_reader *r;
    if (embedded_log_open(&options, &common, &log, NULL) != RM_OK || log_read_begin(log, &r) != RM_OK)
        return 1;
    struct found f = {MAP_INIT, MAP_INIT};
    int trouble = 0;
    for (uint32_t p = 0; p < h->partitions; p++)
        trouble += take_events(&f, r, p) + take_mail(&f, r, p);
    return trouble + missing_recipients(h, &f, r, cut); /* the process ends here, with all its memory */
}

static int cuts(char **argv)
{
    size_t len, bodies_len;
    char *notes = disk_slurp(argv[2], &len), *bodies = disk_slurp(argv[3], &bodies_len);
    struct history h = {.notes = (const struct relay_note *)(const void *)notes,
                        .n_notes = len / sizeof(struct relay_note),
                        .bodies = bodies,
                        .partitions = (uint32_t)atoi(argv[4])};
    struct disk *d = disk_load(argv[1]);
    ENSURE(h.n_notes > 0);
    int lost = disk_cuts(d, atoi(argv[6]), (unsigned)atoi(argv[7]), strtoull(argv[5], NULL, 10), look, &h);
    disk_free(d);
    free(notes);
    free(bodies);
    return lost != 0;
}

int main(int argc, char **argv)
{
    if (argc == 8)
        return cuts(argv);
    ENSURE(argc == 6 || argc == 5);
    struct disk *d = disk_load(argv[1]);
    bool good = true;
    if (argc == 6) {
        srandom((unsigned)atoi(argv[5]));
        disk_build(d, strtoull(argv[4], NULL, 10), argv[3]);
    } else {
        disk_build_whole(d, argv[4]);
        good = disk_same(argv[3], argv[4], "data.mdb");
    }
    disk_free(d);
    return !good;
}
