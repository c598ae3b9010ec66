/* Decisions as text. Decides nothing. */
#include "router/explain.h"

#include <inttypes.h>

const char *router_verdict_help(enum router_verdict v)
{
    static const char *const texts[ROUTER_VERDICTS] = {
        [ROUTER_CHOSEN] = "takes the message",
        [ROUTER_WEIGHED_OUT] = "could take it; it was another's turn, or another has an idle connection",
        [ROUTER_DISABLED] = "drained by the operator",
        [ROUTER_EXCLUDED] =
            "its address cannot be used here now, or is of another kind (IPv4, IPv6) than the hosts' are",
        [ROUTER_EGRESS] = "the egress that it is reached through does not answer",
        [ROUTER_NOT_STICKY] = "the message goes back from the source that tried it first",
        [ROUTER_CONNECTIONS] = "has as many connections open as the receiver may have from one source",
        [ROUTER_RATE] = "has sent as much as the receiver's rate allows",
        [ROUTER_TOTAL_CONNECTIONS] =
            "all sources together have as many connections open as the receiver allows",
        [ROUTER_TOTAL_RATE] = "all sources together have sent as much as the receiver's rate allows",
        [ROUTER_NO_SOURCE] = "the pool has no enabled source",
        [ROUTER_CAP] = "has used up its warm-up cap of the day or of the hour",
        [ROUTER_BACKOFF] = "is stopped or suspended after the receiver's answers",
        [ROUTER_WARMING] =
            "warms up; the message had its one attempt there or elsewhere and goes from a warm source",
        [ROUTER_TENANT] = "the tenant is slowed down at this receiver for what its own mail did there",
        [ROUTER_MOVING] = "its lane has moved: what it has sent is on its way from another partition",
    };
    return (unsigned)v < ROUTER_VERDICTS ? texts[v] : "";
}

static void add_outcome(const struct router_config *c, const struct router_decision *d, uint64_t now_us,
                        struct buf *out)
{
    if (d->source < 0) {
        buf_printf(out, "held: %s, %s", router_verdict_text(d->cause), router_verdict_help(d->cause));
        if (d->until_us) {
            uint64_t wait_ms = d->until_us > now_us ? (d->until_us - now_us + 999) / 1000 : 0;
            buf_printf(out, "; until in %" PRIu64 ".%03" PRIu64 " s", wait_ms / 1000, wait_ms % 1000);
        }
        buf_add_char(out, '\n');
        return;
    }
    buf_printf(out, "source %s%s", c->sources[d->source].name, d->reuse ? " over its idle connection" : "");
    if (d->runner_up >= 0)
        buf_printf(out, ", runner-up %s", c->sources[d->runner_up].name);
    buf_add_char(out, '\n');
}

void router_explain(const struct router_config *config, const struct router_state *state,
                    const struct router_scope *scope, const struct router_decision *d, uint64_t now_us,
                    struct buf *out)
{
    add_outcome(config, d, now_us, out);
    for (int i = 0; d->candidates && i < d->n_candidates; i++) {
        const struct router_candidate *k = &d->candidates[i];
        const struct router_source *s = &config->sources[k->source];
        buf_printf(out, "  %-16s %-39s weight %-6g connections %-4" PRIu32 " %s: %s\n", s->name, s->address,
                   k->weight, router_connections(state, scope, k->source), router_verdict_text(k->verdict),
                   router_verdict_help(k->verdict));
    }
}
