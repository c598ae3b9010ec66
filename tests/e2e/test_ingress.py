"""What a sender meets: extensions, authentication, limits, and the attacks on the end of DATA."""
import smtplib
import socket
import ssl
import struct
import time

import pytest

from tests.support import harness, settings
from tests.support.harness import free_port, wait_for
from tests.support.world import message


@pytest.fixture
def lab(world):
    world.host("mx1")
    world.domain("a.test", "mx1")
    return world


def insecure():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def talk(s, f, line):
    """One command, its whole reply: (code, lines)."""
    s.sendall(line + b"\r\n")
    return reply(f)


def reply(f):
    lines = []
    while True:
        line = f.readline()
        if not line:
            return 0, lines
        lines.append(line[4:].strip().decode())
        if line[3:4] != b"-":
            return int(line[:3]), lines


def ready_for_data(relay, rcpt=b"r@a.test"):
    s, f = relay.raw()
    assert talk(s, f, b"EHLO c.test")[0] == 250
    assert talk(s, f, b"MAIL FROM:<s@sender.test>")[0] == 250
    assert talk(s, f, b"RCPT TO:<" + rcpt + b">")[0] == 250
    return s, f


def test_ehlo_offers(lab):
    relay = lab.relay()
    s, f = relay.raw()
    code, lines = talk(s, f, b"EHLO c.test")
    words = {l.split()[0] for l in lines[1:]}
    assert code == 250
    assert {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING"} <= words
    assert talk(s, f, b"VRFY someone")[0] == 252
    assert talk(s, f, b"NOOP")[0] == 250
    assert talk(s, f, b"HELP")[0] == 214
    assert talk(s, f, b"NONSENSE")[0] == 500
    assert talk(s, f, b"RCPT TO:<x@a.test>")[0] == 503
    assert talk(s, f, b"QUIT")[0] == 221


def test_pipelined_session_in_one_write(lab):
    relay = lab.relay()
    s, f = relay.raw()
    data = message("pipe")
    s.sendall(b"EHLO c.test\r\nMAIL FROM:<s@sender.test>\r\nRCPT TO:<r@a.test>\r\nDATA\r\n" + data +
              b".\r\nMAIL FROM:<s@sender.test>\r\nRCPT TO:<q@a.test>\r\nDATA\r\n" + data + b".\r\nQUIT\r\n")
    codes = [reply(f)[0] for _ in range(9)]
    assert codes == [250, 250, 250, 354, 250, 250, 250, 354, 250]
    assert reply(f)[0] == 221
    assert len(lab.deliveries(2)) == 2


@pytest.mark.parametrize("sizes", [[10], [1, 3, 700, 65536], [200000, 300000]])
def test_bdat(lab, sizes):
    relay = lab.relay()
    s, f = ready_for_data(relay)
    data = message("bdat", size=sum(sizes) + 400, text=".\r\nlone\r\n..\r\n")
    pieces, at = [], 0
    for n in sizes:
        pieces.append(data[at:at + n])
        at += n
    pieces.append(data[at:])
    for i, piece in enumerate(pieces):
        last = b" LAST" if i == len(pieces) - 1 else b""
        s.sendall(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
        assert reply(f)[0] == 250
    assert lab.body(lab.deliveries(1)[0]).endswith(data)


@pytest.mark.parametrize("size", [100, 60_000, 600_000, 3_000_000])
def test_sizes_arrive_intact(lab, size):
    relay = lab.relay()
    data = message("size", size=size)
    relay.send("s@sender.test", ["r@a.test"], data)
    assert lab.body(lab.deliveries(1, timeout=60)[0]).endswith(data)


def test_too_big_is_refused_early_and_late(lab):
    relay = lab.relay(node={"message_size": "100KiB"})
    client = relay.connect()
    client.ehlo()
    assert client.docmd("MAIL", "FROM:<s@sender.test> SIZE=200000")[0] == 552
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        relay.send("s@sender.test", ["r@a.test"], message("big", size=200_000), client=client)
    assert caught.value.smtp_code == 552
    relay.send("s@sender.test", ["r@a.test"], message("small"), client=client)
    lab.deliveries(1, test_id="small")


def users(relay_program, **more):
    hashed = harness.run([relay_program, "hash-password"], input="correct horse\n", check=True).stdout.strip()
    return settings.tenant("acme", networks=[], domains=["acme.test"],
                           users=[{"name": "acme", "password_hash": hashed}], **more)


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_authentication_under_tls(lab, program, mechanism):
    port = free_port()
    relay = lab.relay(listeners=[settings.listener(port, tls="starttls", auth=True)], tenants=[users(program)])
    client = relay.connect()
    client.ehlo()
    assert not client.has_extn("auth"), "offered in the clear"
    assert client.docmd("AUTH", "PLAIN AGFjbWUAY29ycmVjdCBob3JzZQ==")[0] in (502, 503, 530, 538)
    client.starttls(context=insecure())
    client.ehlo()
    assert client.docmd("MAIL", "FROM:<s@acme.test>")[0] in (530, 550)
    client.user, client.password = "acme", "correct horse"
    code, _ = client.auth(mechanism, client.auth_plain if mechanism == "plain" else client.auth_login)
    assert code == 235
    assert client.docmd("MAIL", "FROM:<s@other.test>")[0] in (550, 553)
    relay.send("s@acme.test", ["r@a.test"], message("auth"), client=client)
    assert lab.deliveries(1)[0]["mail"] == "s@acme.test"


def test_wrong_password(lab, program):
    relay = lab.relay(listeners=[settings.listener(free_port(), tls="starttls", auth=True)], tenants=[users(program)])
    client = relay.connect()
    client.starttls(context=insecure())
    with pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("acme", "wrong")
    assert client.docmd("NOOP")[0] == 250


def test_implicit_tls(lab):
    port = free_port()
    relay = lab.relay(listeners=[settings.listener(port, tls="implicit")])
    with smtplib.SMTP_SSL("127.0.0.1", port, local_hostname="client.test", context=insecure(), timeout=20) as client:
        relay.send("s@sender.test", ["r@a.test"], message("tls"), client=client)
    body = lab.body(lab.deliveries(1)[0])
    assert b"TLSv1." in body.split(b"\r\n\r\n")[0]


def test_strangers_are_refused(lab):
    relay = lab.relay(tenants=[settings.tenant("far", networks=["192.0.2.0/24"])])
    client = relay.connect()
    client.ehlo()
    assert client.docmd("MAIL", "FROM:<s@sender.test>")[0] in (530, 550)


def test_tenant_limit_names_itself(lab):
    relay = lab.relay(tenants=[settings.tenant("main", limits={"per_minute": 3})])
    client = relay.connect()
    for i in range(3):
        relay.send("s@sender.test", ["r@a.test"], message(f"m{i}"), client=client)
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        relay.send("s@sender.test", ["r@a.test"], message("m4"), client=client)
    assert 400 <= caught.value.smtp_code < 500
    assert b"minute" in caught.value.smtp_error


# Each is what a sender puts where another server might see an end of data; then a second message's envelope.
SMUGGLED = {
    "LF.LF": b"\n.\n", "LF.CRLF": b"\n.\r\n", "CRLF.LF": b"\r\n.\n", "CR.CR": b"\r.\r", "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r", "LF.CR": b"\n.\r", "CR.LF": b"\r.\n", "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "NUL": b"\r\n\x00.\r\n", "CRLF\\0.CRLF": b"\r\n.\x00\r\n", "CRCRLF.CRLF": b"\r\r\n.\r\r\n",
}
SECOND = b"MAIL FROM:<evil@sender.test>\r\nRCPT TO:<victim@a.test>\r\nDATA\r\nX-Test-Id: evil\r\n\r\nsmuggled\r\n"


@pytest.mark.parametrize("name", SMUGGLED)
def test_smuggling_is_one_message_or_none(lab, name):
    relay = lab.relay()
    s, f = ready_for_data(relay)
    assert talk(s, f, b"DATA")[0] == 354
    s.sendall(message("front") + b"front" + SMUGGLED[name] + SECOND + b".\r\n")
    code, _ = reply(f)
    assert code == 550, code
    s.sendall(b"QUIT\r\n")
    assert reply(f)[0] in (221, 0), "more than one answer: the smuggled command was obeyed"
    lab.quiet(1)
    lab.deliveries(0)


@pytest.mark.parametrize("name", SMUGGLED)
def test_smuggling_normalised_leaves_no_bare_newline(lab, name):
    relay = lab.relay(listeners=[settings.listener(free_port(), bare_newline="normalise")])
    s, f = ready_for_data(relay)
    assert talk(s, f, b"DATA")[0] == 354
    s.sendall(message("front") + b"front" + SMUGGLED[name] + SECOND + b".\r\n")
    code, _ = reply(f)
    s.sendall(b"QUIT\r\n")
    assert reply(f)[0] in (221, 0)
    assert code == (550 if b"\0" in SMUGGLED[name] else 250)
    if code == 250:
        got = lab.deliveries(1)
        assert got[0]["rcpts"] == ["r@a.test"] and not got[0]["bare"]


def test_hanging_up_mid_data_leaves_nothing(lab):
    relay = lab.relay()
    for cut in (b"", message("cut"), message("cut", size=700_000), message("cut") + b".\r"):
        s, f = ready_for_data(relay)
        assert talk(s, f, b"DATA")[0] == 354
        s.sendall(cut)
        f.close()
        s.close()
    wait_for("the memory", lambda: relay.metric("remuda_message_memory_bytes") == 0)
    lab.quiet(1)
    lab.deliveries(0)
    assert relay.waiting() == 0


def test_too_many_errors_end_the_session(lab):
    relay = lab.relay()
    s, f = relay.raw()
    codes = []
    for _ in range(60):
        code, _ = talk(s, f, b"WHAT")
        codes.append(code)
        if code in (0, 421):
            break
    assert codes[-1] in (0, 421) and len(codes) <= 25


def test_over_long_command_line(lab):
    relay = lab.relay()
    s, f = relay.raw()
    s.sendall(b"EHLO " + b"x" * 100_000 + b"\r\n")
    assert reply(f)[0] in (500, 501, 421)


def test_idle_sessions_time_out(lab):
    relay = lab.relay(listeners=[settings.listener(free_port(), idle="1s")])
    s, f = relay.raw()
    began = time.monotonic()
    assert reply(f)[0] in (421, 0)
    assert time.monotonic() - began < 6


def test_mail_loop_is_refused(lab):
    relay = lab.relay(node={"hops": 10})
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        relay.send("s@sender.test", ["r@a.test"], message("loop", extra=["Received: from x by y; date"] * 15))
    assert caught.value.smtp_code == 554


def proxied(relay, header):
    s = socket.create_connection(("127.0.0.1", relay.port), timeout=20)
    s.sendall(header)
    return s, s.makefile("rb")


def proxy_v2(source, port=4567):
    return (b"\r\n\r\n\x00\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack("!H", 12) + socket.inet_aton(source) +
            socket.inet_aton("127.0.0.1") + struct.pack("!HH", port, 25))


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_protocol(lab, version):
    relay = lab.relay(listeners=[settings.listener(free_port(), proxies=["127.0.0.1/32"])],
                      tenants=[settings.tenant("near", networks=["198.51.100.0/24"])])
    for source, welcome in (("198.51.100.7", True), ("203.0.113.9", False)):
        header = proxy_v2(source) if version == 2 else f"PROXY TCP4 {source} 127.0.0.1 4567 25\r\n".encode()
        s, f = proxied(relay, header)
        assert reply(f)[0] == 220
        assert talk(s, f, b"EHLO c.test")[0] == 250
        code, _ = talk(s, f, b"MAIL FROM:<s@sender.test>")
        assert (code == 250) == welcome
        s.close()
    s, f = proxied(relay, proxy_v2("198.51.100.7"))
    reply(f)
    for line in (b"EHLO c.test", b"MAIL FROM:<s@sender.test>", b"RCPT TO:<r@a.test>", b"DATA"):
        talk(s, f, line)
    s.sendall(message("proxy") + b".\r\n")
    assert reply(f)[0] == 250
    assert b"198.51.100.7" in lab.body(lab.deliveries(1)[0])


def test_connection_without_the_expected_proxy_header(lab):
    relay = lab.relay(listeners=[settings.listener(free_port(), proxies=["127.0.0.1/32"])])
    s, f = proxied(relay, b"EHLO c.test\r\n")
    assert f.read(4) in (b"", b"421 ", b"500 ", b"554 ")


def test_connections_per_client(lab):
    relay = lab.relay(listeners=[settings.listener(free_port(), connections_per_client=3)])
    kept = [relay.raw() for _ in range(3)]
    s = socket.create_connection(("127.0.0.1", relay.port), timeout=20)
    assert s.makefile("rb").readline()[:3] in (b"421", b"")
    kept[0][1].close()
    kept[0][0].close()
    wait_for("a place", lambda: relay.raw(greeting=False)[1].readline().startswith(b"220"))
