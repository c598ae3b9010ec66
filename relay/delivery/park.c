/*
 * Waiting, told to the counters of `remuda why` (waits.h): submissions in memory by their state, those in a
 * flow's queue by what binds their scope, rows without memory by their own cause. A row counts while no
 * submission in memory stands for it; those of an earlier life are counted in pieces after the start, in the
 * order of keys, so that what comes and goes meanwhile is counted once: behind the cursor at once, before it
 * by the cursor.
 */
#include <stdlib.h>

#include "relay/delivery/delivery_private.h"
#include "relay/delivery/session.h"

enum { ROWS_A_TICK = 1000 };

static uint64_t now_of(const struct owner *o)
{
    return loop_now_us(o->delivery->shard->loop);
}

struct waits *lane_waits(struct lane *l, const char *tenant)
{
    struct waits *w = map_get(&l->waits, span_str(tenant));
    if (w)
        return w;
    w = calloc(1, sizeof(*w));
    ENSURE(w);
    waits_init(w, now_of(l->owner));
    map_put(&l->waits, span_str(tenant), w);
    return w;
}

/* ---- in memory ---- */

void park_sub(struct sub *s)
{
    static const enum wait_cause causes[] = {
        [SUB_RESOLVING] = WAIT_DNS,
        [SUB_QUEUED] = WAIT_NONE,
        [SUB_ASIDE] = (enum wait_cause)ROUTER_WARMING,
        [SUB_RUNNING] = WAIT_IN_HAND,
        [SUB_MOVING] = WAIT_TRANSFER,
        [SUB_SETTLED] = WAIT_NONE,
    };
    uint64_t now = now_of(s->owner);
    park_sub_end(s);
    s->waits_as = causes[s->state];
    if (s->state == SUB_SETTLED && s->keeps_row) /* its row is on its way */
        s->waits_as = s->parked ? (enum wait_cause)flow_verdict(s->parked)
                                : wait_cause_of(s->row_cause ? s->row_cause : "");
    if (s->waits_as == WAIT_NONE)
        return;
    if (!s->waits || s->waits_lane != s->lane)
        s->waits = lane_waits(s->lane, s->message->record->tenant);
    s->waits_lane = s->lane;
    waits_add(s->waits, s->waits_as, 1, now);
}

void park_sub_end(struct sub *s)
{
    if (s->waits && s->waits_as != WAIT_NONE)
        waits_add(s->waits, s->waits_as, -1, now_of(s->owner));
    s->waits_as = WAIT_NONE;
}

/* What binds the scope, or the flow's tenant, binds all that a flow holds, whatever it was when a row was
 * written; when nothing does, a row waits for room in memory alone. */
void park_flow(struct flow *f)
{
    uint64_t now = now_of(f->scope->lane->owner);
    enum wait_cause binds = (enum wait_cause)flow_verdict(f), rows = binds == WAIT_TURN ? WAIT_WINDOW : binds;
    if (f->counted_ready.n != f->n_ready || f->counted_ready.as != binds) {
        waits_add(f->waits, f->counted_ready.as, -(int64_t)f->counted_ready.n, now);
        waits_add(f->waits, binds, f->n_ready, now);
        f->counted_ready.n = f->n_ready;
        f->counted_ready.as = binds;
    }
    if (f->counted_rows.n != f->n_rows || f->counted_rows.as != rows) {
        waits_add(f->waits, f->counted_rows.as, -(int64_t)f->counted_rows.n, now);
        waits_add(f->waits, rows, f->n_rows, now);
        f->counted_rows.n = f->n_rows;
        f->counted_rows.as = rows;
    }
}

static void park_scope(struct scope *s)
{
    size_t pos = 0;
    struct span key;
    void *flow;
    while (map_next(&s->flows, &pos, &key, &flow))
        park_flow(flow);
}

void park_flows(struct owner *o)
{
    size_t pos = 0, at;
    struct span key;
    void *lane, *scope;
    while (map_next(&o->lanes, &pos, &key, &lane))
        for (at = 0; map_next(&((struct lane *)lane)->scopes, &at, &key, &scope);)
            park_scope(scope);
}

