/* Arrays with lists of what is free in them. */
#include "relay/simulate/messages.h"

#include <stdlib.h>

#include "lib/base/err.h"

static struct span key_of(const uint64_t *id)
{
    return span_of((const char *)id, sizeof(*id));
}

void messages_init(struct messages *m)
{
    *m = (struct messages){.free = MESSAGE_NONE, .free_records = MESSAGE_NONE};
}

void messages_fini(struct messages *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        free(m->list[i].domain);
    free(m->list);
    free(m->records);
    map_fini(&m->by_id);
}

static uint32_t take_place(struct messages *m)
{
    uint32_t i = m->free;
    if (i != MESSAGE_NONE) {
        m->free = m->list[i].next_free;
        return i;
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 4096;
        m->list = realloc(m->list, m->cap * sizeof(*m->list));
        ENSURE(m->list);
    }
    return m->n++;
}

uint32_t messages_new(struct messages *m, uint64_t id)
{
    if (m->alive == MESSAGES_MOST)
        return MESSAGE_NONE;
    uint32_t i = take_place(m);
    m->list[i] =
        (struct replayed){.id = id, .first = MESSAGE_NONE, .last = MESSAGE_NONE, .went_from = NAME_NONE};
    map_put(&m->by_id, key_of(&id), (void *)((uintptr_t)i + 1));
    m->alive++;
    return i;
}

uint32_t messages_find(const struct messages *m, uint64_t id)
{
    uintptr_t found = (uintptr_t)map_get(&m->by_id, key_of(&id));
    return found ? (uint32_t)found - 1 : MESSAGE_NONE;
}

void messages_drop(struct messages *m, uint32_t i)
{
    struct replayed *x = &m->list[i];
    map_remove(&m->by_id, key_of(&x->id));
    free(x->domain);
    x->domain = NULL;
    if (x->last != MESSAGE_NONE) {
        m->records[x->last].next = m->free_records;
        m->free_records = x->first;
    }
    x->next_free = m->free;
    m->free = i;
    m->alive--;
}

static uint32_t take_record(struct messages *m)
{
    uint32_t i = m->free_records;
    if (i != MESSAGE_NONE) {
        m->free_records = m->records[i].next;
        return i;
    }
    if (m->n_records == m->cap_records) {
        m->cap_records = m->cap_records ? m->cap_records * 2 : 4096;
        m->records = realloc(m->records, m->cap_records * sizeof(*m->records));
        ENSURE(m->records);
    }
    return m->n_records++;
}

void messages_record(struct messages *m, uint32_t i, const struct record *what)
{
    struct replayed *x = &m->list[i];
    uint32_t at = take_record(m);
    m->records[at] = *what;
    m->records[at].next = MESSAGE_NONE;
    if (x->last == MESSAGE_NONE)
        x->first = at;
    else
        m->records[x->last].next = at;
    x->last = at;
}
