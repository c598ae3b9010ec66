"""A certificate authority of a test, by the openssl command."""
import os

from tests.support.harness import run


class Authority:
    def __init__(self, directory, name):
        self.dir = os.path.join(directory, name)
        os.makedirs(self.dir)
        self.ca, self.key = os.path.join(self.dir, "ca.pem"), os.path.join(self.dir, "ca.key")
        self.number = 0
        run(["openssl", "req", "-x509", *self.fresh(self.key), "-out", self.ca, "-days", "30", "-subj", f"/CN={name}"],
            check=True)

    @staticmethod
    def fresh(key):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key]

    def issue(self, name, expired=False):
        """The files of a certificate that bears the name as an alternative name, and of its key."""
        self.number += 1
        base = os.path.join(self.dir, f"{self.number}-{name}")
        cert, key, request, extra = (base + end for end in (".pem", ".key", ".req", ".ext"))
        with open(extra, "w", encoding="ascii") as file:
            file.write(f"subjectAltName=DNS:{name}\n")
        run(["openssl", "req", *self.fresh(key), "-out", request, "-subj", f"/CN=name-of-{self.number}"], check=True)
        run(["openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-set_serial",
             str(self.number), "-days", "-1" if expired else "30", "-extfile", extra, "-out", cert], check=True)
        return cert, key
