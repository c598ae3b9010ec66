/* /v1/explain/ID: past decisions made once more, from lists and from frames; what is not exact says why. */
#include "tests/unit/api/admin_rig.h"

#include "relay/ctl/http.h"
#include "router/frame.h"

enum { MEMBERS = 0x1234abcd };

static int setup(void **state)
{
    struct admin_rig *r = calloc(1, sizeof(*r));
    admin_rig_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    admin_rig_close(*state);
    free(*state);
    return 0;
}

/* a1 could have gone, a2 went, a3 is at its cap. */
static const struct router_candidate candidates[] = {
    {.source = 0, .verdict = ROUTER_WEIGHED_OUT, .weight = 0.5, .score = 0.5, .credit = 300},
    {.source = 1, .verdict = ROUTER_CHOSEN, .weight = 2, .score = 0.875, .credit = 301},
    {.source = 2, .verdict = ROUTER_CAP, .weight = 1, .score = 0.75},
};

static void pack(struct router_candidate list[3], int chosen, struct router_frame *f)
{
    struct router_decision d = {.source = chosen, .runner_up = -1, .n_candidates = 3};
    router_frame_pack(list, &d, MEMBERS, 0, f);
}

static void put_members(struct admin_rig *r, const char *names)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_STATE, 1, SPAN_LIT("members:1234abcd"), span_str(names));
    event_log_submit(&r->events, b);
}

/* One delivered from a2, a1 second, with this frame, in partition 1. */
static struct msgid tell(struct admin_rig *r, struct router_frame *f)
{
    Remuda__Event e = REMUDA__EVENT__INIT, *events[] = {&e};
    Remuda__Decision d = REMUDA__DECISION__INIT;
    struct msgid id = msgid_make(clock_wall_ms());
    e.type = REMUDA__EVENT_TYPE__EVENT_DELIVERED;
    e.message_id = (ProtobufCBinaryData){MSGID_BYTES, id.bytes};
    e.time_ms = e.accepted_ms = msgid_ms(&id);
    e.tenant = "acme";
    e.source = "a2";
    d.runner_up = "a1";
    d.state_version = 77;
    d.frame = (ProtobufCBinaryData){f->n, f->bytes};
    e.decision = &d;
    event_log_append(&r->events, 1, events, 1);
    return id;
}

/* The only event of the message, as explained. */
static json_t *explain(struct admin_rig *r, const struct msgid *id)
{
    struct http_answer a;
    char path[80], text[MSGID_TEXT + 1];
    snprintf(path, sizeof(path), "/v1/explain/%s", msgid_text(id, text));
    assert_int_equal(http_request(r->address, "GET", path, &a), RM_OK);
    assert_int_equal(a.status, 200);
    json_t *all = json_loadb(a.body.data, a.body.len, 0, NULL);
    json_t *e = json_incref(json_array_get(json_object_get(all, "events"), 0));
    assert_non_null(e);
    json_decref(all);
    buf_fini(&a.body);
    return e;
}

static void text_is(const json_t *v, const char *key, const char *wanted)
{
    assert_string_equal(json_string_value(json_object_get(v, key)), wanted);
}

static void a_frame_is_decided_again(void **state)
{
    struct admin_rig *r = *state;
    struct router_candidate list[3];
    struct router_frame f;
    memcpy(list, candidates, sizeof(list));
    pack(list, 1, &f);
    put_members(r, "a1\na2\na3\n");
    struct msgid id = tell(r, &f);
    json_t *e = explain(r, &id), *replay = json_object_get(e, "replay"), *d = json_object_get(e, "decision");
    assert_true(json_is_true(json_object_get(replay, "same")));
    assert_null(json_object_get(replay, "approximated"));
    text_is(replay, "source", "a2");
    text_is(replay, "runner_up", "a1");
    text_is(d, "reason", "rotation");
    assert_int_equal(json_array_size(json_object_get(d, "candidates")), 3);
    const json_t *last = json_array_get(json_object_get(d, "candidates"), 2);
    text_is(last, "source", "a3");
    text_is(last, "verdict", "cap");
    text_is(json_array_get(json_object_get(d, "candidates"), 1), "verdict", "chosen");
    assert_true(json_number_value(json_object_get(last, "score")) == 0.75);
    json_decref(e);
}

