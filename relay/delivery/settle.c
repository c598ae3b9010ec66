/*
 * What follows from an outcome: results per recipient, events, reports to the sender, the row or the end.
 * Everything is gathered for the partition's next flush; nothing here touches the log itself. Failures that
 * are reported are sealed first where a flush is not one transaction (seal.c): settle_sealed goes on with
 * them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "lib/base/id.h"
#include "lib/base/suspect.h"
#include "lib/mail/date.h"
#include "lib/net/dns.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/figures.h"
#include "relay/delivery/learn.h"
#include "relay/delivery/outcome.h"
#include "relay/delivery/report.h"
#include "relay/delivery/suppress.h"
#include "relay/delivery/tell.h"

enum { BAD_HOST_US = 60 * 1000000, PAUSE_US = 10 * 1000000, RECIPIENTS_MOST = 100 };

/* ---- schedules ---- */

const struct retry_schedule *settle_schedule(const struct sub *s)
{
    const struct owner *o = s->owner;
    const struct settings_tenant *t = map_get(&o->tenants, span_str(s->message->record->tenant));
    if (t && t->retry)
        return t->retry;
    int provider = s->lane->provider_index;
    const char *name = provider >= 0 ? o->settings->router.providers[provider].retry : NULL;
    for (int i = 0; name && i < o->settings->n_retries; i++)
        if (strcmp(o->settings->retries[i].name, name) == 0)
            return &o->settings->retries[i];
    return retry_default();
}

static uint64_t next_due(struct sub *s, uint64_t asked_ms)
{
    uint32_t attempts = s->attempts > s->uncounted ? s->attempts - s->uncounted : 1;
    uint64_t wait =
        retry_wait_ms(settle_schedule(s), attempts, asked_ms, delivery_random(s->owner->delivery));
    uint64_t due = clock_wall_ms() + wait;
    return due < s->expires_ms ? due : s->expires_ms;
}

/* ---- results ---- */

static Remuda__RecipientState state_of(enum outcome_verdict v)
{
    static const Remuda__RecipientState states[] = {
        [OUTCOME_DELIVERED] = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED,
        [OUTCOME_DEFERRED] = REMUDA__RECIPIENT_STATE__RCPT_PENDING,
        [OUTCOME_BOUNCED] = REMUDA__RECIPIENT_STATE__RCPT_BOUNCED,
    };
    return states[v];
}

static void store_results(struct sub *s, const struct tell *t)
{
    if (t->n == s->submission->n_recipients && t->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING) {
        s->n_pending = 0; /* all at once: nobody will ask for the single ones */
        return;
    }
    sub_results_need(s);
    for (size_t i = 0; i < t->n; i++) {
        struct sub_result *r = &s->results[t->indexes[i]];
        if (r->state == REMUDA__RECIPIENT_STATE__RCPT_PENDING &&
            t->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING)
            s->n_pending--;
        r->state = t->state;
        bool worth = !t->untried || !r->reply; /* what came of a try tells more */
        if (worth && (t->outcomes[i]->text[0] || t->outcomes[i]->code)) {
            sub_text_set(&r->reply, t->outcomes[i]->text);
            r->code = t->outcomes[i]->code;
        }
    }
}

/* Mail for suppressed addresses that its tenant wants to be taken and forgotten: nobody is told. */
static bool recorded_only(const struct sub *s, const struct tell *t)
{
    const struct settings_tenant *tenant = map_get(&s->owner->tenants, span_str(s->message->record->tenant));
    return t->suppressed && tenant && tenant->suppression == SUPPRESSION_RECORD;
}

static bool is_failure(const struct tell *t)
{
    return t->state == REMUDA__RECIPIENT_STATE__RCPT_BOUNCED ||
           t->state == REMUDA__RECIPIENT_STATE__RCPT_EXPIRED;
}

/* One kind of outcome of some recipients: its results, its report, its event. Where it has to be sealed the
 * event is made and kept, the rest follows when it binds: settle_next. */
