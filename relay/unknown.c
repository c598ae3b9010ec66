/* Unknown answers: masked, counted, few. */
#include "relay/unknown.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"

struct unknown_answers {
    pthread_mutex_t lock; /* of all that follows */
    struct unknown_kind kinds[UNKNOWN_MOST];
    int n;
    uint64_t total;
};

struct unknown_answers *unknown_new(void)
{
    struct unknown_answers *u = calloc(1, sizeof(*u));
    ENSURE(u);
    pthread_mutex_init(&u->lock, NULL);
    return u;
}

void unknown_free(struct unknown_answers *u)
{
    if (!u)
        return;
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* ---- masking ---- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || strchr("@._-+=:/%&?~#", c) || (unsigned char)c >= 0x80;
}

static bool looks_like_ip(struct span w)
{
    int dots = 0, colons = 0, others = 0;
    for (size_t i = 0; i < w.len; i++) {
        dots += w.ptr[i] == '.';
        colons += w.ptr[i] == ':';
        others += !isxdigit((unsigned char)w.ptr[i]) && w.ptr[i] != '.' && w.ptr[i] != ':';
    }
    return !others && (dots == 3 || colons >= 3);
}

static bool looks_like_host(struct span w)
{
    const char *dot = memchr(w.ptr, '.', w.len);
    bool inside = dot && dot > w.ptr && dot + 1 < w.ptr + w.len;
    return inside && isalpha((unsigned char)w.ptr[w.len - 1]);
}

static const char *mask_of(struct span w)
{
    bool digit = false, letter = false;
    for (size_t i = 0; i < w.len; i++) {
        digit = digit || isdigit((unsigned char)w.ptr[i]);
        letter = letter || isalpha((unsigned char)w.ptr[i]);
    }
    if (w.len > 1 && memchr(w.ptr, '@', w.len))
        return "<addr>";
    if (memmem(w.ptr, w.len, "://", 3))
        return "<url>";
    if (looks_like_ip(w))
        return "<ip>";
    if (looks_like_host(w))
        return "<host>";
    if (digit)
        return letter ? "<id>" : "#";
    return NULL;
}

static size_t put(char out[UNKNOWN_TEXT], size_t at, struct span s)
{
    size_t n = s.len < UNKNOWN_TEXT - 1 - at ? s.len : UNKNOWN_TEXT - 1 - at;
    if (n)
        memcpy(out + at, s.ptr, n);
    return at + n;
}

/* Full stops and the like at the end of a word are the sentence's. */
static size_t word_length(struct span text)
{
    size_t n = 0;
    while (n < text.len && is_word(text.ptr[n]))
        n++;
    while (n > 1 && strchr(".:-", text.ptr[n - 1]))
        n--;
    return n;
}

void unknown_mask(struct span text, char out[UNKNOWN_TEXT])
{
    size_t at = 0;
    while (text.len && at < UNKNOWN_TEXT - 1) {
        size_t n = word_length(text);
        if (n) {
            const char *mask = mask_of(span_of(text.ptr, n));
            at = put(out, at, mask ? span_str(mask) : span_of(text.ptr, n));
        } else {
            n = 1;
            bool space = isspace((unsigned char)text.ptr[0]);
            if (!space || (at && out[at - 1] != ' '))
                at = put(out, at, space ? SPAN_LIT(" ") : span_of(text.ptr, 1));
        }
        text = span_of(text.ptr + n, text.len - n);
    }
    while (at && out[at - 1] == ' ')
        at--;
    out[at] = '\0';
}

/* ---- counting ---- */

static bool same_kind(const struct unknown_kind *k, const struct unknown_kind *o)
{
    return k->code == o->code && strcmp(k->masked, o->masked) == 0 && strcmp(k->provider, o->provider) == 0;
}

/* Its entry, or the one whose place it takes. */
static struct unknown_kind *find(struct unknown_answers *u, const struct unknown_kind *wanted)
{
    struct unknown_kind *least = NULL;
    for (int i = 0; i < u->n; i++) {
        struct unknown_kind *k = &u->kinds[i];
        if (same_kind(k, wanted))
            return k;
        bool less =
            !least || k->count < least->count || (k->count == least->count && k->last_ms < least->last_ms);
        least = less ? k : least;
    }
    return u->n < UNKNOWN_MOST ? &u->kinds[u->n++] : least;
}

static void copy(char *out, size_t room, struct span text)
{
    snprintf(out, room, "%.*s", SPAN_FMT(text));
    for (char *p = out; *p; p++)
        if (*p == '\n')
            *p = ' ';
}

void unknown_note(struct unknown_answers *u, struct span provider, int code, struct span text,
                  uint64_t now_ms)
{
    struct unknown_kind kind = {.code = code, .first_ms = now_ms};
    if (!u)
        return;
    copy(kind.provider, sizeof(kind.provider), provider);
    unknown_mask(text, kind.masked);
    copy(kind.sample, sizeof(kind.sample), text);
    pthread_mutex_lock(&u->lock);
    struct unknown_kind *k = find(u, &kind);
    if (same_kind(k, &kind)) {
        kind.count = k->count;
        kind.first_ms = k->first_ms;
    }
    kind.count++;
    kind.last_ms = now_ms;
    *k = kind;
    u->total++;
    pthread_mutex_unlock(&u->lock);
}

static int by_count(const void *a, const void *b)
{
    const struct unknown_kind *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->last_ms > y->last_ms ? -1 : x->last_ms < y->last_ms;
}

int unknown_list(struct unknown_answers *u, struct unknown_kind *out, int room)
{
    pthread_mutex_lock(&u->lock);
    struct unknown_kind *all = malloc(sizeof(*all) * UNKNOWN_MOST);
    ENSURE(all);
    int n = u->n;
    memcpy(all, u->kinds, sizeof(*all) * (size_t)n);
    pthread_mutex_unlock(&u->lock);
    qsort(all, (size_t)n, sizeof(*all), by_count);
    n = n < room ? n : room;
    memcpy(out, all, sizeof(*all) * (size_t)n);
    free(all);
    return n;
}

uint64_t unknown_total(struct unknown_answers *u)
{
    pthread_mutex_lock(&u->lock);
    uint64_t total = u->total;
    pthread_mutex_unlock(&u->lock);
    return total;
}
