/* What the connections of one loop share: the read buffer, spare output blocks, and their end when the loop
 * stops. */
#include <stdlib.h>

#include "lib/net/conn_private.h"

static void pool_stop(struct loop_part *part)
{
    struct conn_pool *p = CONTAINER_OF(part, struct conn_pool, part);
    LIST_FOREACH_SAFE(it, next, &p->conns)
    conn_end(CONTAINER_OF(it, struct conn, link), CONN_END_STOP, 0, NULL);
}

static void pool_fini(struct loop_part *part)
{
    struct conn_pool *p = CONTAINER_OF(part, struct conn_pool, part);
    ENSURE(list_empty(&p->conns));
    while (p->spare) {
        struct segment *s = p->spare;
        p->spare = s->next;
        free(s);
    }
    buf_fini(&p->spare_cipher);
    p->loop->conns = NULL;
    list_remove(&part->link);
    free(p);
}

struct conn_pool *conn_pool_get(struct loop *l)
{
    if (!l->conns) {
        struct conn_pool *p = malloc(sizeof(*p));
        ENSURE(p);
        p->part = (struct loop_part){.stop = pool_stop, .fini = pool_fini};
        p->loop = l;
        list_init(&p->conns);
        p->spare = NULL;
        p->n_spare = 0;
        buf_init(&p->spare_cipher);
        loop_part_add(l, &p->part);
        l->conns = p;
    }
    return l->conns;
}

struct segment *conn_pool_segment(struct conn_pool *p)
{
    struct segment *s = p->spare;
    if (s) {
        p->spare = s->next;
        p->n_spare--;
    } else {
        s = malloc(CONN_SEGMENT);
        ENSURE(s);
    }
    s->next = NULL;
    s->hold = NULL;
    s->ptr = s->data;
    s->len = 0;
    return s;
}

void conn_pool_segment_free(struct conn_pool *p, struct segment *s)
{
    blob_unref(s->hold);
    if (p->n_spare >= CONN_SPARE_SEGMENTS) {
        free(s);
        return;
    }
    s->next = p->spare;
    p->spare = s;
    p->n_spare++;
}
