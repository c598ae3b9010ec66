"""Senders that don't keep to the rules, and limits from both sides: what one client does costs only itself."""
import signal
import smtplib
import socket
import time

import pytest

from tests.support import settings
from tests.support.harness import free_port, wait_for
from tests.support.world import message

ENVELOPE = b"MAIL FROM:<s@sender.test>\r\nRCPT TO:<r@a.test>\r\n"


@pytest.fixture
def lab(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    return world


def reply(f):
    """(code, text) of one whole reply; (0, "") at the end of the connection."""
    text = []
    while True:
        line = f.readline()
        if not line:
            return 0, "".join(text)
        text.append(line[4:].decode())
        if line[3:4] != b"-":
            return int(line[:3]), "".join(text)


def say(s, f, *lines):
    """Sends all in one write; their codes."""
    s.sendall(b"".join(l + b"\r\n" for l in lines))
    return [reply(f)[0] for _ in lines]


def hello(relay, port=None):
    s, f = relay.raw(port)
    assert say(s, f, b"EHLO c.test") == [250]
    return s, f


def bdat(*chunks):
    """BDAT commands with their octets, the last one with LAST."""
    last = len(chunks) - 1
    return b"".join(b"BDAT %d%s\r\n" % (len(c), b" LAST" if i == last else b"") + c for i, c in enumerate(chunks))


# ---- BDAT ----

def test_bdat_pipelined_with_its_envelope(lab):
    relay = lab.relay()
    s, f = hello(relay)
    data = message("piped", text="one\r\n.\r\n..\r\ntwo")
    s.sendall(ENVELOPE + bdat(data[:7], data[7:90], b"", data[90:]) + ENVELOPE + bdat(message("second")) + b"QUIT\r\n")
    assert [reply(f)[0] for _ in range(10)] == [250, 250, 250, 250, 250, 250, 250, 250, 250, 221]
    got = lab.deliveries(1, test_id="piped")
    assert lab.body(got[0]).endswith(data + b"\r\n")
    lab.deliveries(1, test_id="second")


@pytest.mark.parametrize("mode", ["refuse", "normalise"])
def test_bdat_smuggles_nothing_out(lab, mode):
    """Text that is an end of data to some, in BDAT where no dot means anything: on the way out, by DATA, it is one
    message or none."""
    relay = lab.relay(listeners=[settings.listener(free_port(), bare_newline=mode)])
    evil = b"MAIL FROM:<evil@sender.test>\r\nRCPT TO:<victim@a.test>\r\nDATA\r\nX-Test-Id: evil\r\n\r\nx\r\n.\r\n"
    clean = (b"\r\n.\r\n", b"\r\n..\r\n", b"\r\n.\r\n.\r\n")
    bare = (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\n", b"\n..\n", b"\r..\r")
    nul = (b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\0\n")
    taken = 0
    for i, end in enumerate(clean + bare + nul):
        s, f = hello(relay)
        text = message(f"smuggled{i}") + b"front" + end + evil
        s.sendall(ENVELOPE + bdat(text) + b"QUIT\r\n")
        codes = [reply(f)[0] for _ in range(4)]
        wanted = end in clean or (mode == "normalise" and end in bare)
        assert codes == [250, 250, 250 if wanted else 550, 221], (end, codes)
        taken += wanted
        s.close()
    for d in lab.deliveries(taken):
        assert d["rcpts"] == ["r@a.test"] and not d["bare"]
        body = lab.body(d)
        assert b"evil@sender.test" in body and b"\0" not in body
    assert not lab.entries().of(event="unknown-command")


def test_dots_at_the_edges_of_chunks(lab):
    """Lines of a dot all along a text that is stored in pieces: none of them ends the DATA on the way out."""
    relay = lab.relay()
    s, f = hello(relay)
    data = message("edges") + b".\r\n" * 400_001
    s.sendall(ENVELOPE + bdat(data[:524_287], data[524_287:]))
    assert [reply(f)[0] for _ in range(4)] == [250] * 4
    assert lab.body(lab.deliveries(1, timeout=60)[0]).endswith(data)


def test_bdat_errors_eat_their_octets(lab):
    relay = lab.relay()
    s, f = hello(relay)
    s.sendall(bdat(b"QUIT\r\n") + b"MAIL FROM:<s@sender.test>\r\n" + bdat(b"QUIT\r\n") + b"NOOP\r\n")
    assert [reply(f)[0] for _ in range(4)] == [503, 250, 554, 250]
    s.sendall(ENVELOPE + b"BDAT 5\r\nA: b\nRSET\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert [reply(f)[0] for _ in range(6)] == [250, 250, 550, 250, 503, 250]
    for bad in (b"BDAT", b"BDAT -1 LAST", b"BDAT 99999999999999999999 LAST", b"BDAT 5 FIRST"):
        s, f = hello(relay)
        s.sendall(ENVELOPE + bad + b"\r\nQUIT\r\nNOOP\r\n")
        assert [reply(f)[0] for _ in range(4)] == [250, 250, 501, 0], "what follows may be text"
    lab.quiet(0.5)
    lab.deliveries(0)


# ---- parameters ----

def test_parameters_and_their_faults(lab):
    relay = lab.relay()
    s, f = hello(relay)
    good = (b"MAIL FROM:<s@sender.test> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb SMTPUTF8 AUTH=<>",
            b"mail from:<> body=7bit", b"MAIL FROM:<@x.test,@y.test:s@sender.test>")
    for line in good:
        assert say(s, f, line, b"RSET") == [250, 250], line
    for line, code in ((b"MAIL FROM:<s@sender.test> SIZE=x", 501), (b"MAIL FROM:<s@sender.test> SIZE=1 SIZE=1", 501),
                       (b"MAIL FROM:<s@sender.test> RET=ALL", 501), (b"MAIL FROM:<s@sender.test> ENVID=a+0D+0Ab", 501),
                       (b"MAIL FROM:<s@sender.test> COLOUR=red", 555), (b"MAIL FROM:<s@sender.test", 501),
                       (b"MAIL FROM:<s@sender.test>SIZE=1", 501), ("MAIL FROM:<é@sender.test>".encode(), 550)):
        assert say(s, f, line) == [code], line
    assert say(s, f, b"MAIL FROM:<s@sender.test>") == [250]
    for line, code in ((b"RCPT TO:<a@a.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@a.test", 250),
                       (b"RCPT TO:<b@a.test> NOTIFY=NEVER", 250), (b"RCPT TO:<c@a.test> NOTIFY=NEVER,DELAY", 501),
                       (b"RCPT TO:<c@a.test> NOTIFY=", 501), (b"RCPT TO:<c@a.test> ORCPT=a@a.test", 501),
                       (b"RCPT TO:<c@a.test> RET=FULL", 555), ("RCPT TO:<é@a.test>".encode(), 553),
                       (b"RCPT TO:<@a.test>", 501), (b"RCPT TO:<>", 501), (b"RCPT TO:<Postmaster>", 250)):
        assert say(s, f, line) == [code], line


def test_utf8_addresses(lab):
    lab.domain("xn--bcher-kva.test", "mx1")
    relay = lab.relay()
    s, f = hello(relay)
    codes = say(s, f, "MAIL FROM:<grün@sender.test> SMTPUTF8".encode(), "RCPT TO:<käse@bücher.test>".encode(), b"DATA")
    assert codes == [250, 250, 354]
    s.sendall(message("utf8", subject="grün") + b".\r\n")
    assert reply(f)[0] == 250
    assert lab.deliveries(1)[0]["mail"] == "grün@sender.test"


# ---- limits ----

def limited(lab, **limits):
    return lab.relay(tenants=[settings.tenant("small", limits=limits)])


def refused(call, *args, **kwargs):
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        call(*args, **kwargs)
    return caught.value.smtp_code, caught.value.smtp_error.decode()


def test_day_limit_counts_what_was_accepted(lab):
    """What comes to nothing (RSET, a refused text, a connection that breaks) is given back."""
    relay = limited(lab, per_day=2)
    s, f = hello(relay)
    for _ in range(3):
        assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"RSET") == [250, 250, 250]
    assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
    s.sendall(b"bare\n.\r\n.\r\n")
    assert reply(f)[0] == 550
    assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
    f.close()
    s.close()
    wait_for("the end", lambda: relay.metric("remuda_ingress_connections_open") == 0)
    for i in range(2):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"))
    code, text = refused(relay.send, "s@sender.test", ["r@a.test"], message("over"))
    assert code == 451 and "per_day" in text and "4.7.1" in text
    lab.deliveries(2)


def test_a_restart_gives_no_new_day(lab):
    relay = limited(lab, per_day=4)
    for i in range(2):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"))
    relay.kill()
    relay.start()
    relay.send("s@sender.test", ["r@a.test"], message("m2"))
    relay.stop()
    relay.start()
    relay.send("s@sender.test", ["r@a.test"], message("m3"))
    code, text = refused(relay.send, "s@sender.test", ["r@a.test"], message("over"))
    assert code == 451 and "per_day" in text
    arrived = lambda: {d["test_id"] for d in lab.entries().of(event="delivery")}  # noqa: E731  m0 or m1 perhaps twice
    wait_for("all of them", lambda: arrived() == {"m0", "m1", "m2", "m3"})


def test_recipient_and_size_limits_name_themselves(lab):
    relay = limited(lab, recipients=3, size="10KiB")
    s, f = hello(relay)
    assert say(s, f, b"MAIL FROM:<s@sender.test>", *[b"RCPT TO:<r%d@a.test>" % i for i in range(3)]) == [250] * 4
    s.sendall(b"RCPT TO:<r4@a.test>\r\nDATA\r\n")
    code, text = reply(f)
    assert code == 452 and "4.5.3" in text and "recipients" in text
    assert reply(f)[0] == 354, "the first three go through"
    s.sendall(message("three") + b".\r\n")
    assert reply(f)[0] == 250
    code, text = refused(relay.send, "s@sender.test", ["r@a.test"], message("big", size=20_000))
    assert code == 552 and "5.3.4" in text and "size" in text
    assert len(lab.deliveries(1, test_id="three")[0]["rcpts"]) == 3


def test_connection_limit_of_a_tenant(lab):
    relay = limited(lab, connections=2)
    kept = [relay.raw() for _ in range(2)]
    s, f = relay.raw(greeting=False)
    code, text = reply(f)
    assert code == 421 and "connections" in text and "small" in text
    assert say(*kept[0], b"QUIT") == [221]
    wait_for("a place", lambda: relay.raw(greeting=False)[1].readline().startswith(b"220"))


def test_listeners_have_their_own_settings(lab):
    ports = [free_port() for _ in range(3)]
    relay = lab.relay(listeners=[
        settings.listener(ports[0], idle="1s", hostname="one.test"),
        settings.listener(ports[1], commands=10, bare_newline="normalise", hostname="two.test"),
        settings.listener(ports[2], tls="starttls", require_tls=True, session="2s", hostname="three.test")])
    greetings = []
    for port in ports:
        s, f = relay.raw(port, greeting=False)
        greetings.append(f.readline().split()[1])
    assert greetings == [b"one.test", b"two.test", b"three.test"]
    s, f = hello(relay, ports[1])
    assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
    s.sendall(b"a\nb\r\n.\r\n")
    assert reply(f)[0] == 250
    assert say(s, f, *[b"NOOP"] * 8) == [250] * 7 + [421]
    s, f = hello(relay, ports[2])
    assert say(s, f, b"MAIL FROM:<s@sender.test>", b"NOOP") == [530, 250]
    began = time.monotonic()
    assert reply(f)[0] == 421 and time.monotonic() - began < 6


def test_text_has_limits_of_line_and_time(lab):
    relay = lab.relay(listeners=[settings.listener(free_port(), line="2KiB", data="2s", idle="30s")])
    s, f = hello(relay)
    assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
    s.sendall(message("long") + b"x" * 2049 + b"\r\n.\r\n")
    assert reply(f)[0] == 554
    assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
    s.settimeout(10)
    began = time.monotonic()
    f = s.makefile("rb")
    try:
        while time.monotonic() - began < 8:
            s.sendall(b"drip\r\n")
            time.sleep(0.1)
    except OSError:
        pass
    assert f.readline()[:3] in (b"421", b"")
    assert time.monotonic() - began < 8


def test_connection_limits_of_listener_and_node(lab):
    ports = [free_port(), free_port()]
    relay = lab.relay(node={"connections": 5},
                      listeners=[settings.listener(ports[0], connections=3), settings.listener(ports[1])])
    kept = [relay.raw(ports[0]) for _ in range(3)]
    assert reply(relay.raw(ports[0], greeting=False)[1])[0] == 421
    kept += [relay.raw(ports[1]) for _ in range(2)]
    code, text = reply(relay.raw(ports[1], greeting=False)[1])
    assert code == 421 and "connections" in text
    for s, f in kept:
        assert say(s, f, b"NOOP", b"QUIT") == [250, 221]
    wait_for("a place", lambda: relay.raw(ports[0], greeting=False)[1].readline().startswith(b"220"))


def test_more_connections_than_the_shell_allows(lab):
    """Started with a soft limit of 256 descriptors, as many as the settings say; below the hard one it says so."""
    relay = lab.relay(prefix=["prlimit", "--nofile=256:8192"], node={"connections": 1000},
                      delivery={"connections": 100})
    kept = [relay.raw() for _ in range(400)]
    assert "relay.descriptors" not in relay.process.output()
    for s, _ in kept:
        s.close()
    relay.write(node={"connections": 50_000})
    relay.process.signal(signal.SIGHUP)
    wait_for("the warning", lambda: "relay.descriptors" in relay.process.output())


def test_proxy_header_from_a_stranger_is_a_command(lab):
    relay = lab.relay(listeners=[settings.listener(free_port(), proxies=["192.0.2.0/24"])])
    s, f = relay.raw()
    assert say(s, f, b"PROXY TCP4 192.0.2.9 192.0.2.1 1 25", b"EHLO c.test") == [500, 250]
    assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
    s.sendall(message("stranger") + b".\r\n")
    assert reply(f)[0] == 250
    assert b"192.0.2.9" not in lab.body(lab.deliveries(1)[0])


# ---- memory ----

def test_stalled_senders_hold_no_memory(lab):
    """400 KB at once, then silence: after some seconds the text is on disk, and the message still completes."""
    relay = lab.relay()
    s, f = hello(relay)
    assert say(s, f, b"MAIL FROM:<s@sender.test> SIZE=450000", b"RCPT TO:<r@a.test>", b"DATA") == [250, 250, 354]
    data = message("stalled", size=400_000)
    s.sendall(data)
    wait_for("the text", lambda: relay.metric("remuda_message_memory_bytes") > 300_000)
    wait_for("it to leave memory", lambda: relay.metric("remuda_message_memory_bytes") < 100_000, 15)
    s.sendall(b".\r\n")
    assert reply(f)[0] == 250
    assert lab.body(lab.deliveries(1)[0]).endswith(data)


def test_messages_in_progress_keep_below_the_memory_limit(lab):
    """All are admitted while memory is free and then all send: some get 452, and the limit holds."""
    relay = lab.relay(node={"memory": "16MiB", "message_size": "50MiB"})
    block = (b"x" * 998 + b"\r\n") * 450
    half = []
    for _ in range(80):
        s, f = hello(relay)
        assert say(s, f, *ENVELOPE.split(b"\r\n")[:2], b"DATA") == [250, 250, 354]
        half.append((s, f))
    peak = 0
    for s, _ in half:
        s.sendall(b"Subject: x\r\n\r\n" + block)
        peak = max(peak, relay.metric("remuda_message_memory_bytes"))
    for s, _ in half:
        s.sendall(b".\r\n")
    codes = [reply(f)[0] for _, f in half]
    assert set(codes) == {250, 452}, codes
    assert peak <= 21 * 1024 * 1024, peak
    lab.deliveries(codes.count(250), timeout=60)
    relay.send("s@sender.test", ["r@a.test"], message("again"))


def test_noise_does_no_harm(lab):
    """Bytes of all kinds at every stage; the relay answers the next sender as if nothing had been."""
    relay = lab.relay()
    noise = (b"\0" * 5000, b"\xff" * 5000, b"\r" * 70_000, b"\n" * 70_000, b"A" * 300_000, b"\x16\x03\x01\x02\x00\x01",
             b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", b"AUTH PLAIN " + b"A" * 50_000,
             b"RCPT TO:<" + b"@" * 1000 + b">\r\n", b"BDAT 18446744073709551615 LAST\r\n" + b"x" * 10_000)
    stages = (b"", b"EHLO c.test\r\n", b"EHLO c.test\r\n" + ENVELOPE, b"EHLO c.test\r\n" + ENVELOPE + b"DATA\r\n",
              b"EHLO c.test\r\n" + ENVELOPE + b"BDAT 100\r\n")
    for stage in stages:
        for bytes_ in noise:
            s = socket.create_connection(("127.0.0.1", relay.port), timeout=20)
            try:
                s.sendall(stage + bytes_ + b"\r\nQUIT\r\n")
            except OSError:
                pass
            s.close()
    wait_for("the connections' end", lambda: relay.metric("remuda_ingress_connections_open") == 0)
    relay.send("s@sender.test", ["r@a.test"], message("after"))
    lab.deliveries(1)
