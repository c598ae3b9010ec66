/*
 * Rows as they stand in the log: walking over their index, what is loaded of them after a start, and records
 * that have to be fetched first (in a cluster, of mail from before this node had the partition).
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/delivery/delivery.h"
#include "relay/delivery/delivery_private.h"

bool rows_next(const struct owner *o, struct log_reader *r, const struct log_index_key *prefix,
               struct index_place *at)
{
    const struct log_index_key *from = at->key.len ? &at->key : prefix;
    struct span after = at->has_row ? span_of((char *)at->row.bytes, ROW_KEY_BYTES) : span_str(NULL);
    struct span key, row;
    if (!log_read_index(r, o->number, span_of((const char *)from->bytes, from->len), after, &key, &row) ||
        key.len < prefix->len || memcmp(key.ptr, prefix->bytes, prefix->len) != 0)
        return false;
    ENSURE(key.len <= sizeof(at->key.bytes) && row.len == sizeof(at->row.bytes));
    memcpy(at->key.bytes, key.ptr, key.len);
    at->key.len = key.len;
    memcpy(at->row.bytes, row.ptr, row.len);
    at->has_row = true;
    return true;
}

struct subid rows_id(const struct index_place *at)
{
    return row_key_parse(span_of((const char *)at->row.bytes, ROW_KEY_BYTES));
}

void rows_fetch_ahead(struct owner *o, struct log_reader *r, const struct log_index_key *prefix,
                      struct index_place at)
{
    uint32_t n = o->ahead_left / FETCH_SHARE;
    o->ahead_left -= n;
    while (n-- && rows_next(o, r, prefix, &at))
        if (!sub_find(o, rows_id(&at)))
            (void)sub_is_fetched(o, r, rows_id(&at));
}

/* ---- after a start ---- */

static void enter_held_flow(struct owner *o, struct log_reader *r, struct subid id)
{
    struct row_key key = row_key_make(id);
    struct span value;
    struct arena a = ARENA_INIT;
    if (log_read_key(r, LOG_BACKLOG, o->number, span_of((const char *)key.bytes, sizeof(key.bytes)),
                     &value) == RM_OK) {
        const Remuda__BacklogRow *row = row_decode(&a, value);
        if (row) {
            struct lane *l = lane_get(o, row->pool, row->provider, row->shard);
            struct flow *f = flow_get(scope_get(l, row->scope), row->tenant);
            flow_has_rows(f);
        }
    }
    arena_fini(&a);
}

/* One seek for each (lane, scope, tenant) that has held rows. */
static void find_held_flows(struct owner *o, struct log_reader *r)
{
    enum { PREFIX = 1 + 3 * 8 };
    unsigned char from[PREFIX] = {'C'};
    size_t len = 1;
    struct span key, row;
    while (log_read_index(r, o->number, span_of((char *)from, len), span_str(NULL), &key, &row) &&
           key.ptr[0] == 'C' && key.len > PREFIX) {
        memcpy(from, key.ptr, PREFIX);
        len = PREFIX;
        enter_held_flow(o, r, row_key_parse(row));
        for (int i = PREFIX - 1; i > 0 && ++from[i] == 0; i--)
            ;
    }
}

static const struct log_index_key in_hand = {.bytes = {'H'}, .len = 1};

static bool in_hand_is_fetched(struct owner *o, struct log_reader *r)
{
    struct index_place at = {0};
    int missing = 0;
    while (missing < FETCH_AHEAD / FETCH_SHARE && rows_next(o, r, &in_hand, &at))
        missing += !sub_find(o, rows_id(&at)) && !sub_is_fetched(o, r, rows_id(&at));
    return missing == 0;
}

/* All at once: those that go with one copy into another partition must go together. */
static bool load_in_hand(struct owner *o, struct log_reader *r)
{
    struct index_place at = {0};
    struct map moves = MAP_INIT;
    if (!in_hand_is_fetched(o, r))
        return false;
    while (rows_next(o, r, &in_hand, &at)) {
        struct sub *s = NULL;
        if (sub_find(o, rows_id(&at)) || sub_from_row(o, r, rows_id(&at), &s) != RM_OK)
            continue;
        if (s->sealed)
            seal_resume(s);
        else if (s->destination && s->destination->to.kind == REMUDA__TRANSFER_KIND__TRANSFER_MIGRATE)
            sub_free(
                s); /* it may be in another log already; this node has not seen yet that it may not run */
        else if (s->destination)
            reroute_resume(s, &moves);
        else
            place_begin(s);
    }
    map_fini(&moves);
    return true;
}

bool owner_load_after_start(struct owner *o)
{
    struct log_reader *r;
    if (log_read_begin(o->delivery->shard->node->log, &r) != RM_OK)
        return false;
    bool loaded = load_in_hand(o, r);
    if (!o->flows_found)
        find_held_flows(o, r);
    log_read_end(r);
    if (!o->flows_found)
        owner_due_arm(o, clock_wall_ms());
    o->flows_found = true;
    return loaded;
}

static void owner_fetched(struct owner *o)
{
    o->ahead_left = FETCH_AHEAD;
    partition_fetched(o->partition);
    if (o->load_due)
        o->load_due = !owner_load_after_start(o);
    if (o->due_waits)
        owner_due_run(o);
    owner_retry_flows(o);
}

void delivery_fetched(struct delivery *d, uint32_t partition)
{
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (o->number == partition && !o->lost)
            owner_fetched(o);
    }
}