static void settle_group(struct sub *s, struct tell *t, const struct report_how *how)
{
    struct msgid id;
    t->seal = is_failure(t) && !seal_is_needless(s) && !recorded_only(s, t) && report_due(s, t);
    if (!t->seal)
        store_results(s, t);
    figures_outcome(s, t);
    suppress_outcomes(s, t);
    t->final = s->n_pending == (t->seal ? t->n : 0);
    if (t->final)
        park_final(s);
    if (!t->seal && t->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING && !recorded_only(s, t) &&
        report_make(s, t, how, &id))
        t->related = &id;
    tell_event(s, t);
    t->related = NULL;
}

static void set_local(struct outcome_recipient *o, const char *enhanced, const char *text)
{
    *o = (struct outcome_recipient){.text = text ? text : "", .local = true};
    snprintf(o->enhanced, sizeof(o->enhanced), "%s", enhanced);
}

static void take_outcome(const struct sub *s, const Remuda__RecipientOutcome *from,
                         struct outcome_recipient *o, struct tell *t)
{
    if (from->index >= s->submission->n_recipients || !sub_pending(s, from->index))
        return;
    set_local(o, from->enhanced, from->text);
    o->code = (int)from->code;
    o->local = from->local;
    t->state = from->state;
    t->outcomes[t->n] = o;
    t->indexes[t->n++] = from->index;
}

void settle_sealed(struct sub *s, const Remuda__Event *sealed, const struct transfer *bound)
{
    struct outcome_recipient *all = calloc(RECIPIENTS_MOST, sizeof(*all));
    struct report_how how = {.bound = bound};
    struct msgid id;
    struct tell t;
    Remuda__Event e = *sealed;
    ENSURE(all);
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_BOUNCED);
    t.n = 0;
    for (size_t i = 0; i < e.n_recipients && i < RECIPIENTS_MOST; i++)
        take_outcome(s, e.recipients[i], &all[t.n], &t);
    store_results(s, &t);
    if (report_make(s, &t, &how, &id)) {
        e.related_id.data = id.bytes;
        e.related_id.len = MSGID_BYTES;
    }
    e.final = s->n_pending == 0;
    tell_sealed(s, &e);
    free(all);
}

/* ---- after an attempt ---- */

void settle_go_on(struct sub *s, uint64_t due_ms)
{
    if (s->n_pending == 0) {
        sub_finish(s);
    } else if (due_ms) {
        s->due_ms = due_ms;
        report_delay(s);
        sub_unload(s, REMUDA__ROW_STATE__ROW_DEFERRED, "retry");
    } else if (s->flow) {
        place_again(s);
    } else {
        place_begin(s);
    }
}

/* After the outcomes: its end, the time at which it is tried again, or (0) at once. What was sealed of them
 * comes first. */
static void settle_next(struct sub *s, uint64_t due_ms)
{
    if (s->sealed)
        seal_put(s, due_ms);
    else
        settle_go_on(s, due_ms);
}

static void defer_row(struct sub *s, uint64_t due_ms, bool sticky)
{
    s->held_since_ms = 0;
    s->host_from = 0;
    sub_text_set(&s->sticky, sticky ? s->last_source : NULL);
    sub_text_set(&s->avoid, NULL);
    settle_next(s, due_ms);
}

/* At once, from another source and the first host: the blame is not the message's. */
static void again_elsewhere(struct sub *s)
{
    s->attempts--;
    s->host_from = 0;
    settle_next(s, 0);
}

static size_t gather(const struct run *r, const struct outcome *out, enum outcome_verdict v, struct tell *t)
{
    t->n = 0;
    for (uint32_t i = 0; i < r->attempt.n_recipients; i++)
        if (out->recipients[i].verdict == v) {
            t->outcomes[t->n] = &out->recipients[i];
            t->indexes[t->n++] = r->indexes[i];
        }
    return t->n;
}

/* Those that the receiver has refused for good, while the others go on at once. A row tells them apart. */
static void settle_refused(struct run *r, const struct outcome *out)
{
    struct sub *s = r->sub;
    struct report_how how = {0};
    struct tell t;
    tell_init(&t, r, REMUDA__RECIPIENT_STATE__RCPT_BOUNCED);
    if (!gather(r, out, OUTCOME_BOUNCED, &t))
        return;
    settle_group(s, &t, &how);
    if (!s->sealed)
        sub_put_row(s, REMUDA__ROW_STATE__ROW_IN_HAND, "in-hand");
}

