"""bench/world: two small scenarios over two virtual days, the same bytes twice, and what bad files are told."""
import json
import os
import re
import subprocess

import pytest

from tests.support import harness
from tests.support.harness import ROOT

SCENARIOS = os.path.join(ROOT, "bench", "scenarios")


def program():
    path = os.path.join(os.path.dirname(os.path.dirname(harness.binary())), "bench", "bench_world")
    if not os.path.exists(path):
        pytest.skip("bench_world is not built")
    return path


def world(*arguments):
    return subprocess.run([os.path.join(ROOT, "bench", "world"), "--program", program(), *arguments],
                          capture_output=True, text=True, timeout=150)


def scenario(name):
    return os.path.join(SCENARIOS, f"{name}.yaml")


def numbers(line):
    """Of a line with key=number."""
    return {key: int(n) for key, n in re.findall(r"([a-z]+)=(\d+)", line)}


def test_two_days_are_the_same_twice():
    run = ["--json", "--days", "2", scenario("warm-up"), scenario("no-signature")]
    first, second = world(*run), world(*run)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    lines = [json.loads(line) for line in first.stdout.splitlines()]
    by_strategy = {}
    for line in lines:
        by_strategy.setdefault(line["scenario"], []).append(line)
    assert set(by_strategy) == {"warm-up", "no-signature"}
    for same in by_strategy.values():
        assert len({line["strategy"] for line in same}) == len(same) >= 2
        # The same traffic for each, and every message of it came to an end: it is counted only then.
        assert len({(line["messages"], line["deliverable"]) for line in same}) == 1
        rivals = {line["strategy"]: line.get("against") for line in same}
        assert [r["strategy"] for r in rivals.pop("remuda")] == ["rotation", "suspensions"]
        assert not any(rivals.values())


def test_a_drawn_scenario_depends_on_its_seed_alone():
    run = ["--published", "--drawn", "1", "--days", "1", "--json", "--strategy", "rotation", scenario("steady")]
    first, second, other = world(*run), world(*run), world(*run, "--seed", "2")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert '"drawn-1"' in first.stdout
    assert first.stdout != other.stdout


@pytest.mark.parametrize("change, said", [
    (("provider: gmail", "provider: nobody"), "no receiver"),
    (("name: a1", "nome: a1"), "nome"),
    (("bad_mailboxes: 50", "bad_mailboxes: 20000"), "10000"),
])
def test_bad_files_are_refused_by_name(tmp_path, change, said):
    with open(scenario("steady"), encoding="utf-8") as file:
        text = file.read()
    assert change[0] in text
    (tmp_path / "receivers.yaml").symlink_to(os.path.join(SCENARIOS, "receivers.yaml"))
    bad = tmp_path / "bad.yaml"
    bad.write_text(text.replace(*change, 1))
    done = world(str(bad))
    assert done.returncode == 1
    assert "bad.yaml" in done.stderr and said in done.stderr


def test_the_same_receivers_over_real_sockets(tmp_path):
    """An hour of mail to sites that greylist, through a real relay: each message is accepted, refused for its
    mailbox, or waits for a full one. What comes back later is mail that the relay understands, and its recipients
    are suppressed. The sites tell complaints here, and get too few to think worse of anybody."""
    with open(scenario("receivers"), encoding="utf-8") as file:
        others, sites = file.read().split("- name: other")
    assert "tells_complaints: no" in sites
    (tmp_path / "receivers.yaml").write_text("- name: other".join(
        [others, sites.replace("tells_complaints: no", "tells_complaints: yes")]))
    with open(scenario("many-sites"), encoding="utf-8") as file:
        text = file.read()
    for key, often in (("bad_mailboxes", 500), ("late_bounces", 8000), ("complaints", 80)):
        text = re.sub(rf"{key}: \d+", f"{key}: {often}", text)
    (tmp_path / "comes-back.yaml").write_text(text)
    done = world("--real", "--factor", "600", "--hours", "1", "--from", "9", "--wait", "20",
                 "--relay", harness.binary(), str(tmp_path / "comes-back.yaml"))
    assert done.returncode == 0, done.stderr
    *counted, late, complaints, last = done.stdout.splitlines()
    counts = {tuple(line.split()[:2]): int(line.split()[2]) for line in counted}
    summary = numbers(last)
    submitted, delivered, waiting = (summary[k] for k in ("submitted", "delivered", "waiting"))
    refused = sum(n for (_, what), n in counts.items() if what == "bad-mailbox")
    assert submitted > 1000 and counts["other", "greylist"] > 100
    assert delivered + refused + waiting == submitted, done.stdout
    assert waiting <= counts["other", "full"] + counts.get(("gmail", "full"), 0)
    assert late.startswith("late-bounce: ") and complaints.startswith("complaint: ")
    for what in (numbers(late), numbers(complaints)):
        assert 0 < what["sent"] <= what["expected"]
        assert what["attributed"] == what["suppressed"] == what["sent"], (late, complaints, done.stderr)
    # Gmail does not tell.
    assert numbers(complaints)["expected"] == counts["other", "complains-later"]
