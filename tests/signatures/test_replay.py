"""Replaying a series: real signatures, and after each point the count equals it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.factories.cast import MINA, OMAR, PETRA
from tests.factories.instances import Instance
from tests.signatures.test_series import NOON, make_csv
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.operations import begin_closing
from undersigned.campaigns.queries import NotAReplay, get_replay_progress
from undersigned.kernel.actor import OPERATOR
from undersigned.signatures import replay as signatures_replay
from undersigned.signatures.operations import remove
from undersigned.signatures.queries import get_count, list_growth, list_removals
from undersigned.signatures.replay import (
    DemoApprover,
    ReplayNotPossible,
    ReplayProgress,
    replay_series,
)
from undersigned.signatures.series import parse_series

REPLAY = (
    '[replay]\ntitle = "Published figures"\nurl = "https://data.example/"\nscale = 1'
)
APPROVERS = [DemoApprover("mina", MINA), DemoApprover("petra", PETRA)]
SERIES = make_csv(4, 9, 9, 6, 11, 2, 2, 5)


class InThisProcess(ThreadPoolExecutor):
    """Stands in for worker processes, which take a second to start."""

    def __init__(self, workers: int, **_options: object) -> None:
        super().__init__(workers)


@pytest.fixture(autouse=True)
def _work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures_replay, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(signatures_replay, "CHUNK", 4)
    monkeypatch.setattr(signatures_replay, "STEP", 3)


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(tail=REPLAY)


def replay(
    instance: Instance,
    campaign: Campaign,
    series: str = SERIES,
    *,
    limit: int | None = None,
    approvers: list[DemoApprover] | None = None,
) -> Iterator[ReplayProgress]:
    services = instance.engine.services
    return replay_series(
        book=services.book,
        issuer=services.issuer,
        campaign=campaign,
        series=parse_series(series.encode()),
        approvers=APPROVERS if approvers is None else approvers,
        workers=1,
        limit=limit,
        at=instance.clock.now(),
    )


def check_points(steps: list[ReplayProgress], series: str = SERIES) -> None:
    """After each point that is done, the net count is the series' total."""
    points = parse_series(series.encode()).points
    for before, after in pairwise(steps):
        if after.points > before.points:
            assert after.net == points[after.points - 1].total
    assert steps[-1].points == len(points)


def get_net_at(instance: Instance, campaign: Campaign) -> dict[datetime, int]:
    ledger = instance.engine.services.ledger
    rows = list_growth(ledger=ledger, origin=campaign.origin)
    return {row.at: row.net for row in rows}


