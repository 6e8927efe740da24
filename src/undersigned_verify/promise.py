"""Promises: what a server signed when it accepted a signature, and whether it kept it.

A signed note of the log's key under the name ``ORIGIN/promise``, whose text is
``undersigned promise v1``, the origin, the nonce in hex and publish-by in seconds since
1970, each on a line. Kept as a file it may have ``extra BASE64`` before it: the
signature's leaf, and w where the signer keeps the power to withdraw.
"""

from dataclasses import dataclass
from typing import Final, Self

from undersigned_verify.canonical import parse_base64
from undersigned_verify.checkpoint import Checkpoint, parse_decimal
from undersigned_verify.chunk import Checked, holds_nonce, is_signature
from undersigned_verify.count import State
from undersigned_verify.errors import Evidence, Fault, Unreadable
from undersigned_verify.instant import describe_instant
from undersigned_verify.lookup import Lookup
from undersigned_verify.note import (
    MAX_NOTE,
    VerifierKey,
    parse_note,
    verify_note,
)
from undersigned_verify.opening import open_key, read_file
from undersigned_verify.proof import open_extra, signature_nonce
from undersigned_verify.recount import Progress, Recount
from undersigned_verify.source import Source
from undersigned_verify.token import Challenge

TITLE: Final = "undersigned promise v1"
MAX_PROMISE: Final = 2 * MAX_NOTE


@dataclass(frozen=True)
class Promise:
    """A promise, taken apart; nothing in it is verified."""

    origin: str
    nonce: bytes  # 32 bytes
    publish_by: int  # seconds since 1970
    note: bytes  # the whole signed note
    extra: bytes | None  # the leaf, and perhaps w, that the file keeps with it

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the promise of a file; Fault unless its form is exact.

        Only what editors change in a text copied from a page is put right before: a
        byte order mark, the line ends, the last of them. The signature decides.
        """
        if len(data) > MAX_PROMISE:
            raise Fault("promise-form", "The file is too long.")
        data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        data = data.strip(b"\n") + b"\n"
        extra, note = None, data
        if data.startswith(b"extra "):
            line, separator, note = data.removeprefix(b"extra ").partition(b"\n\n")
            if not separator or not line.isascii():
                raise Fault("promise-form", "The extra line is not followed by a note.")
            extra = parse_base64(line.decode())
        lines = parse_note(note).text.split("\n")
        if len(lines) != 5 or lines[0] != TITLE or lines[4] or not lines[1]:
            raise Fault("promise-form")
        try:
            nonce, publish_by = bytes.fromhex(lines[2]), parse_decimal(lines[3])
        except (ValueError, Fault) as error:
            raise Fault("promise-form", "Nonce or time is not in its form.") from error
        if len(nonce) != 32 or nonce.hex() != lines[2]:
            raise Fault("promise-form", "The nonce is not 64 lower-case hex digits.")
        return cls(lines[1], nonce, publish_by, note, extra)

    def verify(self, key: VerifierKey) -> None:
        """Check that the log's key signed it, as a promise and as nothing else."""
        if key.name != self.origin:
            detail = f"The promise is of {self.origin}, the key of {key.name}."
            raise Fault("note-signature", detail)
        name = f"{key.name}/promise"
        verify_note(parse_note(self.note), VerifierKey.of(name, key.public))

    def check_leaf(self, challenge: Challenge) -> None:
        """Check that the leaf kept with it, if any, is of the signature promised."""
        if self.extra is None:
            return
        signature, _ = open_extra(self.extra)
        if signature_nonce(signature, challenge) != self.nonce:
            raise Fault("promise-leaf")


@dataclass(frozen=True)
class PromiseVerdict:
    """A promise that is kept, or not yet due."""

    promise: Promise
    newest: Checkpoint
    index: int | None  # of the signature's leaf; None where it is not there yet
    state: State | None  # where the signature stands at the newest checkpoint

    @property
    def is_kept(self) -> bool:
        """Whether the signature is in the log."""
        return self.index is not None


def check_promise(
    promise: Promise,
    source: Source,
    *,
    now: int | None,
    clock: int,
    key: VerifierKey | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> PromiseVerdict:
    """Look a promised signature up; raise the first Fault, or Unreadable.

    The whole log is replayed and each signature's nonce computed, so that nothing is
    asked about this one. ``now``: when the log was read or copied, in seconds since
    1970; None: at ``clock`` for a live log, unknown for a copy. A closed log needs no
    time: what it lacks will never come. ``key``: the log's key
    as its holder knows it; without one the log's own is taken.
    """
    published = open_key(source)
    if key is not None and published != key:
        raise Fault("log-keys", "The log has another key.", path="log.vkey")
    promise.verify(published)
    search = _Search(promise.nonce)
    recount = Recount(
        source,
        workers=workers,
        tokens=False,
        progress=progress,
        on_checked=search.look,
    )
    recount.run()
    newest = recount.newest
    assert newest is not None
    promise.check_leaf(recount.state.challenge)
    index = search.find(Lookup(source, newest), recount.state.challenge)
    if index is not None:
        return PromiseVerdict(promise, newest, index, recount.state.state_of(index))
    if recount.state.closed:
        raise _broken(promise, newest, source, _CLOSED)
    due = describe_instant(promise.publish_by)
    if now is None and (source.live or clock < promise.publish_by):
        now = clock
    if now is None:
        raise Unreadable(
            f"The signature was promised by {due} and is not in this copy. Say with "
            "--at when the copy was made."
        )
    if now < promise.publish_by:
        return PromiseVerdict(promise, newest, None, None)
    raise _broken(promise, newest, source, _LATE.format(describe_instant(now)))


# What a broken promise shows, and what it does not.
_CLOSED: Final = (
    "is closed without it: no later leaf can be a signature. Keep the promise and this "
    "copy of the log: together they prove that a signature was accepted and dropped."
)
_LATE: Final = (
    "did not hold it at {}. Keep the promise and this copy of the log: together they "
    "prove that a signature was accepted and was not there. They do not prove why, for "
    "the server may have been down; and when the log was read is your word, because "
    "checkpoints hold no time."
)


def _broken(promise: Promise, newest: Checkpoint, source: Source, what: str) -> Fault:
    due = describe_instant(promise.publish_by)
    detail = (
        f"The log's key promised this signature by {due}, and the log of "
        f"{newest.size} leaves {what}"
    )
    path = f"checkpoints/{newest.size}"
    note = read_file(source, path, MAX_NOTE)
    return Fault("promise-broken", detail).proven_by(
        Evidence("the promise", promise.note), Evidence(f"{source.name}/{path}", note)
    )


class _Search:
    """Looks for one nonce while a log is replayed."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self._found: range | None = None

    def look(self, done: Checked) -> None:
        """Note the chunk that holds the nonce."""
        if self._found is None and holds_nonce(done, self._nonce):
            self._found = range(done.first, done.first + done.leaves)

    def find(self, lookup: Lookup, challenge: Challenge) -> int | None:
        """Return the leaf with this nonce, None where there is none."""
        for index in self._found or ():
            data = lookup.read_leaf(index)
            if is_signature(data):
                signature, _ = open_extra(data)
                if signature_nonce(signature, challenge) == self._nonce:
                    return index
        return None
