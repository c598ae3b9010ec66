"""A relay and its internet on loopback: DNS, receivers, configuration. The tests say what differs from the
defaults, start it, send, and look at what arrived.

    world.host("mx1", greylist=[2, "451 4.7.1 Greylisted"])   a receiver, with tests/support/receiver.py's keys
    world.domain("a.test", "mx1")                              its MX records
    relay = world.relay()                                      starts all, waits until it is ready
    relay.send("s@sender.test", ["r@a.test"], message("x"))    returns the id after 250
    world.deliveries(1)                                        waits for one delivery, returns the log's entries
"""
import http.client
import json
import os
import shutil
import signal
import smtplib
import socket
import time
import urllib.error
import urllib.request

from tests.support import harness, settings
from tests.support.harness import PYTHON, ROOT, Process, free_port, wait_for

SUPPORT = os.path.join(ROOT, "tests", "support")


def message(test_id="", size=0, subject="test", extra=(), text="Hello.\r\n"):
    """A message with CRLF line ends; size pads its text to about that many bytes."""
    head = [f"From: s@sender.test", "To: r@a.test", f"Subject: {subject}",
            "Date: Mon, 02 Jan 2023 10:00:00 +0000", f"Message-ID: <{test_id or 'x'}@sender.test>"]
    head += [f"X-Test-Id: {test_id}"] if test_id else []
    head += list(extra)
    data = ("\r\n".join(head) + "\r\n\r\n" + text).encode("utf-8", "surrogateescape")
    line = b"0123456789" * 7 + b"\r\n"
    return data + line * max(0, (size - len(data)) // len(line))


def dsn(recipient, status="5.1.1", action="failed", diagnostic="550 5.1.1 no such user here"):
    """A report that a message to the recipient came to nothing."""
    return "\r\n".join([
        "From: MAILER-DAEMON@far.test", "Subject: Undelivered Mail", "Auto-Submitted: auto-replied",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b", "", "--b", "", "It failed.",
        "--b", "Content-Type: message/delivery-status", "", "Reporting-MTA: dns; far.test", "",
        f"Final-Recipient: rfc822; {recipient}", f"Action: {action}", f"Status: {status}",
        f"Diagnostic-Code: smtp; {diagnostic}", "", "--b", "Content-Type: text/rfc822-headers", "",
        "From: shop@sender.test", "", "--b--", ""]).encode()


class Entries(list):
    """Log entries of a receiver, with filters."""

    def of(self, **wanted):
        return Entries(e for e in self if all(e.get(k) == v for k, v in wanted.items()))


class Relay:
    def __init__(self, world, config, program=None, env=None, prefix=()):
        self.world = world
        self.dir = world.dir
        self.config = config
        self.program = program or harness.binary()
        self.env = env or {}
        self.prefix = prefix
        self.path = os.path.join(self.dir, "remuda.yaml")
        self.port = int(config["listeners"][0]["address"].rsplit(":", 1)[1])
        self.admin = config["admin"]["address"]
        self.process = None
        self.log = os.path.join(self.dir, "relay.log")
        self.write()

    def write(self, **overrides):
        """The configuration file anew, with overrides merged into it."""
        self.config = settings.merge(self.config, overrides)
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(self.config, file, indent=1)

    def launch(self):
        """Starts the process and does not wait. On the main thread: it dies with the thread that starts it."""
        self.process = Process([self.program, "run", "--config", self.path], self.log, self.env, self.prefix)

    def start(self, timeout=30):
        self.launch()
        wait_for("the relay to be ready", self.is_ready, timeout, 0.02)
        if self.config.get("log", {}).get("prefix") in self.world.prefixes.values():
            wait_for("the group to give the relay all partitions", self.owns_all, 60, 0.1)
        return self

    def owns_all(self):
        """On Kafka it is ready before: a killed one's partitions come when its session has ended."""
        if not self.process.running():
            raise AssertionError(f"the relay ended with {self.process.popen.returncode}:\n{self.process.tail()}")
        try:
            return self.metric("remuda_partitions_owned") >= self.config["log"]["partitions"]
        except (OSError, http.client.HTTPException):
            return False  # it ends just now

    def is_ready(self):
        if not self.process.running():
            raise AssertionError(f"the relay ended with {self.process.popen.returncode}:\n{self.process.tail()}")
        return self.http("/readyz", quiet=True) is not None

    def stop(self, timeout=60):
        code = self.process.stop(timeout)
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.process.tail()}"

    def kill(self):
        self.process.kill()

    def wipe(self):
        """As if it had never run: its data directory goes, and on Kafka it gets other topics."""
        data = self.config["node"]["data"]
        shutil.rmtree(data)
        if self.world.prefixes.pop(data, None):
            self.write(log={"prefix": self.world.topics(data)})

    def http(self, path, quiet=False):
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as answer:
                return answer.read().decode()
        except (OSError, urllib.error.URLError):
            if quiet:
                return None
            raise

    def cli(self, *args, **more):
        return harness.run([self.program, *args], **more)

    def trace(self, ident):
        """The events of a message, oldest first; [] while nothing is known."""
        text = self.http(f"/v1/trace/{ident}", quiet=True)
        return json.loads(text)["events"] if text else []

    def event(self, ident, kind, timeout=15.0):
        """Waits for an event of this type."""
        def look():
            return [e for e in self.trace(ident) if e["type"] == kind]
        return wait_for(f"event {kind} of {ident}", look, timeout, 0.1)[-1]

    def queue(self):
        return json.loads(self.http("/v1/queue"))

    def waiting(self):
        """Submissions that are not done."""
        return settings.waiting(self.queue())

    def metric(self, name, **labels):
        """Sum of a metric's samples that carry the labels."""
        total = 0.0
        for line in self.http("/metrics").splitlines():
            if not line.startswith(name) or line[len(name)] not in "{ ":
                continue
            if all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def connect(self, port=None, **options):
        return smtplib.SMTP("127.0.0.1", port or self.port, local_hostname="client.test", timeout=30, **options)

    def send(self, sender, recipients, data, mail_options=(), rcpt_options=(), client=None):
        """One message; the id that the 250 names. SMTPResponseException when it is refused anywhere."""
        own = client is None
        client = client or self.connect()
        try:
            client.ehlo_or_helo_if_needed()
            self._expect(client.docmd("MAIL", " ".join([f"FROM:<{sender}>", *mail_options])), 250)
            for r in recipients:
                self._expect(client.docmd("RCPT", " ".join([f"TO:<{r}>", *rcpt_options])), 250)
            return self._expect(client.data(data), 250).rsplit(" ", 1)[-1]
        finally:
            if own:
                client.close()

    @staticmethod
    def _expect(answer, code):
        if answer[0] != code:
            raise smtplib.SMTPResponseException(*answer)
        return answer[1].decode()

    def raw(self, port=None, greeting=True):
        """A bare socket to the listener, as a line file: (socket, file)."""
        s = socket.create_connection(("127.0.0.1", port or self.port), timeout=20)
        f = s.makefile("rb")
        if greeting:
            assert f.readline().startswith(b"220")
        return s, f


