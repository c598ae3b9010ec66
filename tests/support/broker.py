"""A real Kafka broker on loopback (deploy/kafka/broker)."""
import ctypes
import os
import subprocess

from tests.support import harness
from tests.support.harness import ROOT, free_port

BROKER = os.path.join(ROOT, "deploy", "kafka", "broker")


class Broker:
    """One broker for all tests of a file; each test has topics of its own."""

    def __init__(self, directory, *more, port=None, env=None):
        self.dir = str(directory)
        self.port = port or free_port(row=2)
        self.more = more
        self.env = {**os.environ, **(env or {})}
        self.start()

    def start(self):
        subprocess.run([BROKER, "start", self.dir, str(self.port), *self.more], check=True, timeout=240, env=self.env,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def stop(self):
        subprocess.run([BROKER, "stop", self.dir], check=True, timeout=60)

    @property
    def pid(self):
        with open(os.path.join(self.dir, "pid"), encoding="ascii") as file:
            return int(file.read())

    def log(self, prefix, **more):
        return {"backend": "kafka", "brokers": [f"127.0.0.1:{self.port}"], "prefix": prefix, **more}

    def forget_group(self, name):
        """As when its committed offsets have expired. False while it has members."""
        lib, why = ctypes.CDLL("librdkafka.so.1"), ctypes.create_string_buffer(200)
        pointer = ctypes.c_void_p

        def call(function, *args, returns=pointer):
            f = getattr(lib, f"rd_kafka_{function}")
            f.restype, f.argtypes = returns, None
            return f(*args)
        conf = pointer(call("conf_new"))
        call("conf_set", conf, b"bootstrap.servers", f"127.0.0.1:{self.port}".encode(), why, len(why))
        client = pointer(call("new", 0, conf, why, len(why)))
        queue = pointer(call("queue_new", client))
        group = (pointer * 1)(call("DeleteGroup_new", name.encode()))
        call("DeleteGroups", client, group, 1, None, queue, returns=None)
        event = pointer(call("queue_poll", queue, 20000))
        n = ctypes.c_size_t()
        results = call("DeleteGroups_result_groups", pointer(call("event_DeleteGroups_result", event)),
                       ctypes.byref(n), returns=ctypes.POINTER(pointer))
        error = call("group_result_error", pointer(results[0]))
        code = call("error_code", pointer(error), returns=ctypes.c_int) if error else 0
        call("event_destroy", event, returns=None)
        call("DeleteGroup_destroy", pointer(group[0]), returns=None)
        call("queue_destroy", queue, returns=None)
        call("destroy", client, returns=None)
        assert code in (0, 68), code  # 68: NON_EMPTY_GROUP
        return code == 0

    def configure(self, topic, setting):
        subprocess.run(["java", "-cp", os.path.join(ROOT, "build", "kafka", "lib", "*"), "kafka.admin.ConfigCommand",
                        "--bootstrap-server", f"127.0.0.1:{self.port}", "--alter", "--entity-type", "topics",
                        "--entity-name", topic, "--add-config", setting], check=True, timeout=120,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kcat(self, *args):
        return harness.run(["kcat", "-b", f"127.0.0.1:{self.port}", *args], check=True).stdout
