/*
 * Why a message went as it did: its decisions from its events, each made once more by the router's own choice
 * from the candidates that stand in it, whole or in a frame (router/frame.h); and what moved it from one pool
 * to another. What cannot be had exactly says why.
 */
#include <inttypes.h>

#include "lib/base/id.h"
#include "proto/codec.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"
#include "router/frame.h"

enum { CATCH_UP_MS = 1000, CANDIDATES_MOST = ROUTER_LANE_SOURCES_MOST };

/* What a decision was made from. */
struct past {
    struct router_candidate list[CANDIDATES_MOST];
    const char *names[CANDIDATES_MOST]; /* of the list's; "" when not known */
    int n, n_all;
    bool named;                       /* all names are known */
    uint32_t others[ROUTER_VERDICTS]; /* candidates that are not in the list, by verdict */
    struct arena arena;
};

/* ---- whole lists ---- */

static bool verdict_of(const char *text, enum router_verdict *out)
{
    for (int v = 0; v < ROUTER_VERDICTS; v++)
        if (strcmp(text, router_verdict_text((enum router_verdict)v)) == 0) {
            *out = (enum router_verdict)v;
            return true;
        }
    return false;
}

/* False: a verdict of another version, or more than a lane can have. */
static bool take_list(const Remuda__Decision *d, struct past *out)
{
    bool known = d->n_candidates > 0 && d->n_candidates <= CANDIDATES_MOST;
    for (size_t i = 0; known && i < d->n_candidates; i++) {
        const Remuda__Candidate *c = d->candidates[i];
        out->list[i] = (struct router_candidate){.source = (int)i,
                                                 .weight = c->weight,
                                                 .score = c->score,
                                                 .rank = (int)c->rank,
                                                 .credit = c->credit,
                                                 .until_us = c->wait_us};
        out->names[i] = c->source;
        known = verdict_of(c->verdict, &out->list[i].verdict);
    }
    out->n = out->n_all = known ? (int)d->n_candidates : 0;
    out->named = known;
    return known;
}

/* ---- frames ---- */

/* The names behind the places of a frame, one a line, as they stand in the partition's state. */
static const char *members_text(struct log *log, uint32_t partition, uint32_t members, struct arena *a)
{
    struct log_reader *r;
    struct span value;
    char key[24];
    int n = snprintf(key, sizeof(key), "members:%08" PRIx32, members);
    if (partition >= log_partitions(log) || log_read_begin(log, &r) != RM_OK)
        return "";
    const char *text = "";
    if (log_read_key(r, LOG_STATE, partition, span_of(key, (size_t)n), &value) == RM_OK)
        text = arena_printf(a, "%.*s", SPAN_FMT(value));
    log_read_end(r);
    return text;
}

static const char *name_at(const char *text, int place, struct arena *a)
{
    struct span rest = span_str(text), line = span_cut(&rest, '\n');
    for (; place > 0; place--)
        line = span_cut(&rest, '\n');
    return line.len ? arena_printf(a, "%.*s", SPAN_FMT(line)) : "";
}

static bool take_frame(struct log *log, const struct history_event *h, struct past *out)
{
    const Remuda__Decision *d = h->event->decision;
    struct router_frame_view v;
    if (!router_frame_read(span_of((const char *)d->frame.data, d->frame.len), &v))
        return false;
    const char *text = members_text(log, h->partition, v.members, &out->arena);
    out->named = text[0] != '\0';
    out->n = v.n;
    out->n_all = v.n_all;
    memcpy(out->list, v.list, sizeof(out->list));
    memcpy(out->others, v.others, sizeof(out->others));
    for (int i = 0; i < v.n; i++)
        out->names[i] = name_at(text, v.list[i].source, &out->arena);
    return true;
}

/* ---- made once more ---- */

static const char *name_of(const struct past *p, int place)
{
    return place < 0 ? "" : p->names[place];
}

static bool same_source(const struct past *p, int place, const char *recorded)
{
    return p->named ? strcmp(name_of(p, place), recorded) == 0 : (place < 0) == (recorded[0] == '\0');
}

/* A submission that went on is held now: what it was tried from is no part of the decision to hold it. No
 * runner-up: there was none, or a new configuration has no such source. */
static json_t *replay_json(const Remuda__Event *e, const struct past *p, struct router_decision *again)
{
    router_replay(p->list, p->n, again);
    const char *cause = router_verdict_text(again->cause);
    bool same = e->source[0] ? same_source(p, again->source, e->source) &&
                                   (!e->decision->runner_up[0] ||
                                    same_source(p, again->runner_up, e->decision->runner_up))
                             : strcmp(cause, e->decision->reason) == 0;
    json_t *v = json_pack("{s:s, s:s, s:s, s:b}", "source", name_of(p, again->source), "runner_up",
                          name_of(p, again->runner_up), "cause", cause, "same", same);
    char text[160];
    if (!p->named)
        json_object_set_new(v, "approximated",
                            json_string("the names of the lane's sources of that time are not known on this "
                                        "node: only that there was a first and a second is compared"));
    else if (p->n < p->n_all) {
        snprintf(
            text, sizeof(text),
            "the event had room for %d of the lane's %d sources: those that decide; the others are counted",
            p->n, p->n_all);
        json_object_set_new(v, "approximated", json_string(text));
    }
    return v;
}

