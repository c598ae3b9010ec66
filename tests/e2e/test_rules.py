"""Answers understood by rules: verdicts, the way round a blamed source, what is unknown, a reload."""
import json
import os
import signal

from tests.support import settings
from tests.support.harness import wait_for
from tests.support.world import message

LISTED = "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"


def said(event):
    return [(r.get("class"), r.get("rule"), r.get("list")) for r in event["recipients"]]


def test_blame_on_a_source_retries_elsewhere_at_once(world):
    """A block list's 5xx bounces nothing: the message leaves at once from the pool's other source."""
    world.host("mx1", rules=[{"stage": "rcpt", "reply": LISTED, "times": 1}])
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["1h"])])
    ident = relay.send("s@sender.test", ["r@a.test"], message("listed"))
    got = world.deliveries(1, timeout=10)[0]
    deferred = relay.event(ident, "deferred")
    assert said(deferred) == [("blocklist", "blocklist-spamhaus", "zen.spamhaus.org")]
    blamed = {"s1": "s1.relay.test", "s2": "s2.relay.test"}[deferred["source"]]
    assert got["helo"] != blamed
    assert [e["type"] for e in relay.trace(ident)].count("deferred") == 1
    relay.event(ident, "delivered")
    assert relay.metric("remuda_answers_total", **{"class": "blocklist"}) == 1
    shown = relay.cli("trace", ident, "--admin", relay.admin).stdout
    assert "means blocklist (zen.spamhaus.org), by rule blocklist-spamhaus" in shown


def test_elsewhere_is_tried_once_then_the_schedule(world):
    """When every source is blamed the message waits, and does not bounce."""
    world.host("mx1", rules=[{"stage": "rcpt", "reply": LISTED}])
    world.domain("a.test", "mx1")
    relay = world.relay(retries=[settings.retry(["1h"])])
    ident = relay.send("s@sender.test", ["r@a.test"], message("all"))

    def both():
        return len([e for e in relay.trace(ident) if e["type"] == "deferred"]) == 2
    wait_for("two deferrals", both)
    world.quiet()
    events = [e for e in relay.trace(ident) if e["type"] == "deferred"]
    assert len(events) == 2 and {e["source"] for e in events} == {"s1", "s2"}
    assert events[1]["next_due_ms"] - events[1]["time_ms"] > 3_000_000


def test_unknown_answers_are_listed_by_kind(world):
    world.host("mx1", rules=[{"stage": "rcpt", "match": "x1", "reply": "550 wibble 17 for x1@a.test"},
                             {"stage": "rcpt", "match": "x2", "reply": "550 wibble 42 for x2@a.test"}])
    world.domain("a.test", "mx1")
    relay = world.relay()
    for who in ("x1", "x2"):
        ident = relay.send("", [f"{who}@a.test"], message(who))
        assert said(relay.event(ident, "bounced")) == [("unknown-hard", "unknown", None)]
    listed = json.loads(relay.cli("rules", "unknown", "--json", "--admin", relay.admin).stdout)
    assert listed["total"] == 2
    assert [(k["count"], k["code"], k["masked"]) for k in listed["unknown"]] == [(2, 550, "wibble # for <addr>")]
    assert "wibble # for <addr>" in relay.cli("rules", "unknown", "--admin", relay.admin).stdout


def test_rules_are_read_again(world):
    """A new rule is in force after SIGHUP; a wrong one changes nothing and is reported with its line."""
    world.host("mx1", rules=[{"stage": "rcpt", "reply": "550 wibble"}])
    world.domain("a.test", "mx1")
    path = os.path.join(world.dir, "rules.yaml")
    rule = {"name": "mine", "pattern": "wibble", "class": "full", "examples": ["550 wibble"]}

    def write(**more):
        with open(path, "w", encoding="utf-8") as f:
            json.dump([{**rule, **more}], f)
    write()
    relay = world.relay(rules=path)
    assert said(relay.event(relay.send("", ["r@a.test"], message()), "bounced")) == [
        ("full", "mine", None)]
    write(**{"class": "loop"})
    relay.process.signal(signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total", result="ok") == 1)
    assert said(relay.event(relay.send("", ["r@a.test"], message()), "bounced")) == [
        ("loop", "mine", None)]
    write(examples=["550 wobble"])
    relay.process.signal(signal.SIGHUP)
    wait_for("the refusal", lambda: relay.metric("remuda_config_reloads_total", result="refused") == 1)
    assert said(relay.event(relay.send("", ["r@a.test"], message()), "bounced")) == [
        ("loop", "mine", None)]
    checked = relay.cli("rules", "check", path)
    assert checked.returncode == 3 and "rules.yaml:1:" in checked.stderr
