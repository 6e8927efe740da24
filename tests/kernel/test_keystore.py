"""Secrets on disk: raw, sealed, moved, and a sealing cut off half-way."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Synced
from undersigned.kernel import keystore
from undersigned.kernel.durable import destroy_file, write_durable
from undersigned.kernel.keystore import KeyMissing, KeysLocked, Keystore

PASSPHRASE = "nine lives of the river path"
SECRETS = {
    "c/river/log.key": bytes(range(32)),
    "c/river/version.key": bytes(range(32, 64)),
    "c/school/issuer-0-1.der": b"a key of another length",
}


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    # The cost is for whoever guesses passphrases. It stands in the seal file.
    monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the cast's secrets, raw."""
    store = Keystore(tmp_path / "secrets")
    for name, secret in SECRETS.items():
        store.put(name, secret)
    return tmp_path / "secrets"


def read_all(store: Keystore) -> dict[str, bytes]:
    return {name: store.get(name) for name in store.list_names()}


def read_raw(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


class TestAnUnsealedStore:
    def test_it_gives_back_what_was_put(self, folder: Path) -> None:
        assert read_all(Keystore(folder)) == SECRETS
        assert not Keystore(folder).is_sealed

    def test_it_keeps_files_for_their_owner_alone(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            allowed = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == allowed

    @pytest.mark.parametrize("made", [False, True])
    def test_a_power_cut_leaves_a_way_to_each(
        self, tmp_path: Path, made: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Keystore(tmp_path / "secrets")
        if made:
            # By a process that was killed before it had synced anything.
            (store.folder / "c" / "river").mkdir(parents=True)
        synced = Synced(monkeypatch)
        store.put("c/river/log.key", bytes(32))
        assert synced.has(store.folder / "c" / "river" / "log.key")
        assert synced.reaches(store.folder / "c/river/log.key", below=tmp_path)

    def test_it_says_what_is_missing(self, folder: Path) -> None:
        store = Keystore(folder)
        assert store.has("c/river/log.key")
        assert not store.has("c/river/other.key")
        with pytest.raises(KeyMissing) as caught:
            store.get("c/river/other.key")
        assert caught.value.data == {"name": "c/river/other.key"}

    def test_it_destroys_a_secret_and_can_be_told_twice(self, folder: Path) -> None:
        store = Keystore(folder)
        store.destroy("c/river/version.key")
        store.destroy("c/river/version.key")
        assert set(read_all(store)) == set(SECRETS) - {"c/river/version.key"}
        assert SECRETS["c/river/version.key"] not in read_raw(folder)

    @pytest.mark.parametrize("name", ["../outside", "c/../../outside", "/etc/passwd"])
    def test_it_stays_inside_its_folder(self, folder: Path, name: str) -> None:
        (folder.parent / "outside").write_bytes(b"not a secret of ours")
        store = Keystore(folder)
        for act in (store.get, store.has, store.destroy):
            with pytest.raises(KeyMissing):
                act(name)
        with pytest.raises(KeyMissing):
            store.put(name, b"x")
        assert (folder.parent / "outside").read_bytes() == b"not a secret of ours"


class TestSealing:
    def test_it_opens_with_the_passphrase(self, folder: Path) -> None:
        assert Keystore(folder).seal(PASSPHRASE) == len(SECRETS)
        store = Keystore(folder, passphrase=PASSPHRASE)
        assert store.is_sealed
        assert read_all(store) == SECRETS

    def test_it_leaves_no_secret_on_disk(self, folder: Path) -> None:
        Keystore(folder).seal(PASSPHRASE)
        raw = read_raw(folder)
        assert all(secret not in raw for secret in SECRETS.values())
        assert PASSPHRASE.encode() not in raw

    def test_it_goes_on_working_in_the_store_that_sealed(self, folder: Path) -> None:
        store = Keystore(folder)
        store.seal(PASSPHRASE)
        store.put("c/river/new.key", b"a later secret")
        assert store.get("c/river/new.key") == b"a later secret"
        assert b"a later secret" not in read_raw(folder)
        reopened = Keystore(folder, passphrase=PASSPHRASE)
        assert reopened.get("c/river/new.key") == b"a later secret"

    def test_it_wraps_nothing_twice(self, folder: Path) -> None:
        Keystore(folder).seal(PASSPHRASE)
        assert Keystore(folder, passphrase=PASSPHRASE).seal(PASSPHRASE) == 0

    @pytest.mark.parametrize("passphrase", [None, "", "Mallory guesses"])
    def test_it_stays_locked_without_the_passphrase(
        self, folder: Path, passphrase: str | None
    ) -> None:
        Keystore(folder).seal(PASSPHRASE)
        with pytest.raises(KeysLocked):
            Keystore(folder, passphrase=passphrase)

    def test_it_costs_a_guess_a_real_effort(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        Keystore(tmp_path / "s").seal(PASSPHRASE)
        assert json.loads((tmp_path / "s" / "seal.json").read_bytes())["n"] >= 1 << 16

    def test_it_does_not_open_a_file_moved_to_another_name(self, folder: Path) -> None:
        Keystore(folder).seal(PASSPHRASE)
        (folder / "c/river/log.key").replace(folder / "c/river/version.key")
        store = Keystore(folder, passphrase=PASSPHRASE)
        with pytest.raises(KeyMissing):
            store.get("c/river/version.key")

    def test_it_does_not_open_a_changed_file(self, folder: Path) -> None:
        Keystore(folder).seal(PASSPHRASE)
        path = folder / "c/river/log.key"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(KeyMissing):
            Keystore(folder, passphrase=PASSPHRASE).get("c/river/log.key")

    def test_it_is_locked_when_the_seal_file_is_gone(self, folder: Path) -> None:
        Keystore(folder).seal(PASSPHRASE)
        (folder / "seal.json").unlink()
        with pytest.raises(KeysLocked):
            Keystore(folder).get("c/river/log.key")


class PowerCut(BaseException):
    """The machine stops here."""


def cut_before_destroying(_path: Path) -> None:
    raise PowerCut


def cut_after_overwriting(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    raise PowerCut


def cut_after_emptying(path: Path) -> None:
    path.write_bytes(b"")
    raise PowerCut


def cut_after_destroying(path: Path) -> None:
    destroy_file(path)
    raise PowerCut


class TestSealingCutOff:
    @pytest.mark.parametrize(
        "cut",
        [
            cut_before_destroying,
            cut_after_overwriting,
            cut_after_emptying,
            cut_after_destroying,
        ],
    )
    def test_it_loses_no_secret_and_can_be_finished(
        self,
        folder: Path,
        cut: Callable[[Path], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(keystore, "destroy_file", cut)
            with pytest.raises(PowerCut):
                Keystore(folder).seal(PASSPHRASE)
        store = Keystore(folder, passphrase=PASSPHRASE)
        assert read_all(store) == SECRETS
        store.seal(PASSPHRASE)
        assert read_all(Keystore(folder, passphrase=PASSPHRASE)) == SECRETS
        raw = read_raw(folder)
        assert all(secret not in raw for secret in SECRETS.values())

    def test_it_can_be_finished_after_the_first_file_alone(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The seal file is there, and no secret is wrapped yet.
        real = write_durable

        def cut_at_secrets(path: Path, data: bytes, *, mode: int = 0o600) -> None:
            if path.name.endswith(".sealed"):
                raise PowerCut
            real(path, data, mode=mode)

        with monkeypatch.context() as patch:
            patch.setattr(keystore, "write_durable", cut_at_secrets)
            with pytest.raises(PowerCut):
                Keystore(folder).seal(PASSPHRASE)
        store = Keystore(folder, passphrase=PASSPHRASE)
        assert read_all(store) == SECRETS
        assert store.seal(PASSPHRASE) == len(SECRETS)
        assert read_all(store) == SECRETS
