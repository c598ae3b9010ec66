/* Outcomes into metrics: recipients by what became of them, answers by what they mean. */
#include "relay/delivery/figures.h"

#include "lib/base/clock.h"
#include "relay/metrics_table.h"
#include "relay/unknown.h"

static void count(const struct sub *s, const struct tell *t)
{
    struct lane *l = s->lane;
    if (t->suppressed) {
        const char *labels[] = {s->message->record->tenant};
        metric_add(metrics_cell(s->owner->delivery->shard->node->metrics, M_SUPPRESSED, labels), t->n);
        return;
    }
    switch (t->state) {
    case REMUDA__RECIPIENT_STATE__RCPT_DELIVERED:
        metric_add(l->delivered, t->n);
        metric_observe(l->seconds, (double)(clock_wall_ms() - s->accepted_ms) / 1000.0);
        break;
    case REMUDA__RECIPIENT_STATE__RCPT_BOUNCED:
        metric_add(l->bounced, t->n);
        break;
    case REMUDA__RECIPIENT_STATE__RCPT_EXPIRED:
        metric_add(l->expired, t->n);
        break;
    default:
        metric_add(l->deferred, !t->untried);
        break;
    }
}

/* By what the answers mean; what no rule knows is kept to be looked at. */
static void count_answers(const struct sub *s, const struct tell *t)
{
    struct lane *l = s->lane;
    struct node *node = s->owner->delivery->shard->node;
    for (size_t i = 0; i < t->n; i++) {
        const struct outcome_recipient *o = t->outcomes[i];
        enum answer_class c = o->answer.class;
        if (!o->answer.rule || c == ANSWER_ACCEPTED)
            continue;
        const char *labels[] = {l->provider, answer_class_text(c)};
        if (!l->answers[c])
            l->answers[c] = metrics_cell(node->metrics, M_ANSWERS, labels);
        metric_add(l->answers[c], 1);
        if (c == ANSWER_UNKNOWN_SOFT || c == ANSWER_UNKNOWN_HARD)
            unknown_note(node->unknown, span_str(l->provider), o->code, span_str(o->text), clock_wall_ms());
    }
}

void figures_outcome(const struct sub *s, const struct tell *t)
{
    count(s, t);
    count_answers(s, t);
}
