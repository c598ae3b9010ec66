/* Standings of addresses and domains at the receivers, and the order in which a receiver looks at an attempt.
 */
#include "bench/world_model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/world_model/draw.h"
#include "lib/base/err.h"

static const double forget_per_day = 0.05, fall_per_over = 0.02, fall_most = 0.15, rise_share = 0.01;
static const double domain_start = 0.8;
enum { JUDGED_FROM = 100, GREYLIST_WINDOW_MS = 2 * DAY_MS, SLOT_EMPTY = 0 };

/* Counts fade with a half-life of a day. */
struct level {
    double level, attempts, accepted, bad_mailboxes, junk, complaints, refused;
    uint64_t blocked_until_ms;
};

struct pair {
    struct level standing;
    double expected, wanted_today;
    uint64_t taken_today, taken_hour;
    uint32_t open;
    double tokens;
    uint64_t tokens_at_ms;
};

/* When a (source, message) was first seen: open addressing. */
struct seen {
    uint64_t key, at_ms;
};
struct greylist {
    struct seen *slots;
    size_t count, cap;
};

struct model {
    const struct scenario *s;
    struct pair pairs[WORLD_SOURCES_MOST][WORLD_PROVIDERS_MOST];
    struct level domains[WORLD_TENANTS_MOST][WORLD_PROVIDERS_MOST];
    struct greylist greylists[WORLD_PROVIDERS_MOST];
};

static double share_of(uint32_t in_10k)
{
    return in_10k / 1e4;
}

/* ---- begin and end ---- */

/* What the receiver is used to from an address that carried its share of the tenants' mail before. */
static double usual(const struct scenario *s, int provider)
{
    double sum = 0;
    int warm = 0;
    for (int i = 0; i < s->n_tenants; i++)
        for (int j = 0; j < s->tenants[i].n_shares; j++)
            if (s->tenants[i].shares[j].index == provider && s->tenants[i].from_day == 0)
                sum +=
                    (double)s->tenants[i].per_day * s->tenants[i].shares[j].share / s->tenants[i].shares_sum;
    for (int i = 0; i < s->n_sources; i++)
        warm += !s->sources[i].fresh && !s->sources[i].quarantine;
    return warm ? sum / warm : 0;
}

struct model *model_new(const struct scenario *s)
{
    struct model *m = calloc(1, sizeof(*m));
    ENSURE(m);
    m->s = s;
    for (int p = 0; p < s->n_receivers; p++) {
        const struct receiver *r = &s->receivers[p];
        double cold = (double)r->cold * 100 / r->growth_percent;
        for (int i = 0; i < s->n_sources; i++) {
            bool fresh = s->sources[i].fresh;
            struct pair *pair = &m->pairs[i][p];
            pair->expected = fresh ? cold : fmax(cold, usual(s, p));
            pair->standing.level = share_of(fresh ? r->cold_level : r->warm_level);
            pair->tokens = r->rate.count;
        }
        for (int i = 0; i < s->n_tenants; i++)
            m->domains[i][p].level = domain_start;
    }
    return m;
}

void model_free(struct model *m)
{
    for (int p = 0; p < WORLD_PROVIDERS_MOST; p++)
        free(m->greylists[p].slots);
    free(m);
}

/* ---- greylisting ---- */

static struct seen *seen_slot(struct greylist *g, uint64_t key)
{
    size_t i = draw_mix(key) & (g->cap - 1);
    while (g->slots[i].key != SLOT_EMPTY && g->slots[i].key != key)
        i = (i + 1) & (g->cap - 1);
    return &g->slots[i];
}

static void greylist_grow(struct greylist *g)
{
    struct greylist next = {.cap = g->cap ? g->cap * 2 : 1024};
    next.slots = calloc(next.cap, sizeof(*next.slots));
    ENSURE(next.slots);
    for (size_t i = 0; i < g->cap; i++)
        if (g->slots[i].key != SLOT_EMPTY) {
            *seen_slot(&next, g->slots[i].key) = g->slots[i];
            next.count++;
        }
    free(g->slots);
    *g = next;
}

