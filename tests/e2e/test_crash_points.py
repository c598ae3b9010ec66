"""kill -9 at each step of accepting in chunks, of a transfer, a bounce, a carry-forward and of what they all pass
through (`remuda crash-points`), then the count by message: nothing lost, nothing twice but what I2 allows."""
import os
import random

import pytest

from tests.support import harness, settings
from tests.support.crash import MIGRATE_POINTS, Arrivals, Lives, Load, drain, judge, points_of

DOMAINS = ["fast.test"] * 4 + ["slow.test", "big.test", "some.test"] + [f"d{i}.late.test" for i in range(4)]
SIZES = [800] * 12 + [10_000] * 4 + [700_000, 1_500_000]

# place -> the pass at which it dies: late enough that there is work of all kinds, and a backlog.
POINTS = {
    "commit-before": 60, "commit-after": 60, "flush-before": 60, "flush-durable": 60,
    "copy-flush-before": 20, "copy-flush-durable": 20,
    "transfer-chunk": 4, "transfer-gathered": 20, "transfer-read": 20,
    "record-taken": 60, "bounce-gathered": 6,
    "carry-chunk": 2, "carry-record": 3, "carry-read": 3, "carry-moved": 3,
    "chunk-durable": 4, "record-before": 3, "record-durable": 60,
    "dot-given": 60, "answer-read": 60,
}
# Where a flush is not one transaction, and a partition has to be claimed.
POINTS_ON_KAFKA = {
    "claim-durable": 2, "claim-marked": 2,
    "appends-durable": 10, "events-durable": 30, "backlog-durable": 30, "state-durable": 20,
    "report-bound": 4,
}
ON_KAFKA = os.environ.get("REMUDA_TEST_LOG") == "kafka"
PASSES = {**POINTS, **(POINTS_ON_KAFKA if ON_KAFKA else {})}


def test_every_point_is_tried(program):
    points = points_of(program)
    if not points:
        pytest.skip("a build without crash points")
    assert points == set(POINTS) | set(POINTS_ON_KAFKA) | MIGRATE_POINTS


def internet(world):
    world.host("fast", rules=[{"stage": "rcpt", "match": "^gone@", "reply": "550 5.1.1 no such user"}])
    world.host("mx.slow.test", dot_delay=0.1)
    world.host("mx.big.test")
    world.host("some", rules=[{"stage": "rcpt", "reply": "451 4.3.0 try later", "share": 0.2}])
    world.host("stuck", rules=[{"stage": "rcpt", "reply": "451 4.3.0 try later"}])
    world.host("home")
    for name in ("fast", "some", "stuck", "home"):
        world.domain({"home": "sender.test"}.get(name, name + ".test"), name)
    world.domain("big.test", "mx.big.test")
    world.domain("slow.test", "mx.slow.test")
    for i in range(4):  # their provider is not known yet when the first message for them has been taken
        world.records(f"d{i}.late.test", ("MX", 10, "mx.big.test"), ("DELAY", 400))


def build(world, program):
    """Two pools, so that what one source cannot take in time overflows into the other's lane."""
    internet(world)
    net = world.net
    return world.relay(
        start=False, program=program, log={"carry_after": 40},
        sources=[settings.source(net, 1), settings.source(net, 2)],
        # One address bounces again and again.
        tenants=[settings.tenant("main", suppression="off")], quarantine={"minimum": 1_000_000},
        pools=[settings.pool("main", "s1", fallback="reserve"), settings.pool("reserve", "s2")],
        delivery={"overflow": "1s"}, retries=[settings.retry(["700ms"])],
        providers=[{"name": "big", "mx": [".big.test"], "connections": 3, "rate": "10000/s"},
                   {"name": "slow", "mx": [".slow.test"], "connections": 1, "rate": "5/s"},
                   {"name": "other", "connections": 10, "rate": "10000/s"}])


def send_stuck(relay, load):
    """Messages that stay at the low end of the log until the world opens for them: what is carried forward."""
    for i in range(6):
        test_id = f"stuck{i}"
        load.size[test_id] = 1_500_000 if i % 2 else 2_000
        ident = relay.send("s@sender.test", ["r@stuck.test"], load.text(test_id))
        load.accepted[test_id] = (ident, ["r@stuck.test"])


def carries_end(relay):
    """I7: once the space below the live records is given back, nothing is carried any more."""
    seen = [-1.0]

    def still():
        seen.append(relay.metric("remuda_carried_records_total"))
        return seen[-1] == seen[-2]
    harness.wait_for("an end of carrying forward", still, 30, 2)


@pytest.mark.slow
@pytest.mark.parametrize("point", PASSES)
def test_killed_at(world, program, point):
    if point not in points_of(program):
        pytest.skip("a build without crash points")
    relay = build(world, program)
    load = Load(relay.port, 6, random.Random(point), DOMAINS, SIZES, pause=0.05)
    lives, arrivals = Lives(relay), Arrivals(world, load)
    lives.start()
    send_stuck(relay, load)
    load.start()
    lives.kill()
    try:
        assert lives.start_to_die(f"{point}:{PASSES[point]}", 90 if ON_KAFKA else 40), \
            f"{point} was not passed {PASSES[point]} times"
        lives.start_to_die(point, 2)  # again, while it recovers if the place lies there
        lives.start()
    finally:
        load.stop()
    carries_end(relay)
    world.host("stuck", rules=[])
    drain(relay, 100)
    verdict = judge(arrivals, relay, lives, slack=4 if ON_KAFKA else 1.5)  # the broker takes its share of the CPU
    assert not verdict.lost, verdict.lost[:5]
    assert not verdict.troubles, verdict.troubles[:5]
    assert len(load.accepted) > 6
