/* Answers to the admin listener about what the router has learned of pairs, and what an operator does to
 * them. */
#include "lib/base/clock.h"
#include "relay/api/query.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/query_private.h"
#include "router/pair.h"

static json_t *cap_json(uint64_t cap)
{
    return cap == UINT64_MAX ? json_null() : json_integer((json_int_t)cap);
}

static void add_learned(json_t *row, const struct router_pair_view *v)
{
    json_object_set_new(row, "cap", cap_json(v->cap));
    json_object_set_new(row, "hour_cap", cap_json(v->hour_cap));
    json_object_set_new(row, "used", json_integer((json_int_t)v->used));
    json_object_set_new(row, "days_left", json_integer((json_int_t)v->days_left));
    json_object_set_new(row, "score", json_real(v->score));
    json_object_set_new(row, "doubt", json_real(v->doubt));
    json_object_set_new(row, "pace", json_real(v->rate));
    json_object_set_new(row, "connections", json_integer((json_int_t)v->connections));
    json_object_set_new(row, "stopped_ms", json_integer((json_int_t)v->stopped_ms));
    json_object_set_new(row, "suspended_until_ms", json_integer((json_int_t)v->suspended_until_ms));
    json_object_set_new(row, "alert_ms", json_integer((json_int_t)v->alert_ms));
    json_object_set_new(row, "why", json_string(v->why));
    json_object_set_new(row, "mark", json_string(v->mark));
    json_object_set_new(row, "configured", json_boolean(v->configured));
}

static void add_record(json_t *row, const struct owner *o, const struct router_pair_view *v)
{
    struct buf packed = BUF_INIT, hex = BUF_INIT;
    if (router_pair_export(o->router, span_str(v->source), span_str(v->provider), clock_wall_ms(), &packed))
        for (size_t i = 0; i < packed.len; i++)
            buf_printf(&hex, "%02x", (unsigned char)packed.data[i]);
    json_object_set_new(row, "record", json_string(buf_cstr(&hex)));
    buf_fini(&packed);
    buf_fini(&hex);
}

static json_t *pair_json(const struct owner *o, const struct router_pair_view *v, bool record)
{
    json_t *row =
        json_pack("{s:s, s:s, s:i, s:s, s:i, s:i}", "source", v->source, "provider", v->provider, "partition",
                  (int)o->number, "schedule", v->schedule, "stage", (int)v->stage, "stages", (int)v->stages);
    add_learned(row, v);
    if (record)
        add_record(row, o, v);
    return row;
}

void query_pairs(struct delivery *d, struct admin_query *q)
{
    q->answer = json_array();
    LIST_FOREACH(it, &d->owners)
    {
        const struct owner *o = CONTAINER_OF(it, struct owner, node);
        struct router_pair_view v;
        size_t pos = 0;
        while (router_pair_next(o->router, &pos, loop_now_us(d->shard->loop), &v))
            json_array_append_new(q->answer, pair_json(o, &v, strcmp(q->text, "record") == 0));
    }
    admin_query_done(q);
}

/* The owner, on this shard, of the lane that the pair belongs to. */
static struct owner *owner_of_pair(struct delivery *d, const char *source, const char *provider)
{
    const struct router_config *c = &d->shard->settings->router;
    int at = router_source_find(c, span_str(source));
    if (at < 0 || c->sources[at].pool < 0 || router_provider_find(c, span_str(provider)) < 0)
        return NULL;
    int partition = lanes_partition(d->shard->node->lanes, c->pools[c->sources[at].pool].name, provider,
                                    c->sources[at].shard);
    return partition < 0 ? NULL : query_owner(d, partition);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_decode(struct span text, struct buf *out)
{
    for (size_t i = 0; i + 1 < text.len; i += 2) {
        int high = hex_digit(text.ptr[i]), low = hex_digit(text.ptr[i + 1]);
        if (high < 0 || low < 0)
            return false;
        buf_add_char(out, (char)(high << 4 | low));
    }
    return text.len % 2 == 0 && text.len > 0;
}

static bool change(struct owner *o, const struct admin_query *q, const Remuda__PairState *record)
{
    switch (q->kind) {
    case ADMIN_QUERY_MARK_WARM:
        return router_pair_mark_warm(o->router, span_str(q->source), span_str(q->provider),
                                     span_str(q->text));
    case ADMIN_QUERY_CLEAR:
        return router_pair_clear(o->router, span_str(q->source), span_str(q->provider));
    default:
        return router_pair_import(o->router, record, clock_wall_ms());
    }
}

static const char *refusal(enum admin_query_kind kind)
{
    if (kind == ADMIN_QUERY_MARK_WARM)
        return "the pair goes by no warm-up schedule";
    return kind == ADMIN_QUERY_CLEAR ? "the pair has no alert and is not suspended"
                                     : "the record is of a newer version";
}

static void change_and_answer(struct delivery *d, struct admin_query *q, const Remuda__PairState *record)
{
    const char *source = record ? record->source : q->source;
    const char *provider = record ? record->provider : q->provider;
    struct owner *o = owner_of_pair(d, source, provider);
    struct router_pair_view v;
    q->answer = json_array();
    if (!o)
        return;
    if (router_pair_find(o->router, span_str(source), span_str(provider), 0, &v) && v.elsewhere) {
        snprintf(q->error, sizeof(q->error),
                 "the pair is on its way from another partition: try again shortly");
        return;
    }
    if (!change(o, q, record)) {
        snprintf(q->error, sizeof(q->error), "%s", refusal(q->kind));
        return;
    }
    logger_log(d->shard->node->logger, LOG_WARN, "router.changed", LF_STR("source", source),
               LF_STR("provider", provider),
               LF_STR("what", q->kind == ADMIN_QUERY_MARK_WARM ? "marked warm"
                              : q->kind == ADMIN_QUERY_CLEAR   ? "suspension lifted"
                                                               : "imported"),
               LF_STR("reason", q->kind == ADMIN_QUERY_IMPORT ? "" : q->text));
    o->events.want_flush(o);
    owner_wake(o, ROUTER_CHOSEN);
    if (router_pair_find(o->router, span_str(source), span_str(provider), loop_now_us(d->shard->loop), &v))
        json_array_append_new(q->answer, pair_json(o, &v, false));
}

void query_change_pair(struct delivery *d, struct admin_query *q)
{
    struct arena a = ARENA_INIT;
    struct buf packed = BUF_INIT;
    const Remuda__PairState *record = NULL;
    if (q->kind == ADMIN_QUERY_IMPORT && hex_decode(span_str(q->text), &packed))
        record = pair_decode(&a, buf_span(&packed));
    if (q->kind == ADMIN_QUERY_IMPORT && !record)
        snprintf(q->error, sizeof(q->error), "the record does not decode");
    else
        change_and_answer(d, q, record);
    buf_fini(&packed);
    arena_fini(&a);
    admin_query_done(q);
}
