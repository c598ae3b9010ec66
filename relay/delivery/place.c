/*
 * From arrival to its flow: resolving the destination, checking that the lane is the right one, the window in
 * memory, and the way back of rows: deferred ones by time, held ones when their flow has room.
 */
#include <stdlib.h>

#include "lib/base/blob.h"
#include "lib/base/clock.h"
#include "relay/delivery/late.h"
#include "relay/delivery/report.h"
#include "relay/delivery/tenants.h"

/* ---- destination ---- */

static void resolved(struct dest_waiter *w)
{
    place_resolved(CONTAINER_OF(w, struct sub, waiter));
}

/* While it resolves it counts in the flow that it comes from, and may go back there without a row. */
static void come_from(struct sub *s, struct flow *f)
{
    s->loaded_by = f;
    f->n_loading++;
    s->owner->n_loading++;
}

void place_begin(struct sub *s)
{
    if (s->state != SUB_RESOLVING)
        sub_move(s, SUB_RESOLVING);
    if (s->message->record->kind == REMUDA__RECORD_KIND__RECORD_FEEDBACK) {
        late_begin(s);
        return;
    }
    if (s->flow) {
        s->flow->in_memory--;
        come_from(s, s->flow);
    }
    s->flow = NULL;
    dest_unref(s->dest);
    s->dest = dest_get(s->owner->delivery->shard->dests, span_str(s->submission->domain));
    s->host_from = 0;
    if (s->dest->status == DEST_PENDING) {
        s->waiter.ready = resolved;
        dest_wait(s->dest, &s->waiter);
        return;
    }
    place_resolved(s);
}

void place_later(struct sub *s, const char *cause)
{
    settle_tell_waiting(s, "");
    sub_unload(s, REMUDA__ROW_STATE__ROW_DEFERRED, cause);
}

/* ---- the window in memory ---- */

static bool has_room(const struct flow *f)
{
    const struct settings_delivery *d = &f->scope->lane->owner->settings->delivery;
    uint32_t own = f->in_memory + f->n_loading;
    return own < d->window_tenant && (own < FLOW_LEAST || f->scope->lane->in_memory <= d->window);
}

/* Half of the window is kept for what arrives: rows that come back never keep it out. */
static bool has_room_for_rows(const struct flow *f)
{
    uint32_t window = f->scope->lane->owner->settings->delivery.window;
    return has_room(f) &&
           (f->in_memory + f->n_loading < FLOW_LEAST || f->scope->lane->in_memory <= window / 2);
}

/* When a held row needs attention though nothing frees: its end, its delay notice, its tenant's next pool. */
static uint64_t attention_ms(const struct sub *s)
{
    uint64_t at = s->expires_ms;
    uint64_t now = clock_wall_ms();
    uint64_t notice = report_delay_ms(s);
    uint64_t overflow = reroute_look_ms(s);
    if (notice && notice < at)
        at = notice > now ? notice : now + 1;
    if (overflow && overflow < at)
        at = overflow > now ? overflow : now + 1;
    return at;
}

void place_hold_row(struct sub *s, const char *cause)
{
    if (!s->held_since_ms)
        s->held_since_ms = clock_wall_ms();
    s->due_ms = attention_ms(s);
    sub_put_row(s, REMUDA__ROW_STATE__ROW_HELD, cause);
}

static void cursor_reset(struct flow *f)
{
    f->disk = true;
    f->cursor = (struct index_place){0};
}

void flow_has_rows(struct flow *f)
{
    cursor_reset(f);
    flow_enter_ring(f);
}

/* Its held row stays, and comes back when the flow has room. */
static void leave_to_disk(struct sub *s, struct flow *f)
{
    s->keeps_row = true;
    s->parked = f;
    f->disk = true;
    sub_move(s, SUB_SETTLED);
    list_remove(&s->age_node);
    list_push_back(&f->parked, &s->age_node);
    flow_room_freed(f);
}

static void park(struct sub *s, struct flow *f, const char *cause)
{
    settle_tell_waiting(s, cause);
    sub_text_set(&s->scope_text, f->scope->site);
    place_hold_row(s, cause);
    leave_to_disk(s, f);
}

static void held_prefix(const struct flow *f, struct log_index_key *out)
{
    const struct lane *l = f->scope->lane;
    row_cause_prefix(l->pool, l->provider, l->shard, f->scope->site, f->tenant, out);
}

