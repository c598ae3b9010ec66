/* Reading YAML: places, bounds, aliases, garbage; and the parsers of single values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/conf/conf.h"

struct reading {
    struct arena arena;
    struct buf out;
    struct conf_errors errors;
    const struct conf_node *root;
    int err;
};

static void read_text(struct reading *r, struct span text)
{
    *r = (struct reading){.arena = ARENA_INIT, .out = BUF_INIT};
    r->errors.out = &r->out;
    r->err = conf_parse("x.yaml", text, &r->arena, &r->errors, &r->root);
}

static void done(struct reading *r)
{
    arena_fini(&r->arena);
    buf_fini(&r->out);
}

static void test_nodes_know_their_place(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, span_str("a: 1\nb:\n  - x\n  - { c: \"y\" }\n"));
    assert_int_equal(r.err, RM_OK);
    const struct conf_node *c = conf_get(conf_at(conf_get(r.root, "b"), 1), "c");
    assert_non_null(c);
    assert_string_equal(c->text.ptr, "y");
    assert_int_equal(c->line, 4);
    assert_int_equal(c->column, 10);
    assert_int_equal(conf_get(r.root, "a")->line, 1);
    assert_int_equal(conf_get(r.root, "a")->column, 4);
    assert_null(conf_get(r.root, "z"));
    done(&r);
}

static void test_aliases_are_references(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, span_str("a: &x { k: v }\nb: *x\nc: [*x, *x]\n"));
    assert_int_equal(r.err, RM_OK);
    assert_ptr_equal(conf_get(r.root, "a"), conf_get(r.root, "b"));
    assert_ptr_equal(conf_get(r.root, "a"), conf_at(conf_get(r.root, "c"), 1));
    done(&r);
}

static const struct {
    const char *text, *expected;
} bad[] = {
    {"", "x.yaml:1:1: found nothing"},
    {"a: *x\n", "x.yaml:1:4: found the alias *x"},
    {"a: &x [ *x ]\n", "inside what it names"},
    {"? [a]\n: b\n", "x.yaml:1:3: found a list or a map as a key"},
    {"a: b\n---\nc: d\n", "found a second document"},
    {"a: [1, 2\nb: }\n", "found no valid YAML"},
    {"%\xed"
     "a: b\n",
     "x.yaml:1:1: found a YAML directive"}, /* libfyaml loops on it */
    {"a: \xed\n", "x.yaml:1:4: found the byte 0xed"},
    {"\ta: b\n", "found no valid YAML"},
    {"a: \"\\x\n", "found no valid YAML"},
};

static void test_what_is_no_configuration(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct reading r;
        read_text(&r, span_str(bad[i].text));
        assert_int_equal(r.err, RM_EINVAL);
        assert_null(r.root);
        if (!strstr(buf_cstr(&r.out), bad[i].expected))
            fail_msg("%s gave %s", bad[i].text, buf_cstr(&r.out));
        done(&r);
    }
}

/* What a file says is quoted in one line, and cannot write on a terminal. */
static void test_errors_are_printable(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, span_str("a: \"k\\n\\e[2J\"\n"));
    assert_int_equal(r.err, RM_OK);
    conf_error(&r.errors, conf_get(r.root, "a"), "found %s", conf_get(r.root, "a")->text.ptr);
    assert_string_equal(buf_cstr(&r.out), "x.yaml:1:4: found k\\x0a\\x1b[2J\n");
    for (size_t i = 0; i + 1 < r.out.len; i++)
        assert_true((unsigned char)r.out.data[i] >= ' ');
    done(&r);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    for (int i = 0; i < 10000; i++)
        buf_add_char(&text, '[');
    struct reading r;
    read_text(&r, buf_span(&text));
    assert_int_equal(r.err, RM_EINVAL);
    done(&r);
    buf_fini(&text);
}

