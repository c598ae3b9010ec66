/* Suppression lists: what is one address, what a key is, what holds. And whom a report is about. */
#include "relay/feedback/suppression.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "queue/memory/memory.h"
#include "relay/feedback/reading.h"

static void canonical(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    assert_string_equal(suppression_canonical(&a, SPAN_LIT("Jane.Doe@EXAMPLE.org")), "jane.doe@example.org");
    assert_string_equal(suppression_canonical(&a, SPAN_LIT("j@b\xc3\xbc"
                                                           "cher.example")),
                        "j@xn--bcher-kva.example");
    assert_null(suppression_canonical(&a, SPAN_LIT("jane")));
    assert_null(suppression_canonical(&a, SPAN_LIT("")));
    arena_fini(&a);
}

static void keys(void **state)
{
    (void)state;
    struct suppression_key k, other;
    char tenant[64], address[300];
    memset(tenant, 't', 63);
    suppression_key_make(SPAN_LIT("acme"), SPAN_LIT("a@b.example"), &k);
    assert_true(span_eq(suppression_key_span(&k), SPAN_LIT("acme/a@b.example")));
    memset(address, 'a', sizeof(address));
    suppression_key_make(span_of(tenant, 63), span_of(address, 300), &k);
    address[299] = 'b';
    suppression_key_make(span_of(tenant, 63), span_of(address, 300), &other);
    assert_true(k.len <= LOG_KEY_MOST && k.bytes[64] == '#');
    assert_false(span_eq(suppression_key_span(&k), suppression_key_span(&other)));
}

static void no_wake(void *arg)
{
    (void)arg;
}

static void written(void *arg, struct log_batch *b, int status)
{
    (void)b;
    *(int *)arg = status;
}

static void put(struct log *log, const char *address, uint64_t expires_ms)
{
    struct suppression_key key;
    struct buf packed = BUF_INIT;
    Remuda__Suppression s = REMUDA__SUPPRESSION__INIT;
    char tenant[] = "acme", evidence[] = "550 5.1.1\nno such\tuser";
    s.tenant = tenant;
    s.address = (char *)(uintptr_t)address;
    s.evidence = evidence;
    s.expires_ms = expires_ms;
    s.added_ms = 1700000000000;
    suppression_key_make(SPAN_LIT("acme"), span_str(address), &key);
    proto_pack(&packed, &s.base);
    struct log_client *c = log_client_new(log, no_wake, NULL);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    int status = RM_ECLOSED;
    log_batch_put(b, LOG_SUPPRESSION, 0, suppression_key_span(&key), buf_span(&packed));
    log_submit(c, b, written, &status);
    log_client_flush(c);
    assert_int_equal(status, RM_OK);
    log_client_free(c);
    buf_fini(&packed);
}

static const Remuda__Suppression *find(struct log *log, struct arena *a, const char *tenant,
                                       const char *address)
{
    Remuda__Suppression *found;
    struct suppression_query q = {.tenant = span_str(tenant), .address = span_str(address), .now_ms = 1000};
    assert_int_equal(suppression_find(log, a, &q, &found), RM_OK);
    return found;
}

static void finding(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct log_options o = {.partitions = 1};
    struct log *log;
    assert_int_equal(memory_log_open(&o, &log), RM_OK);
    put(log, "ever@b.example", 0);
    put(log, "long@b.example", 2000);
    put(log, "over@b.example", 1000);
    const Remuda__Suppression *s = find(log, &a, "acme", "Ever@B.example");
    assert_non_null(s);
    assert_string_equal(suppression_words(s, &a),
                        "This address is suppressed (bounce, Tue, 14 Nov 2023 22:13:20 "
                        "+0000): 550 5.1.1 no such?user");
    assert_non_null(find(log, &a, "acme", "long@b.example"));
    assert_null(find(log, &a, "acme", "over@b.example"));
    assert_null(find(log, &a, "other", "ever@b.example"));
    assert_null(find(log, &a, "acme", "no address"));
    log_close(log);
    arena_fini(&a);
}

static void about_whom(void **state)
{
    (void)state;
    const char *two[] = {"Jane@a.example", "joe@a.example"};
    struct reading r = {.known = true, .recipients = two, .n_recipients = 2};
    struct mail_report_recipient forwarded = {.address = "jane@home.example", .original = "jane@A.example"},
                                 plain = {.address = "JOE@a.example", .original = ""},
                                 stranger = {.address = "victim@a.example", .original = ""};
    bool sure;
    assert_string_equal(reading_recipient(&r, &forwarded, &sure), "Jane@a.example");
    assert_true(sure);
    assert_string_equal(reading_recipient(&r, &plain, &sure), "joe@a.example");
    assert_null(reading_recipient(&r, &stranger, &sure));
    r.n_recipients = 1;
    assert_string_equal(reading_recipient(&r, &stranger, &sure), "Jane@a.example");
    r.known = false;
    assert_string_equal(reading_recipient(&r, &stranger, &sure), "victim@a.example");
    assert_false(sure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical),
        cmocka_unit_test(keys),
        cmocka_unit_test(finding),
        cmocka_unit_test(about_whom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
