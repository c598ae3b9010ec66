/* Which answer of an egress blames whom. */
#include "relay/delivery/through.h"

#include <stdio.h>

#include "relay/egress/wire.h"

void through_begin(struct through *t, const struct settings_egress *egress, const struct addr *source,
                   const struct addr *target, struct conn_connect_options *options)
{
    *t = (struct through){.egress = egress, .phase = THROUGH_TO_EGRESS};
    ENSURE(addr_parse_port(span_str(egress->address), 0, &t->address)); /* its key's type has seen to that */
    if (target) {
        t->source = *source;
        t->target = *target;
    }
    options->remote = &t->address;
    options->local = NULL;
    options->tunnel = egress->tls.client;
    options->tunnel_name = egress->tls.name;
    options->timeout_ms = THROUGH_CONNECT_MS;
}

bool through_hello(struct through *t, uint64_t wall_ms, struct buf *out)
{
    const struct settings_egress *e = t->egress;
    bool probe = !t->target.port, answers = e->protocol == EGRESS_REMUDA;
    uint8_t random[MAC_KEY_BYTES];
    if (!answers)
        t->phase = THROUGH_DONE;
    if (!answers && probe)
        return true; /* LOCAL would make HAProxy connect to itself */
    struct egress_call call = {.source = probe ? NULL : &t->source,
                               .target = &t->target,
                               .egress = e->name,
                               .key = answers && e->n_keys ? e->keys[0] : NULL,
                               .wall_ms = wall_ms};
    mac_key_make(random);
    memcpy(call.nonce, random, sizeof(call.nonce));
    egress_header_write(&call, out);
    return !answers;
}

bool through_waits(const struct through *t)
{
    return t->phase == THROUGH_TO_EGRESS || t->phase == THROUGH_TO_HOST;
}

static enum through_step fail(struct through *t, enum through_blame blame, const char *what, struct span text)
{
    t->phase = THROUGH_DONE;
    t->blame = blame;
    snprintf(t->trouble, sizeof(t->trouble), "egress %s: %s%s%.*s", t->egress->name, what,
             text.len ? ": " : "", (int)text.len, text.len ? text.ptr : "");
    return THROUGH_FAILED;
}

static enum through_step refused(struct through *t, enum egress_answer a, struct span text)
{
    enum through_blame blame = a == EGRESS_UNREACHABLE || a == EGRESS_DENIED ? THROUGH_BLAMES_HOST
                               : a == EGRESS_SOURCE                          ? THROUGH_BLAMES_SOURCE
                                                                             : THROUGH_BLAMES_EGRESS;
    return fail(t, blame, egress_answer_word(a), text);
}

enum through_step through_input(struct through *t, struct span in, size_t *consumed)
{
    enum egress_answer a;
    struct span text;
    enum through_step step = THROUGH_WAIT;
    bool probe = !t->target.port;
    *consumed = 0;
    while (*consumed < in.len) {
        size_t used;
        struct span rest = span_of(in.ptr + *consumed, in.len - *consumed);
        enum egress_parse parsed = egress_answer_parse(rest, &used, &a, &text);
        if (parsed == EGRESS_PARSE_MORE)
            return step;
        if (parsed == EGRESS_PARSE_ERROR)
            return fail(t, THROUGH_BLAMES_EGRESS, "it does not answer as an egress does", span_str(NULL));
        *consumed += used;
        bool accepted = t->phase == THROUGH_TO_HOST;
        if (a == EGRESS_ACCEPTED && !accepted && !probe) {
            t->phase = THROUGH_TO_HOST;
            step = THROUGH_ACCEPTED;
        } else if (a == (probe ? EGRESS_ACCEPTED : EGRESS_CONNECTED) && accepted != probe) {
            t->phase = THROUGH_DONE;
            return THROUGH_THERE; /* what follows is the host's */
        } else {
            return refused(t, a, text);
        }
    }
    return step;
}

void through_lost(struct through *t, const char *why)
{
    fail(t, THROUGH_BLAMES_EGRESS, why, span_str(NULL));
}

void through_timed_out(struct through *t)
{
    if (t->phase == THROUGH_TO_HOST)
        fail(t, THROUGH_BLAMES_HOST, "the host did not answer in time", span_str(NULL));
    else
        fail(t, THROUGH_BLAMES_EGRESS, "it does not answer", span_str(NULL));
}
