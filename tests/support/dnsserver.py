#!/usr/bin/python3
"""A DNS server for tests and the demo: UDP and TCP, one zone for all names, nothing but the standard library.

    dnsserver.py [--log] [--listen ADDRESS:PORT] ZONE...

Port 0 picks one. The first line of output is "listening ADDRESS:PORT"; after each SIGHUP, which reads the
zone files again, comes "loaded N records". With --log each question is a line "query NAME TYPE udp|tcp".

A zone file has one record a line; "#" and ";" begin comments; names are absolute, the final dot is optional:

    $TTL 300                          seconds of the records that follow (default 300)
    $NEGATIVE 60                      minimum of the SOA sent with negative answers; 0: no SOA at all
    example.test       MX 10 mx1.example.test
    example.test  30   MX 20 mx2.example.test        a TTL of its own
    null.test          MX 0 .
    mx1.example.test   A 127.0.0.1
    mx1.example.test   AAAA ::1
    example.test       TXT v=spf1 -all
    www.example.test   CNAME example.test            followed inside the zone
    alias.test         DANGLE example.test           a CNAME alone, its target left to the asker
    *.wild.test        MX 10 mx1.example.test        any name below wild.test that is not itself in the zone

and what a server may do instead of answering, for all types of a name or only the one given:

    dead.test          NXDOMAIN
    bad.test           SERVFAIL [TYPE]
    no.test            REFUSED [TYPE]
    gone.test          DROP [TYPE]                   no answer at all
    big.test           TRUNCATE [TYPE]               over UDP an empty answer with TC
    slow.test          DELAY 500 [TYPE]              milliseconds before the answer

Names that are not in the zone, nor above one that is, get NXDOMAIN.
"""
import argparse
import heapq
import ipaddress
import selectors
import signal
import socket
import struct
import sys
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
ACTIONS = ("NXDOMAIN", "SERVFAIL", "REFUSED", "DROP", "TRUNCATE", "DELAY")
RCODES = {"SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}
UDP_PLAIN = 512


def normal(name):
    return name.lower().rstrip(".")


def wire_name(name):
    name = normal(name)
    labels = name.split(".") if name else []
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def wire_data(kind, words):
    if kind == "A":
        return ipaddress.IPv4Address(words[0]).packed
    if kind == "AAAA":
        return ipaddress.IPv6Address(words[0]).packed
    if kind == "MX":
        return struct.pack("!H", int(words[0])) + wire_name(words[1])
    if kind in ("CNAME", "NS", "PTR"):
        return wire_name(words[0])
    if kind == "TXT":
        text = " ".join(words).strip('"').encode()
        parts = [text[i:i + 255] for i in range(0, len(text), 255)] or [b""]
        return b"".join(bytes([len(part)]) + part for part in parts)
    raise ValueError("unknown type " + kind)


class Zone:
    def __init__(self, paths):
        self.names = {}  # name -> {type: [(ttl, data, target)]}
        self.actions = {}  # name -> [(action, type or None, milliseconds)]
        self.parents = set()
        self.negative = 60
        self.count = 0
        for path in paths:
            with open(path, encoding="utf-8") as lines:
                self.read(path, lines)

    def read(self, path, lines):
        ttl = 300
        for number, line in enumerate(lines, 1):
            words = line.split("#")[0].split(";")[0].split()
            if not words:
                continue
            try:
                if words[0] == "$TTL":
                    ttl = int(words[1])
                elif words[0] == "$NEGATIVE":
                    self.negative = int(words[1])
                else:
                    self.add(normal(words[0]), words[1:], ttl)
            except (ValueError, IndexError) as trouble:
                raise SystemExit(f"{path}:{number}: {trouble}") from trouble

    def add(self, name, words, ttl):
        if words[0].isdigit():
            ttl, words = int(words[0]), words[1:]
        kind, words = words[0].upper(), words[1:]
        self.count += 1
        records = self.names.setdefault(name, {})
        labels = name.split(".")
        self.parents.update(".".join(labels[i:]) for i in range(1, len(labels)))
        if kind in ACTIONS:
            wait = int(words.pop(0)) if kind == "DELAY" else 0
            only = words[0].upper() if words else None
            self.actions.setdefault(name, []).append((kind, only, wait))
            return
        dangle = kind == "DANGLE"
        kind = "CNAME" if dangle else kind
        target = normal(words[0]) if kind == "CNAME" and not dangle else None
        records.setdefault(kind, []).append((ttl, wire_data(kind, words), target))

    def find(self, name):
        """The zone's own name for it: itself, a wildcard, or None."""
        if name in self.names:
            return name
        labels = name.split(".")
        for i in range(1, len(labels)):
            above = ".".join(labels[i:])
            if "*." + above in self.names:
                return "*." + above
            if above in self.names:
                return None
        return None


class Answer:
    def __init__(self):
        self.rcode = 0
        self.records = []  # (owner, type, ttl, data)
        self.delay = 0.0
        self.drop = self.truncate = False


def resolve(zone, name, kind):
    answer = Answer()
    seen = set()
    while name not in seen:
        seen.add(name)
        found = zone.find(name)
        for action, only, wait in zone.actions.get(found, []):
            if only not in (None, kind):
                continue
            if action == "DELAY":
                answer.delay += wait / 1000
            elif action == "DROP":
                answer.drop = True
            elif action == "TRUNCATE":
                answer.truncate = True
            else:
                answer.rcode = RCODES[action]
                return answer
        if found is None:
            answer.rcode = 0 if name in zone.parents else RCODES["NXDOMAIN"]
            return answer
        alias = zone.names[found].get("CNAME")
        if not alias or kind == "CNAME":
            answer.records += [(name, kind, ttl, data) for ttl, data, _ in zone.names[found].get(kind, [])]
            return answer
        ttl, data, target = alias[0]
        answer.records.append((name, "CNAME", ttl, data))
        if target is None:
            return answer
        name = target
    return answer


def parse_question(packet):
    """(id, flags, name, type number, end of the question, size the asker takes over UDP)"""
    ident, flags, questions, _, _, additional = struct.unpack("!6H", packet[:12])
    if questions != 1 or flags & 0x8000:
        raise ValueError("not a question")
    at, labels = 12, []
    while packet[at]:
        length = packet[at]
        labels.append(packet[at + 1:at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    kind, _ = struct.unpack("!2H", packet[at + 1:at + 5])
    end = at + 5
    size = UDP_PLAIN
    if additional and packet[end] == 0 and struct.unpack("!H", packet[end + 1:end + 3])[0] == 41:
        size = max(UDP_PLAIN, struct.unpack("!H", packet[end + 3:end + 5])[0])
    return ident, flags, ".".join(labels), kind, end, size


def encode(record):
    owner, kind, ttl, data = record
    return wire_name(owner) + struct.pack("!2HIH", TYPES[kind], 1, ttl, len(data)) + data


def build(zone, packet, udp):
    """(reply or None, delay in seconds, line for the log)"""
    ident, flags, name, kind, end, size = parse_question(packet)
    kind_name = TYPE_NAMES.get(kind, str(kind))
    answer = resolve(zone, normal(name), kind_name)
    line = f"query {normal(name)} {kind_name} {'udp' if udp else 'tcp'}"
    if answer.drop:
        return None, answer.delay, line
    dangling = answer.records and answer.records[-1][1] == "CNAME" and kind_name != "CNAME" and not answer.rcode
    authority = []
    if zone.negative and answer.rcode in (0, 3) and not dangling and \
            not any(record[1] == kind_name for record in answer.records):
        soa = wire_name("ns.invalid") + wire_name("root.invalid") + struct.pack(
            "!5I", 1, 3600, 600, 86400, zone.negative)
        authority = [("", "SOA", zone.negative * 2, soa)]  # the minimum governs (RFC 2308)
    body = b"".join(encode(record) for record in answer.records + authority)
    out_flags = 0x8080 | (flags & 0x0100) | answer.rcode
    counts = (1, len(answer.records), len(authority), 0)
    if udp and (answer.truncate or 12 + end + len(body) > size):
        out_flags, body, counts = out_flags | 0x0200, b"", (1, 0, 0, 0)
    return struct.pack("!6H", ident, out_flags, *counts) + packet[12:end] + body, answer.delay, line


class Server:
    def __init__(self, options):
        self.paths, self.log = options.zone, options.log
        self.zone = Zone(self.paths)
        self.select = selectors.DefaultSelector()
        self.later = []  # (when, serial, send function, bytes)
        self.serial = 0
        self.reload = False
        host, _, port = options.listen.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.tcp, self.udp = self.open(family, host, int(port))
        self.select.register(self.udp, selectors.EVENT_READ, self.on_udp)
        self.select.register(self.tcp, selectors.EVENT_READ, self.on_accept)
        print("listening %s:%d" % self.udp.getsockname()[:2], flush=True)

    @staticmethod
    def open(family, host, port):
        for _ in range(50):  # a free TCP port may be taken for UDP
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            tcp.listen(64)
            udp = socket.socket(family, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname()[:2])
                return tcp, udp
            except OSError:
                tcp.close()
                udp.close()
                if port:
                    raise
        raise SystemExit("no free port")

    def answer(self, packet, udp, send):
        try:
            reply, delay, line = build(self.zone, packet, udp)
        except (ValueError, IndexError, struct.error):
            return
        if self.log:
            print(line, flush=True)
        if reply is None:
            return
        if delay:
            self.serial += 1
            heapq.heappush(self.later, (time.monotonic() + delay, self.serial, send, reply))
        else:
            send(reply)

    def on_udp(self, sock):
        packet, peer = sock.recvfrom(4096)
        self.answer(packet, True, lambda reply: sock.sendto(reply, peer))

    def on_accept(self, sock):
        conn, _ = sock.accept()
        conn.settimeout(2)
        buffer = bytearray()
        self.select.register(conn, selectors.EVENT_READ, lambda c: self.on_tcp(c, buffer))

    def on_tcp(self, conn, buffer):
        try:
            data = conn.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.select.unregister(conn)
            conn.close()
            return
        buffer += data

        def send(reply):
            try:
                conn.sendall(struct.pack("!H", len(reply)) + reply)
            except OSError:
                pass

        while len(buffer) >= 2 and len(buffer) >= 2 + struct.unpack("!H", buffer[:2])[0]:
            length = struct.unpack("!H", buffer[:2])[0]
            packet = bytes(buffer[2:2 + length])
            del buffer[:2 + length]
            self.answer(packet, False, send)

    def run(self):
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "reload", True))
        self.select.register(wake_read, selectors.EVENT_READ, lambda sock: sock.recv(64))
        while True:
            wait = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
            for key, _ in self.select.select(wait):
                key.data(key.fileobj)
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, send, reply = heapq.heappop(self.later)
                send(reply)
            if self.reload:
                self.reload = False
                self.zone = Zone(self.paths)
                print(f"loaded {self.zone.count} records", flush=True)


def main():
    parser = argparse.ArgumentParser(description="A DNS server for tests.", epilog="The zone syntax stands in "
                                     "the head of this file.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDRESS:PORT")
    parser.add_argument("--log", action="store_true", help="print each question")
    parser.add_argument("zone", nargs="+", help="zone files")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Server(options).run()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