static bool is_too_early(struct greylist *g, const struct attempt *a, uint64_t delay_ms)
{
    if (g->count * 2 >= g->cap)
        greylist_grow(g);
    uint64_t key = ((uint64_t)a->source << 48 | (uint64_t)a->tenant << 32 | a->number) + 1;
    struct seen *s = seen_slot(g, key);
    if (s->key == SLOT_EMPTY || a->now_ms > s->at_ms + GREYLIST_WINDOW_MS) {
        g->count += s->key == SLOT_EMPTY;
        *s = (struct seen){key, a->now_ms};
        return true;
    }
    return a->now_ms < s->at_ms + delay_ms;
}

/* ---- what a message is ---- */

struct nature model_nature(const struct scenario *s, const struct attempt *a)
{
    const struct tenant *t = &s->tenants[a->tenant];
    bool turned = tenant_has_turned(t, (uint32_t)(a->sent_ms / DAY_MS));
    uint64_t seed = s->seed, who = (uint64_t)a->tenant, n = a->number;
    uint32_t bad = turned ? t->turned_bad_mailboxes : t->bad_mailboxes;
    struct nature out = {
        .bad_mailbox = draw_in_10k(seed, DRAW_BAD_MAILBOX, who, n, bad),
        .full = draw_in_10k(seed, DRAW_FULL, who, n, t->full),
        .spam = draw_in_10k(seed, DRAW_SPAM, who, n, turned ? t->turned_spam : t->spam),
        .complains = draw_in_10k(seed, DRAW_COMPLAINT, who, n, turned ? t->turned_complaints : t->complaints),
        .bounces_late = draw_in_10k(seed, DRAW_LATE_BOUNCE, who, n, t->late_bounces),
        .greylisted = draw_in_10k(seed, DRAW_GREYLIST, who, n, s->receivers[a->provider].greylisted)};
    /* Complaints come when mail is read: half of them within four hours, one in a hundred after a day. */
    out.complaint_lag_ms =
        (uint64_t)(-log(1 - draw_share(seed, DRAW_COMPLAINT_LAG, who, n)) * 4 * HOUR_MS / M_LN2) + 60000;
    out.late_lag_ms = (uint64_t)(draw_share(seed, DRAW_LATE_LAG, who, n) * 12 * HOUR_MS) + 60000;
    return out;
}

/* ---- an attempt ---- */

static const struct happening_at *happens(const struct model *m, const struct attempt *a)
{
    for (int i = 0; i < m->s->n_happenings; i++) {
        const struct happening_at *h = &m->s->happenings[i];
        if (a->now_ms < h->at_ms || a->now_ms >= h->at_ms + h->for_ms)
            continue;
        if (h->provider_index >= 0 && h->provider_index != a->provider)
            continue;
        if (h->kind != HAPPEN_LISTED ||
            (h->source_index == a->source && m->s->receivers[a->provider].uses_lists))
            return h;
    }
    return NULL;
}

/* The last listing of the source that has begun. */
static const struct happening_at *listing_of(const struct model *m, const struct attempt *a)
{
    const struct happening_at *found = NULL;
    for (int i = 0; i < m->s->n_happenings; i++) {
        const struct happening_at *h = &m->s->happenings[i];
        if (h->kind == HAPPEN_LISTED && h->source_index == a->source && h->at_ms <= a->now_ms &&
            (!found || h->at_ms >= found->at_ms))
            found = h;
    }
    return found;
}

static bool has_token(struct pair *p, const struct receiver *r, uint64_t now_ms)
{
    if (!r->rate.count)
        return true;
    double per_ms = r->rate.count * 1e3 / (double)r->rate.per_us;
    p->tokens = fmin(r->rate.count, p->tokens + per_ms * (double)(now_ms - p->tokens_at_ms));
    p->tokens_at_ms = now_ms;
    if (p->tokens < 1)
        return false;
    p->tokens -= 1;
    return true;
}

/* More than it takes of a day or an hour: half is deferred up to 1.5 times, all above. */
static bool is_too_much(const struct pair *p, const struct receiver *r, double drawn)
{
    double day = fmax((double)r->cold, p->expected * r->growth_percent / 100);
    double over = fmax((double)p->taken_today / day, (double)p->taken_hour / (day * r->burst_percent / 100));
    return over >= 1.5 || (over >= 1 && drawn < 0.5);
}

