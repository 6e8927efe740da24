"""The issuing office of one statement version, over one folder."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime
from functools import partial
from pathlib import Path

from tests.factories.cast import ASHA
from tests.factories.signers import Writing, write_signature
from undersigned.credentials.data import IssuerKeyFacts
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import (
    create_version,
    destroy_version,
    get_class_key,
    get_version_key,
    grant_ticket,
    issue,
    load_version,
    reopen_issuance,
)
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.errors import UndersignedError
from undersigned.kernel.keystore import Keystore

EMAIL, INVITATION, OPEN = 1, 2, 4
PATIENCE_SECONDS = 10


class Office:
    """An issuer that can be stopped and started, and people who come to it."""

    def __init__(self, folder: Path, clock: FixedClock) -> None:
        # Whose campaign it works for; another name, another version.
        self.name = "river"
        self.folder = folder
        self.clock = clock
        self.failures: list[BaseException] = []
        self.is_locked = False
        # How often its record was lost, as the log would say.
        self.lost = 0
        # Moves only when told: hours pass for the rebuilding of files.
        self.uptime_seconds = 0.0
        self._issuer: Issuer | None = None

    # --- running ------------------------------------------------------------------

    @property
    def issuer(self) -> Issuer:
        """The running issuer."""
        assert self._issuer is not None, "the office is shut"
        return self._issuer

    @property
    def path(self) -> str:
        """The version's path."""
        return f"c/{self.name}"

    @property
    def origin(self) -> str:
        """The version's origin."""
        return f"undersigned.example/{self.path}"

    @property
    def record(self) -> Path:
        """The issuance file."""
        return self.folder / "issuance" / f"{self.name}.sqlite3"

    @property
    def secrets(self) -> Path:
        """The folder of this version's secrets."""
        return self.folder / "secrets" / self.path

    def start(self) -> None:
        """Start an issuer that knows no version yet."""
        self._issuer = Issuer(
            folder=self.folder / "issuance",
            keystore=None if self.is_locked else Keystore(self.folder / "secrets"),
            on_failure=self.failures.append,
            gather_seconds=0.0,
            monotonic=lambda: self.uptime_seconds,
        )
        self._issuer.start()

    def stop(self) -> None:
        """Stop, as on a signal."""
        if self._issuer is not None:
            self._issuer.stop()
            self._issuer = None

    def restart(self, *, gone: bool = False, closing: bool = False) -> None:
        """Stop, start and load the version, as a process does."""
        self.stop()
        self.start()
        load_version(
            issuer=self.issuer,
            origin=self.origin,
            path=self.path,
            gone=gone,
            closing=closing,
            lost=self.lost,
        )

    # --- the version --------------------------------------------------------------

    def create(self, classes: tuple[int, ...] = (EMAIL, OPEN)) -> list[IssuerKeyFacts]:
        """Make keys and record, or take over what is there."""
        return create_version(
            issuer=self.issuer,
            origin=self.origin,
            path=self.path,
            classes=list(classes),
        )

    def destroy(self) -> None:
        """Destroy keys and record."""
        destroy_version(issuer=self.issuer, origin=self.origin, path=self.path)

    def reopen(self) -> None:
        """Begin a new record after the old one was lost."""
        self.lost += 1
        reopen_issuance(
            issuer=self.issuer, origin=self.origin, path=self.path, lost=self.lost
        )

    # --- people -------------------------------------------------------------------

    def make_nullifier(self, address: str = ASHA, klass: int = EMAIL) -> bytes:
        """Return the keyed hash that stands for an address."""
        key = get_version_key(issuer=self.issuer, origin=self.origin)
        return key.make_nullifier(klass=klass, value=address)

    def grant(
        self,
        address: str = ASHA,
        *,
        klass: int = EMAIL,
        valid_from: datetime | None = None,
    ) -> str:
        """Return a ticket for an address."""
        return grant_ticket(
            issuer=self.issuer,
            origin=self.origin,
            klass=klass,
            nullifier=self.make_nullifier(address, klass),
            at=self.clock.now(),
            valid_from=valid_from,
        )

    def write(self, klass: int = EMAIL) -> Writing:
        """Return a signer's secrets, with a blinded request."""
        key = get_class_key(issuer=self.issuer, origin=self.origin, klass=klass)
        return write_signature(
            key_index=key.key_index, spki=key.spki, challenge_digest=bytes(32)
        )

    def start_issue(self, ticket: str, request: bytes) -> Future[bytes]:
        """Hand in a token request; what is wrong with it is raised at once."""
        future: Future[bytes] = Future()
        issue(
            issuer=self.issuer,
            origin=self.origin,
            ticket=ticket,
            request=request,
            at=self.clock.now(),
            done=partial(_settle, future),
        )
        return future

    def issue(self, ticket: str, request: bytes) -> bytes:
        """Return the answer to a token request."""
        return self.start_issue(ticket, request).result(PATIENCE_SECONDS)


def _settle(future: Future[bytes], result: bytes | UndersignedError) -> None:
    if isinstance(result, UndersignedError):
        future.set_exception(result)
    else:
        future.set_result(result)
