"""The relay on a real Kafka broker: one process, and nodes of different roles that come, go and die. Every message is
accounted for: accepted = delivered + bounced + waiting, and a second delivery only where a process died, or lost its
lease, between the final dot and the durable event (I2)."""
import collections
import itertools
import json
import os
import re
import shutil
import signal
import smtplib
import tempfile
import threading
import time
import urllib.error

import pytest

from tests.e2e.test_feedback import dsn, events, feedback_relay, give, sent
from tests.support import harness, settings
from tests.support.balancer import Balancer
from tests.support.broker import Broker
from tests.support.cluster import Cluster
from tests.support.crash import drain, points_of
from tests.support.harness import free_port, wait_for
from tests.support.limits import Limits
from tests.support.senders import Senders
from tests.support.world import dsn, message

pytestmark = [pytest.mark.kafka, pytest.mark.skipif(not shutil.which("java"), reason="no Java for the Kafka broker")]


STOP_MOST_S = 15  # without brokers: 3 of the drain, 3 until they count as silent, and a loaded machine


def deliveries_by_id(world):
    found = {}
    for e in world.entries().of(event="delivery"):
        found.setdefault(e["test_id"], []).append(e)
    return found


def await_all(world, accepted, timeout=60):
    wait_for("every accepted message to be delivered",
             lambda: not accepted.keys() - deliveries_by_id(world).keys(), timeout, 0.2)
    return {i: d for i, d in deliveries_by_id(world).items() if len(d) > 1}


def test_one_process(world, broker, prefix):
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay(log=broker.log(prefix, partitions=4))
    ids = [relay.send("s@sender.test", ["r@a.test"], message(f"m{i}")) for i in range(20)]
    relay.send("s@sender.test", ["r@a.test"], message("big", size=3_000_000))
    world.deliveries(21)
    assert relay.event(ids[0], "delivered")["final"]
    relay.stop()
    shutil.rmtree(os.path.join(world.dir, "data", "kafka-cache"))  # the copy may go at any time
    relay.start()
    assert relay.waiting() == 0
    relay.send("s@sender.test", ["r@a.test"], message("again"))
    world.deliveries(22)


def test_what_waits_survives_without_local_state(world, broker, prefix):
    """And without the group's offsets, which brokers forget of a cluster that is off for a week."""
    world.host("mx1", greylist=[600, "451 4.7.1 Greylisted"])
    world.host("mx2")
    world.domain("a.test", "mx1")
    world.domain("b.test", "mx2")
    relay = world.relay(log=broker.log(prefix, partitions=4), retries=[settings.retry(["20s"])])
    gone = []
    for i in range(10):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"))
        gone.append(relay.send("s@sender.test", ["r@b.test"], message(f"d{i}")))
    wait_for("ten deferred rows", lambda: relay.queue()["total"] == 10)
    assert all(relay.event(ident, "delivered")["final"] for ident in gone)
    relay.kill()
    shutil.rmtree(os.path.join(world.dir, "data"))
    world.host("mx1", greylist=[0, ""])
    wait_for("the group to be empty, and gone", lambda: broker.forget_group(f"{prefix}.owners"), 30)
    relay.start()
    wait_for("the dead process's share", lambda: relay.queue()["total"] == 10, 30)
    assert not await_all(world, {f"{kind}{i}": 1 for kind in "md" for i in range(10)}, 30)


def test_bodies_are_fetched_again_for_what_waits(world, broker, prefix):
    """Rows whose mail is not in the local copy: small, in chunks, carried forward from what was deleted below, between
    mail that is dead; and fresh mail beside them."""
    world.host("mx1", greylist=[600, "451 4.7.1 Greylisted"])
    world.domain("a.test", "mx1")
    world.host("mx2")
    world.domain("b.test", "mx2")
    relay = world.relay(log={**broker.log(prefix, partitions=1), "carry_after": 30}, retries=[settings.retry(["8s", "1s"])])
    sent = {f"m{i}": message(f"m{i}", size=500 + 4000 * i) for i in range(6)}
    sent["big"] = message("big", size=2_000_000)
    for part in list(sent.values()):
        relay.send("s@sender.test", ["r@a.test"], part)
    wait_for("the rows", lambda: relay.queue()["total"] == len(sent))
    for i in range(100):
        relay.send("s@sender.test", ["r@b.test"], message(f"dead{i}"))
    wait_for("the space below to be given back", lambda: earliest(broker, f"{prefix}.mail") > 20, 30, 0.5)
    for i in range(6, 9):
        sent[f"m{i}"] = message(f"m{i}", size=9000)
        relay.send("s@sender.test", ["r@a.test"], sent[f"m{i}"])
    wait_for("all rows", lambda: relay.queue()["total"] == len(sent))
    relay.kill()
    shutil.rmtree(os.path.join(world.dir, "data", "kafka-cache"))
    world.host("mx1", greylist=[0, ""])
    relay.start()
    relay.send("s@sender.test", ["r@b.test"], message("fresh"))
    assert not await_all(world, {**sent, "fresh": ""}, 40)
    for ident, text in sent.items():
        assert world.body(deliveries_by_id(world)[ident][0]).endswith(text), ident
    wait_for("nothing to wait", lambda: relay.waiting() == 0)


