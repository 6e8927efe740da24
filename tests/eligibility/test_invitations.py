"""Invitation codes: handed out on paper, typed sloppily, stored nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.credentials.issuer import AlreadyIssued
from undersigned.credentials.operations import ClassNotOffered
from undersigned.eligibility.operations import (
    InvitationNotValid,
    make_invitation_codes,
    use_invitation,
)
from undersigned.eligibility.rules import decode_code, encode_code


class TestWritingACode:
    @given(data=st.binary(min_size=10, max_size=10))
    def test_it_can_be_read_back(self, data: bytes) -> None:
        assert decode_code(encode_code(data)) == data

    @given(data=st.binary(min_size=10, max_size=10))
    def test_it_can_be_read_as_people_type_it(self, data: bytes) -> None:
        code = encode_code(data)
        assert decode_code(code.lower()) == data
        assert decode_code(code.replace("-", " ")) == data
        assert decode_code(code.replace("-", "")) == data
        assert decode_code(code.replace("-", "\u2013")) == data
        assert decode_code(f"\t{code}\n") == data
        for digit, letters in (("0", "oO"), ("1", "iIlL")):
            for letter in letters:
                assert decode_code(code.replace(digit, letter)) == data

    def test_it_has_four_groups_of_four_without_look_alikes(self) -> None:
        code = encode_code(bytes(range(100, 110)))
        assert [len(group) for group in code.split("-")] == [4, 4, 4, 4]
        assert not set(code) & set("OILU")

    @pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "U" * 16, "ß" * 16, "é"])
    def test_nothing_else_is_read(self, text: str) -> None:
        assert decode_code(text) is None


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(classes=["email", "invitation"])


def make_codes(instance: Instance, campaign: Campaign, count: int = 1) -> list[str]:
    return make_invitation_codes(
        desk=instance.engine.services.desk, campaign=campaign, count=count
    )


def use(instance: Instance, campaign: Campaign, code: str) -> str:
    return use_invitation(
        desk=instance.engine.services.desk,
        campaign=campaign,
        code=code,
        at=instance.clock.now(),
    )


class TestAnInvitation:
    def test_it_gives_a_ticket_for_one_signature(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        (code,) = make_codes(instance, campaign)
        ticket = use(instance, campaign, code)
        writing = instance.write(campaign, klass="invitation")
        answer = instance.issue(campaign, ticket, writing.prepared.request)
        instance.redeem(campaign, writing.finish(answer))
        instance.publish(campaign)
        report = instance.audit(campaign)
        assert report.totals is not None
        assert report.totals["by_class"] == {
            "email": 0,
            "invitation": 1,
            "vouched": 0,
            "open": 0,
        }

    def test_a_used_one_gives_a_ticket_that_buys_nothing(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        (code,) = make_codes(instance, campaign)
        first = use(instance, campaign, code)
        request = instance.write(campaign, klass="invitation").prepared.request
        instance.issue(campaign, first, request)
        again = use(instance, campaign, code.lower().replace("-", ""))
        assert len(again) == len(first)
        other = instance.write(campaign, klass="invitation").prepared.request
        with pytest.raises(AlreadyIssued):
            instance.issue(campaign, again, other)

    def test_each_is_somebodys_own(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        codes = make_codes(instance, campaign, 5)
        assert len(set(codes)) == 5
        for code in codes:
            request = instance.write(campaign, klass="invitation").prepared.request
            instance.issue(campaign, use(instance, campaign, code), request)

    def test_none_is_stored(self, instance: Instance, campaign: Campaign) -> None:
        before = read_data(instance)
        codes = make_codes(instance, campaign, 3)
        assert read_data(instance) == before
        instance.restart()
        assert all(use(instance, campaign, code) for code in codes)

    def test_another_campaigns_is_refused(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        other = instance.open_campaign(classes=["invitation"])
        (code,) = make_codes(instance, other)
        with pytest.raises(InvitationNotValid):
            use(instance, campaign, code)
        assert use(instance, other, code)

    @pytest.mark.parametrize("place", [0, 7, 8, 15])
    def test_a_mistyped_one_is_refused(
        self, instance: Instance, campaign: Campaign, place: int
    ) -> None:
        (code,) = make_codes(instance, campaign)
        plain = list(code.replace("-", ""))
        plain[place] = "X" if plain[place] != "X" else "Y"
        with pytest.raises(InvitationNotValid):
            use(instance, campaign, "".join(plain))

    @pytest.mark.parametrize("code", ["", "0000-0000-0000-0000", "Mallory", "\0" * 16])
    def test_a_made_up_one_is_refused(
        self, instance: Instance, campaign: Campaign, code: str
    ) -> None:
        with pytest.raises(InvitationNotValid):
            use(instance, campaign, code)

    def test_none_is_made_where_the_class_is_not_offered(
        self, instance: Instance
    ) -> None:
        by_mail = instance.open_campaign()
        with pytest.raises(ClassNotOffered):
            make_codes(instance, by_mail)
        with pytest.raises(ClassNotOffered):
            use(instance, by_mail, "0000-0000-0000-0000")


def read_data(instance: Instance) -> dict[str, bytes]:
    return {
        str(path.relative_to(instance.data)): path.read_bytes()
        for path in sorted(instance.data.rglob("*"))
        if path.is_file()
    }
