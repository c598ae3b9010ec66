/* What must hold of a rule set: each example is won by its own rule, and no rule of equal specificity fits.
 */
#include <stdlib.h>

#include "router/rules_private.h"

struct check {
    const struct router_rules *rules;
    struct conf_errors *errors;
    struct pattern_scratch *scratch;
};

static const struct conf_node *example_place(const struct rule *r, int k)
{
    const struct conf_node *at = conf_at(conf_get(r->node, "examples"), k);
    return at ? at : r->node;
}

/* Who else of the same specificity matches: a contradiction, or the same rule twice. */
static void check_equals(const struct check *c, int i, int k, struct span provider, const struct subject *s)
{
    const struct rule *r = &c->rules->rules[i];
    for (int j = 0; j < c->rules->n; j++) {
        const struct rule *o = &c->rules->rules[j];
        if (j == i || o->specificity != r->specificity || !rule_has_provider(o, provider) ||
            !rule_matches(o, c->scratch, s))
            continue;
        conf_error(c->errors, example_place(r, k),
                   "examples: the rule \"%s\" in line %d has the same specificity and matches this reply of "
                   "\"%s\" too; expected that one of them says more",
                   o->raw.name, o->node->line, r->raw.name);
    }
}

static void check_example(const struct check *c, int i, int k, struct span provider)
{
    const struct rule *r = &c->rules->rules[i];
    char text[ROUTER_REPLY_MOST * 2];
    struct router_reply reply = {.code = 0};
    struct subject s;
    if (!router_reply_read(span_str(r->raw.examples[k]), &reply, text, sizeof(text))) {
        conf_error(c->errors, example_place(r, k),
                   "examples: found \"%.40s\", expected a reply code in front", r->raw.examples[k]);
        return;
    }
    subject_init(&s, &reply);
    if (!rule_matches(r, c->scratch, &s)) {
        conf_error(c->errors, example_place(r, k), "examples: the rule \"%s\" does not match its own example",
                   r->raw.name);
        return;
    }
    int winner = rules_find(c->rules, c->scratch, provider, &s);
    if (winner < 0) { /* a fault of rules_words.c; better a file refused than a rule that never matches */
        conf_error(c->errors, example_place(r, k), "examples: the index does not find \"%s\" by its pattern",
                   r->raw.name);
        return;
    }
    const struct rule *w = &c->rules->rules[winner];
    if (winner != i && w->specificity > r->specificity)
        conf_error(c->errors, example_place(r, k),
                   "examples: the more specific rule \"%s\" in line %d takes this reply from \"%s\"",
                   w->raw.name, w->node->line, r->raw.name);
    check_equals(c, i, k, provider, &s);
}

void rules_check(const struct router_rules *r, struct conf_errors *errors)
{
    struct check c = {.rules = r, .errors = errors, .scratch = pattern_scratch_new()};
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->rules[i].raw.n_examples; k++) {
            const struct raw_rule *raw = &r->rules[i].raw;
            for (int p = 0; p < raw->n_providers; p++)
                check_example(&c, i, k, span_str(raw->providers[p]));
            if (raw->n_providers == 0)
                check_example(&c, i, k, SPAN_LIT("other"));
        }
    pattern_scratch_free(c.scratch);
}
