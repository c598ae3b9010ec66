/* Answers that no rule knows: what is masked, that a kind is counted once, and that they stay few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "relay/unknown.h"

static void what_varies_is_masked(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"<user@example.org>: nope", "<<addr>>: nope"},
        {"host mx1.example.net [192.0.2.10] said no.", "host <host> [<ip>] said no."},
        {"from 2001:db8::1  at\n 12:30", "from <ip> at #"},
        {"queue 4XyZ12abc full (error 77)", "queue <id> full (error #)"},
        {"see https://example.org/x?y=1.", "see <url>."},
        {"plain words, no secrets", "plain words, no secrets"},
        {"", ""},
    };
    char out[UNKNOWN_TEXT];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unknown_mask(span_str(cases[i][0]), out);
        assert_string_equal(out, cases[i][1]);
    }
    char big[4000];
    memset(big, 'x', sizeof(big));
    unknown_mask(span_of(big, sizeof(big)), out);
    assert_int_equal(strlen(out), UNKNOWN_TEXT - 1);
}

static void one_kind_is_one_entry(void **state)
{
    (void)state;
    struct unknown_answers *u = unknown_new();
    static struct unknown_kind kinds[UNKNOWN_MOST];
    char text[80];
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "strange thing %d\nat u%d@example.org", i, i);
        unknown_note(u, SPAN_LIT("gmail"), 550, span_str(text), 1000 + (uint64_t)i);
    }
    unknown_note(u, SPAN_LIT("yahoo"), 550, span_str(text), 5);
    unknown_note(u, SPAN_LIT("gmail"), 450, span_str(text), 6);
    assert_int_equal(unknown_list(u, kinds, UNKNOWN_MOST), 3);
    assert_int_equal(kinds[0].count, 10);
    assert_int_equal(kinds[0].first_ms, 1000);
    assert_int_equal(kinds[0].last_ms, 1009);
    assert_string_equal(kinds[0].masked, "strange thing # at <addr>");
    assert_string_equal(kinds[0].sample, "strange thing 9 at u9@example.org");
    assert_int_equal(unknown_list(u, kinds, 2), 2);
    assert_int_equal(unknown_total(u), 12);
    unknown_free(u);
}

static void they_stay_few_and_the_frequent_stay(void **state)
{
    (void)state;
    struct unknown_answers *u = unknown_new();
    static struct unknown_kind kinds[UNKNOWN_MOST];
    for (int i = 0; i < 3; i++)
        unknown_note(u, SPAN_LIT("p"), 550, SPAN_LIT("often seen"), 1);
    for (int i = 0; i < 5 * UNKNOWN_MOST; i++) {
        char word[] = "aaaaaa never twice";
        for (int k = 0, n = i; k < 6; k++, n /= 26)
            word[k] = (char)('a' + n % 26);
        unknown_note(u, SPAN_LIT("p"), 550, span_str(word), 2 + (uint64_t)i);
    }
    assert_int_equal(unknown_list(u, kinds, UNKNOWN_MOST), UNKNOWN_MOST);
    assert_string_equal(kinds[0].masked, "often seen");
    assert_int_equal(kinds[0].count, 3);
    assert_int_equal(kinds[1].last_ms, 1 + 5 * UNKNOWN_MOST); /* the newest of the rest is there */
    unknown_free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_varies_is_masked),
        cmocka_unit_test(one_kind_is_one_entry),
        cmocka_unit_test(they_stay_few_and_the_frequent_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
