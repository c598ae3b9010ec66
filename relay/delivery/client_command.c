/*
 * What an attempt says: its row of commands with their parameters (RFC 5321 4.1.1, 1870, 3461, 6152, 6531),
 * and whether it can be said to this host at all. When, and what the answers mean, is client_attempt.c's.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/smtp/address.h"
#include "lib/smtp/command.h"
#include "lib/smtp/xtext.h"
#include "relay/delivery/client_private.h"

/* ---- the row of commands: [RSET] MAIL RCPT... DATA message ---- */

uint32_t client_row_length(const struct turn *t)
{
    return t->rset + 1 + t->attempt->n_recipients + 2;
}

enum position client_position(const struct turn *t, uint32_t at)
{
    if (at < (uint32_t)t->rset)
        return AT_RSET;
    at -= t->rset;
    if (at == 0)
        return AT_MAIL;
    if (at <= t->attempt->n_recipients)
        return AT_RCPT;
    return at == t->attempt->n_recipients + 1 ? AT_DATA : AT_MESSAGE;
}

uint32_t client_recipient(const struct turn *t, uint32_t at)
{
    return at - t->rset - 1;
}

/* ---- sending ---- */

static void add_dsn_mail(const Remuda__Record *r, struct buf *b)
{
    if (r->ret == REMUDA__DSN_RET__RET_FULL)
        buf_add_str(b, " RET=FULL");
    else if (r->ret == REMUDA__DSN_RET__RET_HDRS)
        buf_add_str(b, " RET=HDRS");
    if (r->envid[0]) {
        buf_add_str(b, " ENVID=");
        smtp_xtext_encode(b, span_str(r->envid));
    }
}

/* Only its domain is not ASCII: the submission has that as A-labels, which are the same to the receiver. */
static bool domain_alone(const Remuda__Recipient *to)
{
    const char *at = strrchr(to->address, '@');
    return at && smtp_is_ascii(span_of(to->address, (size_t)(at - to->address)));
}

/* Many clients always say SMTPUTF8: what is all ASCII goes to any host (RFC 6531 3.2 asks for no more), and
 * so does, with a_labels, what is so but for recipients' domains. Octets over 127 in the body may stand in
 * its header. */
static bool needs_smtputf8(const struct attempt *a, bool a_labels)
{
    const Remuda__Record *r = a->message->record;
    if (!r->smtputf8)
        return false;
    bool ascii = !r->eight_bit && smtp_is_ascii(span_str(a->sender)) &&
                 smtp_is_ascii(span_of((const char *)r->prefix.data, r->prefix.len));
    for (uint32_t i = 0; ascii && i < a->n_recipients; i++) {
        const Remuda__Recipient *to = a->submission->recipients[a->recipients[i]];
        ascii = (smtp_is_ascii(span_str(to->address)) || (a_labels && domain_alone(to))) &&
                smtp_is_ascii(span_str(to->orcpt));
    }
    return !ascii;
}

static void add_address(const struct client *c, const struct attempt *a, const Remuda__Recipient *to,
                        struct buf *b)
{
    bool as_is = c->offers.extensions & SMTP_EXT_SMTPUTF8 || smtp_is_ascii(span_str(to->address));
    const char *at = as_is ? NULL : strrchr(to->address, '@');
    buf_add(b, to->address, at ? (size_t)(at - to->address) + 1 : strlen(to->address));
    if (at)
        buf_add_str(b, a->submission->domain);
}

