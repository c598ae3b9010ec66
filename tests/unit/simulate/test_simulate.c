/* `remuda simulate` on files: what another configuration does to recorded mail, and what bad input is told.
 */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "proto/codec.h"
#include "relay/ctl/ctl.h"
#include "relay/simulate/histogram.h"
#include "tests/unit/ctl/said.h"

enum { MINUTE_MS = 60000, HOUR_MS = 60 * MINUTE_MS };
static const uint64_t begin_ms = 1764028800000; /* a midnight */

struct rig {
    char dir[64];
    FILE *events;
    unsigned n;
};

static char *path_in(const struct rig *r, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", r->dir, name);
    return out;
}

static void write_file(const struct rig *r, const char *name, const char *text)
{
    char path[128];
    FILE *f = fopen(path_in(r, name, path), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* A configuration of two sources; what differs is handed in as YAML. */
struct changed {
    const char *second;  /* of the source a2 */
    const char *pools;   /* NULL: one with both */
    const char *tenants; /* NULL: acme and beta */
    const char *more;
};

static void configure(const struct rig *r, const char *name, struct changed c)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "node: { name: r1, hostname: r1.example, data: %s/data }\n", r->dir);
    buf_add_str(&b, "log: { partitions: 4 }\nlisteners: [ { address: \"127.0.0.1:2525\", tls: none } ]\n"
                    "sources:\n  - { name: a1, address: 127.0.0.11, ehlo: a1.example }\n");
    buf_printf(&b, "  - { name: a2, address: 127.0.0.12, ehlo: a2.example%s }\n", c.second ? c.second : "");
    buf_printf(&b, "pools:\n%s",
               c.pools ? c.pools : "  - { name: main, members: [ { source: a1 }, { source: a2 } ] }\n");
    buf_printf(&b, "tenants:\n%s",
               c.tenants
                   ? c.tenants
                   : "  - { name: acme, networks: [127.0.0.1], domains: [acme.example], pool: main }\n"
                     "  - { name: beta, networks: [127.0.0.2], domains: [beta.example], pool: main }\n");
    buf_add_str(&b, "providers: providers.yaml\n");
    buf_add_str(&b, c.more ? c.more : "");
    write_file(r, name, buf_cstr(&b));
    buf_fini(&b);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-simulate-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    char path[128];
    write_file(r, "providers.yaml", "- name: other\n- name: big\n  mx: [.big.test]\n");
    configure(r, "old.yaml", (struct changed){0});
    configure(r, "new.yaml", (struct changed){0});
    r->events = fopen(path_in(r, "events", path), "w");
    assert_non_null(r->events);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    static const char *const names[] = {"providers.yaml", "old.yaml", "new.yaml", "events", "pairs"};
    char path[128];
    if (r->events)
        fclose(r->events);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_in(r, names[i], path));
    rmdir(r->dir);
    free(r);
    return 0;
}

/* ---- recorded mail ---- */

struct sent {
    uint64_t at_ms; /* since the beginning */
    const char *tenant, *source;
    const char *type; /* NULL: delivered */
    const char *reply;
    unsigned code, attempt; /* attempt 0: the first and only one */
};

static void tell(struct rig *r, const struct sent *s)
{
    bool first = s->attempt <= 1, delivered = !s->type;
    r->n += first;
    fprintf(r->events, "{\"type\":\"%s\",\"time_ms\":%llu,", delivered ? "delivered" : s->type,
            (unsigned long long)(begin_ms + s->at_ms + 200));
    if (first)
        fprintf(r->events, "\"accepted_ms\":%llu,", (unsigned long long)(begin_ms + s->at_ms));
    fprintf(r->events,
            "\"submission\":{\"partition\":1,\"offset\":%u,\"index\":0},\"tenant\":\"%s\","
            "\"sender\":\"s@%s.example\",\"domain\":\"big.test\",\"pool\":\"main\",\"provider\":\"big\","
            "\"final\":%s,\"attempt\":%u,\"phases_us\":{\"connect\":50000,\"answer\":100000},",
            r->n, s->tenant, s->tenant, delivered || strcmp(s->type, "bounced") == 0 ? "true" : "false",
            s->attempt ? s->attempt : 1);
    if (s->source)
        fprintf(r->events, "\"source\":\"%s\",\"mx_host\":\"mx.big.test\",", s->source);
    fprintf(r->events,
            "\"recipients\":[{\"address\":\"r@big.test\",\"state\":\"-\",\"code\":%u,\"text\":\"%s\"}]}\n",
            s->code ? s->code : 250, s->reply ? s->reply : "2.0.0 taken");
}

