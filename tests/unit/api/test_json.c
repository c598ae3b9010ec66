/* Receivers' words as JSON: octets of any kind come through, and what comes out is always valid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/api/json.h"

static void says(struct span in, const char *wanted)
{
    json_t *v = json_text(in);
    assert_string_equal(json_string_value(v), wanted);
    json_decref(v);
}

static void text_is_kept_or_escaped(void **state)
{
    (void)state;
    says(SPAN_LIT(""), "");
    says(span_of(NULL, 0), "");
    says(SPAN_LIT("550 5.1.1 no such user"), "550 5.1.1 no such user");
    says(SPAN_LIT("550 pas trouv\xc3\xa9"), "550 pas trouv\xc3\xa9");
    says(SPAN_LIT("550 pas trouv\xe9"), "550 pas trouv\\xe9"); /* ISO 8859-1 */
    says(SPAN_LIT("\xf0\x9f\x90\xb4"), "\xf0\x9f\x90\xb4");
    says(SPAN_LIT("\xf0\x9f\x90"), "\\xf0\\x9f\\x90"); /* cut off */
    says(SPAN_LIT("\xc0\xaf"), "\\xc0\\xaf");          /* overlong */
    says(SPAN_LIT("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");
    says(SPAN_LIT("\xed\xa0\x80"), "\\xed\\xa0\\x80"); /* surrogate */
    says(SPAN_LIT("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    says(SPAN_LIT("\xff\xfe"), "\\xff\\xfe");
}

static void every_octet_makes_valid_json(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    struct buf out = BUF_INIT;
    json_t *v = json_object();
    json_set_span(v, "text", span_of(all, sizeof(all)));
    json_dump_to(&out, v);
    json_error_t error;
    json_t *back = json_loadb(out.data, out.len, JSON_ALLOW_NUL, &error);
    assert_non_null(back);
    assert_int_equal(json_string_length(json_object_get(back, "text")), 128 + 128 * 4);
    json_decref(back);
    buf_fini(&out);
}

static void an_event_has_its_words(void **state)
{
    (void)state;
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__RecipientOutcome o = REMUDA__RECIPIENT_OUTCOME__INIT, *outcomes[] = {&o};
    e.type = REMUDA__EVENT_TYPE__EVENT_BOUNCED;
    e.recipients = outcomes;
    e.n_recipients = 1;
    o.address = "x@y.example";
    o.state = REMUDA__RECIPIENT_STATE__RCPT_BOUNCED;
    o.code = 550;
    o.text = "550-5.1.1 \xa4\n550 5.1.1 gone";
    json_t *v = json_event(&e);
    assert_string_equal(json_string_value(json_object_get(v, "type")), "bounced");
    assert_null(json_object_get(v, "id")); /* no 16 bytes */
    const json_t *r = json_array_get(json_object_get(v, "recipients"), 0);
    assert_string_equal(json_string_value(json_object_get(r, "text")), "550-5.1.1 \\xa4\n550 5.1.1 gone");
    assert_string_equal(json_string_value(json_object_get(r, "state")), "bounced");
    assert_int_equal(json_integer_value(json_object_get(r, "code")), 550);
    json_decref(v);
}

static void every_word_of_an_enumeration_is_known(void **state)
{
    (void)state;
    for (unsigned i = 0; i < remuda__event_type__descriptor.n_values; i++)
        assert_string_not_equal(json_event_type((Remuda__EventType)i), "unknown");
    for (unsigned i = 0; i < remuda__row_state__descriptor.n_values; i++)
        assert_string_not_equal(json_row_state((Remuda__RowState)i), "unknown");
    for (unsigned i = 0; i < remuda__recipient_state__descriptor.n_values; i++)
        assert_string_not_equal(json_recipient_state((Remuda__RecipientState)i), "unknown");
    assert_string_equal(json_event_type((Remuda__EventType)999), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_kept_or_escaped),
        cmocka_unit_test(every_octet_makes_valid_json),
        cmocka_unit_test(an_event_has_its_words),
        cmocka_unit_test(every_word_of_an_enumeration_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
