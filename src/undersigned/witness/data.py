"""What crosses the border of witnessing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from undersigned_verify.note import VerifierKey


@dataclass(frozen=True, slots=True)
class TrustedLog:
    """A log that this witness knows.

    ``trusted`` False: it is no longer cosigned, and its state is kept for ever, so that
    trusting it again goes on from there. ``size``, ``root``: of the newest cosigned
    checkpoint; 0 and the empty tree's before the first. ``note``: that checkpoint with
    its log's signature and no other; None before the first. ``time``: of the newest
    cosignature, seconds since 1970, 0 before the first. ``claimed``: the largest old
    size that came with the log's signature and that we do not know of.
    """

    origin: str
    vkey: str
    trusted: bool
    size: int
    root: bytes
    note: bytes | None
    time: int
    claimed: int


class EvidenceKind(StrEnum):
    """What two signed checkpoints of one log prove."""

    # Two root hashes of one size: nobody needs to be believed.
    FORK = "fork"
    # Another size, with a proof that does not verify: a mistake, or a fork.
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two checkpoints signed by the log: ``ours`` was cosigned, ``theirs`` refused."""

    origin: str
    kind: EvidenceKind
    ours: bytes
    theirs: bytes


@dataclass(frozen=True, slots=True)
class OurWitness:
    """One whom we ask for cosignatures. ``url``: its submission prefix, no slash after.

    The key's name is its name everywhere, also in the policy.
    """

    key: VerifierKey
    url: str

    @property
    def name(self) -> str:
        """The witness's name."""
        return self.key.name


class Standing(StrEnum):
    """How it stands between our spine and one witness."""

    UNKNOWN = "unknown"  # not asked yet
    GOOD = "good"  # it has cosigned what it was last asked for
    GONE = "gone"  # no answer, or none in time
    BROKEN = "broken"  # an answer that the protocol does not know, or a false one
    NOT_TRUSTING = "not-trusting"  # it does not know our log, or our key
    AHEAD = "ahead"  # it says that it has cosigned more than we have
    BESIDE = "beside"  # it says that it has cosigned another history


# Whatever these mean, it must be known before anything more is signed: the database is
# older than what the witness has seen, or of another history, or the witness lies.
ALARMING = frozenset({Standing.AHEAD, Standing.BESIDE})


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one witness.

    ``size``: the newest size it has cosigned, or said that it had; None while unknown.
    ``detail``: the last trouble, empty when all is well.
    """

    name: str
    url: str
    standing: Standing
    size: int | None
    detail: str = ""