/* What an attempt's time went into; a connection in use has its way behind it. */
void park_attempt(const struct run *r)
{
    const struct attempt *a = &r->attempt;
    const struct link *l = r->link;
    uint64_t us[WAIT_PHASES] = {
        [PHASE_ENVELOPE] = a->envelope_us, [PHASE_DATA] = a->data_us, [PHASE_ANSWER] = a->answer_us};
    if (!a->reused && l->session) {
        us[PHASE_DNS] = l->dns_us;
        us[PHASE_CONNECT] = session_connect_us(l->session);
        us[PHASE_GREETING] = session_greeting_us(l->session);
        us[PHASE_TLS] = session_tls_us(l->session);
    }
    waits_phases(lane_waits(r->sub->lane, r->sub->message->record->tenant), us,
                 loop_now_us(l->owner->delivery->shard->loop));
}

void park_final(struct sub *s)
{
    waits_gone(lane_waits(s->lane, s->message->record->tenant), now_of(s->owner));
}

/* ---- rows without memory ---- */

static bool is_counted(const struct owner *o, struct subid id)
{
    struct row_key key = row_key_make(id);
    return o->rows_counted || memcmp(key.bytes, o->rows_cursor.bytes, ROW_KEY_BYTES) <= 0;
}

/* n: 1 or -1 */
static void count_held(struct lane *l, const char *site, const char *tenant, int n)
{
    struct flow *f = flow_get(scope_get(l, site), tenant);
    f->n_rows = n < 0 && !f->n_rows ? 0 : f->n_rows + (uint32_t)n;
    park_flow(f);
}

static void count_row(struct owner *o, const Remuda__BacklogRow *row, int n)
{
    struct lane *l = lane_get(o, row->pool, row->provider, row->shard);
    if (row->state == REMUDA__ROW_STATE__ROW_HELD)
        count_held(l, row->scope, row->tenant, n);
    else
        waits_add(lane_waits(l, row->tenant), wait_cause_of(row->cause), n, now_of(o));
}

void park_row_left(struct sub *s)
{
    const char *tenant = s->message->record->tenant;
    bool stays = s->has_row && (sub_waits(s) || (s->state == SUB_SETTLED && s->keeps_row));
    if (!stays || !is_counted(s->owner, s->id))
        return;
    if (s->row_state == REMUDA__ROW_STATE__ROW_HELD)
        count_held(s->lane, s->flow ? s->flow->scope->site : s->scope_text ? s->scope_text : "", tenant, 1);
    else
        waits_add(lane_waits(s->lane, tenant), wait_cause_of(s->row_cause ? s->row_cause : ""), 1,
                  now_of(s->owner));
}

void park_row_taken(struct owner *o, struct subid id, const Remuda__BacklogRow *row)
{
    if (is_counted(o, id))
        count_row(o, row, -1);
}

void park_count_rows(struct owner *o)
{
    struct log_reader *r;
    if (o->rows_counted || !o->recovered || log_read_begin(o->delivery->shard->node->log, &r) != RM_OK)
        return;
    struct arena a = ARENA_INIT;
    struct buf from = BUF_INIT;
    struct span key, value;
    buf_add(&from, o->rows_cursor.bytes, ROW_KEY_BYTES);
    for (int n = 0; n < ROWS_A_TICK && !o->rows_counted; n++) {
        buf_add_char(&from, '\0'); /* the next key that can be */
        o->rows_counted = !log_read_key_next(r, LOG_BACKLOG, o->number, buf_span(&from), &key, &value);
        if (o->rows_counted)
            break;
        const Remuda__BacklogRow *row = row_decode(&a, value);
        if (row && !sub_find(o, row_key_parse(key)))
            count_row(o, row, 1);
        memcpy(o->rows_cursor.bytes, key.ptr, ROW_KEY_BYTES);
        buf_clear(&from);
        buf_add_span(&from, key);
    }
    buf_fini(&from);
    arena_fini(&a);
    log_read_end(r);
}
