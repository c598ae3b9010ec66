/* Answers into verdicts (RFC 5321 4.2.1, 4.5.3.1.10, 6.1). Which source or pace follows from them is the
 * router's matter; what is written and sent is relay/delivery/settle.c's. */
#include "relay/delivery/outcome.h"

#include <stdio.h>
#include <string.h>

static void set(struct outcome_recipient *out, enum outcome_verdict verdict, const char *enhanced,
                const char *text)
{
    *out = (struct outcome_recipient){.verdict = verdict, .text = text ? text : "", .local = true};
    snprintf(out->enhanced, sizeof(out->enhanced), "%s", enhanced);
}

/* The one place where an answer becomes a verdict: the rules say what it means. */
static void judge_reply(const struct outcome_rules *by, const struct session_reply *reply,
                        struct outcome_recipient *out)
{
    *out = (struct outcome_recipient){.code = reply->code, .text = reply->text ? reply->text : ""};
    if (reply->enhanced[0])
        memcpy(out->enhanced, reply->enhanced, sizeof(out->enhanced));
    else
        snprintf(out->enhanced, sizeof(out->enhanced), "%c.0.0", '0' + reply->code / 100 % 10);
    struct router_reply said = {.provider = by->provider,
                                .code = reply->code,
                                .enhanced = span_str(reply->enhanced),
                                .text = span_str(out->text)};
    router_rules_judge(by->rules, by->scratch, &said, &out->answer);
    if (out->answer.class == ANSWER_ACCEPTED)
        out->verdict = reply->code < 300 ? OUTCOME_DELIVERED : OUTCOME_DEFERRED;
    else
        out->verdict = out->answer.hard ? OUTCOME_BOUNCED : OUTCOME_DEFERRED;
}

uint64_t outcome_wait_ms(const struct router_answer *a)
{
    return a->asked || a->blame != BLAME_SOURCE ? a->wait_ms : 0;
}

static void judge_answers(const struct outcome_rules *by, const struct attempt *a, struct outcome *out)
{
    bool progress = false; /* without it the next transaction would end like this one */
    out->elsewhere = a->n_recipients > 0;
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        struct outcome_recipient *r = &out->recipients[i];
        judge_reply(by, &a->replies[i], r);
        /* RFC 5321 4.5.3.1.10: a further recipient is taken later, in another transaction. */
        out->soon = out->soon || (i > 0 && r->answer.class == ANSWER_TOO_MANY_RECIPIENTS);
        progress = progress || r->verdict != OUTCOME_DEFERRED;
        if (r->verdict != OUTCOME_DEFERRED)
            continue;
        if (outcome_wait_ms(&r->answer) > out->asked_ms)
            out->asked_ms = outcome_wait_ms(&r->answer);
        out->sticky = out->sticky || r->answer.reaction == REACT_SAME_SOURCE;
        out->elsewhere = out->elsewhere && answer_elsewhere(&r->answer);
    }
    out->soon = out->soon && progress;
}

/* 421 says that the host closes, not that it has looked at the message. Recipients that were refused before
 * it are decided; the others have no other answer. */
static bool closed_by_421(const struct attempt *a, const struct outcome *out)
{
    bool any = false;
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        if (a->replies[i].code != 421 && out->recipients[i].verdict != OUTCOME_BOUNCED)
            return false;
        any = any || a->replies[i].code == 421;
    }
    return any && !a->dot_sent;
}

/* ... and it speaks of the host or the connection, not of who sends. */
static bool host_only(const struct attempt *a, const struct outcome *out)
{
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        enum answer_class c = out->recipients[i].answer.class;
        if (a->replies[i].code == 421 && c != ANSWER_PROVIDER_TROUBLE && c != ANSWER_CONNECTIONS &&
            c != ANSWER_UNKNOWN_SOFT)
            return false;
    }
    return closed_by_421(a, out);
}