/* The cursor may have passed its place while the row was on its way into the log. */
void place_parked(struct sub *s)
{
    struct flow *f = s->parked;
    struct log_index_key key;
    held_prefix(f, &key);
    for (int shift = 56; shift >= 0; shift -= 8)
        key.bytes[key.len++] = (unsigned char)(s->expires_ms >> shift);
    if (f->cursor.key.len == key.len && memcmp(key.bytes, f->cursor.key.bytes, key.len) <= 0)
        f->cursor = (struct index_place){.key = key};
    f->disk = true;
    if (!f->n_ready)
        flow_enter_ring(f);
}

void place_wait_on(struct sub *s)
{
    struct flow *f = s->flow;
    const char *cause = sub_cause(s);
    settle_tell_waiting(s, cause);
    if ((!f->scope->blocked && !f->paused) ||
        f->scope->lane->in_memory * 2 <= s->owner->settings->delivery.window) {
        place_hold_row(s, cause);
        return;
    }
    sub_text_set(&s->scope_text, f->scope->site);
    place_hold_row(s, cause);
    sub_leave_flow(s);
    leave_to_disk(s, f);
}

static bool memory_is_short(const struct owner *o)
{
    return blob_total_bytes() > o->settings->memory_bytes / 2;
}

/* A row that will not come up by its time any more is written anew when the wait gets long: its age, its
 * notice and its tenant's next pool are minded by the row's time. */
static void watch_age(struct sub *s)
{
    bool minded = s->row_state == REMUDA__ROW_STATE__ROW_HELD && s->due_ms > clock_wall_ms();
    if (!s->has_row || minded || !list_empty(&s->age_node))
        return;
    s->arrived_us = loop_now_us(s->owner->delivery->shard->loop);
    list_push_back(&s->owner->fresh, &s->age_node);
}

static void count_arrival(struct sub *s, struct flow *f)
{
    if (!s->arrival_counted)
        waits_arrived(f->waits, loop_now_us(s->owner->delivery->shard->loop));
    s->arrival_counted = true;
}

static void enqueue(struct sub *s, struct flow *f)
{
    s->flow = f;
    f->in_memory++;
    if (!s->held_since_ms)
        s->held_since_ms = clock_wall_ms();
    sub_move(s, SUB_QUEUED);
    flow_enter_ring(f);
    watch_age(s);
}

void place_again(struct sub *s)
{
    struct flow *f = s->flow;
    f->in_memory--;
    enqueue(s, f);
    list_remove(&s->node);
    list_push_front(&f->ready, &s->node);
}

/* Takes it off the flow that it comes from, and returns that. */
static struct flow *arrive(struct sub *s)
{
    struct flow *from = s->loaded_by;
    if (from) {
        from->n_loading--;
        s->owner->n_loading--;
    }
    s->loaded_by = NULL;
    return from;
}

/* Into quarantine, or back out of it. */
static bool goes_where_its_tenant_has_to(struct sub *s)
{
    const char *quarantine = tenants_pool(s), *pool = quarantine ? quarantine : tenants_pool_back(s);
    if (!pool || strcmp(pool, s->lane->pool) == 0)
        return false;
    reroute(s, pool, s->lane->provider, quarantine ? TENANTS_QUARANTINE : "lifted");
    return true;
}

static void place_from(struct sub *s, const struct flow *from)
{
    if (clock_wall_ms() >= s->expires_ms) {
        settle_expired(s);
        return;
    }
    if (s->dest->status != DEST_OK) {
        settle_dest_trouble(s);
        return;
    }
    if (strcmp(s->dest->provider_name, s->lane->provider) != 0) {
        reroute(s, s->lane->pool, s->dest->provider_name, "provider");
        return;
    }
    if (goes_where_its_tenant_has_to(s))
        return;
    if (lane_has_left(s->lane)) {
        reroute(s, s->lane->pool, s->lane->provider, "lane"); /* its record came with another lane's */
        return;
    }
    struct flow *f = flow_get(scope_get(s->lane, s->dest->site), s->message->record->tenant);
    bool wait_on_disk = f != from && (f->disk || !has_room(f) || (memory_is_short(s->owner) && f->n_ready));
    count_arrival(s, f);
    if (wait_on_disk)
        park(s, f, f->disk ? flow_cause(f) : "window");
    else
        enqueue(s, f);
}

void place_resolved(struct sub *s)
{
    struct flow *from = arrive(s);
    struct lane *loading = from ? from->scope->lane : NULL;
    place_from(s, from);
    if (!from)
        return;
    flow_room_freed(from);
    lane_memory_freed(loading);
}

