/*
 * MAIL FROM and RCPT TO: the path and the ESMTP parameters, each parameter a row of a table. What the values
 * mean for a message (size limits, whether DSN is kept) is decided by the server.
 */
#include "lib/smtp/command.h"
#include "lib/smtp/command_private.h"
#include "lib/smtp/xtext.h"

enum { ENVID_MOST = 100, ORCPT_MOST = 500, AUTH_MOST = 500, SIZE_DIGITS = 20 };

struct parse {
    struct arena *arena;
    unsigned flags;
    struct smtp_mail *mail; /* or */
    struct smtp_rcpt *rcpt;
};

struct param {
    const char *name;
    bool value;     /* takes "=value" */
    unsigned needs; /* bits of enum smtp_parse_flags without which it is unknown */
    enum smtp_fault (*take)(struct parse *p, struct span value);
};

static enum smtp_fault take_size(struct parse *p, struct span value)
{
    p->mail->has_size = true;
    return value.len <= SIZE_DIGITS && span_u64(value, &p->mail->size) ? SMTP_FAULT_NONE
                                                                       : SMTP_FAULT_PARAM_SYNTAX;
}

static enum smtp_fault take_body(struct parse *p, struct span value)
{
    if (span_ieq(value, SPAN_LIT("7BIT"))) {
        p->mail->body = SMTP_BODY_7BIT;
    } else if (span_ieq(value, SPAN_LIT("8BITMIME"))) {
        p->mail->body = SMTP_BODY_8BITMIME;
    } else if (span_ieq(value, SPAN_LIT("BINARYMIME")) && (p->flags & SMTP_PARSE_BINARYMIME) != 0) {
        p->mail->body = SMTP_BODY_BINARYMIME;
    } else {
        return SMTP_FAULT_PARAM_SYNTAX;
    }
    return SMTP_FAULT_NONE;
}

static enum smtp_fault take_smtputf8(struct parse *p, struct span value)
{
    (void)value;
    p->mail->smtputf8 = true;
    return SMTP_FAULT_NONE;
}

static enum smtp_fault take_requiretls(struct parse *p, struct span value)
{
    (void)value;
    p->mail->requiretls = true;
    return SMTP_FAULT_NONE;
}

static enum smtp_fault take_ret(struct parse *p, struct span value)
{
    if (span_ieq(value, SPAN_LIT("FULL"))) {
        p->mail->ret = SMTP_RET_FULL;
    } else if (span_ieq(value, SPAN_LIT("HDRS"))) {
        p->mail->ret = SMTP_RET_HDRS;
    } else {
        return SMTP_FAULT_PARAM_SYNTAX;
    }
    return SMTP_FAULT_NONE;
}

