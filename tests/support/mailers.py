"""Real mail servers (Postfix, Exim, aiosmtpd) to receive and real clients (swaks, msmtp, curl, smtplib,
nodemailer) to send. The servers run from directories of their own and touch nothing of the system's."""
import glob
import json
import os
import pwd
import shutil
import smtplib
import ssl

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from tests.support import harness
from tests.support.harness import ROOT, Process

BESIDE = os.path.join(ROOT, "build", "beside")


class Aiosmtpd:
    name = "aiosmtpd"

    def __init__(self, directory, address, port):
        self.messages = []
        received = self.messages

        class Handler:
            async def handle_DATA(self, server, session, envelope):
                received.append(envelope.original_content)
                return "250 2.0.0 taken"

        class Server(Controller):
            def factory(self):
                return SMTP(self.handler, hostname="aiosmtpd.mx.test", enable_SMTPUTF8=True,
                            data_size_limit=64 << 20)

        self.controller = Server(Handler(), hostname=address, port=port)
        self.controller.start()

    def taken(self):
        return [m.replace(b"\r\n", b"\n") for m in self.messages]

    def stop(self):
        self.controller.stop()


class Postfix:
    """An instance of Debian's Postfix with its own configuration, queue and mailboxes; needs root."""
    name = "postfix"
    SERVICES = """
{inet} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - {smtp} smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
    RECEIVE = {
        "virtual_mailbox_domains": "static:all", "virtual_mailbox_maps": "static:all/",
        "virtual_mailbox_base": "{dir}/mail", "virtual_uid_maps": "static:{uid}", "virtual_gid_maps": "static:{gid}",
        "virtual_minimum_uid": "1", "message_size_limit": "67108864", "virtual_mailbox_limit": "0",
        "strict_rfc821_envelopes": "no", "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtputf8_enable": "yes",
    }

    def __init__(self, directory, address, port, settings=None, smtp_processes="-"):
        self.dir = os.path.join(str(directory), "postfix")
        user = pwd.getpwnam("postfix")
        for sub in ("etc", "queue", "data", "mail"):
            os.makedirs(os.path.join(self.dir, sub))
        for sub in ("data", "mail"):
            os.chown(os.path.join(self.dir, sub), user.pw_uid, user.pw_gid)
        self.open_way(self.dir)
        main = {
            "compatibility_level": "3.6", "queue_directory": "{dir}/queue", "data_directory": "{dir}/data",
            "maillog_file": "/dev/stdout", "inet_protocols": "ipv4",
            "inet_interfaces": "loopback-only",
            "myhostname": "postfix.mx.test", "mydestination": "", "mynetworks": "127.0.0.0/8", "alias_maps": "",
            "local_recipient_maps": "", "biff": "no", "smtpd_peername_lookup": "no", "disable_dns_lookups": "yes",
            **(self.RECEIVE if settings is None else settings),
        }
        with open(os.path.join(self.dir, "etc", "main.cf"), "w", encoding="ascii") as file:
            for key, value in main.items():
                value = value.replace("{dir}", self.dir).replace("{uid}", str(user.pw_uid)) \
                    .replace("{gid}", str(user.pw_gid))
                file.write(f"{key} = {value}\n")
        with open(os.path.join(self.dir, "etc", "master.cf"), "w", encoding="ascii") as file:
            file.write(self.SERVICES.format(inet=f"{address}:{port}", smtp=smtp_processes))
        shutil.copy("/etc/postfix/postfix-files", os.path.join(self.dir, "etc"))
        os.makedirs(os.path.join(self.dir, "etc", "postfix-files.d"), exist_ok=True)
        os.makedirs(os.path.join(self.dir, "etc", "dynamicmaps.cf.d"), exist_ok=True)
        open(os.path.join(self.dir, "etc", "dynamicmaps.cf"), "a", encoding="ascii").close()
        environment = {
            "MAIL_CONFIG": os.path.join(self.dir, "etc"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            # Without these, which postfix(1) sets too, the master says nothing of what keeps it from starting.
            "POSTLOG_SERVICE": os.path.join(self.dir, "queue/public/postlog"), "POSTLOG_HOSTNAME": main["myhostname"]}
        started = harness.run(["postfix", "-c", environment["MAIL_CONFIG"], "check"], env={**os.environ, **environment})
        if started.returncode:
            raise RuntimeError("postfix check failed: " + started.stdout + started.stderr)
        self.process = Process(["/usr/lib/postfix/sbin/master", "-c", environment["MAIL_CONFIG"], "-d"],
                               os.path.join(self.dir, "log"), environment)
        harness.wait_for("Postfix", lambda: self.is_up(address, port), 45)

    def is_up(self, address, port):
        if not self.process.running():
            raise RuntimeError(f"postfix ended with {self.process.popen.returncode}: {self.process.tail()}")
        return harness.answers(address, port)

    @staticmethod
    def open_way(path):
        """Postfix's own users must reach its directory below a private one."""
        while path not in ("/", "/tmp"):
            os.chmod(path, os.stat(path).st_mode | 0o011)
            path = os.path.dirname(path)

    def taken(self):
        return [read(p) for p in glob.glob(os.path.join(self.dir, "mail", "all", "new", "*"))]

    def stop(self):
        self.process.end()


