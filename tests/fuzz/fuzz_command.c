/* Command lines and all their arguments: whatever is accepted may be stored and said again on another line.
 */
#include "lib/smtp/command.h"
#include "lib/smtp/xtext.h"
#include "tests/fuzz/fuzz.h"

static void check_fault(enum smtp_fault fault)
{
    ENSURE(fault >= SMTP_FAULT_NONE && fault < SMTP_FAULT_COUNT);
    ENSURE(fault == SMTP_FAULT_NONE || smtp_fault_reply(fault)->code >= 500);
}

/* A path that was accepted is accepted again as it will be sent to the next host. */
static void check_path(struct span path, bool utf8)
{
    struct arena a = ARENA_INIT;
    struct buf args = BUF_INIT;
    struct smtp_rcpt again;
    ENSURE(path.len <= SMTP_PATH_MOST - 2 && fuzz_printable(path));
    buf_printf(&args, "TO:<%.*s>", SPAN_FMT(path));
    unsigned flags = SMTP_PARSE_STRICT | (utf8 ? SMTP_PARSE_UTF8 : 0);
    ENSURE(smtp_rcpt_parse(buf_span(&args), flags, &again) == SMTP_FAULT_NONE);
    ENSURE(span_eq(again.path, path));
    buf_fini(&args);
    arena_fini(&a);
}

static void try_mail(struct span args, unsigned flags)
{
    struct arena a = ARENA_INIT;
    struct smtp_mail m;
    enum smtp_fault fault = smtp_mail_parse(&a, args, flags, &m);
    check_fault(fault);
    if (fault == SMTP_FAULT_NONE) {
        ENSURE(fuzz_inside(m.path, args));
        ENSURE(m.smtputf8 || smtp_is_ascii(m.path));
        ENSURE(fuzz_printable(m.envid) && smtp_is_ascii(m.envid) && m.envid.len <= 100);
        ENSURE(fuzz_printable(m.auth) && smtp_is_ascii(m.auth));
        ENSURE(!m.requiretls || (flags & SMTP_PARSE_REQUIRETLS) != 0);
        if (m.path.len > 0) {
            check_path(m.path, m.smtputf8);
        }
    }
    arena_fini(&a);
}

static void try_rcpt(struct span args, unsigned flags)
{
    struct smtp_rcpt r;
    enum smtp_fault fault = smtp_rcpt_parse(args, flags, &r);
    check_fault(fault);
    if (fault != SMTP_FAULT_NONE) {
        return;
    }
    ENSURE(fuzz_inside(r.path, args) && fuzz_inside(r.orcpt, args) && r.path.len > 0);
    ENSURE((flags & SMTP_PARSE_UTF8) != 0 || (smtp_is_ascii(r.path) && smtp_is_ascii(r.orcpt)));
    ENSURE(r.notify < 16 && ((r.notify & SMTP_NOTIFY_NEVER) == 0 || r.notify == SMTP_NOTIFY_NEVER));
    check_path(r.path, (flags & SMTP_PARSE_UTF8) != 0);
    struct arena a = ARENA_INIT;
    struct span type, address;
    if (r.orcpt.len > 0 && smtp_orcpt_decode(&a, r.orcpt, &type, &address) == RM_OK) {
        ENSURE(address.len <= r.orcpt.len && address.ptr[address.len] == '\0');
    }
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    unsigned flags = data[0] & 31;
    struct span line = span_of((const char *)data + 1, size - 1), name;
    struct smtp_command c;
    struct smtp_bdat bdat;
    struct smtp_auth auth;
    smtp_command_parse(line, &c);
    ENSURE(c.verb < SMTP_VERB_COUNT && fuzz_inside(c.word, line) && fuzz_inside(c.args, line));
    ENSURE(c.verb == SMTP_VERB_UNKNOWN || span_ieq(c.word, span_str(smtp_verb_name(c.verb))));
    try_mail(c.args, flags);
    try_rcpt(c.args, flags);
    try_mail(line, flags);
    try_rcpt(line, flags);
    check_fault(smtp_bdat_parse(c.args, &bdat));
    check_fault(smtp_auth_parse(c.args, &auth));
    enum smtp_fault fault = smtp_helo_parse(c.args, flags, &name);
    check_fault(fault);
    ENSURE(fault != SMTP_FAULT_NONE || (fuzz_printable(name) && smtp_is_ascii(name) && name.len <= 255));
    return 0;
}