static void settle_verdicts(struct run *r, struct outcome *out)
{
    static const enum outcome_verdict order[] = {OUTCOME_DEFERRED, OUTCOME_DELIVERED, OUTCOME_BOUNCED};
    struct sub *s = r->sub;
    struct report_how how = {.next_dsn = session_offers_dsn(r->link->session)};
    struct tell t;
    bool elsewhere = out->elsewhere && dispatch_elsewhere(s, r->link->source);
    s->uncounted += out->soon;
    uint64_t due = out->soon || elsewhere ? clock_wall_ms() + 1 : next_due(s, out->asked_ms);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        tell_init(&t, r, state_of(order[i]));
        if (!gather(r, out, order[i], &t))
            continue;
        t.next_due_ms = due;
        settle_group(s, &t, &how);
    }
    if (seal_left(s) == 0)
        settle_next(s, 0);
    else if (elsewhere)
        again_elsewhere(s);
    else
        defer_row(s, due, out->sticky);
}

static void remember_attempt(struct run *r)
{
    struct sub *s = r->sub;
    struct link *l = r->link;
    s->attempts++;
    sub_pools_tried_clear(s);
    s->last_attempt_ms = r->started_ms;
    if (!s->last_source || strcmp(s->last_source, l->source) != 0)
        sub_text_set(&s->last_source, l->source);
    if (!s->last_host || strcmp(s->last_host, l->dest->hosts[l->host].name) != 0)
        sub_text_set(&s->last_host, l->dest->hosts[l->host].name);
    metric_add(l->attempts, 1);
    park_attempt(r);
}

/* The next host of the destination, at once, as long as there is one that was not tried in this round. The
 * event keeps what this one said. */
static bool try_next_host(struct run *r, const struct outcome *out)
{
    struct sub *s = r->sub;
    struct link *l = r->link;
    struct tell t;
    if (l->dest != s->dest || l->place + 1 >= l->dest->n_hosts)
        return false;
    tell_init(&t, r, REMUDA__RECIPIENT_STATE__RCPT_PENDING);
    t.cause = "next-host";
    t.next_due_ms = clock_wall_ms();
    if (gather(r, out, OUTCOME_DEFERRED, &t))
        tell_event(s, &t);
    settle_refused(r, out);
    s->host_from = l->place + 1;
    s->host_seed = l->seed;
    settle_next(s, 0);
    return true;
}

static struct outcome_rules rules_of(const struct link *l)
{
    return (struct outcome_rules){.rules = l->owner->settings->rules,
                                  .scratch = l->owner->delivery->scratch,
                                  .provider = span_str(l->scope->lane->provider)};
}

/* It may well be our own doing: it goes again and is not counted. Through an egress only once, since it is
 * not known whether that or the host has ended the connection. */
static bool is_broken_off(const struct run *r)
{
    struct sub *s = r->sub;
    if (r->attempt.end != ATTEMPT_LOST || r->attempt.dot_sent)
        return false;
    if (s->owner->losing || s->owner->lost)
        return true;
    bool spared = r->link->egress >= 0 && !s->spared;
    s->spared |= spared;
    return spared;
}

void settle_attempt(struct run *r)
{
    struct sub *s = r->sub;
    struct link *l = r->link;
    struct outcome *out = malloc(sizeof(*out));
    ENSURE(out);
    struct suspect_mark before = suspect_begin(s->owner->number, s->at);
    s->link = NULL;
    if (r->attempt.dot_sent)
        CRASH_POINT(ANSWER_READ);
    struct outcome_rules rules = rules_of(l);
    outcome_judge(&rules, &r->attempt, out);
    bool again = out->action == OUTCOME_AGAIN;
    if ((again && !out->refused) || is_broken_off(r)) {
        if (l->scope->limits && l->source_index >= 0)
            router_give_back(l->owner->router, l->scope->limits, l->source_index);
        place_again(s);
    } else {
        remember_attempt(r);
        learn_outcome(r, out);
        if (again) {
            settle_refused(r, out);
            settle_next(s, 0);
        } else if (out->action != OUTCOME_NEXT_HOST || !try_next_host(r, out)) {
            settle_verdicts(r, out);
        }
    }
    suspect_end(before);
    free(out);
}

