"""Secret files of one instance: raw, or sealed under a passphrase (PROTOCOL §4.8).

Layout under the folder: ``seal.json`` (only when sealed: scrypt salt and cost, and a
check value) and one file a secret. A sealed file is ``b"undersigned sealed v1\\n"``,
a 12-byte nonce and the ChaCha20-Poly1305 ciphertext, whose associated data is the
secret's name: a sealed file moved to another name does not open.

Sealing protects a machine that is seized switched off. It does nothing against
someone who watches the running machine.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from undersigned.kernel.durable import (
    destroy_file,
    make_private_folder,
    sync_names,
    write_durable,
)
from undersigned.kernel.errors import Unavailable

_MAGIC = b"undersigned sealed v1\n"
_CHECK = b"undersigned seal check v1"
# 2^16 * 8 * 128 = 64 MiB and about 0.2 s, once per start.
_SCRYPT_N = 1 << 16


class KeysLocked(Unavailable):
    """The secrets are sealed, and no passphrase or a wrong one was given."""

    code: ClassVar[str] = "keys-locked"


class KeyMissing(Unavailable):
    """A secret that must be there is not, or cannot be read."""

    code: ClassVar[str] = "key-missing"


def _derive(passphrase: str, salt: bytes, n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(
        passphrase.encode("utf-8")
    )


def list_raw_secrets(folder: Path) -> list[str]:
    """Return the names of secrets that lie unsealed below ``folder``, sorted.

    Sealing that was cut off leaves some beside sealed ones; so does a file that was
    put back by hand.
    """
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and path.name != "seal.json"
        and path.name[0] != "."
        and not path.read_bytes().startswith(_MAGIC)
    )


class Keystore:
    """Reads and writes named secrets; the only code that opens these files."""

    def __init__(self, folder: Path, *, passphrase: str | None = None) -> None:
        """Open the store. Raises KeysLocked if it is sealed and does not open."""
        self.folder = make_private_folder(folder)
        self._cipher: ChaCha20Poly1305 | None = None
        seal = self._read_seal()
        if seal is None:
            return
        if not passphrase:
            raise KeysLocked(reason="no passphrase given")
        salt, n, check = seal
        try:
            cipher = ChaCha20Poly1305(_derive(passphrase, salt, n))
        except (ValueError, MemoryError):
            raise KeysLocked(reason="seal.json is damaged") from None
        try:
            cipher.decrypt(check[:12], check[12:], _CHECK)
        except (InvalidTag, ValueError):
            raise KeysLocked(reason="wrong passphrase") from None
        self._cipher = cipher
        self._recover()

    @property
    def is_sealed(self) -> bool:
        """Whether the files on disk are useless without the passphrase: all of them."""
        return self._cipher is not None and not list_raw_secrets(self.folder)

    def _read_seal(self) -> tuple[bytes, int, bytes] | None:
        path = self.folder / "seal.json"
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_bytes())
            return (
                bytes.fromhex(found["salt"]),
                int(found["n"]),
                bytes.fromhex(found["check"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise KeysLocked(reason=f"seal.json is damaged: {error}") from None

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise KeyMissing(name=name)
        return path

    def put(self, name: str, secret: bytes) -> None:
        """Store ``secret`` durably under ``name`` (folders by slashes)."""
        path = self._path(name)
        make_private_folder(path.parent)
        write_durable(path, self._wrap(name, secret), mode=0o600)
        # Also of folders that an attempt before made and died without syncing.
        sync_names(path.parent, below=self.folder.parent)

    def _wrap(self, name: str, secret: bytes) -> bytes:
        if self._cipher is None:
            return secret
        nonce = secrets.token_bytes(12)
        return _MAGIC + nonce + self._cipher.encrypt(nonce, secret, name.encode())

    def has(self, name: str) -> bool:
        """Say whether a file for ``name`` exists; it may still not open."""
        return self._path(name).is_file()

    def get(self, name: str) -> bytes:
        """Return the secret. Raises KeyMissing, KeysLocked."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise KeyMissing(name=name) from error
        if not data.startswith(_MAGIC):
            return data
        if self._cipher is None:
            raise KeysLocked(reason="sealed file in an unsealed store", name=name)
        nonce = data[len(_MAGIC) : len(_MAGIC) + 12]
        try:
            return self._cipher.decrypt(nonce, data[len(_MAGIC) + 12 :], name.encode())
        except InvalidTag:
            raise KeyMissing(name=name) from None

    def destroy(self, name: str) -> None:
        """Overwrite and remove the secret; nothing happens if it is gone already."""
        destroy_file(self._path(name))

    def list_names(self) -> list[str]:
        """Return the names of all secrets, sorted."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "seal.json" and path.name[0] != "."
        )

    def seal(self, passphrase: str) -> int:
        """Wrap every secret under ``passphrase``; return how many were wrapped.

        The seal file is written first. A crash in between leaves raw files beside
        sealed ones; both open with the passphrase, and running it again finishes.
        """
        if self._cipher is None:
            salt = secrets.token_bytes(32)
            cipher = ChaCha20Poly1305(_derive(passphrase, salt, _SCRYPT_N))
            nonce = secrets.token_bytes(12)
            check = nonce + cipher.encrypt(nonce, b"", _CHECK)
            found = {"salt": salt.hex(), "n": _SCRYPT_N, "check": check.hex()}
            write_durable(self.folder / "seal.json", json.dumps(found).encode())
            self._cipher = cipher
        wrapped = 0
        for name in self.list_names():
            path = self._path(name)
            data = path.read_bytes()
            if data.startswith(_MAGIC):
                continue
            # Wrap aside, then destroy the raw bytes, then move into place: at no
            # moment is the secret absent, and the raw file is overwritten.
            aside = path.with_name(f".{path.name}.sealed")
            write_durable(aside, self._wrap(name, data), mode=0o600)
            destroy_file(path)
            os.replace(aside, path)
            wrapped += 1
        self._recover()
        return wrapped

    def _recover(self) -> None:
        for aside in self.folder.rglob(".*.sealed"):
            # The sealed copy came into place whole and synced, so what stands under
            # the name is the raw secret, or what overwriting left of it.
            target = aside.with_name(aside.name[1 : -len(".sealed")])
            destroy_file(target)
            os.replace(aside, target)
