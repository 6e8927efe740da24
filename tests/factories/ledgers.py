"""One log in one ledger's folder, without campaigns, people or Django.

Issuer and signers are played by the test, with real keys: the verifier recounts what
comes out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import entry, token
from undersigned_verify.audit import AuditReport, audit_log
from undersigned_verify.canonical import encode_base64
from undersigned_verify.note import VerifierKey
from undersigned_verify.proof import parse_receipt

from tests.factories.cast import MINA, PETRA
from tests.factories.keys import KeyBox
from tests.factories.signers import write_signature
from tests.factories.stores import make_home
from undersigned.cli.exports import copy_log
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.data import (
    LogSettings,
    Mode,
    PooledSignature,
    Published,
    ShownRecord,
)
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import (
    close_log,
    create_log,
    note_issued,
    publish_due,
    start_withdrawal,
    submit_control,
    submit_signature,
)
from undersigned.ledger.queries import find_receipt

HOST = "undersigned.example"
STATEMENT = b"We ask the council to keep the river path open.\n"
CLASS_OF_KEY = {0: 1, 1: 2, 2: 4}
EMAIL_KEY, INVITATION_KEY, OPEN_KEY = CLASS_OF_KEY
PATIENCE_SECONDS = 10


# Signatures by key, made once a session: every test's first river has the same keys and
# the same text, so they are good in each of them.
_MADE: dict[bytes, list[Pooled]] = {}


class PowerCut(BaseException):
    """The machine stops at the step a test chose."""


def cut_at(step: str) -> Callable[[str], None]:
    """Return an ``at_step`` that stops the machine at ``step``."""

    def at_step(name: str) -> None:
        if name == step:
            raise PowerCut(step)

    return at_step


@dataclass(frozen=True, slots=True)
class Pooled:
    """A signature handed to a log, and its signer's secret."""

    signature: PooledSignature
    w: bytes

    @property
    def nonce(self) -> bytes:
        """What the log dedupes on."""
        return self.signature.nonce


