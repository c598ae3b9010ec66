/*
 * The second pass of the account: which submissions make sums differ. It reads the events again, keeps those
 * of the buckets concerned by name, and looks at their rows. At work most differences are of the moment: a
 * row is read before it goes, an event is on its way. So what does not hold is looked at again, with the
 * events since, until it does or has not for settle_ms.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "relay/api/account_private.h"

enum { MAIL_A_READ = 256 };

struct name {
    struct subid id;
    struct msgid message;
    struct transfer_number number; /* of a copy given */
    uint64_t offset;               /* where it came in last, or was given away */
    uint32_t giver;
    uint32_t in, out;
    const char *domain;
};

struct search {
    struct ledger *l;
    uint32_t partition;
    bool of_copies; /* given to the partition; else its own submissions */
    uint64_t watermark;
    uint64_t rounds, round; /* so many searches, each for a part of them */
    struct map names;
    struct arena arena;
    bool too_many;
};

/* ---- gathering ---- */

/* NULL: its bucket is right, or there are too many. */
static struct name *name_of(struct search *s, const struct subid *id, const struct msgid *message,
                            const struct transfer_number *number)
{
    struct ledger *l = s->l;
    if (!ledger_wants(l, message))
        return NULL;
    const struct account_cell *c = ledger_cell(l, s->partition, message);
    uint64_t hash = account_hash(id, s->of_copies ? number : NULL);
    if (!account_sum_differs(s->of_copies ? c->given : c->own, hash) || (hash >> 32) % s->rounds != s->round)
        return NULL;
    struct name key = {.id = *id};
    if (s->of_copies)
        key.number = *number;
    struct {
        struct subid id;
        struct transfer_number number;
    } both = {key.id, key.number};
    struct span bytes = span_of((const char *)&both, sizeof(both));
    struct name *n = map_get(&s->names, bytes);
    if (n)
        return n;
    s->too_many |= s->names.count >= l->o->names_most;
    if (s->too_many)
        return NULL;
    n = arena_alloc(&s->arena, sizeof(*n));
    *n = key;
    n->message = *message;
    n->domain = "";
    map_put(&s->names, bytes, n);
    return n;
}

static void came_in(void *arg, const struct account_arrival *a)
{
    struct search *s = arg;
    if (s->of_copies && a->kind != REMUDA__TAKEN_KIND__TAKEN_COPY)
        return;
    struct name *n = name_of(s, &a->id, &a->message, &a->number);
    if (!n)
        return;
    n->in++;
    if (s->of_copies)
        return;
    n->offset = a->offset;
    n->domain = arena_dup_span(&s->arena, span_str(a->domain));
}

static void ended(void *arg, const struct account_end *e)
{
    struct search *s = arg;
    bool moves = e->kind == ACCOUNT_GIVEN && e->target == s->partition &&
                 e->transfer_kind != REMUDA__TRANSFER_KIND__TRANSFER_MIGRATE;
    struct name *n = !s->of_copies || moves ? name_of(s, &e->id, &e->message, &e->number) : NULL;
    if (!n)
        return;
    n->out++;
    if (!n->in || s->of_copies)
        n->offset = e->record_offset;
    n->giver = e->partition;
    if (!n->domain[0])
        n->domain = arena_dup_span(&s->arena, e->domain);
}

/* ---- looking ---- */

/* It came in and has not ended here, nor does it wait; or it never came in. */
static bool stands(const struct search *s, struct log_reader *r, const struct name *n)
{
    struct span value;
    struct row_key key = row_key_make(n->id);
    if (s->of_copies)
        return n->out == 0 || n->in > 0;
    if (n->in <= n->out || n->offset >= s->watermark)
        return n->in > 0;
    return log_read_key(r, LOG_BACKLOG, s->partition, span_of((const char *)key.bytes, sizeof(key.bytes)),
                        &value) == RM_OK;
}

