/* The rules' file: its keys, what a class means where a rule says nothing, and what must hold of one rule. */
#include <ctype.h>
#include <stdlib.h>

#include "router/rules_private.h"

#define RULE(member) CONF_AT(struct raw_rule, member)
static const struct conf_key rule_keys[] = {
    {"name", CONF_NAME, RULE(name), .required = true, .help = "Unique; stands in events."},
    {"providers", CONF_STRINGS, CONF_LIST_AT(struct raw_rule, providers, n_providers), .min = 1, .max = 32,
     .help = "Names of the providers it holds for. Default: all."},
    {"code", CONF_STRING, RULE(code), .help = "Reply code: `421`, or `4xx` or `5xx`. Default: both classes."},
    {"enhanced", CONF_STRING, RULE(enhanced),
     .help = "Enhanced code: `4.7.28`, `x.7.28` for either class, or a beginning: `4.7`, `x.7`."},
    {"pattern", CONF_STRING, RULE(pattern),
     .help =
         "PCRE2 pattern on the reply's text: one line, without enhanced codes, single spaces; the case of "
         "ASCII letters does not matter. A group `(?<list>...)` names the block list."},
    {"class", CONF_ENUM, RULE(class), .words = answer_class_words, .required = true,
     .help = "What the answer means."},
    {"blame", CONF_ENUM, RULE(blame), .words = answer_blame_words,
     .help = "Whom it counts against. Default: the class's."},
    {"reaction", CONF_ENUM, RULE(reaction), .words = answer_reaction_words,
     .help = "What the router does. Default: the class's."},
    {"wait", CONF_DURATION, RULE(wait_ms), .max = 7ull * 86400000,
     .help = "Not before this time; a time in the reply's own words goes before."},
    {"hard", CONF_ENUM, RULE(hard), .words = (const char *const[]){"no", "yes", NULL},
     .help = "`yes`: the recipient is done for; `no`: it is tried again. Default: yes for 5xx, except for "
             "classes that blame the source, greylisting and limits."},
    {"list", CONF_STRING, RULE(list), .help = "Name of the block list, where the reply does not say it."},
    {"prefer", CONF_INT, RULE(prefer), .initial = "5", .max = 9,
     .help = "Rank among rules with a pattern, before length: below 5 for words that wrap the true reason, "
             "above it for reasons that come wrapped."},
    {"examples", CONF_STRINGS, CONF_LIST_AT(struct raw_rule, examples, n_examples), .required = true,
     .min = 1, .max = 32, .help = "Real replies, code first, that this rule and no other must win."},
};
const struct conf_section router_rule_section = {
    "rules[]", "How answers are understood: the rules file, a list.", rule_keys,
    sizeof(rule_keys) / sizeof(rule_keys[0]), sizeof(struct raw_rule)};

static const struct {
    enum answer_blame blame;
    enum answer_reaction reaction;
} defaults[ANSWER_CLASSES] = {
    [ANSWER_BAD_MAILBOX] = {BLAME_RECIPIENT, REACT_SUPPRESS_RECIPIENT},
    [ANSWER_BAD_DOMAIN] = {BLAME_RECIPIENT, REACT_NONE},
    [ANSWER_DISABLED] = {BLAME_RECIPIENT, REACT_SUPPRESS_RECIPIENT},
    [ANSWER_FULL] = {BLAME_RECIPIENT, REACT_NONE},
    [ANSWER_RECIPIENT_RATE] = {BLAME_RECIPIENT, REACT_NONE},
    [ANSWER_REFUSED] = {BLAME_RECIPIENT, REACT_NONE},
    [ANSWER_GREYLIST] = {BLAME_NOBODY, REACT_SAME_SOURCE},
    [ANSWER_RATE] = {BLAME_SOURCE, REACT_SLOW_PAIR},
    [ANSWER_CONNECTIONS] = {BLAME_US, REACT_FEWER_CONNECTIONS},
    [ANSWER_REPUTATION] = {BLAME_SOURCE, REACT_SLOW_PAIR},
    [ANSWER_BLOCKLIST] = {BLAME_SOURCE, REACT_SUSPEND_PAIR},
    [ANSWER_POLICY_IP] = {BLAME_SOURCE, REACT_ELSEWHERE},
    [ANSWER_POLICY_DOMAIN] = {BLAME_TENANT, REACT_SLOW_TENANT},
    [ANSWER_AUTHENTICATION] = {BLAME_TENANT, REACT_NONE},
    [ANSWER_SENDER] = {BLAME_TENANT, REACT_NONE},
    [ANSWER_CONTENT] = {BLAME_TENANT, REACT_SLOW_TENANT},
    [ANSWER_SIZE] = {BLAME_TENANT, REACT_NONE},
    [ANSWER_TLS] = {BLAME_NOBODY, REACT_NONE},
    [ANSWER_TOO_MANY_RECIPIENTS] = {BLAME_US, REACT_NONE},
    [ANSWER_PROTOCOL] = {BLAME_US, REACT_NONE},
    [ANSWER_LOOP] = {BLAME_RECIPIENT, REACT_NONE},
    [ANSWER_PROVIDER_TROUBLE] = {BLAME_PROVIDER, REACT_NONE},
};

