"""What pages say of the spine and of witnesses: no more than these have said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note
from undersigned_verify.proof import parse_receipt

from tests.factories.friends import AT, Friend, publish_policy
from tests.factories.instances import Instance, Signed
from tests.web.conftest import Reader, text_of
from undersigned.campaigns.data import Campaign

ALONE = "nobody would notice who does not compare checkpoints"
SAYS = "it has been shown one history of this site’s logs, not that the count is honest"


OMAR, MINA = Friend("omar"), Friend("mina")


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(id="soil")


@pytest.fixture
def signed(instance: Instance, campaign: Campaign) -> Signed:
    found = instance.sign(campaign)
    instance.publish(campaign)
    return found


@pytest.fixture
def name(instance: Instance) -> Callable[..., None]:
    """Return a function that publishes a policy with these witnesses."""

    return partial(publish_policy, instance)


def newest(instance: Instance) -> bytes:
    public = instance.engine.services.ledger.public
    return (public / "spine/checkpoint").read_bytes()


def as_file(data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("receipt.tlog-proof", data)


def check(reader: Reader, receipt: bytes) -> str:
    """Return what the server says it has found, without the page's words for later."""
    page = reader.sends("/en/check/", {"receipt": as_file(receipt)})
    assert page.status_code == 200
    start, end = b'data-show="server"', b"</section>"
    page.content = page.content.partition(start)[2].partition(end)[0]
    return text_of(page)


class TestTheCampaignsPage:
    def read(self, reader: Reader) -> str:
        return text_of(reader.opens("/en/c/soil/")).partition("It must end with")[2]

    def test_names_the_checkpoint_of_the_spine_that_holds_the_count(
        self, instance: Instance, reader: Reader, signed: Signed
    ) -> None:
        size = Checkpoint.parse(parse_note(newest(instance)).text).size
        page = self.read(reader)
        assert f"This count is held by checkpoint {size} of the spine" in page
        link = f'href="/spine/checkpoints/{size}"'
        assert link in reader.opens("/zh-hans/c/soil/").content.decode()

    def test_says_plainly_that_there_are_no_witnesses(
        self, reader: Reader, signed: Signed, name: Callable[..., None]
    ) -> None:
        for _policy in ("absent", "without witnesses"):
            page = self.read(reader)
            assert "This site names no witnesses." in page
            assert ALONE in page
            assert SAYS not in page
            name()

    def test_counts_those_that_have_cosigned(
        self,
        instance: Instance,
        reader: Reader,
        signed: Signed,
        name: Callable[..., None],
    ) -> None:
        name(OMAR, MINA)
        silent = self.read(reader)
        assert "None of the 2 witnesses that this site names has cosigned it." in silent
        assert ALONE in silent
        MINA.cosigns(instance, newest(instance))
        half = self.read(reader)
        assert "It is cosigned by 1 of the 2 witnesses that this site names." in half
        assert SAYS in half
        assert ALONE not in half
        name(MINA)
        assert "by the one witness that this site names" in self.read(reader)

    def test_takes_a_later_word_for_a_count_that_has_not_changed(
        self,
        instance: Instance,
        reader: Reader,
        signed: Signed,
        name: Callable[..., None],
    ) -> None:
        name(OMAR)
        held = Checkpoint.parse(parse_note(newest(instance)).text).size
        instance.open_campaign(id="river")
        later = newest(instance)
        size = Checkpoint.parse(parse_note(later).text).size
        assert size > held
        assert f"checkpoint {held} of the spine" in self.read(reader)
        OMAR.cosigns(instance, later)
        assert f"checkpoint {size} of the spine" in self.read(reader)

    def test_knows_no_witness_from_a_policy_that_is_none(
        self, instance: Instance, reader: Reader, signed: Signed
    ) -> None:
        public = instance.engine.services.ledger.public
        (public / "policy.txt").write_bytes(b"witness x y\n")
        assert "This site names no witnesses." in self.read(reader)

    def test_counts_nobody_from_the_end_of_time(
        self,
        instance: Instance,
        reader: Reader,
        signed: Signed,
        name: Callable[..., None],
    ) -> None:
        name(OMAR)
        OMAR.cosigns(instance, newest(instance), time=2**62)
        assert "has not cosigned it" in self.read(reader)