def test_a_killed_worker_is_taken_over(world, broker, prefix):
    world.host("mx1")
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix)
    in1, in2 = cluster.node("in1", "ingress", "admin"), cluster.node("in2", "ingress", "admin")
    w1, w2 = cluster.node("w1", "delivery", "admin"), cluster.node("w2", "delivery", "admin")
    wait_for("both workers to own partitions", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 30)
    senders = Senders([in1, in2])
    time.sleep(4)
    w1.kill()
    killed = time.time()
    time.sleep(15)
    by_now = {i for i, at in senders.accepted.items() if at < killed + 1}
    assert not by_now - deliveries_by_id(world).keys(), "mail of the killed worker does not move after 15 s"
    accepted = senders.end()
    twice = await_all(world, accepted)
    assert senders.refused == 0
    for ident, found in twice.items():  # I2: only what was at its final dot when the worker died
        assert len(found) == 2 and killed - 2 < found[0]["t"] < killed + 0.5, (ident, found)
    assert w2.process.running()


def test_a_cap_holds_over_a_takeover(world, broker, prefix):
    """A source may send 40 messages a day to a provider. Its worker is killed in the middle of them and another goes on:
    the receiver counts 40 at most, and the kill costs few."""
    cap = 40
    world.host("mx.big.test", dot_delay=0.15)
    world.domain("big.test", "mx.big.test")
    cluster = Cluster(world, broker, prefix, partitions=2, delivery={"overflow": "0"},
                      sources=[settings.source(world.net, 1, warmup="tiny")], pools=[settings.pool("main", "s1")],
                      warmups=[{"name": "tiny", "steps": [str(cap), str(2 * cap)], "hourly": 100}],
                      providers=[settings.provider("big", ".big.test", connections=2)])
    in1 = cluster.node("in1", "ingress", "admin")
    cluster.node("w1", "delivery", "admin")
    cluster.node("w2", "delivery", "admin")
    cluster.await_shares("w1", "w2")
    client = in1.connect()
    for i in range(2 * cap):
        in1.send("s@sender.test", [f"r{i}@big.test"], message(f"c{i}"), client=client)
    client.close()

    def delivered():
        return world.entries().of(event="delivery")
    wait_for("some deliveries", lambda: len(delivered()) >= cap // 4, 40, 0.02)
    owner = delivered()[-1]["helo"].split(".")[1].split("-")[0]
    cluster.nodes[owner].kill()
    before = len(delivered())
    cluster.start(owner)  # until then its two connections may be open still

    def bound():
        return any(g["cause"] == "cap" for n in ("w1", "w2") for g in cluster.nodes[n].queue()["groups"])
    wait_for("the cap to bind again", bound, 60, 0.2)
    world.quiet(2)
    assert before < cap - 4 < len(delivered()), "the kill did not fall into the middle"
    days = collections.Counter(int(d["t"] // 86400) for d in delivered())
    assert max(days.values()) <= cap, days


def test_nodes_come_and_go(world, broker, prefix):
    """A worker more, one fewer, an ingress node restarted, under load: nothing lost, nothing twice."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix)
    in1 = cluster.node("in1", "ingress")
    w1 = cluster.node("w1", "delivery")
    senders = Senders([in1])
    time.sleep(1)
    for node in (in1, w1):  # each tells how it is; what became of messages is told by those with the role admin
        assert node.http("/readyz") == "ready\n" and node.metric("remuda_build_info") == 1
        with pytest.raises(urllib.error.HTTPError) as refused:
            node.http("/v1/trace/01m8as1kfxcvx3tsd4q02xtejn")
        assert refused.value.code == 503 and b"role admin" in refused.value.read()
    cluster.node("w2", "delivery", "admin")
    wait_for("the partitions to be shared", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 30)
    time.sleep(1)
    w1.stop()
    wait_for("the rest to move", lambda: cluster.shares("w2") == {"w2": 4}, 20)
    time.sleep(1)
    accepted = senders.end()
    assert senders.refused == 0 and len(accepted) > 50
    assert not await_all(world, accepted)


def test_a_rolling_restart_of_every_node(world, broker, prefix):
    """Under load, behind a balancer that would count each connection that is refused: nothing lost, nothing twice."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix)
    health = {name: free_port() for name in ("in1", "in2")}
    for name, port in health.items():
        cluster.node(name, "ingress", node={"leave": "4s"}, admin={"health": f"127.0.0.1:{port}"},
                     listeners=[settings.listener(free_port(), proxies=["127.0.0.1"])])
    for name in ("w1", "w2"):
        cluster.node(name, "delivery", "admin")
    cluster.await_shares("w1", "w2")
    balancer = Balancer(world, {n: (cluster.nodes[n].port, port) for n, port in health.items()})
    senders = Senders([balancer] * 3)
    for name in ("in1", "w1", "in2", "w2"):
        cluster.nodes[name].stop()
        cluster.start(name)
        if name in health:
            wait_for("the balancer to use it again", lambda: balancer.servers()[name]["status"] == "UP", 20)
        else:
            cluster.await_shares("w1", "w2")
    accepted = senders.end()
    assert senders.refused == 0 and len(accepted) > 100
    for s in balancer.servers().values():
        assert int(s["stot"]) > 20 and s["econ"] == s["eresp"] == s["wretr"] == s["wredis"] == "0", s
    assert not await_all(world, accepted)


def test_a_handover_waits_for_unanswered_dots(world, broker, prefix):
    """The receiver answers the final dot after 9 s; the partition moves meanwhile. The old owner keeps the socket and
    tells the delivery, the new one honours it: delivered once, nothing waits."""
    world.host("mx1", dot_delay=9)
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix)
    w1 = cluster.node("w1", "ingress", "delivery", "admin")
    idents = [w1.send("s@sender.test", ["r@a.test"], message(f"d{i}")) for i in range(6)]
    time.sleep(1)
    w2 = cluster.node("w2", "delivery", "admin", start=False)
    w2.start(60)
    wait_for("the partitions to be shared", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 40)
    assert not await_all(world, {f"d{i}": 1 for i in range(6)}, 30)
    for ident in idents:
        assert w2.event(ident, "delivered", 20)["final"]
    wait_for("nothing to wait", lambda: w1.waiting() + w2.waiting() == 0, 15)
    assert not await_all(world, {f"d{i}": 1 for i in range(6)}, 1)


def test_a_frozen_worker_wakes_too_late(world, broker, prefix):
    """Stopped for longer than its session, then woken: it starts nothing, writes nothing that counts."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix)
    in1 = cluster.node("in1", "ingress", "admin")
    w1, w2 = cluster.node("w1", "delivery", "admin"), cluster.node("w2", "delivery", "admin")
    wait_for("both workers to own partitions", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 30)
    senders = Senders([in1])
    time.sleep(2)
    frozen = time.time()
    w1.process.signal(signal.SIGSTOP)
    try:
        wait_for("the other to own all", lambda: cluster.shares("w2") == {"w2": 4}, 20)
        time.sleep(2)
    finally:
        w1.process.signal(signal.SIGCONT)
    wait_for("a share again", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 40)
    accepted = senders.end()
    twice = await_all(world, accepted)
    for ident, found in twice.items():  # I2: it had lost its lease behind the final dot
        assert len(found) == 2 and abs(found[0]["t"] - frozen) < 2, (ident, found)
    assert senders.refused == 0


class Unanswered(threading.Thread):
    """Sends one message in a thread of its own; answer: the code, or None when the connection was closed before one."""

    def __init__(self, relay):
        super().__init__(daemon=True)
        self.answer = 0
        self.client = relay.connect()
        self.client.mail("s@sender.test")
        self.client.rcpt("r@a.test")
        self.start()

    def run(self):
        try:
            self.answer = self.client.data(message("unanswered"))[0]
        except (OSError, smtplib.SMTPException):
            self.answer = None


def stop_without_brokers(relay):
    """SIGTERM while a sender waits for its 250; seconds until the relay has ended."""
    sender = Unanswered(relay)
    wait_for("the message to wait for the brokers", lambda: relay.metric("remuda_log_queued_bytes") > 0, 20)
    began = time.monotonic()
    relay.stop()
    took = time.monotonic() - began
    sender.join(10)
    assert sender.answer in (421, 451, None), "250, and no broker had it"
    assert "no broker answers" in relay.process.tail() and "relay.stopped" in relay.process.tail()
    return took


def test_connections_of_a_lost_owner_count(world, broker, prefix):
    """A source may have three connections to a provider. Its worker is frozen with two: the next one has a third, and all
    three when the first has woken. Then that one is killed with three: the pair waits, and nothing else, until the node
    is back and tells that they are gone. Killed once more, until an operator says that they do not count."""
    world.host("mx.big.test", dot_delay=4)
    world.domain("big.test", "mx.big.test")
    world.host("mx1")
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix, partitions=1, providers=[settings.provider("big", ".big.test", connections=3)],
                      sources=[settings.source(world.net, 1)], pools=[settings.pool("main", "s1")])
    in1 = cluster.node("in1", "ingress", "admin")
    nodes = {"w1": cluster.node("w1", "delivery", "admin"), "w2": cluster.node("w2", "delivery", "admin")}

    def most_open():
        limits = Limits({"mx.big.test": {"connections": 3}})
        for e in world.entries():
            limits.take(e)
        assert not limits.over()
        return limits.peaks["mx.big.test"], len(limits.open["mx.big.test", f"{world.net}.200.1"])

    def send(name, n, domain="big.test"):
        for i in range(n):
            in1.send("s@sender.test", [f"r@{domain}"], message(f"{name}{i}"))
        return {f"{name}{i}" for i in range(n)}

    def owner():
        return max(nodes, key=lambda n: cluster.shares(n)[n])
    for i in range(2):  # the second one when the first waits for its answer
        sent = send(f"slow{i}-", 1)
        wait_for("its final dot", lambda: not sent - deliveries_by_id(world).keys(), 40)
    assert most_open() == (2, 2)
    first = owner()
    second = "w2" if first == "w1" else "w1"
    nodes[first].process.signal(signal.SIGSTOP)
    try:
        world.host("mx.big.test", dot_delay=0)
        wait_for("the other to own it", lambda: cluster.shares(second) == {second: 1}, 40)
        sent = send("meanwhile", 8)
        wait_for("mail to move over what is left", lambda: not sent - deliveries_by_id(world).keys(), 30)
        assert most_open() == (3, 3)
    finally:
        nodes[first].process.signal(signal.SIGCONT)
    wait_for("what had been frozen to close", lambda: most_open()[1] == 1, 30)
    world.host("mx.big.test", dot_delay=60)
    held = send("held", 5)
    wait_for("all three to be the second's", lambda: most_open()[1] == 3, 30)
    nodes[second].kill()
    world.host("mx.big.test", dot_delay=0)
    wait_for("the first to own it again", lambda: cluster.shares(first) == {first: 1}, 40)
    other = send("other", 3, "a.test")
    wait_for("other mail to move", lambda: not other - deliveries_by_id(world).keys(), 30)

    def came_late():
        return {i for i, found in deliveries_by_id(world).items() if i in held and f".{first}-" in found[-1]["helo"]}
    assert not came_late()
    cluster.start(second)
    wait_for("what was held", lambda: came_late() == held, 40)
    assert most_open()[0] == 3
    world.host("mx.big.test", dot_delay=60)
    held, first, second = send("again", 5), second, first
    wait_for("all three to be open again", lambda: most_open()[1] == 3, 30)
    nodes[second].kill()
    world.host("mx.big.test", dot_delay=0)
    wait_for("the other to own it again", lambda: cluster.shares(first) == {first: 1}, 40)
    time.sleep(2)
    assert not came_late()
    nodes[first].write(delivery={"lost_connections": "0"})
    nodes[first].process.signal(signal.SIGHUP)
    wait_for("what was held the second time", lambda: came_late() == held, 30)


def test_a_bounce_comes_back_to_a_new_owner(world, broker, prefix):
    """Which has left out the events that tell of the message, and reads them when it has the partition."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    cluster = Cluster(world, broker, prefix, partitions=1, tenants=[settings.tenant("acme", networks=["127.0.0.1"], verp=True)],
                      feedback={"domain": "bounces.test", "keys": ["a secret of more than sixteen characters"]})
    in1 = cluster.node("in1", "ingress", "admin", listeners=[settings.listener(free_port(), feedback=True)])
    w1 = cluster.node("w1", "delivery")
    ident = in1.send("shop@sender.test", ["r@a.test"], message("first"))
    path = world.deliveries(1, test_id="first")[0]["mail"]
    for i in range(40):
        in1.send("shop@sender.test", [f"r{i}@a.test"], message(f"m{i}"))
    await_all(world, {f"m{i}": 1 for i in range(40)})
    cluster.node("w2", "delivery")
    w1.kill()
    in1.send("", [path], dsn("r@a.test"), client=in1.connect(source_address=("127.0.0.9", 0)))
    outcome = in1.event(ident, "late-bounce", 60)["recipients"][0]
    assert outcome["address"] == "r@a.test" and outcome["class"] == "bad-mailbox"

    def suppressed():
        try:
            in1.send("shop@sender.test", ["r@a.test"], message("again"))
        except smtplib.SMTPResponseException as refused:
            return refused.smtp_code == 550
        return False
    wait_for("the recipient to be suppressed", suppressed)


def test_without_brokers_senders_are_told_to_wait(world, tmp_path):
    broker = Broker(tmp_path / "kafka")
    try:
        world.host("mx1")
        world.domain("a.test", "mx1")
        relay = world.relay(log=broker.log("gone", partitions=2), node={"drain": "3s"})
        relay.send("s@sender.test", ["r@a.test"], message("before"))
        world.deliveries(1)
        broker.stop()
        began = time.monotonic()
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            relay.send("s@sender.test", ["r@a.test"], message("meanwhile"))
        assert refused.value.smtp_code in (451, 452) and time.monotonic() - began < 35
        broker.start()
        wait_for("mail to be taken again", lambda: taken(relay), 60, 1)
        wait_for("its delivery", lambda: deliveries_by_id(world).get("after"), 30)
        os.kill(broker.pid, signal.SIGKILL)
        assert stop_without_brokers(relay) < STOP_MOST_S
    finally:
        broker.stop()


def taken(relay):
    try:
        return relay.send("s@sender.test", ["r@a.test"], message("after"))
    except (OSError, smtplib.SMTPException):
        return None


def test_a_stop_while_the_broker_is_frozen(world, tmp_path):
    """It is bounded; what was answered 250 before is delivered afterwards, once."""
    broker = Broker(tmp_path / "kafka")
    try:
        world.host("mx1")
        world.records("a.test", ("SERVFAIL",))
        relay = world.relay(log=broker.log("stop", partitions=2), node={"drain": "3s"}, retries=[settings.retry(["3s"])])
        for i in range(3):
            relay.send("s@sender.test", ["r@a.test"], message(f"waits{i}"))
        wait_for("the rows", lambda: relay.waiting() == 3, 20)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            assert stop_without_brokers(relay) < STOP_MOST_S
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        world.domain("a.test", "mx1")
        relay.start(60)
        accepted = {f"waits{i}" for i in range(3)}
        assert not await_all(world, dict.fromkeys(accepted)).keys() & accepted
        relay.stop()
    finally:
        broker.stop()


def test_space_is_given_back_while_some_mail_waits(world, broker, prefix):
    """Of `mail` the broker keeps about as much as lies between two carryings, however much goes through (bench/space
    measures the disk)."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    world.host("mx2", greylist=[86400, "451 4.7.1 Not today"])
    world.domain("b.test", "mx2")
    relay = world.relay(log={**broker.log(prefix, partitions=1), "carry_after": 30}, retries=[settings.retry(["1h"])])
    for rounds in range(1, 5):
        client = relay.connect()
        for i in range(60):
            relay.send("s@sender.test", ["r@b.test" if i == 30 else "r@a.test"], message(f"{rounds}-{i}"), client=client)
        client.quit()
        wait_for("those that wait", lambda n=rounds: relay.waiting() == n, 60, 0.2)

        def kept():
            return int(broker.kcat("-Q", "-t", f"{prefix}.mail:0:-1").split()[-1]) - earliest(broker, f"{prefix}.mail")
        wait_for("the rest to be deleted", lambda: kept() < 60, 30, 0.5)


def test_a_wrong_topic_is_refused_by_its_setting(world, broker, prefix):
    relay = world.relay(log=broker.log(prefix, partitions=1))
    relay.stop()
    broker.configure(f"{prefix}.mail", "retention.ms=1000")
    relay.launch()
    assert relay.process.popen.wait(30) == 1
    assert f"topic {prefix}.mail: retention.ms is 1000, Remuda needs -1" in relay.process.output()


def secure_broker(world, tmp_path):
    """TLS with a certificate for localhost, and the login remuda with the password secret. Its broker and its certificate."""
    cert, key = harness.self_signed(world.dir, "localhost")
    store = os.path.join(world.dir, "broker.pem")
    with open(store, "w", encoding="ascii") as out:
        for part in (key, cert):
            with open(part, encoding="ascii") as file:
                out.write(file.read())
    secure = free_port()
    plain = free_port(row=2)
    broker = Broker(tmp_path / "kafka", f"listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{plain + 1},"
                    f"SASL_SSL://127.0.0.1:{secure}",
                    f"advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{secure}",
                    "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512", "ssl.keystore.type=PEM",
                    f"ssl.keystore.location={store}",
                    "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config="
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;",
                    "listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain."
                    'PlainLoginModule required user_remuda="secret";', port=plain,
                    env={"KAFKA_SCRAM": "name=remuda,password=secret"})
    return broker, secure, cert


def test_tls_and_logins_at_the_brokers(world, tmp_path):
    broker, secure, cert = secure_broker(world, tmp_path)
    try:
        world.host("mx1")
        world.domain("a.test", "mx1")
        password = os.path.join(world.dir, "password")
        with open(password, "w", encoding="ascii") as file:
            file.write("secret\n")
        plain = {"mechanism": "PLAIN", "user": "remuda", "password_file": password}
        scram = {**plain, "mechanism": "SCRAM-SHA-512"}
        log = {**broker.log("secure", partitions=2), "brokers": [f"localhost:{secure}"],
               "tls": {"enabled": True, "ca": cert}, "sasl": plain}
        relay = world.relay(log=log)
        relay.send("s@sender.test", ["r@a.test"], message("plain"))
        world.deliveries(1, test_id="plain")
        relay.stop()
        log["sasl"] = scram
        relay.write(log=log)
        relay.start()
        big = message("big", size=3_000_000)
        relay.send("s@sender.test", ["r@a.test"], big)
        assert world.body(world.deliveries(1, test_id="big")[0]).endswith(big[-1000:])
        os.kill(broker.pid, signal.SIGKILL)
        broker.start()
        relay.send("s@sender.test", ["r@a.test"], message("again"))
        world.deliveries(1, timeout=60, test_id="again")
        relay.stop()
        refused_starts(world, relay, log, plain, scram)
    finally:
        broker.stop()


def refused_starts(world, relay, log, plain, scram):
    wrong = os.path.join(world.dir, "wrong")
    with open(wrong, "w", encoding="ascii") as file:
        file.write("secret2\n")
    stranger, _ = harness.self_signed(tempfile.mkdtemp(dir=world.dir), "localhost")
    port = log["brokers"][0].split(":")[1]
    starts = []
    for change, text in [({"sasl": {**plain, "password_file": wrong}}, "uthentication failed"),
                         ({"sasl": {**scram, "password_file": wrong}}, "invalid credentials"),
                         ({"sasl": {**scram, "mechanism": "SCRAM-SHA-256"}}, "PLAIN, SCRAM-SHA-512"),
                         ({"tls": {"enabled": True, "ca": stranger}}, "self-signed certificate"),
                         ({"brokers": [f"127.0.0.1:{port}"]}, "IP address mismatch"),
                         ({"tls": {"enabled": False}}, f"localhost (127.0.0.1:{port})")]:
        path = tempfile.mkdtemp(dir=world.dir)
        config = settings.merge(relay.config, {"node": {"data": os.path.join(path, "data")}, "log": change})
        with open(os.path.join(path, "remuda.yaml"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        starts.append((harness.Process([relay.program, "run", "--config", file.name], os.path.join(path, "log")), text))
    for process, text in starts:
        assert process.popen.wait(60) == 1
        assert "no answer from the Kafka brokers" in process.output() and text in process.output()


def test_a_large_message_and_the_space_it_leaves(world, broker, prefix):
    """50 MB go through brokers with their default message.max.bytes, in chunks; what is delivered is deleted there."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    relay = world.relay(log=broker.log(prefix, partitions=1), node={"message_size": "60MiB"})
    relay.send("s@sender.test", ["r@a.test"], message("first"))
    assert earliest(broker, f"{prefix}.mail") == 0
    sent = message("big", size=50_000_000)
    relay.send("s@sender.test", ["r@a.test"], sent)
    delivery = world.deliveries(1, timeout=60, test_id="big")[0]
    assert world.body(delivery).endswith(sent[-1000:]) and delivery["size"] > len(sent)
    for i in range(3):
        relay.send("s@sender.test", ["r@a.test"], message(f"after{i}"))
    wait_for("the broker to delete below", lambda: earliest(broker, f"{prefix}.mail") > 1, 20, 0.5)


def earliest(broker, topic):
    """Kafka's first offset of partition 0."""
    return int(broker.kcat("-Q", "-t", f"{topic}:0:-2").split()[-1])


class Takers:
    """Two ingress nodes, asked at once for as many messages as they will take."""

    def __init__(self, *relays):
        self.relays, self.numbers = relays, itertools.count()

    def run(self, relay, most, taken):
        for _ in range(most):
            try:
                relay.send("s@sender.test", ["r@a.test"], message(f"m{next(self.numbers)}"))
            except smtplib.SMTPResponseException as refused:
                assert refused.smtp_code == 451 and b"Limit per_" in refused.smtp_error, refused
                return
            taken.append(time.time())

    def take(self, most):
        """How many they took, each until it refuses or has taken so many."""
        taken = []
        threads = [threading.Thread(target=self.run, args=(r, most, taken)) for r in self.relays]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return len(taken)

    def take_to(self, wanted, most=90):
        """As take, again and again: who lost a race for the last one is told to come back, and gets it then."""
        total, until = 0, time.time() + most
        while total < wanted and time.time() < until:
            total += self.take(wanted)
            time.sleep(0.2)
        return total


def test_a_tenants_limits_hold_over_all_ingress_nodes(world, broker, prefix):
    """Two nodes take exactly a day's limit together; one that is killed and comes back has no day of its own. So
    with a minute's."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    limits = {"per_day": 60}
    cluster = Cluster(world, broker, prefix, tenants=[settings.tenant("main", limits=limits)])
    in1, in2 = cluster.node("in1", "ingress", "admin"), cluster.node("in2", "ingress", "admin")
    cluster.node("w1", "delivery", "admin")
    takers = Takers(in1, in2)
    assert takers.take(10) == 20
    in1.kill()
    cluster.start("in1")
    assert takers.take(5) == 10
    total = 30 + takers.take_to(30)
    assert total == 60
    in2.kill()
    cluster.start("in2")
    time.sleep(1.5)
    assert takers.take(5) == 0
    for node in (in1, in2):
        node.write(tenants=[settings.tenant("main", limits={"per_minute": 20})])
        node.process.signal(signal.SIGHUP)
        wait_for("the reload", lambda: node.metric("remuda_config_reloads_total", result="ok") == 1)
    wait_for("a minute that has just begun", lambda: time.time() % 60 < 45, 30, 0.2)
    began = time.time() // 60
    taken = takers.take_to(20)
    assert (taken == 20 and takers.take(5) == 0) or time.time() // 60 != began


def epoch(node, partition):
    """Of the partition when the node gained it last, as its log tells; 0: never."""
    with open(node.log, encoding="utf-8", errors="replace") as file:
        return max([0, *map(int, re.findall(rf"partition\.gained partition={partition} epoch=(\d+)", file.read()))])


def test_evidence_on_both_workers_leads_to_quarantine_once(world, broker, prefix):
    """A tenant's recipients are spread over lanes of both workers, on each too few to judge by. Together they prove
    it, one decision is made, and it stands when the worker that made it has gone."""
    world.host("mx.big.test", rules=[{"stage": "rcpt", "match": "^gone", "reply": "550 5.1.1 No such user here"}])
    domains = [f"d{i}.test" for i in range(20)]
    for d in domains:
        world.domain(d, "mx.big.test")
    cluster = Cluster(
        world, broker, prefix, partitions=2,
        sources=[settings.source(world.net, n) for n in (1, 2, 3)],
        pools=[settings.pool("main", "s1", "s2", shards=2), settings.pool("apart", "s3")],
        tenants=[settings.tenant("bad")], quarantine={"minimum": 60, "pool": "apart"},
        providers=[settings.provider("big", ".big.test")])
    in1 = cluster.node("in1", "ingress", "admin")
    workers = [cluster.node(name, "delivery", "admin") for name in ("w1", "w2")]
    cluster.await_shares("w1", "w2")
    owners = [max(workers, key=lambda w, p=p: epoch(w, p)) for p in (0, 1)]
    client = in1.connect()
    for i in range(80):
        in1.send("s@bad.test", [f"{'gone' if i % 2 else 'b'}{i}@{domains[i // 2 % 20]}"], message(f"m{i}"), client=client)
    client.close()

    def answered():
        """Recipients that each partition has learned of."""
        events = {p: in1.http(f"/v1/events?partition={p}&limit=2000").splitlines() for p in (0, 1)}
        return [sum(e["type"] in ("delivered", "bounced") and e["provider"] == "big" for e in map(json.loads, events[p]))
                for p in (0, 1)]
    wait_for("all to come to their ends", lambda: sum(answered()) == 80, 30, 0.2)
    assert max(answered()) < 60, "one worker alone knows enough"

    def decisions():
        return [w.process.output().count("tenant.decided") for w in owners]
    wait_for("the verdict", lambda: sum(decisions()), 40, 0.25)
    assert decisions() == [1, 0], "the owner of partition 0 decides"
    evidence = json.loads(owners[0].http("/v1/quarantine"))["tenants"][0]["evidence"]
    assert 75 < evidence["recipients"] < 81 and 37 < evidence["bad_mailbox"] < 41
    for verb in (["queue"], ["why", "bad"], ["warmup"]):  # each answers for its own partitions, and says so
        done = owners[1].cli(*verb, "--admin", owners[1].admin)
        assert done.returncode == 0 and "without 1 of 2 partitions" in done.stderr, done.stderr
        assert f" 0 {owners[0].name}" in done.stderr
    for node in (in1, owners[1]):  # what was decided all know; the evidence is where it is judged
        assert "bad" in node.cli("quarantine", "list", "--admin", node.admin).stdout
        done = node.cli("quarantine", "review", "bad", "--admin", node.admin)
        assert done.returncode == 1 and f"node {owners[0].name}: ask there" in done.stderr, done
    assert "without" not in owners[0].cli("quarantine", "review", "bad", "--admin", owners[0].admin).stderr
    owners[0].stop()
    cluster.await_shares(owners[1].name)
    assert not owners[1].cli("queue", "--admin", owners[1].admin).stderr
    time.sleep(11)  # two rounds of the new judge
    assert decisions()[1] == 0 and owners[1].metric("remuda_tenants_held", action="quarantine") == 1


@pytest.mark.parametrize("point", ["appends-durable", "report-bound"])
def test_what_was_reported_is_not_tried_again(world, program, broker, point):
    """The receiver would take it after the death; but its sender has been told that it failed, or is bound to be."""
    if point not in points_of(program):
        pytest.skip("a build without crash points")
    world.host("mx", rules=[{"stage": "rcpt", "match": "^gone@", "reply": "550 5.1.1 no such user"},
                            {"stage": "rcpt", "match": "^later@", "reply": "451 4.3.0 try later"}])
    world.host("home")
    world.domain("a.test", "mx")
    world.domain("sender.test", "home")
    relay = world.relay(start=False, program=program, retries=[settings.retry(["1s"])],
                        tenants=[settings.tenant("main", suppression="off")],
                        log=broker.log(f"{point}-once-{os.getpid()}", partitions=1))
    relay.env = {"REMUDA_CRASH_AT": point}
    relay.start(60)
    ident = relay.send("s@sender.test", ["gone@a.test", "later@a.test"], message("mixed"))
    wait_for("its death", lambda: not relay.process.running(), 60)
    relay.kill()
    world.host("mx", rules=[])
    relay.env = {}
    relay.start(60)
    wait_for("the dead process's share", lambda: relay.metric("remuda_partitions_owned") == 1, 60, 0.5)
    drain(relay, 60)
    assert [d["rcpts"] for d in world.entries().of(event="delivery", listener="mx")] == [["later@a.test"]]
    told = re.findall(rb"Final-Recipient: *rfc822; *(\S+)", world.body(world.deliveries(1, listener="home")[0]))
    assert told == [b"gone@a.test"], told
    ends = {(r["address"], e["type"]) for e in relay.trace(ident) for r in e["recipients"] if e["type"] != "deferred"}
    assert ends == {("gone@a.test", "bounced"), ("later@a.test", "delivered"), ("s@sender.test", "delivered")}, ends


def test_what_came_back_is_told_once(world, program, broker, prefix):
    """Its owner dies when the event is durable and the key that remembers it is not."""
    if "events-durable" not in points_of(program):
        pytest.skip("a build without crash points")
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world, program=program, log=broker.log(prefix, partitions=1))
    ident, path = sent(world, relay)
    wait_for("its end", lambda: relay.waiting() == 0)
    relay.kill()
    relay.env = {"REMUDA_CRASH_AT": "events-durable"}
    relay.start(60)
    report = give(relay, path, dsn("r@a.test"))
    wait_for("its death", lambda: not relay.process.running(), 60)
    relay.kill()
    relay.env = {}
    relay.start(60)
    wait_for("the forwarded one", lambda: world.entries().of(event="delivery", rcpts=["shop@sender.test"]), 60)
    wait_for("its end", lambda: relay.waiting() == 0)
    give(relay, path, dsn("r@a.test"))
    wait_for("the repeated one", lambda: relay.metric("remuda_feedback_total", kind="repeated") == 2)
    assert [e["related_id"] for e in events(relay, ident, "late-bounce")] == [report]
    world.deliveries(1, rcpts=["shop@sender.test"])
    assert len(json.loads(relay.http("/v1/suppression"))["entries"]) == 1
