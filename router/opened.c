/*
 * Connections in a log that has other owners, one after the other. Where an owner ends without a word, or
 * leaves connections behind that wait for an answer, the next one has to count them: they may be open still.
 * So no connection is opened that the state log does not know of: a record says how many there may be under
 * this epoch, durable before they are opened, and how many owners before may have left.
 *
 *   asked (with the next write) -> granted (durable): so many may be open -> what was not used for a minute
 * is given back -> at an orderly end the record says exactly what is open, which mostly is nothing
 *
 * What an owner before may have left is counted for lost_ms, or until that owner says that all are closed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "proto/codec.h"
#include "router/state_private.h"

enum { KEY_MOST = 180 };

void router_state_shared(struct router_state *s, uint64_t lost_ms)
{
    s->lost_ms = lost_ms;
}

/* ---- made at first use, bound to pairs ---- */

static struct opened *opened_get(struct router_state *s, struct span key)
{
    struct opened *o = map_get(&s->opened, key);
    if (o)
        return o;
    o = calloc(1, sizeof(*o) + key.len + 1);
    ENSURE(o);
    router_kept_init(&o->kept, KEPT_OPENED);
    memcpy(o->key, key.ptr, key.len);
    map_put(&s->opened, key, o);
    return o;
}

static void drop(struct router_state *s, struct opened *o)
{
    map_remove(&s->opened, span_str(o->key));
    list_remove(&o->kept.dirty);
    list_remove(&o->kept.flight);
    free(o);
}

/* Says nothing, and nothing of it is written or to be written. */
static bool is_blank(const struct opened *o)
{
    return o->users == 0 && o->asked == 0 && o->granted == 0 && o->n_lost == 0 &&
           list_empty(&o->kept.dirty) && list_empty(&o->kept.flight);
}

void router_opened_free_all(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->opened, &at, &key, &value))
        free(value);
    map_fini(&s->opened);
}

static const struct router_limits *limits_of(const struct router_state *s, const struct router_scope *scope)
{
    int provider = scope->lane->provider_index;
    return provider < 0 ? NULL : &s->config->providers[provider].limits;
}

/* False where the number of connections has no limit. */
static bool key_of(const struct router_state *s, const struct router_scope *scope, int slot,
                   char out[KEY_MOST])
{
    const struct router_limits *limits = limits_of(s, scope);
    const struct router_lane *l = scope->lane;
    size_t head = sizeof(void *);
    if (!s->lost_ms || !limits || !limits->connections)
        return false;
    const char *source = limits->total ? "" : s->config->sources[l->sources[slot]].name;
    int n = snprintf(out, KEY_MOST, "%s/%s", source, l->provider);
    if (!limits->total && scope->key_len > head)
        n += snprintf(out + n, KEY_MOST - (size_t)n, "/%016" PRIx64,
                      hash64(scope->key + head, scope->key_len - head));
    ENSURE(n > 0 && n < KEY_MOST);
    return true;
}

static struct opened **place_of(const struct router_state *s, const struct router_scope *scope, int slot)
{
    const struct router_limits *limits = limits_of(s, scope);
    return limits && limits->total ? &s->totals[scope->lane->provider_index].opened
                                   : &scope->pairs[slot].opened;
}

struct opened *router_opened_of(const struct router_state *s, const struct router_scope *scope, int slot)
{
    return s->lost_ms ? *place_of(s, scope, slot) : NULL;
}

static void bind(struct opened **place, struct opened *o)
{
    if (*place || !o)
        return;
    *place = o;
    o->users++;
}

void router_opened_bind(struct router_state *s, const struct router_scope *scope, int slot)
{
    char key[KEY_MOST];
    if (s->opened.count && key_of(s, scope, slot, key))
        bind(place_of(s, scope, slot), map_get(&s->opened, span_str(key)));
}

/* What is left of it goes with the minute. */
void router_opened_unbind(struct pair *p)
{
    if (!p->opened)
        return;
    p->opened->users--;
    p->opened->connections -= p->connections;
    p->opened = NULL;
}

void router_opened_count(struct opened *o, int by)
{
    if (!o)
        return;
    o->connections += (uint32_t)by;
    if (o->connections > o->peak)
        o->peak = o->connections;
}

/* ---- asking ---- */

bool router_may_open(const struct router_state *s, const struct router_scope *scope, int source)
{
    int slot = router_lane_slot(scope->lane, source);
    const struct router_limits *limits = limits_of(s, scope);
    if (!s->lost_ms || slot < 0 || !limits || !limits->connections)
        return true;
    const struct opened *o = router_opened_of(s, scope, slot);
    return o && o->connections < o->granted;
}