/* What concerns the address, before it may name a recipient. */
static enum saying judge_source(struct pair *p, const struct receiver *r, const struct attempt *a,
                                double drawn)
{
    double throttle = share_of(r->throttle_below), block = share_of(r->block_below);
    if (a->now_ms < p->standing.blocked_until_ms)
        return SAY_BLOCK;
    if (r->connections && p->open > r->connections)
        return SAY_CONNECTIONS;
    if (!has_token(p, r, a->now_ms) || is_too_much(p, r, drawn))
        return SAY_RATE;
    if (p->standing.level >= throttle || drawn > 1 - p->standing.level / throttle)
        return SAY_ACCEPTED;
    return p->standing.level < (block + throttle) / 2 ? SAY_WARNING : SAY_REPUTATION;
}

static enum saying judge_mail(struct model *m, const struct receiver *r, const struct attempt *a,
                              const struct nature *n)
{
    const struct level *domain = &m->domains[a->tenant][a->provider];
    if (r->greylist_ms && n->greylisted && is_too_early(&m->greylists[a->provider], a, r->greylist_ms))
        return SAY_GREYLIST;
    if (n->bad_mailbox && !n->bounces_late)
        return SAY_BAD_MAILBOX;
    if (a->now_ms < domain->blocked_until_ms)
        return SAY_DOMAIN;
    if (n->full)
        return SAY_FULL;
    if (!m->s->tenants[a->tenant].authenticated && r->texts[SAY_AUTHENTICATION][0] == '5')
        return SAY_AUTHENTICATION;
    bool caught = draw_in_10k(m->s->seed, DRAW_POLICY, (uint64_t)a->tenant, a->number, r->content_caught);
    return n->spam && caught ? SAY_CONTENT : SAY_ACCEPTED;
}

/* $IP, $DOMAIN and $LIST in a receiver's words. */
static void write_text(const struct model *m, const struct attempt *a, enum saying said, const char *list,
                       char out[REPLY_MOST])
{
    size_t n = 0;
    for (const char *t = m->s->receivers[a->provider].texts[said]; t && *t && n + 1 < REPLY_MOST;) {
        int wrote = 1;
        if (strncmp(t, "$IP", 3) == 0)
            wrote = snprintf(out + n, REPLY_MOST - n, "192.0.2.%d", a->source + 1);
        else if (strncmp(t, "$DOMAIN", 7) == 0)
            wrote = snprintf(out + n, REPLY_MOST - n, "%s.example", m->s->tenants[a->tenant].name);
        else if (strncmp(t, "$LIST", 5) == 0)
            wrote = snprintf(out + n, REPLY_MOST - n, "%s", list ? list : "");
        else
            out[n] = *t;
        t += *t != '$' ? 1 : t[1] == 'I' ? 3 : t[1] == 'D' ? 7 : 5;
        n = n + (size_t)wrote < REPLY_MOST ? n + (size_t)wrote : REPLY_MOST - 1;
    }
    out[n] = '\0';
}

static void count(struct level *l, enum saying said, bool spam)
{
    l->attempts++;
    l->accepted += said == SAY_ACCEPTED;
    l->bad_mailboxes += said == SAY_BAD_MAILBOX;
    l->junk += said == SAY_CONTENT || said == SAY_DOMAIN || (said == SAY_ACCEPTED && spam);
    l->refused +=
        said == SAY_RATE || said == SAY_CONNECTIONS || said == SAY_REPUTATION || said == SAY_WARNING;
}

static void count_volume(struct pair *p, enum saying said, const struct nature *n)
{
    bool taken = said == SAY_ACCEPTED || said == SAY_BAD_MAILBOX || said == SAY_CONTENT || said == SAY_DOMAIN;
    p->taken_today += taken;
    p->taken_hour += taken;
    p->wanted_today += said == SAY_ACCEPTED && !n->spam && !n->complains;
}

static enum saying judge(struct model *m, const struct attempt *a, const struct nature *n, double drawn)
{
    const struct receiver *r = &m->s->receivers[a->provider];
    enum saying said = judge_source(&m->pairs[a->source][a->provider], r, a, drawn);
    return said == SAY_ACCEPTED ? judge_mail(m, r, a, n) : said;
}

