"""A record at which the process dies twice of a fatal signal is put into dead; a kill from outside proves nothing."""
import json
import signal

import pytest

from tests.support.crash import points_of
from tests.support.harness import wait_for
from tests.support.world import message


def die_once(relay, signo):
    """One life that ends when the first answer of a receiver has been read."""
    relay.env = {"REMUDA_CRASH_AT": "answer-read", "REMUDA_CRASH_SIGNAL": str(int(signo))}
    relay.launch()
    wait_for("the relay's death", lambda: not relay.process.running(), 30)
    assert relay.process.popen.returncode == -signo
    relay.env = {}


@pytest.fixture
def struck(world, program):
    """A relay with a message for a receiver that takes it, and one for a receiver that does not answer."""
    if not points_of(program):
        pytest.skip("a build without crash points")
    world.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 later"}])
    world.host("deaf", dot_delay=600)
    world.domain("a.test", "mx1")
    world.domain("deaf.test", "deaf")
    return world, world.relay(node={"drain": "1s"})


def prepare(world, relay, size):
    ident = relay.send("s@sender.test", ["r@a.test"], message("poison", size=size))
    relay.event(ident, "deferred")
    relay.send("s@sender.test", ["r@deaf.test"], message("bystander"))
    relay.kill()
    world.host("mx1", rules=[])


@pytest.mark.parametrize("size", [800, 1_500_000])
def test_twice_is_guilt(struck, size):
    world, relay = struck
    prepare(world, relay, size)
    die_once(relay, signal.SIGABRT)
    die_once(relay, signal.SIGABRT)
    relay.start()
    dead = wait_for("the dead record", lambda: json.loads(relay.http("/v1/dead"))["dead"], 15, 0.2)
    assert len(dead) == 1 and "fatal signal" in dead[0]["reason"] and dead[0]["recipients"] == ["r@a.test"]
    wait_for("its count", lambda: relay.metric("remuda_dead_records_total") == 1)
    world.deliveries(2, test_id="poison")  # those of the lives that died
    wait_for("the other one alone", lambda: relay.waiting() == 1)
    listed = relay.cli("dead", "list", "--config", relay.path)
    assert listed.returncode == 0 and "fatal signal" in listed.stdout
    replayed = relay.cli("dead", "replay", str(dead[0]["offset"]), "--config", relay.path)
    assert replayed.returncode == 0, replayed.stderr
    last = world.deliveries(3, test_id="poison")[-1]
    assert world.body(last).endswith(message("poison", size=size))


def test_killed_from_outside_is_none(struck):
    world, relay = struck
    prepare(world, relay, 800)
    die_once(relay, signal.SIGKILL)
    die_once(relay, signal.SIGKILL)
    relay.start()
    world.deliveries(3, test_id="poison")
    assert relay.metric("remuda_dead_records_total") == 0
    wait_for("the other one alone", lambda: relay.waiting() == 1)
