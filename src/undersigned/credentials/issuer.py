"""The issuer: the one thread that owns the issuance files, and the signing threads.

Requests gather for a few milliseconds; per version they are sorted by nullifier,
decided and committed in one transaction; only then are the blind signatures made and
handed out. The answer to a request is deterministic, so none is stored: the same
request again is signed again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from undersigned.credentials.data import IssuerKeyFacts, IssuingState, TicketFacts
from undersigned.credentials.issuance_file import IssuanceFile
from undersigned.credentials.rsa import BlindSigner
from undersigned.credentials.tickets import TicketNotValid, VersionKey
from undersigned.kernel.batching import BatchThread, StoreStopped
from undersigned.kernel.errors import (
    Conflict,
    Refused,
    StorageFailed,
    Unavailable,
    UndersignedError,
)
from undersigned.kernel.keystore import Keystore

_logger = logging.getLogger("undersigned.credentials")

MAX_BATCH = 500
GATHER_SECONDS = 0.005
# Signatures a thread makes before it hands them over, some two milliseconds' worth:
# each hand-over wakes the event loop.
HAND_OVER = 6
HOUR_SECONDS = 3600.0
# Rebuild at a publication while that costs little; beyond, hourly.
CHEAP_ROWS = 200_000

# Between two rebuilds rest this many times as long as one takes.
REST = 9
DAY_SECONDS = 86_400
Done = Callable[[bytes | UndersignedError], None]


class IssuingStopped(Refused):
    """The campaign issues no more tokens."""

    code: ClassVar[str] = "campaign-closed"


class AlreadyIssued(Conflict):
    """This address or code has had its token, for another blinded request."""

    code: ClassVar[str] = "already-issued"


class IntakeClosed(Unavailable):
    """Keys are missing or weak, the record is lost, or storage failed."""

    code: ClassVar[str] = "intake-closed"


@dataclass(slots=True)
class IssuerVersion:
    """One statement version's secrets and file, in memory."""

    origin: str
    key: VersionKey | None
    file: IssuanceFile | None
    state: IssuingState
    signers: dict[int, BlindSigner] = field(default_factory=dict)
    keys: dict[int, IssuerKeyFacts] = field(default_factory=dict)
    rebuilt_at: float = 0.0
    # Whether anything was written since the last tick of the log's clock.
    touched: bool = False
    # How long the last rebuild took, in seconds.
    rebuild_seconds: float = 0.0
    # The day (since 1970) on which expired tickets were last dropped.
    purged_on: int = 0


@dataclass(slots=True)
class _Request:
    version: IssuerVersion
    ticket: TicketFacts
    key_index: int
    blinded: bytes
    request_hash: bytes
    done: Done


