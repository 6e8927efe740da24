"""undersigned export log, audit, replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from undersigned_verify import tile
from undersigned_verify.cli import main as verify

from tests.cli.conftest import Run
from tests.factories.instances import Instance
from tests.signatures.test_replay import REPLAY, InThisProcess
from tests.signatures.test_series import make_csv
from undersigned.audit.models import AuditEntry
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.queries import get_any_campaign
from undersigned.kernel.ids import CampaignId
from undersigned.signatures import replay as signatures_replay

Write = Callable[..., Path]


@pytest.fixture
def campaign(river: str, house: Instance) -> Campaign:
    """A campaign with published signatures."""
    campaign = get_any_campaign(campaign_id=CampaignId(river))
    house.start()
    house.sign_many(campaign, 3)
    house.publish(campaign)
    house.stop()
    return campaign


def read_entered(export: Path) -> dict[str, list[int]]:
    """Return the sizes of each log that an export's spine knows of."""
    entered: dict[str, list[int]] = {}
    for bundle in (export / "spine/tile/entries").glob("000.p/*"):
        for leaf in map(json.loads, tile.parse_bundle(bundle.read_bytes())):
            if leaf["kind"] == "checkpoint":
                entered.setdefault(leaf["origin"], []).append(leaf["size"])
    return entered


class TestExport:
    def test_it_is_what_the_verifier_reads(
        self,
        run: Run,
        campaign: Campaign,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        target = tmp_path / "export"
        done = run("export", "log", campaign.id, target)
        assert done.code == 0
        assert f"undersigned-verify audit {target}" in done.out
        assert verify(["audit", str(target), "--workers", "1"]) == 0
        assert (target / campaign.path / "count.json").is_file()
        assert "accepted" in capsys.readouterr().out

    def test_it_says_what_it_wrote(
        self, run: Run, campaign: Campaign, tmp_path: Path
    ) -> None:
        target = tmp_path / "export"
        found = run("export", "log", campaign.id, target, "--json").json()
        assert found == {
            "id": campaign.id,
            "dir": str(target),
            "path": campaign.path,
            "size": 6,
        }

    def test_it_holds_the_spine_of_the_same_moment(
        self, run: Run, house: Instance, campaign: Campaign, tmp_path: Path
    ) -> None:
        target = tmp_path / "export"
        run("export", "log", campaign.id, target)
        house.start()
        house.sign(campaign, "later@x.example")
        house.publish(campaign)
        other = house.open_campaign(id="other")
        house.stop()
        assert read_entered(target) == {campaign.origin: [3, 6]}
        run("export", "log", other.id, target)
        # The first log's copy has grown with the spine, and holds no old edge.
        assert read_entered(target) == {campaign.origin: [3, 6, 7], other.origin: [2]}
        assert verify(["audit", str(target), "--workers", "1"]) == 0
        folder = target / campaign.path / "tile/entries/000.p"
        assert [path.name for path in folder.iterdir()] == ["7"]

    def test_it_holds_only_what_its_newest_checkpoint_covers(
        self, run: Run, house: Instance, campaign: Campaign, tmp_path: Path
    ) -> None:
        house.start()
        for number in range(3):
            house.sign(campaign, f"{number}@x.example")
            house.publish(campaign)
        house.stop()
        run("export", "log", campaign.id, tmp_path / "export")
        folder = tmp_path / "export" / campaign.path
        partial = {
            str(path.relative_to(folder))
            for path in folder.rglob("*.p/*")
            if path.is_file()
        }
        assert partial == {"tile/0/000.p/9", "tile/entries/000.p/9"}

    def test_it_overwrites_no_other_export(
        self, run: Run, campaign: Campaign, tmp_path: Path
    ) -> None:
        run("export", "log", campaign.id, tmp_path / "export")
        done = run("export", "log", campaign.id, tmp_path / "export", "--json")
        assert done.error() == (5, "export-not-empty")

    def test_a_draft_has_no_log(
        self, run: Run, write_campaign: Write, tmp_path: Path
    ) -> None:
        run("campaign", "create", write_campaign(id="only-a-draft"))
        done = run("export", "log", "only-a-draft", tmp_path / "export", "--json")
        assert done.error() == (4, "log-not-published")

    def test_no_secret_is_in_it(
        self, run: Run, data: Path, campaign: Campaign, tmp_path: Path
    ) -> None:
        run("export", "log", campaign.id, tmp_path / "export")
        exported = b"".join(
            path.read_bytes()
            for path in (tmp_path / "export").rglob("*")
            if path.is_file()
        )
        for path in (data / "secrets").rglob("*"):
            if path.is_file():
                assert path.read_bytes() not in exported


class TestAudit:
    def test_it_accepts_a_sound_instance(self, run: Run, campaign: Campaign) -> None:
        done = run("audit", "--workers", 1, "--json")
        assert done.code == 0
        (log,) = done.json()["logs"]
        assert (log["origin"], log["verdict"]) == (campaign.origin, "accepted")
        assert done.json()["trail"] == {"entries": 2, "broken_at": None}
        text = run("audit", campaign.id, "--workers", 1).out
        assert "accepted" in text
        assert "whole" in text

    def test_it_refuses_a_changed_log(
        self, run: Run, data: Path, campaign: Campaign
    ) -> None:
        path = data / "public" / campaign.path / "count.json"
        path.write_bytes(path.read_bytes().replace(b'"net":3', b'"net":4'))
        done = run("audit", "--workers", 1, "--json")
        assert done.code == 1
        assert done.json()["logs"][0]["fault"]["code"] == "count-mismatch"

    def test_it_refuses_a_changed_trail(self, run: Run, campaign: Campaign) -> None:
        AuditEntry.objects.filter(number=2).update(actor_ref="mallory")
        done = run("audit", "--workers", 1, "--json")
        assert done.code == 1
        assert done.json()["trail"]["broken_at"] == 2
        assert "broken at 2" in run("audit", "--workers", 1).out

    def test_it_knows_no_other_campaign(self, run: Run) -> None:
        done = run("audit", "no-such-campaign", "--json")
        assert done.error() == (4, "campaign-not-found")

    def test_a_draft_has_nothing_to_recount(
        self, run: Run, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="only-a-draft"))
        done = run("audit", "only-a-draft", "--json")
        assert done.error() == (4, "log-not-published")

    def test_an_instance_without_logs_is_sound(self, run: Run) -> None:
        assert run("audit", "--json").code == 0


