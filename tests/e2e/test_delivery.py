"""From accepted to delivered: DNS, MX hosts, TLS, limits, retries, as receivers see it."""
import collections
import json
import time

import pytest

from tests.support import settings
from tests.support.harness import wait_for
from tests.support.world import message


def test_delivered_once_with_received_field(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay()
    data = message("one")
    ident = relay.send("s@sender.test", ["r@a.test"], data)
    got = world.deliveries(1)[0]
    assert (got["mail"], got["rcpts"], got["test_id"]) == ("s@sender.test", ["r@a.test"], "one")
    body = world.body(got)
    assert body.endswith(data)
    received = body[:-len(data)].replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ").decode()
    assert received.startswith("Received: from client.test") and ident in received
    assert got["id"] == ident
    wait_for("an empty queue", lambda: relay.waiting() == 0)
    world.quiet()
    world.deliveries(1)


def test_message_id_and_date_are_added_when_absent(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay()
    bare = b"From: s@sender.test\r\nSubject: bare\r\n\r\ntext\r\n"
    relay.send("s@sender.test", ["r@a.test"], bare)
    body = world.body(world.deliveries(1)[0])
    assert body.endswith(bare)
    head = body[:-len(bare)].lower()
    assert head.count(b"\r\nmessage-id: <") == 1 and head.count(b"\r\ndate: ") == 1


def test_greylisted_returns_from_the_same_source(world):
    world.host("mx1", greylist=[1.5, "451 4.7.1 Greylisted, please come back"])
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["2s"])])
    ident = relay.send("s@sender.test", ["r@a.test"], message("grey"))
    got = world.deliveries(1)[0]
    refused = world.entries().of(event="refusal", stage="greylist")
    assert len(refused) == 1
    assert refused[0]["helo"] == got["helo"], "went back from another source"
    kinds = [e["type"] for e in relay.trace(ident)]
    assert kinds.count("deferred") == 1 and wait_for("delivered", lambda: relay.event(ident, "delivered"))


@pytest.mark.parametrize("trouble", ["refused", "421", "554", "421-later", "drop"])
def test_next_mx_host(world, trouble):
    options = {"refused": None, "421": {"greeting": "421 4.3.2 busy"}, "554": {"greeting": "554 5.3.2 no service"},
               "421-later": {"rules": [{"stage": "mail", "reply": "421 4.3.2 closing"}]},
               "drop": {"rules": [{"stage": "connect", "drop": True}]}}[trouble]
    if options is None:
        world.records("mx1.mx.test", ("A", f"{world.net}.9.9"))
    else:
        world.host("mx1", **options)
    world.host("mx2")
    world.domain("a.test", "mx1", "mx2")
    relay = world.relay(retries=[settings.retry(["30s"])])
    ident = relay.send("s@sender.test", ["r@a.test"], message("next"))
    assert world.deliveries(1, timeout=10)[0]["listener"] == "mx2"
    relay.event(ident, "delivered")
    passed_over = relay.event(ident, "delivered").get("passed_over", "")
    why = {"refused": "refused", "421": "4.3.2 busy", "554": "5.3.2 no service", "drop": "closed"}.get(trouble, "")
    assert passed_over.startswith("mx1.mx.test [") == bool(why) and why in passed_over, passed_over
    assert ("tried before: mx1.mx.test" in relay.cli("trace", ident, "--config", relay.path).stdout) == bool(why)
    said = [(e["mx_host"], e["cause"], e["recipients"][0]["text"]) for e in relay.trace(ident) if e["type"] == "deferred"]
    assert said == ([("mx1.mx.test", "next-host", "4.3.2 closing")] if trouble == "421-later" else [])


