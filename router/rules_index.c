/* The index of a rule set: which rules may match for a provider and a code, and by the words of a reply. */
#include <stdlib.h>

#include "router/rules_private.h"

static uint32_t gram_at(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16;
}

static uint32_t spread(uint32_t gram)
{
    return gram * 0x9E3779B1u;
}

static void set_bit(uint64_t *set, int i)
{
    set[i / 64] |= 1ull << (i % 64);
}

static struct gram_slot *slot_of(const struct gram_index *g, uint32_t gram)
{
    uint32_t at = spread(gram) >> 18;
    while (g->slots[at].first >= 0 && g->slots[at].gram != gram)
        at = (at + 1) % GRAM_SLOTS;
    return (struct gram_slot *)&g->slots[at];
}

static void gram_add(struct gram_index *g, uint32_t gram, int gate, int set)
{
    ENSURE(g->n_uses < g->cap_uses);
    struct gram_slot *slot = slot_of(g, gram);
    g->uses[g->n_uses] = (struct gram_use){.gate = (uint16_t)gate, .set = (uint8_t)set, .next = slot->first};
    *slot = (struct gram_slot){.gram = gram, .first = g->n_uses++};
    uint32_t bit = spread(gram) >> 16;
    g->bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
}

/* Gates into rules. */
static void open_gates(const struct gram_index *g, uint64_t open[GATE_SETS][GATE_WORDS_MOST], uint64_t *seen)
{
    for (int w = 0; w < g->n_gate_words; w++)
        for (uint64_t set = open[0][w] & open[1][w] & open[2][w]; set; set &= set - 1)
            set_bit(seen, g->rule_of[w * 64 + __builtin_ctzll(set)]);
}

void grams_seen(const struct gram_index *g, const struct subject *s, uint64_t *seen, int n_words)
{
    uint64_t open[GATE_SETS][GATE_WORDS_MOST];
    memcpy(seen, g->free, sizeof(*seen) * (size_t)n_words);
    for (int k = 0; k < GATE_SETS; k++)
        memcpy(open[k], g->none[k], sizeof(open[k][0]) * (size_t)g->n_gate_words);
    for (size_t i = 0; i + GRAM_BYTES <= s->len; i++) {
        uint32_t gram = gram_at(s->text + i), bit = spread(gram) >> 16;
        if (!(g->bits[bit / 8] >> (bit % 8) & 1))
            continue;
        for (int at = slot_of(g, gram)->first; at >= 0; at = g->uses[at].next)
            set_bit(open[g->uses[at].set], g->uses[at].gate);
    }
    open_gates(g, open, seen);
}

/* How often each gram stands in the examples (by its hash): the rarest of a literal stands for it. */
static void count_grams(const struct router_rules *r, uint32_t *counts)
{
    char text[ROUTER_REPLY_MOST * 2];
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->rules[i].raw.n_examples; k++) {
            struct router_reply reply = {.code = 0};
            struct subject s;
            if (!router_reply_read(span_str(r->rules[i].raw.examples[k]), &reply, text, sizeof(text)))
                continue;
            subject_init(&s, &reply);
            for (size_t at = 0; at + GRAM_BYTES <= s.len; at++)
                counts[spread(gram_at(s.text + at)) >> 16]++;
        }
}

static uint32_t rarest(struct span literal, const uint32_t *counts)
{
    uint32_t best = gram_at(literal.ptr);
    for (size_t i = 1; i + GRAM_BYTES <= literal.len; i++)
        if (counts[spread(gram_at(literal.ptr + i)) >> 16] < counts[spread(best) >> 16])
            best = gram_at(literal.ptr + i);
    return best;
}

/* How often one of the set's grams stands in the examples. */
static uint32_t frequency(const struct literals *l, const uint32_t *counts)
{
    uint32_t sum = 0;
    for (int i = 0; i < l->n; i++)
        sum += counts[spread(rarest(l->items[i], counts)) >> 16];
    return sum;
}

/* The rarest sets first. */
static void sort_sets(struct alternative *a, const uint32_t *counts)
{
    for (int i = 1; i < a->n; i++)
        for (int k = i; k > 0 && frequency(&a->sets[k], counts) < frequency(&a->sets[k - 1], counts); k--) {
            struct literals t = a->sets[k];
            a->sets[k] = a->sets[k - 1];
            a->sets[k - 1] = t;
        }
}

static void add_gate(struct gram_index *g, int rule, struct alternative *a, const uint32_t *counts)
{
    int gate = g->n_gates++;
    g->rule_of[gate] = (uint16_t)rule;
    sort_sets(a, counts);
    for (int k = 0; k < GATE_SETS; k++) {
        if (k >= a->n)
            set_bit(g->none[k], gate);
        for (int i = 0; k < a->n && i < a->sets[k].n; i++)
            gram_add(g, rarest(a->sets[k].items[i], counts), gate, k);
    }
}

static int uses_of(const struct alternative *all, int n)
{
    int uses = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < all[i].n; k++)
            uses += all[i].sets[k].n;
    return uses;
}

static void index_words(struct router_rules *r)
{
    struct gram_index *g = &r->grams;
    uint32_t *counts = calloc(GRAM_BITS, sizeof(*counts));
    struct alternative *all = calloc(ALTERNATIVES_MOST, sizeof(*all));
    struct arena scratch = ARENA_INIT;
    ENSURE(counts && all);
    count_grams(r, counts);
    for (int i = 0; i < GRAM_SLOTS; i++)
        g->slots[i].first = -1;
    g->cap_uses = GRAM_SLOTS / 2;
    g->uses = arena_alloc(&r->arena, sizeof(*g->uses) * (size_t)g->cap_uses);
    g->rule_of = arena_alloc(&r->arena, sizeof(*g->rule_of) * GATES_MOST);
    for (int i = 0; i < r->n; i++) {
        const char *pattern = r->rules[i].raw.pattern;
        int n = pattern ? alternatives_of(span_str(pattern), &scratch, all) : 0;
        if (n == 0 || g->n_gates + n > GATES_MOST || g->n_uses + uses_of(all, n) > g->cap_uses)
            set_bit(g->free, i);
        else
            for (int k = 0; k < n; k++)
                add_gate(g, i, &all[k], counts);
    }
    g->n_gate_words = (g->n_gates + 63) / 64;
    arena_fini(&scratch);
    free(all);
    free(counts);
}

static void index_providers(struct router_rules *r)
{
    size_t pos = 0;
    struct span name;
    void *place;
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->rules[i].raw.n_providers; k++) {
            name = span_str(r->rules[i].raw.providers[k]);
            if (!map_get(&r->providers, name))
                map_put(&r->providers, name, (void *)(intptr_t)(++r->n_providers + 1));
        }
    r->masks =
        arena_alloc(&r->arena, sizeof(uint64_t) * 2 * (size_t)r->n_words * (size_t)(r->n_providers + 1));
    for (int i = 0; i < r->n; i++) {
        const struct rule *rule = &r->rules[i];
        for (int hard = 0; hard < 2; hard++) {
            if (hard ? rule->code_most < 500 : rule->code_least >= 500)
                continue;
            if (rule->raw.n_providers == 0)
                set_bit(r->masks + hard * r->n_words, i);
            for (pos = 0; map_next(&r->providers, &pos, &name, &place);)
                if (rule_has_provider(rule, name))
                    set_bit(r->masks + (2 * ((intptr_t)place - 1) + hard) * r->n_words, i);
        }
    }
}

void rules_index(struct router_rules *r)
{
    r->n_words = (r->n + 63) / 64;
    index_words(r);
    index_providers(r);
}