/* Decoded values end in header fields of reports, so only printable ASCII may come out. */
static bool printable(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < ' ' || s.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum smtp_fault take_envid(struct parse *p, struct span value)
{
    p->mail->has_envid = true;
    if (value.len == 0 || value.len > ENVID_MOST ||
        smtp_xtext_decode(p->arena, value, &p->mail->envid) != RM_OK || !printable(p->mail->envid)) {
        return SMTP_FAULT_PARAM_SYNTAX;
    }
    return SMTP_FAULT_NONE;
}

static enum smtp_fault take_auth(struct parse *p, struct span value)
{
    p->mail->has_auth = true;
    if (value.len == 0 || value.len > AUTH_MOST ||
        smtp_xtext_decode(p->arena, value, &p->mail->auth) != RM_OK || !printable(p->mail->auth)) {
        return SMTP_FAULT_PARAM_SYNTAX;
    }
    if (span_eq(p->mail->auth, SPAN_LIT("<>"))) {
        p->mail->auth.len = 0;
    }
    return SMTP_FAULT_NONE;
}

static enum smtp_fault take_notify(struct parse *p, struct span value)
{
    while (value.ptr != NULL) {
        struct span word = span_cut(&value, ',');
        if (span_ieq(word, SPAN_LIT("NEVER"))) {
            p->rcpt->notify |= SMTP_NOTIFY_NEVER;
        } else if (span_ieq(word, SPAN_LIT("SUCCESS"))) {
            p->rcpt->notify |= SMTP_NOTIFY_SUCCESS;
        } else if (span_ieq(word, SPAN_LIT("FAILURE"))) {
            p->rcpt->notify |= SMTP_NOTIFY_FAILURE;
        } else if (span_ieq(word, SPAN_LIT("DELAY"))) {
            p->rcpt->notify |= SMTP_NOTIFY_DELAY;
        } else {
            return SMTP_FAULT_PARAM_SYNTAX;
        }
    }
    bool never = (p->rcpt->notify & SMTP_NOTIFY_NEVER) != 0;
    return never && p->rcpt->notify != SMTP_NOTIFY_NEVER ? SMTP_FAULT_PARAM_SYNTAX : SMTP_FAULT_NONE;
}

static enum smtp_fault take_orcpt(struct parse *p, struct span value)
{
    struct span type, address;
    if (value.len > ORCPT_MOST || smtp_orcpt_split(value, &type, &address) != RM_OK ||
        (!smtp_is_ascii(value) && (p->flags & SMTP_PARSE_UTF8) == 0)) {
        return SMTP_FAULT_PARAM_SYNTAX;
    }
    p->rcpt->orcpt = value;
    return SMTP_FAULT_NONE;
}

static const struct param mail_params[] = {
    {"SIZE", true, 0, take_size},
    {"BODY", true, 0, take_body},
    {"SMTPUTF8", false, 0, take_smtputf8},
    {"RET", true, 0, take_ret},
    {"ENVID", true, 0, take_envid},
    {"AUTH", true, 0, take_auth},
    {"REQUIRETLS", false, SMTP_PARSE_REQUIRETLS, take_requiretls},
    {NULL, false, 0, NULL},
};

static const struct param rcpt_params[] = {
    {"NOTIFY", true, 0, take_notify},
    {"ORCPT", true, 0, take_orcpt},
    {NULL, false, 0, NULL},
};

/* One "KEYWORD[=value]". seen has a bit for each row met before. */
static enum smtp_fault take_param(struct parse *p, const struct param *table, struct span word,
                                  unsigned *seen)
{
    const char *equals = memchr(word.ptr, '=', word.len);
    struct span name = span_of(word.ptr, equals ? (size_t)(equals - word.ptr) : word.len);
    for (unsigned i = 0; table[i].name != NULL; i++) {
        if (!span_ieq(name, span_str(table[i].name))) {
            continue;
        }
        if ((p->flags & table[i].needs) != table[i].needs) {
            return SMTP_FAULT_PARAM_UNKNOWN;
        }
        if ((*seen & 1u << i) != 0) {
            return SMTP_FAULT_PARAM_DUPLICATE;
        }
        *seen |= 1u << i;
        if (table[i].value != (equals != NULL)) {
            return SMTP_FAULT_PARAM_SYNTAX;
        }
        size_t skip = equals ? name.len + 1 : name.len;
        return table[i].take(p, span_of(word.ptr + skip, word.len - skip));
    }
    return SMTP_FAULT_PARAM_UNKNOWN;
}

static enum smtp_fault take_params(struct parse *p, const struct param *table, struct span rest)
{
    unsigned seen = 0;
    enum smtp_fault fault = SMTP_FAULT_NONE;
    if (rest.len > 0 && (p->flags & SMTP_PARSE_ROUTE_ONLY) != 0) {
        return SMTP_FAULT_PARAM_UNKNOWN;
    }
    while (rest.len > 0 && fault == SMTP_FAULT_NONE) {
        fault = take_param(p, table, smtp_word_take(&rest), &seen);
    }
    return fault;
}

/* Where the ">" of the path at s stands, quoted strings stepped over; s.len when there is none. */
static size_t path_end(struct span s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        if (quoted && s.ptr[i] == '\\') {
            i++;
        } else if (s.ptr[i] == '"') {
            quoted = !quoted;
        } else if (s.ptr[i] == '>' && !quoted) {
            return i;
        }
    }
    return s.len;
}

