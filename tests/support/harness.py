"""Processes, ports and waiting: what every test that runs real programs needs. Nothing here knows of mail.

Each process started here dies with its starter (PR_SET_PDEATHSIG) and is only ever ended by its own id.
"""
import collections
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PYTHON = "/usr/bin/python3"
RESERVED_MOST = 40  # ports of a process, the ones taken last
_libc = ctypes.CDLL(None, use_errno=True)
_reserved = collections.deque()


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored below a command that a shell runs in the background


def binary(preset=None):
    """The relay's program: $REMUDA_BINARY, else of the preset, else of whichever was built last."""
    if os.environ.get("REMUDA_BINARY") and preset is None:
        return os.environ["REMUDA_BINARY"]
    if preset == "release" and os.environ.get("REMUDA_RELEASE_BINARY"):
        return os.environ["REMUDA_RELEASE_BINARY"]
    presets = [preset] if preset else ["asan", "release"]
    found = [p for p in (os.path.join(ROOT, "build", name, "relay", "remuda") for name in presets)
             if os.path.exists(p)]
    if not found:
        raise FileNotFoundError(f"no remuda of preset {' or '.join(presets)}: cmake --preset X && "
                                "cmake --build --preset X")
    return found[0]


def wait_for(what, check, timeout=15.0, interval=0.05):
    """Calls check until it returns something true, and returns that; AssertionError after timeout."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        time.sleep(interval)


def free_port(addresses=("127.0.0.1",), udp=False, row=1):
    """A port below the ephemeral range that is free on all the addresses now, and that no other test on this machine
    is given before this one has had time to start what listens there. The first of so many in a row."""
    kinds = [socket.SOCK_STREAM, *([socket.SOCK_DGRAM] if udp else [])]
    for _ in range(200):
        first = random.SystemRandom().randrange(12000, 32000)
        ports = range(first, first + row)
        if all(bindable(a, p, k) for p in ports for a in addresses for k in kinds) and all(map(reserved, ports)):
            return first
    raise OSError("no free port")


def reserved(port):
    """Holds a name for it that only one process can have, until as many others were taken as a test may need."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0remuda-test-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved.append(name)
    if len(_reserved) > RESERVED_MOST:
        _reserved.popleft().close()
    return True


def bindable(address, port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as s:
        if kind == socket.SOCK_STREAM:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((address, port))
            return True
        except OSError:
            return False


def answers(address, port):
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


class Process:
    """A child with its output in a file."""

    def __init__(self, argv, log, env=None, prefix=(), **popen):
        self.argv = [str(a) for a in argv]
        self.log = str(log)
        self.file = open(self.log, "ab")
        full = {**os.environ, **(env or {})}
        self.popen = subprocess.Popen([*prefix, *self.argv], stdin=subprocess.DEVNULL, stdout=self.file,
                                      stderr=subprocess.STDOUT, env=full, preexec_fn=_die_with_parent, **popen)
        self.pid = self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.popen.wait()
        self.file.close()

    def stop(self, timeout=40):
        """SIGTERM; returns the exit code. Kills, and says so, when it does not end."""
        self.signal(signal.SIGTERM)
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.argv[0]} did not stop within {timeout} s: {self.tail()}") from None
        self.file.close()
        return code

    def end(self):
        """For clean-up: gone afterwards, whatever it takes."""
        if self.running():
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        if not self.file.closed:
            self.file.close()

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def tail(self, lines=30):
        return "\n".join(self.output().splitlines()[-lines:])


def run(argv, timeout=60, check=False, **popen):
    """A command to its end: CompletedProcess with text output."""
    popen.setdefault("stdin", subprocess.DEVNULL if "input" not in popen else None)
    if popen["stdin"] is None:
        del popen["stdin"]
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, check=check, errors="replace", **popen)


def self_signed(directory, name="mx.test"):
    """A certificate and its key as PEM files."""
    cert, key = os.path.join(directory, name + ".crt"), os.path.join(directory, name + ".key")
    if not os.path.exists(cert):
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=" + name], check=True)
    return cert, key


def memory_kib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def cpu_seconds(pid):
    """User and system time of a process, all its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loud(message):
    print(message, file=sys.stderr, flush=True)
