"""Sources on other hosts: a second process of the relay carries their connections, and dies, and comes back."""
import hashlib
import hmac
import ipaddress
import json
import os
import shutil
import signal
import socket
import struct
import threading
import time

import pytest

from tests.support import harness, settings
from tests.support.egress import SECRET, Egress, by_source, egress, reached, relay_with, send
from tests.support.harness import free_port, wait_for
from tests.support.world import message


@pytest.fixture
def one_host(world):
    world.host("mx1", starttls="offer")
    world.domain("a.test", "mx1")
    return world


def test_mail_leaves_from_the_source_behind_the_egress_with_tls_end_to_end(one_host):
    relay = relay_with(one_host, egress(one_host), near=())
    far = Egress(one_host, relay).reached()
    idents = send(relay, 6)
    got = one_host.deliveries(6)
    assert by_source(got) == {"s2": 6}
    assert all(d["tls"] for d in got), got
    attempt = relay.event(idents[0], "delivered")
    assert attempt["mx_address"] == f"{one_host.net}.1.1:{one_host.mx_port}"
    carried = far.metric('remuda_egress_connections_open{egress="far"}') + \
        far.metric('remuda_egress_connections_total{egress="far",result="passed"}')  # idle ones stay open
    assert carried >= 3, carried
    assert relay.metric("remuda_egress_up", egress="far") == 1
    relay.stop()
    assert far.process.stop() == 0
    assert "egress.refused" not in far.process.output(), far.process.tail()


def test_a_killed_egress_takes_its_sources_out_and_they_come_back(one_host):
    relay = relay_with(one_host, egress(one_host))
    far = Egress(one_host, relay).reached()
    send(relay, 20)
    assert set(by_source(one_host.deliveries(20))) == {"s1", "s2"}
    far.process.kill()
    began = time.monotonic()
    idents = send(relay, 20, "dead")
    got = one_host.deliveries(40)[20:]
    assert time.monotonic() - began < 5
    assert by_source(got) == {"s1": 20}
    events = [e for i in idents for e in relay.trace(i)]
    assert not [e for e in events if e["type"] == "deferred"], events
    candidates = json.loads(relay.http("/v1/explain?from=s@sender.test&to=r@a.test"))
    assert '"verdict": "egress"' in json.dumps(candidates), candidates
    wait_for("the egress to be missed", lambda: relay.metric("remuda_egress_up", egress="far") == 0)
    far.start()
    far.reached()
    send(relay, 20, "back")
    assert set(by_source(one_host.deliveries(60)[40:])) == {"s1", "s2"}
    pairs = json.loads(relay.http("/v1/pairs"))
    assert '"suspended_until": 1' not in json.dumps(pairs), pairs


def test_a_pool_of_dead_sources_holds_its_mail_uncounted(one_host):
    relay = relay_with(one_host, egress(one_host), near=())
    far = Egress(one_host, relay).reached()
    send(relay, 1)
    one_host.deliveries(1)
    far.process.kill()
    ident = send(relay, 1, "held")[0]
    wait_for("the cause", lambda: any(r["cause"] == "egress" for r in relay.queue()["lanes"][0:] and
                                      json.loads(relay.http("/v1/queue?limit=10"))["rows"]), 20)
    far.start()
    one_host.deliveries(2)
    assert [e["type"] for e in relay.trace(ident) if e["type"] == "deferred"] == []
    assert relay.event(ident, "delivered")["attempt"] == 1


def test_a_frozen_egress_is_found_without_mail(one_host):
    relay = relay_with(one_host, egress(one_host))
    far = Egress(one_host, relay).reached()
    far.process.signal(signal.SIGSTOP)
    began = time.monotonic()
    wait_for("the egress to be missed", lambda: relay.metric("remuda_egress_up", egress="far") == 0, 10)
    assert time.monotonic() - began < 10
    send(relay, 10)
    assert by_source(one_host.deliveries(10)) == {"s1": 10}
    far.process.signal(signal.SIGCONT)
    far.reached()


def test_an_attempt_that_an_egress_breaks_off_is_not_counted(one_host):
    one_host.host("mx1", starttls="offer", throttle=100000)
    relay = relay_with(one_host, egress(one_host), near=())
    far = Egress(one_host, relay).reached()
    ident = send(relay, 1, size=30 << 20)[0]  # more than the buffers on the way hold: the final dot is not sent
    wait_for("the body to be under way", lambda: far.metric('remuda_egress_connections_open{egress="far"}') >= 1)
    time.sleep(1)
    far.process.kill()
    one_host.host("mx1", throttle=0)
    far.start()
    one_host.deliveries(1)
    assert not [e for e in relay.trace(ident) if e["type"] == "deferred"], relay.trace(ident)


