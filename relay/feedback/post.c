/* From a text and an address to a record in the partition of its lane. */
#include "relay/feedback/post.h"

#include "lib/base/crashpoint.h"
#include "lib/smtp/address.h"
#include "lib/smtp/command.h"
#include "relay/classify.h"

static Remuda__RecordKind record_kind(Remuda__TransferKind kind)
{
    return kind == REMUDA__TRANSFER_KIND__TRANSFER_DELAY_NOTICE ? REMUDA__RECORD_KIND__RECORD_DELAY_NOTICE
                                                                : REMUDA__RECORD_KIND__RECORD_BOUNCE;
}

static bool domain_of(const char *address, char domain[SMTP_DOMAIN_BUF])
{
    struct smtp_address a;
    return address[0] && smtp_address_parse(span_str(address), SMTP_ADDRESS_UTF8, &a) == SMTP_ADDRESS_OK &&
           a.domain.len && smtp_domain_ascii(a.domain, domain) == RM_OK;
}

/* The tenant's first pool, or when the tenant is gone the one that carried the original. */
static int pool_of(const struct post *p)
{
    const struct settings *s = p->shard->settings;
    for (int i = 0; i < s->n_tenants; i++)
        if (strcmp(s->tenants[i].name, p->tenant) == 0 && s->tenants[i].n_pools)
            return s->tenants[i].pools[0];
    return router_pool_find(&s->router, span_str(p->pool));
}

static Remuda__Submission *make_submission(const struct post *p, struct arena *a, const char *domain,
                                           int pool)
{
    const struct settings *settings = p->shard->settings;
    Remuda__Submission *s = arena_alloc(a, sizeof(*s));
    remuda__submission__init(s);
    s->domain = arena_strdup(a, domain);
    s->pool = arena_strdup(a, settings->router.pools[pool].name);
    int provider = classify_now(p->shard, span_str(domain));
    s->provider = arena_strdup(a, settings->router.providers[provider].name);
    s->shard = lanes_pool_shard(&settings->router, pool, span_str(NULL), span_str(domain));
    Remuda__Recipient *to = arena_alloc(a, sizeof(*to));
    remuda__recipient__init(to);
    to->address = arena_strdup(a, p->to);
    to->notify = SMTP_NOTIFY_NEVER;
    s->recipients = arena_alloc(a, sizeof(Remuda__Recipient *));
    s->recipients[0] = to;
    s->n_recipients = 1;
    return s;
}

static Remuda__Transfer *make_key(const struct post *p, struct arena *a)
{
    Remuda__Transfer *key = arena_alloc(a, sizeof(*key));
    remuda__transfer__init(key);
    key->offset = p->cause.offset;
    key->kind = p->kind;
    key->indexes = arena_alloc(a, sizeof(uint32_t));
    key->indexes[0] = p->cause.index;
    key->n_indexes = 1;
    key->epoch = partition_epoch(p->partition);
    partition_number_report(p->partition, p->bound, key);
    return key;
}

static void fill_record(const struct post *p, struct arena *a, Remuda__Record *record)
{
    record->id.data = arena_alloc(a, MSGID_BYTES);
    record->id.len = MSGID_BYTES;
    memcpy(record->id.data, p->id->bytes, MSGID_BYTES);
    record->kind = record_kind(p->kind);
    record->tenant = arena_strdup(a, p->tenant);
    record->accepted_ms = p->now_ms;
    record->prefix.len = p->prefix.len;
    record->prefix.data = (uint8_t *)arena_dup_span(a, p->prefix);
    record->body_bytes = p->body->len;
    record->eight_bit = p->eight_bit;
    record->smtputf8 = p->smtputf8;
    record->table_version = lanes_version(p->shard->node->lanes);
    record->transfer = make_key(p, a);
}

/* The lane's partition, -1: there is none. */
static int prepare(const struct post *p, struct message *m)
{
    char domain[SMTP_DOMAIN_BUF];
    Remuda__Record *record = m->record;
    int pool = domain_of(p->to, domain) ? pool_of(p) : -1;
    if (pool < 0)
        return -1;
    record->submissions = arena_alloc(&m->arena, sizeof(Remuda__Submission *));
    record->submissions[0] = make_submission(p, &m->arena, domain, pool);
    record->n_submissions = 1;
    const Remuda__Submission *s = record->submissions[0];
    return lanes_partition(p->shard->node->lanes, s->pool, s->provider, s->shard);
}

bool post_can(const struct post *p)
{
    struct message *m = message_new();
    bool can = prepare(p, m) >= 0;
    message_unref(m);
    return can;
}

bool post_send(const struct post *p)
{
    struct message *m = message_new();
    struct buf head = BUF_INIT;
    int target = prepare(p, m);
    if (target >= 0) {
        fill_record(p, &m->arena, m->record);
        mail_frame_record(&head, m->record);
        m->body = p->body;
        partition_append(p->partition, (uint32_t)target, buf_span(&head), m->body, m);
        CRASH_POINT(BOUNCE_GATHERED);
    } else {
        blob_unref(p->body);
    }
    message_unref(m);
    buf_fini(&head);
    return target >= 0;
}
