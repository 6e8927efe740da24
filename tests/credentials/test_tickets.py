"""Sealed strings: they tell nothing, and open for one purpose and campaign only."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned.credentials.tickets import (
    TicketExpired,
    TicketNotValid,
    TicketNotYetValid,
    VersionKey,
    end_of_day,
    make_ticket,
    read_ticket,
)

NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
RIVER = VersionKey("undersigned.example/c/river", b"r" * 32)
SCHOOL = VersionKey("undersigned.example/c/school", b"r" * 32)
OTHER_SECRET = VersionKey("undersigned.example/c/river", b"s" * 32)


def make(at: datetime = NINE, valid_from: datetime | None = None) -> str:
    text, _facts = make_ticket(
        RIVER, klass=1, nullifier=b"n" * 32, at=at, valid_from=valid_from
    )
    return text


class TestATicket:
    def test_it_says_what_it_was_made_for(self) -> None:
        text, made = make_ticket(RIVER, klass=2, nullifier=b"n" * 32, at=NINE)
        facts = read_ticket(RIVER, text, at=NINE)
        assert facts == made
        assert (facts.klass, facts.nullifier) == (2, b"n" * 32)
        assert facts.origin == RIVER.origin

    def test_it_lasts_to_the_end_of_the_next_day(self) -> None:
        text = make()
        read_ticket(RIVER, text, at=MIDNIGHT - timedelta(seconds=1))
        with pytest.raises(TicketExpired):
            read_ticket(RIVER, text, at=MIDNIGHT)

    @given(seconds=st.integers(0, 86_399))
    def test_its_end_tells_the_day_only(self, seconds: int) -> None:
        at = NINE.replace(hour=0) + timedelta(seconds=seconds)
        assert read_ticket(RIVER, make(at), at=at).expires_at == MIDNIGHT

    def test_it_waits_for_its_beginning(self) -> None:
        begins = NINE + timedelta(minutes=5)
        text = make(valid_from=begins)
        with pytest.raises(TicketNotYetValid) as caught:
            read_ticket(RIVER, text, at=begins - timedelta(seconds=1))
        assert caught.value.data == {"valid_from": begins}
        assert read_ticket(RIVER, text, at=begins).valid_from == begins

    def test_two_for_one_address_have_nothing_in_common(self) -> None:
        first, second = make(), make()
        assert first != second
        hashes = {read_ticket(RIVER, t, at=NINE).ticket_hash for t in (first, second)}
        assert len(hashes) == 2

    def test_it_does_not_hold_the_nullifier_in_clear(self) -> None:
        text = make()
        assert b"n" * 32 not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    @pytest.mark.parametrize("key", [SCHOOL, OTHER_SECRET])
    def test_it_opens_in_no_other_campaign(self, key: VersionKey) -> None:
        text = make()
        with pytest.raises(TicketNotValid):
            read_ticket(key, text, at=NINE)

    @pytest.mark.parametrize(
        "text",
        ["", "a", "ab==", "%%%", "ä" * 40, "A" * 16, "A" * 120, "A" * 5000, "\0", " "],
    )
    def test_nothing_else_passes_for_one(self, text: str) -> None:
        read_ticket(RIVER, make(), at=NINE)
        with pytest.raises(TicketNotValid):
            read_ticket(RIVER, text, at=NINE)

    @given(position=st.integers(0, 92), bit=st.integers(0, 7))
    def test_no_changed_bit_passes(self, position: int, bit: int) -> None:
        text = make()
        data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        assert len(data) == 93
        data[position] ^= 1 << bit
        changed = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        with pytest.raises(TicketNotValid):
            read_ticket(RIVER, changed, at=NINE)

    def test_no_other_sealed_string_passes_for_one(self) -> None:
        for purpose in ("link", "ask", "puzzle"):
            text = RIVER.seal(purpose, bytes(65))
            with pytest.raises(TicketNotValid):
                read_ticket(RIVER, text, at=NINE)
        with pytest.raises(TicketNotValid):
            read_ticket(RIVER, RIVER.seal("ticket", bytes(64)), at=NINE)


class TestANullifier:
    def test_it_is_the_same_for_the_same_address(self) -> None:
        first = RIVER.make_nullifier(klass=1, value="asha@example.org")
        assert first == RIVER.make_nullifier(klass=1, value="asha@example.org")
        assert len(first) == 32

    def test_it_differs_by_class_campaign_secret_and_address(self) -> None:
        address = "asha@example.org"
        made = {
            RIVER.make_nullifier(klass=1, value=address),
            RIVER.make_nullifier(klass=2, value=address),
            RIVER.make_nullifier(klass=1, value="omar@example.org"),
            SCHOOL.make_nullifier(klass=1, value=address),
            OTHER_SECRET.make_nullifier(klass=1, value=address),
        }
        assert len(made) == 5


@given(
    at=st.datetimes(
        min_value=datetime(2020, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        max_value=datetime(2090, 1, 1),  # noqa: DTZ001 - as above
        timezones=st.just(UTC),
    ),
    days=st.integers(1, 5),
)
def test_the_end_of_a_day_is_a_midnight_that_lies_ahead(
    at: datetime, days: int
) -> None:
    end = end_of_day(at, days=days)
    assert (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)
    assert timedelta(days=days - 1) < end - at <= timedelta(days=days)