/* Each a second after the other, from a1 and a2 in turn, of acme and beta. */
static void tell_plain(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        tell(r, &(struct sent){.at_ms = (uint64_t)i * 1000,
                               .tenant = i % 3 ? "acme" : "beta",
                               .source = i % 2 ? "a2" : "a1"});
}

/* ---- asking ---- */

static struct said ask(struct rig *r, const char *more)
{
    char words[1024];
    if (r->events)
        fclose(r->events);
    r->events = NULL;
    snprintf(words, sizeof(words), "simulate --config %s/new.yaml --old %s/old.yaml --file %s/events %s",
             r->dir, r->dir, r->dir, more);
    return said_by(words, NULL);
}

static json_t *figures_with(struct rig *r, const char *more)
{
    char options[300];
    snprintf(options, sizeof(options), "--json %s", more);
    struct said s = ask(r, options);
    if (s.rc)
        print_message("%s", s.err);
    assert_int_equal(s.rc, CTL_OK);
    json_t *v = json_loads(s.out, 0, NULL);
    assert_non_null(v);
    said_free(&s);
    return v;
}

static json_t *figures(struct rig *r)
{
    return figures_with(r, "");
}

/* Member of the list whose key has the value. */
static const json_t *entry(const json_t *v, const char *list, const char *key, const char *value)
{
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(v, list), i,
                       e) if (strcmp(json_string_value(json_object_get(e, key)), value) == 0) return e;
    fail_msg("no %s %s", list, value);
    return NULL;
}

static uint64_t number(const json_t *v, const char *key)
{
    const json_t *n = json_object_get(v, key);
    assert_true(json_is_integer(n));
    return (uint64_t)json_integer_value(n);
}

enum { OLD, NEW };
static uint64_t of(const json_t *v, const char *key, size_t side)
{
    const json_t *n = json_array_get(json_object_get(v, key), side);
    assert_true(json_is_integer(n));
    return (uint64_t)json_integer_value(n);
}

/* ---- tests ---- */

static void the_same_configuration_changes_nothing(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 900);
    json_t *v = figures(r);
    const json_t *big = entry(v, "providers", "provider", "big");
    assert_int_equal(number(v, "messages"), 900);
    assert_int_equal(number(big, "messages"), 900);
    assert_int_equal(number(big, "moved"), 0);
    assert_int_equal(number(big, "changed"), 0);
    assert_int_equal(of(big, "delivered", OLD), 900);
    assert_int_equal(of(big, "delivered", NEW), 900);
    assert_int_equal(number(json_object_get(big, "later"), "messages"), 900);
    assert_int_equal(number(json_object_get(big, "later"), "most_ms"), 0);
    assert_int_equal(number(json_object_get(big, "sooner"), "messages"), 0);
    assert_int_equal(json_array_size(json_object_get(v, "moved")), 0);
    assert_int_equal(number(json_object_get(big, "took_old"), "most_ms"), 150);
    json_decref(v);
}

static void the_same_input_gives_the_same_bytes(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 600);
    for (unsigned i = 0; i < 200; i++)
        tell(r, &(struct sent){.at_ms = 600000 + i * 1000ull,
                               .tenant = "acme",
                               .source = "a1",
                               .type = "deferred",
                               .code = 421,
                               .reply = "4.7.0 try again later"});
    configure(r, "new.yaml", (struct changed){.second = ", warmup: geometric 1.4"});
    static const char *const forms[] = {"--json", ""};
    for (size_t i = 0; i < 2; i++) {
        struct said one = ask(r, forms[i]), two = ask(r, forms[i]);
        assert_int_equal(one.rc, CTL_OK);
        assert_true(strlen(one.out) > 500);
        assert_string_equal(one.out, two.out);
        said_free(&one);
        said_free(&two);
    }
}

static void what_a_drained_source_sent_goes_from_the_other(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 400);
    configure(r, "new.yaml", (struct changed){.second = ", enabled: false"});
    json_t *v = figures(r);
    const json_t *a2 = entry(v, "sources", "source", "a2"), *big = entry(v, "providers", "provider", "big");
    const json_t *move = json_array_get(json_object_get(v, "moved"), 0);
    assert_true(of(a2, "delivered", OLD) > 100);
    assert_int_equal(of(a2, "attempts", NEW), 0);
    assert_int_equal(number(big, "moved"), of(a2, "delivered", OLD));
    assert_int_equal(number(move, "messages"), number(big, "moved"));
    assert_string_equal(json_string_value(json_object_get(move, "from")), "a2");
    assert_string_equal(json_string_value(json_object_get(move, "to")), "a1");
    assert_int_equal(of(big, "delivered", NEW), 400);
    assert_int_equal(number(entry(v, "tenants", "tenant", "acme"), "moved") +
                         number(entry(v, "tenants", "tenant", "beta"), "moved"),
                     number(big, "moved"));
    json_decref(v);
}

