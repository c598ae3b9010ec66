"""What comes back: return paths, bounces and complaints about mail that had left, suppression lists."""
import json
import re
import smtplib

import pytest

from tests.support import mailers, settings
from tests.support.harness import free_port, wait_for
from tests.support.world import dsn, message

STRANGER = "127.0.0.9"
SECRET = "a secret of more than sixteen characters"
TOKEN = re.compile(r"^[a-z2-7]{64}@bounces\.test$")


def feedback_relay(world, port=None, **overrides):
    world.host("back")
    world.domain("sender.test", "back")
    config = {
        "listeners": [settings.listener(port or free_port(), feedback=True)],
        "feedback": {"domain": "bounces.test", "address": "fbl@bounces.test", "keys": [SECRET]},
        "tenants": [settings.tenant("acme", networks=["127.0.0.1"], verp=True)],
    }
    return world.relay(**settings.merge(config, overrides))


def sent(world, relay, to="r@a.test", test_id="first", **more):
    """A message that was delivered: its id and the return path that it left with."""
    ident = relay.send("shop@sender.test", [to] if isinstance(to, str) else to, message(test_id), **more)
    return ident, world.deliveries(1, test_id=test_id)[0]["mail"]


def complaint(return_path, recipient="r@a.test"):
    return "\r\n".join([
        "From: feedback@far.test", "Subject: FW: hello",
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b", "", "--b",
        "Content-Type: message/feedback-report", "", "Feedback-Type: abuse", "Version: 1",
        *([f"Original-Rcpt-To: {recipient}"] if recipient else []), "", "--b", "Content-Type: message/rfc822", "",
        f"Return-Path: <{return_path}>", "From: shop@sender.test", "", "Hello.", "--b--", ""]).encode()


def give(relay, to, data, sender=""):
    """As anyone on the internet."""
    return relay.send(sender, [to], data, client=relay.connect(source_address=(STRANGER, 0)))


def refused(relay, to, data=b"Subject: x\r\n\r\nx\r\n"):
    with pytest.raises(smtplib.SMTPResponseException) as found:
        give(relay, to, data)
    return found.value.smtp_code, found.value.smtp_error.decode()


def events(relay, ident, kind):
    return [e for e in relay.trace(ident) if e["type"] == kind]


def test_bounce_comes_back(world):
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    ident, path = sent(world, relay)
    assert TOKEN.match(path), path
    report = give(relay, path.upper().replace("BOUNCES.TEST", "Bounces.Test"), dsn("r@a.test"))
    event = relay.event(ident, "late-bounce")
    assert event["related_id"] == report and event["sender"] == "shop@sender.test"
    assert event["source"] in ("s1", "s2") and event["provider"] == "other" and event["pool"] == "main"
    outcome = event["recipients"][0]
    assert outcome["address"] == "r@a.test" and outcome["code"] == 550 and outcome["class"] == "bad-mailbox"
    # The sender gets it, as it came.
    forwarded = world.deliveries(1, rcpts=["shop@sender.test"])[0]
    assert forwarded["mail"] == "" and dsn("r@a.test") in world.body(forwarded)
    # The address is suppressed now, for this tenant.
    with pytest.raises(smtplib.SMTPResponseException) as found:
        relay.send("shop@sender.test", ["R@A.test"], message("again"))
    assert found.value.smtp_code == 550 and b"suppressed (bounce" in found.value.smtp_error
    shown = relay.cli("trace", "--config", relay.path, ident)
    assert "late-bounce" in shown.stdout and "no such user here" in shown.stdout
    # What is told again changes nothing, however often.
    for _ in range(3):
        give(relay, path, dsn("R@a.test"))
    wait_for("the repeated ones", lambda: relay.metric("remuda_feedback_total", kind="repeated") == 3)
    assert len(events(relay, ident, "late-bounce")) == 1
    world.deliveries(1, rcpts=["shop@sender.test"])
    # It survives.
    relay.kill()
    relay.start()
    give(relay, path, dsn("r@a.test"))
    wait_for("one more", lambda: relay.metric("remuda_feedback_total", kind="repeated") >= 1)
    assert len(events(relay, ident, "late-bounce")) == 1
    world.deliveries(1, rcpts=["shop@sender.test"])


