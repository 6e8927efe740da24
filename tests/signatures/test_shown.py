"""What signers show: beside the log, tied to their leaf, and erasable."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import OperationalError

from undersigned_verify import entry, token

from tests.factories.cast import ASHA
from tests.factories.instances import Instance, Signed
from tests.factories.ledgers import PowerCut, cut_at
from tests.factories.signers import Shown, show
from undersigned.audit.models import AuditEntry
from undersigned.campaigns.data import Campaign
from undersigned.kernel.actor import OPERATOR
from undersigned.ledger.operations import close_log, note_issued
from undersigned.safety.text import PersonalDataFound, TextNotClean, TextTooLong
from undersigned.signatures.data import Shown as ShownRow
from undersigned.signatures.models import ShownRecord
from undersigned.signatures.operations import withdraw
from undersigned.signatures.operations.redeem import (
    NamesNotShown,
    SignatureMalformed,
    SignRequest,
)
from undersigned.signatures.operations.withdraw import (
    NothingShown,
    NotTheSigner,
    erase_shown,
    erase_shown_by_operator,
    release_comment,
)
from undersigned.signatures.queries import list_comments_to_read, list_shown

ASHAS = show(name="Asha of the river path", place="Riverside", comment="We drink it.")


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign()


def read(campaign: Campaign) -> list[ShownRow]:
    return list(list_shown(origin=campaign.origin).rows)


def read_leaf(instance: Instance, campaign: Campaign, signed: Signed) -> entry.Entry:
    log = instance.entry(campaign).log
    return entry.parse(log.read_leaf(instance.index_of(campaign, signed)))


class TestAShownName:
    def test_it_appears_with_the_publication(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign, shown=ASHAS)
        assert read(campaign) == []
        instance.publish(campaign)
        (row,) = read(campaign)
        assert (row.name, row.place) == ("Asha of the river path", "Riverside")
        assert row.nonce == signed.nonce.hex()
        assert instance.audit(campaign).accepted

    def test_it_is_tied_to_its_leaf_by_salt_and_text(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign, shown=ASHAS)
        instance.publish(campaign)
        leaf = read_leaf(instance, campaign, signed)
        row = ShownRecord.objects.get()
        assert isinstance(leaf, entry.Signature)
        shown = show(name=row.name, place=row.place, comment=row.comment)
        assert token.public_hash(bytes(row.salt), shown) == leaf.public_hash
        assert row.leaf_index == instance.index_of(campaign, signed)

    def test_a_leaf_says_nothing_of_it(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign, shown=ASHAS)
        instance.publish(campaign)
        public = b"".join(
            path.read_bytes()
            for path in instance.folder(campaign).rglob("*")
            if path.is_file()
        )
        assert b"Asha" not in public
        assert b"Riverside\xff" not in public

    def test_who_shows_nothing_has_no_row(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign)
        instance.publish(campaign)
        leaf = read_leaf(instance, campaign, signed)
        assert isinstance(leaf, entry.Signature)
        assert leaf.public_hash == token.NO_PUBLIC
        assert read(campaign) == []

    def test_all_come_by_nonce_a_page_at_a_time(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = [
            instance.sign(
                campaign, f"{number}@x.example", shown=show(name=f"N{number}")
            )
            for number in range(5)
        ]
        instance.publish(campaign)
        found, after = [], None
        for _page in range(3):
            page = list_shown(origin=campaign.origin, after=after, limit=2)
            found += [row.nonce for row in page.rows]
            after = page.next
        assert after is None
        assert found == sorted(one.nonce.hex() for one in signed)

    @pytest.mark.parametrize("after", ["", "zz", "é", "0" * 400])
    def test_a_mistyped_page_does_no_harm(
        self, instance: Instance, campaign: Campaign, after: str
    ) -> None:
        instance.sign(campaign, shown=ASHAS)
        instance.publish(campaign)
        list_shown(origin=campaign.origin, after=after)

    def test_other_campaigns_do_not_show_it(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign, shown=ASHAS)
        instance.publish(campaign)
        assert read(instance.open_campaign()) == []


def release(instance: Instance, nonce: bytes) -> None:
    release_comment(actor=OPERATOR, nonce=nonce, at=instance.clock.now())


class TestAComment:
    def test_it_is_shown_once_a_person_has_read_it(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign, shown=ASHAS)
        instance.publish(campaign)
        assert read(campaign)[0].comment is None
        waiting = list_comments_to_read(origin=campaign.origin)
        assert waiting == [(signed.nonce.hex(), "We drink it.")]
        release(instance, signed.nonce)
        assert read(campaign)[0].comment == "We drink it."
        assert list_comments_to_read(origin=campaign.origin) == []

    def test_there_is_nothing_to_release_where_none_is(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign, shown=show(name="Asha"))
        instance.publish(campaign)
        for nonce in (signed.nonce, bytes(32)):
            with pytest.raises(NothingShown):
                release(instance, nonce)
        assert list_comments_to_read(origin=campaign.origin) == []


def make(instance: Instance, campaign: Campaign, shown: Shown) -> SignRequest:
    _writing, request = instance.make_signature(campaign, shown=shown)
    return request


class TestWhatIsRefused:
    def check(
        self,
        instance: Instance,
        campaign: Campaign,
        bad: SignRequest,
        error: type[Exception],
    ) -> None:
        with pytest.raises(error):
            instance.redeem(campaign, bad)
        instance.sign(campaign, "someone@else.example", shown=ASHAS)
        instance.publish(campaign)
        assert [row.name for row in read(campaign)] == [ASHAS["name"]]
        assert instance.net(campaign) == 1

    @pytest.mark.parametrize(
        "shown, error",
        [
            (show(name="a" * 81), TextTooLong),
            (show(place="a" * 61), TextTooLong),
            (show(comment="a" * 501), TextTooLong),
            (show(name="asha@example.org"), PersonalDataFound),
            (show(comment="call me at 555 123 4567"), PersonalDataFound),
            (show(comment="see https://mallory.example"), PersonalDataFound),
            (show(name="Asha\u202e"), TextNotClean),
            (show(name="A\u200bsha"), TextNotClean),
            (show(name="A\x07sha"), TextNotClean),
            (show(name=" Asha"), SignatureMalformed),
            (show(name="jose\u0301"), SignatureMalformed),
            (show(comment="one\r\ntwo"), SignatureMalformed),
            (show(), SignatureMalformed),
        ],
    )
    def test_a_text_that_may_not_be_shown(
        self,
        instance: Instance,
        campaign: Campaign,
        shown: Shown,
        error: type[Exception],
    ) -> None:
        self.check(instance, campaign, make(instance, campaign, shown), error)

    @pytest.mark.parametrize(
        "shown",
        [
            {},
            {"name": "Asha", "place": ""},
            {"name": "Asha", "place": "", "comment": "", "phone": ""},
        ],
    )
    def test_other_members_than_the_three(
        self, instance: Instance, campaign: Campaign, shown: Shown
    ) -> None:
        bad = make(instance, campaign, shown)
        self.check(instance, campaign, bad, SignatureMalformed)

    def test_another_text_than_was_signed(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        good = make(instance, campaign, ASHAS)
        bad = replace(good, public=show(name="Omar"))
        self.check(instance, campaign, bad, SignatureMalformed)

    def test_another_salt_than_was_signed(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        good = make(instance, campaign, ASHAS)
        bad = replace(good, salt=secrets.token_bytes(32))
        self.check(instance, campaign, bad, SignatureMalformed)

    @pytest.mark.parametrize("salt", [None, b"", bytes(31), bytes(33)])
    def test_a_text_without_its_salt(
        self, instance: Instance, campaign: Campaign, salt: bytes | None
    ) -> None:
        bad = replace(make(instance, campaign, ASHAS), salt=salt)
        self.check(instance, campaign, bad, SignatureMalformed)

    def test_a_salt_without_a_text(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        _writing, good = instance.make_signature(campaign)
        bad = replace(good, salt=bytes(32))
        self.check(instance, campaign, bad, SignatureMalformed)

    def test_anything_where_no_names_are_shown(self, instance: Instance) -> None:
        nameless = instance.open_campaign(show_names=False)
        with pytest.raises(NamesNotShown):
            instance.sign(nameless, shown=ASHAS)
        instance.sign(nameless, "someone@else.example")

    def test_anything_in_danger_mode(self, instance: Instance) -> None:
        closes_on = (instance.clock.now() + timedelta(days=9)).date()
        danger = instance.open(
            instance.create(mode="danger", classes=["email"], closes_on=closes_on),
            accept_unsealed_keys=True,
        )
        with pytest.raises(NamesNotShown):
            instance.sign(danger, shown=ASHAS)
        instance.sign(danger, "someone@else.example")

    def test_a_hash_without_a_text_is_the_signers_own_affair(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        # Nobody can know what it hides; nothing is shown, and it counts.
        request = replace(make(instance, campaign, ASHAS), public=None, salt=None)
        instance.redeem(campaign, request)
        instance.publish(campaign)
        assert read(campaign) == []
        assert instance.net(campaign) == 1


def erase(instance: Instance, campaign: Campaign, nonce: bytes, w: bytes) -> None:
    erase_shown(
        book=instance.engine.services.book,
        book_entry=instance.entry(campaign),
        nonce=nonce,
        w=w,
    )


def read_pages(instance: Instance) -> bytes:
    """Return every byte of the pages database, journals included."""
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    from pathlib import Path

    return b"".join(
        path.read_bytes() for path in Path(name).parent.glob(f"{Path(name).name}*")
    )


def read_ledger_files(instance: Instance) -> bytes:
    """Return every byte of the ledger's database, journals included."""
    return b"".join(path.read_bytes() for path in instance.data.glob("ledger.sqlite3*"))


