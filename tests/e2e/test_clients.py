"""Mail of real clients arrives byte for byte at real servers."""
import os
import shutil
import subprocess

import pytest

from tests.support import mailers, settings
from tests.support.harness import free_port, run, wait_for

TRICKY = (
    "From: Sender <s@sender.test>\r\nTo: r@a.test\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
    "Message-ID: <tricky-{name}@sender.test>\r\nDate: Mon, 02 Jan 2023 10:00:00 +0000\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    "X-Folded: one\r\n\ttwo \r\n  three\r\nX-Test-Id: {name}\r\n\r\n"
    "Grüße, 8 bit. \r\n.\r\n..\r\n.leading dot\r\n\r\n   spaces at the end   \r\n\ttab\r\nFrom here on\r\n"
    "From the start of a line\r\n" + "x" * 980 + "\r\n" + "~" * 500 + "\r\n\r\n\r\nend\r\n"
).encode()


def missing(name):
    if name in ("postfix", "exim") and os.geteuid() != 0:
        return "needs root"
    if name == "postfix" and not os.path.exists("/usr/lib/postfix/sbin/master"):
        return "package postfix is not installed"
    if name == "exim" and not os.path.exists(os.path.join(mailers.BESIDE, "usr/sbin/exim4")):
        return "package exim4-daemon-light is not unpacked below build/beside"
    if name in ("swaks", "msmtp", "curl") and not shutil.which(name):
        return f"package {name} is not installed"
    if name == "nodemailer":
        env = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}
        if not shutil.which("node") or subprocess.run(["node", "-e", "require('nodemailer')"], env=env, check=False,
                                                      stderr=subprocess.DEVNULL).returncode:
            return "package node-nodemailer is not installed"
    return None


@pytest.mark.parametrize("client", mailers.CLIENTS)
@pytest.mark.parametrize("server", mailers.SERVERS)
def test_byte_for_byte(world, client, server):
    for name in (client, server):
        if missing(name):
            pytest.skip(f"{name}: {missing(name)}")
    address = f"{world.net}.3.1"
    world.records("real.mx.test", ("A", address))
    world.domain("real.test", "real")
    relay = world.relay()
    taker = mailers.SERVERS[server](world.dir, address, world.mx_port)
    try:
        data = TRICKY.replace(b"{name}", client.encode())
        path = os.path.join(world.dir, "message")
        with open(path, "wb") as file:
            file.write(data)
        done = mailers.CLIENTS[client](path, relay.port, "s@sender.test", ["r@real.test"])
        assert done is None or done.returncode == 0, done.stdout + done.stderr
        taken = wait_for(f"the message at {server}", taker.taken, 30)
        assert len(taken) == 1
        sent = data.replace(b"\r\n", b"\n")
        arrived = taken[0].replace(b"\r\n", b"\n")
        if not arrived.endswith(sent):
            with open(os.path.join(world.dir, "arrived"), "wb") as file:
                file.write(arrived)
        assert arrived.endswith(sent), f"changed on its way; see {world.dir}/arrived"
        assert arrived.count(b"Message-ID:") == 1
    finally:
        taker.stop()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("client", mailers.CLIENTS)
def test_login_under_tls(world, program, client, tls):
    """The same clients as strangers that log in, with STARTTLS and with TLS from the start."""
    if missing(client):
        pytest.skip(missing(client))
    world.host("mx1")
    world.domain("real.test", "mx1")
    port = free_port()
    hashed = run([program, "hash-password"], input="correct horse\n", check=True).stdout.strip()
    world.relay(listeners=[settings.listener(port, tls=tls, auth=True, require_tls=True)],
                tenants=[settings.tenant("acme", networks=[], domains=["acme.test"],
                                         users=[{"name": "joe", "password_hash": hashed}])])
    data = TRICKY.replace(b"{name}", client.encode())
    path = os.path.join(world.dir, "message")
    with open(path, "wb") as file:
        file.write(data)
    send = mailers.CLIENTS[client]
    done = send(path, port, "s@acme.test", ["r@real.test"], ("joe", "correct horse", tls))
    assert done is None or done.returncode == 0, done.stdout + done.stderr
    arrived = world.body(world.deliveries(1)[0])
    assert arrived.endswith(data)
    assert b"with ESMTPSA" in arrived.split(b"\r\n\r\n")[0].replace(b"\r\n\t", b" ")
    if client != "smtplib":
        assert send(path, port, "s@acme.test", ["r@real.test"], ("joe", "wrong", tls)).returncode
        world.deliveries(1)
