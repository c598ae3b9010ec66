"""Clients that keep sending while a test does something else."""
import smtplib
import threading
import time

from tests.support.world import message


class Senders:
    """Sends in the background over several listeners; keeps when what was answered 250, by test id."""

    def __init__(self, relays, domain="a.test", pause=0.02, domains=1):
        """domains: as many senders' domains take turns."""
        self.relays, self.domain, self.pause, self.domains = relays, domain, pause, domains
        self.accepted, self.refused = {}, 0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(len(relays))]
        for t in self.threads:
            t.start()

    def run(self, i):
        n = 0
        while not self.ending.is_set():
            ident = f"s{i}-{n}"
            sender = "s@sender.test" if self.domains == 1 else f"s@sender{n % self.domains}.test"
            n += 1
            try:
                self.relays[i].send(sender, [f"r@{self.domain}"], message(ident))
                self.accepted[ident] = time.time()
            except (OSError, smtplib.SMTPException):
                self.refused += 1
                time.sleep(0.2)
            time.sleep(self.pause)

    def end(self):
        self.ending.set()
        for t in self.threads:
            t.join()
        return self.accepted
