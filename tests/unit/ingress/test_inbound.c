/* The session's verbs, states, limits and time, seen from outside: bytes in, replies out. */
#include "tests/unit/ingress/harness.h"

#define ENVELOPE "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
#define MAIL_OK  "250 2.1.0 Ok\r\n"
#define RCPT_OK  "250 2.1.5 Ok\r\n"
#define GO_AHEAD "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED   "250 2.0.0 queued as ID\r\n"
#define OK       "250 2.0.0 Ok\r\n"

static void test_greeting_and_ehlo(void **state)
{
    (void)state;
    struct harness *h = h_open(h_new());
    h_expect(h, "220 relay.example ESMTP Remuda\r\n");
    h_talk(h, "EHLO client.example\r\n",
           "250-relay.example\r\n250-PIPELINING\r\n250-SIZE 10485760\r\n250-STARTTLS\r\n250-8BITMIME\r\n"
           "250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n");
    h_talk(h, "HELO client.example\r\n", "250 relay.example\r\n");
    h_talk(h, "QUIT\r\n", "221 2.0.0 Bye\r\n");
    assert_true(h->closed);
    h_free(h);
}

static void test_one_message(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE "DATA\r\n", MAIL_OK RCPT_OK GO_AHEAD);
    h_talk(h, "Subject: x\r\nMessage-ID: <1@b>\r\nDate: now\r\n\r\n..dot\r\n.\r\n", QUEUED);
    struct message *m = h_record(h);
    const Remuda__Record *r = m->record;
    assert_string_equal(r->tenant, "acme");
    assert_string_equal(r->sender, "a@b.example");
    assert_int_equal(r->n_submissions, 1);
    assert_string_equal(r->submissions[0]->domain, "d.example");
    assert_string_equal(r->submissions[0]->pool, "pool0");
    assert_string_equal(r->submissions[0]->recipients[0]->address, "c@d.example");
    assert_int_equal(r->table_version, 42);
    assert_string_equal(r->acceptance->client_address, "192.0.2.7");
    assert_string_equal(r->acceptance->helo, "client.example");
    assert_string_equal(r->acceptance->header_message_id, "<1@b>");
    static const char text[] = "Subject: x\r\nMessage-ID: <1@b>\r\nDate: now\r\n\r\n.dot\r\n";
    assert_int_equal(m->body->len, sizeof(text) - 1);
    assert_memory_equal(m->body->data, text, sizeof(text) - 1);
    assert_int_equal(r->body_bytes, sizeof(text) - 1);
    assert_int_equal(memcmp(r->prefix.data, "Received: from client.example", 29), 0);
    assert_null(memmem(r->prefix.data, r->prefix.len, "Message-ID", 10));
    assert_int_equal(h->accepted, 1);
    assert_int_equal(h->returned, 0);
    message_unref(m);
    h_free(h);
}

static bool prefix_has(const Remuda__Record *r, const char *what)
{
    return memmem(r->prefix.data, r->prefix.len, what, strlen(what)) != NULL;
}

static void test_missing_fields_are_added(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_send(h, ENVELOPE "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n");
    struct message *m = h_record(h);
    assert_true(prefix_has(m->record, "\r\nMessage-ID: <"));
    assert_true(prefix_has(m->record, "@relay.example>\r\n"));
    assert_true(prefix_has(m->record, "\r\nDate: "));
    message_unref(m);
    /* A text without any header section gets an end of ours. */
    h_send(h, ENVELOPE "DATA\r\nhello there\r\n.\r\n");
    m = h_record(h);
    assert_int_equal(memcmp(m->record->prefix.data + m->record->prefix.len - 4, "\r\n\r\n", 4), 0);
    message_unref(m);
    h_free(h);
}

static void test_recipients_are_grouped(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_send(h, "MAIL FROM:<>\r\n");
    for (int i = 0; i < 150; i++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "RCPT TO:<u%d@GMail.com>\r\nRCPT TO:<u@d%d.example>\r\n", i,
                       i % 3);
        h_send(h, line);
    }
    h_send(h, "DATA\r\nA: b\r\n\r\n.\r\n");
    struct message *m = h_record(h);
    const Remuda__Record *r = m->record;
    assert_int_equal(r->n_submissions, 5);
    assert_string_equal(r->submissions[0]->domain, "gmail.com");
    assert_string_equal(r->submissions[0]->provider, "gmail");
    assert_int_equal(r->submissions[0]->n_recipients, 100);
    assert_int_equal(r->submissions[4]->n_recipients, 50);
    assert_int_equal(r->submissions[1]->n_recipients, 1); /* repeated ones are taken once */
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(r->submissions[i]->index, i);
    assert_int_equal(h->appends[0].partition, strlen("gmail.com") % 8);
    assert_int_equal(h->last_accepted.recipients, 153);
    message_unref(m);
    h_free(h);
}

