/*
 * The loader of rules against any file, and what it takes against any reply. It takes the file or says what
 * is wrong and in which line of it, never both and never neither; what it takes has names and examples, each
 * of which its rule wins; and a reply is judged the same twice.
 */
#include <stdio.h>

#include "lib/base/pattern.h"
#include "router/rules.h"
#include "tests/fuzz/fuzz.h"

/*
 * libfyaml 0.7 loses up to some KB for a scalar in which many quotes in a row are doubled. What is ours to
 * free of libfyaml's (parser, events, diagnostics) the unit tests of lib/conf watch, without this line.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

static void judge(const struct router_rules *rules, struct pattern_scratch *scratch, struct span raw,
                  struct router_answer *out)
{
    char text[ROUTER_REPLY_MOST];
    struct router_reply reply = {.provider = SPAN_LIT("gmail")};
    *out = (struct router_answer){.rule = "none"};
    if (!router_reply_read(raw, &reply, text, sizeof(text)))
        return;
    router_rules_judge(rules, scratch, &reply, out);
    ENSURE(out->rule && (unsigned)out->class < ANSWER_CLASSES && (unsigned)out->blame < ANSWER_BLAMES);
    ENSURE((unsigned)out->reaction < ANSWER_REACTIONS && memchr(out->list, '\0', sizeof(out->list)));
    ENSURE((out->class == ANSWER_ACCEPTED) == (reply.code < 400));
    ENSURE(!out->hard || reply.code >= 400);
}

/* The example is judged as an answer of each of the rule's providers; nobody's rule is other's. */
static void check_example(const struct router_rules *rules, struct pattern_scratch *scratch,
                          const struct router_rule_view *v, const char *example)
{
    char text[ROUTER_REPLY_MOST];
    struct router_answer a;
    struct router_reply reply = {.provider = span_str(v->n_providers ? v->providers[0] : "other")};
    ENSURE(router_reply_read(span_str(example), &reply, text, sizeof(text)));
    router_rules_judge(rules, scratch, &reply, &a);
    ENSURE(strcmp(a.rule, v->name) == 0);
}

static void check_rules(const struct router_rules *rules, struct span reply)
{
    struct pattern_scratch *scratch = pattern_scratch_new();
    struct router_answer once, twice;
    for (int i = 0; i < router_rules_count(rules); i++) {
        struct router_rule_view v;
        router_rules_view(rules, i, &v);
        ENSURE(v.name && v.name[0] && v.n_examples > 0 && v.line > 0);
        for (int k = 0; k < v.n_examples; k++)
            check_example(rules, scratch, &v, v.examples[k]);
    }
    judge(rules, scratch, reply, &once);
    judge(rules, scratch, reply, &twice);
    ENSURE(strcmp(once.rule, twice.rule) == 0 && once.class == twice.class && once.hard == twice.hard);
    pattern_scratch_free(scratch);
}

/* Each line of it: "rules:LINE:...", and after the most that are told "and more". */
static void check_errors(struct span text)
{
    ENSURE(text.len > 0 && text.ptr[text.len - 1] == '\n');
    while (text.len) {
        struct span line = span_cut(&text, '\n');
        uint64_t number;
        if (span_eq(line, SPAN_LIT("and more")) && !text.len)
            break;
        struct span rest = line, name = span_cut(&rest, ':'), at = span_cut(&rest, ':');
        ENSURE(span_eq(name, SPAN_LIT("rules")) && span_u64(at, &number) && number > 0);
        ENSURE(fuzz_printable(line));
    }
}

/* The file, a NUL, a reply. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of((const char *)data, size), file = span_cut(&rest, '\0');
    struct buf lines = BUF_INIT;
    struct conf_errors errors = {.out = &lines};
    struct router_rules *rules = NULL;
    int err = router_rules_parse("rules", file, &errors, &rules);
    ENSURE((err == RM_OK) == (rules != NULL) && (err == RM_OK) == (lines.len == 0));
    if (rules)
        check_rules(rules, rest);
    else
        check_errors(buf_span(&lines));
    router_rules_free(rules);
    buf_fini(&lines);
    return 0;
}
