"""What operators do: check, start, reload, stop, restart, look; and how the relay is installed."""
import json
import os
import re
import shutil
import signal
import ssl
import time

import pytest

from tests.support import harness, settings
from tests.support.harness import ROOT, free_port, wait_for
from tests.support.mailers import BESIDE
from tests.support.world import message


@pytest.fixture
def lab(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    return world


# ---- configuration ------------------------------------------------------------------------------------------------

BROKEN = {
    "unknown key": ({"node": {"nmae": "x"}}, r"nmae"),
    "source in two pools": ({"pools": [settings.pool("main", "s1"), settings.pool("b", "s1")]}, r"s1"),
    "unknown source": ({"pools": [settings.pool("main", "nosuch")]}, r"nosuch"),
    "unknown pool": ({"tenants": [settings.tenant("t", pools=["nosuch"])]}, r"nosuch"),
    "not a number": ({"node": {"shards": "many"}}, r"many"),
    "not an address": ({"listeners": [{"address": "nowhere"}]}, r"nowhere"),
    "two sources of a name": ({"sources": [settings.source("127.9", 1), settings.source("127.8", 1)]}, r"s1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_configuration_is_refused_with_its_place(world, name):
    over, named = BROKEN[name]
    relay = world.relay(start=False)
    relay.write(**over)
    for verb in ("check", "run"):
        done = relay.cli(verb, "--config", relay.path)
        said = done.stdout + done.stderr
        assert done.returncode == 3, said
        assert re.search(re.escape(relay.path) + r":\d+:\d+: .*" + named, said), said


def test_good_configuration_passes(world):
    relay = world.relay(start=False)
    done = relay.cli("check", "--config", relay.path)
    assert done.returncode == 0, done.stderr
    absent = relay.cli("check", "--config", relay.path + ".absent")
    assert absent.returncode == 3
    assert absent.stderr == f"{relay.path}.absent: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("name", ["remuda.yaml", "remuda.installed.yaml", "demo/remuda.yaml"])
def test_shipped_configurations_pass(program, name, tmp_path):
    """deploy/up puts the hash of its test login where @TEST_HASH@ stands."""
    hashed = harness.run([program, "hash-password"], input="test\n", check=True).stdout.strip()
    shutil.copytree(os.path.join(ROOT, "deploy"), tmp_path / "deploy", ignore=shutil.ignore_patterns("run"))
    path = tmp_path / "deploy" / name
    path.write_text(path.read_text(encoding="utf-8").replace("@TEST_HASH@", hashed), encoding="utf-8")
    done = harness.run([program, "check", "--config", path])
    assert done.returncode == 0, done.stdout + done.stderr


def test_usage(program):
    assert harness.run([program, "--help"]).returncode == 0
    verbs = harness.run([program, "--help"]).stdout
    for verb in ("run", "check", "trace", "queue", "explain", "hash-password", "version"):
        assert verb in verbs
        assert harness.run([program, verb, "--help"]).returncode == 0
    assert harness.run([program, "nonsense"]).returncode == 2
    assert harness.run([program, "trace"]).returncode == 2
    assert harness.run([program, "version"]).stdout.strip()


def test_generated_pages_are_current(program):
    for words, page in ((["config", "document"], "CONFIG.md"), (["metrics", "document"], "METRICS.md"),
                        (["cli", "document"], "CLI.md")):
        with open(os.path.join(ROOT, "docs", page), encoding="utf-8") as file:
            assert harness.run([program, *words]).stdout == file.read(), f"docs/{page}: remuda {' '.join(words)}"


# ---- reload -------------------------------------------------------------------------------------------------------

def test_reload_takes_a_new_source(lab):
    relay = lab.relay()
    relay.send("s@sender.test", ["r@a.test"], message("before"))
    lab.deliveries(1)
    relay.write(sources=[settings.source(lab.net, 9)], pools=[settings.pool("main", "s9")])
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="ok") == 1)
    relay.send("s@sender.test", ["r@a.test"], message("after"))
    assert lab.deliveries(1, test_id="after")[0]["helo"] == "s9.relay.test"


def test_reload_of_a_broken_file_changes_nothing(lab):
    relay = lab.relay()
    with open(relay.path, encoding="utf-8") as file:
        good = file.read()
    with open(relay.path, "w", encoding="utf-8") as file:
        file.write(good.replace('"pools"', '"poools"', 1))
    relay.process.signal(signal.SIGHUP)
    wait_for("the refusal", lambda: re.search(re.escape(relay.path) + r":\d+:\d+", relay.process.output()))
    relay.send("s@sender.test", ["r@a.test"], message("still"))
    lab.deliveries(1)
    assert relay.is_ready()


def test_reload_keeps_open_sessions(lab):
    relay = lab.relay()
    client = relay.connect()
    client.ehlo()
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total") >= 1)
    relay.send("s@sender.test", ["r@a.test"], message("open"), client=client)
    lab.deliveries(1)


def served_certificate(relay):
    """What the listener shows after STARTTLS, as DER."""
    client = relay.connect()
    client.starttls(context=ssl._create_unverified_context())
    der = client.sock.getpeercert(binary_form=True)
    client.quit()
    return der


def test_reload_takes_a_new_certificate(lab):
    """Under the same names, as certbot and the like leave them; what does not load changes nothing."""
    paths = [os.path.join(lab.dir, name) for name in ("live.crt", "live.key")]

    def install(name):
        for made, live in zip(harness.self_signed(lab.dir, name), paths):
            shutil.copy(made, live)
    install("one.test")
    relay = lab.relay(node={"certificate": paths[0], "key": paths[1]},
                      listeners=[settings.listener(free_port(), tls="starttls")])
    first = served_certificate(relay)
    install("two.test")
    assert served_certificate(relay) == first
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="ok") == 1)
    second = served_certificate(relay)
    assert second != first
    with open(paths[0], "w", encoding="ascii") as file:
        file.write("no certificate\n")
    relay.process.signal(signal.SIGHUP)
    wait_for("the refusal", lambda: relay.metric("remuda_config_reloads_total", result="refused") == 1)
    assert "live.crt" in relay.process.output()
    assert served_certificate(relay) == second


