/* Mail for the bounce domain: who may send it, what of it is kept, what it becomes; and suppressed
 * recipients. */
#include "tests/unit/ingress/harness.h"

#include "relay/feedback/return_path.h"

static const uint8_t keys[1][MAC_KEY_BYTES] = {{7}};

static void talk(struct harness *h, const char *line, const char *begin)
{
    h_send(h, line);
    const char *got = h_take(h);
    if (strncmp(got, begin, strlen(begin)) != 0)
        fail_msg("to %.60s: \"%s\" instead of \"%s\"", line, got, begin);
}

static struct harness *open_for(int network_tenant, bool feedback)
{
    struct harness *h = h_new();
    h->settings.feedback = (struct settings_feedback){.domain = "bounces.example",
                                                      .address = "fbl@bounces.example",
                                                      .keys = {keys, 1},
                                                      .lifetime_ms = 10ull * 24 * 3600 * 1000};
    h->tenants[0].verp = true;
    h->listener.feedback = feedback;
    h->network_tenant = network_tenant;
    return h_hello(h);
}

/* A return path made so long ago. */
static const char *path_of(struct harness *h, uint64_t age_ms, char out[200])
{
    struct arena a = ARENA_INIT;
    struct msgid id = msgid_make(h->wall_ms - age_ms);
    struct return_path p = {.tenant = &h->tenants[0],
                            .source = "s1",
                            .provider = "gmail",
                            .message = id.bytes,
                            .submission = {.partition = 1, .offset = 77, .index = 2},
                            .now_ms = h->wall_ms - age_ms};
    const char *made = return_path_make(&h->settings, &p, &a);
    assert_non_null(made);
    snprintf(out, 200, "%s", made);
    arena_fini(&a);
    return out;
}

static void rcpt(struct harness *h, const char *address, const char *answer)
{
    char line[400];
    snprintf(line, sizeof(line), "RCPT TO:<%s>\r\n", address);
    talk(h, line, answer);
}

static void strangers(void **state)
{
    (void)state;
    char path[200];
    struct harness *h = open_for(-1, true);
    talk(h, "MAIL FROM:<>\r\n", "250 2.1.0");
    rcpt(h, "a@b.example", "530 5.7.0");
    rcpt(h, "nobody@bounces.example", "550 5.1.1");
    rcpt(h, path_of(h, 11ull * 24 * 3600 * 1000, path), "550 5.7.1");
    (void)path_of(h, 1000, path);
    path[5] ^= 1;
    rcpt(h, path, "550 5.1.1");
    rcpt(h, path_of(h, 9ull * 24 * 3600 * 1000, path), "250 2.1.5");
    rcpt(h, path_of(h, 1000, path), "452 4.5.3");
    rcpt(h, "a@b.example", "452 4.5.3");
    talk(h, "DATA\r\n", "354");
    talk(h, "Subject: failed\r\n\r\nno\r\n.\r\n", "250 2.0.0");
    struct message *m = h_record(h);
    const Remuda__Record *r = m->record;
    assert_int_equal(h->n_appends, 1);
    assert_int_equal(r->kind, REMUDA__RECORD_KIND__RECORD_FEEDBACK);
    assert_string_equal(r->tenant, "acme");
    assert_string_equal(r->sender, "");
    assert_int_equal(r->n_submissions, 1);
    assert_string_equal(r->submissions[0]->domain, "bounces.example");
    message_unref(m);
    assert_int_equal(h->accepted, 0); /* it is no mail of a tenant */
    assert_int_equal(h->refused[REASON_FEEDBACK], 3);
    h_free(h);
}

static void closed_elsewhere(void **state)
{
    (void)state;
    struct harness *h = open_for(-1, false);
    talk(h, "MAIL FROM:<>\r\n", "530 5.7.0");
    h_free(h);
}

/* A tenant's own bounces come over any listener; its other mail is as ever. */
static void tenants(void **state)
{
    (void)state;
    char path[200];
    struct harness *h = open_for(0, false);
    talk(h, "MAIL FROM:<>\r\n", "250");
    rcpt(h, path_of(h, 1000, path), "250");
    talk(h, "RSET\r\n", "250");
    talk(h, "MAIL FROM:<a@x.example>\r\n", "250");
    rcpt(h, "a@b.example", "250");
    rcpt(h, path, "452 4.5.3");
    rcpt(h, "suppressed@b.example", "550 5.7.1");
    rcpt(h, "c@b.example", "250");
    h_free(h);
}

static void complaints(void **state)
{
    (void)state;
    char path[200], text[600];
    struct harness *h = open_for(-1, true);
    talk(h, "MAIL FROM:<staff@far.example>\r\n", "250");
    rcpt(h, "FBL@Bounces.example", "250");
    talk(h, "DATA\r\n", "354");
    talk(h, "Subject: spam\r\n\r\nReturn-Path: <x@bounces.example>\r\n.\r\n", "550 5.7.1");
    talk(h, "MAIL FROM:<staff@far.example>\r\n", "250");
    rcpt(h, "fbl@bounces.example", "250");
    talk(h, "DATA\r\n", "354");
    snprintf(text, sizeof(text), "Subject: spam\r\n\r\n@bounces.example Return-Path: <%s>\r\n.\r\n",
             path_of(h, 1000, path));
    talk(h, text, "250");
    struct message *m = h_record(h);
    assert_string_equal(m->record->submissions[0]->recipients[0]->address, path);
    message_unref(m);
    h_free(h);
}

/* Long ones are cut at a line's end; a slow sender's do not go ahead in chunks. */
static void bounded(void **state)
{
    (void)state;
    char path[200];
    struct harness *h = open_for(-1, true);
    talk(h, "MAIL FROM:<>\r\n", "250");
    rcpt(h, path_of(h, 1000, path), "250");
    talk(h, "DATA\r\n", "354");
    for (int i = 0; i < 40; i++) {
        struct buf piece = BUF_INIT;
        for (int k = 0; k < 1000; k++)
            buf_add_str(&piece, "0123456789012345678901\r\n");
        h_advance_ms(h, 1000);
        h_send(h, buf_cstr(&piece));
        buf_fini(&piece);
    }
    talk(h, ".\r\n", "250");
    struct message *m = h_record(h);
    const Remuda__Record *r = m->record;
    const struct blob *body = m->body;
    assert_int_equal(h->n_appends, 1);
    assert_int_equal(r->n_chunks, 0);
    assert_int_equal(r->body_bytes, body->len);
    assert_true(body->len <= INBOUND_FEEDBACK_BYTES + 64 * 1024 && body->len > INBOUND_FEEDBACK_BYTES / 2);
    assert_memory_equal(body->data + body->len - 2, "\r\n", 2);
    message_unref(m);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers),  cmocka_unit_test(closed_elsewhere), cmocka_unit_test(tenants),
        cmocka_unit_test(complaints), cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