class TestErasing:
    @pytest.fixture
    def signed(self, instance: Instance, campaign: Campaign) -> Signed:
        signed = instance.sign(campaign, shown=ASHAS)
        instance.publish(campaign)
        return signed

    def test_the_signer_can_and_the_signature_stays(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        erase(instance, campaign, signed.nonce, signed.w)
        assert read(campaign) == []
        assert instance.net(campaign) == 1
        assert instance.audit(campaign).accepted

    @pytest.mark.sqlite_file
    def test_it_leaves_nothing_in_the_files(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        assert b"Asha of the river path" in read_pages(instance)
        erase(instance, campaign, signed.nonce, signed.w)
        assert b"Asha of the river path" not in read_pages(instance)

    def test_mallory_cannot(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        for w in (bytes(32), b"", signed.w[:31]):
            with pytest.raises(NotTheSigner):
                erase(instance, campaign, signed.nonce, w)
        with pytest.raises(NotTheSigner):
            erase(instance, campaign, bytes(32), signed.w)
        assert len(read(campaign)) == 1

    def test_the_operator_can_once(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        def erase_by_operator() -> None:
            erase_shown_by_operator(
                actor=OPERATOR,
                book=instance.engine.services.book,
                nonce=signed.nonce,
                at=instance.clock.now(),
            )

        erase_by_operator()
        with pytest.raises(NothingShown):
            erase_by_operator()
        assert read(campaign) == []
        assert b"Asha of the river path" not in read_pages(instance)
        kinds = [entry.kind for entry in AuditEntry.objects.order_by("number")]
        assert kinds[-1] == "ShownErased"

    def test_it_can_be_before_the_signature_is_published(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        pooled = instance.sign(campaign, shown=ASHAS)
        with pytest.raises(NotTheSigner):
            erase(instance, campaign, pooled.nonce, bytes(32))
        erase(instance, campaign, pooled.nonce, pooled.w)
        assert b"Asha of the river path" not in read_ledger_files(instance)
        instance.publish(campaign)
        assert read(campaign) == []
        assert instance.net(campaign) == 1

    def test_it_can_be_after_the_close(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        note_issued(
            ledger=instance.engine.services.ledger,
            origin=campaign.origin,
            totals={0: 1},
            at=instance.clock.now(),
            final=True,
        )
        close_log(
            ledger=instance.engine.services.ledger,
            origin=campaign.origin,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        erase(instance, campaign, signed.nonce, signed.w)
        assert read(campaign) == []
        assert instance.audit(campaign).accepted

    @pytest.mark.parametrize("act", ["erase", "withdraw"])
    def test_it_is_made_up_for_when_the_pages_database_is_locked(
        self,
        instance: Instance,
        campaign: Campaign,
        signed: Signed,
        act: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(_nonces: list[bytes]) -> int:
            raise OperationalError("database is locked")

        with monkeypatch.context() as patch:
            patch.setattr(withdraw, "erase_shown_records", fail)
            if act == "erase":
                erase(instance, campaign, signed.nonce, signed.w)
            else:
                instance.withdraw(campaign, signed)
        assert len(read(campaign)) == 1
        instance.restart()
        assert read(campaign) == []
        assert instance.net(campaign) == 1
        instance.publish(campaign)
        assert instance.net(campaign) == (1 if act == "erase" else 0)
        assert instance.engine.failures == []

    def test_it_stays_erased_over_a_restart(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        erase(instance, campaign, signed.nonce, signed.w)
        instance.restart()
        instance.sign(campaign, "someone@else.example")
        instance.publish(campaign)
        assert read(campaign) == []

    def test_withdrawing_erases_too(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        instance.withdraw(campaign, signed)
        assert read(campaign) == []
        instance.publish(campaign)
        assert instance.net(campaign) == 0
        assert read(campaign) == []


def test_withdrawing_before_publication_shows_nothing(
    instance: Instance, campaign: Campaign
) -> None:
    signed = instance.sign(campaign, shown=ASHAS)
    instance.withdraw(campaign, signed)
    for _interval in range(3):
        instance.publish(campaign)
        assert read(campaign) == []
    assert instance.net(campaign) == 0


def test_withdrawing_before_publication_shows_nothing_after_a_restart(
    instance: Instance, campaign: Campaign
) -> None:
    signed = instance.sign(campaign, shown=ASHAS)
    instance.withdraw(campaign, signed)
    instance.restart()
    instance.publish(campaign)
    assert read(campaign) == []


@pytest.mark.parametrize("step", ["after-commit", "after-export"])
def test_a_crash_before_the_names_are_handed_on_loses_none(
    instance: Instance, campaign: Campaign, step: str
) -> None:
    instance.sign(campaign, ASHA, shown=ASHAS)
    instance.stop()
    instance.start(cut_at(step))
    with pytest.raises(PowerCut):
        instance.publish(campaign)
    instance.restart()
    assert [row.name for row in read(campaign)] == [ASHAS["name"]]
    instance.restart()
    assert len(read(campaign)) == 1
    assert instance.audit(campaign).accepted
