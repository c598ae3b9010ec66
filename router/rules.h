/*
 * Understanding answers: rules that tell from a provider, a reply code, an enhanced code and the reply's
 * words what the answer means (router/answer.h). The rules are a data file (deploy/rules.yaml; docs/RULES.md
 * says how to write one), read whole and checked: an example that another rule wins, two rules that
 * contradict each other, a duplicate are errors with file and line, as is a rule without an example.
 *
 * The most specific rule that matches wins; the order in the file means nothing. Specificity compares, in
 * this order: a provider before none; a pattern before none; `prefer`, the larger; the pattern's least length
 * (the shortest text that it can match), the longer; the enhanced code: 4.7.28, x.7.28, 4.7, x.7, none; the
 * reply code: 421, 4xx, none. Two rules of equal specificity that match the same example are an error; should
 * they ever match another reply, the alphabetically first wins.
 *
 * A rule set is immutable and may be used on any thread; scratch memory is the thread's own. Judging
 * allocates nothing.
 */
#ifndef REMUDA_ROUTER_RULES_H
#define REMUDA_ROUTER_RULES_H

#include "lib/base/pattern.h"
#include "lib/base/span.h"
#include "lib/conf/conf.h"
#include "router/answer.h"

struct router_rules;

enum {
    ROUTER_RULES_MOST = 2048,
    ROUTER_REPLY_MOST = 2000, /* octets of a reply that are looked at, white space collapsed */
};

/*
 * The rules of a file, or those that are built in (deploy/rules.yaml as it was when the program was built)
 * when path is NULL. On error *out is NULL and the errors say where: RM_ENOTFOUND, RM_EIO, RM_EINVAL.
 */
int router_rules_load(const char *path, struct conf_errors *errors, struct router_rules **out) MUST_CHECK;
/* The same from memory; name stands for the file in messages. */
int router_rules_parse(const char *name, struct span text, struct conf_errors *errors,
                       struct router_rules **out) MUST_CHECK;
void router_rules_free(struct router_rules *r);

/* A receiver's answer. */
struct router_reply {
    struct span provider; /* its name, "other" */
    int code;             /* 200..599 */
    struct span enhanced; /* "5.1.1"; empty: looked for at the beginning of the text */
    struct span text;     /* its lines joined by \n, with or without the enhanced code in front of each */
};

/* Always gives an answer: 2xx and 3xx are accepted, what no rule knows is unknown-soft or unknown-hard. */
void router_rules_judge(const struct router_rules *r, struct pattern_scratch *s,
                        const struct router_reply *reply, struct router_answer *out);

/*
 * A reply as it stands in a session, "550-5.1.1 no\r\n550 5.1.1 such user" or with \n, into code and text;
 * text (room bytes) gets the lines joined by \n. False: no reply code of 200 to 599 in front.
 */
bool router_reply_read(struct span raw, struct router_reply *out, char *text, size_t room);

/* ---- looking at the rules ---- */

struct router_rule_view {
    const char *name;
    const char *const *providers; /* n_providers of them; none: every provider */
    int n_providers;
    const char *code, *enhanced, *pattern; /* as written, NULL when not given */
    struct router_answer verdict;          /* hard: of a 5xx reply */
    const char *const *examples;
    int n_examples;
    const char *file;
    int line;
};

/* In the order of specificity, the most specific first; borrowed as long as the rules. */
int router_rules_count(const struct router_rules *r);
void router_rules_view(const struct router_rules *r, int i, struct router_rule_view *out);

/* The keys of a rule, for the documentation. */
extern const struct conf_section router_rule_section;

#endif
