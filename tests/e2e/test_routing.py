"""Which hosts, from which sources: preference, kinds of addresses, what is refused, policies of providers."""
import collections
import signal

import pytest

from tests.support import harness, settings
from tests.support.harness import wait_for
from tests.support.world import message


def test_equal_preferences_share_the_connections(world):
    for name in ("mx1", "mx2", "mx3"):
        world.host(name)
    world.domain("a.test", ("mx1", 10), ("mx2", 10), ("mx3", 20))
    relay = world.relay(providers=[settings.provider("mxtest", ".mx.test", messages_per_connection=1, rate="10000/s")])
    client = relay.connect()
    for i in range(40):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client)
    by_host = collections.Counter(d["listener"] for d in world.deliveries(40))
    assert set(by_host) == {"mx1", "mx2"} and min(by_host.values()) >= 6, by_host


def test_alias_as_domain(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    world.records("alias.test", ("CNAME", "a.test"))
    world.records("far.test", ("DANGLE", "alias.test"))
    relay = world.relay()
    relay.send("s@sender.test", ["r@alias.test"], message("1"))
    relay.send("s@sender.test", ["r@far.test"], message("2"))
    assert {d["rcpts"][0] for d in world.deliveries(2)} == {"r@alias.test", "r@far.test"}


def six():
    return {"name": "six", "address": "::1", "ehlo": "six.relay.test"}


@pytest.fixture
def both(world):
    """A host with an IPv6 address alone and one with an IPv4 address alone."""
    if not harness.bindable("::1", world.mx_port):
        pytest.skip("no IPv6 here")
    world.host("mx6", "::1")
    world.host("mx4")
    world.domain("six.test", "mx6")
    world.domain("four.test", "mx4")
    return world


def test_each_kind_of_address_from_a_source_of_its_kind(both):
    relay = both.relay(sources=[settings.source(both.net, 1), six()], pools=[settings.pool("main", "s1", "six")])
    idents = [relay.send("s@sender.test", [f"r@{domain}.test"], message(f"{domain}{i}"))
              for i in range(4) for domain in ("six", "four")]
    got = both.deliveries(8)
    assert {(d["listener"], d["helo"]) for d in got} == {("mx6", "six.relay.test"), ("mx4", "s1.relay.test")}
    assert relay.event(idents[0], "delivered")["mx_address"].startswith("[::1]:")
    assert not [e for i in idents for e in relay.trace(i) if e["type"] == "deferred"]


def test_no_source_of_the_hosts_kind_defers_and_says_so(both):
    relay = both.relay(sources=[settings.source(both.net, 1)], pools=[settings.pool("main", "s1")],
                       retries=[settings.retry(["1h"])])
    ident = relay.send("s@sender.test", ["r@six.test"], message("6"))
    assert "IPv6" in relay.event(ident, "deferred")["recipients"][0]["text"]
    relay.send("s@sender.test", ["r@four.test"], message("4"))
    both.deliveries(1)


def test_a_source_that_cannot_be_bound_is_left_out(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay(sources=[settings.source(world.net, 1), {**settings.source(world.net, 2), "address": "192.0.2.9"}],
                        providers=[settings.provider("mxtest", ".mx.test", messages_per_connection=1)],
                        retries=[settings.retry(["1h"])])
    client = relay.connect()
    for i in range(10):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client)
    assert {d["helo"] for d in world.deliveries(10)} == {"s1.relay.test"}
    assert "source_unusable" in relay.process.output()
    assert "s2" in relay.cli("explain", "--config", relay.path, "--from", "s@sender.test", "--to", "r@a.test").stdout


def test_with_no_source_to_bind_mail_waits_and_is_not_spun(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay(sources=[{**settings.source(world.net, 1), "address": "192.0.2.9"}],
                        pools=[settings.pool("main", "s1")])
    relay.send("s@sender.test", ["r@a.test"], message("one"))
    wait_for("the trouble", lambda: "source_unusable" in relay.process.output())
    before = harness.cpu_seconds(relay.process.pid)
    world.quiet(2)
    assert harness.cpu_seconds(relay.process.pid) - before < 0.4
    assert relay.process.output().count("source_unusable") <= 2 and relay.waiting() >= 1


OURS = "192.0.2.1"


@pytest.mark.parametrize("records,status", [
    ([("mx1", OURS, 10), ("mx2", "192.0.2.78", 20)], ("5.4.6", None)),
    ([("mx1", "127.9.9.9", 10)], ("5.4.4", None)),
    ([("mx1", "10.1.2.3", 10), ("mx2", None, 20)], ("5.4.4", None)),
    ([("mx1", "10.1.2.3", 10), ("mx2", "SERVFAIL", 20)], (None, "SERVFAIL")),
])
def test_own_and_local_addresses_are_refused(world, records, status):
    """The second domain's answers come from the cache."""
    for name, address, _ in records:
        if address == "SERVFAIL":
            world.records(f"{name}.mx.test", ("SERVFAIL",))
        elif address:
            world.records(f"{name}.mx.test", ("A", address))
    for i in range(2):
        world.domain(f"d{i}.test", *[(name, preference) for name, _, preference in records])
    relay = world.relay(delivery={"allow_local": False}, retries=[settings.retry(["1h"])],
                        sources=[{**settings.source(world.net, 1), "address": OURS}], pools=[settings.pool("main", "s1")])
    for i in range(2):
        ident = relay.send("s@sender.test", [f"r@d{i}.test"], message(f"m{i}"), rcpt_options=["NOTIFY=NEVER"])
        event = relay.event(ident, "bounced" if status[0] else "deferred")
        recipient = event["recipients"][0]
        if status[0]:
            assert recipient["enhanced"] == status[0], recipient
        else:
            assert status[1] in recipient["text"] and recipient["enhanced"].startswith("4.")


def test_none_of_the_hosts_that_are_equal_to_ourselves_is_tried(world):
    """Whatever the draw among equals: RFC 5321 5.1 leaves out all of the relay's own preference and worse."""
    world.records("us.mx.test", ("A", OURS))
    world.records("peer.mx.test", ("A", "192.0.2.78"))
    relay = world.relay(delivery={"allow_local": False}, retries=[settings.retry(["1h"])],
                        sources=[{**settings.source(world.net, 1), "address": OURS}], pools=[settings.pool("main", "s1")])
    for i in range(8):
        world.domain(f"e{i}.test", ("us", 10), ("peer", 10))
    for i in range(8):
        ident = relay.send("s@sender.test", [f"r@e{i}.test"], message(f"e{i}"), rcpt_options=["NOTIFY=NEVER"])
        recipient = relay.event(ident, "bounced")["recipients"][0]
        assert recipient["enhanced"] == "5.4.6" and "us.mx.test" in recipient["text"], recipient


def test_tls_that_a_provider_requires(world):
    for name, mode in (("none", ""), ("broken", "break"), ("good", "offer")):
        world.host(f"{name}.strict.test", starttls=mode)
        world.domain(f"{name}.test", f"{name}.strict.test")
    relay = world.relay(providers=[settings.provider("strict", ".strict.test", tls_required=True)],
                        retries=[settings.retry(["1h"])])
    for name in ("none", "broken"):
        ident = relay.send("s@sender.test", [f"r@{name}.test"], message(name))
        assert "TLS" in relay.event(ident, "deferred")["recipients"][0]["text"]
    relay.send("s@sender.test", ["r@good.test"], message("good"))
    got = world.deliveries(1)[0]
    assert got["test_id"] == "good" and got["tls"].startswith("TLSv1.")


def most_open(entries):
    """The most connections open at once, in the order of the log."""
    now = most = 0
    for e in entries:
        now += {"connect": 1, "disconnect": -1}.get(e["event"], 0)
        most = max(most, now)
    return most


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_limits_of_all_sources_together(world, how):
    """Three sources in two pools, so two lanes. They had homes in two partitions before the limit was one for all."""
    world.host("mx1.strait.test", dot_delay=0.1)
    world.domain("a.test", "mx1.strait.test")
    strait = settings.provider("strait", ".strait.test", connections=2)
    tenants = [settings.tenant("main", networks=["127.0.0.1/32"]),
               settings.tenant("side", networks=["127.0.0.3/32"], pools=["side"])]
    relay = world.relay(sources=[settings.source(world.net, n) for n in (1, 2, 3)],
                        pools=[settings.pool("main", "s1", "s2"), settings.pool("side", "s3")],
                        tenants=tenants, providers=[strait], delivery={"idle": "1s"})

    def send(name):
        for tenant, address in (("main", "127.0.0.1"), ("side", "127.0.0.3")):
            client = relay.connect(source_address=(address, 0))
            for i in range(20):
                relay.send("s@sender.test", ["r@a.test"], message(f"{name}{tenant}{i}"), client=client)
            client.quit()
    send("before")
    world.deliveries(40, timeout=30)
    assert most_open(world.entries()) > 2, "the limit was for each source, and the test has not reached it"
    wait_for("an empty queue", lambda: relay.waiting() == 0)
    if how == "restart":
        relay.stop()
    relay.write(providers=[{**strait, "limits": "total"}])
    if how == "restart":
        relay.start()
    else:
        relay.process.signal(signal.SIGHUP)
        wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="ok") == 1)
    wait_for("the end of the old connections", lambda: len(world.entries().of(event="connect")) ==
             len(world.entries().of(event="disconnect")))
    first = len(world.entries())
    send("after")
    world.deliveries(80, timeout=60)
    assert most_open(world.entries()[first:]) == 2
    homes = {d["helo"] for d in world.entries()[first:] if d["event"] == "delivery"}
    assert "s3.relay.test" in homes and len(homes) >= 2