/* An idle connection had ended before we noticed, or has carried enough. */
static void begin_again(const struct attempt *a, struct outcome *out)
{
    out->action = OUTCOME_AGAIN;
    for (uint32_t i = 0; i < a->n_recipients; i++)
        out->refused = out->refused || out->recipients[i].verdict == OUTCOME_BOUNCED;
}

static void judge_lost(const struct outcome_rules *by, const struct attempt *a, struct outcome *out)
{
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        const struct session_reply *reply = &a->replies[i];
        if (reply->code >= 400)
            judge_reply(by, reply, &out->recipients[i]);
        else
            set(&out->recipients[i], OUTCOME_DEFERRED, "4.4.2", a->trouble);
    }
    if (a->reused && !a->dot_sent && (a->stage <= STAGE_MAIL || closed_by_421(a, out)))
        begin_again(a, out);
    else if (!a->dot_sent)
        out->action = OUTCOME_NEXT_HOST;
}

static void judge_unsupported(const struct attempt *a, struct outcome *out)
{
    static const struct {
        const char *enhanced, *text;
    } words[] = {
        [LACKS_NOTHING] = {"5.6.0", "the receiving host lacks an extension that this message needs"},
        [LACKS_8BITMIME] = {"5.6.3",
                            "the message has 8-bit content and the receiving host does not offer 8BITMIME"},
        [LACKS_SMTPUTF8] = {"5.6.7", "the message needs SMTPUTF8 and the receiving host does not offer it"},
        [LACKS_SIZE] = {"5.3.4", "the message is larger than the receiving host accepts"},
    };
    for (uint32_t i = 0; i < a->n_recipients; i++)
        set(&out->recipients[i], OUTCOME_BOUNCED, words[a->lacks].enhanced, words[a->lacks].text);
}

void outcome_judge(const struct outcome_rules *by, const struct attempt *a, struct outcome *out)
{
    out->action = OUTCOME_SETTLE;
    out->asked_ms = 0;
    out->refused = out->soon = out->sticky = out->elsewhere = false;
    switch (a->end) {
    case ATTEMPT_ANSWERED:
        judge_answers(by, a, out);
        if (host_only(a, out) && a->reused)
            begin_again(a, out);
        else if (host_only(a, out))
            out->action = OUTCOME_NEXT_HOST;
        break;
    case ATTEMPT_LOST:
        judge_lost(by, a, out);
        break;
    case ATTEMPT_NOT_STARTED:
        out->action = OUTCOME_AGAIN;
        break;
    case ATTEMPT_UNSUPPORTED:
        judge_unsupported(a, out);
        break;
    case ATTEMPT_UNREADABLE:
        for (uint32_t i = 0; i < a->n_recipients; i++)
            set(&out->recipients[i], OUTCOME_DEFERRED, "4.3.0", "the message could not be read from the log");
        break;
    }
}

enum outcome_action outcome_judge_failure(const struct outcome_rules *by, const struct outcome_refusal *f,
                                          struct outcome_recipient *out)
{
    if (f->why == OUTCOME_FAILURE_SOURCE)
        return OUTCOME_NEXT_SOURCE;
    if (f->why == OUTCOME_FAILURE_HOPELESS) {
        set(out, OUTCOME_BOUNCED, "5.4.4", f->trouble);
    } else if (f->why == OUTCOME_FAILURE_LOOP) {
        set(out, OUTCOME_BOUNCED, "5.4.6", f->trouble);
    } else if (f->reply->code) {
        judge_reply(by, f->reply, out);
        out->verdict = OUTCOME_DEFERRED; /* it was said to the connection, not of a recipient */
        out->answer.hard = false;
        if (out->answer.reaction == REACT_SUPPRESS_RECIPIENT)
            out->answer.reaction = REACT_NONE;
    } else {
        set(out, OUTCOME_DEFERRED, "4.4.1",
            f->trouble ? f->trouble : "no host of the destination could be reached");
    }
    return OUTCOME_SETTLE;
}
