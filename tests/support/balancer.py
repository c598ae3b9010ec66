"""HAProxy in front of ingress nodes, with the configuration of deploy/.

    balancer = Balancer(world, {"in1": (smtp_port, health_port), ...}); balancer.send(...); balancer.servers()
"""
import csv
import os
import re
import shutil
import socket

import pytest

from tests.support import harness
from tests.support.harness import free_port, wait_for
from tests.support.world import Relay


class Balancer:
    def __init__(self, world, nodes):
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            pytest.skip("package haproxy is not installed")
        self.port = free_port()
        self.stats = os.path.join(world.dir, "balancer.sock")
        path = os.path.join(world.dir, "balancer.cfg")
        with open(path, "w", encoding="ascii") as file:
            file.write(self.settings(nodes))
        world.spawn([program, "-db", "-f", path], "balancer.log")
        wait_for("the balancer to find its nodes",
                 lambda: os.path.exists(self.stats) and all(s["status"] == "UP" for s in self.servers().values()))

    def settings(self, nodes):
        with open(os.path.join(harness.ROOT, "deploy", "haproxy-ingress.cfg"), encoding="ascii") as file:
            text = file.read()
        head, found = re.subn(r"(?m)^    server .*\n", "", text)
        assert found == 2 and "10.0.0.5:587\n" in head and " port 8026" in head
        head = head.replace("bind 10.0.0.5:587", f"bind 127.0.0.1:{self.port}").replace(" port 8026", "")
        return (f"global\n    stats socket {self.stats}\n\n" + head +
                "    retries 0\n" +  # what is refused is to be seen
                "".join(f"    server {name} 127.0.0.1:{smtp} port {health}\n" for name, (smtp, health) in nodes.items()))

    def servers(self):
        """Name -> HAProxy's figures: status, stot (connections), econ (not connected), eresp (broken), wretr ..."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.stats)
            s.sendall(b"show stat\n")
            text = s.makefile(encoding="ascii").read()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {r["svname"]: r for r in rows if r["pxname"] == "ingress" and r["svname"] != "BACKEND"}

    connect = Relay.connect
    send = Relay.send
    _expect = staticmethod(Relay._expect)
