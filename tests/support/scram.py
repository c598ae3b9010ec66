"""A SASL SCRAM-SHA-512 login at a Kafka broker as RFC 5802 describes it, apart from any Kafka client."""
import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct

HANDSHAKE, AUTHENTICATE = 17, 36


class Login:
    def __init__(self, port, ca):
        context = ssl.create_default_context(cafile=ca)
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20),
                                          server_hostname="localhost")

    def exactly(self, n):
        got = b""
        while len(got) < n:
            got += self.socket.recv(n - len(got))
        return got

    def call(self, api, version, body):
        request = struct.pack("!hhih", api, version, 1, 4) + b"test" + body
        self.socket.sendall(struct.pack("!i", len(request)) + request)
        return self.exactly(struct.unpack("!i", self.exactly(4))[0])[4:]

    def say(self, message):
        """The broker's next message; its error's code, 0 for none."""
        answer = self.call(AUTHENTICATE, 0, struct.pack("!i", len(message)) + message)
        code, length = struct.unpack("!hh", answer[:4])
        return answer[4 + max(length, 0) + 4:], code

    def refused(self, user, password, nonce_twice=False):
        """0, or Kafka's code. nonce_twice: the mistake of librdkafka before 2.6.1."""
        mechanism = b"SCRAM-SHA-512"
        self.call(HANDSHAKE, 1, struct.pack("!h", len(mechanism)) + mechanism)
        own = base64.b64encode(os.urandom(18)).replace(b",", b"")
        first = b"n=" + user.encode() + b",r=" + own
        server, code = self.say(b"n,," + first)
        if code:
            return code
        said = dict(part.split(b"=", 1) for part in server.split(b","))
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(said[b"s"]), int(said[b"i"]))
        key = hmac.new(salted, b"Client Key", hashlib.sha512).digest()
        last = b"c=biws,r=" + (own if nonce_twice else b"") + said[b"r"]
        signature = hmac.new(hashlib.sha512(key).digest(), b",".join((first, server, last)), hashlib.sha512).digest()
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature)))
        return self.say(last + b",p=" + proof)[1]
