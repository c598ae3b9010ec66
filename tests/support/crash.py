"""What the crash tests share: senders that remember what got its 250, the relay's lives, and the count by message
in the end.

Each life of the relay has a number that its sources' EHLO names carry, so the receivers' log says which life a
delivery came from, even when a receiver reads it after that life has ended. Allowed is then (I2): a submission
delivered in several lives, once in each, when in every one but the last its event had no time to become durable,
and only the last one told of it. A partition's events become durable in their order, so: no event of that life and
partition is known that was made more than `slack` seconds after the receiver had the final dot.
"""
import asyncio
import bisect
import collections
import json
import os
import re
import threading
import time

from tests.support import harness
from tests.support.world import message

# Those of `remuda migrate` alone (tests/e2e/test_migrate.py).
MIGRATE_POINTS = {"transfer-abroad", "migrate-lists", "migrate-learned", "migrate-end"}
LIFE = re.compile(r"\.life(\d+)\.")


class Load:
    """Senders in a thread of their own; what got its 250 is in accepted."""

    def __init__(self, port, senders, rng, domains, sizes, pause=0.03):
        self.port, self.senders, self.rng = port, senders, rng
        self.domains, self.sizes, self.pause = domains, sizes, pause
        self.accepted = {}  # test id -> (relay's id, recipients)
        self.size = {}      # test id -> bytes asked for
        self.unknown = 0    # dot given, no answer seen
        self.refused = 0    # 4xx to the dot
        self.longest = 0.0  # wait for the answer to the dot, in seconds
        self.trouble = None
        self.stopping = False
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopping = True
        self.thread.join(60)
        if self.trouble:
            raise AssertionError(self.trouble)

    async def run(self):
        await asyncio.gather(*(self.sender() for _ in range(self.senders)))

    async def sender(self):
        while not self.stopping:
            try:
                await asyncio.wait_for(self.session(), 60)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                await asyncio.sleep(0.02)

    async def session(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        try:
            await self.reply(reader)
            writer.write(b"EHLO client.test\r\n")
            await self.reply(reader)
            for _ in range(200):
                if self.stopping:
                    return
                await self.one(reader, writer)
                await asyncio.sleep(self.rng.uniform(0, self.pause))
        finally:
            writer.close()

    @staticmethod
    async def reply(reader):
        while True:
            line = await reader.readuntil(b"\n")
            if line[3:4] != b"-":
                return line

    async def one(self, reader, writer):
        test_id = f"c{len(self.size) + 1}"
        self.size[test_id] = self.rng.choice(self.sizes)
        recipients = self.recipients()
        envelope = [b"MAIL FROM:<s@sender.test>"] + [b"RCPT TO:<%s>" % r.encode() for r in recipients] + [b"DATA"]
        writer.write(b"\r\n".join(envelope) + b"\r\n")
        answers = [await self.reply(reader) for _ in envelope]
        if not answers[-1].startswith(b"354"):
            if not answers[-1].startswith(b"4"):
                self.trouble = f"refused: {answers}"
            writer.write(b"RSET\r\n")
            await self.reply(reader)
            return
        writer.write(self.text(test_id) + b".\r\n")
        await writer.drain()
        began = time.monotonic()
        try:
            answer = await self.reply(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.unknown += 1
            raise
        self.longest = max(self.longest, time.monotonic() - began)
        if answer.startswith(b"250"):
            self.accepted[test_id] = (answer.split()[-1].decode(), recipients)
        else:
            self.refused += 1

    def text(self, test_id):
        return message(test_id, size=self.size[test_id])

    def recipients(self):
        who = [f"r@{self.rng.choice(self.domains)}"]
        if self.rng.random() < 0.2:
            who += [f"q@{self.rng.choice(self.domains)}", f"p@{self.rng.choice(self.domains)}"]
        if self.rng.random() < 0.1:
            who.append("gone@fast.test")
        return list(dict.fromkeys(who))


class Lives:
    """Starts and kills of one relay."""

    def __init__(self, relay):
        self.relay = relay
        self.began = {}  # life -> before its start
        self.ended = {}  # life -> just before its kill

    def start(self, env=None):
        life = len(self.began) + 1
        sources = [{**s, "ehlo": f"{s['name']}.life{life}.relay.test"} for s in self.relay.config["sources"]]
        self.relay.write(sources=sources)
        self.relay.env = env or {}
        self.began[life] = time.time()
        self.relay.start(60)

    def kill(self):
        self.ended[len(self.began)] = time.time()
        self.relay.kill()

    def start_to_die(self, point, timeout):
        """Starts it with a crash point armed; True when it died there in time. It is dead afterwards."""
        life, alive = len(self.began) + 1, True
        try:
            self.start({"REMUDA_CRASH_AT": point})
        except AssertionError:
            if self.relay.process.popen.returncode != -9:
                raise
        end = time.monotonic() + timeout
        while alive and time.monotonic() < end:
            alive = self.relay.process.running()
            time.sleep(0.005)
        self.ended[life] = time.time() - (0 if alive else 0.005)
        self.relay.kill()
        return not alive


def points_of(program):
    """The crash points of a build; none when it has none."""
    listed = harness.run([program, "crash-points"])
    return {line.split()[0] for line in listed.stdout.splitlines()} if listed.returncode == 0 else set()


def drain(relay, timeout=180):
    harness.wait_for("an empty queue", lambda: relay.waiting() == 0, timeout, 0.5)
    time.sleep(1)
    harness.wait_for("an empty queue", lambda: relay.waiting() == 0, 60, 0.5)


class Arrivals:
    """The receivers' log, read on. Each body is compared with what was sent, and deleted."""

    def __init__(self, world, load):
        self.world, self.load = world, load
        self.place = 0
        self.found = collections.defaultdict(list)  # (test id, recipient or "bounce") -> deliveries
        self.damaged = []

    def read(self):
        with open(self.world.log, encoding="utf-8", errors="surrogateescape") as file:
            file.seek(self.place)
            while (line := file.readline()).endswith("\n"):
                self.place += len(line.encode("utf-8", "surrogateescape"))
                self.take(json.loads(line))

    def take(self, d):
        body = d.pop("body", None)
        if body:
            if d["event"] == "delivery" and d["mail"] != "":
                self.compare(d, body)
            os.unlink(body)
        if d["event"] != "delivery":
            return
        for r in (["bounce"] if d["mail"] == "" else d["rcpts"]):
            self.found[d["test_id"], r].append(self.item(d))

    def item(self, d):
        """What is kept of a delivery."""
        life = LIFE.search(d["helo"])
        return int(life[1]) if life else 0, d["t"], d.get("id")

    def compare(self, d, body):
        with open(body, "rb") as file:
            if not file.read().endswith(self.load.text(d["test_id"])):
                self.damaged.append((d["test_id"], d["size"]))


def all_events(relay):
    for partition in range(relay.config["log"]["partitions"]):
        since = 0
        while True:
            text = relay.http(f"/v1/events?partition={partition}&since={since}&limit=2000")
            events = [json.loads(line) for line in text.splitlines()]
            if not events:
                break
            yield from ((partition, e) for e in events)
            since = events[-1]["offset"] + 1


class Told:
    """What the relay's durable history says."""

    def __init__(self, relay):
        self.final = collections.defaultdict(list)  # (id, recipient) -> (time, type, partition)
        self.times = collections.defaultdict(list)  # partition -> times of all its events, sorted
        for partition, e in all_events(relay):
            at = e["time_ms"] / 1000
            self.times[partition].append(at)
            if e["type"] in ("delivered", "bounced", "expired"):
                for r in e.get("recipients", []):
                    if r["state"] != "pending":
                        self.final[e["id"], r["address"]].append((at, e["type"], partition))
        for times in self.times.values():
            times.sort()

    def last_before(self, partition, time_s):
        """Time of the last event of the partition before time_s."""
        times = self.times[partition]
        at = bisect.bisect_left(times, time_s)
        return times[at - 1] if at else 0.0


class Verdict:
    def __init__(self):
        self.lost, self.troubles, self.duplicates, self.recipients = [], [], 0, 0
        self.windows = []  # of duplicates: seconds from the final dot at the receiver to the kill

    def trouble(self, text):
        self.troubles.append(text[:190])


    def window(self, share):
        """The seconds that this share of the duplicates do not exceed."""
        return sorted(self.windows)[int(share * (len(self.windows) - 1))] if self.windows else 0.0


def judge_repeated(verdict, key, deliveries, lives, told_until, slack):
    """deliveries of one submission, sorted by life; told_until(time): the last event of its partition before."""
    verdict.duplicates += len(deliveries) - 1
    for first, second in zip(deliveries, deliveries[1:]):
        told = " ".join(f"life{life}@{t:.3f}" for life, t, _ in deliveries)
        if first[0] == second[0]:
            verdict.trouble(f"twice in one life: {key} {told}")
            continue
        if first[2] != second[2]:
            verdict.trouble(f"two messages, not one message twice: {key} {first[2]} {second[2]}")
        killed = lives.ended[first[0]]
        verdict.windows.append(killed - first[1])
        later = told_until(killed) - first[1]
        if later > slack:
            verdict.trouble(f"again although events {later:.2f} s later were durable: {key} {told}")


def judge_deliveries(verdict, found, told, lives, slack):
    for (test_id, r), deliveries in found.items():
        deliveries.sort()
        address = "s@sender.test" if r == "bounce" else r
        events = [e for e in told.final.get((deliveries[0][2], address), []) if e[1] == "delivered"]
        if len(events) != 1:
            verdict.trouble(f"delivered, and events tell {events}: {test_id} {r} {deliveries[0][2]}")
        partition = events[0][2] if events else 0
        judge_repeated(verdict, f"{test_id} {r}", deliveries, lives,
                       lambda t, p=partition: told.last_before(p, t), slack)
        last = deliveries[-1][0]
        if events and min(events)[0] < lives.began[last] - 0.01:
            verdict.trouble(f"again in life {last} after an event of an earlier one: {test_id} {r} {deliveries[0][2]}")


def judge_account(verdict, *relays):
    """The relay's own account (remuda audit mail) has nothing to say, and all partitions in it."""
    done = relays[0].cli("audit", "mail", "--json", "--admin", ",".join(r.admin for r in relays))
    account = json.loads(done.stdout)
    for e in account["exceptions"]:
        verdict.trouble(f"account: {e}")
    if done.returncode != 0 and not account["exceptions"]:
        verdict.trouble(f"account: {done.stderr} {[p for p in account['partitions'] if p['state'] != 'judged']}")


def judge(arrivals, relay, lives, slack=0.5):
    """The count by message. The relay runs, its queue is empty."""
    arrivals.read()
    told, load, verdict = Told(relay), arrivals.load, Verdict()
    for test_id, (ident, recipients) in load.accepted.items():
        for r in recipients:
            verdict.recipients += 1
            key = (test_id, "bounce" if r.startswith("gone@") else r)
            if not arrivals.found.get(key):
                verdict.lost.append((ident, *key))
            if len(told.final.get((ident, r), [])) != 1:
                verdict.trouble(f"{ident} {r}: final events {told.final.get((ident, r))}")
    judge_deliveries(verdict, arrivals.found, told, lives, slack)
    for item in arrivals.damaged:
        verdict.trouble(f"text differs from what was sent: {item}")
    judge_account(verdict, relay)
    return verdict
