"""Warm-up caps, suspension and what an operator does about them, against receivers that count."""
import json
import os
import signal
import time

import pytest

from tests.support import settings
from tests.support.harness import wait_for
from tests.support.world import message

ADMIN = "--admin"
LISTED = "450 4.7.1 Service unavailable; Client host blocked using zen.spamhaus.org"


def build(world, caps=(30, 60), start=True, **more):
    """Provider "big"; s1 warms up there, s2 does not."""
    world.host("mx.big.test", **more)
    world.domain("big.test", "mx.big.test")
    relay = world.relay(
        start=start,
        sources=[settings.source(world.net, 1, warmup="tiny"), settings.source(world.net, 2)],
        warmups=[{"name": "tiny", "steps": [str(n) for n in caps], "hourly": 100}],
        providers=[settings.provider("big", ".big.test", connections=3)],
        delivery={"overflow": "0"})
    return relay


def cli(relay, *args, code=0):
    done = relay.cli(*args, ADMIN, relay.admin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def from_source(world, n):
    return [d for d in world.entries().of(event="delivery") if d["peer"].startswith(f"{world.net}.200.{n}:")]


def per_day(deliveries):
    days = {}
    for d in deliveries:
        day = int(d["t"] // 86400)
        days[day] = days.get(day, 0) + 1
    return days


def send(relay, first, n):
    client = relay.connect()
    for i in range(first, first + n):
        relay.send(f"s@sender{i % 5}.test", [f"r{i}@big.test"], message(f"w{i}"), client=client)
    client.close()


def pair(relay, source, provider="big"):
    pairs = json.loads(relay.http("/v1/pairs"))["pairs"]
    return next((p for p in pairs if p["source"] == source and p["provider"] == provider), None)


@pytest.mark.slow
def test_no_cap_is_exceeded_over_kills(world):
    """kill -9 again and again while a source with 60 messages a day delivers; the receiver never counts 61."""
    relay = build(world, caps=(60, 120), start=False, dot_delay=0.08)
    relay.write(pools=[settings.pool("main", "s1")])
    sent, seen = 0, []
    for life in range(6):
        relay.start()
        send(relay, sent, 30)
        sent += 30
        time.sleep(0.2)
        seen.append(len(from_source(world, 1)))
        relay.kill()
    assert len(set(seen)) >= 3, seen  # the kills fell into the middle of it
    relay.start()
    wait_for("the cap to bind", lambda: any(g["cause"] == "cap" for g in relay.queue()["groups"]), 30, 0.2)
    world.quiet(1)
    days = per_day(from_source(world, 1))
    assert days and max(days.values()) <= 60
    assert sum(days.values()) >= 30  # a kill costs a grant, and no more
    used = pair(relay, "s1")
    assert used["used"] <= used["cap"]
    assert relay.waiting() >= sent - 120
    before = sum(days.values())
    relay.stop()  # a stop in good order forgets nothing either
    relay.start()
    world.quiet(1)
    assert max(per_day(from_source(world, 1)).values()) <= 60
    assert sum(per_day(from_source(world, 1)).values()) - before <= 60


def test_a_warm_source_takes_the_overflow(world):
    relay = build(world, caps=(5, 10))
    send(relay, 0, 40)
    world.deliveries(40)
    assert 1 <= len(from_source(world, 1)) <= (5 if len(per_day(from_source(world, 1))) == 1 else 10)
    shown = cli(relay, "warmup", "--provider", "big")
    assert "1 of 2" in shown and "tiny" in shown
    told = cli(relay, "explain", "--from", "s@sender1.test", "--to", "r@big.test")
    assert "cap" in told and "of 5" in told and "REPUTATION" in told
    gauge = {name: relay.metric(f"remuda_pair_{name}", source="s1", provider="big")
             for name in ("stage", "cap", "used", "pace", "score", "suspended")}
    assert gauge["stage"] == gauge["suspended"] == 0 and 0 < gauge["used"] <= gauge["cap"] in (5, 10), gauge
    assert 0 < gauge["score"] < 1 and "remuda_pairs_omitted 0" in relay.http("/metrics")
    assert 'remuda_pair_cap{source="s2"' not in relay.http("/metrics")  # it is warm: there is no cap


def test_a_tried_message_that_waits_for_a_warm_source_lets_others_pass(world):
    """The warm source's only connection is busy: what had its attempt waits for it, new mail goes from the other."""
    relay = build(world, caps=(50,), start=False, dot_delay=8,
                  rules=[{"stage": "rcpt", "match": "^tried@", "reply": "451 4.3.0 try later", "times": 1}])
    relay.write(pools=[settings.pool("main", ("s1", 1), ("s2", 100))],
                providers=[settings.provider("big", ".big.test", connections=1)])
    relay.start()
    tried = relay.send("s@sender.test", ["tried@big.test"], message("tried"))
    wait_for("the deferral", lambda: any(e["type"] == "deferred" for e in relay.trace(tried)), 10, 0.1)
    relay.send("s@sender.test", ["long@big.test"], message("long"))
    time.sleep(2)  # its retry is due after one second: it stands at the head
    relay.send("s@sender.test", ["new@big.test"], message("new"))
    wait_for("the new mail to go", lambda: any(e["peer"].startswith(f"{world.net}.200.1:")
                                               for e in world.entries().of(event="connect")), 4, 0.1)
    world.deliveries(3, timeout=40)
    assert [d["rcpts"] for d in from_source(world, 2)] == [["long@big.test"], ["tried@big.test"]]


def test_a_listed_source_is_suspended_and_an_alert_raised(world):
    relay = build(world, rules=[{"stage": "rcpt", "match": "^r0@", "reply": LISTED, "times": 1}])
    cli(relay, "warmup", "mark", "s1", "big", "--warm", "--reason", "came warm")
    ident = relay.send("s@sender.test", ["r0@big.test"], message("first"))
    world.deliveries(1)
    events = relay.trace(ident)
    refused = next(e for e in events if e["type"] == "deferred")
    delivered = next(e for e in events if e["type"] == "delivered")
    bad, good = refused["source"], delivered["source"]
    alert = next(e for e in events if e["type"] == "alert")
    assert alert["source"] == bad and alert["cause"] == "zen.spamhaus.org"
    assert bad != good  # at once from the other one
    send(relay, 1, 20)
    world.deliveries(21)
    assert len(from_source(world, int(bad[1:]))) == 0
    alerts = cli(relay, "alerts", "list")
    assert bad in alerts and "zen.spamhaus.org" in alerts
    assert relay.metric("remuda_suspensions_total", source=bad, provider="big") == 1
    assert "router.suspended" in relay.process.output()
    relay.stop()
    relay.start()
    send(relay, 21, 10)
    world.deliveries(31)
    assert len(from_source(world, int(bad[1:]))) == 0  # it outlives a restart
    assert "backoff: zen.spamhaus.org" in cli(relay, "explain", "--from", "s@sender.test", "--to", "r@big.test")
    cli(relay, "alerts", "clear", bad, "big", "--reason", "delisted")
    assert "no alerts" in cli(relay, "alerts", "list")
    cli(relay, "alerts", "clear", bad, "big", code=1)
    assert "backoff" not in cli(relay, "explain", "--from", "s@sender.test", "--to", "r@big.test")


def test_marks_export_and_import(world, tmp_path):
    relay = build(world)
    assert pair(relay, "s1") is None
    cli(relay, "warmup", "mark", "s1", "big", "--reason", "x", code=2)
    cli(relay, "warmup", "mark", "s2", "big", "--warm", "--reason", "x", code=1)  # goes by no schedule
    cli(relay, "warmup", "mark", "nobody", "big", "--warm", "--reason", "x", code=1)
    cli(relay, "warmup", "mark", "s1", "big", "--warm", "--reason", "sent for years elsewhere")
    send(relay, 0, 60)
    world.deliveries(60)
    assert len(from_source(world, 1)) > 0
    assert pair(relay, "s1")["mark"] == "sent for years elsewhere"
    assert pair(relay, "s1")["cap"] is None
    file = os.path.join(str(tmp_path), "pairs.json")
    with open(file, "w", encoding="utf-8") as out:
        out.write(cli(relay, "warmup", "export"))
    score = pair(relay, "s1")["score"]
    relay.stop()
    relay.wipe()
    relay.start()
    assert pair(relay, "s1") is None
    imported = cli(relay, "warmup", "import", file)
    assert imported.startswith("2 of 2")
    assert pair(relay, "s1")["cap"] is None
    assert abs(pair(relay, "s1")["score"] - score) < 0.01
    with open(file, "w", encoding="utf-8") as out:
        out.write('[{"source": "s1", "provider": "big", "record": "zz"}]')
    cli(relay, "warmup", "import", file, code=1)


@pytest.mark.slow
def test_no_cap_is_exceeded_when_a_lane_moves(world):
    """Two pools' lanes, full for the day, come into one partition: what was spent goes along."""
    relay = build(world, start=False)
    big = settings.provider("big", ".big.test", connections=3)
    relay.write(log={"partitions": 7}, delivery={"overflow": "1s"}, warmups=[
        {"name": "tiny", "steps": ["5", "10"], "hourly": 100}],
        sources=[settings.source(world.net, n, warmup="tiny") for n in range(1, 7)],
        pools=[settings.pool(f"p{n}", f"s{n}", **({"fallback": f"p{n + 1}"} if n < 6 else {})) for n in range(1, 7)],
        tenants=[settings.tenant("main", pools=[f"p{n}" for n in range(1, 7)])], providers=[big])
    relay.start()
    send(relay, 0, 60)
    wait_for("all caps to be used", lambda: len(world.entries().of(event="delivery")) >= 30, 40, 0.2)
    homes = {p["source"]: p["partition"] for p in json.loads(relay.http("/v1/pairs"))["pairs"]
             if p["provider"] == "big" and p["used"]}
    assert len(set(homes.values())) > 1
    relay.write(providers=[{**big, "limits": "total"}])
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="applied") >= 1 or
             "config.reloaded" in relay.process.output(), 10, 0.1)
    send(relay, 60, 20)
    world.quiet(6)
    for n in range(1, 7):
        days = per_day(from_source(world, n))
        assert max(days.values()) <= 5, (n, days)
