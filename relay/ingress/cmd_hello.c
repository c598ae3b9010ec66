/* The verbs that carry no mail: HELO, EHLO, STARTTLS, RSET, NOOP, VRFY, EXPN, HELP, QUIT. */
#include "relay/ingress/inbound_private.h"

enum { TLS_WAIT_MS = 60 * 1000 };

enum cmd_result cmd_helo(struct inbound *s, struct span args)
{
    struct span name;
    enum smtp_fault fault = smtp_helo_parse(args, 0, &name);
    if (fault)
        return inbound_refuse_fault(s, REASON_SYNTAX, fault);
    inbound_set_helo(s, name);
    s->esmtp = false;
    (void)inbound_reply(s, 250, SMTP_ENHANCED_NONE, s->listener->hostname);
    inbound_reset(s);
    return CMD_DONE;
}

/* RFC 5321 4.1.1.1; each extension's own RFC for its line. */
static void write_extensions(struct inbound *s, struct buf *out)
{
    buf_add_str(out, "\r\n250-PIPELINING\r\n250-SIZE ");
    buf_printf(out, "%llu", (unsigned long long)inbound_size_most(s));
    if (s->tls_available && !s->tls_version)
        buf_add_str(out, "\r\n250-STARTTLS");
    if (cmd_auth_offered(s))
        buf_add_str(out, "\r\n250-AUTH PLAIN LOGIN");
    buf_add_str(out, "\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES"
                     "\r\n250 CHUNKING\r\n");
}

enum cmd_result cmd_ehlo(struct inbound *s, struct span args)
{
    struct span name;
    enum smtp_fault fault = smtp_helo_parse(args, 0, &name);
    if (fault)
        return inbound_refuse_fault(s, REASON_SYNTAX, fault);
    inbound_set_helo(s, name);
    s->esmtp = true;
    struct buf *out = s->env->scratch(s->arg);
    buf_clear(out);
    buf_add_str(out, "250-");
    buf_add_str(out, s->listener->hostname);
    write_extensions(s, out);
    (void)inbound_reply_raw(s, buf_span(out));
    inbound_reset(s);
    return CMD_DONE;
}

enum cmd_result cmd_starttls(struct inbound *s, struct span args)
{
    (void)args;
    if (s->tls_version)
        return inbound_refuse(s, REASON_SEQUENCE, 503, SMTP_ENHANCED(5, 5, 1), "TLS is active already");
    if (!s->tls_available)
        return inbound_refuse(s, REASON_SEQUENCE, 502, SMTP_ENHANCED(5, 5, 1),
                              "STARTTLS is not offered here");
    (void)inbound_reply(s, 220, SMTP_ENHANCED(2, 0, 0), "Ready to start TLS");
    inbound_wait(s, WAIT_TLS, TLS_WAIT_MS);
    s->env->start_tls(s->arg);
    return s->wait == WAIT_NONE ? CMD_DONE : CMD_PENDING;
}

enum cmd_result cmd_rset(struct inbound *s, struct span args)
{
    (void)args;
    (void)inbound_reply_raw(s, SPAN_LIT("250 2.0.0 Ok\r\n"));
    inbound_reset(s);
    return CMD_DONE;
}

enum cmd_result cmd_noop(struct inbound *s, struct span args)
{
    (void)args;
    return inbound_reply_raw(s, SPAN_LIT("250 2.0.0 Ok\r\n"));
}

/* RFC 5321 3.5.3: neither confirms nor denies, so that nobody can harvest addresses. */
enum cmd_result cmd_vrfy(struct inbound *s, struct span args)
{
    if (!args.len)
        return inbound_refuse_fault(s, REASON_SYNTAX, SMTP_FAULT_SYNTAX);
    return inbound_reply(s, 252, SMTP_ENHANCED(2, 1, 5), "Cannot verify, but will take mail and try");
}

enum cmd_result cmd_expn(struct inbound *s, struct span args)
{
    (void)args;
    return inbound_refuse(s, REASON_SYNTAX, 502, SMTP_ENHANCED(5, 5, 1), "EXPN is not implemented");
}

enum cmd_result cmd_help(struct inbound *s, struct span args)
{
    (void)args;
    return inbound_reply(s, 214, SMTP_ENHANCED(2, 0, 0),
                         "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\n"
                         "A relay for outbound mail, RFC 5321");
}

enum cmd_result cmd_quit(struct inbound *s, struct span args)
{
    (void)args;
    (void)inbound_reply_raw(s, SPAN_LIT("221 2.0.0 Bye\r\n"));
    inbound_close(s);
    return CMD_DONE;
}