class Exim:
    """Debian's exim4-daemon-light, unpacked beside the system: its package excludes Postfix's. Needs root."""
    name = "exim"
    CONFIG = """
primary_hostname = exim.mx.test
exim_path = {beside}/usr/sbin/exim4
keep_environment =
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
exim_user = nobody
exim_group = nogroup
never_users =
local_interfaces = {address}
daemon_smtp_ports = {port}
pid_file_path = {dir}/spool/exim.pid
tls_advertise_hosts =
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
accept_8bitmime = true
message_size_limit = 64M
smtp_accept_max = 100
smtp_accept_queue_per_connection = 1000
acl_smtp_rcpt = accept
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
begin routers
all:
  driver = accept
  transport = files
begin transports
files:
  driver = appendfile
  file = {dir}/mail/$message_exim_id
  message_prefix =
  message_suffix =
  check_string =
  user = nobody
  group = nogroup
begin retry
* * F,1h,1m
"""

    def __init__(self, directory, address, port):
        self.dir = os.path.join(str(directory), "exim")
        user = pwd.getpwnam("nobody")
        for sub in ("spool", "log", "mail", "etc"):
            os.makedirs(os.path.join(self.dir, sub))
            os.chown(os.path.join(self.dir, sub), user.pw_uid, user.pw_gid)
        Postfix.open_way(self.dir)
        config = os.path.join(self.dir, "etc", "exim4.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(self.CONFIG.format(beside=BESIDE, dir=self.dir, address=address, port=port))
        os.chown(os.path.dirname(config), 0, 0)
        # The program looks its user up before it reads its configuration and trusts only one place for that: both
        # are given to it in a mount namespace of its own.
        accounts = os.path.join(self.dir, "etc", "passwd")
        shutil.copy("/etc/passwd", accounts)
        groups = os.path.join(self.dir, "etc", "group")
        shutil.copy("/etc/group", groups)
        with open(accounts, "a", encoding="ascii") as file:
            file.write(f"Debian-exim:x:{user.pw_uid}:{user.pw_gid}::/nonexistent:/usr/sbin/nologin\n")
        with open(groups, "a", encoding="ascii") as file:
            file.write(f"Debian-exim:x:{user.pw_gid}:\n")
        script = (f"mount --bind {accounts} /etc/passwd && mount --bind {groups} /etc/group && "
                  f"exec {BESIDE}/usr/sbin/exim4 -C {config} -bdf -q1m")
        self.process = Process(["unshare", "--mount", "sh", "-c", script], os.path.join(self.dir, "out"))
        try:
            harness.wait_for("Exim", lambda: harness.answers(address, port))
        except AssertionError:
            raise RuntimeError("exim: " + self.process.output()) from None

    def taken(self):
        # Lock files and the like have other names than messages.
        paths = glob.glob(os.path.join(self.dir, "mail", "??????-??????-??"))
        return [m for m in map(read, paths) if m]

    def stop(self):
        self.process.end()


def read(path):
    with open(path, "rb") as file:
        return file.read()


# ---- clients: each sends the file, CRLF-ended, through host:port --------------------------------------------------
# login: (user, password, "starttls" or "implicit"), without it in the clear. The certificate is not verified.

def send_swaks(path, port, sender, recipients, login=None):
    cut = path + ".cut"  # swaks ends the last line itself
    with open(cut, "wb") as file:
        file.write(read(path)[:-2])
    more = []
    if login:
        more = ["--tls" if login[2] == "starttls" else "--tls-on-connect", "--auth", "LOGIN", "--auth-user", login[0],
                "--auth-password", login[1]]
    return harness.run(["swaks", "--server", "127.0.0.1", "--port", port, "--from", sender, "--to",
                        ",".join(recipients), "--data", "@" + cut, "--hide-all", *more])


def send_msmtp(path, port, sender, recipients, login=None):
    with open(path, "rb") as file:
        data = file.read().replace(b"\r\n", b"\n")
    plain = path + ".lf"
    with open(plain, "wb") as file:
        file.write(data)
    more = []
    if login:
        more = ["--tls=on", "--tls-starttls=" + ("on" if login[2] == "starttls" else "off"), "--tls-certcheck=off",
                "--auth=plain", f"--user={login[0]}", f"--passwordeval=echo '{login[1]}'"]
    with open(plain, "rb") as file:
        return harness.run(["msmtp", "-C", "/dev/null", "--host=127.0.0.1", f"--port={port}", f"--from={sender}",
                            "--set-from-header=off", "--set-date-header=off", *more, "--", *recipients], stdin=file)


def send_curl(path, port, sender, recipients, login=None):
    arguments = [x for r in recipients for x in ("--mail-rcpt", r)]
    arguments += ["--ssl-reqd", "-k", "--user", f"{login[0]}:{login[1]}"] if login else []
    scheme = "smtps" if login and login[2] == "implicit" else "smtp"
    return harness.run(["curl", "-sS", f"{scheme}://127.0.0.1:{port}/client.test", "--mail-from", sender, *arguments,
                        "--upload-file", path])


def send_smtplib(path, port, sender, recipients, login=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options = {"local_hostname": "client.test", "timeout": 30}
    implicit = login and login[2] == "implicit"
    with smtplib.SMTP_SSL("127.0.0.1", port, context=context, **options) if implicit else \
            smtplib.SMTP("127.0.0.1", port, **options) as client:
        if login and not implicit:
            client.starttls(context=context)
        if login:
            client.login(*login[:2])
        client.sendmail(sender, recipients, read(path), mail_options=["BODY=8BITMIME"])


NODE = """
const mailer = require('nodemailer'), fs = require('fs');
const [path, port, login, from, ...to] = process.argv.slice(1);
const [user, pass, tls] = JSON.parse(login) || [];
const t = mailer.createTransport({host: '127.0.0.1', port: +port, name: 'client.test', ignoreTLS: !tls,
    secure: tls == 'implicit', requireTLS: tls == 'starttls', tls: {rejectUnauthorized: false},
    auth: user ? {user, pass} : undefined});
t.sendMail({envelope: {from, to, use8BitMime: true}, raw: fs.readFileSync(path)},
           error => { if (error) { console.error(error); process.exit(1); } t.close(); });
"""


def send_nodemailer(path, port, sender, recipients, login=None):
    return harness.run(["node", "-e", NODE, "--", path, port, json.dumps(login), sender, *recipients],
                       env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})


CLIENTS = {"swaks": send_swaks, "msmtp": send_msmtp, "curl": send_curl, "smtplib": send_smtplib,
           "nodemailer": send_nodemailer}
SERVERS = {"postfix": Postfix, "exim": Exim, "aiosmtpd": Aiosmtpd}
