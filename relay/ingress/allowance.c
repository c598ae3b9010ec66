/* Claiming, spending and giving back. Records and sums are claims.c's, words for the sender cmd_mail.c's. */
#include "relay/ingress/allowance.h"

#include <stdlib.h>

#include "lib/base/err.h"
#include "lib/base/map.h"
#include "relay/ingress/claims.h"

enum {
    NOTHING_LEFT_MS = 1000, /* others may give back: it is asked for again after so long */
    IDLE_MS = 1000,
    ERASE_TICKS = 3600,
    LOOKS_A_TICK = 200,
};

struct window {
    struct claims_of claim; /* claimed: what may be used, never more than the log has for us */
    uint64_t used;
    uint64_t most;    /* the limit; 0: none */
    uint64_t none_ms; /* when there was nothing left to claim; 0: never in this window */
};

struct tenant {
    struct allowance *allowance;
    char *name;
    struct window windows[CLAIMS_WINDOWS];
    struct list waiters;
    uint64_t taken_ms;
    struct flight *flight; /* its record under way; NULL */
    bool too_much;         /* stands in the log: more than we may use or want */
};

struct allowance {
    struct allowance_options o;
    char *node;
    struct msgid holder;
    struct map tenants; /* name -> struct tenant */
    uint32_t ticks;
    size_t looked; /* place in tenants: who is looked at next */
    bool stopped;
};

/* A record on its way. */
struct flight {
    struct tenant *tenant; /* NULL: it has gone */
    struct claims_of windows[CLAIMS_WINDOWS];
};

static const uint64_t ahead_part[CLAIMS_WINDOWS] = {
    [CLAIMS_MINUTE] = ALLOWANCE_AHEAD_MINUTE,
    [CLAIMS_DAY] = ALLOWANCE_AHEAD_DAY,
};
static const char *const limit_names[CLAIMS_WINDOWS] = {
    [CLAIMS_MINUTE] = "per_minute",
    [CLAIMS_DAY] = "per_day",
};

/* ---- life ---------------------------------------------------------------------------------------- */

struct allowance *allowance_new(const struct allowance_options *o)
{
    struct allowance *a = calloc(1, sizeof(*a));
    ENSURE(a);
    a->o = *o;
    a->node = strdup(o->node);
    ENSURE(a->node);
    a->holder = msgid_make(o->wall_ms());
    map_init(&a->tenants);
    return a;
}

void allowance_free(struct allowance *a)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&a->tenants, &pos, &key, &value)) {
        struct tenant *t = value;
        ENSURE(list_empty(&t->waiters));
        if (t->flight)
            t->flight->tenant = NULL;
        free(t->name);
        free(t);
    }
    map_fini(&a->tenants);
    free(a->node);
    free(a);
}

/* ---- windows ------------------------------------------------------------------------------------- */

/* A clock that is set back does not bring a window back: what is claimed of the later one goes on. */
static void roll(struct tenant *t, uint64_t wall_ms)
{
    for (int i = 0; i < CLAIMS_WINDOWS; i++) {
        struct window *w = &t->windows[i];
        uint64_t number = wall_ms / claims_length_ms[i];
        if (number <= w->claim.number)
            continue;
        uint64_t before = w->claim.number + 1 == number ? w->claim.claimed : 0;
        *w = (struct window){.claim = {.number = number, .before = before}, .most = w->most};
    }
}

static uint64_t spare(const struct window *w)
{
    return w->claim.claimed > w->used ? w->claim.claimed - w->used : 0;
}

static bool none_left(const struct window *w, uint64_t now_ms)
{
    return w->used >= w->most ||
           (w->none_ms && now_ms >= w->none_ms && now_ms - w->none_ms < NOTHING_LEFT_MS);
}

static uint64_t ahead(const struct allowance *a, const struct window *w, int i)
{
    return w->most / (ahead_part[i] * (uint64_t)a->o.shards);
}

static struct inbound_quota over(const struct window *w, int i, uint64_t now_ms)
{
    uint64_t length_ms = claims_length_ms[i];
    return (struct inbound_quota){
        .limit = limit_names[i], .most = w->most, .retry_s = (length_ms - now_ms % length_ms + 999) / 1000};
}

/* ---- claiming ------------------------------------------------------------------------------------ */

static void claimed(void *arg, struct log_batch *b, int status);

static void submit(struct tenant *t, const struct claims_of windows[CLAIMS_WINDOWS])
{
    struct allowance *a = t->allowance;
    struct flight *f = calloc(1, sizeof(*f));
    ENSURE(f);
    f->tenant = t;
    memcpy(f->windows, windows, sizeof(f->windows));
    struct claims_record r = {.tenant = t->name, .holder = &a->holder};
    memcpy(r.windows, windows, sizeof(r.windows));
    struct log_batch *b = log_batch_new(LOG_OWNER);
    claims_put(b, &r, a->node);
    t->flight = f;
    t->too_much = false;
    if (a->o.claims)
        metric_add(a->o.claims, 1);
    log_submit(a->o.client, b, claimed, f);
}

