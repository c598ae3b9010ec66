/* What holds for tenants at providers, and what an operator does about it. */
#include <stdio.h>

#include "relay/api/admin_private.h"

static void answer(const struct admin_request *q, struct admin_reply *r,
                   const struct admin_question *question)
{
    char owner[ADMIN_OWNER_MOST], none[200] = "nothing holds for this tenant there";
    bool changes = question->kind != ADMIN_QUERY_TENANTS, list = !changes && !question->tenant;
    bool elsewhere = !list && admin_elsewhere(q->admin->node->log, 0, owner);
    if (elsewhere)
        snprintf(none, sizeof(none), "who has partition 0 judges, which is node %s: ask there",
                 owner[0] ? owner : "(not known here)");
    struct admin_form form = {
        .list = "tenants", .may_be_empty = !changes && !elsewhere, .none = none, .whole = true};
    admin_reply_answers(q, r, question, &form);
}

void admin_quarantine(const struct admin_request *q, struct admin_reply *r)
{
    struct admin_question question = {.kind = ADMIN_QUERY_TENANTS, .tenant = admin_arg(q, "tenant")};
    answer(q, r, &question);
}

static void change(const struct admin_request *q, struct admin_reply *r, enum admin_query_kind kind)
{
    struct admin_question question = {.kind = kind,
                                      .tenant = admin_arg(q, "tenant"),
                                      .provider = admin_arg(q, "provider"),
                                      .text = admin_arg(q, "reason")};
    if (!question.tenant || !question.tenant[0])
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "tenant: is needed");
    else if (!question.text || !question.text[0])
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "reason: is needed");
    else
        answer(q, r, &question);
}

void admin_quarantine_lift(const struct admin_request *q, struct admin_reply *r)
{
    change(q, r, ADMIN_QUERY_TENANT_LIFT);
}

void admin_quarantine_keep(const struct admin_request *q, struct admin_reply *r)
{
    change(q, r, ADMIN_QUERY_TENANT_KEEP);
}
