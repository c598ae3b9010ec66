"""Lanes that move from partition to partition under load, by command and by configuration (I6): the receiver counts
what comes from each source in a day and how many connections it has open, and every message is accounted for."""
import collections
import json
import os
import re
import shutil
import signal
import time

import pytest

from tests.support import settings
from tests.support.cluster import Cluster
from tests.support.harness import wait_for
from tests.support.senders import Senders

CAP, CONNECTIONS = 30, 2


def limited(world, n_sources, **pool):
    """Provider "big" takes two connections from each source, slowly at times; each may send 30 messages a day there."""
    world.host("mx.big.test", dot_delay=[0.02, 1.2])
    world.domain("big.test", "mx.big.test")
    names = [f"s{n}" for n in range(1, n_sources + 1)]
    return dict(sources=[settings.source(world.net, n, warmup="tiny") for n in range(1, n_sources + 1)],
                pools=[settings.pool("main", *names, **pool)],
                warmups=[{"name": "tiny", "steps": [str(CAP), str(2 * CAP)], "hourly": 100}],
                providers=[settings.provider("big", ".big.test", connections=CONNECTIONS)],
                delivery={"overflow": "0", "idle": "1s"})


def lanes(relay, provider="big"):
    """Of a provider, by name."""
    found = json.loads(relay.http("/v1/lanes"))["lanes"]
    return {f"{e['pool']}/{e['provider']}/{e['shard']}": e for e in found if e["provider"] == provider}


