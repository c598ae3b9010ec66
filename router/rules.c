/* Judging a reply: the most specific rule that matches, and what it says. Loading is in rules_file.c. */
#include "router/rules.h"

#include <stdio.h>
#include <stdlib.h>

#include "router/retry.h"
#include "router/rules_private.h"

/* ---- matching ---- */

static bool enhanced_fits(const struct enhanced_want *want, const struct subject *s)
{
    if (want->form == ENHANCED_NONE)
        return true;
    return s->class && (want->class < 0 || want->class == s->class) && want->subject == s->subject &&
           (want->detail < 0 || want->detail == s->detail);
}

bool rule_matches(const struct rule *rule, struct pattern_scratch *scratch, const struct subject *s)
{
    return s->code >= rule->code_least && s->code <= rule->code_most && enhanced_fits(&rule->enhanced, s) &&
           (!rule->pattern || pattern_match(rule->pattern, scratch, span_of(s->text, s->len)));
}

bool rule_has_provider(const struct rule *rule, struct span provider)
{
    for (int i = 0; i < rule->raw.n_providers; i++)
        if (span_eq(span_str(rule->raw.providers[i]), provider))
            return true;
    return rule->raw.n_providers == 0;
}

int rules_find(const struct router_rules *r, struct pattern_scratch *scratch, struct span provider,
               const struct subject *s)
{
    uint64_t seen[RULE_WORDS_MOST];
    intptr_t place = (intptr_t)map_get(&r->providers, provider);
    const uint64_t *mask = r->masks + (2 * (place ? place - 1 : 0) + (s->code >= 500)) * r->n_words;
    grams_seen(&r->grams, s, seen, r->n_words);
    for (int w = 0; w < r->n_words; w++)
        for (uint64_t set = mask[w] & seen[w]; set; set &= set - 1) {
            int i = w * 64 + __builtin_ctzll(set);
            if (rule_matches(&r->rules[i], scratch, s))
                return i;
        }
    return -1;
}

/* ---- verdicts ---- */

static bool has(const struct subject *s, const char *word)
{
    return memmem(s->text, s->len, word, strlen(word)) != NULL;
}

/* A quick look first: retry_asked_ms reads the text word by word. */
static uint64_t asked_ms(const struct subject *s)
{
    static const char *const words[] = {"again", "retry", "greylist", "graylist", "wait", "back", "resend"};
    bool digit = false, speaks = false;
    for (size_t i = 0; i < s->len && !digit; i++)
        digit = s->text[i] >= '0' && s->text[i] <= '9';
    for (size_t i = 0; digit && !speaks && i < sizeof(words) / sizeof(words[0]); i++)
        speaks = has(s, words[i]);
    return speaks ? retry_asked_ms(span_of(s->text, s->len)) : 0;
}

static void take_list(const struct rule *rule, const struct pattern_scratch *scratch, const struct subject *s,
                      struct router_answer *out)
{
    struct span name = SPAN_LIT("");
    if (rule->pattern)
        name = pattern_group(rule->pattern, scratch, "list", span_of(s->text, s->len));
    if (!name.len && rule->raw.list)
        name = span_str(rule->raw.list);
    while (name.len && strchr(".,;:!)", name.ptr[name.len - 1]))
        name.len--;
    snprintf(out->list, sizeof(out->list), "%.*s", SPAN_FMT(name));
}

static bool hard_by_default(enum answer_class class, int code)
{
    switch (class) {
    case ANSWER_GREYLIST:
    case ANSWER_RATE:
    case ANSWER_CONNECTIONS:
    case ANSWER_REPUTATION:
    case ANSWER_BLOCKLIST:
    case ANSWER_POLICY_IP:
    case ANSWER_RECIPIENT_RATE:
    case ANSWER_TOO_MANY_RECIPIENTS:
        return false; /* another source or another hour may be luckier: the message is not to blame */
    default:
        return code >= 500;
    }
}

static void judge_rule(const struct rule *rule, const struct pattern_scratch *scratch,
                       const struct subject *s, struct router_answer *out)
{
    *out = rule->verdict;
    out->hard = rule->raw.hard >= 0 ? rule->raw.hard : hard_by_default(out->class, s->code);
    if (out->class == ANSWER_BLOCKLIST)
        take_list(rule, scratch, s, out);
    if (!out->hard && out->reaction == REACT_SUPPRESS_RECIPIENT)
        out->reaction = REACT_NONE;
    if (out->class == ANSWER_REPUTATION && s->code >= 500 && rule->raw.reaction < 0)
        out->reaction = REACT_STOP_PAIR; /* slower will not do where it is refused for its name */
}

void router_rules_judge(const struct router_rules *r, struct pattern_scratch *scratch,
                        const struct router_reply *reply, struct router_answer *out)
{
    struct subject s;
    if (reply->code < 400) {
        *out = (struct router_answer){.rule = "accepted", .class = ANSWER_ACCEPTED};
        return;
    }
    subject_init(&s, reply);
    int i = rules_find(r, scratch, reply->provider, &s);
    if (i >= 0)
        judge_rule(&r->rules[i], scratch, &s, out);
    else
        *out = (struct router_answer){.rule = "unknown",
                                      .class = s.code >= 500 ? ANSWER_UNKNOWN_HARD : ANSWER_UNKNOWN_SOFT,
                                      .hard = s.code >= 500};
    out->refused = s.code >= 500;
    uint64_t asked = out->hard ? 0 : asked_ms(&s);
    out->asked = asked != 0;
    out->wait_ms = asked ? asked : out->hard ? 0 : out->wait_ms;
}

/* ---- looking ---- */

int router_rules_count(const struct router_rules *r)
{
    return r->n;
}

void router_rules_view(const struct router_rules *r, int i, struct router_rule_view *out)
{
    ENSURE(i >= 0 && i < r->n);
    const struct rule *rule = &r->rules[i];
    *out = (struct router_rule_view){.name = rule->raw.name,
                                     .providers = rule->raw.providers,
                                     .n_providers = rule->raw.n_providers,
                                     .code = rule->raw.code,
                                     .enhanced = rule->raw.enhanced,
                                     .pattern = rule->raw.pattern,
                                     .verdict = rule->verdict,
                                     .examples = rule->raw.examples,
                                     .n_examples = rule->raw.n_examples,
                                     .file = rule->node->file,
                                     .line = rule->node->line};
    out->verdict.hard = rule->raw.hard >= 0 ? rule->raw.hard : hard_by_default(rule->verdict.class, 500);
}
