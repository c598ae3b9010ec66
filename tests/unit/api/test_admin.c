/* The admin listener over a real loopback socket. */
#include "tests/unit/api/admin_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "relay/ctl/http.h"

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

/* Status of a GET; the body as JSON in *out when wanted. */
static int get(struct admin_rig *r, const char *path, json_t **out)
{
    struct http_answer a;
    assert_int_equal(http_request(r->address, "GET", path, &a), RM_OK);
    int status = a.status;
    if (out) {
        *out = json_loadb(a.body.data, a.body.len, 0, NULL);
        assert_non_null(*out);
    }
    buf_fini(&a.body);
    return status;
}

static bool get_has(struct admin_rig *r, const char *path, const char *wanted)
{
    struct http_answer a;
    assert_int_equal(http_request(r->address, "GET", path, &a), RM_OK);
    bool has = strstr(buf_cstr(&a.body), wanted) != NULL;
    buf_fini(&a.body);
    return has;
}

static json_int_t number(const json_t *v, const char *key)
{
    return json_integer_value(json_object_get(v, key));
}

static void readiness_follows_the_node(void **state)
{
    struct admin_rig *r = *state;
    assert_int_equal(get(r, "/healthz", NULL), 200);
    assert_int_equal(get(r, "/readyz", NULL), 503);
    assert_true(get_has(r, "/readyz", "starting"));
    r->node.ready = true;
    assert_int_equal(get(r, "/readyz", NULL), 200);
    r->node.draining = true;
    assert_int_equal(get(r, "/readyz", NULL), 503);
    assert_true(get_has(r, "/readyz", "stopping"));
}

static void metrics_are_there(void **state)
{
    struct admin_rig *r = *state;
    assert_true(get_has(r, "/metrics", "# TYPE remuda_log_queued_bytes gauge"));
    assert_true(get_has(r, "/metrics", "remuda_build_info{version="));
    assert_true(get_has(r, "/metrics", "remuda_log_intake_refused 0"));
    memory_log_set_admits(r->events.log, RM_EFULL);
    assert_true(get_has(r, "/metrics", "remuda_log_intake_refused 1"));
}

/* 2,000 pairs are gauges, first those that are in use or suspended. */
static void pairs_are_gauges(void **state)
{
    struct admin_rig *r = *state;
    struct http_answer a;
    size_t n = 0;
    rig_many_pairs = true;
    assert_int_equal(http_request(r->address, "GET", "/metrics", &a), RM_OK);
    rig_many_pairs = false;
    const char *text = buf_cstr(&a.body), *at = text;
    for (; (at = strstr(at, "\nremuda_pair_score{")); at++)
        n++;
    assert_int_equal(n, 2000);
    assert_non_null(strstr(text, "# TYPE remuda_pair_score gauge\n"));
    assert_non_null(strstr(text, "\nremuda_pair_used{source=\"s2099\",provider=\"gmail\"} 5\n"));
    assert_null(strstr(text, "\nremuda_pair_cap{source=\"s2099\""));
    assert_non_null(strstr(text, "\nremuda_pair_cap{source=\"s7\",provider=\"gmail\"} 50\n"));
    assert_non_null(strstr(text, "\nremuda_pair_suspended{source=\"s0\",provider=\"gmail\"} 1\n"));
    assert_non_null(strstr(text, "\nremuda_pair_suspended{source=\"s7\",provider=\"gmail\"} 0\n"));
    assert_non_null(strstr(text, "\nremuda_pair_score{source=\"s7\",provider=\"gmail\"} 0.875\n"));
    assert_non_null(at = strstr(text, "\nremuda_pairs_omitted 100\n"));
    assert_null(strstr(at + 2, "remuda_pairs_omitted")); /* said once */
    buf_fini(&a.body);
}

static void unknown_paths_and_methods_are_refused(void **state)
{
    struct admin_rig *r = *state;
    assert_int_equal(get(r, "/", NULL), 404);
    assert_int_equal(get(r, "/v1/trace/nonsense", NULL), 400);
    assert_int_equal(get(r, "/v1/search?limit=x", NULL), 400);
    assert_int_equal(get(r, "/v1/search?limit=1001", NULL), 400);
    assert_int_equal(get(r, "/v1/events?partition=2", NULL), 400);
    struct http_answer a;
    assert_int_equal(http_request(r->address, "POST", "/metrics", &a), RM_OK);
    assert_int_equal(a.status, 405);
    buf_fini(&a.body);
}

