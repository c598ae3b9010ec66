"""deploy/up as a newcomer meets it."""
import os
import shutil
import signal
import stat
import time

import pytest

from tests.support import harness
from tests.support.harness import ROOT, Process, wait_for


def up(tmp_path, *arguments, program="deploy/up"):
    """In a network namespace of its own, so that its fixed ports are free."""
    script = 'ip link set lo up && exec "$@"'
    return Process(["unshare", "--net", "sh", "-c", script, "sh", os.path.join(ROOT, program), *arguments],
                   str(tmp_path / "out"))


@pytest.mark.alone
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace")
def test_demo_shows_deliveries_from_several_sources_and_ends_with_ctrl_c(request, tmp_path):
    demo = up(tmp_path, "--demo")
    request.addfinalizer(demo.end)
    wait_for("the relay", lambda: "== Remuda is up." in demo.output(), 300)
    began = time.monotonic()
    wait_for("the summary", lambda: "mail of your own" in demo.output(), 60)
    assert time.monotonic() - began < 55
    told = demo.output()
    for source in ("blue1", "blue2", "blue3", "green1", "green2"):
        assert f" {source} " in told, told
    for address in ("customer0@gmail.test", "reader0@yahoo.test", "customer0@outlook.test", "anne@slow.test",
                    "bert@greylisting.test"):
        assert any(line.split()[:2] == ["delivered", address] for line in told.splitlines()), told
    assert sum(line.split()[:1] == ["bounce"] for line in told.splitlines()) == 3, told
    demo.signal(signal.SIGINT)
    assert demo.popen.wait(30) == 0
    assert demo.output().endswith("== draining\n== stopped\n")


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("java"), reason="needs root for a network namespace, and Java")
def test_a_cluster_delivers_and_is_ended_from_another_terminal(request, tmp_path):
    cluster = up(tmp_path, program="deploy/cluster")
    request.addfinalizer(cluster.end)
    wait_for("the summary", lambda: "mail of your own" in cluster.output() or not cluster.running(), 400)
    told = cluster.output()
    assert "== The cluster is up." in told and " green2 " in told and " blue3 " in told, told
    assert harness.run([os.path.join(ROOT, "deploy/cluster")]).returncode == 1
    harness.run([os.path.join(ROOT, "deploy/cluster"), "--stop"], timeout=90, check=True)
    assert cluster.popen.wait(10) == 0 and cluster.output().endswith("== draining\n== stopped\n"), cluster.output()


def test_usage():
    assert harness.run([os.path.join(ROOT, "deploy/up"), "--help"]).returncode == 0
    assert harness.run([os.path.join(ROOT, "deploy/up"), "--dmeo"]).returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_without_root_the_line_that_installs_is_printed(tmp_path):
    query = tmp_path / "dpkg-query"
    query.write_text('#!/bin/sh\ncase "$*" in *swaks*|*cmake*) exit 1 ;; esac\nprintf "install ok installed"\n')
    query.chmod(query.stat().st_mode | stat.S_IXUSR | stat.S_IXOTH)
    for path in (tmp_path, *tmp_path.parents):
        if str(path) not in ("/", "/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    done = harness.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", os.path.join(ROOT, "deploy/up")],
                       env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"})
    assert done.returncode == 1
    assert "apt-get update && apt-get install -y --no-install-recommends cmake swaks" in done.stderr, done.stderr
