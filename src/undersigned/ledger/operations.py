"""Every change to a log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar

from undersigned_verify import entry, merkle, token
from undersigned_verify.errors import Fault

from undersigned.kernel.clock import round_down
from undersigned.kernel.errors import Conflict, Refused, Unavailable
from undersigned.ledger import export
from undersigned.ledger.data import LogSettings, PooledSignature, Published
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.notes import LogKey, key_name
from undersigned.ledger.open_log import OpenLog, encode_settings
from undersigned.ledger.store import Store
from undersigned.ledger.writer import LogNotAccepting

# Standard mode: the end of the next interval plus ten minutes; else a day (§4.4).
STANDARD_SLACK = timedelta(minutes=10)
DAY = timedelta(days=1)


class LeafRefused(Refused):
    """The log's rules do not allow this leaf now. ``fault``: the verifier's code."""

    code: ClassVar[str] = "leaf-refused"


class WithdrawalNotAllowed(Refused):
    """The nonce is unknown, or w does not belong to it, or it is withdrawn already."""

    code: ClassVar[str] = "withdrawal-not-allowed"


class LogNotClosed(Refused):
    """Only a closed log can be retired."""

    code: ClassVar[str] = "log-not-closed"


class SigningKeyMissing(Unavailable):
    """The log key is missing or locked: intake is closed, reads stay up."""

    code: ClassVar[str] = "intake-closed"


class OriginReserved(Conflict):
    """A log of this name was published before a loss: its key is gone for good, or is
    here without the log."""

    code: ClassVar[str] = "origin-reserved"


def create_log(
    *,
    ledger: Ledger,
    settings: LogSettings,
    leaves: list[bytes],
    statement: bytes,
    at: datetime,
) -> Published:
    """Create a log with its header and first keys, and publish its first checkpoint.

    ``leaves``: the header (type 0) and the key leaves (types 2 and 9), encoded.
    Idempotent: a log that exists with the same header is returned as it stands, so a
    crash half-way is mended by asking again. Raises LeafRefused if it exists with
    another header, OriginReserved, SigningKeyMissing, StorageFailed.
    """
    keystore = ledger.keystore
    if keystore is None:
        raise SigningKeyMissing()

    def create() -> Published:
        known = ledger.logs.get(settings.origin)
        if known is not None and known.size:
            if known.read_leaf(0) not in leaves:
                raise LeafRefused(fault="header-differs", origin=settings.origin)
            if known.key is None:
                # Recovered from a mirror: nobody can sign its next checkpoint.
                raise SigningKeyMissing(origin=settings.origin)
            # A power cut may have taken them, and no start has made them again: the
            # campaign was not open.
            export.write_fixed(known, statement=statement)
            return Published(known.origin, known.size, known.root, 0)
        store = ledger.store
        if store.query("SELECT 1 FROM reserved WHERE origin=?", (settings.origin,)):
            raise OriginReserved(origin=settings.origin)
        if keystore.has(key_name(settings.path)) and not ledger.high_water.knows(
            settings.origin
        ):
            # It has come here with other secrets; what it has signed is elsewhere.
            raise OriginReserved(origin=settings.origin)
        ledger.high_water.begin(settings.origin)
        LogKey.create(keystore, origin=settings.origin, path=settings.path)
        with store.transaction():
            log_id = store.add_log(
                origin=settings.origin, settings=encode_settings(settings)
            )
        store.take(log_id, settings.origin)
        log = ledger.make_open_log(log_id, settings)
        export.write_fixed(log, statement=statement)
        published = ledger.sequencer.publish_first(
            log, leaves, at=round_down(at, seconds=settings.interval_seconds)
        )
        ledger.add_log(log)
        return published

    published = ledger.writer.run(create)
    advance_spine(ledger=ledger, at=at)
    return published


def submit_signature(
    *,
    ledger: Ledger,
    log: OpenLog,
    pooled: PooledSignature,
    done: Callable[[BaseException | None], None],
) -> None:
    """Pool one verified signature; ``done(None)`` on the writer thread once durable.

    A nonce that is pooled or published already is no error: the same body was sent
    again, and gets an equivalent answer. ``done`` may receive LogNotAccepting or
    StoreStopped.
    """
    ledger.writer.submit(log, pooled, done)


def make_promise(*, log: OpenLog, nonce: bytes, at: datetime) -> tuple[bytes, datetime]:
    """Return the signed promise for a pooled nonce, and its publish-by.

    Never finer than the publication interval, so it does not tell when the request
    came. In danger mode a small crowd waits until the log closes (§4.6), so the
    promise names that day: a shorter one could not be kept. Raises SigningKeyMissing.
    """
    if log.key is None:
        raise SigningKeyMissing()
    # A clock that was set back would promise a day that is over already.
    stamp = max(int(at.timestamp()), log.published_at)
    # The same for everybody in an interval, so it is worked out once in each.
    interval = stamp // log.settings.interval_seconds
    known = log.publish_by
    if known is None or known[0] != interval:
        at = datetime.fromtimestamp(stamp, UTC)
        known = interval, make_publish_by(settings=log.settings, at=at)
        log.publish_by = known
    return log.key.sign_promise(nonce, known[1]), known[1]


def make_publish_by(*, settings: LogSettings, at: datetime) -> datetime:
    """Return by when a signature pooled at ``at`` will stand in the log."""
    span = timedelta(seconds=settings.interval_seconds)
    tick = round_down(at, seconds=settings.interval_seconds)
    if settings.mode == "standard":
        return tick + 2 * span + STANDARD_SLACK
    if settings.mode == "danger" and settings.closes_at is not None:
        return max(settings.closes_at, tick) + 2 * DAY
    # The clock that finds the crowd too small ticks up to an interval later, and the
    # day is counted from then.
    return tick + 2 * span + DAY


def submit_controls(*, ledger: Ledger, origin: str, leaves: list[bytes]) -> None:
    """Pool control leaves for the next publication: all of them or none.

    Raises LeafRefused when one would not apply now. Each is checked again when it is
    published, and dropped then if something published meanwhile made it void.
    """

    def pool() -> None:
        log = ledger.get_log(origin)
        if ledger.spine.has_retired(log):
            raise LeafRefused(fault="log-retired", origin=origin)
        for leaf in leaves:
            try:
                parsed = entry.parse(leaf)
                log.state.check(parsed)
            except Fault as fault:
                raise LeafRefused(fault=fault.code, detail=fault.detail) from fault
            if isinstance(parsed, (entry.Header, entry.Signature, entry.Close)):
                # These have ways of their own into a log, with rules of their own.
                raise LeafRefused(fault="not-a-control-leaf")
        with ledger.store.transaction():
            ledger.store.change_each(
                "INSERT INTO control VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(log.log_id, merkle.leaf_hash(leaf), leaf) for leaf in leaves],
            )

    ledger.writer.run(pool)


def submit_control(*, ledger: Ledger, origin: str, leaf: bytes) -> None:
    """Pool one control leaf; see ``submit_controls``."""
    submit_controls(ledger=ledger, origin=origin, leaves=[leaf])


def start_withdrawal(
    *, ledger: Ledger, origin: str, nonce: bytes, w: bytes
) -> Future[None]:
    """Pool a withdrawal, by nonce; it is published after its target.

    What is shown beside it is erased with it. The future's errors:
    WithdrawalNotAllowed, LogNotAccepting, StoreStopped. The same request again is
    accepted again.
    """

    def pool() -> None:
        log = ledger.get_log(origin)
        if log.is_closed:
            raise LogNotAccepting(origin=origin)
        index = _require_signer(ledger, log, nonce, w)
        if index is not None:
            try:
                log.state.check(entry.Withdrawal(target=index, w=w))
            except Fault as fault:
                raise WithdrawalNotAllowed(fault=fault.code) from fault
        store = ledger.store
        if store.query(
            "SELECT 1 FROM withdrawal WHERE log=? AND nonce=?", (log.log_id, nonce)
        ):
            # The same again: it is durable, and nothing is written twice.
            return
        with store.transaction():
            store.change(
                "INSERT INTO withdrawal VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (log.log_id, nonce, w),
            )
            _erase_shown(store, log, nonce)

    return ledger.writer.start_task(pool)


def _require_signer(ledger: Ledger, log: OpenLog, nonce: bytes, w: bytes) -> int | None:
    """Return the index of a signature that ``w`` opens; None while it is pooled."""
    store, key = ledger.store, (log.log_id, nonce)
    index: int | None = None
    rows = store.query("SELECT leaf FROM inbox WHERE log=? AND nonce=?", key)
    if rows:
        leaf = rows[0][0]
    else:
        found = store.query("SELECT idx FROM nonce WHERE log=? AND nonce=?", key)
        if not found:
            raise WithdrawalNotAllowed()
        index = int(found[0][0])
        leaf = log.read_leaf(index)
    signature = entry.parse(leaf)
    if (
        len(w) != 32
        or not isinstance(signature, entry.Signature)
        or token.withdraw_hash(w) != signature.withdraw_hash
    ):
        raise WithdrawalNotAllowed()
    return index


def _erase_shown(store: Store, log: OpenLog, nonce: bytes) -> bool:
    """Show nothing beside a signature, wherever it waits; within a transaction.

    Returns whether anything waited to be shown.

    What the pages database holds already, whoever asked erases there next; the row in
    ``erasure`` sees to it at the next tick or start, whatever became of them.
    """
    key = (log.log_id, nonce)
    pooled = store.change(
        "UPDATE inbox SET shown=NULL WHERE log=? AND nonce=? AND shown IS NOT NULL", key
    )
    waiting = store.change("DELETE FROM shown WHERE log=? AND nonce=?", key)
    store.change("INSERT INTO erasure VALUES (?, ?) ON CONFLICT DO NOTHING", key)
    return pooled + waiting > 0


def start_erasure(
    *, ledger: Ledger, origin: str, nonce: bytes, w: bytes | None
) -> Future[bool]:
    """Let nothing be shown beside a signature that stays, pooled or published.

    ``w`` None: the operator erases, who needs no secret. Also after the close: it
    changes no leaf. The future's result: whether anything waited here to be shown; its
    errors: WithdrawalNotAllowed, StoreStopped.
    """

    def erase() -> bool:
        log = ledger.get_log(origin)
        if w is not None:
            _require_signer(ledger, log, nonce, w)
        with ledger.store.transaction():
            waited = _erase_shown(ledger.store, log, nonce)
        ledger.store.empty_journal()
        return waited

    return ledger.writer.start_task(erase)


def restore_fixed_files(*, ledger: Ledger, origin: str, statement: bytes) -> None:
    """Make the log's verifier key and statement what they were, after a power cut.

    Raises StorageFailed.
    """
    log = ledger.get_log(origin)
    path, header = log.folder / "statement", log.state.header
    whole = path.is_file() and path.read_bytes() == statement
    # Only the text that was signed: a database that was tampered with changes nothing.
    signed = (
        header is not None
        and hashlib.sha256(statement).hexdigest() == header.statement_sha256
    )
    export.write_fixed(log, statement=statement if signed and not whole else None)


def publish_due(
    *,
    ledger: Ledger,
    at: datetime,
    on_tick: Callable[[str], None] = lambda _origin: None,
) -> list[Published]:
    """Publish every log whose clock has ticked. Raises StorageFailed.

    ``on_tick`` is told each origin after its turn, also where nothing was published.
    """
    done: list[Published] = []
    due = ledger.list_due(at)
    for log, ticked in due:
        tick = _not_before_newest(log, ticked)
        if log.key is not None:
            done += ledger.writer.run(partial(ledger.sequencer.publish, log, at=tick))
            # Also where nothing could be published: the pool's order stands in there.
            ledger.writer.run(ledger.store.empty_journal)
        else:
            ledger.writer.run(partial(ledger.sequencer.hand_on, log))
        on_tick(log.origin)
    if done or ledger.spine.is_behind:
        advance_spine(ledger=ledger, at=at)
    if due:
        ledger.writer.run(ledger.store.settle)
    return done


def advance_spine(*, ledger: Ledger, at: datetime) -> None:
    """Enter in the spine what it does not hold yet. Raises StorageFailed."""
    logs = list(ledger.logs.values())

    def advance() -> None:
        ledger.spine.advance(logs, at=at)
        ledger.store.empty_journal()

    ledger.writer.run(advance)


def note_client(*, ledger: Ledger, sha256: str, at: datetime) -> None:
    """Enter the digest (hex) of the signing client that is served, if it is new."""
    ledger.writer.run(partial(ledger.spine.note_client, sha256))
    advance_spine(ledger=ledger, at=at)


def note_issued(
    *,
    ledger: Ledger,
    origin: str,
    totals: dict[int, int],
    at: datetime,
    final: bool = False,
) -> None:
    """Take note of how many tokens were issued, by key index; cumulative.

    Entered with the next publication once a total has grown by fifty; with ``final``
    at once, whatever the growth, because the keys are about to be destroyed.
    """
    log = ledger.get_log(origin)
    ledger.writer.run(partial(ledger.spine.note_issued, log, totals, final=final))
    if final:
        advance_spine(ledger=ledger, at=at)


def retire_log(*, ledger: Ledger, origin: str, at: datetime) -> None:
    """Have the spine say that nothing of this log counts any more from now on.

    Not at every close: public records may follow one for years. Idempotent. Raises
    LogNotFound, LogNotClosed, SigningKeyMissing where the spine's key is locked.
    """
    log = ledger.get_log(origin)
    if not log.is_closed:
        raise LogNotClosed(origin=origin)
    if ledger.spine.key is None:
        raise SigningKeyMissing(origin=ledger.spine.origin)
    ledger.writer.run(partial(ledger.spine.note_retired, log))
    advance_spine(ledger=ledger, at=at)


def begin_issuance_record(*, ledger: Ledger, origin: str, at: datetime) -> None:
    """Count issued tokens on from what is certain: the record of them was lost.

    Called before the new record takes its first token. Raises StorageFailed.
    """
    log = ledger.get_log(origin)

    def begin() -> None:
        pooled = ledger.store.query(
            "SELECT substr(leaf, 3, 2), count(*) FROM inbox WHERE log=? GROUP BY 1",
            (log.log_id,),
        )
        counts = {int.from_bytes(key): count for key, count in pooled}
        ledger.spine.begin_record(log, counts)

    ledger.writer.run(begin)
    advance_spine(ledger=ledger, at=at)


def show_spine(*, ledger: Ledger, size: int, cosignatures: list[str]) -> None:
    """Show a checkpoint of the spine with what witnesses have said of it by now.

    ``cosignatures``: verified signature lines with their line feeds. Again with more
    when more have come. Raises StorageFailed.
    """
    ledger.writer.run(partial(ledger.spine.show, size, cosignatures))


def _not_before_newest(log: OpenLog, tick: datetime) -> datetime:
    """Return the later of a tick and the newest checkpoint's: a clock may go back."""
    return max(tick, datetime.fromtimestamp(log.published_at, UTC))


