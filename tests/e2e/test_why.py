"""What binds now, and when the backlog will be gone: measured while mail waits, and over a restart."""
import json
import time

from tests.support import settings
from tests.support.harness import wait_for
from tests.support.world import message

DAY_MS = 86400000


def build(world, warmup=None, sources=2, delivery=None, **more):
    world.host("mx.big.test", **more)
    world.domain("big.test", "mx.big.test")
    pool = [settings.source(world.net, n, **({"warmup": warmup} if warmup else {})) for n in range(1, sources + 1)]
    return world.relay(
        sources=pool,
        pools=[settings.pool("main", *[s["name"] for s in pool])],
        warmups=[{"name": "tiny", "steps": ["5", "10"], "hourly": 100}],
        providers=[settings.provider("big", ".big.test", connections=1)],
        delivery={"overflow": "0", **(delivery or {})})


def cli(relay, *args, code=0):
    done = relay.cli(*args, "--admin", relay.admin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def why(relay, name, kind):
    answer = json.loads(cli(relay, "why", name, "--kind", kind, "--json"))
    assert answer["whole"] and len(answer["subjects"]) == 1
    return answer["subjects"][0]


def cause(subject, word):
    return next((c for c in subject["causes"] if c["cause"] == word), {"waiting": 0, "share_lately": 0.0})


def send(relay, n, first=0):
    client = relay.connect()
    for i in range(first, first + n):
        relay.send("s@sender.test", [f"r{i}@big.test"], message(f"w{i}"), client=client)
    client.close()


def test_connections_bind_a_slow_receiver(world):
    relay = build(world, sources=1, dot_delay=0.1)
    send(relay, 60)
    time.sleep(2)
    subject = why(relay, "big", "provider")
    assert cause(subject, "connections")["waiting"] >= 20
    assert cause(subject, "in-hand")["waiting"] >= 1
    assert cause(subject, "connections")["share_lately"] > 0.8
    assert abs(sum(c["share_lately"] for c in subject["causes"]) - 1) < 0.001
    assert subject["waiting"] == sum(c["waiting"] for c in subject["causes"])
    assert subject["phases"]["answer"] > 10 * subject["phases"]["data"]  # where this receiver is slow
    assert 5 < subject["gone_a_second"][0] < 12  # one connection, 0.1 s each
    assert subject["by"] == "throughput" and subject["in_ms"] < 20000
    world.deliveries(60)
    subject = wait_for("nothing waits", lambda: (s := why(relay, "big", "provider"))["waiting"] == 0 and s)
    assert subject["by"] == "nothing-waits" and not subject["grows"]
    assert cause(subject, "connections")["share_lately"] > 0.8  # it is remembered


def test_caps_and_a_restart(world):
    relay = build(world, warmup="tiny", sources=1, delivery={"window": 32, "window_tenant": 8})
    send(relay, 40)
    wait_for("the cap to bind", lambda: any(g["cause"] == "cap" for g in relay.queue()["groups"]), 30, 0.2)
    subject = wait_for("the first tick", lambda: (s := why(relay, "big", "provider"))["counted"] and s)
    assert 30 <= subject["waiting"] <= 35
    wait_for("all of them to have rows", lambda: relay.queue()["total"] == subject["waiting"])
    assert cause(subject, "cap")["waiting"] >= subject["waiting"] - 8  # also what was parked before it was the cap
    wait_for("the cap to be what binds", lambda: cause(why(relay, "big", "provider"), "cap")["share_lately"] > 0.5)
    assert subject["by"] == "cap" and 2 * DAY_MS < subject["in_ms"] < 8 * DAY_MS
    text = cli(relay, "why", "big")
    assert "provider big: " in text and "by warm-up caps" in text
    before = subject["waiting"]
    relay.stop()
    relay.start()
    subject = wait_for("all rows to be counted",
                       lambda: (s := why(relay, "big", "provider"))["counted"] and s["waiting"] and s)
    assert subject["waiting"] == before
    assert relay.queue()["total"] == before
    time.sleep(1)  # rows came into memory and went back meanwhile: each is still counted once
    subject = why(relay, "main", "pool")
    assert subject["waiting"] == before
    assert cause(subject, "cap")["oldest_ms"] > 0
    send(relay, 10, first=40)
    wait_for("the new ones", lambda: why(relay, "main", "tenant")["waiting"] == before + 10)


def test_retries_are_told_by_their_schedule(world):
    relay = build(world, rules=[{"stage": "rcpt", "match": "^r", "reply": "451 4.3.0 try later"}])
    send(relay, 5)
    subject = wait_for("the retries", lambda: cause(s := why(relay, "big", "provider"), "retry")["waiting"] == 5 and s)
    assert subject["by"] == "retry" and subject["in_ms"] > 0
    assert "when the last retry is due" in cli(relay, "why", "big")


def test_names(world):
    relay = build(world)
    both = cli(relay, "why", "main")
    assert "2 things" in both and "pool main" in both and "tenant main" in both
    assert "provider" not in cli(relay, "why", "main", "--kind", "pool")
    unknown = cli(relay, "why", "bgi", code=1)
    assert "no provider, pool or tenant is called bgi; did you mean big (provider)" in unknown
    assert "no tenant is called big" in cli(relay, "why", "big", "--kind", "tenant", code=1)
    assert "kind: expected one of" in cli(relay, "why", "big", "--kind", "lane", code=2)
    cli(relay, "why", code=2)


def test_a_past_decision_is_made_again(world):
    """The first attempt of a shard is noted with whole candidates, the second in a frame; what is held is, too."""
    relay = build(world, warmup="tiny", sources=2)
    first = relay.send("s@sender.test", ["r0@big.test"], message("first"))
    world.deliveries(1)
    answer = json.loads(cli(relay, "explain", first, "--json"))
    assert cli(relay, "explain", first, "--json") == cli(relay, "explain", first, "--json")
    sent = next(e for e in answer["events"] if e["type"] == "delivered")
    assert len(sent["decision"]["candidates"]) == 2
    assert sent["replay"]["same"] and sent["replay"]["source"] == sent["source"]
    assert sent["replay"]["runner_up"] == sent["decision"]["runner_up"] != ""
    text = cli(relay, "explain", first)
    assert f"made again: goes from {sent['source']}, second " in text and "the same" in text
    second = relay.send("s@sender.test", ["r1@big.test"], message("second"))
    world.deliveries(2)
    packed = next(e for e in json.loads(cli(relay, "explain", second, "--json"))["events"] if e["type"] == "delivered")
    assert packed["replay"] == {**packed["replay"], "same": True, "source": packed["source"]}
    assert {c["source"] for c in packed["decision"]["candidates"]} == {"s1", "s2"}
    assert "approximated" not in packed["replay"]
    idents = [relay.send("s@sender.test", [f"x{i}@big.test"], message(f"x{i}")) for i in range(12)]
    held = wait_for("one to be held with its candidates", lambda: next(
        (e for i in idents for e in json.loads(relay.http(f"/v1/explain/{i}", quiet=True) or "{}").get("events", [])
         if e["type"] == "held" and "replay" in e), None), 30, 0.3)
    assert held["replay"]["source"] == "" and held["replay"]["same"]
    assert held["replay"]["cause"] == held["decision"]["reason"] == "cap"
    assert {c["verdict"] for c in held["decision"]["candidates"]} == {"cap"}
    cli(relay, "explain", "01hzzzzzzzzzzzzzzzzzzzzzzz", code=1)
    cli(relay, "explain", "nonsense", code=2)
    cli(relay, "explain", first, "--to", "x@big.test", code=2)
    cli(relay, "explain", code=2)
