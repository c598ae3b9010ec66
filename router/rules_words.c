/*
 * What a pattern needs: literal runs that every match has. Understands the constructs that rules use and
 * gives up on others, which only costs time at matching, never a match.
 */
#include <ctype.h>

#include "router/rules_private.h"

enum { RUN_MOST = 64, DEPTH_MOST = 16 };

struct scan {
    const char *at, *end;
    struct arena *arena;
    int depth;
    bool lost; /* something that is not understood */
};

struct branch {
    char run[RUN_MOST];
    size_t len;
    struct alternative *needs;
};

static void alternatives(struct scan *s, struct literals *out);

/* Keeps the sets with the longest words. */
static void offer(struct branch *b, const struct literals *l)
{
    struct alternative *a = b->needs;
    int worst = 0;
    if (l->n == 0 || l->least < GRAM_BYTES)
        return;
    if (a->n < LITERAL_SETS_MOST) {
        a->sets[a->n++] = *l;
        return;
    }
    for (int i = 1; i < a->n; i++)
        if (a->sets[i].least < a->sets[worst].least)
            worst = i;
    if (a->sets[worst].least < l->least)
        a->sets[worst] = *l;
}

static void end_run(struct scan *s, struct branch *b)
{
    if (b->len) {
        struct literals one = {.n = 1, .least = b->len};
        one.items[0] = span_of(arena_strndup(s->arena, b->run, b->len), b->len);
        offer(b, &one);
    }
    b->len = 0;
}

/* Reads a quantifier, if there is one: the least count, 1 without; *more: the atom may repeat. */
static int quantifier(struct scan *s, bool *more)
{
    int least = 1;
    *more = false;
    if (s->at == s->end || !strchr("?*+{", *s->at))
        return 1;
    *more = true;
    if (*s->at == '{') {
        const char *close = memchr(s->at, '}', (size_t)(s->end - s->at));
        least = s->at + 1 < s->end && s->at[1] != '0' && isdigit((unsigned char)s->at[1]);
        s->lost = s->lost || !close;
        s->at = close ? close : s->end - 1;
    } else {
        least = *s->at == '+';
    }
    s->at++;
    if (s->at < s->end && (*s->at == '?' || *s->at == '+'))
        s->at++;
    return least;
}

static void literal(struct scan *s, struct branch *b, char c)
{
    bool more;
    int least = quantifier(s, &more);
    if (least && b->len < RUN_MOST)
        b->run[b->len++] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    if (more || b->len == RUN_MOST)
        end_run(s, b);
}

static void anything(struct scan *s, struct branch *b)
{
    bool more;
    end_run(s, b);
    quantifier(s, &more);
}

static void class_set(struct scan *s, struct branch *b)
{
    if (s->at < s->end && *s->at == '^')
        s->at++;
    if (s->at < s->end && *s->at == ']')
        s->at++;
    while (s->at < s->end && *s->at != ']') {
        struct span rest = span_of(s->at, (size_t)(s->end - s->at));
        const char *close = span_istarts(rest, SPAN_LIT("[:")) ? memmem(s->at, rest.len, ":]", 2) : NULL;
        s->at = close ? close + 2 : s->at + (*s->at == '\\' && rest.len > 1 ? 2 : 1);
    }
    s->lost = s->lost || s->at == s->end;
    s->at += s->at < s->end;
    anything(s, b);
}

/* Behind "(": what kind of group; false for one that is not understood. */
static bool group_head(struct scan *s, bool *looks)
{
    *looks = false;
    if (s->at == s->end || *s->at != '?')
        return s->at < s->end && *s->at != '*';
    struct span head = span_of(s->at, (size_t)(s->end - s->at));
    if (span_istarts(head, SPAN_LIT("?:"))) {
        s->at += 2;
        return true;
    }
    if (span_istarts(head, SPAN_LIT("?=")) || span_istarts(head, SPAN_LIT("?!"))) {
        *looks = true;
        s->at += 2;
        return true;
    }
    if (span_istarts(head, SPAN_LIT("?<=")) || span_istarts(head, SPAN_LIT("?<!"))) {
        *looks = true;
        s->at += 3;
        return true;
    }
    const char *close = span_istarts(head, SPAN_LIT("?<")) ? memchr(s->at, '>', head.len) : NULL;
    s->at = close ? close + 1 : s->at;
    return close != NULL;
}

static void group(struct scan *s, struct branch *b)
{
    bool looks, more;
    struct literals inner;
    end_run(s, b);
    if (++s->depth > DEPTH_MOST || !group_head(s, &looks)) {
        s->lost = true;
        return;
    }
    alternatives(s, &inner);
    s->lost = s->lost || s->at == s->end;
    s->at += s->at < s->end;
    s->depth--;
    if (quantifier(s, &more) && !looks)
        offer(b, &inner);
}

static void escape(struct scan *s, struct branch *b)
{
    if (s->at == s->end) {
        s->lost = true;
        return;
    }
    char c = *s->at++;
    if (strchr("QEKxpPcogkN", c) || isdigit((unsigned char)c)) /* what follows belongs to it */
        s->lost = true;
    else if (c == 'b' || c == 'B')
        end_run(s, b);
    else if (isalnum((unsigned char)c))
        anything(s, b);
    else
        literal(s, b, c);
}

static void branch(struct scan *s, struct alternative *out)
{
    struct branch b = {.needs = out};
    out->n = 0;
    while (s->at < s->end && *s->at != '|' && *s->at != ')' && !s->lost) {
        char c = *s->at++;
        if (c == '\\')
            escape(s, &b);
        else if (c == '(')
            group(s, &b);
        else if (c == '[')
            class_set(s, &b);
        else if (c == '.')
            anything(s, &b);
        else if (c == '^' || c == '$')
            end_run(s, &b);
        else
            literal(s, &b, c);
    }
    end_run(s, &b);
}

static bool another(struct scan *s)
{
    return s->at < s->end && *s->at == '|' && !s->lost && s->at++;
}

/* Of a group: one set, of the words of all its branches; none when a branch needs nothing. */
static void alternatives(struct scan *s, struct literals *out)
{
    struct alternative *a = arena_alloc(s->arena, sizeof(*a));
    bool whole = true;
    *out = (struct literals){.least = SIZE_MAX};
    do {
        branch(s, a);
        const struct literals *best = &a->sets[0];
        for (int i = 1; i < a->n; i++)
            best = a->sets[i].least > best->least ? &a->sets[i] : best;
        whole = whole && a->n && out->n + best->n <= LITERALS_MOST;
        if (!whole)
            continue;
        memcpy(out->items + out->n, best->items, sizeof(best->items[0]) * (size_t)best->n);
        out->n += best->n;
        out->least = best->least < out->least ? best->least : out->least;
    } while (another(s));
    if (!whole || s->lost)
        *out = (struct literals){.n = 0};
}

int alternatives_of(struct span pattern, struct arena *arena, struct alternative *out)
{
    struct scan s = {.at = pattern.ptr, .end = pattern.ptr + pattern.len, .arena = arena};
    int n = 0;
    do {
        if (n == ALTERNATIVES_MOST)
            return 0;
        branch(&s, &out[n]);
        if (out[n++].n == 0)
            return 0;
    } while (another(&s));
    return s.lost || s.at != s.end ? 0 : n;
}
