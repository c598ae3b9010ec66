"""A tenant that harms its neighbours: slowed down, quarantined, kept, lifted; and what the neighbours notice."""
import collections
import json
import threading
import time

import pytest

from tests.support import settings
from tests.support.harness import free_port, wait_for
from tests.support.world import message

BAD, GOOD = "127.0.0.2", "127.0.0.1"
NO_USER = {"stage": "rcpt", "match": "^gone", "reply": "550 5.1.1 The email account does not exist"}


def build(world, minimum=30, pool="apart", provider=None, config=None, tenant=None, **more):
    """Tenants "bad" and "good" share the pool of s1 and s2; the quarantine pool has s3."""
    world.host("mx.big.test", rules=[NO_USER], **more)
    world.domain("big.test", "mx.big.test")
    tenant = tenant or {}
    return world.relay(
        **config or {},
        sources=[settings.source(world.net, n) for n in (1, 2, 3)],
        pools=[settings.pool("main", "s1", "s2"), settings.pool("apart", "s3")],
        tenants=[settings.tenant("good", networks=[GOOD + "/32"], **tenant),
                 settings.tenant("bad", networks=[BAD + "/32"], **tenant)],
        quarantine={"minimum": minimum, **({"pool": pool} if pool else {})},
        providers=[settings.provider("big", ".big.test", **(provider or {}))],
        delivery={"overflow": "0"})


