/* A binary heap. */
#include "lib/base/timeline.h"

#include <stdlib.h>

#include "lib/base/err.h"

static bool is_before(const struct moment *a, const struct moment *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void timeline_add(struct timeline *t, struct moment what)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1024;
        t->heap = realloc(t->heap, t->cap * sizeof(*t->heap));
        ENSURE(t->heap);
    }
    what.order = t->order++;
    size_t i = t->n++;
    for (; i && is_before(&what, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = what;
}

const struct moment *timeline_first(const struct timeline *t)
{
    return t->n ? &t->heap[0] : NULL;
}

bool timeline_next(struct timeline *t, struct moment *out)
{
    if (!t->n)
        return false;
    *out = t->heap[0];
    struct moment last = t->heap[--t->n];
    size_t i = 0;
    for (;;) {
        size_t child = i * 2 + 1;
        if (child >= t->n)
            break;
        child += child + 1 < t->n && is_before(&t->heap[child + 1], &t->heap[child]);
        if (!is_before(&t->heap[child], &last))
            break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    if (t->n)
        t->heap[i] = last;
    return true;
}

void timeline_fini(struct timeline *t)
{
    free(t->heap);
    *t = (struct timeline){0};
}
