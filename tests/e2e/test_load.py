"""Under pressure: many connections, unfair tenants, full disks, little memory."""
import os
import resource
import smtplib
import socket
import time

import pytest

from tests.support import harness, settings
from tests.support.harness import memory_kib, wait_for
from tests.support.world import message


@pytest.fixture
def lab(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    return world


@pytest.mark.alone
def test_ten_thousand_idle_connections(lab):
    wanted = 10_000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted + 1000:
        pytest.skip(f"only {hard} files may be open here")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 1000), hard))
    try:
        program = harness.binary("release")
    except FileNotFoundError:
        pytest.skip("no release build: memory is not measured under a sanitizer")
    relay = lab.relay(program=program)
    kept = []
    for i in range(wanted):
        s = socket.socket()
        s.bind((f"127.0.0.{2 + i % 4}", 0))
        s.settimeout(20)
        s.connect(("127.0.0.1", relay.port))
        kept.append(s)
    for s in kept:
        assert s.recv(200).startswith(b"220")
        s.sendall(b"EHLO idle.test\r\n")
    for s in kept:
        got = b""
        while b"\r\n250 " not in got:
            got += s.recv(1000)
    used = memory_kib(relay.process.pid) / 1024
    print(f"{used:.0f} MB with {wanted} idle connections")
    assert used < 300
    relay.send("s@sender.test", ["r@a.test"], message("through"))
    lab.deliveries(1)
    for s in kept:
        s.close()
    wait_for("the connections' end", lambda: relay.metric("remuda_ingress_connections_open") == 0, 20)


def test_one_tenant_s_flood_does_not_delay_another(lab):
    """I5, with the lane as the bottleneck: one connection, a receiver that takes about 20 messages a second."""
    lab.host("mx1", dot_delay=0.05, pipelining=False)
    only = [settings.source(lab.net, 1)]
    tenants = [settings.tenant("flood", networks=["127.0.0.2/32"], domains=["flood.test"]),
               settings.tenant("calm", networks=["127.0.0.3/32"], domains=["calm.test"])]
    relay = lab.relay(sources=only, pools=[settings.pool("main", "s1")], tenants=tenants,
                      providers=[{"name": "mxtest", "mx": [".mx.test"], "connections": 1}])
    flood = relay.connect(source_address=("127.0.0.2", 0))
    for i in range(600):
        relay.send("s@flood.test", ["r@a.test"], message(f"f{i}"), client=flood)
    calm = relay.connect(source_address=("127.0.0.3", 0))
    for i in range(5):
        relay.send("s@calm.test", ["r@a.test"], message(f"c{i}"), client=calm)
    sent = time.time()
    got = wait_for("the calm tenant's mail", lambda: (lambda d: d if len(d) == 5 else None)(
        lab.entries().of(event="delivery", mail="s@calm.test")), 60)
    flooded = [d for d in lab.entries().of(event="delivery", mail="s@flood.test") if sent < d["t"] < got[-1]["t"]]
    assert len(flooded) <= 5 + 4, f"{len(flooded)} of the other tenant's went first"


@pytest.mark.slow
def test_freeing_one_cause_reads_little_else(world):
    """1,000 rows wait for one site and 1,000 more for 50 others. Nothing is read while nothing frees; when the one
    site frees, the index is read for what starts and hardly more."""
    world.host("one", dot_delay=15)
    world.domain("one.test", "one")
    hung = world.host("hung", dot_delay=600)
    for i in range(50):
        world.records(f"d{i}.test", ("MX", 10, f"mx.d{i}.test"))
        world.records(f"mx.d{i}.test", ("A", hung))
    relay = world.relay(sources=[settings.source(world.net, 1)], pools=[settings.pool("main", "s1")],
                        providers=[{"name": "other", "connections": 1, "rate": "10000/s"}],
                        delivery={"window": 100, "window_tenant": 40}, node={"drain": "1s"})
    client = relay.connect()
    for i in range(1000):
        relay.send("s@sender.test", ["r@one.test"], message(f"o{i}"), client=client)
    for i in range(20):
        relay.send("s@sender.test", [f"r@d{n}.test" for n in range(50)], message(f"h{i}"), client=client)
    wait_for("rows", lambda: relay.queue()["total"] >= 1800, 30, 0.5)
    resting = relay.metric("remuda_index_reads_total")
    world.quiet(2)
    assert relay.metric("remuda_index_reads_total") - resting <= 100, "parked rows are polled"
    before = relay.metric("remuda_index_reads_total")
    world.host("one", dot_delay=0)
    done = relay.metric("remuda_delivered_recipients_total")
    wait_for("the freed site's mail", lambda: relay.metric("remuda_delivered_recipients_total") >= 1000, 60, 0.2)
    read = relay.metric("remuda_index_reads_total") - before
    print(f"{read:.0f} index entries read to start {1000 - done:.0f} rows")
    assert read <= 1000 - done + 100, read