class TestAReplay:
    def test_the_count_equals_the_series_after_each_point(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        check_points(list(replay(instance, campaign)))
        report = instance.audit(campaign)
        assert report.accepted, report.fault
        assert report.totals is not None
        assert report.totals["net"] == 5
        assert report.totals["removals"] == 3 + 9
        assert report.totals["signatures"] == 9 + 5 + 3
        assert report.tokens == 17

    def test_the_log_carries_the_series_own_times(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        list(replay(instance, campaign))
        net_at = get_net_at(instance, campaign)
        points = parse_series(SERIES.encode()).points
        changed = [
            after for before, after in pairwise(points) if after.total != before.total
        ]
        assert {point.at: net_at[point.at] for point in changed} == {
            point.at: point.total for point in changed
        }

    def test_its_falls_are_removals_with_reason_and_two_approvals(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        list(replay(instance, campaign))
        ledger = instance.engine.services.ledger
        removals = list_removals(ledger=ledger, origin=campaign.origin)
        assert [one.signatures for one in removals] == [3, 9]
        assert {one.reason for one in removals} == {"series-fell"}
        assert {one.approvers for one in removals} == {("mina", "petra")}
        assert len({one.case_sha256 for one in removals}) == 2

    def test_it_says_how_far_it_has_come(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        steps = list(replay(instance, campaign))
        assert steps[0].signed == 0
        assert [step.signed for step in steps] == sorted(step.signed for step in steps)
        assert {step.to_sign for step in steps} == {17}
        assert steps[-1].signed == 17
        assert get_replay_progress(campaign_id=campaign.id)[0] == 8

    def test_its_holes_stay_holes(self, instance: Instance, campaign: Campaign) -> None:
        late = (NOON + timedelta(hours=9)).isoformat()
        list(replay(instance, campaign, make_csv(1, 2, 3) + f"{late},4\n"))
        found = instance.look_up(campaign).replay
        assert found is not None
        assert found.holes == (
            (NOON + timedelta(minutes=4), NOON + timedelta(hours=9)),
        )

    def test_a_long_fall_is_split_over_leaves(
        self, instance: Instance, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remove, "_RANGES_BYTES", 8)
        series = make_csv(12, 20, 10, 16, 1)
        check_points(list(replay(instance, campaign, series)), series)
        ledger = instance.engine.services.ledger
        removals = list_removals(ledger=ledger, origin=campaign.origin)
        # The second fall reaches back over what the first one removed: two ranges.
        assert len(removals) == 3
        assert sum(one.signatures for one in removals) == 25
        assert instance.audit(campaign).accepted

    def test_it_goes_across_tiles(
        self, instance: Instance, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signatures_replay, "STEP", 64)
        monkeypatch.setattr(signatures_replay, "CHUNK", 64)
        series = make_csv(100, 270, 90)
        check_points(list(replay(instance, campaign, series)), series)
        assert instance.audit(campaign).accepted

    def test_a_series_may_begin_at_zero_or_stand_still(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        series = make_csv(0, 0, 2, 2, 0, 0)
        check_points(list(replay(instance, campaign, series)), series)
        assert instance.audit(campaign).accepted

    def test_its_signers_keep_no_trace_in_the_record(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        list(replay(instance, campaign))
        instance.stop()
        raw = b"".join(p.read_bytes() for p in (instance.data / "issuance").iterdir())
        instance.start()
        assert b"signer.invalid" not in raw


class TestAnInterruption:
    @pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 15])
    def test_it_is_taken_up_again_where_it_stopped(
        self, instance: Instance, campaign: Campaign, steps: int
    ) -> None:
        running = replay(instance, campaign)
        for _step in range(steps):
            next(running)
        running.close()  # type: ignore[attr-defined]  # a generator
        instance.restart()
        check_points(list(replay(instance, campaign)))
        report = instance.audit(campaign)
        assert report.accepted, report.fault
        assert report.totals is not None
        assert report.totals["net"] == 5
        assert report.totals["signatures"] == 17

    def test_it_may_happen_again_and_again(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        done = 0
        for _run in range(40):
            running = replay(instance, campaign)
            for step in (next(running), next(running, None), next(running, None)):
                done = step.points if step is not None else done
            running.close()  # type: ignore[attr-defined]  # a generator
            if done == 8:
                break
            instance.restart()
        assert get_net(instance, campaign) == 5
        report = instance.audit(campaign)
        assert report.totals is not None
        assert report.totals["signatures"] == 17

    def test_one_between_removal_and_note_removes_nothing_twice(
        self, instance: Instance, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(BaseException):
            pass

        def die(**_values: object) -> None:
            raise Killed

        series = make_csv(4, 9, 5, 7)
        running = replay(instance, campaign, series)
        while next(running).points < 2:
            pass
        with monkeypatch.context() as patch:
            patch.setattr(signatures_replay, "record_replay_point", die)
            with pytest.raises(Killed):
                list(running)
        instance.restart()
        check_points(list(replay(instance, campaign, series)), series)
        report = instance.audit(campaign)
        assert report.accepted
        assert report.totals is not None
        assert report.totals["removals"] == 4

    def test_a_finished_one_does_nothing_more(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        list(replay(instance, campaign))
        size = instance.entry(campaign).log.size
        steps = list(replay(instance, campaign))
        assert [step.points for step in steps] == [8]
        assert instance.entry(campaign).log.size == size


def get_net(instance: Instance, campaign: Campaign) -> int:
    ledger = instance.engine.services.ledger
    return get_count(ledger=ledger, origin=campaign.origin).net


class TestALimit:
    @pytest.mark.parametrize("limit", [1, 3, 4, 9, 12])
    def test_it_stops_after_so_many_signatures(
        self, instance: Instance, campaign: Campaign, limit: int
    ) -> None:
        list(replay(instance, campaign, limit=limit))
        report = instance.audit(campaign)
        assert report.accepted
        assert report.totals is not None
        assert report.totals["signatures"] == limit
        assert report.tokens == limit

    def test_it_can_be_taken_up_without_one(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        list(replay(instance, campaign, limit=6))
        check_points(list(replay(instance, campaign)))

    def test_a_large_one_is_none(self, instance: Instance, campaign: Campaign) -> None:
        check_points(list(replay(instance, campaign, limit=10_000)))


class TestARefusal:
    def refuse(
        self, instance: Instance, campaign: Campaign, series: str = SERIES
    ) -> str:
        with pytest.raises(ReplayNotPossible) as caught:
            list(replay(instance, campaign, series))
        assert instance.audit(campaign).accepted
        return str(caught.value.data["problem"])

    def test_another_series_is_not_put_on_top(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        list(replay(instance, campaign, limit=6))
        assert "another series" in self.refuse(instance, campaign, make_csv(4, 9))
        check_points(list(replay(instance, campaign)))

    def test_a_campaign_that_is_no_replay_is_left_alone(
        self, instance: Instance
    ) -> None:
        real = instance.open_campaign()
        with pytest.raises(NotAReplay):
            list(replay(instance, real))
        assert get_net(instance, real) == 0

    def test_a_closing_campaign_is_left_alone(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        begin_closing(
            actor=OPERATOR,
            campaign_id=campaign.id,
            issuer=instance.engine.services.issuer,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        assert "not open" in self.refuse(instance, instance.look_up(campaign))

    def test_a_campaign_without_the_email_class_is_left_alone(
        self, instance: Instance
    ) -> None:
        other = instance.open_campaign(classes=["open"], tail=REPLAY)
        assert "e-mail" in self.refuse(instance, other)

    def test_somebodys_own_signature_is_not_removed(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        series = make_csv(4, 6, 6, 8)
        running = replay(instance, campaign, series)
        while next(running).points < 2:
            pass
        running.close()  # type: ignore[attr-defined]  # a generator
        for number in range(3):
            instance.sign(campaign, f"{number}-{OMAR}")
        assert "somebody signed" in self.refuse(instance, campaign, series)
        totals = instance.audit(campaign).totals
        assert totals is not None
        assert totals["removals"] == 0

    def test_a_fall_needs_two_approvers(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        series = make_csv(4, 2)
        with pytest.raises(Exception):  # noqa: B017, PT011 - refused, however
            list(replay(instance, campaign, series, approvers=APPROVERS[:1]))
        assert get_net(instance, campaign) == 4
        assert instance.engine.failures == []
        check_points(list(replay(instance, campaign, series)), series)


@pytest.mark.slow
def test_it_works_with_real_processes(
    instance: Instance, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures_replay, "ProcessPoolExecutor", ProcessPoolExecutor)
    monkeypatch.setattr(signatures_replay, "CHUNK", 256)
    check_points(list(replay(instance, campaign)))
    assert instance.audit(campaign).accepted
