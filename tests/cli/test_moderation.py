"""undersigned approver …, removal …, record …, shown …"""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.factories.instances import Instance, Signed
from tests.factories.signers import show
from undersigned.audit.models import AuditEntry
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.queries import get_any_campaign
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.queries import list_records, list_removals, list_shown


@pytest.fixture
def campaign(river: str) -> Campaign:
    return get_any_campaign(campaign_id=CampaignId(river))


def publish(house: Instance, campaign: Campaign) -> None:
    """Let the server run for an interval."""
    house.start()
    house.publish(campaign)
    house.stop()


@pytest.fixture
def signed(house: Instance, campaign: Campaign) -> list[Signed]:
    """Three published signatures; Asha shows a name and a comment."""
    house.start()
    shown = show(name="Asha", comment="We drink it.")
    signed = [house.sign(campaign, shown=shown), *house.sign_many(campaign, 2)]
    house.publish(campaign)
    house.stop()
    return signed


def make_approvers(run: Run, river: str, folder: Path) -> list[Path]:
    """Make Mina's and Petra's key files and announce their keys."""
    paths = []
    for name in ("mina", "petra"):
        path = folder / f"{name}.json"
        found = run("approver", "new", name, "--key-file", path, "--json").json()
        done = run("approver", "announce", river, name, found["public_key"])
        assert done.code == 0
        paths.append(path)
    return paths


class TestAnApproversKey:
    def test_it_is_made_in_a_file_of_its_own(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "keys" / "mina.json"
        done = run("approver", "new", "mina", "--key-file", path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        value = json.loads(path.read_bytes())
        assert done.out == f"mina {value['public_key']}\n"
        # What is printed may be shown to anybody.
        assert value["secret_key"] not in done.out + done.err

    def test_it_never_overwrites_another(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "mina.json"
        run("approver", "new", "mina", "--key-file", path)
        before = path.read_bytes()
        done = run("approver", "new", "mina", "--key-file", path, "--json")
        assert done.error() == (5, "key-file-exists")
        assert path.read_bytes() == before

    @pytest.mark.parametrize("place", ["mina.json", "secrets/mina.json", "../data/m"])
    def test_it_never_lies_with_the_servers_secrets(
        self, run: Run, data: Path, place: str
    ) -> None:
        done = run("approver", "new", "mina", "--key-file", data / place, "--json")
        assert done.error() == (3, "key-inside-data")
        assert not (data / place).exists()

    @pytest.mark.parametrize(
        "public_key, expected",
        [
            ("", (3, "proposal-not-valid")),
            ("AAAA", (3, "proposal-not-valid")),
            ("not base64!", (3, "proposal-not-valid")),
        ],
    )
    def test_its_public_half_must_be_one(
        self, run: Run, river: str, public_key: str, expected: tuple[int, str]
    ) -> None:
        done = run("approver", "announce", river, "mina", public_key, "--json")
        assert done.error() == expected

    def test_its_name_must_be_a_pseudonym(
        self, run: Run, river: str, tmp_path: Path
    ) -> None:
        good = base64.b64encode(bytes(32)).decode()
        done = run("approver", "announce", river, "Mina Real Name", good, "--json")
        assert done.error() == (3, "proposal-not-valid")


class TestARemoval:
    def test_it_goes_from_proposal_over_two_approvals_into_the_log(
        self,
        run: Run,
        river: str,
        house: Instance,
        campaign: Campaign,
        signed: list[Signed],
        tmp_path: Path,
    ) -> None:
        approvers = make_approvers(run, river, tmp_path)
        publish(house, campaign)
        case, out = tmp_path / "case.txt", tmp_path / "removal.json"
        case.write_text("Forty addresses of one host within a minute.")
        proposed = run(
            "removal",
            "propose",
            river,
            "--targets",
            "3-4",
            "--reason",
            "scripted-burst",
            "--case",
            case,
            "--out",
            out,
            "--json",
        ).json()
        digest = sha256(case.read_bytes()).hexdigest()
        assert proposed == {"proposals": [str(out)], "case_sha256": digest}
        early = run("removal", "submit", out, "--json")
        assert early.error() == (3, "leaf-refused")
        for path in approvers:
            assert run("approver", "approve", out, "--key-file", path).code == 0
        assert run("removal", "submit", out, "--json").json() == {"submitted": 1}
        publish(house, campaign)
        house.start()
        ledger = house.engine.services.ledger
        (removal,) = list_removals(ledger=ledger, origin=campaign.origin)
        assert removal.targets == ((3, 4),)
        assert removal.case_sha256 == digest
        assert removal.approvers == ("mina", "petra")
        assert house.net(campaign) == 1
        assert house.audit(campaign).accepted

    @pytest.mark.parametrize("targets", ["", "x", "3-", "-3", "3,,4", "3-4-5", "0"])
    def test_its_targets_are_leaves(
        self, run: Run, river: str, tmp_path: Path, targets: str
    ) -> None:
        case = tmp_path / "case.txt"
        case.touch()
        done = run(
            "removal",
            "propose",
            river,
            f"--targets={targets}",
            "--reason",
            "scripted-burst",
            "--case",
            case,
            "--out",
            tmp_path / "removal.json",
            "--json",
        )
        assert done.error() == (3, "proposal-not-valid")
        assert not (tmp_path / "removal.json").exists()

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"Mallory was here"])
    def test_a_damaged_file_is_refused_everywhere(
        self, run: Run, river: str, tmp_path: Path, content: bytes
    ) -> None:
        path, key = tmp_path / "removal.json", tmp_path / "mina.json"
        path.write_bytes(content)
        run("approver", "new", "mina", "--key-file", key)
        approve = run("approver", "approve", path, "--key-file", key, "--json")
        assert approve.error() == (3, "proposal-not-valid")
        submit = run("removal", "submit", path, "--json")
        assert submit.error() == (3, "proposal-not-valid")
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        "change",
        [
            lambda v: {**v, "kind": "other"},
            lambda v: {**v, "secret_key": "AAAA"},
            lambda v: {**v, "secret_key": "!"},
            lambda v: {**v, "secret_key": 7},
            lambda v: {},
            lambda v: [],
        ],
    )
    def test_a_damaged_key_file_approves_nothing(
        self, run: Run, tmp_path: Path, change: Callable[[object], object]
    ) -> None:
        path, key = tmp_path / "removal.json", tmp_path / "mina.json"
        path.write_text("{}")
        run("approver", "new", "mina", "--key-file", key)
        key.write_text(json.dumps(change(json.loads(key.read_bytes()))))
        done = run("approver", "approve", path, "--key-file", key, "--json")
        assert done.error() == (3, "key-file-not-valid")