# ---- stop and start -----------------------------------------------------------------------------------------------

def test_stop_finishes_what_runs(lab):
    lab.host("mx1", dot_delay=2)
    relay = lab.relay()
    relay.send("s@sender.test", ["r@a.test"], message("running"))
    wait_for("the attempt", lambda: lab.entries().of(event="delivery"))
    began = time.monotonic()
    relay.stop()
    assert 0.5 < time.monotonic() - began < 12
    relay.start()
    lab.quiet(2)
    lab.deliveries(1)
    assert relay.waiting() == 0


def test_stop_lets_a_sender_finish(lab):
    """In the middle of its DATA: it gets its 250, and the message is there after the next start."""
    relay = lab.relay()
    s, f = relay.raw()
    for line in (b"EHLO c.test", b"MAIL FROM:<s@sender.test>", b"RCPT TO:<r@a.test>", b"DATA"):
        s.sendall(line + b"\r\n")
        while (answer := f.readline())[3:4] == b"-":
            pass
    assert answer.startswith(b"354")
    data = message("late", size=20_000)
    s.sendall(data[:9000])
    relay.process.signal(signal.SIGTERM)
    wait_for("the stop's begin", lambda: "relay.draining" in relay.process.output())
    lab.quiet(0.5)
    s.sendall(data[9000:] + b".\r\n")
    assert f.readline().startswith(b"250")
    assert relay.process.popen.wait(20) == 0
    if not lab.entries().of(event="delivery", test_id="late"):
        relay.start()
    assert lab.body(lab.deliveries(1, test_id="late")[0]).endswith(data)


def test_stop_is_bounded(lab):
    lab.host("mx1", dot_delay=60)
    relay = lab.relay(node={"drain": "1s"})
    relay.send("s@sender.test", ["r@a.test"], message("stuck"))
    wait_for("the attempt", lambda: lab.entries().of(event="delivery"))
    began = time.monotonic()
    relay.stop()
    assert time.monotonic() - began < 8


def test_stop_closes_idle_sessions_with_421(lab):
    relay = lab.relay()
    s, f = relay.raw()
    relay.process.signal(signal.SIGTERM)
    assert f.readline()[:3] in (b"421", b"")
    assert relay.process.popen.wait(20) == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restart_keeps_the_queue(lab, how):
    lab.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 later"}])
    relay = lab.relay()
    idents = [relay.send("s@sender.test", ["r@a.test"], message(f"m{i}", size=i * 100_000)) for i in range(8)]
    for ident in idents:
        relay.event(ident, "deferred")
    getattr(relay, how)()
    lab.host("mx1", rules=[])
    relay.start()
    assert {d["test_id"] for d in lab.deliveries(8, timeout=30)} == {f"m{i}" for i in range(8)}
    wait_for("an empty queue", lambda: relay.waiting() == 0)
    for ident in idents:
        kinds = [e["type"] for e in relay.trace(ident)]
        assert kinds.count("delivered") == 1 and kinds.count("deferred") >= 1