def test_what_is_no_hard_bounce(world):
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    ident, path = sent(world, relay)
    give(relay, path, dsn("r@a.test", "4.4.1", "delayed", "421 4.4.1 try later"))
    assert relay.event(ident, "late-bounce")["cause"] == "delayed"
    give(relay, path, dsn("r@a.test", "2.0.0", "relayed", "250 ok"))
    give(relay, path, b"Subject: Out of Office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away. 550 5.1.1 r@a.test\r\n")
    give(relay, path, dsn("r@a.test", "5.2.2", "failed", "552 5.2.2 mailbox full"))
    wait_for("all of them", lambda: all(relay.metric("remuda_feedback_total", kind=k) == 1
                                        for k in ("delay", "success", "automatic", "bounce")))
    # One about somebody else: the message had two recipients, and this was neither.
    two, other = sent(world, relay, ["r@a.test", "q@a.test"], "second")
    give(relay, other, dsn("victim@a.test"))
    wait_for("the stranger", lambda: relay.metric("remuda_feedback_total", kind="stranger") == 1)
    assert not events(relay, two, "late-bounce")
    world.deliveries(5, rcpts=["shop@sender.test"])
    relay.send("shop@sender.test", ["r@a.test"], message("third"))
    assert json.loads(relay.http("/v1/suppression"))["entries"] == []


def test_only_what_is_ours(world):
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    ident, path = sent(world, relay)
    local = path.split("@")[0]
    forged = ("a" if local[-1] != "a" else "b").join([local[:-1], ""]) + "@bounces.test"
    for wrong in (forged, "x@bounces.test", "postmaster@bounces.test"):
        code, text = refused(relay, wrong)
        assert code == 550 and text.startswith("5.1.1"), (wrong, text)
    code, text = refused(relay, "r@a.test")
    assert code in (530, 550) and text.startswith("5.7.")
    code, text = refused(relay, "fbl@bounces.test", complaint("nobody@bounces.test"))
    assert code == 550 and text.startswith("5.7.1")
    client = relay.connect(source_address=(STRANGER, 0))
    client.ehlo()
    client.docmd("MAIL FROM:<>")
    assert client.docmd(f"RCPT TO:<{path}>")[0] == 250
    assert client.docmd(f"RCPT TO:<{path}>")[0] == 452
    assert client.docmd("RCPT TO:<r@a.test>")[0] == 452
    # Another secret for the future; what was signed by the old one is still believed, and then no more.
    relay.write(feedback={"keys": [SECRET.upper(), SECRET]})
    relay.process.signal(1)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total") == 1)
    give(relay, path, dsn("r@a.test"))
    relay.event(ident, "late-bounce")
    relay.write(feedback={"keys": [SECRET.upper()]})
    relay.process.signal(1)
    wait_for("the reload", lambda: relay.metric("remuda_config_reloads_total") == 2)
    assert refused(relay, path)[0] == 550


def test_large_report_is_cut(world):
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    ident, path = sent(world, relay)
    give(relay, path, dsn("r@a.test") + b"0123456789" * 10 + b"\r\n" + (b"x" * 70 + b"\r\n") * 20000)
    relay.event(ident, "late-bounce")
    body = world.body(world.deliveries(1, rcpts=["shop@sender.test"])[0])
    assert 200000 < len(body) < 400000 and body.endswith(b"x\r\n")


def test_many_at_once(world):
    """One return path for all recipients of a submission; each report names its own."""
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world, feedback={"forward": False})
    people = [f"r{i}@a.test" for i in range(25)]
    ident, path = sent(world, relay, people)
    client = relay.connect(source_address=(STRANGER, 0))
    for person in people:
        relay.send("", [path], dsn(person), client=client)
    wait_for("all of them", lambda: relay.metric("remuda_feedback_total", kind="bounce") == len(people))
    wait_for("their events", lambda: len(events(relay, ident, "late-bounce")) == len(people))
    listed = json.loads(relay.http("/v1/suppression?limit=1000"))["entries"]
    assert sorted(e["address"] for e in listed) == sorted(people)
    world.deliveries(0, rcpts=["shop@sender.test"])