def test_next_mx_host_for_those_that_were_not_refused(world):
    """The first host refuses one recipient and closes at the other: that one goes on at once."""
    world.host("mx1", rules=[{"stage": "rcpt", "match": "^bad@", "reply": "550 5.1.1 no such user"},
                             {"stage": "rcpt", "match": "^good@", "reply": "421 4.3.2 closing"}])
    world.host("mx2", rules=[{"stage": "rcpt", "match": "^bad@", "reply": "550 5.1.1 asked again"}])
    world.domain("a.test", "mx1", "mx2")
    relay = world.relay(retries=[settings.retry(["1h"])])
    ident = relay.send("s@sender.test", ["bad@a.test", "good@a.test"], message("rest"), rcpt_options=["NOTIFY=NEVER"])
    got = world.deliveries(1)[0]
    assert (got["listener"], got["rcpts"]) == ("mx2", ["good@a.test"])
    relay.event(ident, "delivered")
    assert [e["recipients"][0]["text"] for e in relay.trace(ident) if e["type"] == "bounced"] == ["5.1.1 no such user"]
    assert relay.waiting() == 0


def test_a_dead_destination_is_tried_for_one_and_said_of_the_others(world):
    world.records("mx1.mx.test", ("A", f"{world.net}.9.9"))
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["2s", "1h"])])
    first = relay.send("s@sender.test", ["r@a.test"], message("first"))
    tried = relay.event(first, "deferred")
    assert (tried["attempt"], tried["cause"]) == (1, "unreachable")
    second = relay.send("s@sender.test", ["r@a.test"], message("second"))
    spared = relay.event(second, "deferred")
    words = spared["recipients"][0]["text"]
    assert words.startswith("not tried: its hosts were unreachable at ") and "refused" in words, words
    assert spared["cause"] == "not-tried" and "attempt" not in spared and "source" not in spared
    assert spared["next_due_ms"] - spared["time_ms"] < 3000
    # Older than the first step: it waits as one would that was tried meanwhile, and its first words stay.
    later = wait_for("the first again", lambda: [e for e in relay.trace(first) if e.get("cause") == "not-tried"], 10)[0]
    assert later["next_due_ms"] - later["time_ms"] > 3_000_000
    row = [r for r in json.loads(relay.http("/v1/queue?limit=10"))["rows"] if r["id"] == first][0]
    assert row["attempts"] == 1 and "not tried" not in row["recipients"][0]["last_reply"]


def test_preference_and_a_fallback(world):
    world.host("mx1")
    world.host("mx2")
    world.domain("pref.test", ("mx1", 20), ("mx2", 10))
    world.records("bare.test", ("A", world.host("plain")))
    relay = world.relay()
    relay.send("s@sender.test", ["r@pref.test"], message("p"))
    relay.send("s@sender.test", ["r@bare.test"], message("b"))
    got = world.deliveries(2)
    assert got.of(test_id="p")[0]["listener"] == "mx2"
    assert got.of(test_id="b")[0]["listener"] == "plain"


def test_static_route_without_dns(world):
    address = world.host("inside")
    relay = world.relay(routes=[{"domain": "intranet.test", "hosts": [f"{address}:{world.mx_port}"]},
                                {"domain": ".below.test", "hosts": [f"{address}:{world.mx_port}"]}])
    relay.send("s@sender.test", ["r@intranet.test"], message("1"))
    relay.send("s@sender.test", ["r@deep.below.test"], message("2"))
    assert {d["rcpts"][0] for d in world.deliveries(2)} == {"r@intranet.test", "r@deep.below.test"}


def test_dns_trouble_defers_and_recovers(world):
    world.host("mx1")
    world.records("a.test", ("SERVFAIL",))
    relay = world.relay()
    ident = relay.send("s@sender.test", ["r@a.test"], message("dns"))
    assert relay.event(ident, "deferred", 20)["cause"]
    world.domain("a.test", "mx1")
    world.deliveries(1, timeout=40)


def test_starttls_is_used_when_offered(world):
    world.host("mx1", starttls="offer")
    world.domain("a.test", "mx1")
    relay = world.relay()
    ident = relay.send("s@sender.test", ["r@a.test"], message("tls"))
    assert world.deliveries(1)[0]["tls"].startswith("TLSv1.")
    assert relay.event(ident, "delivered")["tls"].startswith("TLSv1.")


@pytest.mark.parametrize("mode", ["refuse", "break"])
def test_starttls_falls_back_when_it_breaks(world, mode):
    world.host("mx1", starttls=mode)
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["2s"])])
    relay.send("s@sender.test", ["r@a.test"], message("tls"))
    assert world.deliveries(1)[0]["tls"] == ""


