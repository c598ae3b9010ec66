/* Message ids: text form, order, derivation, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/id.h"

static void test_text_round_trip(void **state)
{
    (void)state;
    for (uint64_t ms = 1; ms < UINT64_C(1) << 48; ms = ms * 7 + 3) {
        struct msgid id = msgid_make(ms), back;
        char text[MSGID_TEXT + 1];
        assert_int_equal(strlen(msgid_text(&id, text)), MSGID_TEXT);
        assert_true(msgid_parse(span_str(text), &back));
        assert_memory_equal(&id, &back, sizeof(id));
        assert_true(msgid_ms(&back) == ms);
    }
}

static void test_known_text(void **state)
{
    (void)state;
    struct msgid id;
    char text[MSGID_TEXT + 1];
    memset(&id, 0, sizeof(id));
    id.bytes[MSGID_BYTES - 1] = 33;
    assert_string_equal(msgid_text(&id, text), "00000000000000000000000011");
    memset(&id, 0xff, sizeof(id));
    assert_string_equal(msgid_text(&id, text), "7zzzzzzzzzzzzzzzzzzzzzzzzz");
}

static void test_text_order_is_time_order(void **state)
{
    (void)state;
    char before[MSGID_TEXT + 1] = "", text[MSGID_TEXT + 1];
    for (uint64_t ms = 1700000000000; ms < 1700000000300; ms++) {
        struct msgid id = msgid_make(ms);
        assert_true(strcmp(before, msgid_text(&id, text)) < 0);
        memcpy(before, text, sizeof(text));
    }
}

static void test_unique(void **state)
{
    (void)state;
    struct msgid a = msgid_make(5), b = msgid_make(5);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

/* Beyond what is fetched at once, too. */
static void test_many_of_a_source(void **state)
{
    (void)state;
    enum { MANY = 500 };
    struct msgid ids[MANY];
    struct msgid_source source = {.left = 0};
    for (int i = 0; i < MANY; i++) {
        ids[i] = msgid_next(&source, 5);
        assert_true(msgid_ms(&ids[i]) == 5);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(&ids[i], &ids[k], sizeof(ids[k]));
    }
}

static void test_derived_alike(void **state)
{
    (void)state;
    struct msgid a = msgid_derive(5, SPAN_LIT("x")), b = msgid_derive(5, SPAN_LIT("x"));
    struct msgid c = msgid_derive(5, SPAN_LIT("y"));
    assert_memory_equal(&a, &b, sizeof(a));
    assert_memory_not_equal(&a, &c, sizeof(a));
    assert_true(msgid_ms(&a) == 5);
}

static void test_refusals(void **state)
{
    (void)state;
    struct msgid id;
    assert_true(msgid_parse(SPAN_LIT("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), &id));
    assert_false(msgid_parse(SPAN_LIT("8zzzzzzzzzzzzzzzzzzzzzzzzz"), &id));
    assert_false(msgid_parse(SPAN_LIT("0000000000000000000000000u"), &id));
    assert_false(msgid_parse(SPAN_LIT("0000000000000000000000000\0"), &id));
    assert_false(msgid_parse(SPAN_LIT("000000000000000000000000"), &id));
    assert_false(msgid_parse(SPAN_LIT(""), &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_round_trip),
        cmocka_unit_test(test_known_text),
        cmocka_unit_test(test_text_order_is_time_order),
        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_many_of_a_source),
        cmocka_unit_test(test_derived_alike),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