def test_complaint(world):
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    ident, path = sent(world, relay)
    give(relay, "FBL@bounces.test", complaint(path), sender="feedback@far.test")
    event = relay.event(ident, "complaint")
    assert event["recipients"][0]["address"] == "r@a.test" and event["tenant"] == "acme"
    world.deliveries(1, rcpts=["shop@sender.test"])
    found = json.loads(relay.cli("suppression", "lookup", "acme", "r@a.test", "--config", relay.path, "--json").stdout)
    assert found["reason"] == "complaint" and found["id"] == ident
    # Without its recipient: the message had only one.
    second, path = sent(world, relay, "q@a.test", "second")
    give(relay, "fbl@bounces.test", complaint(path, None), sender="feedback@far.test")
    assert relay.event(second, "complaint")["recipients"][0]["address"] == "q@a.test"


def test_suppression_of_refused_recipients(world):
    world.host("mx", rules=[{"stage": "rcpt", "match": "^gone@", "reply": "550 5.1.1 no such user", "times": 1}])
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    relay.write(feedback={"forward": False})
    ident = relay.send("shop@sender.test", ["gone@a.test", "here@a.test"], message("one"))
    relay.event(ident, "bounced")
    with pytest.raises(smtplib.SMTPResponseException) as found:
        relay.send("shop@sender.test", ["Gone@a.test"], message("two"))
    assert found.value.smtp_code == 550 and b"5.7.1" in found.value.smtp_error and b"no such user" in \
        found.value.smtp_error
    relay.send("shop@sender.test", ["here@a.test"], message("three"))
    relay.kill()
    relay.start()
    with pytest.raises(smtplib.SMTPResponseException):
        relay.send("shop@sender.test", ["gone@a.test"], message("four"))

    def cli(*args, code=0):
        done = relay.cli("suppression", *args, "--config", relay.path)
        assert done.returncode == code, (args, done.stdout, done.stderr)
        return done.stdout
    assert "gone@a.test" in cli("list") and "no such user" in cli("lookup", "acme", "GONE@a.test")
    exported = cli("export")
    cli("remove", "acme", "gone@a.test")
    cli("lookup", "acme", "gone@a.test", code=1)
    cli("remove", "acme", "gone@a.test", code=1)
    ident = relay.send("shop@sender.test", ["gone@a.test"], message("five"))
    relay.event(ident, "delivered")
    with open(f"{world.dir}/list", "w", encoding="ascii") as file:
        file.write(exported + "\n# more\nx@b.test\ny@b.test\n")
    cli("import", f"{world.dir}/list", code=2)  # addresses alone belong to nobody
    cli("import", f"{world.dir}/list", "--tenant", "nobody", code=2)
    assert "3 of 5 lines" in cli("import", f"{world.dir}/list", "--tenant", "acme")
    assert [json.loads(l)["address"] for l in cli("export").splitlines()] == ["gone@a.test", "x@b.test", "y@b.test"]
    cli("add", "acme", "no address", code=2)
    cli("add", "acme", "z@b.test", "--for", "30d", "--evidence", "asked us to")
    assert "asked us to" in cli("lookup", "acme", "z@b.test")
    page = json.loads(cli("list", "--limit", "2", "--json"))
    assert page["more"] and page["next"] == "acme/x@b.test"
    rest = json.loads(cli("list", "--after", page["next"], "--json"))
    assert [e["address"] for e in rest["entries"]] == ["y@b.test", "z@b.test"] and not rest["more"]