/* Caps of 10, 20 a day, all of it in an hour. */
static const char warming[] = "warmups: [ { name: tiny, steps: [\"10\", \"20\"], hourly: 100 } ]\n";

static void a_warm_up_is_seen_by_its_caps(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 600);
    configure(r, "new.yaml", (struct changed){.second = ", warmup: tiny", .more = warming});
    json_t *v = figures(r);
    const json_t *a2 = entry(v, "sources", "source", "a2");
    assert_int_equal(of(a2, "attempts", NEW), 10);
    assert_int_equal(of(a2, "cap_days", NEW), 1);
    assert_int_equal(of(a2, "cap_hours", NEW), 1);
    assert_int_equal(of(a2, "cap_days", OLD), 0);
    assert_int_equal(of(entry(v, "providers", "provider", "big"), "delivered", NEW), 600);
    json_decref(v);
}

static void a_cap_holds_where_there_is_no_other_source(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 60);
    static const char alone[] = "  - { name: main, members: [ { source: a2 } ] }\n"
                                "  - { name: rest, members: [ { source: a1 } ] }\n";
    configure(r, "new.yaml", (struct changed){.second = ", warmup: tiny", .more = warming, .pools = alone});
    json_t *v = figures(r);
    const json_t *big = entry(v, "providers", "provider", "big"), *later = json_object_get(big, "later");
    /* Ten a day for three days, as ten prove nothing, then twenty; then the rest is too old. */
    assert_int_equal(of(big, "delivered", NEW), 50);
    assert_int_equal(of(big, "expired", NEW), 10);
    assert_int_equal(of(entry(v, "sources", "source", "a2"), "attempts", NEW), 50);
    assert_true(number(later, "median_ms") > 45ull * HOUR_MS);
    assert_true(number(later, "most_ms") > 71ull * HOUR_MS);
    assert_true(of(big, "waited_ms", NEW) > 50ull * 23 * HOUR_MS);
    assert_int_equal(of(big, "waited_ms", OLD), 0);
    assert_true(number(entry(v, "tenants", "tenant", "acme"), "later") > 20);
    assert_true(of(json_object_get(v, "waited_ms"), "cap", NEW) > 50ull * 23 * HOUR_MS);
    json_decref(v);
}

static void what_is_known_of_a_pair_counts(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 100);
    configure(r, "new.yaml", (struct changed){.second = ", warmup: tiny", .more = warming});
    Remuda__PairState p = REMUDA__PAIR_STATE__INIT;
    struct buf packed = BUF_INIT, text = BUF_INIT;
    p.source = "a2";
    p.provider = "big";
    p.format = 1;
    p.schedule = "tiny";
    p.stage = 2; /* past its last */
    p.written_ms = begin_ms + 5 * HOUR_MS;
    proto_pack(&packed, &p.base);
    buf_add_str(&text, "[{\"record\": \"");
    for (size_t i = 0; i < packed.len; i++)
        buf_printf(&text, "%02x", (unsigned char)packed.data[i]);
    buf_add_str(&text, "\"}]");
    write_file(r, "pairs", buf_cstr(&text));
    char state_option[160];
    snprintf(state_option, sizeof(state_option), "--state %s/pairs", r->dir);
    json_t *v = figures_with(r, state_option);
    assert_int_equal(number(v, "pairs_known"), 1);
    assert_int_equal(number(v, "days_later"), 1);
    assert_int_equal(of(entry(v, "sources", "source", "a2"), "cap_days", NEW), 0);
    assert_true(of(entry(v, "sources", "source", "a2"), "attempts", NEW) > 30);
    json_decref(v);
    buf_fini(&packed);
    buf_fini(&text);
}

static void a_bad_mailbox_is_bad_from_anywhere(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 40);
    for (unsigned i = 0; i < 10; i++)
        tell(r, &(struct sent){.at_ms = 40000 + i * 1000ull,
                               .tenant = "acme",
                               .source = i % 2 ? "a2" : "a1",
                               .type = "bounced",
                               .code = 550,
                               .reply = "5.1.1 no such user"});
    configure(r, "new.yaml", (struct changed){.second = ", enabled: false"});
    json_t *v = figures(r);
    const json_t *big = entry(v, "providers", "provider", "big");
    assert_int_equal(of(big, "bounced", OLD), 10);
    assert_int_equal(of(big, "bounced", NEW), 10);
    assert_int_equal(of(big, "delivered", NEW), 40);
    json_decref(v);
}