class Issuer(BatchThread[_Request]):
    """All statement versions' issuing, in one process.

    ``folder``: where the issuance files are. ``keystore`` None: secrets are locked.
    """

    def __init__(
        self,
        *,
        folder: Path,
        keystore: Keystore | None,
        on_failure: Callable[[BaseException], None],
        gather_seconds: float = GATHER_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.keystore = keystore
        self.versions: dict[str, IssuerVersion] = {}
        self._monotonic = monotonic
        self._lanes = max(1, min(os.cpu_count() or 1, 8))
        self._signing = ThreadPoolExecutor(
            max_workers=self._lanes, thread_name_prefix="blind-sign"
        )
        super().__init__(
            name="issuer",
            commit=self._issue_batch,
            refuse=lambda item: item.done(StoreStopped()),
            on_failure=on_failure,
            max_batch=MAX_BATCH,
            gather_seconds=gather_seconds,
        )

    @override
    def stop(self) -> None:
        """Finish what is queued; leave every file rebuilt: it then shows no order."""
        if self.is_taking:
            self.run(self._rebuild_touched)
        super().stop()
        self._signing.shutdown()
        for version in self.versions.values():
            if version.file is not None:
                version.file.close()

    def get_version(self, origin: str) -> IssuerVersion:
        """Return a version. Raises IntakeClosed if it is not known here."""
        version = self.versions.get(origin)
        if version is None:
            raise IntakeClosed(origin=origin)
        return version

    def submit(
        self,
        *,
        version: IssuerVersion,
        ticket: TicketFacts,
        key_index: int,
        request: bytes,
        done: Done,
    ) -> None:
        """Queue one checked token request (259 bytes). ``done`` gets answer or error.

        ``done`` runs on one of the issuer's threads and must return at once.
        """
        self.put(
            _Request(
                version=version,
                ticket=ticket,
                key_index=key_index,
                blinded=request[3:],
                request_hash=hashlib.sha256(request).digest(),
                done=done,
            )
        )

    def add_tickets(self, version: IssuerVersion, tickets: list[TicketFacts]) -> None:
        """Register unspent tickets durably, sorted by hash. Raises StoreStopped."""

        def add() -> None:
            file = _require_file(version)
            file.begin()
            for ticket in sorted(tickets, key=lambda facts: facts.ticket_hash):
                last_day = int(ticket.expires_at.timestamp()) // DAY_SECONDS - 1
                file.add_ticket(ticket.ticket_hash, last_day)
            self._commit_file(version, file)

        self.run(add)

    def rebuild_changed(self) -> None:
        """Each minute: leave no order in files where the last commit left some.

        Where that is cheap; beyond, ``rebuild_after_publication`` does it hourly.
        """
        if self.is_taking:
            self.run(lambda: self._rebuild_changed(limit=CHEAP_ROWS))

    def rebuild_after_publication(self, origin: str, *, today: int) -> None:
        """At a tick of the log's clock, leave neither order nor time in a file.

        Also where the last commit left no order: the file's, the journal's and the
        folder's times would be the last request's until the next one; now they are
        the tick's. Large files are rebuilt hourly, their times with them.
        ``today``: days since 1970; tickets whose last day is over go.
        """
        version = self.versions.get(origin)
        if version is None or not self.is_taking:
            return

        def rebuild() -> None:
            file = version.file
            if file is None:
                return
            if version.purged_on != today:
                file.begin()
                file.drop_expired(today)
                file.commit()
                version.touched = True
                version.purged_on = today
            age = self._monotonic() - version.rebuilt_at
            if version.touched and (file.rows <= CHEAP_ROWS or age >= HOUR_SECONDS):
                self._rebuild(version, file)
                version.touched = False

        self.run(rebuild)

    def _rebuild_changed(self, *, limit: int | None = None) -> None:
        for version in self.versions.values():
            file = version.file
            if file is None or not file.changed:
                continue
            if limit is None or file.rows <= limit:
                self._rebuild(version, file)

    def _rebuild_touched(self) -> None:
        """For an orderly stop: neither order nor an instant stays behind."""
        for version in self.versions.values():
            if version.file is not None and version.touched:
                self._rebuild(version, version.file)

    def _commit_file(self, version: IssuerVersion, file: IssuanceFile) -> None:
        file.commit()
        version.touched = True
        self._rebuild_if_due(version, file)

    def _rebuild(self, version: IssuerVersion, file: IssuanceFile) -> None:
        began = self._monotonic()
        file.rebuild()
        version.rebuilt_at = self._monotonic()
        version.rebuild_seconds = version.rebuilt_at - began

    def _rebuild_if_due(self, version: IssuerVersion, file: IssuanceFile) -> None:
        """Leave no order behind a commit, where that takes a small part of the time.

        A rebuilt file's pages are full, so that each row that follows splits one, and
        the new pages stand in the order of requests: the unlink drill reads it. Only a
        burst, which is a crowd itself, gathers rows between two rebuilds.
        """
        rested = self._monotonic() - version.rebuilt_at
        if file.is_small or (
            file.rows <= CHEAP_ROWS and rested >= REST * version.rebuild_seconds
        ):
            self._rebuild(version, file)

    def _issue_batch(self, batch: list[_Request]) -> None:
        by_version: dict[str, list[_Request]] = {}
        for request in batch:
            by_version.setdefault(request.version.origin, []).append(request)
        waiting = list(by_version.values())
        while waiting:
            requests = waiting.pop()
            try:
                self._issue_for_version(requests[0].version, requests)
            except StorageFailed:
                for request in (one for left in waiting for one in left):
                    request.done(StoreStopped())
                raise

    def _issue_for_version(
        self, version: IssuerVersion, requests: list[_Request]
    ) -> None:
        # Sorted by nullifier: neither the journal nor the pages show who came first.
        requests.sort(key=lambda request: request.ticket.nullifier)
        answers: list[tuple[_Request, int | UndersignedError]] = []
        file = version.file
        if file is None or version.state in _CLOSED_STATES:
            error = _closed_error(version)
            for request in requests:
                request.done(error)
            return
        try:
            file.begin()
            answers, wrote = self._decide_all(version, file, requests)
            if wrote:
                self._commit_file(version, file)
            else:
                # Refusals and retries alone: nothing to write, nothing to rebuild.
                file.roll_back()
        except (sqlite3.Error, StorageFailed) as error:
            # Whether the rows are durable or not, a retry after the restart gets the
            # answer that follows from them.
            for request in requests:
                request.done(StoreStopped())
            raise StorageFailed(f"couldn't commit issuing: {error}") from error
        granted: list[tuple[_Request, int]] = []
        for request, answer in answers:
            if isinstance(answer, UndersignedError):
                request.done(answer)
            else:
                granted.append((request, answer))
        # Signing leaves this thread, so that the next batch can gather and commit.
        lanes = self._lanes
        for lane in range(min(lanes, len(granted))):
            self._signing.submit(_sign_all, version, granted[lane::lanes])

    @staticmethod
    def _decide_all(
        version: IssuerVersion, file: IssuanceFile, requests: list[_Request]
    ) -> tuple[list[tuple[_Request, int | UndersignedError]], bool]:
        """Return for each the key index to sign under, or why not, and record it.

        And whether anything was recorded.

        Reads first and writes last, in few statements each: Python gives up its lock at
        every one, and the event loop is busy. What one request of the batch changes
        for the next is followed here.
        """
        known = file.find_many([one.ticket.nullifier for one in requests])
        unspent = file.find_tickets([one.ticket.ticket_hash for one in requests])
        answers: list[tuple[_Request, int | UndersignedError]] = []
        spent: list[tuple[bytes, bytes, int, bytes]] = []
        for request in requests:
            ticket = request.ticket
            issued = known.get(ticket.nullifier)
            if issued is not None:
                same = issued[1] == request.request_hash
                answers.append((request, issued[0] if same else AlreadyIssued()))
            elif version.state is not IssuingState.OPEN:
                answers.append((request, IssuingStopped()))
            elif ticket.ticket_hash not in unspent:
                answers.append((request, TicketNotValid()))
            else:
                unspent.discard(ticket.ticket_hash)
                known[ticket.nullifier] = request.key_index, request.request_hash
                spent.append(
                    (
                        ticket.ticket_hash,
                        ticket.nullifier,
                        request.key_index,
                        request.request_hash,
                    )
                )
                answers.append((request, request.key_index))
        file.spend_many(spent)
        return answers, bool(spent)


_CLOSED_STATES = frozenset(
    {IssuingState.GONE, IssuingState.KEYS_MISSING, IssuingState.RECORD_LOST}
)


def _closed_error(version: IssuerVersion) -> UndersignedError:
    if version.state is IssuingState.GONE:
        return IssuingStopped(origin=version.origin)
    return IntakeClosed(origin=version.origin, reason=str(version.state))


def _require_file(version: IssuerVersion) -> IssuanceFile:
    if version.file is None or version.state is not IssuingState.OPEN:
        raise _closed_error(version)
    return version.file


def _sign_all(version: IssuerVersion, granted: list[tuple[_Request, int]]) -> None:
    for at in range(0, len(granted), HAND_OVER):
        group = granted[at : at + HAND_OVER]
        answers = [_sign(version, request, key_index) for request, key_index in group]
        for (request, _key_index), answer in zip(group, answers, strict=True):
            request.done(answer)


def _sign(
    version: IssuerVersion, request: _Request, key_index: int
) -> bytes | UndersignedError:
    signer = version.signers.get(key_index)
    if signer is None:
        return IntakeClosed(origin=version.origin)
    try:
        return signer.blind_sign(request.blinded)
    except Exception as error:  # noqa: BLE001 - nobody is left waiting
        # A fault inside RSA: no answer leaves, and the retry signs again.
        _logger.error(
            "%s: a blind signature failed: %s", version.origin, type(error).__name__
        )
        return IntakeClosed(origin=version.origin)