def empty_journal(*, ledger: Ledger) -> None:
    """Empty the write-ahead log: it holds the order in which signatures came.

    For whoever has read the ledger's file from outside, which hinders the publication
    in doing so. Raises StoreStopped, StorageFailed.
    """
    ledger.writer.run(ledger.store.empty_journal)


def _get_signing_log(ledger: Ledger, origin: str) -> OpenLog:
    log = ledger.get_log(origin)
    if log.key is None:
        raise SigningKeyMissing(origin=origin)
    return log


def publish_now(
    *, ledger: Ledger, origin: str, at: datetime, ignore_crowd: bool = False
) -> list[Published]:
    """Publish one log outside its clock: for replays, which have times of their own,
    and for drills."""
    log = _get_signing_log(ledger, origin)
    tick = round_down(at, seconds=log.settings.interval_seconds)
    published = ledger.writer.run(
        lambda: ledger.sequencer.publish(log, at=tick, ignore_crowd=ignore_crowd)
    )
    advance_spine(ledger=ledger, at=at)
    return published


def stop_accepting(*, ledger: Ledger, origin: str) -> None:
    """Take no more signatures; durable, and effective between two batches."""

    ledger.writer.run(lambda: _stop_accepting(ledger, ledger.get_log(origin)))


def _stop_accepting(ledger: Ledger, log: OpenLog) -> None:
    ledger.store.stop_accepting(log.log_id)
    log.accepting = False


def close_log(
    *, ledger: Ledger, origin: str, reason: str, at: datetime
) -> list[Published]:
    """Publish everything pooled, then the close leaf alone. Idempotent.

    Raises LeafRefused while a quarantine key is undecided, StorageFailed.
    """
    log = _get_signing_log(ledger, origin)
    tick = round_down(at, seconds=log.settings.interval_seconds)
    tick = _not_before_newest(log, tick)

    def close() -> list[Published]:
        # One task, so that nothing is accepted between the last publication and the
        # close leaf: what was accepted before is in, what comes later is refused.
        if log.is_closed:
            return []
        _stop_accepting(ledger, log)
        done: list[Published] = []
        # Again until nothing comes: withdrawals follow their targets' publication.
        while batch := ledger.sequencer.publish(log, at=tick, ignore_crowd=True):
            done += batch
        totals = log.state.totals()
        try:
            log.state.check(entry.Close(reason=reason, totals=totals))
        except Fault as fault:
            raise LeafRefused(fault=fault.code, detail=fault.detail) from fault
        return [*done, ledger.sequencer.publish_close(log, reason=reason, at=tick)]

    published = ledger.writer.run(close)
    advance_spine(ledger=ledger, at=at)
    return published