/* ---- without an attempt ---- */

/* The same outcome for all pending recipients. */
static void settle_all(struct sub *s, struct tell *t, const struct outcome_recipient *o)
{
    struct suspect_mark before = suspect_begin(s->owner->number, s->at);
    t->n = 0;
    for (uint32_t i = 0; i < s->submission->n_recipients; i++)
        if (sub_pending(s, i)) {
            t->outcomes[t->n] = o;
            t->indexes[t->n++] = i;
        }
    settle_group(s, t, &(struct report_how){0});
    suspect_end(before);
}

static void bounce_local(struct sub *s, const char *enhanced, const char *text)
{
    struct outcome_recipient o;
    struct tell t;
    set_local(&o, enhanced, text);
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_BOUNCED);
    settle_all(s, &t, &o);
    settle_next(s, 0);
}

static void defer(struct sub *s, const struct outcome_recipient *o, const char *cause, uint64_t wait_ms)
{
    struct tell t;
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_PENDING);
    t.cause = cause;
    t.next_due_ms = wait_ms ? clock_wall_ms() + wait_ms : next_due(s, 0);
    settle_all(s, &t, o);
    defer_row(s, t.next_due_ms, s->sticky != NULL);
}

void settle_defer_local(struct sub *s, const char *enhanced, const char *text, uint64_t wait_ms)
{
    struct outcome_recipient o;
    set_local(&o, enhanced, text);
    defer(s, &o, "unreachable", wait_ms);
}

/* As Postfix does with mail for a destination that is dead: no attempt of this message, which waits as long
 * as the schedule would let one of its age wait. So a crowd for a dead destination comes back ever more
 * seldom, though only a few of it are ever tried. */
void settle_not_tried(struct sub *s)
{
    const struct retry_schedule *schedule = settle_schedule(s);
    uint64_t now = clock_wall_ms();
    uint32_t by_age = retry_attempts_by(schedule, now > s->accepted_ms ? now - s->accepted_ms : 0);
    struct outcome_recipient o;
    struct tell t;
    set_local(&o, "4.4.1", s->dest->bad_text);
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_PENDING);
    t.cause = "not-tried";
    t.untried = true;
    t.next_due_ms = now + retry_wait_ms(schedule, by_age, 0, delivery_random(s->owner->delivery));
    if (t.next_due_ms > s->expires_ms)
        t.next_due_ms = s->expires_ms;
    settle_all(s, &t, &o);
    defer_row(s, t.next_due_ms, s->sticky != NULL);
}

void settle_dest_trouble(struct sub *s)
{
    char text[512];
    switch (s->dest->status) {
    case DEST_NO_DOMAIN:
        snprintf(text, sizeof(text), "the domain %s does not exist (DNS: NXDOMAIN)", s->submission->domain);
        bounce_local(s, "5.1.2", text);
        return;
    case DEST_NULL_MX:
        snprintf(text, sizeof(text), "the domain %s accepts no mail (null MX, RFC 7505)",
                 s->submission->domain);
        bounce_local(s, "5.1.10", text);
        return;
    case DEST_NO_HOST:
        snprintf(text, sizeof(text), "the domain %s has neither MX nor address (DNS: %s)",
                 s->submission->domain, s->dest->trouble);
        bounce_local(s, "5.4.4", text);
        return;
    default:
        s->attempts++;
        snprintf(text, sizeof(text), "DNS lookup of %s failed: %s", s->submission->domain, s->dest->trouble);
        struct outcome_recipient o;
        set_local(&o, "4.4.3", text);
        defer(s, &o, "dns", 0);
    }
}

void settle_expired(struct sub *s)
{
    struct outcome_recipient *all = calloc(RECIPIENTS_MOST, sizeof(*all));
    struct tell t;
    ENSURE(all);
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_EXPIRED);
    t.n = 0;
    for (uint32_t i = 0; i < s->submission->n_recipients; i++) {
        if (!sub_pending(s, i))
            continue;
        const struct sub_result *last = s->results && s->results[i].reply ? &s->results[i] : NULL;
        set_local(&all[t.n], "5.4.7", last ? last->reply : "no source could take the message in time");
        all[t.n].code = last ? last->code : 0;
        all[t.n].local = !all[t.n].code;
        t.outcomes[t.n] = &all[t.n];
        t.indexes[t.n++] = i;
    }
    settle_group(s, &t, &(struct report_how){0});
    settle_next(s, 0);
    free(all);
}

