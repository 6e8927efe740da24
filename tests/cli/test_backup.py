"""Omar copies an instance, loses it, puts it back, and nobody finds a fork."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from undersigned_verify.audit import audit_log

from tests.cli.conftest import Run
from tests.factories.instances import HOST, Instance
from tests.factories.signers import show
from undersigned.audit.models import AuditEntry
from undersigned.campaigns.data import Campaign, CampaignState
from undersigned.campaigns.models import Campaign as CampaignRow
from undersigned.campaigns.models import Closing
from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli import backup as cli_backup
from undersigned.cli.pages_dump import DUMP, PagesAddress
from undersigned.credentials.issuer import IntakeClosed
from undersigned.kernel import keystore
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.ids import CampaignId
from undersigned.kernel.keystore import Keystore
from undersigned.kernel.writer_lock import RestoreUnfinished
from undersigned.ledger.highwater import RolledBack
from undersigned.signatures.models import ShownRecord
from undersigned.signatures.queries import list_records, list_shown

SPINE = f"{HOST}/spine"

# A ledger on a server: test_on_server.py.
pytestmark = pytest.mark.sqlite_file

Move = Callable[[str], Instance]


def find(campaign_id: str) -> Campaign:
    return get_any_campaign(campaign_id=CampaignId(campaign_id))


@pytest.fixture
def soil(serving: Instance) -> Campaign:
    """A campaign that shows names, on a running server."""
    return serving.open_campaign(id="soil", show_names=True)


@pytest.fixture
def move_to(house: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Move:
    """Point the operator's environment at another data directory."""

    def move(name: str) -> Instance:
        data = tmp_path / name
        monkeypatch.setenv("UNDERSIGNED_DATA", str(data))
        return Instance(data, FixedClock(house.clock.now()))

    return move


def copy_mirror(instance: Instance, folder: Path) -> Path:
    return shutil.copytree(instance.data / "public", folder)


def last_entry(kind: str) -> dict[str, object]:
    entry = AuditEntry.objects.filter(kind=kind).last()
    assert entry is not None
    found: dict[str, object] = entry.data
    return found


