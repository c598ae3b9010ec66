/* The verbs that ask a relay, against a real admin listener: what a person gets to read. */
#include "tests/unit/api/admin_rig.h"

#include "tests/unit/ctl/said.h"

static int no_relay(const char *path, const char *roles)
{
    (void)roles;
    (void)path;
    return CTL_FAILED;
}

static struct said run(struct admin_rig *r, const char *line)
{
    char words[512];
    snprintf(words, sizeof(words), "%s --admin %s", line, r->address);
    return said_by(words, no_relay);
}

/* Exit code and words of a command line, on either stream. */
static void says(struct admin_rig *r, const char *line, int rc, const char *const *words)
{
    struct said s = run(r, line);
    for (size_t i = 0; words[i]; i++)
        if (!strstr(s.out, words[i]) && !strstr(s.err, words[i]))
            fail_msg("remuda %s does not say \"%s\" but:\n%s%s", line, words[i], s.out, s.err);
    if (s.rc != rc)
        print_message("%s%s", s.out, s.err);
    assert_int_equal(s.rc, rc);
    free(s.out);
    free(s.err);
}
/* The whole of its standard output. */
static void prints(struct admin_rig *r, const char *line, const char *out)
{
    struct said s = run(r, line);
    assert_int_equal(s.rc, CTL_OK);
    assert_string_equal(s.out, out);
    free(s.out);
    free(s.err);
}

#define SAYS(r, line, rc, ...) says(r, line, rc, (const char *const[]){__VA_ARGS__, NULL})

static int setup(void **state)
{
    struct admin_rig *r = calloc(1, sizeof(*r));
    admin_rig_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    admin_rig_close(*state);
    free(*state);
    return 0;
}

/* One message with all that an event can tell. */
static void tell_whole(struct admin_rig *r, const struct msgid *id)
{
    Remuda__Event e = REMUDA__EVENT__INIT, *events[] = {&e};
    Remuda__RecipientOutcome sent = REMUDA__RECIPIENT_OUTCOME__INIT, late = REMUDA__RECIPIENT_OUTCOME__INIT;
    Remuda__RecipientOutcome *outcomes[] = {&sent, &late};
    Remuda__Acceptance a = REMUDA__ACCEPTANCE__INIT;
    Remuda__Phases phases = REMUDA__PHASES__INIT;
    struct msgid copy = *id;
    sent.address = "carol@gmail.com";
    sent.state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    sent.code = 250;
    sent.text = "2.0.0 OK 1700 gsmtp";
    late.address = "dave@gmail.com";
    late.code = 450;
    late.text = "450-4.2.1 busy \x1b[31m\n450 4.2.1 again";
    a.client_address = "198.51.100.7";
    a.helo = "mail.acme.example";
    a.user = "u1";
    phases.connect_us = 12345;
    phases.answer_us = 250000;
    e.type = REMUDA__EVENT_TYPE__EVENT_DEFERRED;
    e.message_id = (ProtobufCBinaryData){MSGID_BYTES, copy.bytes};
    e.time_ms = msgid_ms(id) + 20;
    e.accepted_ms = msgid_ms(id);
    e.tenant = "acme";
    e.sender = "bob@acme.example";
    e.domain = "gmail.com";
    e.recipients = outcomes;
    e.n_recipients = 2;
    e.source = "a1";
    e.source_address = "192.0.2.10";
    e.mx_host = "mx.gmail.com";
    e.mx_address = "203.0.113.5:25";
    e.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384";
    e.acceptance = &a;
    e.phases = &phases;
    e.attempt = 1;
    e.next_due_ms = e.time_ms + 300000;
    e.cause = "receiver";
    e.bytes = 10445;
    event_log_append(&r->events, 0, events, 1);
}

static void a_life_is_readable(void **state)
{
    struct admin_rig *r = *state;
    struct msgid id = msgid_make(1700000000123);
    history_configure(r->node.history, UINT64_C(100) * 365 * 86400000,
                      0); /* an old one is kept, whenever it looks */
    tell_whole(r, &id);
    char text[MSGID_TEXT + 1], line[64];
    snprintf(line, sizeof(line), "trace %s", msgid_text(&id, text));
    SAYS(r, line, CTL_OK, "2023-11-14 22:13:20.123 UTC",
         "198.51.100.7, helo mail.acme.example, user u1, no TLS", "10.2 KB",
         "from a1 192.0.2.10 to mx.gmail.com [203.0.113.5:25], TLSv1.3 TLS_AES_256_GCM_SHA384",
         "connect 12.3 ms, answer 250.0 ms", "carol@gmail.com: delivered\n      250 2.0.0 OK 1700 gsmtp",
         "450-4.2.1 busy \\x1b[31m\n        450 4.2.1 again", "next attempt 2023-11-14 22:18:20.143 UTC",
         "now: 1 delivered, 1 waiting");
    strcat(line, " --json");
    SAYS(r, line, CTL_OK, "\"type\": \"deferred\"");
    SAYS(r, "trace 00000000000000000000000000", CTL_FAILED, "no such message");
    SAYS(r, "search --recipient dave@gmail.com", CTL_OK, text, "bob@acme.example",
         "deferred   dave@gmail.com");
    SAYS(r, "search --recipient dave@gmail.com --since 1d", CTL_OK, "no message found");
}