struct load {
    struct router_rules *rules;
    struct conf_errors *errors;
};

/* ---- one rule ---- */

static void take_code(const struct load *l, struct rule *r)
{
    const char *c = r->raw.code;
    r->code_least = 400;
    r->code_most = 599;
    if (!c)
        return;
    bool digits = strlen(c) == 3 && (c[0] == '4' || c[0] == '5');
    if (digits && strcmp(c + 1, "xx") == 0) {
        r->code_least = (c[0] - '0') * 100;
        r->code_most = r->code_least + 99;
    } else if (digits && isdigit((unsigned char)c[1]) && isdigit((unsigned char)c[2])) {
        r->code_least = r->code_most = atoi(c);
    } else {
        conf_error(l->errors, conf_place(r->node, "code"),
                   "code: found \"%s\", expected a code such as 421, 4xx or 5xx", c);
    }
}

/* A part of up to three digits; -1 for none. */
static int number(struct span s)
{
    uint64_t n;
    return s.len <= 3 && span_u64(s, &n) ? (int)n : -1;
}

static void take_enhanced(const struct load *l, struct rule *r)
{
    struct span rest = span_str(r->raw.enhanced);
    struct enhanced_want *e = &r->enhanced;
    if (!r->raw.enhanced)
        return;
    struct span class = span_cut(&rest, '.'), subject = span_cut(&rest, '.');
    bool any = span_eq(class, SPAN_LIT("x")), exact = rest.ptr != NULL;
    *e = (struct enhanced_want){
        .class = any ? -1 : number(class), .subject = number(subject), .detail = exact ? number(rest) : -1};
    if ((!any && e->class != 4 && e->class != 5) || e->subject < 0 || (exact && e->detail < 0))
        conf_error(l->errors, conf_place(r->node, "enhanced"),
                   "enhanced: found \"%s\", expected 4.7.28, x.7.28, 4.7 or x.7", r->raw.enhanced);
    e->form = exact ? (any ? ENHANCED_X_EXACT : ENHANCED_EXACT) : any ? ENHANCED_X_PREFIX : ENHANCED_PREFIX;
}

/* Patterns match octets: a set such as [eé] would hold half characters. */
static bool splits_characters(const char *p)
{
    bool set = false;
    for (; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '[' || *p == ']')
            set = *p == '[';
        else if (set && (unsigned char)*p >= 0x80)
            return true;
    }
    return false;
}

static void take_pattern(const struct load *l, struct rule *r)
{
    char why[160];
    if (r->raw.pattern && splits_characters(r->raw.pattern))
        conf_error(l->errors, conf_place(r->node, "pattern"),
                   "pattern: found a letter that is not ASCII in [...], expected (?:é|e) and the like");
    if (r->raw.pattern && pattern_new(span_str(r->raw.pattern), &r->pattern, why, sizeof(why)))
        conf_error(l->errors, conf_place(r->node, "pattern"), "pattern: found \"%.60s\": %s", r->raw.pattern,
                   why);
}

static void take_verdict(const struct load *l, struct rule *r)
{
    int class = r->raw.class;
    if (class == ANSWER_ACCEPTED || class == ANSWER_NETWORK || class == ANSWER_LOCAL ||
        class == ANSWER_UNKNOWN_SOFT || class == ANSWER_UNKNOWN_HARD) {
        conf_error(l->errors, conf_place(r->node, "class"), "class: found \"%s\", which is never of a rule",
                   answer_class_text((enum answer_class) class));
        return;
    }
    r->verdict = (struct router_answer){
        .rule = r->raw.name,
        .class = (enum answer_class) class,
        .blame = r->raw.blame >= 0 ? (enum answer_blame)r->raw.blame : defaults[class].blame,
        .reaction = r->raw.reaction >= 0 ? (enum answer_reaction)r->raw.reaction : defaults[class].reaction,
        .wait_ms = r->raw.wait_ms,
    };
    if (r->verdict.reaction == REACT_STOP_PAIR && !r->raw.wait_ms)
        conf_error(l->errors, r->node, "found \"stop-pair\" without \"wait\", expected for how long");
}