static uint64_t count_waiters(const struct tenant *t)
{
    uint64_t n = 0;
    LIST_FOREACH(it, &t->waiters)
    n++;
    return n;
}

/* What it should be able to use: what waits, and some more unless it has fallen silent. */
static uint64_t wanted(const struct tenant *t, int i, uint64_t waiting, uint64_t now_ms)
{
    const struct window *w = &t->windows[i];
    bool silent = !waiting && now_ms >= t->taken_ms + IDLE_MS;
    uint64_t more = silent ? 0 : ahead(t->allowance, w, i);
    if (!w->most || none_left(w, now_ms) || (spare(w) >= waiting && spare(w) * 2 >= more))
        return w->claim.claimed;
    uint64_t want = w->used + waiting + more;
    if (want > w->most)
        want = w->most;
    return want > w->claim.claimed ? want : w->claim.claimed;
}

static void claim(struct tenant *t, uint64_t now_ms)
{
    struct claims_of windows[CLAIMS_WINDOWS];
    uint64_t waiting = count_waiters(t);
    bool more = false;
    if (t->flight)
        return;
    for (int i = 0; i < CLAIMS_WINDOWS; i++) {
        windows[i] = t->windows[i].claim;
        windows[i].claimed = wanted(t, i, waiting, now_ms);
        more = more || windows[i].claimed > t->windows[i].claim.claimed;
    }
    if (more || t->too_much)
        submit(t, windows);
}

/* The log is to say no more than what may be used. */
static void correct(struct tenant *t)
{
    struct claims_of windows[CLAIMS_WINDOWS];
    for (int i = 0; i < CLAIMS_WINDOWS; i++)
        windows[i] = t->windows[i].claim;
    if (t->too_much && !t->flight)
        submit(t, windows);
}

/* ---- spending ------------------------------------------------------------------------------------ */

/* One message of it. False: it is not known yet. */
static bool decide(struct tenant *t, uint64_t now_ms, enum inbound_quota_answer *answer,
                   struct inbound_quota *why)
{
    bool all = true;
    for (int i = CLAIMS_WINDOWS - 1; i >= 0; i--) {
        const struct window *w = &t->windows[i];
        if (!w->most || (spare(w) && w->used < w->most))
            continue;
        all = false;
        if (!none_left(w, now_ms))
            continue;
        *answer = INBOUND_QUOTA_OVER;
        *why = over(w, i, now_ms);
        return true;
    }
    if (!all)
        return false;
    for (int i = 0; i < CLAIMS_WINDOWS; i++)
        t->windows[i].used++;
    t->taken_ms = now_ms;
    *answer = INBOUND_QUOTA_TAKEN;
    return true;
}

static void serve(struct tenant *t)
{
    enum inbound_quota_answer answer;
    struct inbound_quota why;
    uint64_t now_ms = t->allowance->o.wall_ms();
    roll(t, now_ms);
    while (!list_empty(&t->waiters) && decide(t, now_ms, &answer, &why)) {
        struct list *first = list_pop_front(&t->waiters);
        struct allowance_waiter *w = CONTAINER_OF(first, struct allowance_waiter, node);
        w->answered(w, answer, &why);
    }
    claim(t, now_ms);
}

static void answer_unknown(struct tenant *t)
{
    for (struct list *l; (l = list_pop_front(&t->waiters)) != NULL;) {
        struct allowance_waiter *w = CONTAINER_OF(l, struct allowance_waiter, node);
        w->answered(w, INBOUND_QUOTA_UNKNOWN, NULL);
    }
}

/* It may be used no more from now on, before the log says so. */
static void drop_spare(struct tenant *t, int i)
{
    struct window *w = &t->windows[i];
    t->too_much = t->too_much || spare(w);
    if (spare(w))
        w->claim.claimed = w->used;
}

static void drop_all_spare(struct tenant *t)
{
    for (int i = 0; i < CLAIMS_WINDOWS; i++)
        drop_spare(t, i);
    correct(t);
}

/* The record is read back: what fits below the limit is ours. */
static void keep(struct window *w, const struct claims_of *asked, uint64_t others, uint64_t now_ms)
{
    if (w->claim.number != asked->number)
        return; /* of a window that has passed */
    uint64_t left = w->most > others ? w->most - others : 0;
    uint64_t kept = asked->claimed < left ? asked->claimed : left;
    if (kept > w->claim.claimed)
        w->claim.claimed = kept;
    if (kept < asked->claimed && !spare(w))
        w->none_ms = now_ms;
}

