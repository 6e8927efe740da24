"""undersigned doctor and seal; settings that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.factories.instances import Instance
from undersigned.campaigns.queries import get_any_campaign
from undersigned.kernel import keystore
from undersigned.kernel.ids import CampaignId

PASSPHRASE = "nine lives of the river path"


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(f"{PASSPHRASE}\n")
    return path


class TestDoctor:
    def test_it_lists_what_it_found(self, run: Run, river: str) -> None:
        done = run("doctor", "--json")
        found = {row["code"]: row["level"] for row in done.json()["findings"]}
        assert found["data-private"] == "ok"
        assert found["keys-unsealed"] == "note"
        assert found["https"] == "ok"
        assert done.code == 0

    def test_it_exits_with_one_where_something_is_dangerous(
        self, run: Run, data: Path, river: str
    ) -> None:
        (data / "secrets" / "c" / river / "version.key").chmod(0o644)
        done = run("doctor", "--json")
        assert done.code == 1
        levels = {row["code"]: row["level"] for row in done.json()["findings"]}
        assert levels["data-readable"] == "danger"
        assert "DANGER" in run("doctor").out

    def test_it_looks_at_an_instance_that_has_nothing_yet(self, run: Run) -> None:
        assert run("doctor").code == 0


class TestSeal:
    def test_it_wraps_every_secret(
        self,
        run: Run,
        data: Path,
        river: str,
        passphrase_file: Path,
        house: Instance,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        secrets = [path.read_bytes() for path in (data / "secrets").rglob("*.key")]
        done = run("seal", "--passphrase-file", passphrase_file, "--json")
        assert done.json() == {"wrapped": 5}
        raw = b"".join(p.read_bytes() for p in data.rglob("*") if p.is_file())
        assert all(secret not in raw for secret in secrets)
        # Without the passphrase the instance starts, and takes nothing.
        closed = run("invitation", "make", river, "--json")
        assert closed.error() == (6, "intake-closed")
        monkeypatch.setenv("UNDERSIGNED_PASSPHRASE_FILE", str(passphrase_file))
        assert run("invitation", "make", river).code == 0
        house.environ["UNDERSIGNED_PASSPHRASE"] = PASSPHRASE
        house.start()
        campaign = get_any_campaign(campaign_id=CampaignId(river))
        house.sign(campaign)

    def test_it_can_be_run_again(
        self, run: Run, river: str, passphrase_file: Path
    ) -> None:
        run("seal", "--passphrase-file", passphrase_file)
        done = run("seal", "--passphrase-file", passphrase_file, "--json")
        assert done.json() == {"wrapped": 0}

    def test_another_passphrase_does_not_seal_again(
        self, run: Run, river: str, passphrase_file: Path
    ) -> None:
        run("seal", "--passphrase-file", passphrase_file)
        passphrase_file.write_text("Mallory's own passphrase")
        done = run("seal", "--passphrase-file", passphrase_file, "--json")
        assert done.error() == (6, "keys-locked")

    @pytest.mark.parametrize("text", ["", "fifteen letters", "\n\n\n"])
    def test_it_asks_for_a_long_passphrase(
        self, run: Run, data: Path, river: str, passphrase_file: Path, text: str
    ) -> None:
        passphrase_file.write_text(text)
        done = run("seal", "--passphrase-file", passphrase_file, "--json")
        assert done.error() == (3, "passphrase-too-short")
        assert not (data / "secrets" / "seal.json").exists()

    def test_it_asks_for_one_that_can_be_typed(
        self, run: Run, data: Path, river: str, passphrase_file: Path
    ) -> None:
        passphrase_file.write_bytes(b"\xff" * 20)
        done = run("seal", "--passphrase-file", passphrase_file, "--json")
        assert done.code in (2, 3)
        assert "Traceback" not in done.err
        assert not (data / "secrets" / "seal.json").exists()

    def test_it_waits_for_the_server_to_stop(
        self, run: Run, data: Path, serving: Instance, passphrase_file: Path
    ) -> None:
        done = run("seal", "--passphrase-file", passphrase_file, "--json")
        assert done.error() == (5, "writer-busy")
        assert not (data / "secrets" / "seal.json").exists()


class TestSettings:
    @pytest.mark.parametrize(
        "name, value",
        [
            ("UNDERSIGNED_DATTA", "x"),
            ("UNDERSIGNED_MODE", "secret"),
            ("UNDERSIGNED_HOST", "two hosts"),
            ("UNDERSIGNED_BASE_URL", "undersigned.example"),
            ("UNDERSIGNED_BIND", "8000"),
            ("UNDERSIGNED_PASSPHRASE_FILE", "/nowhere/at/all"),
        ],
    )
    def test_one_that_cannot_be_used_is_named_in_one_line(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        done = run("campaign", "list")
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith("undersigned: ")
        assert name in done.err
        assert len(done.err.splitlines()) == 1

    @pytest.mark.parametrize("url", ["ftp://mail.example", "smtp://[x", "smtp://a:b"])
    def test_a_mail_server_that_cannot_be_used_is_named_too(
        self, run: Run, river: str, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("UNDERSIGNED_SMTP_URL", url)
        done = run("invitation", "make", river)
        assert done.code == 2
        assert done.err.startswith("undersigned: UNDERSIGNED_SMTP_URL")
        assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["campaign"], ["nonsense"], ["campaign", "x"]])
def test_what_is_no_command_shows_how_to_ask(run: Run, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2


def test_help_answers_without_settings(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSIGNED_MODE", "secret")
    with pytest.raises(SystemExit) as caught:
        run("--help")
    assert caught.value.code == 0


def test_an_interruption_is_its_own_exit_code(
    run: Run, river: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(**_values: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("undersigned.cli.jobs.make_invitation_codes", interrupt)
    done = run("invitation", "make", river)
    assert done.code == 130
    assert "nothing that was acknowledged is lost" in done.err


@pytest.mark.sqlite_file
def test_a_damaged_ledger_is_its_own_exit_code(
    run: Run, data: Path, river: str
) -> None:
    for path in data.glob("ledger.sqlite3*"):
        path.write_bytes(b"Mallory was here" * 300)
    done = run("invitation", "make", river, "--json")
    assert done.error() == (8, "storage-failed")


@pytest.mark.sqlite_file
def test_a_ledger_that_is_gone_is_its_own_exit_code(
    run: Run, data: Path, river: str
) -> None:
    for path in data.glob("ledger.sqlite3*"):
        path.unlink()
    done = run("invitation", "make", river, "--json")
    assert done.error() == (8, "storage-failed")
    assert "published" in done.err
