/*
 * The one place that turns the end of an attempt into what it means for each recipient and what to do next.
 * Nobody else looks whether a reply starts with 4 or 5. Pure.
 */
#ifndef REMUDA_RELAY_DELIVERY_OUTCOME_H
#define REMUDA_RELAY_DELIVERY_OUTCOME_H

#include "relay/delivery/session.h"
#include "router/rules.h"

enum outcome_verdict { OUTCOME_DELIVERED, OUTCOME_DEFERRED, OUTCOME_BOUNCED };

struct outcome_recipient {
    enum outcome_verdict verdict;
    int code;                    /* 0: no answer */
    char enhanced[12];           /* always set: the receiver's, or ours by what happened */
    const char *text;            /* the receiver's own words, or ours; lives as long as the attempt */
    bool local;                  /* text is ours */
    struct router_answer answer; /* what it means; its rule is NULL when nothing was answered */
};

enum outcome_action {
    OUTCOME_SETTLE,      /* each recipient by its verdict */
    OUTCOME_AGAIN,       /* nothing reached the receiver: back into the queue, not counted */
    OUTCOME_NEXT_HOST,   /* this host would or could not: the next one of the destination, else settle; those
                            that it has refused for good are settled */
    OUTCOME_NEXT_SOURCE, /* nothing wrong with the destination: at once from another source, not counted */
};

/* How it went with the hosts of a destination when no session came up; of several the last in this order. */
enum outcome_failure {
    OUTCOME_FAILURE_NONE,
    OUTCOME_FAILURE_HOPELESS, /* every host is one that mail must not go to, or has no address */
    OUTCOME_FAILURE_LOOP,     /* the best host left is this relay itself */
    OUTCOME_FAILURE_SOURCE,  /* the source's address cannot be bound, or is of another kind than all hosts' */
    OUTCOME_FAILURE_PASSING, /* something that may be different later */
};

struct outcome {
    enum outcome_action action;
    uint64_t asked_ms; /* the longest of the deferred recipients' outcome_wait_ms */
    bool refused; /* AGAIN: some recipients were refused for good before; those are settled and it counts */
    bool soon;    /* some recipients only did not fit into this transaction, others are done: retry at once */
    bool sticky;  /* greylisted: go back from the same source */
    bool elsewhere; /* whoever is deferred is so for the source's sake: another one may be luckier now */
    struct outcome_recipient recipients[100]; /* as attempt->recipients */
};

/* By what answers are understood. */
struct outcome_rules {
    const struct router_rules *rules;
    struct pattern_scratch *scratch; /* this thread's */
    struct span provider;            /* the lane's */
};

/* What an answer asks of the message: a rule's wait that blames the source is the pair's, not the message's.
 */
uint64_t outcome_wait_ms(const struct router_answer *a);

void outcome_judge(const struct outcome_rules *by, const struct attempt *a, struct outcome *out);

/* What a connection that never came up means, in the receiver's words (the reply's code is not 0) or ours:
 * SETTLE with *out, a deferral unless it is hopeless; or NEXT_SOURCE, *out untouched. */
struct outcome_refusal {
    enum outcome_failure why;
    const struct session_reply *reply;
    const char *trouble;
};
enum outcome_action outcome_judge_failure(const struct outcome_rules *by, const struct outcome_refusal *f,
                                          struct outcome_recipient *out);

#endif