class TestTheCheckPage:
    def test_finds_the_entry_in_the_spine(
        self, instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
    ) -> None:
        receipt = instance.find_receipt(campaign, signed)
        assert receipt is not None
        found = check(reader, receipt)
        assert "This receipt is good" in found
        assert "Its checkpoint is entered in the spine" in found
        assert "this site names none" in found
        assert ALONE in found

    def test_still_takes_a_file_of_one_part(
        self, instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
    ) -> None:
        receipt = instance.find_receipt(campaign, signed)
        assert receipt is not None
        found = check(reader, parse_receipt(receipt)[0].encode())
        assert "This receipt is good" in found
        assert "This file says nothing about the spine" in found
        assert "Witnesses" not in found

    def test_names_witnesses_that_spoke_before_or_after(
        self,
        instance: Instance,
        reader: Reader,
        campaign: Campaign,
        signed: Signed,
        name: Callable[..., None],
    ) -> None:
        name(OMAR, MINA)
        OMAR.cosigns(instance, newest(instance))
        receipt = instance.find_receipt(campaign, signed)
        assert receipt is not None
        assert OMAR.name in receipt.decode()
        MINA.cosigns(instance, newest(instance), AT + 60)
        found = check(reader, receipt)
        assert "2 of 2" in found
        assert f"{OMAR.name} 29 November 2026, 12:00 UTC" in found
        assert f"{MINA.name} 29 November 2026, 12:01 UTC" in found
        assert SAYS in found
        name(MINA)
        assert OMAR.name not in check(reader, receipt)

    def test_tells_of_a_spine_that_is_another_one(
        self,
        instance: Instance,
        reader: Reader,
        campaign: Campaign,
        signed: Signed,
        name: Callable[..., None],
    ) -> None:
        name(OMAR)
        receipt = instance.find_receipt(campaign, signed)
        assert receipt is not None
        size = Checkpoint.parse(parse_note(newest(instance)).text).size
        kept = instance.engine.services.ledger.public / f"spine/checkpoints/{size}"
        OMAR.cosigns(instance, newest(instance))
        lines = kept.read_bytes().splitlines(keepends=True)
        lines[2] = b"AAAA" + lines[2][4:]
        kept.write_bytes(b"".join(lines))
        found = check(reader, receipt)
        assert "is not one that this site keeps" in found
        # What was said of that other checkpoint is not said of the receipt's.
        assert "0 of 1" in found

    @pytest.mark.parametrize("damage", ["entry", "place", "signature", "third"])
    def test_refuses_a_second_part_that_does_not_hold(
        self,
        instance: Instance,
        reader: Reader,
        campaign: Campaign,
        signed: Signed,
        damage: str,
    ) -> None:
        receipt = instance.find_receipt(campaign, signed)
        assert receipt is not None
        first, second = (part.encode() for part in parse_receipt(receipt))
        flipped = bytearray(second)
        flipped[-12] ^= 1
        data = {
            "entry": first + second.replace(b"extra e", b"extra f"),
            "place": first + second.replace(b"index ", b"index 1"),
            "signature": first + bytes(flipped),
            "third": first + second + second,
        }[damage]
        page = reader.sends("/en/check/", {"receipt": as_file(data)})
        assert page.status_code == 400


def test_a_receipt_of_either_form_withdraws(
    instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
) -> None:
    other = instance.sign(campaign, "vic@example.org")
    instance.publish(campaign)
    for one, parts in ((signed, 1), (other, 2)):
        receipt = instance.find_receipt(campaign, one)
        assert receipt is not None
        first, *rest = parse_receipt(receipt)
        full = replace(first, extra=(first.extra or b"") + one.w)
        data = b"".join(part.encode() for part in [full, *rest][:parts])
        done = reader.sends("/en/c/soil/withdraw/", {"receipt": as_file(data)})
        assert "The withdrawal is accepted" in text_of(done)
    instance.publish(campaign)
    assert instance.net(campaign) == 0