static void the_queue_is_readable(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "queue", CTL_OK, "nothing waits", "in work now:");
    SAYS(r, "queue --lane shared", CTL_OK, "in work now:");
    prints(r, "queue --lane share", "nothing waits\n");
    prints(r, "queue --domain gmail.com", "nothing waits\n");
    admin_rig_row(r, 0, 1, REMUDA__ROW_STATE__ROW_HELD, "rate", clock_wall_ms() - 7200000);
    admin_rig_row(r, 1, 2, REMUDA__ROW_STATE__ROW_DEFERRED, "receiver", clock_wall_ms());
    SAYS(r, "queue", CTL_OK, "shared/gmail/0  held      rate ", "2 h 0 min", "now");
    SAYS(r, "queue --limit 5 --cause receiver", CTL_OK, "LAST WORDS", "gmail.com",
         "421 4.7.0 try \\xff later");
    SAYS(r, "queue --state asleep", CTL_USAGE,
         "state: expected one of deferred, held, in-hand, transferring, in-doubt");
    SAYS(r, "queue --limit some", CTL_USAGE, "limit: expected a number");
    SAYS(r, "queue --state held --json", CTL_OK, "\"cause\": \"rate\"");
}

static void a_decision_is_readable(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "explain --from a@b.example --to c@gmail.com", CTL_OK,
         "lane shared/gmail/0, partition 1, tenant acme", "held     for rate, for another 1.5 s", "a1",
         "192.0.2.10", "MX hosts mx.gmail.com");
    SAYS(r, "explain --from a@b.example --to c@error.example", CTL_FAILED, "DNS: no answer");
}

static void dead_records_are_readable(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "dead list", CTL_OK, "no dead records");
    struct msgid id = admin_rig_dead(r, 0, clock_wall_ms());
    SAYS(r, "dead list", CTL_OK, "bob@acme.example", "two deaths");
    struct log_reader *reader;
    struct span value;
    uint64_t at = 0;
    assert_int_equal(log_read_begin(r->events.log, &reader), RM_OK);
    assert_true(log_read_next(reader, LOG_DEAD, 0, &at, &value));
    log_read_end(reader);
    char line[64];
    snprintf(line, sizeof(line), "dead show %llu", (unsigned long long)at);
    SAYS(r, line, CTL_OK, "of mail 77 in partition 0", "recipient  carol@gmail.com");
    snprintf(line, sizeof(line), "dead replay %llu", (unsigned long long)at);
    SAYS(r, line, CTL_OK, "appended to partition 0 as mail 1, for 2 recipients\n");
    struct told carol = {.id = id,
                         .type = REMUDA__EVENT_TYPE__EVENT_DELIVERED,
                         .time_ms = clock_wall_ms(),
                         .state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED};
    event_log_tell(&r->events, 0, &carol);
    SAYS(r, line, CTL_OK, "as mail 2, for 1 recipients", "left out: 1 that");
    struct told dave = carol;
    dave.recipient = "dave@gmail.com";
    dave.state = REMUDA__RECIPIENT_STATE__RCPT_BOUNCED;
    event_log_tell(&r->events, 0, &dave);
    SAYS(r, line, CTL_FAILED, "each of its recipients has had its end", "--all");
    strcat(line, " --all");
    SAYS(r, line, CTL_OK, "as mail 3, for 2 recipients");
    SAYS(r, "dead show 999", CTL_FAILED, "no dead record");
}

static void a_dead_record_older_than_the_history_needs_all(void **state)
{
    struct admin_rig *r = *state;
    admin_rig_dead(r, 0, clock_wall_ms() - 8 * 24 * 3600000ull);
    SAYS(r, "dead replay 1", CTL_FAILED, "does not reach back", "--all");
    SAYS(r, "dead replay 1 --all", CTL_OK, "as mail 1, for 2 recipients");
}

static void alive_is_an_exit_code(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "alive", CTL_FAILED, "starting");
    r->node.ready = true;
    SAYS(r, "alive", CTL_OK, "ready");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_life_is_readable),
        CASE(the_queue_is_readable),
        CASE(a_decision_is_readable),
        CASE(dead_records_are_readable),
        CASE(a_dead_record_older_than_the_history_needs_all),
        CASE(alive_is_an_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
