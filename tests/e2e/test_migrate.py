"""`remuda migrate`: mail and state go from one log into another and back. Each message arrives once, with all that was
known of it, also when the move is killed at any of its steps; no cap is exceeded on the way."""
import json
import os
import re
import shutil

import pytest

from tests.support import crash, harness, settings
from tests.support.cluster import Cluster
from tests.support.harness import free_port, wait_for
from tests.support.world import message

CAP = 5
KEPT = ("id", "tenant", "domain", "accepted_ms", "expires_ms", "attempts", "last_attempt_ms", "last_host")


def internet(world):
    """later.test defers for as long as the test wants, far.test for an hour, big.test is under a cap."""
    world.host("later", rules=[{"stage": "rcpt", "reply": "451 4.3.0 try later"}])
    world.host("mx.far.test", rules=[{"stage": "rcpt", "reply": "451 4.3.0 try later"}])
    world.host("mx.big.test")
    world.domain("later.test", "later")
    world.domain("far.test", "mx.far.test")
    world.domain("big.test", "mx.big.test")
    return dict(
        sources=[settings.source(world.net, 1)], pools=[settings.pool("main", "s1")],
        warmups=[{"name": "tiny", "steps": [str(CAP), str(2 * CAP)], "hourly": 100}],
        providers=[settings.provider("big", ".big.test", connections=2, warmup="tiny"),
                   settings.provider("far", ".far.test", retry="long")],
        retries=[settings.retry(), settings.retry(["1h"], "long", "2h")], delivery={"overflow": "0"})


def site(world, name, config, **log):
    """A relay beside others: it sends from the same sources, so only one of them runs."""
    directory = os.path.join(world.dir, name)
    os.makedirs(directory, exist_ok=True)
    relay = world.relay(start=False, **settings.merge(config, {
        "node": {"name": name, "data": os.path.join(directory, "data")}, "log": {"backend": "embedded", **log},
        "listeners": [settings.listener(free_port())], "admin": {"address": f"127.0.0.1:{free_port()}"}}))
    relay.dir, relay.path = directory, os.path.join(directory, "remuda.yaml")
    relay.log = os.path.join(directory, "relay.log")
    relay.write()
    return relay