/* What does not come out as it was recorded is told: another credit, another verdict, other names. */
static void a_broken_replay_is_not_the_same(void **state)
{
    struct admin_rig *r = *state;
    put_members(r, "a1\na2\na3\n");
    for (int broken = 0; broken < 3; broken++) {
        struct router_candidate list[3];
        struct router_frame f;
        memcpy(list, candidates, sizeof(list));
        if (broken == 0)
            list[0].credit = 302;
        if (broken == 1)
            list[1].verdict = ROUTER_RATE;
        if (broken == 2)
            put_members(r, "a1\nb2\na3\n");
        pack(list, 1, &f);
        struct msgid id = tell(r, &f);
        json_t *e = explain(r, &id);
        assert_true(json_is_false(json_object_get(json_object_get(e, "replay"), "same")));
        json_decref(e);
    }
}

static void what_is_not_exact_says_why(void **state)
{
    struct admin_rig *r = *state;
    struct router_candidate list[3];
    struct router_frame f, none = {.n = 0}, newer = {.n = 3, .bytes = {0xf0, 1, 2}};
    memcpy(list, candidates, sizeof(list));
    pack(list, 1, &f);
    struct msgid id = tell(r, &f); /* no names are stored */
    json_t *e = explain(r, &id);
    assert_non_null(strstr(json_string_value(json_object_get(json_object_get(e, "replay"), "approximated")),
                           "names of the lane's sources"));
    json_decref(e);
    struct router_frame *frames[] = {&none, &newer};
    for (size_t i = 0; i < 2; i++) {
        id = tell(r, frames[i]);
        e = explain(r, &id);
        assert_null(json_object_get(e, "replay"));
        assert_non_null(strstr(json_string_value(json_object_get(e, "not_replayed")), "version"));
        json_decref(e);
    }
}

/* The newest decision about the tenant that is not newer than the event. */
static void a_move_into_quarantine_says_why(void **state)
{
    struct admin_rig *r = *state;
    static char *const reasons[] = {"the first", "the second", "too late"};
    uint64_t now = clock_wall_ms();
    for (int i = 0; i < 3; i++) {
        Remuda__TenantDecision d = REMUDA__TENANT_DECISION__INIT;
        Remuda__Control c = REMUDA__CONTROL__INIT;
        struct buf packed = BUF_INIT;
        d.tenant = "acme";
        d.provider = "gmail";
        d.action = REMUDA__TENANT_ACTION__TENANT_QUARANTINE;
        d.by_operator = true;
        d.reason = reasons[i];
        d.time_ms = now - 2000 + (uint64_t)i * 1500;
        c.tenant = &d;
        proto_pack(&packed, &c.base);
        struct log_batch *b = log_batch_new(LOG_OWNER);
        log_batch_append(b, LOG_CONTROL, 0, buf_span(&packed), NULL, NULL);
        event_log_submit(&r->events, b);
        buf_fini(&packed);
    }
    Remuda__Event e = REMUDA__EVENT__INIT, *events[] = {&e};
    Remuda__TransferTo to = REMUDA__TRANSFER_TO__INIT;
    struct msgid id = msgid_make(now);
    e.type = REMUDA__EVENT_TYPE__EVENT_REROUTED;
    e.message_id = (ProtobufCBinaryData){MSGID_BYTES, id.bytes};
    e.time_ms = e.accepted_ms = now;
    e.tenant = "acme";
    e.provider = "gmail";
    e.cause = "quarantine";
    to.pool = "apart";
    to.provider = "gmail";
    e.transfer_to = &to;
    event_log_append(&r->events, 0, events, 1);
    json_t *v = explain(r, &id);
    assert_non_null(strstr(json_string_value(json_object_get(v, "why_pool")), "in quarantine"));
    text_is(json_object_get(v, "decided"), "reason", "the second");
    json_decref(v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_is_decided_again),
        TEST(a_broken_replay_is_not_the_same),
        TEST(what_is_not_exact_says_why),
        TEST(a_move_into_quarantine_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
