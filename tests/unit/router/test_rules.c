/* Rules: which one wins, what is an error at load, what a verdict holds; and that the shipped ones are whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "relay/config/settings.h"
#include "router/rules.h"

static struct router_rules *parse(const char *text, struct buf *trouble)
{
    struct conf_errors errors = {.out = trouble};
    struct router_rules *r;
    int err = router_rules_parse("r.yaml", span_str(text), &errors, &r);
    assert_true((err == RM_OK) == (r != NULL));
    assert_true((err == RM_OK) == (errors.count == 0));
    return r;
}

static struct router_rules *good(const char *text)
{
    struct buf trouble = BUF_INIT;
    struct router_rules *r = parse(text, &trouble);
    if (!r)
        fail_msg("%s", buf_cstr(&trouble));
    buf_fini(&trouble);
    return r;
}

static struct router_answer judge(const struct router_rules *r, const char *provider, const char *raw)
{
    char text[ROUTER_REPLY_MOST * 2];
    struct router_reply reply = {.code = 0};
    struct router_answer a;
    struct pattern_scratch *s = pattern_scratch_new();
    assert_true(router_reply_read(span_str(raw), &reply, text, sizeof(text)));
    reply.provider = span_str(provider);
    router_rules_judge(r, s, &reply, &a);
    pattern_scratch_free(s);
    return a;
}

#define RULE(name, conditions, class, example)                                                               \
    "- name: " name "\n  " conditions "\n  class: " class "\n  examples: [\"" example "\"]\n"

static void the_most_specific_rule_wins_whatever_the_order(void **state)
{
    (void)state;
    static const char *const rules[] = {
        RULE("any", "code: 5xx", "content", "501 x"),
        RULE("code", "code: 550", "loop", "550 x"),
        RULE("subject", "enhanced: x.1", "sender", "450 4.1.9 x"),
        RULE("class", "enhanced: 5.1", "size", "550 5.1.9 x"),
        RULE("detail", "enhanced: x.1.1", "tls", "450 4.1.1 x"),
        RULE("exact", "enhanced: 5.1.1", "full", "550 5.1.1 x"),
        RULE("short", "pattern: 'no user'", "disabled", "550 5.1.1 no user"),
        RULE("long", "pattern: 'there is no user'", "bad-mailbox", "550 there is no user"),
        RULE("low", "prefer: 4\n  pattern: 'your mailbox is nowhere'", "refused",
             "550 your mailbox is nowhere"),
        RULE("high", "prefer: 6\n  pattern: 'nix'", "greylist", "450 nix, there is no user"),
        RULE("mine", "providers: [p, q]\n  code: 550", "rate", "550 there is no user"),
    };
    static const char *const asked[][3] = {
        {"any", "o", "552 x"},
        {"code", "o", "550 5.9.9 x"},
        {"subject", "o", "450 4.1.7 x"},
        {"class", "o", "550 5.1.7 x"},
        {"detail", "o", "450 4.1.1 x"},
        {"exact", "o", "550 5.1.1 x"},
        {"short", "o", "550 5.1.1 No  User"},
        {"long", "o", "550 5.1.1 there is no user"},
        {"short", "o", "550 your mailbox is nowhere, no user"},
        {"high", "o", "550 there is no user, nix"},
        {"mine", "q", "550 there is no user, nix"},
        {"long", "q", "551 there is no user"},
        {"unknown", "o", "450 4.9.9 x"},
    };
    enum { N = sizeof(rules) / sizeof(rules[0]) };
    for (int turn = 0; turn < N; turn++) {
        struct buf text = BUF_INIT;
        for (int i = 0; i < N; i++)
            buf_add_str(&text, rules[(i + turn) % N]);
        struct router_rules *r = good(buf_cstr(&text));
        for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
            assert_string_equal(judge(r, asked[i][1], asked[i][2]).rule, asked[i][0]);
        router_rules_free(r);
        buf_fini(&text);
    }
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"a: b", "r.yaml:1:1: rules: expected a list"},
        {"- name: a\n  code: 550\n  class: full\n", "r.yaml:1:3: found no \"examples\""},
        {RULE("a", "code: 250", "full", "550 x"), "r.yaml:2:9: code: found \"250\""},
        {RULE("a", "code: 5x", "full", "550 x"), "r.yaml:2:9: code"},
        {RULE("a", "enhanced: 2.1.1", "full", "550 x"), "r.yaml:2:13: enhanced: found \"2.1.1\""},
        {RULE("a", "enhanced: 5", "full", "550 x"), "r.yaml:2:13: enhanced"},
        {RULE("a", "enhanced: 5.1.1.1", "full", "550 x"), "r.yaml:2:13: enhanced"},
        {RULE("a", "pattern: 'a('", "full", "550 a"), "r.yaml:2:12: pattern: found \"a(\""},
        {RULE("a", "pattern: 'd[\xc3\xa9]j'", "full", "550 d\xc3\xa9j"),
         "r.yaml:2:12: pattern: found a letter"},
        {RULE("a", "code: 550", "accepted", "550 a"), "which is never of a rule"},
        {RULE("a", "code: 550", "fool", "550 a"), "r.yaml:3:10"},
        {RULE("a", "wait: 5m", "full", "550 a"), "matches everything"},
        {RULE("a", "code: 550\n  reaction: stop-pair", "rate", "550 a"), "without \"wait\""},
        {RULE("a", "code: 550", "full", "no code"), "r.yaml:4:14: examples: found \"no code\""},
        {RULE("a", "code: 550", "full", "551 x"), "does not match its own example"},
        /* the same name, the same rule, a contradiction, one that another always beats */
        {RULE("a", "code: 550", "full", "550 x") RULE("a", "code: 551", "full", "551 x"), "a second time"},
        {RULE("a", "code: 550", "full", "550 x") RULE("b", "code: 550", "full", "550 y"),
         "\"b\" in line 5 has the same specificity"},
        {RULE("a", "pattern: 'fool'", "full", "550 fool pool")
             RULE("b", "pattern: 'pool'", "loop", "550 pool"),
         "r.yaml:4:14: examples: the rule \"b\" in line 5 has the same specificity"},
        {RULE("a", "pattern: 'full'", "full", "550 full house")
             RULE("b", "pattern: 'full ?h'", "loop", "550 full h"),
         "the more specific rule \"b\" in line 5 takes this reply from \"a\""},
        {RULE("a", "providers: [p, q]\n  code: 550", "full", "550 x")
             RULE("b", "providers: [q]\n  enhanced: x.1.1", "loop", "551 5.1.1 x")
                 RULE("c", "code: 5xx", "loop", "550 5.1.2 x") RULE("d", "code: 550", "size", "550 x"),
         "takes this reply from \"c\""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf trouble = BUF_INIT;
        if (parse(bad[i][0], &trouble))
            fail_msg("taken: %s", bad[i][0]);
        if (!strstr(buf_cstr(&trouble), bad[i][1]))
            fail_msg("expected \"%s\", found: %s", bad[i][1], buf_cstr(&trouble));
        buf_fini(&trouble);
    }
}

