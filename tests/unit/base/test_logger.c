/* Log lines: levels, both formats, hostile bytes, private addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/logger.h"
#include "lib/base/utf8.h"

struct pipe_log {
    int ends[2];
    struct logger *lg;
    char line[2048];
};

static void start(struct pipe_log *p, struct logger_options o)
{
    assert_int_equal(pipe(p->ends), 0);
    o.fd = p->ends[1];
    p->lg = logger_new(&o);
}

static void stop(struct pipe_log *p)
{
    logger_free(p->lg);
    close(p->ends[0]);
    close(p->ends[1]);
}

static const char *line(struct pipe_log *p)
{
    ssize_t n = read(p->ends[0], p->line, sizeof(p->line) - 1);
    assert_true(n > 0);
    p->line[n] = '\0';
    return p->line;
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in: %s", part, text);
}

static void test_json(void **state)
{
    (void)state;
    struct pipe_log p;
    start(&p, (struct logger_options){.format = LOG_FORMAT_JSON});
    logger_log(p.lg, LOG_WARN, "smtp.accepted", LF_STR("a", "q\"b\\c\n"), LF_NUM("n", -5),
               LF_SPAN("bad", span_of("\xff\xc3\xa9\xed\xa0\x80\x01", 7)));
    assert_has(line(&p),
               "\"level\":\"warn\",\"event\":\"smtp.accepted\",\"a\":\"q\\\"b\\\\c\\u000a\",\"n\":-5,");
    assert_has(p.line, "\"bad\":\"\\ufffd\xc3\xa9\\ufffd\\ufffd\\ufffd\\u0001\"}\n");
    assert_memory_equal(p.line, "{\"time\":\"20", 11);
    stop(&p);
}

static void test_human(void **state)
{
    (void)state;
    struct pipe_log p;
    start(&p, (struct logger_options){.format = LOG_FORMAT_HUMAN});
    logger_log(p.lg, LOG_INFO, "a.b", LF_STR("id", "0abc"), LF_STR("t", "two words"), LF_STR("e", ""),
               LF_STR("esc", "\x1b[31m\r\n"), LF_STR("c1", "\xc2\x9b"));
    assert_has(line(&p), "Z info  a.b id=0abc t=\"two words\" e=\"\" esc=\"\\x1b[31m\\r\\n\" c1=\"\\x9b\"\n");
    stop(&p);
}

static void test_levels(void **state)
{
    (void)state;
    struct pipe_log p;
    start(&p, (struct logger_options){.level = LOG_WARN});
    assert_false(logger_enabled(p.lg, LOG_INFO));
    logger_log(p.lg, LOG_INFO, "hidden", LF_NUM("n", 1));
    logger_log(p.lg, LOG_ERROR, "shown", LF_NUM("n", 1));
    assert_has(line(&p), "error shown n=1\n");
    assert_null(strstr(p.line, "hidden"));
    logger_configure(p.lg, &(struct logger_options){.level = LOG_DEBUG});
    logger_log(p.lg, LOG_DEBUG, "now", LF_NUM("n", 1));
    assert_has(line(&p), "debug now n=1\n");
    stop(&p);
}

static const char *address(struct pipe_log *p, const char *text)
{
    logger_log(p->lg, LOG_INFO, "x", LF_ADDR("to", span_str(text)));
    return strstr(line(p), "to=");
}

static void test_privacy(void **state)
{
    (void)state;
    struct pipe_log p;
    struct logger_options o = {.privacy = LOG_ADDRESSES_PLAIN, .hash_key = SPAN_LIT("key")};
    start(&p, o);
    assert_string_equal(address(&p, "joe@example.org"), "to=joe@example.org\n");
    o.privacy = LOG_ADDRESSES_HIDE;
    logger_configure(p.lg, &o);
    assert_string_equal(address(&p, "\"a@b\"@example.org"), "to=*@example.org\n");
    assert_string_equal(address(&p, "joe"), "to=*\n");
    assert_string_equal(address(&p, ""), "to=\"\"\n");
    o.privacy = LOG_ADDRESSES_HASH;
    logger_configure(p.lg, &o);
    char first[64], other[64];
    snprintf(first, sizeof(first), "%s", address(&p, "joe@example.org"));
    assert_int_equal(strlen(first), strlen("to=012345678901@example.org\n"));
    assert_null(strstr(first, "joe"));
    snprintf(other, sizeof(other), "%s", address(&p, "joe@EXAMPLE.org"));
    assert_memory_equal(first, other, 15);
    assert_memory_not_equal(address(&p, "joe@example.net"), first, 15);
    assert_memory_not_equal(address(&p, "jim@example.org"), first, 15);
    o.hash_key = SPAN_LIT("another");
    logger_configure(p.lg, &o);
    assert_memory_not_equal(address(&p, "joe@example.org"), first, 15);
    stop(&p);
}

static void test_utf8(void **state)
{
    (void)state;
    assert_int_equal(utf8_sequence(SPAN_LIT("")), 0);
    assert_int_equal(utf8_sequence(SPAN_LIT("a")), 1);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xc3\xa9")), 2);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xe2\x82\xac")), 3);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xf0\x9f\x90\xb4")), 4);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xc0\xaf")), 0);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xe0\x80\xaf")), 0);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xf4\x90\x80\x80")), 0);
    assert_int_equal(utf8_sequence(SPAN_LIT("\xe2\x82")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),    cmocka_unit_test(test_human), cmocka_unit_test(test_levels),
        cmocka_unit_test(test_privacy), cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
