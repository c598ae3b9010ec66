/* The steps by which pairs change their partition: (a) and (b) of the one that has them, take of the next
 * one. */
#include "relay/delivery/homes.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/list.h"
#include "lib/base/map.h"
#include "proto/codec.h"

enum {
    KEY_MOST = 200,
    PAIRS_A_RELEASE = 200, /* some 60 KB */
    AGAIN_US = 10000000    /* a release that is not read by then is told again */
};

/* A record on its way, or a release. */
struct step {
    uint64_t durable_at; /* number of the flush that its record goes with; 0: was found in the log */
    uint64_t again_us;   /* released: not before */
    bool seen;           /* in this look */
};

struct homes {
    struct homes_options o;
    struct map steps;         /* "source/provider" -> struct step */
    uint64_t begun, done;     /* flushes */
    uint64_t now_us, wall_ms; /* of this look */
    struct submitted *flight; /* releases on their way into control */
    bool unsettled;
};

struct submitted {
    struct homes *homes; /* NULL: gone meanwhile */
};

/* The pairs of one look. */
struct some {
    struct lanes_pair *list;
    size_t n, cap;
};

static struct span key_of(const char *source, const char *provider, char room[KEY_MOST])
{
    int n = snprintf(room, KEY_MOST, "%s/%s", source, provider);
    return span_of(room, n < KEY_MOST ? (size_t)n : KEY_MOST - 1);
}

struct homes *homes_new(const struct homes_options *o)
{
    struct homes *h = calloc(1, sizeof(*h));
    ENSURE(h);
    h->o = *o;
    return h;
}

void homes_free(struct homes *h)
{
    size_t pos = 0;
    struct span key;
    void *value;
    if (!h)
        return;
    if (h->flight)
        h->flight->homes = NULL;
    while (map_next(&h->steps, &pos, &key, &value))
        free(value);
    map_fini(&h->steps);
    free(h);
}

/* ---- what is known of a pair ---- */

static struct step *step_find(const struct homes *h, const struct lanes_pair *p)
{
    char room[KEY_MOST];
    return map_get(&h->steps, key_of(p->source, p->provider, room));
}

static struct step *step_get(struct homes *h, const struct lanes_pair *p)
{
    char room[KEY_MOST];
    struct step *s = step_find(h, p);
    if (s)
        return s;
    s = calloc(1, sizeof(*s));
    ENSURE(s);
    map_put(&h->steps, key_of(p->source, p->provider, room), s);
    return s;
}

static struct router_pair_home record_of(const struct homes *h, const struct lanes_pair *p)
{
    return router_pair_home(h->o.router, span_str(p->source), span_str(p->provider));
}

static bool on_its_way(const struct homes *h, const struct lanes_pair *p)
{
    const struct step *s = step_find(h, p);
    return s && s->durable_at > h->done;
}

/* The holder has made it its own. Its record may say more than what was read of control so far. */
static bool is_taken(const struct lanes_pair *p, struct router_pair_home r)
{
    return p->at == 0 || r.home >= p->version;
}

bool homes_here(const struct homes *h, const char *source, const char *provider)
{
    struct lanes_pair p;
    if (!lanes_pair(h->o.lanes, source, provider, &p) || p.holder != h->o.partition || p.next)
        return false;
    struct router_pair_home r = record_of(h, &p);
    return is_taken(&p, r) && r.given <= r.home && !on_its_way(h, &p);
}

/* Its record goes with the next flush. */
static void goes_with_flush(struct homes *h, const struct lanes_pair *p)
{
    struct step *s = step_get(h, p);
    *s = (struct step){.durable_at = h->begun + 1, .seen = true};
    h->unsettled = true;
}

/* ---- take ---- */

static const Remuda__PairState *find_in(const Remuda__Control *c, const struct lanes_pair *p)
{
    for (size_t i = 0; c && c->release && i < c->release->n_pairs; i++) {
        const Remuda__PairState *found = c->release->pairs[i];
        if (strcmp(found->source, p->source) == 0 && strcmp(found->provider, p->provider) == 0)
            return found;
    }
    return NULL;
}

static void take_found(struct homes *h, const struct lanes_pair *p, const Remuda__PairState *found)
{
    Remuda__PairState unreadable = REMUDA__PAIR_STATE__INIT;
    unreadable.source = (char *)(uintptr_t)p->source;
    unreadable.provider = (char *)(uintptr_t)p->provider;
    unreadable.format = UINT32_MAX; /* it may send nothing under a cap today */
    if (!router_pair_take(h->o.router, found ? found : &unreadable, p->version, h->wall_ms))
        h->o.trouble(h->o.arg, p->source, p->provider, p->at);
    goes_with_flush(h, p);
}

