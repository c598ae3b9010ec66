/* What the router has learned of pairs: warm-up, alerts, and the few things an operator may change. */
#include <stdio.h>

#include "relay/api/admin_private.h"

static void answer(const struct admin_request *q, struct admin_reply *r,
                   const struct admin_question *question)
{
    struct admin_form form = {.list = "pairs",
                              .may_be_empty = question->kind == ADMIN_QUERY_PAIRS,
                              .none =
                                  "no such source in a pool, or no such provider, or another node has it"};
    admin_reply_answers(q, r, question, &form);
}

void admin_pairs(const struct admin_request *q, struct admin_reply *r)
{
    const char *records = admin_arg(q, "records");
    struct admin_question question = {.kind = ADMIN_QUERY_PAIRS, .text = records ? "record" : ""};
    answer(q, r, &question);
}

static bool needs(struct admin_reply *r, const char *value, const char *what)
{
    char text[80];
    if (value && value[0])
        return true;
    snprintf(text, sizeof(text), "%s: is needed", what);
    admin_reply_error(r, MHD_HTTP_BAD_REQUEST, text);
    return false;
}

void admin_pair_mark(const struct admin_request *q, struct admin_reply *r)
{
    struct admin_question question = {.kind = ADMIN_QUERY_MARK_WARM,
                                      .source = admin_arg(q, "source"),
                                      .provider = admin_arg(q, "provider"),
                                      .text = admin_arg(q, "reason")};
    if (needs(r, question.source, "source") && needs(r, question.provider, "provider") &&
        needs(r, question.text, "reason"))
        answer(q, r, &question);
}

void admin_pair_clear(const struct admin_request *q, struct admin_reply *r)
{
    struct admin_question question = {.kind = ADMIN_QUERY_CLEAR,
                                      .source = admin_arg(q, "source"),
                                      .provider = admin_arg(q, "provider"),
                                      .text = admin_arg(q, "reason")};
    if (needs(r, question.source, "source") && needs(r, question.provider, "provider"))
        answer(q, r, &question);
}

void admin_pair_import(const struct admin_request *q, struct admin_reply *r)
{
    struct admin_question question = {.kind = ADMIN_QUERY_IMPORT, .text = admin_arg(q, "record")};
    if (needs(r, question.text, "record"))
        answer(q, r, &question);
}
