"""Replaying a published series as real signatures: the main job on real input.

Rises become signatures of the e-mail class by synthetic signers: ticket, blind issue,
redeem, publication, through the same operations that people use. Falls become removal
leaves with a reason and two approvals. After each point the log's net count equals the
series. Progress is noted after each point; what an interruption left half-done shows
in the log's own count, so that resuming needs nothing else.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import secrets
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify.count import State, cell_of

from undersigned.campaigns.data import Campaign, CampaignState
from undersigned.campaigns.operations import record_replay_point
from undersigned.campaigns.queries import get_replay_progress
from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.credentials.bulk import finalize_chunk, issue_chunk, prepare_chunk
from undersigned.credentials.issuer import Issuer
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.errors import Refused
from undersigned.ledger.operations import publish_now
from undersigned.signatures.book import BookEntry, SigningBook
from undersigned.signatures.operations.redeem import (
    SignRequest,
    make_pooled,
    start_redeem,
)
from undersigned.signatures.operations.remove import (
    announce_approver,
    approve_proposal,
    propose_removal,
    submit_removals,
)
from undersigned.signatures.queries import get_key
from undersigned.signatures.series import Series, SeriesPoint

CHUNK = 256
STEP = 1024
REASON = "series-fell"


class ReplayNotPossible(Refused):
    """The campaign and the series do not fit; ``problem`` says why."""

    code: ClassVar[str] = "replay-not-possible"


@dataclass(frozen=True, slots=True)
class DemoApprover:
    """A demonstration's approver: its key lies outside the data directory."""

    id: str
    secret_key: Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """``signed`` of ``to_sign`` signatures of the series, ``points`` done of all."""

    signed: int
    to_sign: int
    points: int
    all_points: int
    net: int


class _Signers:
    """Makes ready signatures ahead of need: worker processes do clients' arithmetic."""

    def __init__(
        self, *, issuer: Issuer, book_entry: BookEntry, workers: int, at: datetime
    ) -> None:
        self._issuer = issuer
        self._entry = book_entry
        self._key = get_key(book_entry=book_entry, klass="email")
        self._at = at
        self._run = secrets.token_hex(4)
        self._made = 0
        context = multiprocessing.get_context("spawn")
        self._processes = ProcessPoolExecutor(workers, mp_context=context)
        # Waiting for processes and commits, not computing: a few threads keep the
        # processes busy while the main thread redeems.
        self._threads = ThreadPoolExecutor(workers + 2)
        self._ahead: deque[Future[list[SignRequest]]] = deque()
        self._ready: deque[SignRequest] = deque()
        self._depth = 2 * workers + 2

    def take(self, count: int, *, left: int) -> list[SignRequest]:
        """Return ``count`` signatures; ``left`` bounds what is prepared beyond them."""
        while len(self._ready) < count:
            planned = len(self._ready) + len(self._ahead) * CHUNK
            while len(self._ahead) < self._depth and planned < left:
                size = min(CHUNK, left - planned)
                self._ahead.append(self._threads.submit(self._make, size))
                planned += size
            self._ready.extend(self._ahead.popleft().result())
        return [self._ready.popleft() for _number in range(count)]

    def _make(self, count: int) -> list[SignRequest]:
        key = self._key
        prepared = self._processes.submit(
            prepare_chunk, key.key_index, key.spki, self._entry.challenge_digest, count
        ).result()
        first, self._made = self._made, self._made + count
        addresses = [
            f"{self._run}-{self._made}-{number}-{secrets.token_hex(4)}@signer.invalid"
            for number in range(first, first + count)
        ]
        answers = issue_chunk(
            issuer=self._issuer,
            origin=self._entry.campaign.origin,
            klass=CLASS_NUMBERS["email"],
            addresses=addresses,
            prepared=prepared,
            at=self._at,
        )
        done = self._processes.submit(finalize_chunk, answers).result()
        return [
            SignRequest(
                key_index=one.key_index,
                stance=one.stance,
                public_hash=one.public_hash,
                withdraw_hash=one.withdraw_hash,
                r=one.r,
                authenticator=authenticator,
                public=None,
                salt=None,
            )
            for one, authenticator in done
        ]

    def close(self) -> None:
        """End threads and processes; what was prepared is dropped."""
        for future in self._ahead:
            future.cancel()
        self._threads.shutdown(cancel_futures=True)
        self._processes.shutdown(cancel_futures=True)


def replay_series(
    *,
    book: SigningBook,
    issuer: Issuer,
    campaign: Campaign,
    series: Series,
    approvers: list[DemoApprover],
    workers: int | None = None,
    limit: int | None = None,
    at: datetime,
) -> Iterator[ReplayProgress]:
    """Replay what is left of a series; yield after every chunk of work.

    ``limit``: stop once that many signatures were made by this call. ``at``: the
    present, for tickets; publications carry the series' own times. Stopping the
    iteration, or the process, at any moment loses no point that was noted.
    Raises ReplayNotPossible, NotAReplay, and what signing raises.
    """
    points_done, sha256 = get_replay_progress(campaign_id=campaign.id)
    if campaign.state is not CampaignState.OPEN:
        raise ReplayNotPossible(problem="the campaign is not open")
    if "email" not in campaign.classes:
        raise ReplayNotPossible(problem="the campaign does not offer the e-mail class")
    if sha256 and sha256 != series.sha256:
        raise ReplayNotPossible(problem="another series was begun on this campaign")
    book_entry = book.find(campaign.path)
    if book_entry is None:
        raise ReplayNotPossible(problem="the campaign's log is not loaded")
    count = workers if workers is not None else max(1, (os.cpu_count() or 2))
    signers = _Signers(issuer=issuer, book_entry=book_entry, workers=count, at=at)
    runner = _Runner(book, book_entry, campaign, series, approvers, signers, at)
    try:
        yield from runner.run(points_done, limit)
    finally:
        signers.close()


