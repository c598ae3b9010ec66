/* Scenario files read by tables of keys, and what a tenant sends when. */
#include <stdlib.h>
#include <string.h>

#include "bench/world_model/scenario.h"

#define SHARE(type, key, member)                                                                             \
    {                                                                                                        \
        key, CONF_INT, CONF_AT(struct type, member), .max = 10000, .initial = "0"                            \
    }
#define COUNT(n) (int)(sizeof(n) / sizeof((n)[0]))

const char *const saying_words[] = {"accepted", "bad-mailbox",    "full",    "greylist", "connections",
                                    "rate",     "reputation",     "warning", "block",    "list",
                                    "domain",   "authentication", "content", "busy",     NULL};
static const char *const curve_words[] = {"flat", "business", "blast", NULL};
static const char *const happening_words[] = {"outage", "busy", "listed", NULL};

static const struct conf_key receiver_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct receiver, name), .required = true},
    {"domain", CONF_DOMAIN, CONF_AT(struct receiver, domain), .required = true},
    {"connections", CONF_INT, CONF_AT(struct receiver, connections), .initial = "0"},
    {"published_connections", CONF_INT, CONF_AT(struct receiver, published_connections), .initial = "0"},
    {"rate", CONF_RATE, CONF_AT(struct receiver, rate), .initial = "0"},
    {"latency", CONF_DURATION, CONF_AT(struct receiver, latency_ms), .initial = "800ms", .min = 1},
    {"cold_per_day", CONF_INT, CONF_AT(struct receiver, cold), .required = true, .min = 1},
    {"growth_percent", CONF_INT, CONF_AT(struct receiver, growth_percent), .required = true, .min = 100},
    {"hour_percent", CONF_INT, CONF_AT(struct receiver, burst_percent), .initial = "25", .min = 1},
    SHARE(receiver, "cold_level", cold_level),
    SHARE(receiver, "warm_level", warm_level),
    SHARE(receiver, "complaint_limit", complaint_limit),
    SHARE(receiver, "bad_mailbox_limit", bad_mailbox_limit),
    SHARE(receiver, "junk_limit", junk_limit),
    SHARE(receiver, "press_limit", press_limit),
    SHARE(receiver, "throttle_below", throttle_below),
    SHARE(receiver, "block_below", block_below),
    {"block", CONF_DURATION, CONF_AT(struct receiver, block_ms), .initial = "48h"},
    {"greylist", CONF_DURATION, CONF_AT(struct receiver, greylist_ms), .initial = "0"},
    SHARE(receiver, "greylisted", greylisted),
    SHARE(receiver, "content_caught", content_caught),
    {"uses_lists", CONF_BOOL, CONF_AT(struct receiver, uses_lists), .initial = "no"},
    {"tells_complaints", CONF_BOOL, CONF_AT(struct receiver, tells_complaints), .initial = "no"},
    {"says", CONF_NODE, CONF_AT(struct receiver, says), .required = true},
};
static const struct conf_section receiver_section = {"receivers[]", "A receiver.", receiver_keys,
                                                     COUNT(receiver_keys), sizeof(struct receiver)};

struct receivers_file {
    struct receiver *list;
    int n;
};
static const struct conf_key receivers_keys[] = {
    {"receivers", CONF_SECTIONS, CONF_LIST_AT(struct receivers_file, list, n), .section = &receiver_section,
     .required = true, .min = 1, .max = WORLD_PROVIDERS_MOST},
};
static const struct conf_section receivers_section = {"receivers.yaml", "", receivers_keys, 1,
                                                      sizeof(struct receivers_file)};

static const struct conf_key share_keys[] = {
    {"provider", CONF_NAME, CONF_AT(struct share, provider), .required = true},
    {"share", CONF_INT, CONF_AT(struct share, share), .required = true, .min = 1, .max = 100},
};
static const struct conf_section share_section = {"tenants[].to[]", "", share_keys, 2, sizeof(struct share)};