def test_suppressed_while_it_waits(world):
    """The tenant's choice: a report, or only a record; and one that has no list."""
    world.host("mx", rules=[{"stage": "mail", "match": ".", "reply": "451 4.3.0 later"}])
    world.domain("a.test", "mx")
    relay = feedback_relay(world, tenants=[
        settings.tenant("acme", networks=["127.0.0.1"]),
        settings.tenant("quiet", networks=["127.0.0.2"], suppression="record"),
        settings.tenant("none", networks=["127.0.0.3"], suppression="off")])

    def send(tenant, test_id, *to):
        return relay.send("shop@sender.test", list(to) or ["r@a.test"], message(test_id),
                          client=relay.connect(source_address=(f"127.0.0.{tenant}", 0)))
    first = send(1, "first", "r@a.test", "q@a.test")
    relay.event(first, "deferred")
    for tenant in ("acme", "quiet", "none"):
        relay.cli("suppression", "add", tenant, "r@a.test", "--evidence", "asked us to", "--config", relay.path)
    event = relay.event(first, "suppressed")
    assert [o["address"] for o in event["recipients"]] == ["r@a.test"] and not event.get("final")
    report = world.deliveries(1, rcpts=["shop@sender.test"])[0]
    assert b"asked us to" in world.body(report)
    second = send(2, "second")
    event = relay.event(second, "suppressed")
    assert event["final"] and "related_id" not in event
    third = send(3, "third")
    world.host("mx", rules=[])
    world.deliveries(1, test_id="third")
    world.deliveries(1, rcpts=["q@a.test"])
    assert not events(relay, third, "suppressed")
    world.deliveries(0, test_id="second")
    world.deliveries(1, rcpts=["shop@sender.test"])


def test_killed_before_it_is_told(world):
    """250 to the bounce, then death: after the start all of it follows, once."""
    world.host("mx")
    world.domain("a.test", "mx")
    relay = feedback_relay(world)
    messages = [sent(world, relay, f"r{i}@a.test", f"m{i}") for i in range(8)]
    for i, (_, path) in enumerate(messages):
        give(relay, path, dsn(f"r{i}@a.test"))
        if i in (2, 5):
            relay.kill()
            relay.start()
    relay.kill()
    relay.start()
    for ident, _ in messages:
        relay.event(ident, "late-bounce")
        assert len(events(relay, ident, "late-bounce")) == 1
    wait_for("the forwarded ones", lambda: len(world.entries().of(event="delivery", rcpts=["shop@sender.test"])) >= 8)
    assert len(json.loads(relay.http("/v1/suppression"))["entries"]) == 8


@pytest.mark.slow
def test_postfix_bounces(world):
    """A real mail server takes the message and returns it later."""
    port, relay_port = free_port([f"{world.net}.1.9"]), free_port()
    address = f"{world.net}.1.9"
    behind = world.host("behind", rules=[{"stage": "rcpt", "match": ".", "reply": "550 5.1.1 mailbox does not exist"}])
    postfix = mailers.Postfix(world.dir, address, port, {
        "transport_maps": f"inline:{{ {{pf.test = smtp:[{behind}]:{world.mx_port}}}, "
                          f"{{bounces.test = smtp:[127.0.0.1]:{relay_port}}} }}",
        "relay_domains": "pf.test", "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtp_bind_address": STRANGER, "notify_classes": "", "local_transport": "error:none",
    })
    try:
        relay = feedback_relay(world, port=relay_port,
                               routes=[{"domain": "pf.test", "hosts": [f"{address}:{port}"]}])
        ident = relay.send("shop@sender.test", ["nobody@pf.test"], message("pf"))
        event = relay.event(ident, "late-bounce", timeout=60)
        assert event["recipients"][0]["address"] == "nobody@pf.test"
        assert event["recipients"][0]["class"] == "bad-mailbox", event
        assert [e["type"] for e in relay.trace(ident)][:2] == ["delivered", "late-bounce"]
        body = world.body(world.deliveries(1, rcpts=["shop@sender.test"])[0])
        assert b"mailbox does not exist" in body and b"postfix.mx.test" in body
    finally:
        postfix.stop()
