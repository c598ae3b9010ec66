"""Real Kafka brokers, nodes of different roles that share topics, a wire that can be cut, and the count by message.

    kafka = Quorum(directory); kafka.log("prefix", partitions=6)     three brokers (tests/support/broker.py: one)
    cluster = Cluster(world, kafka, "prefix"); cluster.node("w1", "delivery", "admin")
    Wire([port, ...])                                                a proxy in front of brokers
    judge(...)                                                       accepted = delivered + bounced + waiting
"""
import asyncio
import collections
import json
import os
import re
import subprocess
import threading
import time

from tests.support import crash, harness, settings
from tests.support.broker import BROKER
from tests.support.harness import free_port, wait_for

UNTOLD_S = 3.0  # from a final dot to the durable event, at most, while nothing is wrong


class Quorum:
    """Three brokers, numbered 1 to 3. wire: they also listen for those who come through self.wire."""

    def __init__(self, directory, wire=False):
        self.dir = str(directory)
        self.port = free_port(row=6)
        self.ports = {n: self.port + 2 * n - 2 for n in (1, 2, 3)}
        self.wire = None
        self.run("quorum", self.dir, str(self.port))
        if wire:
            self.listen_for_wire()

    def run(self, *args):
        subprocess.run([BROKER, *args], check=True, timeout=300, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def listen_for_wire(self):
        """A broker tells its clients where all brokers are, so those behind the wire need a listener of their own."""
        inner = {n: free_port() for n in self.ports}
        self.wire = Wire(list(inner.values()))
        for n, port in self.ports.items():
            self.stop(n)
            with open(os.path.join(self.dir, str(n), "server.properties"), "a", encoding="ascii") as file:
                file.write(f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1},"
                           f"WIRE://127.0.0.1:{inner[n]}\n"
                           f"advertised.listeners=PLAINTEXT://127.0.0.1:{port},WIRE://127.0.0.1:{self.wire.at[inner[n]]}\n"
                           "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,WIRE:PLAINTEXT\n")
            self.start(n)

    def start(self, n):
        self.run("start", os.path.join(self.dir, str(n)))

    def run_all(self, numbers):
        """Starts several at once: one alone may find no majority."""
        threads = [threading.Thread(target=self.start, args=(n,)) for n in numbers]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def stop(self, n=None):
        if n is None and self.wire:
            self.wire.close()
        self.run("stop", os.path.join(self.dir, str(n)) if n else self.dir)

    def pid(self, n):
        with open(os.path.join(self.dir, str(n), "pid"), encoding="ascii") as file:
            return int(file.read())

    def kill(self, n):
        os.kill(self.pid(n), 9)

    def brokers(self, wire=False):
        ports = self.wire.at.values() if wire else self.ports.values()
        return [f"127.0.0.1:{port}" for port in ports]

    def log(self, prefix, wire=False, **more):
        return {"backend": "kafka", "brokers": self.brokers(wire), "prefix": prefix, **more}

    def kcat(self, *args):
        return harness.run(["kcat", "-b", ",".join(self.brokers()), *args], check=True).stdout

    def leaders(self, topic):
        """Partition -> the broker that leads it."""
        found = re.findall(r"partition (\d+), leader (-?\d+)", self.kcat("-L", "-t", topic))
        return {int(p): int(leader) for p, leader in found}

    def in_sync(self, topic):
        """Whether all three have all of it."""
        return [len(x.split(",")) for x in re.findall(r"isrs: ([\d,]+)", self.kcat("-L", "-t", topic))]


class Wire:
    """A TCP proxy in a thread: one port for each given. While cut, everything stays on the way and nothing is closed,
    as in a network that swallows packets."""

    def __init__(self, ports):
        self.at = {port: free_port() for port in ports}
        self.loop = asyncio.new_event_loop()
        self.flows = asyncio.Event()
        self.servers = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        ready = threading.Event()
        self.loop.call_soon(lambda: asyncio.ensure_future(self.listen(ready)))
        self.thread.start()
        ready.wait(10)

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def listen(self, ready):
        self.flows.set()
        for port, at in self.at.items():
            self.servers.append(await asyncio.start_server(lambda r, w, p=port: self.carry(r, w, p), "127.0.0.1", at))
        ready.set()

    async def carry(self, reader, writer, port):
        await self.flows.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self):
        self.loop.call_soon_threadsafe(self.flows.clear)

    def mend(self):
        self.loop.call_soon_threadsafe(self.flows.set)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


class Cluster:
    """Nodes that share topics; each has its own directory, ports and roles. They send from the same sources, whose
    EHLO names say which node it was and in which of its lives: s1.w2-life3.relay.test."""

    def __init__(self, world, kafka, prefix, partitions=4, **config):
        self.world, self.kafka, self.prefix = world, kafka, prefix
        self.partitions, self.config = partitions, config
        self.nodes = {}
        world.start()

    def node(self, name, *roles, start=True, log=None, **overrides):
        directory = os.path.join(self.world.dir, name)
        os.makedirs(directory, exist_ok=True)
        over = settings.merge({**self.config, "node": {
            "name": name, "data": os.path.join(directory, "data"), "roles": list(roles), "drain": "5s", "shards": 1},
            "log": {**self.kafka.log(self.prefix), "partitions": self.partitions, **(log or {})},
            "listeners": [settings.listener(free_port())],
            "admin": {"address": f"127.0.0.1:{free_port()}"}}, overrides)
        relay = self.world.relay(start=False, **over)
        relay.dir = directory
        relay.path = os.path.join(directory, "remuda.yaml")
        relay.log = os.path.join(directory, "relay.log")
        relay.name, relay.life = name, 0
        relay.write()
        self.nodes[name] = relay
        if start:
            self.start(name)
        return relay

    def start(self, name, wait=True):
        """The node's next life."""
        relay = self.nodes[name]
        relay.life += 1
        relay.write(sources=[{**s, "ehlo": f"{s['name']}.{name}-life{relay.life}.relay.test"}
                             for s in relay.config["sources"]])
        if wait:
            relay.start(60)
        else:
            relay.launch()

    def shares(self, *names):
        """Partitions that each node owns."""
        return {n: int(self.nodes[n].metric("remuda_partitions_owned")) for n in names}

    def await_shares(self, *names, timeout=60):
        """Until these own all, evenly."""
        def even():
            try:
                shares = self.shares(*names)
            except OSError:
                return None
            return sum(shares.values()) == self.partitions and max(shares.values()) - min(shares.values()) <= 1
        wait_for(f"{' and '.join(names)} to share the partitions", even, timeout, 0.2)


