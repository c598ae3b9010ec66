"""Sources on other hosts: a relay, and the node that carries their connections."""
import collections
import copy
import json
import os
import socket

from tests.support import settings
from tests.support.harness import Process, free_port, wait_for
from tests.support.world import message

SECRET = "a secret of the workers and the egress, for tests"


def reached(relay):
    """Waits until every shard of the relay that had missed the egress has it back."""
    def seen():
        last = {line.split("shard=")[1].split()[0]: "egress.up" in line
                for line in relay.process.output().splitlines() if " egress." in line and "shard=" in line}
        return relay.metric("remuda_egress_up", egress="far") == 1 and all(last.values())
    wait_for("the egress to be seen", seen, 25)


class Egress:
    """`remuda egress` with the relay's configuration under a node name of its own."""

    def __init__(self, world, relay, name="far", program=None, **overrides):
        """relay: whose configuration it has, but for the overrides."""
        self.world, self.relay, self.name = world, relay, name
        self.program = program or relay.program
        self.path = os.path.join(world.dir, name + ".yaml")
        self.log = os.path.join(world.dir, name + ".log")
        self.admin = f"127.0.0.1:{free_port()}"
        self.write(**overrides)
        self.start()

    def write(self, **overrides):
        config = copy.deepcopy(self.relay.config)
        config["node"] = {**config["node"], "name": self.name, "drain": "2s", "data": "/nowhere"}
        config["admin"] = {"address": self.admin}
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(settings.merge(config, overrides), file, indent=1)

    def start(self):
        self.process = Process([self.program, "egress", "--config", self.path], self.log)
        self.world.processes.append(self.process)
        wait_for("the egress", lambda: self.http("/readyz"))

    def reached(self):
        reached(self.relay)
        return self

    def http(self, path):
        assert self.process.running(), self.process.tail()
        address, port = self.admin.split(":")
        try:
            with socket.create_connection((address, int(port)), timeout=5) as s:
                s.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                answer = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        except OSError:
            return None
        return answer.split("\r\n\r\n", 1)[1] if answer.split(" ", 2)[1] == "200" else None

    def metric(self, start):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.http("/metrics").splitlines()
                   if line.startswith(start))


def egress(world, port=None, **options):
    path = os.path.join(world.dir, "secret")
    with open(path, "w", encoding="ascii") as file:
        file.write(SECRET + "\n")
    return {"name": "far", "address": f"127.0.0.1:{port or free_port()}", "secret_file": path,
            "ports": [str(world.mx_port)], "allow_local": True, **options}


def relay_with(world, entry, far=(2,), near=(1,), **overrides):
    sources = [settings.source(world.net, n) for n in near] + \
        [settings.source(world.net, n, egress=entry["name"]) for n in far]
    fast = settings.provider("mxtest", ".mx.test", messages_per_connection=2, rate="10000/s")
    return world.relay(egresses=[entry], sources=sources, providers=[fast],
                       pools=[settings.pool("main", *(s["name"] for s in sources))], **overrides)


def send(relay, n, prefix="m", size=0):
    client = relay.connect()
    return [relay.send("s@sender.test", ["r@a.test"], message(f"{prefix}{i}", size), client=client) for i in range(n)]


def by_source(deliveries):
    """Who said EHLO, and that it came from the address of the same source."""
    for d in deliveries:
        assert d["peer"].rsplit(":", 1)[0].rsplit(".", 1)[1] == d["helo"][1:].split(".")[0], d
    return collections.Counter(d["helo"].split(".")[0] for d in deliveries)
