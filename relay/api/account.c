/*
 * The first pass of the account: sums of what came in, ended and waits, by partition and hour. Submissions
 * are told apart by hash only; where the sums are not nothing, account_names.c finds out which.
 */
#include "relay/api/account.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/clock.h"
#include "relay/api/account_private.h"

enum { LAG_US = 5000000, NAMES_MOST = 200000, SETTLE_MS = 4000, LOOK_AT_ONCE = 4096 };

void account_pause(void)
{
    struct timespec t = {.tv_nsec = 100000000};
    nanosleep(&t, NULL);
}

/* ---- the ledger ---- */

bool ledger_wants(const struct ledger *l, const struct msgid *message)
{
    return msgid_ms(message) >= l->out->since_ms;
}

struct account_cell *ledger_cell(struct ledger *l, uint32_t partition, const struct msgid *message)
{
    uint32_t key[2] = {partition, history_hour(msgid_ms(message))};
    struct span name = span_of((const char *)key, sizeof(key));
    struct account_cell *c = map_get(&l->cells, name);
    if (c)
        return c;
    c = arena_alloc(&l->out->arena, sizeof(*c));
    memset(c, 0, sizeof(*c));
    c->hour.partition = partition;
    c->hour.hour = key[1];
    map_put(&l->cells, name, c);
    return c;
}

uint64_t account_hash(const struct subid *id, const struct transfer_number *number)
{
    struct {
        struct subid id;
        struct transfer_number number;
    } both = {.id = *id};
    if (number)
        both.number = *number;
    return hash64(&both, sizeof(both));
}

void ledger_exception(struct ledger *l, const struct account_exception *e)
{
    struct account *out = l->out;
    out->exceptions_in_all++;
    if (out->n_exceptions == ACCOUNT_EXCEPTIONS_MOST)
        return;
    struct account_exception *kept = &out->exceptions[out->n_exceptions++];
    size_t n = strlen(e->domain ? e->domain : "");
    *kept = *e;
    kept->domain = arena_alloc(&out->arena, n + 1);
    memcpy(kept->domain, e->domain ? e->domain : "", n);
    kept->domain[n] = '\0';
}

/* ---- one partition ---- */

struct pass {
    struct ledger *l;
    uint32_t partition;
    bool judged; /* owned: what is its own is added up; else only what it gave away */
    struct account_reader reader;
    struct account_rows rows;
};

static void came_in(void *arg, const struct account_arrival *a)
{
    static const enum account_count counts[] = {[REMUDA__TAKEN_KIND__TAKEN_MESSAGE] = ACCOUNT_ACCEPTED,
                                                [REMUDA__TAKEN_KIND__TAKEN_REPORT] = ACCOUNT_REPORTS,
                                                [REMUDA__TAKEN_KIND__TAKEN_FEEDBACK] = ACCOUNT_FEEDBACK,
                                                [REMUDA__TAKEN_KIND__TAKEN_COPY] = ACCOUNT_RECEIVED};
    struct pass *p = arg;
    if (!ledger_wants(p->l, &a->message) || a->kind > REMUDA__TAKEN_KIND__TAKEN_COPY)
        return;
    struct account_cell *c = ledger_cell(p->l, p->partition, &a->message);
    if (a->kind == REMUDA__TAKEN_KIND__TAKEN_COPY)
        account_sum_add(c->given, account_hash(&a->id, &a->number), -1);
    if (a->offset >= p->reader.watermark)
        return;
    c->hour.counts[counts[a->kind]]++;
    account_sum_add(c->own, account_hash(&a->id, NULL), 1);
}

static void ended(void *arg, const struct account_end *e)
{
    struct pass *p = arg;
    if (!ledger_wants(p->l, &e->message))
        return;
    bool moves = e->kind == ACCOUNT_GIVEN && e->transfer_kind != REMUDA__TRANSFER_KIND__TRANSFER_MIGRATE;
    if (moves && e->target < p->l->out->n_partitions)
        account_sum_add(ledger_cell(p->l, e->target, &e->message)->given, account_hash(&e->id, &e->number),
                        1);
    if (!p->judged || !account_is_old(&p->reader, e->record_offset) ||
        p->reader.at >= account_rows_cut(&p->rows, e->id))
        return;
    struct account_cell *c = ledger_cell(p->l, p->partition, &e->message);
    c->hour.counts[e->kind]++;
    account_sum_add(c->own, account_hash(&e->id, NULL), -1);
}

static void waits(void *arg, struct subid id, const struct msgid *message)
{
    struct pass *p = arg;
    if (!ledger_wants(p->l, message))
        return;
    struct account_cell *c = ledger_cell(p->l, p->partition, message);
    c->hour.counts[ACCOUNT_WAITING]++;
    account_sum_add(c->own, account_hash(&id, NULL), -1);
}

