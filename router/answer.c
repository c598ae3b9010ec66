/* The words of router/answer.h. */
#include "router/answer.h"

#include <stddef.h>

#include "lib/base/err.h"

const char *const answer_class_words[] = {
    [ANSWER_ACCEPTED] = "accepted",
    [ANSWER_BAD_MAILBOX] = "bad-mailbox",
    [ANSWER_BAD_DOMAIN] = "bad-domain",
    [ANSWER_DISABLED] = "disabled",
    [ANSWER_FULL] = "full",
    [ANSWER_RECIPIENT_RATE] = "recipient-rate",
    [ANSWER_REFUSED] = "refused",
    [ANSWER_GREYLIST] = "greylist",
    [ANSWER_RATE] = "rate",
    [ANSWER_CONNECTIONS] = "connections",
    [ANSWER_REPUTATION] = "reputation",
    [ANSWER_BLOCKLIST] = "blocklist",
    [ANSWER_POLICY_IP] = "policy-ip",
    [ANSWER_POLICY_DOMAIN] = "policy-domain",
    [ANSWER_AUTHENTICATION] = "authentication",
    [ANSWER_SENDER] = "sender",
    [ANSWER_CONTENT] = "content",
    [ANSWER_SIZE] = "size",
    [ANSWER_TLS] = "tls",
    [ANSWER_TOO_MANY_RECIPIENTS] = "too-many-recipients",
    [ANSWER_PROTOCOL] = "protocol",
    [ANSWER_LOOP] = "loop",
    [ANSWER_PROVIDER_TROUBLE] = "provider-trouble",
    [ANSWER_NETWORK] = "network",
    [ANSWER_LOCAL] = "local",
    [ANSWER_UNKNOWN_SOFT] = "unknown-soft",
    [ANSWER_UNKNOWN_HARD] = "unknown-hard",
    [ANSWER_CLASSES] = NULL,
};

const char *const answer_blame_words[] = {
    [BLAME_NOBODY] = "nobody", [BLAME_RECIPIENT] = "recipient", [BLAME_TENANT] = "tenant",
    [BLAME_SOURCE] = "source", [BLAME_PROVIDER] = "provider",   [BLAME_US] = "us",
    [ANSWER_BLAMES] = NULL,
};

const char *const answer_reaction_words[] = {
    [REACT_NONE] = "none",
    [REACT_SUPPRESS_RECIPIENT] = "suppress-recipient",
    [REACT_SAME_SOURCE] = "same-source",
    [REACT_ELSEWHERE] = "elsewhere",
    [REACT_SLOW_PAIR] = "slow-pair",
    [REACT_FEWER_CONNECTIONS] = "fewer-connections",
    [REACT_STOP_PAIR] = "stop-pair",
    [REACT_SUSPEND_PAIR] = "suspend-pair",
    [REACT_SLOW_TENANT] = "slow-tenant",
    [REACT_SLOW_PROVIDER] = "slow-provider",
    [ANSWER_REACTIONS] = NULL,
};

const char *answer_class_text(enum answer_class c)
{
    ENSURE(c < ANSWER_CLASSES);
    return answer_class_words[c];
}

const char *answer_blame_text(enum answer_blame b)
{
    ENSURE(b < ANSWER_BLAMES);
    return answer_blame_words[b];
}

const char *answer_reaction_text(enum answer_reaction r)
{
    ENSURE(r < ANSWER_REACTIONS);
    return answer_reaction_words[r];
}
