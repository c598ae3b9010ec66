#!/usr/bin/python3
"""A receiving mail server that plays what it is told to.

One process serves many listeners (each an address that stands for an MX host) and writes one JSON line for
everything that matters: connections, deliveries, refusals. Used by the demo, the end-to-end tests, the crash
test and the benchmarks. Standard library only.

    receiver.py --config FILE      SIGHUP reads the file again, SIGTERM ends

The file is JSON: {"log": PATH or "-", "bodies": DIR or absent, "certificate": PEM, "key": PEM,
"listeners": [{...}, ...]}. A listener's keys, all but address and port optional:

    name, group        for the log; limits count per group (default: the name)
    address, port
    hostname           said in the greeting and the EHLO answer
    pipelining, eight_bit, smtputf8, dsn   extensions offered (default true)
    size               largest message, offered as SIZE; 0: not offered (default 0)
    starttls           "" (default), "offer", "refuse" (454 to STARTTLS), "break" (220, then nonsense)
    require_tls        530 to MAIL before STARTTLS
    greeting           instead of the 220 line; a 4xx or 5xx one closes the connection
    delay              seconds before every answer
    dot_delay          seconds, or [least, most], before the answer to the final dot
    throttle           bytes per second at which the body is read
    connections        [most at once per client address, reply beyond it]
    per_connection     [messages over one connection, reply beyond it]
    most_recipients    in one transaction; 452 4.5.3 beyond (default: any number)
    rate               [messages, seconds, reply beyond it], per client address
    greylist           [seconds, reply], by client address, sender and recipient
    rules              [{"stage": "mail"|"rcpt"|"data"|"dot", "match": REGEX, "reply": "550 5.1.1 ...",
                         "times": N, "share": 0..1, "drop": true}, ...]; the first that matches acts. The
                         expression is tried on the address of the stage (the first recipient for data and
                         dot). times: only the first N matches of each address; share: by chance;
                         drop: no answer, the connection breaks (at "dot": after the body was logged).
"""
import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import signal
import ssl
import sys
import time

LINE_MOST = 4096
ADDRESS = re.compile(rb"^(?:MAIL FROM|RCPT TO):\s*<([^>]*)>\s*(.*)$", re.I)
RELAY_ID = re.compile(rb"\bid\s+([0-9A-Za-z]{26})\b")
REPORT_ID = re.compile(rb"^Message-ID: <([0-9a-z]{26})@", re.I | re.M)  # a report's own, not the original's
TEST_ID = re.compile(rb"^X-Test-Id:[ \t]*([^\r\n]*)", re.I | re.M)


def text(data):
    return data.decode("utf-8", "surrogateescape")


class Log:
    """JSON lines; flushed once per turn of the loop so that a burst costs one write."""

    def __init__(self, path):
        self.file = sys.stdout if path == "-" else open(path, "a", encoding="utf-8", errors="surrogateescape")
        self.pending = False

    def write(self, **fields):
        self.file.write(json.dumps({"t": round(time.time(), 6), **fields}) + "\n")
        if not self.pending:
            self.pending = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self):
        self.pending = False
        self.file.flush()


class Group:
    """What is counted together: the listeners that play one provider."""

    def __init__(self):
        self.open = {}    # client address -> connections now
        self.peak = {}    # client address -> most at once
        self.recent = {}  # client address -> times of messages
        self.grey = {}    # (client address, sender, recipient) -> first seen
        self.hits = {}    # (rule, address) -> matches so far


class Listener:
    def __init__(self, settings, shared):
        self.shared = shared
        self.settle(settings)

    def settle(self, s):
        self.settings = s
        self.name = s.get("name", s["address"])
        self.hostname = s.get("hostname", "mx.test").encode()
        self.group_name = s.get("group", self.name)
        self.group = self.shared.groups.setdefault(self.group_name, Group())
        self.rules = [dict(r, number=i, regex=re.compile(r.get("match", ""))) for i, r in
                      enumerate(s.get("rules", []))]

    def rule(self, stage, address):
        for r in self.rules:
            if r["stage"] != stage or not r["regex"].search(address):
                continue
            if r.get("share") is not None and random.random() >= r["share"]:
                continue
            if r.get("times"):
                key = (r["number"], stage, address)
                self.group.hits[key] = self.group.hits.get(key, 0) + 1
                if self.group.hits[key] > r["times"]:
                    continue
            return r
        return None

    def greylisted(self, client, sender, recipient):
        grey = self.settings.get("greylist")
        if not grey:
            return None
        now = time.monotonic()
        first = self.group.grey.setdefault((client, sender, recipient), now)
        return grey[1] if now - first < grey[0] else None

    def over_rate(self, client):
        rate = self.settings.get("rate")
        if not rate:
            return None
        now = time.monotonic()
        times = self.group.recent.setdefault(client, [])
        times[:] = [t for t in times if now - t < rate[1]]
        if len(times) >= rate[0]:
            return rate[2]
        times.append(now)
        return None


