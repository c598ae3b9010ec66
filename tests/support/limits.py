"""What receivers count: connections of a (source, provider) pair at once, messages of a connection, messages of a pair in
a time and on a day. A limit belongs to a listener, which plays a provider; sources are told apart by their addresses.

    limits = Limits({"mx.p0.test": {"connections": 4, "rate": (5, 20.0, 15)}}, caps={(address, "mx.p0.test"): 150})
    limits.take(entry)             each entry of the receivers' log, in order
    limits.over()                  what was over a limit since the last call
"""
import collections
import re

LIFE = re.compile(r"\.(\w+-life\d+)\.")


class Limits:
    def __init__(self, limits, caps=None):
        """rate: (messages a second, seconds, what may come late on the way and so be counted in the wrong window).
        caps: messages of the first day that was seen; the next may have twice as many."""
        self.limits, self.caps = limits, caps or {}
        self.open = collections.defaultdict(dict)         # (listener, source) -> {peer: node's life, "" unknown}
        self.recent = collections.defaultdict(collections.deque)
        self.days = collections.Counter()                 # (day, source, listener)
        self.first_day = None
        self.peaks = collections.Counter()                # listener -> connections of one source
        self.crowds = []                                  # (time, listener, source, lives of all that were open)
        self.found = []

    def take(self, d):
        limit = self.limits.get(d.get("listener"))
        if not limit:
            return
        source = d["peer"].rsplit(":", 1)[0]
        pair = d["listener"], source
        life = LIFE.search(d.get("helo", ""))
        if life and d["peer"] in self.open[pair]:
            self.open[pair][d["peer"]] = life[1]
        if d["event"] == "connect":
            self.connected(d, pair, limit)
        elif d["event"] == "disconnect":
            self.open[pair].pop(d["peer"], None)
            if d["messages"] > limit.get("messages", d["messages"]):
                self.found.append(f"{d['messages']} messages in a connection of {source} to {d['listener']}")
        elif d["event"] == "delivery":
            self.delivered(d, source, limit)

    def connected(self, d, pair, limit):
        self.open[pair][d["peer"]] = ""
        n = len(self.open[pair])
        self.peaks[d["listener"]] = max(self.peaks[d["listener"]], n)
        if n > limit.get("connections", n):
            self.crowds.append((d["t"], *pair, list(self.open[pair].values()), limit["connections"]))

    def delivered(self, d, source, limit):
        key = int(d["t"] // 86400), source, d["listener"]
        self.first_day = self.first_day or key[0]
        self.days[key] += 1
        cap = self.caps.get((source, d["listener"]))
        if cap and self.days[key] > cap * (2 if key[0] > self.first_day else 1):
            self.found.append(f"message {self.days[key]} of {source} to {d['listener']} on one day, its cap is {cap}")
        if "rate" not in limit:
            return
        per_second, seconds, late = limit["rate"]
        times = self.recent[source, d["listener"]]
        times.append(d["t"])
        while times[0] < d["t"] - seconds:
            times.popleft()
        if len(times) > per_second * seconds + late:
            self.found.append(f"{len(times)} messages of {source} to {d['listener']} in {seconds:g} s")
            times.clear()

    def over(self):
        for t, listener, source, lives, limit in self.crowds:
            counted = [life or "unknown" for life in lives]
            if len(counted) > limit:
                self.found.append(f"{len(counted)} connections of {source} to {listener} at {t:.3f}: {sorted(counted)}")
        found, self.found, self.crowds = self.found, [], []
        return found