def test_restart_keeps_what_was_in_hand(lab):
    """An attempt of more than 5 s has a row: killed then, it is found by nothing but the walk over these rows."""
    lab.host("mx1", dot_delay=300)
    relay = lab.relay()
    ident = relay.send("s@sender.test", ["r@a.test"], message("slow"))

    def rows():
        told = relay.cli("queue", "--state", "in-hand", "--json", "--admin", relay.admin)
        return json.loads(told.stdout)["total"]
    wait_for("a row in hand", lambda: rows() == 1, 60, 0.5)
    relay.kill()
    lab.host("mx1", dot_delay=0)
    relay.start()
    relay.event(ident, "delivered")
    wait_for("an empty queue", lambda: relay.waiting() == 0)


def test_partitions_are_added_and_never_taken_away(lab):
    """By a larger number in the configuration, at a start and at a reload; a smaller one changes nothing."""
    lab.host("mx1", greylist=[600, "451 4.7.1 Greylisted"])
    relay = lab.relay(log={"partitions": 2}, retries=[settings.retry(["2s"])])
    for i in range(6):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"))
    wait_for("six deferred rows", lambda: relay.queue()["total"] == 6)
    relay.stop()
    relay.write(log={"partitions": 5})
    relay.start()
    assert relay.queue()["total"] == 6
    lab.host("mx1", greylist=[0, ""])
    assert len({d["test_id"] for d in lab.deliveries(6, timeout=30)}) == 6
    relay.write(log={"partitions": 7})
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="ok") == 1)
    wait_for("all to be owned", lambda: relay.metric("remuda_partitions_owned") == 7, 30)
    relay.stop()
    relay.write(log={"partitions": 2})
    relay.start()
    assert json.loads(relay.http("/v1/lanes"))["partitions"] == 7
    wait_for("all to be owned", lambda: relay.metric("remuda_partitions_owned") == 7, 30)


