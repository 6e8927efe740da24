"""Offices: public bodies, known by name within their jurisdiction."""

from __future__ import annotations

import pytest

from undersigned.authorities.data import Office
from undersigned.authorities.operations import register_office
from undersigned.authorities.queries import list_offices

pytestmark = pytest.mark.django_db

EDUCATION = Office("District Education Office", "Riverside", "https://edu.example/")


class TestAnOffice:
    def test_it_is_recorded_once(self) -> None:
        first = register_office(office=EDUCATION)
        assert register_office(office=EDUCATION) == first
        assert list_offices(ids=[first]) == [EDUCATION]

    def test_its_address_is_kept_up_to_date(self) -> None:
        first = register_office(office=EDUCATION)
        moved = Office(EDUCATION.name, EDUCATION.jurisdiction, "https://new.example/")
        assert register_office(office=moved) == first
        assert list_offices(ids=[first]) == [moved]

    def test_it_is_another_in_another_jurisdiction(self) -> None:
        first = register_office(office=EDUCATION)
        second = register_office(office=Office(EDUCATION.name, "Hillside", ""))
        assert first != second

    def test_its_id_tells_no_order(self) -> None:
        ids = [register_office(office=Office(f"Office {n}", "", "")) for n in range(40)]
        assert ids != sorted(ids)


class TestAList:
    def test_it_keeps_the_order_asked_for(self) -> None:
        names = ["C", "A", "B"]
        ids = [register_office(office=Office(name, "", "")) for name in names]
        assert [office.name for office in list_offices(ids=ids)] == names
        assert [office.name for office in list_offices(ids=ids[::-1])] == names[::-1]

    def test_it_leaves_out_what_is_unknown(self) -> None:
        known = register_office(office=EDUCATION)
        assert list_offices(ids=["unknown", known]) == [EDUCATION]
        assert list_offices(ids=[]) == []