/* One more, and where there are some half as many again: so a busy pair waits for few writes, and one that
 * is not takes no more than it uses. */
static uint32_t share_of(uint32_t open, uint32_t most)
{
    uint32_t wanted = open + 1 + open / 2;
    return wanted < most ? wanted : most;
}

void router_open_ask(struct router_state *s, struct router_scope *scope, int source)
{
    char key[KEY_MOST];
    int slot = router_lane_slot(scope->lane, source);
    if (slot < 0 || !key_of(s, scope, slot, key))
        return;
    struct opened **place = place_of(s, scope, slot);
    bind(place, opened_get(s, span_str(key)));
    struct opened *o = *place;
    uint32_t asked = share_of(o->connections, router_opened_most(s, o, limits_of(s, scope)->connections));
    if (asked <= o->asked)
        return;
    o->asked = asked;
    router_keep(s, &o->kept, true);
}

/* ---- a changed configuration ---- */

/* What counted in another place, or nowhere, is written as it is. */
static void rebind(struct router_state *s, struct router_scope *scope, int slot)
{
    char key[KEY_MOST];
    struct pair *p = &scope->pairs[slot];
    if (!key_of(s, scope, slot, key))
        return;
    struct opened *o = p->connections ? opened_get(s, span_str(key)) : map_get(&s->opened, span_str(key));
    bind(place_of(s, scope, slot), o);
    router_opened_count(o, (int)p->connections);
    if (o && o->asked < o->connections) {
        o->asked = o->connections;
        router_keep(s, &o->kept, true);
    }
}

void router_opened_configure(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    if (!s->lost_ms)
        return;
    while (map_next(&s->opened, &at, &key, &value)) {
        struct opened *o = value;
        o->users = o->connections = 0;
    }
    for (at = 0; map_next(&s->scopes, &at, &key, &value);) {
        struct router_scope *scope = value;
        for (int i = 0; i < scope->lane->n; i++) {
            scope->pairs[i].opened = NULL;
            rebind(s, scope, i);
        }
    }
}

/* ---- records ---- */

void router_opened_pack(const struct router_state *s, const struct opened *o, struct buf *out)
{
    Remuda__OpenState r = REMUDA__OPEN_STATE__INIT;
    Remuda__OpenLost lost[OPEN_LOST_MOST], *list[OPEN_LOST_MOST];
    if (o->asked == 0 && o->n_lost == 0)
        return;
    for (uint32_t i = 0; i < o->n_lost; i++) {
        remuda__open_lost__init(&lost[i]);
        lost[i].epoch = o->lost[i].epoch;
        lost[i].n = o->lost[i].n;
        lost[i].until_ms = o->lost[i].until_ms;
        list[i] = &lost[i];
    }
    r.epoch = s->epoch;
    r.n = o->asked;
    r.lost = list;
    r.n_lost = o->n_lost;
    proto_pack(out, &r.base);
}

bool router_opened_written(struct router_state *s, struct opened *o)
{
    uint32_t granted = o->writing < o->asked ? o->writing : o->asked;
    bool more = granted > o->granted;
    o->granted = granted;
    if (is_blank(o))
        drop(s, o);
    return more;
}

/* More owners than there is room for are one that cannot say that it has closed all. */
static void add_lost(struct router_state *s, struct opened *o, struct open_lost lost)
{
    if (lost.n == 0)
        return;
    struct open_lost *last = &o->lost[OPEN_LOST_MOST - 1];
    if (o->n_lost < OPEN_LOST_MOST)
        o->lost[o->n_lost++] = lost;
    else
        *last =
            (struct open_lost){.n = last->n + lost.n,
                               .until_ms = last->until_ms > lost.until_ms ? last->until_ms : lost.until_ms};
    if (!s->lost_due_ms || lost.until_ms < s->lost_due_ms)
        s->lost_due_ms = lost.until_ms;
}

/* Beyond any limit: what cannot be read may say so. */
enum { LOST_ALL = 1 << 20 };

static uint32_t bounded(uint32_t n)
{
    return n < LOST_ALL ? n : LOST_ALL;
}

uint32_t router_load_open(struct router_state *s, struct span key, const Remuda__OpenState *r,
                          uint64_t wall_ms, router_closed_fn closed, void *arg)
{
    if (!s->lost_ms || key.len == 0 || key.len >= KEY_MOST)
        return 0;
    struct opened *o = opened_get(s, key);
    uint64_t until_ms = wall_ms + s->lost_ms;
    if (!r)
        add_lost(s, o, (struct open_lost){.n = LOST_ALL, .until_ms = until_ms});
    else if (!closed(arg, r->epoch))
        add_lost(s, o, (struct open_lost){.epoch = r->epoch, .n = bounded(r->n), .until_ms = until_ms});
    for (size_t i = 0; r && i < r->n_lost; i++) {
        struct open_lost lost = {r->lost[i]->epoch, r->lost[i]->until_ms, bounded(r->lost[i]->n)};
        if (lost.until_ms > until_ms)
            lost.until_ms = until_ms; /* of a clock ahead of ours */
        if (lost.until_ms > wall_ms && !(lost.epoch && closed(arg, lost.epoch)))
            add_lost(s, o, lost);
    }
    router_keep(s, &o->kept, o->n_lost > 0);
    return router_opened_lost(o);
}