static int settle(struct tenant *t, const struct flight *f, int status)
{
    struct allowance *a = t->allowance;
    struct claims_record r = {.tenant = t->name, .holder = &a->holder};
    uint64_t others[CLAIMS_WINDOWS];
    memcpy(r.windows, f->windows, sizeof(r.windows));
    if (status == RM_OK)
        status = claims_of_others(a->o.log, &r, others);
    for (int i = 0; i < CLAIMS_WINDOWS; i++) {
        struct window *w = &t->windows[i];
        if (status == RM_OK && w->most)
            keep(w, &f->windows[i], others[i], a->o.wall_ms());
        t->too_much = t->too_much ||
                      (w->claim.number == f->windows[i].number && f->windows[i].claimed > w->claim.claimed);
    }
    return status;
}

static void claimed(void *arg, struct log_batch *b, int status)
{
    struct flight *f = arg;
    struct tenant *t = f->tenant;
    (void)b;
    if (t) {
        t->flight = NULL;
        status = settle(t, f, status);
    }
    free(f);
    if (!t)
        return;
    if (status != RM_OK)
        answer_unknown(t);
    else if (t->allowance->stopped)
        drop_all_spare(t);
    else
        serve(t);
}

static struct tenant *tenant_of(struct allowance *a, const struct settings_tenant *conf)
{
    struct tenant *t = map_get(&a->tenants, span_str(conf->name));
    if (!t) {
        t = calloc(1, sizeof(*t));
        ENSURE(t);
        t->allowance = a;
        t->name = strdup(conf->name);
        ENSURE(t->name);
        list_init(&t->waiters);
        (void)map_put(&a->tenants, span_str(conf->name), t);
    }
    t->windows[CLAIMS_MINUTE].most = conf->limits.per_minute;
    t->windows[CLAIMS_DAY].most = conf->limits.per_day;
    return t;
}

void allowance_take(struct allowance *a, const struct settings_tenant *conf, struct allowance_waiter *w)
{
    if (!conf->limits.per_minute && !conf->limits.per_day) {
        w->answered(w, INBOUND_QUOTA_TAKEN, NULL);
        return;
    }
    struct tenant *t = tenant_of(a, conf);
    list_push_back(&t->waiters, &w->node);
    serve(t);
}

void allowance_forget(struct allowance_waiter *w)
{
    list_remove(&w->node);
}

void allowance_return(struct allowance *a, const struct settings_tenant *conf, uint64_t wall_ms)
{
    struct tenant *t = map_get(&a->tenants, span_str(conf->name));
    if (!t)
        return;
    for (int i = 0; i < CLAIMS_WINDOWS; i++) {
        struct window *w = &t->windows[i];
        if (w->claim.number == wall_ms / claims_length_ms[i] && w->used)
            w->used--;
        if (spare(w) > 2 * ahead(a, w, i))
            drop_spare(t, i);
    }
    correct(t);
}

/* ---- giving back --------------------------------------------------------------------------------- */

/* What others may be refused for the want of. */
static void look(struct tenant *t, uint64_t now_ms)
{
    struct claims_record r = {.tenant = t->name, .holder = &t->allowance->holder};
    uint64_t others[CLAIMS_WINDOWS];
    bool any = false;
    roll(t, now_ms);
    for (int i = 0; i < CLAIMS_WINDOWS; i++) {
        r.windows[i] = t->windows[i].claim;
        any = any || (t->windows[i].most && spare(&t->windows[i]));
    }
    if (any && !t->flight && now_ms >= t->taken_ms + IDLE_MS &&
        claims_of_others(t->allowance->o.log, &r, others) == RM_OK)
        for (int i = 0; i < CLAIMS_WINDOWS; i++) {
            const struct window *w = &t->windows[i];
            if (w->most && others[i] + w->claim.claimed + 2 * ahead(t->allowance, w, i) >= w->most)
                drop_spare(t, i);
        }
    correct(t);
}

static void erased(void *arg, struct log_batch *b, int status)
{
    (void)arg;
    (void)b;
    (void)status; /* what is left is erased the next time */
}

void allowance_tick(struct allowance *a, bool erase)
{
    uint64_t now_ms = a->o.wall_ms();
    struct span key;
    void *value;
    bool more = true;
    for (int n = 0; more && n < LOOKS_A_TICK; n++) {
        more = map_next(&a->tenants, &a->looked, &key, &value);
        if (more)
            look(value, now_ms);
        else
            a->looked = 0;
    }
    struct log_batch *b = erase && a->ticks++ % ERASE_TICKS == 0 ? claims_erase_old(a->o.log, now_ms) : NULL;
    if (b)
        log_submit(a->o.client, b, erased, NULL);
}

void allowance_stop(struct allowance *a)
{
    uint64_t now_ms = a->o.wall_ms();
    size_t pos = 0;
    struct span key;
    void *value;
    a->stopped = true;
    while (map_next(&a->tenants, &pos, &key, &value)) {
        roll(value, now_ms);
        drop_all_spare(value);
    }
}
