/* The simulated receivers: each reason to trust or distrust an address has the effect that the model states.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/world_model/model.h"

enum { OLD, NEW };

struct rig {
    struct scenario s;
    struct receiver receiver;
    struct source sources[2];
    struct tenant tenants[2];
    struct share share;
    struct happening_at happening;
    struct model *m;
    uint32_t number;
    uint64_t now_ms;
};

/* An old and a new address; a tenant of clean mail, and one whose every mail is what the test makes it. */
static struct rig *rig_new(void)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->share = (struct share){"big", 1, 0};
    r->receiver = (struct receiver){.name = "big",
                                    .domain = "big.test",
                                    .latency_ms = 1,
                                    .cold = 100,
                                    .growth_percent = 200,
                                    .burst_percent = 100,
                                    .cold_level = 6000,
                                    .warm_level = 9000,
                                    .complaint_limit = 30,
                                    .bad_mailbox_limit = 1000,
                                    .junk_limit = 1000,
                                    .press_limit = 5000,
                                    .throttle_below = 5000,
                                    .block_below = 1500,
                                    .block_ms = 2 * DAY_MS,
                                    .content_caught = 10000};
    for (int i = 0; i < SAY_NETWORK; i++)
        r->receiver.texts[i] = "550 5.0.0 $IP $DOMAIN $LIST";
    r->sources[OLD] = (struct source){.name = "old", .weight = 1};
    r->sources[NEW] = (struct source){.name = "new", .weight = 1, .fresh = true};
    for (int i = 0; i < 2; i++)
        r->tenants[i] = (struct tenant){.name = i ? "bad" : "good",
                                        .per_day = 1000,
                                        .until_day = WORLD_DAYS_MOST,
                                        .authenticated = true,
                                        .turns_day = WORLD_DAYS_MOST,
                                        .turns_until = WORLD_DAYS_MOST,
                                        .shares = &r->share,
                                        .n_shares = 1,
                                        .shares_sum = 1};
    r->s = (struct scenario){.name = "rig",
                             .days = 30,
                             .seed = 3,
                             .sources = r->sources,
                             .n_sources = 2,
                             .receivers = &r->receiver,
                             .n_receivers = 1,
                             .tenants = r->tenants,
                             .n_tenants = 2};
    return r;
}

static void rig_free(struct rig *r)
{
    model_free(r->m);
    free(r);
}

static struct attempt attempt(const struct rig *r, int source, int tenant, uint32_t number)
{
    return (struct attempt){
        .source = source, .tenant = tenant, .number = number, .sent_ms = r->now_ms, .now_ms = r->now_ms};
}

/* n new messages at once: how many got this answer. */
static int send(struct rig *r, int source, int tenant, int n, enum saying wanted)
{
    int got = 0;
    if (!r->m)
        r->m = model_new(&r->s);
    for (int i = 0; i < n; i++) {
        struct attempt a = attempt(r, source, tenant, r->number++);
        model_opened(r->m, source, 0);
        got += model_answer(r->m, &a) == wanted;
        model_closed(r->m, source, 0);
    }
    return got;
}

static void pass_hours(struct rig *r, int n)
{
    for (; n > 0; n--) {
        r->now_ms += HOUR_MS;
        model_hour(r->m, r->now_ms);
    }
}

static void test_a_new_address_is_trusted_as_it_is_used(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    int taken = send(r, NEW, 0, 500, SAY_ACCEPTED);
    assert_in_range(taken, 100, 150);
    assert_int_equal(send(r, OLD, 0, 500, SAY_ACCEPTED), 500);
    pass_hours(r, 24);
    int next = send(r, NEW, 0, 500, SAY_ACCEPTED);
    assert_in_range(next, 1.5 * taken, 3 * taken);
    pass_hours(r, 24);
    for (int day = 0; day < 200; day++) /* without a message */
        pass_hours(r, 24);
    assert_in_range(send(r, NEW, 0, 500, SAY_ACCEPTED), 100, 150);
    rig_free(r);
}

static void test_an_hour_takes_its_share_of_the_day(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->receiver.burst_percent = 20;
    assert_in_range(send(r, NEW, 0, 500, SAY_ACCEPTED), 20, 30);
    pass_hours(r, 1);
    assert_in_range(send(r, NEW, 0, 500, SAY_ACCEPTED), 20, 30);
    rig_free(r);
}

