"""What README.md tells other mailers to do, done: its own text, with only the relay's address put in."""
import os
import re
import sys

import pytest

from tests.e2e.test_clients import missing
from tests.support import harness, mailers, settings
from tests.support.harness import ROOT, free_port

SENDER, RECIPIENT = "app@acme.example", "r@a.test"


def snippet(name, port):
    """The block that follows the line which begins with the name in bold."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        found = re.search(rf"^\*\*{name}\*\*.*?```\w*\n(.*?)```", file.read(), re.M | re.S)
    return found.group(1).replace("relay.example.net", "127.0.0.1").replace("587", str(port))


@pytest.fixture
def relay(world):
    """Takes mail only with the README's login, under TLS."""
    world.host("mx1")
    world.domain("a.test", "mx1")
    port = free_port()
    made = world.relay(start=False)
    hashed = made.cli("hash-password", input="password\n", check=True).stdout.strip()
    tenant = settings.tenant("acme", networks=[], domains=["acme.example"],
                             users=[{"name": "acme", "password_hash": hashed}])
    made.write(listeners=[{"address": f"127.0.0.1:{port}", "tls": "starttls", "auth": True, "require_tls": True}],
               tenants=[tenant])
    made.port = port
    return made.start()


def arrives(world, relay):
    world.deliveries(1)
    assert relay.metric("remuda_accepted_messages_total", tenant="acme") == 1


def hand_over(port):
    """To the mailer under test, which forwards it."""
    done = harness.run(["swaks", "--server", "127.0.0.1", "--port", port, "--from", SENDER, "--to", RECIPIENT])
    assert done.returncode == 0, done.stdout


def need(*names):
    for name in names:
        if missing(name):
            pytest.skip(f"{name}: {missing(name)}")


def test_postfix(world, relay):
    need("postfix", "swaks")
    port = free_port()
    lines = dict(line.split(" = ", 1) for line in snippet("Postfix", relay.port).splitlines())
    postfix = mailers.Postfix(world.dir, "127.0.0.1", port, {
        **lines, "smtpd_relay_restrictions": "permit_mynetworks, reject"})
    try:
        hand_over(port)
        arrives(world, relay)
    finally:
        postfix.stop()


class ForwardingExim(mailers.Exim):
    def __init__(self, directory, address, port, text):
        parts = dict(re.findall(r"# begin (\w+)\n(.*?)(?=\n# begin|\Z)", text, re.S))
        head = mailers.Exim.CONFIG.split("begin routers")[0]
        # Exim would not send to the machine that it runs on, where the relay of this test is.
        self.CONFIG = "domainlist local_domains = @\n" + head + "".join(
            f"begin {name}\n{part.replace('{', '{{').replace('}', '}}')}\n" + ("  self = send\n" * (name == "routers"))
            for name, part in parts.items()) + "begin retry\n* * F,1h,1s\n"
        super().__init__(directory, address, port)


def test_exim(world, relay):
    need("exim", "swaks")
    port = free_port()
    exim = ForwardingExim(world.dir, "127.0.0.1", port, snippet("Exim", relay.port))
    try:
        hand_over(port)
        arrives(world, relay)
    finally:
        exim.stop()


def test_msmtp(world, relay):
    need("msmtp")
    path = os.path.join(world.dir, "msmtprc")
    with open(path, "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write(snippet("msmtp", relay.port))
    done = harness.run(["msmtp", "-C", path, "--tls-certcheck=off", RECIPIENT], input="Subject: x\n\nhello\n")
    assert done.returncode == 0, done.stderr
    arrives(world, relay)


def test_application(world, relay):
    script = "message = 'Subject: x\\n\\nhello\\n'\n" + snippet("An application", relay.port)
    done = harness.run([sys.executable, "-c", script.replace("someone@example.org", RECIPIENT)])
    assert done.returncode == 0, done.stderr
    arrives(world, relay)