/* Calls fn for each that does not hold; returns how many. */
static int each_open(struct search *s, void (*fn)(struct search *, struct log_reader *, const struct name *),
                     size_t *count)
{
    struct log_reader *r;
    size_t pos = 0;
    struct span key;
    void *value;
    *count = 0;
    int rc = log_read_begin(s->l->o->log, &r);
    if (rc != RM_OK)
        return rc;
    while (map_next(&s->names, &pos, &key, &value)) {
        if (stands(s, r, value))
            continue;
        ++*count;
        if (fn)
            fn(s, r, value);
    }
    log_read_end(r);
    return RM_OK;
}

static void note(struct search *s, struct log_reader *r, const struct name *n)
{
    struct span value;
    struct account_exception e = {.trouble = s->of_copies ? ACCOUNT_NOT_ARRIVED
                                             : n->in      ? ACCOUNT_NO_END
                                                          : ACCOUNT_NO_BEGINNING,
                                  .partition = s->of_copies ? n->giver : s->partition,
                                  .offset = n->offset,
                                  .id = n->id,
                                  .message = n->message,
                                  .domain = (char *)(uintptr_t)n->domain,
                                  .target = s->partition};
    int rc = log_read_at(r, LOG_MAIL, e.partition, e.offset, &value);
    e.in_log = rc == RM_OK || rc == RM_EAGAIN;
    if (e.trouble == ACCOUNT_NO_END)
        ledger_cell(s->l, s->partition, &n->message)->hour.counts[ACCOUNT_LOST]++;
    ledger_exception(s->l, &e);
}

static void count_twice(struct search *s)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (!s->of_copies && map_next(&s->names, &pos, &key, &value)) {
        const struct name *n = value;
        if (n->in && n->out > n->in)
            ledger_cell(s->l, s->partition, &n->message)->hour.counts[ACCOUNT_TWICE] += n->out - n->in;
    }
}

/* ---- copies that their new owner has not read yet ---- */

static void take_copy(struct search *s, const Remuda__Record *record, uint64_t offset)
{
    struct account_arrival a = {.kind = REMUDA__TAKEN_KIND__TAKEN_COPY, .offset = offset};
    if (!record->transfer || record->transfer->from.len)
        return;
    a.number = (struct transfer_number){record->transfer->epoch, record->transfer->sequence};
    memcpy(a.message.bytes, record->id.data, MSGID_BYTES);
    for (size_t i = 0; i < record->n_submissions; i++) {
        Remuda__SubmissionId id = record_submission_id(record, s->partition, offset, i);
        a.id = subid_of(&id);
        came_in(s, &a);
    }
}

static void take_mail(struct search *s, struct span value, uint64_t offset)
{
    struct arena a = ARENA_INIT;
    struct mail_view view;
    size_t need;
    struct suspect_mark before = suspect_begin(s->partition, offset);
    const Remuda__Record *record = NULL;
    if (mail_view(value, &view, &need) == RM_OK && view.kind == MAIL_RECORD)
        record = record_decode(&a, view.header);
    if (record)
        take_copy(s, record, offset);
    suspect_end(before);
    arena_fini(&a);
}

static int read_mail(struct search *s, uint64_t *from)
{
    bool more = true;
    int rc = RM_OK;
    while (rc == RM_OK && more) {
        struct log_reader *r;
        struct span value;
        rc = log_read_begin(s->l->o->log, &r);
        if (rc != RM_OK)
            return rc;
        for (int i = 0; more && i < MAIL_A_READ; i++) {
            more = log_read_next(r, LOG_MAIL, s->partition, from, &value);
            if (more)
                take_mail(s, value, (*from)++);
        }
        log_read_end(r);
        if (clock_boot_us() > s->l->o->deadline_us)
            rc = RM_ETIMEDOUT;
    }
    return rc;
}

/* ---- the whole ---- */

