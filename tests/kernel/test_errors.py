"""Errors carry data and a code, and nothing for people."""

from __future__ import annotations

from undersigned.kernel.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    Refused,
    StorageFailed,
    Unavailable,
    UndersignedError,
)


class TestAnError:
    def test_it_says_its_code_and_its_data(self) -> None:
        error = Conflict(campaign="river", state="open")
        assert str(error) == "conflict: campaign=river, state=open"
        assert error.data == {"campaign": "river", "state": "open"}

    def test_it_says_its_code_alone_without_data(self) -> None:
        assert str(NotFound()) == "not-found"

    def test_it_tells_when_to_come_back_if_it_is_not_the_callers_fault(self) -> None:
        error = Unavailable(retry_after_seconds=7, origin="river")
        assert error.retry_after_seconds == 7
        assert error.data == {"origin": "river"}

    def test_it_belongs_to_one_family(self) -> None:
        families = (NotAllowed, NotFound, Refused, Conflict, Unavailable)
        assert all(issubclass(family, UndersignedError) for family in families)
        assert len({family.code for family in families}) == len(families)


def test_a_storage_failure_cannot_be_caught_with_the_anticipated_ones() -> None:
    # PROTOCOL §5: stop, never retry in place.
    assert not issubclass(StorageFailed, UndersignedError)
