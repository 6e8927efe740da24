"""Approvers' key files: a moderator's own, never inside the data directory."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned.kernel.errors import Conflict, Refused

KIND = "undersigned approver key v1"


class KeyFileExists(Conflict):
    """There is a file of that name already; it may hold the only copy of a key."""

    code: ClassVar[str] = "key-file-exists"


class KeyFileNotValid(Refused):
    """Not an approver's key file."""

    code: ClassVar[str] = "key-file-not-valid"


class KeyInsideData(Refused):
    """Approvers' keys must not lie where the server's secrets lie."""

    code: ClassVar[str] = "key-inside-data"


@dataclass(frozen=True, slots=True)
class ApproverKey:
    """An approver's id and secret key."""

    id: str
    secret_key: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        """The 32 public bytes."""
        return self.secret_key.public_key().public_bytes_raw()


def require_outside(path: Path, data: Path) -> None:
    """Raise KeyInsideData for a path below the data directory."""
    if path.resolve().is_relative_to(data.resolve()):
        raise KeyInsideData(path=str(path))


def create_key_file(path: Path, *, approver_id: str, data: Path) -> ApproverKey:
    """Make a key and write it to a new file that only its owner can read.

    Raises KeyFileExists, KeyInsideData.
    """
    require_outside(path, data)
    key = ApproverKey(approver_id, Ed25519PrivateKey.generate())
    value = {
        "kind": KIND,
        "id": approver_id,
        "public_key": base64.b64encode(key.public_key).decode(),
        "secret_key": base64.b64encode(key.secret_key.private_bytes_raw()).decode(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileExists(path=str(path)) from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key_file(path: Path) -> ApproverKey:
    """Return the key in a file. Raises KeyFileNotValid."""
    try:
        value = json.loads(path.read_bytes())
        if value["kind"] != KIND:
            raise KeyFileNotValid(path=str(path))
        secret = base64.b64decode(value["secret_key"], validate=True)
        return ApproverKey(
            id=str(value["id"]),
            secret_key=Ed25519PrivateKey.from_private_bytes(secret),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeyFileNotValid(path=str(path), problem=str(error)) from error


def get_or_create(path: Path, *, approver_id: str, data: Path) -> ApproverKey:
    """Return a demonstration's key, made at the first call."""
    if path.exists():
        return read_key_file(path)
    return create_key_file(path, approver_id=approver_id, data=data)