static void test_laughs_do_not_multiply(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    buf_add_str(&text, "a0: &a0 [x, x]\n");
    for (int i = 1; i < 30; i++)
        buf_printf(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1);
    struct reading r;
    read_text(&r, buf_span(&text));
    assert_int_equal(r.err, RM_OK);
    assert_true(r.arena.used_bytes < 100000);
    done(&r);
    buf_fini(&text);
}

/* Any bytes: an answer, never a crash. Mutations of a file that parses reach farther than noise. */
static void test_garbage(void **state)
{
    (void)state;
    static const char good[] =
        "node: { name: n, data: &d \"/x\" }\nlist:\n  - a\n  - *d\n  - |\n    text\n  - 'q'\n# c\n";
    static const char marks[] = " {}[]:-&*%!|>?,#\"'@`~\n\tab0\\";
    uint64_t seed = 7;
    for (int round = 0; round < 5000; round++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        for (int i = 0; i < 1 + round % 6; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[(seed >> 40) % (sizeof(good) - 1)] =
                round % 2 ? (char)(seed >> 32) : marks[(seed >> 33) % (sizeof(marks) - 1)];
        }
        struct reading r;
        read_text(&r, span_of(text, sizeof(good) - 1));
        assert_true((r.err == RM_OK) == (r.errors.count == 0));
        done(&r);
    }
}

static void test_values(void **state)
{
    (void)state;
    uint64_t v;
    struct conf_rate rate;
    struct conf_network net;
    assert_true(conf_parse_duration(span_str("1h30m"), &v) && v == 5400000);
    assert_true(conf_parse_duration(span_str("300ms"), &v) && v == 300);
    assert_true(conf_parse_duration(span_str("0"), &v) && v == 0);
    assert_false(conf_parse_duration(span_str("5"), &v));
    assert_false(conf_parse_duration(span_str("5 parsecs"), &v));
    assert_false(conf_parse_duration(span_str("99999999999999999d"), &v));
    assert_true(conf_parse_size(span_str("50MiB"), &v) && v == 50u << 20);
    assert_true(conf_parse_size(span_str("1 GB"), &v) && v == 1000000000);
    assert_false(conf_parse_size(span_str("50Mib"), &v));
    assert_false(conf_parse_size(span_str("99999999TiB"), &v));
    assert_true(conf_parse_rate(span_str("100/s"), &rate) && rate.count == 100 && rate.per_us == 1000000);
    assert_true(conf_parse_rate(span_str("10/min"), &rate) && rate.per_us == 60000000);
    assert_true(conf_parse_rate(span_str("200/5m"), &rate) && rate.per_us == 300000000);
    assert_false(conf_parse_rate(span_str("100"), &rate));
    assert_false(conf_parse_rate(span_str("0/s"), &rate));
    assert_true(conf_parse_network(span_str("192.0.2.0/24"), &net) && net.bits == 120 &&
                net.prefix[10] == 0xff);
    assert_true(conf_parse_network(span_str("::1"), &net) && net.bits == 128);
    assert_false(conf_parse_network(span_str("192.0.2.1/24"), &net));
    assert_false(conf_parse_network(span_str("192.0.2.0/33"), &net));
    assert_true(conf_parse_endpoint(span_str("[::1]:25")));
    assert_false(conf_parse_endpoint(span_str("::1:25")));
    assert_false(conf_parse_endpoint(span_str("127.0.0.1:70000")));
    assert_false(conf_parse_endpoint(span_str("127.0.0.1")));
}

static void test_nearest_word(void **state)
{
    (void)state;
    static const char *const words[] = {"listeners", "sources", "tls", NULL};
    assert_string_equal(conf_nearest(span_str("lisener"), words), "listeners");
    assert_string_equal(conf_nearest(span_str("Source"), words), "sources");
    assert_null(conf_nearest(span_str("x"), words));
    assert_null(conf_nearest(span_str("providers"), words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_know_their_place),
        cmocka_unit_test(test_aliases_are_references),
        cmocka_unit_test(test_what_is_no_configuration),
        cmocka_unit_test(test_errors_are_printable),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_laughs_do_not_multiply),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_nearest_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