class River:
    """The log of the river campaign: keys 0 e-mail, 1 invitation, 2 open."""

    origin = f"{HOST}/c/river"
    path = "c/river"

    def __init__(
        self,
        folder: Path,
        keys: KeyBox,
        clock: FixedClock,
        *,
        mode: Mode = "standard",
        k: int = 3,
        interval_seconds: int = 60,
        closes_at: datetime | None = None,
    ) -> None:
        self.folder = folder
        self.home = make_home(folder)
        self.clock = clock
        self.settings = LogSettings(
            origin=self.origin,
            path=self.path,
            mode=mode,
            interval_seconds=interval_seconds,
            k=k,
            closes_at=closes_at,
            uncounted_keys=(OPEN_KEY,),
        )
        self.signers = [keys.load(keys.take()) for _key in CLASS_OF_KEY]
        self._used = [0 for _signer in self.signers]
        self.handed_on: list[ShownRecord] = []
        self.failures: list[BaseException] = []
        self._ledger: Ledger | None = None

    # --- running ------------------------------------------------------------------

    @property
    def public(self) -> Path:
        """The log's public files."""
        return self.folder / "public" / self.path

    @property
    def ledger(self) -> Ledger:
        """The running ledger."""
        assert self._ledger is not None, "the ledger is stopped"
        return self._ledger

    def start(self, at_step: Callable[[str], None] = lambda _name: None) -> Ledger:
        """Open the folder, as a process does, and note the present tick."""
        self._ledger = Ledger(
            host=HOST,
            folder=self.folder,
            public=self.folder / "public",
            keystore=Keystore(self.folder / "secrets"),
            store=self.home.open(),
            on_shown=self.handed_on.extend,
            on_failure=self.failures.append,
            at_step=at_step,
            gather_seconds=0.0,
        )
        self._ledger.start()
        publish_due(ledger=self._ledger, at=self.clock.now())
        return self._ledger

    def stop(self) -> None:
        """Stop; after a power cut, this only closes files."""
        if self._ledger is not None:
            self._ledger.stop()
            self._ledger = None

    def restart(self, at_step: Callable[[str], None] = lambda _name: None) -> Ledger:
        """Stop and start again."""
        self.stop()
        return self.start(at_step)

    def copy_to(self, folder: Path) -> River:
        """Return a twin, stopped, over a copy of everything on disk."""
        twin = object.__new__(River)
        twin.__dict__.update(self.__dict__)
        twin._used = list(self._used)
        twin.folder = shutil.copytree(self.folder, folder)
        twin.home = self.home.copy(twin.folder)
        twin.handed_on, twin.failures, twin._ledger = [], [], None
        return twin

    # --- the log ------------------------------------------------------------------

    def make_first_leaves(self) -> list[bytes]:
        """Return header, issuer keys and the approvers Mina and Petra."""
        header = entry.Header(
            origin=self.origin,
            statement_sha256=sha256(STATEMENT).hexdigest(),
            issuer_name=HOST,
            mode=self.settings.mode,
            classes=("email", "invitation", "open"),
        )
        leaves: list[entry.Entry] = [header]
        for index, signer in enumerate(self.signers):
            leaves.append(entry.IssuerKey(index, CLASS_OF_KEY[index], 0, signer.spki))
        for name, key in (("mina", MINA), ("petra", PETRA)):
            public = key.public_key().public_bytes_raw()
            leaves.append(entry.ApproverKey(name, encode_base64(public)))
        return [entry.encode(leaf) for leaf in leaves]

    def create(self) -> Published:
        """Create the log and publish its first checkpoint."""
        published = create_log(
            ledger=self.ledger,
            settings=self.settings,
            leaves=self.make_first_leaves(),
            statement=STATEMENT,
            at=self.clock.now(),
        )
        publish_due(ledger=self.ledger, at=self.clock.now())
        return published

    @property
    def challenge_digest(self) -> bytes:
        """What every token of this log is bound to."""
        return token.Challenge(
            issuer_name=HOST,
            origin=self.origin,
            statement_sha256=sha256(STATEMENT).digest(),
        ).digest

    def make_signature(
        self, *, key_index: int = EMAIL_KEY, shown: bytes | None = None
    ) -> Pooled:
        """Return a verified signature, as ``signatures`` hands it over."""
        made = _MADE.setdefault(self.signers[key_index].spki, [])
        if self._used[key_index] == len(made):
            made.append(self._make(key_index))
        one = made[self._used[key_index]]
        self._used[key_index] += 1
        return replace(one, signature=replace(one.signature, shown=shown))

    def _make(self, key_index: int) -> Pooled:
        signer = self.signers[key_index]
        writing = write_signature(
            key_index=key_index,
            spki=signer.spki,
            challenge_digest=self.challenge_digest,
        )
        one = writing.prepared
        sent = writing.finish(signer.blind_sign(one.request[3:]))
        leaf = entry.encode(
            entry.Signature(
                key_index=key_index,
                stance=one.stance,
                public_hash=one.public_hash,
                withdraw_hash=one.withdraw_hash,
                r=one.r,
                authenticator=sent.authenticator,
            )
        )
        return Pooled(PooledSignature(one.nonce, leaf, None), one.w)

    def submit(self, pooled: Pooled) -> Future[None]:
        """Hand in a signature; the future ends when its fate is known."""
        future: Future[None] = Future()

        def done(error: BaseException | None) -> None:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        submit_signature(
            ledger=self.ledger,
            log=self.ledger.get_log(self.origin),
            pooled=pooled.signature,
            done=done,
        )
        return future

    def submit_all(self, pooled: Iterable[Pooled]) -> None:
        """Hand in signatures and wait until all are durable."""
        for future in [self.submit(one) for one in pooled]:
            future.result(PATIENCE_SECONDS)

    def pool(self, count: int = 1, *, key_index: int = EMAIL_KEY) -> list[Pooled]:
        """Make and pool ``count`` signatures."""
        made = [self.make_signature(key_index=key_index) for _number in range(count)]
        self.submit_all(made)
        return made

    def withdraw(self, pooled: Pooled, w: bytes | None = None) -> None:
        """Hand in a withdrawal and wait until it is durable."""
        start_withdrawal(
            ledger=self.ledger,
            origin=self.origin,
            nonce=pooled.nonce,
            w=pooled.w if w is None else w,
        ).result(PATIENCE_SECONDS)

    def control(self, leaf: entry.Entry) -> bytes:
        """Hand in a control leaf; return its bytes."""
        data = entry.encode(leaf)
        submit_control(ledger=self.ledger, origin=self.origin, leaf=data)
        return data

    def make_removal(
        self,
        *indexes: int,
        signers: tuple[tuple[str, Ed25519PrivateKey], ...] = (
            ("mina", MINA),
            ("petra", PETRA),
        ),
    ) -> entry.Removal:
        """Return a removal of some leaves with two approvals."""
        bare = entry.Removal(
            targets=tuple((index, index) for index in sorted(indexes)),
            remove_key=None,
            reason="scripted-burst",
            case_sha256="c" * 64,
            approvals=(),
        )
        message = entry.approval_message(self.origin, bare)
        return entry.Removal(
            targets=bare.targets,
            remove_key=None,
            reason=bare.reason,
            case_sha256=bare.case_sha256,
            approvals=tuple(
                entry.Approval(name, encode_base64(key.sign(message)))
                for name, key in signers
            ),
        )

    # --- publication --------------------------------------------------------------

    def publish(self, intervals: int = 1) -> list[Published]:
        """Let that many publication intervals pass, one after another."""
        done: list[Published] = []
        for _number in range(intervals):
            self.clock.advance(timedelta(seconds=self.settings.interval_seconds))
            done += publish_due(ledger=self.ledger, at=self.clock.now())
        return done

    def close(self, reason: str = "closing-day") -> list[Published]:
        """Close, with the totals of tokens told before, as closing a campaign does."""
        totals = {key: used for key, used in enumerate(self._used) if used}
        at = self.clock.now()
        note_issued(
            ledger=self.ledger, origin=self.origin, totals=totals, at=at, final=True
        )
        return close_log(ledger=self.ledger, origin=self.origin, reason=reason, at=at)

    # --- what the public sees -----------------------------------------------------

    def audit(self) -> AuditReport:
        """Recount the public files, as Vic does."""
        return audit_log(self.public, workers=1)

    def export_to(self, folder: Path) -> dict[str, bytes]:
        """Return every file of an export at the newest checkpoint, by its name."""
        copy_log(self.public, folder)
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def find_receipt(self, pooled: Pooled) -> bytes | None:
        """Return a signature's receipt, once there is one."""
        log = self.ledger.get_log(self.origin)
        return find_receipt(ledger=self.ledger, log=log, nonce=pooled.nonce)

    def index_of(self, pooled: Pooled) -> int:
        """Return where a published signature stands."""
        receipt = self.find_receipt(pooled)
        assert receipt is not None, "not published yet"
        return parse_receipt(receipt)[0].index

    @property
    def key(self) -> VerifierKey:
        """The log's verifier key, as published."""
        return VerifierKey.parse((self.public / "log.vkey").read_text().strip())

    @property
    def kept(self) -> list[int]:
        """Sizes of the kept checkpoints."""
        return sorted(int(p.name) for p in (self.public / "checkpoints").iterdir())


def require_accepted(report: AuditReport) -> AuditReport:
    """Fail unless the verifier accepts the log; return its report."""
    assert report.accepted, report.fault
    return report
