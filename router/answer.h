/*
 * What a receiver's answer means, once it is understood: its class, whom it blames, how the router reacts,
 * and whether the message is done for. router/rules.h makes these from replies; the state of pairs, the
 * tenants' flows and the delivery only read them. Plain data.
 */
#ifndef REMUDA_ROUTER_ANSWER_H
#define REMUDA_ROUTER_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

/* What was said. The words of answer_class_text stand in rules, events, metrics and docs. */
enum answer_class {
    ANSWER_ACCEPTED,
    /* about the recipient */
    ANSWER_BAD_MAILBOX,    /* no such address */
    ANSWER_BAD_DOMAIN,     /* the receiver does not take mail for this domain: wrong MX, relaying denied */
    ANSWER_DISABLED,       /* the address exists, but is closed, suspended or unused */
    ANSWER_FULL,           /* over quota */
    ANSWER_RECIPIENT_RATE, /* this recipient gets too much at once, whoever sends it */
    ANSWER_REFUSED,        /* the recipient or its organisation does not want mail of this sender */
    /* about the source: its pace, its name, its standing */
    ANSWER_GREYLIST,
    ANSWER_RATE,        /* too many messages in a time; volume limits of a day */
    ANSWER_CONNECTIONS, /* too many connections at once, or messages over one */
    ANSWER_REPUTATION,  /* slowed or refused for the standing of the IP address */
    ANSWER_BLOCKLIST,   /* on a list that has a name: the receiver's or a public one */
    ANSWER_POLICY_IP,   /* refused for what the address is: no reverse name, dynamic, HELO, banned by hand */
    /* about the tenant: its domain, its mail */
    ANSWER_POLICY_DOMAIN,  /* standing, volume or policy of the sender's domain */
    ANSWER_AUTHENTICATION, /* SPF, DKIM or DMARC */
    ANSWER_SENDER,         /* the sender's address does not exist or is not allowed */
    ANSWER_CONTENT,        /* spam, virus, link, attachment, header */
    ANSWER_SIZE,           /* the message is too large */
    /* about the conversation */
    ANSWER_TLS,
    ANSWER_TOO_MANY_RECIPIENTS, /* in one transaction */
    ANSWER_PROTOCOL,            /* a command or an extension was not understood */
    ANSWER_LOOP,                /* mail loop, too many hops */
    /* nobody's message: the receiver or the way to it is in trouble */
    ANSWER_PROVIDER_TROUBLE,
    ANSWER_NETWORK, /* no answer: refused, lost or timed out connection (never of a rule) */
    ANSWER_LOCAL,   /* no answer: our own trouble, such as an unreadable body (never of a rule) */
    /* no rule knows it */
    ANSWER_UNKNOWN_SOFT,
    ANSWER_UNKNOWN_HARD,
    ANSWER_CLASSES
};

/* Whom it counts against. */
enum answer_blame {
    BLAME_NOBODY,
    BLAME_RECIPIENT,
    BLAME_TENANT,
    BLAME_SOURCE, /* the (source, provider) pair: another source may be tried at once */
    BLAME_PROVIDER,
    BLAME_US, /* we did it wrong: too many connections, a protocol error */
    ANSWER_BLAMES
};

/* What the router does beside bouncing (when hard) or trying again (when not). */
enum answer_reaction {
    REACT_NONE,
    REACT_SUPPRESS_RECIPIENT, /* bad mailbox: feeds the tenant's suppression list */
    REACT_SAME_SOURCE,        /* greylisted: go back from the same source after wait_ms */
    REACT_ELSEWHERE,          /* another source may be luckier; the pair's pace stays */
    REACT_SLOW_PAIR,          /* multiplicative decrease of the pair's rate */
    REACT_FEWER_CONNECTIONS,  /* the same for its connections */
    REACT_STOP_PAIR,          /* nothing over this pair for wait_ms */
    REACT_SUSPEND_PAIR,       /* until lifted or retested after wait_ms; raises an alert */
    REACT_SLOW_TENANT,        /* multiplicative decrease of the tenant's flow at this provider */
    REACT_SLOW_PROVIDER,      /* all pairs of the lane go slower; nobody is blamed */
    ANSWER_REACTIONS
};

enum { ANSWER_LIST_MOST = 48 };

struct router_answer {
    const char *rule; /* its name, "unknown" or "none" (no answer); borrowed from the rules, so from the
                         settings that the answer was judged by */
    enum answer_class class;
    enum answer_blame blame;
    enum answer_reaction reaction;
    bool hard;                   /* the recipient is done for; false: it is tried again */
    bool refused;                /* by a 5xx code, hard or not */
    bool asked;                  /* wait_ms stands in the reply's own words; else it is the rule's */
    uint64_t wait_ms;            /* not before; 0: the retry schedule's (message), the router's (pair) */
    char list[ANSWER_LIST_MOST]; /* ANSWER_BLOCKLIST: the list's name as said, "" for none */
};

/* Constant lower-case words, such as "bad-mailbox", "source", "slow-pair". Never NULL. */
const char *answer_class_text(enum answer_class c);
const char *answer_blame_text(enum answer_blame b);
const char *answer_reaction_text(enum answer_reaction r);

/* All of them in the order of the enums, NULL-terminated: for configuration and documentation. */
extern const char *const answer_class_words[];
extern const char *const answer_blame_words[];
extern const char *const answer_reaction_words[];

/* The message may go at once from another source of its pool: the blame is this source's alone. */
static inline bool answer_elsewhere(const struct router_answer *a)
{
    return !a->hard && a->blame == BLAME_SOURCE && a->reaction != REACT_SAME_SOURCE;
}

#endif