static void test_envelope_options(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, "MAIL FROM:<a@b.example> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By\r\n", MAIL_OK);
    h_talk(h, "RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;e@f\r\n", RCPT_OK);
    h_talk(h, "DATA\r\nA: b\r\n\r\n.\r\n", GO_AHEAD QUEUED);
    struct message *m = h_record(h);
    const Remuda__Record *r = m->record;
    assert_true(r->smtputf8 && !r->eight_bit); /* what it is counts, not what was said */
    assert_int_equal(r->ret, REMUDA__DSN_RET__RET_HDRS);
    assert_string_equal(r->envid, "x+y");
    assert_int_equal(r->submissions[0]->recipients[0]->notify, 2 | 8);
    assert_string_equal(r->submissions[0]->recipients[0]->orcpt, "rfc822;e@f");
    message_unref(m);
    h_talk(h, "MAIL FROM:<a@b.example> FROB=1\r\n",
           "555 5.5.4 Parameter not recognized or not supported\r\n");
    h_free(h);
}

static void test_sequence(void **state)
{
    (void)state;
    struct harness *h = h_open(h_new());
    (void)h_take(h);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "503 5.5.1 Nested MAIL command, or no EHLO yet\r\n");
    h_send(h, "EHLO x\r\n");
    (void)h_take(h);
    h_talk(h, "RCPT TO:<c@d.example>\r\n", "503 5.5.1 Need MAIL before RCPT\r\n");
    h_talk(h, "DATA\r\n", "503 5.5.1 Need MAIL and RCPT first\r\n");
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", MAIL_OK);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "503 5.5.1 Nested MAIL command, or no EHLO yet\r\n");
    h_talk(h, "DATA\r\n", "554 5.5.1 No valid recipients\r\n");
    h_talk(h, "RSET\r\n", OK);
    h_talk(h, "RCPT TO:<c@d.example>\r\n", "503 5.5.1 Need MAIL before RCPT\r\n");
    h_talk(h, ENVELOPE, MAIL_OK RCPT_OK);
    h_talk(h, "HELO again\r\n", "250 relay.example\r\n"); /* RFC 5321 4.1.4: as RSET */
    h_talk(h, "DATA\r\n", "503 5.5.1 Need MAIL and RCPT first\r\n");
    h_talk(h, "NOOP\r\nVRFY joe\r\nEXPN list\r\nFROB\r\n",
           OK "252 2.1.5 Cannot verify, but will take mail and try\r\n"
              "502 5.5.1 EXPN is not implemented\r\n500 5.5.2 Command not recognised\r\n");
    assert_int_equal(h->taken, h->returned);
    h_free(h);
}

static void test_lines(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, "NOOP\nNOOP\r\n", "500 5.5.2 Lines must end in CR LF\r\n" OK);
    h_talk(h, "NO\rOP\r\n", "500 5.5.2 Command not recognised\r\n");
    h_send_span(h, SPAN_LIT("NOOP\0x\r\n"));
    h_expect(h, "500 5.5.2 Command not recognised\r\n");
    struct buf line = BUF_INIT;
    buf_add_str(&line, "NOOP ");
    while (line.len < INBOUND_LINE_MOST - 2)
        buf_add_char(&line, 'x');
    buf_add_str(&line, "\r\n");
    h_talk(h, buf_cstr(&line), OK);
    buf_clear(&line);
    while (line.len < 5000)
        buf_add_char(&line, 'x');
    buf_add_str(&line, "\r\nNOOP\r\n");
    h_talk(h, buf_cstr(&line), "500 5.5.2 Line too long\r\n" OK);
    buf_fini(&line);
    h_free(h);
}

static void test_counts(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->listener.errors = 3;
    h_hello(h);
    h_talk(h, "X\r\nX\r\nX\r\nNOOP\r\n",
           "500 5.5.2 Command not recognised\r\n500 5.5.2 Command not recognised\r\n"
           "500 5.5.2 Command not recognised\r\n421 4.7.0 Too many errors\r\n");
    assert_true(h->closed);
    h_free(h);
    h = h_new();
    h->listener.errors = 3; /* counted anew behind an accepted message */
    h_hello(h);
    for (int i = 0; i < 4; i++)
        h_talk(h, "X\r\nX\r\n" ENVELOPE "DATA\r\n.\r\n",
               "500 5.5.2 Command not recognised\r\n500 5.5.2 Command not recognised\r\n" MAIL_OK RCPT_OK
                   GO_AHEAD QUEUED);
    h_free(h);
    h = h_new();
    h->listener.junk = 3; /* with the EHLO */
    h_hello(h);
    h_talk(h, "NOOP\r\nNOOP\r\nNOOP\r\n", OK OK OK "421 4.7.0 Too many commands that do nothing\r\n");
    h_free(h);
    h = h_new();
    h->listener.commands = 2;
    h_hello(h);
    h_talk(h, "NOOP\r\nNOOP\r\n", OK OK "421 4.7.0 Too many commands\r\n");
    h_free(h);
}