class Load(crash.Load):
    """Senders over several listeners, each connection over the next one, as a balancer would."""

    def __init__(self, ports, *args, **more):
        self.ports, self.turn = list(ports), 0
        super().__init__(0, *args, **more)

    @property
    def port(self):
        self.turn += 1
        return self.ports[self.turn % len(self.ports)]

    @port.setter
    def port(self, unused):
        pass


class Interruption:
    """A time in which a node may have lost what it had not made durable: it was killed, frozen, cut off, or gave its
    partitions up."""

    def __init__(self, node, began, ended):
        self.node, self.began, self.ended = node, began, ended


HELO = re.compile(r"\.(\w+-life\d+)\.")


class Arrivals(crash.Arrivals):
    """Each delivery as (time, node's life, id). limits: tests/support/limits.py, or None."""

    def __init__(self, world, load, limits=None):
        super().__init__(world, load)
        self.limits = limits

    def take(self, d):
        if self.limits:
            self.limits.take(d)
        super().take(d)

    def item(self, d):
        who = HELO.search(d["helo"])
        return d["t"], who[1] if who else d["helo"], d.get("id")


class Account:
    """Of the messages accepted so far: what each recipient's came to. Those settled are looked at no more."""

    def __init__(self, arrivals, load, admin, cluster):
        self.arrivals, self.load, self.admin, self.cluster = arrivals, load, admin, cluster
        self.told = collections.defaultdict(list)  # (id, recipient) -> [(time, type, node)]
        self.owner = {}                            # (partition, epoch) -> node
        self.since = collections.Counter()         # partition -> first event not read
        self.open = {}                             # (test id, recipient) -> id
        self.seen = set()
        self.trouble = []
        self.judged = set()

    def read(self):
        self.arrivals.read()
        for partition in range(self.admin.config["log"]["partitions"]):
            self.read_events(partition)
        for test_id, (ident, recipients) in self.load.accepted.copy().items():
            if test_id not in self.seen:
                self.seen.add(test_id)
                self.open.update({(test_id, r): ident for r in recipients})
        for key, ident in list(self.open.items()):
            if self.arrived(key) and self.told.get((ident, key[1])):
                del self.open[key]
        return self.open

    def arrived(self, key):
        return self.arrivals.found.get((key[0], "bounce" if key[1].startswith("gone@") else key[1]))

    def read_events(self, partition):
        while True:
            text = self.admin.http(f"/v1/events?partition={partition}&since={self.since[partition]}&limit=2000")
            events = [json.loads(line) for line in text.splitlines()]
            if not events:
                return
            self.since[partition] = events[-1]["offset"] + 1
            for e in events:
                if e["type"] in ("delivered", "bounced", "expired"):
                    for r in e.get("recipients", []):
                        if r["state"] != "pending":
                            self.told[e["id"], r["address"]].append(
                                (e["time_ms"] / 1000, e["type"], self.node_of(partition, e.get("epoch", 0))))

    def node_of(self, partition, epoch):
        """Who had the partition in that epoch, as the nodes tell in their logs."""
        if (partition, epoch) not in self.owner:
            for name, node in self.cluster.nodes.items():
                with open(node.log, encoding="utf-8", errors="replace") as file:
                    for p, e in re.findall(r"partition\.gained partition=(\d+) epoch=(\d+)", file.read()):
                        self.owner[int(p), int(e)] = name
        return self.owner.setdefault((partition, epoch), "")

    def duplicates(self, interruptions):
        """Those not judged yet, each with the interruption that explains it (I2), or a trouble."""
        found = []
        for key, deliveries in self.arrivals.found.items():
            deliveries.sort()
            for first, second in zip(deliveries, deliveries[1:]):
                if (key, second) in self.judged:
                    continue
                self.judged.add((key, second))
                why = self.explain(first, key, interruptions)
                found.append((key, first, second, why))
                if not why:
                    self.trouble.append(f"twice, and nothing explains it: {key} {first} {second}")
                elif first[2] != second[2]:
                    self.trouble.append(f"two messages, not one twice: {key} {first} {second}")
        return found

    def explain(self, first, key, interruptions):
        """The interruption of the first one's node before which its event was not durable, or None."""
        at, life, ident = first
        own = [t for t, kind, node in self.told.get((ident, "s@sender.test" if key[1] == "bounce" else key[1]), [])
               if kind == "delivered" and node == life.split("-")[0] and t > at - 1]
        for i in interruptions:
            if life == i.node and at <= i.ended + 1 and (min(own) > i.began - 1 if own else at > i.began - UNTOLD_S):
                return i
        return None