/* ---- what ends ---- */

/* Those of an epoch (0: none), and those whose time is over. */
static bool end_some(struct router_state *s, uint64_t epoch, uint64_t wall_ms)
{
    size_t at = 0;
    struct span key;
    void *value;
    bool ended = false;
    s->lost_due_ms = 0;
    while (map_next(&s->opened, &at, &key, &value)) {
        struct opened *o = value;
        uint32_t kept = 0, before = o->n_lost;
        for (uint32_t i = 0; i < before; i++)
            if (o->lost[i].until_ms > wall_ms && (!epoch || o->lost[i].epoch != epoch))
                o->lost[kept++] = o->lost[i];
        o->n_lost = kept;
        for (uint32_t i = 0; i < kept; i++)
            if (!s->lost_due_ms || o->lost[i].until_ms < s->lost_due_ms)
                s->lost_due_ms = o->lost[i].until_ms;
        if (kept == before)
            continue;
        ended = true;
        router_keep(s, &o->kept, false);
    }
    s->version += ended;
    return ended;
}

bool router_open_closed(struct router_state *s, uint64_t epoch)
{
    return s->lost_due_ms && end_some(s, epoch, router_wall_ms(s, s->latest_us));
}

bool router_open_bound(struct router_state *s, uint64_t lost_ms)
{
    size_t at = 0;
    struct span key;
    void *value;
    uint64_t wall_ms = router_wall_ms(s, s->latest_us), most = wall_ms + lost_ms;
    while (s->lost_due_ms && map_next(&s->opened, &at, &key, &value)) {
        struct opened *o = value;
        for (uint32_t i = 0; i < o->n_lost; i++)
            if (o->lost[i].until_ms > most)
                o->lost[i].until_ms = most;
    }
    return s->lost_due_ms && end_some(s, 0, wall_ms);
}

bool router_opened_tick(struct router_state *s, uint64_t wall_ms)
{
    return s->lost_due_ms && wall_ms >= s->lost_due_ms && end_some(s, 0, wall_ms);
}

bool router_has_lost(const struct router_state *s, const char *source, const char *provider)
{
    char prefix[KEY_MOST];
    size_t at = 0;
    struct span key;
    void *value;
    if (!s->lost_due_ms)
        return false;
    int n = snprintf(prefix, sizeof(prefix), "%s/%s", source, provider);
    ENSURE(n > 0 && n < KEY_MOST);
    while (map_next(&s->opened, &at, &key, &value)) {
        const struct opened *o = value;
        const char *pair = o->key[0] == '/' ? prefix + strlen(source) : prefix;
        size_t len = strlen(pair);
        if (o->n_lost && strncmp(o->key, pair, len) == 0 && (!o->key[len] || o->key[len] == '/'))
            return true;
    }
    return false;
}

/* Down to what was open at once in this minute and the last. In pieces: what is dropped moves none. */
static void give_back(struct router_state *s, struct opened *o)
{
    uint32_t most = o->peak > o->peak_before ? o->peak : o->peak_before;
    o->peak_before = o->peak;
    o->peak = o->connections;
    if (most >= o->asked || !list_empty(&o->kept.flight))
        return;
    o->asked = most;
    if (o->granted > most)
        o->granted = most;
    router_keep(s, &o->kept, false);
}

void router_opened_minute(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    struct buf gone = BUF_INIT;
    while (map_next(&s->opened, &at, &key, &value)) {
        struct opened *o = value;
        give_back(s, o);
        if (is_blank(o))
            buf_add(&gone, &o, sizeof(o));
    }
    for (size_t i = 0; i < gone.len; i += sizeof(value)) {
        struct opened *o;
        memcpy(&o, gone.data + i, sizeof(o));
        drop(s, o);
    }
    buf_fini(&gone);
}

void router_opened_settle(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->opened, &at, &key, &value)) {
        struct opened *o = value;
        if (o->asked == o->connections)
            continue;
        o->asked = o->connections;
        if (o->granted > o->asked)
            o->granted = o->asked;
        router_keep(s, &o->kept, false);
    }
}
