/*
 * Remuda's router in virtual time (router/virtual.h), and its rules for answers.
 *
 * "remuda" also moves a tenant to the quarantine pool at a provider while the router's verdict on it says so.
 * "remuda-open" leaves every tenant in the one pool, of all sources but those for quarantine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/world_model/strategy.h"
#include "lib/base/err.h"
#include "router/rules.h"
#include "router/tenant.h"
#include "router/virtual.h"

enum { MAIN, QUARANTINE, POOLS, JUDGE_MS = 5000 };
/* The run begins at a midnight of the wall clock. */
static const uint64_t wall_ms = 20000ull * DAY_MS;

struct remuda {
    const struct scenario *s;
    bool isolates;
    struct router_source sources[WORLD_SOURCES_MOST];
    int members[POOLS][WORLD_SOURCES_MOST];
    struct router_pool pools[POOLS];
    struct router_provider providers[WORLD_PROVIDERS_MOST + 1];
    int provider_of[WORLD_PROVIDERS_MOST]; /* receiver -> router's index */
    struct router_config config;
    struct warmup_schedule warmup;
    uint64_t caps[WARMUP_STAGES_MOST];
    struct router_virtual *router;
    struct router_scope *scopes[WORLD_PROVIDERS_MOST][POOLS];
    struct router_rules *rules;
    struct pattern_scratch *scratch;
    enum tenant_verdict verdicts[WORLD_TENANTS_MOST][WORLD_PROVIDERS_MOST];
};

/* ---- configuration ---- */

static void configure_warmup(struct remuda *r)
{
    if (strcmp(r->s->warmup, "stages") == 0) {
        r->warmup = *warmup_stages();
        return;
    }
    int n = strcmp(r->s->warmup, "none") == 0 ? 0 : warmup_geometric(480, 1.4, 1000000, r->caps);
    r->warmup = (struct warmup_schedule){.name = "geometric",
                                         .caps = r->caps,
                                         .n_caps = n,
                                         .quick = true,
                                         .hourly_percent = WARMUP_HOURLY_PERCENT};
}

static void configure_sources(struct remuda *r)
{
    const struct scenario *s = r->s;
    for (int i = 0; i < s->n_sources; i++) {
        int pool = s->sources[i].quarantine ? QUARANTINE : MAIN;
        r->sources[i] = (struct router_source){.name = s->sources[i].name,
                                               .address = "192.0.2.1",
                                               .ehlo = "mta.example",
                                               .enabled = true,
                                               .pool = pool,
                                               .weight = s->sources[i].weight,
                                               .warmup = s->sources[i].fresh ? &r->warmup : NULL};
        r->members[pool][r->pools[pool].n_members++] = i;
    }
    for (int p = 0; p < POOLS; p++) {
        r->pools[p].name = p == MAIN ? "main" : "quarantine";
        r->pools[p].shards = 1;
        r->pools[p].fallback = -1;
        r->pools[p].members = r->members[p];
    }
}

static struct router_provider provider_of(const struct receiver *from)
{
    return (struct router_provider){.name = from->name,
                                    .limits = {.connections = from->published_connections,
                                               .rate_count = from->rate.count,
                                               .rate_per_us = from->rate.per_us}};
}

static void configure_providers(struct remuda *r)
{
    int n = 1;
    r->providers[ROUTER_OTHER] = (struct router_provider){.name = "other"};
    for (int i = 0; i < r->s->n_receivers; i++) {
        bool other = strcmp(r->s->receivers[i].name, "other") == 0;
        r->provider_of[i] = other ? ROUTER_OTHER : n++;
        r->providers[r->provider_of[i]] = provider_of(&r->s->receivers[i]);
    }
    r->config = (struct router_config){.sources = r->sources,
                                       .n_sources = r->s->n_sources,
                                       .pools = r->pools,
                                       .n_pools = POOLS,
                                       .providers = r->providers,
                                       .n_providers = n};
}

static void load_rules(struct remuda *r)
{
    struct buf lines = BUF_INIT;
    struct conf_errors errors = {.out = &lines};
    if (router_rules_load(NULL, &errors, &r->rules))
        fputs(buf_cstr(&lines), stderr);
    ENSURE(r->rules);
    r->scratch = pattern_scratch_new();
    buf_fini(&lines);
}

static bool remuda_tick(void *self, uint64_t now_ms);