enum saying model_answer(struct model *m, const struct attempt *a)
{
    static const enum saying of_happening[] = {SAY_NETWORK, SAY_BUSY, SAY_LIST};
    struct pair *p = &m->pairs[a->source][a->provider];
    const struct happening_at *h = happens(m, a);
    struct nature n = model_nature(m->s, a);
    uint64_t who = (uint64_t)a->tenant << 32 | a->number;
    enum saying said =
        h ? of_happening[h->kind] : judge(m, a, &n, draw_share(m->s->seed, DRAW_POLICY, who, a->attempt + 1));
    count(&p->standing, said, n.spam);
    count(&m->domains[a->tenant][a->provider], said, n.spam);
    count_volume(p, said, &n);
    return said;
}

void model_text(const struct model *m, const struct attempt *a, enum saying said, char text[REPLY_MOST])
{
    const struct happening_at *h = said == SAY_LIST ? listing_of(m, a) : NULL;
    write_text(m, a, said, h ? h->list : NULL, text);
}

void model_opened(struct model *m, int source, int provider)
{
    m->pairs[source][provider].open++;
}

void model_closed(struct model *m, int source, int provider)
{
    ENSURE(m->pairs[source][provider].open > 0);
    m->pairs[source][provider].open--;
}

void model_complain(struct model *m, int source, int tenant, int provider)
{
    m->pairs[source][provider].standing.complaints++;
    m->domains[tenant][provider].complaints++;
}

/* ---- hours and days ---- */

static double excess(double n, double of, uint32_t limit)
{
    return of >= JUDGED_FROM && limit ? fmax(0, n / of / share_of(limit) - 1) : 0;
}

static void judge_level(struct level *l, const struct receiver *r, uint64_t now_ms)
{
    static const double fade = 0.971531941153605931; /* 0.5 ^ (1/24) */
    double over = excess(l->complaints, l->accepted, r->complaint_limit) +
                  excess(l->bad_mailboxes, l->accepted + l->bad_mailboxes, r->bad_mailbox_limit) +
                  excess(l->junk, l->accepted + l->junk, r->junk_limit) +
                  excess(l->refused, l->attempts, r->press_limit);
    bool blocked = now_ms < l->blocked_until_ms;
    if (over > 0 && !blocked)
        l->level = fmax(0, l->level - fmin(fall_most, fall_per_over * over));
    else if (!blocked && l->accepted >= 1)
        l->level += (1 - l->level) * rise_share;
    if (l->level < share_of(r->block_below)) {
        double start = 2 * share_of(r->block_below);
        *l = (struct level){.level = start, .blocked_until_ms = now_ms + r->block_ms};
    }
    l->attempts *= fade;
    l->accepted *= fade;
    l->bad_mailboxes *= fade;
    l->junk *= fade;
    l->complaints *= fade;
    l->refused *= fade;
}

static void end_day(struct pair *p, const struct receiver *r)
{
    if (p->wanted_today > p->expected)
        p->expected = fmin(p->wanted_today, p->expected * r->growth_percent / 100);
    else
        p->expected += (p->wanted_today - p->expected) * forget_per_day;
    p->wanted_today = 0;
    p->taken_today = 0;
}

void model_hour(struct model *m, uint64_t now_ms)
{
    for (int p = 0; p < m->s->n_receivers; p++) {
        const struct receiver *r = &m->s->receivers[p];
        for (int i = 0; i < m->s->n_sources; i++) {
            struct pair *pair = &m->pairs[i][p];
            judge_level(&pair->standing, r, now_ms);
            pair->taken_hour = 0;
            if (now_ms % DAY_MS == 0 && now_ms)
                end_day(pair, r);
        }
        for (int i = 0; i < m->s->n_tenants; i++)
            judge_level(&m->domains[i][p], r, now_ms);
    }
}

uint32_t model_blocked_pairs(const struct model *m, uint64_t now_ms)
{
    uint32_t n = 0;
    for (int i = 0; i < m->s->n_sources; i++)
        for (int p = 0; p < m->s->n_receivers; p++)
            n += now_ms < m->pairs[i][p].standing.blocked_until_ms;
    return n;
}
