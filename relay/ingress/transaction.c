/*
 * The envelope of the message being made: its record, the recipients grouped into submissions by domain, and
 * their lanes. All that the record points to lives in the message's arena, because the message outlives the
 * session and the settings. The text is body.c's.
 */
#include <stdlib.h>

#include "lib/base/map.h"
#include "relay/ingress/inbound_private.h"

enum { GROUP_OVERHEAD = 96, RECIPIENT_OVERHEAD = 12 };

struct transaction *inbound_tx_new(const struct smtp_mail *mail, const char *sender_domain)
{
    struct transaction *tx = calloc(1, sizeof(*tx));
    ENSURE(tx);
    tx->message = message_new();
    tx->partition = -1;
    tx->size = mail->has_size ? mail->size : 0;
    memcpy(tx->sender_domain, sender_domain, strlen(sender_domain) + 1);
    Remuda__Record *r = tx->message->record;
    struct arena *a = &tx->message->arena;
    r->sender = arena_dup_span(a, mail->path);
    r->smtputf8 = mail->smtputf8;
    r->ret = (Remuda__DsnRet)mail->ret;
    if (mail->has_envid)
        r->envid = arena_dup_span(a, mail->envid);
    message_count(tx->message);
    return tx;
}

void inbound_tx_free(struct inbound *s, struct transaction *tx)
{
    if (tx->counted)
        s->env->quota_return(s->arg, s->tenant, tx->counted_ms);
    message_unref(tx->message);
    blob_unref(tx->held);
    free(tx->groups);
    free(tx->hashes);
    free(tx->chunks);
    free(tx);
}

void inbound_tx_refuse(struct transaction *tx, enum inbound_reason reason, int code, struct smtp_enhanced e,
                       const char *text)
{
    if (!tx->refusal.code) /* the first reason is the one that is told */
        tx->refusal = (struct refusal){code, reason, e, text};
    blob_unref(tx->held);
    tx->held = NULL;
}

uint64_t inbound_tx_token(const struct inbound *s, uint32_t low)
{
    return (uint64_t)s->serial << 32 | low;
}

/* ---- recipients ---------------------------------------------------------------------------------- */

static bool recipient_known(const struct transaction *tx, uint64_t hash, struct span address)
{
    for (uint32_t i = 0; i < tx->n_recipients; i++) {
        if (tx->hashes[i] != hash)
            continue;
        for (size_t g = 0; g < tx->n_groups; g++) /* the hash is 64 bits wide: this is nearly always a hit */
            for (size_t r = 0; r < tx->groups[g].submission->n_recipients; r++)
                if (span_eq(span_str(tx->groups[g].submission->recipients[r]->address), address))
                    return true;
    }
    return false;
}

static void remember_hash(struct transaction *tx, uint64_t hash)
{
    if (tx->n_recipients == tx->cap_hashes) {
        tx->cap_hashes = tx->cap_hashes ? tx->cap_hashes * 2 : 8;
        tx->hashes = realloc(tx->hashes, tx->cap_hashes * sizeof(*tx->hashes));
        ENSURE(tx->hashes);
    }
    tx->hashes[tx->n_recipients] = hash;
}

static struct tx_group *add_group(struct transaction *tx, struct span domain, uint64_t hash)
{
    if (tx->n_groups == tx->cap_groups) {
        tx->cap_groups = tx->cap_groups ? tx->cap_groups * 2 : 4;
        tx->groups = realloc(tx->groups, tx->cap_groups * sizeof(*tx->groups));
        ENSURE(tx->groups);
    }
    struct arena *a = &tx->message->arena;
    Remuda__Submission *sub = arena_alloc(a, sizeof(*sub));
    remuda__submission__init(sub);
    sub->index = (uint32_t)tx->n_groups;
    sub->domain = arena_dup_span(a, domain);
    struct tx_group *g = &tx->groups[tx->n_groups++];
    *g = (struct tx_group){.submission = sub, .domain_hash = hash};
    tx->envelope_bytes += domain.len + GROUP_OVERHEAD;
    return g;
}

/* The group of the domain that still has room: the newest one of it, if any. */
static struct tx_group *group_for(struct transaction *tx, struct span domain)
{
    uint64_t hash = hash64(domain.ptr, domain.len);
    for (size_t i = tx->n_groups; i-- > 0;) {
        struct tx_group *g = &tx->groups[i];
        if (g->domain_hash != hash || !span_eq(span_str(g->submission->domain), domain))
            continue;
        if (g->submission->n_recipients < INBOUND_RECIPIENTS_OF_SUBMISSION)
            return g;
        break;
    }
    return add_group(tx, domain, hash);
}

static void group_add(struct arena *a, struct tx_group *g, Remuda__Recipient *rcpt)
{
    Remuda__Submission *sub = g->submission;
    if (sub->n_recipients == g->cap) {
        size_t cap = g->cap ? g->cap * 4 : 2;
        Remuda__Recipient **grown = arena_alloc(a, cap * sizeof(Remuda__Recipient *));
        if (sub->n_recipients)
            memcpy(grown, sub->recipients, sub->n_recipients * sizeof(Remuda__Recipient *));
        sub->recipients = grown;
        g->cap = cap;
    }
    sub->recipients[sub->n_recipients++] = rcpt;
}

bool inbound_tx_add(struct transaction *tx, const struct smtp_rcpt *rcpt, struct span address,
                    struct span domain)
{
    uint64_t hash = hash64(address.ptr, address.len);
    if (recipient_known(tx, hash, address))
        return true;
    size_t bytes = address.len + rcpt->orcpt.len + RECIPIENT_OVERHEAD;
    if (tx->envelope_bytes + bytes + domain.len + GROUP_OVERHEAD > INBOUND_ENVELOPE_BYTES)
        return false;
    struct arena *a = &tx->message->arena;
    Remuda__Recipient *r = arena_alloc(a, sizeof(*r));
    remuda__recipient__init(r);
    r->address = arena_dup_span(a, address);
    r->notify = rcpt->notify;
    if (rcpt->orcpt.len)
        r->orcpt = arena_dup_span(a, rcpt->orcpt);
    group_add(a, group_for(tx, domain), r);
    remember_hash(tx, hash);
    tx->n_recipients++;
    tx->envelope_bytes += bytes;
    message_count(tx->message);
    return true;
}

/* ---- lanes --------------------------------------------------------------------------------------- */

bool inbound_tx_place(struct inbound *s, struct transaction *tx)
{
    if (tx->partition >= 0)
        return true;
    struct arena *a = &tx->message->arena;
    Remuda__Record *r = tx->message->record;
    int first = -1;
    r->table_version = s->env->table_version(s->arg);
    for (size_t i = 0; i < tx->n_groups; i++) {
        Remuda__Submission *sub = tx->groups[i].submission;
        int p = tx->feedback ? s->env->place_feedback(s->arg, a, tx->feedback->tenant,
                                                      &tx->feedback->token.claims, sub)
                             : s->env->place(s->arg, a, s->tenant, span_str(tx->sender_domain), sub);
        if (p < 0)
            return false;
        if (i == 0)
            first = p;
    }
    r->n_submissions = tx->n_groups;
    r->submissions = arena_alloc(a, tx->n_groups * sizeof(Remuda__Submission *));
    for (size_t i = 0; i < tx->n_groups; i++)
        r->submissions[i] = tx->groups[i].submission;
    tx->partition = first;
    return true;
}
