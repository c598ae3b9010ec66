/* What puts addresses on suppression lists while mail is sent, and what keeps it from them. */
#include "relay/delivery/suppress.h"

#include <stdio.h>

#include "lib/base/clock.h"

enum { SWEEP_MOST = 1000 };

static enum tenant_suppression choice_of(const struct owner *o, const char *tenant)
{
    const struct settings_tenant *t = map_get(&o->tenants, span_str(tenant));
    return t ? t->suppression : SUPPRESSION_OFF;
}

static uint64_t end_of(const struct owner *o, const struct suppress_entry *e)
{
    const struct settings_suppression *s = &o->settings->suppression;
    uint64_t lasts =
        e->reason == REMUDA__SUPPRESSION_REASON__SUPPRESSED_COMPLAINT ? s->complaint_ms : s->bounce_ms;
    return lasts ? e->now_ms + lasts : 0;
}

void suppress_add(struct owner *o, const struct suppress_entry *e)
{
    struct arena a = ARENA_INIT;
    struct suppression_key key;
    struct buf packed = BUF_INIT;
    char *canonical = suppression_canonical(&a, span_str(e->address));
    if (canonical && choice_of(o, e->tenant) != SUPPRESSION_OFF) {
        Remuda__Suppression s = REMUDA__SUPPRESSION__INIT;
        s.tenant = (char *)(uintptr_t)e->tenant;
        s.address = canonical;
        s.reason = e->reason;
        s.evidence = arena_printf(&a, "%.*s", SUPPRESSION_EVIDENCE_MOST, e->evidence);
        s.message_id.data = (uint8_t *)(uintptr_t)e->message;
        s.message_id.len = MSGID_BYTES;
        s.added_ms = e->now_ms;
        s.expires_ms = end_of(o, e);
        suppression_key_make(span_str(e->tenant), span_str(canonical), &key);
        proto_pack(&packed, &s.base);
        partition_put_small(o->partition, LOG_SUPPRESSION, suppression_key_span(&key), buf_span(&packed));
    }
    buf_fini(&packed);
    arena_fini(&a);
}

void suppress_outcomes(struct sub *s, const struct tell *t)
{
    if (t->state != REMUDA__RECIPIENT_STATE__RCPT_BOUNCED)
        return;
    for (size_t i = 0; i < t->n; i++) {
        const struct outcome_recipient *o = t->outcomes[i];
        if (!o->answer.rule || !o->answer.hard || o->answer.reaction != REACT_SUPPRESS_RECIPIENT)
            continue;
        suppress_add(s->owner,
                     &(struct suppress_entry){.tenant = s->message->record->tenant,
                                              .address = s->submission->recipients[t->indexes[i]]->address,
                                              .reason = REMUDA__SUPPRESSION_REASON__SUPPRESSED_BOUNCE,
                                              .evidence = o->text,
                                              .message = s->message->record->id.data,
                                              .now_ms = clock_wall_ms()});
    }
}

/* Of recipient i: its entry, or NULL. */
static const Remuda__Suppression *entry_of(const struct sub *s, uint32_t i, struct log_reader *r,
                                           struct arena *a)
{
    Remuda__Suppression *found = NULL;
    if (!sub_pending(s, i) ||
        suppression_find_in(
            r, a,
            &(struct suppression_query){.tenant = span_str(s->message->record->tenant),
                                        .address = span_str(s->submission->recipients[i]->address),
                                        .now_ms = clock_wall_ms()},
            &found) != RM_OK)
        return NULL;
    return found;
}

/* Where to look; NULL: its recipients are on no list. An attempt is not held back by a log that cannot be
 * read. */
static struct log_reader *reader_for(const struct sub *s)
{
    struct log_reader *r;
    const Remuda__Record *record = s->message->record;
    if (record->kind != REMUDA__RECORD_KIND__RECORD_MESSAGE ||
        choice_of(s->owner, record->tenant) == SUPPRESSION_OFF)
        return NULL;
    return log_read_begin(s->owner->delivery->shard->node->log, &r) == RM_OK ? r : NULL;
}

size_t suppress_check(const struct sub *s, struct outcome_recipient *all, struct tell *t, struct arena *a)
{
    struct log_reader *r = reader_for(s);
    t->n = 0;
    for (uint32_t i = 0; r && i < s->submission->n_recipients; i++) {
        const Remuda__Suppression *found = entry_of(s, i, r, a);
        if (!found)
            continue;
        struct outcome_recipient *o = &all[t->n];
        *o = (struct outcome_recipient){.local = true, .text = suppression_words(found, a)};
        snprintf(o->enhanced, sizeof(o->enhanced), "5.7.1");
        t->outcomes[t->n] = o;
        t->indexes[t->n++] = i;
    }
    if (r)
        log_read_end(r);
    return t->n;
}

bool suppress_any(const struct sub *s)
{
    struct arena a = ARENA_INIT;
    struct log_reader *r = reader_for(s);
    bool any = false;
    for (uint32_t i = 0; r && !any && i < s->submission->n_recipients; i++)
        any = entry_of(s, i, r, &a) != NULL;
    if (r)
        log_read_end(r);
    arena_fini(&a);
    return any;
}

/* One round in pieces: where the last one ended. */
void suppress_sweep(struct owner *o)
{
    struct log_reader *r;
    struct span key, value;
    struct buf from = BUF_INIT;
    uint64_t now = clock_wall_ms();
    if (log_read_begin(o->delivery->shard->node->log, &r) != RM_OK)
        return;
    buf_add_span(&from, buf_span(&o->suppression_swept));
    bool more = true;
    for (int n = 0; more && n < SWEEP_MOST; n++) {
        more = log_read_key_next(r, LOG_SUPPRESSION, 0, buf_span(&from), &key, &value);
        if (!more)
            break;
        struct arena a = ARENA_INIT;
        const Remuda__Suppression *s = suppression_decode(&a, value);
        if (s && s->expires_ms && s->expires_ms < now)
            partition_put_small(o->partition, LOG_SUPPRESSION, key, span_of("", 0));
        arena_fini(&a);
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0');
    }
    log_read_end(r);
    buf_clear(&o->suppression_swept);
    if (more)
        buf_add_span(&o->suppression_swept, buf_span(&from));
    buf_fini(&from);
}
