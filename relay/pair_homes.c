/* A pair's holder, and the moves that it still has to make, by version. */
#include "relay/pair_homes.h"

#include <stdio.h>
#include <stdlib.h>

#include "remuda.pb-c.h"

enum { KEY_MOST = 300 };

struct step {
    uint64_t version;
    uint32_t to;
};

struct entry {
    char *source, *provider;
    uint32_t holder;
    uint64_t version; /* by which it has it */
    uint64_t at;      /* of the release that gave it; 0: it began there */
    struct step *next;
    size_t n_next;
};

struct pair_homes {
    struct map pairs; /* "source/provider" -> struct entry */
};

static struct span key_of(const char *source, const char *provider, char room[KEY_MOST])
{
    int n = snprintf(room, KEY_MOST, "%s/%s", source, provider);
    return span_of(room, n < KEY_MOST ? (size_t)n : KEY_MOST - 1);
}

struct pair_homes *pair_homes_new(void)
{
    struct pair_homes *h = calloc(1, sizeof(*h));
    ENSURE(h);
    return h;
}

void pair_homes_free(struct pair_homes *h)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&h->pairs, &pos, &key, &value)) {
        struct entry *e = value;
        free(e->source);
        free(e->provider);
        free(e->next);
        free(e);
    }
    map_fini(&h->pairs);
    free(h);
}

/* ---- tables ---- */

static void begin(struct pair_homes *h, const char *source, const char *provider, struct step here)
{
    char room[KEY_MOST];
    struct entry *e = calloc(1, sizeof(*e));
    ENSURE(e);
    e->source = strdup(source);
    e->provider = strdup(provider);
    ENSURE(e->source && e->provider);
    e->holder = here.to;
    e->version = here.version;
    map_put(&h->pairs, key_of(source, provider, room), e);
}

static bool goes(struct entry *e, struct step to)
{
    uint32_t last = e->n_next ? e->next[e->n_next - 1].to : e->holder;
    if (last == to.to)
        return false;
    e->next = realloc(e->next, (e->n_next + 1) * sizeof(*e->next));
    ENSURE(e->next);
    e->next[e->n_next++] = to;
    return true;
}

bool pair_homes_table(struct pair_homes *h, const struct lane_table *t)
{
    size_t n, pos = 0;
    bool moved = false;
    struct span key;
    void *value;
    char room[KEY_MOST];
    const char **providers = lane_table_providers(t, &n);
    while (map_next(&t->sources, &pos, &key, &value)) {
        const struct source_home *s = value;
        for (size_t i = 0; i < n; i++) {
            const struct lane_home *lane = lane_table_find(t, s->pool, providers[i], s->shard);
            struct entry *e = map_get(&h->pairs, key_of(s->source, providers[i], room));
            if (lane && e)
                moved |= goes(e, (struct step){t->version, lane->partition});
            else if (lane)
                begin(h, s->source, providers[i], (struct step){t->version, lane->partition});
        }
    }
    free(providers);
    return moved;
}

/* ---- releases ---- */

bool pair_homes_release(struct pair_homes *h, uint64_t offset, const Remuda__Release *r)
{
    bool counted = false;
    char room[KEY_MOST];
    for (size_t i = 0; i < r->n_pairs; i++) {
        const Remuda__PairState *p = r->pairs[i];
        struct entry *e = map_get(&h->pairs, key_of(p->source, p->provider, room));
        if (!e || e->n_next == 0 || e->next[0].version != p->given || e->holder != r->partition)
            continue;
        e->holder = e->next[0].to;
        e->version = p->given;
        e->at = offset;
        memmove(e->next, e->next + 1, --e->n_next * sizeof(*e->next));
        counted = true;
    }
    return counted;
}

/* ---- asking ---- */

static struct lanes_pair view(const struct entry *e)
{
    struct lanes_pair out = {.source = e->source,
                             .provider = e->provider,
                             .holder = e->holder,
                             .version = e->version,
                             .at = e->at};
    if (e->n_next) {
        out.next = e->next[0].version;
        out.to = e->next[e->n_next - 1].to;
    }
    return out;
}

bool pair_homes_find(const struct pair_homes *h, const char *source, const char *provider,
                     struct lanes_pair *out)
{
    char room[KEY_MOST];
    const struct entry *e = map_get(&h->pairs, key_of(source, provider, room));
    if (e)
        *out = view(e);
    return e != NULL;
}

bool pair_homes_next(const struct pair_homes *h, size_t *pos, struct lanes_pair *out)
{
    struct span key;
    void *value;
    if (!map_next(&h->pairs, pos, &key, &value))
        return false;
    *out = view(value);
    return true;
}