def fill(relay):
    """What waits: deferred, deferred for long with what its sender asked for, in chunks, to several domains, held."""
    idents = {}
    for i in range(12):
        idents[f"l{i}"] = relay.send("s@sender.test", [f"r{i}@later.test"], message(f"l{i}"))
    idents["chunks"] = relay.send("s@sender.test", ["r@later.test"], message("chunks", size=2_000_000))
    idents["both"] = relay.send("s@sender.test", ["x@later.test", "x@far.test"], message("both"))
    idents["far"] = relay.send("s@sender.test", ["r@far.test"], message("far"), ["RET=HDRS", "ENVID=QQ1"],
                               ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;orig@far.test"])
    for i in range(CAP + 3):
        idents[f"b{i}"] = relay.send("s@sender.test", [f"r{i}@big.test"], message(f"b{i}"))
    for address in ("gone@later.test", "left@far.test"):
        done = relay.cli("suppression", "add", "main", address, "--evidence", "asked us to", "--config", relay.path)
        assert done.returncode == 0, done.stderr
    wait_for("all to be tried", lambda: len(rows(relay, "later.test")) == 14 and len(rows(relay, "far.test")) == 2 and
             len(rows(relay, "big.test")) == 3 and all(r["attempts"] for r in rows(relay, "far.test")), 40, 0.2)
    return idents


def rows(relay, domain):
    return sorted((r for r in json.loads(relay.http("/v1/queue?limit=1000"))["rows"] if r["domain"] == domain),
                  key=lambda r: r["id"])


def kept(relay):
    return [{k: r.get(k) for k in (*KEPT, "due_ms")} for r in rows(relay, "far.test")]


def used(relay):
    pairs = json.loads(relay.http("/v1/pairs"))["pairs"]
    return next((p["used"], p["stage"], p["cap"]) for p in pairs if (p["source"], p["provider"]) == ("s1", "big"))


def suppressed(relay):
    return {e["address"] for e in json.loads(relay.http("/v1/suppression"))["entries"]}


def migrate(here, there, env=None, code=0):
    done = harness.run([here.program, "migrate", "--config", here.path, "--to", there.path], timeout=150,
                       env={**os.environ, **(env or {})})
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert not re.search(r"Sanitizer|runtime error|assertion", done.stderr), done.stderr
    return done


def account(done):
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", done.stdout)}


def balanced(relay):
    """What came from another log was accepted, what has left is at its end."""
    done = relay.cli("audit", "mail", "--since", "1h", "--json", "--admin", relay.admin)
    assert done.returncode == 0, done.stdout + done.stderr


def held(relay, spent):
    wait_for("rows of what the cap holds", lambda: len(rows(relay, "big.test")) == 3, 20, 0.2)
    assert used(relay) == spent


def delivered(world):
    found = {}
    for d in world.entries().of(event="delivery"):
        for r in d["rcpts"]:
            found[d["test_id"], r] = found.get((d["test_id"], r), 0) + 1
    return found


def of_big(world):
    return sum(n for (_, r), n in delivered(world).items() if r.endswith("@big.test"))


def wanted():
    return {(f"l{i}", f"r{i}@later.test") for i in range(12)} | {("chunks", "r@later.test"), ("both", "x@later.test")}


def await_later(world, times=1):
    world.host("later", rules=[])
    wait_for("the deferred mail", lambda: all(delivered(world).get(k, 0) >= times for k in wanted()), 40, 0.2)


def refuses_to_run(relay, why):
    relay.launch()
    assert relay.process.popen.wait(30) == 1
    assert why in relay.process.output()
    relay.process.file.close()
    relay.process = None


@pytest.mark.slow
def test_there_and_back(world):
    """From a running relay into a log that nobody has run on yet, and back into the one that was left."""
    config = internet(world)
    old, new = site(world, "old", config, partitions=4), site(world, "new", config, partitions=3)
    old.start()
    idents = fill(old)
    before, spent = kept(old), used(old)
    assert of_big(world) == CAP == spent[0]
    done = migrate(old, new)
    assert account(done)["found"] == account(done)["moved"] == 19 and account(done)["waiting"] == 0
    assert account(done)["suppressed"] == 2 and account(done)["pairs"] >= 3
    assert old.process.popen.wait(20) == 0 and "migrate.stopping" in old.process.output()
    old.process = None
    refuses_to_run(old, "migrate.has_left")
    assert "was not taken over yet" in migrate(new, old, code=1).stderr  # that no relay has run on yet
    new.start()
    assert kept(new) == before and used(new) == spent and suppressed(new) == {"gone@later.test", "left@far.test"}
    await_later(world)
    relay_trace = new.trace(idents["l0"])
    assert relay_trace[-1]["type"] == "delivered" and relay_trace[-1]["attempt"] >= 2
    body = world.body(world.entries().of(event="delivery", test_id="chunks")[0])
    assert body.endswith(message("chunks", size=2_000_000)[-5000:])
    held(new, spent)  # the cap of the day holds there too
    balanced(new)
    new.stop()
    done = migrate(new, old)
    assert account(done)["moved"] == 5
    old.start()
    assert kept(old) == before and used(old) == spent
    assert not migrate_again(old, new)
    balanced(old)
    old.stop()
    world.quiet(0.2)
    assert set(delivered(world).values()) == {1} and of_big(world) == CAP
    far = next(r for r in before if r["id"] == idents["far"])
    assert far["expires_ms"] - far["accepted_ms"] == 7_200_000


def migrate_again(old, new):
    """The log that was left has nothing more to move, and says so; the relay that runs is not asked to stop."""
    done = migrate(new, old, code=1)
    return "" if "a relay runs on it" in done.stderr else done.stderr


def test_what_cannot_be_moved_is_refused_before_anything_is_touched(world):
    config = internet(world)
    old = site(world, "old", config)
    new = site(world, "new", {**config, "pools": [settings.pool("other", "s1")],
                              "tenants": [settings.tenant("else", pools=["other"])]})
    old.start()
    done = migrate(old, new, code=1)
    assert "pool main is not in the other configuration" in done.stderr
    assert "tenant main is not in the other configuration" in done.stderr
    assert "name the embedded log" in migrate(old, old, code=1).stderr
    assert harness.run([old.program, "migrate", "--config", old.path]).returncode == 2
    old.send("s@sender.test", ["r@big.test"], message("still"))
    world.deliveries(1)
    old.stop()


# Step of the move -> the pass at which it dies.
POINTS = {"migrate-lists": 1, "migrate-learned": 1, "transfer-chunk": 1, "transfer-gathered": 5, "transfer-abroad": 1,
          "transfer-abroad:7": 7, "flush-before": 6, "flush-durable": 6, "commit-after": 4, "migrate-end": 1}


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on(world, program):
    """Of the same old log again and again: killed, run again and killed at the next step, run to its end."""
    if not crash.points_of(program):
        pytest.skip("a build without crash points")
    assert crash.MIGRATE_POINTS <= {p.split(":")[0] for p in POINTS}
    config = internet(world)
    old, new = site(world, "old", config, partitions=2), site(world, "new", config, partitions=2)
    old.start()
    fill(old)
    old.stop()
    data, template = os.path.join(old.dir, "data"), os.path.join(old.dir, "template")
    shutil.copytree(data, template)
    died = 0
    for turn, (point, at) in enumerate(POINTS.items(), 1):
        for directory in (data, os.path.join(new.dir, "data")):
            shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(template, data)
        place = f"{point.split(':')[0]}:{at}"
        migrate(old, new, {"REMUDA_CRASH_AT": place}, -9)
        refuses_to_run(old, "migrate.not_finished")
        again = harness.run([old.program, "migrate", "--config", old.path, "--to", new.path], timeout=100,
                            env={**os.environ, "REMUDA_CRASH_AT": "transfer-abroad:3"})
        died += again.returncode == -9
        done = migrate(old, new) if again.returncode == -9 else again
        assert account(done)["waiting"] == 0
        new.start()
        await_later(world, turn)
        wait_for("nothing but what is held", lambda: new.waiting() == 5, 20, 0.1)
        assert used(new)[0] == CAP and of_big(world) == CAP
        new.stop()
        assert all(delivered(world)[k] == turn for k in wanted()), (place, delivered(world))
    assert died >= 6


@pytest.mark.kafka
@pytest.mark.skipif(not shutil.which("java"), reason="no Java for the Kafka broker")
def test_into_a_running_cluster_and_back(world, broker):
    config = internet(world)
    old = site(world, "old", config, partitions=4)
    cluster = Cluster(world, broker, f"move-{os.getpid()}", partitions=3, **config)
    node = cluster.node("w1", "ingress", "delivery", "admin")
    old.start()
    idents = fill(old)
    before, spent = kept(old), used(old)
    done = migrate(old, node)
    assert account(done)["found"] == account(done)["moved"] == 19 and account(done)["waiting"] == 0
    wait_for("the rows there", lambda: kept(node) == before, 30, 0.2)
    assert used(node) == spent and suppressed(node) == {"gone@later.test", "left@far.test"}
    await_later(world)
    assert node.event(idents["chunks"], "delivered")["final"]
    node.send("s@sender.test", ["new@far.test"], message("new"))  # it waits with the rest
    wait_for("its row", lambda: len(rows(node, "far.test")) == 3, 20, 0.1)
    done = migrate(node, old)  # the node stops by itself
    assert account(done)["moved"] == 6 and account(done)["waiting"] == 0
    assert node.process.popen.wait(30) == 0 and "migrate.stopping" in node.process.output()
    node.process = None
    old.process = None
    old.start()
    assert [r for r in kept(old) if r["id"] in (idents["far"], idents["both"])] == before
    assert len(rows(old, "far.test")) == 3
    held(old, spent)
    old.stop()
    assert set(delivered(world).values()) == {1} and of_big(world) == CAP