/* a2 was told to wait, a1 never: mail that goes from a1 alone is not deferred. */
static void answers_of_a_source_go_with_it(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 200; i++) {
        struct sent s = {.at_ms = i * 5000ull, .tenant = "acme", .source = i % 2 ? "a2" : "a1"};
        if (i % 2) {
            s.type = "deferred";
            s.code = 451;
            s.reply = "4.7.1 greylisted";
        }
        tell(r, &s);
    }
    configure(r, "new.yaml", (struct changed){.second = ", enabled: false"});
    json_t *v = figures(r);
    const json_t *a1 = entry(v, "sources", "source", "a1"), *a2 = entry(v, "sources", "source", "a2");
    assert_true(of(a2, "deferred", OLD) > 0);
    assert_int_equal(of(a1, "deferred", OLD), 0);
    assert_int_equal(of(a1, "deferred", NEW), 0);
    assert_int_equal(of(a1, "delivered", NEW), 200);
    json_decref(v);
}

static void a_tenant_that_is_gone_is_refused(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 90);
    configure(
        r, "new.yaml",
        (struct changed){
            .tenants = "  - { name: acme, networks: [127.0.0.1], domains: [acme.example], pool: main }\n"});
    json_t *v = figures(r);
    const json_t *big = entry(v, "providers", "provider", "big");
    assert_int_equal(of(big, "refused", NEW), 30);
    assert_int_equal(of(big, "refused", OLD), 0);
    assert_int_equal(number(entry(v, "tenants", "tenant", "beta"), "changed"), 30);
    assert_int_equal(number(entry(v, "tenants", "tenant", "acme"), "changed"), 0);
    json_decref(v);
}

static void what_one_pool_holds_goes_to_the_next(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 200);
    static const char two[] = "  - { name: main, members: [ { source: a2 } ] }\n"
                              "  - { name: rest, members: [ { source: a1 } ] }\n";
    static const char both[] =
        "  - { name: acme, networks: [127.0.0.1], domains: [acme.example], pools: [main, rest] }\n"
        "  - { name: beta, networks: [127.0.0.2], domains: [beta.example], pools: [main, rest] }\n";
    char more[300];
    snprintf(more, sizeof(more), "%sdelivery: { overflow: 5m }\n", warming);
    configure(r, "new.yaml",
              (struct changed){.second = ", warmup: tiny", .pools = two, .tenants = both, .more = more});
    json_t *v = figures(r);
    const json_t *later = json_object_get(entry(v, "providers", "provider", "big"), "later");
    assert_int_equal(of(entry(v, "sources", "source", "a2"), "delivered", NEW), 10);
    assert_int_equal(of(entry(v, "sources", "source", "a1"), "delivered", NEW), 190);
    assert_int_equal(of(v, "overflowed", NEW), 190);
    assert_true(number(later, "p95_ms") >= 5 * MINUTE_MS * 95 / 100);
    assert_true(number(later, "most_ms") < 6 * MINUTE_MS);
    json_decref(v);
}

static void a_harmful_tenant_goes_to_quarantine(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3000; i++) {
        bool bad = i % 6 == 0; /* a third of beta's */
        tell(r, &(struct sent){.at_ms = i * 1000ull,
                               .tenant = i % 2 ? "acme" : "beta",
                               .source = i % 4 < 2 ? "a2" : "a1",
                               .type = bad ? "bounced" : NULL,
                               .code = bad ? 550 : 250,
                               .reply = bad ? "5.1.1 no such user" : NULL});
    }
    configure(r, "new.yaml",
              (struct changed){.pools = "  - { name: main, members: [ { source: a1 } ] }\n"
                                        "  - { name: apart, members: [ { source: a2 } ] }\n",
                               .more = "quarantine: { pool: apart }\n"});
    json_t *v = figures(r);
    assert_true(of(v, "quarantined", NEW) > 500);
    assert_int_equal(of(v, "quarantined", OLD), 0);
    assert_int_equal(of(entry(v, "sources", "source", "a2"), "attempts", NEW), of(v, "quarantined", NEW));
    json_decref(v);
}

