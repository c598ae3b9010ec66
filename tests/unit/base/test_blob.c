/* Counted message bytes and their total, also from several threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/blob.h"

static void test_total(void **state)
{
    (void)state;
    size_t before = blob_total_bytes();
    struct blob *b = blob_of("hello", 5);
    assert_int_equal(blob_total_bytes(), before + 5);
    assert_true(span_eq(blob_span(b), SPAN_LIT("hello")));
    b = blob_grow(b, 1000);
    assert_int_equal(b->cap, 1000);
    assert_true(span_eq(blob_span(b), SPAN_LIT("hello")));
    assert_ptr_equal(blob_grow(b, 10), b);
    assert_int_equal(blob_total_bytes(), before + 1000);
    blob_unref(blob_ref(b));
    assert_int_equal(blob_total_bytes(), before + 1000);
    blob_unref(b);
    blob_unref(NULL);
    assert_int_equal(blob_total_bytes(), before);
    assert_int_equal(blob_span(NULL).len, 0);
}

static void *hold(void *arg)
{
    struct blob *b = arg;
    for (int i = 0; i < 10000; i++)
        blob_unref(blob_ref(b));
    blob_unref(b);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    size_t before = blob_total_bytes();
    struct blob *b = blob_of("x", 1);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold, blob_ref(b)), 0);
    blob_unref(b);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(blob_total_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
