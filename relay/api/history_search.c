/*
 * Searching the index: candidates from one ordered range of keys, the newest first, each checked against its
 * events, because the index keeps only hashes and may point to what the log has forgotten.
 */
#include <stdlib.h>

#include "relay/api/history_private.h"

enum { CANDIDATES_A_READ = 256 };

struct scan {
    const struct history_query *q;
    struct span lead; /* what is looked up; empty: all messages by time */
    enum history_kind kind;
    struct msgid below; /* candidates are older than this id */
    struct msgid found[CANDIDATES_A_READ];
    size_t n;
    bool ended; /* nothing older is left */
};

void history_ids_fini(struct history_ids *ids)
{
    free(ids->ids);
    *ids = (struct history_ids){0};
}

static void id_at_ms(struct msgid *id, uint64_t ms)
{
    memset(id, 0, sizeof(*id));
    history_put16(id->bytes, (uint32_t)(ms >> 32));
    history_put32(id->bytes + 2, (uint32_t)ms);
}

static void scan_init(struct scan *s, const struct history_query *q)
{
    *s = (struct scan){.q = q};
    if (q->recipient.len > 0)
        s->lead = q->recipient, s->kind = HISTORY_RECIPIENT;
    else if (q->sender.len > 0)
        s->lead = q->sender, s->kind = HISTORY_SENDER;
    else
        s->lead = q->tenant, s->kind = HISTORY_TENANT;
    if (q->until_ms > 0)
        id_at_ms(&s->below, q->until_ms);
    else
        memset(&s->below, 0xff, sizeof(s->below));
    if (q->before && memcmp(q->before, &s->below, sizeof(s->below)) < 0)
        s->below = *q->before;
}

static void scan_found(struct scan *s, const void *id)
{
    memcpy(s->below.bytes, id, MSGID_BYTES);
    if (msgid_ms(&s->below) < s->q->since_ms)
        s->ended = true;
    else
        s->found[s->n++] = s->below;
}

/* Candidates from the ids themselves. */
static void scan_all(struct history *h, struct kv_txn *t, struct scan *s)
{
    struct kv_cursor *c = kv_cursor_new(t, h->ids);
    struct span key, value;
    while (!s->ended && s->n < CANDIDATES_A_READ) {
        if (!kv_cursor_seek_before(c, span_of((const char *)s->below.bytes, MSGID_BYTES), &key, &value))
            s->ended = true;
        else
            scan_found(s, key.ptr);
    }
    kv_cursor_free(c);
}

/* Candidates of the lead, hour by hour backwards; hours without an entry are leapt over. */
static void scan_lead(struct history *h, struct kv_txn *t, struct scan *s)
{
    struct kv_cursor *c = kv_cursor_new(t, h->find);
    struct span key, value;
    uint32_t hour = history_hour(msgid_ms(&s->below));
    while (!s->ended && s->n < CANDIDATES_A_READ) {
        unsigned char upper[HISTORY_FIND_KEY];
        history_find_prefix(hour, s->kind, s->lead, upper);
        memcpy(upper + HISTORY_FIND_PREFIX, s->below.bytes, MSGID_BYTES);
        if (!kv_cursor_seek_before(c, span_of((const char *)upper, sizeof(upper)), &key, &value)) {
            s->ended = true;
        } else if (memcmp(key.ptr, upper, HISTORY_FIND_PREFIX) == 0) {
            scan_found(s, key.ptr + HISTORY_FIND_PREFIX);
        } else {
            uint32_t there = (uint32_t)history_get(key.ptr, 4);
            s->ended = hour == 0 || hour <= history_hour(s->q->since_ms);
            hour = there < hour ? there : hour - 1;
        }
    }
    kv_cursor_free(c);
}

static int scan_piece(struct history *h, struct scan *s)
{
    s->n = 0;
    pthread_rwlock_rdlock(&h->env_lock);
    struct kv_txn *t = NULL;
    int rc = h->env ? kv_read_begin(h->env, &t) : RM_EIO;
    if (rc == RM_OK) {
        if (s->lead.len > 0)
            scan_lead(h, t, s);
        else
            scan_all(h, t, s);
        kv_read_end(t);
    }
    pthread_rwlock_unlock(&h->env_lock);
    return rc;
}

static bool event_has_recipient(const Remuda__Event *e, struct span address)
{
    for (size_t i = 0; i < e->n_recipients; i++)
        if (span_ieq(span_str(e->recipients[i]->address), address))
            return true;
    return false;
}

/* A message matches when its events together show all that was asked for. */
static int check(struct history *h, const struct history_query *q, const struct msgid *id, bool *matches)
{
    struct history_events e;
    history_events_init(&e);
    int rc = history_events_of(h, id, &e);
    bool recipient = q->recipient.len == 0, sender = q->sender.len == 0, tenant = q->tenant.len == 0;
    for (size_t i = 0; rc == RM_OK && i < e.n; i++) {
        const Remuda__Event *event = e.list[i].event;
        recipient = recipient || event_has_recipient(event, q->recipient);
        sender = sender || span_ieq(span_str(event->sender), q->sender);
        tenant = tenant || span_eq(span_str(event->tenant), q->tenant);
    }
    *matches = rc == RM_OK && e.n > 0 && recipient && sender && tenant;
    history_events_fini(&e);
    return rc;
}

int history_search(struct history *h, const struct history_query *q, struct history_ids *out)
{
    struct scan s;
    scan_init(&s, q);
    size_t limit = q->limit < 1 ? 1 : q->limit > HISTORY_SEARCH_MOST ? HISTORY_SEARCH_MOST : q->limit;
    *out = (struct history_ids){.ids = calloc(limit, sizeof(*out->ids)), .more = true};
    ENSURE(out->ids != NULL);
    size_t looked = 0;
    int rc = RM_OK;
    while (rc == RM_OK && out->n < limit && looked < HISTORY_CANDIDATES_MOST && out->more) {
        rc = scan_piece(h, &s);
        for (size_t i = 0; rc == RM_OK && i < s.n && out->n < limit; i++) {
            bool matches;
            rc = check(h, q, &s.found[i], &matches);
            out->last = s.found[i];
            looked++;
            if (matches)
                out->ids[out->n++] = s.found[i];
            out->more = !s.ended || i + 1 < s.n;
        }
        if (s.n == 0)
            out->more = false;
    }
    if (rc != RM_OK)
        history_ids_fini(out);
    return rc;
}
