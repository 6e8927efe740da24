"""The desk: eligibility's memory, and the thread that sends mail."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from undersigned.credentials.issuer import Issuer
from undersigned.eligibility.data import ConfirmationMail, Mail, MailsWaiting
from undersigned.kernel.errors import Unavailable
from undersigned.safety.line import Meter

MAX_QUEUED = 20_000
MAILBOX_SIZE = 200
MAX_COUNTED = 1_000_000


class MailQueueFull(Unavailable):
    """More mails wait than memory is meant for."""

    code = "mail-queue-full"


class MailNotSent(Exception):
    """A mail server refused or failed. ``permanent``: trying again will not help."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        self.permanent = permanent
        super().__init__(message)


class MailSender(Protocol):
    """Hands one mail to whoever delivers it."""

    def send(self, mail: Mail) -> None:
        """Send, or raise MailNotSent."""
        ...


class Mailbox:
    """Keeps mails in memory for the mailbox page of demo and development."""

    def __init__(self) -> None:
        self.mails: deque[Mail] = deque(maxlen=MAILBOX_SIZE)

    def send(self, mail: Mail) -> None:
        """Keep the mail; the oldest goes when the box is full."""
        self.mails.appendleft(mail)


class EligibilityDesk:
    """Counters and queue in memory. A crash loses them: the person asks again."""

    def __init__(
        self,
        *,
        issuer: Issuer,
        sender: MailSender,
        render: Callable[[ConfirmationMail], Mail],
        on_mail_failure: Callable[[MailNotSent], None],
        takes_mail: bool = True,
    ) -> None:
        """``takes_mail`` False: there is no mail server, so nobody can ask by mail."""
        self.issuer = issuer
        self.takes_mail = takes_mail
        self.sender = sender
        self._render = render
        self._on_mail_failure = on_mail_failure
        self._queue: queue.Queue[ConfirmationMail | None]
        self._queue = queue.Queue(maxsize=MAX_QUEUED)
        self._lock = threading.Lock()
        # How fast mails leave.
        self._sent = Meter()
        # Keyed by nullifier and by ask id: keyed hashes and random bytes, no address.
        self._mails_sent: dict[bytes, int] = {}
        self._attempts: dict[bytes, int] = {}
        self._thread = threading.Thread(target=self._loop, name="mail", daemon=True)

    def start(self) -> None:
        """Start the mail thread."""
        self._thread.start()

    def stop(self) -> None:
        """Drop what is queued and end the thread."""
        if self._thread.is_alive():
            while not self._queue.empty():
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    break
            self._queue.put(None)
            self._thread.join(timeout=10)

    def count_mail(self, nullifier: bytes, limit: int) -> bool:
        """Count one more mail to an address; False when it has had ``limit``."""
        return self._count(self._mails_sent, nullifier, limit)

    def count_attempt(self, ask_id: bytes, limit: int) -> bool:
        """Count one try at a code; False when ``limit`` tries are used up."""
        return self._count(self._attempts, ask_id, limit)

    def _count(self, counter: dict[bytes, int], key: bytes, limit: int) -> bool:
        with self._lock:
            count = counter.get(key, 0)
            if count >= limit:
                return False
            counter[key] = count + 1
            if len(counter) > MAX_COUNTED:
                # The oldest first; a flood must not fill the memory.
                del counter[next(iter(counter))]
            return True

    def enqueue(self, mail: ConfirmationMail) -> None:
        """Queue a mail. Raises MailQueueFull."""
        if self._queue.empty():
            with self._lock:
                self._sent.start()
        try:
            self._queue.put_nowait(mail)
        except queue.Full:
            raise MailQueueFull() from None

    def count_room(self) -> int:
        """Return how many mails more could be queued now."""
        return MAX_QUEUED - self._queue.qsize()

    def look(self) -> MailsWaiting:
        """Return how many mails wait. The same for whoever asks: no address tells."""
        waiting = self._queue.qsize()
        with self._lock:
            rate = self._sent.read()
        seconds = int(waiting / rate) + 1 if rate else None
        return MailsWaiting(waiting=waiting, seconds=seconds)

    def give_back_mail(self, nullifier: bytes) -> None:
        """Take one mail off an address's count: it was never queued."""
        with self._lock:
            if self._mails_sent.get(nullifier, 0):
                self._mails_sent[nullifier] -= 1

    def _loop(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            with self._lock:
                self._sent.count()
            try:
                self.sender.send(self._render(item))
            except MailNotSent as error:
                # The address stays out of every log. The person can ask again.
                self._on_mail_failure(error)
            except Exception as error:  # noqa: BLE001 - the worker's outer loop
                # One mail that cannot be written must not stop everybody else's. Its
                # text may hold the address, so only the kind of error is passed on.
                kind = type(error).__name__
                self._on_mail_failure(MailNotSent(kind, permanent=False))