static void the_reply_is_seen_as_one_line(void **state)
{
    (void)state;
    struct router_rules *r = good(RULE("lines", "pattern: '^one two three$'", "loop", "550 one two three")
                                      RULE("code", "enhanced: x.7.28", "rate", "421 4.7.28 y"));
    assert_string_equal(judge(r, "o", "550-5.1.1 One\r\n550-5.1.1  Two\r\n550 5.1.1 THREE").rule, "lines");
    assert_string_equal(judge(r, "o", "550-one\n550-two\n550 three").rule, "lines");
    assert_string_equal(judge(r, "o", "550 #5.7.28 y").rule, "code");
    assert_string_equal(judge(r, "o", "550 (5.7.28) y").rule, "code");
    assert_string_equal(judge(r, "o", "550 5.7.281 y").rule, "unknown");
    assert_string_equal(judge(r, "o", "550").rule, "unknown");
    router_rules_free(r);
}

static void a_long_reply_is_cut(void **state)
{
    (void)state;
    struct router_rules *r = good(RULE("end", "pattern: 'the end'", "loop", "550 the end"));
    struct pattern_scratch *s = pattern_scratch_new();
    static char text[ROUTER_REPLY_MOST * 3];
    memset(text, 'x', sizeof(text));
    memcpy(text + sizeof(text) - 8, " the end", 8);
    struct router_reply reply = {.code = 550, .text = span_of(text, sizeof(text))};
    struct router_answer a;
    router_rules_judge(r, s, &reply, &a);
    assert_string_equal(a.rule, "unknown");
    memcpy(text, "the end ", 8);
    router_rules_judge(r, s, &reply, &a);
    assert_string_equal(a.rule, "end");
    pattern_scratch_free(s);
    router_rules_free(r);
}