/* Whether a day of 400 messages of the bad tenant leads to a block of the old address. */
static bool leads_to_a_block(struct rig *r, int complaints_of_100)
{
    r->receiver.block_below = 7000;
    r->receiver.throttle_below = 7100;
    r->receiver.cold_level = 9000;
    for (int hour = 0; hour < 24; hour++) {
        send(r, OLD, 1, 16, SAY_ACCEPTED);
        for (int i = 0; i < 16 * complaints_of_100 / 100 + (complaints_of_100 > 0 && hour % 4 == 0); i++)
            model_complain(r->m, OLD, 1, 0);
        pass_hours(r, 1);
    }
    bool blocked = model_blocked_pairs(r->m, r->now_ms) > 0;
    if (blocked) {
        assert_int_equal(send(r, OLD, 0, 10, SAY_BLOCK), 10);
        assert_int_equal(send(r, NEW, 0, 10, SAY_BLOCK), 0); /* the other address is not to blame */
        pass_hours(r, 48);
        assert_int_equal(send(r, OLD, 0, 10, SAY_BLOCK), 0);
    }
    rig_free(r);
    return blocked;
}

static void test_what_costs_trust(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    assert_false(leads_to_a_block(r, 0));
    assert_true(leads_to_a_block(rig_new(), 2));
    r = rig_new();
    r->tenants[1].bad_mailboxes = 4000;
    assert_true(leads_to_a_block(r, 0));
    r = rig_new();
    r->tenants[1].spam = 4000;
    assert_true(leads_to_a_block(r, 0));
}

static void test_pressing_on_costs_trust(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    for (int hour = 0; hour < 100 && !(r->m && model_blocked_pairs(r->m, r->now_ms)); hour++) {
        send(r, NEW, 0, 300, SAY_ACCEPTED);
        pass_hours(r, 1);
    }
    assert_int_equal(model_blocked_pairs(r->m, r->now_ms), 1);
    rig_free(r);
}

static void test_greylisting_knows_the_address(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->receiver.greylist_ms = 300000;
    r->receiver.greylisted = 10000;
    r->m = model_new(&r->s);
    struct attempt first = attempt(r, OLD, 0, 7), later = first, other;
    assert_int_equal(model_answer(r->m, &first), SAY_GREYLIST);
    later.now_ms += 299999;
    assert_int_equal(model_answer(r->m, &later), SAY_GREYLIST);
    later.now_ms++;
    other = later;
    other.source = NEW;
    assert_int_equal(model_answer(r->m, &other), SAY_GREYLIST);
    assert_int_equal(model_answer(r->m, &later), SAY_ACCEPTED);
    rig_free(r);
}

static void test_limits_lists_and_outages(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char text[REPLY_MOST];
    r->receiver.connections = 2;
    r->receiver.uses_lists = true;
    r->happening = (struct happening_at){.kind = HAPPEN_LISTED,
                                         .at_ms = HOUR_MS,
                                         .for_ms = HOUR_MS,
                                         .list = "list.test",
                                         .provider_index = -1,
                                         .source_index = OLD};
    r->s.happenings = &r->happening;
    r->s.n_happenings = 1;
    assert_int_equal(send(r, OLD, 0, 5, SAY_ACCEPTED), 5);
    model_opened(r->m, OLD, 0);
    model_opened(r->m, OLD, 0);
    assert_int_equal(send(r, OLD, 0, 5, SAY_CONNECTIONS), 5);
    pass_hours(r, 1);
    struct attempt a = attempt(r, OLD, 0, 99);
    assert_int_equal(model_answer(r->m, &a), SAY_LIST);
    model_text(r->m, &a, SAY_LIST, text);
    assert_string_equal(text, "550 5.0.0 192.0.2.1 good.example list.test");
    assert_int_equal(send(r, NEW, 0, 5, SAY_ACCEPTED), 5);
    r->happening =
        (struct happening_at){.kind = HAPPEN_OUTAGE, .at_ms = HOUR_MS, .for_ms = HOUR_MS, .source_index = -1};
    assert_int_equal(send(r, NEW, 0, 5, SAY_NETWORK), 5);
    rig_free(r);
}

static void test_traffic_is_what_its_curve_says(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    int count = 0, in_hour = 0;
    r->tenants[0].curve = CURVE_BLAST;
    r->tenants[0].blast_hour = 8;
    r->tenants[0].until_day = 3;
    for (uint64_t at = traffic_next(&r->s, 0, 0, 0); at < 30ull * DAY_MS;
         at = traffic_next(&r->s, 0, (uint32_t)count, at)) {
        count++;
        in_hour += at / HOUR_MS % 24 == 8;
    }
    assert_in_range(count, 2800, 3200);
    assert_int_equal(in_hour, count);
    r->m = model_new(&r->s);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_address_is_trusted_as_it_is_used),
        cmocka_unit_test(test_an_hour_takes_its_share_of_the_day),
        cmocka_unit_test(test_what_costs_trust),
        cmocka_unit_test(test_pressing_on_costs_trust),
        cmocka_unit_test(test_greylisting_knows_the_address),
        cmocka_unit_test(test_limits_lists_and_outages),
        cmocka_unit_test(test_traffic_is_what_its_curve_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