static uint64_t specificity(const struct rule *r)
{
    uint64_t least = r->pattern ? pattern_least(r->pattern) : 0;
    int code = !r->raw.code ? 0 : r->code_least == r->code_most ? 2 : 1;
    return (uint64_t)(r->raw.n_providers > 0) << 40 | (uint64_t)(r->pattern != NULL) << 36 |
           (uint64_t)r->raw.prefer << 32 | (least > 999 ? 999 : least) << 8 |
           (uint64_t)r->enhanced.form << 4 | (uint64_t)code;
}

static void take_rule(const struct load *l, const struct conf_node *node, struct rule *r)
{
    struct conf_fill fill = {.arena = &l->rules->arena, .errors = l->errors};
    int before = l->errors->count;
    *r = (struct rule){.raw = {.class = -1, .blame = -1, .reaction = -1, .hard = -1}, .node = node};
    conf_fill(&fill, &router_rule_section, node, &r->raw);
    if (l->errors->count != before)
        return;
    if (!r->raw.code && !r->raw.enhanced && !r->raw.pattern)
        conf_error(l->errors, node,
                   "found a rule that matches everything, expected code, enhanced or pattern");
    take_code(l, r);
    take_enhanced(l, r);
    take_pattern(l, r);
    take_verdict(l, r);
    r->specificity = specificity(r);
}

/* ---- the set ---- */

static int by_specificity(const void *a, const void *b)
{
    const struct rule *x = a, *y = b;
    if (x->specificity != y->specificity)
        return x->specificity > y->specificity ? -1 : 1;
    return strcmp(x->raw.name ? x->raw.name : "", y->raw.name ? y->raw.name : "");
}

static void check_names(const struct load *l)
{
    struct map names = MAP_INIT;
    for (int i = 0; i < l->rules->n; i++) {
        const struct rule *r = &l->rules->rules[i];
        const struct rule *first = r->raw.name ? map_get(&names, span_str(r->raw.name)) : NULL;
        if (first)
            conf_error(l->errors, conf_place(r->node, "name"),
                       "name: found \"%s\" a second time, expected it once (first in line %d)", r->raw.name,
                       first->node->line);
        else if (r->raw.name)
            map_put(&names, span_str(r->raw.name), (void *)(uintptr_t)r);
    }
    map_fini(&names);
}

static void take_all(const struct load *l, const struct conf_node *root)
{
    struct router_rules *rules = l->rules;
    if (root->kind != CONF_LIST || root->n_entries > ROUTER_RULES_MOST) {
        conf_error(l->errors, root, "rules: expected a list of at most %d rules", ROUTER_RULES_MOST);
        return;
    }
    rules->rules = arena_alloc(&rules->arena, sizeof(*rules->rules) * (size_t)(root->n_entries + 1));
    for (const struct conf_entry *e = root->entries; e; e = e->next)
        take_rule(l, e->value, &rules->rules[rules->n++]);
    check_names(l);
    if (l->errors->count)
        return;
    qsort(rules->rules, (size_t)rules->n, sizeof(*rules->rules), by_specificity);
    rules_index(rules);
    rules_check(rules, l->errors);
}

static int finish(struct load *l, int err, const struct conf_node *root, struct router_rules **out)
{
    int before = l->errors->count;
    if (!err) {
        take_all(l, root);
        err = l->errors->count > before ? RM_EINVAL : RM_OK;
    }
    if (err)
        router_rules_free(l->rules);
    *out = err ? NULL : l->rules;
    return err;
}

static struct load begin(struct conf_errors *errors)
{
    struct load l = {.rules = calloc(1, sizeof(*l.rules)), .errors = errors};
    ENSURE(l.rules);
    arena_init(&l.rules->arena);
    return l;
}

int router_rules_parse(const char *name, struct span text, struct conf_errors *errors,
                       struct router_rules **out)
{
    struct load l = begin(errors);
    const struct conf_node *root = NULL;
    int err = conf_parse(name, text, &l.rules->arena, errors, &root);
    return finish(&l, err, root, out);
}

int router_rules_load(const char *path, struct conf_errors *errors, struct router_rules **out)
{
    if (!path)
        return router_rules_parse("rules.yaml (built in)", rules_builtin(), errors, out);
    struct load l = begin(errors);
    const struct conf_node *root = NULL;
    int err = conf_read(path, &l.rules->arena, errors, &root);
    return finish(&l, err, root, out);
}

void router_rules_free(struct router_rules *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->n; i++)
        pattern_free(r->rules[i].pattern);
    map_fini(&r->providers);
    arena_fini(&r->arena);
    free(r);
}
