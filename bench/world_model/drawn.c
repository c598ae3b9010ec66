/* Scenarios drawn from a seed within ranges that a file states. */
#include <stdlib.h>

#include "bench/world_model/draw.h"
#include "bench/world_model/scenario.h"

struct range {
    uint32_t least, most;
};

struct ranges {
    struct range warm, fresh, quarantine, innocents, culprits, per_day, bad_mailboxes, complaints;
    struct range turned_bad_mailboxes, turned_complaints, turned_spam, turned_factor, outages, listings;
    uint32_t days, blast_percent, unauthenticated_percent;
};

#define RANGE_END(key, text, end)                                                                            \
    {                                                                                                        \
        text, CONF_INT, CONF_AT(struct ranges, key.end), .required = true, .max = 100000                     \
    }
#define RANGE(key) RANGE_END(key, #key "_least", least), RANGE_END(key, #key "_most", most)

static const struct conf_key keys[] = {
    RANGE(warm),
    RANGE(fresh),
    RANGE(quarantine),
    RANGE(innocents),
    RANGE(culprits),
    RANGE(per_day),
    RANGE(bad_mailboxes),
    RANGE(complaints),
    RANGE(turned_bad_mailboxes),
    RANGE(turned_complaints),
    RANGE(turned_spam),
    RANGE(turned_factor),
    RANGE(outages),
    RANGE(listings),
    {"days", CONF_INT, CONF_AT(struct ranges, days), .required = true, .min = 1, .max = WORLD_DAYS_MOST},
    {"blast_percent", CONF_INT, CONF_AT(struct ranges, blast_percent), .required = true, .max = 100},
    {"unauthenticated_percent", CONF_INT, CONF_AT(struct ranges, unauthenticated_percent), .required = true,
     .max = 100},
};
static const struct conf_section section = {"drawn.yaml", "", keys, (int)(sizeof(keys) / sizeof(keys[0])),
                                            sizeof(struct ranges)};

struct dice {
    uint64_t seed, n;
};

static uint32_t throw_within(struct dice *d, struct range r)
{
    uint32_t width = r.most >= r.least ? r.most - r.least + 1 : 1;
    return r.least + (uint32_t)(draw_bits(d->seed, DRAW_SCENARIO, d->n++, 0) % width);
}

static bool throw_percent(struct dice *d, uint32_t percent)
{
    return throw_within(d, (struct range){0, 99}) < percent;
}

static void draw_sources(struct scenario *s, const struct ranges *r, struct dice *d, struct arena *a)
{
    uint32_t warm = throw_within(d, r->warm), fresh = throw_within(d, r->fresh);
    uint32_t quarantine = throw_within(d, r->quarantine);
    s->n_sources = (int)(warm + fresh + quarantine);
    s->sources = arena_alloc(a, (size_t)s->n_sources * sizeof(*s->sources));
    for (uint32_t i = 0; i < (uint32_t)s->n_sources; i++)
        s->sources[i] = (struct source){.name = arena_printf(a, "s%u", i + 1),
                                        .weight = 1,
                                        .fresh = i >= warm && i < warm + fresh,
                                        .quarantine = i >= warm + fresh};
}

static struct share *draw_shares(const struct scenario *s, struct dice *d, struct arena *a)
{
    struct share *shares = arena_alloc(a, (size_t)s->n_receivers * sizeof(*shares));
    for (int i = 0; i < s->n_receivers; i++)
        shares[i] = (struct share){s->receivers[i].name, throw_within(d, (struct range){5, 60}), i};
    return shares;
}

