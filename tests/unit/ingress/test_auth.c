/* AUTH PLAIN and LOGIN, their failures and delays; passwords and their cache. */
#include <crypt.h>

#include "relay/ingress/password.h"
#include "tests/unit/ingress/harness.h"

#define GOOD    "AGpvZQBzZWNyZXQ=" /* NUL joe NUL secret */
#define WRONG   "AGpvZQB3cm9uZw==" /* NUL joe NUL wrong */
#define WELCOME "235 2.7.0 Authentication successful\r\n"
#define INVALID "535 5.7.8 Authentication credentials invalid\r\n"

static struct harness *open_auth(void)
{
    struct harness *h = h_new();
    h->listener.auth_without_tls = true;
    h->network_tenant = -1;
    return h_hello(h);
}

static void test_plain(void **state)
{
    (void)state;
    struct harness *h = open_auth();
    h_talk(h, "MAIL FROM:<a@joe.example>\r\n", "530 5.7.0 Authentication required\r\n");
    h_talk(h, "AUTH PLAIN " GOOD "\r\n", WELCOME);
    assert_int_equal(inbound_tenant(h->session), 1);
    h_talk(h, "AUTH PLAIN " GOOD "\r\n", "503 5.5.1 Authenticated already\r\n");
    h_send(h, "MAIL FROM:<a@joe.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\n");
    struct message *m = h_record(h);
    assert_string_equal(m->record->tenant, "joes");
    assert_string_equal(m->record->acceptance->user, "joe");
    assert_non_null(memmem(m->record->prefix.data, m->record->prefix.len, "ESMTPA", 6));
    message_unref(m);
    h_free(h);
    h = open_auth();
    h_talk(h, "AUTH PLAIN\r\n", "334 \r\n");
    h_talk(h, GOOD "\r\n", WELCOME);
    h_free(h);
}

static void test_login(void **state)
{
    (void)state;
    struct harness *h = open_auth();
    h_talk(h, "AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n");
    h_talk(h, "am9l\r\n", "334 UGFzc3dvcmQ6\r\n");
    h_talk(h, "c2VjcmV0\r\n", WELCOME);
    h_free(h);
    h = open_auth();
    h_talk(h, "auth login am9l\r\n", "334 UGFzc3dvcmQ6\r\n");
    h_talk(h, "c2VjcmV0\r\n", WELCOME);
    h_free(h);
}

static void test_failures(void **state)
{
    (void)state;
    struct harness *h = open_auth();
    for (unsigned i = 1; i <= INBOUND_AUTH_FAILURES; i++) {
        h_talk(h, "AUTH PLAIN " WRONG "\r\nNOOP\r\n", "");
        h_advance_ms(h, i * INBOUND_AUTH_DELAY_MS - 1);
        h_expect(h, "");
        h_advance_ms(h, 1);
        h_expect(h, i < INBOUND_AUTH_FAILURES ? INVALID "250 2.0.0 Ok\r\n"
                                              : INVALID "421 4.7.0 Too many failed authentications\r\n");
    }
    assert_true(h->closed);
    h_free(h);
    h = open_auth();
    h->auth_busy = true;
    h_send(h, "AUTH PLAIN " GOOD "\r\n");
    h_advance_ms(h, INBOUND_AUTH_DELAY_MS);
    h_expect(h, "454 4.7.0 Temporary authentication failure\r\n");
    h_free(h);
}

static void test_exchange_errors(void **state)
{
    (void)state;
    struct harness *h = open_auth();
    h_talk(h, "AUTH PLAIN\r\n*\r\n", "334 \r\n501 5.7.0 Authentication cancelled\r\n");
    h_talk(h, "AUTH LOGIN\r\nam9l\r\n*\r\n",
           "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n501 5.7.0 Authentication cancelled\r\n");
    h_talk(h, "AUTH PLAIN !!!\r\n", "501 5.5.2 Cannot decode that\r\n");
    h_talk(h, "AUTH PLAIN =\r\n", "501 5.5.2 Cannot decode that\r\n");
    h_talk(h, "AUTH LOGIN =\r\n", "501 5.5.2 Cannot decode that\r\n");
    h_talk(h, "AUTH CRAM-MD5\r\n", "504 5.5.4 Mechanism not supported\r\n");
    h_talk(h, "AUTH PLAIN em9lAGpvZQBzZWNyZXQ=\r\n",
           "535 5.7.8 Acting for somebody else is not possible\r\n");
    h_talk(h, "AUTH LOGIN\r\n" GOOD "\n", "334 VXNlcm5hbWU6\r\n500 5.5.2 Lines must end in CR LF\r\n");
    h_talk(h, "NOOP\r\n", "250 2.0.0 Ok\r\n");
    h_free(h);
    h = open_auth();
    struct buf line = BUF_INIT;
    buf_add_str(&line, "AUTH PLAIN\r\n");
    while (line.len < INBOUND_AUTH_LINE_MOST + 100)
        buf_add_char(&line, 'A');
    buf_add_str(&line, "\r\nNOOP\r\n");
    h_talk(h, buf_cstr(&line), "334 \r\n500 5.5.6 Line too long\r\n250 2.0.0 Ok\r\n");
    buf_fini(&line);
    h_free(h);
}

