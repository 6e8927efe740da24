"""SAFETY P6: the signed text is fixed. An edit never keeps old signatures."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify import entry, token
from undersigned_verify.audit import audit_log

from tests.factories.instances import HOST, Instance
from tests.factories.ledgers import PowerCut, cut_at
from tests.factories.signers import write_signature
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.models import StatementVersion
from undersigned.campaigns.operations import CampaignExists, CampaignNotInState
from undersigned.campaigns.queries import get_any_campaign
from undersigned.ledger.operations import LeafRefused
from undersigned.signatures.operations.redeem import TokenNotValid
from undersigned.signatures.queries import get_key

EDIT = ("shall publish", "shall not publish")


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    """An open campaign with a published signature."""
    campaign = instance.open_campaign()
    instance.sign(campaign)
    instance.publish(campaign)
    return campaign


def edit_row(campaign: Campaign) -> str:
    """Change the text in the pages database, as Mallory with the disk would."""
    text = campaign.statement.replace(*EDIT)
    assert text != campaign.statement
    StatementVersion.objects.filter(campaign_id=campaign.id).update(
        text=text, sha256=sha256(text.encode()).hexdigest()
    )
    return text


def get_challenge(origin: str, statement: bytes) -> bytes:
    return token.Challenge(
        issuer_name=HOST, origin=origin, statement_sha256=sha256(statement).digest()
    ).digest


class TestTheSignedBytes:
    def test_header_statement_file_and_page_have_one_digest(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        header = instance.entry(campaign).log.state.header
        assert header is not None
        public = (instance.folder(campaign) / "statement").read_bytes()
        digest = sha256(public).hexdigest()
        assert digest == header.statement_sha256 == campaign.statement_sha256
        assert public == campaign.statement.encode()

    def test_they_are_inside_every_token(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        public = (instance.folder(campaign) / "statement").read_bytes()
        expected = get_challenge(campaign.origin, public)
        assert instance.entry(campaign).challenge_digest == expected

    @given(data=st.binary(min_size=1, max_size=60), bit=st.integers(0, 7))
    def test_one_bit_more_or_less_is_another_text(self, data: bytes, bit: int) -> None:
        other = bytearray(data)
        other[0] ^= 1 << bit
        origin = "undersigned.example/c/river"
        first = get_challenge(origin, data)
        assert first != get_challenge(origin, bytes(other))
        assert first != get_challenge(origin, data + b"\n")


class TestASignatureForAnotherText:
    @pytest.mark.parametrize("change", [EDIT, ("\n", "\r\n"), ("before", "before ")])
    def test_it_is_refused(
        self, instance: Instance, campaign: Campaign, change: tuple[str, str]
    ) -> None:
        other = campaign.statement.replace(*change)
        assert other != campaign.statement
        book_entry = instance.entry(campaign)
        key = get_key(book_entry=book_entry, klass="email")
        writing = write_signature(
            key_index=key.key_index,
            spki=key.spki,
            challenge_digest=get_challenge(campaign.origin, other.encode()),
        )
        ticket = instance.get_ticket(campaign, "someone@else.example")
        answer = instance.issue(campaign, ticket, writing.prepared.request)
        # The issuer is blind to the text, so it answers; the log is not.
        with pytest.raises(TokenNotValid):
            instance.redeem(campaign, writing.finish(answer))
        instance.publish(campaign)
        assert instance.net(campaign) == 1


class TestAnEdit:
    def test_of_the_public_file_is_refused_by_every_auditor(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        path = instance.folder(campaign) / "statement"
        original = path.read_bytes()
        path.write_bytes(original.replace(EDIT[0].encode(), EDIT[1].encode()))
        report = audit_log(instance.folder(campaign), workers=1)
        assert not report.accepted
        path.write_bytes(original)
        assert audit_log(instance.folder(campaign), workers=1).accepted

    def test_of_the_database_moves_no_signature_to_the_new_text(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        edited = edit_row(campaign)
        instance.restart()
        log = instance.entry(campaign).log
        header = log.state.header
        assert header is not None
        # The log goes on counting for the old words, and for these only.
        assert header.statement_sha256 == campaign.statement_sha256
        expected = get_challenge(campaign.origin, campaign.statement.encode())
        assert instance.entry(campaign).challenge_digest == expected
        assert instance.entry(campaign).challenge_digest != get_challenge(
            campaign.origin, edited.encode()
        )
        public = (instance.folder(campaign) / "statement").read_bytes()
        assert public == campaign.statement.encode()
        instance.sign(campaign, "someone@else.example")
        instance.publish(campaign)
        assert instance.audit(campaign).accepted

    def test_of_a_half_opened_draft_opens_nothing(self, instance: Instance) -> None:
        campaign_id = instance.create()
        instance.stop()
        instance.start(cut_at("after-commit"))
        with pytest.raises(PowerCut):
            instance.open(campaign_id)
        draft = get_any_campaign(campaign_id=campaign_id)
        edit_row(draft)
        instance.restart()
        with pytest.raises(LeafRefused):
            instance.open(campaign_id)
        assert instance.engine.failures == []

    def test_cannot_be_made_by_recording_or_opening_again(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        with pytest.raises(CampaignExists):
            instance.create(id=campaign.id, text="Another demand.")
        with pytest.raises(CampaignNotInState):
            instance.open(campaign.id)
        assert instance.look_up(campaign).statement == campaign.statement

    def test_in_the_log_itself_is_refused(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        log = instance.entry(campaign).log
        header = entry.parse(log.read_leaf(0))
        assert isinstance(header, entry.Header)
        edited = entry.encode(replace(header, statement_sha256="0" * 64))
        path = instance.folder(campaign) / "tile" / "entries" / f"000.p/{log.size}"
        data = path.read_bytes()
        path.write_bytes(data.replace(log.read_leaf(0), edited))
        assert not audit_log(instance.folder(campaign), workers=1).accepted


def test_offices_title_and_translations_are_signed_too(instance: Instance) -> None:
    translation = (
        '[[statement.translations]]\nlanguage = "fr"\ntitle = "Titre"\ntext = "Texte."'
    )
    first = instance.open_campaign()
    digests = {first.statement_sha256}
    for changes in (
        {"title": "Another title"},
        {"office": "Another office"},
        {"text": "Another demand."},
        {"tail": translation},
    ):
        digests.add(instance.open_campaign(**changes).statement_sha256)
    assert len(digests) == 5
