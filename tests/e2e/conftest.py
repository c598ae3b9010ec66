"""One world per test (a directory, addresses of its own, DNS, receivers, relays) that leaves nothing behind.

With REMUDA_TEST_LOG=kafka the same tests run on a real broker, one for each worker of xdist; those marked `kafka` are on
a broker either way.

A relay still running at the end is stopped with SIGTERM and must exit 0; nothing that a sanitizer had to say may
stand in its log."""
import os
import re
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.support import harness  # noqa: E402
from tests.support.broker import Broker  # noqa: E402
from tests.support.world import World  # noqa: E402

SANITIZER = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:|assertion failed", re.I)
BACKEND = os.environ.get("REMUDA_TEST_LOG", "embedded")  # where relays keep their log when the test does not say


def pytest_configure(config):
    if BACKEND not in ("embedded", "kafka"):
        raise pytest.UsageError(f"REMUDA_TEST_LOG={BACKEND}: embedded or kafka")
    config.addinivalue_line("markers", "alone: measures time or memory; not beside other tests")
    config.addinivalue_line("markers", "kafka: on a real Kafka broker")
    config.addinivalue_line("markers", "slow: longer than ten seconds")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


def worker_number():
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name[2:]) if name[2:].isdigit() else 0


def finish(world, failed):
    troubles = []
    for relay in world.relays:
        if not relay.process:
            continue
        was_running = relay.process.running()
        relay.process.end()
        code = relay.process.popen.returncode
        if was_running and code != 0 and not failed:
            troubles.append(f"the relay exited {code} after SIGTERM")
        found = SANITIZER.search(relay.process.output())
        if found:
            start = max(0, found.start() - 200)
            troubles.append("sanitizer: " + relay.process.output()[start:start + 4000])
    world.close()
    if failed or troubles:
        for name in ("remuda.yaml", "relay.log", "receivers.jsonl", "dns.log", "receivers.log"):
            path = os.path.join(world.dir, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    harness.loud(f"---- {name}\n" + "".join(file.readlines()[-60:]))
    assert not troubles, "\n".join(troubles)


@pytest.fixture
def world(request, tmp_path):
    on_kafka = BACKEND == "kafka" and not request.node.get_closest_marker("kafka")
    w = World(tmp_path, worker_number(), request.getfixturevalue("worker_broker") if on_kafka else None)
    try:
        yield w
    finally:
        report = getattr(request.node, "report_call", None)
        failed = report is None or report.failed
        try:
            finish(w, failed)
        finally:
            w.close()
            if not failed:
                shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
def program():
    return harness.binary()


@pytest.fixture(scope="session")
def worker_broker(tmp_path_factory):
    b = Broker(tmp_path_factory.mktemp("kafka"))
    yield b
    b.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    b = Broker(tmp_path_factory.mktemp("kafka"))
    yield b
    b.stop()


@pytest.fixture
def prefix(request):
    """Of topics: a test's own."""
    return f"{request.node.name[5:]}-{os.getpid()}"