static void take(struct homes *h, const struct lanes_pair *p)
{
    struct log_reader *r;
    struct span value;
    struct arena a = ARENA_INIT;
    uint64_t at = p->at;
    if (log_read_begin(h->o.log, &r) != RM_OK) {
        h->unsettled = true;
        return;
    }
    const Remuda__Control *c = NULL;
    if (log_read_next(r, LOG_CONTROL, 0, &at, &value) && at == p->at)
        c = control_decode(&a, value);
    take_found(h, p, find_in(c, p));
    log_read_end(r);
    arena_fini(&a);
}

/* ---- give (a) ---- */

static void give(struct homes *h, const struct lanes_pair *p)
{
    h->unsettled = true;
    if (h->o.in_use(h->o.arg, p->source, p->provider))
        return;
    router_pair_give(h->o.router, p->source, p->provider, p->next);
    goes_with_flush(h, p);
}

/* ---- release (b) ---- */

static void add_release(struct homes *h, struct log_batch *b, const struct lanes_pair *pairs, size_t n)
{
    struct arena a = ARENA_INIT;
    struct buf packed = BUF_INIT;
    Remuda__PairState *list[PAIRS_A_RELEASE];
    Remuda__Release release = REMUDA__RELEASE__INIT;
    Remuda__Control record = REMUDA__CONTROL__INIT;
    for (size_t i = 0; i < n; i++) {
        buf_clear(&packed);
        ENSURE(router_pair_export(h->o.router, span_str(pairs[i].source), span_str(pairs[i].provider),
                                  h->wall_ms, &packed));
        list[i] = pair_decode(&a, buf_span(&packed));
        ENSURE(list[i]);
    }
    release.partition = h->o.partition;
    release.pairs = list;
    release.n_pairs = n;
    record.release = &release;
    buf_clear(&packed);
    proto_pack(&packed, &record.base);
    log_batch_append(b, LOG_CONTROL, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
    arena_fini(&a);
}

/* One that failed may still be there: told again, the second one does not count. */
static void released(void *arg, struct log_batch *b, int status)
{
    struct submitted *s = arg;
    (void)b;
    if (s->homes) {
        size_t pos = 0;
        struct span key;
        void *value;
        s->homes->flight = NULL;
        while (status != RM_OK && map_next(&s->homes->steps, &pos, &key, &value))
            ((struct step *)value)->again_us = 0;
    }
    free(s);
}

static void release(struct homes *h, const struct some *due)
{
    if (due->n == 0)
        return;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    for (size_t i = 0; i < due->n; i += PAIRS_A_RELEASE)
        add_release(h, b, due->list + i, due->n - i < PAIRS_A_RELEASE ? due->n - i : PAIRS_A_RELEASE);
    for (size_t i = 0; i < due->n; i++)
        step_find(h, &due->list[i])->again_us = h->now_us + AGAIN_US;
    h->flight = calloc(1, sizeof(*h->flight));
    ENSURE(h->flight);
    h->flight->homes = h;
    log_submit(h->o.client, b, released, h->flight);
}

/* ---- all of them ---- */

static void add(void *arg, const struct lanes_pair *p)
{
    struct some *s = arg;
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->list = realloc(s->list, s->cap * sizeof(*s->list));
        ENSURE(s->list);
    }
    s->list[s->n++] = *p;
}

static void look_at(struct homes *h, const struct lanes_pair *p, struct some *due)
{
    struct router_pair_home r = record_of(h, p);
    if (on_its_way(h, p)) {
        step_find(h, p)->seen = true;
        h->unsettled = true;
    } else if (r.given > r.home && r.given == p->next) {
        struct step *s = step_get(h, p);
        s->seen = true;
        h->unsettled = true;
        if (!h->flight && h->now_us >= s->again_us)
            add(due, p);
    } else if (!is_taken(p, r)) {
        take(h, p);
    } else if (p->next > r.home) {
        give(h, p);
    }
}

static void forget_old_steps(struct homes *h)
{
    struct buf gone = BUF_INIT;
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&h->steps, &pos, &key, &value)) {
        struct step *s = value;
        if (!s->seen) {
            buf_add_span(&gone, key);
            buf_add_char(&gone, '\0');
        }
        s->seen = false;
    }
    for (size_t at = 0; at < gone.len; at += strlen(gone.data + at) + 1)
        free(map_remove(&h->steps, span_str(gone.data + at)));
    buf_fini(&gone);
}

void homes_look(struct homes *h, uint64_t now_us, uint64_t wall_ms)
{
    struct some all = {0}, due = {0};
    h->now_us = now_us;
    h->wall_ms = wall_ms;
    h->unsettled = false;
    lanes_pairs_moving(h->o.lanes, h->o.partition, add, &all);
    for (size_t i = 0; i < all.n; i++)
        look_at(h, &all.list[i], &due);
    release(h, &due);
    forget_old_steps(h);
    free(all.list);
    free(due.list);
}

bool homes_unsettled(const struct homes *h)
{
    return h->unsettled;
}

void homes_flush(struct homes *h)
{
    h->begun++;
}

void homes_flushed(struct homes *h)
{
    h->done = h->begun;
}