class TestARecord:
    def test_it_is_published_by_its_hash(
        self,
        run: Run,
        river: str,
        house: Instance,
        campaign: Campaign,
        tmp_path: Path,
    ) -> None:
        answer = tmp_path / "answer.txt"
        answer.write_text("The office answers.")
        digest = sha256(answer.read_bytes()).hexdigest()
        done = run(
            "record", "publish", river, "--kind", "office-answer", answer, "--json"
        )
        assert done.json() == {"kind": "office-answer", "sha256": digest}
        publish(house, campaign)
        house.start()
        ledger = house.engine.services.ledger
        (record,) = list_records(ledger=ledger, origin=campaign.origin)
        assert (record.kind, record.sha256) == ("office-answer", digest)

    def test_its_kind_is_a_code(self, run: Run, river: str, tmp_path: Path) -> None:
        answer = tmp_path / "answer.txt"
        answer.touch()
        done = run("record", "publish", river, "--kind", "An Answer", answer, "--json")
        assert done.error() == (3, "proposal-not-valid")


class TestWhatSignersShow:
    def test_a_comment_is_released_by_a_person(
        self, run: Run, river: str, campaign: Campaign, signed: list[Signed]
    ) -> None:
        number = signed[0].nonce.hex()
        waiting = run("shown", "list", river, "--json").json()
        assert waiting == {"comments": [{"nonce": number, "comment": "We drink it."}]}
        assert run("shown", "release", number, "--json").json() == {"released": True}
        (row,) = list_shown(origin=campaign.origin).rows
        assert row.comment == "We drink it."
        assert run("shown", "list", river).out == "no comments wait\n"

    def test_a_record_is_erased_once(
        self, run: Run, river: str, campaign: Campaign, signed: list[Signed]
    ) -> None:
        number = signed[0].nonce.hex()
        done = run("shown", "erase", number)
        assert (done.code, done.out) == (0, "erased\n")
        assert list_shown(origin=campaign.origin).rows == ()
        assert run("shown", "erase", number, "--json").error() == (4, "nothing-shown")
        trail = [entry.kind for entry in AuditEntry.objects.order_by("number")]
        assert trail[-1] == "ShownErased"

    def test_an_unknown_number_says_so(self, run: Run, river: str) -> None:
        for verb in ("release", "erase"):
            assert run("shown", verb, "00" * 32).code == 4
            assert run("shown", verb, "Mallory", "--json").error() == (
                3,
                "proposal-not-valid",
            )
