"""Bounces and delay notices (RFC 3464) and what senders may ask for (RFC 3461)."""
import email
import email.policy

import pytest

from tests.support import settings
from tests.support.world import message

NO_USER = {"stage": "rcpt", "match": "^gone@", "reply": "550 5.1.1 <gone@a.test>: no such user; ask elsewhere"}
NOT_NOW = {"stage": "rcpt", "match": "^later@", "reply": "451 4.3.0 not now"}


@pytest.fixture
def lab(world):
    world.host("mx1", rules=[NO_USER, NOT_NOW])
    world.host("home")
    world.domain("a.test", "mx1")
    world.domain("sender.test", "home")
    return world


def blocks(part):
    """The groups of fields of a status part, whichever of its two types it has."""
    payload = part.get_payload()
    if isinstance(payload, list) and len(payload) > 1:
        return payload
    data = part.as_bytes().replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]
    return [email.message_from_bytes(b + b"\n", policy=email.policy.default)
            for b in data.strip().split(b"\n\n")]


def report(world, n=1):
    """The bounce that came home: (delivery, top message, per-message fields, list of per-recipient fields)."""
    delivery = world.deliveries(n, listener="home", timeout=30)[-1]
    top = email.message_from_bytes(world.body(delivery), policy=email.policy.default)
    assert delivery["mail"] == "" and delivery["rcpts"] == ["s@sender.test"]
    assert top.get_content_type() == "multipart/report"
    assert top.get_param("report-type") == "delivery-status"
    parts = top.get_payload()
    assert parts[0].get_content_type().startswith("text/plain")
    assert parts[1].get_content_type() in ("message/delivery-status", "message/global-delivery-status")
    fields = blocks(parts[1])
    return delivery, top, fields[0], fields[1:]


def test_permanent_refusal_comes_home(lab):
    relay = lab.relay()
    ident = relay.send("s@sender.test", ["gone@a.test"], message("gone", subject="find me"),
                       mail_options=["ENVID=abc+2B1"], rcpt_options=["ORCPT=rfc822;first@elsewhere.test"])
    delivery, top, head, recipients = report(lab)
    assert head["Reporting-MTA"] == "dns; relay.test"
    assert head["Original-Envelope-Id"] == "abc+1"
    assert len(recipients) == 1
    r = recipients[0]
    assert r["Final-Recipient"].replace(" ", "").lower() == "rfc822;gone@a.test"
    assert r["Original-Recipient"].replace(" ", "").lower() == "rfc822;first@elsewhere.test"
    assert r["Action"] == "failed" and r["Status"] == "5.1.1"
    assert r["Remote-MTA"].startswith("dns; mx1")
    assert "no such user; ask elsewhere" in r["Diagnostic-Code"]
    assert top["To"] == "s@sender.test" or "s@sender.test" in top["To"]
    assert top["Auto-Submitted"] == "auto-replied"
    text = top.get_payload()[0].get_content()
    assert "no such user; ask elsewhere" in text and "gone@a.test" in text
    returned = top.get_payload()[2]
    assert "find me" in returned.as_string()
    assert relay.event(ident, "bounced")["recipients"][0]["enhanced"] == "5.1.1"


@pytest.mark.parametrize("ret,whole", [("FULL", True), ("HDRS", False)])
def test_ret(lab, ret, whole):
    relay = lab.relay()
    relay.send("s@sender.test", ["gone@a.test"], message("ret", text="the text itself\r\n"), mail_options=["RET=" + ret])
    delivery, top, _, _ = report(lab)
    assert (b"the text itself" in lab.body(delivery)) == whole
    kind = top.get_payload()[2].get_content_type()
    assert kind in (("message/rfc822", "message/global") if whole else ("text/rfc822-headers", "message/global-headers"))


def test_notify_never_is_silent(lab):
    relay = lab.relay()
    ident = relay.send("s@sender.test", ["gone@a.test"], message("never"), rcpt_options=["NOTIFY=NEVER"])
    relay.event(ident, "bounced")
    lab.quiet(1.5)
    lab.deliveries(0, listener="home")


def test_notify_success_when_the_next_host_cannot(lab):
    lab.host("mx1", dsn=False)
    relay = lab.relay()
    relay.send("s@sender.test", ["fine@a.test"], message("ok"), rcpt_options=["NOTIFY=SUCCESS"])
    _, _, _, recipients = report(lab)
    assert recipients[0]["Action"] == "relayed" and recipients[0]["Status"].startswith("2.")