bool settle_suppressed(struct sub *s)
{
    struct outcome_recipient all[RECIPIENTS_MOST];
    struct arena a = ARENA_INIT;
    struct tell t;
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_BOUNCED);
    t.suppressed = true;
    t.cause = "suppressed";
    bool any = suppress_check(s, all, &t, &a) > 0;
    if (any)
        settle_group(s, &t, &(struct report_how){0});
    arena_fini(&a);
    bool waits = any && (s->sealed || s->n_pending == 0);
    if (waits)
        settle_next(s, 0);
    return waits;
}

static bool scope_has_up(const struct scope *s)
{
    LIST_FOREACH(it, &s->lane->owner->links)
    {
        const struct link *l = CONTAINER_OF(it, struct link, owner_node);
        if (l->scope == s && l->up && !l->ending)
            return true;
    }
    return false;
}

/* The receiver takes no further connection, but has others of ours: those carry on, this one waits for them.
 */
static bool wait_for_others(struct link *l, struct sub *s)
{
    if (!l->refusal.code || l->refusal.code >= 500 || !scope_has_up(l->scope))
        return false;
    l->scope->pause_until_us = loop_now_us(l->owner->delivery->shard->loop) + PAUSE_US;
    s->host_from = 0;
    place_again(s);
    return true;
}

static void mark_bad(struct link *l, const char *why)
{
    char text[1200], date[MAIL_DATE_BUF];
    snprintf(text, sizeof(text), "not tried: its hosts were unreachable at %s: %s",
             mail_date_format(clock_wall_ms(), date), why);
    dest_mark_bad(l->dest, loop_now_us(l->owner->delivery->shard->loop) + BAD_HOST_US, text);
}

void settle_unreachable(struct link *l, struct sub *s)
{
    s->link = NULL;
    if (l->scope->limits && l->source_index >= 0)
        router_give_back(l->owner->router, l->scope->limits, l->source_index);
    struct outcome_recipient o;
    struct outcome_rules rules = rules_of(l);
    struct outcome_refusal f = {.why = l->failure, .reply = &l->refusal, .trouble = l->trouble};
    if (outcome_judge_failure(&rules, &f, &o) == OUTCOME_NEXT_SOURCE) {
        place_again(s);
        return;
    }
    if (o.verdict == OUTCOME_BOUNCED) {
        bounce_local(s, o.enhanced, o.text);
        return;
    }
    if (wait_for_others(l, s))
        return;
    s->attempts++;
    sub_pools_tried_clear(s);
    s->last_attempt_ms = clock_wall_ms();
    sub_text_set(&s->last_source, l->source);
    sub_text_set(&s->last_host, l->dest->hosts[l->host].name);
    if (!l->refusal.code)
        mark_bad(l, o.text);
    struct tell t;
    tell_init_link(&t, l, REMUDA__RECIPIENT_STATE__RCPT_PENDING);
    t.cause = "unreachable";
    learn_refusal(l, s, &o);
    bool elsewhere = answer_elsewhere(&o.answer) && dispatch_elsewhere(s, l->source);
    t.next_due_ms = elsewhere ? clock_wall_ms() + 1 : next_due(s, outcome_wait_ms(&o.answer));
    settle_all(s, &t, &o);
    if (elsewhere)
        again_elsewhere(s);
    else
        defer_row(s, t.next_due_ms, o.answer.reaction == REACT_SAME_SOURCE);
}

void settle_tell_waiting(struct sub *s, const char *cause)
{
    if (s->told || s->message->record->kind == REMUDA__RECORD_KIND__RECORD_FEEDBACK)
        return;
    struct tell t;
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_PENDING);
    t.waiting = true;
    t.cause = cause;
    if (cause[0])
        show_held(s);
    tell_event(s, &t);
}