static void body_gone(void *arg, const struct account_late *row)
{
    struct pass *p = arg;
    struct account_exception e = {.trouble = ACCOUNT_BODY_GONE,
                                  .partition = p->partition,
                                  .offset = row->at,
                                  .id = row->id,
                                  .message = row->message};
    ledger_exception(p->l, &e);
}

static void not_read(void *arg, uint64_t from, uint64_t to)
{
    struct pass *p = arg;
    struct account_exception e = {
        .trouble = ACCOUNT_NOT_READ, .partition = p->partition, .offset = from, .to = to};
    if (p->judged)
        ledger_exception(p->l, &e);
}

struct place {
    uint64_t watermark, delete_line, end;
};

static int place_read(struct log_reader *r, uint32_t partition, struct place *out)
{
    struct span value;
    *out = (struct place){.end = log_read_end_offset(r, LOG_MAIL, partition)};
    int rc = log_read_key(r, LOG_STATE, partition, SPAN_LIT("position"), &value);
    for (struct proto_field f; rc == RM_OK && proto_field_take(&value, &f);) {
        if (f.number == 1)
            out->watermark = f.varint;
        else if (f.number == 5)
            out->delete_line = f.varint;
    }
    return rc;
}

static int place_of(struct log *log, uint32_t partition, struct place *out)
{
    struct log_reader *r;
    int rc = log_read_begin(log, &r);
    if (rc != RM_OK)
        return rc;
    rc = place_read(r, partition, out);
    log_read_end(r);
    return rc;
}

static int read_rows(struct pass *p, uint64_t delete_line)
{
    struct account_scan s = {.log = p->l->o->log,
                             .partition = p->partition,
                             .watermark = p->reader.watermark,
                             .delete_line = delete_line,
                             .deadline_us = p->l->o->deadline_us,
                             .waits = waits,
                             .body_gone = body_gone,
                             .arg = p};
    return account_rows_read(&s, &p->rows);
}

/* In a cluster the state may have been read ahead of the events. */
static int read_on_to_the_watermark(struct pass *p)
{
    uint64_t until = clock_boot_us() + LAG_US;
    int rc = RM_OK;
    while (rc == RM_OK && p->reader.covered && p->reader.covered < p->reader.watermark &&
           clock_boot_us() < until) {
        account_pause();
        rc = account_read(&p->reader, UINT64_MAX, p->l->o->deadline_us);
    }
    if (rc == RM_OK && p->reader.covered && p->reader.covered < p->reader.watermark)
        not_read(p, p->reader.covered, p->reader.watermark);
    return rc;
}

static int read_events(struct pass *p)
{
    uint64_t since = p->l->out->since_ms;
    int rc = account_begin(p->l->o->log, p->partition, &since, &p->reader.next);
    if (rc == RM_OK)
        rc = account_read(&p->reader, p->judged ? p->rows.events_end : UINT64_MAX, p->l->o->deadline_us);
    if (rc == RM_OK && p->judged)
        rc = read_on_to_the_watermark(p);
    return rc;
}

/* Some records of mail from *expected on; what is missing between them. What has been settled meanwhile may
 * be gone. */
static void look_at_some(struct pass *p, struct log_reader *r, uint64_t *expected, uint64_t end)
{
    struct place now;
    struct span value;
    if (place_read(r, p->partition, &now) == RM_OK && now.watermark > *expected)
        *expected = now.watermark;
    for (int i = 0; i < LOOK_AT_ONCE && *expected < end; i++) {
        uint64_t at = *expected;
        if (!log_read_next(r, LOG_MAIL, p->partition, &at, &value) || at > end)
            at = end;
        struct account_exception e = {
            .trouble = ACCOUNT_GAP, .partition = p->partition, .offset = *expected, .to = at};
        if (at > *expected)
            ledger_exception(p->l, &e);
        *expected = at + 1;
    }
}

/* All of mail from the watermark on is there: its offsets follow one another. */
static int look_above(struct pass *p, uint64_t end)
{
    uint64_t expected = p->reader.watermark;
    int rc = RM_OK;
    while (rc == RM_OK && expected < end) {
        struct log_reader *r;
        rc = log_read_begin(p->l->o->log, &r);
        if (rc != RM_OK)
            return rc;
        look_at_some(p, r, &expected, end);
        log_read_end(r);
        if (clock_boot_us() > p->l->o->deadline_us)
            rc = RM_ETIMEDOUT;
    }
    return rc;
}

static int judge(struct pass *p, struct account_partition *out)
{
    struct place now;
    int rc = place_of(p->l->o->log, p->partition, &now);
    if (rc != RM_OK)
        return rc;
    out->watermark = p->reader.watermark = now.watermark;
    out->above = now.end > now.watermark ? now.end - now.watermark : 0;
    if (out->above)
        rc = look_above(p, now.end);
    if (rc == RM_OK)
        rc = read_rows(p, now.delete_line);
    if (rc == RM_OK)
        rc = read_events(p);
    for (size_t i = 0; rc == RM_OK && i < p->rows.n_late; i++)
        if (account_is_old(&p->reader, p->rows.late[i].at))
            waits(p, p->rows.late[i].id, &p->rows.late[i].message);
    out->dead = p->reader.dead;
    if (rc == RM_OK && p->reader.strange)
        rc = RM_ECORRUPT;
    return rc;
}