class Session(asyncio.Protocol):
    """One connection. Commands are handled in order; `busy` holds the rest back while an answer is delayed."""

    def __init__(self, listener):
        self.l = listener
        self.transport = None
        self.buffer = bytearray()
        self.in_body = False
        self.scanned = 0
        self.busy = False
        self.tls = ""
        self.helo = ""
        self.messages = 0
        self.counted = False
        self.reset()

    def reset(self):
        self.mail = None
        self.mail_args = ""
        self.rcpts = []
        self.rcpt_args = []

    @property
    def s(self):
        """The listener's settings now: a reload holds for open connections too."""
        return self.l.settings

    # ---- life ----

    def connection_made(self, transport):
        self.transport = transport
        if self.counted:  # the same connection, now under TLS
            self.tls = transport.get_extra_info("ssl_object").version()
            return
        self.counted = True
        peer = transport.get_extra_info("peername")
        self.client, self.peer = peer[0], f"{peer[0]}:{peer[1]}"
        group = self.l.group
        now_open = group.open[self.client] = group.open.get(self.client, 0) + 1
        group.peak[self.client] = max(group.peak.get(self.client, 0), now_open)
        self.log("connect", open=now_open, peak=group.peak[self.client])
        limit = self.s.get("connections")
        if limit and now_open > limit[0]:
            self.log("over-connections", open=now_open)
            return self.answer(limit[1], close=True)
        rule = self.l.rule("connect", self.client)
        if rule and rule.get("drop"):
            return self.transport.abort()
        greeting = self.s.get("greeting") or "220 " + self.l.hostname.decode() + " ESMTP"
        self.answer(greeting, close=greeting[0] in "45")

    def connection_lost(self, why):
        if self.tls == "-":  # the plain transport was handed to TLS
            return
        self.l.group.open[self.client] -= 1
        self.log("disconnect", messages=self.messages, in_body=self.in_body)

    def log(self, event, **fields):
        self.l.shared.log.write(event=event, listener=self.l.name, group=self.l.group_name, peer=self.peer, **fields)

    # ---- answers ----

    def answer(self, reply, close=False, delay=0.0, drop=False):
        delay += self.s.get("delay", 0)
        if delay:
            self.busy = True
            asyncio.get_running_loop().call_later(delay, self.delayed, reply, close, drop)
        else:
            self.say(reply, close, drop)

    def delayed(self, reply, close, drop):
        self.busy = False
        if self.transport.is_closing():
            return
        self.say(reply, close, drop)
        self.work()

    def say(self, reply, close, drop):
        if drop:
            return self.transport.abort()
        self.transport.write(reply.encode("utf-8", "surrogateescape") + b"\r\n")
        if close:
            self.transport.close()

    def ruled(self, stage, address):
        """True when a rule answered for this stage."""
        rule = self.l.rule(stage, address)
        if not rule:
            return False
        reply = rule.get("reply", "")
        self.log("refusal", stage=stage, address=address, reply=reply, helo=self.helo, mail=self.mail)
        self.answer(reply, drop=rule.get("drop", False), close=reply.startswith("421"))
        return True

    # ---- input ----

    def data_received(self, data):
        self.buffer += data
        if not self.busy:
            self.work()

    def work(self):
        while not self.busy and not self.transport.is_closing():
            if self.in_body:
                if not self.body():
                    return
                continue
            end = self.buffer.find(b"\n")
            if end < 0:
                if len(self.buffer) > LINE_MOST:
                    self.answer("500 5.5.2 line too long", close=True)
                return
            line = bytes(self.buffer[:end]).rstrip(b"\r")
            del self.buffer[:end + 1]
            self.command(line)

    def command(self, line):
        verb = line[:4].upper()
        handler = getattr(self, "do_" + verb.decode("ascii", "replace").strip().lower(), None)
        if not handler:
            self.log("unknown-command", line=text(line))
            return self.answer("500 5.5.1 unknown command")
        handler(line)

    def do_helo(self, line):
        self.helo = text(line[5:])
        self.answer("250 " + self.l.hostname.decode())

    def do_ehlo(self, line):
        self.helo = text(line[5:])
        if self.ruled("ehlo", self.helo):
            return
        s = self.s
        words = [self.l.hostname.decode()]
        words += ["PIPELINING"] if s.get("pipelining", True) else []
        words += ["8BITMIME"] if s.get("eight_bit", True) else []
        words += ["SMTPUTF8"] if s.get("smtputf8", True) else []
        words += ["DSN"] if s.get("dsn", True) else []
        words += [f"SIZE {s['size']}"] if s.get("size") else []
        words += ["STARTTLS"] if s.get("starttls") and not self.tls else []
        words += ["ENHANCEDSTATUSCODES"]
        self.answer("\r\n".join("250" + (" " if i == len(words) - 1 else "-") + w for i, w in enumerate(words)))

    def do_star(self, line):
        mode = self.s.get("starttls")
        if mode == "refuse":
            return self.answer("454 4.7.0 TLS not available")
        if not mode or self.tls:
            return self.answer("502 5.5.1 not offered")
        self.transport.write(b"220 2.0.0 go ahead\r\n")
        if mode == "break":
            self.transport.write(b"this is not a TLS record at all\r\n")
            return self.transport.close()
        del self.buffer[:]
        self.busy = True
        self.reset()
        asyncio.ensure_future(self.start_tls())

    async def start_tls(self):
        plain, self.tls = self.transport, "-"
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(plain, self, self.l.shared.tls, server_side=True)
        except (OSError, ssl.SSLError, ConnectionError) as trouble:
            self.tls = ""
            self.log("tls-failed", why=str(trouble))
            plain.abort()
            self.l.group.open[self.client] -= 1
            return
        self.connection_made(transport)
        self.busy = False
        self.work()

    def do_mail(self, line):
        found = ADDRESS.match(line)
        if not found:
            return self.answer("501 5.5.4 syntax")
        if self.s.get("require_tls") and not self.tls:
            return self.answer("530 5.7.0 Must issue a STARTTLS command first")
        sender, args = text(found[1]), text(found[2])
        most = self.s.get("per_connection")
        if most and self.messages >= most[0]:
            self.log("over-messages", messages=self.messages)
            return self.answer(most[1], close=most[1].startswith("421"))
        over = self.l.over_rate(self.client)
        if over:
            self.log("refusal", stage="rate", address=sender, reply=over, helo=self.helo)
            return self.answer(over, close=over.startswith("421"))
        if self.ruled("mail", sender):
            return
        size = re.search(r"SIZE=(\d+)", args, re.I)
        if self.s.get("size") and size and int(size[1]) > self.s["size"]:
            return self.answer("552 5.3.4 message too big")
        self.mail, self.mail_args = sender, args
        self.answer("250 2.1.0 ok")

    def do_rcpt(self, line):
        found = ADDRESS.match(line)
        if self.mail is None or not found:
            return self.answer("503 5.5.1 MAIL first" if self.mail is None else "501 5.5.4 syntax")
        recipient = text(found[1])
        grey = self.l.greylisted(self.client, self.mail, recipient)
        if grey:
            self.log("refusal", stage="greylist", address=recipient, reply=grey, helo=self.helo, mail=self.mail)
            return self.answer(grey)
        if self.ruled("rcpt", recipient):
            return
        if self.s.get("most_recipients") and len(self.rcpts) >= self.s["most_recipients"]:
            return self.answer("452 4.5.3 too many recipients")
        self.rcpts.append(recipient)
        self.rcpt_args.append(text(found[2]))
        self.answer("250 2.1.5 ok")

    def do_data(self, line):
        if not self.rcpts:
            return self.answer("554 5.5.1 no valid recipients" if self.mail is not None else "503 5.5.1 MAIL first")
        if self.ruled("data", self.rcpts[0]):
            return
        self.in_body, self.scanned = True, 0
        self.answer("354 go ahead")

    def body(self):
        """True when the whole body has been taken from the buffer and answered."""
        if self.buffer.startswith(b".\r\n"):
            end, skip = 0, 3
        else:
            end, skip = self.buffer.find(b"\r\n.\r\n", max(0, self.scanned - 5)), 5
            if end < 0:
                self.throttle(len(self.buffer) - self.scanned)
                self.scanned = len(self.buffer)
                return False
        data = bytes(self.buffer[:end + 2 if skip == 5 else 0])
        del self.buffer[:end + skip]
        self.in_body = False
        self.finish(data)
        return True

    def throttle(self, got):
        speed = self.s.get("throttle")
        if speed and got > 0:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(got / speed, self.transport.resume_reading)

    def finish(self, data):
        if data.startswith(b"."):
            data = data[1:]
        data = data.replace(b"\r\n.", b"\r\n")
        rule = self.l.rule("dot", self.rcpts[0])
        dropped = bool(rule and rule.get("drop"))
        reply = rule.get("reply", "") if rule else "250 2.0.0 taken"
        if self.s.get("size") and len(data) > self.s["size"]:
            reply = "552 5.3.4 message too big"
        self.messages += 1
        self.record(data, reply, dropped)
        self.reset()
        delay = self.s.get("dot_delay", 0)
        if isinstance(delay, list):
            delay = random.uniform(*delay)
        self.answer(reply, delay=delay, drop=dropped, close=reply.startswith("421"))

    def record(self, data, reply, dropped):
        found = TEST_ID.search(data)
        relay_id = RELAY_ID.search(data, 0, 2000) if self.mail else REPORT_ID.search(data, 0, 2000)
        fields = {"id": text(relay_id[1])} if relay_id else {}
        bodies = self.l.shared.bodies
        if bodies:
            fields["body"] = os.path.join(bodies, f"{time.time_ns()}-{random.getrandbits(32):08x}.eml")
            with open(fields["body"], "wb") as file:
                file.write(data)
        accepted = not dropped and reply.startswith("2")
        self.log("delivery" if accepted else ("dropped" if dropped else "refused-body"),
                 helo=self.helo, mail=self.mail, mail_args=self.mail_args, rcpts=self.rcpts,
                 rcpt_args=self.rcpt_args, sha256=hashlib.sha256(data).hexdigest(), size=len(data),
                 test_id=text(found[1]).strip() if found else "", tls=self.tls, number=self.messages, reply=reply,
                 bare=data.count(b"\n") != data.count(b"\r\n") or data.count(b"\r") != data.count(b"\r\n"), **fields)

    def do_rset(self, line):
        self.reset()
        self.answer("250 2.0.0 ok")

    def do_noop(self, line):
        self.answer("250 2.0.0 ok")

    def do_quit(self, line):
        self.answer("221 2.0.0 bye", close=True)


class Shared:
    def __init__(self, path):
        self.path = path
        self.groups = {}
        self.listeners = []
        self.log = None
        self.tls = None

    def read(self):
        with open(self.path, encoding="utf-8") as file:
            return json.load(file)

    async def start(self):
        config = self.read()
        self.log = Log(config.get("log", "-"))
        self.bodies = config.get("bodies")
        if config.get("certificate"):
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(config["certificate"], config["key"])
        loop = asyncio.get_running_loop()
        for settings in config["listeners"]:
            listener = Listener(settings, self)
            self.listeners.append(listener)
            await loop.create_server(lambda chosen=listener: Session(chosen), settings["address"], settings["port"],
                                     backlog=1024)
        self.log.write(event="ready", listeners=len(self.listeners))

    def reload(self):
        for listener, settings in zip(self.listeners, self.read()["listeners"]):
            listener.settle(settings)
        self.log.write(event="reloaded")


async def serve(path):
    shared = Shared(path)
    await shared.start()
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    loop.add_signal_handler(signal.SIGHUP, shared.reload)
    await done.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    asyncio.run(serve(parser.parse_args().config))


if __name__ == "__main__":
    main()
