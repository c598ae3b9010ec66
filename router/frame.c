/*
 * Octets of a frame:
 *   1      version (4 bits), held (1 bit: waits are told), whole (1 bit)
 *   4      members, big-endian
 *   varint number of candidates of the lane
 *   1      how many are in the frame (not in a whole one)
 *   each   place (1; not in a whole frame, where they come in order), verdict (4 bits), rank (2 bits), plain
 *          (1 bit: the weight is the score), score in 1/256 (1);
 *          of those that could: weight in 1/256 (varint, unless plain), credit (zigzag varint);
 *          of the others when held: microseconds that it waits (varint)
 *   then, unless whole: how many others had which verdict, pairs of verdict (1) and number (varint)
 */
#include "router/frame.h"

#include "lib/base/err.h"

enum {
    VERSION = 1,
    HELD = 8,
    WHOLE = 4,
    RANK_SHIFT = 4,
    PLAIN = 64,
    VERDICT_MASK = 15,
    PLACES = 256,
    ONE = 256
};
/* A candidate has two octets at least, one that could and its place four. */
enum { WHOLE_MOST = (ROUTER_FRAME_MOST - 6) / 2, LISTED_MOST = (ROUTER_FRAME_MOST - 7) / 4 };

_Static_assert((int)ROUTER_VERDICTS <= (int)VERDICT_MASK + 1, "a verdict has four bits");
_Static_assert((int)ROUTER_LANE_SOURCES_MOST <= (int)PLACES, "a place has an octet");

/* Octets while there is room; over: there was not. */
struct writer {
    struct router_frame *f;
    bool over;
};

static void put(struct writer *w, uint8_t octet)
{
    if (w->f->n == ROUTER_FRAME_MOST)
        w->over = true;
    else
        w->f->bytes[w->f->n++] = octet;
}

static void put_number(struct writer *w, uint64_t n)
{
    for (; n >= 128; n >>= 7)
        put(w, (uint8_t)(n | 128));
    put(w, (uint8_t)n);
}

static bool could(const struct router_candidate *c)
{
    return c->verdict == ROUTER_CHOSEN || c->verdict == ROUTER_WEIGHED_OUT;
}

static uint64_t in_steps(double share)
{
    return share > 0 ? (uint64_t)(share * ONE + 0.5) : 0;
}

static void put_candidate(struct writer *w, const struct router_candidate *c, bool held, uint64_t now_us)
{
    enum router_verdict verdict = could(c) ? ROUTER_WEIGHED_OUT : c->verdict;
    uint64_t score = in_steps(c->score), weight = in_steps(c->weight);
    bool plain = could(c) && weight == score;
    put(w, (uint8_t)((unsigned)verdict | (unsigned)c->rank << RANK_SHIFT | (plain ? PLAIN : 0)));
    put(w, (uint8_t)(score < ONE ? score : ONE - 1));
    if (could(c) && !plain)
        put_number(w, weight);
    if (could(c))
        put_number(w, (uint64_t)c->credit << 1 ^ (uint64_t)(c->credit >> 63));
    else if (held)
        put_number(w, c->until_us > now_us ? c->until_us - now_us : c->until_us > 0);
}

static void put_head(struct writer *w, unsigned flags, uint32_t members, int n)
{
    put(w, (uint8_t)(VERSION << 4 | flags));
    for (int shift = 24; shift >= 0; shift -= 8)
        put(w, (uint8_t)(members >> shift));
    put_number(w, (uint64_t)n);
}

static bool goes_before(const struct router_candidate *a, const struct router_candidate *b)
{
    return a->rank != b->rank ? a->rank > b->rank : a->credit > b->credit;
}

/* What decides, first things first: those that could by rank and credit; when held the one that binds. */
static int pick(const struct router_candidate *c, const struct router_decision *d, uint8_t best[LISTED_MOST])
{
    int n = 0;
    for (int i = 0; i < d->n_candidates; i++) {
        if (!could(&c[i])) {
            if (d->source < 0 && !n && c[i].verdict == d->cause && c[i].until_us == d->until_us)
                best[n++] = (uint8_t)i;
            continue;
        }
        int at = n;
        while (at > 0 && goes_before(&c[i], &c[best[at - 1]]))
            at--;
        if (at == LISTED_MOST)
            continue;
        n += n < LISTED_MOST;
        memmove(&best[at + 1], &best[at], (size_t)(n - 1 - at));
        best[at] = (uint8_t)i;
    }
    return n;
}

static enum router_verdict counted_as(const struct router_candidate *c)
{
    return could(c) ? ROUTER_WEIGHED_OUT : c->verdict;
}

static void put_others(struct writer *w, const uint32_t others[ROUTER_VERDICTS])
{
    for (int v = 0; v < ROUTER_VERDICTS; v++)
        if (others[v]) {
            put(w, (uint8_t)v);
            put_number(w, others[v]);
        }
}

static int room_for_others(const uint32_t others[ROUTER_VERDICTS])
{
    int room = 0;
    for (int v = 0; v < ROUTER_VERDICTS; v++)
        room += others[v] ? 2 + (others[v] > 127) : 0;
    return room;
}

