/*
 * The SMTP client against a receiver that says anything, at any time, in any fragments, and a kernel that
 * takes bytes when it likes. Octets below 8 are events, everything else is the receiver's. Whatever happens:
 * every attempt is done exactly once, the connection closes once, no body ends its own message, and a message
 * counts as delivered only when its final dot had left.
 */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/delivery/client_rig.h"

enum {
    EVENT_STALL = 1,
    EVENT_LOSE,
    EVENT_KERNEL,
    EVENT_KERNEL_ALL,
    EVENT_TLS,
    EVENT_QUIT,
    EVENT_TURN,
    EVENTS
};

static const char nasty[] = "Subject: x\r\n\r\n.\r\n..\r\n\n.\n\r.\r\r\n.\r\nQUIT\r\n.";

struct bench {
    struct rig r;
    struct parcel parcels[RIG_ATTEMPTS];
    int given;
};

static void make_parcels(struct bench *b)
{
    for (int i = 0; i < RIG_ATTEMPTS; i++) {
        parcel_init(&b->parcels[i], 1 + (uint32_t)i % RIG_RECIPIENTS, span_of(nasty, sizeof(nasty) - 1));
        b->parcels[i].message->record->eight_bit = i == 5;
    }
}

static void give_when_idle(struct bench *b)
{
    struct rig *r = &b->r;
    if (r->next_at == RIG_ATTEMPTS || !client_idle(r->client))
        return;
    client_give(r->client, &r->next[r->next_at++]->attempt);
}

static void event(struct bench *b, int what)
{
    struct rig *r = &b->r;
    switch (what) {
    case EVENT_STALL:
        if (r->deadline_ms)
            client_timed_out(r->client);
        break;
    case EVENT_LOSE:
        client_lost(r->client, "closed by peer");
        break;
    case EVENT_KERNEL:
        r->kernel = r->flushed + 7;
        break;
    case EVENT_KERNEL_ALL:
        r->kernel = SIZE_MAX;
        break;
    case EVENT_TLS:
        if (r->tls_starts == 1 && client_stage(r->client) == STAGE_TLS)
            client_tls_up(r->client);
        break;
    case EVENT_QUIT:
        client_quit(r->client);
        break;
    default:
        rig_end_turn(r);
        give_when_idle(b);
        break;
    }
}

static void drive(struct bench *b, const char *in, size_t len, uint32_t seed)
{
    while (len && !b->r.closes) {
        if ((unsigned char)*in < EVENTS && *in) {
            event(b, *in);
            in++, len--;
            continue;
        }
        size_t text = 0, n;
        while (text < len && ((unsigned char)in[text] >= EVENTS || !in[text]))
            text++;
        n = fuzz_step(&seed, text);
        size_t taken = client_input(b->r.client, span_of(in, n));
        ENSURE(taken <= n);
        in += n, len -= n;
        if (seed & 1)
            event(b, EVENT_TURN);
    }
}

static void check_output(const struct rig *r)
{
    uint32_t dots = 0;
    size_t line = 0;
    for (size_t i = 0; i < r->out.len; i++) {
        if (r->out.data[i] == '\r')
            ENSURE(i + 1 == r->out.len || r->out.data[i + 1] == '\n');
        if (r->out.data[i] != '\n')
            continue;
        ENSURE(i > 0 && r->out.data[i - 1] == '\r');
        dots += i - line == 2 && r->out.data[line] == '.';
        line = i + 1;
    }
    ENSURE(dots <= client_messages(r->client));
}

static void check_attempt(const struct attempt *a)
{
    ENSURE(a->end != ATTEMPT_NOT_STARTED || !a->dot_sent);
    ENSURE(a->end != ATTEMPT_UNREADABLE);
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        if (a->end == ATTEMPT_ANSWERED)
            ENSURE(a->replies[i].code >= 400 || (a->replies[i].code / 100 == 2 && a->dot_sent));
        if (a->end == ATTEMPT_ANSWERED)
            ENSURE(a->replies[i].text && strlen(a->replies[i].text) <= 4096);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bench b;
    if (size < 2)
        return 0;
    rig_init(&b.r, (enum tls_policy)(data[0] % 3));
    make_parcels(&b);
    for (int i = 0; i < RIG_ATTEMPTS; i++)
        b.r.next[b.r.n_next++] = &b.parcels[i];
    drive(&b, (const char *)data + 2, size - 2, data[1]);
    rig_end_turn(&b.r);
    client_lost(b.r.client, "closed by peer");
    rig_end_turn(&b.r);
    ENSURE(b.r.closes == 1);
    ENSURE(b.r.n_done == b.r.next_at);
    for (int i = 0; i < b.r.n_done; i++)
        check_attempt(b.r.done[i]);
    check_output(&b.r);
    for (int i = 0; i < RIG_ATTEMPTS; i++)
        parcel_fini(&b.parcels[i]);
    rig_fini(&b.r);
    return 0;
}