static struct remuda *remuda_make(const struct scenario *s, bool isolates)
{
    struct remuda *r = calloc(1, sizeof(*r));
    ENSURE(r);
    r->s = s;
    r->isolates = isolates;
    configure_warmup(r);
    configure_sources(r);
    configure_providers(r);
    load_rules(r);
    r->router = router_virtual_new(&r->config, wall_ms);
    for (int i = 0; i < s->n_receivers; i++)
        for (int p = 0; p < POOLS; p++)
            r->scopes[i][p] =
                router_scope_ref(router_virtual_state(r->router), p, r->provider_of[i], 0,
                                 span_str(r->provider_of[i] == ROUTER_OTHER ? s->receivers[i].domain : ""));
    remuda_tick(r, 0);
    return r;
}

static void *remuda_new(const struct scenario *s, const struct suspensions *rules)
{
    (void)rules;
    return remuda_make(s, true);
}

static void *remuda_new_open(const struct scenario *s, const struct suspensions *rules)
{
    (void)rules;
    return remuda_make(s, false);
}

static void remuda_free(void *self)
{
    struct remuda *r = self;
    for (int i = 0; i < r->s->n_receivers; i++)
        for (int p = 0; p < POOLS; p++)
            router_scope_unref(router_virtual_state(r->router), r->scopes[i][p]);
    router_virtual_free(r->router);
    router_rules_free(r->rules);
    pattern_scratch_free(r->scratch);
    free(r);
}

/* ---- choosing ---- */

static int pool_of(const struct remuda *r, const struct mail *m)
{
    bool apart = r->isolates && r->pools[QUARANTINE].n_members > 0 &&
                 r->verdicts[m->tenant][m->provider] == TENANT_QUARANTINE;
    return apart ? QUARANTINE : MAIN;
}

static struct virtual_ask ask_of(const struct remuda *r, const struct mail *m)
{
    return (struct virtual_ask){.scope = r->scopes[m->provider][pool_of(r, m)],
                                .sender = span_str(r->s->tenants[m->tenant].name),
                                .past = {m->sticky, m->avoid, m->attempts}};
}

static struct span tenant_name(const struct remuda *r, int tenant)
{
    return span_str(r->s->tenants[tenant].name);
}

static struct span provider_name(const struct remuda *r, int provider)
{
    return span_str(r->s->receivers[provider].name);
}

/* 0: its tenant may send now. */
static uint64_t tenant_until_ms(const struct remuda *r, const struct mail *m, uint64_t now_ms)
{
    uint64_t until_us, now_us = router_virtual_us(now_ms);
    if (router_tenant_may(router_virtual_state(r->router), tenant_name(r, m->tenant),
                          provider_name(r, m->provider), now_us, &until_us))
        return 0;
    return now_ms + (until_us - now_us + 999) / 1000;
}

static struct choice remuda_choose(void *self, const struct mail *m, uint64_t now_ms)
{
    struct remuda *r = self;
    uint64_t until_ms = tenant_until_ms(r, m, now_ms);
    if (until_ms)
        return (struct choice){-1, HOLD_TENANT, until_ms};
    struct virtual_ask ask = ask_of(r, m);
    struct virtual_choice c = router_virtual_choose(r->router, &ask, now_ms);
    enum hold hold = pool_of(r, m) == QUARANTINE ? HOLD_TENANT : HOLD_LANE;
    return (struct choice){c.source, c.hold == VIRTUAL_HOLD_ALONE ? HOLD_MAIL : hold, c.until_ms};
}

static void judge_tenants(struct remuda *r, uint64_t now_ms)
{
    struct router_state *state = router_virtual_state(r->router);
    for (int t = 0; t < r->s->n_tenants; t++)
        for (int p = 0; p < r->s->n_receivers; p++) {
            enum tenant_verdict *v = &r->verdicts[t][p];
            *v = tenant_verdict(state, tenant_name(r, t), provider_name(r, p), &tenant_bounds_default, *v,
                                NULL);
            router_tenant_hold(state, tenant_name(r, t), provider_name(r, p), *v == TENANT_SLOW,
                               router_virtual_us(now_ms));
        }
}

static bool remuda_tick(void *self, uint64_t now_ms)
{
    struct remuda *r = self;
    bool wakes = router_virtual_tick(r->router, now_ms);
    if (now_ms % JUDGE_MS == 0)
        judge_tenants(r, now_ms);
    return wakes;
}