def test_tls_required_never_sends_in_the_clear(world):
    address = world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay(routes=[{"domain": "a.test", "hosts": [f"{address}:{world.mx_port}"], "tls": "required"}])
    ident = relay.send("s@sender.test", ["r@a.test"], message("tls"))
    relay.event(ident, "deferred")
    world.deliveries(0)


def test_recipients_of_one_transaction_have_their_own_results(world):
    world.host("mx1", rules=[{"stage": "rcpt", "match": "^bad@", "reply": "550 5.1.1 no such user here"},
                             {"stage": "rcpt", "match": "^later@", "reply": "452 4.2.2 mailbox full", "times": 1}])
    world.host("home")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home")
    relay = world.relay()
    ident = relay.send("s@sender.test", ["good@a.test", "bad@a.test", "later@a.test"], message("mix"))
    world.deliveries(2, test_id="mix", listener="mx1")
    to = sorted(r for d in world.entries().of(event="delivery", listener="mx1") for r in d["rcpts"])
    assert to == ["good@a.test", "later@a.test"]
    bounce = world.deliveries(1, listener="home")[0]
    assert bounce["mail"] == "" and b"bad@a.test" in world.body(bounce)
    assert b"later@a.test" not in world.body(bounce).split(b"message/delivery-status", 1)[1].split(b"\r\n--", 1)[0]
    bounced = relay.event(ident, "bounced")
    assert "no such user here" in bounced["recipients"][0]["text"]


def test_many_recipients_travel_together(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay()
    recipients = [f"r{i}@a.test" for i in range(150)]
    relay.send("s@sender.test", recipients, message("many"))
    got = world.deliveries(2)
    assert max(len(d["rcpts"]) for d in got) == 100
    assert sorted(r for d in got for r in d["rcpts"]) == sorted(recipients)


def test_recipients_beyond_the_receiver_s_most_follow_at_once(world):
    world.host("mx1", most_recipients=2)
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["1h"])])
    relay.send("s@sender.test", [f"r{i}@a.test" for i in range(5)], message("five"))
    got = world.deliveries(3)
    assert sorted(r for d in got for r in d["rcpts"]) == [f"r{i}@a.test" for i in range(5)]
    assert [len(d["rcpts"]) for d in got] == [2, 2, 1]


def test_rounds_for_recipients_beyond_the_most_leave_the_schedule_alone(world):
    world.host("mx1", most_recipients=1, rules=[{"stage": "rcpt", "match": "^r3@", "reply": "451 4.3.0 later"}])
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["30s", "10h"])])
    ident = relay.send("s@sender.test", [f"r{i}@a.test" for i in range(4)], message("four"))
    world.deliveries(3)
    last = wait_for("its deferral", lambda: [e for e in relay.trace(ident) if e["type"] == "deferred" and
                                             [r["address"] for r in e["recipients"]] == ["r3@a.test"] and
                                             "later" in e["recipients"][0]["text"]])[0]
    assert last["next_due_ms"] - last["time_ms"] < 40_000, last


def test_too_many_recipients_without_progress_waits_as_any_deferral(world):
    world.host("mx1", most_recipients=1, rules=[{"stage": "dot", "reply": "451 4.3.0 not today"}])
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["1h"])])
    ident = relay.send("s@sender.test", ["r0@a.test", "r1@a.test"], message("two"))
    relay.event(ident, "deferred")
    world.quiet(1.5)
    assert len(world.entries().of(event="refused-body")) == 1


def test_connections_are_reused(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay()
    client = relay.connect()
    for i in range(40):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client)
    client.quit()
    got = world.deliveries(40)
    assert len({d["peer"] for d in got}) <= 10


def test_provider_limits_hold_per_source(world):
    for i in range(3):
        world.host(f"mx{i}.big.test", group="big", dot_delay=0.05, connections=[2, "421 4.7.0 too many connections"],
                   per_connection=[5, "421 4.7.0 too many messages"])
    world.domain("one.test", "mx0.big.test", "mx1.big.test")
    world.domain("two.test", "mx2.big.test")
    relay = world.relay(providers=[settings.provider("big", ".big.test", connections=2, messages_per_connection=5)])
    client = relay.connect()
    for i in range(60):
        relay.send("s@sender.test", [f"r@{('one', 'two')[i % 2]}.test"], message(f"m{i}"), client=client)
    world.deliveries(60, timeout=60)
    entries = world.entries()
    assert max(e["open"] for e in entries.of(event="connect")) <= 2
    assert not entries.of(event="over-connections") and not entries.of(event="over-messages")
    assert max(e["number"] for e in entries.of(event="delivery")) <= 5