def test_an_unreachable_host_is_no_fault_of_the_egress(world):
    world.host("mx1")
    world.records("gone.test", ("MX", 10, "gone.mx.test"))
    world.records("gone.mx.test", ("A", f"{world.net}.1.77"))
    world.domain("a.test", "mx1")
    relay = relay_with(world, egress(world), near=(), retries=[settings.retry(["1h"])])
    Egress(world, relay).reached()
    failures = relay.metric("remuda_egress_failures_total", egress="far")
    ident = relay.send("s@sender.test", ["r@gone.test"], message("gone"))
    deferred = relay.event(ident, "deferred")
    assert "unreachable: Connection refused" in deferred["recipients"][0]["text"], deferred
    send(relay, 3)
    world.deliveries(3)
    assert relay.metric("remuda_egress_failures_total", egress="far") == failures


def test_a_wrong_secret_takes_the_sources_out(one_host):
    entry = egress(one_host)
    other = os.path.join(one_host.dir, "other-secret")
    with open(other, "w", encoding="ascii") as file:
        file.write("quite another secret, and as long as it has to be\n")
    relay = relay_with(one_host, entry)
    far = Egress(one_host, relay, egresses=[{**entry, "secret_file": other}])
    wait_for("the refusal", lambda: "egress far: auth" in relay.process.output(), 20)
    send(relay, 5)
    assert by_source(one_host.deliveries(5)) == {"s1": 5}
    assert "not signed with the secret" in far.process.output()


# ---- a client of the egress made by hand ----


def header(world, source, target, port, secret=SECRET, when=None, nonce=None, name="far"):
    """Written from the format's description, apart from the program."""
    body = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack("!H", 12 + 60) + \
        ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + struct.pack("!HH", 0, port) + \
        struct.pack("!BHB", 0xE0, 57, 1) + struct.pack("!Q", int((when or time.time()) * 1000)) + \
        (nonce or os.urandom(16))
    key = hmac.new(bytes(32), secret.encode(), hashlib.sha256).digest()
    return body + hmac.new(key, name.encode() + b"\0" + body, hashlib.sha256).digest()


def ask(far, data):
    """Everything that the egress answers, until it closes or the receiver has greeted."""
    address, port = far.relay.config["egresses"][0]["address"].split(":")
    with socket.create_connection((address, int(port)), timeout=10) as s:
        s.sendall(data)
        got = b""
        while b"220 " not in got:
            more = s.recv(4096)
            if not more:
                break
            got += more
        return got.decode()


def test_what_an_egress_refuses(one_host):
    entry = egress(one_host)
    relay = relay_with(one_host, entry)
    far = Egress(one_host, relay).reached()
    net, port = one_host.net, one_host.mx_port
    good = header(one_host, f"{net}.200.2", f"{net}.1.1", port)
    assert ask(far, good).startswith("remuda-egress/1 accepted\nremuda-egress/1 connected\n220 ")
    auth = "remuda-egress/1 auth\n"
    assert ask(far, good) == auth, "the same header twice"
    forged = bytearray(header(one_host, f"{net}.200.2", f"{net}.1.1", port))
    forged[27] ^= 1  # the target's port
    assert ask(far, bytes(forged)) == auth
    assert ask(far, header(one_host, f"{net}.200.2", f"{net}.1.1", port, secret="x" * 40)) == auth
    assert ask(far, header(one_host, f"{net}.200.2", f"{net}.1.1", port, name="near")) == auth
    assert ask(far, b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11\0\x0c" + bytes(12)) == auth
    assert ask(far, b"EHLO me\r\n") == auth
    old = ask(far, header(one_host, f"{net}.200.2", f"{net}.1.1", port, when=time.time() - 90))
    assert old.startswith("remuda-egress/1 clock "), old
    assert ask(far, header(one_host, f"{net}.200.1", f"{net}.1.1", port)).startswith("remuda-egress/1 source "), \
        "a source of another node"
    assert ask(far, header(one_host, f"{net}.200.2", f"{net}.1.1", port + 1)).startswith("remuda-egress/1 denied ")
    far.write(egresses=[{**entry, "allow_local": False}])
    far.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: "config.reloaded" in far.process.output())
    for target in (f"{net}.1.1", "10.1.2.3", "192.168.1.1", "169.254.1.1", "0.0.0.0"):
        answer = ask(far, header(one_host, f"{net}.200.2", target, port))
        assert answer.startswith("remuda-egress/1 denied the address is local"), (target, answer)