class World:
    """With a broker (tests/support/broker.py) the relays keep their log on Kafka unless a test chooses their backend;
    those of one data directory, one after another, share topics as they would share files."""

    def __init__(self, directory, number=0, broker=None):
        self.dir = str(directory)
        self.broker = broker
        self.prefixes = {}
        self.number = number
        self.net = f"127.{100 + number}"
        self.mx_port = free_port([f"{self.net}.1.1", f"{self.net}.1.2"])
        self.dns_port = free_port(udp=True)
        self.listeners = []
        self.zone = {}
        self.processes = []
        self.receivers = None
        self.dns = None
        self.relays = []
        self.log = os.path.join(self.dir, "receivers.jsonl")

    # ---- the internet ----

    def host(self, name, address=None, **options):
        """A receiver at its own address, with an A record; may be called again to change its options."""
        fqdn = name if "." in name else f"{name}.mx.test"
        for l in self.listeners:
            if l["name"] == name:
                l.update(options)
                self.reload_receivers()
                return l["address"]
        address = address or f"{self.net}.1.{len(self.listeners) + 1}"
        self.listeners.append({"name": name, "address": address, "port": self.mx_port, "hostname": fqdn, **options})
        self.zone[fqdn] = [("AAAA" if ":" in address else "A", address)]
        return address

    def domain(self, name, *hosts):
        """MX records: "mx1" or ("mx1", preference); preferences rise by 10 unless given."""
        records = []
        for i, h in enumerate(hosts):
            host, preference = h if isinstance(h, tuple) else (h, 10 * (i + 1))
            records.append(("MX", preference, host if "." in host else f"{host}.mx.test"))
        self.zone[name] = records
        if self.dns:
            self.write_zone()

    def records(self, name, *records):
        """Any records: ("A", "192.0.2.1"), ("MX", 0, "."), ("SERVFAIL",)."""
        self.zone[name] = list(records)
        if self.dns:
            self.write_zone()

    def write_zone(self):
        settings.write_zone(os.path.join(self.dir, "zone"), self.zone)
        if self.dns:
            before = self.dns.output().count("loaded ")
            self.dns.signal(signal.SIGHUP)
            wait_for("the DNS server's reload", lambda: self.dns.output().count("loaded ") > before)

    def start(self):
        """DNS and receivers, once."""
        if self.receivers:
            return
        self.write_zone()
        self.dns = self.spawn([PYTHON, os.path.join(SUPPORT, "dnsserver.py"), *settings.dns_arguments(
            os.path.join(self.dir, "zone"), self.dns_port)], "dns.log")
        self.write_receivers()
        self.receivers = self.spawn([PYTHON, os.path.join(SUPPORT, "receiver.py"), "--config",
                                     os.path.join(self.dir, "receivers.json")], "receivers.log")
        wait_for("the receivers", lambda: self.entries().of(event="ready"))
        wait_for("the DNS server", lambda: harness.answers("127.0.0.1", self.dns_port))

    def write_receivers(self):
        cert, key = harness.self_signed(self.dir)
        bodies = os.path.join(self.dir, "bodies")
        os.makedirs(bodies, exist_ok=True)
        with open(os.path.join(self.dir, "receivers.json"), "w", encoding="utf-8") as file:
            json.dump({"log": self.log, "bodies": bodies, "certificate": cert, "key": key,
                       "listeners": self.listeners}, file)

    def reload_receivers(self):
        if not self.receivers:
            return
        before = len(self.entries().of(event="reloaded"))
        self.write_receivers()
        self.receivers.signal(signal.SIGHUP)
        wait_for("the receivers' reload", lambda: len(self.entries().of(event="reloaded")) > before)

    def spawn(self, argv, log, **more):
        process = Process(argv, os.path.join(self.dir, log), **more)
        self.processes.append(process)
        return process

    # ---- the relay ----

    def relay(self, start=True, program=None, env=None, prefix=(), **overrides):
        self.start()
        config = settings.merge(settings.default(self), overrides)
        if self.broker and "backend" not in config["log"] and "roles" not in config["node"]:
            config["log"] = {**config["log"], **self.broker.log(self.topics(config["node"]["data"]))}
        relay = Relay(self, config, program, env, prefix)
        self.relays.append(relay)
        return relay.start() if start else relay

    def topics(self, data):
        """The prefix of the topics that belong to a data directory. A later test may get a directory of this name."""
        name = os.path.basename(self.dir).replace("_", "-")
        return self.prefixes.setdefault(data, f"{name}-{os.urandom(4).hex()}")

    # ---- what came of it ----

    def entries(self):
        try:
            with open(self.log, encoding="utf-8") as file:
                return Entries(json.loads(line) for line in file if line.endswith("\n"))
        except FileNotFoundError:
            return Entries()

    def deliveries(self, n=1, timeout=20.0, **wanted):
        """Waits until there are n deliveries that fit; fails when there are more."""
        def look():
            found = self.entries().of(event="delivery", **wanted)
            return found if len(found) >= n else None
        found = wait_for(f"{n} deliveries {wanted or ''}", look, timeout, 0.1) if n else \
            self.entries().of(event="delivery", **wanted)
        assert len(found) == n, f"{len(found)} deliveries instead of {n}: {found}"
        return found

    def body(self, delivery):
        with open(delivery["body"], "rb") as file:
            return file.read()

    def quiet(self, seconds=0.5):
        time.sleep(seconds)

    def close(self):
        for relay in self.relays:
            if relay.process:
                relay.process.end()
        for process in reversed(self.processes):
            process.end()