def test_schedules_of_tenant_and_provider(world):
    """The tenant's own goes before the provider's, which goes before the default."""
    for name in ("mx1.plain.test", "mx1.quick.test"):
        world.host(name, rules=[{"stage": "rcpt", "reply": "451 4.3.0 later"}])
    world.domain("a.test", "mx1.plain.test")
    world.domain("b.test", "mx1.quick.test")
    world.domain("own.test", "mx1.quick.test")
    tenants = [settings.tenant("main", networks=["127.0.0.1/32"]),
               settings.tenant("own", networks=["127.0.0.3/32"], retry="own")]
    relay = world.relay(tenants=tenants, providers=[settings.provider("quick", ".quick.test", retry="quick")],
                        retries=[settings.retry(["100s"]), settings.retry(["200s"], "quick", lifetime="2h"),
                                 settings.retry(["300s"], "own", lifetime="3h")])
    own = relay.connect(source_address=("127.0.0.3", 0))
    for domain, client, wait in (("a.test", None, 100), ("b.test", None, 200), ("own.test", own, 300)):
        ident = relay.send("s@sender.test", [f"r@{domain}"], message(domain), client=client)
        event = relay.event(ident, "deferred")
        assert abs(event["next_due_ms"] - event["time_ms"] - wait * 1000) < 2000, event
