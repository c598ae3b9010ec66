/* A map and an array. */
#include "relay/simulate/names.h"

#include <stdlib.h>

#include "lib/base/err.h"

uint32_t names_find(const struct names *s, struct span text)
{
    uintptr_t found = (uintptr_t)map_get(&s->numbers, text);
    return found ? (uint32_t)found - 1 : NAME_NONE;
}

uint32_t names_number(struct names *s, struct span text)
{
    uint32_t found = names_find(s, text);
    if (found != NAME_NONE)
        return found;
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->texts = realloc(s->texts, s->cap * sizeof(*s->texts));
        ENSURE(s->texts);
    }
    char *copy = strndup(text.len ? text.ptr : "", text.len);
    ENSURE(copy);
    s->texts[s->n] = copy;
    map_put(&s->numbers, text, (void *)((uintptr_t)s->n + 1));
    return s->n++;
}

const char *names_text(const struct names *s, uint32_t number)
{
    return number < s->n ? s->texts[number] : "-";
}

void names_fini(struct names *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        free(s->texts[i]);
    free(s->texts);
    map_fini(&s->numbers);
    *s = (struct names){0};
}