static void unjudged(struct account_partition *out, int rc)
{
    out->state = ACCOUNT_UNJUDGED;
    out->why = rc == RM_ENOTFOUND   ? "it has no position"
               : rc == RM_ETIMEDOUT ? "there was not enough time for it: choose a later --since"
               : rc == RM_ECORRUPT  ? "an event batch does not decode"
               : rc == RM_EFULL     ? "too much to be told apart"
                                    : "the log cannot be read";
}

static void first_pass(struct ledger *l, uint32_t partition)
{
    struct account_partition *out = &l->out->partitions[partition];
    struct pass p = {.l = l, .partition = partition, .judged = log_is_current(l->o->log, partition)};
    p.reader = (struct account_reader){.log = l->o->log,
                                       .partition = partition,
                                       .arrival = p.judged ? came_in : NULL,
                                       .end = ended,
                                       .not_read = not_read,
                                       .arg = &p};
    out->state = p.judged ? ACCOUNT_JUDGED : ACCOUNT_ELSEWHERE;
    out->why = p.judged ? "" : "this node does not own it";
    int rc = p.judged ? judge(&p, out) : read_events(&p);
    if (rc != RM_OK)
        unjudged(out, rc);
    else if (p.judged && !log_is_current(l->o->log, partition))
        *out = (struct account_partition){.state = ACCOUNT_ELSEWHERE, .why = "it moved meanwhile"};
    account_reader_fini(&p.reader);
    account_rows_fini(&p.rows);
}

static void second_pass(struct ledger *l, uint32_t partition)
{
    struct account_partition *out = &l->out->partitions[partition];
    if (out->state != ACCOUNT_JUDGED)
        return;
    int rc = account_names_own(l, partition);
    if (rc == RM_OK)
        rc = account_names_given(l, partition);
    if (rc != RM_OK)
        unjudged(out, rc);
}

/* ---- the whole ---- */

static int hour_order(const void *a, const void *b)
{
    const struct account_hour *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return (x->hour > y->hour) - (x->hour < y->hour);
}

static void gather_hours(struct ledger *l)
{
    struct account *out = l->out;
    size_t pos = 0;
    struct span key;
    void *value;
    out->hours = calloc(l->cells.count + 1, sizeof(*out->hours));
    ENSURE(out->hours);
    while (map_next(&l->cells, &pos, &key, &value)) {
        const struct account_hour *h = &((struct account_cell *)value)->hour;
        if (out->partitions[h->partition].state == ACCOUNT_JUDGED)
            out->hours[out->n_hours++] = *h;
    }
    qsort(out->hours, out->n_hours, sizeof(*out->hours), hour_order);
}

/* All partitions are judged from the same time on: a copy has the time of its message everywhere. */
static int find_since(const struct account_options *o, struct account *out)
{
    int rc = RM_OK;
    out->since_ms = o->since_ms;
    for (uint32_t p = 0; rc == RM_OK && p < out->n_partitions; p++) {
        uint64_t since = o->since_ms, offset;
        rc = account_begin(o->log, p, &since, &offset);
        if (since > out->since_ms)
            out->since_ms = since;
    }
    return rc;
}

int account_make(const struct account_options *o, struct account *out)
{
    struct account_options options = *o;
    *out = (struct account){.arena = ARENA_INIT, .n_partitions = log_partitions(o->log)};
    struct ledger l = {.o = &options, .out = out, .cells = MAP_INIT};
    options.names_most = o->names_most ? o->names_most : NAMES_MOST;
    options.settle_ms = o->settle_ms ? o->settle_ms : SETTLE_MS;
    out->partitions = calloc(out->n_partitions, sizeof(*out->partitions));
    out->exceptions = calloc(ACCOUNT_EXCEPTIONS_MOST, sizeof(*out->exceptions));
    ENSURE(out->partitions && out->exceptions);
    int rc = find_since(o, out);
    for (uint32_t p = 0; rc == RM_OK && p < out->n_partitions; p++)
        first_pass(&l, p);
    for (uint32_t p = 0; rc == RM_OK && p < out->n_partitions; p++)
        second_pass(&l, p);
    if (rc == RM_OK)
        gather_hours(&l);
    map_fini(&l.cells);
    return rc;
}

void account_fini(struct account *a)
{
    arena_fini(&a->arena);
    free(a->partitions);
    free(a->hours);
    free(a->exceptions);
    *a = (struct account){.arena = ARENA_INIT};
}