static void the_class_gives_what_the_rule_leaves_out(void **state)
{
    (void)state;
    struct router_rules *r = good(
        RULE("gone", "enhanced: x.1.1", "bad-mailbox", "550 5.1.1 x")
            RULE("slow", "pattern: 'slow'", "rate", "421 slow")
                RULE("late", "pattern: 'later'\n  wait: 10m", "greylist", "450 later") RULE(
                    "list", "pattern: 'on (?<list>[a-z.]+)'\n  list: own", "blocklist", "550 on zen.example.")
                    RULE("ours", "pattern: 'listed here'\n  list: own", "blocklist", "550 listed here")
                        RULE("odd", "code: 450\n  blame: us\n  reaction: none\n  hard: yes", "tls", "450 x"));
    struct router_answer a = judge(r, "o", "550 5.1.1 x");
    assert_true(a.hard && a.blame == BLAME_RECIPIENT && a.reaction == REACT_SUPPRESS_RECIPIENT);
    a = judge(r, "o", "450 4.1.1 x"); /* for now only: nothing to suppress */
    assert_true(!a.hard && a.reaction == REACT_NONE);
    a = judge(r, "o", "550 slow"); /* 5xx, but the message is not to blame */
    assert_true(!a.hard && a.blame == BLAME_SOURCE && a.reaction == REACT_SLOW_PAIR && answer_elsewhere(&a));
    a = judge(r, "o", "450 later");
    assert_true(a.wait_ms == 600000 && !a.asked && a.reaction == REACT_SAME_SOURCE && !answer_elsewhere(&a));
    a = judge(r, "o", "450 later, try again in 3 minutes");
    assert_true(a.wait_ms == 180000 && a.asked);
    a = judge(r, "o", "550 you are on zen.example.");
    assert_string_equal(a.list, "zen.example");
    assert_int_equal(a.reaction, REACT_SUSPEND_PAIR);
    assert_string_equal(judge(r, "o", "550 listed here").list, "own");
    a = judge(r, "o", "450 x");
    assert_true(a.hard && a.blame == BLAME_US && a.reaction == REACT_NONE);
    a = judge(r, "o", "250 ok");
    assert_true(a.class == ANSWER_ACCEPTED && !a.hard);
    a = judge(r, "o", "554 huh");
    assert_true(a.class == ANSWER_UNKNOWN_HARD && a.hard && a.reaction == REACT_NONE);
    a = judge(r, "o", "451 huh");
    assert_true(a.class == ANSWER_UNKNOWN_SOFT && !a.hard);
    router_rules_free(r);
}

/* Patterns of every shape that the index reads words from: it must never hide a match. */
static void the_index_hides_no_match(void **state)
{
    (void)state;
    static const char *const shapes[][2] = {
        {"full", "550 the box is full"},
        {"colou?r", "550 my color"},
        {"boxes*", "550 my boxe"},
        {"(?:quota|space) (?:full|gone)", "550 space gone"},
        {"(?:quota )?abcd", "550 abcd"},
        {"mail(?:box){0,2}x", "550 mailx"},
        {"mail(?:boxes){1,2}", "550 mailboxes"},
        {"long(?= way)", "550 a long way"},
        {"long(?! way)", "550 a long day"},
        {"(?<=very )long", "550 a very long day"},
        {"[a-z]{4}ly|wordy", "550 realLY"},
        {"\\\\bspam\\\\b|\\\\d{5}", "550 12345"},
        {"a.c.e.g", "550 abcdefg"},
        {"fu|ll", "550 fu"},
        {"((?:ab|cd)+efgh)+", "550 ABcdEFGH"},
        {"[]x]yyyy", "550 ]yyyy"},
        {"[[:alpha:]wxy]zzz", "550 azzz"},
        {"[a\\\\]b]zzzz", "550 ]zzzz"},
        {"\\\\x41bcd", "550 abcd"},
        {"\\\\Qa.b\\\\Ecd", "550 a.bcd"},
        {"(?i:abcd)efgh", "550 abcdefgh"},
        {"(?#nothing)efgh", "550 efgh"},
        {"(ab)\\\\1xyz", "550 ababxyz"},
        {"(ab)\\\\g1xyz", "550 ababxyz"},
        {"ab{2}cd{0}ef{,3}", "550 abbcef{,3}"},
        {"q{x}abc", "550 q{x}abc"},
        {"(?|abc(d)|efg(h))", "550 efgh"},
        {"caf\xc3\xa9", "550 caf\xc3\xa9"},
        {"end\\\\.", "550 the end."},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        char text[300];
        snprintf(text, sizeof(text), "- name: a\n  pattern: \"%s\"\n  class: full\n  examples: [\"%s\"]\n",
                 shapes[i][0], shapes[i][1]);
        struct router_rules *r = good(text);
        assert_string_equal(judge(r, "o", shapes[i][1]).rule, "a");
        router_rules_free(r);
    }
}