class _Runner:
    def __init__(
        self,
        book: SigningBook,
        book_entry: BookEntry,
        campaign: Campaign,
        series: Series,
        approvers: list[DemoApprover],
        signers: _Signers,
        at: datetime,
    ) -> None:
        self._book = book
        self._entry = book_entry
        self._campaign = campaign
        self._series = series
        self._approvers = approvers
        self._signers = signers
        self._at = at
        totals = [0, *(point.total for point in series.points)]
        self._rises = [max(0, b - a) for a, b in pairwise(totals)]

    @property
    def _net(self) -> int:
        return int(self._entry.log.state.totals()["net"])

    def _progress(self, points: int, signed: int) -> ReplayProgress:
        return ReplayProgress(
            signed=signed,
            to_sign=self._series.rises,
            points=points,
            all_points=len(self._series.points),
            net=self._net,
        )

    def run(self, points_done: int, limit: int | None) -> Iterator[ReplayProgress]:
        points = self._series.points
        at_start = points[min(points_done, len(points) - 1)].at
        self._announce_approvers(at_start)
        # What an interrupted run left in the pool, so that the count is whole.
        self._publish(at_start)
        before = points[points_done - 1].total if points_done else 0
        signed = sum(self._rises[:points_done]) + max(0, self._net - before)
        allowance = self._series.rises if limit is None else limit
        yield self._progress(points_done, signed)
        for number, point in enumerate(points[points_done:], start=points_done):
            missing = point.total - self._net
            while missing > 0 and allowance > 0:
                take = min(missing, STEP, allowance)
                later = sum(self._rises[number + 1 :])
                left = min(missing + later, allowance)
                self._sign(self._signers.take(take, left=left))
                missing -= take
                allowance -= take
                signed += take
                yield self._progress(number, signed)
            self._publish(point.at)
            if missing > 0:
                yield self._progress(number, signed)
                return
            self._require_own(number)
            if self._net > point.total:
                self._remove(number, point)
            record_replay_point(
                campaign_id=self._campaign.id,
                points_done=number + 1,
                series_sha256=self._series.sha256,
                holes=self._series.find_holes(),
            )
            yield self._progress(number + 1, signed)

    def _sign(self, requests: list[SignRequest]) -> None:
        waiting = [
            start_redeem(book=self._book, book_entry=self._entry, request=request)
            for request in requests
        ]
        for nonce, durable in waiting:
            durable.result()
            # As for everybody: the promise is made, and here nobody keeps it.
            make_pooled(book_entry=self._entry, nonce=nonce, at=self._at)

    def _publish(self, at: datetime) -> None:
        origin = self._campaign.origin
        publish_now(ledger=self._book.ledger, origin=origin, at=at, ignore_crowd=True)

    def _announce_approvers(self, at: datetime) -> None:
        known = self._entry.log.state.approvers
        for approver in self._approvers:
            if approver.id not in known:
                announce_approver(
                    actor=OPERATOR,
                    ledger=self._book.ledger,
                    campaign=self._campaign,
                    approver_id=approver.id,
                    public_key=approver.secret_key.public_key().public_bytes_raw(),
                    at=self._at,
                )
        self._publish(at)

    def _require_own(self, number: int) -> None:
        """Go no further once somebody else has signed among the replayed ones.

        Their signature would be counted as one of the series, and could be among
        those that a fall removes. It is not ours to remove.
        """
        signatures = int(self._entry.log.state.totals()["signatures"])
        if signatures != sum(self._rises[: number + 1]):
            raise ReplayNotPossible(
                problem="somebody signed here before the series had ended"
            )

    def _remove(self, number: int, point: SeriesPoint) -> None:
        """Bring the count down to the series by removal leaves, two approvals each."""
        if number == 0 or self._series.points[number - 1].total <= point.total:
            raise ReplayNotPossible(problem="the log counts more than the series")
        before = self._series.points[number - 1]
        case = (
            f"Replayed series: the total fell from {before.total} at "
            f"{before.at.isoformat()} to {point.total} at {point.at.isoformat()}.\n"
        )
        proposals = propose_removal(
            origin=self._campaign.origin,
            targets=self._choose_newest(self._net - point.total),
            reason=REASON,
            case_sha256=hashlib.sha256(case.encode()).hexdigest(),
        )
        for approver in self._approvers:
            proposals = [
                approve_proposal(
                    proposal=proposal,
                    approver_id=approver.id,
                    secret_key=approver.secret_key,
                )
                for proposal in proposals
            ]
        submit_removals(
            actor=OPERATOR, ledger=self._book.ledger, proposals=proposals, at=self._at
        )
        self._publish(point.at)
        if self._net != point.total:
            raise ReplayNotPossible(problem="a removal was not taken by the log")

    def _choose_newest(self, count: int) -> list[tuple[int, int]]:
        """Return ranges of the newest ``count`` standing signatures of the class."""
        state = self._entry.log.state
        slots = {
            info.slot
            for info in state.keys.values()
            if info.klass == CLASS_NUMBERS["email"]
        }
        standing = frozenset(
            cell_of(slot, stance, State.STANDING)
            for slot in slots
            for stance in (0, 1, 2)
        )
        chosen: list[tuple[int, int]] = []
        cells, index = state.cells, len(state.cells) - 1
        while count and index > 0:
            if cells[index] in standing:
                chosen.append((index, index))
                count -= 1
            index -= 1
        return chosen