def cli(relay, *args, code=0):
    done = relay.cli("lanes", *args, "--admin", relay.admin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def await_settled(relay, timeout=60):
    wait_for("all lanes to have arrived", lambda: all(e["state"] == "settled" for e in lanes(relay).values()),
             timeout, 0.1)


def check_limits(world):
    """No source sent more than its cap in a day, or had more connections than it may have. Returns what each sent."""
    days = collections.Counter((d["peer"].split(":")[0], int(d["t"] // 86400))
                               for d in world.entries().of(event="delivery"))
    assert max(days.values()) <= CAP, days
    most = collections.defaultdict(int)
    for e in world.entries().of(event="connect"):
        most[e["peer"].split(":")[0]] = max(most[e["peer"].split(":")[0]], e["open"])
    assert max(most.values()) <= CONNECTIONS, most
    sent = collections.Counter()
    for (source, _), n in days.items():
        sent[source] += n
    return sent


def await_use(world, sources):
    """Where each source has a shard of its own, which gets its share of the senders: until all have sent what they may."""
    wait_for("more mail than the caps allow", lambda: sum(check_limits(world).values()) >= sources * (CAP - 4), 120, 0.5)


def await_cap(world, relays, sources, missing=4):
    """All that the caps allow has gone; what was granted and not used at a crash, and attempts broken off, may be
    missing of each source."""
    wait_for("the caps to be used up", lambda: sum(check_limits(world).values()) >= sources * (CAP - missing), 60, 0.2)
    wait_for("nothing to be on its way", lambda: not any(
        lane["in_hand"] for relay in relays for lane in relay.queue()["lanes"]), 30, 0.2)
    world.quiet(1)


def check_account(world, relays, accepted, doubtful=()):
    """Each accepted message was delivered once or waits. doubtful: those that were at their final dot when a worker
    died may do both, or come twice."""
    def found():
        return collections.Counter(d["test_id"] for d in world.entries().of(event="delivery"))

    def too_many():
        return len(found()) + sum(relay.queue()["total"] for relay in relays) - len(accepted)
    wait_for("every message to be somewhere", lambda: 0 <= too_many() <= len(doubtful), 60, 0.5)
    assert {i for i, n in found().items() if n > 1} <= set(doubtful)
    assert found().keys() <= accepted.keys()


def test_a_lane_moves_back_and_forth(world):
    relay = world.relay(**limited(world, 2))
    load = Senders([relay, relay], "big.test", domains=7)
    wait_for("mail to flow", lambda: len(world.entries().of(event="delivery")) >= 5, 20)
    lane, home = "main/big/0", lanes(relay)["main/big/0"]["partition"]
    for i in range(8):
        home = (home + 1) % 4
        told = cli(relay, "move", lane, str(home), "--reason", "to see")
        assert f"moves to partition {home}" in told
        if i % 3 == 2:  # else it moves on before it has arrived
            await_settled(relay)
    assert f"is in partition {home} already" in cli(relay, "move", lane, str(home))
    await_settled(relay)
    listed = next(line for line in cli(relay, "list").splitlines() if line.startswith(lane + " ")).split()
    assert listed[1:3] == [str(home), "settled"]
    wait_for("more mail than the caps allow", lambda: len(load.accepted) > 2 * CAP + 20, 60)
    accepted = load.end()
    await_cap(world, [relay], 2)
    check_limits(world)
    check_account(world, [relay], accepted)
    assert {p["partition"] for p in json.loads(relay.http("/v1/pairs"))["pairs"] if p["provider"] == "big"} == {home}
    relay.stop()
    relay.start()  # what was spent is where the lane is
    world.quiet(1)
    check_limits(world)


def test_what_cannot_be_moved_is_told(world):
    relay = world.relay(**limited(world, 1))
    assert "there is no lane main/none/0" in cli(relay, "move", "main/none/0", "1", code=1)
    assert "expected a number from 0 to 3" in cli(relay, "move", "main/big/0", "4", code=2)
    assert "expected POOL/PROVIDER/SHARD" in cli(relay, "move", "main/big", "1", code=2)
    assert "expected the number of a partition" in cli(relay, "move", "main/big/0", "x", code=2)


def partitions(relay, *args, code=0):
    done = relay.cli("partitions", *args, "--admin", relay.admin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def known(relay):
    return json.loads(relay.http("/v1/lanes"))["partitions"]


def check_spread(relay, n, timeout=60):
    """By one command all partitions have as many lanes, and those of "big" arrive."""
    assert "lanes move by version" in cli(relay, "spread", "--reason", "there are more partitions")
    all_lanes = json.loads(relay.http("/v1/lanes"))["lanes"]
    loads = collections.Counter(lane["partition"] for lane in all_lanes)
    assert len(loads) == min(n, len(all_lanes)) and max(loads.values()) - min(loads.values()) <= 1, loads
    assert "spread already" in cli(relay, "spread")
    await_settled(relay, timeout)
    return len({lane["partition"] for lane in lanes(relay).values()})


def grown_config(world):
    """Three lanes of "big", and some more."""
    config = limited(world, 3, shards=3)
    config["providers"] += [settings.provider(f"p{n}", f".p{n}.test") for n in range(2)]
    return config


def test_partitions_are_added_while_mail_flows(world):
    relay = world.relay(**grown_config(world), log={"partitions": 2})
    load = Senders([relay, relay], "big.test", domains=7)
    wait_for("mail to flow", lambda: len(world.entries().of(event="delivery")) >= 5, 20)
    assert "5 partitions, 2 before" in partitions(relay, "grow", "5", "--reason", "to see")
    assert "there are 5 partitions already" in partitions(relay, "grow", "5")
    assert "expected a number from 5, which there are, to 4096" in partitions(relay, "grow", "2", code=2)
    assert "expected a number" in partitions(relay, "grow", "x", code=2)
    wait_for("the relay to own them", lambda: relay.metric("remuda_partitions_owned") == 5, 60)
    assert check_spread(relay, 5) > 1
    await_use(world, 3)
    relay.kill()  # what was added is there, and what was spent
    killed = time.time()
    relay.start()
    accepted = load.end()
    assert known(relay) == 5 and relay.config["log"]["partitions"] == 2
    await_cap(world, [relay], 3, missing=10)
    check_account(world, [relay], accepted, doubtful=[d["test_id"] for d in world.entries().of(event="delivery")
                                                      if killed - 10 < d["t"] < killed])


def divisions(config):
    """The pool of four sources in two shards, in four, in one, then one source in a pool of its own."""
    main = config["pools"][0]
    apart = {"pools": [{**main, "members": main["members"][:3]}, settings.pool("side", "s4")],
             "tenants": [settings.tenant("main", pools=["main", "side"])], "delivery": {"overflow": "1s"}}
    return [{"pools": [{**main, "shards": shards}]} for shards in (2, 4, 1)] + [apart]


def reload(relay, n, **change):
    """The n-th: one command at the node."""
    relay.write(**change)
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="ok") == n, 60)


@pytest.mark.slow
def test_a_pool_is_divided_anew(world):
    """Shards are added and taken away under load, then a source goes into a new pool: sources change their lanes, and
    what they have sent goes along."""
    config = limited(world, 4)
    relay = world.relay(**config)
    load = Senders([relay, relay], "big.test", 0.01, 7)
    wait_for("mail to flow", lambda: len(world.entries().of(event="delivery")) >= 5, 20)
    changes = divisions(config)
    for n, change in enumerate(changes):
        reload(relay, n + 1, **change)
        before = len(world.entries().of(event="delivery"))
        wait_for("mail to flow on", lambda n=before: len(world.entries().of(event="delivery")) >= n + 8, 30)
    await_settled(relay)
    wait_for("more mail than the caps allow", lambda: len(load.accepted) > 4 * CAP + 20, 60)
    accepted = load.end()
    await_cap(world, [relay], 4)
    check_limits(world)
    assert {name: e["pairs"] for name, e in lanes(relay).items() if e["pairs"]} == {"main/big/0": 3, "side/big/0": 1}
    assert all(g["shard"] == 0 for g in relay.queue()["groups"])  # nothing waits in a shard that is gone
    check_account(world, [relay], accepted)


def home_of(relays, partition):
    """The node that has the pairs of the lane there."""
    return next((relay for relay in relays for p in json.loads(relay.http("/v1/pairs"))["pairs"]
                 if p["provider"] == "big" and p["partition"] == partition), None)


def owner_of(relays, partition):
    """The node that was the last to gain it."""
    return max(relays, key=lambda r: max((int(e) for e in re.findall(
        rf"partition.gained.*\bpartition={partition}\b.*\bepoch=(\d+)", r.process.output())), default=0))


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="no Java for the Kafka broker")
def test_a_lane_moves_between_nodes(world, broker):
    """From worker to worker and back, then the worker that has to give it away dies in the middle of that."""
    cluster = Cluster(world, broker, f"lanes-{os.getpid()}", **limited(world, 2))
    in1 = cluster.node("in1", "ingress", "admin")
    workers = [cluster.node(name, "delivery", "admin") for name in ("w1", "w2")]
    wait_for("both workers to own partitions", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 60)
    load = Senders([in1, in1], "big.test", domains=7)
    wait_for("mail to flow", lambda: len(world.entries().of(event="delivery")) >= 5, 30)
    lane, home = "main/big/0", lanes(in1)["main/big/0"]["partition"]
    for i in range(4):
        home = (home + 1) % 4
        cli(in1, "move", lane, str(home))
        if i % 2:
            await_settled(in1)
            wait_for("its home", lambda: home_of(workers, home), 30, 0.1)
    away = next(p for p in range(4) if owner_of(workers, p) is not owner_of(workers, home))
    old = wait_for("its home", lambda: home_of(workers, home), 30, 0.1)
    assert owner_of(workers, home) is old
    cli(in1, "move", lane, str(away))
    old.kill()
    killed = time.time()
    left = [w for w in workers if w is not old]
    check_limits(world)
    wait_for("the other to own all", lambda: cluster.shares(left[0].name) == {left[0].name: 4}, 60)
    cluster.start(old.name)  # until then its connections may be open still, and the lane does not move
    await_settled(in1)
    wait_for("more mail than the caps allow", lambda: len(load.accepted) > 2 * CAP + 20, 60)
    accepted = load.end()
    await_cap(world, workers, 2, missing=10)
    check_limits(world)
    check_account(world, workers, accepted, doubtful=[d["test_id"] for d in world.entries().of(event="delivery")
                                                   if killed - 3 < d["t"] < killed + 1.5])


@pytest.mark.kafka
@pytest.mark.skipif(not shutil.which("java"), reason="no Java for the Kafka broker")
def test_partitions_are_added_to_a_cluster_under_load(world, broker):
    """By one command at one node: all nodes take them up without a restart, the workers share them, and lanes move
    there by another one. Nothing is lost or comes twice, and no limit is exceeded."""
    cluster = Cluster(world, broker, f"grown-{os.getpid()}", partitions=2, **grown_config(world))
    in1 = cluster.node("in1", "ingress", "admin")
    workers = [cluster.node(name, "delivery", "admin") for name in ("w1", "w2")]
    cluster.await_shares("w1", "w2")
    load = Senders([in1, in1], "big.test", domains=7)
    wait_for("mail to flow", lambda: len(world.entries().of(event="delivery")) >= 5, 30)
    assert "6 partitions, 2 before" in partitions(in1, "grow", "6")
    wait_for("all nodes to know", lambda: [known(r) for r in (in1, *workers)] == [6, 6, 6], 30, 0.1)
    cluster.partitions = 6
    cluster.await_shares("w1", "w2")
    assert check_spread(in1, 6) > 1
    await_use(world, 3)
    accepted = load.end()
    await_cap(world, workers, 3)
    check_account(world, workers, accepted)
    assert load.refused == 0
    for name, relay in cluster.nodes.items():  # one that comes back finds them, whatever its configuration says
        assert relay.config["log"]["partitions"] == 2, name
    workers[0].stop()
    cluster.start("w1")
    assert known(workers[0]) == 6


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="no Java for the Kafka broker")
def test_shards_and_a_pool_are_added_to_a_cluster(world, broker):
    """The new file goes from node to node, each reloads it under load; sources change their lanes, and so their
    partitions and nodes. Nothing is lost or comes twice, and no limit is exceeded."""
    config = limited(world, 4)
    cluster = Cluster(world, broker, f"pools-{os.getpid()}", **config)
    nodes = [cluster.node("in1", "ingress", "admin"), *(cluster.node(n, "delivery", "admin") for n in ("w1", "w2"))]
    cluster.await_shares("w1", "w2")
    load = Senders([nodes[0], nodes[0]], "big.test", domains=7)
    wait_for("mail to flow", lambda: len(world.entries().of(event="delivery")) >= 5, 30)
    for n, change in enumerate(divisions(config)):
        for node in nodes if n % 2 else reversed(nodes):
            reload(node, n + 1, **change)
        before = len(world.entries().of(event="delivery"))
        wait_for("mail to flow on", lambda n=before: len(world.entries().of(event="delivery")) >= n + 5, 60)
    for node in nodes:
        await_settled(node)
    wait_for("more mail than the caps allow", lambda: len(load.accepted) > 4 * CAP + 20, 60)
    accepted = load.end()
    await_cap(world, nodes[1:], 4)
    assert {name: e["pairs"] for name, e in lanes(nodes[0]).items() if e["pairs"]} == {"main/big/0": 3, "side/big/0": 1}
    check_account(world, nodes[1:], accepted)
    assert load.refused == 0