def test_small_memory_refuses_and_recovers(lab):
    """Bodies of mail in progress over node.memory: 452, and again 250 when it frees."""
    relay = lab.relay(node={"memory": "16MiB", "message_size": "50MiB"})
    half = []
    refused = 0
    block = (b"x" * 998 + b"\r\n") * 400
    for i in range(60):
        s, f = relay.raw()
        for line in (b"EHLO c.test", b"MAIL FROM:<s@sender.test>", b"RCPT TO:<r@a.test>", b"DATA"):
            s.sendall(line + b"\r\n")
            while True:
                answer = f.readline()
                if answer[3:4] != b"-":
                    break
            if answer.startswith(b"4"):
                refused += 1
                break
        else:
            s.sendall(b"Subject: x\r\n\r\n" + block)
        half.append((s, f))
        if refused:
            break
    assert refused, "60 messages of 400 KB in progress and no 452 at 16 MB"
    for s, f in half:
        f.close()
        s.close()
    wait_for("room", lambda: relay.metric("remuda_message_memory_bytes") == 0)
    relay.send("s@sender.test", ["r@a.test"], message("again"))
    lab.deliveries(1, test_id="again")


@pytest.fixture
def small(lab):
    """A directory on a file system of 96 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    data = os.path.join(lab.dir, "small")
    os.mkdir(data)
    if harness.run(["mount", "-t", "tmpfs", "-o", "size=96m", "remuda-test", data]).returncode:
        pytest.skip("mount is not allowed here")
    yield data
    for relay in lab.relays:
        if relay.process:
            relay.process.end()
    harness.run(["umount", "-l", data])


def fill(relay, client, n, first=0):
    """Sends up to n messages; (accepted, refused). 452 is the only refusal, and three of them are enough."""
    accepted = refused = 0
    while refused < 3 and accepted < n:
        try:
            relay.send("s@sender.test", ["r@a.test"], message(f"m{first + accepted}", size=100_000), client=client)
            accepted += 1
        except smtplib.SMTPResponseException as e:
            assert e.smtp_code == 452, e
            refused += 1
            client.docmd("RSET")
    return accepted, refused


def send_again(relay):
    try:
        return relay.send("s@sender.test", ["r@a.test"], message("again", size=100_000))
    except smtplib.SMTPException:
        return None


def all_arrive(lab, relay, accepted):
    """Each once, also after a start on the same data."""
    got = lab.deliveries(accepted, timeout=90)
    assert len({d["test_id"] for d in got}) == accepted
    wait_for("intake to come back", lambda: send_again(relay), 60, 0.5)
    lab.deliveries(1, test_id="again")
    relay.stop()
    relay.start()
    wait_for("an empty queue", lambda: relay.waiting() == 0, 30, 0.2)
    lab.deliveries(accepted + 1)
    relay.stop()


def test_full_disk(lab, small):
    """Mail fills it: 452, deliveries go on, and intake comes back by itself."""
    lab.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 later"}])
    relay = lab.relay(node={"data": os.path.join(small, "d")}, log={"floor": "24MiB", "map": "1GiB"},
                      retries=[settings.retry(["2s"])])
    accepted, refused = fill(relay, relay.connect(), 3000)
    assert refused == 3 and accepted > 50
    lab.host("mx1", rules=[])
    all_arrive(lab, relay, accepted)


def test_disk_filled_by_others(lab, small):
    """To the last byte: 452; nothing is sent whose outcome could not be written, so nothing twice; when there is
    space again all goes on."""
    lab.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 later"}])
    relay = lab.relay(node={"data": os.path.join(small, "d")}, log={"floor": "4MiB", "map": "1GiB"},
                      retries=[settings.retry(["1s"])])
    accepted, _ = fill(relay, relay.connect(), 40)
    assert accepted == 40
    others = os.path.join(small, "others")
    harness.run(["dd", "if=/dev/zero", f"of={others}", "bs=64k"])
    assert os.statvfs(small).f_bavail == 0
    more, refused = fill(relay, relay.connect(), 1000, first=accepted)  # on Kafka it is seen within a second
    assert refused == 3
    accepted += more
    lab.host("mx1", rules=[])
    lab.quiet(4)
    assert fill(relay, relay.connect(), 3)[1] == 3
    assert relay.is_ready()
    os.unlink(others)
    all_arrive(lab, relay, accepted)