class TestABackup:
    def test_it_is_made_while_the_server_runs(
        self, run: Run, serving: Instance, soil: Campaign, tmp_path: Path
    ) -> None:
        serving.sign_many(soil, 3)
        serving.publish(soil)
        waiting = serving.sign(soil, shown=show(name="Asha of the ferry"))
        done = run("backup", tmp_path / "b", "--json")
        assert done.code == 0
        found = done.json()
        assert found["sealed"] is False
        assert "NOT sealed" in done.err
        report = audit_log(tmp_path / "b" / "public" / soil.path, workers=1)
        assert report.accepted
        assert found["logs"][soil.origin]["size"] == report.tree_size
        # What only waits to be published is nobody's business.
        everything = b"".join(
            path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()
        )
        assert waiting.nonce not in everything
        assert b"of the ferry" not in everything
        noted = last_entry("BackupMade")["logs"]
        assert noted == {name: log["size"] for name, log in found["logs"].items()}
        assert set(noted) == {soil.origin, SPINE}
        serving.publish(soil)
        assert serving.net(soil) == 4

    def test_it_holds_no_issuance_file_and_no_mark(
        self, run: Run, serving: Instance, soil: Campaign, tmp_path: Path
    ) -> None:
        serving.sign(soil)
        assert run("backup", tmp_path / "b").code == 0
        names = {path.name for path in (tmp_path / "b").iterdir()}
        pages = DUMP if connection.vendor == "postgresql" else "app.sqlite3"
        assert names == {
            *(pages, "ledger.sqlite3", "manifest.json", "public", "secrets")
        }
        for path in [tmp_path / "b", *(tmp_path / "b").rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

    def test_it_empties_the_journal_that_it_held_up(
        self, run: Run, serving: Instance, soil: Campaign, tmp_path: Path
    ) -> None:
        serving.sign(soil)
        wal = serving.data / "ledger.sqlite3-wal"
        assert wal.stat().st_size
        run("backup", tmp_path / "b")
        assert wal.stat().st_size == 0

    def test_it_is_made_while_nothing_runs(
        self, run: Run, house: Instance, tmp_path: Path
    ) -> None:
        house.start()
        campaign = house.open_campaign(id="soil")
        house.sign(campaign)
        house.publish(campaign)
        house.stop()
        done = run("backup", tmp_path / "b")
        assert done.code == 0
        assert "files" in done.out
        assert "on purpose" in done.out

    def test_it_holds_no_key_of_a_log_that_is_not_in_it(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real = cli_backup._copy_secrets

        def open_one_first(source: Path, target: Path, logs: set[str]) -> None:
            serving.open_campaign(id="later")
            real(source, target, logs)

        monkeypatch.setattr(cli_backup, "_copy_secrets", open_one_first)
        assert run("backup", tmp_path / "b").code == 0
        names = Keystore(tmp_path / "b" / "secrets").list_names()
        assert "c/soil/log.key" in names
        assert not any("later" in name for name in names)

    def test_it_refuses_a_folder_that_is_there(
        self, run: Run, serving: Instance, soil: Campaign, tmp_path: Path
    ) -> None:
        assert run("backup", tmp_path / "b").code == 0
        before = (tmp_path / "b" / "manifest.json").read_bytes()
        done = run("backup", tmp_path / "b", "--json")
        assert done.error() == (5, "folder-exists")
        assert (tmp_path / "b" / "manifest.json").read_bytes() == before
        done = run("backup", serving.data / "b", "--json")
        assert done.error() == (3, "backup-inside-data")

    def test_an_instance_without_a_ledger_has_nothing(
        self, run: Run, tmp_path: Path
    ) -> None:
        done = run("backup", tmp_path / "b", "--json")
        assert done.error() == (4, "nothing-to-back-up")
        assert not (tmp_path / "b").exists()

    def test_a_disk_that_is_full_leaves_nothing(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*_arguments: object) -> None:
            raise OSError(28, "No space left on device")

        (tmp_path / "out").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfile", refuse)
            done = run("backup", tmp_path / "out" / "b", "--json")
        assert done.error() == (8, "storage-failed")
        assert "No space left" in done.err
        assert list((tmp_path / "out").iterdir()) == []

    def test_it_goes_again_when_a_campaign_opens_meanwhile(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        opened: list[Campaign] = []
        real = cli_backup._copy_pages

        def open_one_first(address: PagesAddress | None, folder: Path) -> Path:
            copied = real(address, folder)
            if len(opened) < limit:
                opened.append(serving.open_campaign(id=f"more-{len(opened)}"))
            return copied

        monkeypatch.setattr(cli_backup, "_copy_pages", open_one_first)
        limit = 1
        done = run("backup", tmp_path / "b", "--json")
        assert set(done.json()["logs"]) == {opened[0].origin, soil.origin, SPINE}
        limit = 9
        done = run("backup", tmp_path / "c", "--json")
        assert done.error() == (5, "instance-busy")
        assert not (tmp_path / "c").exists()


# Into a server it restores what test_backup_postgresql looks at.
@pytest.mark.sqlite_file
class TestARestore:
    @pytest.fixture
    def backup(
        self, run: Run, serving: Instance, soil: Campaign, tmp_path: Path
    ) -> Path:
        serving.sign_many(soil, 3)
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        return tmp_path / "b"

    def test_nothing_starts_before_it_is_recovered(
        self, run: Run, backup: Path, move_to: Move
    ) -> None:
        twin = move_to("twin")
        done = run("restore", backup)
        assert done.code == 0
        assert "does not start yet" in done.out
        with pytest.raises(RolledBack, match="no high-water mark"):
            twin.start()
        private = [
            path
            for path in twin.data.rglob("*")
            if not path.is_relative_to(twin.data / "public")
        ]
        for path in private:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

    def test_it_takes_an_empty_data_directory_only(
        self, run: Run, backup: Path, serving: Instance, move_to: Move
    ) -> None:
        done = run("restore", backup, "--json")
        assert done.error()[1] == "writer-busy"
        serving.stop()
        done = run("restore", backup, "--json")
        assert done.error() == (5, "data-not-empty")
        assert audit_log(serving.data / "public" / "c" / "soil", workers=1).accepted
        twin = move_to("twin")
        twin.data.mkdir()
        (twin.data / "lost+found").mkdir()
        assert run("restore", backup).code == 0
        assert run("restore", backup, "--json").error() == (5, "data-not-empty")

    def test_a_damaged_backup_leaves_nothing(
        self, run: Run, backup: Path, move_to: Move
    ) -> None:
        twin = move_to("twin")
        path = backup / "public" / "c" / "soil" / "checkpoint"
        good = path.read_bytes()
        path.write_bytes(good[:-2] + b"A\n")
        done = run("restore", backup, "--json")
        assert done.error() == (3, "folder-damaged")
        assert {path.name for path in twin.data.iterdir()} == {"writer.lock"}
        path.write_bytes(good)
        assert run("restore", backup).code == 0

    @pytest.mark.parametrize("name", ["highwater.json", "issuance/soil.sqlite3", "x"])
    def test_nothing_comes_in_that_is_no_part_of_a_backup(
        self, run: Run, backup: Path, move_to: Move, name: str
    ) -> None:
        move_to("twin")
        (backup / name).parent.mkdir(exist_ok=True)
        (backup / name).write_bytes(b"{}")
        manifest = json.loads((backup / "manifest.json").read_bytes())
        manifest["files"][name] = [
            2,
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        ]
        (backup / "manifest.json").write_text(json.dumps(manifest))
        assert run("restore", backup, "--json").error() == (3, "folder-damaged")

    def test_cut_off_nothing_starts_and_nothing_recovers(
        self,
        run: Run,
        backup: Path,
        move_to: Move,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        twin = move_to("twin")
        real, moved = os.rename, list[Path]()

        def cut(source: Path, target: Path) -> None:
            if moved:
                raise OSError(5, "Input/output error")
            real(source, target)
            moved.append(target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", cut)
            assert run("restore", backup, "--json").error() == (8, "storage-failed")
        with pytest.raises(RestoreUnfinished):
            twin.start()
        for words in (
            ["restore", backup],
            ["recover", "--nothing-published-since-backup"],
        ):
            assert run(*words, "--json").error() == (5, "restore-unfinished")

    def test_a_folder_that_is_no_backup(
        self, run: Run, move_to: Move, tmp_path: Path
    ) -> None:
        move_to("twin")
        (tmp_path / "no-backup").mkdir()
        done = run("restore", tmp_path / "no-backup", "--json")
        assert done.error() == (3, "folder-damaged")
        assert "not whole" in done.err


@pytest.mark.sqlite_file
class TestARecovery:
    def test_round_trip_while_signing_goes_on(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        early = serving.sign_many(soil, 4, who="early")
        named = serving.sign(soil, "named@example.org", shown=show(name="Asha"))
        serving.publish(soil)
        pooled = serving.sign_many(soil, 2, who="pooled")
        assert run("backup", tmp_path / "b").code == 0
        serving.publish(soil)
        late = serving.sign_many(soil, 3, who="late")
        hidden = serving.sign(soil, "late@example.org", shown=show(name="Vic"))
        serving.withdraw(soil, named)
        serving.publish(soil)
        serving.publish(soil)
        mirror = copy_mirror(serving, tmp_path / "mirror")
        seen = {
            path.name: path.read_bytes()
            for path in (serving.folder(soil) / "checkpoints").iterdir()
        }
        lost = serving.sign_many(soil, 2, who="lost")
        held = serving.make_signature(soil, "held@example.org")[1]
        serving.stop()

        twin = move_to("twin")
        assert run("restore", tmp_path / "b").code == 0
        done = run("recover", mirror, "--workers", 1, "--json")
        assert done.code == 0
        found, spine = done.json()["logs"]
        assert spine["origin"] == SPINE
        assert found["evidence"] == "mirror"
        assert found["issuing_closed"] is True
        assert found["imported"] > 0
        trail = last_entry("LogsRecovered")
        assert trail["nothing_published_since_backup"] is False
        # Again, it finds nothing to do, and says the same of issuing.
        again = run("recover", mirror, "--workers", 1, "--json").json()
        assert again["logs"] == [
            {**each, "imported": 0, "not_shown": 0} for each in (found, spine)
        ]

        twin.start()
        assert twin.audit(soil).accepted
        for signed in (*early, *pooled, *late, named, hidden):
            assert twin.find_receipt(soil, signed) is not None
        # Acknowledged, and neither in the backup nor published: lost, as documented.
        for signed in lost:
            assert twin.find_receipt(soil, signed) is None
        # A token in somebody's hands can be used at once; none is given.
        twin.redeem(soil, held)
        with pytest.raises(IntakeClosed):
            twin.get_ticket(soil)
        twin.publish(soil)
        # And who was lost may send the same signature again.
        twin.redeem(soil, lost[0].request)
        twin.publish(soil)
        assert twin.find_receipt(soil, lost[0]) is not None
        twin.stop()

        assert run("issuance", "reopen", "soil").code == 0
        twin.start()
        twin.publish(soil)
        twin.sign(soil, "anew@example.org")
        twin.publish(soil)
        # Used after the reopening, with a token of before it.
        twin.redeem(soil, lost[1].request)
        twin.publish(soil)
        ledger = twin.engine.services.ledger
        (record,) = list_records(ledger=ledger, origin=soil.origin)
        assert record.kind == "issuance-record-lost"
        assert twin.audit(soil).accepted
        for size, note in seen.items():
            assert (twin.folder(soil) / "checkpoints" / size).read_bytes() == note

    def test_what_was_withdrawn_since_is_not_shown_again(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        named = serving.sign(soil, shown=show(name="Asha"))
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        row = ShownRecord.objects.get()
        serving.withdraw(soil, named)
        serving.publish(soil)
        mirror = copy_mirror(serving, tmp_path / "mirror")
        serving.stop()
        twin = move_to("twin")
        run("restore", tmp_path / "b")
        # As the old pages database has it.
        row.save(force_insert=True)
        assert [each.name for each in list_shown(origin=soil.origin).rows] == ["Asha"]
        done = run("recover", mirror, "--workers", 1)
        assert done.code == 0
        # What was erased without being withdrawn is in no mirror: that is said.
        assert "is shown again" in done.out
        twin.start()
        assert list_shown(origin=soil.origin).rows == ()

    def test_a_close_after_the_backup_destroys_the_keys_that_came_back(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        serving.sign(soil)
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        words = ["--retries-minutes", 0, "--grace-minutes", 0]
        assert run("campaign", "close", "soil", *words).code == 0
        mirror = copy_mirror(serving, tmp_path / "mirror")
        serving.stop()
        # As the old pages database has it.
        Closing.objects.all().delete()
        CampaignRow.objects.update(state=CampaignState.OPEN)
        twin = move_to("twin")
        run("restore", tmp_path / "b")
        names = Keystore(twin.data / "secrets").list_names()
        assert any("version.key" in name for name in names)
        done = run("recover", mirror, "--workers", 1, "--json")
        assert done.json()["logs"][0]["issuing_closed"] is False
        twin.start()
        twin.publish(soil)
        assert find("soil").state is CampaignState.CLOSED
        names = Keystore(twin.data / "secrets").list_names()
        assert names == ["c/soil/log.key", "spine/log.key"]
        assert twin.audit(soil).accepted

    def test_a_campaign_may_close_instead_of_reopening(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        """More were signed than the lost record had told; the spine says so then."""
        held = [
            serving.make_signature(soil, f"held-{number}@example.org")[1]
            for number in range(3)
        ]
        serving.sign(soil)
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        mirror = copy_mirror(serving, tmp_path / "mirror")
        serving.stop()
        twin = move_to("twin")
        run("restore", tmp_path / "b")
        run("recover", mirror, "--workers", 1)
        twin.start()
        for request in held:
            twin.redeem(soil, request)
        twin.stop()
        words = ["--retries-minutes", 0, "--grace-minutes", 0]
        assert run("campaign", "close", "soil", *words).code == 0
        assert find("soil").state is CampaignState.CLOSED
        assert twin.audit(soil).accepted

    def test_an_issuance_file_that_was_put_back_is_not_believed(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        serving.sign(soil)
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        shutil.copytree(serving.data / "issuance", tmp_path / "old-issuance")
        mirror = copy_mirror(serving, tmp_path / "mirror")
        serving.stop()
        twin = move_to("twin")
        run("restore", tmp_path / "b")
        shutil.copytree(tmp_path / "old-issuance", twin.data / "issuance")
        assert run("recover", mirror, "--workers", 1).code == 0
        assert list((twin.data / "issuance").iterdir()) == []

    def test_on_the_operators_word(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        serving.sign(soil)
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        serving.stop()
        twin = move_to("twin")
        run("restore", tmp_path / "b")
        assert run("recover", "--json").error() == (3, "source-missing")
        own = run("recover", twin.data / "public", "--workers", 1, "--json")
        assert own.error() == (3, "how-far-unknown")
        done = run("recover", "--nothing-published-since-backup", "--json")
        assert done.code == 0
        assert "forks the log" in done.err
        assert done.json()["logs"][0]["evidence"] == "word"
        trail = last_entry("LogsRecovered")
        assert trail["nothing_published_since_backup"] is True
        twin.start()
        assert twin.audit(soil).accepted

    def test_a_sealed_instance(
        self,
        run: Run,
        house: Instance,
        tmp_path: Path,
        move_to: Move,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
        house.start()
        soil = house.open_campaign(id="soil")
        house.sign(soil)
        house.publish(soil)
        house.stop()
        passphrase = "nine lives of the river path"
        Keystore(house.data / "secrets").seal(passphrase)
        done = run("backup", tmp_path / "b", "--json")
        assert done.json()["sealed"] is True
        assert "NOT sealed" not in done.err
        mirror = copy_mirror(house, tmp_path / "mirror")
        twin = move_to("twin")
        assert run("restore", tmp_path / "b").code == 0
        # Recovering signs nothing, so it asks for no passphrase.
        assert run("recover", mirror, "--workers", 1).code == 0
        twin.start()
        assert twin.publish(soil) == []
        twin.restart(UNDERSIGNED_PASSPHRASE=passphrase)
        assert twin.audit(soil).accepted
        assert find("soil").state is CampaignState.OPEN

    def test_it_waits_for_no_server(
        self, run: Run, serving: Instance, soil: Campaign, tmp_path: Path
    ) -> None:
        mirror = copy_mirror(serving, tmp_path / "mirror")
        done = run("recover", mirror, "--workers", 1, "--json")
        assert done.error() == (5, "writer-busy")

    def test_a_campaign_opened_since_is_kept_as_the_mirror_has_it(
        self,
        run: Run,
        serving: Instance,
        soil: Campaign,
        tmp_path: Path,
        move_to: Move,
    ) -> None:
        serving.sign(soil)
        serving.publish(soil)
        assert run("backup", tmp_path / "b").code == 0
        later = serving.open_campaign(id="later")
        serving.sign(later)
        serving.publish(later)
        mirror = copy_mirror(serving, tmp_path / "mirror")
        serving.stop()
        twin = move_to("twin")
        run("restore", tmp_path / "b")
        done = run("recover", mirror, "--workers", 1, "--json")
        # Its keys were in no backup: nothing can vouch for it, and its name is taken.
        assert done.json()["lost"] == [f"{HOST}/c/later"]
        assert last_entry("LogsRecovered")["lost"] == [f"{HOST}/c/later"]
        twin.start()
        assert twin.audit(soil).accepted