static void test_where_it_is_allowed(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, "AUTH PLAIN " GOOD "\r\n",
           "538 5.7.11 Encryption is required for AUTH: say STARTTLS first\r\n");
    h_send(h, "STARTTLS\r\n");
    h_send(h, "EHLO x\r\n");
    (void)h_take(h);
    h_talk(h, "AUTH PLAIN " GOOD "\r\n", WELCOME);
    h_free(h);
    h = h_new();
    h->listener.auth = false;
    h_hello(h);
    h_talk(h, "AUTH PLAIN " GOOD "\r\n", "502 5.5.1 AUTH is not offered here\r\n");
    h_free(h);
    h = open_auth(); /* what was learnt in the clear does not count behind STARTTLS */
    h_talk(h, "AUTH PLAIN " GOOD "\r\n", WELCOME);
    h_send(h, "STARTTLS\r\n");
    assert_int_equal(inbound_tenant(h->session), -1);
    h_free(h);
}

static void test_client_goes_while_checked(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->listener.auth_without_tls = true;
    h->auth_later = true;
    h_hello(h);
    h_talk(h, "AUTH PLAIN " GOOD "\r\nNOOP\r\n", "");
    assert_true(h->auth_waits);
    assert_true(inbound_waiting(h->session));
    inbound_auth_done(h->session, INBOUND_AUTH_OK, 1, "joe");
    h_run(h);
    h_expect(h, WELCOME "250 2.0.0 Ok\r\n");
    h_talk(h, "RSET\r\n", "250 2.0.0 Ok\r\n");
    h_free(h);
}

/* ---- passwords ------------------------------------------------------------------------------------- */

static void test_password_check(void **state)
{
    (void)state;
    struct crypt_data data = {.initialized = 0};
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    assert_non_null(crypt_gensalt_rn("$y$", 1, NULL, 0, setting, sizeof(setting)));
    const char *hash = crypt_r("secret", setting, &data);
    assert_non_null(hash);
    assert_true(password_check(SPAN_LIT("secret"), hash));
    assert_false(password_check(SPAN_LIT("Secret"), hash));
    assert_false(password_check(SPAN_LIT("secret\0x"), hash));
    assert_false(password_check(SPAN_LIT(""), hash));
    assert_false(password_check(SPAN_LIT("secret"), NULL));
    assert_false(password_check(SPAN_LIT("secret"), "secret"));
    assert_false(password_check(SPAN_LIT("secret"), "*0"));
}

static void test_password_cache(void **state)
{
    (void)state;
    struct password_cache *c = password_cache_new();
    password_cache_add(c, SPAN_LIT("joe"), SPAN_LIT("secret"), "$y$1", 1000);
    assert_true(password_cache_has(c, SPAN_LIT("joe"), SPAN_LIT("secret"), "$y$1", 1001));
    assert_false(password_cache_has(c, SPAN_LIT("joe"), SPAN_LIT("secret"), "$y$2", 1001));
    assert_false(password_cache_has(c, SPAN_LIT("joe"), SPAN_LIT("secre"), "$y$1", 1001));
    assert_false(password_cache_has(c, SPAN_LIT("joes"), SPAN_LIT("ecret"), "$y$1", 1001));
    assert_false(
        password_cache_has(c, SPAN_LIT("joe"), SPAN_LIT("secret"), "$y$1", 1000 + PASSWORD_CACHE_MS));
    password_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_exchange_errors),
        cmocka_unit_test(test_where_it_is_allowed),
        cmocka_unit_test(test_client_goes_while_checked),
        cmocka_unit_test(test_password_check),
        cmocka_unit_test(test_password_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