def test_provider_rate_holds(world):
    world.host("mx1.slowco.test", group="slowco")
    world.domain("a.test", "mx1.slowco.test")
    relay = world.relay(sources=[settings.source(world.net, 1)], pools=[settings.pool("main", "s1")],
                        providers=[settings.provider("slowco", ".slowco.test", rate="5/s")])
    client = relay.connect()
    for i in range(25):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client)
    times = sorted(d["t"] for d in world.deliveries(25, timeout=60))
    for i in range(len(times) - 10):
        assert times[i + 10] - times[i] > 0.9, "more than 10 messages in 0.9 s at 5/s"


def test_sources_rotate_by_weight_with_their_own_names(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay(sources=[settings.source(world.net, n) for n in (1, 2, 3)],
                        pools=[settings.pool("main", ("s1", 2), ("s2", 1), ("s3", 1))],
                        providers=[settings.provider("mxtest", ".mx.test", messages_per_connection=1, rate="10000/s")])
    client = relay.connect()
    for i in range(80):
        relay.send(f"s@d{i}.test", ["r@a.test"], message(f"m{i}"), client=client)
    got = world.deliveries(80, timeout=60)
    by_source = collections.Counter(d["peer"].rsplit(":", 1)[0] for d in got)
    assert {d["helo"] for d in got} == {"s1.relay.test", "s2.relay.test", "s3.relay.test"}
    for d in got:
        assert d["peer"].startswith(f"{world.net}.200.{d['helo'][1]}:")
    assert 34 <= by_source[f"{world.net}.200.1"] <= 46, by_source
    assert 14 <= by_source[f"{world.net}.200.2"] <= 26, by_source


def test_no_pipelining_receiver(world):
    world.host("mx1", pipelining=False)
    world.domain("a.test", "mx1")
    relay = world.relay()
    for i in range(5):
        relay.send("s@sender.test", ["r@a.test", "q@a.test"], message(f"m{i}"))
    assert all(len(d["rcpts"]) == 2 for d in world.deliveries(5))


def test_dot_lines_arrive_unchanged(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay()
    data = message("dots", text=".\r\n..\r\n.leading\r\n\r\n.\r\n...\r\nend.\r\n.")[:-1] + b".\r\n"
    stuffed = data.replace(b"\r\n.", b"\r\n..")
    s, f = relay.raw()
    for line in (b"EHLO c.test", b"MAIL FROM:<s@sender.test>", b"RCPT TO:<r@a.test>", b"DATA"):
        s.sendall(line + b"\r\n")
        while f.readline()[3:4] == b"-":
            pass
    s.sendall(stuffed + b".\r\n")
    assert f.readline().startswith(b"250")
    s.close()
    assert world.body(world.deliveries(1)[0]).endswith(data)


def test_pool_without_free_sources_goes_to_the_next_pool(world):
    world.host("mx1", dot_delay=8, group="g")
    world.domain("a.test", "mx1")
    relay = world.relay(sources=[settings.source(world.net, 1), settings.source(world.net, 2)],
                        pools=[settings.pool("main", "s1"), settings.pool("reserve", "s2")],
                        tenants=[settings.tenant("main", pools=["main", "reserve"])],
                        providers=[settings.provider("mxtest", ".mx.test", connections=1)],
                        delivery={"overflow": "1s"})
    client = relay.connect()
    for i in range(4):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client)
    got = world.deliveries(4, timeout=60)
    assert {d["helo"] for d in got} == {"s1.relay.test", "s2.relay.test"}
    rerouted = [e for d in got for e in relay.trace(d["id"]) if e["type"] == "rerouted"]
    assert rerouted


@pytest.mark.parametrize("partitions", [1, 8])
def test_no_pool_is_tried_twice_in_a_round(world, partitions):
    """From a fallback outside the tenant's list the list leads back to the first: held there for ten times delivery.overflow instead."""
    world.host("mx1", dot_delay=600)
    world.domain("a.test", "mx1")
    relay = world.relay(sources=[settings.source(world.net, i) for i in (1, 2)],
                        pools=[settings.pool("main", "s1", fallback="reserve"), settings.pool("reserve", "s2")],
                        tenants=[settings.tenant("main", pools=["main"])], log={"partitions": partitions},
                        providers=[settings.provider("mxtest", ".mx.test", connections=1, messages_per_connection=1)],
                        delivery={"overflow": "1s"}, node={"drain": "1s"})
    client = relay.connect()
    idents = [relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client) for i in range(3)]
    wait_for("both pools to be full", lambda: len({e["helo"] for e in world.entries().of(event="delivery")}) == 2, 20)
    world.quiet(6)

    def moves():
        return [[(e["pool"], e["transfer_to"]["pool"]) for e in relay.trace(i) if e.get("cause") == "overflow"] for i in idents]
    assert max(moves(), key=len) == [("main", "reserve")], moves()
    wait_for("the next round", lambda: max(moves(), key=len) == [("main", "reserve"), ("reserve", "main")], 20)
    # Another lane's copy begins with its acceptance known.
    accepted = [line for line in relay.process.output().splitlines() if "mail.accepted" in line]
    assert sorted(sum(i in line for line in accepted) for i in idents) == [1, 1, 1], accepted
    world.relays[0].kill()


