/*
 * Cuts the power at random points of what powercut_writer did and looks for every message that had been told
 * durable before the cut.
 *   powercut_check JOURNAL NOTES CUTS SEED   prints "cuts=N lost=L"; exit status 0 when L is 0, 1 when not
 */
#include <stdio.h>
#include <stdlib.h>

#include "queue/embedded/embedded.h"
#include "tests/powercut/disk.h"
#include "tests/powercut/notes.h"

struct history {
    struct note *notes;
    size_t n_notes;
    uint64_t opened; /* no cut before */
};

static void load(struct history *h, const char *notes)
{
    size_t len;
    h->notes = (struct note *)(void *)disk_slurp(notes, &len);
    h->n_notes = len / sizeof(struct note);
    for (size_t i = 0; i < h->n_notes; i++)
        if (h->notes[i].kind == NOTE_OPENED)
            h->opened = h->notes[i].position;
    ENSURE(h->opened > 0);
}

static bool deleted(const struct history *h, const struct note *acked, uint64_t cut)
{
    for (size_t i = 0; i < h->n_notes; i++) {
        const struct note *n = &h->notes[i];
        if (n->kind == NOTE_DELETE && n->position <= cut && n->partition == acked->partition &&
            n->offset > acked->offset)
            return true;
    }
    return false;
}

static int missing_messages(const struct history *h, struct log_reader *r, uint64_t cut)
{
    char want[POWERCUT_BODY_MOST];
    int missing = 0;
    for (size_t i = 0; i < h->n_notes; i++) {
        const struct note *n = &h->notes[i];
        if (n->kind != NOTE_ACKED || n->position > cut || deleted(h, n, cut))
            continue;
        struct span got;
        size_t len = message_bytes(n->number, want);
        if (log_read_at(r, LOG_MAIL, n->partition, n->offset, &got) != RM_OK ||
            !span_eq(got, span_of(want, len)))
            missing++;
    }
    return missing;
}

/* Every stored message is whole, offsets have no gap, and the index is that of the rows. */
static int broken_in_partition(struct log_reader *r, uint32_t p)
{
    char want[POWERCUT_BODY_MOST];
    struct span value, key, row;
    uint64_t offset = 0, last = 0;
    int broken = 0;
    for (; log_read_next(r, LOG_MAIL, p, &offset, &value); last = offset++) {
        uint32_t number;
        memcpy(&number, value.ptr, sizeof(number));
        broken += value.len < 16 || !span_eq(value, span_of(want, message_bytes(number, want)));
        broken += last && offset != last + 1;
    }
    broken += last && log_read_end_offset(r, LOG_MAIL, p) != last + 1;
    struct span from = {NULL, 0}, after = {NULL, 0};
    int indexed = 0, rows = 0;
    for (; log_read_index(r, p, from, after, &key, &row); indexed++) {
        broken +=
            log_read_key(r, LOG_BACKLOG, p, row, &value) != RM_OK || !span_eq(key, span_of(value.ptr, 4));
        from = key;
        after = row;
    }
    char seek[LOG_KEY_MOST];
    for (from = (struct span){NULL, 0}; log_read_key_next(r, LOG_BACKLOG, p, from, &key, &value); rows++) {
        memcpy(seek, key.ptr, key.len);
        seek[key.len] = '\0';
        from = span_of(seek, key.len + 1);
    }
    return broken + (rows != indexed);
}

static bool takes_more(struct log *log)
{
    struct log_client *c = log_client_new(log, NULL, NULL);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 0, SPAN_LIT("after the cut"), NULL, NULL);
    log_submit(c, b, NULL, NULL);
    log_client_flush(c);
    log_client_free(c);
    struct log_reader *r;
    if (log_read_begin(log, &r) != RM_OK)
        return false;
    uint64_t offset = 0;
    struct span value;
    bool there = log_read_next(r, LOG_EVENTS, 0, &offset, &value);
    log_read_end(r);
    return there;
}

static int look(void *arg, const char *dir, uint64_t cut)
{
    const struct history *h = arg;
    struct embedded_options options = {.dir = dir, .map_bytes = 256u << 20, .sync = false};
    struct log_options common = {.partitions = POWERCUT_PARTITIONS, .index = powercut_index};
    struct log *log;
    struct log_reader *r;
    if (embedded_log_open(&options, &common, &log, NULL) != RM_OK || log_read_begin(log, &r) != RM_OK)
        return 1;
    int trouble = missing_messages(h, r, cut);
    for (uint32_t p = 0; p < POWERCUT_PARTITIONS; p++)
        trouble += broken_in_partition(r, p);
    log_read_end(r);
    trouble += !takes_more(log);
    log_close(log);
    return trouble != 0;
}

int main(int argc, char **argv)
{
    ENSURE(argc == 5);
    struct history h = {.notes = NULL};
    load(&h, argv[2]);
    struct disk *d = disk_load(argv[1]);
    int lost = disk_cuts(d, atoi(argv[3]), (unsigned)atoi(argv[4]), h.opened, look, &h);
    disk_free(d);
    free(h.notes);
    return lost != 0;
}