/* A client that pipelines has sent the rest before it reads that MAIL was put off: no errors of its own. */
static void test_what_follows_a_put_off_mail(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->listener.errors = 3;
    h_hello(h);
    h->admission = ADMIT_NO_MEMORY;
    h_talk(h, ENVELOPE "RCPT TO:<e@d.example>\r\nRCPT TO:<f@d.example>\r\nDATA\r\nBDAT 2 LAST\r\nhi",
           "452 4.3.1 Too busy: try again later\r\n503 5.5.1 Need MAIL before RCPT\r\n"
           "503 5.5.1 Need MAIL before RCPT\r\n503 5.5.1 Need MAIL before RCPT\r\n"
           "503 5.5.1 Need MAIL and RCPT first\r\n503 5.5.1 Need MAIL and RCPT first\r\n");
    h->admission = ADMIT_OK;
    h_talk(h, ENVELOPE "DATA\r\n.\r\n", MAIL_OK RCPT_OK GO_AHEAD QUEUED);
    h_talk(h, ENVELOPE, MAIL_OK RCPT_OK);
    h->admission = ADMIT_NO_MEMORY;
    h_talk(h, "BDAT 2\r\nhiBDAT 2\r\nhiBDAT 2\r\nhiBDAT 2 LAST\r\nhi",
           "452 4.3.1 Too busy: try again later\r\n503 5.5.1 Need MAIL and RCPT first\r\n"
           "503 5.5.1 Need MAIL and RCPT first\r\n503 5.5.1 Need MAIL and RCPT first\r\n");
    /* Behind any other command they are: the client has read on. */
    h_talk(h, "RSET\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<c@d.example>\r\n",
           OK "503 5.5.1 Need MAIL before RCPT\r\n503 5.5.1 Need MAIL before RCPT\r\n"
              "503 5.5.1 Need MAIL before RCPT\r\n421 4.7.0 Too many errors\r\n");
    h_free(h);
}

static void test_limits(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->tenants[0].limits.recipients = 2;
    h->tenants[0].limits.bytes = 100;
    h->quota_left = 2;
    h_hello(h);
    h_talk(h, "MAIL FROM:<a@b.example> SIZE=101\r\n", "552 5.3.4 Limit size (100 bytes) exceeded\r\n");
    h_talk(h, "MAIL FROM:<a@b.example> SIZE=100\r\n", MAIL_OK);
    h_talk(h, "RCPT TO:<a@d.example>\r\nRCPT TO:<b@d.example>\r\nRCPT TO:<c@d.example>\r\n",
           RCPT_OK RCPT_OK "452 4.5.3 Limit recipients (2) of tenant acme for one message reached\r\n");
    h_talk(h, "DATA\r\n", GO_AHEAD);
    for (int i = 0; i < 4; i++)
        h_send(h, "0123456789012345678901234567\r\n");
    h_talk(h, ".\r\n", "552 5.3.4 Limit size (100 bytes) exceeded: the message has 120\r\n");
    assert_int_equal(h->n_appends, 0);
    assert_int_equal(h->quota_left, 2);
    h_talk(h, ENVELOPE "DATA\r\n.\r\n" ENVELOPE "DATA\r\n.\r\n",
           MAIL_OK RCPT_OK GO_AHEAD QUEUED MAIL_OK RCPT_OK GO_AHEAD QUEUED);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n",
           "451 4.7.1 Limit per_minute (7) of tenant acme reached; try again in 23 s\r\n");
    h_free(h);
}

