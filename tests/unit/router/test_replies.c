/*
 * The shipped rules measured on replies.tsv: published replies that are nobody's example, labelled by hand.
 * At least 97 of 100 classes and 99 of 100 decisions between bouncing and trying again must be right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/map.h"
#include "relay/unknown.h"
#include "router/rules.h"

enum { FIELDS = 5, LEAST_REPLIES = 650 };

struct measure {
    const struct router_rules *rules;
    struct pattern_scratch *scratch;
    struct map examples; /* of the rules, masked */
    int n, classes, decisions;
};

static void note_examples(struct measure *m)
{
    char masked[UNKNOWN_TEXT];
    for (int i = 0; i < router_rules_count(m->rules); i++) {
        struct router_rule_view v;
        router_rules_view(m->rules, i, &v);
        for (int k = 0; k < v.n_examples; k++) {
            unknown_mask(span_str(v.examples[k]), masked);
            map_put(&m->examples, span_str(masked), m);
        }
    }
}

static bool known_class(struct span word)
{
    for (int i = 0; answer_class_words[i]; i++)
        if (span_eq(span_str(answer_class_words[i]), word))
            return true;
    return false;
}

/* provider, class, hard or soft, source, reply */
static void take(struct measure *m, struct span line)
{
    struct span f[FIELDS];
    char text[ROUTER_REPLY_MOST * 2];
    struct router_reply reply = {.code = 0};
    struct router_answer a;
    for (int i = 0; i < FIELDS - 1; i++)
        f[i] = span_cut(&line, '\t');
    f[FIELDS - 1] = line;
    if (!known_class(f[1]) || !router_reply_read(f[4], &reply, text, sizeof(text)))
        fail_msg("replies.tsv: not a labelled reply: %.*s", SPAN_FMT(f[4]));
    char masked[UNKNOWN_TEXT];
    unknown_mask(f[4], masked);
    if (map_get(&m->examples, span_str(masked)))
        fail_msg("replies.tsv: is a rule's example: %.*s", SPAN_FMT(f[4]));
    reply.provider = f[0];
    router_rules_judge(m->rules, m->scratch, &reply, &a);
    bool class = span_eq(span_str(answer_class_text(a.class)), f[1]);
    bool decision = a.hard == span_eq(f[2], SPAN_LIT("hard"));
    m->n++;
    m->classes += class;
    m->decisions += decision;
    if (!class || !decision)
        printf("%.*s %.*s, but %s %s by %s: %.*s\n", SPAN_FMT(f[1]), SPAN_FMT(f[2]),
               answer_class_text(a.class), a.hard ? "hard" : "soft", a.rule, SPAN_FMT(f[4]));
}

static void test_measure(void **state)
{
    (void)state;
    char path[4096];
    struct buf trouble = BUF_INIT, file = BUF_INIT;
    struct conf_errors errors = {.out = &trouble};
    struct router_rules *rules;
    if (router_rules_load(NULL, &errors, &rules))
        fail_msg("%s", buf_cstr(&trouble));
    snprintf(path, sizeof(path), "%.*sreplies.tsv", (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), in)) > 0;)
        buf_add(&file, chunk, n);
    fclose(in);
    struct measure m = {.rules = rules, .scratch = pattern_scratch_new(), .examples = MAP_INIT};
    note_examples(&m);
    struct span rest = buf_span(&file);
    while (rest.len) {
        struct span line = span_cut(&rest, '\n');
        if (line.len && line.ptr[0] != '#')
            take(&m, line);
    }
    printf("%d replies: %.1f %% of classes, %.1f %% of hard and soft\n", m.n, 100.0 * m.classes / m.n,
           100.0 * m.decisions / m.n);
    assert_true(m.n >= LEAST_REPLIES);
    assert_true(m.classes * 100 >= m.n * 97);
    assert_true(m.decisions * 100 >= m.n * 99);
    map_fini(&m.examples);
    pattern_scratch_free(m.scratch);
    router_rules_free(rules);
    buf_fini(&file);
    buf_fini(&trouble);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_measure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
