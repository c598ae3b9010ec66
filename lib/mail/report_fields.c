/* Reports whose parts are fields: RFC 3464 (and 6533) delivery status, RFC 5965 feedback. */
#include <strings.h>

#include "lib/mail/header.h"
#include "lib/mail/report_private.h"
#include "lib/smtp/xtext.h"

/* ---- delivery status ----------------------------------------------------------------------------- */

/* "type; value" taken apart; a field without its type is all value. */
static struct span value_of(struct span field, struct span *type)
{
    struct span rest = field.ptr ? field : span_of("", 0);
    struct span first = span_cut(&rest, ';');
    *type = rest.ptr ? span_trim(first) : span_of("", 0);
    return span_trim(rest.ptr ? rest : first);
}

static const char *address_of(struct arena *a, struct span field, bool encoded)
{
    struct span type, plain, value = value_of(field, &type);
    struct span mailbox = report_mailbox(value);
    if (!mailbox.len)
        return "";
    if (encoded && smtp_xtext_decode(a, mailbox, &plain) == RM_OK && report_mailbox(plain).len == plain.len)
        mailbox = plain;
    return arena_dup_span(a, mailbox);
}

static bool action_of(struct span word, enum mail_report_action *out)
{
    static const struct {
        const char *word;
        enum mail_report_action action;
    } words[] = {{"failed", MAIL_REPORT_FAILED},
                 {"delayed", MAIL_REPORT_DELAYED},
                 {"delivered", MAIL_REPORT_DELIVERED},
                 {"relayed", MAIL_REPORT_DELIVERED},
                 {"expanded", MAIL_REPORT_DELIVERED}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (span_istarts(word, span_str(words[i].word))) {
            *out = words[i].action;
            return true;
        }
    return false;
}

static enum mail_report_action action_by_status(struct smtp_enhanced e)
{
    return e.class == 2 ? MAIL_REPORT_DELIVERED : e.class == 4 ? MAIL_REPORT_DELAYED : MAIL_REPORT_FAILED;
}

struct group {
    struct span final, original, action, status, diagnostic, envid;
};

static void note(struct group *g, const struct mail_field *f)
{
    static const struct {
        const char *name;
        size_t at;
    } fields[] = {{"Final-Recipient", offsetof(struct group, final)},
                  {"Original-Recipient", offsetof(struct group, original)},
                  {"Action", offsetof(struct group, action)},
                  {"Status", offsetof(struct group, status)},
                  {"Diagnostic-Code", offsetof(struct group, diagnostic)},
                  {"Original-Envelope-Id", offsetof(struct group, envid)}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        struct span *slot = (struct span *)(void *)((char *)g + fields[i].at);
        if (!slot->ptr && span_ieq(f->name, span_str(fields[i].name)))
            *slot = f->value;
    }
}

/* The status of the report, unless the reply that it quotes says it more exactly. */
static void settle_status(struct mail_report_recipient *r, struct span status)
{
    struct smtp_enhanced e = {0};
    size_t n = 0;
    while (n < status.len && status.ptr[n] != ' ' && status.ptr[n] != '(' && status.ptr[n] != '\r')
        n++;
    bool said = smtp_enhanced_parse(span_of(status.ptr, n), &e) > 0;
    if (said && (!r->status.class || (e.subject != 0 && r->status.subject == 0)))
        r->status = e;
}

static void take_group(struct arena *a, const struct group *g, struct mail_report *r)
{
    if (g->envid.ptr && !r->envid[0])
        r->envid = report_text(a, g->envid);
    if (!g->final.ptr && !g->original.ptr && !g->action.ptr && !g->status.ptr)
        return;
    struct mail_report_recipient *to = report_add(a, r);
    if (!to)
        return;
    struct span type, diagnostic = value_of(g->diagnostic, &type);
    to->address = address_of(a, g->final, false);
    to->original = address_of(a, g->original, true);
    report_take_reply(a, diagnostic, to);
    settle_status(to, g->status);
    if (!action_of(g->action, &to->action))
        to->action = action_by_status(to->status);
}

/* Groups of fields with blank lines between them; the first is about the message. */
void report_read_status(struct arena *a, struct span body, struct mail_report *r)
{
    struct span rest = body;
    while (rest.len) {
        struct mail_header_iter it;
        struct mail_field f;
        struct group g = {0};
        mail_header_begin(&it, rest);
        while (mail_header_next(&it, &f))
            note(&g, &f);
        take_group(a, &g, r);
        rest = it.rest;
        if (rest.len) /* a blank line, or one that is no field */
            (void)span_cut(&rest, '\n');
    }
    if (r->n_recipients) {
        r->kind = MAIL_REPORT_DELIVERY;
        r->form = "rfc3464";
    }
}

/* ---- feedback ------------------------------------------------------------------------------------ */

static bool is_complaint(struct span type)
{
    static const char *const types[] = {"abuse",        "fraud",     "virus", "opt-out",
                                        "opt-out-list", "complaint", "other", NULL};
    for (const char *const *t = types; *t; t++)
        if (span_ieq(type, span_str(*t)))
            return true;
    return false;
}

static void add_complainer(struct arena *a, struct span value, struct mail_report *r)
{
    struct span address = report_mailbox(value);
    for (size_t i = 0; i < r->n_recipients; i++)
        if (span_ieq(span_str(r->recipients[i].address), address))
            return;
    struct mail_report_recipient *to = address.len ? report_add(a, r) : NULL;
    if (to)
        to->address = arena_dup_span(a, address);
}

void report_read_feedback(struct arena *a, struct span body, struct mail_report *r)
{
    struct mail_header_iter it;
    struct mail_field f;
    mail_header_begin(&it, body);
    while (mail_header_next(&it, &f)) {
        if (span_ieq(f.name, SPAN_LIT("Feedback-Type"))) {
            char *type = report_text(a, f.value);
            for (char *c = type; *c; c++)
                *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 'a' - 'A' : *c);
            r->feedback_type = type;
        } else if (span_ieq(f.name, SPAN_LIT("Original-Rcpt-To")) ||
                   span_ieq(f.name, SPAN_LIT("Removal-Recipient"))) {
            add_complainer(a, f.value, r);
        } else if (span_ieq(f.name, SPAN_LIT("Original-Envelope-Id"))) {
            r->envid = report_text(a, f.value);
        }
    }
    r->kind = is_complaint(span_str(r->feedback_type)) ? MAIL_REPORT_COMPLAINT : MAIL_REPORT_AUTOMATIC;
    r->form = "arf";
}