static void remuda_started(void *self, const struct mail *m, int source, uint64_t now_ms)
{
    struct remuda *r = self;
    (void)source;
    router_virtual_start(r->router, r->scopes[m->provider][pool_of(r, m)], now_ms);
    router_tenant_take(router_virtual_state(r->router), tenant_name(r, m->tenant),
                       provider_name(r, m->provider), router_virtual_us(now_ms));
}

/* ---- answers ---- */

static void judge(const struct remuda *r, int provider, const char *text, struct router_answer *out)
{
    *out = (struct router_answer){.rule = "none", .class = ANSWER_NETWORK};
    if (!text[0])
        return;
    char lines[REPLY_MOST];
    struct router_reply reply = {.provider = span_str(r->s->receivers[provider].name)};
    ENSURE(router_reply_read(span_str(text), &reply, lines, sizeof(lines)));
    router_rules_judge(r->rules, r->scratch, &reply, out);
}

static struct router_scope *scope_of(const struct remuda *r, int source, int provider)
{
    return r->scopes[provider][r->s->sources[source].quarantine ? QUARANTINE : MAIN];
}

static struct consequence_at remuda_answered(void *self, struct mail *m, int source, const char *text,
                                             uint64_t now_ms)
{
    struct remuda *r = self;
    struct router_answer a;
    judge(r, m->provider, text, &a);
    struct virtual_ask ask = ask_of(r, m);
    struct virtual_answer said = {source, scope_of(r, source, m->provider),
                                  span_str(r->s->tenants[m->tenant].name), &a};
    struct virtual_consequence c = router_virtual_answered(r->router, &said, &ask, now_ms);
    m->sticky = (int16_t)ask.past.sticky;
    m->avoid = (int16_t)ask.past.avoid;
    m->attempts += m->attempts < UINT8_MAX;
    switch (c.then) {
    case VIRTUAL_DELIVERED:
        return (struct consequence_at){.then = THEN_DELIVERED};
    case VIRTUAL_BOUNCED:
        return (struct consequence_at){.then = THEN_BOUNCE};
    case VIRTUAL_AT_ONCE:
        return (struct consequence_at){.then = THEN_RETRY, .at_ms = now_ms + 1};
    case VIRTUAL_WAITS:
        break;
    }
    return (struct consequence_at){.then = THEN_RETRY,
                                   .at_ms = strategy_retry_at(r->s, m, c.asked_ms, now_ms)};
}

static void remuda_complained(void *self, int source, int provider, int tenant, uint64_t now_ms)
{
    struct remuda *r = self;
    struct router_late late = {.source = span_str(r->s->sources[source].name),
                               .provider = span_str(r->s->receivers[provider].name),
                               .tenant = span_str(r->s->tenants[tenant].name),
                               .wall_ms = wall_ms + now_ms};
    router_complained(router_virtual_state(r->router), &late);
}

static void remuda_bounced_late(void *self, int source, int provider, int tenant, uint64_t now_ms)
{
    struct remuda *r = self;
    struct router_answer a = {.rule = "late",
                              .class = ANSWER_BAD_MAILBOX,
                              .blame = BLAME_RECIPIENT,
                              .reaction = REACT_SUPPRESS_RECIPIENT,
                              .hard = true};
    struct router_report report = {.source = source,
                                   .tenant = span_str(r->s->tenants[tenant].name),
                                   .answer = &a,
                                   .recipients = 1,
                                   .now_us = router_virtual_us(now_ms)};
    router_answered(router_virtual_state(r->router), scope_of(r, source, provider), &report);
}

const struct strategy strategy_remuda = {.name = "remuda",
                                         .new = remuda_new,
                                         .free = remuda_free,
                                         .choose = remuda_choose,
                                         .started = remuda_started,
                                         .answered = remuda_answered,
                                         .complained = remuda_complained,
                                         .bounced_late = remuda_bounced_late,
                                         .tick = remuda_tick};
const struct strategy strategy_remuda_open = {.name = "remuda-open",
                                              .new = remuda_new_open,
                                              .free = remuda_free,
                                              .choose = remuda_choose,
                                              .started = remuda_started,
                                              .answered = remuda_answered,
                                              .complained = remuda_complained,
                                              .bounced_late = remuda_bounced_late,
                                              .tick = remuda_tick};