/* ---- held rows back into memory ---- */

enum refill { REFILL_ROW, REFILL_SKIP, REFILL_WAIT, REFILL_END };

/* The next held row of the flow behind its cursor; it is loaded with REFILL_ROW. */
static enum refill next_held(struct flow *f, struct log_reader *r, const struct log_index_key *prefix,
                             struct sub **out)
{
    struct owner *o = f->scope->lane->owner;
    struct index_place next = f->cursor;
    if (!rows_next(o, r, prefix, &next))
        return REFILL_END;
    struct subid id = rows_id(&next);
    const struct sub *known = sub_find(o, id);
    if (known && known->state == SUB_SETTLED && known->keeps_row)
        return REFILL_WAIT; /* it leaves memory with the flush under way; then it can be loaded */
    int err = known ? RM_ENOTFOUND : sub_from_row(o, r, id, out);
    if (err == RM_EAGAIN) {
        rows_fetch_ahead(o, r, prefix, f->cursor);
        return REFILL_WAIT;
    }
    f->cursor = next;
    return err == RM_OK ? REFILL_ROW : REFILL_SKIP;
}

static void wait_for_flush(struct flow *f)
{
    if (list_empty(&f->retry_node))
        list_push_back(&f->scope->lane->owner->flows_retry, &f->retry_node);
}

/* Everything in the log is loaded: those whose rows are still on their way never left memory. */
static int take_parked(struct flow *f, struct sub **loaded, int n)
{
    while (n < f->refill && has_room(f) && !list_empty(&f->parked)) {
        struct sub *s = CONTAINER_OF(f->parked.next, struct sub, age_node);
        list_remove(&s->age_node);
        s->parked = NULL;
        s->keeps_row = false;
        come_from(s, f);
        loaded[n++] = s;
    }
    f->disk = !list_empty(&f->parked);
    return n;
}

static int load_rows(struct flow *f, struct log_reader *r, struct sub **loaded)
{
    struct log_index_key prefix;
    int n = 0;
    held_prefix(f, &prefix);
    while (n < f->refill && has_room_for_rows(f)) {
        enum refill found = next_held(f, r, &prefix, &loaded[n]);
        if (found == REFILL_END)
            return take_parked(f, loaded, n);
        if (found == REFILL_WAIT) {
            wait_for_flush(f);
            return n;
        }
        if (found == REFILL_ROW)
            come_from(loaded[n++], f);
    }
    return n;
}

/* Loads held rows of the flow; true when it has something ready now. */
bool flow_refill(struct flow *f)
{
    struct lane *l = f->scope->lane;
    struct sub *loaded[REFILL_MOST];
    struct log_reader *r;
    if (f->n_loading) {
        wait_for_flush(f); /* those that resolve go first: they bring it back */
        return false;
    }
    if (!has_room_for_rows(f) || l->owner->n_loading >= LOADING_MOST) {
        if (list_empty(&f->retry_node))
            list_push_back(&l->want_room, &f->retry_node);
        return false;
    }
    if (log_read_begin(l->owner->delivery->shard->node->log, &r) != RM_OK) {
        wait_for_flush(f);
        return false;
    }
    if (f->refill < REFILL_MOST)
        f->refill = f->refill ? (uint8_t)(f->refill * 2) : 1;
    int n = load_rows(f, r, loaded);
    log_read_end(r);
    for (int i = 0; i < n; i++)
        place_begin(loaded[i]);
    if (f->disk && !f->n_ready)
        wait_for_flush(f); /* they resolve first, or have left for another lane: look again later */
    return f->n_ready > 0;
}

static bool waits_for_connection(const struct scope *s)
{
    return s->n_links && (s->cause == ROUTER_CONNECTIONS || s->cause == ROUTER_TOTAL_CONNECTIONS);
}

void flow_shed(struct flow *f)
{
    struct lane *l = f->scope->lane;
    if (!f->paused && waits_for_connection(f->scope))
        return; /* what is ready goes over the next that frees */
    f->refill = 0;
    if (partition_dirty(l->owner->partition))
        return; /* a row on its way cannot be found again yet */
    if (list_empty(&l->want_room) && l->in_memory * 2 <= l->owner->settings->delivery.window)
        return;
    while (f->n_ready > FLOW_LEAST) {
        struct sub *s = CONTAINER_OF(f->ready.prev, struct sub, node);
        if (!s->has_row || s->row_state != REMUDA__ROW_STATE__ROW_HELD)
            return;
        cursor_reset(f);
        sub_free(s); /* its row says all that is known of it */
    }
}