def test_second_process_on_the_same_data_is_refused(lab):
    relay = lab.relay()
    other = dict(relay.config, listeners=[settings.listener(free_port())],
                 admin={"address": f"127.0.0.1:{free_port()}"})
    path = os.path.join(lab.dir, "second.yaml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(other, file)
    done = relay.cli("run", "--config", path, timeout=20)
    assert done.returncode == 1
    assert "the data directory is in use" in done.stdout + done.stderr
    relay.send("s@sender.test", ["r@a.test"], message("first"))
    lab.deliveries(1)


# ---- looking ------------------------------------------------------------------------------------------------------

def test_trace_tells_a_message_s_life(lab):
    lab.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 first no", "times": 1}], starttls="offer")
    relay = lab.relay()
    ident = relay.send("s@sender.test", ["r@a.test"], message("life"))
    relay.event(ident, "delivered")
    done = relay.cli("trace", ident, "--config", relay.path)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for word in ("s@sender.test", "r@a.test", "first no", "taken", "mx1", "TLSv1."):
        assert word in text, f"{word} is missing in:\n{text}"
    asked = relay.cli("trace", ident, "--json", "--admin", relay.admin)
    last = [e for e in json.loads(asked.stdout)["events"] if e["type"] == "delivered"][-1]
    assert last["source"] in ("s1", "s2") and last["phases_us"]["answer"] > 0
    assert last["recipients"][0]["text"].endswith("2.0.0 taken")
    missing = relay.cli("trace", "00000000000000000000000000", "--config", relay.path)
    assert missing.returncode == 1


def test_queue_and_explain(lab):
    lab.host("mx1", rules=[{"stage": "rcpt", "reply": "451 4.3.0 later"}])
    relay = lab.relay(retries=[settings.retry(["1h"])])
    idents = [relay.send("s@sender.test", ["r@a.test"], message(f"m{i}")) for i in range(3)]
    for ident in idents:
        relay.event(ident, "deferred")
    told = json.loads(relay.cli("queue", "--json", "--config", relay.path).stdout)
    assert told["total"] == 3
    assert sum(g["submissions"] for g in told["groups"]) == 3
    assert "other" in relay.cli("queue", "--config", relay.path).stdout
    why = relay.cli("explain", "--from", "s@sender.test", "--to", "r@a.test", "--config", relay.path)
    assert why.returncode == 0, why.stderr
    assert "s1" in why.stdout and "s2" in why.stdout
    relay.stop()
    assert relay.cli("queue", "--config", relay.path).returncode == 4


def test_metrics_are_clean(lab):
    promtool = shutil.which("promtool") or os.path.join(BESIDE, "usr/bin/promtool")
    relay = lab.relay()
    relay.send("s@sender.test", ["r@a.test"], message("m"))
    lab.deliveries(1)
    text = relay.http("/metrics")
    assert relay.metric("remuda_accepted_messages_total", tenant="main") == 1
    wait_for("the count", lambda: relay.metric("remuda_delivered_recipients_total") == 1)
    if not os.path.exists(promtool):
        pytest.skip("package prometheus is not unpacked below build/beside: metrics not checked by promtool")
    done = harness.run([promtool, "check", "metrics"], input=text)
    assert done.returncode == 0, done.stdout + done.stderr


def test_logs_carry_ids_and_no_contents(lab):
    relay = lab.relay(logging={"format": "json", "level": "debug", "addresses": "hide"})
    ident = relay.send("s@sender.test", ["secret-local-part@a.test"],
                       message("m", subject="secretsubject", text="secretbody\r\n"))
    lab.deliveries(1)
    relay.stop()
    said = relay.process.output()
    for word in ("secretsubject", "secretbody", "secret-local-part"):
        assert word not in said
    for line in said.splitlines():
        json.loads(line)
    assert ident in said


# ---- installed ----------------------------------------------------------------------------------------------------

def test_installed_relay_runs_as_its_own_user(lab):
    """cmake --install into a directory; run from there with nothing but CAP_NET_BIND_SERVICE, on port 25."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    build = os.path.dirname(os.path.dirname(harness.binary()))
    stage = os.path.join(lab.dir, "stage")
    done = harness.run(["cmake", "--install", build], env={**os.environ, "DESTDIR": stage})
    assert done.returncode == 0, done.stdout + done.stderr
    installed = [os.path.relpath(os.path.join(d, f), stage) for d, _, files in os.walk(stage) for f in files]
    for wanted in ("bin/remuda", "etc/remuda/remuda.yaml", "etc/remuda/providers.yaml", "etc/remuda/rules.yaml",
                   "systemd/system/remuda.service", "sysusers.d/remuda.conf"):
        assert any(p.endswith(wanted) for p in installed), installed
    program = os.path.join(stage, next(p for p in installed if p.endswith("bin/remuda")))

    path = lab.dir
    while path not in ("/", "/tmp"):
        os.chmod(path, os.stat(path).st_mode | 0o011)
        path = os.path.dirname(path)
    data = os.path.join(lab.dir, "state")
    os.mkdir(data)
    os.chown(data, 65534, 65534)
    caps = ["--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service",
            "--bounding-set=-all,+net_bind_service"]
    address = f"{lab.net}.9.1:25"
    relay = lab.relay(start=False, program=program, node={"data": data},
                      prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", *caps])
    relay.write(listeners=relay.config["listeners"] + [{"address": address, "tls": "none"}])
    os.chmod(relay.path, 0o644)
    relay.start()
    with open(f"/proc/{relay.process.pid}/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["65534"] * 4
    assert int(status["CapEff"], 16) == 1 << 10
    assert harness.answers(*address.rsplit(":", 1))
    relay.send("s@sender.test", ["r@a.test"], message("installed"))
    lab.deliveries(1)


@pytest.mark.parametrize("role", ["", "ingress", "worker"])
def test_unit_file_is_sound(tmp_path, role):
    """Alone, and with the drop-ins for the nodes of a cluster."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("package systemd is not installed: unit not verified")
    unit = unit_part("remuda.service").replace("User=remuda", "User=daemon").replace("Group=remuda", "Group=daemon")
    path = tmp_path / "remuda.service"
    path.write_text(unit, encoding="utf-8")
    if role:
        (tmp_path / "remuda.service.d").mkdir()
        (tmp_path / "remuda.service.d" / "role.conf").write_text(unit_part(f"{role}.conf"), encoding="utf-8")
    done = harness.run(["systemd-analyze", "verify", "--man=no", path])
    complaints = [l for l in (done.stdout + done.stderr).splitlines() if "remuda.service" in l]
    assert not complaints, complaints
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in unit and "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit


def unit_part(name):
    """A file of deploy/systemd as built, with the program of the build in it."""
    build = os.path.dirname(os.path.dirname(harness.binary()))
    with open(os.path.join(build, "deploy", name), encoding="utf-8") as file:
        return re.sub(r"^(ExecStart(?:Pre)?=)/\S+", rf"\g<1>{harness.binary()}", file.read(), flags=re.M)