static const struct conf_key tenant_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct tenant, name), .required = true},
    {"per_day", CONF_INT, CONF_AT(struct tenant, per_day), .required = true, .max = 10000000},
    {"curve", CONF_ENUM, CONF_AT(struct tenant, curve), .words = curve_words, .initial = "business"},
    {"blast_hour", CONF_INT, CONF_AT(struct tenant, blast_hour), .initial = "9", .max = 23},
    {"from_day", CONF_INT, CONF_AT(struct tenant, from_day), .initial = "0", .max = WORLD_DAYS_MOST},
    {"until_day", CONF_INT, CONF_AT(struct tenant, until_day), .initial = "60", .max = WORLD_DAYS_MOST},
    SHARE(tenant, "bad_mailboxes", bad_mailboxes),
    SHARE(tenant, "full", full),
    SHARE(tenant, "spam", spam),
    SHARE(tenant, "complaints", complaints),
    SHARE(tenant, "late_bounces", late_bounces),
    {"authenticated", CONF_BOOL, CONF_AT(struct tenant, authenticated), .initial = "yes"},
    {"culprit", CONF_BOOL, CONF_AT(struct tenant, culprit), .initial = "no"},
    {"turns_day", CONF_INT, CONF_AT(struct tenant, turns_day), .initial = "60", .max = WORLD_DAYS_MOST},
    {"turns_until", CONF_INT, CONF_AT(struct tenant, turns_until), .initial = "60", .max = WORLD_DAYS_MOST},
    SHARE(tenant, "turned_bad_mailboxes", turned_bad_mailboxes),
    SHARE(tenant, "turned_spam", turned_spam),
    SHARE(tenant, "turned_complaints", turned_complaints),
    {"turned_per_day", CONF_INT, CONF_AT(struct tenant, turned_per_day), .initial = "0", .max = 10000000},
    {"to", CONF_SECTIONS, CONF_LIST_AT(struct tenant, shares, n_shares), .section = &share_section,
     .required = true, .min = 1, .max = WORLD_PROVIDERS_MOST},
};
static const struct conf_section tenant_section = {"tenants[]", "", tenant_keys, COUNT(tenant_keys),
                                                   sizeof(struct tenant)};

static const struct conf_key source_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct source, name), .required = true},
    {"weight", CONF_INT, CONF_AT(struct source, weight), .initial = "1", .min = 1, .max = 1000},
    {"new", CONF_BOOL, CONF_AT(struct source, fresh), .initial = "no"},
    {"quarantine", CONF_BOOL, CONF_AT(struct source, quarantine), .initial = "no"},
};
static const struct conf_section source_section = {"sources[]", "", source_keys, COUNT(source_keys),
                                                   sizeof(struct source)};

static const struct conf_key happening_keys[] = {
    {"what", CONF_ENUM, CONF_AT(struct happening_at, kind), .words = happening_words, .required = true},
    {"at", CONF_DURATION, CONF_AT(struct happening_at, at_ms), .required = true},
    {"for", CONF_DURATION, CONF_AT(struct happening_at, for_ms), .required = true},
    {"provider", CONF_NAME, CONF_AT(struct happening_at, provider)},
    {"source", CONF_NAME, CONF_AT(struct happening_at, source)},
    {"list", CONF_STRING, CONF_AT(struct happening_at, list), .initial = "zen.spamhaus.org"},
};
static const struct conf_section happening_section = {"happenings[]", "", happening_keys,
                                                      COUNT(happening_keys), sizeof(struct happening_at)};

static const struct conf_key scenario_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct scenario, name), .required = true},
    {"about", CONF_STRING, CONF_AT(struct scenario, about), .required = true},
    {"days", CONF_INT, CONF_AT(struct scenario, days), .initial = "30", .min = 1, .max = WORLD_DAYS_MOST},
    {"seed", CONF_INT, CONF_AT(struct scenario, seed), .initial = "1"},
    {"warmup", CONF_STRING, CONF_AT(struct scenario, warmup), .initial = "geometric"},
    {"sources", CONF_SECTIONS, CONF_LIST_AT(struct scenario, sources, n_sources), .section = &source_section,
     .required = true, .min = 1, .max = WORLD_SOURCES_MOST},
    {"tenants", CONF_SECTIONS, CONF_LIST_AT(struct scenario, tenants, n_tenants), .section = &tenant_section,
     .required = true, .min = 1, .max = WORLD_TENANTS_MOST},
    {"happenings", CONF_SECTIONS, CONF_LIST_AT(struct scenario, happenings, n_happenings),
     .section = &happening_section},
};
static const struct conf_section scenario_section = {"scenario", "", scenario_keys, COUNT(scenario_keys),
                                                     sizeof(struct scenario)};

