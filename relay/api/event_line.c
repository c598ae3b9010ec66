/* The lines about mail in the program's log. When they are written is the history's business. */
#include "relay/api/event_line.h"

#include <stdio.h>

#include "lib/base/id.h"
#include "relay/api/json.h"

enum { FIELDS_MOST = 20, NAME_ROOM = 32 };

struct line {
    struct log_field fields[FIELDS_MOST];
    size_t n;
    uint64_t accepted_ms;
};

static void add(struct line *l, struct log_field field)
{
    l->fields[l->n++] = field;
}

static void add_text(struct line *l, const char *key, const char *text)
{
    if (text && text[0] != '\0')
        add(l, LF_STR(key, text));
}

static void add_num(struct line *l, const char *key, uint64_t n)
{
    if (n > 0)
        add(l, LF_NUM(key, n));
}

static void begin(struct line *l, const Remuda__Event *e, char id[MSGID_TEXT + 1])
{
    l->n = 0;
    l->accepted_ms = e->accepted_ms;
    if (e->message_id.len == MSGID_BYTES) {
        struct msgid raw;
        memcpy(raw.bytes, e->message_id.data, MSGID_BYTES);
        add(l, LF_STR("id", msgid_text(&raw, id)));
        l->accepted_ms = l->accepted_ms > 0 ? l->accepted_ms : msgid_ms(&raw);
    }
    add_text(l, "tenant", e->tenant);
    if (e->sender)
        add(l, LF_ADDR("from", span_str(e->sender)));
}

static void accepted(struct logger *lg, struct buf *out, const Remuda__Event *e)
{
    struct line l;
    char id[MSGID_TEXT + 1];
    begin(&l, e, id);
    add_text(&l, "client", e->acceptance->client_address);
    add_text(&l, "user", e->acceptance->user);
    add_text(&l, "tls", e->acceptance->tls);
    add_num(&l, "bytes", e->bytes);
    logger_append(lg, out, LOG_INFO, "mail.accepted", l.fields, l.n);
}

static void add_road(struct line *l, const Remuda__Event *e)
{
    add_text(l, "pool", e->pool);
    add_text(l, "provider", e->provider);
    add_text(l, "source", e->source);
    add_text(l, "host", e->mx_host);
    add_text(l, "cause", e->cause);
    add_num(l, "attempt", e->attempt);
    if (e->time_ms >= l->accepted_ms && l->accepted_ms > 0)
        add(l, LF_NUM("delay_ms", e->time_ms - l->accepted_ms));
}

static void outcome(struct logger *lg, struct buf *out, const Remuda__Event *e,
                    const Remuda__RecipientOutcome *o)
{
    struct line l;
    char id[MSGID_TEXT + 1], name[NAME_ROOM];
    bool waits = o->state == REMUDA__RECIPIENT_STATE__RCPT_PENDING;
    snprintf(name, sizeof(name), "mail.%s", json_outcome_word(e, o));
    begin(&l, e, id);
    add(&l, LF_ADDR("to", span_str(o->address)));
    add_road(&l, e);
    add_num(&l, "code", o->code);
    add_text(&l, "enhanced", o->enhanced);
    add_text(&l, "class", o->answer_class);
    add_text(&l, "rule", o->rule);
    if (waits && e->next_due_ms > e->time_ms)
        add_num(&l, "next_in_ms", e->next_due_ms - e->time_ms);
    logger_append(lg, out, LOG_INFO, name, l.fields, l.n);
}

static void whole(struct logger *lg, struct buf *out, const Remuda__Event *e)
{
    struct line l;
    char id[MSGID_TEXT + 1], name[NAME_ROOM];
    snprintf(name, sizeof(name), "mail.%s", json_event_type(e->type));
    begin(&l, e, id);
    add_text(&l, "domain", e->domain);
    add_road(&l, e);
    logger_append(lg, out, LOG_INFO, name, l.fields, l.n);
}

void event_line_append(struct logger *lg, struct buf *out, const Remuda__Event *e)
{
    /* The first event of each submission carries it. */
    if (e->acceptance && (!e->submission || e->submission->index == 0))
        accepted(lg, out, e);
    if (e->type == REMUDA__EVENT_TYPE__EVENT_ACCEPTED || e->type == REMUDA__EVENT_TYPE__EVENT_TENANT)
        return; /* the latter has a line of its own */
    for (size_t i = 0; i < e->n_recipients; i++)
        outcome(lg, out, e, e->recipients[i]);
    if (e->n_recipients == 0)
        whole(lg, out, e);
}