def test_limits_of_connections_and_silence(one_host):
    relay = relay_with(one_host, egress(one_host, connections=2, idle="1s"))
    far = Egress(one_host, relay).reached()
    address, port = relay.config["egresses"][0]["address"].split(":")
    net = one_host.net
    held = []
    for _ in range(2):
        s = socket.create_connection((address, int(port)), timeout=10)
        s.sendall(header(one_host, f"{net}.200.2", f"{net}.1.1", one_host.mx_port))
        held.append(s)
        wait_for("connected", lambda: b"connected" in s.recv(4096, socket.MSG_PEEK))
    assert ask(far, header(one_host, f"{net}.200.2", f"{net}.1.1", one_host.mx_port)).startswith(
        "remuda-egress/1 busy ")
    began = time.monotonic()
    for s in held:  # nothing is said: closed after idle
        while s.recv(4096):
            pass
        s.close()
    assert time.monotonic() - began < 5
    with socket.create_connection((address, int(port)), timeout=10) as s:
        began = time.monotonic()
        assert s.recv(10) == b""  # no header: closed after 5 s
        assert 3 < time.monotonic() - began < 9


def test_half_close_and_back_pressure(one_host):
    """A receiver of its own: it reads slowly, and answers when the sender has said that no more comes."""
    size = 8 << 20
    receiver = socket.create_server((f"{one_host.net}.1.9", one_host.mx_port))
    relay = relay_with(one_host, egress(one_host))
    far = Egress(one_host, relay).reached()
    address, port = relay.config["egresses"][0]["address"].split(":")
    before = harness.memory_kib(far.process.pid)
    with socket.create_connection((address, int(port)), timeout=20) as s:
        s.sendall(header(one_host, f"{one_host.net}.200.2", f"{one_host.net}.1.9", one_host.mx_port))
        there, peer = receiver.accept()
        assert peer[0] == f"{one_host.net}.200.2"
        there.settimeout(20)
        wait_for("connected", lambda: b"connected\n" in s.recv(4096, socket.MSG_PEEK))
        s.recv(4096)
        s.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):  # nobody reads: it is held back
            while sent < 64 << 20:
                sent += s.send(b"x" * 65536)
        assert harness.memory_kib(far.process.pid) - before < 4096
        s.settimeout(20)
        got = 0
        s.shutdown(socket.SHUT_WR)
        while data := there.recv(1 << 20):
            got += len(data)
        assert got == sent
        answer = threading.Thread(target=lambda: (there.sendall(b"y" * size), there.close()))
        answer.start()  # more than all buffers on the way may hold
        back = 0
        while data := s.recv(1 << 20):
            back += len(data)
        answer.join()
        assert back == size
    receiver.close()


@pytest.mark.slow
def test_many_messages_through_it(one_host):
    relay = relay_with(one_host, egress(one_host), near=())
    Egress(one_host, relay).reached()
    began = time.monotonic()
    send(relay, 300, size=10000)
    one_host.deliveries(300, timeout=60)
    assert time.monotonic() - began < 40


# ---- HAProxy ----


def haproxy(world, address):
    """With the configuration of deploy/, for loopback."""
    program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        pytest.skip("package haproxy is not installed")
    with open(os.path.join(harness.ROOT, "deploy", "haproxy-egress.cfg"), encoding="ascii") as file:
        text = file.read()
    for old, new in (("10.0.0.2:2600", address), ("10.0.0.0/24", "127.0.0.1"), ("25 465 587 24", str(world.mx_port)),
                     ("192.0.2.10 192.0.2.11", f"{world.net}.200.2"), (" 127.0.0.0/8", "")):
        assert old in text, old
        text = text.replace(old, new)
    path = os.path.join(world.dir, "haproxy.cfg")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return world.spawn([program, "-db", "-f", path], "haproxy.log")


def test_haproxy_is_an_egress_too(one_host):
    entry = {"name": "far", "address": f"127.0.0.1:{free_port()}", "protocol": "proxy"}
    proxy = haproxy(one_host, entry["address"])
    relay = relay_with(one_host, entry)
    reached(relay)
    send(relay, 20)
    got = one_host.deliveries(20)
    assert set(by_source(got)) == {"s1", "s2"}
    assert all(d["tls"] for d in got), got
    wait_for("the answers, which come through the proxy", lambda: not relay.waiting(), 20)
    proxy.kill()
    idents = send(relay, 20, "dead")
    assert by_source(one_host.deliveries(40)[20:]) == {"s1": 20}
    assert not [e for i in idents for e in relay.trace(i) if e["type"] == "deferred"]
    haproxy(one_host, entry["address"])
    reached(relay)
    send(relay, 20, "back")
    assert set(by_source(one_host.deliveries(60)[40:])) == {"s1", "s2"}
