"""`remuda audit mail`: clean while mail is accepted, deferred, moved and bounced; and what is taken away or forged is
named."""
import json
import shutil
import subprocess

import pytest

from tests.support import settings
from tests.support.cluster import Cluster
from tests.support.harness import wait_for
from tests.support.world import message

NO_USER = {"stage": "rcpt", "match": "^gone", "reply": "550 5.1.1 The email account does not exist"}
LATER = {"stage": "rcpt", "match": "^later", "reply": "452 4.2.2 Mailbox full"}  # the recipients' own: no outage


def build(world, **more):
    """Two pools, so that what waits for the one connection to big.test overflows into another lane."""
    world.host("mx1", rules=[NO_USER, LATER])
    world.host("mx.big.test", dot_delay=0.5)
    world.host("home")
    world.domain("a.test", "mx1")
    world.domain("big.test", "mx.big.test")
    world.domain("sender.test", "home")
    return world.relay(
        sources=[settings.source(world.net, n) for n in (1, 2)],
        pools=[settings.pool("main", "s1"), settings.pool("reserve", "s2")],
        tenants=[settings.tenant("main", pools=["main", "reserve"], suppression="off")],
        providers=[settings.provider("big", ".big.test", connections=1, messages_per_connection=1)],
        delivery={"overflow": "1s"}, **more)


def audit(*relays, code=None, since="1h"):
    """The account of all that were asked, and the exit code of the verb."""
    done = relays[0].cli("audit", "mail", "--since", since, "--json", "--admin", ",".join(r.admin for r in relays))
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def total(account, *counts):
    return sum(h[c] for h in account["hours"] for c in counts)


def settled(n, *relays):
    """The account, clean at any time, once so many submissions are below the watermarks."""
    return wait_for(f"{n} submissions to be accounted for",
                    lambda: [a for a in [audit(*relays, code=0)] if total(a, "accepted") == n], 30, 0.5)[0]


def traffic(relay, n):
    client = relay.connect()
    for i in range(n):
        relay.send("s@sender.test", [f"r{i}@a.test"], message(f"plain{i}"), client=client)
        relay.send("s@sender.test", [f"gone{i}@a.test"], message(f"gone{i}"), client=client)
        relay.send("s@sender.test", [f"later{i}@a.test", f"b{i}@big.test"], message(f"later{i}"), client=client)
    client.close()


def test_the_account_is_clean_under_traffic(world):
    relay = build(world, log={"partitions": 8}, retries=[settings.retry(["1s", "30s"])])
    for round_ in range(4):
        traffic(relay, 6)
        audit(relay, code=0)  # in the middle of it
    wait_for("what can go to have gone", lambda: relay.queue()["total"] == 24 and relay.waiting() == 24, 60, 0.5)
    account = settled(4 * 6 * 4, relay)
    assert total(account, "reports") == total(account, "bounced") == 24
    assert total(account, "given") == total(account, "received") > 0
    assert total(account, "waiting") == 24
    assert total(account, "accepted", "reports", "received") == \
        total(account, "delivered", "bounced", "given", "waiting")
    relay.kill()
    relay.start()
    settled(4 * 6 * 4, relay)
    shown = relay.cli("audit", "mail", "--hours", "--admin", relay.admin)
    assert shown.returncode == 0 and "exceptions: 0" in shown.stdout and "HOUR OF ACCEPTANCE" in shown.stdout
    assert relay.cli("audit", "mail", "--admin", "127.0.0.1:1").returncode == 2


def row_key(submission):
    """Of a backlog row: offset, index, partition, big-endian."""
    partition, offset, index = submission
    return offset.to_bytes(8, "big") + index.to_bytes(4, "big") + partition.to_bytes(4, "big")


def take_row_away(broker, prefix, row):
    """A tombstone that no owner has written."""
    at = row["submission"]
    key = row_key((at["partition"], at["offset"], at["index"]))
    subprocess.run(["kcat", "-b", f"127.0.0.1:{broker.port}", "-P", "-t", f"{prefix}.backlog", "-p", str(at["partition"]),
                    "-Z", "-K", "<key>", "-D", "<end>"], input=key + b"<key><end>", check=True, timeout=30)


@pytest.mark.kafka
@pytest.mark.skipif(not shutil.which("java"), reason="no Java for the Kafka broker")
def test_a_cluster_accounts_for_a_killed_worker(world, broker, prefix):
    """Each worker answers for what it owns. Then a row is taken away behind the owner's back: the account names it."""
    world.host("mx1", rules=[NO_USER, LATER])
    world.host("home")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home")
    # What is in memory for its next attempt would get its row again.
    cluster = Cluster(world, broker, prefix, retries=[settings.retry(["1h"], lifetime="5h")])
    w1, w2 = (cluster.node(name, "ingress", "delivery", "admin") for name in ("w1", "w2"))
    wait_for("both workers to own partitions", lambda: cluster.shares("w1", "w2") == {"w1": 2, "w2": 2}, 30)
    for i in range(12):
        for name in ("r", "gone", "later"):
            (w1, w2)[i % 2].send("s@sender.test", [f"{name}{i}@a.test"], message(f"{name}{i}"))
    settled(36, w1, w2)
    alone = audit(w1, code=2)
    assert sorted(p["state"] for p in alone["partitions"]) == ["elsewhere", "elsewhere", "judged", "judged"]
    w1.kill()
    assert audit(w1, w2, code=None)["partitions"] and w2.cli("audit", "mail", "--admin", f"{w1.admin},{w2.admin}").returncode == 2
    wait_for("the other to own all", lambda: cluster.shares("w2") == {"w2": 4}, 40)
    wait_for("all but what is deferred to have gone", lambda: w2.queue()["total"] == w2.waiting() == 12, 40, 0.5)
    assert total(settled(36, w2), "waiting") == 12
    row = json.loads(w2.http("/v1/queue?limit=1"))["rows"][0]
    take_row_away(broker, prefix, row)
    wait_for("the row to be gone", lambda: w2.queue()["total"] == 11, 30, 0.2)
    named = audit(w2, code=1)["exceptions"]
    assert [(e["trouble"], e["id"], e["domain"]) for e in named] == [("no-end", row["id"], "a.test")], named
