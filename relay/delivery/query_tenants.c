/* Answers to the admin listener about what holds for tenants, and what an operator does about it. What was
 * decided every node knows; the evidence, and who decides, is with the owner of partition 0. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/api/json.h"
#include "relay/api/query.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/query_private.h"
#include "relay/delivery/tenants.h"

/* ---- looking ---- */

static bool is_held(const Remuda__TenantDecision *d)
{
    return d->action != REMUDA__TENANT_ACTION__TENANT_FINE || d->kept;
}

static void add_held(const struct delivery *delivery, json_t *out)
{
    size_t pos = 0;
    const struct decision *d;
    while ((d = tenants_next(delivery, &pos)))
        if (is_held(d->d))
            json_array_append_new(out, json_tenant_decision(d->d));
}

struct review {
    struct owner *owner;
    const char *tenant;
    json_t *out;
};

/* The decision that holds, or none; the evidence as of now beside it. */
static void add_review(void *arg, struct span provider)
{
    const struct review *r = arg;
    const struct decision *d = tenants_find(r->owner->delivery, span_str(r->tenant), provider);
    Remuda__TenantDecision now = REMUDA__TENANT_DECISION__INIT;
    Remuda__TenantEvidence evidence;
    Remuda__TenantWeek week;
    struct tenant_counts counts;
    char name[80];
    snprintf(name, sizeof(name), "%.*s", (int)provider.len, provider.ptr);
    now.tenant = (char *)(uintptr_t)r->tenant;
    now.provider = name;
    judge_evidence(r->owner, span_str(r->tenant), provider, &evidence, &week);
    (void)judge_counts(r->owner, span_str(r->tenant), provider, clock_wall_ms() / 1000, &counts);
    enum tenant_verdict before = d ? (enum tenant_verdict)d->d->action : TENANT_FINE;
    now.action = (Remuda__TenantAction)tenant_judge(&counts, &tenants_settings(r->owner, r->tenant)->bounds,
                                                    before, NULL);
    now.evidence = &evidence;
    json_t *row = json_tenant_decision(d ? d->d : &now);
    json_object_set_new(row, "now", json_tenant_decision(&now));
    json_object_set_new(row, "pace",
                        json_real(router_tenant_pace(r->owner->router, span_str(r->tenant), provider)));
    json_array_append_new(r->out, row);
}

static void add_tenant(struct owner *o, const char *tenant, json_t *out)
{
    struct review r = {o, tenant, out};
    size_t pos = 0;
    const struct decision *d;
    struct tenant_counts counts;
    judge_providers(o, span_str(tenant), add_review, &r);
    while ((d = tenants_next(o->delivery, &pos)))
        if (strcmp(d->d->tenant, tenant) == 0 && is_held(d->d) &&
            !judge_counts(o, span_str(tenant), span_str(d->d->provider), clock_wall_ms() / 1000, &counts))
            add_review(&r, span_str(d->d->provider));
}

void query_tenants(struct delivery *d, struct admin_query *q)
{
    struct owner *o = query_owner(d, 0);
    q->answer = json_array();
    if (!q->tenant[0] && d->shard->number == 0)
        add_held(d, q->answer); /* every shard has read them */
    else if (o && o->judge && q->tenant[0])
        add_tenant(o, q->tenant, q->answer);
    admin_query_done(q);
}

/* ---- changing ---- */

static void changed(void *arg, int status)
{
    struct admin_query *q = arg;
    if (status != RM_OK) {
        json_decref(q->answer);
        q->answer = NULL;
        snprintf(q->error, sizeof(q->error), "the decision could not be written: %s", rm_strerror(status));
    }
    admin_query_done(q);
}

static void change_one(struct owner *o, struct admin_query *q, struct log_batch *b, const char *provider,
                       Remuda__TenantAction held)
{
    Remuda__TenantDecision d = REMUDA__TENANT_DECISION__INIT;
    bool lift = q->kind == ADMIN_QUERY_TENANT_LIFT;
    d.tenant = (char *)(uintptr_t)q->tenant;
    d.provider = (char *)(uintptr_t)provider;
    d.action = lift ? REMUDA__TENANT_ACTION__TENANT_FINE
               : held == REMUDA__TENANT_ACTION__TENANT_FINE
                   ? REMUDA__TENANT_ACTION__TENANT_QUARANTINE /* by the operator's own judgement */
                   : held;
    d.kept = !lift;
    d.by_operator = true;
    d.reason = (char *)(uintptr_t)q->text;
    judge_add(o, b, &d, lift);
    json_array_append_new(q->answer, json_tenant_decision(&d));
}

static void change_all_held(struct owner *o, struct admin_query *q, struct log_batch *b)
{
    size_t pos = 0;
    const struct decision *d;
    while ((d = tenants_next(o->delivery, &pos)))
        if (strcmp(d->d->tenant, q->tenant) == 0 && is_held(d->d))
            change_one(o, q, b, d->d->provider, d->d->action);
}

static void change_provider(struct owner *o, struct admin_query *q, struct log_batch *b)
{
    const struct decision *d = tenants_find(o->delivery, span_str(q->tenant), span_str(q->provider));
    bool held = d && is_held(d->d);
    bool known = map_get(&o->tenants, span_str(q->tenant)) &&
                 router_provider_find(&o->settings->router, span_str(q->provider)) >= 0;
    if (held)
        change_one(o, q, b, q->provider, d->d->action);
    else if (q->kind == ADMIN_QUERY_TENANT_KEEP && known)
        change_one(o, q, b, q->provider, REMUDA__TENANT_ACTION__TENANT_FINE);
    else if (q->kind == ADMIN_QUERY_TENANT_KEEP)
        snprintf(q->error, sizeof(q->error), "no such tenant, or no such provider");
}

void query_change_tenant(struct delivery *d, struct admin_query *q)
{
    struct owner *o = query_owner(d, 0);
    q->answer = json_array();
    if (!o || !o->judge) {
        admin_query_done(q);
        return;
    }
    bool busy = judge_is_appending(o) || !judge_knows(o);
    struct log_batch *b = busy ? NULL : log_batch_new(LOG_OWNER);
    if (!b)
        snprintf(q->error, sizeof(q->error), "%s; try again",
                 judge_knows(o) ? "another decision is being written just now"
                                : "what is known of tenants is still being read after the start");
    else if (q->provider[0])
        change_provider(o, q, b);
    else
        change_all_held(o, q, b);
    if (b && log_batch_ops(b)) {
        judge_submit(o, b, changed, q);
        return;
    }
    if (b)
        log_batch_free(b);
    if (q->error[0]) {
        json_decref(q->answer);
        q->answer = NULL;
    }
    admin_query_done(q);
}