/* ---- reading ---- */

static void read_texts(struct receiver *r, struct conf_errors *errors)
{
    for (const struct conf_entry *e = r->says ? r->says->entries : NULL; e; e = e->next) {
        int kind = 0;
        while (saying_words[kind] && !span_eq(e->key->text, span_str(saying_words[kind])))
            kind++;
        if (!saying_words[kind])
            conf_error(errors, e->key, "says: found \"%.40s\", which no receiver can say", e->key->text.ptr);
        else
            r->texts[kind] = e->value->text.ptr;
    }
    for (int kind = 0; kind < SAY_NETWORK; kind++)
        if (!r->texts[kind] || strlen(r->texts[kind]) < 5)
            conf_error(errors, r->says, "says: nothing for \"%s\" at %s", saying_words[kind], r->name);
}

bool receivers_read(const char *path, struct arena *arena, struct conf_errors *errors, struct scenario *out)
{
    const struct conf_node *root;
    if (conf_read(path, arena, errors, &root))
        return false;
    struct receivers_file file = {0};
    conf_fill(&(struct conf_fill){arena, errors}, &receivers_section, root, &file);
    if (errors->count)
        return false;
    out->receivers = file.list;
    out->n_receivers = file.n;
    for (int i = 0; i < file.n; i++)
        read_texts(&file.list[i], errors);
    return !errors->count;
}

static int receiver_find(const struct scenario *s, const char *name)
{
    for (int i = 0; name && i < s->n_receivers; i++)
        if (strcmp(s->receivers[i].name, name) == 0)
            return i;
    return -1;
}

static int source_find(const struct scenario *s, const char *name)
{
    for (int i = 0; name && i < s->n_sources; i++)
        if (strcmp(s->sources[i].name, name) == 0)
            return i;
    return -1;
}

static void link_tenant(struct scenario *s, struct tenant *t, struct conf_errors *errors,
                        const struct conf_node *node)
{
    t->shares_sum = 0;
    for (int i = 0; i < t->n_shares; i++) {
        t->shares[i].index = receiver_find(s, t->shares[i].provider);
        if (t->shares[i].index < 0)
            conf_error(errors, node, "tenant %s: there is no receiver \"%s\"", t->name,
                       t->shares[i].provider);
        t->shares_sum += t->shares[i].share;
    }
}

bool scenario_link(struct scenario *s, struct conf_errors *errors, const struct conf_node *node)
{
    for (int i = 0; i < s->n_tenants; i++)
        link_tenant(s, &s->tenants[i], errors, node);
    for (int i = 0; i < s->n_happenings; i++) {
        struct happening_at *h = &s->happenings[i];
        h->provider_index = receiver_find(s, h->provider);
        h->source_index = source_find(s, h->source);
        if (h->kind == HAPPEN_LISTED && h->source_index < 0)
            conf_error(errors, node, "happening %d: names no source", i);
        if (h->kind != HAPPEN_LISTED && h->provider_index < 0)
            conf_error(errors, node, "happening %d: names no receiver", i);
    }
    bool mature = false;
    for (int i = 0; i < s->n_sources; i++)
        mature |= !s->sources[i].quarantine;
    if (!mature)
        conf_error(errors, node, "all sources are for quarantine");
    return !errors->count;
}

bool scenario_read(const char *path, struct arena *arena, struct conf_errors *errors, struct scenario *out)
{
    const struct conf_node *root;
    *out = (struct scenario){0};
    const char *slash = strrchr(path, '/');
    char *beside = arena_printf(arena, "%.*sreceivers.yaml", slash ? (int)(slash - path + 1) : 0, path);
    if (!receivers_read(beside, arena, errors, out) || conf_read(path, arena, errors, &root))
        return false;
    struct scenario kept = *out;
    conf_fill(&(struct conf_fill){arena, errors}, &scenario_section, root, out);
    out->receivers = kept.receivers;
    out->n_receivers = kept.n_receivers;
    return !errors->count && scenario_link(out, errors, root);
}