/* The limits are looked up in the log: what is pipelined behind MAIL waits, and is answered in its order. */
static void test_limits_known_later(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->quota_later = true;
    h_hello(h);
    h_talk(h, ENVELOPE "DATA\r\n", "");
    assert_true(h->quota_waits && inbound_waiting(h->session));
    assert_true(h_quota_answer(h));
    h_run(h);
    h_expect(h, MAIL_OK RCPT_OK GO_AHEAD);
    h_talk(h, ".\r\n", QUEUED);
    assert_int_equal(h->returned, 0);

    h->quota_left = 0;
    h_talk(h, ENVELOPE "DATA\r\n", "");
    assert_true(h_quota_answer(h));
    h_run(h);
    h_expect(h, "451 4.7.1 Limit per_minute (7) of tenant acme reached; try again in 23 s\r\n"
                "503 5.5.1 Need MAIL before RCPT\r\n503 5.5.1 Need MAIL and RCPT first\r\n");
    h_talk(h, "RSET\r\nNOOP\r\n", OK OK);

    h->quota_unknown = true;
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "");
    assert_true(h_quota_answer(h));
    h_expect(h, "451 4.3.0 The limits of this tenant cannot be looked up: try again later\r\n");
    assert_int_equal(h->returned, 0);
    h_free(h);
}

/* An answer that comes too late is nobody's. */
static void test_limits_known_too_late(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->quota_later = true;
    h_hello(h);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "");
    h_advance_ms(h, 30000);
    h_expect(h, "421 4.4.2 Timed out\r\n");
    assert_true(h->closed);
    assert_false(h_quota_answer(h));
    assert_int_equal(h->returned, 0);
    h_free(h);
}

static void test_who_may_send(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->network_tenant = -1;
    h->starttls = false;
    h->listener.auth = false;
    h_hello(h);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "550 5.7.1 Your address belongs to no tenant of this relay\r\n");
    h_free(h);
    h = h_new();
    h->network_tenant = 1; /* only joe.example, no null sender */
    h_hello(h);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n",
           "550 5.7.1 Sender's domain is not among those of this tenant\r\n");
    h_talk(h, "MAIL FROM:<>\r\n", "550 5.7.1 This tenant may not send with the null sender\r\n");
    h_talk(h, "MAIL FROM:<a@JOE.example>\r\n", MAIL_OK);
    h_talk(h, "RCPT TO:<postmaster>\r\n", RCPT_OK);
    h_talk(h, "DATA\r\n.\r\n", GO_AHEAD QUEUED);
    struct message *m = h_record(h);
    assert_string_equal(m->record->submissions[0]->recipients[0]->address, "postmaster@relay.example");
    message_unref(m);
    h_free(h);
    h = h_new();
    h->tenant_full = true;
    h->tenants[0].limits.connections = 5;
    h_open(h);
    h_expect(h, "421 4.7.0 Limit connections (5) of tenant acme reached; close one and try again\r\n");
    assert_true(h->closed);
    h_free(h);
}

static void test_space_and_log_trouble(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h->admission = ADMIT_NO_DISK;
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "452 4.3.1 Insufficient storage: try again later\r\n");
    h->admission = ADMIT_NO_MEMORY;
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "452 4.3.1 Too busy: try again later\r\n");
    h->admission = ADMIT_OK;
    h_talk(h, ENVELOPE, MAIL_OK RCPT_OK);
    h->admission = ADMIT_NO_MEMORY;
    h_talk(h, "DATA\r\n", "452 4.3.1 Too busy: try again later\r\n");
    h_talk(h, "BDAT 6 LAST\r\nA: b\r\n", "452 4.3.1 Too busy: try again later\r\n");
    h->admission = ADMIT_OK;
    h->append_status = RM_EIO;
    h_talk(h, ENVELOPE "DATA\r\n.\r\n",
           MAIL_OK RCPT_OK GO_AHEAD "451 4.3.0 The message could not be stored: try again later\r\n");
    h->append_status = RM_EFULL;
    h_talk(h, ENVELOPE "DATA\r\n.\r\n",
           MAIL_OK RCPT_OK GO_AHEAD "452 4.3.1 Insufficient storage: try again later\r\n");
    h->append_status = RM_OK;
    h->no_lane = true;
    h_talk(h, ENVELOPE "DATA\r\n.\r\n",
           MAIL_OK RCPT_OK GO_AHEAD "451 4.3.0 No route for this message: try again later\r\n");
    h->no_lane = false;
    h_talk(h, ENVELOPE "DATA\r\n.\r\n", MAIL_OK RCPT_OK GO_AHEAD QUEUED);
    assert_int_equal(h->accepted, 1);
    assert_int_equal(h->taken - h->returned, 1);
    h_free(h);
}