/* As many as leave room for the counts of all others. */
static void pack_some(const struct router_candidate *c, const struct router_decision *d, uint32_t members,
                      uint64_t now_us, struct router_frame *out)
{
    uint32_t others[ROUTER_VERDICTS] = {0};
    uint8_t best[LISTED_MOST];
    struct writer w = {.f = out};
    out->n = 0;
    put_head(&w, d->source < 0 ? HELD : 0, members, d->n_candidates);
    uint8_t counted = out->n;
    put(&w, 0);
    for (int i = 0; i < d->n_candidates; i++)
        others[counted_as(&c[i])]++;
    int n = pick(c, d, best);
    for (int i = 0; i < n; i++) {
        uint8_t before = out->n;
        others[counted_as(&c[best[i]])]--;
        put(&w, best[i]);
        put_candidate(&w, &c[best[i]], d->source < 0, now_us);
        if (w.over || out->n + room_for_others(others) > ROUTER_FRAME_MOST) {
            others[counted_as(&c[best[i]])]++;
            out->n = before;
            w.over = false;
            break;
        }
        out->bytes[counted]++;
    }
    put_others(&w, others);
    ENSURE(!w.over);
}

void router_frame_pack(const struct router_candidate *candidates, const struct router_decision *d,
                       uint32_t members, uint64_t now_us, struct router_frame *out)
{
    struct writer w = {.f = out};
    bool held = d->source < 0;
    ENSURE(d->n_candidates >= 0 && d->n_candidates <= ROUTER_LANE_SOURCES_MOST);
    out->n = 0;
    put_head(&w, WHOLE | (held ? HELD : 0), members, d->n_candidates);
    bool fits = d->n_candidates <= WHOLE_MOST;
    for (int i = 0; fits && i < d->n_candidates; i++) {
        put_candidate(&w, &candidates[i], held, now_us);
        fits = !w.over;
    }
    if (!fits)
        pack_some(candidates, d, members, now_us, out);
}

/* ---- reading ---- */

static bool get(struct span *s, uint8_t *octet)
{
    if (!s->len)
        return false;
    *octet = (uint8_t)s->ptr[0];
    *s = span_of(s->ptr + 1, s->len - 1);
    return true;
}

static bool get_number(struct span *s, uint64_t *out)
{
    uint8_t octet;
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!get(s, &octet))
            return false;
        *out |= (uint64_t)(octet & 127) << shift;
        if (octet < 128)
            return true;
    }
    return false;
}

static bool get_candidate(struct span *s, bool held, struct router_candidate *out)
{
    uint8_t head, score;
    uint64_t weight, credit = 0, wait = 0;
    if (!get(s, &head) || !get(s, &score) || (head & VERDICT_MASK) >= ROUTER_VERDICTS)
        return false;
    out->verdict = (enum router_verdict)(head & VERDICT_MASK);
    out->rank = head >> RANK_SHIFT & 3;
    weight = score;
    if (could(out) && ((!(head & PLAIN) && !get_number(s, &weight)) || !get_number(s, &credit)))
        return false;
    if (!could(out) && held && !get_number(s, &wait))
        return false;
    out->score = (double)score / ONE;
    out->weight = could(out) ? (double)weight / ONE : 0;
    out->credit = (int64_t)(credit >> 1) ^ -(int64_t)(credit & 1);
    out->until_us = wait;
    return true;
}

static bool get_others(struct span *s, struct router_frame_view *out)
{
    while (s->len) {
        uint8_t verdict;
        uint64_t n;
        if (!get(s, &verdict) || verdict >= ROUTER_VERDICTS || !get_number(s, &n) ||
            n > ROUTER_LANE_SOURCES_MOST)
            return false;
        out->others[verdict] = (uint32_t)n;
    }
    return true;
}

static bool get_list(struct span *s, unsigned flags, struct router_frame_view *out)
{
    bool whole = flags & WHOLE;
    uint8_t n = 0, place;
    if (!whole && (!get(s, &n) || n > out->n_all))
        return false;
    while (out->n < (whole ? out->n_all : n)) {
        place = (uint8_t)out->n;
        if ((!whole && !get(s, &place)) || place >= out->n_all)
            return false;
        struct router_candidate *c = &out->list[out->n++];
        *c = (struct router_candidate){.source = place};
        if (!get_candidate(s, flags & HELD, c))
            return false;
    }
    return whole ? s->len == 0 : get_others(s, out);
}

bool router_frame_read(struct span bytes, struct router_frame_view *out)
{
    uint8_t head, octet;
    uint64_t n;
    *out = (struct router_frame_view){.n = 0};
    if (!get(&bytes, &head) || head >> 4 != VERSION)
        return false;
    for (int i = 0; i < 4; i++) {
        if (!get(&bytes, &octet))
            return false;
        out->members = out->members << 8 | octet;
    }
    if (!get_number(&bytes, &n) || n > ROUTER_LANE_SOURCES_MOST)
        return false;
    out->n_all = (int)n;
    return get_list(&bytes, head, out);
}