def cli(relay, *args, code=0):
    done = relay.cli(*args, "--admin", relay.admin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def send(relay, who, names):
    client = relay.connect(source_address=(who, 0))
    for name in names:
        relay.send(f"s@{'bad' if who == BAD else 'good'}.test", [f"{name}@big.test"], message(name), client=client)
    client.close()


def names(prefix, n):
    return [f"{prefix}{i}" for i in range(n)]


def sources(world, prefix):
    """Which sources delivered the messages whose recipients begin so."""
    found = [d for d in world.entries().of(event="delivery") if d["rcpts"][0].startswith(prefix)]
    return sorted({d["peer"].split(":")[0].rsplit(".", 1)[1] for d in found}), len(found)


def held(relay):
    return {(d["tenant"], d["provider"]): d for d in json.loads(relay.http("/v1/quarantine"))["tenants"]}


def wait_held(relay, action):
    return wait_for(f"the verdict {action}",
                    lambda: (held(relay).get(("bad", "big")) or {}).get("action") == action and held(relay), 40, 0.25)


def lift(relay, *more):
    """After a start the relay reads first what is known of tenants."""
    def done():
        return relay.cli("quarantine", "lift", "bad", *more, "--admin", relay.admin).returncode == 0
    wait_for("the lift", done, 10, 0.2)


@pytest.mark.slow
def test_quarantine_holds_over_a_kill_and_is_lifted(world):
    relay = build(world)
    send(relay, GOOD, names("g", 60))
    send(relay, GOOD, names("gone", 1))  # a single bounce proves nothing
    send(relay, BAD, names("gone", 40) + names("b", 40))
    evidence = wait_held(relay, "quarantine")[("bad", "big")]["evidence"]
    assert evidence["bad_mailbox_low"] > evidence["bad_mailbox_limit"] == 0.1
    assert 75 < evidence["recipients"] < 81 and 37 < evidence["bad_mailbox"] < 41
    assert list(held(relay)) == [("bad", "big")]
    assert relay.metric("remuda_tenant_decisions_total", provider="big", action="quarantine") == 1
    log = wait_for("its line", lambda: "tenant.decided" in relay.process.output() and relay.process.output())
    assert log.count("tenant.decided") == 1
    event = next(json.loads(line) for line in relay.http("/v1/events?limit=10000").splitlines()
                 if '"tenant"' in line and json.loads(line).get("type") == "tenant")
    assert event["decided"]["evidence"]["recipients"] == pytest.approx(evidence["recipients"])
    assert sources(world, "b")[0] != ["3"]
    time.sleep(1)  # all that deliver follow within a second
    send(relay, BAD, names("later", 10))
    send(relay, GOOD, names("same", 10))
    wait_for("both", lambda: sources(world, "later")[1] == 10 and sources(world, "same")[1] == 10)
    assert sources(world, "later")[0] == ["3"]
    assert "3" not in sources(world, "same")[0]
    explained = cli(relay, "explain", "--from", "s@bad.test", "--to", "r@big.test", "--tenant", "bad")
    assert "in quarantine at big" in explained and "goes     from s3" in explained and "otherwise" not in explained
    assert "quarantine" not in cli(relay, "explain", "--from", "s@good.test", "--to", "r@big.test", "--tenant", "good")
    relay.kill()
    relay.start()
    send(relay, BAD, names("again", 10))
    wait_for("them", lambda: sources(world, "again")[1] == 10)
    assert sources(world, "again")[0] == ["3"]
    assert "quarantine" in cli(relay, "quarantine", "review", "bad")
    cli(relay, "quarantine", "lift", "bad", code=2)  # no reason
    cli(relay, "quarantine", "lift", "good", "--reason", "x", code=1)  # nothing holds
    lift(relay, "--reason", "list cleaned")
    wait_for("the end of it", lambda: not held(relay))
    time.sleep(1)  # all that deliver follow within a second
    send(relay, BAD, names("free", 10))
    wait_for("them", lambda: sources(world, "free")[1] == 10)
    assert "3" not in sources(world, "free")[0]
    time.sleep(20)  # three rounds: what was counted before proves nothing any more
    assert held(relay) == {}
    assert "no tenant" in cli(relay, "quarantine", "list")
    send(relay, BAD, names("gone-anew", 60))  # new trouble does
    wait_held(relay, "quarantine")
    cli(relay, "quarantine", "keep", "bad", "--provider", "big", "--reason", "second time")
    kept = wait_for("it to be kept", lambda: held(relay)[("bad", "big")].get("kept") and held(relay))
    assert kept[("bad", "big")]["reason"] == "second time"


def test_waiting_mail_moves_and_comes_back(world):
    """By the operator's word; what waits for its source's rate goes from the quarantine pool, and back."""
    relay = build(world, provider={"rate": "1/10m"})
    send(relay, BAD, names("b", 60))
    send(relay, GOOD, names("g", 5))
    time.sleep(6)  # they have rows
    lanes = lambda pool: sum(g["submissions"] for g in relay.queue()["groups"] if g["pool"] == pool)  # noqa: E731
    wait_for("rows", lambda: lanes("main") >= 55)
    cli(relay, "quarantine", "keep", "bad", "--provider", "nowhere", "--reason", "x", code=1)
    cli(relay, "quarantine", "keep", "bad", "--provider", "big", "--reason", "complaints by phone")
    wait_for("all of its mail to move", lambda: lanes("apart") >= 50 and lanes("main") <= 5, 20)
    relay.kill()
    relay.start()
    assert lanes("apart") >= 50 and lanes("main") <= 5
    lift(relay, "--provider", "big", "--reason", "settled")
    wait_for("all of it to come back", lambda: lanes("main") >= 50 and lanes("apart") == 0, 20)
    events = [json.loads(line) for line in relay.cli("events", "--config", relay.path).stdout.splitlines()]
    moved = next(e for e in events if e["type"] == "rerouted" and e["cause"] == "lifted")["id"]
    why = cli(relay, "explain", moved)
    assert "to apart/big: its tenant is in quarantine at this provider" in why
    assert "quarantine, by an operator: complaints by phone" in why
    assert "to main/big: its tenant's quarantine at this provider has ended" in why and "settled" in why
    total, by_name = len(world.entries().of(event="delivery")), set()
    assert total <= 6
    for d in world.entries().of(event="delivery"):
        assert d["rcpts"][0] not in by_name
        by_name.add(d["rcpts"][0])


def latencies(world, relay, prefix, n, rate):
    """The neighbour's mail at a steady rate: seconds from its 250 to its delivery, sorted."""
    sent = {}
    client = relay.connect(source_address=(GOOD, 0))
    begin = time.time()
    for i in range(n):
        time.sleep(max(0.0, begin + i / rate - time.time()))
        relay.send("s@good.test", [f"{prefix}{i}@big.test"], message(prefix), client=client)
        sent[f"{prefix}{i}@big.test"] = time.time()
    client.close()
    wait_for("the neighbour's mail", lambda: sources(world, prefix)[1] >= n, 30)
    took = [d["t"] - sent[d["rcpts"][0]] for d in world.entries().of(event="delivery")
            if d["rcpts"][0] in sent]
    assert len(took) == n
    return sorted(took)


@pytest.mark.alone
@pytest.mark.slow
def test_the_neighbours_do_not_notice(world):
    """Two sources with 40 messages a second each; the neighbour sends 15 a second, alone and then beside a flood
    of a tenant of whose recipients a fifth does not exist, up to its quarantine and after. The neighbour's 95th
    percentile stays within a quarter of a second of what it was alone."""
    relay = build(world, minimum=100, provider={"rate": "40/s"})
    alone = latencies(world, relay, "quiet", 150, 15)
    flood = threading.Thread(target=send, args=(relay, BAD, [f"gone{i}" if i % 5 == 0 else f"b{i}"
                                                             for i in range(1500)]))
    flood.start()
    beside = latencies(world, relay, "beside", 300, 15)
    flood.join()
    wait_held(relay, "quarantine")
    after = latencies(world, relay, "after", 150, 15)
    at = lambda found, share: found[int(len(found) * share)]  # noqa: E731
    told = {name: (round(at(found, 0.5), 3), round(at(found, 0.95), 3))
            for name, found in (("alone", alone), ("beside", beside), ("after", after))}
    print("median and 95th percentile of the neighbour, seconds:", told)
    assert at(beside, 0.95) <= at(alone, 0.95) + 0.25, told
    assert at(after, 0.95) <= at(alone, 0.95) + 0.25, told


@pytest.mark.slow
def test_slowed_down_without_delaying_others(world):
    """Without a quarantine pool it is slowed down only: what waits says so, and the neighbour's mail goes on."""
    relay = build(world, pool=None)
    send(relay, BAD, names("gone", 40) + names("b", 40))
    wait_held(relay, "quarantine")
    time.sleep(1)  # all that deliver follow within a second
    send(relay, BAD, names("slow", 30))
    began = time.time()
    send(relay, GOOD, names("g", 100))
    wait_for("the neighbour's mail", lambda: sources(world, "g")[1] - sources(world, "gone")[1] >= 100, 10)
    assert time.time() - began < 8  # 30 at half a message a second take a minute
    assert sources(world, "slow")[1] < 15
    wait_for("rows with the cause",
             lambda: sum(g["submissions"] for g in relay.queue()["groups"] if g["cause"] == "tenant") >= 10)
    causes = json.loads(cli(relay, "why", "bad", "--kind", "tenant", "--json"))["subjects"][0]["causes"]
    assert next(c["waiting"] for c in causes if c["cause"] == "tenant") >= 10
    explained = cli(relay, "explain", "--from", "s@bad.test", "--to", "r@big.test", "--tenant", "bad")
    assert "slowed down at big to 0.50/s" in explained and "held     for tenant" in explained
    lift(relay, "--reason", "settled")
    wait_for("all of it", lambda: sources(world, "slow")[1] == 30, 70, 0.5)


def complaint(return_path):
    return "\r\n".join([
        "From: feedback@far.test", "Subject: FW: hello",
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b", "", "--b",
        "Content-Type: message/feedback-report", "", "Feedback-Type: abuse", "Version: 1", "", "--b",
        "Content-Type: message/rfc822", "", f"Return-Path: <{return_path}>", "From: s@bad.test", "", "Hello.", "--b--", ""
    ]).encode()


@pytest.mark.slow
def test_complaints_lead_to_quarantine(world):
    """All of its mail is accepted, but some of those who got it complain."""
    relay = build(world, tenant={"verp": True}, config={
        "listeners": [settings.listener(free_port(), feedback=True)],
        "feedback": {"domain": "bounces.test", "address": "fbl@bounces.test", "keys": ["a secret of sixteen or more"]}})
    send(relay, GOOD, names("g", 50))
    send(relay, BAD, names("b", 50))
    wait_for("all of them", lambda: sources(world, "g")[1] == 50 and sources(world, "b")[1] == 50)
    paths = [d["mail"] for d in world.entries().of(event="delivery") if d["rcpts"][0].startswith("b")]
    stranger = relay.connect(source_address=("127.0.0.9", 0))
    for path in paths[:10]:
        relay.send("", ["fbl@bounces.test"], complaint(path), client=stranger)
    for path in paths[:3]:  # what is said twice counts once
        relay.send("", ["fbl@bounces.test"], complaint(path), client=stranger)
    stranger.close()
    evidence = wait_held(relay, "quarantine")[("bad", "big")]["evidence"]
    assert list(held(relay)) == [("bad", "big")]
    assert 9 < evidence["complaint"] <= 10 and evidence["bad_mailbox"] == 0
    assert evidence["complaint_low"] > evidence["complaint_limit"] == 0.005
    time.sleep(1)  # all that deliver follow within a second
    send(relay, BAD, names("later", 10))
    send(relay, GOOD, names("same", 10))
    wait_for("both", lambda: sources(world, "later")[1] == 10 and sources(world, "same")[1] == 10)
    assert sources(world, "later")[0] == ["3"] and "3" not in sources(world, "same")[0]


def lot_of(relay, prefix):
    """What became of the messages to recipients that begin so: how often which event, at which attempt, for which
    cause, in which pool."""
    found = collections.Counter()
    for line in relay.http("/v1/events?limit=10000").splitlines():
        e = json.loads(line)
        if any(r["address"].startswith(prefix) for r in e.get("recipients", [])):
            found[e["type"], e.get("attempt"), e.get("cause", ""), e["pool"]] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["apart", None])