def test_mail_stays_in_its_pool_while_the_receiver_is_out(world):
    """Another pool's sources would wait for the same: ten refusals in a row are an outage of 10 s. Nor does that time
    count once it is over and a queue has to go through: it is less than delivery.overflow long."""
    world.host("mx1", dot_delay=0.3, rules=[{"stage": "rcpt", "reply": "451 4.3.0 try again later", "times": 10}])
    world.domain("a.test", "mx1")
    relay = world.relay(sources=[settings.source(world.net, 1), settings.source(world.net, 2)],
                        pools=[settings.pool("main", "s1"), settings.pool("reserve", "s2")],
                        tenants=[settings.tenant("main", pools=["main", "reserve"])],
                        providers=[settings.provider("mxtest", ".mx.test", connections=1)],
                        retries=[settings.retry(["500ms"])], delivery={"overflow": "6s"})
    client = relay.connect()
    idents = [relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client) for i in range(12)]
    got = world.deliveries(12, timeout=60)
    assert {d["helo"] for d in got} == {"s1.relay.test"}
    told = [e for i in idents for e in relay.trace(i)]
    assert sum(e["type"] == "deferred" for e in told) == 10
    assert not [e for e in told if e["type"] == "rerouted" and e["cause"] == "overflow"]
    assert max(d["t"] for d in got) - min(d["t"] for d in world.entries().of(event="connect")) > 8  # it was held


def test_what_was_known_goes_along_to_the_next_pool(world):
    """Another partition's: one notice of delay in all, and attempts counted on."""
    world.host("mx1", dot_delay=600, rules=[{"stage": "rcpt", "match": "^second@", "reply": "451 4.3.0 later"}])
    world.host("home.own.test")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home.own.test")
    relay = world.relay(pools=[settings.pool("main", "s1"), settings.pool("reserve", "s2")],
                        tenants=[settings.tenant("main", pools=["main", "reserve"])],
                        providers=[settings.provider("mxtest", ".mx.test", connections=1)],
                        retries=[settings.retry(["5s"], delay_notice="1s")],
                        delivery={"overflow": "8s"}, node={"drain": "1s"})
    ident = relay.send("s@sender.test", ["second@a.test"], message("second"))
    relay.event(ident, "deferred")
    relay.send("s@sender.test", ["first@a.test"], message("first"), rcpt_options=["NOTIFY=NEVER"])
    wait_for("the first to hang", lambda: world.entries().of(event="delivery", test_id="first"))
    world.deliveries(1, timeout=25, listener="home.own.test")
    wait_for("the way into the other pool", lambda: relay.event(ident, "rerouted"), 30)
    tried = wait_for("an attempt from there", lambda: [e for e in relay.trace(ident) if e["type"] == "deferred" and
                                                       e["source"] == "s2"], 30)
    assert tried[0]["attempt"] == 2
    world.quiet(2)
    world.deliveries(1, listener="home.own.test")
    world.relays[0].kill()


