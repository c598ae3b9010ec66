#include "lib/base/scram.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* RFC 7677 3. */
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define NONCE        CLIENT_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SERVER_FIRST "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct scram *pencil(void)
{
    struct buf first = BUF_INIT;
    struct scram *s = scram_new("SCRAM-SHA-256", "user", "pencil", CLIENT_NONCE);
    assert_non_null(s);
    scram_first(s, &first);
    assert_string_equal(buf_cstr(&first), "n,,n=user,r=" CLIENT_NONCE);
    buf_fini(&first);
    return s;
}

static void the_published_exchange(void **state)
{
    (void)state;
    struct buf final = BUF_INIT;
    struct scram *s = pencil();
    assert_int_equal(scram_check(s, SPAN_LIT(SERVER_FINAL)), RM_EREFUSED);
    assert_int_equal(scram_final(s, SPAN_LIT(SERVER_FIRST), &final), RM_OK);
    assert_string_equal(buf_cstr(&final),
                        "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_int_equal(scram_check(s, SPAN_LIT(SERVER_FINAL)), RM_OK);
    assert_int_equal(scram_check(s, SPAN_LIT(SERVER_FINAL ",x=more")), RM_OK);
    static const char *const bad[] = {"",
                                      "v=",
                                      "e=invalid-proof",
                                      "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
                                      "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9",
                                      "x=" SERVER_FINAL};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(scram_check(s, span_str(bad[i])), RM_EREFUSED);
    assert_int_equal(scram_final(s, SPAN_LIT(SERVER_FIRST), &final), RM_EINVAL);
    buf_fini(&final);
    scram_free(s);
}

static void first_messages_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "e=other-error",
        "r=" CLIENT_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=x" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "m=ext," SERVER_FIRST,
        "r=" NONCE ",s=,i=4096",
        "r=" NONCE ",s=W22,i=4096",
        "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
        "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001",
        "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1",
        "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==",
    };
    struct scram *s = pencil();
    struct buf final = BUF_INIT;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(scram_final(s, span_str(bad[i]), &final), RM_EINVAL);
    assert_int_equal(final.len, 0);
    assert_int_equal(scram_final(s, SPAN_LIT(SERVER_FIRST), &final), RM_OK);
    buf_fini(&final);
    scram_free(s);
}

static void names_and_nonces(void **state)
{
    (void)state;
    struct buf one = BUF_INIT, two = BUF_INIT;
    struct scram *s = scram_new("SCRAM-SHA-512", "a=b,c", "p", NULL);
    struct scram *again = scram_new("SCRAM-SHA-512", "a=b,c", "p", NULL);
    scram_first(s, &one);
    scram_first(again, &two);
    assert_memory_equal(buf_cstr(&one), "n,,n=a=3Db=2Cc,r=", 17);
    assert_int_equal(one.len, 17 + 32);
    assert_string_not_equal(buf_cstr(&one), buf_cstr(&two));
    assert_null(scram_new("SCRAM-SHA-1", "u", "p", NULL));
    assert_null(scram_new("PLAIN", "u", "p", NULL));
    scram_free(s);
    scram_free(again);
    scram_free(NULL);
    buf_fini(&one);
    buf_fini(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_exchange),
        cmocka_unit_test(first_messages_that_are_none),
        cmocka_unit_test(names_and_nonces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
