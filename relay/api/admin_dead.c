/* The records put aside (log "dead"): listing, showing one without its contents. Giving one back to its
 * partition is admin_replay.c's. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"
#include "lib/base/map.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

enum { LIST_DEFAULT = 100, LIST_MOST = 10000 };

Remuda__Record *admin_dead_record(struct arena *a, const Remuda__DeadRecord *dead, struct mail_view *view)
{
    struct span value = span_of((const char *)dead->value.data, dead->value.len);
    size_t need;
    if (mail_view(value, view, &need) != RM_OK || view->kind != MAIL_RECORD)
        return NULL;
    return record_decode(a, view->header);
}

Remuda__ChunkHeader *admin_dead_chunk(struct arena *a, const Remuda__DeadRecord *dead)
{
    struct span value = span_of((const char *)dead->value.data, dead->value.len);
    struct mail_view view;
    size_t need;
    if (mail_view(value, &view, &need) != RM_OK || view.kind != MAIL_CHUNK)
        return NULL;
    return chunk_decode(a, view.header);
}

static json_t *recipients_json(const Remuda__Record *record)
{
    json_t *list = json_array();
    for (size_t i = 0; i < record->n_submissions; i++)
        for (size_t k = 0; k < record->submissions[i]->n_recipients; k++)
            json_array_append_new(list, json_text(span_str(record->submissions[i]->recipients[k]->address)));
    return list;
}

static json_t *dead_json(uint64_t offset, const Remuda__DeadRecord *dead)
{
    struct arena a = ARENA_INIT;
    struct mail_view view;
    const Remuda__Record *record = admin_dead_record(&a, dead, &view);
    json_t *v = json_object();
    json_object_set_new(v, "offset", json_integer((json_int_t)offset));
    json_object_set_new(v, "partition", json_integer((json_int_t)dead->partition));
    json_object_set_new(v, "at", json_integer((json_int_t)dead->offset));
    json_set_text(v, "reason", dead->reason);
    json_set_num(v, "time_ms", dead->time_ms);
    json_set_num(v, "value_bytes", dead->value.len);
    json_object_set_new(v, "decodes", json_boolean(record != NULL));
    if (record) {
        json_set_id(v, "id", record->id);
        json_set_text(v, "tenant", record->tenant);
        json_object_set_new(v, "sender", json_text(span_str(record->sender)));
        json_set_num(v, "accepted_ms", record->accepted_ms);
        json_set_num(v, "body_bytes", record->body_bytes);
        json_set_num(v, "chunks", record->n_chunks);
        json_object_set_new(v, "recipients", recipients_json(record));
    }
    arena_fini(&a);
    return v;
}

Remuda__DeadRecord *admin_dead_next(struct log *log, struct arena *a, uint64_t *offset, int *rc)
{
    struct log_reader *r;
    struct span value;
    *rc = log_read_begin(log, &r);
    if (*rc != RM_OK)
        return NULL;
    Remuda__DeadRecord *dead = NULL;
    if (!log_read_next(r, LOG_DEAD, 0, offset, &value)) {
        *rc = RM_ENOTFOUND;
    } else {
        ProtobufCAllocator allocator = arena_allocator(a);
        dead = remuda__dead_record__unpack(&allocator, value.len, (const uint8_t *)value.ptr);
        *rc = dead ? RM_OK : RM_ECORRUPT;
    }
    log_read_end(r);
    return dead;
}

/* Of which log its place is: hash of the migration's id by which it came; 0 for this one. */
static uint64_t dead_log(const Remuda__DeadRecord *d)
{
    return d->from.len ? hash64(d->from.data, d->from.len) : 0;
}

static bool same_place(const Remuda__DeadRecord *a, const Remuda__DeadRecord *b)
{
    return a->partition == b->partition && a->offset == b->offset && dead_log(a) == dead_log(b);
}

uint64_t admin_dead_first(struct log *log, const Remuda__DeadRecord *dead, uint64_t offset)
{
    int rc = RM_OK;
    bool same = false;
    uint64_t at = 0;
    for (; rc != RM_ENOTFOUND && rc != RM_EIO && at < offset && !same; at += !same) {
        struct arena a = ARENA_INIT;
        const Remuda__DeadRecord *other = admin_dead_next(log, &a, &at, &rc);
        same = other && at < offset && same_place(other, dead);
        arena_fini(&a);
    }
    return same ? at : offset;
}

/* An owner that died before it had told so put it aside, and the next one again. */
static bool is_known(struct map *known, const Remuda__DeadRecord *dead)
{
    uint64_t place[3] = {dead->partition, dead->offset, dead_log(dead)};
    struct span key = span_of((const char *)place, sizeof(place));
    return map_get(known, key) || (map_put(known, key, known), false);
}

static void dead_list(const struct admin_request *q, struct admin_reply *r)
{
    uint64_t at = 0, since, limit;
    if (!admin_arg_num(q, r, "since", 0, INT64_MAX, &since) ||
        !admin_arg_num(q, r, "limit", LIST_DEFAULT, LIST_MOST, &limit))
        return;
    json_t *list = json_array();
    struct map known = MAP_INIT;
    int rc = RM_OK;
    for (; rc != RM_ENOTFOUND && json_array_size(list) < limit; at++) {
        struct arena a = ARENA_INIT;
        const Remuda__DeadRecord *dead = admin_dead_next(q->admin->node->log, &a, &at, &rc);
        if (dead && !is_known(&known, dead) && at >= since && !admin_dead_chunk(&a, dead))
            json_array_append_new(list, dead_json(at, dead));
        arena_fini(&a);
        if (rc == RM_EIO)
            break;
    }
    map_fini(&known);
    admin_reply_json(r, MHD_HTTP_OK, json_pack("{s:o,s:b}", "dead", list, "more", rc != RM_ENOTFOUND));
}

Remuda__DeadRecord *admin_dead_at(const struct admin_request *q, struct admin_reply *r, struct span number,
                                  struct arena *a)
{
    uint64_t offset, found;
    int rc = RM_ENOTFOUND;
    Remuda__DeadRecord *dead = NULL;
    if (span_u64(number, &offset)) {
        found = offset;
        dead = admin_dead_next(q->admin->node->log, a, &found, &rc);
        if (found != offset)
            dead = NULL, rc = RM_ENOTFOUND;
    }
    if (!dead)
        admin_reply_error(r, rc == RM_ENOTFOUND ? MHD_HTTP_NOT_FOUND : MHD_HTTP_INTERNAL_SERVER_ERROR,
                          rc == RM_ENOTFOUND ? "no dead record at this offset" : rm_strerror(rc));
    return dead;
}

void admin_dead(const struct admin_request *q, struct admin_reply *r)
{
    if (q->rest[0] == '\0') {
        dead_list(q, r);
        return;
    }
    struct arena a = ARENA_INIT;
    uint64_t offset = 0;
    const Remuda__DeadRecord *dead = admin_dead_at(q, r, span_str(q->rest), &a);
    if (dead && span_u64(span_str(q->rest), &offset))
        admin_reply_json(r, MHD_HTTP_OK, dead_json(offset, dead));
    arena_fini(&a);
}
