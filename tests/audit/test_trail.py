"""The trail of privileged acts: what is changed in it shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.db.models import F

from tests.factories.cast import MINA_ACTS, OMAR_ACTS
from undersigned.audit.models import AuditEntry
from undersigned.audit.operations import record_act
from undersigned.audit.queries import count_entries, find_broken_entry

NINE = datetime(2026, 11, 21, 9, 0, 41, 500, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def trail() -> None:
    """Four acts of Omar and Mina."""
    for number in range(4):
        record_act(
            actor=(OMAR_ACTS, MINA_ACTS)[number % 2],
            kind="RemovalSubmitted",
            data={"origin": "undersigned.example/c/river", "number": number},
            at=NINE + timedelta(minutes=number),
        )


class TestTheTrail:
    def test_it_is_whole_when_nobody_touched_it(self, trail: None) -> None:
        assert count_entries() == 4
        assert find_broken_entry() is None

    def test_it_is_whole_when_it_is_empty(self) -> None:
        assert (count_entries(), find_broken_entry()) == (0, None)

    def test_it_names_actors_by_reference_and_times_by_minute(
        self, trail: None
    ) -> None:
        found = AuditEntry.objects.get(number=1)
        assert found.actor_ref == "omar-ref"
        assert found.at == NINE.replace(second=0, microsecond=0)

    def test_it_goes_on_without_a_gap(self, trail: None) -> None:
        record_act(actor=OMAR_ACTS, kind="CampaignOpened", data={}, at=NINE)
        assert AuditEntry.objects.order_by("-number")[0].number == 5
        assert find_broken_entry() is None

    def test_an_act_that_is_undone_leaves_no_entry(self, trail: None) -> None:
        with transaction.atomic():
            record_act(actor=OMAR_ACTS, kind="CampaignOpened", data={}, at=NINE)
            transaction.set_rollback(True)
        assert count_entries() == 4
        record_act(actor=OMAR_ACTS, kind="CampaignOpened", data={}, at=NINE)
        assert find_broken_entry() is None

    def test_it_keeps_what_json_can_hold(self) -> None:
        data: dict[str, object] = {
            "text": "河 – “river”",
            "number": 7,
            "truth": True,
            "nothing": None,
            "list": ["a", {"b": 1}],
        }
        record_act(actor=OMAR_ACTS, kind="RecordPublished", data=data, at=NINE)
        assert AuditEntry.objects.get().data == data
        assert find_broken_entry() is None


def change(**values: object) -> Callable[[], object]:
    return lambda: AuditEntry.objects.filter(number=2).update(**values)


def delete(*numbers: int) -> Callable[[], object]:
    return lambda: AuditEntry.objects.filter(number__in=numbers).delete()


def swap() -> None:
    AuditEntry.objects.filter(number=2).update(number=9)
    AuditEntry.objects.filter(number=3).update(number=2)
    AuditEntry.objects.filter(number=9).update(number=3)


def close_gap() -> None:
    AuditEntry.objects.filter(number=2).delete()
    AuditEntry.objects.filter(number=3).update(number=2)
    AuditEntry.objects.filter(number=4).update(number=3)


class TestTampering:
    @pytest.mark.parametrize(
        "tamper, number",
        [
            (change(kind="CampaignOpened"), 2),
            (change(actor_ref="mallory-ref"), 2),
            (change(data={"origin": "undersigned.example/c/other"}), 2),
            (change(at=NINE.replace(second=0, microsecond=0) + timedelta(days=1)), 2),
            (change(previous_sha256="0" * 64), 2),
            (change(sha256="0" * 64), 2),
            (change(sha256=F("previous_sha256")), None),
            (delete(1), 1),
            (delete(2), 2),
            (swap, 2),
            (close_gap, 2),
        ],
    )
    def test_it_shows_at_the_first_changed_entry(
        self, trail: None, tamper: Callable[[], object], number: int | None
    ) -> None:
        from django.db import IntegrityError

        try:
            with transaction.atomic():
                tamper()
        except IntegrityError:
            # Two entries with one hash cannot even be written.
            assert number is None
            return
        assert find_broken_entry() == number
