/* Tokens in return paths: what goes in comes out, and nobody else can make one. */
#include "relay/feedback/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/smtp/address.h"

static const uint8_t keys[2][MAC_KEY_BYTES] = {{1, 2, 3}, {4, 5, 6}};
static const struct token_keys both = {keys, 2}, first = {keys, 1}, second = {keys + 1, 1};

enum { BORN_MS = 1700000000 };

static struct token_claims claims(void)
{
    return (struct token_claims){
        .message = msgid_make((uint64_t)BORN_MS * 1000),
        .submission = {.partition = 65535, .offset = (UINT64_C(1) << 40) - 1, .index = 16383},
        .tenant = SPAN_LIT("acme"),
        .source = token_source_code(SPAN_LIT("s1")),
        .provider = token_provider_code(SPAN_LIT("gmail")),
        .made_ms = (uint64_t)BORN_MS * 1000 + 5 * TOKEN_AGE_UNIT_MS + 17};
}

static void check_same(const struct token_claims *a, const struct token_claims *b)
{
    assert_memory_equal(&a->message, &b->message, sizeof(a->message));
    assert_int_equal(a->submission.partition, b->submission.partition);
    assert_true(a->submission.offset == b->submission.offset);
    assert_int_equal(a->submission.index, b->submission.index);
    assert_true(span_eq(a->tenant, b->tenant));
    assert_int_equal(a->source, b->source);
    assert_int_equal(a->provider, b->provider);
    assert_true(a->made_ms - b->made_ms < TOKEN_AGE_UNIT_MS);
}

static void round_trip(void **state)
{
    (void)state;
    char text[TOKEN_TEXT + 1], mailbox[200];
    struct token_claims c = claims();
    struct token t;
    struct smtp_address a;
    assert_true(token_make(&first, &c, text));
    assert_int_equal(strlen(text), TOKEN_TEXT);
    snprintf(mailbox, sizeof(mailbox), "%s@bounces.example.net", text);
    assert_int_equal(smtp_address_parse(span_str(mailbox), 0, &a), SMTP_ADDRESS_OK);
    assert_true(token_read(span_str(text), &t) && token_may_be_of(&t, c.tenant));
    assert_true(token_verify(&t, &first, c.tenant));
    check_same(&c, &t.claims);
    c.submission = (struct subid){0};
    assert_true(token_make(&first, &c, text) && token_read(span_str(text), &t));
    assert_true(token_verify(&t, &first, c.tenant));
    check_same(&c, &t.claims);
}

/* Mail systems change the case of local parts. */
static void any_case(void **state)
{
    (void)state;
    char text[TOKEN_TEXT + 1];
    struct token_claims c = claims();
    struct token t;
    assert_true(token_make(&first, &c, text));
    for (char *p = text; *p; p++)
        *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    assert_true(token_read(span_str(text), &t) && token_verify(&t, &first, c.tenant));
    check_same(&c, &t.claims);
}

static void keys_rotate(void **state)
{
    (void)state;
    char text[TOKEN_TEXT + 1];
    struct token_claims c = claims();
    struct token t;
    assert_true(token_make(&second, &c, text) && token_read(span_str(text), &t));
    assert_true(token_verify(&t, &both, c.tenant));
    assert_false(token_verify(&t, &first, c.tenant));
    assert_true(token_make(&both, &c, text) && token_read(span_str(text), &t));
    assert_false(token_verify(&t, &second, c.tenant));
}

static void forged(void **state)
{
    (void)state;
    char text[TOKEN_TEXT + 1], other[TOKEN_TEXT + 1];
    struct token_claims c = claims();
    struct token t;
    assert_true(token_make(&first, &c, text) && token_read(span_str(text), &t));
    assert_false(token_verify(&t, &first, SPAN_LIT("acmf")));
    for (int i = 0; i < TOKEN_TEXT; i++) {
        memcpy(other, text, sizeof(other));
        other[i] = other[i] == 'q' ? 'r' : 'q';
        assert_false(token_read(span_str(other), &t) && token_verify(&t, &both, c.tenant));
    }
    assert_false(token_read(span_of(text, TOKEN_TEXT - 1), &t));
    text[3] = '1';
    assert_false(token_read(span_str(text), &t));
    assert_false(token_read(SPAN_LIT("postmaster"), &t));
}

static void out_of_range(void **state)
{
    (void)state;
    char text[TOKEN_TEXT + 1];
    struct token_claims c = claims();
    c.submission.index = 16384;
    assert_false(token_make(&first, &c, text));
    c = claims();
    c.submission.offset++;
    assert_false(token_make(&first, &c, text));
    c = claims();
    c.submission.partition++;
    assert_false(token_make(&first, &c, text));
    c = claims();
    c.made_ms += UINT64_C(256) * TOKEN_AGE_UNIT_MS;
    assert_false(token_make(&first, &c, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(any_case),     cmocka_unit_test(keys_rotate),
        cmocka_unit_test(forged),     cmocka_unit_test(out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