/* Answers that blame tenants, sources and receivers in turn: whatever waits for what, each message ends. */
static void no_message_is_forgotten(void **state)
{
    struct rig *r = *state;
    static const struct sent said[] = {
        {.type = NULL},
        {.type = "deferred", .code = 421, .reply = "4.7.28 unusual rate of mail from your IP address"},
        {.type = "deferred", .code = 451, .reply = "4.7.1 greylisted, try again in 300 seconds"},
        {.type = "deferred", .code = 421, .reply = "4.7.30 mail from your domain is rate limited, spam"},
        {.type = "bounced", .code = 550, .reply = "5.7.1 message rejected as spam"},
        {.type = "deferred", .code = 0, .reply = "connection lost"},
        {.type = "bounced", .code = 554, .reply = "5.7.1 blocked using zen.spamhaus.org"},
    };
    for (unsigned i = 0; i < 4000; i++) {
        struct sent s = said[i % 1000 == 500 ? 6 : i * 2654435761u % 97 % 6];
        s.at_ms = i * 150ull;
        s.tenant = i % 5 < 3 ? "acme" : "beta";
        s.source = i * 40503u % 13 % 2 ? "a2" : "a1";
        tell(r, &s);
    }
    configure(r, "new.yaml", (struct changed){.second = ", warmup: tiny", .more = warming});
    json_t *v = figures(r);
    const json_t *big = entry(v, "providers", "provider", "big");
    for (size_t side = OLD; side <= NEW; side++) {
        assert_int_equal(of(big, "waiting", side), 0);
        assert_int_equal(of(big, "delivered", side) + of(big, "bounced", side) + of(big, "expired", side),
                         4000);
        assert_true(of(big, "delivered", side) > 50);
    }
    json_decref(v);
}

/* ---- bad input ---- */

static void refuses(struct rig *r, const char *more, int rc, const char *words)
{
    struct said s = ask(r, more);
    if (!strstr(s.err, words))
        fail_msg("not \"%s\" but: %s", words, s.err);
    assert_int_equal(s.rc, rc);
    assert_string_equal(s.out, "");
    said_free(&s);
}

static void a_wrong_configuration_is_told_by_its_line(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 3);
    configure(r, "new.yaml", (struct changed){.second = ", wieght: 3"});
    refuses(r, "", CTL_CONFIG, "new.yaml:6:");
    configure(r, "new.yaml", (struct changed){0});
    configure(r, "old.yaml", (struct changed){.second = ", warmup: nosuch"});
    refuses(r, "", CTL_CONFIG, "old.yaml:6:");
}

static void wrong_events_are_told_by_their_line(void **state)
{
    struct rig *r = *state;
    tell_plain(r, 3);
    fputs("{\"type\": \n", r->events);
    refuses(r, "", CTL_FAILED, "events:4: ");
    write_file(r, "events", "[1]\n");
    refuses(r, "", CTL_FAILED, "events:1: found something else");
    write_file(r, "events", "");
    refuses(r, "", CTL_FAILED, "no message");
    write_file(r, "events", "{\"type\":\"held\",\"time_ms\":7200001}\n{\"type\":\"held\",\"time_ms\":1}\n");
    refuses(r, "", CTL_FAILED, "events:2: over an hour older");
    refuses(r, "--state /nonexistent", CTL_FAILED, "/nonexistent");
    refuses(r, "--events 1h", CTL_USAGE, "one of them");
}

static void percentiles_are_within_their_error(void **state)
{
    (void)state;
    struct histogram *h = calloc(1, sizeof(*h));
    assert_int_equal(histogram_percentile(h, 50), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(h, i * 7);
    for (unsigned p = 1; p <= 100; p += 9) {
        double exact = p * 7000.0, got = (double)histogram_percentile(h, p);
        assert_true(got <= exact && got >= exact * 0.968);
    }
    assert_int_equal(h->most, 700000);
    free(h);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_configuration_changes_nothing),
        TEST(the_same_input_gives_the_same_bytes),
        TEST(what_a_drained_source_sent_goes_from_the_other),
        TEST(a_warm_up_is_seen_by_its_caps),
        TEST(a_cap_holds_where_there_is_no_other_source),
        TEST(what_is_known_of_a_pair_counts),
        TEST(a_bad_mailbox_is_bad_from_anywhere),
        TEST(answers_of_a_source_go_with_it),
        TEST(a_tenant_that_is_gone_is_refused),
        TEST(what_one_pool_holds_goes_to_the_next),
        TEST(a_harmful_tenant_goes_to_quarantine),
        TEST(no_message_is_forgotten),
        TEST(a_wrong_configuration_is_told_by_its_line),
        TEST(wrong_events_are_told_by_their_line),
        cmocka_unit_test(percentiles_are_within_their_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