/* Those of a frame, as those of a whole list are told. */
static void set_candidates(json_t *event, const struct past *p, const struct router_decision *again)
{
    json_t *list = json_array(), *others = json_object(), *d = json_object_get(event, "decision");
    for (int i = 0; i < p->n; i++) {
        const struct router_candidate *c = &p->list[i];
        const char *verdict = router_verdict_text(i == again->source ? ROUTER_CHOSEN : c->verdict);
        json_t *v = json_pack("{s:s, s:i, s:f, s:f, s:s, s:i, s:I}", "source", p->names[i], "place",
                              c->source, "weight", c->weight, "score", c->score, "verdict", verdict, "rank",
                              c->rank, "credit", (json_int_t)c->credit);
        json_set_num(v, "wait_us", c->until_us);
        json_array_append_new(list, v);
    }
    for (int v = 0; v < ROUTER_VERDICTS; v++)
        json_set_num(others, router_verdict_text((enum router_verdict)v), p->others[v]);
    json_object_set_new(d, "candidates", list);
    if (json_object_size(others))
        json_object_set(d, "others", others);
    json_decref(others);
}

static const char *missing(const Remuda__Event *e)
{
    if (!e->decision)
        return e->source[0] ? "the event tells of no decision: no attempt reached MAIL"
                            : "nothing was decided by the router";
    if (!e->decision->state_version)
        return "it followed another message over a connection in use: nothing was decided anew";
    return "the event does not hold its candidates: it was written by an older version";
}

/* ---- why this pool ---- */

static bool is_of(const Remuda__TenantDecision *d, const Remuda__Event *e)
{
    return d && strcmp(d->tenant, e->tenant) == 0 && strcmp(d->provider, e->provider) == 0 &&
           d->time_ms <= e->time_ms;
}

/* What was decided of the tenant at the provider last before the event; NULL: not known (any more). */
static json_t *decided_json(struct log *log, const Remuda__Event *e)
{
    struct log_reader *r;
    struct span value;
    json_t *last = NULL;
    if (log_read_begin(log, &r) != RM_OK)
        return NULL;
    for (uint64_t at = 1; log_read_next(r, LOG_CONTROL, 0, &at, &value); at++) {
        struct arena a = ARENA_INIT;
        const Remuda__Control *c = control_decode(&a, value);
        if (c && is_of(c->tenant, e)) {
            json_decref(last);
            last = json_tenant_decision(c->tenant);
        }
        arena_fini(&a);
    }
    log_read_end(r);
    return last;
}

static const char *why_pool(const Remuda__Event *e)
{
    static const struct {
        const char *cause, *words;
    } all[] = {
        {"quarantine", "its tenant is in quarantine at this provider: see what was decided"},
        {"lifted", "its tenant's quarantine at this provider has ended"},
        {"overflow", "no source of the pool had taken it for delivery.overflow: the tenant's next pool"},
        {"no-source", "the pool has no enabled source: the tenant's next pool"},
        {"provider", "its domain's MX hosts are of another provider than was known before"},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i].cause, e->cause) == 0)
            return all[i].words;
    return "its lane has moved";
}

static void set_pool(json_t *v, struct log *log, const Remuda__Event *e)
{
    json_object_set_new(v, "why_pool", json_string(why_pool(e)));
    if (strcmp(e->cause, "quarantine") != 0 && strcmp(e->cause, "lifted") != 0)
        return;
    json_t *decided = decided_json(log, e);
    if (decided)
        json_object_set_new(v, "decided", decided);
}

/* ---- an event ---- */

static json_t *decision_json(struct log *log, const struct history_event *h)
{
    const Remuda__Event *e = h->event;
    struct past p = {.n = 0};
    struct router_decision again;
    json_t *v = json_event(e);
    arena_init(&p.arena);
    bool whole = e->decision && take_list(e->decision, &p);
    if (whole || (e->decision && e->decision->frame.len && take_frame(log, h, &p))) {
        json_object_set_new(v, "replay", replay_json(e, &p, &again));
        if (!whole)
            set_candidates(v, &p, &again);
    } else {
        json_object_set_new(v, "not_replayed", json_string(missing(e)));
    }
    if (e->type == REMUDA__EVENT_TYPE__EVENT_REROUTED)
        set_pool(v, log, e);
    arena_fini(&p.arena);
    return v;
}

void admin_explain_past(const struct admin_request *q, struct admin_reply *r)
{
    struct msgid id;
    struct history *h = q->admin->node->history;
    if (!admin_history_here(q, r))
        return;
    if (!msgid_parse(span_str(q->rest), &id)) {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "a message id has 26 characters, as in \"queued as\"");
        return;
    }
    (void)history_catch_up(h, CATCH_UP_MS);
    struct history_events e;
    history_events_init(&e);
    int rc = history_trace(h, &id, &e);
    json_t *list = json_array();
    for (size_t i = 0; rc == RM_OK && i < e.n; i++)
        if (memcmp(e.list[i].event->message_id.data, id.bytes, MSGID_BYTES) == 0)
            json_array_append_new(list, decision_json(q->admin->node->log, &e.list[i]));
    if (rc == RM_OK)
        admin_reply_json(r, MHD_HTTP_OK, json_pack("{s:s, s:O}", "id", q->rest, "events", list));
    else if (rc == RM_ENOTFOUND)
        admin_reply_error(r, MHD_HTTP_NOT_FOUND, "no such message in the history that is kept");
    else
        admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
    json_decref(list);
    history_events_fini(&e);
}