/* ---- rows by time ---- */

static uint64_t due_of(const struct index_place *at)
{
    uint64_t n = 0;
    for (int i = 1; i <= 8; i++)
        n = n << 8 | at->key.bytes[i];
    return n;
}

void owner_due_arm(struct owner *o, uint64_t due_ms)
{
    if (o->due_cursor.key.len && due_ms <= due_of(&o->due_cursor)) {
        /* Behind what was looked at (the clock went back, a flush took long): look there again. */
        o->due_cursor = (struct index_place){0};
        row_due_key(due_ms, &o->due_cursor.key);
    }
    if (o->next_due_ms && o->next_due_ms <= due_ms)
        return;
    uint64_t now = clock_wall_ms();
    o->next_due_ms = due_ms;
    loop_timer_start(&o->due_timer, due_ms > now ? due_ms - now : 1);
}

/* A held row whose time has come without a free source: its end, its notice, or another pool. */
static void attend_held(struct sub *s)
{
    if (clock_wall_ms() >= s->expires_ms) {
        settle_expired(s);
        return;
    }
    const char *next = reroute_overflow(s);
    if (next) {
        reroute(s, next, s->lane->provider, "overflow");
        return;
    }
    report_delay(s);
    place_hold_row(s, s->flow ? sub_cause(s) : "window");
    if (sub_waits(s))
        return;
    /* Loaded only to be looked at: back to the disk, where its flow finds it. */
    leave_to_disk(
        s, flow_get(scope_get(s->lane, s->scope_text ? s->scope_text : ""), s->message->record->tenant));
}

/* A deferred row whose time has come: into memory, or, when its flow is full, held on disk. */
static int attend_due(struct owner *o, struct log_reader *r, struct subid id, struct sub **out)
{
    struct sub *known = sub_find(o, id);
    *out = NULL;
    if (!known)
        return sub_from_row(o, r, id, out);
    if (sub_waits(known) && known->has_row)
        attend_held(known);
    return RM_OK;
}

static bool row_is_held(struct owner *o, struct log_reader *r, struct subid id)
{
    struct row_key key = row_key_make(id);
    struct span value;
    struct arena a = ARENA_INIT;
    bool held = false;
    if (log_read_key(r, LOG_BACKLOG, o->number, span_of((const char *)key.bytes, sizeof(key.bytes)),
                     &value) == RM_OK) {
        const Remuda__BacklogRow *row = row_decode(&a, value);
        held = row && row->state == REMUDA__ROW_STATE__ROW_HELD;
    }
    arena_fini(&a);
    return held;
}

/* False: its record has to be fetched first. */
static bool due_row(struct owner *o, struct log_reader *r, struct subid id)
{
    struct sub *s;
    bool held = row_is_held(o, r, id);
    int err = attend_due(o, r, id, &s);
    if (!s)
        return err != RM_EAGAIN;
    if (held) {
        attend_held(s);
        return true;
    }
    s->held_since_ms = 0;
    if (s->lane->in_memory <= o->settings->delivery.window)
        place_begin(s);
    else
        park(s, flow_get(scope_get(s->lane, s->scope_text ? s->scope_text : ""), s->message->record->tenant),
             "window");
    return true;
}

void owner_due_run(struct owner *o)
{
    static const struct log_index_key times = {.bytes = {'T'}, .len = 1};
    struct log_reader *r;
    uint64_t now = clock_wall_ms();
    o->next_due_ms = 0;
    if (o->delivery->draining)
        return;
    if (log_read_begin(o->delivery->shard->node->log, &r) != RM_OK) {
        owner_due_arm(o, now + 1000);
        return;
    }
    struct index_place next = o->due_cursor;
    o->due_waits = false;
    for (int n = 0; rows_next(o, r, &times, &next); n++) {
        if (due_of(&next) > now || n == DUE_ROWS) {
            owner_due_arm(o, due_of(&next) > now ? due_of(&next) : now + 1);
            break;
        }
        if (!due_row(o, r, rows_id(&next))) {
            rows_fetch_ahead(o, r, &times, o->due_cursor);
            o->due_waits = true; /* delivery_fetched goes on */
            break;
        }
        o->due_cursor = next;
    }
    log_read_end(r);
}