def test_the_neighbours_mail_goes_as_without_the_tenant(world, pool):
    """Sixty messages of a neighbour, alone and then beside three hundred that wait of a tenant that is in quarantine, or
    slowed down for want of a quarantine pool: each has the same events at the same attempt, from the same sources; and
    from those sources the tenant sends next to nothing in between."""
    relay = build(world, pool=pool, provider={"rate": "20/s"})
    send(relay, GOOD, names("alone", 60))
    wait_for("the neighbour's mail", lambda: sources(world, "alone")[1] == 60)
    send(relay, BAD, names("gone", 40) + names("b", 40))
    wait_held(relay, "quarantine")
    time.sleep(1)  # all that deliver follow within a second
    send(relay, BAD, names("flood", 300))
    began = time.time()
    send(relay, GOOD, names("beside", 60))
    wait_for("the neighbour's mail", lambda: sources(world, "beside")[1] == 60, 30)
    ended = max(d["t"] for d in world.entries().of(event="delivery") if d["rcpts"][0].startswith("beside"))
    between = [d for d in world.entries().of(event="delivery")
               if d["rcpts"][0].startswith("flood") and began <= d["t"] <= ended and "200.3:" not in d["peer"]]
    assert len(between) <= (0 if pool else 2 + (ended - began) / 2), "half a message a second, or none"
    alone, beside = (wait_for("the events", lambda p=p: sum(lot_of(relay, p).values()) >= 60 and lot_of(relay, p))
                     for p in ("alone", "beside"))
    assert beside == alone == {("delivered", 1, "", "main"): 60}
    assert sources(world, "beside")[0] == sources(world, "alone")[0]