static struct tenant draw_tenant(const struct scenario *s, const struct ranges *r, struct dice *d,
                                 struct arena *a, uint32_t number, bool culprit)
{
    struct tenant t = {.name = arena_printf(a, "t%u", number + 1),
                       .per_day = throw_within(d, r->per_day),
                       .curve = throw_percent(d, r->blast_percent) ? CURVE_BLAST : CURVE_BUSINESS,
                       .blast_hour = throw_within(d, (struct range){6, 20}),
                       .until_day = WORLD_DAYS_MOST,
                       .bad_mailboxes = throw_within(d, r->bad_mailboxes),
                       .full = 20,
                       .spam = 2,
                       .complaints = throw_within(d, r->complaints),
                       .late_bounces = 2000,
                       .authenticated = true,
                       .culprit = culprit,
                       .turns_day = WORLD_DAYS_MOST,
                       .turns_until = WORLD_DAYS_MOST,
                       .shares = draw_shares(s, d, a),
                       .n_shares = s->n_receivers};
    if (!culprit)
        return t;
    t.turns_day = throw_within(d, (struct range){3, r->days > 10 ? r->days - 7 : 3});
    t.turned_bad_mailboxes = throw_within(d, r->turned_bad_mailboxes);
    t.turned_complaints = throw_within(d, r->turned_complaints);
    t.turned_spam = throw_within(d, r->turned_spam);
    t.turned_per_day = t.per_day * throw_within(d, r->turned_factor);
    t.authenticated = !throw_percent(d, r->unauthenticated_percent);
    return t;
}

static void draw_tenants(struct scenario *s, const struct ranges *r, struct dice *d, struct arena *a)
{
    uint32_t innocents = throw_within(d, r->innocents), culprits = throw_within(d, r->culprits);
    s->n_tenants = (int)(innocents + culprits);
    s->tenants = arena_alloc(a, (size_t)s->n_tenants * sizeof(*s->tenants));
    for (uint32_t i = 0; i < (uint32_t)s->n_tenants; i++)
        s->tenants[i] = draw_tenant(s, r, d, a, i, i >= innocents);
}

static void draw_happenings(struct scenario *s, const struct ranges *r, struct dice *d, struct arena *a)
{
    uint32_t outages = throw_within(d, r->outages), listings = throw_within(d, r->listings);
    s->n_happenings = (int)(outages + listings);
    s->happenings = arena_alloc(a, (size_t)s->n_happenings * sizeof(*s->happenings) + 1);
    for (uint32_t i = 0; i < (uint32_t)s->n_happenings; i++) {
        struct happening_at *h = &s->happenings[i];
        h->at_ms = throw_within(d, (struct range){24, r->days * 24}) * (uint64_t)HOUR_MS;
        h->list = "zen.spamhaus.org";
        h->kind = i >= outages ? HAPPEN_LISTED : throw_percent(d, 50) ? HAPPEN_OUTAGE : HAPPEN_BUSY;
        h->for_ms =
            throw_within(d, i < outages ? (struct range){1, 8} : (struct range){24, 96}) * (uint64_t)HOUR_MS;
        if (i < outages)
            h->provider = s->receivers[throw_within(d, (struct range){0, (uint32_t)s->n_receivers - 1})].name;
        else
            h->source = s->sources[throw_within(d, (struct range){0, (uint32_t)s->n_sources - 1})].name;
    }
}

bool scenario_draw(const char *path, uint64_t seed, uint32_t n, struct arena *arena,
                   struct conf_errors *errors, struct scenario *out)
{
    const struct conf_node *root;
    struct ranges r = {.days = 0};
    *out = (struct scenario){0};
    const char *slash = strrchr(path, '/');
    char *beside = arena_printf(arena, "%.*sreceivers.yaml", slash ? (int)(slash - path + 1) : 0, path);
    if (!receivers_read(beside, arena, errors, out) || conf_read(path, arena, errors, &root))
        return false;
    conf_fill(&(struct conf_fill){arena, errors}, &section, root, &r);
    if (errors->count)
        return false;
    struct dice d = {.seed = seed * 1000 + n};
    out->name = arena_printf(arena, "drawn-%u", n + 1);
    out->about = "drawn from a seed";
    out->days = r.days;
    out->seed = d.seed;
    out->warmup = "geometric";
    draw_sources(out, &r, &d, arena);
    draw_tenants(out, &r, &d, arena);
    draw_happenings(out, &r, &d, arena);
    if (out->n_sources > WORLD_SOURCES_MOST || out->n_tenants > WORLD_TENANTS_MOST || !out->n_tenants) {
        conf_error(errors, root, "the ranges allow more sources or tenants than 64");
        return false;
    }
    return scenario_link(out, errors, root);
}