@pytest.fixture
def _work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures_replay, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(signatures_replay, "STEP", 4)


@pytest.mark.usefixtures("_work_here")
class TestReplay:
    @pytest.fixture
    def demo(self, run: Run, write_campaign: Write) -> str:
        """An open campaign that replays figures."""
        run("campaign", "create", write_campaign(id="figures", tail=REPLAY))
        run("campaign", "open", "figures")
        return "figures"

    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "series.csv"
        path.write_text(text)
        return path

    def test_it_ends_with_the_series_and_a_sound_log(
        self, run: Run, demo: str, tmp_path: Path, data: Path
    ) -> None:
        series = self.write(tmp_path, make_csv(4, 9, 6))
        done = run("replay", series, "--campaign", demo, "--workers", 1, "--json")
        assert done.code == 0
        found = done.json()
        assert (found["points"], found["net"]) == (3, 6)
        assert found["audit"]["verdict"] == "accepted"
        # The approvers' keys lie beside the data directory, not in it.
        keys = data.with_name("data-approvers")
        assert len(list(keys.iterdir())) == 2
        assert list(data.rglob("*mina*")) == []

    def test_it_stops_and_goes_on(self, run: Run, demo: str, tmp_path: Path) -> None:
        series = self.write(tmp_path, make_csv(4, 9, 6))
        words = ["replay", series, "--campaign", demo, "--workers", 1]
        first = run(*words, "--limit", 5)
        assert first.code == 0
        assert "net count 5" in first.out
        second = run(*words)
        assert "net count 6 after 3 points; recount: accepted" in second.out

    def test_it_keeps_approvers_keys_where_it_is_told(
        self, run: Run, demo: str, tmp_path: Path, data: Path
    ) -> None:
        series = self.write(tmp_path, make_csv(2))
        words = ["replay", series, "--campaign", demo, "--workers", 1]
        inside = run(*words, "--approver-keys", data / "keys", "--json")
        assert inside.error() == (3, "key-inside-data")
        assert run(*words, "--approver-keys", tmp_path / "keys").code == 0
        assert len(list((tmp_path / "keys").iterdir())) == 2

    @pytest.mark.parametrize(
        "text", ["", "time,total\nyesterday,7\n", make_csv(3) + "x", make_csv(1, -1)]
    )
    def test_a_bad_file_is_refused_before_anything_is_signed(
        self, run: Run, demo: str, tmp_path: Path, data: Path, text: str
    ) -> None:
        series = self.write(tmp_path, text)
        done = run("replay", series, "--campaign", demo, "--json")
        assert done.error() == (3, "series-not-valid")
        assert not data.with_name("data-approvers").exists()

    def test_another_campaign_is_left_alone(
        self, run: Run, river: str, tmp_path: Path
    ) -> None:
        series = self.write(tmp_path, make_csv(3))
        done = run("replay", series, "--campaign", river, "--workers", 1, "--json")
        assert done.error() == (4, "not-a-replay")
        assert "accepted" in run("audit", "--workers", 1).out

    @pytest.mark.parametrize("option", ["--limit", "--workers"])
    def test_its_numbers_are_positive(
        self, run: Run, demo: str, tmp_path: Path, option: str
    ) -> None:
        series = self.write(tmp_path, make_csv(3))
        with pytest.raises(SystemExit) as caught:
            run("replay", series, "--campaign", demo, option, 0)
        assert caught.value.code == 2