/* RFC 5321 4.1.1.3, appendix C: "@a,@b:" in front of a mailbox is accepted and ignored. False when malformed.
 */
static bool strip_route(struct span *path)
{
    if (path->len == 0 || path->ptr[0] != '@') {
        return true;
    }
    struct span mailbox = *path;
    struct span route = span_cut(&mailbox, ':');
    if (mailbox.ptr == NULL || mailbox.len == 0) {
        return false;
    }
    while (route.ptr != NULL) {
        char domain[SMTP_DOMAIN_BUF];
        struct span hop = span_cut(&route, ',');
        if (hop.len < 2 || hop.ptr[0] != '@' ||
            smtp_domain_ascii(span_of(hop.ptr + 1, hop.len - 1), domain) != RM_OK) {
            return false;
        }
    }
    *path = mailbox;
    return true;
}

/* Cuts "FROM:<path>" off *rest. False when there is no well-formed frame around a path. */
static bool take_path(struct span *rest, struct span keyword, unsigned flags, struct span *path)
{
    if (!span_istarts(*rest, keyword)) {
        return false;
    }
    struct span s = span_trim(span_of(rest->ptr + keyword.len, rest->len - keyword.len));
    if (s.len == 0) {
        return false;
    }
    if (s.ptr[0] != '<') {
        *rest = s;
        *path = smtp_word_take(rest);
        return (flags & SMTP_PARSE_STRICT) == 0;
    }
    s = span_of(s.ptr + 1, s.len - 1);
    size_t end = path_end(s);
    if (end == s.len) {
        return false;
    }
    *path = span_of(s.ptr, end);
    *rest = span_of(s.ptr + end + 1, s.len - end - 1);
    if (rest->len > 0 && rest->ptr[0] != ' ' && rest->ptr[0] != '\t') {
        return false;
    }
    *rest = span_trim(*rest);
    return strip_route(path);
}

enum smtp_fault smtp_mail_parse(struct arena *a, struct span args, unsigned flags, struct smtp_mail *out)
{
    *out = (struct smtp_mail){0};
    struct parse p = {.arena = a, .flags = flags, .mail = out};
    struct span rest = args;
    if (!span_istarts(args, SPAN_LIT("FROM:"))) {
        return SMTP_FAULT_SYNTAX;
    }
    if (!take_path(&rest, SPAN_LIT("FROM:"), flags, &out->path)) {
        return SMTP_FAULT_SENDER;
    }
    enum smtp_fault fault = take_params(&p, mail_params, rest);
    if (fault != SMTP_FAULT_NONE || out->path.len == 0) {
        return fault;
    }
    unsigned how = out->smtputf8 ? SMTP_ADDRESS_UTF8 : 0;
    enum smtp_address_status status = smtp_address_parse(out->path, how, &out->address);
    if (status == SMTP_ADDRESS_NEEDS_UTF8) {
        return SMTP_FAULT_SENDER_UTF8;
    }
    return status == SMTP_ADDRESS_OK ? SMTP_FAULT_NONE : SMTP_FAULT_SENDER;
}

enum smtp_fault smtp_rcpt_parse(struct span args, unsigned flags, struct smtp_rcpt *out)
{
    *out = (struct smtp_rcpt){0};
    struct parse p = {.flags = flags, .rcpt = out};
    struct span rest = args;
    if (!span_istarts(args, SPAN_LIT("TO:"))) {
        return SMTP_FAULT_SYNTAX;
    }
    if (!take_path(&rest, SPAN_LIT("TO:"), flags, &out->path)) {
        return SMTP_FAULT_RECIPIENT;
    }
    unsigned how = SMTP_ADDRESS_POSTMASTER | ((flags & SMTP_PARSE_UTF8) != 0 ? SMTP_ADDRESS_UTF8 : 0);
    enum smtp_address_status status = smtp_address_parse(out->path, how, &out->address);
    if (status == SMTP_ADDRESS_NEEDS_UTF8) {
        return SMTP_FAULT_RECIPIENT_UTF8;
    }
    return status == SMTP_ADDRESS_OK ? take_params(&p, rcpt_params, rest) : SMTP_FAULT_RECIPIENT;
}
