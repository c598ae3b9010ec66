/* Inside of the rules: one rule as it is matched, the reply as rules see it, the set and its index. */
#ifndef REMUDA_ROUTER_RULES_PRIVATE_H
#define REMUDA_ROUTER_RULES_PRIVATE_H

#include "lib/base/map.h"
#include "router/rules.h"

enum {
    RULE_WORDS_MOST = ROUTER_RULES_MOST / 64,
    GATES_MOST = 8192,
    GATE_WORDS_MOST = GATES_MOST / 64,
    GATE_SETS = 3,
    GRAM_BYTES = 3,
    GRAM_BITS = 1 << 16,
    GRAM_SLOTS = 1 << 14
};

/* How much of an enhanced code a rule names; a larger number is more specific. */
enum enhanced_form { ENHANCED_NONE, ENHANCED_X_PREFIX, ENHANCED_PREFIX, ENHANCED_X_EXACT, ENHANCED_EXACT };

struct enhanced_want {
    enum enhanced_form form;
    int class, subject, detail; /* -1: any */
};

/* As the file has it. */
struct raw_rule {
    const char *name;
    const char *const *providers;
    int n_providers;
    const char *code, *enhanced, *pattern;
    int class, blame, reaction; /* -1: not given */
    uint64_t wait_ms;
    int hard; /* -1 not given, 0 no, 1 yes */
    const char *list;
    uint32_t prefer;
    const char *const *examples;
    int n_examples;
};

struct rule {
    struct raw_rule raw;
    const struct conf_node *node;
    int code_least, code_most;
    struct enhanced_want enhanced;
    struct pattern *pattern; /* NULL: none */
    uint64_t specificity;
    struct router_answer verdict; /* hard and waiting are decided per reply */
};

/* A reply as rules see it: one line, lower case, single spaces, no enhanced codes in front of its lines. */
struct subject {
    int code;
    int class, subject, detail; /* class 0: no enhanced code */
    size_t len;
    char text[ROUTER_REPLY_MOST];
};

struct gram_slot {
    uint32_t gram;
    int first; /* into uses, -1: empty */
};

struct gram_use {
    uint16_t gate;
    uint8_t set;
    int next;
};

/*
 * Which rules can match at all. An alternative of a pattern is a gate: it opens when of each of its sets of
 * literals (at most GATE_SETS) one stands in the reply, told by its three rarest characters in a row. A rule
 * is looked at when one of its gates is open. All grams of a reply are looked up in one pass.
 */
struct gram_index {
    uint8_t bits[GRAM_BITS / 8]; /* quick no */
    struct gram_slot slots[GRAM_SLOTS];
    struct gram_use *uses;
    int n_uses, cap_uses;
    uint16_t *rule_of; /* by gate */
    int n_gates, n_gate_words;
    uint64_t none[GATE_SETS][GATE_WORDS_MOST]; /* gates that lack this set */
    uint64_t free[RULE_WORDS_MOST];            /* rules that need no words */
};

struct router_rules {
    struct arena arena;
    struct rule *rules; /* the most specific first */
    int n;
    int n_words;          /* of a set of rules */
    struct map providers; /* name -> place + 1 in masks */
    int n_providers;      /* place 0: any other */
    uint64_t *masks;      /* [place][0: 4xx, 1: 5xx][n_words]: rules that may match */
    struct gram_index grams;
};

/* rules_text.c */
void subject_init(struct subject *s, const struct router_reply *reply);

/* rules_words.c: what each match of a pattern needs */
enum { LITERALS_MOST = 64, LITERAL_SETS_MOST = 6, ALTERNATIVES_MOST = 64 };
struct literals { /* one of these */
    struct span items[LITERALS_MOST];
    int n;
    size_t least;
};
struct alternative { /* one of each of these; none: anything */
    struct literals sets[LITERAL_SETS_MOST];
    int n;
};
/* The alternatives of a pattern, of which one must hold; returns how many, 0 when nothing can be said. */
int alternatives_of(struct span pattern, struct arena *arena, struct alternative *out);

/* rules_index.c */
void rules_index(struct router_rules *r);
void grams_seen(const struct gram_index *g, const struct subject *s, uint64_t *seen, int n_words);

/* rules.c */
bool rule_matches(const struct rule *rule, struct pattern_scratch *scratch, const struct subject *s);
bool rule_has_provider(const struct rule *rule, struct span provider);
/* The winner's place, -1 for none. */
int rules_find(const struct router_rules *r, struct pattern_scratch *scratch, struct span provider,
               const struct subject *s);

/* rules_check.c: every example is won by its own rule, and by no other of equal specificity. */
void rules_check(const struct router_rules *r, struct conf_errors *errors);

/* rules_builtin.c */
struct span rules_builtin(void);

#endif