static void test_log_silent(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h->hold_appends = true;
    h_talk(h, ENVELOPE "DATA\r\n.\r\nNOOP\r\n", MAIL_OK RCPT_OK GO_AHEAD);
    assert_true(inbound_waiting(h->session));
    h_advance_ms(h, INBOUND_APPEND_MS - 1);
    h_expect(h, "");
    h_advance_ms(h, 1);
    h_expect(h, "451 4.3.0 The message could not be stored: try again later\r\n" OK);
    h->hold_appends = false;
    h_run(h); /* the answer that comes now is nobody's */
    h_expect(h, "");
    h_talk(h, ENVELOPE "DATA\r\n.\r\n", MAIL_OK RCPT_OK GO_AHEAD QUEUED);
    h_free(h);
}

static void test_times(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_advance_ms(h, 299999);
    h_expect(h, "");
    h_talk(h, "NOOP\r\n", OK);
    h_advance_ms(h, 300000);
    h_expect(h, "421 4.4.2 Idle for too long\r\n");
    assert_true(h->closed);
    h_free(h);
    h = h_hello(h_new());
    h_send(h, ENVELOPE "DATA\r\n");
    (void)h_take(h);
    for (int i = 0; i < 14; i++) {
        h_send(h, "line\r\n");
        h_advance_ms(h, 100000);
    }
    h_expect(h, "");
    h_advance_ms(h, 100000);
    h_expect(h, "421 4.4.2 The message took too long\r\n");
    assert_int_equal(h->taken, h->returned);
    h_free(h);
    h = h_new();
    h->listener.session_ms = 1000;
    h_hello(h);
    h_advance_ms(h, 1000);
    h_expect(h, "421 4.4.2 The session took too long\r\n");
    h_free(h);
}

static void test_drain(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    inbound_drain(h->session);
    h_expect(h, "421 4.3.2 Service is stopping; try again\r\n");
    assert_true(h->closed);
    h_free(h);
    h = h_hello(h_new());
    h_send(h, ENVELOPE);
    inbound_drain(h->session);
    h_talk(h, "DATA\r\n.\r\nNOOP\r\n",
           MAIL_OK RCPT_OK GO_AHEAD QUEUED "421 4.3.2 Service is stopping; try again\r\n");
    assert_true(h->closed);
    h_free(h);
}

static void test_starttls(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->listener.require_tls = true;
    h_hello(h);
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "530 5.7.0 Must issue a STARTTLS command first\r\n");
    h_talk(h, "BDAT 5 LAST\r\nQUIT\r", "530 5.7.0 Must issue a STARTTLS command first\r\n");
    /* what follows STARTTLS in the clear is not ours to read */
    h_talk(h, "STARTTLS\r\nRSET\r\n", "220 2.0.0 Ready to start TLS\r\n");
    h_talk(h, "MAIL FROM:<a@b.example>\r\n", "503 5.5.1 Nested MAIL command, or no EHLO yet\r\n");
    h_talk(h, "EHLO x\r\n",
           "250-relay.example\r\n250-PIPELINING\r\n250-SIZE 10485760\r\n250-AUTH PLAIN LOGIN\r\n"
           "250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"
           "250 CHUNKING\r\n");
    h_talk(h, "STARTTLS\r\n", "503 5.5.1 TLS is active already\r\n");
    h_talk(h, ENVELOPE "DATA\r\n.\r\n", MAIL_OK RCPT_OK GO_AHEAD QUEUED);
    struct message *m = h_record(h);
    assert_string_equal(m->record->acceptance->tls, "TLSv1.3 TLS_AES_256_GCM_SHA384");
    message_unref(m);
    h_free(h);
    h = h_new();
    h->starttls = false;
    h_hello(h);
    h_talk(h, "STARTTLS\r\n", "502 5.5.1 STARTTLS is not offered here\r\n");
    h_free(h);
}

static void test_loop(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->settings.hops = 2;
    h_hello(h);
    h_talk(h, ENVELOPE "DATA\r\nReceived: a\r\nReceived: b\r\n\r\n.\r\n", MAIL_OK RCPT_OK GO_AHEAD QUEUED);
    h_talk(h, ENVELOPE "DATA\r\nReceived: a\r\nReceived: b\r\nReceived: c\r\n\r\n.\r\n",
           MAIL_OK RCPT_OK GO_AHEAD "554 5.4.6 Mail loop: too many hops\r\n");
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting_and_ehlo),
        cmocka_unit_test(test_one_message),
        cmocka_unit_test(test_missing_fields_are_added),
        cmocka_unit_test(test_recipients_are_grouped),
        cmocka_unit_test(test_envelope_options),
        cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_what_follows_a_put_off_mail),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limits_known_later),
        cmocka_unit_test(test_limits_known_too_late),
        cmocka_unit_test(test_who_may_send),
        cmocka_unit_test(test_space_and_log_trouble),
        cmocka_unit_test(test_log_silent),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
