/*
 * Verbs, and the arguments that are no paths. MAIL and RCPT are in params.c; in which state a verb is allowed
 * is known by the server.
 */
#include "lib/smtp/command.h"

#include "lib/smtp/command_private.h"

static const struct {
    const char *name;
    uint8_t len;
} verbs[SMTP_VERB_COUNT] = {
    [SMTP_VERB_UNKNOWN] = {"UNKNOWN", 0}, [SMTP_VERB_HELO] = {"HELO", 4},
    [SMTP_VERB_EHLO] = {"EHLO", 4},       [SMTP_VERB_MAIL] = {"MAIL", 4},
    [SMTP_VERB_RCPT] = {"RCPT", 4},       [SMTP_VERB_DATA] = {"DATA", 4},
    [SMTP_VERB_BDAT] = {"BDAT", 4},       [SMTP_VERB_RSET] = {"RSET", 4},
    [SMTP_VERB_NOOP] = {"NOOP", 4},       [SMTP_VERB_VRFY] = {"VRFY", 4},
    [SMTP_VERB_EXPN] = {"EXPN", 4},       [SMTP_VERB_HELP] = {"HELP", 4},
    [SMTP_VERB_QUIT] = {"QUIT", 4},       [SMTP_VERB_STARTTLS] = {"STARTTLS", 8},
    [SMTP_VERB_AUTH] = {"AUTH", 4},
};

const char *smtp_verb_name(enum smtp_verb verb)
{
    return verbs[verb < SMTP_VERB_COUNT ? verb : SMTP_VERB_UNKNOWN].name;
}

struct span smtp_word_take(struct span *rest)
{
    *rest = span_trim(*rest);
    if (rest->len == 0) {
        return *rest;
    }
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t') {
        n++;
    }
    struct span word = span_of(rest->ptr, n);
    *rest = span_trim(span_of(rest->ptr + n, rest->len - n));
    return word;
}

static bool has_line_octets(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\0' || s.ptr[i] == '\r' || s.ptr[i] == '\n') {
            return true;
        }
    }
    return false;
}

void smtp_command_parse(struct span line, struct smtp_command *out)
{
    *out = (struct smtp_command){.verb = SMTP_VERB_UNKNOWN};
    if (line.len == 0) {
        return;
    }
    out->args = line;
    out->word = smtp_word_take(&out->args);
    if (has_line_octets(line)) {
        return;
    }
    for (int v = SMTP_VERB_UNKNOWN + 1; v < SMTP_VERB_COUNT; v++) {
        if (span_ieq(out->word, span_of(verbs[v].name, verbs[v].len))) {
            out->verb = (enum smtp_verb)v;
            return;
        }
    }
}

enum smtp_fault smtp_bdat_parse(struct span args, struct smtp_bdat *out)
{
    *out = (struct smtp_bdat){0};
    struct span rest = args;
    struct span size = smtp_word_take(&rest);
    if (!span_u64(size, &out->size)) {
        return SMTP_FAULT_BDAT;
    }
    struct span last = smtp_word_take(&rest);
    out->last = span_ieq(last, SPAN_LIT("LAST"));
    return rest.len > 0 || (last.len > 0 && !out->last) ? SMTP_FAULT_BDAT : SMTP_FAULT_NONE;
}

static bool helo_strict_ok(struct span name)
{
    char domain[SMTP_DOMAIN_BUF];
    return name.ptr[name.len - 1] != '.' && smtp_domain_ascii(name, domain) == RM_OK;
}

enum smtp_fault smtp_helo_parse(struct span args, unsigned flags, struct span *name)
{
    *name = span_trim(args);
    if (name->len == 0 || name->len > SMTP_DOMAIN_MOST) {
        return SMTP_FAULT_HELO_NAME;
    }
    for (size_t i = 0; i < name->len; i++) {
        if (name->ptr[i] <= ' ' || name->ptr[i] >= 0x7f) {
            return SMTP_FAULT_HELO_NAME;
        }
    }
    bool bad = (flags & SMTP_PARSE_STRICT) != 0 && !helo_strict_ok(*name);
    return bad ? SMTP_FAULT_HELO_NAME : SMTP_FAULT_NONE;
}

enum smtp_fault smtp_auth_parse(struct span args, struct smtp_auth *out)
{
    *out = (struct smtp_auth){0};
    struct span rest = args;
    out->mechanism = smtp_word_take(&rest);
    if (out->mechanism.len == 0 || out->mechanism.len > 20) {
        return SMTP_FAULT_SYNTAX;
    }
    struct span initial = smtp_word_take(&rest);
    if (rest.len > 0) {
        return SMTP_FAULT_SYNTAX;
    }
    out->has_initial = initial.len > 0;
    out->initial = span_eq(initial, SPAN_LIT("=")) ? (struct span){initial.ptr, 0} : initial;
    return SMTP_FAULT_NONE;
}
