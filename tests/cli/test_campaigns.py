"""undersigned campaign … and invitation …"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.factories.campaigns import TEXT, TITLE
from tests.factories.instances import HOST, Instance
from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.queries import get_any_campaign, list_all_campaigns
from undersigned.credentials.issuer import IntakeClosed
from undersigned.eligibility.operations import use_invitation
from undersigned.eligibility.rules import decode_code
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.queries import list_records

Write = Callable[..., Path]


class TestCreate:
    def test_it_prints_the_id_alone(self, run: Run, write_campaign: Write) -> None:
        done = run("campaign", "create", write_campaign())
        (campaign,) = list_all_campaigns()
        assert (done.code, done.out) == (0, f"{campaign.id}\n")
        # What to do next is for people, and does not disturb a program.
        assert f"undersigned campaign open {campaign.id}" in done.err

    def test_it_prints_json_for_programs(self, run: Run, write_campaign: Write) -> None:
        done = run("campaign", "create", write_campaign(id="river-path"), "--json")
        campaign = get_any_campaign(campaign_id=CampaignId("river-path"))
        assert done.json() == {
            "id": "river-path",
            "origin": f"{HOST}/c/river-path",
            "state": "draft",
            "statement_sha256": campaign.statement_sha256,
        }
        assert done.err == ""

    @pytest.mark.parametrize(
        "changes, expected",
        [
            ({"mode": "secret"}, (3, "campaign-file-not-valid")),
            ({"title": "A\u202e title"}, (3, "text-not-clean")),
        ],
    )
    def test_it_names_what_is_wrong(
        self,
        run: Run,
        write_campaign: Write,
        changes: dict[str, str],
        expected: tuple[int, str],
    ) -> None:
        done = run("campaign", "create", write_campaign(**changes), "--json")
        assert done.error() == expected
        assert next(iter(changes)) in done.err
        assert list_all_campaigns() == []

    def test_it_takes_an_id_once(self, run: Run, write_campaign: Write) -> None:
        path = write_campaign(id="river-path")
        assert run("campaign", "create", path).code == 0
        assert run("campaign", "create", path, "--json").error() == (
            5,
            "campaign-exists",
        )

    def test_it_says_when_there_is_no_file(self, run: Run, tmp_path: Path) -> None:
        done = run("campaign", "create", tmp_path / "missing.toml", "--json")
        assert done.error() == (2, "unreadable")


class TestOpen:
    def test_it_prints_address_and_digest(
        self, run: Run, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="river-path"))
        done = run("campaign", "open", "river-path")
        campaign = get_any_campaign(campaign_id=CampaignId("river-path"))
        assert done.code == 0
        assert f"https://{HOST}/c/river-path/" in done.out
        assert campaign.statement_sha256 in done.out
        assert campaign.state is CampaignState.OPEN

    def test_it_prints_json_for_programs(self, run: Run, write_campaign: Write) -> None:
        run("campaign", "create", write_campaign(id="river-path"))
        done = run("campaign", "open", "river-path", "--json")
        found = done.json()
        assert (found["id"], found["path"], found["mode"]) == (
            "river-path",
            "c/river-path",
            "standard",
        )
        assert found["url"] == f"https://{HOST}/c/river-path/"
        assert done.err == ""

    def test_it_opens_once(self, run: Run, river: str) -> None:
        done = run("campaign", "open", river, "--json")
        assert done.error() == (5, "campaign-not-in-state")

    def test_it_knows_no_other(self, run: Run) -> None:
        done = run("campaign", "open", "no-such-campaign", "--json")
        assert done.error() == (4, "campaign-not-found")

    def test_it_asks_for_sealed_keys_in_danger_mode(
        self, run: Run, write_campaign: Write
    ) -> None:
        path = write_campaign(
            id="river-path",
            mode="danger",
            classes=["invitation"],
            closes_on=date(2099, 1, 1),
        )
        run("campaign", "create", path)
        done = run("campaign", "open", "river-path", "--json")
        assert done.error() == (6, "keys-must-be-sealed")
        done = run("campaign", "open", "river-path", "--accept-unsealed-keys")
        assert done.code == 0


class TestListAndShow:
    def test_the_list_has_drafts_too(
        self, run: Run, river: str, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="school-move"))
        rows = run("campaign", "list", "--json").json()["campaigns"]
        assert [(row["id"], row["state"]) for row in rows] == [
            ("river-path", "open"),
            ("school-move", "draft"),
        ]
        text = run("campaign", "list").out
        assert "river-path" in text
        assert TITLE in text

    def test_an_empty_list_says_so(self, run: Run) -> None:
        assert run("campaign", "list").out == "no campaigns yet\n"
        assert run("campaign", "list", "--json").json() == {"campaigns": []}

    def test_one_is_shown_with_the_text_that_is_signed(
        self, run: Run, river: str
    ) -> None:
        found = run("campaign", "show", river, "--json").json()
        campaign = get_any_campaign(campaign_id=CampaignId(river))
        assert found["statement"] == campaign.statement
        assert found["classes"] == ["email", "invitation"]
        assert TEXT in run("campaign", "show", river).out

    def test_an_unknown_one_is_not_found(self, run: Run) -> None:
        done = run("campaign", "show", "no-such-campaign", "--json")
        assert done.error() == (4, "campaign-not-found")


class TestClose:
    def test_it_begins_and_the_server_ends_it(self, run: Run, river: str) -> None:
        done = run("campaign", "close", river, "--json")
        assert done.json() == {"id": river, "state": "closing"}
        again = run("campaign", "close", river, "--json")
        assert again.error() == (5, "campaign-not-in-state")

    def test_it_ends_at_once_with_clocks_at_zero(
        self, run: Run, river: str, house: Instance
    ) -> None:
        campaign = get_any_campaign(campaign_id=CampaignId(river))
        house.start()
        house.sign(campaign)
        house.stop()
        done = run(
            "campaign", "close", river, "--retries-minutes", 0, "--grace-minutes", 0
        )
        assert done.out == f"{river} is closed\n"
        report = house.audit(campaign)
        assert report.accepted, report.fault
        assert report.totals is not None
        assert report.totals["net"] == 1

    def test_its_clocks_are_fixed_in_production(
        self, run: Run, river: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UNDERSIGNED_MODE", "production")
        done = run("campaign", "close", river, "--grace-minutes", 0, "--json")
        assert done.error() == (3, "clocks-are-fixed")
        assert run("campaign", "close", river).code == 0

    def test_its_reason_is_a_code(self, run: Run, river: str) -> None:
        done = run("campaign", "close", river, "--reason", "We are done.", "--json")
        assert done.error() == (3, "reason-not-valid")
        done = run("campaign", "close", river, "--reason", "we-are-done", "--json")
        assert done.json()["state"] == "closing"

    @pytest.mark.parametrize("minutes", ["-1", "soon", "1.5"])
    def test_its_clocks_are_whole_minutes(
        self, run: Run, river: str, minutes: str
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            run("campaign", "close", river, "--grace-minutes", minutes)
        assert caught.value.code == 2


class TestReopenIssuance:
    def test_it_begins_anew_and_says_so_in_the_log(
        self, run: Run, river: str, house: Instance
    ) -> None:
        campaign = get_any_campaign(campaign_id=CampaignId(river))
        (house.data / "issuance" / f"{river}.sqlite3").unlink()
        done = run("issuance", "reopen", river, "--json")
        assert done.json() == {"id": river}
        house.start()
        house.sign(campaign)
        house.publish(campaign)
        ledger = house.engine.services.ledger
        (record,) = list_records(ledger=ledger, origin=campaign.origin)
        assert record.kind == "issuance-record-lost"
        assert house.audit(campaign).accepted

    def test_an_older_record_is_no_record(
        self, run: Run, river: str, house: Instance
    ) -> None:
        """As where two machines take turns: each has the record of its own turn."""
        campaign = get_any_campaign(campaign_id=CampaignId(river))
        path = house.data / "issuance" / f"{river}.sqlite3"
        older = path.read_bytes()
        path.unlink()
        assert run("issuance", "reopen", river).code == 0
        newer = path.read_bytes()
        house.start()
        house.sign(campaign)
        house.stop()
        # Who signed just now is not in it, and could sign again.
        path.write_bytes(older)
        for is_published in (False, True):
            house.start()
            with pytest.raises(IntakeClosed):
                house.get_ticket(campaign)
            if is_published:
                ledger = house.engine.services.ledger
                assert len(list_records(ledger=ledger, origin=campaign.origin)) == 1
            else:
                house.publish(campaign)
            house.stop()
        # Reopening destroys it, and says so again.
        assert run("issuance", "reopen", river).code == 0
        house.start()
        house.sign(campaign, "bo@signer.invalid")
        house.publish(campaign)
        assert house.audit(campaign).accepted
        house.stop()
        path.write_bytes(newer)
        house.start()
        with pytest.raises(IntakeClosed):
            house.get_ticket(campaign)

    def test_it_is_refused_while_nothing_is_lost(
        self, run: Run, river: str, house: Instance
    ) -> None:
        campaign = get_any_campaign(campaign_id=CampaignId(river))
        done = run("issuance", "reopen", river, "--json")
        assert done.error() == (5, "record-not-lost")
        house.start()
        house.publish(campaign)
        ledger = house.engine.services.ledger
        # A record lost that was not would be a lie in the log for ever.
        assert list_records(ledger=ledger, origin=campaign.origin) == []


class TestInvitations:
    def test_codes_are_printed_one_a_line(self, run: Run, river: str) -> None:
        lines = run("invitation", "make", river, "--count", 3).out.splitlines()
        assert len(set(lines)) == 3
        assert all(decode_code(line) for line in lines)
        assert len(run("invitation", "make", river, "--json").json()["codes"]) == 20

    def test_they_work(self, run: Run, river: str, house: Instance) -> None:
        (code,) = run("invitation", "make", river, "--count", 1).out.splitlines()
        house.start()
        assert use_invitation(
            desk=house.engine.services.desk,
            campaign=get_any_campaign(campaign_id=CampaignId(river)),
            code=code,
            at=house.clock.now(),
        )

    def test_none_are_made_where_they_are_not_offered(
        self, run: Run, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="by-mail-only"))
        run("campaign", "open", "by-mail-only")
        done = run("invitation", "make", "by-mail-only", "--json")
        assert done.error() == (3, "class-not-offered")

    @pytest.mark.parametrize("count", ["0", "-3", "many"])
    def test_their_number_is_positive(self, run: Run, river: str, count: str) -> None:
        with pytest.raises(SystemExit) as caught:
            run("invitation", "make", river, "--count", count)
        assert caught.value.code == 2