def test_slow_receiver_delays_nobody_else(world):
    world.host("slow", delay=20)
    world.host("fast")
    world.domain("slow.test", "slow")
    world.domain("fast.test", "fast")
    relay = world.relay()
    client = relay.connect()
    for i in range(200):
        relay.send("s@sender.test", ["r@slow.test"], message(f"slow{i}"), client=client)
    began = time.time()
    for i in range(20):
        relay.send("s@sender.test", ["r@fast.test"], message(f"fast{i}"), client=client)
    got = world.deliveries(20, timeout=15, listener="fast")
    assert max(d["t"] for d in got) - began < 10
    for e in world.entries().of(event="connect", listener="slow"):
        assert e["open"] <= 10
    world.relays[0].kill()  # its transactions with the slow one would outlast any drain


def test_expired_in_the_queue_bounces(world):
    world.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 not today"}])
    world.host("home")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home")
    relay = world.relay(retries=[settings.retry(["1s"], lifetime="3s")])
    ident = relay.send("s@sender.test", ["r@a.test"], message("old"))
    relay.event(ident, "expired", 30)
    bounce = world.body(world.deliveries(1, listener="home")[0])
    assert b"Diagnostic-Code: smtp; 451 4.3.0 not today" in bounce and b"Status: 5.4.7" in bounce


@pytest.mark.parametrize("cause", ["connections", "rate", "no-source"])
def test_age_and_delay_are_minded_while_held(world, cause):
    """Nothing ever frees what it waits for: the sender is told of the delay, and of the end."""
    world.host("mx1", dot_delay=600)
    world.host("home.own.test")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home.own.test")
    held = settings.provider("held", ".mx.test", connections=1, rate="1/h" if cause == "rate" else "0")
    pools = [settings.pool("main", "s1"), settings.pool("drained", "s2")]
    relay = world.relay(sources=[settings.source(world.net, 1), settings.source(world.net, 2, enabled=False)],
                        pools=pools, providers=[held], delivery={"overflow": "0"},
                        tenants=[settings.tenant("main", networks=["127.0.0.1/32"]),
                                 settings.tenant("drained", networks=["127.0.0.3/32"], pools=["drained"])],
                        retries=[settings.retry(["1h"], lifetime="9s", delay_notice="2s")], node={"drain": "1s"})
    if cause == "no-source":
        client = relay.connect(source_address=("127.0.0.3", 0))
    else:
        client = relay.connect()
    if cause == "connections":
        relay.send("s@sender.test", ["r@a.test"], message("first"), client=client, rcpt_options=["NOTIFY=NEVER"])
        wait_for("the first to be under way", lambda: world.entries().of(event="connect", listener="mx1"))
    ident = relay.send("s@sender.test", ["r@a.test"], message("second"), client=client)
    if cause != "no-source":
        reports = [world.body(d) for d in world.deliveries(2, timeout=25, listener="home.own.test")]
        assert b"Action: delayed" in reports[0] and b"Action: failed" in reports[1]
    assert relay.event(ident, "expired", 25)["recipients"][0]["enhanced"] == "5.4.7"
    world.relays[0].kill()


def test_expired_after_a_partial_delivery_keeps_the_receivers_words(world):
    world.host("mx1", rules=[{"stage": "rcpt", "match": "full", "reply": "452 4.2.2 mailbox over its quota"}])
    world.host("home")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home")
    relay = world.relay(retries=[settings.retry(["1s"], lifetime="3s")])
    ident = relay.send("s@sender.test", ["ok@a.test", "full@a.test", "full2@a.test"], message("partly"))
    expired = relay.event(ident, "expired", 30)
    assert "over its quota" in str(expired)
    bounce = world.body(world.deliveries(1, listener="home")[0])
    assert bounce.count(b"mailbox over its quota") >= 2 and b"ok@a.test" not in bounce.split(b"message/rfc822")[0]