/* A page of another site reaches this port under its own name, and can post forms: neither gets anything. */
static int raw_status(struct admin_rig *r, const char *request)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), status = 0;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(admin_port(r->admin)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    char answer[512] = "";
    assert_true(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
    assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
    close(fd);
    return status;
}

static void foreign_hosts_are_refused(void **state)
{
    struct admin_rig *r = *state;
    assert_int_equal(raw_status(r, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    assert_int_equal(raw_status(r, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n"), 403);
    assert_int_equal(raw_status(r, "GET /healthz HTTP/1.0\r\n\r\n"), 403);
    assert_int_equal(raw_status(r, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:8025\r\n\r\n"), 200);
    assert_int_equal(raw_status(r, "GET /healthz HTTP/1.1\r\nHost: [::1]:8025\r\n\r\n"), 200);
    assert_int_equal(raw_status(r, "GET /healthz HTTP/1.1\r\nHost: LocalHost\r\n\r\n"), 200);
    assert_int_equal(
        raw_status(r, "POST /v1/dead/1/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\na=b"),
        403);
}

static void only_loopback_is_listened_on(void **state)
{
    struct admin_rig *r = *state;
    struct admin *a;
    const char *why;
    assert_int_equal(admin_start(&r->node, "0.0.0.0:8025", rig_ask, &a, &why), RM_EINVAL);
    assert_non_null(strstr(why, "loopback"));
    assert_int_equal(admin_start(&r->node, "192.0.2.1:8025", rig_ask, &a, &why), RM_EINVAL);
    assert_int_equal(admin_start(&r->node, "[::]:8025", rig_ask, &a, &why), RM_EINVAL);
    assert_int_equal(admin_start(&r->node, "localhost", rig_ask, &a, &why), RM_EINVAL);
    assert_int_equal(admin_start(&r->node, "127.0.0.1:99999", rig_ask, &a, &why), RM_EINVAL);
    assert_int_equal(admin_address_check("[::1]:8025", &why), RM_OK);
    assert_int_equal(admin_start(&r->node, r->address, rig_ask, &a, &why), RM_EIO); /* taken */
}

static void a_trace_is_told(void **state)
{
    struct admin_rig *r = *state;
    uint64_t now = clock_wall_ms();
    struct told t = {.id = msgid_make(now),
                     .time_ms = now,
                     .text = "550 nein \xfc",
                     .type = REMUDA__EVENT_TYPE__EVENT_BOUNCED};
    event_log_tell(&r->events, 1, &t);
    char id[MSGID_TEXT + 1], path[64];
    snprintf(path, sizeof(path), "/v1/trace/%s", msgid_text(&t.id, id));
    json_t *v;
    assert_int_equal(get(r, path, &v), 200);
    const json_t *e = json_array_get(json_object_get(v, "events"), 0);
    assert_string_equal(json_string_value(json_object_get(e, "type")), "bounced");
    assert_int_equal(number(e, "partition"), 1);
    const json_t *o = json_array_get(json_object_get(e, "recipients"), 0);
    assert_string_equal(json_string_value(json_object_get(o, "text")), "550 nein \\xfc");
    json_decref(v);
    struct msgid fresh = msgid_make(now), old = msgid_make(now - 3600000);
    snprintf(path, sizeof(path), "/v1/trace/%s", msgid_text(&fresh, id));
    assert_int_equal(get(r, path, NULL), 404);
    assert_true(get_has(r, path, "ask again"));
    snprintf(path, sizeof(path), "/v1/trace/%s", msgid_text(&old, id));
    assert_true(get_has(r, path, "no such message"));
}

static void a_search_sums_up(void **state)
{
    struct admin_rig *r = *state;
    uint64_t now = clock_wall_ms();
    struct told t = {.id = msgid_make(now),
                     .time_ms = now,
                     .type = REMUDA__EVENT_TYPE__EVENT_DEFERRED,
                     .text = "421 later"};
    event_log_tell(&r->events, 0, &t);
    t.type = REMUDA__EVENT_TYPE__EVENT_DELIVERED;
    t.state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    t.time_ms = now + 1;
    t.text = "250 ok";
    event_log_tell(&r->events, 0, &t);
    json_t *v;
    assert_int_equal(get(r, "/v1/search?recipient=Carol@Gmail.com&since=1&limit=5", &v), 200);
    const json_t *list = json_object_get(v, "messages");
    assert_int_equal(json_array_size(list), 1);
    const json_t *carol =
        json_object_get(json_object_get(json_array_get(list, 0), "recipients"), "carol@gmail.com");
    assert_string_equal(json_string_value(json_object_get(carol, "state")), "delivered");
    json_decref(v);
    assert_int_equal(get(r, "/v1/search?tenant=zeta", &v), 200);
    assert_int_equal(json_array_size(json_object_get(v, "messages")), 0);
    json_decref(v);
}

static void raw_events_are_lines(void **state)
{
    struct admin_rig *r = *state;
    uint64_t now = clock_wall_ms();
    for (int i = 0; i < 6; i++)
        event_log_tell(&r->events, (uint32_t)i % 2, &(struct told){.id = msgid_make(now), .time_ms = now});
    struct http_answer a;
    assert_int_equal(http_request(r->address, "GET", "/v1/events?partition=1&limit=2", &a), RM_OK);
    size_t lines = 0;
    json_int_t last = 0;
    struct span rest = buf_span(&a.body);
    while (rest.len > 0) {
        struct span line = span_cut(&rest, '\n');
        json_t *v = json_loadb(line.ptr, line.len, 0, NULL);
        assert_non_null(v);
        assert_int_equal(number(v, "partition"), 1);
        last = number(v, "offset");
        json_decref(v);
        lines++;
    }
    assert_int_equal(lines, 2);
    buf_fini(&a.body);
    char path[64];
    snprintf(path, sizeof(path), "/v1/events?partition=1&since=%lld", (long long)last + 1);
    json_t *v;
    assert_int_equal(get(r, path, &v), 200); /* the third alone */
    assert_true(number(v, "offset") > last);
    json_decref(v);
}

static void the_queue_is_summed(void **state)
{
    struct admin_rig *r = *state;
    uint64_t now = clock_wall_ms();
    for (uint64_t i = 0; i < 1200; i++)
        admin_rig_row(r, (uint32_t)(i % 2), i,
                      i % 3 == 0 ? REMUDA__ROW_STATE__ROW_HELD : REMUDA__ROW_STATE__ROW_DEFERRED,
                      i % 3 == 0 ? "rate" : "greylisted", now - i);
    json_t *v;
    assert_int_equal(get(r, "/v1/queue", &v), 200);
    assert_int_equal(number(v, "total"), 1200);
    assert_int_equal(json_array_size(json_object_get(v, "groups")), 2);
    assert_int_equal(json_array_size(json_object_get(v, "rows")), 0);
    assert_int_equal(number(json_array_get(json_object_get(v, "lanes"), 0), "in_hand"), 2);
    assert_int_equal(number(v, "silent_shards"), 0);
    assert_int_equal(number(v, "partitions"), 2);
    assert_int_equal(json_array_size(json_object_get(v, "elsewhere")), 0);
    json_decref(v);
    assert_int_equal(get(r, "/v1/queue?cause=rate&lane=shared/gmail&limit=7", &v), 200);
    const json_t *g = json_array_get(json_object_get(v, "groups"), 0);
    assert_int_equal(number(g, "submissions"), 400);
    assert_int_equal(number(g, "recipients"), 800);
    assert_int_equal(number(g, "oldest_ms"), now - 1197);
    assert_int_equal(json_array_size(json_object_get(v, "rows")), 7);
    json_decref(v);
    assert_int_equal(get(r, "/v1/queue?lane=shared/gmail/1", &v), 200);
    assert_int_equal(number(v, "total"), 0);
    json_decref(v);
}

static void explain_asks_the_shards(void **state)
{
    struct admin_rig *r = *state;
    json_t *v;
    assert_int_equal(get(r, "/v1/explain?from=a@b.example&to=c@gmail.com", &v), 200);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(v, "lanes"), 0), "cause")), "rate");
    json_decref(v);
    assert_int_equal(get(r, "/v1/explain?from=a@b.example&to=c@error.example", NULL), 422);
    assert_true(get_has(r, "/v1/explain?to=c@error.example", "DNS: no answer"));
    assert_int_equal(get(r, "/v1/explain?from=a@b.example", NULL), 400);
}

/* Nobody waits for ever, and an answer that comes too late harms nobody. */
static void a_silent_shard_is_not_waited_for(void **state)
{
    struct admin_rig *r = *state;
    struct admin_question question = {
        .kind = ADMIN_QUERY_EXPLAIN, .to = "x@silent.example", .timeout_ms = 50};
    struct admin_answers a;
    admin_ask(&r->node, &question, rig_ask, &a);
    assert_int_equal(a.missing, 1);
    assert_int_equal(json_array_size(a.answers), 0);
    json_decref(a.answers);
    struct admin_query *kept = rig_kept;
    assert_non_null(kept);
    assert_string_equal(kept->to, "x@silent.example");
    kept->answer = json_array();
    admin_query_done(kept);
}

/* Two owners put one record aside: it is shown once, and the second copy cannot be replayed. */
static void a_record_is_dead_once(void **state)
{
    struct admin_rig *r = *state;
    admin_rig_dead(r, 1, clock_wall_ms());
    admin_rig_dead(r, 1, clock_wall_ms());
    json_t *v;
    assert_int_equal(get(r, "/v1/dead", &v), 200);
    const json_t *list = json_object_get(v, "dead");
    assert_int_equal(json_array_size(list), 1);
    char path[64];
    long long first = (long long)number(json_array_get(list, 0), "offset");
    json_decref(v);
    snprintf(path, sizeof(path), "/v1/dead?since=%lld", first + 1);
    assert_int_equal(get(r, path, &v), 200);
    assert_int_equal(json_array_size(json_object_get(v, "dead")), 0);
    json_decref(v);
    for (long long at = first + 1; at >= first; at--) {
        struct http_answer a;
        snprintf(path, sizeof(path), "/v1/dead/%lld/replay", at);
        assert_int_equal(http_request(r->address, "POST", path, &a), RM_OK);
        assert_int_equal(a.status, at == first ? 200 : 409);
        buf_fini(&a.body);
    }
}

/* The same place of another log is another place. */
static void a_dead_record_that_came_is_another(void **state)
{
    struct admin_rig *r = *state;
    admin_rig_dead(r, 1, clock_wall_ms());
    admin_rig_dead_from(r, 1, clock_wall_ms(), "0123456789abcdef");
    json_t *v;
    assert_int_equal(get(r, "/v1/dead", &v), 200);
    const json_t *list = json_object_get(v, "dead");
    assert_int_equal(json_array_size(list), 2);
    char path[64];
    snprintf(path, sizeof(path), "/v1/dead/%lld/replay",
             (long long)number(json_array_get(list, 1), "offset"));
    json_decref(v);
    struct http_answer a;
    assert_int_equal(http_request(r->address, "POST", path, &a), RM_OK);
    assert_int_equal(a.status, 200);
    buf_fini(&a.body);
}

static void dead_records_come_back(void **state)
{
    struct admin_rig *r = *state;
    admin_rig_dead(r, 1, clock_wall_ms());
    json_t *v;
    assert_int_equal(get(r, "/v1/dead", &v), 200);
    const json_t *d = json_array_get(json_object_get(v, "dead"), 0);
    assert_string_equal(json_string_value(json_object_get(d, "sender")), "bob@acme.example");
    char path[64];
    snprintf(path, sizeof(path), "/v1/dead/%lld", (long long)number(d, "offset"));
    json_decref(v);
    assert_int_equal(get(r, path, NULL), 200);
    assert_int_equal(get(r, "/v1/dead/99", NULL), 404);
    strcat(path, "/replay");
    struct http_answer a;
    assert_int_equal(http_request(r->address, "POST", path, &a), RM_OK);
    assert_int_equal(a.status, 200);
    buf_fini(&a.body);
    struct log_reader *reader;
    struct span value;
    uint64_t at = 0;
    size_t need;
    struct mail_view view;
    struct arena arena = ARENA_INIT;
    assert_int_equal(log_read_begin(r->events.log, &reader), RM_OK);
    assert_true(log_read_next(reader, LOG_MAIL, 1, &at, &value));
    assert_int_equal(mail_view(value, &view, &need), RM_OK);
    const Remuda__Record *record = record_decode(&arena, view.header);
    assert_non_null(record);
    assert_null(record->transfer); /* else its partition would know it as a copy that it has seen */
    assert_true(span_eq(span_of(value.ptr + view.body_at, value.len - view.body_at), SPAN_LIT("hello")));
    log_read_end(reader);
    arena_fini(&arena);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(readiness_follows_the_node),
        CASE(metrics_are_there),
        CASE(pairs_are_gauges),
        CASE(unknown_paths_and_methods_are_refused),
        CASE(foreign_hosts_are_refused),
        CASE(only_loopback_is_listened_on),
        CASE(a_trace_is_told),
        CASE(a_search_sums_up),
        CASE(raw_events_are_lines),
        CASE(the_queue_is_summed),
        CASE(explain_asks_the_shards),
        CASE(a_silent_shard_is_not_waited_for),
        CASE(a_record_is_dead_once),
        CASE(a_dead_record_that_came_is_another),
        CASE(dead_records_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