static int readers_read(struct search *s, struct account_reader *readers, uint64_t *mail)
{
    int rc = RM_OK;
    for (uint32_t p = 0; rc == RM_OK && p < s->l->out->n_partitions; p++)
        if (readers[p].log)
            rc = account_read(&readers[p], UINT64_MAX, s->l->o->deadline_us);
    if (rc != RM_OK || !s->of_copies)
        return rc;
    if (*mail < readers[s->partition].covered)
        *mail = readers[s->partition].covered;
    if (!*mail)
        *mail = s->watermark;
    return read_mail(s, mail);
}

/* Copies were given by any partition; what is a partition's own stands in its events alone. */
static int readers_begin(struct search *s, struct account_reader *readers)
{
    int rc = RM_OK;
    for (uint32_t p = 0; rc == RM_OK && p < s->l->out->n_partitions; p++) {
        uint64_t since = s->l->out->since_ms;
        if (p != s->partition && !s->of_copies)
            continue;
        readers[p] = (struct account_reader){.log = s->l->o->log,
                                             .partition = p,
                                             .watermark = s->watermark,
                                             .arrival = p == s->partition ? came_in : NULL,
                                             .end = ended,
                                             .arg = s};
        rc = account_begin(s->l->o->log, p, &since, &readers[p].next);
    }
    return rc;
}

static int settle(struct search *s, struct account_reader *readers)
{
    uint64_t until = clock_boot_us() + s->l->o->settle_ms * UINT64_C(1000), mail = 0;
    size_t open = 1;
    int rc = RM_OK;
    while (rc == RM_OK && open) {
        rc = readers_read(s, readers, &mail);
        if (rc == RM_OK)
            rc = each_open(s, NULL, &open);
        if (clock_boot_us() > until)
            break;
        if (open)
            account_pause();
    }
    if (rc == RM_OK && open)
        rc = each_open(s, note, &open);
    return rc;
}

static int search_run(struct search *s)
{
    uint32_t n = s->l->out->n_partitions;
    struct account_reader *readers = calloc(n, sizeof(*readers));
    ENSURE(readers);
    s->names = MAP_INIT;
    s->arena = (struct arena)ARENA_INIT;
    int rc = readers_begin(s, readers);
    if (rc == RM_OK)
        rc = settle(s, readers);
    if (rc == RM_OK && s->too_many)
        rc = RM_EFULL;
    count_twice(s);
    for (uint32_t p = 0; p < n; p++)
        account_reader_fini(&readers[p]);
    free(readers);
    map_fini(&s->names);
    arena_fini(&s->arena);
    return rc;
}

/* About how many submissions are in buckets that differ; 0: none does. */
static uint64_t expected(const struct ledger *l, uint32_t partition, bool of_copies)
{
    uint64_t n = 0;
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&l->cells, &pos, &key, &value)) {
        const struct account_cell *c = value;
        const struct account_sum *sums = of_copies ? c->given : c->own;
        uint64_t differ = 0, all = c->hour.counts[ACCOUNT_RECEIVED];
        for (uint64_t b = 0; c->hour.partition == partition && b < ACCOUNT_BUCKETS; b++)
            differ += account_sum_differs(sums, b);
        if (!of_copies)
            all += c->hour.counts[ACCOUNT_ACCEPTED] + c->hour.counts[ACCOUNT_REPORTS] +
                   c->hour.counts[ACCOUNT_FEEDBACK];
        n += differ ? all * differ / ACCOUNT_BUCKETS + 1 : 0;
    }
    return n;
}

static int find(struct ledger *l, uint32_t partition, bool of_copies)
{
    uint64_t n = expected(l, partition, of_copies);
    struct search s = {.l = l,
                       .partition = partition,
                       .of_copies = of_copies,
                       .watermark = l->out->partitions[partition].watermark,
                       .rounds = n * 2 / l->o->names_most + 1};
    int rc = RM_OK;
    for (; n && rc == RM_OK && s.round < s.rounds; s.round++)
        rc = search_run(&s);
    return rc;
}

int account_names_own(struct ledger *l, uint32_t partition)
{
    return find(l, partition, false);
}

int account_names_given(struct ledger *l, uint32_t partition)
{
    return find(l, partition, true);
}