/* ---- the shipped ones ---- */

static struct router_rules *shipped(void)
{
    struct buf trouble = BUF_INIT;
    struct conf_errors errors = {.out = &trouble};
    struct router_rules *r;
    if (router_rules_load(NULL, &errors, &r))
        fail_msg("%s", buf_cstr(&trouble));
    buf_fini(&trouble);
    return r;
}

/* Loading has checked it already; said again here, so that it does not depend on the loader. */
static void every_shipped_rule_wins_its_examples(void **state)
{
    (void)state;
    struct router_rules *r = shipped();
    assert_true(router_rules_count(r) > 300);
    for (int i = 0; i < router_rules_count(r); i++) {
        struct router_rule_view v;
        router_rules_view(r, i, &v);
        assert_true(v.n_examples > 0);
        for (int k = 0; k < v.n_examples; k++)
            for (int p = 0; p < v.n_providers || p == 0; p++) {
                struct router_answer a = judge(r, v.n_providers ? v.providers[p] : "other", v.examples[k]);
                if (strcmp(a.rule, v.name) != 0)
                    fail_msg("%s:%d: %s loses \"%s\" to %s", v.file, v.line, v.name, v.examples[k], a.rule);
            }
    }
    router_rules_free(r);
}

static void shipped_rules_name_shipped_providers(void **state)
{
    (void)state;
    char path[] = "/tmp/remuda-rules-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    int root = (int)(strstr(__FILE__, "tests/unit/") - __FILE__);
    dprintf(fd,
            "node: { name: t, hostname: t.test, data: d }\nproviders: %.*sdeploy/providers.yaml\n"
            "rules: %.*sdeploy/rules.yaml\n",
            root, __FILE__, root, __FILE__);
    close(fd);
    struct settings *s = NULL;
    struct buf error = BUF_INIT;
    int err = settings_load(path, &s, &error);
    unlink(path);
    if (err)
        fail_msg("%s", buf_cstr(&error));
    struct router_rules *built_in = shipped();
    assert_int_equal(router_rules_count(s->rules), router_rules_count(built_in));
    router_rules_free(built_in);
    for (int i = 0; i < router_rules_count(s->rules); i++) {
        struct router_rule_view v;
        router_rules_view(s->rules, i, &v);
        for (int p = 0; p < v.n_providers; p++)
            if (router_provider_find(&s->router, span_str(v.providers[p])) < 0)
                fail_msg("%s:%d: no provider \"%s\"", v.file, v.line, v.providers[p]);
    }
    settings_unref(s);
    buf_fini(&error);
}

/* All of IANA's codes have a meaning, also where nothing else is known. */
static void iana_s_codes_are_known(void **state)
{
    (void)state;
    static const int details[] = {0, 10, 4, 6, 7, 6, 10, 30};
    struct router_rules *r = shipped();
    for (int subject = 1; subject <= 7; subject++)
        for (int detail = 0; detail <= details[subject]; detail++)
            for (int class = 4; class <= 5; class ++) {
                char raw[80];
                snprintf(raw, sizeof(raw), "%d50 %d.%d.%d xyz", class, class, subject, detail);
                struct router_answer a = judge(r, "other", raw);
                if (a.class == ANSWER_UNKNOWN_SOFT || a.class == ANSWER_UNKNOWN_HARD)
                    fail_msg("%s is not known", raw);
            }
    router_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_rule_wins_whatever_the_order),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(the_reply_is_seen_as_one_line),
        cmocka_unit_test(a_long_reply_is_cut),
        cmocka_unit_test(the_class_gives_what_the_rule_leaves_out),
        cmocka_unit_test(the_index_hides_no_match),
        cmocka_unit_test(every_shipped_rule_wins_its_examples),
        cmocka_unit_test(shipped_rules_name_shipped_providers),
        cmocka_unit_test(iana_s_codes_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