static void add_mail(const struct client *c, const struct attempt *a, struct buf *b)
{
    const Remuda__Record *r = a->message->record;
    unsigned offers = c->offers.extensions;
    buf_add_str(b, "MAIL FROM:<");
    buf_add_str(b, a->sender);
    buf_add_char(b, '>');
    if (offers & SMTP_EXT_SIZE) {
        char size[40];
        int n = snprintf(size, sizeof(size), " SIZE=%" PRIu64, (uint64_t)r->prefix.len + r->body_bytes);
        buf_add(b, size, (size_t)n);
    }
    if (offers & SMTP_EXT_8BITMIME && r->eight_bit)
        buf_add_str(b, " BODY=8BITMIME");
    if (offers & SMTP_EXT_SMTPUTF8 && needs_smtputf8(a, false))
        buf_add_str(b, " SMTPUTF8");
    if (offers & SMTP_EXT_DSN)
        add_dsn_mail(r, b);
    buf_add_str(b, "\r\n");
}

static void add_notify(unsigned notify, struct buf *b)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {{SMTP_NOTIFY_NEVER, "NEVER"},
                 {SMTP_NOTIFY_SUCCESS, "SUCCESS"},
                 {SMTP_NOTIFY_FAILURE, "FAILURE"},
                 {SMTP_NOTIFY_DELAY, "DELAY"}};
    const char *before = " NOTIFY=";
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!(notify & words[i].bit))
            continue;
        buf_add_str(b, before);
        buf_add_str(b, words[i].word);
        before = ",";
    }
}

static void add_rcpt(const struct client *c, const struct attempt *a, uint32_t i, struct buf *b)
{
    const Remuda__Recipient *r = a->submission->recipients[a->recipients[i]];
    buf_add_str(b, "RCPT TO:<");
    add_address(c, a, r, b);
    buf_add_char(b, '>');
    if (c->offers.extensions & SMTP_EXT_DSN) {
        add_notify(r->notify, b);
        if (r->orcpt[0]) {
            buf_add_str(b, " ORCPT=");
            buf_add_str(b, r->orcpt);
        }
    }
    buf_add_str(b, "\r\n");
}

static void add_command(const struct client *c, const struct turn *t, uint32_t at, struct buf *b)
{
    switch (client_position(t, at)) {
    case AT_RSET:
        buf_add_str(b, "RSET\r\n");
        break;
    case AT_MAIL:
        add_mail(c, t->attempt, b);
        break;
    case AT_RCPT:
        add_rcpt(c, t->attempt, client_recipient(t, at), b);
        break;
    case AT_DATA:
        buf_add_str(b, "DATA\r\n");
        break;
    case AT_MESSAGE:
        break;
    }
}

/* Sends commands up to DATA: all of them when the host pipelines, else the next one. */
void client_send_commands(struct client *c, struct turn *t)
{
    uint32_t end = client_row_length(t) - 1;
    if (!(c->offers.extensions & SMTP_EXT_PIPELINING) && t->answered + 1 < end)
        end = t->answered + 1;
    if (t->sent >= end)
        return;
    struct buf b = BUF_INIT;
    buf_reserve(&b, 512);
    while (t->sent < end)
        add_command(c, t, t->sent++, &b);
    client_say(c, buf_span(&b));
    buf_fini(&b);
}

/* ---- what the host must offer ---- */

enum attempt_lacks client_lacks(const struct client *c, const struct attempt *a)
{
    const Remuda__Record *r = a->message->record;
    unsigned offers = c->offers.extensions;
    if (r->eight_bit && !(offers & SMTP_EXT_8BITMIME))
        return LACKS_8BITMIME;
    if (!(offers & SMTP_EXT_SMTPUTF8) && needs_smtputf8(a, true))
        return LACKS_SMTPUTF8;
    if (c->offers.size_most && r->prefix.len + r->body_bytes > c->offers.size_most)
        return LACKS_SIZE;
    return LACKS_NOTHING;
}

/* An address with a line end in it would be another command. Ingress lets none in: the record is damaged. */
bool client_speakable(const struct attempt *a)
{
    static const char line_ends[] = "\r\n";
    if (strpbrk(a->sender, line_ends))
        return false;
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        const Remuda__Recipient *r = a->submission->recipients[a->recipients[i]];
        if (strpbrk(r->address, line_ends) || strpbrk(r->orcpt, line_ends))
            return false;
    }
    return true;
}