def test_dsn_parameters_are_passed_on(lab):
    relay = lab.relay()
    relay.send("s@sender.test", ["fine@a.test"], message("ok"), mail_options=["RET=HDRS", "ENVID=e1"],
               rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@elsewhere.test"])
    got = lab.deliveries(1, listener="mx1")[0]
    assert "RET=HDRS" in got["mail_args"].upper() and "ENVID=e1" in got["mail_args"]
    assert "NOTIFY=" in got["rcpt_args"][0].upper() and "first@elsewhere.test" in got["rcpt_args"][0]
    lab.quiet(1)
    lab.deliveries(0, listener="home")


def test_delay_notice_once(lab):
    relay = lab.relay(retries=[settings.retry(["1s"], delay_notice="2s", lifetime="1h")])
    relay.send("s@sender.test", ["later@a.test"], message("late"))
    _, _, _, recipients = report(lab)
    assert recipients[0]["Action"] == "delayed" and recipients[0]["Status"].startswith("4.")
    assert recipients[0]["Will-Retry-Until"]
    assert recipients[0]["Diagnostic-Code"] == "smtp; 451 4.3.0 not now"
    lab.quiet(3)
    lab.deliveries(1, listener="home")


def test_no_delay_notice_when_only_failures_are_wanted(lab):
    relay = lab.relay(retries=[settings.retry(["1s"], delay_notice="1s")])
    relay.send("s@sender.test", ["later@a.test"], message("late"), rcpt_options=["NOTIFY=FAILURE"])
    lab.quiet(4)
    lab.deliveries(0, listener="home")


def test_no_bounce_for_a_bounce(lab):
    relay = lab.relay()
    ident = relay.send("", ["gone@a.test"], message("null"))
    relay.event(ident, "bounced")
    lab.quiet(1.5)
    lab.deliveries(0, listener="home")


def test_undeliverable_bounce_ends_quietly(lab):
    lab.host("home", rules=[{"stage": "rcpt", "reply": "550 5.1.1 sender unknown too"}])
    relay = lab.relay()
    ident = relay.send("s@sender.test", ["gone@a.test"], message("twice"))
    relay.event(ident, "bounced")
    lab.quiet(2)
    assert relay.waiting() == 0
    assert len(lab.entries().of(event="refusal", listener="home")) == 1


@pytest.mark.parametrize("records,status", [((), "5.1.2"), ((("MX", 0, "."),), "5.1.10")])
def test_domains_that_take_no_mail(lab, records, status):
    if records:
        lab.records("dead.test", *records)
    relay = lab.relay()
    relay.send("s@sender.test", ["r@dead.test"], message("dead"))
    _, _, _, recipients = report(lab)
    assert recipients[0]["Status"] == status and recipients[0]["Action"] == "failed"


def test_one_report_for_the_recipients_that_failed(lab):
    relay = lab.relay()
    relay.send("s@sender.test", ["fine@a.test", "gone@a.test"], message("two"))
    _, _, _, recipients = report(lab)
    assert [r["Action"] for r in recipients] == ["failed"]


@pytest.mark.parametrize("lack", ["size", "smtputf8"])
def test_receiver_lacks_what_the_message_needs(lab, lack):
    if lack == "size":
        lab.host("mx1", size=2000)
    else:
        lab.host("mx1", smtputf8=False)
    relay = lab.relay()
    if lack == "size":
        relay.send("s@sender.test", ["fine@a.test"], message("big", size=5000))
        status = "5.3.4"
    else:
        relay.send("s@sender.test", ["fine@a.test"], message("utf8", subject="grüße"), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
        status = "5.6.7"
    _, _, _, recipients = report(lab)
    assert recipients[0]["Status"] == status
    lab.deliveries(0, listener="mx1")


def test_what_is_all_ascii_needs_nothing_of_the_receiver(lab):
    """Many clients always say BODY=8BITMIME and SMTPUTF8."""
    lab.host("mx1", smtputf8=False, eight_bit=False)
    relay = lab.relay()
    relay.send("s@sender.test", ["fine@a.test"], message("plain"), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    args = lab.deliveries(1, listener="mx1")[0]["mail_args"].upper()
    assert "SMTPUTF8" not in args and "8BITMIME" not in args


def test_eight_bit_message_to_a_seven_bit_receiver(lab):
    lab.host("mx1", eight_bit=False)
    relay = lab.relay()
    relay.send("s@sender.test", ["fine@a.test"], message("8bit", text="grüße\r\n"), mail_options=["BODY=8BITMIME"])
    _, _, _, recipients = report(lab)
    assert recipients[0]["Status"] == "5.6.3"
    lab.deliveries(0, listener="mx1")


def test_international_addresses_travel(lab):
    lab.domain("xn--bcher-kva.test", "mx1")
    relay = lab.relay()
    client = relay.connect()
    client.ehlo()
    assert client.docmd("MAIL", "FROM:<s@sender.test> SMTPUTF8 BODY=8BITMIME")[0] == 250
    client.sock.sendall("RCPT TO:<jürgen@bücher.test>\r\n".encode())
    assert client.getreply()[0] == 250
    assert client.data(message("idn", subject="größe"))[0] == 250
    got = lab.deliveries(1, listener="mx1")[0]
    assert "SMTPUTF8" in got["mail_args"].upper()
    assert got["rcpts"][0].startswith("jürgen@")
